//! `ci`: what pipelines found out.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_client::Method;
use bascule_core::Result;
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;

const FAILURE: &[(&str, &str)] = &[
    ("NEW", "new"),
    ("FLAKY", "flaky"),
    ("JOB", "job"),
    ("CLASS", "class"),
    ("TEST", "name"),
    ("WHY", "message"),
];
const RESULTS: &[(&str, &str)] = &[
    ("PIPELINE", "pipeline"),
    ("STATUS", "status"),
    ("NEW FAILURES", "new_failures"),
];
const TIMED: &[(&str, &str)] = &[
    ("JOB", "job"),
    ("STAGE", "stage"),
    ("NAME", "name"),
    ("HELD ms", "held_ms"),
    ("WAITED ms", "waited_ms"),
    ("RAN ms", "ran_ms"),
];
const FILE: &[(&str, &str)] = &[("SIZE", "size"), ("PATH", "path")];
const HIT: &[(&str, &str)] = &[("LINE", "line"), ("TEXT", "text")];
const SETTINGS: &[(&str, &str)] = &[("FLOOR %", "coverage_floor"), ("BELOW", "coverage_gate")];

const UNCOVERED: &[(&str, &str)] = &[("FILE", "file"), ("LINES", "lines")];
const ENVIRONMENT: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("URL", "url"),
    ("STOPS", "auto_stop_at"),
];

/// `bascule ci …`
#[derive(Debug, Subcommand)]
pub enum Ci {
    #[command(flatten)]
    Pipeline(super::ci::Pipeline),
    #[command(flatten)]
    Results(Found),
    #[command(flatten)]
    Required(super::schedule::Ci),
}

impl Ci {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Pipeline(verb) => verb.run(context).await,
            Self::Results(verb) => verb.run(context).await,
            Self::Required(verb) => verb.run(context).await,
        }
    }
}

/// What pipelines found out.
#[derive(Debug, Subcommand)]
pub enum Found {
    /// What a pipeline found out: tests, coverage, reports
    #[command(after_help = "Examples:
  bascule ci results demo/appointments 12
  bascule ci results demo/appointments 12 --json

Exit code 1 when tests fail that do not fail on the default branch, or coverage is below the project's floor.")]
    Results {
        /// group/project
        project: String,
        /// Pipeline number
        id: i64,
    },
    /// Tests of a pipeline that failed, new ones first
    #[command(after_help = "Examples:
  bascule ci tests demo/appointments 12
  bascule ci tests demo/appointments 12 --output

Exit code 1 when any failed.")]
    Tests {
        /// group/project
        project: String,
        /// Pipeline number
        id: i64,
        /// Also what each of them wrote
        #[arg(long)]
        output: bool,
    },
    /// Where a pipeline's time went: the jobs that its end waited for, or the slowest
    #[command(after_help = "Examples:
  bascule ci timing demo/appointments 12
  bascule ci timing demo/appointments 12 --slowest")]
    Timing {
        /// group/project
        project: String,
        /// Pipeline number
        id: i64,
        /// The slowest jobs in place of the critical path
        #[arg(long)]
        slowest: bool,
    },
    /// Lines that no test of a pipeline reached, by file
    #[command(after_help = "Examples:
  bascule ci uncovered demo/appointments 12
  bascule ci uncovered demo/appointments 12 --json")]
    Uncovered {
        /// group/project
        project: String,
        /// Pipeline number
        id: i64,
    },
    /// Environments that jobs deployed to
    #[command(after_help = "Examples:
  bascule ci environments demo/appointments
  bascule ci environments demo/appointments --state available --json")]
    Environments {
        /// group/project
        project: String,
        /// Only those that are available, stopping or stopped
        #[arg(long, value_parser = ["available", "stopping", "stopped"])]
        state: Option<String>,
    },
    /// Take an environment of jobs down: its stop job runs
    #[command(after_help = "Example:\n  bascule ci stop-environment demo/appointments 3")]
    StopEnvironment {
        /// group/project
        project: String,
        /// The environment's number
        id: i64,
    },
    /// Forget an environment of jobs that was taken down
    #[command(after_help = "Example:\n  bascule ci delete-environment demo/appointments 3")]
    DeleteEnvironment {
        /// group/project
        project: String,
        /// The environment's number
        id: i64,
    },
    /// Keep an environment of jobs that would be taken down by itself
    #[command(after_help = "Example:\n  bascule ci keep-environment demo/appointments 3")]
    KeepEnvironment {
        /// group/project
        project: String,
        /// The environment's number
        id: i64,
    },
    /// Tests that both failed and passed on one commit within 30 days
    #[command(after_help = "Example:\n  bascule ci flaky demo/appointments")]
    Flaky {
        /// group/project
        project: String,
    },
    /// How pipelines did: jobs by the time they took, with failures
    #[command(after_help = "Example:\n  bascule ci analytics demo/appointments --days 7")]
    Analytics {
        /// group/project
        project: String,
        /// Days looked at
        #[arg(long, default_value_t = 30)]
        days: i64,
    },
    /// Files in the archive that a job left; with --get, one of them
    #[command(after_help = "Examples:
  bascule ci artifacts demo/appointments 41
  bascule ci artifacts demo/appointments 41 out/report
  bascule ci artifacts demo/appointments 41 out/report/index.html --get > index.html")]
    Artifacts {
        /// group/project
        project: String,
        /// Job number
        id: i64,
        /// Folder or file within the archive
        #[arg(default_value = "")]
        path: String,
        /// Write the file's bytes
        #[arg(long, requires = "path")]
        get: bool,
        /// Where to, instead of the standard output
        #[arg(long, requires = "get")]
        to: Option<PathBuf>,
    },
    /// Keep what a job left until someone erases it
    #[command(after_help = "Example:\n  bascule ci keep demo/appointments 41")]
    Keep {
        /// group/project
        project: String,
        /// Job number
        id: i64,
    },
    /// Erase a job's log and what it left
    #[command(after_help = "Example:\n  bascule ci erase demo/appointments 41")]
    Erase {
        /// group/project
        project: String,
        /// Job number
        id: i64,
    },
    /// Lines of a job's log that hold a text, small and capital letters alike
    #[command(
        after_help = "Example:\n  bascule ci log demo/appointments 41 \"error[E0308]\"

Exit code 1 when no line does."
    )]
    Log {
        /// group/project
        project: String,
        /// Job number
        id: i64,
        /// The text
        text: String,
    },
    /// The coverage that a project asks for; with --floor or --below, sets it
    #[command(after_help = "Examples:
  bascule ci coverage demo/appointments
  bascule ci coverage demo/appointments --floor 82.5 --below fail")]
    Coverage {
        /// group/project
        project: String,
        /// Least coverage in percent
        #[arg(long)]
        floor: Option<String>,
        /// What a merge request below it meets
        #[arg(long, value_parser = ["off", "warn", "fail"])]
        below: Option<String>,
    },
}

fn of(project: &str, rest: &str) -> Result<String> {
    output::project(project)?;
    Ok(format!("/api/v1/projects/{project}/{rest}"))
}

impl Found {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Results { project, id } => {
                let found = context
                    .get(&of(&project, &format!("pipelines/{id}/results"))?)
                    .await?;
                return Ok(results(context, &found));
            }
            Self::Tests { project, id, output } => {
                let found = context
                    .get(&of(&project, &format!("pipelines/{id}/tests"))?)
                    .await?;
                return Ok(tests(context, &found, output));
            }
            Self::Timing { project, id, slowest } => {
                let found = context
                    .get(&of(&project, &format!("pipelines/{id}/timing"))?)
                    .await?;
                let part = if slowest { "slowest" } else { "critical_path" };
                match context.out.is_json() {
                    true => context.out.record(&found, &[]),
                    false => context.out.table(&found[part], TIMED),
                }
            }
            Self::Uncovered { project, id } => {
                let path = of(&project, &format!("pipelines/{id}/uncovered"))?;
                let mut found = context.get(&path).await?;
                if !context.out.is_json() {
                    spans_as_text(&mut found);
                }
                context.out.table(&found, UNCOVERED);
            }
            Self::Environments { project, state } => {
                let which = state.map(|state| format!("?state={state}")).unwrap_or_default();
                let found = context
                    .get(&of(&project, &format!("ci/environments{which}"))?)
                    .await?;
                context.out.table(&found, ENVIRONMENT);
            }
            Self::StopEnvironment { project, id } => {
                let path = of(&project, &format!("ci/environments/{id}/stop"))?;
                let stopped = context.post(&path, &serde_json::json!({})).await?;
                context.out.record(&stopped, ENVIRONMENT);
            }
            Self::KeepEnvironment { project, id } => {
                let path = of(&project, &format!("ci/environments/{id}/keep"))?;
                let kept = context.post(&path, &serde_json::json!({})).await?;
                context.out.record(&kept, ENVIRONMENT);
            }
            Self::DeleteEnvironment { project, id } => {
                let path = of(&project, &format!("ci/environments/{id}"))?;
                let answer: serde_json::Value = context.client.delete(&path).await?;
                super::identity::done(context.out, &answer, "Deleted.");
            }
            Self::Flaky { project } => {
                let found = context.get(&of(&project, "ci/analytics")?).await?;
                context.out.table(
                    &found["flaky"],
                    &[
                        ("COMMITS", "commits"),
                        ("JOB", "job_name"),
                        ("CLASS", "class"),
                        ("TEST", "name"),
                        ("LAST", "last_at"),
                    ],
                );
            }
            Self::Analytics { project, days } => {
                let found = context
                    .get(&of(&project, &format!("ci/analytics?days={days}"))?)
                    .await?;
                if context.out.is_json() {
                    context.out.record(&found, &[]);
                } else {
                    context.out.record(
                        &found,
                        &[
                            ("PIPELINES", "pipelines"),
                            ("PASSED %", "passed_percent"),
                            ("MEDIAN ms", "median_ms"),
                        ],
                    );
                    context.out.table(
                        &found["jobs"],
                        &[
                            ("NAME", "name"),
                            ("RUNS", "runs"),
                            ("FAILED", "failed"),
                            ("FLAKY", "flaky"),
                            ("MEDIAN ms", "median_ms"),
                            ("P95 ms", "p95_ms"),
                        ],
                    );
                }
            }
            Self::Artifacts {
                project,
                id,
                path,
                get,
                to,
            } => {
                let part = bascule_web::url_encode(&path);
                if get {
                    let address = of(&project, &format!("jobs/{id}/artifacts/file?path={part}"))?;
                    return fetch(context, &address, to).await;
                }
                let found = context
                    .get(&of(&project, &format!("jobs/{id}/artifacts/files?path={part}"))?)
                    .await?;
                context.out.table(&found["files"], FILE);
            }
            Self::Keep { project, id } => {
                let address = of(&project, &format!("jobs/{id}/artifacts/keep"))?;
                let answer = context.post(&address, &serde_json::json!({})).await?;
                super::identity::done(context.out, &answer, &format!("What job {id} left is kept."));
            }
            Self::Erase { project, id } => {
                let address = of(&project, &format!("jobs/{id}/erase"))?;
                let answer = context.post(&address, &serde_json::json!({})).await?;
                super::identity::done(context.out, &answer, &format!("Job {id} was erased."));
            }
            Self::Log { project, id, text } => return log(context, &project, id, &text).await,
            Self::Coverage {
                project,
                floor,
                below,
            } => {
                let address = of(&project, "ci/settings")?;
                let mut set = context.get(&address).await?;
                if floor.is_some() || below.is_some() {
                    for (key, value) in [("coverage_floor", floor), ("coverage_gate", below)] {
                        if let Some(value) = value {
                            set[key] = Value::from(value);
                        }
                    }
                    set = context
                        .client
                        .request(Method::PUT, &address)
                        .json(&set)?
                        .send()
                        .await?
                        .json()
                        .await?;
                }
                context.out.record(&set, SETTINGS);
            }
        }
        Ok(code::DONE)
    }
}

fn results(context: &Context, found: &Value) -> u8 {
    let below = found["coverage"]["below"] == true;
    let new = found["new_failures"].as_i64().unwrap_or_default();
    if context.out.is_json() {
        context.out.record(found, &[]);
    } else {
        context.out.record(found, RESULTS);
        if !found["tests"].is_null() {
            context.out.record(
                &found["tests"],
                &[
                    ("TESTS", "total"),
                    ("FAILED", "failed"),
                    ("ERRORS", "errors"),
                    ("SKIPPED", "skipped"),
                ],
            );
        }
        if !found["coverage"].is_null() {
            context.out.record(
                &found["coverage"],
                &[
                    ("COVERAGE %", "percent"),
                    ("CHANGE", "change"),
                    ("FLOOR %", "floor"),
                ],
            );
        }
        context.out.table(
            &found["reports"],
            &[
                ("JOB", "job"),
                ("NAME", "name"),
                ("REPORT", "kind"),
                ("HOLDS", "count"),
                ("FAULT", "fault"),
            ],
        );
    }
    if below || new > 0 {
        code::FAILED
    } else {
        code::DONE
    }
}

fn tests(context: &Context, found: &Value, output: bool) -> u8 {
    let failures = found["failures"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if context.out.is_json() {
        context.out.record(found, &[]);
    } else {
        context.out.say(&format!(
            "{} tests, {} failed, {} skipped",
            found["total"],
            found["failed"].as_i64().unwrap_or_default() + found["errors"].as_i64().unwrap_or_default(),
            found["skipped"]
        ));
        context.out.table(&found["failures"], FAILURE);
        for one in failures.iter().filter(|_| output) {
            let text = |key: &str| output::printable(one[key].as_str().unwrap_or_default());
            context
                .out
                .say(&format!("\n--- {} {}", text("class"), text("name")));
            for line in one["output"].as_str().unwrap_or_default().lines() {
                context.out.say(&output::printable(line));
            }
        }
    }
    if failures.is_empty() {
        code::DONE
    } else {
        code::FAILED
    }
}

/// Writes a file as it comes.
async fn fetch(context: &Context, address: &str, to: Option<PathBuf>) -> Result<u8> {
    let mut chunks = context
        .client
        .request(Method::GET, address)
        .send()
        .await?
        .chunks();
    let mut file = match &to {
        Some(path) => Some(std::fs::File::create(path).map_err(|error| {
            output::usage(
                &format!("{}: {error}.", path.display()),
                "Name a file that can be written.",
            )
        })?),
        None => None,
    };
    while let Some(chunk) = chunks.next().await? {
        match &mut file {
            Some(file) => std::io::Write::write_all(file, &chunk).map_err(|error| {
                output::usage(&format!("The file cannot be written: {error}."), "Make room.")
            })?,
            None => output::bytes(&chunk),
        }
    }
    Ok(code::DONE)
}

async fn log(context: &Context, project: &str, id: i64, text: &str) -> Result<u8> {
    let address = of(
        project,
        &format!("jobs/{id}/log/search?q={}", bascule_web::url_encode(text)),
    )?;
    let mut hits: Vec<Value> = Vec::new();
    let mut found = context.get(&address).await?;
    loop {
        hits.extend(found["hits"].as_array().cloned().unwrap_or_default());
        match found["next"].as_str() {
            // More than anybody reads; a narrower text finds less.
            Some(next) if hits.len() < 10_000 => {
                found = context.get(&format!("{address}&from={next}")).await?;
            }
            _ => break,
        }
    }
    let none = hits.is_empty();
    context.out.table(&Value::from(hits), HIT);
    Ok(if none { code::FAILED } else { code::DONE })
}

/// Spans of lines as people write them: `3, 7-9`.
fn spans_as_text(files: &mut Value) {
    for file in files.as_array_mut().into_iter().flatten() {
        let spans: Vec<String> = file["lines"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|span| match (&span[0], &span[1]) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            })
            .collect();
        file["lines"] = Value::from(spans.join(", "));
    }
}
