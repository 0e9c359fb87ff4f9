//! `login`, `whoami`, `user`, `token`, `group`.

use super::{
    context::{Context, Login, Remote},
    output::{Output, code, usage},
    values::{ROLES, SCOPES, VISIBILITIES},
};
use bascule_core::{Clock as _, Result, SystemClock};
use clap::Subcommand;
use serde_json::{Value, json};
use std::{
    io::{IsTerminal as _, Read as _},
    time::Duration,
};

pub async fn login(address: &str, remote: &Remote) -> Result<u8> {
    let token = match &remote.token {
        // What is piped in was meant for this call, what stands in the environment for all.
        Some(token) if std::env::var("BASCULE_TOKEN").is_ok_and(|kept| kept == *token) && is_fed() => {
            let given = read_token()?;
            if given.is_empty() { token.clone() } else { given }
        }
        Some(token) => token.clone(),
        None if std::io::stdin().is_terminal() => {
            return Err(usage(
                "No token was given.",
                "Create one under Settings, then pass --token, or pipe it in: `bascule login URL < file`.",
            ));
        }
        None => read_token()?,
    };
    let context = Context::new(&Remote {
        url: Some(address.to_owned()),
        token: Some(token.clone()),
        json: remote.json,
    })?;
    let me = context.get("/api/v1/user").await?;
    let path = Login {
        url: address.to_owned(),
        token,
    }
    .write()?;
    context.out.say(&format!(
        "Signed in to {address} as {}; kept in {}.",
        me["username"].as_str().unwrap_or("?"),
        path.display()
    ));
    Ok(code::DONE)
}

/// Whether standard input is a pipe or a file, from which something may come.
fn is_fed() -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata("/dev/stdin").is_ok_and(|it| it.is_file() || it.file_type().is_fifo())
}

fn read_token() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut text)
        .map_err(|_| usage("The token cannot be read.", "Pipe a text."))?;
    Ok(text.trim().to_owned())
}

pub async fn whoami(context: &Context) -> Result<u8> {
    let me = context.get("/api/v1/user").await?;
    context.out.record(&me, USER);
    Ok(code::DONE)
}

const USER: &[(&str, &str)] = &[
    ("NAME", "username"),
    ("DISPLAY NAME", "display_name"),
    ("ROLE", "role"),
    ("ACTIVE", "active"),
    ("ENDS", "ends_at"),
    ("PROJECT", "project"),
    ("SCOPES", "scopes"),
    ("ID", "id"),
];

/// `bascule user …`
#[derive(Debug, Subcommand)]
pub enum User {
    /// List accounts
    #[command(after_help = "Example:\n  bascule user list")]
    List,
    /// Create an account
    #[command(after_help = "Example:\n  bascule user create developer --password-stdin < password.txt")]
    Create {
        /// User name
        username: String,
        /// Name shown to people
        #[arg(long)]
        display_name: Option<String>,
        /// Address for mail, and by which commits are known to be theirs
        #[arg(long)]
        email: Option<String>,
        /// Standing: external, member, auditor or admin
        #[arg(long, default_value = "member", value_parser = ["external", "member", "auditor", "admin"])]
        role: String,
        /// When the account of an outside partner (external) ends; a year from now if left out
        #[arg(long)]
        until: Option<String>,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Close an account: ends its sessions, tokens and keys at once
    #[command(after_help = "Example:\n  bascule user deactivate developer")]
    Deactivate {
        /// User name
        username: String,
    },
    /// Open a closed account again; what ended with it is made anew
    #[command(after_help = "Example:\n  bascule user activate developer")]
    Activate {
        /// User name
        username: String,
    },
}

impl User {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List => context.out.table(&context.get("/api/v1/users").await?, USER),
            Self::Create {
                username,
                display_name,
                email,
                role,
                until,
                password_stdin,
            } => {
                let mut body = json!({ "username": username, "display_name": display_name.unwrap_or_else(|| username.clone()), "role": role });
                if let Some(email) = email {
                    body["email"] = json!(email);
                }
                if let Some(until) = until {
                    body["ends_at"] = json!(super::partner::end(&until)?);
                }
                if password_stdin {
                    body["password"] = Value::from(read_password()?);
                }
                context
                    .out
                    .record(&context.post("/api/v1/users", &body).await?, USER);
            }
            Self::Deactivate { username } => {
                let answer = context
                    .post(&format!("/api/v1/users/{username}/deactivate"), &json!({}))
                    .await?;
                done(context.out, &answer, &format!("Closed the account {username}."));
            }
            Self::Activate { username } => {
                let answer = context
                    .post(&format!("/api/v1/users/{username}/activate"), &json!({}))
                    .await?;
                done(
                    context.out,
                    &answer,
                    &format!("Opened the account {username} again."),
                );
            }
        }
        Ok(code::DONE)
    }
}

/// Says that it is done, or prints the answer as JSON.
pub fn done(out: Output, answer: &Value, text: &str) {
    if out.is_json() {
        out.record(answer, &[]);
    } else {
        out.say(text);
    }
}

const TOKEN: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("SCOPES", "scopes"),
    ("EXPIRES", "expires_at"),
    ("LAST USED", "last_used_at"),
];

/// `bascule token …`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// List your own tokens
    #[command(after_help = "Example:\n  bascule token list")]
    List,
    /// Create a token; its secret is shown once
    #[command(after_help = "Examples:
  bascule token create laptop --scope write_repository --scope api
  bascule token create ci --project demo/appointments --role developer --scope write_repository")]
    Create {
        /// What you call it
        name: String,
        /// Limit it to this project
        #[arg(long, value_name = "GROUP/PROJECT")]
        project: Option<String>,
        /// Role of a project token
        #[arg(long, default_value = "developer", value_parser = ROLES)]
        role: String,
        /// api, read_api, read_repository, write_repository or read_registry
        #[arg(long = "scope", default_value = "api", value_parser = SCOPES)]
        scopes: Vec<String>,
        /// Days until it ends
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// Revoke one of your own tokens
    #[command(after_help = "Example:
  bascule token revoke 0199c2d4-…      its id is in `bascule token list`")]
    Revoke {
        /// Its id
        id: String,
    },
}

impl Token {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List => context
                .out
                .table(&context.get("/api/v1/user/tokens").await?, TOKEN),
            Self::Create {
                name,
                project,
                role,
                scopes,
                days,
            } => {
                let ends = SystemClock
                    .now()
                    .plus(Duration::from_secs(u64::from(days) * 86_400));
                let mut body = json!({ "name": name, "scopes": scopes, "expires_at": ends });
                let path = match project {
                    Some(project) => {
                        super::output::project(&project)?;
                        body["role"] = Value::from(role);
                        format!("/api/v1/projects/{project}/tokens")
                    }
                    None => "/api/v1/user/tokens".to_owned(),
                };
                let answer = context.post(&path, &body).await?;
                let secret = answer["secret"].as_str().unwrap_or_default().to_owned();
                done(context.out, &answer, &secret);
            }
            Self::Revoke { id } => {
                let answer: Value = context
                    .client
                    .delete(&format!("/api/v1/user/tokens/{id}"))
                    .await?;
                done(context.out, &answer, "Revoked.");
            }
        }
        Ok(code::DONE)
    }
}

const GROUP: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("VISIBILITY", "visibility"),
    ("DESCRIPTION", "description"),
];

/// `bascule group …`
#[derive(Debug, Subcommand)]
pub enum Group {
    /// List groups you may see
    #[command(after_help = "Example:\n  bascule group list")]
    List,
    /// Create a group
    #[command(after_help = "Example:
  bascule group create demo --visibility internal --description \"What we show to others\"")]
    Create {
        /// Its name
        name: String,
        /// private (members only) or internal (every account reads)
        #[arg(long, default_value = "private", value_parser = VISIBILITIES)]
        visibility: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List members
    #[command(after_help = "Example:\n  bascule group members demo")]
    Members {
        /// The group
        group: String,
    },
    /// Give someone a role
    #[command(after_help = "Example:\n  bascule group set-member demo developer --role developer")]
    SetMember {
        /// The group
        group: String,
        /// User name
        username: String,
        /// guest, reporter, developer, maintainer or owner
        #[arg(long, value_parser = ROLES)]
        role: String,
    },
    /// Show what a group's projects take on disk together, and what they may
    #[command(after_help = "Example:\n  bascule group storage demo")]
    Storage {
        /// The group
        group: String,
    },
    /// Set a group's limits, all of them; what is left out holds as it does without
    #[command(after_help = "Example:\n  bascule group limit demo --file 50MiB --quota 20GiB")]
    Limit {
        /// The group
        group: String,
        #[command(flatten)]
        limits: super::storage::Limits,
    },
    /// Take someone's role away
    #[command(after_help = "Example:\n  bascule group remove-member demo developer")]
    RemoveMember {
        /// The group
        group: String,
        /// User name
        username: String,
    },
}

impl Group {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List => context.out.table(&context.get("/api/v1/groups").await?, GROUP),
            Self::Create {
                name,
                visibility,
                description,
            } => {
                let body = json!({ "name": name, "visibility": visibility, "description": description });
                context
                    .out
                    .record(&context.post("/api/v1/groups", &body).await?, GROUP);
            }
            Self::Members { group } => {
                let members = context.get(&format!("/api/v1/groups/{group}/members")).await?;
                context
                    .out
                    .table(&members, &[("USER", "username"), ("ROLE", "role")]);
            }
            Self::SetMember {
                group,
                username,
                role,
            } => {
                let path = format!("/api/v1/groups/{group}/members/{username}");
                let answer: Value = context.client.put(&path, &json!({ "role": role })).await?;
                done(context.out, &answer, &format!("{username} is {role} in {group}."));
            }
            Self::Storage { group } => {
                let path = format!("/api/v1/groups/{group}/storage");
                context
                    .out
                    .record(&context.get(&path).await?, super::storage::GROUP);
            }
            Self::Limit { group, limits } => {
                let path = format!("/api/v1/groups/{group}/storage/limits");
                let now: Value = context.client.put(&path, &limits.body()?).await?;
                context.out.record(&now, super::storage::GROUP);
            }
            Self::RemoveMember { group, username } => {
                let path = format!("/api/v1/groups/{group}/members/{username}");
                let answer: Value = context.client.delete(&path).await?;
                done(
                    context.out,
                    &answer,
                    &format!("{username} has no role in {group} any more."),
                );
            }
        }
        Ok(code::DONE)
    }
}

/// A password from standard input, without the newline at its end.
pub(super) fn read_password() -> Result<String> {
    let mut password = String::new();
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut password)
        .map_err(|_| usage("The password cannot be read.", "Pipe a text."))?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}
