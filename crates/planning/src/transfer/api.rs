//! JSON and CSV handlers.

use crate::Planning;
use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bascule_core::{Permission, ProjectScope};
use bascule_web::{Access, Answer, InProject, Params, Routes, Who, routes};
use bascule_wire::planning::ImportReport;
use http::header;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    Routes::new()
        .api(Access::Project(Permission::IssueManage), routes!(import))
        .api(Access::Project(Permission::IssueRead), routes!(export))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
struct How {
    /// Only look, and say what is wrong.
    #[serde(default)]
    dry_run: bool,
}

/// Opens an issue for each row of a CSV file: for all of them, or, where anything is wrong, for none.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/issues/import", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), How),
    request_body(content = String, content_type = "text/csv"), responses((status = 200, body = ImportReport)))]
async fn import(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    Params(how): Params<How>,
    body: Bytes,
) -> Answer<Json<ImportReport>> {
    Ok(Json(planning.import(&who, &project, &body, how.dry_run).await?))
}

/// The issues that the caller may see, as CSV that the import reads.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/issues/export", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = String, content_type = "text/csv")))]
async fn export(State(planning): State<Planning>, who: Who, project: InProject) -> Answer<Response> {
    Ok(file(&project, planning.export(&who, &project).await?))
}

/// CSV as a download.
pub(super) fn file(project: &ProjectScope, bytes: Vec<u8>) -> Response {
    let name = format!("attachment; filename=\"{}-issues.csv\"", project.name);
    (
        [
            (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
            (header::CONTENT_DISPOSITION, name),
        ],
        bytes,
    )
        .into_response()
}
