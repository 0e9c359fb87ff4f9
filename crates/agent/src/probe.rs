//! Asks an instance over HTTP whether it serves. Redirects are not followed: they are an answer.

use bascule_wire::agent::{HealthCheck, SmokeCheck, SmokeResult};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Most of a body that a smoke test reads, in bytes.
const BODY_BYTES: usize = 1024 * 1024;
/// Time allowed for one request of a smoke test.
const SMOKE: Duration = Duration::from_secs(10);
/// Shortest time allowed for a check, whatever was asked for.
const LEAST: Duration = Duration::from_millis(10);

/// Whether the instance is healthy, and if not, why.
pub(crate) async fn health(address: &str, check: &HealthCheck) -> Result<(), String> {
    let within = Duration::from_millis(check.timeout_ms).max(LEAST);
    let (status, _) = get(address, &check.path, within, false).await?;
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(format!("GET {} answered {status}", check.path))
    }
}

/// Runs a smoke test: every check, one after the other.
pub(crate) async fn smoke(address: &str, checks: &[SmokeCheck]) -> SmokeResult {
    let mut result = SmokeResult {
        passed: true,
        details: Vec::new(),
    };
    for check in checks {
        let fault = match get(address, &check.path, SMOKE, true).await {
            Err(error) => Some(error),
            Ok((status, _)) if status != check.status => {
                Some(format!("status {status} instead of {}", check.status))
            }
            Ok((_, body)) if !body.contains(&check.contains) => {
                Some(format!("no `{}` in the body", check.contains))
            }
            Ok(_) => None,
        };
        result.passed &= fault.is_none();
        let fault = fault.unwrap_or_else(|| format!("{}, as expected", check.status));
        result.details.push(format!("GET {}: {fault}", check.path));
    }
    result
}

async fn get(address: &str, path: &str, within: Duration, read: bool) -> Result<(u16, String), String> {
    match tokio::time::timeout(within, ask(address, path, read)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} ms", within.as_millis())),
    }
}

async fn ask(address: &str, path: &str, read: bool) -> Result<(u16, String), String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let broken = |error: hyper::Error| format!("the exchange broke off: {error}");
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = Request::get(path)
        .header(header::HOST, address)
        .header(header::USER_AGENT, "bascule-agent")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| format!("`{path}` is not a path"))?;
    let exchange = async {
        let response = send.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut text = Vec::new();
        while read && text.len() < BODY_BYTES {
            let Some(frame) = body.frame().await else { break };
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                text.extend_from_slice(&data);
            }
        }
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    };
    // Driven here and not in a task of its own, so that nothing outlives the check.
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}
