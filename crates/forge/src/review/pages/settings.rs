//! What a project asks of reviews, as a form.

use crate::Forge;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::Problem;
use bascule_web::{Answer, Crumb, FormBody, InProject, Markup, Tab, Ui, Who, icon};
use bascule_wire::review as wire;

/// Empty lines for further teams.
const SPARE: usize = 2;

#[derive(Template)]
#[template(path = "review/pages/settings.html")]
struct Settings {
    base: String,
    path: String,
    settings: wire::ReviewSettings,
    icons: [Markup; 2],
}

pub(super) async fn show(State(forge): State<Forge>, InProject(scope): InProject, ui: Ui) -> Answer {
    let mut settings = forge.review_settings_wire(scope.id).await?;
    settings
        .teams
        .extend(std::iter::repeat_n(wire::TeamRule::default(), SPARE));
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, format!("/{}", scope.path())),
        Crumb::to("Settings", format!("/{}/-/settings", scope.path())),
        Crumb::here("Reviews"),
    ];
    let page = Settings {
        base: format!("/{}/-/settings/reviews", scope.path()),
        path: scope.path(),
        settings,
        icons: [icon("circle-check"), icon("users")],
    };
    ui.project_page(
        Tab::Settings,
        &format!("Reviews · {}", scope.path()),
        &crumbs,
        &page,
    )
}

pub(super) async fn save(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(fields): FormBody<Vec<(String, String)>>,
) -> Answer {
    let has = |wanted: &str| fields.iter().any(|(name, _)| name == wanted);
    let all = |wanted: &str| -> Vec<&str> {
        let some = fields.iter().filter(|(name, _)| name == wanted);
        some.map(|(_, value)| value.trim()).collect()
    };
    let number = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| Problem::invalid("bad_count", "The number of approvals is no number."))
    };
    let (names, groups, counts) = (all("team_name"), all("team_group"), all("team_required"));
    let mut teams = Vec::new();
    for ((name, group), count) in names.iter().zip(&groups).zip(&counts) {
        if group.is_empty() {
            continue;
        }
        teams.push(wire::TeamRule {
            name: (*name).to_owned(),
            group: (*group).to_owned(),
            required: if count.is_empty() { 1 } else { number(count)? },
        });
    }
    let change = wire::ReviewSettingsChange {
        approvals: Some(number(all("approvals").first().copied().unwrap_or("0"))?),
        code_owners: Some(has("code_owners")),
        writers_barred: Some(has("writers_barred")),
        reset_on_change: Some(has("reset_on_change")),
        resolve_threads: Some(has("resolve_threads")),
        teams: Some(teams),
    };
    forge.change_review_settings(&caller, scope.id, &change).await?;
    Ok(Redirect::to(&format!("/{}/-/settings/reviews", scope.path())).into_response())
}
