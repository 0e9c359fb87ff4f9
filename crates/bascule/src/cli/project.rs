//! `project`.

use super::{
    context::Context,
    identity::done,
    output::{self, code},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Value, json};

const PROJECT: &[(&str, &str)] = &[
    ("PATH", "path"),
    ("VISIBILITY", "visibility"),
    ("DEFAULT BRANCH", "default_branch"),
    ("CLONE", "clone_url"),
    ("DESCRIPTION", "description"),
];

/// `bascule project …`
#[derive(Debug, Subcommand)]
pub enum Project {
    /// List projects you may see
    List {
        /// Only those whose path contains this
        #[arg(long, default_value = "")]
        search: String,
    },
    /// Create a project
    #[command(after_help = "Example:
  bascule project create demo/appointments
  git push http://git:$BASCULE_TOKEN@127.0.0.1:8080/demo/appointments.git main")]
    Create {
        /// group/project
        project: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// private or internal
        #[arg(long, default_value = "private")]
        visibility: String,
    },
    /// Show a project
    Show {
        /// group/project
        project: String,
    },
    /// List branches
    Branches {
        /// group/project
        project: String,
    },
    /// List commits
    Commits {
        /// group/project
        project: String,
        /// Branch, tag or commit
        #[arg(long = "ref", default_value = "")]
        reference: String,
    },
    /// Make a fork: a copy to push to, from which merge requests can be opened
    #[command(after_help = "Examples:
  bascule project fork demo/appointments
  bascule project fork demo/appointments --group team --name times")]
    Fork {
        /// group/project
        project: String,
        /// The group to put it in; one named like you if left out
        #[arg(long)]
        group: Option<String>,
        /// Its name; the same if left out
        #[arg(long)]
        name: Option<String>,
    },
    /// Delete a project with all its history
    Delete {
        /// group/project
        project: String,
        /// The same again, so that none is deleted by a slip
        #[arg(long)]
        confirm: String,
    },
}

impl Project {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { search } => {
                let path = format!("/api/v1/projects?search={}", bascule_web::url_encode(&search));
                context.out.table(&context.get(&path).await?, &PROJECT[..3]);
            }
            Self::Create {
                project,
                description,
                visibility,
            } => {
                let (group, name) = output::project(&project)?;
                let body = json!({ "name": name, "description": description, "visibility": visibility });
                context.out.record(
                    &context
                        .post(&format!("/api/v1/groups/{group}/projects"), &body)
                        .await?,
                    PROJECT,
                );
            }
            Self::Show { project } => {
                output::project(&project)?;
                context.out.record(
                    &context.get(&format!("/api/v1/projects/{project}")).await?,
                    PROJECT,
                );
            }
            Self::Branches { project } => {
                output::project(&project)?;
                let branches = context
                    .get(&format!("/api/v1/projects/{project}/branches"))
                    .await?;
                context.out.table(
                    &branches,
                    &[("NAME", "name"), ("COMMIT", "sha"), ("PROTECTED", "protected")],
                );
            }
            Self::Commits { project, reference } => {
                output::project(&project)?;
                let mut path = format!("/api/v1/projects/{project}/commits");
                if !reference.is_empty() {
                    path = format!("{path}?ref={}", bascule_web::url_encode(&reference));
                }
                let columns = [
                    ("COMMIT", "sha"),
                    ("AUTHOR", "author_name"),
                    ("AT", "committed_at"),
                    ("TITLE", "title"),
                ];
                context.out.table(&context.get(&path).await?, &columns);
            }
            Self::Fork { project, group, name } => {
                output::project(&project)?;
                let body = json!({ "group": group, "name": name });
                let path = format!("/api/v1/projects/{project}/forks");
                context.out.record(&context.post(&path, &body).await?, PROJECT);
            }
            Self::Delete { project, confirm } => {
                output::project(&project)?;
                if confirm != project {
                    return Err(output::usage(
                        "--confirm does not repeat the project's path.",
                        "Write it out in full.",
                    ));
                }
                let answer: Value = context
                    .client
                    .delete(&format!("/api/v1/projects/{project}"))
                    .await?;
                done(context.out, &answer, &format!("Deleted {project}."));
            }
        }
        Ok(code::DONE)
    }
}
