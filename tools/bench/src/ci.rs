//! CI: from a push to its first job, what a trivial job costs beside another program that runs the same file, a queue of
//! ten thousand jobs, and a job that writes its log as fast as the server takes it.

use crate::{
    Result,
    platform::{Platform, git},
    process::resident_mib,
    pushes,
    report::{Goal, goals},
    size,
    stats::{median, quantile},
    tell,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const GROUP: &str = "ci";
/// Executors of both programs that run the trivial jobs.
const EXECUTORS: usize = 2;
/// Most jobs of a pipeline in the queue.
const PER_PIPELINE: usize = 500;
/// Requests for a job with the long queue.
const REQUESTS: usize = 200;
/// Pieces of log in one request: as the stock runner sends at most by itself, and larger.
const STOCK: usize = 1024 * 1024;
const LARGE: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(900);

/// Measures the section.
pub async fn measure() -> Result<String> {
    let dir = tempfile::Builder::new().prefix("bascule-bench-ci-").tempdir()?;
    let (waits, first) = first_job(dir.path()).await?;
    let trivial = size("BENCH_JOBS", 500);
    let (ours, ours_memory) = trivial_jobs(dir.path(), trivial).await?;
    let theirs = peer(dir.path(), trivial)?;
    let queue = long_queue(dir.path(), size("BENCH_QUEUE", 10_000)).await?;
    let mib = size("BENCH_LOG_MIB", 96);
    let stock = log_of_one_job(dir.path(), "stock", mib, STOCK).await?;
    let log = log_of_one_job(dir.path(), "large", mib, LARGE).await?;

    let per_job = ours.as_secs_f64() * 1000.0 * EXECUTORS as f64 / trivial as f64;
    let mut text = format!(
        "## CI\n\n`bench ci`: `bascule up` and `bascule server` on SQLite. *Push to first job*: `branch.updated`'s time to \
         `job.started`'s, idle embedded runner. *Trivial jobs*: one pipeline of {trivial} jobs of one stage, each \
         `script: [\"true\"]` with its own workspace and bubblewrap sandbox, {EXECUTORS} at once; the wall time from the \
         pipeline's creation to its end, times {EXECUTORS}, by job. *Queue*: {} jobs of {} projects wait; {REQUESTS} requests \
         that each get a job, and as many of a runner for which there is none, over HTTP. *Log*: one job whose runner sends \
         piece after piece as fast as they are answered, each synced to the disk before it is; read back whole and compared.\n\n\
         | | |\n|---|---|\n\
         | push accepted to first job started (median, longest of {}) | {:.0} ms, {:.0} ms |\n\
         | {trivial} trivial jobs on {EXECUTORS} executors | {:.1} s, {per_job:.0} ms a job |\n",
        queue.waiting,
        queue.projects,
        waits.len(),
        median(&waits),
        quantile(&waits, 1.0),
        ours.as_secs_f64(),
    );
    let _ = match &theirs {
        Some((version, took)) => writeln!(
            text,
            "| the same file with gitlab-ci-local {version}, {EXECUTORS} at once, isolated workspaces, no sandbox | {:.1} s, {:.0} ms a job |",
            took.as_secs_f64(),
            took.as_secs_f64() * 1000.0 * EXECUTORS as f64 / trivial as f64
        ),
        None => writeln!(
            text,
            "| the same file with gitlab-ci-local | not installed: `scripts/setup bench` |"
        ),
    };
    let _ = write!(
        text,
        "| {} waiting: a request that gets a job (median, p95) | {:.1} ms, {:.1} ms |\n\
         | {} waiting: a request that gets none (median, p95) | {:.1} ms, {:.1} ms |\n\
         | {} waiting: the queue page (median) | {:.0} ms |\n\
         | log of one job, {} MiB in pieces of 4 MiB, of 1 MiB | {:.0} MB/s, {:.0} MB/s |\n\
         | resident memory of the server: after the pushes, after the trivial jobs | {first:.0} MiB, {ours_memory:.0} MiB |\n\
         | resident memory of the server: with the queue | {:.0} MiB |\n\
         | resident memory of the server: most while it took the log | {:.0} MiB |\n\n",
        queue.waiting,
        median(&queue.given),
        quantile(&queue.given, 0.95),
        queue.waiting,
        median(&queue.none),
        quantile(&queue.none, 0.95),
        queue.waiting,
        median(&queue.page),
        log.mib,
        log.rate,
        stock.rate,
        queue.memory,
        log.memory.max(stock.memory),
    );
    let mut list = vec![
        Goal {
            goal: "push to first job: median under 200 ms".to_owned(),
            measured: format!("{:.0} ms", median(&waits)),
            met: median(&waits) < 200.0,
        },
        Goal {
            goal: "a trivial job: under 60 ms".to_owned(),
            measured: format!("{per_job:.0} ms"),
            met: per_job < 60.0,
        },
        Goal {
            goal: format!("{} jobs waiting: a request under 10 ms", queue.waiting),
            measured: format!("{:.1} ms", median(&queue.given)),
            met: median(&queue.given) < 10.0,
        },
        Goal {
            goal: "log of one job: 100 MB/s".to_owned(),
            measured: format!("{:.0} MB/s", log.rate),
            met: log.rate >= 100.0,
        },
    ];
    if let Some((_, took)) = theirs {
        list.push(Goal {
            goal: "trivial jobs: quicker than gitlab-ci-local".to_owned(),
            measured: format!("{:.1} times", took.as_secs_f64() / ours.as_secs_f64()),
            met: ours < took,
        });
    }
    text.push_str(&goals(&list));
    Ok(text)
}

/// A data directory in which to run.
fn data(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join("data")
}

/// Times from pushes to first jobs, and memory afterwards.
async fn first_job(dir: &Path) -> Result<(Vec<f64>, f64)> {
    let count = size("BENCH_PUSHES", 30);
    std::fs::create_dir_all(dir.join("push"))?;
    let platform = Platform::up(&data(dir, "push"))?;
    platform.create_group(GROUP).await?;
    platform.create_project(GROUP, "push").await?;
    tell(&format!("{count} pushes"));
    let (waits, _) = pushes::waits(&platform, &dir.join("push/work"), "ci/push", count).await?;
    let memory = resident_mib(platform.pid());
    platform.stop();
    Ok((waits, memory))
}

fn jobs(count: usize, more: &str) -> String {
    let mut file = String::new();
    for number in 0..count {
        let _ = writeln!(file, "job-{number}: {{script: [\"true\"]{more}}}");
    }
    file
}

fn repository(folder: &Path, file: &str, url: &str) -> Result<()> {
    pushes::work_tree(folder, url)?;
    std::fs::write(folder.join(".gitlab-ci.yml"), file)?;
    git(folder, &["commit", "-q", "-a", "-m", "Jobs"]).map(drop)
}

/// How long a pipeline of trivial jobs takes.
async fn trivial_jobs(dir: &Path, count: usize) -> Result<(Duration, f64)> {
    std::fs::create_dir_all(dir.join("trivial"))?;
    let settings = dir.join("trivial/bascule.toml");
    std::fs::write(&settings, format!("jobs = {EXECUTORS}\n"))?;
    let settings = settings.to_string_lossy().into_owned();
    let platform = Platform::up_with(&data(dir, "trivial"), &["--config", &settings])?;
    platform.create_group(GROUP).await?;
    platform.create_project(GROUP, "trivial").await?;
    let work = dir.join("trivial/work");
    // The first pipeline only warms up.
    repository(&work, &jobs(2, ""), &platform.git_url("ci/trivial"))?;
    git(&work, &["push", "-q", "origin", "main"])?;
    pushes::pipelines_ended(&platform, "ci/trivial", 1).await?;
    std::fs::write(work.join(".gitlab-ci.yml"), jobs(count, ""))?;
    git(&work, &["commit", "-q", "-a", "-m", "Many"])?;
    tell(&format!("a pipeline of {count} jobs"));
    git(&work, &["push", "-q", "origin", "main"])?;
    let end = Instant::now() + PATIENCE;
    let pipeline = loop {
        let answer = platform.get("/api/v1/projects/ci/trivial/pipelines").await?;
        let list = answer["pipelines"].as_array().cloned().unwrap_or_default();
        if list.len() > 1
            && let Some(newest) = list.first()
            && newest["finished_at"].is_string()
        {
            break newest.clone();
        }
        if Instant::now() > end {
            return Err(format!("the pipeline did not end: {answer}").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    if pipeline["status"] != "success" {
        return Err(format!("the pipeline ended as {}", pipeline["status"]).into());
    }
    let at = |key: &str| -> Result<bascule_core::Timestamp> {
        Ok(pipeline[key].as_str().unwrap_or_default().parse()?)
    };
    let took = at("finished_at")?.since(at("created_at")?);
    let memory = resident_mib(platform.pid());
    platform.stop();
    Ok((took, memory))
}

/// The same file with gitlab-ci-local, if it is installed: its version and how long it took.
fn peer(dir: &Path, count: usize) -> Result<Option<(String, Duration)>> {
    let Some(program) = peer_program() else {
        tell("gitlab-ci-local is not installed: scripts/setup bench");
        return Ok(None);
    };
    let version = Command::new(&program).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let work = dir.join("peer");
    repository(&work, &jobs(count, ""), "https://example.org/ci/trivial.git")?;
    tell(&format!("the same with gitlab-ci-local {version}"));
    let executors = EXECUTORS.to_string();
    let begun = Instant::now();
    let output = Command::new(&program)
        .args(["--concurrency", &executors, "--shell-isolation"])
        .current_dir(&work)
        .stdin(Stdio::null())
        .output()?;
    let took = begun.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("gitlab-ci-local: {said}").into());
    }
    Ok(Some((version, took)))
}

fn peer_program() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from)?;
    let installed = std::env::var_os("BENCH_GITLAB_CI_LOCAL").map_or_else(
        || home.join(".cache/bascule/gitlab-ci-local/node_modules/.bin/gitlab-ci-local"),
        PathBuf::from,
    );
    installed.is_file().then_some(installed)
}

/// A runner that asks as a test tells it.
struct Runner {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// A job that it has.
struct Given {
    id: i64,
    token: String,
}

impl Runner {
    async fn new(platform: &Platform, tags: &[&str], untagged: bool) -> Result<Self> {
        let made = platform
            .post(
                "/api/v1/runner",
                &json!({"description": "bench", "tags": tags, "run_untagged": untagged}),
            )
            .await?;
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            url: platform.url.clone(),
            token: made["token"].as_str().unwrap_or_default().to_owned(),
        })
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v4/{path}", self.url))
    }

    /// Asks once, without hanging.
    async fn ask(&self) -> Result<Option<Given>> {
        let body = json!({"token": self.token, "info": {"name": "bench", "version": "1", "features": {}}});
        let answer = self
            .call(Method::POST, "jobs/request")
            .header("prefer", "wait=0")
            .json(&body)
            .send()
            .await?;
        match answer.status().as_u16() {
            204 => Ok(None),
            201 => {
                let job: Value = answer.json().await?;
                Ok(Some(Given {
                    id: job["id"].as_i64().ok_or("a job without a number")?,
                    token: job["token"].as_str().unwrap_or_default().to_owned(),
                }))
            }
            _ => Err(refused(answer).await),
        }
    }
}

async fn refused(answer: Response) -> crate::Error {
    let status = answer.status();
    format!("{status}: {}", answer.text().await.unwrap_or_default()).into()
}

struct Queue {
    waiting: usize,
    projects: usize,
    given: Vec<f64>,
    none: Vec<f64>,
    page: Vec<f64>,
    memory: f64,
}

async fn long_queue(dir: &Path, count: usize) -> Result<Queue> {
    std::fs::create_dir_all(dir.join("queue"))?;
    let platform = Platform::server(&data(dir, "queue"))?;
    platform.create_group(GROUP).await?;
    let projects = count.div_ceil(PER_PIPELINE);
    tell(&format!("{projects} pipelines of {PER_PIPELINE} jobs"));
    for number in 0..projects {
        let name = format!("queue-{number}");
        platform.create_project(GROUP, &name).await?;
        let work = dir.join("queue").join(&name);
        let mut file = jobs(PER_PIPELINE.min(count), "");
        if number % 2 == 1 {
            file = jobs(PER_PIPELINE.min(count), ", tags: [bench]");
        }
        repository(&work, &file, &platform.git_url(&format!("ci/{name}")))?;
        git(&work, &["push", "-q", "origin", "main"])?;
    }
    let end = Instant::now() + PATIENCE;
    let waiting = loop {
        let queue = platform.get("/api/v1/queue?limit=1").await?;
        let waiting = usize::try_from(queue["waiting"].as_u64().unwrap_or_default())?;
        if waiting >= projects * PER_PIPELINE.min(count) {
            break waiting;
        }
        if Instant::now() > end {
            return Err(format!("only {waiting} jobs wait").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let (able, unable) = (
        Runner::new(&platform, &["bench"], true).await?,
        Runner::new(&platform, &["nothing"], false).await?,
    );
    let requests = REQUESTS.min(waiting / 2);
    let (mut given, mut none, mut page) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..requests {
        let begun = Instant::now();
        if able.ask().await?.is_none() {
            return Err("jobs wait, and the runner got none".into());
        }
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        let begun = Instant::now();
        if unable.ask().await?.is_some() {
            return Err("the runner got a job that is not for it".into());
        }
        // The first ones warm up.
        if number >= requests / 20 {
            given.push(took);
            none.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    for _ in 0..20 {
        page.push(platform.time_page("/admin/queue").await?.as_secs_f64() * 1000.0);
    }
    let memory = resident_mib(platform.pid());
    platform.stop();
    Ok(Queue {
        waiting,
        projects,
        given,
        none,
        page,
        memory,
    })
}

struct Log {
    mib: usize,
    /// Megabytes of log a second.
    rate: f64,
    memory: f64,
}

async fn log_of_one_job(dir: &Path, name: &str, mib: usize, size: usize) -> Result<Log> {
    std::fs::create_dir_all(dir.join(name))?;
    let platform = Platform::server(&data(dir, name))?;
    platform.create_group(GROUP).await?;
    platform.create_project(GROUP, "log").await?;
    let work = dir.join(name).join("work");
    repository(&work, &jobs(1, ""), &platform.git_url("ci/log"))?;
    git(&work, &["push", "-q", "origin", "main"])?;
    let runner = Runner::new(&platform, &[], true).await?;
    let end = Instant::now() + Duration::from_secs(60);
    let job = loop {
        if let Some(job) = runner.ask().await? {
            break job;
        }
        if Instant::now() > end {
            return Err("no job came of the push".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tell(&format!("a log of {mib} MiB"));
    let (most, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watcher = tokio::spawn(watch(platform.pid(), most.clone(), done.clone()));
    let mut sum = Sum::default();
    // Made before, so that only the server is measured.
    let pieces: Vec<Vec<u8>> = (0..mib * STOCK / size)
        .map(|number| piece(number, size))
        .collect();
    let begun = Instant::now();
    for (number, piece) in pieces.into_iter().enumerate() {
        let start = number * size;
        sum.add(&piece);
        let answer = runner
            .call(Method::PATCH, &format!("jobs/{}/trace", job.id))
            .header("JOB-TOKEN", &job.token)
            .header("content-range", format!("{start}-{}", start + size - 1))
            .body(piece)
            .send()
            .await?;
        if answer.status() != 202 {
            return Err(refused(answer).await);
        }
    }
    let took = begun.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    watcher.await?;
    let body = json!({"token": job.token, "state": "success",
        "output": {"checksum": format!("crc32:{:08x}", sum.crc()), "bytesize": sum.bytes}});
    let answer = runner
        .call(Method::PUT, &format!("jobs/{}", job.id))
        .json(&body)
        .send()
        .await?;
    if answer.status() != 200 {
        return Err(refused(answer).await);
    }
    let mut back = Sum::default();
    let mut answer = runner
        .http
        .get(format!(
            "{}/api/v1/projects/ci/log/jobs/{}/log",
            platform.url, job.id
        ))
        .bearer_auth(&platform.token)
        .send()
        .await?;
    while let Some(chunk) = answer.chunk().await? {
        back.add(&chunk);
    }
    if (back.bytes, back.crc()) != (sum.bytes, sum.crc()) {
        return Err(format!("{} of {} bytes of the log came back", back.bytes, sum.bytes).into());
    }
    platform.stop();
    Ok(Log {
        mib,
        rate: sum.bytes as f64 / 1e6 / took,
        memory: most.load(Ordering::Relaxed) as f64 / 1024.0,
    })
}

/// Lines of a log that no two pieces share.
fn piece(number: usize, size: usize) -> Vec<u8> {
    let mut piece = Vec::with_capacity(size + 128);
    let mut line = 0;
    while piece.len() < size {
        piece.extend_from_slice(
            format!("{number:06} {line:06} the quick brown fox jumps over the lazy dog\n").as_bytes(),
        );
        line += 1;
    }
    piece.truncate(size);
    piece
}

/// Keeps the most memory of a process, in KiB.
async fn watch(pid: u32, most: Arc<AtomicU64>, done: Arc<AtomicBool>) {
    while !done.load(Ordering::Relaxed) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "memory in KiB is small and positive"
        )]
        most.fetch_max((resident_mib(pid) * 1024.0) as u64, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Length and CRC-32 of what passed.
struct Sum {
    crc: crc32fast::Hasher,
    bytes: usize,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            crc: crc32fast::Hasher::new(),
            bytes: 0,
        }
    }
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.bytes += bytes.len();
    }

    fn crc(&self) -> u32 {
        self.crc.clone().finalize()
    }
}
