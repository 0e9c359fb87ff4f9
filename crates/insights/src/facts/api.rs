//! JSON handlers.

use super::Question;
use crate::Insights;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem, limits};
use bascule_web::{Access, Answer, Params, PathOf, Routes, Who, routes};
use bascule_wire::insights::{FactEntry, FactPage, LedgerVerification};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Insights> {
    Routes::new()
        .api(Access::Insider, routes!(list))
        .api(Access::Insider, routes!(one))
        .api(Access::Instance(Permission::InstanceRead), routes!(verify))
}

#[derive(Deserialize)]
pub(super) struct SeqPath {
    pub(super) seq: String,
}

impl SeqPath {
    pub(super) fn seq(&self) -> Result<i64, Problem> {
        self.seq.parse().map_err(|_| Problem::not_found("fact"))
    }
}

/// Facts that the caller may see: newest first, or oldest first with `after`.
#[utoipa::path(get, path = "/api/v1/ledger", tag = "ledger", params(Question), responses((status = 200, body = FactPage)))]
async fn list(
    State(insights): State<Insights>,
    who: Who,
    Params(asked): Params<Question>,
) -> Answer<Json<FactPage>> {
    let limit = asked
        .limit
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    let filter = insights.filter(&who, &asked, None).await?;
    let (entries, more) = insights.ask(&filter, &asked, limit).await?;
    let next = entries.last().filter(|_| more).map(|entry| entry.seq);
    Ok(Json(FactPage {
        items: insights.entries_as_dto(entries).await?,
        next,
    }))
}

/// One fact.
#[utoipa::path(get, path = "/api/v1/ledger/{seq}", tag = "ledger", params(("seq" = i64, Path)),
    responses((status = 200, body = FactEntry)))]
async fn one(
    State(insights): State<Insights>,
    who: Who,
    PathOf(path): PathOf<SeqPath>,
) -> Answer<Json<FactEntry>> {
    let entry = insights.fact(&who, path.seq()?).await?;
    let dto = insights.entries_as_dto(vec![entry]).await?.pop();
    Ok(Json(dto.ok_or_else(|| Problem::not_found("fact"))?))
}

/// Recomputes every hash and checks every signature. Takes about ten seconds for a million facts.
#[utoipa::path(get, path = "/api/v1/ledger/verify", tag = "ledger", responses((status = 200, body = LedgerVerification)))]
async fn verify(State(insights): State<Insights>) -> Answer<Json<LedgerVerification>> {
    let _alone = insights.verifying.try_lock().map_err(|_| {
        Problem::new(429, "busy", "The ledger is being verified already.")
            .why("Verifying reads the whole ledger, so it is done once at a time.")
            .next("Try again in a while.")
    })?;
    let found = insights.ledger.verify(&insights.ledger.key().public()).await?;
    Ok(Json(LedgerVerification {
        entries: found.entries,
        checkpoints: found.checkpoints,
        clean: found.fault.is_none(),
        fault_seq: found.fault.as_ref().map(|fault| fault.seq),
        fault: found.fault.map(|fault| fault.reason),
    }))
}
