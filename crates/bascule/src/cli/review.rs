//! Reviews: verbs of `mr`, and findings.

use super::{
    context::Context,
    output::{self, code, printable, usage},
    read_file, views,
};
use bascule_client::Method;
use bascule_core::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

const RULES: &[(&str, &str)] = &[
    ("RULE", "name"),
    ("NEEDS", "required"),
    ("MISSING", "missing"),
    ("GIVEN BY", "given"),
    ("COULD", "could"),
];
const FINDINGS: &[(&str, &str)] = &[
    ("SEVERITY", "severity"),
    ("TOOL", "tool"),
    ("RULE", "rule"),
    ("FILE", "path"),
    ("LINE", "start"),
    ("MESSAGE", "message"),
];

/// Which merge request.
#[derive(Debug, Args)]
pub struct Which {
    /// Its number within the project
    iid: i64,
    /// group/project; left out in a clone: where its `origin` leads
    #[arg(long, short)]
    project: Option<String>,
}

/// The verbs of `bascule mr` that review.
#[derive(Debug, Subcommand)]
pub enum Verbs {
    /// Review a merge request: approve it, ask for changes, or comment
    #[command(after_help = "Examples:
  bascule mr review 7 --approve
  bascule mr review 7 --request-changes --comment \"The lock is taken twice.\"
  bascule mr review 7 --comment \"Looks good so far.\"

An approval is for the head that the request has now, or for --sha. Exit code 3 if you may not approve it.")]
    Review {
        #[command(flatten)]
        which: Which,
        /// Approve it
        #[arg(long, conflicts_with = "request_changes")]
        approve: bool,
        /// Ask for changes, which holds the merge
        #[arg(long)]
        request_changes: bool,
        /// Say something, Markdown
        #[arg(long, default_value = "")]
        comment: String,
        /// The head that you looked at; refused if there is another by now
        #[arg(long)]
        sha: Option<String>,
    },
    /// Take your approval, or your wish for changes, back
    #[command(after_help = "Example:\n  bascule mr unapprove 12")]
    Unapprove {
        #[command(flatten)]
        which: Which,
    },
    /// Show what is discussed
    #[command(after_help = "Examples:
  bascule mr threads 7
  bascule mr threads 7 --open --project demo/appointments

With --open: exit code 3 while a thread waits.")]
    Threads {
        #[command(flatten)]
        which: Which,
        /// Only those that wait to be resolved
        #[arg(long)]
        open: bool,
    },
    /// Show what is approved, what is missing, and who can give it
    #[command(after_help = "Example:
  bascule mr approvals 7

Exit code 3 while something is missing.")]
    Approvals {
        #[command(flatten)]
        which: Which,
    },
    /// Ask for reviews, assign
    #[command(after_help = "Example:
  bascule mr people 7 --reviewer sre --reviewer security")]
    People {
        #[command(flatten)]
        which: Which,
        /// A reviewer's user name; all of them, those not named are asked no more
        #[arg(long)]
        reviewer: Option<Vec<String>>,
        /// An assignee's user name; all of them
        #[arg(long)]
        assignee: Option<Vec<String>>,
    },
    /// Show what programs found
    #[command(after_help = "Example:\n  bascule mr findings 12")]
    Findings {
        #[command(flatten)]
        which: Which,
    },
    /// Post what a program found about a commit: SARIF, rdjson or rdjsonl
    #[command(after_help = "Example, in a job:
  bascule mr report semgrep.sarif --sha $CI_COMMIT_SHA --project $CI_PROJECT_PATH")]
    Report {
        /// The report
        file: PathBuf,
        /// The commit, 40 digits
        #[arg(long)]
        sha: String,
        /// group/project; left out in a clone: where its `origin` leads
        #[arg(long, short)]
        project: Option<String>,
        /// The program, where the report does not name it
        #[arg(long)]
        tool: Option<String>,
    },
    /// Who owns a path, and why
    #[command(after_help = "Example:
  bascule mr owners src/auth/token.rs --project demo/appointments")]
    Owners {
        /// The path from the top
        path: String,
        /// group/project; left out in a clone: where its `origin` leads
        #[arg(long, short)]
        project: Option<String>,
        /// The branch, tag or commit whose CODEOWNERS is read
        #[arg(long = "ref", default_value = "")]
        reference: String,
    },
}

fn project(named: Option<String>) -> Result<String> {
    let project = match named {
        Some(project) => project,
        None => views::of_clone()?,
    };
    output::project(&project)?;
    Ok(project)
}

impl Which {
    fn path(self) -> Result<String> {
        let iid = self.iid;
        Ok(format!(
            "/api/v1/projects/{}/merge-requests/{iid}",
            project(self.project)?
        ))
    }
}

impl Verbs {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Review {
                which,
                approve,
                request_changes,
                comment,
                sha,
            } => {
                let path = which.path()?;
                let verdict = match (approve, request_changes) {
                    (true, _) => "approve",
                    (_, true) => "request_changes",
                    _ if comment.trim().is_empty() => {
                        return Err(usage(
                            "Nothing is said.",
                            "Give --approve, --request-changes or --comment TEXT.",
                        ));
                    }
                    _ => "comment",
                };
                let sha = match sha {
                    Some(sha) => sha,
                    None => {
                        let request = context.get(&path).await?;
                        request["head"].as_str().unwrap_or_default().to_owned()
                    }
                };
                let body = json!({ "verdict": verdict, "body": comment, "sha": sha });
                let answer = context.post(&format!("{path}/reviews"), &body).await?;
                approvals(context, &answer);
            }
            Self::Unapprove { which } => {
                let answer = context
                    .post(&format!("{}/unapprove", which.path()?), &json!({}))
                    .await?;
                approvals(context, &answer);
            }
            Self::Approvals { which } => {
                let answer = context.get(&format!("{}/approvals", which.path()?)).await?;
                approvals(context, &answer);
                if answer["approved"] != true {
                    return Ok(code::REFUSED);
                }
            }
            Self::Threads { which, open } => return threads(context, &which.path()?, open).await,
            Self::People {
                which,
                reviewer,
                assignee,
            } => {
                let body = json!({ "reviewers": reviewer, "assignees": assignee });
                let path = format!("{}/people", which.path()?);
                let answer: Value = context.client.put(&path, &body).await?;
                context.out.table(
                    &answer["reviewers"],
                    &[("REVIEWER", "name"), ("STATE", "state"), ("ASKED", "asked")],
                );
            }
            Self::Findings { which } => {
                let answer = context.get(&format!("{}/findings", which.path()?)).await?;
                context.out.table(&answer, FINDINGS);
            }
            Self::Report {
                file,
                sha,
                project: named,
                tool,
            } => {
                let tool = bascule_web::url_encode(&tool.unwrap_or_default());
                let path = format!(
                    "/api/v1/projects/{}/commits/{}/findings?tool={tool}",
                    project(named)?,
                    bascule_web::url_encode(&sha)
                );
                let text = read_file(&file)?;
                let answer: Value = context
                    .client
                    .request(Method::POST, &path)
                    .header("content-type", "application/json")
                    .bytes(text)
                    .send()
                    .await?
                    .json()
                    .await?;
                context.out.record(
                    &answer,
                    &[("TOOLS", "tools"), ("TAKEN", "taken"), ("LEFT OUT", "left_out")],
                );
            }
            Self::Owners {
                path,
                project: named,
                reference,
            } => {
                let answer = context
                    .get(&format!(
                        "/api/v1/projects/{}/owners?path={}&ref={}",
                        project(named)?,
                        bascule_web::url_encode(&path),
                        bascule_web::url_encode(&reference)
                    ))
                    .await?;
                let columns = [
                    ("SECTION", "section"),
                    ("OWNERS", "owners"),
                    ("PEOPLE", "people"),
                    ("WHY", "why"),
                ];
                if context.out.is_json() {
                    context.out.record(&answer, &[]);
                } else {
                    context.out.table(&answer["owners"], &columns);
                }
            }
        }
        Ok(code::DONE)
    }
}

fn approvals(context: &Context, answer: &Value) {
    if context.out.is_json() {
        return context.out.record(answer, &[]);
    }
    let said = |key: &str| -> Vec<String> {
        let all = answer[key].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(printable).collect()
    };
    let who = said("approvers").join(", ");
    context.out.say(
        match (answer["approved"] == true, who.is_empty()) {
            (true, true) => "No approval is missing.".to_owned(),
            (true, false) => format!("Approved by {who}."),
            (false, true) => "Not approved yet.".to_owned(),
            (false, false) => format!("Approved by {who}; more is needed."),
        }
        .as_str(),
    );
    if answer["rules"].as_array().is_some_and(|rules| !rules.is_empty()) {
        let mut rules = answer["rules"].clone();
        for rule in rules.as_array_mut().into_iter().flatten() {
            if rule["optional"] == true {
                let name = rule["name"].as_str().unwrap_or_default();
                rule["name"] = Value::from(format!("{name} (optional)"));
            }
        }
        context.out.table(&rules, RULES);
    }
    for one in answer["ignored"].as_array().into_iter().flatten() {
        let text = |key: &str| printable(one[key].as_str().unwrap_or_default());
        context
            .out
            .say(&format!("not counted: {} {}", text("name"), text("why")));
    }
}

async fn threads(context: &Context, path: &str, open: bool) -> Result<u8> {
    let (mut all, mut after, mut waiting) = (Vec::new(), String::new(), 0);
    loop {
        let page = context
            .get(&format!("{path}/threads?per_page=200{after}"))
            .await?;
        waiting = page["unresolved"].as_i64().unwrap_or(waiting);
        all.extend(page["threads"].as_array().into_iter().flatten().cloned());
        match page["next_after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    all.retain(|thread| !open || thread["resolved_by"].is_null());
    if context.out.is_json() {
        context
            .out
            .record(&json!({ "threads": all, "unresolved": waiting }), &[]);
    } else {
        for thread in &all {
            show(context, thread);
        }
        if all.is_empty() {
            context.out.say("(none)");
        }
    }
    Ok(if open && waiting > 0 {
        code::REFUSED
    } else {
        code::DONE
    })
}

fn show(context: &Context, thread: &Value) {
    let place = &thread["position"];
    let mut head = match place["path"].as_str() {
        Some(path) => format!("{}:{}", printable(path), place["start"]),
        None => "the whole request".to_owned(),
    };
    if place["outdated"] == true {
        head.push_str(" (outdated)");
    }
    if let Some(by) = thread["resolved_by"].as_str() {
        head = format!("{head}, resolved by {}", printable(by));
    }
    let id = printable(thread["id"].as_str().unwrap_or_default());
    context.out.say(&format!("{head}  [{id}]"));
    for comment in thread["comments"].as_array().into_iter().flatten() {
        let text = |key: &str| comment[key].as_str().unwrap_or_default();
        let mark = if comment["draft"] == true {
            " (not sent)"
        } else {
            ""
        };
        context
            .out
            .say(&format!("  {}{mark}:", printable(text("author"))));
        let body = if comment["deleted"] == true {
            "(deleted)"
        } else {
            text("body")
        };
        for line in body.lines() {
            context.out.say(&format!("    {}", printable(line)));
        }
    }
    context.out.say("");
}
