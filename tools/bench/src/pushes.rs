//! From the push that was accepted to the job that a runner took.

use crate::{
    Result,
    platform::{Platform, git},
    report::{Goal, goals},
    size,
    stats::{median, quantile},
    tell,
};
use bascule_core::Timestamp;
use serde_json::Value;
use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

const PROJECT: &str = "bench/pushes";
const CI_FILE: &str = "hello:\n  script: [\"true\"]\n";

/// Makes a work tree with a trivial pipeline.
pub fn work_tree(folder: &Path, url: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    git(folder, &["init", "-q"])?;
    std::fs::write(folder.join(".gitlab-ci.yml"), CI_FILE)?;
    std::fs::write(
        folder.join("README.md"),
        "# Pushes\n\nA project that is *pushed* to.\n",
    )?;
    git(folder, &["add", "."])?;
    git(folder, &["commit", "-q", "-m", "Begin"])?;
    git(folder, &["remote", "add", "origin", url]).map(drop)
}

/// Waits until a project has that many pipelines and the newest has ended.
pub async fn pipelines_ended(platform: &Platform, project: &str, number: usize) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = platform
            .get(&format!("/api/v1/projects/{project}/pipelines"))
            .await?;
        let pipelines = list(&answer);
        let ended = pipelines
            .first()
            .and_then(|pipeline| pipeline["status"].as_str())
            .is_some_and(|status| matches!(status, "success" | "failed" | "canceled" | "warning"));
        if ended && pipelines.len() >= number.min(20) {
            return match pipelines.first().and_then(|pipeline| pipeline["status"].as_str()) {
                Some("success") => Ok(()),
                other => Err(format!("a pipeline of {project} ended as {other:?}").into()),
            };
        }
        if Instant::now() > end {
            return Err(format!("pipeline {number} of {project} did not end: {answer}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A list, or the list in a page of one.
fn list(answer: &Value) -> &[Value] {
    let inner = answer
        .as_object()
        .and_then(|fields| fields.values().find(|value| value.is_array()));
    answer
        .as_array()
        .or_else(|| inner.and_then(Value::as_array))
        .map_or(&[], Vec::as_slice)
}

/// All facts of a kind, as `bascule ledger list` shows them page by page: when, and the fact itself.
fn facts(platform: &Platform, kind: &str, project: &str) -> Result<Vec<(Timestamp, Value)>> {
    let mut all = Vec::new();
    let mut before = String::new();
    loop {
        let mut arguments = vec!["ledger", "list", "--kind", kind, "--project", project];
        if !before.is_empty() {
            arguments.extend(["--before", &before]);
        }
        let answer = platform.verb(&arguments)?;
        let page = list(&answer);
        let Some(last) = page.last() else { return Ok(all) };
        before = last["seq"].to_string();
        for entry in page {
            all.push(fact(entry)?);
        }
    }
}

/// The newest facts of a kind, of any project: when, and the fact itself.
pub fn facts_of(platform: &Platform, kind: &str) -> Result<Vec<(Timestamp, Value)>> {
    let answer = platform.verb(&["ledger", "list", "--kind", kind])?;
    list(&answer).iter().map(fact).collect()
}

fn fact(entry: &Value) -> Result<(Timestamp, Value)> {
    let at = entry["at"].as_str().unwrap_or_default().parse()?;
    let body = match &entry["body"] {
        Value::String(text) => serde_json::from_str(text)?,
        body => body.clone(),
    };
    Ok((at, body))
}

/// Measures the section.
pub async fn measure() -> Result<String> {
    let pushes = size("BENCH_PUSHES", 30);
    let dir = tempfile::Builder::new()
        .prefix("bascule-bench-pushes-")
        .tempdir()?;
    let platform = Platform::up(&dir.path().join("data"))?;
    platform.create_group("bench").await?;
    platform.create_project("bench", "pushes").await?;
    let (waits, push_times) = waits(&platform, &dir.path().join("work"), PROJECT, pushes).await?;
    platform.stop();
    Ok(report(pushes, &waits, &push_times))
}

/// Milliseconds from each of so many pushes to its first job, and of the pushes themselves.
pub async fn waits(
    platform: &Platform,
    work: &Path,
    project: &str,
    pushes: usize,
) -> Result<(Vec<f64>, Vec<f64>)> {
    work_tree(work, &platform.git_url(project))?;
    let mut push_times = Vec::new();
    for number in 0..=pushes {
        git(
            work,
            &["commit", "-q", "--allow-empty", "-m", &format!("Push {number}")],
        )?;
        let begun = Instant::now();
        git(work, &["push", "-q", "origin", "main"])?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        pipelines_ended(platform, project, number + 1).await?;
        // The first one only warms up.
        if number > 0 {
            push_times.push(took);
        }
        if number % 10 == 0 {
            tell(&format!("push {number} of {pushes} done"));
        }
    }

    let accepted = facts(platform, "branch.updated", project)?;
    let created = facts(platform, "pipeline.created", project)?;
    let started: HashMap<String, Timestamp> = facts(platform, "job.started", project)?
        .into_iter()
        .map(|(at, body)| (body["pipeline"].to_string(), at))
        .collect();
    let mut waits = Vec::new();
    for (_, push) in &accepted {
        let at: Timestamp = push["at"].as_str().unwrap_or_default().parse()?;
        let pipeline = created
            .iter()
            .find(|(_, pipeline)| pipeline["sha"] == push["after"]);
        let job = pipeline.and_then(|(_, pipeline)| started.get(&pipeline["pipeline"].to_string()));
        waits.push(job.ok_or("a push has no started job")?.since(at).as_secs_f64() * 1000.0);
    }
    // Newest first; the oldest is the warm-up.
    waits.truncate(pushes);
    if waits.len() < pushes {
        return Err(format!("{} pushes are in the ledger, {pushes} were made", waits.len()).into());
    }

    Ok((waits, push_times))
}

fn report(pushes: usize, waits: &[f64], push_times: &[f64]) -> String {
    let (middle, p90) = (median(waits), quantile(waits, 0.9));
    let mut text = format!(
        "## Push to job start\n\n`bench pushes`: `bascule up` with its embedded runner, one project with one job \
         (`script: [\"true\"]`), {pushes} pushes of one commit, one after the other, after one to warm up. From \
         `branch.updated`'s `at` (the push is accepted and durable) to the time of `job.started` (a runner has the job), \
         both read with `bascule ledger list --json`.\n\n\
         | | Median (ms) | p90 (ms) | Longest (ms) |\n|---|---|---|---|\n\
         | push accepted to job started | {middle:.0} | {p90:.0} | {:.0} |\n\
         | `git push`, as its user waits for it | {:.0} | {:.0} | {:.0} |\n\n",
        quantile(waits, 1.0),
        median(push_times),
        quantile(push_times, 0.9),
        quantile(push_times, 1.0),
    );
    text.push_str(&goals(&[Goal {
        goal: "push to job start: median under 300 ms".to_owned(),
        measured: format!("{middle:.0} ms"),
        met: middle < 300.0,
    }]));
    text
}
