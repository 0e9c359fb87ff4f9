//! Answers of the edge itself, for when no instance gives one.

use crate::body::AnswerBody;
use bascule_core::Problem;
use bascule_wire::edge::Route;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use std::time::Duration;

fn answer(problem: &Problem) -> Response<AnswerBody> {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(AnswerBody::Whole(Some(body.into())));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if problem.status == 503 {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// 400, and the connection ends: what follows cannot be told apart from this request safely.
pub(crate) fn bad_request(fault: &str) -> Response<AnswerBody> {
    let problem = Problem::bad_request("bad_http", fault)
        .why("A request that can be read in two ways can be smuggled past one of the readers.")
        .next("Send a plain HTTP/1.1 request with one Host header.");
    let mut response = answer(&problem);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// 404: no route for this host.
pub(crate) fn no_route() -> Response<AnswerBody> {
    let problem = Problem::new(404, "no_route", "No product is served under this host name.")
        .why("The edge finds the product by the left part of the Host header: environment.project.group.")
        .next("Look up the address on the project's environments page.");
    answer(&problem)
}

/// 503: a route without an instance that takes requests.
pub(crate) fn no_backend(route: &Route) -> Response<AnswerBody> {
    let problem = Problem::new(
        503,
        "no_instance",
        format!("Nothing runs for {} at present.", route.host),
    )
    .why("No instance is healthy and has a share of the traffic.")
    .next("Deploy a release, or look on the environment's page why the last one does not run.");
    answer(&problem)
}

/// 502: no connection to an instance.
pub(crate) fn unreachable(route: &Route) -> Response<AnswerBody> {
    let problem = Problem::new(
        502,
        "instance_unreachable",
        format!("No instance of {} can be reached.", route.host),
    )
    .why("The connection was refused or took too long; nothing of the request was sent.")
    .next("Send it again; if this stays, look at the instance's output on the environment's page.");
    answer(&problem)
}

/// 502: an instance broke off.
pub(crate) fn broken(route: &Route) -> Response<AnswerBody> {
    let problem = Problem::new(
        502,
        "instance_broke_off",
        format!("{} ended the connection without an answer.", route.host),
    )
    .why("The instance may have acted on the request, so it is not sent again by itself.")
    .next("Check whether it took effect before you repeat it.");
    answer(&problem)
}

/// 504: an instance did not answer in time.
pub(crate) fn timed_out(route: &Route, after: Duration) -> Response<AnswerBody> {
    let seconds = after.as_secs();
    let problem = Problem::new(
        504,
        "instance_slow",
        format!("{} did not answer within {seconds} s.", route.host),
    )
    .why("The edge gives up so that hanging requests do not pile up.")
    .next("Check whether it took effect before you repeat it.");
    answer(&problem)
}
