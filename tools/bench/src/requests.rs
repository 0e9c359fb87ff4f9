//! Merge requests: a large one's pages, one after the other and with many people at once; and how long a merge takes.

use crate::{
    Result,
    platform::{Platform, git},
    process::resident_mib,
    pushes::work_tree,
    report::{Goal, goals},
    stats::quantile,
    tell,
};
use serde_json::json;
use std::{
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const PROJECT: &str = "review/code";
/// Files of the large request, and lines changed in each.
const FILES: usize = 300;
const LINES: usize = 30;
/// Files of the huge one.
const HUGE: usize = 10_000;
const REQUESTS: usize = 100;
const WARM_UP: usize = 3;
/// People at once, how often each clicks, and how long each reads in between.
const PEOPLE: usize = 100;
const CLICKS: usize = 20;
const READS: Duration = Duration::from_millis(500);
const MERGES: usize = 30;

/// Measures the section.
pub async fn measure() -> Result<String> {
    let dir = tempfile::Builder::new()
        .prefix("bascule-bench-requests-")
        .tempdir()?;
    let platform = Platform::server(&dir.path().join("data"))?;
    platform.create_group("review").await?;
    platform.create_project("review", "code").await?;
    let work = dir.path().join("work");
    tell("making the requests");
    requests(&platform, &work).await?;

    let of = |rest: &str| format!("/{PROJECT}/-/merge-requests{rest}");
    let pages = [
        ("list", of("")),
        ("overview, 300 files", of("/1")),
        ("commits, 300 files", of("/1/commits")),
        ("changes, 300 files", of("/1/changes")),
        ("changes side by side, 300 files", of("/1/changes?view=split")),
        ("changes, 10,000 files", of("/2/changes")),
        (
            "changes from file 9,000 on, 10,000 files",
            of("/2/changes?from=9000"),
        ),
    ];
    let mut text = format!(
        "## Merge requests\n\n`bench requests`: one request of {FILES} files with {LINES} changed lines each, one of {HUGE} new \
         files. {REQUESTS} requests for each page, one after the other, read to the end.\n\n| Page | p50 (ms) | p95 (ms) | \
         Longest (ms) |\n|---|---|---|---|\n"
    );
    let mut large = 0.0_f64;
    for (name, path) in &pages {
        let mut times = Vec::new();
        for number in 0..WARM_UP + REQUESTS {
            let took = platform.time_page(path).await?.as_secs_f64() * 1000.0;
            if number >= WARM_UP {
                times.push(took);
            }
        }
        let (p50, p95, longest) = (
            quantile(&times, 0.5),
            quantile(&times, 0.95),
            quantile(&times, 1.0),
        );
        if name.contains("300 files") {
            large = large.max(p95);
        }
        let _ = writeln!(text, "| {name} | {p50:.1} | {p95:.1} | {longest:.1} |");
        tell(&format!("{name}: p50 {p50:.1} ms, p95 {p95:.1} ms"));
    }
    let memory_before = resident_mib(platform.pid());
    let platform = Arc::new(platform);
    let clicks = crowd(&platform, &pages).await?;
    let memory = resident_mib(platform.pid());
    let crowd = quantile(&clicks, 0.95);
    let merges = merges(&platform, &work).await?;
    let _ = write!(
        text,
        "\n{PEOPLE} people at once, each {CLICKS} clicks over these pages with {} ms to read: p50 {:.1} ms, p95 {crowd:.1} ms, \
         longest {:.1} ms. Resident memory before {memory_before:.0} MiB, after {memory:.0} MiB. {MERGES} merges (merge commit), \
         each from order to answer: p50 {:.1} ms, p95 {:.1} ms.\n\n",
        READS.as_millis(),
        quantile(&clicks, 0.5),
        quantile(&clicks, 1.0),
        quantile(&merges, 0.5),
        quantile(&merges, 0.95),
    );
    if let Some(platform) = Arc::into_inner(platform) {
        platform.stop();
    }
    text.push_str(&goals(&[
        Goal {
            goal: "merge request page with 300 files: first content under 300 ms".to_owned(),
            measured: format!("slowest p95 {large:.1} ms, whole page"),
            met: large < 300.0,
        },
        Goal {
            goal: format!("{PEOPLE} people clicking through review pages: p95 under 150 ms"),
            measured: format!("p95 {crowd:.1} ms"),
            met: crowd < 150.0,
        },
    ]));
    Ok(text)
}

async fn requests(platform: &Platform, work: &Path) -> Result<()> {
    work_tree(work, &platform.git_url(PROJECT))?;
    let write = |name: String, text: String| -> Result<()> {
        let path = work.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(std::fs::write(path, text)?)
    };
    let body = |seed: &str| {
        (0..200)
            .map(|n| format!("let line_{n} = {seed}({n});\n"))
            .collect::<String>()
    };
    for file in 0..FILES {
        write(format!("src/part{}/file{file}.rs", file % 20), body("old"))?;
    }
    git(work, &["add", "-A"])?;
    git(work, &["commit", "-q", "-m", "Files"])?;
    git(work, &["push", "-q", "origin", "main"])?;
    git(work, &["switch", "-q", "-c", "large"])?;
    for file in 0..FILES {
        let text: Vec<String> = body("old")
            .lines()
            .enumerate()
            .map(|(n, line)| {
                if n < LINES {
                    line.replace("old", "new")
                } else {
                    line.to_owned()
                }
            })
            .collect();
        write(
            format!("src/part{}/file{file}.rs", file % 20),
            text.join("\n") + "\n",
        )?;
    }
    git(work, &["commit", "-q", "-a", "-m", "Large"])?;
    git(work, &["push", "-q", "origin", "large"])?;
    git(work, &["switch", "-q", "main"])?;
    git(work, &["switch", "-q", "-c", "huge"])?;
    for file in 0..HUGE {
        write(
            format!("huge/d{}/f{file}.txt", file / 100),
            format!("line {file}\n"),
        )?;
    }
    git(work, &["add", "-A"])?;
    git(work, &["commit", "-q", "-m", "Huge"])?;
    git(work, &["push", "-q", "origin", "huge"])?;
    for branch in ["large", "huge"] {
        open(platform, branch).await?;
    }
    Ok(())
}

async fn open(platform: &Platform, branch: &str) -> Result<i64> {
    let path = format!("/api/v1/projects/{PROJECT}/merge-requests");
    let made = platform.post(&path, &json!({ "source_branch": branch })).await?;
    Ok(made["iid"].as_i64().unwrap_or_default())
}

async fn crowd(platform: &Arc<Platform>, pages: &[(&str, String)]) -> Result<Vec<f64>> {
    let mut people = tokio::task::JoinSet::new();
    for person in 0..PEOPLE {
        let platform = platform.clone();
        let paths: Vec<String> = pages.iter().map(|(_, path)| path.clone()).collect();
        people.spawn(async move {
            let mut times = Vec::new();
            // Not all at the same instant.
            tokio::time::sleep(READS * u32::try_from(person).unwrap_or(0) / 100).await;
            for click in 0..CLICKS {
                if let Some(path) = paths.get((person + click) % paths.len()) {
                    times.push(platform.time_page(path).await?.as_secs_f64() * 1000.0);
                }
                tokio::time::sleep(READS).await;
            }
            Ok::<_, crate::Error>(times)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = people.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

async fn merges(platform: &Platform, work: &Path) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for number in 0..MERGES {
        let branch = format!("merge-{number}");
        git(work, &["switch", "-q", "main"])?;
        git(work, &["switch", "-q", "-c", &branch])?;
        std::fs::write(work.join(format!("merged-{number}")), "x\n")?;
        git(work, &["add", "-A"])?;
        git(work, &["commit", "-q", "-m", &branch])?;
        git(work, &["push", "-q", "origin", &branch])?;
        let iid = open(platform, &branch).await?;
        let begun = Instant::now();
        let path = format!("/api/v1/projects/{PROJECT}/merge-requests/{iid}/merge");
        platform.post(&path, &json!({})).await?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}
