//! JSON handlers.

use crate::Notices;
use axum::{Json, extract::State};
use bascule_core::Problem;
use bascule_web::{Access, Answer, Body, Routes, Who, routes};
use bascule_wire::notices::MailChoice;

pub(crate) fn routes() -> Routes<Notices> {
    Routes::new().api(Access::SignedIn, routes!(show, choose))
}

/// What you hear of by mail.
#[utoipa::path(get, path = "/api/v1/user/mail", tag = "notices", responses((status = 200, body = MailChoice)))]
async fn show(State(notices): State<Notices>, who: Who) -> Answer<Json<MailChoice>> {
    Ok(Json(notices.mail_choice(&who).await?))
}

/// Chooses what you hear of by mail: of each `all`, `todos` or `none`.
#[utoipa::path(put, path = "/api/v1/user/mail", tag = "notices", request_body = MailChoice,
    responses((status = 200, body = MailChoice), (status = 422, body = Problem)))]
async fn choose(
    State(notices): State<Notices>,
    who: Who,
    Body(wanted): Body<MailChoice>,
) -> Answer<Json<MailChoice>> {
    notices.choose_mail(&who, &wanted).await?;
    Ok(Json(notices.mail_choice(&who).await?))
}
