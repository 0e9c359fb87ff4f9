//! Extractors whose rejections are problems, so that bad input always gets a clear answer.

use crate::Failure;
use axum::extract::{
    FromRequest, FromRequestParts,
    rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection},
};
use bascule_core::Problem;

/// A JSON body.
#[derive(Clone, Copy, Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(Failure))]
pub struct Body<T>(pub T);

/// A form's body.
#[derive(Clone, Copy, Debug, FromRequest)]
#[from_request(via(axum::Form), rejection(Failure))]
pub struct FormBody<T>(pub T);

/// The query string.
#[derive(Clone, Copy, Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Failure))]
pub struct Params<T>(pub T);

/// The path's parameters.
#[derive(Clone, Copy, Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Failure))]
pub struct PathOf<T>(pub T);

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status().as_u16();
        Problem::new(
            status,
            "bad_json",
            format!(
                "The body cannot be read: {}.",
                rejection.body_text().trim_end_matches('.')
            ),
        )
        .next("Send JSON with `Content-Type: application/json`, shaped as /api/v1/openapi.json says.")
        .into()
    }
}

impl From<FormRejection> for Failure {
    fn from(rejection: FormRejection) -> Self {
        let status = rejection.status().as_u16();
        Problem::new(
            status,
            "bad_form",
            format!(
                "The form cannot be read: {}.",
                rejection.body_text().trim_end_matches('.')
            ),
        )
        .next("Go back, fill in every field, and send it again.")
        .into()
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Problem::bad_request(
            "bad_query",
            format!(
                "The address's query cannot be read: {}.",
                rejection.body_text().trim_end_matches('.')
            ),
        )
        .next("Correct the part after `?`, or leave it out.")
        .into()
    }
}

impl From<PathRejection> for Failure {
    fn from(_: PathRejection) -> Self {
        Problem::not_found("page").into()
    }
}
