//! `code`: history and files without a clone.

use super::{
    context::Context,
    identity::done,
    output::{self, code},
};
use bascule_core::Result;
use bascule_web::url_encode;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// `bascule code …`
#[derive(Debug, Subcommand)]
pub enum Code {
    /// Who wrote each line of a file
    #[command(after_help = "Example:
  bascule code blame demo/appointments server.js --line 40")]
    Blame {
        /// group/project
        project: String,
        /// Path from the top
        path: String,
        /// Branch, tag or commit; the default branch if left out
        #[arg(long = "ref", default_value = "")]
        reference: String,
        /// The first line; at most 1,000 are shown
        #[arg(long, default_value_t = 1)]
        line: usize,
    },
    /// What changed a file (through its renames) or a directory, newest first
    #[command(after_help = "Example:\n  bascule code log demo/appointments src/server.py")]
    Log {
        /// group/project
        project: String,
        /// Path from the top
        path: String,
        /// Branch, tag or commit; the default branch if left out
        #[arg(long = "ref", default_value = "")]
        reference: String,
        /// Page, from 1
        #[arg(long, default_value_t = 1)]
        page: i64,
    },
    /// What the second branch, tag or commit has and the first one lacks
    #[command(after_help = "Example:
  bascule code compare demo/appointments 1.0.0 main")]
    Compare {
        /// group/project
        project: String,
        /// Branch, tag or commit
        from: String,
        /// Branch, tag or commit
        to: String,
    },
    /// Save all files of a commit in one archive
    #[command(after_help = "Example:
  bascule code archive demo/appointments --ref 1.0.0 --output appointments-1.0.0.tar.gz")]
    Archive {
        /// group/project
        project: String,
        /// Branch, tag or commit; the default branch if left out
        #[arg(long = "ref", default_value = "")]
        reference: String,
        /// tar.gz, zip or tar
        #[arg(long, default_value = "tar.gz", value_parser = ["tar.gz", "zip", "tar"])]
        format: String,
        /// Where to save it
        #[arg(long, short)]
        output: PathBuf,
    },
    /// Branches that were deleted in the last 30 days
    #[command(after_help = "Example:\n  bascule code deleted demo/appointments")]
    Deleted {
        /// group/project
        project: String,
    },
    /// Bring a deleted branch back where it stood
    #[command(after_help = "Example:\n  bascule code restore demo/appointments feature/print")]
    Restore {
        /// group/project
        project: String,
        /// The branch
        branch: String,
    },
}

impl Code {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Blame {
                project,
                path,
                reference,
                line,
            } => {
                output::project(&project)?;
                let address = format!(
                    "/api/v1/projects/{project}/blame/{}?line={line}{}",
                    url_encode(&path),
                    at(&reference)
                );
                blame(context, &context.get(&address).await?);
            }
            Self::Log {
                project,
                path,
                reference,
                page,
            } => {
                output::project(&project)?;
                let address = format!(
                    "/api/v1/projects/{project}/commits?page={page}&path={}{}",
                    url_encode(&path),
                    at(&reference)
                );
                context.out.table(&context.get(&address).await?, COMMITS);
            }
            Self::Compare { project, from, to } => {
                output::project(&project)?;
                let address = format!(
                    "/api/v1/projects/{project}/compare?from={}&to={}",
                    url_encode(&from),
                    url_encode(&to)
                );
                compare(context, &from, &to, &context.get(&address).await?);
            }
            Self::Archive {
                project,
                reference,
                format,
                output,
            } => {
                output::project(&project)?;
                let address = format!(
                    "/api/v1/projects/{project}/archive?format={}{}",
                    url_encode(&format),
                    at(&reference)
                );
                context
                    .client
                    .request(Method::GET, &address)
                    .download(&output, None, u64::MAX)
                    .await?;
                let shown = output.display().to_string();
                done(
                    context.out,
                    &json!({ "saved": shown }),
                    &format!("Saved {shown}."),
                );
            }
            Self::Deleted { project } => {
                output::project(&project)?;
                let all = context
                    .get(&format!("/api/v1/projects/{project}/deleted-branches"))
                    .await?;
                let columns = [
                    ("NAME", "name"),
                    ("COMMIT", "sha"),
                    ("DELETED BY", "deleted_by"),
                    ("AT", "at"),
                ];
                context.out.table(&all, &columns);
            }
            Self::Restore { project, branch } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/deleted-branches");
                let answer = context.post(&path, &json!({ "name": branch })).await?;
                let sha = answer["sha"].as_str().unwrap_or_default();
                done(context.out, &answer, &format!("Brought {branch} back at {sha}."));
            }
        }
        Ok(code::DONE)
    }
}

const COMMITS: &[(&str, &str)] = &[
    ("COMMIT", "sha"),
    ("AUTHOR", "author_name"),
    ("AT", "committed_at"),
    ("TITLE", "title"),
];

/// `&ref=…`, unless it is left out.
fn at(reference: &str) -> String {
    if reference.is_empty() {
        String::new()
    } else {
        format!("&ref={}", url_encode(reference))
    }
}

fn blame(context: &Context, answer: &Value) {
    if context.out.is_json() {
        context.out.record(answer, &[]);
        return;
    }
    for hunk in answer["hunks"].as_array().into_iter().flatten() {
        let text = |key: &str| output::printable(hunk[key].as_str().unwrap_or_default());
        let (sha, at) = (text("sha"), text("authored_at"));
        let (sha, day) = (sha.get(..8).unwrap_or(&sha), at.get(..10).unwrap_or(&at));
        let author: String = text("author_name").chars().take(20).collect();
        let first = hunk["first_line"].as_u64().unwrap_or(1);
        for (number, line) in (first..).zip(hunk["lines"].as_array().into_iter().flatten()) {
            let line = output::printable(line.as_str().unwrap_or_default());
            output::line(&format!("{sha} {day} {author:<20} {number:>6}  {line}"));
        }
    }
    if let Some(next) = answer["next_line"].as_u64() {
        context.out.say(&format!("More: --line {next}"));
    }
}

fn compare(context: &Context, from: &str, to: &str, answer: &Value) {
    if context.out.is_json() {
        context.out.record(answer, &[]);
        return;
    }
    let number = |key: &str| answer[key].as_u64().unwrap_or(0);
    context.out.say(&format!(
        "{to} is {} ahead of {from} and {} behind it; {} files differ.",
        number("ahead"),
        number("behind"),
        number("file_count")
    ));
    if let Some(note) = answer["note"].as_str() {
        context.out.say(note);
    }
    context.out.table(&answer["commits"], COMMITS);
    context.out.table(
        &answer["files"],
        &[("CHANGE", "change"), ("PATH", "path"), ("WAS", "old_path")],
    );
}
