//! Connections that hang are probed by the kernel, so that the call of an agent whose network was cut ends, and the
//! agent counts as silent, without a word of ours on the line.

use socket2::{SockRef, TcpKeepalive};
use std::time::Duration;
use tokio::net::TcpStream;

/// Silence on a connection after which it is probed.
const AFTER: Duration = Duration::from_secs(10);
/// Time between two probes.
const EVERY: Duration = Duration::from_secs(3);
/// Probes without an answer after which the connection is lost.
const PROBES: u32 = 3;

/// Has a connection probed while it is silent.
pub fn probe(stream: &mut TcpStream) {
    let probes = TcpKeepalive::new()
        .with_time(AFTER)
        .with_interval(EVERY)
        .with_retries(PROBES);
    if let Err(error) = SockRef::from(&*stream).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "a connection is not probed");
    }
}
