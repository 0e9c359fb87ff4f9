//! Pages about sizes, limits and upkeep, of a project and of a group.

use super::human;
use crate::Forge;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::{get, post},
};
use bascule_core::{Permission, Problem, ProjectScope, Result};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InGroup, InProject, Markup, Routes, Section, Tab, Ui, Who, when,
};
use bascule_wire::forge::{StorageLimits, UpkeepRun};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Forge> {
    let manage = Access::Project(Permission::ProjectManage);
    Routes::new()
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings/storage",
            manage,
            get(project).post(set_project),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/storage/upkeep",
            manage,
            post(upkeep),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/storage/fsck",
            manage,
            post(fsck),
        )
        .page(
            "GET,POST",
            "/{group}/-/storage",
            Access::Group(Permission::GroupManage),
            get(group).post(set_group),
        )
}

struct Row {
    name: &'static str,
    field: &'static str,
    holds: String,
    /// In MiB, as set here; empty where nothing is.
    set: String,
}

struct Run {
    what: &'static str,
    state: &'static str,
    good: Option<bool>,
    at: Option<Markup>,
    told: String,
}

#[derive(Template)]
#[template(path = "storage/storage.html")]
struct Page {
    heading: String,
    action: String,
    size: String,
    of_group: bool,
    rows: Vec<Row>,
    runs: Vec<Run>,
    busy: bool,
}

/// Limits as they hold and as they are set: of a file, of a push, and the quota.
fn rows(quota: &'static str, holds: [Option<i64>; 3], set: &StorageLimits) -> Vec<Row> {
    let bytes = |value: i64| human(u64::try_from(value).unwrap_or_default());
    let limits = [
        ("Largest file in a push", "file", set.file_bytes),
        ("Largest push", "push", set.push_bytes),
        (quota, "quota", set.quota_bytes),
    ];
    let row = |((name, field, set), holds): ((&'static str, &'static str, Option<i64>), Option<i64>)| Row {
        name,
        field,
        holds: holds.map_or_else(|| "unlimited".to_owned(), bytes),
        set: set.map(mib).unwrap_or_default(),
    };
    limits.into_iter().zip(holds).map(row).collect()
}

fn mib(bytes: i64) -> String {
    let text = format!("{:.3}", bytes as f64 / f64::from(1 << 20));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn run(run: UpkeepRun) -> Run {
    let (state, at) = match (run.started_at, run.ended_at) {
        (_, Some(ended)) if run.good == Some(true) => ("good", Some(ended)),
        (_, Some(ended)) => ("failed", Some(ended)),
        (Some(started), None) => ("running", Some(started)),
        (None, None) => ("waiting", Some(run.requested_at)),
    };
    Run {
        what: if run.kind == "fsck" {
            "Check of all objects (git fsck)"
        } else {
            "Upkeep (packing, commit graph, bitmaps)"
        },
        state,
        good: run.ended_at.and(run.good),
        at: at.map(when),
        told: run.told,
    }
}

async fn project(State(forge): State<Forge>, InProject(scope): InProject, ui: Ui) -> Answer {
    let project = forge.project_of(&scope).await?;
    let storage = forge.storage(&project).await?;
    let runs = forge.upkeep_of(scope.id).await?;
    let path = scope.path();
    let page = Page {
        heading: format!("Storage of {path}"),
        action: address(&scope),
        size: human(u64::try_from(storage.bytes).unwrap_or_default()),
        of_group: false,
        rows: rows(
            "Quota of the project",
            [
                Some(storage.file_bytes),
                Some(storage.push_bytes),
                storage.quota_bytes,
            ],
            &storage.set,
        ),
        busy: runs.iter().any(|run| run.ended_at.is_none()),
        runs: runs.into_iter().map(run).collect(),
    };
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, format!("/{path}")),
        Crumb::to("Settings", format!("/{path}/-/settings")),
        Crumb::here("Storage"),
    ];
    ui.project_page(Tab::Settings, &format!("Storage · {path}"), &crumbs, &page)
}

fn address(scope: &ProjectScope) -> String {
    format!("/{}/-/settings/storage", scope.path())
}

/// In MiB; empty for what holds by itself.
#[derive(Deserialize)]
struct LimitsForm {
    #[serde(default)]
    file: String,
    #[serde(default)]
    push: String,
    #[serde(default)]
    quota: String,
}

impl LimitsForm {
    fn read(&self) -> Result<StorageLimits> {
        Ok(StorageLimits {
            file_bytes: bytes(&self.file)?,
            push_bytes: bytes(&self.push)?,
            quota_bytes: bytes(&self.quota)?,
        })
    }
}

fn bytes(text: &str) -> Result<Option<i64>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let bytes = text
        .parse::<f64>()
        .ok()
        .map(|mib| mib * f64::from(1 << 20))
        .filter(|bytes| (1.0..9e18).contains(bytes));
    // Within bounds, by the line above.
    #[allow(clippy::cast_possible_truncation, reason = "bounded above")]
    let bytes = bytes.map(|bytes| bytes as i64);
    bytes.map(Some).ok_or_else(|| {
        Problem::invalid("bad_limit", "A limit is a number of MiB above zero.")
            .next("Write a number such as 100, or leave the field empty for what holds by itself.")
    })
}

async fn set_project(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(form): FormBody<LimitsForm>,
) -> Answer {
    let project = forge.project_of(&scope).await?;
    forge.set_project_limits(&caller, &project, form.read()?).await?;
    Ok(Redirect::to(&address(&scope)).into_response())
}

async fn upkeep(State(forge): State<Forge>, Who(caller): Who, InProject(scope): InProject) -> Answer {
    forge.request_upkeep(&caller.actor, scope.id).await?;
    Ok(Redirect::to(&address(&scope)).into_response())
}

async fn fsck(State(forge): State<Forge>, Who(caller): Who, InProject(scope): InProject) -> Answer {
    forge.request_fsck(&caller.actor, scope.id).await?;
    Ok(Redirect::to(&address(&scope)).into_response())
}

async fn group(State(forge): State<Forge>, InGroup(group): InGroup, ui: Ui) -> Answer {
    let storage = forge.group_storage(group.id).await?;
    let page = Page {
        heading: format!("Storage of {}", group.name),
        action: format!("/{}/-/storage", group.name),
        size: human(u64::try_from(storage.bytes).unwrap_or_default()),
        of_group: true,
        rows: rows(
            "Quota of all projects together",
            [
                Some(storage.file_bytes),
                Some(storage.push_bytes),
                storage.quota_bytes,
            ],
            &storage.set,
        ),
        runs: Vec::new(),
        busy: false,
    };
    let crumbs = [
        Crumb::to(&group.name, format!("/{}", group.name)),
        Crumb::here("Storage"),
    ];
    ui.page(
        Section::Projects,
        &format!("Storage · {}", group.name),
        &crumbs,
        &page,
    )
}

async fn set_group(
    State(forge): State<Forge>,
    Who(caller): Who,
    InGroup(group): InGroup,
    FormBody(form): FormBody<LimitsForm>,
) -> Answer {
    forge.set_group_limits(&caller, &group, form.read()?).await?;
    Ok(Redirect::to(&format!("/{}/-/storage", group.name)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_in_mebibytes() {
        assert_eq!(bytes(" 1.5 ").unwrap(), Some(3 << 19));
        assert_eq!(bytes("").unwrap(), None);
        for bad in ["x", "0", "-1", "NaN", "1e99", "inf"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(mib(3 << 19), "1.5");
        assert_eq!(mib(100 << 20), "100");
    }
}
