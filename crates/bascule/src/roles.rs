//! Runner, agent and edge on machines of their own. Each knows the server by address and token only.

use crate::{
    cli::output::{self, code, usage},
    config::data_directory,
    enrol,
    runner_settings::RunnerSettings,
    up,
};
use bascule_agent::{Agent, upgrade::Booted};
use bascule_core::{Problem, Result, SystemClock};
use bascule_edge::Edge;
use bascule_runner::{NetworkPolicy, Runner};
use bascule_wire::fleet::{MemberKind, Myself};
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
    /// Which jobs get a network: never, mirrors, on_request or always
    #[arg(long, env = "BASCULE_JOB_NETWORK", default_value = "on_request")]
    network: String,
    /// A variable for every job, as NAME=VALUE
    #[arg(long = "variable", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Where jobs run: auto, bubblewrap, podman or kubernetes; auto takes podman for jobs that name an image
    #[arg(long, env = "BASCULE_EXECUTOR", value_name = "NAME")]
    executor: Option<String>,
    /// Limits, images, mirrors and more (TOML); see the book, chapter Parts
    #[arg(long, env = "BASCULE_RUNNER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Options of `bascule agent`.
#[derive(Debug, Args)]
pub struct AgentOptions {
    #[command(subcommand)]
    verb: Option<AgentVerb>,
    /// The server's address; kept with the certificate where there is one
    #[arg(long, env = "BASCULE_SERVER", value_name = "URL", global = true)]
    server: Option<String>,
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
        value_name = "DIR",
        global = true
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

/// What else an agent can be asked.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum AgentVerb {
    /// Enrol this machine by a one-time code, and end
    #[command(after_help = "Example:
  bascule agent enrol benr-… --server https://agents.example.org:8443 --data /var/lib/bascule-agent

Makes a key that never leaves the machine, gets a certificate for it, and prints which authority is trusted from
now on. The code names that authority, so that the first connection is sure already.")]
    Enrol {
        /// The code
        code: String,
    },
    /// Say whether this machine's agent could work: sandbox, certificate, server
    #[command(after_help = "Example:\n  bascule agent check --data /var/lib/bascule-agent")]
    Check {
        /// The form in which another version would hand over what runs
        #[arg(long, hide = true)]
        handover: Option<u32>,
    },
}

/// Options of `bascule edge`.
#[derive(Debug, Args)]
pub struct EdgeOptions {
    /// The server's address
    #[arg(long, env = "BASCULE_SERVER", value_name = "URL", default_value = "")]
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
        "mirrors" => Ok(NetworkPolicy::Mirrors),
        other => Err(usage(
            &format!("`{other}` is no network policy."),
            "Use never, mirrors, on_request or always.",
        )),
    }
}

pub async fn runner(options: RunnerOptions) -> Result<u8> {
    let data = data_directory(&options.data)?;
    let mut config = bascule_runner::Config::new(&options.server, &options.runner_token, &data);
    config.name = options.name;
    config.concurrency = options.jobs.max(1);
    config.network_policy = network_policy(&options.network)?;
    let mut settings = match &options.config {
        Some(file) => RunnerSettings::read(file)?,
        None => RunnerSettings::default(),
    };
    if let Some(executor) = options.executor {
        settings.executor = executor;
    }
    settings.apply(&mut config)?;
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

/// Options of `bascule job-helper`.
#[cfg(feature = "kubernetes")]
#[derive(Debug, Args)]
pub struct JobHelperOptions {
    /// What to do, as the runner wrote it
    #[arg(long, value_name = "FILE")]
    errand: PathBuf,
    /// The pod's volume
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
}

/// Runs the one job of a pod.
#[cfg(feature = "kubernetes")]
pub async fn job_helper(options: JobHelperOptions) -> Result<u8> {
    // Whoever the job's container runs as is to write what is fetched here; nobody else sees the pod's volume.
    rustix::process::umask(rustix::fs::Mode::empty());
    bascule_runner::run_in_pod(&options.errand, &options.work, up::on_signal()).await?;
    Ok(code::DONE)
}

pub async fn agent(options: AgentOptions) -> Result<u8> {
    let clock = Arc::new(SystemClock);
    let data = data_directory(&options.data)?;
    if let Some(AgentVerb::Enrol { code }) = &options.verb {
        let server = options.server.clone().filter(|server| !server.is_empty());
        let server = server.ok_or_else(|| {
            usage(
                "The server's address is missing.",
                "Give it with --server, as `bascule agents create` printed it.",
            )
        })?;
        return told(&enrol::enrol(MemberKind::Agent, &server, code, &data).await?);
    }
    let mut booted = None;
    if options.verb.is_none() {
        booted = bascule_agent::upgrade::boot(&data).await?;
        if booted.is_none() {
            // It was to look after another version, which does well.
            return Ok(code::DONE);
        }
    }
    let credentials = enrol::credentials(
        MemberKind::Agent,
        options.server,
        options.agent_token,
        options.code.as_deref(),
        &data,
    )
    .await?;
    if let Some(AgentVerb::Check { handover }) = options.verb {
        return check(&credentials, handover).await;
    }
    let mut config = bascule_agent::Config::new(&credentials.server, &credentials.token, data, clock);
    config.containers_conf = options.containers_conf;
    config.identity = credentials.identity;
    if let Some(version) = booted.as_ref().and_then(Booted::version) {
        version.clone_into(&mut config.version);
    }
    config.booted = booted;
    config.kubernetes = options.kube_namespace.map(|namespace| bascule_agent::Kubernetes {
        kubeconfig: options.kubeconfig,
        namespace,
        registry: options.kube_registry,
    });
    Box::pin(Agent::new(config).run(up::on_signal())).await?;
    Ok(code::DONE)
}

/// Says what an enrolment came to.
fn told(credentials: &enrol::Credentials) -> Result<u8> {
    match &credentials.identity {
        Some((identity, file)) => {
            output::line(&format!("enrolled {}", identity.name));
            if let Some(pinned) = identity.authority_fingerprint() {
                output::line(&format!("trusts the authority {pinned} alone"));
            }
            let days = identity.life_seconds / 86_400;
            output::line(&format!(
                "certificate and key in {}, good for {days} days, renewed by the agent",
                file.display()
            ));
        }
        None => output::line("enrolled with a token, without a certificate"),
    }
    Ok(code::DONE)
}

/// Whether an agent could work here.
async fn check(credentials: &enrol::Credentials, handover: Option<u32>) -> Result<u8> {
    let known = bascule_agent::handover::FORMAT;
    if let Some(other) = handover.filter(|form| *form != known) {
        return Err(Problem::conflict(
            "other_handover",
            "This version cannot take over from the one that runs.",
        )
        .why(format!(
            "That one hands over in form {other}, this one knows form {known}."
        ))
        .next("Install a version between the two first."));
    }
    bascule_sandbox::Sandbox::available().await?;
    let client = match &credentials.identity {
        Some((identity, _)) => bascule_client::Client::identified(&credentials.server, identity)?,
        None => bascule_client::Client::new(&credentials.server, Some(credentials.token.clone()))?,
    };
    let myself: Myself = client.get("/api/v1/agent/self").await?;
    let how = if myself.certified {
        "with its certificate"
    } else {
        "by its token"
    };
    output::line(&format!("the server knows this agent as {} {how}", myself.name));
    Ok(code::DONE)
}

pub async fn edge(options: EdgeOptions) -> Result<u8> {
    let credentials = if options.routes.is_some() {
        enrol::Credentials {
            server: options.server,
            token: String::new(),
            identity: None,
        }
    } else {
        let code = options.code.as_deref();
        enrol::credentials(
            MemberKind::Edge,
            Some(options.server),
            options.edge_token,
            code,
            &data_directory(&options.data)?,
        )
        .await?
    };
    let mut config =
        bascule_edge::Config::new(&credentials.server, &credentials.token, Arc::new(SystemClock));
    config.identity = credentials.identity;
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
