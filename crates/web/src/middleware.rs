//! What happens around every request: an operation number, a log line, security headers, error pages, and
//! compression of what is worth it.

use crate::{
    access::{Gate, GateRef},
    failure::{self, Refused},
    shell::{self, Shell},
    tether::Tethers,
};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use bascule_core::{Caller, Problem, limits};
use http::{HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, Predicate, predicate::SizeAbove},
};
use tracing::Instrument as _;

/// The number by which a person and the log speak of one request.
#[derive(Clone, Debug)]
pub struct OperationId(pub String);

/// Scripts come from us alone and none stands in a page; styles from us, with attributes allowed for widths;
/// nothing may frame us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Puts the layers around all routes.
pub fn finish(router: Router, gate: Arc<dyn Gate>) -> Router {
    router
        .fallback(|| async { crate::Failure::from(Problem::not_found("page")) })
        .method_not_allowed_fallback(|| async {
            crate::Failure::from(Problem::new(
                405,
                "method_not_allowed",
                "This address does not serve that method.",
            ))
        })
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            tracing::error!("a handler panicked; this is a bug");
            crate::Failure::from(Problem::internal()).into_response()
        }))
        .layer(from_fn(around))
        .layer(
            CompressionLayer::new()
                .gzip(true)
                .compress_when(SizeAbove::new(1024).and(WorthIt)),
        )
        .layer(axum::Extension(Arc::new(Tethers::default())))
        .layer(axum::Extension(GateRef(gate)))
}

#[derive(Clone, Copy)]
struct WorthIt;

impl Predicate for WorthIt {
    fn should_compress<B: http_body::Body>(&self, response: &http::Response<B>) -> bool {
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        kind.starts_with("text/html")
            || kind.starts_with("application/json")
            || kind.starts_with("text/plain")
    }
}

async fn around(mut request: Request, next: Next) -> Response {
    let operation = uuid::Uuid::now_v7().simple().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let wants_page = wants_page(&request);
    let target = request
        .uri()
        .path_and_query()
        .map(|p| p.as_str().to_owned())
        .unwrap_or_default();
    request.extensions_mut().insert(OperationId(operation.clone()));
    let caller_slot = CallerSlot::default();
    request.extensions_mut().insert(caller_slot.clone());
    let span = tracing::info_span!("request", %operation, %method, %path);
    let started = tokio::time::Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.in_scope(|| {
        let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), milliseconds, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), milliseconds, "answered");
        }
    });
    if let Some(Refused(mut problem)) = response.extensions_mut().remove::<Refused>() {
        problem.operation = Some(operation.clone());
        response = refused(
            response,
            &problem,
            wants_page,
            &method,
            &target,
            &caller_slot.get(),
        );
    }
    let headers = response.headers_mut();
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(POLICY));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if let Ok(value) = HeaderValue::from_str(&operation) {
        headers.insert("x-request-id", value);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Lets the outer layer know who asked, once the gate has found out.
#[derive(Clone, Default)]
pub(crate) struct CallerSlot(Arc<std::sync::OnceLock<Caller>>);

impl CallerSlot {
    pub(crate) fn set(&self, caller: &Caller) {
        drop(self.0.set(caller.clone()));
    }

    fn get(&self) -> Caller {
        self.0.get().cloned().unwrap_or_else(Caller::anonymous)
    }
}

fn wants_page(request: &Request) -> bool {
    let path = request.uri().path();
    let program = ["/api/", "/v1/", "/v2/", "/metrics", "/healthz", "/readyz"]
        .iter()
        .any(|p| path.starts_with(p))
        || path.contains(".git/");
    let accepts = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    !program && accepts.contains("text/html")
}

fn refused(
    response: Response,
    problem: &Problem,
    page: bool,
    method: &Method,
    target: &str,
    caller: &Caller,
) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    if page && problem.status == 401 && method == Method::GET {
        let to = format!("/sign-in?next={}", crate::url_encode(target));
        return (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    }
    if page {
        match shell::problem_page(&Shell::bare(caller.clone()), problem) {
            Ok(html) => {
                parts.headers.insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/html; charset=utf-8"),
                );
                return Response::from_parts(parts, Body::from(html));
            }
            Err(error) => tracing::error!(%error, "the error page failed"),
        }
    }
    let body = if parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|v| v == "application/problem+json")
        && target.contains(".git/")
    {
        // git shows a plain-text body to the person; JSON it drops.
        parts.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        format!("{problem}\n").into_bytes()
    } else if target.starts_with("/v2/") {
        parts
            .headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        failure::for_registry(problem, target)
    } else {
        serde_json::to_vec(problem).unwrap_or_default()
    };
    Response::from_parts(parts, Body::from(body))
}
