//! Which ports are open: one per route, opened and closed as routes come and go.

use crate::{proxy::Serves, worker::Workers};
use bascule_core::EnvironmentId;
use bascule_wire::edge::{EdgeConfig, ListenerReport};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

/// Connections that may wait in the kernel for a worker to accept them.
const BACKLOG: u32 = 4096;

/// Opens a socket for listening.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A port that was in use a moment ago, by this edge before a restart, can be taken again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

#[derive(Debug)]
struct Open {
    port: u16,
    stop: CancellationToken,
}

/// The open ports.
#[derive(Debug)]
pub(crate) struct Listeners {
    bind: IpAddr,
    /// Host name or address as clients reach this edge.
    host: String,
    open: HashMap<EnvironmentId, Open>,
}

impl Listeners {
    pub(crate) fn new(bind: IpAddr, host: Option<&str>) -> Self {
        let named = host.map_or_else(
            || match bind {
                IpAddr::V6(address) => format!("[{address}]"),
                IpAddr::V4(address) => address.to_string(),
            },
            str::to_owned,
        );
        Self {
            bind,
            host: named,
            open: HashMap::new(),
        }
    }

    /// Opens a port for each route that has none, closes those of routes that are gone, and tells which
    /// routes are where.
    pub(crate) async fn apply(&mut self, config: &EdgeConfig, workers: &Workers) -> Vec<ListenerReport> {
        self.open.retain(|environment, open| {
            let wanted = config
                .routes
                .iter()
                .any(|route| route.environment == *environment);
            if !wanted {
                open.stop.cancel();
            }
            wanted
        });
        let mut reports = Vec::new();
        for route in &config.routes {
            let environment = route.environment;
            if !self.open.contains_key(&environment) {
                match self.open_one(environment, route.port, workers).await {
                    Ok(open) => {
                        tracing::info!(route = route.host, port = open.port, "serving");
                        self.open.insert(environment, open);
                    }
                    // Tried again with the next configuration; the shared listener serves it meanwhile.
                    Err(error) => tracing::error!(route = route.host, %error, "cannot open a port"),
                }
            }
            if let Some(Open { port, .. }) = self.open.get(&environment) {
                let url = format!("http://{}:{port}", self.host);
                reports.push(ListenerReport {
                    environment,
                    url,
                    port: *port,
                });
            }
        }
        reports
    }

    async fn open_one(
        &self,
        environment: EnvironmentId,
        port: Option<u16>,
        workers: &Workers,
    ) -> io::Result<Open> {
        let wanted = port.unwrap_or(0);
        let listener = match bind(SocketAddr::new(self.bind, wanted)) {
            Err(error) if wanted != 0 => {
                tracing::warn!(port = wanted, %error, "the port it had is taken; using another");
                bind(SocketAddr::new(self.bind, 0))?
            }
            bound => bound?,
        };
        let (port, stop) = (listener.local_addr()?.port(), CancellationToken::new());
        workers
            .listen(&listener, Serves::Environment(environment), &stop)
            .await?;
        Ok(Open { port, stop })
    }
}
