//! Pages of environments, deployments and rollouts. What changes by itself stands in a part of its own that
//! the page asks for again; every page works without script.

mod chart;
mod forms;

use crate::{
    Delivery,
    catalogue::store as catalogue,
    deployment::create::permission,
    environment::Environment as Row,
    rollout,
    views::{say, tone},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bascule_core::{DeploymentId, EnvironmentId, Permission, ProjectScope, RolloutId, limits};
use bascule_web::{
    Access, Answer, Crumb, InProject, Markup, Params, PathOf, Routes, Tab, Ui, commas, icon, when,
};
use bascule_wire::{
    agent::{InstanceState, Tier},
    delivery::{Deployment, Environment, Instance, Rollout},
};
use serde::Deserialize;
use std::{collections::HashSet, time::Duration};

pub(crate) fn routes() -> Routes<Delivery> {
    let read = Access::Project(Permission::EnvironmentRead);
    let production = Access::Project(Permission::DeployProduction);
    Routes::new()
        .page(
            "GET",
            "/{group}/{project}/-/environments",
            read,
            get(environments),
        )
        .page(
            "POST",
            "/{group}/{project}/-/deployments/new",
            Access::Project(Permission::DeployStaging),
            post(forms::deploy),
        )
        .page("GET", "/{group}/{project}/-/deployments", read, get(deployments))
        .page(
            "GET",
            "/{group}/{project}/-/deployments/{id}",
            read,
            get(deployment),
        )
        .page(
            "GET",
            "/{group}/{project}/-/rollouts/{id}",
            read,
            get(rollout_page),
        )
        .page(
            "GET",
            "/{group}/{project}/-/rollouts/{id}/chart/{kind}",
            read,
            get(chart::chart),
        )
        .page(
            "POST",
            "/{group}/{project}/-/deployments/{id}/cancel",
            Access::Project(Permission::DeployStaging),
            post(forms::cancel),
        )
        .page(
            "POST",
            "/{group}/{project}/-/rollouts/{id}/promote",
            production,
            post(forms::promote),
        )
        .page(
            "POST",
            "/{group}/{project}/-/rollouts/{id}/pause",
            production,
            post(forms::pause),
        )
        .page(
            "POST",
            "/{group}/{project}/-/rollouts/{id}/resume",
            production,
            post(forms::resume),
        )
        .page(
            "POST",
            "/{group}/{project}/-/rollouts/{id}/abort",
            Access::Project(Permission::RolloutAbort),
            post(forms::abort),
        )
}

/// Where a project's pages begin.
pub(crate) fn base(project: &ProjectScope) -> String {
    format!("/{}/-", project.path())
}

/// The colour of a step's state; the word stands beside it.
fn step_tone(state: &str) -> &'static str {
    match state {
        "done" => "state s-healthy",
        "undone" => "state s-failed",
        "now" => "state s-moving",
        _ => "state",
    }
}

fn span(milliseconds: u64) -> String {
    say::span(Duration::from_millis(milliseconds))
}

/// The icon of a status, so that colour alone never tells.
fn sign(status: &str) -> Markup {
    icon(match status {
        "succeeded" | "promoted" | "healthy" => "circle-check",
        "failed" | "crashed" | "unhealthy" => "circle-x",
        "rolled_back" | "aborted" | "undoing" => "arrow-back-up",
        "paused" | "waiting" => "player-pause",
        "running" | "promoting" | "rolling_out" | "starting" | "fetching" => "loader",
        _ => "circle-minus",
    })
}

fn words(status: &str) -> String {
    status.replace('_', " ")
}

fn state(instance: &Instance) -> &'static str {
    crate::deployment::state_name(instance.state)
}

fn rate(bad: u64, all: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let share = if all == 0 { 0.0 } else { bad as f64 / all as f64 };
    crate::judge::percent(share)
}

fn count(number: u64) -> String {
    commas(i64::try_from(number).unwrap_or(i64::MAX))
}

/// An environment as its card shows it.
struct Card {
    environment: Environment,
    recent: Vec<Deployment>,
}

impl Card {
    fn health(&self) -> &'static str {
        let serving = self.environment.serving.as_ref().map(|d| d.id);
        let mine = |i: &&Instance| Some(i.deployment) == serving && !i.baseline;
        let instances = self.environment.instances.iter().filter(mine);
        // Of several that are met by users, one that is not well is worth a look.
        let found = instances
            .clone()
            .filter(|i| i.weight > 0)
            .find(|i| i.state != InstanceState::Healthy)
            .or_else(|| instances.clone().next());
        if let (None, Some(told)) = (serving, &self.environment.told) {
            return match told.health.as_str() {
                "" => "empty",
                "healthy" => "healthy",
                "crashed" | "failed" => "crashed",
                "starting" | "fetching" => "starting",
                _ => "unhealthy",
            };
        }
        match (serving, found.map(|i| i.state)) {
            (None, _) => "empty",
            (_, Some(InstanceState::Healthy)) => "healthy",
            (_, Some(InstanceState::Unhealthy)) => "unhealthy",
            (_, Some(InstanceState::Crashed | InstanceState::Failed)) => "crashed",
            _ => "starting",
        }
    }

    fn production(&self) -> bool {
        self.environment.tier == Tier::Production
    }
}

#[derive(Template)]
#[template(path = "pages/cards.html")]
struct Cards {
    base: String,
    cards: Vec<Card>,
}

#[derive(Template)]
#[template(path = "pages/environments.html")]
struct Environments {
    parts: Cards,
    versions: Vec<Choice>,
    environments: Vec<String>,
    may_deploy: bool,
}

/// A release that the form offers.
struct Choice {
    version: String,
    /// Why it is none that one would put anywhere; empty: nothing speaks against it.
    note: &'static str,
    /// Whether it is chosen unless someone chooses another: the newest that nothing speaks against.
    usual: bool,
}

/// What the form offers, newest first.
fn choices(
    versions: impl Iterator<Item = String>,
    recalled: &HashSet<String>,
    recent: &[Deployment],
) -> Vec<Choice> {
    let mut chosen = false;
    versions
        .map(|version| {
            // Newest first: the first that ended in an environment is how it ended there last.
            let mut places = HashSet::new();
            let ends: Vec<&str> = recent
                .iter()
                .filter(|d| d.version == version && d.finished_at.is_some())
                .filter(|d| places.insert(d.environment))
                .map(|d| d.status.as_str())
                .collect();
            let note = match () {
                () if recalled.contains(&version) => "recalled",
                () if ends.contains(&"rolled_back") => "was undone",
                () if ends.contains(&"failed") => "failed",
                () => "",
            };
            let usual = note.is_empty() && !chosen;
            chosen |= usual;
            Choice { version, note, usual }
        })
        .collect()
}

async fn environments(State(delivery): State<Delivery>, project: InProject, ui: Ui) -> Answer {
    let rows = delivery.environments(project.id).await?;
    let recent = delivery
        .deployment_views(project.id, None, None, limits::PAGE_ENTRIES)
        .await?;
    let cards = delivery
        .environment_views(&rows)
        .await?
        .into_iter()
        .map(|environment| Card {
            recent: recent
                .iter()
                .filter(|d| d.environment == environment.id)
                .take(5)
                .cloned()
                .collect(),
            environment,
        })
        .collect();
    let parts = Cards {
        base: base(&project),
        cards,
    };
    if ui.is_fragment() {
        return ui.fragment(&parts);
    }
    let may_deploy = project.holds(Permission::DeployStaging);
    let production = project.holds(Permission::DeployProduction);
    let releases = if may_deploy {
        delivery.ports.releases.newest(project.id, 20).await?
    } else {
        Vec::new()
    };
    let apart: HashSet<EnvironmentId> = parts
        .cards
        .iter()
        .filter(|card| card.environment.apart)
        .map(|card| card.environment.id)
        .collect();
    let open = |row: &&Row| (row.tier() == Tier::Staging || production) && !apart.contains(&row.id);
    let recalled: HashSet<String> = catalogue::of_project(&delivery.db, project.id)
        .await?
        .into_iter()
        .filter(|listed| listed.recall_reason.is_some())
        .map(|listed| listed.version)
        .collect();
    let releases = releases.into_iter().map(|release| release.version);
    let page = Environments {
        versions: choices(releases, &recalled, &recent),
        // Production first: staging is filled by itself.
        environments: rows
            .iter()
            .rev()
            .filter(open)
            .map(|row| row.name.clone())
            .collect(),
        parts,
        may_deploy,
    };
    let crumbs = [
        Crumb::to(project.path(), format!("/{}", project.path())),
        Crumb::here("Environments"),
    ];
    ui.project_page(
        Tab::Environments,
        &format!("Environments of {}", project.path()),
        &crumbs,
        &page,
    )
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    environment: String,
    before: Option<DeploymentId>,
}

#[derive(Template)]
#[template(path = "pages/deployments.html")]
struct Deployments {
    base: String,
    environment: String,
    names: Vec<String>,
    deployments: Vec<Deployment>,
    next: Option<DeploymentId>,
}

async fn deployments(
    State(delivery): State<Delivery>,
    project: InProject,
    Params(query): Params<ListQuery>,
    ui: Ui,
) -> Answer {
    let limit = limits::PAGE_ENTRIES;
    let all = delivery
        .deployment_views(project.id, Some(&query.environment), query.before, limit)
        .await?;
    let full = i64::try_from(all.len()).unwrap_or(0) == limit;
    let page = Deployments {
        base: base(&project),
        environment: query.environment,
        names: delivery
            .environments(project.id)
            .await?
            .into_iter()
            .map(|row| row.name)
            .collect(),
        next: all.last().filter(|_| full).map(|d| d.id),
        deployments: all,
    };
    let crumbs = crumbs(&project, "Deployments");
    ui.project_page(
        Tab::Environments,
        &format!("Deployments of {}", project.path()),
        &crumbs,
        &page,
    )
}

fn crumbs(project: &ProjectScope, here: &str) -> [Crumb; 3] {
    [
        Crumb::to(project.path(), format!("/{}", project.path())),
        Crumb::to("Environments", format!("{}/environments", base(project))),
        Crumb::here(here),
    ]
}

#[derive(Template)]
#[template(path = "pages/deployment.html")]
struct DeploymentPage {
    base: String,
    deployment: Deployment,
    instances: Vec<Instance>,
    may_cancel: bool,
}

async fn deployment(
    State(delivery): State<Delivery>,
    project: InProject,
    PathOf((_, _, id)): PathOf<(String, String, DeploymentId)>,
    ui: Ui,
) -> Answer {
    let (deployment, instances) = delivery.deployment_view(project.id, id).await?;
    let title = format!("{} to {}", deployment.version, deployment.environment_name);
    let mut may_cancel = deployment.finished_at.is_none() && deployment.rollout.is_none();
    if may_cancel && let Some(environment) = delivery.environment(deployment.environment).await? {
        may_cancel = project.holds(permission(environment.tier()));
    }
    let page = DeploymentPage {
        base: base(&project),
        deployment,
        instances,
        may_cancel,
    };
    if ui.is_fragment() {
        return ui.fragment(&page);
    }
    ui.project_page(Tab::Environments, &title, &crumbs(&project, &title), &page)
}

/// A judged slice as the table shows it.
struct Line {
    at: Markup,
    weight: i64,
    new: String,
    old: String,
    evidence: String,
}

#[derive(Template)]
#[template(path = "pages/progress.html")]
struct Progress {
    base: String,
    rollout: Rollout,
    may_abort: bool,
    may_decide: bool,
    step_seconds: String,
}

impl Progress {
    fn open(&self) -> bool {
        self.rollout.finished_at.is_none()
    }

    /// What the present step waits for.
    fn pace(&self) -> String {
        let who = if self.may_decide { "you" } else { "a person" };
        match self.rollout.status.as_str() {
            "running" => format!(", at least {} at this step", self.step_seconds),
            "paused" => format!("; it waits for {who} to resume it"),
            "waiting" => format!("; it waits for {who} to decide"),
            _ => String::new(),
        }
    }
}

/// Judged slices, newest first.
#[derive(Template)]
#[template(path = "pages/slices.html")]
struct Slices {
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "pages/rollout.html")]
struct RolloutPage {
    progress: Progress,
    last: Slices,
    earlier: Slices,
}

/// What changes by itself on that page; the slices stand below the charts.
#[derive(Template)]
#[template(path = "pages/rollout_part.html")]
struct RolloutPart {
    progress: Progress,
    last: Slices,
    earlier: Slices,
}

/// Slices in the table, and how many of them stand there unfolded.
const SLICES: (i64, usize) = (20, 5);

async fn rollout_page(
    State(delivery): State<Delivery>,
    project: InProject,
    PathOf((_, _, id)): PathOf<(String, String, RolloutId)>,
    ui: Ui,
) -> Answer {
    let view = delivery.rollout_view(project.id, id).await?;
    let (most, unfolded) = SLICES;
    let points = rollout::store::points(&delivery.db, id, most).await?;
    let mut lines: Vec<Line> = points.iter().rev().map(line).collect();
    let earlier = lines.split_off(unfolded.min(lines.len()));
    let (last, earlier) = (Slices { lines }, Slices { lines: earlier });
    let title = format!("Rollout of {} to {}", view.version, view.environment_name);
    let progress = Progress {
        base: base(&project),
        may_abort: project.holds(Permission::RolloutAbort),
        may_decide: project.holds(Permission::DeployProduction),
        step_seconds: span(view.step_ms),
        rollout: view,
    };
    if ui.is_fragment() {
        let part = RolloutPart {
            progress,
            last,
            earlier,
        };
        let mut answer = ui.fragment(&part)?;
        if !part.progress.open() {
            // htmx takes this status as: show it, and ask no more.
            *answer.status_mut() = http::StatusCode::from_u16(286).unwrap_or_default();
        }
        return Ok(answer);
    }
    ui.project_page(
        Tab::Environments,
        &title,
        &crumbs(&project, &title),
        &RolloutPage {
            progress,
            last,
            earlier,
        },
    )
}

fn line(point: &rollout::store::Point) -> Line {
    let side = |errors: i64, requests: i64| {
        let (errors, requests) = (
            u64::try_from(errors).unwrap_or(0),
            u64::try_from(requests).unwrap_or(0),
        );
        format!("{errors} of {requests} ({})", rate(errors, requests))
    };
    Line {
        at: when(point.at),
        weight: point.weight,
        new: side(point.new_errors, point.new_requests),
        old: side(point.old_errors, point.old_requests),
        evidence: format!("{:.2}", point.error_evidence.max(point.slow_evidence)),
    }
}

/// To another page, after a form.
pub(crate) fn see(to: &str) -> Response {
    (
        http::StatusCode::SEE_OTHER,
        [(http::header::LOCATION, to.to_owned())],
    )
        .into_response()
}
