//! How a [`Problem`] leaves the server: as problem+json to programs, as a page to people, as a challenge to
//! git. The page is put around it by the middleware, which knows who asks.

use axum::response::{IntoResponse, Response};
use bascule_core::Problem;
use http::{HeaderValue, StatusCode, header, request::Parts};

/// A refusal or failure on its way out. `?` makes one from a [`Problem`] or a store error.
#[derive(Debug)]
pub struct Failure {
    problem: Box<Problem>,
    challenge: bool,
    retry_after: Option<u64>,
}

/// What a handler answers.
pub type Answer<T = Response> = Result<T, Failure>;

/// Marks a response as a problem, for the middleware.
#[derive(Clone, Debug)]
pub(crate) struct Refused(pub(crate) Problem);

impl Failure {
    /// The problem inside.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Tells the client when to come back, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Git sends no password until it is asked for one; programs that send one anyway may be asked too.
    pub(crate) fn for_request(mut self, parts: &Parts) -> Self {
        let path = parts.uri.path();
        let git = path.contains(".git/") || path.starts_with("/v2/");
        self.challenge =
            self.problem.status == 401 && (git || parts.headers.contains_key(header::AUTHORIZATION));
        self
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            challenge: false,
            retry_after: None,
        }
    }
}

impl From<bascule_store::Error> for Failure {
    fn from(error: bascule_store::Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "a template failed");
        Problem::internal().into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if self.challenge {
            let ask = HeaderValue::from_static("Basic realm=\"Bascule\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
        }
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Refused(*self.problem));
        response
    }
}

/// A problem as clients of an image registry read it (OCI distribution specification, error codes).
pub(crate) fn for_registry(problem: &Problem, target: &str) -> Vec<u8> {
    let code = match problem.status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 if target.contains("/manifests/") => "MANIFEST_UNKNOWN",
        404 if target.contains("/blobs/") => "BLOB_UNKNOWN",
        404 => "NAME_UNKNOWN",
        405 => "UNSUPPORTED",
        429 => "TOOMANYREQUESTS",
        _ if problem.code == "digest_invalid" => "DIGEST_INVALID",
        _ => "UNKNOWN",
    };
    let message: Vec<&str> = [&problem.what, &problem.why, &problem.next]
        .into_iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    let error = serde_json::json!({ "code": code, "message": message.join(" "), "detail": problem });
    serde_json::to_vec(&serde_json::json!({ "errors": [error] })).unwrap_or_default()
}
