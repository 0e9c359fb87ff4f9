//! JSON about outside partners.

use crate::{Identity, paging};
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::identity::{CreatedUser, CutOff, NewPartner, Partner, PartnerEnd, PartnerPage};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Identity> {
    Routes::new()
        .api(Access::Insider, routes!(list))
        .api(Access::Insider, routes!(cut_off))
        .api(Access::Insider, routes!(set_end))
        .api(
            Access::Project(Permission::MemberManage),
            routes!(of_project, invite),
        )
}

/// Lists the outside partners about whom the caller has a say, by user name.
#[utoipa::path(
    get, path = "/api/v1/partners", tag = "partners",
    params(
        ("after" = Option<String>, Query, description = "Only names after this one: the `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "How many at most, up to 200; 50 if not given"),
    ),
    responses((status = 200, body = PartnerPage))
)]
async fn list(
    State(identity): State<Identity>,
    who: Who,
    Params(page): Params<paging::Wanted>,
) -> Answer<Json<PartnerPage>> {
    page_of(&identity, &who, None, &page).await
}

/// Lists the outside partners of a project, by user name.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/partners", tag = "partners",
    params(
        ("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project"),
        ("after" = Option<String>, Query, description = "Only names after this one: the `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "How many at most, up to 200; 50 if not given"),
    ),
    responses((status = 200, body = PartnerPage), (status = 404, body = Problem))
)]
async fn of_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    Params(page): Params<paging::Wanted>,
) -> Answer<Json<PartnerPage>> {
    page_of(&identity, &who, Some(project.id), &page).await
}

/// Creates an outside partner's account with a role in this project.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/partners", tag = "partners",
    params(("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project")),
    request_body = NewPartner,
    responses((status = 201, body = CreatedUser), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn invite(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    Body(new): Body<NewPartner>,
) -> Answer<(StatusCode, Json<CreatedUser>)> {
    let created = identity.invite_partner(&who, &project, &new).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Cuts an outside partner off: sessions, tokens and keys end at once, what is open within a second.
#[utoipa::path(
    post, path = "/api/v1/partners/{username}/cut-off", tag = "partners",
    params(("username" = String, Path, description = "User name")), request_body = CutOff,
    responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn cut_off(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
    Body(cut): Body<CutOff>,
) -> Answer<StatusCode> {
    identity.cut_off(&who, &username, &cut.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets when an outside partner's access ends.
#[utoipa::path(
    put, path = "/api/v1/partners/{username}/end", tag = "partners",
    params(("username" = String, Path, description = "User name")), request_body = PartnerEnd,
    responses((status = 200, body = Partner), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn set_end(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
    Body(end): Body<PartnerEnd>,
) -> Answer<Json<Partner>> {
    Ok(Json(
        identity.set_partner_end(&who, &username, end.ends_at).await?,
    ))
}

async fn page_of(
    identity: &Identity,
    who: &Who,
    within: Option<bascule_core::ProjectId>,
    page: &paging::Wanted,
) -> Answer<Json<PartnerPage>> {
    let found = identity
        .partners(who, within, page.after(), page.limit() + 1)
        .await?;
    let (items, next) = paging::cut(found, page.limit(), |seen| seen.account.username.clone());
    let now = identity.now();
    Ok(Json(PartnerPage {
        items: items.iter().map(|seen| seen.to_wire(now)).collect(),
        next,
    }))
}
