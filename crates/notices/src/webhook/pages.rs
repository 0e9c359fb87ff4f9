//! Pages of webhooks: the same under a project's settings and under a group.

use super::{Event, Owner};
use crate::Notices;
use askama::Template;
use axum::{
    extract::{FromRequestParts, State},
    response::Redirect,
    routing::{MethodRouter, get, post},
};
use bascule_core::{GroupScope, HookDeliveryId, Permission, Problem, ProjectScope, Result, WebhookId};
use bascule_web::{
    Access, Answer, Crumb, Failure, FormBody, Markup, Params, PathOf, Routes, Section, Tab, Ui, Who, icon,
    when,
};
use bascule_wire::notices::{HookDelivery, NewWebhook, Webhook, WebhookChange};
use http::request::Parts;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Notices> {
    let mut routes = Routes::new();
    for (base, manage) in [
        (
            "/{group}/{project}/-/settings/webhooks",
            Access::Project(Permission::ProjectManage),
        ),
        ("/{group}/-/webhooks", Access::Group(Permission::GroupManage)),
    ] {
        let all: [(&str, &str, MethodRouter<Notices>); 6] = [
            ("GET,POST", "", get(list).post(create)),
            ("GET,POST", "/{id}", get(show).post(change)),
            ("POST", "/{id}/remove", post(remove)),
            ("POST", "/{id}/test", post(test)),
            ("GET", "/{id}/deliveries/{delivery}", get(delivery)),
            ("POST", "/{id}/deliveries/{delivery}/replay", post(replay)),
        ];
        for (methods, path, handler) in all {
            routes = routes.page(methods, &format!("{base}{path}"), manage, handler);
        }
    }
    routes
}

/// The project or group that the path names.
enum Place {
    Project(ProjectScope),
    Group(GroupScope),
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // The gate put one of them there.
        if let Some(scope) = parts.extensions.get::<ProjectScope>() {
            return Ok(Self::Project(scope.clone()));
        }
        match parts.extensions.get::<GroupScope>() {
            Some(scope) => Ok(Self::Group(scope.clone())),
            None => Err(Problem::internal().into()),
        }
    }
}

impl Place {
    fn owner(&self) -> Owner {
        match self {
            Self::Project(scope) => scope.into(),
            Self::Group(scope) => scope.into(),
        }
    }

    fn base(&self) -> String {
        match self {
            Self::Project(scope) => format!("/{}/-/settings/webhooks", scope.path()),
            Self::Group(scope) => format!("/{}/-/webhooks", scope.name),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Project(scope) => scope.path(),
            Self::Group(scope) => scope.name.clone(),
        }
    }

    fn page(&self, ui: &Ui, more: Vec<Crumb>, page: &impl Template) -> Answer {
        let mut crumbs = match self {
            Self::Project(scope) => vec![
                Crumb::to(&scope.group, format!("/{}", scope.group)),
                Crumb::to(&scope.name, format!("/{}", scope.path())),
                Crumb::to("Settings", format!("/{}/-/settings", scope.path())),
            ],
            Self::Group(scope) => vec![Crumb::to(&scope.name, format!("/{}", scope.name))],
        };
        if more.is_empty() {
            crumbs.push(Crumb::here("Webhooks"));
        } else {
            crumbs.push(Crumb::to("Webhooks", self.base()));
            crumbs.extend(more);
        }
        let title = format!("Webhooks · {}", self.name());
        match self {
            Self::Project(_) => ui.project_page(Tab::Settings, &title, &crumbs, page),
            Self::Group(_) => ui.page(Section::Projects, &title, &crumbs, page),
        }
    }
}

struct Choice {
    word: &'static str,
    title: &'static str,
    on: bool,
}

fn choices(on: &[String]) -> Vec<Choice> {
    Event::ALL
        .into_iter()
        .map(|event| Choice {
            word: event.as_str(),
            title: event.title(),
            on: on.iter().any(|word| word == event.as_str()),
        })
        .collect()
}

#[derive(Template)]
#[template(path = "webhook/list.html")]
struct ListPage {
    name: String,
    of_group: bool,
    base: String,
    hooks: Vec<Webhook>,
    choices: Vec<Choice>,
    plus: Markup,
}

async fn list(State(notices): State<Notices>, place: Place, ui: Ui) -> Answer {
    let page = ListPage {
        name: place.name(),
        of_group: matches!(place, Place::Group(_)),
        base: place.base(),
        hooks: notices.webhooks(place.owner()).await?,
        choices: choices(&["push".to_owned()]),
        plus: icon("plus"),
    };
    place.page(&ui, Vec::new(), &page)
}

/// A form in which a field may come several times.
struct Form {
    url: String,
    secret: String,
    events: Vec<String>,
    enabled: bool,
}

/// Names and values as they were sent: a box that is ticked comes with its name each time.
type Sent = Vec<(String, String)>;

fn read(form: Sent) -> Form {
    let mut read = Form {
        url: String::new(),
        secret: String::new(),
        events: Vec::new(),
        enabled: false,
    };
    for (name, value) in form {
        match name.as_str() {
            "url" => read.url = value,
            "secret" => read.secret = value,
            "event" => read.events.push(value),
            "enabled" => read.enabled = true,
            _ => {}
        }
    }
    read
}

async fn create(
    State(notices): State<Notices>,
    who: Who,
    place: Place,
    ui: Ui,
    FormBody(form): FormBody<Sent>,
) -> Answer {
    let form = read(form);
    let new = NewWebhook {
        url: form.url,
        events: form.events,
        secret: Some(form.secret).filter(|given| !given.is_empty()),
    };
    let made = notices.create_webhook(&who, place.owner(), &new).await?;
    // The secret is shown on this answer alone.
    one(&notices, &place, &ui, made, &Wanted::default()).await
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Wanted {
    #[serde(default)]
    before: String,
    #[serde(default)]
    state: String,
}

#[derive(Deserialize)]
struct OnePath {
    id: WebhookId,
}

struct Row {
    delivery: HookDelivery,
    at: Markup,
    next: Option<Markup>,
}

fn row(delivery: HookDelivery) -> Row {
    Row {
        at: when(delivery.tried_at.unwrap_or(delivery.created_at)),
        next: delivery.next_try_at.map(when),
        delivery,
    }
}

#[derive(Template)]
#[template(path = "webhook/one.html")]
struct OnePage {
    hook: Webhook,
    here: String,
    choices: Vec<Choice>,
    rows: Vec<Row>,
    state: String,
    next: Option<String>,
    failing: Option<Markup>,
    waits: bool,
}

async fn one(notices: &Notices, place: &Place, ui: &Ui, hook: Webhook, wanted: &Wanted) -> Answer {
    let here = format!("{}/{}", place.base(), hook.id);
    let before = wanted.before.parse().ok();
    let state = Some(wanted.state.as_str()).filter(|state| !state.is_empty());
    let found = notices
        .hook_deliveries(place.owner(), hook.id, state, before, None)
        .await?;
    let page = OnePage {
        choices: choices(&hook.events),
        failing: hook.failing_since.map(when),
        next: found
            .next
            .map(|next| format!("{here}?state={}&before={next}", wanted.state)),
        waits: found.items.iter().any(|delivery| delivery.state == "waiting"),
        rows: found.items.into_iter().map(row).collect(),
        state: wanted.state.clone(),
        here,
        hook,
    };
    let crumb = Crumb::here(
        url::Url::parse(&page.hook.url)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
            .unwrap_or_default(),
    );
    place.page(ui, vec![crumb], &page)
}

async fn show(
    State(notices): State<Notices>,
    place: Place,
    ui: Ui,
    PathOf(path): PathOf<OnePath>,
    Params(wanted): Params<Wanted>,
) -> Answer {
    let hook = notices.webhook(place.owner(), path.id).await?;
    one(&notices, &place, &ui, hook, &wanted).await
}

async fn change(
    State(notices): State<Notices>,
    who: Who,
    place: Place,
    ui: Ui,
    PathOf(path): PathOf<OnePath>,
    FormBody(form): FormBody<Sent>,
) -> Answer {
    let form = read(form);
    let before = notices.webhook(place.owner(), path.id).await?;
    let change = WebhookChange {
        // Only a new address gives a failing webhook its days again.
        url: Some(form.url).filter(|url| *url != before.url),
        events: Some(form.events),
        secret: Some(form.secret).filter(|given| !given.is_empty()),
        enabled: Some(form.enabled),
    };
    let changed = notices
        .change_webhook(&who, place.owner(), path.id, &change)
        .await?;
    one(
        &notices,
        &place,
        &ui,
        Webhook {
            secret: None,
            ..changed
        },
        &Wanted::default(),
    )
    .await
}

async fn remove(
    State(notices): State<Notices>,
    who: Who,
    place: Place,
    PathOf(path): PathOf<OnePath>,
) -> Answer<Redirect> {
    notices.remove_webhook(&who, place.owner(), path.id).await?;
    Ok(Redirect::to(&place.base()))
}

async fn test(
    State(notices): State<Notices>,
    who: Who,
    place: Place,
    PathOf(path): PathOf<OnePath>,
) -> Answer<Redirect> {
    let sent = notices.test_webhook(&who, place.owner(), path.id).await?;
    Ok(Redirect::to(&format!(
        "{}/{}/deliveries/{}",
        place.base(),
        path.id,
        sent.id
    )))
}

#[derive(Deserialize)]
struct DeliveryPath {
    id: WebhookId,
    delivery: HookDeliveryId,
}

#[derive(Template)]
#[template(path = "webhook/delivery.html")]
struct DeliveryPage {
    row: Row,
    hook: Webhook,
    here: String,
    back: String,
    body: String,
}

async fn delivery(
    State(notices): State<Notices>,
    place: Place,
    ui: Ui,
    PathOf(path): PathOf<DeliveryPath>,
) -> Answer {
    let hook = notices.webhook(place.owner(), path.id).await?;
    let delivery = notices
        .hook_delivery(place.owner(), path.id, path.delivery)
        .await?;
    let back = format!("{}/{}", place.base(), hook.id);
    let pretty = serde_json::from_str::<serde_json::Value>(&delivery.body)
        .and_then(|body| serde_json::to_string_pretty(&body));
    let page = DeliveryPage {
        body: pretty.unwrap_or_else(|_| delivery.body.clone()),
        here: format!("{back}/deliveries/{}", delivery.id),
        row: row(delivery),
        back: back.clone(),
        hook,
    };
    place.page(
        &ui,
        vec![Crumb::to("Deliveries", back), Crumb::here("One")],
        &page,
    )
}

async fn replay(
    State(notices): State<Notices>,
    place: Place,
    PathOf(path): PathOf<DeliveryPath>,
) -> Answer<Redirect> {
    let sent = notices.replay(place.owner(), path.id, path.delivery).await?;
    Ok(Redirect::to(&format!(
        "{}/{}/deliveries/{}",
        place.base(),
        path.id,
        sent.id
    )))
}
