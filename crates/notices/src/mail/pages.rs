//! Pages: what one hears of by mail; for administrators, how sending goes.

use crate::Notices;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::{get, post},
};
use bascule_core::Permission;
use bascule_web::{Access, Answer, Crumb, FormBody, Markup, Params, Routes, Section, Ui, Who, when};
use bascule_wire::notices::{MailChoice, MailTrouble};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Notices> {
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .page(
            "GET,POST",
            "/settings/mail",
            Access::SignedIn,
            get(settings).post(choose),
        )
        .page("GET", "/admin/mail", manage, get(admin))
        .page("POST", "/admin/mail/test", manage, post(test))
        .page("POST", "/admin/mail/retry", manage, post(retry))
}

/// What was done; a word in the address, so that a link cannot make the page say anything.
#[derive(Debug, Default, Deserialize)]
struct Done {
    #[serde(default)]
    done: String,
}

struct Question {
    field: &'static str,
    title: &'static str,
    chosen: String,
    all: &'static str,
    todos: &'static str,
}

#[derive(Template)]
#[template(path = "mail/settings.html")]
struct SettingsPage {
    saved: bool,
    sends: bool,
    address: String,
    questions: [Question; 3],
}

async fn settings(State(notices): State<Notices>, who: Who, ui: Ui, Params(done): Params<Done>) -> Answer {
    let choice = notices.mail_choice(&who).await?;
    let person = match who.user {
        Some(user) => notices.people().person(user).await?,
        None => None,
    };
    let page = SettingsPage {
        saved: done.done == "saved",
        sends: notices.config().mail.is_some(),
        address: person.map(|person| person.email).unwrap_or_default(),
        questions: [
            Question {
                field: "issues",
                title: "Issues",
                chosen: choice.issues,
                all: "everything on issues that you have to do with",
                todos: "what makes a to-do: given to you, mentioned; and labels you subscribed to",
            },
            Question {
                field: "merge_requests",
                title: "Merge requests",
                chosen: choice.merge_requests,
                all: "everything on requests that you have to do with",
                todos: "what makes a to-do: reviews, approvals, mentions, comments on yours",
            },
            Question {
                field: "pipelines",
                title: "Pipelines",
                chosen: choice.pipelines,
                all: "pipelines of your requests that failed",
                todos: "pipelines of your requests that failed",
            },
        ],
    };
    let crumbs = [Crumb::to("Settings", "/settings"), Crumb::here("Mail")];
    ui.page(Section::Settings, "Mail", &crumbs, &page)
}

async fn choose(
    State(notices): State<Notices>,
    who: Who,
    FormBody(choice): FormBody<MailChoice>,
) -> Answer<Redirect> {
    notices.choose_mail(&who, &choice).await?;
    Ok(Redirect::to("/settings/mail?done=saved"))
}

struct Trouble {
    told: MailTrouble,
    at: Markup,
    next: Option<Markup>,
}

#[derive(Template)]
#[template(path = "mail/admin.html")]
struct AdminPage {
    told: &'static str,
    server: String,
    from: String,
    counts: Vec<(String, i64)>,
    troubles: Vec<Trouble>,
}

async fn admin(State(notices): State<Notices>, ui: Ui, Params(done): Params<Done>) -> Answer {
    let status = notices.mail_status().await?;
    let page = AdminPage {
        told: match done.done.as_str() {
            "sent" => "The mail server took the test. Look into your mail box.",
            "retried" => "What waits or was given up is tried again now.",
            _ => "",
        },
        server: status.server,
        from: status.from,
        counts: status.counts.into_iter().collect(),
        troubles: status
            .troubled
            .into_iter()
            .map(|trouble| Trouble {
                at: when(trouble.tried_at),
                next: trouble.next_try_at.map(when),
                told: trouble,
            })
            .collect(),
    };
    let crumbs = [Crumb::to("Administration", "/admin"), Crumb::here("Mail")];
    ui.page(Section::Settings, "Mail", &crumbs, &page)
}

async fn test(State(notices): State<Notices>, who: Who) -> Answer {
    notices.test_mail(&who).await?;
    Ok(Redirect::to("/admin/mail?done=sent").into_response())
}

async fn retry(State(notices): State<Notices>) -> Answer<Redirect> {
    notices.retry_mail().await?;
    Ok(Redirect::to("/admin/mail?done=retried"))
}
