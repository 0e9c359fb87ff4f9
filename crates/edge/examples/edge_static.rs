//! An edge with fixed routes and no server, for trying and measuring:
//! `cargo run --release -p bascule-edge --example edge_static -- routes.json [workers]`.

#![allow(clippy::print_stdout, reason = "a program")]

use bascule_core::{Problem, Result, SystemClock};
use bascule_edge::{Config, Edge};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "routes.json".to_owned());
    let bad =
        |error: String| Problem::bad_request("bad_routes", format!("`{file}` cannot be used.")).why(error);
    let text = std::fs::read_to_string(&file).map_err(|error| bad(error.to_string()))?;
    let routes = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let mut config = Config::new("http://127.0.0.1", "", Arc::new(SystemClock));
    config.workers = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1);
    let edge = Edge::with_static(config, routes);
    let (handle, cancel) = (edge.handle(), CancellationToken::new());
    let mut listeners = handle.listeners();
    let stop = cancel.clone();
    tokio::spawn(async move {
        while listeners.changed().await.is_ok() {
            for report in listeners.borrow_and_update().iter() {
                println!("{}", report.url);
            }
        }
    });
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    edge.run(cancel).await
}
