//! The server: every capability built, wired and served.

mod agents_door;
mod ci_code;
mod freight;
mod gate;
mod health;
mod notices;
mod people;
mod pipelines;
mod planning;
mod ports;
mod previews;
mod probed;
mod workflow;

use crate::config::Config;
use axum::serve::ListenerExt as _;
use bascule_ci::{Ci, Options};
use bascule_core::{Clock, Problem, Result, SystemClock};
use bascule_delivery::{Delivery, carry::Carry};
use bascule_forge::Forge;
use bascule_identity::{DeployKeySubscriber, Identity};
use bascule_incidents::Incidents;
use bascule_insights::Insights;
use bascule_ledger::{Hub, InstanceKey, Ledger};
use bascule_notices::Notices;
use bascule_planning::Planning;
use bascule_store::{Blobs, Db, Migration};
use bascule_supplychain::{
    ImageSubscriber, Images, ReleaseSubscriber, Releases,
    advisory::{Advisories, OnReleases},
};
use bascule_telemetry::Telemetry;
use bascule_web::{RouteEntry, Routes};
use gate::Door;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Every table of every crate, lowest rank first.
const MIGRATIONS: &[&[Migration]] = &[
    bascule_store::MIGRATIONS,
    bascule_ledger::MIGRATIONS,
    bascule_identity::MIGRATIONS,
    bascule_forge::MIGRATIONS,
    bascule_ci::MIGRATIONS,
    bascule_supplychain::MIGRATIONS,
    bascule_delivery::MIGRATIONS,
    bascule_telemetry::MIGRATIONS,
    bascule_incidents::MIGRATIONS,
    bascule_planning::MIGRATIONS,
    bascule_notices::MIGRATIONS,
    bascule_insights::MIGRATIONS,
];

/// How often the ledger's head is signed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Time for requests in flight to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Tokens of what runs beside the server in the same process.
pub struct Embedded {
    pub runner: String,
    pub agent: String,
    pub edge: String,
}

/// All capabilities, built and wired, not yet serving.
pub struct Server {
    url: String,
    listener: TcpListener,
    door: Option<agents_door::AgentsDoor>,
    /// Where git over SSH is served.
    ssh: Option<TcpListener>,
    ledger: Ledger,
    identity: Identity,
    forge: Forge,
    ci: Ci,
    releases: Releases,
    advisories: Advisories,
    images: Images,
    delivery: Delivery,
    carry: Carry,
    telemetry: Telemetry,
    incidents: Incidents,
    planning: Planning,
    notices: Notices,
    insights: Insights,
    database: Db,
    /// Ends long polls and streams, before requests in flight are waited for.
    hang_up: CancellationToken,
}

/// The hidden verb that git's hooks call.
pub fn hook(_: &[String]) -> u8 {
    u8::try_from(bascule_forge::hook::main()).unwrap_or(1)
}

/// The table of all routes, as JSON, for the authorisation test.
pub async fn routes() -> Result<String> {
    let folder = std::env::temp_dir().join(format!("bascule-routes-{}", std::process::id()));
    let config = Config {
        data: folder.clone(),
        listen: ([127, 0, 0, 1], 0).into(),
        ..Config::default()
    };
    let _lock = crate::lock::DataLock::take(&folder)?;
    let server = Server::build(&config).await?;
    let (_, _, table) = server.all_routes().into_parts();
    drop(std::fs::remove_dir_all(&folder));
    let rows: Vec<_> = table
        .iter()
        .map(|RouteEntry { method, path, access }| {
            serde_json::json!({ "method": method, "path": path, "access": format!("{access:?}") })
        })
        .collect();
    serde_json::to_string_pretty(&rows).map_err(|_| Problem::internal())
}

fn cannot(what: &str, error: impl std::fmt::Display) -> Problem {
    Problem::new(500, "cannot_start", format!("{what}: {error}."))
        .next("Mend what it names; `bascule doctor` says what this machine lacks.")
}

impl Server {
    /// Opens the database, applies migrations, wires everything. The address is taken here, so that it can be
    /// told before anything serves.
    pub async fn build(config: &Config) -> Result<Self> {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|e| cannot(&format!("The address {} cannot be listened on", config.listen), e))?;
        let address = listener
            .local_addr()
            .map_err(|e| cannot("The address is unknown", e))?;
        let url = match config.external_url.trim_end_matches('/') {
            "" => format!("http://{address}"),
            url => url.to_owned(),
        };
        let database = Db::open(&config.db())
            .await
            .map_err(|e| cannot("The database cannot be opened", e))?;
        database
            .migrate(MIGRATIONS)
            .await
            .map_err(|e| cannot("The database cannot be brought up to date", e))?;
        let blobs = Blobs::on_disk(&config.data.join("blobs"))
            .map_err(|e| cannot("The blob store cannot be opened", e))?;
        // What jobs leave is CI's alone, so that it may be deleted; what a release keeps of it is copied.
        let job_blobs = Blobs::apart(&config.data.join("blobs").join("jobs"), &blobs)
            .map_err(|e| cannot("The store of what jobs leave cannot be opened", e))?;
        let key = InstanceKey::load_or_create(&config.data.join("instance.key"))
            .map_err(|e| cannot("The instance key cannot be read", e))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ledger = Ledger::new(database.clone(), clock, key);
        let hang_up = CancellationToken::new();

        let identity = Identity::new(
            database.clone(),
            ledger.clone(),
            bascule_identity::Config::default(),
        );
        identity.bootstrap(&config.data).await?;
        let (ssh, ssh_address) = ssh_listener(config, &url).await?.unzip();
        let forge = open_forge(&database, &ledger, &identity, &config.data, &url, ssh_address).await?;
        let code = Arc::new(ports::Code(forge.clone()));
        let ci = Ci::new(
            database.clone(),
            ledger.clone(),
            job_blobs.clone(),
            Arc::new(ci_code::CiCode::new(
                &code,
                identity.clone(),
                &config.ci_remote_includes,
            )?),
            Options {
                keep: config.ci_keep(),
                ..Options::new(&url, hang_up.clone())
            },
        );
        ci.set_reach(Arc::new(pipelines::Reach {
            forge: forge.clone(),
            identity: identity.clone(),
        }));
        ci.set_requests(Arc::new(pipelines::Requests(forge.clone())));
        identity.set_projects(Arc::new(people::Named(forge.clone())));
        forge.set_people(Arc::new(people::People(identity.clone())));
        forge.set_pipelines(Arc::new(pipelines::Pipelines(ci.clone())));
        ci.set_findings(Arc::new(ports::Findings(forge.clone())));
        let artifacts = Arc::new(ports::JobArtifacts {
            ci: ci.clone(),
            blobs: job_blobs,
        });
        let releases = Releases::new(
            database.clone(),
            blobs.clone(),
            ledger.clone(),
            code.clone(),
            artifacts,
            &url,
        );
        let projects = Arc::new(ports::Projects {
            forge: forge.clone(),
            identity: identity.clone(),
        });
        let counts = ports::Late::new();
        let promises = ports::Late::new();
        let delivery = Delivery::new(
            database.clone(),
            ledger.clone(),
            bascule_delivery::Ports {
                releases: Arc::new(ports::Published(releases.clone())),
                files: code.clone(),
                history: code,
                projects: projects.clone(),
                teams: Arc::new(ports::Teams(identity.clone())),
                budgets: Arc::new(ports::Budgets(counts.clone(), promises.clone())),
                requests: Arc::new(previews::Requests {
                    forge: forge.clone(),
                    people: people::People(identity.clone()),
                }),
                builds: Arc::new(previews::Builds {
                    ci: ci.clone(),
                    forge: forge.clone(),
                    releases: releases.clone(),
                }),
                environments: config.environments.clone(),
                traffic: Arc::new(ports::Counts(counts.clone())),
            },
        );
        let door = agents_door::AgentsDoor::open(config, ledger.clock().clone()).await?;
        let delivery = match &door {
            Some(door) => delivery.with_door(door.door()),
            None => delivery,
        };
        promises.set(delivery.clone());
        forge.set_panels(Arc::new(previews::Panels {
            delivery: delivery.clone(),
            ci: ci.clone(),
            forge: forge.clone(),
        }));
        forge.set_keeper(Arc::new(ports::Keeper(delivery.clone())));
        let advisories = Advisories::new(
            database.clone(),
            ledger.clone(),
            projects.clone(),
            Arc::new(ports::Running(delivery.clone())),
        );
        let images = Images::new(releases.clone(), Arc::new(ports::Pullers(delivery.clone())));
        let carry = Carry::new(
            delivery.clone(),
            blobs,
            config.data.join("bundles"),
            Arc::new(freight::Freight {
                releases: releases.clone(),
                advisories: advisories.clone(),
                forge: forge.clone(),
                identity: identity.clone(),
            }),
        );
        let telemetry = Telemetry::new(
            database.clone(),
            ledger.clone(),
            Arc::new(ports::Promises(delivery.clone())),
            bascule_telemetry::Config {
                alert_time_scale: config.alert_time_scale,
                summary_every: Duration::from_secs(config.traffic_summary_seconds.max(1)),
                ..bascule_telemetry::Config::default()
            },
        );
        counts.set(telemetry.clone());
        let home = Arc::new(ports::Home {
            forge: forge.clone(),
            identity: identity.clone(),
            path: config.postmortems.clone(),
        });
        let incidents = Incidents::new(database.clone(), ledger.clone(), projects.clone(), home);
        let planning = Planning::new(
            database.clone(),
            ledger.clone(),
            Arc::new(planning::People(identity.clone())),
            Arc::new(planning::Projects {
                forge: forge.clone(),
                identity: identity.clone(),
            }),
            Arc::new(planning::Code(forge.clone())),
        );
        forge.set_issues(Arc::new(workflow::Issues(planning.clone())));
        forge.set_signers(Arc::new(workflow::Signers(identity.clone())));
        let notices = notices::open(
            &database,
            &ledger,
            &identity,
            notices::Told {
                forge: forge.clone(),
                planning: planning.clone(),
                identity: identity.clone(),
            },
            notices::config(config, &url)?,
        );
        let insights =
            Insights::new(database.clone(), ledger.clone(), projects).with_waits(Arc::new(ports::Waits {
                delivery: delivery.clone(),
                notices: notices.clone(),
            }));
        Ok(Self {
            url,
            listener,
            door,
            ssh,
            ledger,
            identity,
            forge,
            ci,
            releases,
            advisories,
            images,
            delivery,
            carry,
            telemetry,
            incidents,
            planning,
            notices,
            insights,
            database,
            hang_up,
        })
    }

    /// Where people and runners reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Enrols what runs beside the server in this process. Their tokens live as long as the process.
    pub async fn embedded(&self) -> Result<Embedded> {
        let (runner, token) = self.ci.embedded_runner("embedded").await?;
        // It died with the process before this one.
        let lost = self
            .ci
            .fail_jobs_of_runner(runner, "the platform was restarted")
            .await?;
        if lost > 0 {
            tracing::warn!(
                jobs = lost,
                "jobs were lost with the last process and are tried again once"
            );
        }
        Ok(Embedded {
            runner: token,
            agent: self.delivery.enrol_agent("local").await?,
            edge: self.delivery.enrol_edge("local").await?,
        })
    }

    fn all_routes(&self) -> Routes {
        Routes::new()
            .merge(bascule_web::assets::routes())
            .merge(health::routes(self.database.clone(), self.ledger.clone()))
            .merge(bascule_identity::routes(self.identity.clone()))
            .merge(self.forge.routes())
            .merge(self.ci.routes())
            .merge(bascule_supplychain::routes(self.releases.clone()))
            .merge(bascule_supplychain::advisory::routes(self.advisories.clone()))
            .merge(bascule_supplychain::image_routes(self.images.clone()))
            .merge(self.delivery.routes())
            .merge(self.carry.routes())
            .merge(bascule_telemetry::routes(self.telemetry.clone()))
            .merge(bascule_incidents::routes(self.incidents.clone()))
            .merge(bascule_planning::routes(self.planning.clone()))
            .merge(bascule_notices::routes(self.notices.clone()))
            .merge(bascule_insights::routes(self.insights.clone()))
    }

    fn hub(&self) -> Hub {
        let mut hub = Hub::default()
            .with(Arc::new(ReleaseSubscriber::new(self.releases.clone())))
            .with(Arc::new(OnReleases(self.advisories.clone())))
            .with(Arc::new(ImageSubscriber::new(self.images.clone())))
            .with(Arc::new(DeployKeySubscriber(self.identity.clone())));
        for subscriber in self
            .ci
            .subscribers()
            .into_iter()
            .chain(self.forge.subscribers())
            .chain(self.delivery.subscribers())
        {
            hub = hub.with(subscriber);
        }
        let hub = self.planning.subscribe(self.incidents.subscribe(hub));
        let hub = self.notices.subscribe(hub);
        self.insights.subscribe(hub)
    }

    /// Serves until `stop`, then ends long polls, lets requests in flight end, and signs the ledger's head.
    pub async fn serve(self, stop: CancellationToken) -> Result<()> {
        let door = Door {
            identity: self.identity.clone(),
            forge: self.forge.clone(),
            ci: self.ci.clone(),
            delivery: self.delivery.clone(),
            notices: self.notices.clone(),
        };
        let (router, api, _) = self.all_routes().into_parts();
        let door = Arc::new(door);
        let app = bascule_web::finish(health::with_openapi(router, api), door.clone());
        let background = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(self.hub().run(self.ledger.clone(), background.clone()));
        tasks.spawn({
            let (forge, stop) = (self.forge.clone(), background.clone());
            async move { forge.run(stop).await }
        });
        if let Some(listener) = self.ssh {
            let (forge, stop) = (self.forge.clone(), background.clone());
            tasks.spawn(async move { forge.serve_ssh(listener, door, stop).await });
        }
        tasks.spawn(self.identity.clone().run(background.clone()));
        tasks.spawn(self.ci.clone().run());
        tasks.spawn(self.delivery.clone().run(background.clone()));
        tasks.spawn(self.notices.clone().run(background.clone()));
        tasks.spawn(self.advisories.clone().run(background.clone()));
        tasks.spawn(self.incidents.clone().run_drills(background.clone()));
        tasks.spawn(self.telemetry.clone().run_evaluator(background.clone()));
        tasks.spawn(self.telemetry.clone().run_summaries(background.clone()));
        tasks.spawn(self.telemetry.clone().run_retention(background.clone()));
        tasks.spawn(checkpoints(self.ledger.clone(), background.clone()));
        tasks.spawn({
            let carry = self.carry.clone();
            async move {
                if let Err(problem) = carry.resume().await {
                    tracing::error!(%problem, "bundles that were gathered could not be applied; import one again");
                }
            }
        });

        if let Some(door) = self.door {
            tasks.spawn(door.serve(app.clone(), stop.clone()));
        }
        let hang_up = self.hang_up.clone();
        let stopped = stop.clone();
        let ended = async move {
            stopped.cancelled().await;
            hang_up.cancel();
        };
        let service = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
        let listener = self.listener.tap_io(probed::probe);
        let serving = axum::serve(listener, service).with_graceful_shutdown(ended);
        let cut_off = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let outcome = tokio::select! {
            outcome = serving.into_future() => outcome.map_err(|e| cannot("The server ended", e)),
            () = cut_off => Ok(()),
        };
        background.cancel();
        let drained = async { while tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(DRAIN, drained).await);
        if let Err(error) = self.telemetry.flush_summaries().await {
            tracing::warn!(%error, "the last traffic was not summed up");
        }
        self.ledger.checkpoint_now().await?;
        self.database.close().await;
        outcome
    }
}

/// Takes the address of git over SSH, if it is to be served, and says under which people reach it.
async fn ssh_listener(
    config: &Config,
    url: &str,
) -> Result<Option<(TcpListener, bascule_forge::ssh::Address)>> {
    let Some(listen) = config.ssh_listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| cannot(&format!("The SSH address {listen} cannot be listened on"), e))?;
    let port = listener.local_addr().map_or(listen.port(), |at| at.port());
    let named = config.ssh_external.as_str();
    let address = match named.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) if !host.contains(':') || host.ends_with(']') => (host.to_owned(), port),
        _ if !named.is_empty() => (named.to_owned(), port),
        _ => {
            let host = url::Url::parse(url).ok();
            let host = host.as_ref().and_then(url::Url::host_str).unwrap_or("localhost");
            (host.to_owned(), port)
        }
    };
    let (host, port) = address;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    tracing::info!(%listen, %host, port, "git over SSH is served");
    Ok(Some((listener, bascule_forge::ssh::Address { host, port })))
}

async fn open_forge(
    db: &Db,
    ledger: &Ledger,
    identity: &Identity,
    data: &Path,
    url: &str,
    ssh: Option<bascule_forge::ssh::Address>,
) -> Result<Forge> {
    let program = std::env::current_exe().map_err(|e| cannot("This program's own path is unknown", e))?;
    let data = data
        .canonicalize()
        .map_err(|e| cannot("The data directory cannot be read", e))?;
    let hook = vec![program.to_string_lossy().into_owned(), "hook".to_owned()];
    let mut config = bascule_forge::Config::new(data, url.to_owned(), hook);
    config.ssh = ssh;
    Forge::open(
        db.clone(),
        ledger.clone(),
        config,
        Arc::new(ports::Sight(identity.clone())),
    )
    .await
    .map_err(|e| cannot("The forge cannot be opened", e))
}

async fn checkpoints(ledger: Ledger, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CHECKPOINT_EVERY) => {}
        }
        if let Err(error) = ledger.checkpoint_now().await {
            tracing::error!(%error, "the ledger's head could not be signed");
        }
    }
}
