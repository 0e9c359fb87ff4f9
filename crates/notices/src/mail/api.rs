//! JSON handlers.

use crate::Notices;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, Routes, Who, routes};
use bascule_wire::notices::{MailChoice, MailRetried, MailStatus};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Notices> {
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .api(Access::SignedIn, routes!(show, choose))
        .api(manage, routes!(status))
        .api(manage, routes!(test))
        .api(manage, routes!(retry))
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

/// How sending mail goes.
#[utoipa::path(get, path = "/api/v1/mail", tag = "notices", responses((status = 200, body = MailStatus)))]
async fn status(State(notices): State<Notices>) -> Answer<Json<MailStatus>> {
    Ok(Json(notices.mail_status().await?))
}

/// Sends a test to your own address.
#[utoipa::path(post, path = "/api/v1/mail/test", tag = "notices",
    responses((status = 204), (status = 409, body = Problem), (status = 502, body = Problem)))]
async fn test(State(notices): State<Notices>, who: Who) -> Answer<StatusCode> {
    notices.test_mail(&who).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries all mail again that waits or was given up.
#[utoipa::path(post, path = "/api/v1/mail/retry", tag = "notices", responses((status = 200, body = MailRetried)))]
async fn retry(State(notices): State<Notices>) -> Answer<Json<MailRetried>> {
    let retried = i64::try_from(notices.retry_mail().await?).unwrap_or(i64::MAX);
    Ok(Json(MailRetried { retried }))
}
