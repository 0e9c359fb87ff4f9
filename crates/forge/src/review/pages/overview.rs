//! The parts of a request's own page: what is approved, who reviews, what is discussed.

use super::{
    notes::Shown,
    view::{Scene, View, html},
};
use crate::{
    Forge,
    merge_request::{MergeRequest, State as Life, pages as request_pages},
    review::{
        approval::{CHANGES, Weighed, store as approvals},
        thread::{me, store},
    },
    told::told,
};
use askama::Template;
use axum::extract::State;
use bascule_core::{Caller, Permission, ProjectScope, Result, ThreadId};
use bascule_web::{Answer, InProject, Markup, Params, PathOf, Tab, Ui, icon};
use serde::Deserialize;

/// Threads on one page.
const THREADS: i64 = 100;
/// People who are suggested.
const SUGGESTED: usize = 6;
/// Findings on one page.
const FINDINGS: usize = 1_000;

struct Rule {
    met: bool,
    optional: bool,
    name: String,
    why: Markup,
    count: String,
    /// Said of optional rules alone: what must be there is said where it holds the merge.
    next: Markup,
    icon: Markup,
}

struct Reviewer {
    name: String,
    state: &'static str,
    class: &'static str,
    old: bool,
    dismiss: bool,
}

/// What is approved, and who is asked.
#[derive(Template)]
#[template(path = "review/pages/approvals.html")]
struct Approvals {
    base: String,
    open: bool,
    head: String,
    rules: Vec<Rule>,
    ignored: Vec<(String, &'static str)>,
    approvers: Vec<String>,
    may_approve: bool,
    why_not: String,
    mine: bool,
    reviewers: Vec<Reviewer>,
    assignees: Vec<String>,
    may_edit: bool,
    reviewer_names: String,
    assignee_names: String,
    suggested: Vec<(String, String)>,
    icons: [Markup; 3],
}

/// The discussion, and the form that sends a review.
#[derive(Template)]
#[template(path = "review/pages/discussion.html")]
struct Discussion {
    base: String,
    head: String,
    may_write: bool,
    may_approve: bool,
    may_request: bool,
    drafts: usize,
    waiting: i64,
    first_open: Option<String>,
    threads: Vec<View>,
    more: Option<String>,
    findings: usize,
    has_suggestions: bool,
    icons: [Markup; 2],
}

/// Which page of the discussion.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Paging {
    /// Threads after this one.
    #[serde(default)]
    pub(crate) after: Option<ThreadId>,
}

impl Forge {
    /// The parts of a request's page, for the column of its discussion and for the one beside it.
    pub(crate) async fn review_parts(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        weighed: &Weighed,
        after: Option<ThreadId>,
    ) -> Result<(Markup, Markup)> {
        let open = request.state == Life::Open;
        let barred = weighed.may_approve(caller, scope, request, &request.head).err();
        let given = approvals::approvals(self.db(), request.id).await?;
        let mine = caller.user.is_some_and(|user| {
            given
                .iter()
                .any(|given| given.user_id == user && given.head == request.head)
                || weighed
                    .involved
                    .iter()
                    .any(|p| p.user_id == user && p.verdict == CHANGES)
        });
        let may_edit = open && crate::merge_request::may_edit(caller, scope, request).is_ok();
        let suggested = if may_edit {
            self.suggest_from(weighed).await?
        } else {
            Vec::new()
        };
        let beside = approvals_part(
            caller, scope, request, weighed, &suggested, may_edit, mine, barred,
        );
        let person = caller.person().is_some();
        let below = self
            .discussion(caller, scope, request, after, open && beside.may_approve, person)
            .await?;
        Ok((Markup::trusted(html(&below)?), Markup::trusted(html(&beside)?)))
    }

    async fn discussion(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        after: Option<ThreadId>,
        may_approve: bool,
        person: bool,
    ) -> Result<Discussion> {
        let base = request_pages::base(scope, request.iid);
        let mut talks = self.talks(caller, request, after, THREADS + 1).await?;
        let size = usize::try_from(THREADS).unwrap_or(usize::MAX);
        let more = (talks.len() > size)
            .then(|| talks.get(size - 1).map(|talk| talk.thread.id))
            .flatten();
        talks.truncate(size);
        let scene = Scene {
            caller,
            scope,
            request,
            base: base.clone(),
            back: "overview",
            from: 0,
        };
        let threads = self.views(&scene, talks).await?;
        let has_suggestions = threads
            .iter()
            .flat_map(|view| &view.comments)
            .flat_map(|said| &said.suggestions)
            .any(|one| one.may_apply);
        let findings = self.findings_of(request).await?;
        let open = request.state == Life::Open;
        Ok(Discussion {
            head: request.head.clone(),
            may_write: scope.holds(Permission::MergeRequestWrite),
            may_approve,
            may_request: open
                && person
                && scope.holds(Permission::MergeRequestApprove)
                && caller.user != request.author_id,
            drafts: store::drafts(self.db(), request.id, &me(caller)).await?.len(),
            waiting: store::unresolved(self.db(), request.id).await?,
            first_open: threads
                .iter()
                .find(|view| view.resolved.is_none())
                .map(|view| format!("#thread-{}", view.id)),
            threads,
            more: more.map(|id| format!("{base}?after={id}#discussion")),
            findings: findings.iter().filter(|one| !one.resolved).count(),
            has_suggestions,
            icons: [icon("message"), icon("alert-triangle")],
            base,
        })
    }
}

#[allow(clippy::too_many_arguments, reason = "all that one part of a page shows")]
fn approvals_part(
    caller: &Caller,
    scope: &ProjectScope,
    request: &MergeRequest,
    weighed: &Weighed,
    suggested: &[bascule_wire::review::SuggestedReviewer],
    may_edit: bool,
    mine: bool,
    barred: Option<bascule_core::Problem>,
) -> Approvals {
    let project = format!("/{}", scope.path());
    let rules = weighed.verdict.outcomes.iter().map(|outcome| Rule {
        met: outcome.missing == 0,
        optional: outcome.optional,
        name: outcome.name.clone(),
        why: told(&outcome.why, &project),
        count: format!("{} of {}", outcome.given.len(), outcome.required),
        next: told(
            &if outcome.optional {
                outcome.next()
            } else {
                String::new()
            },
            &project,
        ),
        icon: icon(if outcome.missing == 0 {
            "circle-check"
        } else {
            "clock"
        }),
    });
    let reviewers = weighed
        .involved
        .iter()
        .filter(|person| person.reviewer || !person.verdict.is_empty())
        .map(|person| {
            let (state, class) = match person.verdict.as_str() {
                "approved" => ("approved", "bg-green-lt"),
                "changes_requested" => ("asked for changes", "bg-red-lt"),
                "commented" => ("commented", "bg-blue-lt"),
                _ => ("asked", "bg-secondary-lt"),
            };
            Reviewer {
                name: person.user_name.clone(),
                state,
                class,
                old: !person.head.is_empty() && person.head != request.head,
                dismiss: person.verdict == CHANGES
                    && (scope.holds(Permission::ProjectManage) || caller.user == Some(person.user_id)),
            }
        });
    let names = |wanted: fn(&crate::review::approval::Involved) -> bool| -> Vec<String> {
        let some = weighed.involved.iter().filter(|person| wanted(person));
        some.map(|person| person.user_name.clone()).collect()
    };
    let (asked, assignees) = (names(|person| person.reviewer), names(|person| person.assignee));
    Approvals {
        base: request_pages::base(scope, request.iid),
        open: request.state == Life::Open,
        head: request.head.clone(),
        rules: rules.collect(),
        ignored: weighed
            .verdict
            .ignored
            .iter()
            .map(|(name, bar)| (name.clone(), bar.says()))
            .collect(),
        approvers: weighed.verdict.approvers.clone(),
        may_approve: barred.is_none(),
        why_not: barred.map(|problem| problem.what).unwrap_or_default(),
        mine,
        reviewers: reviewers.collect(),
        reviewer_names: asked.join(", "),
        assignee_names: assignees.join(", "),
        assignees,
        may_edit,
        suggested: suggested
            .iter()
            .take(SUGGESTED)
            .map(|one| {
                let mut why = one.because.join(", ");
                if one.waiting > 0 {
                    let more = format!("{} waiting", one.waiting);
                    why = if why.is_empty() {
                        more
                    } else {
                        format!("{why}; {more}")
                    };
                }
                (one.name.clone(), why)
            })
            .collect(),
        icons: [icon("circle-check"), icon("users"), icon("user")],
    }
}

#[derive(Template)]
#[template(path = "review/pages/findings.html")]
struct Findings {
    base: String,
    iid: i64,
    present: Vec<Shown>,
    resolved: Vec<Shown>,
}

/// Everything that programs found about a request.
pub(super) async fn findings(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, iid)): PathOf<(String, String, i64)>,
    Params(_): Params<Paging>,
    ui: Ui,
) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    let all = forge.findings_of(&request).await?;
    let part = |resolved: bool| -> Vec<Shown> {
        let some = all.iter().filter(|one| one.resolved == resolved).take(FINDINGS);
        some.map(Shown::of).collect()
    };
    let page = Findings {
        base: request_pages::base(&scope, iid),
        iid,
        present: part(false),
        resolved: part(true),
    };
    let title = format!("Findings about !{iid} · {}", scope.path());
    ui.project_page(
        Tab::MergeRequests,
        &title,
        &request_pages::crumbs(&scope, iid),
        &page,
    )
}
