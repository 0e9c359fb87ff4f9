//! The agent as a product: it becomes another version while what it runs goes on, and comes back where that one is
//! no good. The versions are small programs that become the binary under test, or do something worse.

use crate::{
    BIN,
    fleet::{self, Fleet, SITE, Users, Version, facts, serves},
};
use bascule_testkit::{Git, TestApp, until};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const AGENT: &str = "demo/agent";
const HOME: &str = "site-7-agent";

const CI: &str = "stages: [build, release]
program:
  stage: build
  rules: [{ if: $CI_COMMIT_TAG }]
  script: [ \"true\" ]
  artifacts: { paths: [bascule] }
publish:
  stage: release
  rules: [{ if: $CI_COMMIT_TAG }]
  script: [ \"true\" ]
  release: { tag_name: $CI_COMMIT_TAG, description: \"An agent\" }
";

/// What a version does when it is called as an agent, `@HUB@` being the hub's address.
const GOOD: &str = "BASCULE_SERVER=@HUB@ exec BIN \"$@\"";
const DEAF: &str = "BASCULE_SERVER=http://127.0.0.1:9 exec BIN \"$@\"";
const HANGS: &str = "exec sleep 1000";
const ENDS: &str = "exit 3";

/// A site whose agent runs by itself, without anything that would start it again.
struct Site {
    app: TestApp,
    git: Git,
    data: tempfile::TempDir,
    agent: Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        // Also an agent that came back as another process.
        let lock = self.folder().join("agent.lock");
        let mut all = holders(&lock);
        if matches!(self.agent.try_wait(), Ok(None)) {
            all.push(self.agent.id());
        }
        for pid in all {
            drop(Command::new("kill").args(["-TERM", &pid.to_string()]).status());
        }
        let _ = self.agent.wait();
    }
}

/// Processes that have a file open.
fn holders(file: &Path) -> Vec<u32> {
    let is = |link: PathBuf| std::fs::read_link(link).is_ok_and(|to| to == file);
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let mut open = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten();
            open.any(|fd| is(fd.path())).then_some(pid)
        })
        .collect()
}

impl Site {
    async fn start() -> Self {
        let app = TestApp::start(BIN);
        let hello = fleet::create(&app);
        let data = tempfile::tempdir().unwrap();
        let code = fleet::code(&app, "agents", SITE);
        let agent = spawn(&app, &data.path().join("agent"), Some(&code));
        drop(app.cli().ok(&["project", "create", AGENT]));
        let git = Git::init();
        drop(git.ok(&["remote", "add", "origin", &app.remote(AGENT, app.token())]));
        let fleet = Fleet::create(&app);
        fleet.declare(SITE, &format!("agent: {SITE}\n"));
        let version = Version::new("1.0.0");
        version.write(&hello);
        drop(hello.ok(&["tag", "1.0.0"]));
        drop(hello.ok(&["push", "-q", "origin", "main", "1.0.0"]));
        let site = Self {
            app,
            git,
            data,
            agent,
        };
        site.release("1.0.0", GOOD, "");
        fleet.declare_of(HOME, AGENT, &format!("agent: {SITE}\n"));
        serves(&site.app, SITE, "1.0.0").await;
        site
    }

    fn folder(&self) -> PathBuf {
        self.data.path().join("agent")
    }

    /// Releases a version of the agent that does `run`, and `check` when it is tried.
    fn release(&self, version: &str, run: &str, check: &str) {
        let program = format!(
            "#!/bin/sh\n# {version}\ncase \"$*\" in\n*--version*) exec BIN \"$@\" ;;\n*check*) {check}\nBASCULE_SERVER=@HUB@ exec BIN \"$@\" ;;\nesac\n{run}\n"
        );
        let program = program.replace("BIN", BIN).replace("@HUB@", self.app.url());
        self.git.write("bascule", &program);
        self.git.write(".gitlab-ci.yml", CI);
        self.git.write(
            "bascule.yaml",
            "product: bascule-agent\nartifact: bascule\ndriver: agent\nhealth: { start: 5s }\n",
        );
        self.git.commit(&format!("Agent {version}"));
        drop(self.git.ok(&["tag", version]));
        drop(self.git.ok(&["push", "-q", "origin", "main", version]));
    }

    /// Waits until the agent's own environment runs a version, and the hub sees that one.
    async fn becomes(&self, version: &str) {
        let what = format!("the agent to become {version}");
        until(&what, Duration::from_secs(120), async || {
            let path = format!("/api/v1/projects/{AGENT}/environments/{HOME}");
            let found: Value = self
                .app
                .request("GET", &path)
                .send()
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            let there = found["active"].is_null() && found["serving"]["version"] == version;
            (there && self.version().await? == version).then_some(())
        })
        .await;
    }

    /// What the hub holds for the version that runs.
    async fn version(&self) -> Option<String> {
        let all = self.app.json("/api/v1/agents").await;
        let found = all.as_array()?.iter().find(|m| m["name"] == SITE)?.clone();
        (found["online"] == true).then(|| found["version"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the deployment of a version has failed; the reason.
    async fn fails(&self, version: &str) -> String {
        let path = format!("/api/v1/projects/{AGENT}/deployments?environment={HOME}");
        let what = format!("the agent's {version} to fail");
        until(&what, Duration::from_secs(120), async || {
            let all: Value = self
                .app
                .request("GET", &path)
                .send()
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            let of = |d: &&Value| d["version"] == version && !d["finished_at"].is_null();
            let ended = all.as_array()?.iter().find(of)?.clone();
            assert_ne!(ended["status"], "succeeded", "{ended}");
            Some(ended["reason"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// As [`Site::fails`]; then the incident that an undone version opened is resolved, which holds the next one.
    async fn fails_and_goes_on(&self, version: &str) -> String {
        let why = self.fails(version).await;
        let path = format!("/api/v1/projects/{AGENT}/incidents");
        let open = until("the incident", Duration::from_secs(30), async || {
            let all = crate::product::rows(&self.app.json(&path).await);
            let open = all.iter().find(|one| one["resolved_at"].is_null())?;
            open["number"].as_i64()
        })
        .await;
        drop(
            self.app
                .cli()
                .ok(&["incident", "resolve", AGENT, &open.to_string()]),
        );
        why
    }

    /// The processes of the product, by number.
    fn product(&self) -> Vec<u32> {
        let folder = self.data.path().file_name().unwrap().to_str().unwrap();
        let path = format!("{folder}/agent/instances");
        let inside = |pid: u32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains("src/server.py")
                && std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))
                    .is_ok_and(|mounts| mounts.contains(&path))
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|pid| inside(*pid)).collect()
    }
}

fn spawn(app: &TestApp, data: &Path, code: Option<&str>) -> Child {
    let mut command = Command::new(BIN);
    command.args(["agent", "--data"]).arg(data);
    if let Some(code) = code {
        command.args(["--code", code]);
    }
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.with_extension("log"))
        .unwrap();
    command
        .env("BASCULE_SERVER", app.url())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_becomes_another_version_and_back_and_no_request_is_lost() {
    let mut site = Site::start().await;
    site.becomes("1.0.0").await;
    let url = serves(&site.app, SITE, "1.0.0").await;
    let users = Users::of(&url).await;
    let product = site.product();
    assert!(!product.is_empty());

    site.release("1.1.0", GOOD, "");
    site.becomes("1.1.0").await;
    // One that the machine cannot use is not even become.
    site.release("1.2.0", GOOD, "echo 'no room for me here' >&2; exit 4;");
    let why = site.fails_and_goes_on("1.2.0").await;
    assert!(why.contains("no room for me here"), "{why}");
    // One that the hub does not hear comes back by itself.
    site.release("1.3.0", DEAF, "");
    let why = site.fails_and_goes_on("1.3.0").await;
    assert!(why.contains("took no report"), "{why}");
    site.becomes("1.1.0").await;
    site.release("1.4.0", GOOD, "");
    site.becomes("1.4.0").await;

    users.stop().await.nothing_lost(200);
    // The very processes that ran at the beginning, under the very process that was their agent.
    assert_eq!(site.product(), product);
    assert_eq!(site.agent.try_wait().unwrap(), None);
    let changes = facts(&site.app, "instance.changed");
    assert!(
        !changes.iter().any(|change| change.contains("crashed")),
        "{changes:?}"
    );

    // What was taken over is ended, and started, as ever.
    let old = product[0].to_string();
    drop(Command::new("kill").args(["-KILL", &old]).status());
    until(
        "the product to be started again",
        Duration::from_secs(30),
        async || {
            let now = site.product();
            let answers = reqwest::get(&url).await.ok()?.status().is_success();
            (!now.is_empty() && now != product && answers).then_some(())
        },
    )
    .await;
    drop(
        Command::new("kill")
            .args(["-TERM", &site.agent.id().to_string()])
            .status(),
    );
    assert!(site.agent.wait().unwrap().success());
    assert!(site.product().is_empty());

    // The program that the service names becomes the version that was installed, and the product is back.
    site.agent = spawn(&site.app, &site.folder(), None);
    let environment = format!("/proc/{}/environ", site.agent.id());
    until("the installed version", Duration::from_secs(30), async || {
        let environment = std::fs::read(&environment).ok()?;
        let program = environment
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(b"BASCULE_AGENT_PROGRAM="))?;
        let program = std::fs::read_to_string(std::str::from_utf8(program).ok()?).ok()?;
        let answers = reqwest::get(&url).await.ok()?.status().is_success();
        (program.contains("# 1.4.0\n") && answers && !site.product().is_empty()).then_some(())
    })
    .await;
    site.becomes("1.4.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_ends_or_hangs_or_is_killed_leaves_a_working_agent() {
    let site = Site::start().await;
    site.becomes("1.0.0").await;
    let url = serves(&site.app, SITE, "1.0.0").await;
    for (version, run) in [("1.1.0", ENDS), ("1.2.0", HANGS)] {
        site.release(version, run, "");
        let why = site.fails_and_goes_on(version).await;
        assert!(why.contains("before it had proven itself"), "{version}: {why}");
        site.becomes("1.0.0").await;
    }
    // Killed while it is on trial, by whomever.
    site.release("1.3.0", DEAF, "");
    let lock = site.folder().join("agent.lock");
    let trial = site.folder().join("upgrade.json");
    until("the trial", Duration::from_secs(60), async || {
        let state = std::fs::read_to_string(&trial).ok()?;
        let state: Value = serde_json::from_str(&state).ok()?;
        let on_trial = state["trial"]["what"]["version"] == "1.3.0";
        // Once the next program has the lock, it is past the step.
        let pid = *holders(&lock).first().filter(|_| on_trial)?;
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let deaf = String::from_utf8_lossy(&environment).contains("127.0.0.1:9");
        deaf.then(|| drop(Command::new("kill").args(["-KILL", &pid.to_string()]).status()))
    })
    .await;
    let why = site.fails_and_goes_on("1.3.0").await;
    assert!(why.contains("before it had proven itself"), "{why}");
    site.becomes("1.0.0").await;
    until(
        "the product to answer again",
        Duration::from_secs(30),
        async || {
            let answer = reqwest::get(&url).await.ok()?.text().await.ok()?;
            (answer == "hello 1.0.0").then_some(())
        },
    )
    .await;
    assert!(site.app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}
