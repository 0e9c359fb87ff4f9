//! Questions to a long history: who wrote a line, how a file came to be, what lies between two commits; against
//! command-line git in the very same repository.

use crate::{
    Result,
    git::{Times, timed},
    history::{self, Numbers},
    platform::{Platform, git},
    report::{Goal, goals},
    size,
    stats::quantile,
    tell,
};
use std::{fmt::Write as _, path::Path, time::Instant};

const PROJECT: &str = "bench/long";
/// Files in the tree.
const TREE: usize = 2_000;
/// Files that are asked about, each once, so that nothing is answered from memory.
const FILES: usize = 20;
/// Steps of a file's history on a page.
const STEPS: usize = 30;
/// Comparisons, each of commits so far apart.
const APART: usize = 1_000;
const COMPARISONS: usize = 10;

/// Measures the section.
pub async fn measure() -> Result<String> {
    let commits = size("BENCH_COMMITS", 100_000);
    let dir = tempfile::Builder::new().prefix("bascule-bench-code-").tempdir()?;
    let source = dir.path().join("source.git");
    tell(&format!("generating a repository of {commits} commits"));
    history::generate(&source, commits, TREE)?;

    let data = dir.path().join("data");
    let platform = Platform::server(&data)?;
    platform.create_group("bench").await?;
    platform.create_project("bench", "long").await?;
    git(
        &source,
        &["push", "-q", &platform.git_url(PROJECT), "main", "--tags"],
    )?;
    let repository = the_only_repository(&data)?;
    // As the platform's own upkeep leaves it; done here because that waits for a quiet hour.
    git(&repository, &["repack", "-adq", "--write-bitmap-index"])?;
    git(
        &repository,
        &["commit-graph", "write", "--reachable", "--changed-paths"],
    )?;

    let mut numbers = Numbers::new(7);
    let files: Vec<String> = (0..=FILES)
        .map(|_| {
            let file = numbers.below(TREE);
            format!("src/part{:02}/file{file:04}.rs", file / history::PER_FOLDER)
        })
        .collect();
    let (mut blamed, mut followed, mut compared) = (Times::default(), Times::default(), Times::default());
    let mut pages: Vec<f64> = Vec::new();
    for (round, file) in files.iter().enumerate() {
        let encoded = file.replace('/', "%2F");
        let asked = format!("/api/v1/projects/{PROJECT}/blame/{encoded}");
        let both = [
            api(&platform, &asked).await?,
            timed(&repository, &["blame", "--porcelain", "main", "--", file])?,
        ];
        blamed.add(round, true, both[0]);
        blamed.add(round, false, both[1]);
        let asked = format!("/api/v1/projects/{PROJECT}/commits?path={encoded}&per_page={STEPS}");
        let count = (STEPS + 1).to_string();
        let log = [
            "log",
            "--follow",
            "-n",
            &count,
            "--format=%H %an %at %s",
            "main",
            "--",
            file,
        ];
        followed.add(round, true, api(&platform, &asked).await?);
        followed.add(round, false, timed(&repository, &log)?);
        pages.push(
            platform
                .time_page(&format!("/{PROJECT}/-/blame/main/{file}"))
                .await?
                .as_secs_f64()
                * 1_000.0,
        );
    }
    tell("blame and history done");
    for round in 0..=COMPARISONS {
        let (new, old) = (round * APART / 2, round * APART / 2 + APART);
        let id = |back: usize| git(&repository, &["rev-parse", &format!("main~{back}")]);
        let (new, old) = (id(new)?.trim().to_owned(), id(old)?.trim().to_owned());
        let asked = format!("/api/v1/projects/{PROJECT}/compare?from={old}&to={new}&per_page=50");
        compared.add(round, true, api(&platform, &asked).await?);
        compared.add(round, false, by_git(&repository, &old, &new)?);
    }
    platform.stop();

    let mut text = format!(
        "## History\n\n`bench code`: {commits} commits over {TREE} files. {FILES} files that were not asked about before, each after the \
         other, over HTTP by the API as JSON, against command-line git in the same repository (repacked, with a commit graph that \
         knows changed paths). `git blame --porcelain`; `git log --follow -n {}`; for a comparison of commits {APART} apart \
         `git rev-list --left-right --count`, `git log -n 50` and `git diff --name-status -M`.\n\n",
        STEPS + 1
    );
    text.push_str("| | bascule, p50 (ms) | p95 | git, p50 (ms) | p95 |\n|---|---|---|---|---|\n");
    for (name, times) in [
        ("blame of a file", &blamed),
        ("history of a file through renames", &followed),
        ("compare", &compared),
    ] {
        let ms = |values: &[f64], at| quantile(values, at) * 1_000.0;
        let _ = writeln!(
            text,
            "| {name} | {:.1} | {:.1} | {:.1} | {:.1} |",
            ms(&times.ours, 0.5),
            ms(&times.ours, 0.95),
            ms(&times.theirs, 0.5),
            ms(&times.theirs, 0.95)
        );
    }
    let _ = writeln!(
        text,
        "\nThe page of a blamed file, asked for after that: p50 {:.1} ms, p95 {:.1} ms.\n",
        quantile(&pages, 0.5),
        quantile(&pages, 0.95)
    );
    let goal = |name: &str, times: &Times| Goal {
        goal: format!("{name} on {commits} commits within 1.2 of command-line git"),
        measured: format!("{:.2}", times.ratio()),
        met: times.ratio() <= 1.2,
    };
    text.push_str(&goals(&[
        goal("blame", &blamed),
        goal("history of a file", &followed),
        goal("compare", &compared),
    ]));
    Ok(text)
}

/// The seconds that an answer takes.
async fn api(platform: &Platform, path: &str) -> Result<f64> {
    let begun = Instant::now();
    drop(platform.get(path).await?);
    Ok(begun.elapsed().as_secs_f64())
}

/// What a comparison says, asked of git.
fn by_git(repository: &Path, old: &str, new: &str) -> Result<f64> {
    let (apart, between) = (format!("{old}...{new}"), format!("{old}..{new}"));
    Ok(
        timed(repository, &["rev-list", "--left-right", "--count", &apart])?
            + timed(
                repository,
                &["log", "-n", "50", "--format=%H %an %at %s", &between],
            )?
            + timed(repository, &["diff", "--name-status", "-M", &apart])?,
    )
}

/// The bare repository somewhere in the folder of repositories.
fn the_only_repository(data: &Path) -> Result<std::path::PathBuf> {
    let mut folders = vec![data.join("repositories")];
    while let Some(folder) = folders.pop() {
        if folder.join("HEAD").is_file() {
            return Ok(folder);
        }
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    Err("there is no repository".into())
}
