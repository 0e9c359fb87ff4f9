//! The page of the import: a file or pasted text, looked at first, then taken.

use crate::{
    Planning,
    issue::pages::{base, crumbs},
};
use askama::Template;
use axum::{
    extract::{FromRequest as _, Multipart, Request, State},
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, InProject, Routes, Tab, Ui, Who};
use bascule_wire::planning::ImportReport;

pub(crate) fn routes() -> Routes<Planning> {
    let manage = Access::Project(Permission::IssueManage);
    Routes::new()
        .page(
            "GET,POST",
            "/{group}/{project}/-/issues/import",
            manage,
            get(form).post(import),
        )
        .page(
            "GET",
            "/{group}/{project}/-/issues/export",
            Access::Project(Permission::IssueRead),
            get(export),
        )
}

#[derive(Template)]
#[template(path = "transfer/import.html")]
struct Page {
    base: String,
    text: String,
    report: Option<ImportReport>,
    problem: Option<Problem>,
}

async fn show(ui: &Ui, project: &InProject, page: &Page) -> Answer {
    ui.project_page(
        Tab::Issues,
        "Import issues",
        &crumbs(project, Some("Import".to_owned())),
        page,
    )
}

async fn form(project: InProject, ui: Ui) -> Answer {
    let page = Page {
        base: base(&project),
        text: String::new(),
        report: None,
        problem: None,
    };
    show(&ui, &project, &page).await
}

async fn import(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    ui: Ui,
    request: Request,
) -> Answer {
    let unreadable = |error: String| {
        Problem::bad_request("bad_form", format!("The form cannot be read: {error}.")).next("Send it again.")
    };
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| unreadable(error.body_text()))?;
    let (mut file, mut pasted, mut take) = (Vec::new(), String::new(), false);
    while let Some(part) = parts
        .next_field()
        .await
        .map_err(|error| unreadable(error.body_text()))?
    {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part
            .bytes()
            .await
            .map_err(|error| unreadable(error.body_text()))?;
        match name.as_str() {
            "file" => file = bytes.to_vec(),
            "text" => pasted = String::from_utf8_lossy(&bytes).into_owned(),
            "take" => take = true,
            _ => {}
        }
    }
    let bytes = if file.is_empty() {
        pasted.clone().into_bytes()
    } else {
        file
    };
    let outcome = planning.import(&who, &project, &bytes, !take).await;
    if take && outcome.as_ref().is_ok_and(|report| report.errors.is_empty()) {
        return Ok(Redirect::to(&format!("{}/issues?sort=created", base(&project))).into_response());
    }
    let (report, problem) = match outcome {
        Ok(report) => (Some(report), None),
        Err(problem) if !problem.is_server_fault() && problem.status != 403 => (None, Some(problem)),
        Err(problem) => return Err(problem.into()),
    };
    let page = Page {
        base: base(&project),
        // What was looked at is what is taken next: it stands in the page, and no file has to be chosen twice.
        text: String::from_utf8_lossy(&bytes).into_owned(),
        report,
        problem,
    };
    show(&ui, &project, &page).await
}

async fn export(State(planning): State<Planning>, who: Who, project: InProject) -> Answer<Response> {
    Ok(super::api::file(&project, planning.export(&who, &project).await?))
}
