//! Pipelines: GitLab's CI language, the state of pipelines and jobs, and the server side of the runner
//! protocol. Code, projects and identity are reached only through facts and [`ports`].

pub mod config;
mod engine;
pub mod environment;
pub mod fault;
mod indexes;
pub mod job;
pub mod lint;
mod migrations;
pub mod pipeline;
pub mod plan;
pub mod ports;
mod request;
pub mod required;
pub mod resource;
pub mod results;
pub mod retention;
pub mod rules;
pub mod runner;
pub mod schedule;
mod settings;
mod signals;
mod site;
pub mod status;
mod subscriptions;
pub mod templates;
mod token;
pub mod trigger;
mod trigger_token;
pub mod variable;
pub mod variables;
pub mod yaml;

use bascule_core::Clock;
use bascule_ledger::{Ledger, Subscriber};
use bascule_store::{Blobs, Db};
use bascule_web::Routes;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

pub use job::JobIdentity;
pub use migrations::MIGRATIONS;
pub use signals::Change;
pub use subscriptions::Pushes;
pub use token::JOB as JOB_TOKEN;

/// How this crate is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where jobs and people reach the server, without a slash at the end: `http://host:port`.
    pub base_url: String,
    /// A runner that was not heard of for so long has lost its jobs.
    pub lost_after: Duration,
    /// How long logs and pipelines are kept.
    pub keep: retention::Keep,
    /// Ends all waiting when the server stops.
    pub stop: CancellationToken,
}

impl Options {
    /// The usual, for a server at this address.
    #[must_use]
    pub fn new(base_url: impl Into<String>, stop: CancellationToken) -> Self {
        Self {
            base_url: base_url.into(),
            lost_after: Duration::from_secs(60),
            keep: retention::Keep::default(),
            stop,
        }
    }
}

/// Pipelines, jobs and runners. Cheap to clone.
#[derive(Clone)]
pub struct Ci(Arc<Inner>);

/// What [`Ci`] holds.
pub struct Inner {
    pub(crate) db: Db,
    pub(crate) ledger: Ledger,
    pub(crate) blobs: Blobs,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) code: Arc<dyn ports::Code>,
    pub(crate) options: Options,
    pub(crate) signals: signals::Signals,
    pub(crate) names: runner::queue::Names,
    pub(crate) signer: tokio::sync::OnceCell<Arc<job::Signer>>,
    pub(crate) hearing: job::Hearing,
    pub(crate) stuck: subscriptions::Stuck,
    pub(crate) findings: OnceLock<Arc<dyn ports::Findings>>,
    pub(crate) lines: job::Lines,
    pub(crate) expected: required::Expected,
    reach: OnceLock<Arc<dyn ports::Reach>>,
    requests: OnceLock<Arc<dyn ports::Requests>>,
}

impl std::ops::Deref for Ci {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Ci {
    /// Pipelines, jobs and runners over a database, a ledger and blobs, with code from `code`.
    #[must_use]
    pub fn new(db: Db, ledger: Ledger, blobs: Blobs, code: Arc<dyn ports::Code>, options: Options) -> Self {
        let clock = ledger.clock().clone();
        let started = clock.now();
        Self(Arc::new(Inner {
            db,
            ledger,
            blobs,
            clock,
            code,
            options,
            signals: signals::Signals::default(),
            names: runner::queue::Names::default(),
            signer: tokio::sync::OnceCell::new(),
            hearing: job::Hearing::since(started),
            stuck: subscriptions::Stuck::default(),
            reach: OnceLock::new(),
            requests: OnceLock::new(),
            findings: OnceLock::new(),
            lines: job::Lines::default(),
            expected: required::Expected::default(),
        }))
    }

    /// Wires the port that shows what jobs' reports find. Later calls change nothing.
    pub fn set_findings(&self, findings: Arc<dyn ports::Findings>) {
        drop(self.findings.set(findings));
    }

    /// Says who knows other projects and what people may do there. Until it is said, nobody may do anything.
    pub fn set_reach(&self, reach: Arc<dyn ports::Reach>) {
        // Set once, while the server is put together.
        drop(self.reach.set(reach));
    }

    /// Says who knows merge requests. Until it is said, there are none.
    pub fn set_requests(&self, requests: Arc<dyn ports::Requests>) {
        drop(self.requests.set(requests));
    }

    pub(crate) fn reach(&self) -> Arc<dyn ports::Reach> {
        self.reach
            .get()
            .cloned()
            .unwrap_or_else(|| Arc::new(ports::Nobody))
    }

    pub(crate) fn requests(&self) -> Arc<dyn ports::Requests> {
        self.requests
            .get()
            .cloned()
            .unwrap_or_else(|| Arc::new(ports::Nobody))
    }

    /// All routes: pages, JSON API and runner protocol.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes::new()
            .merge(pipeline::api::routes())
            .merge(job::api::routes())
            .merge(job::browse::routes())
            .merge(job::access_routes())
            .merge(job::id_token_routes())
            .merge(results::api::routes())
            .merge(results::analytics::routes())
            .merge(lint::routes())
            .merge(runner::api::routes())
            .merge(runner::queue::api::routes())
            .merge(runner::protocol_routes())
            .merge(variable::routes())
            .merge(settings::routes())
            .merge(request::api::routes())
            .merge(environment::api::routes())
            .merge(required::api::routes())
            .merge(resource::api::routes())
            .merge(schedule::api::routes())
            .merge(trigger_token::api::routes())
            .merge(site::api::routes())
            .with_state(self.clone())
    }

    /// What reacts to others' facts.
    #[must_use]
    pub fn subscribers(&self) -> Vec<Arc<dyn Subscriber>> {
        vec![
            Arc::new(Pushes(self.clone())),
            Arc::new(results::Results(self.clone())),
            Arc::new(subscriptions::Families(self.clone())),
            Arc::new(subscriptions::Requests(self.clone())),
            Arc::new(site::Sites(self.clone())),
        ]
    }

    /// Hears of changes of pipelines and jobs in this process.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::broadcast::Receiver<Change> {
        self.signals.listen()
    }

    /// Does what happens by itself and by time, until the server stops.
    pub async fn run(self) {
        tokio::join!(
            self.sweep_on(),
            self.watch_replicas(),
            self.turn_on(),
            self.retain_on(),
            self.expire_caches_on()
        );
    }

    /// Gives up what runners lost and what takes too long.
    async fn sweep_on(&self) {
        let every = (self.options.lost_after / 10).clamp(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            tokio::select! {
                () = self.options.stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            if let Err(problem) = self.sweep().await {
                tracing::warn!(%problem, "looking for lost jobs failed; tried again soon");
            }
        }
    }
}
