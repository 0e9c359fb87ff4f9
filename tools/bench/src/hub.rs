//! The hub: a thousand agents that hold their calls, ten thousand installs, and what a push, a page and a minute of
//! rest cost then.

use crate::{
    Result,
    platform::{Platform, git},
    process::{cpu_seconds, resident_mib},
    pushes::{facts_of, pipelines_ended, work_tree},
    report::{Goal, goals},
    size,
    stats::{median, quantile},
    tell,
};
use bascule_core::{AgentId, Clock as _, DeploymentId, Digest, InstanceId, SystemClock, Timestamp};
use bascule_store::{Db, DbOptions, Query as _, args};
use bascule_wire::agent::{
    AgentReport, DesiredState, InstanceReport, InstanceState, MachineFacts, Resources,
};
use std::{
    fmt::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const GROUP: &str = "hub";
const HOME: &str = "platform/fleet";
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];
/// Of ten sites so many run the older version and wait for a window.
const HELD: usize = 3;
/// The agents begin spread over so many milliseconds, as after a restart of the server.
const START_MS: u64 = 8_000;
const REQUESTS: usize = 50;
const PUSHES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures the section.
pub async fn measure() -> Result<String> {
    let (sites, products) = (size("BENCH_SITES", 1_000), size("BENCH_PRODUCTS", 10));
    // Longer than a call of an agent hangs at rest, so that each calls once.
    let seconds = size("BENCH_SECONDS", 300) as u64;
    let dir = tempfile::Builder::new().prefix("bascule-bench-hub-").tempdir()?;
    let data = dir.path().join("data");

    let platform = Platform::up(&data)?;
    tell(&format!("releasing {products} products twice"));
    release(&platform, dir.path(), products).await?;
    platform.create_group("platform").await?;
    platform.create_project("platform", "fleet").await?;
    let fleet = dir.path().join("fleet");
    work_tree(&fleet, &platform.git_url(HOME))?;
    std::fs::create_dir_all(fleet.join("environments"))?;
    for number in 0..sites {
        std::fs::write(file(&fleet, number), declaration(number, products, false))?;
    }
    tell(&format!("declaring {sites} environments"));
    let begun = Instant::now();
    push(&fleet, "Declare")?;
    let declared = until(&format!("{sites} environments to be planned"), async || {
        let page = platform.get("/api/v1/fleet?q=site-").await?;
        Ok((page["found"].as_u64() >= Some((sites * products) as u64)).then_some(()))
    })
    .await
    .map(|()| begun.elapsed())?;
    platform.stop();
    tell("putting installs and agents in their places");
    let tokens = seed(&data, sites).await?;

    let platform = Platform::server(&data)?;
    let begun = Instant::now();
    let agents = Agents::start(&platform.url, tokens);
    let first_plan = until("all installs to be planned anew", async || {
        let page = platform.get("/api/v1/fleet?q=site-&state=held").await?;
        let held = sites * products * HELD / 10;
        Ok((page["found"].as_u64() == Some(held as u64)).then_some(()))
    })
    .await
    .map(|()| begun.elapsed())?;
    tell(&format!(
        "{} calls of agents so far; resting",
        agents.calls.load(Ordering::Relaxed)
    ));
    tokio::time::sleep(Duration::from_secs(15)).await;

    let (cpu, calls, at) = (
        cpu_seconds(platform.pid()),
        agents.calls.load(Ordering::Relaxed),
        Instant::now(),
    );
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let rested = at.elapsed().as_secs_f64();
    let idle = (cpu_seconds(platform.pid()) - cpu) / rested * 100.0;
    let rate = (agents.calls.load(Ordering::Relaxed) - calls) as f64 / rested;
    let memory_idle = resident_mib(platform.pid());
    tell(&format!(
        "at rest {idle:.1} % of a core, {memory_idle:.0} MiB, {rate:.0} calls a second"
    ));

    let mut text = String::new();
    let mut slowest: (f64, String) = (0.0, String::new());
    for (name, path, table) in [
        ("fleet, first page", "/plans".to_owned(), true),
        ("fleet, one site", "/plans?q=site-0500".to_owned(), true),
        (
            "fleet, one product and state",
            "/plans?q=p3&state=held".to_owned(),
            true,
        ),
        (
            "fleet, no match",
            "/plans?q=nothing+is+called+so".to_owned(),
            true,
        ),
        (
            "fleet, in the middle",
            "/plans?after=site-0500%3Ahub%2Fp0".to_owned(),
            true,
        ),
        ("map of environments", "/environments".to_owned(), false),
        ("one environment", "/plans/site-0001".to_owned(), false),
        ("products", "/products".to_owned(), false),
        ("one product", format!("/products/{GROUP}/p0"), false),
        (
            "why not, in one environment",
            format!("/plans/site-0001?product={GROUP}/p0&version=1.1.0"),
            false,
        ),
    ] {
        let mut times = Vec::new();
        for number in 0..REQUESTS + 3 {
            let took = platform.time_page(&path).await?.as_secs_f64() * 1000.0;
            if number >= 3 {
                times.push(took);
            }
        }
        let (p50, p95) = (median(&times), quantile(&times, 0.95));
        if table && p95 > slowest.0 {
            slowest = (p95, name.to_owned());
        }
        tell(&format!("{name}: p50 {p50:.1} ms, p95 {p95:.1} ms"));
        let _ = writeln!(
            text,
            "| {name} `{path}` | {p50:.1} | {p95:.1} | {:.1} |",
            quantile(&times, 1.0)
        );
    }

    let mut waits = Vec::new();
    for number in 0..PUSHES {
        // Another site each time; its installs are held by one more thing, or by one less.
        std::fs::write(
            file(&fleet, number * 10),
            declaration(number * 10, products, true),
        )?;
        let before = SystemClock.now();
        push_to(&platform, &fleet, &format!("Approvals {number}"))?;
        let site = name(number * 10);
        let planned = until(&format!("the plan of {site}"), async || {
            let all = facts_of(&platform, "plan.changed")?;
            Ok(all
                .into_iter()
                .filter(|(at, body)| *at >= before && body["site"] == site.as_str())
                .map(|(at, _)| at)
                .max())
        })
        .await?;
        let pushed = facts_of(&platform, "branch.updated")?
            .into_iter()
            .map(|(at, _)| at)
            .max()
            .unwrap_or(before);
        waits.push(planned.since(pushed).as_secs_f64() * 1000.0);
        tell(&format!(
            "push to plan: {:.0} ms",
            waits.last().copied().unwrap_or_default()
        ));
    }
    let memory = resident_mib(platform.pid());
    let failed = agents.failed.load(Ordering::Relaxed);
    agents.stop();
    platform.stop();

    let installs = sites * products;
    let (middle, longest) = (median(&waits), quantile(&waits, 1.0));
    let mut text = format!(
        "## Hub\n\n`bench hub`: {sites} environments declared in git, {products} products each, {installs} installs, of which \
         {HELD} of ten run the older release and wait for a window. `bascule server` alone on SQLite; {sites} simulated agents \
         hold real calls over HTTP (`/api/v1/agent/sync`) as long as the server lets them (3.5 to 4 minutes at rest), each reports its {products} healthy instances. Installs and \
         agents are put into the stopped database; releases, declarations and plans are made by the product itself.\n\n\
         | Page | p50 (ms) | p95 (ms) | Longest (ms) |\n|---|---|---|---|\n{text}\n\
         | | |\n|---|---|\n\
         | push accepted to plan changed, one site of {sites} (median, longest of {PUSHES}) | {middle:.0} ms, {longest:.0} ms |\n\
         | first push of all {sites} declarations, to all planned | {:.1} s |\n\
         | start of the server and all agents, to all planned anew | {:.1} s |\n\
         | at rest, {seconds} s: processor | {idle:.1} % of one core at {rate:.0} calls of agents a second |\n\
         | at rest: resident memory | {memory_idle:.0} MiB |\n\
         | after all of this: resident memory | {memory:.0} MiB |\n\
         | calls of agents that failed | {failed} |\n\n",
        declared.as_secs_f64(),
        first_plan.as_secs_f64(),
    );
    text.push_str(&goals(&[
        Goal {
            goal: format!("hub: push to plan under 1 s with {installs} installs"),
            measured: format!("median {middle:.0} ms, longest {longest:.0} ms"),
            met: longest < 1_000.0,
        },
        Goal {
            goal: format!("hub: table page under 200 ms with {installs} installs"),
            measured: format!("slowest p95 {:.1} ms ({})", slowest.0, slowest.1),
            met: slowest.0 < 200.0,
        },
        Goal {
            goal: format!("hub: idle processor under 1 % of a core with {sites} agents"),
            measured: format!("{idle:.1} %"),
            met: idle < 1.0,
        },
        Goal {
            goal: format!("hub: memory under 300 MiB with {sites} agents"),
            measured: format!("{memory_idle:.0} MiB resident at rest, {memory:.0} MiB after all of this"),
            met: memory.max(memory_idle) < 300.0,
        },
    ]));
    Ok(text)
}

fn name(number: usize) -> String {
    format!("site-{number:04}")
}

fn file(fleet: &Path, number: usize) -> std::path::PathBuf {
    fleet.join("environments").join(format!("{}.yaml", name(number)))
}

/// Whether a site runs the older release.
const fn is_held(number: usize) -> bool {
    number % 10 < HELD
}

fn declaration(number: usize, products: usize, approvals: bool) -> String {
    let site = name(number);
    let mut text = format!("environment: {site}\ntier: production\nagent: {site}\nchannel: dev\n");
    if is_held(number) {
        text.push_str("windows: [{cron: \"0 3 1 1 *\", timezone: Europe/Paris, duration: 4h}]\n");
    }
    if approvals {
        text.push_str("approvals: [platform]\n");
    }
    text.push_str("install:\n");
    for product in 0..products {
        let _ = writeln!(text, "  - product: {GROUP}/p{product}");
    }
    text
}

fn push(work: &Path, message: &str) -> Result<()> {
    git(work, &["add", "-A"])?;
    git(work, &["commit", "-q", "-m", message])?;
    git(work, &["push", "-q", "origin", "main"]).map(drop)
}

/// The same to a server that has another address since.
fn push_to(platform: &Platform, work: &Path, message: &str) -> Result<()> {
    git(work, &["remote", "set-url", "origin", &platform.git_url(HOME)])?;
    push(work, message)
}

/// Two releases of each product, made by their pipelines.
async fn release(platform: &Platform, dir: &Path, products: usize) -> Result<()> {
    platform.create_group(GROUP).await?;
    for product in 0..products {
        let path = format!("{GROUP}/p{product}");
        platform.create_project(GROUP, &format!("p{product}")).await?;
        let work = dir.join(format!("p{product}"));
        work_tree(&work, &platform.git_url(&path))?;
        std::fs::write(work.join("app"), "#!/bin/sh\nexit 1\n")?;
        std::fs::write(
            work.join("bascule.yaml"),
            format!("product: p{product}\nartifact: app.tar.gz\ncommand: sh app\n"),
        )?;
        std::fs::write(
            work.join(".gitlab-ci.yml"),
            "package:\n  rules: [{if: $CI_COMMIT_TAG}]\n  script: [\"tar -czf app.tar.gz app\"]\n  \
             artifacts: {paths: [app.tar.gz]}\n  release: {tag_name: $CI_COMMIT_TAG, description: Bench}\n",
        )?;
        git(&work, &["add", "-A"])?;
        for version in VERSIONS {
            git(&work, &["commit", "-q", "--allow-empty", "-m", version])?;
            git(&work, &["tag", version])?;
        }
        git(&work, &["push", "-q", "origin", "main", "--tags"])?;
    }
    for product in 0..products {
        pipelines_ended(platform, &format!("{GROUP}/p{product}"), VERSIONS.len()).await?;
    }
    for product in 0..products {
        until(&format!("the releases of p{product}"), async || {
            let view = platform
                .get(&format!("/api/v1/projects/{GROUP}/p{product}/product"))
                .await?;
            let all = view["releases"].as_array().map_or(0, Vec::len);
            Ok((all == VERSIONS.len()).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Waits until something is there.
async fn until<T>(what: &str, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!("waited in vain for {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Puts an agent at each site and a healthy instance at each install; the agents' tokens.
async fn seed(data: &Path, sites: usize) -> Result<Vec<String>> {
    let db = Db::open(&DbOptions::Sqlite(data.join("bascule.db"))).await?;
    let now = SystemClock.now();
    let tx = db.begin().await?;
    // What the little programs of the releases did in staging is over.
    tx.run(
        "UPDATE deployment SET status = 'failed', finished_at = $1 WHERE finished_at IS NULL",
        args![now],
    )
    .await?;
    tx.run("UPDATE instance SET desired = 'gone'", args![]).await?;
    let mut tokens = Vec::with_capacity(sites);
    for number in 0..sites {
        let token = format!("bagt-{}", Digest::of(name(number).as_bytes()).hex());
        let hash = Digest::of(token.as_bytes()).hex().to_owned();
        tx.run(
            "INSERT INTO agent (id, name, token_hash, version, online, skew_ms, disk_free, created_at)
             VALUES ($1, $2, $3, '', FALSE, 0, 0, $4)",
            args![AgentId::new(), name(number), hash, now],
        )
        .await?;
        tokens.push(token);
    }
    let rows: Vec<(String, String, String)> = tx
        .all(
            "SELECT id AS c0, name AS c1, project_id AS c2 FROM environment WHERE declared = TRUE LIMIT 1000000",
            args![],
        )
        .await?;
    for (environment, site, project) in rows {
        let number: usize = site.trim_start_matches("site-").parse()?;
        let version = if is_held(number) { VERSIONS[0] } else { VERSIONS[1] };
        let deployment = DeploymentId::new();
        tx.run(
            "INSERT INTO deployment (id, project_id, environment_id, release_id, version, cause, actor, status, reason, forced,
               artifact_digest, artifact_size, artifact_file, product, created_at, exposed_at, finished_at)
             SELECT $1, project_id, $2, release_id, version, 'plan', 'system', 'succeeded', '', '', artifact_digest,
               artifact_size, artifact_file, product, $3, $3, $3
             FROM deployment WHERE project_id = $4 AND version = $5 ORDER BY id LIMIT 1",
            args![deployment, environment, now, project, version],
        )
        .await?;
        tx.run(
            "INSERT INTO instance (id, deployment_id, environment_id, desired, weight, state, address, pid, restarts, message,
               smoke, started_at, state_at, reported_at, created_at)
             VALUES ($1, $2, $3, 'run', 100, 'healthy', '127.0.0.1:9', 1, 0, '', '{\"passed\":true,\"details\":[]}', $4, $4, $4, $4)",
            args![InstanceId::new(), deployment, environment, now],
        )
        .await?;
        tx.run(
            "UPDATE environment SET serving_id = $2, agent_id = (SELECT id FROM agent WHERE name = $3) WHERE id = $1",
            args![environment, deployment, site],
        )
        .await?;
    }
    tx.commit().await?;
    db.close().await;
    Ok(tokens)
}

/// Agents that say what they should run runs, and hold their calls.
struct Agents {
    tasks: tokio::task::JoinSet<()>,
    calls: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Agents {
    fn start(url: &str, tokens: Vec<String>) -> Self {
        let (calls, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        let http = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
        let all = tokens.len().max(1) as u64;
        let began = SystemClock.now();
        for (number, token) in tokens.into_iter().enumerate() {
            let (calls, failed, http) = (calls.clone(), failed.clone(), http.clone());
            let url = format!("{url}/api/v1/agent/sync");
            tasks.spawn(async move {
                // They did not all begin in the same moment.
                tokio::time::sleep(Duration::from_millis(number as u64 * START_MS / all)).await;
                let mut known = DesiredState::default();
                loop {
                    calls.fetch_add(1, Ordering::Relaxed);
                    let asked = http
                        .post(format!("{url}?revision={}&wait=240&brief=true", known.revision))
                        .bearer_auth(&token)
                        .json(&report(&known, began))
                        .send()
                        .await
                        .and_then(reqwest::Response::error_for_status);
                    let answer = match asked {
                        Ok(answer) if answer.status() == reqwest::StatusCode::NO_CONTENT => continue,
                        Ok(answer) => answer.json::<DesiredState>().await,
                        Err(error) => Err(error),
                    };
                    match answer {
                        Ok(state) => known = state,
                        Err(_) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                    }
                }
            });
        }
        Self { tasks, calls, failed }
    }

    fn stop(mut self) {
        self.tasks.abort_all();
    }
}

fn report(known: &DesiredState, began: Timestamp) -> AgentReport {
    AgentReport {
        tasks: Vec::new(),
        version: "bench".to_owned(),
        at: SystemClock.now(),
        disk_free_bytes: 1 << 40,
        resources: Resources::default(),
        machine: MachineFacts::default(),
        drivers: Vec::new(),
        instances: known
            .instances
            .iter()
            .map(|wanted| InstanceReport {
                instance: wanted.instance,
                deployment: wanted.deployment,
                state: InstanceState::Healthy,
                address: Some("127.0.0.1:9".to_owned()),
                pid: Some(1),
                restarts: 0,
                message: String::new(),
                started_at: Some(began),
                smoke: Some(bascule_wire::agent::SmokeResult {
                    passed: true,
                    details: Vec::new(),
                }),
            })
            .collect(),
    }
}
