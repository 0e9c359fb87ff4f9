//! Runner, agent and edge on machines of their own. Each knows the server by address and token only.

use crate::{
    cli::output::{self, code, usage},
    config::data_directory,
    enrol, up,
};
use bascule_agent::Agent;
use bascule_core::{Result, SystemClock};
use bascule_edge::Edge;
use bascule_runner::{NetworkPolicy, Runner};
use bascule_wire::fleet::MemberKind;
use clap::Args;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// Options of `bascule runner`.
#[derive(Debug, Args)]
pub struct RunnerOptions {
    /// The server's address
    #[arg(long, env = "BASCULE_SERVER", value_name = "URL")]
    server: String,
    /// The runner's token
    #[arg(
        long,
        env = "BASCULE_RUNNER_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    runner_token: String,
    /// Where builds and caches are kept
    #[arg(
        long,
        env = "BASCULE_DATA",
        default_value = "bascule-runner",
        value_name = "DIR"
    )]
    data: PathBuf,
    /// What people call it
    #[arg(long, env = "BASCULE_RUNNER_NAME", default_value = "runner")]
    name: String,
    /// Jobs at once
    #[arg(long, env = "BASCULE_JOBS", default_value_t = 1)]
    jobs: usize,
    /// Which jobs get a network: never, on_request or always
    #[arg(long, env = "BASCULE_JOB_NETWORK", default_value = "on_request")]
    network: String,
    /// A variable for every job, as NAME=VALUE
    #[arg(long = "variable", value_name = "NAME=VALUE")]
    variables: Vec<String>,
}

/// Options of `bascule agent`.
#[derive(Debug, Args)]
pub struct AgentOptions {
    /// The server's address
    #[arg(long, env = "BASCULE_SERVER", value_name = "URL")]
    server: String,
    /// The one-time code that the first start enrols with
    #[arg(long, env = "BASCULE_ENROL_CODE", hide_env_values = true, value_name = "CODE")]
    code: Option<String>,
    /// The agent's token, where it is not kept in the data directory
    #[arg(
        long,
        env = "BASCULE_AGENT_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    agent_token: Option<String>,
    /// Where the token, artifacts and products are kept
    #[arg(
        long,
        env = "BASCULE_DATA",
        default_value = "bascule-agent",
        value_name = "DIR"
    )]
    data: PathBuf,
    /// Podman's configuration; else the machine's own, or one written where that does not work
    #[arg(long, env = "BASCULE_CONTAINERS_CONF", value_name = "FILE")]
    containers_conf: Option<PathBuf>,
    /// Run instances of the driver kubernetes in this namespace; `{environment}` stands for the environment's name
    #[arg(long, env = "BASCULE_KUBE_NAMESPACE", value_name = "NAME")]
    kube_namespace: Option<String>,
    /// How to reach the cluster; else by the service account of the pod that the agent runs in
    #[arg(
        long,
        env = "BASCULE_KUBECONFIG",
        value_name = "FILE",
        requires = "kube_namespace"
    )]
    kubeconfig: Option<PathBuf>,
    /// Where the cluster's nodes pull images, where that is not the server's own address
    #[arg(
        long,
        env = "BASCULE_KUBE_REGISTRY",
        value_name = "HOST",
        requires = "kube_namespace"
    )]
    kube_registry: Option<String>,
}

/// Options of `bascule edge`.
#[derive(Debug, Args)]
pub struct EdgeOptions {
    /// The server's address
    #[arg(
        long,
        env = "BASCULE_SERVER",
        value_name = "URL",
        required_unless_present = "routes",
        default_value = ""
    )]
    server: String,
    /// The one-time code that the first start enrols with
    #[arg(long, env = "BASCULE_ENROL_CODE", hide_env_values = true, value_name = "CODE")]
    code: Option<String>,
    /// The edge's token, where it is not kept in the data directory
    #[arg(
        long,
        env = "BASCULE_EDGE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    edge_token: Option<String>,
    /// Where the token is kept
    #[arg(
        long,
        env = "BASCULE_DATA",
        default_value = "bascule-edge",
        value_name = "DIR"
    )]
    data: PathBuf,
    /// Serve this configuration (JSON) instead of asking a server
    #[arg(long, value_name = "FILE")]
    routes: Option<PathBuf>,
    /// Serve all environments by host name on this address
    #[arg(long, env = "BASCULE_EDGE_LISTEN", value_name = "ADDR")]
    shared: Option<SocketAddr>,
    /// Worker threads; 0 for one per processor
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

/// Reads a network policy's name.
pub fn network_policy(text: &str) -> Result<NetworkPolicy> {
    match text {
        "never" => Ok(NetworkPolicy::Never),
        "on_request" => Ok(NetworkPolicy::OnRequest),
        "always" => Ok(NetworkPolicy::Always),
        other => Err(usage(
            &format!("`{other}` is no network policy."),
            "Use never, on_request or always.",
        )),
    }
}

pub async fn runner(options: RunnerOptions) -> Result<u8> {
    let data = data_directory(&options.data)?;
    let mut config = bascule_runner::Config::new(&options.server, &options.runner_token, &data);
    config.name = options.name;
    config.concurrency = options.jobs.max(1);
    config.network_policy = network_policy(&options.network)?;
    for variable in options.variables {
        let Some((name, value)) = variable.split_once('=') else {
            return Err(usage(
                &format!("`{variable}` is no variable."),
                "Write NAME=VALUE.",
            ));
        };
        config.job_variables.push((name.to_owned(), value.to_owned()));
    }
    let stop = up::on_signal();
    Runner::new(config).await?.run(stop).await?;
    Ok(code::DONE)
}

pub async fn agent(options: AgentOptions) -> Result<u8> {
    let clock = Arc::new(SystemClock);
    let data = data_directory(&options.data)?;
    let code = options.code.as_deref();
    let token = enrol::token(
        MemberKind::Agent,
        &options.server,
        options.agent_token,
        code,
        &data,
    )
    .await?;
    let mut config = bascule_agent::Config::new(&options.server, &token, data, clock);
    config.containers_conf = options.containers_conf;
    config.kubernetes = options.kube_namespace.map(|namespace| bascule_agent::Kubernetes {
        kubeconfig: options.kubeconfig,
        namespace,
        registry: options.kube_registry,
    });
    Box::pin(Agent::new(config).run(up::on_signal())).await?;
    Ok(code::DONE)
}

pub async fn edge(options: EdgeOptions) -> Result<u8> {
    let token = if options.routes.is_some() {
        String::new()
    } else {
        let code = options.code.as_deref();
        enrol::token(
            MemberKind::Edge,
            &options.server,
            options.edge_token,
            code,
            &data_directory(&options.data)?,
        )
        .await?
    };
    let mut config = bascule_edge::Config::new(&options.server, &token, Arc::new(SystemClock));
    config.shared_listener = options.shared;
    config.workers = options.workers;
    let stop = up::on_signal();
    let Some(file) = options.routes else {
        Edge::new(config).run(stop).await?;
        return Ok(code::DONE);
    };
    let text = std::fs::read_to_string(&file).map_err(|e| {
        usage(
            &format!("{} cannot be read: {e}.", file.display()),
            "Check --routes.",
        )
    })?;
    let routes = serde_json::from_str(&text).map_err(|e| {
        usage(
            &format!("{} is no edge configuration: {e}.", file.display()),
            "See the book, chapter Edge.",
        )
    })?;
    let edge = Edge::with_static(config, routes);
    let handle = edge.handle();
    let tell = async move {
        let mut listeners = handle.listeners();
        loop {
            for listener in listeners.borrow_and_update().iter() {
                output::line(&format!("ready {}", listener.url));
            }
            if listeners.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        done = edge.run(stop) => done?,
        () = tell => {}
    }
    Ok(code::DONE)
}
