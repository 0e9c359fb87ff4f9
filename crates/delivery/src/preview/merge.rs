//! What merging a request of the environments project would change: the dry run of the files as the merge would leave
//! them, so that what others merged in the meantime is not told as this request's doing.

use super::card::{fragment, html};
use crate::Delivery;
use askama::Template;
use axum::routing::get;
use bascule_core::{Caller, Permission, Problem, ProjectId, Result};
use bascule_web::{Access, Markup, Routes, icon};
use bascule_wire::environments::{DryRun, NewDryRun};

pub(super) fn routes() -> Routes<Delivery> {
    Routes::new().page(
        "GET",
        "/{group}/{project}/-/merge-requests/{iid}/preview",
        Access::Project(Permission::EnvironmentRead),
        get(fragment),
    )
}

/// Plans that a page tells of.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "preview/dry_run.html")]
struct Part {
    /// Why nothing can be said.
    why_not: String,
    told: DryRun,
    more: usize,
}

impl Delivery {
    /// What merging a request of the environments project into the branch that counts would change.
    ///
    /// # Errors
    /// It is no request of that project, it has ended or goes elsewhere, or it cannot be merged as it stands.
    pub async fn dry_run_of_request(&self, caller: &Caller, project: ProjectId, iid: i64) -> Result<DryRun> {
        if self.reads_declarations(caller).await? != Some(project) {
            let path = &self.ports.environments;
            let what = format!("Only a merge request of {path} changes environments.");
            return Err(Problem::new(404, "no_declarations", what)
                .why("Environments are declared in that project alone.")
                .next("Open the merge request there."));
        }
        let request = self.ports.requests.get(project, iid).await?;
        let request = request.ok_or_else(|| Problem::not_found("merge request"))?;
        if !request.open {
            return Err(
                Problem::conflict("request_ended", format!("!{iid} is not open any more."))
                    .why("What it would change was decided.")
                    .next("The ledger tells what was declared since."),
            );
        }
        let Some(tree) = self.ports.requests.merge_result(project, iid).await? else {
            return Err(
                Problem::conflict("conflicts", format!("!{iid} cannot be merged as it stands."))
                    .why("Its changes and those of the target branch meet in the same lines.")
                    .next("Solve the conflicts; then it can be said what it would change."),
            );
        };
        let new = NewDryRun {
            revision: tree,
            ..NewDryRun::default()
        };
        Box::pin(self.dry_run(caller, &new)).await
    }
}

/// The part of the request's page; `None` where it is no request of the environments project.
pub(super) async fn part(
    delivery: &Delivery,
    caller: &Caller,
    project: ProjectId,
    iid: i64,
) -> Result<Option<Markup>> {
    let home = delivery.ports.projects.find(&delivery.ports.environments).await?;
    if home != Some(project) {
        return Ok(None);
    }
    let mut part = match delivery.dry_run_of_request(caller, project, iid).await {
        Ok(told) => Part {
            why_not: String::new(),
            more: told.plans.len().saturating_sub(SHOWN),
            told,
        },
        Err(problem) if !problem.is_server_fault() => Part {
            why_not: [problem.what, problem.next].join(" "),
            told: DryRun::default(),
            more: 0,
        },
        Err(problem) => return Err(problem),
    };
    part.told.plans.truncate(SHOWN);
    html(&part).map(Some)
}
