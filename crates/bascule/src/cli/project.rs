//! `project`.

use super::{
    context::Context,
    identity::done,
    output::{self, code},
    storage,
    values::{ROLES, VISIBILITIES},
};
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Value, json};

const PROJECT: &[(&str, &str)] = &[
    ("PATH", "path"),
    ("VISIBILITY", "visibility"),
    ("DEFAULT BRANCH", "default_branch"),
    ("CLONE", "clone_url"),
    ("SSH", "ssh_url"),
    ("DESCRIPTION", "description"),
];

/// `bascule project …`
#[derive(Debug, Subcommand)]
pub enum Project {
    /// List projects you may see
    #[command(after_help = "Example:\n  bascule project list")]
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
        #[arg(long, default_value = "private", value_parser = VISIBILITIES)]
        visibility: String,
    },
    /// Show a project
    #[command(after_help = "Example:\n  bascule project show demo/appointments")]
    Show {
        /// group/project
        project: String,
    },
    /// List branches
    #[command(after_help = "Example:\n  bascule project branches demo/appointments")]
    Branches {
        /// group/project
        project: String,
    },
    /// List commits
    #[command(after_help = "Example:\n  bascule project commits demo/appointments")]
    Commits {
        /// group/project
        project: String,
        /// Branch, tag or commit
        #[arg(long = "ref", default_value = "")]
        reference: String,
    },
    /// Give a project another name; the old address leads to the new one until another project takes it
    #[command(after_help = "Example:
  bascule project rename demo/appointments calendar")]
    Rename {
        /// group/project
        project: String,
        /// The new name, without the group
        name: String,
    },
    /// Show what a project takes on disk, and what it may
    #[command(after_help = "Example:\n  bascule project storage demo/appointments")]
    Storage {
        /// group/project
        project: String,
    },
    /// Set a project's limits, all of them; what is left out holds as it does without
    #[command(after_help = "Example:
  bascule project limit demo/appointments --file 50MiB --quota 5GiB")]
    Limit {
        /// group/project
        project: String,
        #[command(flatten)]
        limits: storage::Limits,
    },
    /// Pack a project's repository now, and wait for the end
    #[command(after_help = "Example:\n  bascule project upkeep demo/appointments")]
    Upkeep {
        /// group/project
        project: String,
    },
    /// Check all objects of a project's repository, and wait for the end
    #[command(after_help = "Example:
  bascule project fsck demo/appointments

Exit code 1 where something is damaged.")]
    Fsck {
        /// group/project
        project: String,
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
    /// List members, those of the group included
    #[command(after_help = "Example:\n  bascule project members demo/appointments")]
    Members {
        /// group/project
        project: String,
    },
    /// Give someone a role in this project alone, for ever or until a day
    #[command(after_help = "Examples:
  bascule project set-member demo/appointments developer --role developer
  bascule project set-member demo/appointments supplier --role reporter --until 2027-01-31")]
    SetMember {
        /// group/project
        project: String,
        /// User name
        username: String,
        /// guest, reporter, developer, maintainer or owner; outside partners are developer at most
        #[arg(long, value_parser = ROLES)]
        role: String,
        /// The last day (2027-01-31, in UTC), or an instant
        #[arg(long)]
        until: Option<String>,
    },
    /// Take someone's role in this project away
    #[command(after_help = "Example:\n  bascule project remove-member demo/appointments developer")]
    RemoveMember {
        /// group/project
        project: String,
        /// User name
        username: String,
    },
    /// Delete a project with all its history
    #[command(after_help = "Example:
  bascule project delete demo/appointments --confirm demo/appointments")]
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
            Self::Rename { project, name } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}");
                let changed: Value = context.client.patch(&path, &json!({ "name": name })).await?;
                context.out.record(&changed, PROJECT);
            }
            Self::Storage { project } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/storage");
                context.out.record(&context.get(&path).await?, storage::PROJECT);
            }
            Self::Limit { project, limits } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/storage/limits");
                let now: Value = context.client.put(&path, &limits.body()?).await?;
                context.out.record(&now, storage::PROJECT);
            }
            Self::Upkeep { project } => {
                return storage::upkeep(context, &project, "pack", "upkeep").await;
            }
            Self::Fsck { project } => {
                return storage::upkeep(context, &project, "fsck", "fsck").await;
            }
            Self::Fork { project, group, name } => {
                output::project(&project)?;
                let body = json!({ "group": group, "name": name });
                let path = format!("/api/v1/projects/{project}/forks");
                context.out.record(&context.post(&path, &body).await?, PROJECT);
            }
            Self::Members { project } => {
                output::project(&project)?;
                let members = context
                    .get(&format!("/api/v1/projects/{project}/members"))
                    .await?;
                let columns = [
                    ("USER", "username"),
                    ("ROLE", "role"),
                    ("PARTNER", "partner"),
                    ("ENDS", "ends_at"),
                ];
                context.out.table(&members, &columns);
            }
            Self::SetMember {
                project,
                username,
                role,
                until,
            } => {
                output::project(&project)?;
                let mut body = json!({ "role": role });
                if let Some(until) = until {
                    body["ends_at"] = json!(super::partner::end(&until)?);
                }
                let path = format!("/api/v1/projects/{project}/members/{username}");
                let answer: Value = context.client.put(&path, &body).await?;
                done(
                    context.out,
                    &answer,
                    &format!("{username} is {role} in {project}."),
                );
            }
            Self::RemoveMember { project, username } => {
                output::project(&project)?;
                let path = format!("/api/v1/projects/{project}/members/{username}");
                let answer: Value = context.client.delete(&path).await?;
                let text = format!("{username} has no role of their own in {project} any more.");
                done(context.out, &answer, &text);
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
