//! `bascule up` and `bascule server`: one process, started, told when ready, stopped gracefully.

use crate::{
    cli::output::{self, code},
    config::{Config, ServerOptions},
    lock::DataLock,
    roles, server,
};
use bascule_agent::Agent;
use bascule_core::{Problem, Result, SystemClock};
use bascule_edge::Edge;
use bascule_runner::Runner;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What runs in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// Server, runner, agent and edge.
    All,
    /// The server; the others run elsewhere.
    ServerAlone,
}

/// Time for everything to end after a signal.
const GRACE: Duration = Duration::from_secs(20);

/// A token that SIGTERM or SIGINT cancels.
pub fn on_signal() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("asked to stop");
                token.cancel();
            }
            _ => tracing::error!("signals cannot be heard; only SIGKILL will stop this process"),
        }
    });
    stop
}

pub async fn run(options: &ServerOptions, roles: Roles) -> Result<u8> {
    let config = Config::read(options)?;
    let _lock = DataLock::take(&config.data)?;
    let stop = on_signal();
    let server = server::Server::build(&config).await?;
    let url = server.url().to_owned();
    let tokens = if roles == Roles::All {
        Some(server.embedded().await?)
    } else {
        None
    };

    // The helpers stop first, so that they can still report to a server that listens.
    let helpers_stop = stop.child_token();
    let server_stop = CancellationToken::new();
    let mut helpers = JoinSet::new();
    let serving = tokio::spawn(server.serve(server_stop.clone()));
    if let Some(tokens) = tokens {
        spawn_helpers(&mut helpers, &config, &url, tokens, &helpers_stop).await?;
    }
    output::line(&format!("ready {url}"));

    let mut serving = serving;
    let ended_early = tokio::select! {
        () = stop.cancelled() => None,
        ended = &mut serving => Some(ended),
    };
    helpers_stop.cancel();
    let drained = async { while helpers.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::warn!(
            "some work did not end in time and is cut off; it is resumed or retried at the next start"
        );
    }
    server_stop.cancel();
    let ended = match ended_early {
        Some(ended) => ended,
        None => tokio::time::timeout(GRACE, serving).await.unwrap_or_else(|_| {
            tracing::warn!("requests in flight were cut off");
            Ok(Ok(()))
        }),
    };
    match ended {
        Ok(Ok(())) => Ok(code::DONE),
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(Problem::internal()),
    }
}

async fn spawn_helpers(
    helpers: &mut JoinSet<()>,
    config: &Config,
    url: &str,
    tokens: server::Embedded,
    stop: &CancellationToken,
) -> Result<()> {
    let clock = Arc::new(SystemClock);
    let mut runner = bascule_runner::Config::new(url, &tokens.runner, &config.data.join("runner"));
    runner.concurrency = config.jobs.max(1);
    runner.network_policy = roles::network_policy(&config.job_network)?;
    runner.job_variables = config
        .job_variables
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    config.runner.apply(&mut runner)?;
    let agent = bascule_agent::Config::new(url, &tokens.agent, config.data.join("agent"), clock.clone());
    let mut edge = bascule_edge::Config::new(url, &tokens.edge, clock);
    edge.shared_listener = config.edge_listen;

    // A machine that cannot run jobs still serves git and pages; the log and `doctor` say what is missing.
    match Runner::new(runner).await {
        Ok(runner) => {
            helpers.spawn(named("runner", Box::pin(runner.run(stop.clone()))));
        }
        Err(problem) => tracing::error!(%problem, "no runner: jobs will wait"),
    }
    helpers.spawn(named("agent", Box::pin(Agent::new(agent).run(stop.clone()))));
    helpers.spawn(named("edge", Box::pin(Edge::new(edge).run(stop.clone()))));
    Ok(())
}

async fn named(what: &'static str, work: impl Future<Output = Result<()>>) {
    if let Err(problem) = work.await {
        tracing::error!(role = what, %problem, "ended");
    }
}
