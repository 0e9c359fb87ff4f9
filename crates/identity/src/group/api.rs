//! JSON about groups and members.

use super::{Member as Row, Place};
use crate::{Identity, paging};
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem, Role};
use bascule_web::{Access, Answer, Body, InGroup, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::identity::{Group, GroupPage, Member, MemberPage, NewGroup, SetMember};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Identity> {
    let manage_group = Access::Group(Permission::GroupManage);
    let manage_project = Access::Project(Permission::MemberManage);
    Routes::new()
        .api(Access::SignedIn, routes!(list))
        .api(Access::Instance(Permission::GroupCreate), routes!(create))
        .api(Access::Group(Permission::GroupView), routes!(show))
        .api(Access::Group(Permission::GroupView), routes!(group_members))
        .api(manage_group, routes!(set_in_group, remove_from_group))
        .api(Access::Project(Permission::ProjectView), routes!(project_members))
        .api(manage_project, routes!(set_in_project, remove_from_project))
}

#[derive(Deserialize)]
struct MemberPath {
    username: String,
}

/// Lists the groups that the caller may see, by name.
#[utoipa::path(
    get, path = "/api/v1/groups", tag = "groups",
    params(
        ("after" = Option<String>, Query, description = "Only names after this one: the `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "How many at most, up to 200; 50 if not given"),
    ),
    responses((status = 200, body = GroupPage))
)]
async fn list(
    State(identity): State<Identity>,
    who: Who,
    Params(page): Params<paging::Wanted>,
) -> Answer<Json<GroupPage>> {
    let found = identity
        .visible_groups(&who, page.after(), page.limit() + 1)
        .await?;
    let (items, next) = paging::cut(found, page.limit(), |group| group.name.to_string());
    Ok(Json(GroupPage { items, next }))
}

/// Creates a group; the caller becomes its owner.
#[utoipa::path(
    post, path = "/api/v1/groups", tag = "groups", request_body = NewGroup,
    responses((status = 201, body = Group), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn create(
    State(identity): State<Identity>,
    who: Who,
    Body(new): Body<NewGroup>,
) -> Answer<(StatusCode, Json<Group>)> {
    Ok((
        StatusCode::CREATED,
        Json(identity.create_group(&who, &new).await?),
    ))
}

/// One group.
#[utoipa::path(
    get, path = "/api/v1/groups/{group}", tag = "groups", params(("group" = String, Path, description = "Group")),
    responses((status = 200, body = Group), (status = 404, body = Problem))
)]
async fn show(State(identity): State<Identity>, group: InGroup) -> Answer<Json<Group>> {
    Ok(Json(identity.group(&group).await?))
}

/// Lists a group's members, by user name.
#[utoipa::path(
    get, path = "/api/v1/groups/{group}/members", tag = "members",
    params(
        ("group" = String, Path, description = "Group"),
        ("after" = Option<String>, Query, description = "Only names after this one: the `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "How many at most, up to 200; 50 if not given"),
    ),
    responses((status = 200, body = MemberPage), (status = 404, body = Problem))
)]
async fn group_members(
    State(identity): State<Identity>,
    group: InGroup,
    Params(page): Params<paging::Wanted>,
) -> Answer<Json<MemberPage>> {
    members(&identity, Place::from(&*group), &page).await
}

/// Gives someone a role in a group, or another one than before.
#[utoipa::path(
    put, path = "/api/v1/groups/{group}/members/{username}", tag = "members",
    params(("group" = String, Path, description = "Group"), ("username" = String, Path, description = "User name")),
    request_body = SetMember,
    responses((status = 204), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn set_in_group(
    State(identity): State<Identity>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<MemberPath>,
    Body(set): Body<SetMember>,
) -> Answer<StatusCode> {
    identity
        .set_member_until(
            &who,
            group.role,
            Place::from(&*group),
            &path.username,
            set.role,
            set.ends_at,
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes someone's role in a group away.
#[utoipa::path(
    delete, path = "/api/v1/groups/{group}/members/{username}", tag = "members",
    params(("group" = String, Path, description = "Group"), ("username" = String, Path, description = "User name")),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem))
)]
async fn remove_from_group(
    State(identity): State<Identity>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<MemberPath>,
) -> Answer<StatusCode> {
    remove(&identity, &who, group.role, Place::from(&*group), &path).await
}

/// Lists a project's members, by user name; those of its group are marked as inherited.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/members", tag = "members",
    params(
        ("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project"),
        ("after" = Option<String>, Query, description = "Only names after this one: the `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "How many at most, up to 200; 50 if not given"),
    ),
    responses((status = 200, body = MemberPage), (status = 404, body = Problem))
)]
async fn project_members(
    State(identity): State<Identity>,
    project: InProject,
    Params(page): Params<paging::Wanted>,
) -> Answer<Json<MemberPage>> {
    members(&identity, Place::from(&*project), &page).await
}

/// Gives someone a role in a project, or another one than before.
#[utoipa::path(
    put, path = "/api/v1/projects/{group}/{project}/members/{username}", tag = "members",
    params(
        ("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project"),
        ("username" = String, Path, description = "User name")
    ),
    request_body = SetMember,
    responses((status = 204), (status = 403, body = Problem), (status = 422, body = Problem))
)]
async fn set_in_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<MemberPath>,
    Body(set): Body<SetMember>,
) -> Answer<StatusCode> {
    identity
        .set_member_until(
            &who,
            project.role,
            Place::from(&*project),
            &path.username,
            set.role,
            set.ends_at,
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes someone's role in a project away. A role that comes from the group stays.
#[utoipa::path(
    delete, path = "/api/v1/projects/{group}/{project}/members/{username}", tag = "members",
    params(
        ("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project"),
        ("username" = String, Path, description = "User name")
    ),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem))
)]
async fn remove_from_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<MemberPath>,
) -> Answer<StatusCode> {
    remove(&identity, &who, project.role, Place::from(&*project), &path).await
}

async fn members(identity: &Identity, place: Place, page: &paging::Wanted) -> Answer<Json<MemberPage>> {
    let found = identity.members(place, page.after(), page.limit() + 1).await?;
    let (items, next) = paging::cut(found, page.limit(), |member: &Row| member.username.clone());
    Ok(Json(MemberPage {
        items: items.into_iter().map(Member::from).collect(),
        next,
    }))
}

async fn remove(
    identity: &Identity,
    who: &Who,
    own: Role,
    place: Place,
    path: &MemberPath,
) -> Answer<StatusCode> {
    identity.remove_member(who, own, place, &path.username).await?;
    Ok(StatusCode::NO_CONTENT)
}
