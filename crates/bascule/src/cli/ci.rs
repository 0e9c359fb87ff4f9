//! `pipeline` and `job`.

use super::{
    context::Context,
    identity::done,
    output::{self, code},
};
use bascule_client::Method;
use bascule_core::{Problem, Result};
use clap::Subcommand;
use serde_json::{Value, json};
use std::{io::IsTerminal as _, time::Duration};

const PIPELINE: &[(&str, &str)] = &[
    ("ID", "id"),
    ("STATUS", "status"),
    ("REF", "ref"),
    ("COMMIT", "sha"),
    ("SOURCE", "source"),
    ("NAME", "name"),
    ("BY", "actor"),
    ("CREATED", "created_at"),
];
const JOB: &[(&str, &str)] = &[
    ("ID", "id"),
    ("STAGE", "stage"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("REASON", "failure_reason"),
    ("STARTED PIPELINE", "downstream"),
];

/// `bascule pipeline …`
#[derive(Debug, Subcommand)]
pub enum Pipeline {
    /// List a project's pipelines, newest first
    #[command(after_help = "Example:\n  bascule pipeline list demo/appointments")]
    List {
        /// group/project
        project: String,
        /// Only those of this branch or tag
        #[arg(long = "ref")]
        reference: Option<String>,
    },
    /// Show a pipeline and its jobs
    #[command(after_help = "Example:\n  bascule pipeline show demo/appointments 12")]
    Show {
        /// group/project
        project: String,
        /// Pipeline number
        id: i64,
        /// Wait until it ends; exit code 1 if it failed
        #[arg(long)]
        wait: bool,
    },
    /// Start a pipeline
    #[command(
        after_help = "Examples:\n  bascule pipeline run demo/appointments\n  bascule pipeline run demo/appointments --ref topic --input environment=staging --variable DEBUG=1"
    )]
    Run {
        /// group/project
        project: String,
        /// Branch or tag
        #[arg(long = "ref", default_value = "main")]
        reference: String,
        /// Variable for its jobs, as NAME=VALUE
        #[arg(long = "variable", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// Input of the file (spec:inputs), as NAME=VALUE; numbers, true, false and lists in JSON
        #[arg(long = "input", value_name = "NAME=VALUE")]
        inputs: Vec<String>,
        /// Wait until it ends; exit code 1 if it failed
        #[arg(long)]
        wait: bool,
    },
    /// Run the failed and canceled jobs of a pipeline again
    #[command(
        after_help = "Examples:\n  bascule pipeline retry demo/appointments 12\n  bascule pipeline retry demo/appointments 12 --wait"
    )]
    Retry {
        /// group/project
        project: String,
        /// Pipeline number
        id: i64,
        /// Wait until it ends; exit code 1 if it failed
        #[arg(long)]
        wait: bool,
    },
    /// Cancel a pipeline
    #[command(after_help = "Example:\n  bascule pipeline cancel demo/appointments 12")]
    Cancel {
        /// group/project
        project: String,
        /// Pipeline number
        id: i64,
    },
    /// Check a .gitlab-ci.yml and say which jobs it would run, and why
    #[command(
        after_help = "Examples:\n  bascule pipeline lint demo/appointments .gitlab-ci.yml\n  bascule ci lint demo/appointments --ref v1.2.0\n  bascule ci lint demo/appointments .gitlab-ci.yml --source merge_request_event --merged\n\nExit codes: 0 the file is right, 1 it is not."
    )]
    Lint {
        /// group/project
        project: String,
        /// The file; the project's own if left out
        file: Option<std::path::PathBuf>,
        /// Branch or tag to plan for [default: the default branch]
        #[arg(long = "ref", default_value = "", hide_default_value = true)]
        reference: String,
        /// What starts the pipeline: push, web, api, schedule, trigger, pipeline, merge_request_event
        #[arg(long, default_value = "push")]
        source: String,
        /// Variable as if given by who starts the pipeline, as NAME=VALUE
        #[arg(long = "variable", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// Input of the file, as NAME=VALUE; numbers, true, false and lists in JSON
        #[arg(long = "input", value_name = "NAME=VALUE")]
        inputs: Vec<String>,
        /// Print the file with all that it includes, extends and references
        #[arg(long)]
        merged: bool,
    },
}

/// Whether a pipeline or job has ended, and well.
fn ended(status: &str) -> Option<bool> {
    match status {
        "success" | "warning" | "skipped" | "manual" => Some(true),
        "failed" | "canceled" => Some(false),
        _ => None,
    }
}

impl Pipeline {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { project, reference } => {
                output::project(&project)?;
                let mut path = format!("/api/v1/projects/{project}/pipelines");
                if let Some(reference) = reference {
                    path = format!("{path}?ref={}", bascule_web::url_encode(&reference));
                }
                context.out.table(&context.get(&path).await?, PIPELINE);
            }
            Self::Show { project, id, wait } => {
                output::project(&project)?;
                return show(context, &project, id, wait).await;
            }
            Self::Run {
                project,
                reference,
                variables,
                wait,
                inputs,
            } => {
                output::project(&project)?;
                let body = json!({
                    "ref": reference,
                    "variables": pairs(&variables, "variable")?,
                    "inputs": typed(&inputs)?,
                });
                let answer = context
                    .post(&format!("/api/v1/projects/{project}/pipeline"), &body)
                    .await?;
                if let (true, Some(id)) = (wait, answer["id"].as_i64()) {
                    context.out.say(&format!("Pipeline {id} runs."));
                    return show(context, &project, id, true).await;
                }
                context.out.record(&answer, PIPELINE);
            }
            Self::Retry { project, id, wait } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/pipelines/{id}/retry");
                let answer = context.post(&path, &json!({})).await?;
                if wait {
                    return show(context, &project, id, true).await;
                }
                done(
                    context.out,
                    &answer,
                    &format!("Pipeline {id} runs its failed jobs again."),
                );
            }
            Self::Cancel { project, id } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/pipelines/{id}");
                let before = context.get(&path).await?;
                let status = before["status"].as_str().unwrap_or_default();
                if matches!(status, "success" | "warning" | "failed" | "canceled" | "skipped") {
                    done(
                        context.out,
                        &before,
                        &format!("Pipeline {id} has ended already: {status}."),
                    );
                    return Ok(code::DONE);
                }
                let answer = context.post(&format!("{path}/cancel"), &json!({})).await?;
                done(context.out, &answer, &format!("Cancelling pipeline {id}."));
            }
            Self::Lint {
                project,
                file,
                reference,
                source,
                variables,
                inputs,
                merged,
            } => {
                output::project(&project)?;
                let content = file.as_deref().map(super::read_file).transpose()?;
                let body = json!({
                    "content": content,
                    "ref": reference,
                    "source": source,
                    "variables": pairs(&variables, "variable")?,
                    "inputs": typed(&inputs)?,
                    "merged": merged,
                });
                let answer = context
                    .post(&format!("/api/v1/projects/{project}/ci/lint"), &body)
                    .await?;
                say_lint(context, &answer, file.as_deref(), merged);
                return Ok(if answer["valid"] == true {
                    code::DONE
                } else {
                    code::FAILED
                });
            }
        }
        Ok(code::DONE)
    }
}

/// Shows a pipeline and its jobs, also once it has ended.
async fn show(context: &Context, project: &str, id: i64, wait: bool) -> Result<u8> {
    let path = format!("/api/v1/projects/{project}/pipelines/{id}");
    let mut pipeline = context.get(&path).await?;
    while wait && ended(pipeline["status"].as_str().unwrap_or_default()).is_none() {
        tokio::time::sleep(Duration::from_millis(300)).await;
        pipeline = context.get(&path).await?;
    }
    context.out.record(&pipeline, PIPELINE);
    if !context.out.is_json() {
        for fault in pipeline["faults"].as_array().into_iter().flatten() {
            context.out.say(&format!(
                "{}:{}:{}: {}",
                fault["file"].as_str().unwrap_or_default(),
                fault["line"],
                fault["column"],
                output::printable(fault["message"].as_str().unwrap_or_default())
            ));
        }
        let mut jobs = pipeline["jobs"].clone();
        for job in jobs.as_array_mut().into_iter().flatten() {
            job["status"] = told(job).into();
        }
        context.out.table(&jobs, JOB);
    }
    let well = ended(pipeline["status"].as_str().unwrap_or_default());
    Ok(if wait && well == Some(false) {
        code::FAILED
    } else {
        code::DONE
    })
}

/// How a job stands, in words.
fn told(job: &Value) -> String {
    let status = job["status"].as_str().unwrap_or_default();
    if job["retried"] == true {
        format!("{status} (tried again)")
    } else if status == "failed" && job["allow_failure"] == true {
        format!("{status} (allowed)")
    } else {
        status.to_owned()
    }
}

/// NAME=VALUE, several of them.
fn pairs(list: &[String], what: &str) -> Result<serde_json::Map<String, Value>> {
    list.iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), Value::from(value))),
            None => {
                Err(Problem::new(400, "usage", format!("`{pair}` is no {what}.")).next("Write NAME=VALUE."))
            }
        })
        .collect()
}

/// Inputs as NAME=VALUE; numbers, truth values and lists in JSON.
pub(super) fn typed(list: &[String]) -> Result<serde_json::Map<String, Value>> {
    let mut values = pairs(list, "input")?;
    for value in values.values_mut() {
        if let Some(typed) = value.as_str().and_then(|text| serde_json::from_str(text).ok()) {
            *value = typed;
        }
    }
    Ok(values)
}

fn say_lint(context: &Context, answer: &Value, file: Option<&std::path::Path>, merged: bool) {
    let faults = answer["faults"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|fault| ("", fault));
    let remarks = answer["warnings"].as_array().into_iter().flatten();
    for (kind, fault) in faults.chain(remarks.map(|remark| ("remark: ", remark))) {
        // The file as it was named here, so that editors and terminals find it.
        let named = fault["file"].as_str().unwrap_or_default();
        let name = match file {
            Some(file) if named == ".gitlab-ci.yml" => file.display().to_string(),
            _ => named.to_owned(),
        };
        context.out.say(&format!(
            "{}:{}:{}: {kind}{}",
            output::printable(&name),
            fault["line"],
            fault["column"],
            output::printable(fault["message"].as_str().unwrap_or_default())
        ));
    }
    if context.out.is_json() {
        context.out.record(answer, &[]);
        return;
    }
    if answer["valid"] != true {
        return;
    }
    if let (true, Some(text)) = (merged, answer["merged"].as_str()) {
        context.out.say(text.trim_end());
        return;
    }
    context.out.table(
        &answer["jobs"],
        &[
            ("STAGE", "stage"),
            ("NAME", "name"),
            ("WHEN", "when"),
            ("WHY", "reason"),
        ],
    );
    if let Some(none) = answer["none"].as_str() {
        context.out.say(&format!(
            "No pipeline would be made: {}.",
            output::printable(none)
        ));
    }
    for job in answer["left_out"].as_array().into_iter().flatten() {
        context.out.say(&format!(
            "Left out: {}: {}",
            output::printable(job["name"].as_str().unwrap_or_default()),
            output::printable(job["reason"].as_str().unwrap_or_default())
        ));
    }
}

/// `bascule job …`
#[derive(Debug, Subcommand)]
pub enum Job {
    /// Show a job
    #[command(after_help = "Example:\n  bascule job show demo/appointments 12")]
    Show {
        /// group/project
        project: String,
        /// Job number
        id: i64,
    },
    /// Print a job's log
    #[command(after_help = "Example:\n  bascule job log demo/appointments 12 -f")]
    Log {
        /// group/project
        project: String,
        /// Job number
        id: i64,
        /// Go on until the job ends; exit code 1 if it failed
        #[arg(short, long)]
        follow: bool,
    },
    /// Run a job again
    #[command(
        after_help = "Examples:\n  bascule job retry demo/appointments 12\n  bascule job retry demo/appointments 12 --input suite=full"
    )]
    Retry {
        /// group/project
        project: String,
        /// Job number
        id: i64,
        /// Input of the job, as NAME=VALUE; numbers, true, false and lists in JSON
        #[arg(long = "input", value_name = "NAME=VALUE")]
        inputs: Vec<String>,
    },
    /// Cancel a job
    #[command(after_help = "Example:\n  bascule job cancel demo/appointments 12")]
    Cancel {
        /// group/project
        project: String,
        /// Job number
        id: i64,
    },
    /// Start a job that waits for a person or for its time
    #[command(
        after_help = "Examples:\n  bascule job play demo/appointments 12\n  bascule job play demo/appointments 12 --input target=production --variable DEBUG=1\n  bascule job play demo/appointments 12 --yes\n\nA job with `manual_confirmation` asks its question first; --yes answers it."
    )]
    Play {
        /// group/project
        project: String,
        /// Job number
        id: i64,
        /// Answer the job's question with yes
        #[arg(long)]
        yes: bool,
        /// Variable for the job, as NAME=VALUE
        #[arg(long = "variable", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        /// Input of the job, as NAME=VALUE; numbers, true, false and lists in JSON
        #[arg(long = "input", value_name = "NAME=VALUE")]
        inputs: Vec<String>,
    },
    /// Take a delayed job off its time; it then waits for a person
    #[command(after_help = "Example:\n  bascule job unschedule demo/appointments 12")]
    Unschedule {
        /// group/project
        project: String,
        /// Job number
        id: i64,
    },
}

impl Job {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Show { project, id } => {
                output::project(&project)?;
                context.out.record(
                    &context
                        .get(&format!("/api/v1/projects/{project}/jobs/{id}"))
                        .await?,
                    JOB,
                );
            }
            Self::Log { project, id, follow } => return log(context, &project, id, follow).await,
            Self::Retry { project, id, inputs } => {
                let body = json!({ "inputs": typed(&inputs)? });
                return act(context, &project, id, "retry", &body).await;
            }
            Self::Cancel { project, id } => return act(context, &project, id, "cancel", &json!({})).await,
            Self::Play {
                project,
                id,
                yes,
                variables,
                inputs,
            } => {
                output::project(&project)?;
                let job = context
                    .get(&format!("/api/v1/projects/{project}/jobs/{id}"))
                    .await?;
                if let (false, Some(question)) = (yes, job["manual_confirmation"].as_str())
                    && !confirmed(question)?
                {
                    return Err(output::usage(
                        "The job was not started.",
                        "Answer `yes`, or give --yes.",
                    ));
                }
                let body = json!({ "variables": pairs(&variables, "variable")?, "inputs": typed(&inputs)? });
                return act(context, &project, id, "play", &body).await;
            }
            Self::Unschedule { project, id } => {
                return act(context, &project, id, "unschedule", &json!({})).await;
            }
        }
        Ok(code::DONE)
    }
}

/// Asks a question on the terminal. Where there is none, nobody can answer it.
fn confirmed(question: &str) -> Result<bool> {
    let question = output::printable(question);
    if !std::io::stdin().is_terminal() {
        return Err(output::usage(
            &format!("The job asks first: {question}"),
            "Give --yes to answer it.",
        ));
    }
    output::ask(&format!("{question} [yes/no] "));
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|_| Problem::internal())?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

async fn act(context: &Context, project: &str, id: i64, verb: &str, body: &Value) -> Result<u8> {
    output::project(project)?;
    let path = format!("/api/v1/projects/{project}/jobs/{id}/{verb}");
    let answer = context.post(&path, body).await?;
    context.out.record(&answer, JOB);
    Ok(code::DONE)
}

/// Prints the log from where it was left, until there is no more, or the job ended. In JSON it is a field of the job.
async fn log(context: &Context, project: &str, id: i64, follow: bool) -> Result<u8> {
    output::project(project)?;
    let mut offset = 0_usize;
    let mut whole = Vec::new();
    loop {
        // The status first: what was written before it ended is then all there.
        let job = context
            .get(&format!("/api/v1/projects/{project}/jobs/{id}"))
            .await?;
        let end = ended(job["status"].as_str().unwrap_or_default());
        let path = format!("/api/v1/projects/{project}/jobs/{id}/log?offset={offset}");
        let mut chunks = context.client.request(Method::GET, &path).send().await?.chunks();
        while let Some(chunk) = chunks.next().await? {
            offset += chunk.len();
            if context.out.is_json() {
                whole.extend_from_slice(&chunk);
            } else {
                output::raw(&String::from_utf8_lossy(&chunk));
            }
        }
        if context.out.is_json() && (!follow || end.is_some()) {
            let log = String::from_utf8_lossy(&whole);
            context
                .out
                .record(&json!({ "job": id, "status": job["status"], "log": log }), &[]);
        }
        match (follow, end) {
            (false, _) | (true, Some(true)) => return Ok(code::DONE),
            (true, Some(false)) => return Ok(code::FAILED),
            (true, None) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
