//! The forms of reviews. Each leads back to where it was sent from.

use super::view::lines_text;
use crate::{
    Forge,
    merge_request::{MergeRequest, pages as request_pages},
    review::{
        position::{Lines, Side, text_of},
        thread::place::text_at,
    },
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use bascule_core::{CommentId, Problem, ProjectScope, Result, ThreadId};
use bascule_web::{Answer, FormBody, InProject, Params, PathOf, Tab, Ui, Who};
use bascule_wire::review as wire;
use http::{HeaderMap, header};
use serde::Deserialize;

/// Lines shown around those that a comment is about.
const AROUND: u32 = 3;

/// The path of a request.
type Place = PathOf<(String, String, i64)>;

/// Where to go afterwards. Only places of ours are known, so that no form leads elsewhere.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    back: String,
    // A number as text: forms with fields of two types laid together know no numbers.
    #[serde(default)]
    from: String,
}

impl Back {
    fn first(&self) -> usize {
        self.from.parse().unwrap_or(0)
    }

    fn to(&self, scope: &ProjectScope, iid: i64, anchor: &str) -> Response {
        let base = request_pages::base(scope, iid);
        let place = match (self.back.as_str(), Some(self.first()).filter(|from| *from > 0)) {
            ("changes", None) => format!("{base}/changes"),
            ("changes", Some(from)) => format!("{base}/changes?from={from}"),
            _ => base,
        };
        Redirect::to(&format!("{place}#{anchor}")).into_response()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct On {
    path: String,
    #[serde(default)]
    side: String,
    line: u32,
    #[serde(default)]
    to: Option<u32>,
    #[serde(default)]
    from: Option<usize>,
}

#[derive(Template)]
#[template(path = "review/pages/comment.html")]
struct CommentForm {
    base: String,
    iid: i64,
    path: String,
    side: &'static str,
    start: u32,
    end: u32,
    from: usize,
    head: String,
    place: String,
    lines: Vec<(u32, String, bool)>,
    body: String,
    /// Whether the lines can be suggested anew.
    may_suggest: bool,
    inline: bool,
}

/// The form to comment on lines: a page of its own, or a row put below the line.
pub(super) async fn comment_form(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
    Params(on): Params<On>,
    headers: HeaderMap,
    ui: Ui,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    let inline = headers.contains_key("hx-request");
    let form = form(&forge, &scope, &request, &on, None, inline).await?;
    if inline {
        let answer = ui.fragment(&form)?;
        return Ok(([(header::VARY, "HX-Request")], answer).into_response());
    }
    let title = format!("Comment on !{iid} · {}", scope.path());
    ui.project_page(
        Tab::MergeRequests,
        &title,
        &request_pages::crumbs(&scope, iid),
        &form,
    )
}

/// The same form with the lines as a suggestion below what was typed already, of which nothing is lost.
pub(super) async fn suggest(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
    ui: Ui,
    FormBody(typed): FormBody<NewComment>,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    let on = On {
        path: typed.path,
        side: typed.side,
        line: typed.line,
        to: typed.to,
        from: typed.from,
    };
    let form = form(&forge, &scope, &request, &on, Some(&typed.body), false).await?;
    let title = format!("Comment on !{iid} · {}", scope.path());
    ui.project_page(
        Tab::MergeRequests,
        &title,
        &request_pages::crumbs(&scope, iid),
        &form,
    )
}

/// The form on lines; `typed`: what stands in it already, where a suggestion is to be added.
async fn form(
    forge: &Forge,
    scope: &ProjectScope,
    request: &MergeRequest,
    on: &On,
    typed: Option<&str>,
    inline: bool,
) -> Result<CommentForm> {
    let side = Side::parse(&on.side);
    let gone = || Problem::not_found("line");
    let lines = Lines::new(on.line, on.to.unwrap_or(on.line)).ok_or_else(gone)?;
    let sha = match side {
        Side::Old => request.base.clone(),
        Side::New => request.head.clone(),
    };
    let path = on.path.clone();
    let text = forge
        .repositories()
        .read(request.project_id, move |repo| text_at(repo, &sha, &path))
        .await?
        .ok_or_else(gone)?;
    let own = text_of(&text, lines).ok_or_else(gone)?;
    let first = lines.start.saturating_sub(AROUND).max(1);
    let shown = (first..)
        .zip(text.lines().skip(usize::try_from(first - 1).unwrap_or(0)))
        .take_while(|(number, _)| *number <= lines.end.saturating_add(AROUND))
        .map(|(number, line)| (number, line.to_owned(), lines.holds(number)))
        .collect();
    let base = request_pages::base(scope, request.iid);
    let body = match typed {
        Some(typed) if side == Side::New => with_block(typed, &block(lines, &own)),
        typed => typed.unwrap_or_default().to_owned(),
    };
    Ok(CommentForm {
        may_suggest: side == Side::New && typed.is_none(),
        body,
        base,
        iid: request.iid,
        path: on.path.clone(),
        side: side.as_str(),
        start: lines.start,
        end: lines.end,
        from: on.from.unwrap_or(0),
        head: request.head.clone(),
        place: format!(
            "{}, {}",
            crate::code::shown(on.path.as_bytes()),
            lines_text(lines, side)
        ),
        lines: shown,
        inline,
    })
}

/// What was typed, and a block below it.
fn with_block(typed: &str, block: &str) -> String {
    match typed.trim_end() {
        "" => block.to_owned(),
        typed => format!("{typed}\n\n{block}"),
    }
}

/// A suggestion that changes nothing yet. Its fence is longer than any in the text.
fn block(lines: Lines, text: &str) -> String {
    let longest = text
        .lines()
        .map(|line| line.trim_start().bytes().take_while(|b| *b == b'`').count())
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let text = text.trim_end_matches(['\r', '\n']);
    format!("{fence}suggestion:-{}+0\n{text}\n{fence}\n", lines.count() - 1)
}

#[derive(Debug, Deserialize)]
pub(super) struct NewComment {
    path: String,
    #[serde(default)]
    side: String,
    line: u32,
    #[serde(default)]
    to: Option<u32>,
    body: String,
    #[serde(default)]
    head: String,
    #[serde(default)]
    draft: Option<String>,
    #[serde(default)]
    from: Option<usize>,
}

pub(super) async fn comment(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
    FormBody(form): FormBody<NewComment>,
) -> Answer {
    let (project, request) = forge.reviewed(&scope, iid).await?;
    let new = wire::NewThread {
        body: form.body,
        position: Some(wire::Position {
            path: form.path,
            side: form.side,
            start: form.line,
            end: form.to.unwrap_or(form.line),
            outdated: false,
            head: form.head,
        }),
        draft: form.draft.is_some(),
    };
    let thread = forge.begin_thread(&caller, &project, &request, &new).await?;
    let back = Back {
        back: "changes".to_owned(),
        from: form.from.unwrap_or(0).to_string(),
    };
    Ok(back.to(&scope, iid, &format!("thread-{}", thread.id)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    body: String,
    #[serde(default)]
    draft: Option<String>,
    #[serde(flatten)]
    back: Back,
}

pub(super) async fn reply(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid, thread)): PathOf<(String, String, i64, ThreadId)>,
    FormBody(form): FormBody<Reply>,
) -> Answer {
    let (project, request) = forge.reviewed(&scope, iid).await?;
    let new = wire::NewReply {
        body: form.body,
        draft: form.draft.is_some(),
    };
    forge.reply(&caller, &project, &request, thread, &new).await?;
    Ok(form.back.to(&scope, iid, &format!("thread-{thread}")))
}

#[derive(Debug, Deserialize)]
pub(super) struct Resolve {
    resolved: String,
    #[serde(flatten)]
    back: Back,
}

pub(super) async fn resolve(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid, thread)): PathOf<(String, String, i64, ThreadId)>,
    FormBody(form): FormBody<Resolve>,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    forge
        .resolve_thread(&caller, &scope, &request, thread, form.resolved == "true")
        .await?;
    Ok(form.back.to(&scope, iid, &format!("thread-{thread}")))
}

#[derive(Template)]
#[template(path = "review/pages/edit.html")]
struct Edit {
    base: String,
    iid: i64,
    id: String,
    body: String,
    back: String,
    from: usize,
}

pub(super) async fn edit_form(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid, comment)): PathOf<(String, String, i64, CommentId)>,
    Params(back): Params<Back>,
    ui: Ui,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    let comment = forge.own_comment(&caller, &request, comment).await?;
    let page = Edit {
        base: request_pages::base(&scope, iid),
        iid,
        id: comment.id.to_string(),
        body: comment.body,
        from: back.first(),
        back: back.back,
    };
    let title = format!("Edit a comment on !{iid} · {}", scope.path());
    ui.project_page(
        Tab::MergeRequests,
        &title,
        &request_pages::crumbs(&scope, iid),
        &page,
    )
}

#[derive(Debug, Deserialize)]
pub(super) struct EditBody {
    body: String,
    #[serde(flatten)]
    back: Back,
}

pub(super) async fn edit(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid, comment)): PathOf<(String, String, i64, CommentId)>,
    FormBody(form): FormBody<EditBody>,
) -> Answer {
    let (project, request) = forge.reviewed(&scope, iid).await?;
    forge
        .edit_comment(&caller, &project, &request, comment, &form.body)
        .await?;
    Ok(form.back.to(&scope, iid, &format!("comment-{comment}")))
}

pub(super) async fn delete(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid, comment)): PathOf<(String, String, i64, CommentId)>,
    FormBody(back): FormBody<Back>,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    forge.delete_comment(&caller, &request, comment).await?;
    Ok(back.to(&scope, iid, "discussion"))
}

#[derive(Debug, Deserialize)]
pub(super) struct Review {
    #[serde(default)]
    body: String,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    sha: String,
}

pub(super) async fn review(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
    FormBody(form): FormBody<Review>,
) -> Answer {
    let (project, request) = forge.reviewed(&scope, iid).await?;
    let new = wire::NewReview {
        verdict: form.verdict,
        body: form.body,
        threads: Vec::new(),
        sha: Some(form.sha),
    };
    forge
        .submit_review(&caller, &scope, &project, &request, &new)
        .await?;
    Ok(Back::default().to(&scope, iid, "discussion"))
}

#[derive(Debug, Deserialize)]
pub(super) struct Approve {
    sha: String,
}

pub(super) async fn approve(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
    FormBody(form): FormBody<Approve>,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    forge.approve(&caller, &scope, &request, &form.sha).await?;
    Ok(Back::default().to(&scope, iid, "approvals"))
}

pub(super) async fn unapprove(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    forge.unapprove(&caller, &scope, &request).await?;
    Ok(Back::default().to(&scope, iid, "approvals"))
}

/// Suggestions that were picked, and where to go: pairs, since a form may name one field often.
pub(super) async fn apply(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
    FormBody(fields): FormBody<Vec<(String, String)>>,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    let mut order = wire::ApplySuggestions::default();
    let mut back = Back::default();
    for (name, value) in fields {
        match name.as_str() {
            "pick" => {
                let picked = value.split_once(':').and_then(|(comment, number)| {
                    Some(wire::SuggestionRef {
                        comment: comment.parse().ok()?,
                        number: number.parse().ok()?,
                    })
                });
                order
                    .suggestions
                    .push(picked.ok_or_else(|| Problem::not_found("suggestion"))?);
            }
            "back" => back.back = value,
            "from" => back.from = value,
            _ => {}
        }
    }
    if order.suggestions.is_empty() {
        return Err(Problem::invalid("none_marked", "No suggestion is marked.")
            .next("Mark those that shall be applied, then send the form again.")
            .into());
    }
    forge.apply_suggestions(&caller, &request, &order).await?;
    Ok(back.to(&scope, iid, "discussion"))
}

pub(super) async fn people(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
    FormBody(fields): FormBody<Vec<(String, String)>>,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    let (mut reviewers, mut assignees) = (Vec::new(), Vec::new());
    let names = |text: &str| -> Vec<String> {
        text.split([',', ' ', '\n'])
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    for (name, value) in fields {
        match name.as_str() {
            "reviewers" | "add" => reviewers.extend(names(&value)),
            "assignees" => assignees.extend(names(&value)),
            _ => {}
        }
    }
    let change = wire::PeopleChange {
        reviewers: Some(reviewers),
        assignees: Some(assignees),
    };
    forge.change_people(&caller, &scope, &request, &change).await?;
    Ok(Back::default().to(&scope, iid, "reviewers"))
}

#[derive(Debug, Deserialize)]
pub(super) struct Dismiss {
    name: String,
}

pub(super) async fn dismiss(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    PathOf((_, _, iid)): Place,
    FormBody(form): FormBody<Dismiss>,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    forge.dismiss(&caller, &scope, &request, &form.name).await?;
    Ok(Back::default().to(&scope, iid, "reviewers"))
}
