//! `bascule mr`.

use super::{
    context::Context,
    output::{self, code},
    views::{git, of_clone},
};
use bascule_client::Method;
use bascule_core::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::IsTerminal as _;

const LIST: &[output::Column] = &[
    ("NUMBER", "iid"),
    ("STATE", "state"),
    ("TITLE", "title"),
    ("AUTHOR", "author"),
    ("FROM", "from"),
    ("INTO", "target_branch"),
];
const SHOW: &[output::Column] = &[
    ("NUMBER", "iid"),
    ("TITLE", "title"),
    ("STATE", "state"),
    ("DRAFT", "draft"),
    ("AUTHOR", "author"),
    ("FROM", "from"),
    ("INTO", "target_branch"),
    ("COMMIT", "head"),
    ("VERSION", "version"),
    ("WHEN MET, MERGED FOR", "auto_merge_by"),
    ("MERGED AS", "merge_sha"),
    ("PAGE", "web_url"),
];
const CHECKS: &[output::Column] = &[
    ("CHECK", "name"),
    ("STATE", "state"),
    ("HOW IT STANDS", "what"),
    ("NEXT", "next"),
];
const QUEUE: &[output::Column] = &[
    ("NUMBER", "iid"),
    ("INTO", "target_branch"),
    ("BY", "by"),
    ("STATE", "state"),
    ("TRIAL", "trial"),
    ("PIPELINE", "pipeline"),
];
const OUT: &[output::Column] = &[
    ("TAKEN OUT", "iid"),
    ("TITLE", "title"),
    ("WHY", "detail"),
    ("AT", "at"),
];

/// Which project.
#[derive(Debug, Args)]
pub struct Place {
    /// group/project; left out in a clone: where its `origin` leads
    #[arg(long, short)]
    project: Option<String>,
}

impl Place {
    pub(super) fn path(&self) -> Result<String> {
        let project = match &self.project {
            Some(project) => project.clone(),
            None => of_clone()?,
        };
        output::project(&project)?;
        Ok(format!("/api/v1/projects/{project}"))
    }

    pub(super) fn one(&self, iid: i64) -> Result<String> {
        Ok(format!("{}/merge-requests/{iid}", self.path()?))
    }
}

/// `bascule mr …`
#[derive(Debug, Subcommand)]
pub enum Mr {
    /// Reviews
    #[command(flatten)]
    Review(super::review::Verbs),
    /// Changes
    #[command(flatten)]
    Change(super::mr_change::Verbs),
    /// Open a merge request
    #[command(after_help = "Examples:
  git push origin HEAD:my-change && bascule mr create --title \"Round times\"
  bascule mr create --source my-change --target release/1 --draft --project demo/appointments")]
    Create {
        #[command(flatten)]
        place: Place,
        /// The branch with the commits; left out in a clone: the present branch
        #[arg(long)]
        source: Option<String>,
        /// group/project of the fork that holds the branch
        #[arg(long)]
        from: Option<String>,
        /// The branch to merge into; the default branch if left out
        #[arg(long)]
        target: Option<String>,
        /// One line; the commit's title if left out
        #[arg(long, default_value = "")]
        title: String,
        /// Markdown; `Closes #3` closes that issue with the merge
        #[arg(long, default_value = "")]
        description: String,
        /// Not ready to be merged
        #[arg(long)]
        draft: bool,
    },
    /// List merge requests
    #[command(after_help = "Example:
  bascule mr list --state merged --search times")]
    List {
        #[command(flatten)]
        place: Place,
        /// open, merged, closed or all
        #[arg(long, default_value = "open", value_parser = ["open", "merged", "closed", "all"])]
        state: String,
        /// Looked for in title and source branch
        #[arg(long, default_value = "")]
        search: String,
    },
    /// Show a merge request and what holds it
    #[command(after_help = "Example:
  bascule mr show 3

Exit code 0 when it can be merged or is, 3 when something holds it.")]
    Show {
        /// Its number
        iid: i64,
        #[command(flatten)]
        place: Place,
    },
    /// Fetch a merge request's commits into a branch of this clone, and switch to it
    #[command(after_help = "Example:
  bascule mr checkout 3        then: you are on the branch mr-3")]
    Checkout {
        /// Its number
        iid: i64,
        /// The remote of the project
        #[arg(long, default_value = "origin")]
        remote: String,
    },
    /// Print what a merge request changes
    #[command(after_help = "Example:
  bascule mr diff 3 | less")]
    Diff {
        /// Its number
        iid: i64,
        #[command(flatten)]
        place: Place,
        /// As of this version
        #[arg(long)]
        version: Option<i64>,
    },
    /// Merge a merge request, or have it merged once all checks pass
    #[command(after_help = "Examples:
  bascule mr merge 3
  bascule mr merge 3 --when-checks-pass --strategy squash
  bascule mr merge 3 --bypass \"Hotfix for the outage, reviewed by two\"

Exit code 3 when a check holds it; the checks are named.")]
    Merge {
        /// Its number
        iid: i64,
        #[command(flatten)]
        place: Place,
        /// merge, squash, rebase or fast_forward; as the project has it if left out
        #[arg(long, value_parser = ["merge", "squash", "rebase", "fast_forward"])]
        strategy: Option<String>,
        /// The commit that was looked at; refused if there is another by now
        #[arg(long)]
        sha: Option<String>,
        /// Do it once all checks pass
        #[arg(long)]
        when_checks_pass: bool,
        /// Keep the source branch
        #[arg(long)]
        keep_source_branch: bool,
        /// As a maintainer: why to merge although a rule of the workflow policy refuses; it is recorded
        #[arg(long, value_name = "REASON")]
        bypass: Option<String>,
    },
    /// Close a merge request without a merge
    #[command(after_help = "Example:
  bascule mr close 3")]
    Close {
        /// Its number
        iid: i64,
        #[command(flatten)]
        place: Place,
    },
    /// Show the merge queue, or take a merge request out of it
    #[command(after_help = "Examples:
  bascule mr queue
  bascule mr queue --leave 3")]
    Queue {
        #[command(flatten)]
        place: Place,
        /// Take this one out
        #[arg(long, value_name = "NUMBER")]
        leave: Option<i64>,
    },
}

impl Mr {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Review(verb) => return verb.run(context).await,
            Self::Change(verb) => return Box::pin(verb.run(context)).await,
            Self::Create {
                place,
                source,
                from,
                target,
                title,
                description,
                draft,
            } => {
                let source = source
                    .or_else(|| git(&["symbolic-ref", "--short", "HEAD"]))
                    .ok_or_else(|| {
                        output::usage(
                            "No branch is named, and this folder is on none.",
                            "Give --source BRANCH.",
                        )
                    })?;
                let body = json!({
                    "source_branch": source, "source_project": from, "target_branch": target,
                    "title": title, "description": description, "draft": draft,
                });
                let path = format!("{}/merge-requests", place.path()?);
                show(context, context.post(&path, &body).await?);
            }
            Self::List { place, state, search } => {
                let path = format!(
                    "{}/merge-requests?state={}&search={}",
                    place.path()?,
                    bascule_web::url_encode(&state),
                    bascule_web::url_encode(&search)
                );
                let mut found = context.get(&path).await?;
                if !context.out.is_json() {
                    for one in found["merge_requests"].as_array_mut().into_iter().flatten() {
                        name_source(one);
                    }
                }
                context.out.table(&found, LIST);
            }
            Self::Show { iid, place } => {
                let found = context.get(&place.one(iid)?).await?;
                show(context, found.clone());
                if !context.out.is_json() && found["state"] == "open" {
                    context.out.say("");
                    context.out.table(&found["checks"], CHECKS);
                }
                let held = found["state"] == "open" && found["mergeable"] == false;
                return Ok(if held { code::REFUSED } else { code::DONE });
            }
            Self::Checkout { iid, remote } => checkout(context, iid, &remote)?,
            Self::Diff { iid, place, version } => diff(context, &place.one(iid)?, version).await?,
            Self::Merge {
                iid,
                place,
                strategy,
                sha,
                when_checks_pass,
                keep_source_branch,
                bypass,
            } => {
                let body = json!({
                    "strategy": strategy, "sha": sha, "when_checks_pass": when_checks_pass,
                    "delete_source_branch": keep_source_branch.then_some(false),
                    "bypass": bypass,
                });
                let done = context.post(&format!("{}/merge", place.one(iid)?), &body).await?;
                show(context, done);
            }
            Self::Close { iid, place } => {
                let done = context
                    .post(&format!("{}/close", place.one(iid)?), &json!({}))
                    .await?;
                show(context, done);
            }
            Self::Queue {
                place,
                leave: Some(iid),
            } => {
                let done: Value = context
                    .client
                    .delete(&format!("{}/queue", place.one(iid)?))
                    .await?;
                show(context, done);
                context.out.say(&format!("!{iid} left the merge queue."));
            }
            Self::Queue { place, leave: None } => {
                let queue = context.get(&format!("{}/merge-queue", place.path()?)).await?;
                if context.out.is_json() {
                    context.out.record(&queue, &[]);
                } else {
                    context.out.table(&queue["entries"], QUEUE);
                    context.out.say("");
                    context.out.table(&queue["taken_out"], OUT);
                }
            }
        }
        Ok(code::DONE)
    }
}

/// A request as a record, and what becomes of it by itself.
pub(super) fn show(context: &Context, mut request: Value) {
    if context.out.is_json() {
        return context.out.record(&request, &[]);
    }
    name_source(&mut request);
    context.out.record(&request, SHOW);
    let queue = &request["queue"];
    if let (Some(number), Some(branch)) = (queue["number"].as_i64(), queue["target_branch"].as_str()) {
        let branch = output::printable(branch);
        context
            .out
            .say(&format!("Number {number} in the merge queue of `{branch}`."));
    } else if request["state"] == "open" && request["auto_merge_by"].is_string() {
        context.out.say("It will merge when its checks pass.");
    } else if let Some(told) = request["auto_merge_dropped"].as_str() {
        context.out.say(&format!(
            "It is not merged by itself any more: {}",
            output::printable(told)
        ));
    }
}

/// Where the commits come from: the branch, of a fork with the fork.
fn name_source(request: &mut Value) {
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    let (source, project) = (text("source_project"), text("project"));
    let branch = text("source_branch");
    request["from"] = Value::from(if source == project {
        branch
    } else if source.is_empty() {
        format!("(a fork that is gone):{branch}")
    } else {
        format!("{source}:{branch}")
    });
}

fn checkout(context: &Context, iid: i64, remote: &str) -> Result<()> {
    let branch = format!("mr-{iid}");
    let refspec = format!("+refs/merge-requests/{iid}/head:refs/remotes/{remote}/{branch}");
    let failed = |what: &str, next: &str| bascule_core::Problem::new(400, "git_failed", what).next(next);
    git(&["fetch", "--quiet", remote, &refspec]).ok_or_else(|| {
        failed(
            &format!("!{iid} could not be fetched from `{remote}`."),
            "Run this in a clone of the project; `git fetch` says more.",
        )
    })?;
    let from = format!("{remote}/{branch}");
    git(&[
        "switch",
        "--quiet",
        "--no-track",
        "--force-create",
        &branch,
        &from,
    ])
    .ok_or_else(|| {
        failed(
            &format!("The branch `{branch}` could not be switched to."),
            "Commit or stash your changes first.",
        )
    })?;
    context.out.say(&format!("Switched to {branch}."));
    Ok(())
}

/// Prints the patch byte for byte as git made it, so that `git apply` takes it.
async fn diff(context: &Context, request: &str, version: Option<i64>) -> Result<()> {
    let of = |path: String, sign: char| match version {
        Some(version) => format!("{path}{sign}version={version}"),
        None => path,
    };
    if !context.out.is_json() {
        let path = of(format!("{request}/raw.diff"), '?');
        let answer = context.client.request(Method::GET, &path).send().await?;
        if std::io::stdout().is_terminal() {
            // Whoever reads it there reads it; nothing in it moves their cursor.
            let mut lines = answer.lines();
            while let Some(line) = lines.next().await? {
                output::line(&output::printable(&line));
            }
            return Ok(());
        }
        let mut chunks = answer.chunks();
        while let Some(chunk) = chunks.next().await? {
            output::bytes(&chunk);
        }
        return Ok(());
    }
    let mut from = Some(0);
    while let Some(at) = from {
        let page = context
            .get(&of(format!("{request}/changes?from={at}"), '&'))
            .await?;
        context.out.record(&page, &[]);
        from = page["next_from"].as_u64();
    }
    Ok(())
}
