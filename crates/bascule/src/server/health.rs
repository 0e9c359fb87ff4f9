//! For those who watch over us: liveness, readiness, our own metrics, and the API's description.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use bascule_ledger::Ledger;
use bascule_store::{Db, Query as _, args};
use bascule_web::{Access, Answer, Routes};
use std::fmt::Write as _;
use utoipa::openapi::OpenApi;

#[derive(Clone)]
struct Health {
    db: Db,
    ledger: Ledger,
}

pub fn routes(db: Db, ledger: Ledger) -> Routes {
    Routes::new()
        .page("GET", "/healthz", Access::Public, get(|| async { "ok\n" }))
        .page("GET", "/readyz", Access::Public, get(ready))
        .page("GET", "/metrics", Access::Public, get(metrics))
        .page("GET", "/api/v1/openapi.json", Access::Public, get(openapi))
        .with_state(Health { db, ledger })
}

/// Lets the handler of the description know what all routes together describe.
pub fn with_openapi(router: Router, mut api: OpenApi) -> Router {
    api.info.title = "Bascule".to_owned();
    api.info.version = env!("CARGO_PKG_VERSION").to_owned();
    api.info.description =
        Some("Errors are problem+json (RFC 9457) with `code`, `title`, `detail`, `next`.".to_owned());
    router.layer(axum::Extension(std::sync::Arc::new(api)))
}

/// Ready: the database answers.
async fn ready(State(health): State<Health>) -> Answer {
    health.db.count("SELECT 1 AS n", args![]).await?;
    Ok("ready\n".into_response())
}

bascule_store::row! { struct Cursor { name: String, cursor: i64, failures: i64 } }

/// Prometheus' text format: what an operator alerts on. No names of people or projects.
async fn metrics(State(health): State<Health>) -> Answer {
    let head = health.ledger.head().await?;
    let cursors: Vec<Cursor> = health
        .db
        .all(
            "SELECT name, cursor, failures FROM subscriber ORDER BY name LIMIT 100",
            args![],
        )
        .await?;
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, lines: &[(String, i64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in lines {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    gauge(
        "bascule_ledger_entries",
        "Facts in the ledger.",
        &[(String::new(), head)],
    );
    let of = |value: fn(&Cursor) -> i64| -> Vec<(String, i64)> {
        cursors
            .iter()
            .map(|c| (format!("{{subscriber=\"{}\"}}", c.name), value(c)))
            .collect()
    };
    gauge(
        "bascule_subscriber_cursor",
        "Last fact that a subscriber has handled.",
        &of(|c| c.cursor),
    );
    gauge(
        "bascule_subscriber_failures",
        "Failures in a row at the present fact.",
        &of(|c| c.failures),
    );
    Ok(([("content-type", "text/plain; version=0.0.4")], text).into_response())
}

/// The API's description.
async fn openapi(axum::Extension(api): axum::Extension<std::sync::Arc<OpenApi>>) -> Response {
    Json(api.as_ref()).into_response()
}
