//! Sites in the JSON API, and the routes by which they are visited.

use super::{serve, store::Site};
use crate::Ci;
use axum::{Json, extract::State, routing::get};
use bascule_core::Permission;
use bascule_web::{Access, Answer, InProject, MachineKind, Params, Routes, Who, routes};
use bascule_wire::pipelines::Site as WireSite;
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let view = Access::Project(Permission::ProjectView);
    let manage = Access::Project(Permission::ProjectManage);
    // The token in the address is the proof, and the handler checks it.
    let bearer = Access::Machine(MachineKind::Runner);
    Routes::new()
        .api(view, routes!(list))
        .api(manage, routes!(remove))
        .page("GET", "/{group}/{project}/-/pages", view, get(serve::enter))
        .page("GET", "/{group}/{project}/-/pages/", view, get(serve::enter))
        .page(
            "GET",
            "/{group}/{project}/-/pages/{*place}",
            view,
            get(serve::enter_at),
        )
        .page("GET", "/-/site/{token}", bearer, get(serve::top))
        .page("GET", "/-/site/{token}/", bearer, get(serve::index))
        .page("GET", "/-/site/{token}/{*place}", bearer, get(serve::file))
}

impl Site {
    fn to_wire(&self, base: &str) -> WireSite {
        WireSite {
            prefix: self.prefix.clone(),
            url: match self.prefix.as_str() {
                "" => format!("{base}/"),
                prefix => format!("{base}/{prefix}/"),
            },
            job: self.job_id,
            deployed_at: self.deployed_at,
            expires_at: self.expires_at,
        }
    }
}

/// Lists the static sites that the project's jobs made, the main one first.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/pages", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<WireSite>)))]
async fn list(State(ci): State<Ci>, project: InProject) -> Answer<Json<Vec<WireSite>>> {
    let base = format!("{}/{}/-/pages", ci.options.base_url, project.path());
    let sites = ci.sites(project.id).await?;
    Ok(Json(sites.iter().map(|site| site.to_wire(&base)).collect()))
}

#[derive(Debug, Default, Deserialize)]
struct Which {
    /// The prefix; left out, the main site.
    #[serde(default)]
    prefix: String,
}

/// Serves a site no more.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/ci/pages", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("prefix" = Option<String>, Query)),
    responses((status = 204)))]
async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Params(which): Params<Which>,
) -> Answer<StatusCode> {
    ci.remove_site(project.id, &which.prefix, &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
