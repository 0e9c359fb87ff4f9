//! Page times on an instance with many projects and a long ledger.

use crate::{
    Result, facts, history,
    platform::{Platform, git},
    process::resident_mib,
    pushes::{pipelines_ended, work_tree},
    report::{Goal, goals},
    size,
    stats::quantile,
    tell,
};
use bascule_core::{Clock as _, ProjectId, SystemClock};
use bascule_store::{Db, DbOptions, Query as _, args};
use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

const REQUESTS: usize = 200;
const WARM_UP: usize = 5;
/// Stands in an address for a date, another one in each request.
const DAY: &str = "DAY";
const PER_GROUP: usize = 20;
const CODE: &str = "group0/code";
const CODE_COMMITS: usize = 2000;
const CODE_FILES: usize = 300;
const CODE_PIPELINES: usize = 20;
/// Subscribers that act rather than compute: what the made-up facts call for happened long ago.
const REACTIONS: &[&str] = &[
    "ci.pushes",
    "delivery.release",
    "incidents.postmortem",
    "incidents.watch",
    "supplychain.releases",
];
const PATIENCE: Duration = Duration::from_secs(45 * 60);

/// Measures the section.
pub async fn measure() -> Result<String> {
    let (projects, facts) = (size("BENCH_PROJECTS", 1000), size("BENCH_FACTS", 1_000_000));
    let dir = tempfile::Builder::new()
        .prefix("bascule-bench-pages-")
        .tempdir()?;
    let data = dir.path().join("data");
    let platform = Platform::up(&data)?;
    tell(&format!("creating {projects} projects"));
    let ids = create(&platform, projects).await?;
    code(&platform, dir.path()).await?;
    platform.stop();

    tell(&format!("appending {facts} facts"));
    let begun = Instant::now();
    let appended = facts::append(&data, &ids, facts).await?;
    let rate = appended as f64 / begun.elapsed().as_secs_f64();
    skip_reactions(&data).await?;

    let begun = Instant::now();
    let platform = Platform::up(&data)?;
    tell("waiting for the projections");
    caught_up(&data).await?;
    let caught = begun.elapsed();
    let (ready, pid) = (platform.ready_after, platform.pid());
    let database = std::fs::metadata(data.join("bascule.db"))?.len() as f64 / 1024.0 / 1024.0;

    let job = format!("/{CODE}/-/jobs/1");
    let project = |rest: &str| format!("/{CODE}{rest}");
    let main = [
        ("home", "/".to_owned()),
        ("projects", "/explore".to_owned()),
        ("project (files, README)", project("")),
        ("commits", project("/-/commits")),
        ("pipelines", project("/-/pipelines")),
        ("job with its log", job),
        ("environments", "/environments".to_owned()),
        ("incidents", "/incidents".to_owned()),
        ("insights of the instance", "/insights".to_owned()),
        ("ledger", "/ledger".to_owned()),
    ];
    let more = [
        (
            "insights of a busy project",
            "/group0/project0/-/insights".to_owned(),
        ),
        (
            "insights of the instance, a period that nobody asked for before",
            format!("/insights?from={DAY}"),
        ),
        (
            "insights of a busy project, likewise",
            format!("/group0/project0/-/insights?from={DAY}"),
        ),
        ("ledger, one kind", "/ledger?kind=deployment.finished".to_owned()),
        (
            "ledger, one project",
            "/ledger?project=group0/project0".to_owned(),
        ),
        ("releases", project("/-/releases")),
    ];
    let mut text = format!(
        "## Pages of a large instance\n\n`bench pages`: {projects} projects, {appended} facts of two years (pushes, \
         pipelines, jobs, releases, deployments, rollouts, traffic, incidents), appended with the ledger's own code; one \
         project has a repository of {CODE_COMMITS} commits and {CODE_PIPELINES} pipelines. SQLite, database of {database:.0} \
         MiB. {REQUESTS} requests for each page, one after the other over one kept connection, signed in as administrator, read \
         to the end, after {WARM_UP} to warm up. Measures are kept until the next fact comes; two rows ask for another \
         beginning (`from=DAY`, 60 to 265 days ago) each time, so that they are computed each time.\n\n| Page | p50 (ms) | p95 (ms) | Longest (ms) |\n|---|---|---|---|\n"
    );
    let mut slowest: (f64, &str) = (0.0, "");
    let mut failed = Vec::new();
    for (index, (name, path)) in main.iter().chain(&more).enumerate() {
        match times(&platform, path).await {
            Ok(times) => {
                let p95 = quantile(&times, 0.95);
                if index < main.len() && p95 > slowest.0 {
                    slowest = (p95, name);
                }
                let (p50, longest) = (quantile(&times, 0.5), quantile(&times, 1.0));
                let apart = if index < main.len() {
                    ""
                } else {
                    " (not among the ten)"
                };
                let _ = writeln!(
                    text,
                    "| {name}{apart} `{path}` | {p50:.1} | {p95:.1} | {longest:.1} |"
                );
                tell(&format!("{name}: p50 {p50:.1} ms, p95 {p95:.1} ms"));
            }
            Err(error) => {
                tell(&format!("{name}: {error}"));
                let _ = writeln!(text, "| {name} `{path}` | not measured | | |");
                failed.push(*name);
            }
        }
    }
    let memory = resident_mib(pid);
    platform.stop();
    let _ = write!(
        text,
        "\nFacts were appended at {rate:.0} a second. Ready {:.0} ms after the start; all projections had caught up on \
         {appended} facts {:.0} s after it. Resident memory after all of this: {memory:.0} MiB.\n\n",
        ready.as_secs_f64() * 1000.0,
        caught.as_secs_f64(),
    );
    text.push_str(&goals(&[Goal {
        goal: format!("ten main pages: p95 under 50 ms with {projects} projects and {appended} facts"),
        measured: if failed.is_empty() {
            format!("slowest p95 {:.1} ms ({})", slowest.0, slowest.1)
        } else {
            format!("not measured: {}", failed.join(", "))
        },
        met: failed.is_empty() && slowest.0 < 50.0,
    }]));
    Ok(text)
}

async fn create(platform: &Platform, projects: usize) -> Result<Vec<ProjectId>> {
    let mut ids = Vec::with_capacity(projects);
    for number in 0..projects {
        let group = format!("group{}", number / PER_GROUP);
        if number % PER_GROUP == 0 {
            platform.create_group(&group).await?;
        }
        let project = platform
            .create_project(&group, &format!("project{number}"))
            .await?;
        ids.push(project["id"].as_str().unwrap_or_default().parse()?);
        if number % 200 == 199 {
            tell(&format!("{} projects created", number + 1));
        }
    }
    Ok(ids)
}

/// One project with code, commits and pipelines.
async fn code(platform: &Platform, folder: &Path) -> Result<()> {
    platform.create_project("group0", "code").await?;
    let source = folder.join("source.git");
    history::generate(&source, CODE_COMMITS, CODE_FILES)?;
    let work = folder.join("work");
    work_tree(&work, &platform.git_url(CODE))?;
    git(&work, &["fetch", "-q", &source.to_string_lossy(), "main"])?;
    git(
        &work,
        &[
            "merge",
            "-q",
            "--allow-unrelated-histories",
            "-m",
            "Join",
            "FETCH_HEAD",
        ],
    )?;
    git(&work, &["push", "-q", "origin", "main"])?;
    pipelines_ended(platform, CODE, 1).await?;
    for number in 1..CODE_PIPELINES {
        git(
            &work,
            &["commit", "-q", "--allow-empty", "-m", &format!("Push {number}")],
        )?;
        git(&work, &["push", "-q", "origin", "main"])?;
        pipelines_ended(platform, CODE, number + 1).await?;
    }
    Ok(())
}

async fn skip_reactions(data: &Path) -> Result<()> {
    let db = Db::open(&DbOptions::Sqlite(data.join("bascule.db"))).await?;
    let head = db.count("SELECT seq AS n FROM ledger_head", args![]).await?;
    let tx = db.begin().await?;
    for name in REACTIONS {
        tx.run(
            "INSERT INTO subscriber (name, cursor, failures) VALUES ($1, $2, 0)
             ON CONFLICT (name) DO UPDATE SET cursor = $2",
            args![*name, head],
        )
        .await?;
    }
    tx.commit().await?;
    db.close().await;
    Ok(())
}

/// Waits until no subscriber has more than a batch before it. One that finds nothing of its kinds in the last
/// batch leaves its cursor where it was.
async fn caught_up(data: &Path) -> Result<()> {
    let db = Db::open(&DbOptions::Sqlite(data.join("bascule.db"))).await?;
    let end = Instant::now() + PATIENCE;
    let mut said = Instant::now();
    loop {
        let behind = db
            .count(
                "SELECT (SELECT seq FROM ledger_head) - COALESCE(MIN(cursor), 0) AS n FROM subscriber",
                args![],
            )
            .await?;
        if behind < 100 {
            break;
        }
        if said.elapsed() > Duration::from_secs(20) {
            tell(&format!("{behind} facts behind"));
            said = Instant::now();
        }
        if Instant::now() > end {
            return Err(format!("the projections are still {behind} facts behind").into());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    db.close().await;
    // What the last batch started comes to rest.
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(())
}

async fn times(platform: &Platform, path: &str) -> Result<Vec<f64>> {
    let mut all = Vec::with_capacity(REQUESTS);
    for number in 0..WARM_UP + REQUESTS {
        // Answers to the same question are kept; a page with `DAY` in its address is asked anew each time.
        let day = SystemClock
            .now()
            .minus(Duration::from_secs(86_400 * (60 + number as u64)));
        let day = day.to_string();
        let path = path.replace(DAY, day.split('T').next().unwrap_or_default());
        let took = platform.time_page(&path).await?.as_secs_f64() * 1000.0;
        if number >= WARM_UP {
            all.push(took);
        }
    }
    Ok(all)
}
