//! Pages of merge requests.

mod changes;
mod conflicts;
mod list;
mod merge;
mod more;
mod show;

use super::{CheckState, MergeRequest, State, store};
use crate::{Forge, ProjectInfo, code::shown, review::Weighed, told::told, workflow};
use axum::routing::{get, post};
use bascule_core::{Permission, ProjectScope, Result};
use bascule_web::{Access, Crumb, Markup, Routes, icon, url_path};

pub(crate) fn routes() -> Routes<Forge> {
    let see = Access::Project(Permission::CodeRead);
    let write = Access::Project(Permission::MergeRequestWrite);
    let push = Access::Project(Permission::CodePush);
    let one = "/{group}/{project}/-/merge-requests/{iid}";
    let under = |rest: &str| format!("{one}/{rest}");
    Routes::new()
        .page("GET", "/{group}/{project}/-/merge-requests", see, get(list::list))
        .page(
            "POST",
            "/{group}/{project}/-/merge-requests",
            write,
            post(list::open),
        )
        .page(
            "GET",
            "/{group}/{project}/-/merge-requests/new",
            write,
            get(list::new),
        )
        .page("GET", one, see, get(show::overview))
        .page("GET", &under("commits"), see, get(show::commits))
        .page("GET", &under("changes"), see, get(changes::changes))
        .page(
            "GET,POST",
            &under("edit"),
            write,
            get(show::edit).post(show::save),
        )
        .page("POST", &under("close"), write, post(show::close))
        .page("POST", &under("reopen"), write, post(show::reopen))
        .page("GET", &under("versions"), see, get(more::range))
        .page("POST", &under("restore-branch"), push, post(more::restore))
        .page("POST", &under("revert"), push, post(more::revert))
        .page("POST", &under("cherry-pick"), push, post(more::pick))
        .page("GET", &under("conflicts"), see, get(conflicts::conflicts))
        .page("POST", &under("conflicts/solve"), push, post(conflicts::solve))
        .page("POST", &under("ready"), write, post(show::ready))
        .page(
            "POST",
            &under("merge"),
            Access::Project(Permission::MergeRequestMerge),
            post(merge::merge),
        )
        .page("POST", &under("merge/cancel"), write, post(merge::cancel))
        .page("POST", &under("queue/leave"), write, post(merge::leave))
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings/merging",
            Access::Project(Permission::ProjectManage),
            get(merge::settings).post(merge::save_settings),
        )
}

/// What is above every page of a request.
pub(crate) struct Head {
    pub(crate) base: String,
    pub(crate) iid: i64,
    pub(crate) title: String,
    pub(crate) state: &'static str,
    pub(crate) class: &'static str,
    /// What its author is said to do with the two branches.
    pub(crate) wish: &'static str,
    pub(crate) author: String,
    pub(crate) from: String,
    pub(crate) from_href: String,
    pub(crate) to: String,
    pub(crate) to_href: String,
    pub(crate) opened: Markup,
    pub(crate) tabs: [(String, &'static str, bool); 3],
    pub(crate) icon: Markup,
}

/// A condition, as shown.
pub(crate) struct Condition {
    pub(crate) name: &'static str,
    pub(crate) icon: Markup,
    pub(crate) class: &'static str,
    pub(crate) what: Markup,
    pub(crate) why: Markup,
    pub(crate) next: Markup,
    /// Whether a maintainer may let it by.
    pub(crate) by_policy: bool,
}

pub(crate) fn project_base(scope: &ProjectScope) -> String {
    format!("/{}/{}", scope.group, scope.name)
}

pub(crate) fn base(scope: &ProjectScope, iid: i64) -> String {
    format!("{}/-/merge-requests/{iid}", project_base(scope))
}

pub(crate) fn crumbs(scope: &ProjectScope, iid: i64) -> Vec<Crumb> {
    vec![
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, project_base(scope)),
        Crumb::to(
            "Merge requests",
            format!("{}/-/merge-requests", project_base(scope)),
        ),
        Crumb::here(format!("!{iid}")),
    ]
}

/// How a request's state is shown: word, colour, icon.
pub(crate) fn badge(request: &MergeRequest) -> (&'static str, &'static str, &'static str) {
    match request.state {
        State::Open if request.draft => ("draft", "bg-secondary-lt", "git-pull-request-draft"),
        State::Open => ("open", "bg-green-lt", "git-pull-request"),
        State::Merged => ("merged", "bg-purple-lt", "git-merge"),
        State::Closed => ("closed", "bg-red-lt", "git-pull-request-closed"),
    }
}

impl Forge {
    pub(super) async fn head(
        &self,
        scope: &ProjectScope,
        request: &MergeRequest,
        tab: usize,
    ) -> Result<Head> {
        let here = base(scope, request.iid);
        let (state, class, picture) = badge(request);
        let wish = match request.state {
            State::Open => "wants to merge",
            State::Merged | State::Closed => "wanted to merge",
        };
        let branch = |project: &str, name: &str| format!("/{project}/-/tree/{}", url_path(name));
        let source = if request.is_fork() {
            self.project_by_id(request.source_project_id)
                .await?
                .map(|source| source.path())
        } else {
            Some(scope.path())
        };
        let from = match &source {
            Some(source) if request.is_fork() => format!("{source}:{}", request.source_branch),
            Some(_) => request.source_branch.clone(),
            None => format!("(a fork that is gone):{}", request.source_branch),
        };
        Ok(Head {
            iid: request.iid,
            title: shown(request.title.as_bytes()),
            state,
            class,
            wish,
            author: request.author_name.clone(),
            from,
            from_href: source
                .filter(|_| !request.source_gone)
                .map(|source| branch(&source, &request.source_branch))
                .unwrap_or_default(),
            to: request.target_branch.clone(),
            to_href: branch(&scope.path(), &request.target_branch),
            opened: bascule_web::when(request.created_at),
            tabs: [
                (here.clone(), "Overview", tab == 0),
                (format!("{here}/commits"), "Commits", tab == 1),
                (format!("{here}/changes"), "Changes", tab == 2),
            ],
            icon: icon(picture),
            base: here,
        })
    }

    pub(super) async fn conditions(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
        weighed: &Weighed,
    ) -> Result<(Vec<Condition>, bool)> {
        let checks = self.checks_with(project, request, weighed).await?;
        let free = !checks.iter().any(|check| check.state.holds());
        let here = format!("/{}", project.path());
        // The pipeline of a fork's commit runs in the fork.
        let source = if request.is_fork() {
            self.project_by_id(request.source_project_id).await?
        } else {
            None
        };
        let source = source.map_or_else(|| here.clone(), |source| format!("/{}", source.path()));
        let conditions = checks.into_iter().map(|check| {
            let place = if check.name == "pipeline" { &source } else { &here };
            let (picture, class) = match check.state {
                CheckState::Passed => ("circle-check", "text-green"),
                CheckState::Pending => ("clock", "text-yellow"),
                CheckState::Failed => ("circle-x", "text-red"),
                CheckState::Warned => ("alert-triangle", "text-yellow"),
            };
            Condition {
                by_policy: workflow::may_be_let_by(&check),
                name: check.name,
                icon: icon(picture),
                class,
                what: told(&check.what, place),
                why: told(&check.why, place),
                next: told(&check.next, place),
            }
        });
        Ok((conditions.collect(), free))
    }

    pub(super) async fn open_count(&self, scope: &ProjectScope) -> Result<i64> {
        Ok(store::count(self.db(), scope.id, State::Open).await?)
    }
}
