//! kill -9 of a site's agent in every phase of a rollout, and of the hub between plan and report: the end is
//! right each time, no step is taken twice, none is lost, and nobody loses a request that could be served.

use crate::{
    BIN,
    fleet::{self, Fleet, PROJECT, Part, SITE, Swept, Users, Version, environment, facts, rollout, serves},
};
use bascule_testkit::{Git, TestApp, until};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// A rollout that goes on where nobody asks: a process dies with its agent, and what users lose then opens an
/// incident, which holds the next version.
const WITHOUT_USERS: &str = "{ steps: [25, 50, 100], step: 2s, slice: 1s, max: 3s, inconclusive: promote }";

/// Where the new version stands when the agent dies.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Fetching,
    Starting,
    Smoke,
    Step(i64),
    Draining,
}

impl Phase {
    /// Whether it stands there.
    fn is(self, version: &str, environment: &Value, rollout: Option<&Value>) -> bool {
        let instances = environment["instances"].as_array().map_or(&[][..], Vec::as_slice);
        let new = instances.iter().find(|one| one["version"] == version);
        let state = |wanted: &str| new.is_some_and(|new| new["state"] == wanted);
        match self {
            Self::Fetching => state("fetching"),
            Self::Starting => state("starting"),
            Self::Smoke => state("healthy") && new.is_some_and(|new| new["smoke"].is_null()),
            Self::Step(weight) => rollout.is_some_and(|r| r["version"] == version && r["weight"] == weight),
            Self::Draining => {
                environment["serving"]["version"] == version
                    && instances
                        .iter()
                        .any(|one| one["version"] != version && one["state"] == "draining")
            }
        }
    }

    async fn reached(self, app: &TestApp, version: &str) {
        let what = format!("{version} to be in {self:?}");
        until(&what, Duration::from_secs(90), async || {
            let environment = environment(app, SITE).await?;
            let rollout = rollout(app).await;
            self.is(version, &environment, rollout.as_ref()).then_some(())
        })
        .await;
    }
}

/// A site with an agent in a process of its own.
struct Site {
    app: TestApp,
    git: Git,
    data: tempfile::TempDir,
    agent: Part,
    podman: bool,
}

impl Site {
    async fn start(driver: &str) -> Self {
        let app = TestApp::start(BIN);
        let git = fleet::create(&app);
        let data = tempfile::tempdir().unwrap();
        let code = fleet::code(&app, "agents", SITE);
        let agent = Part::spawn(&[], app.url(), "agent", &data.path().join("agent"), Some(&code));
        let mut site = Self {
            app,
            git,
            data,
            agent,
            podman: driver == "podman",
        };
        Fleet::create(&site.app).declare(SITE, &format!("agent: {SITE}\ndriver: {driver}\n"));
        site.release(Version::new("1.0.0")).await;
        serves(&site.app, SITE, "1.0.0").await;
        site
    }

    fn folder(&self) -> PathBuf {
        self.data.path().join("agent")
    }

    /// Pushes a version. It goes to staging by itself, and from there by plan to the site.
    async fn release(&mut self, version: Version<'_>) {
        let version = Version {
            image: self.podman,
            ..version
        };
        version.write(&self.git);
        drop(self.git.ok(&["tag", version.number]));
        drop(self.git.ok(&["push", "-q", "origin", "main", version.number]));
    }

    fn agent_dies_and_comes_back(&mut self) {
        self.agent.kill();
        self.agent = Part::spawn(&[], self.app.url(), "agent", &self.folder(), None);
    }

    /// Waits until a version's way into the site has ended, and checks that it ended right; whether it serves.
    async fn ended(&self, version: &str, before: &str) -> bool {
        let path = format!("/api/v1/projects/{PROJECT}/deployments?environment={SITE}");
        let what = format!("the deployment of {version} to end");
        let ended = until(&what, Duration::from_secs(120), async || {
            let answer = self.app.request("GET", &path).send().await.ok()?;
            let all: Value = answer.json().await.ok()?;
            let of = |d: &&Value| d["version"] == version;
            let all: Vec<Value> = all.as_array()?.iter().filter(of).cloned().collect();
            assert!(all.len() <= 1, "{version} was planned once: {all:?}");
            all.first().filter(|d| !d["finished_at"].is_null()).cloned()
        })
        .await;
        let succeeded = ended["status"] == "succeeded";
        let reason = ended["reason"].as_str().unwrap_or_default();
        assert!(
            succeeded || !reason.is_empty(),
            "an end without a reason: {ended}"
        );
        let now = if succeeded { version } else { before };
        let url = serves(&self.app, SITE, now).await;
        let what = format!("{now} alone to run and answer");
        until(&what, Duration::from_secs(90), async || {
            let found = environment(&self.app, SITE).await?;
            let instances = found["instances"].as_array()?;
            let alone = instances.len() == 1 && instances[0]["version"] == now;
            let answer = reqwest::get(&url).await.ok()?.text().await.ok()?;
            (alone && instances[0]["state"] == "healthy" && answer == format!("hello {now}")).then_some(())
        })
        .await;
        self.steps_once(version);
        fleet::note(&format!("{version}: {} ({reason})", ended["status"]));
        succeeded
    }

    /// Every step of a rollout was taken once, each higher than the one before.
    fn steps_once(&self, version: &str) {
        let steps: Vec<String> = facts(&self.app, "rollout.stepped")
            .into_iter()
            .filter(|step| step.starts_with(&format!("gives {version} ")))
            .collect();
        let weights: Vec<u32> = steps
            .iter()
            .filter_map(|step| step.split(' ').nth(2)?.parse().ok())
            .collect();
        assert!(weights.is_sorted_by(|a, b| a < b), "{steps:?}");
        let begun = facts(&self.app, "rollout.started");
        let begun = begun
            .iter()
            .filter(|b| b.starts_with(&format!("rolls out {version} ")));
        assert!(begun.count() <= 1, "{version} was rolled out once");
    }

    async fn killed_in(&mut self, phases: &[Phase]) {
        let (mut serving, mut number) = ("1.0.0".to_owned(), 0);
        for phase in phases {
            number += 1;
            let version = format!("1.{number}.0");
            let url = serves(&self.app, SITE, &serving).await;
            let users = if self.podman {
                Some(Users::of(&url).await)
            } else {
                None
            };
            self.release(Version {
                rollout: if self.podman {
                    Version::new("").rollout
                } else {
                    WITHOUT_USERS
                },
                start_delay: if matches!(phase, Phase::Starting) {
                    "2"
                } else {
                    "0"
                },
                smoke_delay: if matches!(phase, Phase::Smoke) { "3" } else { "0" },
                pad: if matches!(phase, Phase::Fetching) {
                    24_000_000
                } else {
                    0
                },
                ..Version::new(&version)
            })
            .await;
            phase.reached(&self.app, &version).await;
            self.agent_dies_and_comes_back();
            let succeeded = self.ended(&version, &serving).await;
            fleet::note(&format!("killed in {phase:?}"));
            if let Some(users) = users {
                // Containers outlive their agent: nothing stood in the way of any request.
                users.stop().await.nothing_lost(50);
            }
            if succeeded {
                serving = version;
            }
        }
        assert!(self.app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_before_users_meet_a_process_goes_on_with_it() {
    let mut site = Site::start("process").await;
    site.killed_in(&[Phase::Fetching, Phase::Starting, Phase::Smoke])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_while_a_process_takes_over_ends_right() {
    let mut site = Site::start("process").await;
    site.killed_in(&[Phase::Step(25), Phase::Step(50), Phase::Draining])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_before_users_meet_a_container_loses_no_request() {
    let mut site = Site::start("podman").await;
    let folder = site.folder();
    let _swept = Swept(&folder);
    site.killed_in(&[Phase::Fetching, Phase::Starting, Phase::Smoke])
        .await;
    site.agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_while_a_container_takes_over_loses_no_request() {
    let mut site = Site::start("podman").await;
    let folder = site.folder();
    let _swept = Swept(&folder);
    site.killed_in(&[Phase::Step(25), Phase::Step(50), Phase::Draining])
        .await;
    site.agent.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_killed_between_plan_and_report_takes_no_step_twice_and_loses_none() {
    let mut site = Site::start("process").await;
    // The agent has the plan and has not reported what came of it; then it has, and the rollout is under way.
    for (version, before, phase) in [
        ("1.1.0", "1.0.0", Phase::Starting),
        ("1.2.0", "1.1.0", Phase::Smoke),
        ("1.3.0", "1.2.0", Phase::Step(25)),
    ] {
        site.release(Version {
            rollout: WITHOUT_USERS,
            start_delay: "2",
            smoke_delay: "2",
            ..Version::new(version)
        })
        .await;
        phase.reached(&site.app, version).await;
        site.app.kill();
        site.app.resume();
        if site.ended(version, before).await {
            continue;
        }
        panic!("nothing was wrong with {version}, and it was undone");
    }
    let created = facts(&site.app, "deployment.created");
    let to_site: Vec<&String> = created.iter().filter(|f| f.ends_with("to site-7")).collect();
    assert_eq!(
        to_site,
        [
            "deploys 1.0.0 to site-7",
            "deploys 1.1.0 to site-7",
            "deploys 1.2.0 to site-7",
            "deploys 1.3.0 to site-7"
        ]
    );
    assert!(site.app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_that_hangs_and_a_crash_loop_never_meet_users_and_say_why() {
    let site = Site::start("process").await;
    let url = serves(&site.app, SITE, "1.0.0").await;
    let users = Users::of(&url).await;
    let staging = |name: &str| format!("environments: {{ staging: {{ variables: {{ {name}: \"\" }} }} }}\n");
    for (version, name, says) in [
        ("1.1.0", "CRASH", "no database to be found"),
        ("1.2.0", "HANG", "not healthy within"),
    ] {
        // It hangs or crashes in the site alone: in staging the variable is empty.
        let more = format!(
            "health: {{ path: /healthz, interval: 200ms, timeout: 500ms, start: 3s }}\n{}",
            staging(name)
        );
        let version_file = Version {
            more: &more,
            ..Version::new(version)
        };
        version_file.write(&site.git);
        let file = site.git.path().join("bascule.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text
            .replacen(
                "health: { path: /healthz, interval: 200ms, timeout: 1s, start: 20s }\n",
                "",
                1,
            )
            .replacen("environment: { ", &format!("environment: {{ {name}: \"1\", "), 1);
        std::fs::write(file, text).unwrap();
        site.git.commit("Break it");
        drop(site.git.ok(&["tag", version]));
        drop(site.git.ok(&["push", "-q", "origin", "main", version]));
        assert!(!site.ended(version, "1.0.0").await, "{version} must not serve");
        let told = facts(&site.app, "deployment.finished");
        let last = told
            .iter()
            .find(|fact| fact.contains(version) && fact.contains(says));
        assert!(last.is_some(), "{version}: {told:?}");
    }
    users.stop().await.nothing_lost(100);
}
