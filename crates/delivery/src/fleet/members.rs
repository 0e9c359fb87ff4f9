//! The addresses and the page by which administrators look after agents and edges.

use crate::Delivery;
use askama::Template;
use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bascule_core::{Permission, Problem};
use bascule_web::{
    Access, AgentsDoor, Answer, Body, Crumb, FormBody, Markup, Params, PathOf, Routes, Section, Ui, Who,
    icon, routes, when,
};
use bascule_wire::fleet::{Enrol, Enrolled, Member, MemberCode, MemberKind, NewMember};
use http::StatusCode;
use serde::Deserialize;
use std::time::Duration;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Delivery> {
    let read = Access::Instance(Permission::InstanceRead);
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .api(read, routes!(members))
        .api(manage, routes!(create))
        .api(manage, routes!(remove))
        .api(Access::Machine(bascule_web::MachineKind::Agent), routes!(enrol))
        .page("GET", "/agents", read, get(page))
        .page("POST", "/agents", manage, post(form))
        .page("POST", "/agents/{name}/remove", manage, post(remove_form))
}

/// All agents and edges, with how they are.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agent", responses((status = 200, body = Vec<Member>)))]
async fn members(State(delivery): State<Delivery>) -> Answer<Json<Vec<Member>>> {
    Ok(Json(delivery.members().await?))
}

/// Make a code with which an agent or edge enrols once, within fifteen minutes.
#[utoipa::path(
    post, path = "/api/v1/agents", tag = "agent", request_body = NewMember,
    responses((status = 201, body = MemberCode), (status = 422, body = Problem))
)]
async fn create(
    State(delivery): State<Delivery>,
    who: Who,
    Body(new): Body<NewMember>,
) -> Answer<(StatusCode, Json<MemberCode>)> {
    Ok((StatusCode::CREATED, Json(delivery.invite(&who, &new).await?)))
}

/// Which one, and whether although it is in use.
#[derive(Debug, Deserialize, IntoParams)]
struct RemoveQuery {
    /// `agent` or `edge`.
    #[serde(default)]
    kind: MemberKind,
    /// Also where environments are assigned to it: another agent takes them over.
    #[serde(default)]
    force: bool,
}

/// Remove an agent or edge. Its token counts no more at once.
#[utoipa::path(
    delete, path = "/api/v1/agents/{name}", tag = "agent", params(("name" = String, Path), RemoveQuery),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem))
)]
async fn remove(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(name): PathOf<String>,
    Params(query): Params<RemoveQuery>,
) -> Answer<StatusCode> {
    delivery
        .remove_member(&who, query.kind, &name, query.force)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Exchange a code for a token, once.
#[utoipa::path(
    post, path = "/api/v1/agent/enrol", tag = "agent", request_body = Enrol,
    responses((status = 201, body = Enrolled), (status = 403, body = Problem))
)]
async fn enrol(
    State(delivery): State<Delivery>,
    door: Option<Extension<AgentsDoor>>,
    Body(asked): Body<Enrol>,
) -> Answer<(StatusCode, Json<Enrolled>)> {
    if door.is_some() && asked.csr.is_empty() {
        return Err(
            Problem::invalid("csr_missing", "The request for a certificate is missing.")
                .why("At this address all calls but this one need a certificate.")
                .next("Enrol by `bascule agent enrol` or `bascule edge`, which make the request.")
                .into(),
        );
    }
    Ok((StatusCode::CREATED, Json(delivery.enrol(&asked).await?)))
}

/// A member as its row shows it.
struct Line {
    member: Member,
    seen: Option<Markup>,
    code_until: Option<Markup>,
    memory: String,
    disk: String,
    low_disk: bool,
    load: String,
    skew: String,
    drivers: String,
}

/// Share of the disk below which the page warns, as one of so many parts.
const LOW_DISK: u64 = 20;

impl Line {
    fn new(member: Member) -> Self {
        let of = |free: u64, total: u64| match (free, total) {
            (0, 0) => String::new(),
            (free, 0) => format!("{} free", bascule_web::bytes(free)),
            (free, total) => format!(
                "{} of {} free",
                bascule_web::bytes(free),
                bascule_web::bytes(total)
            ),
        };
        let skew = Duration::from_millis(member.skew_ms.unsigned_abs());
        Self {
            seen: member.seen_at.map(when),
            code_until: member.code_expires_at.map(when),
            memory: of(member.memory_free_bytes, member.memory_total_bytes),
            disk: of(member.disk_free_bytes, member.disk_total_bytes),
            low_disk: member.disk_total_bytes > 0
                && member.disk_free_bytes < member.disk_total_bytes / LOW_DISK,
            load: format!("{:.2}", member.load),
            skew: format!(
                "{} {}",
                bascule_web::duration(skew),
                if member.skew_ms < 0 { "behind" } else { "ahead" }
            ),
            drivers: member
                .drivers
                .iter()
                .map(|driver| driver.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            member,
        }
    }

    fn is_agent(&self) -> bool {
        self.member.kind == MemberKind::Agent
    }
}

#[derive(Template)]
#[template(path = "fleet/members.html")]
struct Page {
    lines: Vec<Line>,
    may_manage: bool,
    /// A code that was just made.
    made: Option<MemberCode>,
}

async fn render(delivery: &Delivery, ui: &Ui, made: Option<MemberCode>) -> Answer {
    let page = Page {
        lines: delivery.members().await?.into_iter().map(Line::new).collect(),
        may_manage: ui.caller().holds(Permission::InstanceManage),
        made,
    };
    let crumbs = [Crumb::to("Environments", "/environments"), Crumb::here("Agents")];
    ui.page(Section::Environments, "Agents", &crumbs, &page)
}

async fn page(State(delivery): State<Delivery>, ui: Ui) -> Answer {
    render(&delivery, &ui, None).await
}

async fn form(State(delivery): State<Delivery>, ui: Ui, FormBody(new): FormBody<NewMember>) -> Answer {
    let made = delivery.invite(ui.caller(), &new).await?;
    render(&delivery, &ui, Some(made)).await
}

#[derive(Deserialize)]
struct RemoveForm {
    #[serde(default)]
    kind: MemberKind,
    #[serde(default)]
    force: Option<String>,
}

async fn remove_form(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(name): PathOf<String>,
    FormBody(form): FormBody<RemoveForm>,
) -> Answer<Response> {
    delivery
        .remove_member(&who, form.kind, &name, form.force.is_some())
        .await?;
    Ok(crate::pages::see("/agents").into_response())
}
