//! What a request's page shows of its preview, and of what merging it would change.

use super::{merge, state};
use crate::{Delivery, pages::see};
use askama::Template;
use axum::extract::State;
use bascule_core::{Caller, Permission, Problem, ProjectScope, Result};
use bascule_web::{Answer, InProject, Markup, PathOf, Ui, icon, when};
use bascule_wire::preview::Preview;

/// Parts of a request's page.
#[derive(Default)]
pub struct Panel {
    /// The preview, beside the discussion.
    pub preview: Option<Markup>,
    /// What merging it would change, where it is a request of the environments project.
    pub dry_run: Option<Markup>,
}

#[derive(Template)]
#[template(path = "preview/card.html")]
struct Card {
    base: String,
    preview: Preview,
    /// Whether the newest commit comes from a stranger's fork and waits for a word.
    fork: bool,
    may_start: bool,
    may_stop: bool,
    head: String,
    version: String,
}

fn tone(of: &str) -> &'static str {
    match of {
        state::RUNNING => "bg-green-lt",
        state::FAILED => "bg-red-lt",
        state::STARTING => "bg-blue-lt",
        state::WAITING | state::HELD | state::STOPPING => "bg-yellow-lt",
        _ => "bg-secondary-lt",
    }
}

fn sign(of: &str) -> Markup {
    icon(match of {
        state::RUNNING => "circle-check",
        state::FAILED => "circle-x",
        state::STARTING => "loader",
        state::WAITING => "clock",
        state::HELD => "hand-stop",
        _ => "player-stop",
    })
}

fn short(sha: &str) -> String {
    sha.chars().take(8).collect()
}

pub(super) fn html(part: &impl Template) -> Result<Markup> {
    part.render().map(Markup::trusted).map_err(|error| {
        tracing::error!(%error, "a part of a page could not be made");
        Problem::internal()
    })
}

fn card(scope: &ProjectScope, preview: Preview) -> Card {
    let fork = preview.rule == "fork";
    let needed = if fork {
        Permission::ProjectManage
    } else {
        Permission::DeployStaging
    };
    let up = matches!(preview.state.as_str(), state::STARTING | state::RUNNING)
        || preview.host.is_some()
        || preview.state == state::WAITING;
    Card {
        base: format!("/{}/-/merge-requests/{}/preview", scope.path(), preview.iid),
        fork,
        may_start: scope.holds(needed)
            && (fork || matches!(preview.state.as_str(), state::STOPPED | state::FAILED)),
        may_stop: scope.holds(Permission::DeployStaging) && up,
        head: short(&preview.head),
        version: preview.sha.as_deref().map(short).unwrap_or_default(),
        preview,
    }
}

impl Delivery {
    /// What is shown on the page of a request of a project, for one who may read its code.
    ///
    /// # Errors
    /// The database refused.
    pub async fn panel(&self, caller: &Caller, scope: &ProjectScope, iid: i64, open: bool) -> Result<Panel> {
        let mut panel = Panel::default();
        if scope.holds(Permission::EnvironmentRead) {
            match self.preview(scope.id, iid).await {
                Ok(preview) if preview.state != state::OFF && (open || preview.state == state::STOPPING) => {
                    panel.preview = Some(html(&card(scope, preview))?);
                }
                Ok(_) => {}
                Err(problem) if problem.status == 404 => {}
                Err(problem) => return Err(problem),
            }
        }
        if open {
            panel.dry_run = merge::part(self, caller, scope.id, iid).await?;
        }
        Ok(panel)
    }
}

/// The card by itself, as it keeps itself up to date.
pub(super) async fn fragment(
    State(delivery): State<Delivery>,
    project: InProject,
    PathOf((_, _, iid)): PathOf<(String, String, i64)>,
    ui: Ui,
) -> Answer {
    let preview = delivery.preview(project.id, iid).await?;
    if ui.is_fragment() {
        return ui.fragment(&card(&project, preview));
    }
    Ok(see(&format!("/{}/-/merge-requests/{iid}", project.path())))
}
