//! `partner`: people from outside, the projects they were given, and their end.

use super::{
    context::Context,
    identity::done,
    output::{self, code, usage},
};
use bascule_core::{Result, Timestamp};
use clap::Subcommand;
use serde_json::{Value, json};

const PARTNER: &[(&str, &str)] = &[
    ("NAME", "username"),
    ("DISPLAY NAME", "display_name"),
    ("ACTIVE", "active"),
    ("ENDS", "ends_at"),
    ("SOON", "ends_soon"),
    ("REACHES", "reaches"),
];

/// `bascule partner …`
#[derive(Debug, Subcommand)]
pub enum Partner {
    /// List the partners about whom you have a say: what they reach, and until when
    #[command(after_help = "Examples:
  bascule partner list
  bascule partner list --project demo/appointments --json")]
    List {
        /// Only those of this project
        #[arg(long, value_name = "GROUP/PROJECT")]
        project: Option<String>,
    },
    /// Create a partner's account with a role in one project; its first password is shown once
    #[command(after_help = "Examples:
  bascule partner invite supplier --project demo/appointments --role developer --until 2027-01-31
  bascule partner invite supplier --project demo/appointments --role reporter --until 2027-01-31 --password-stdin < password.txt

A partner who has an account already: bascule project set-member demo/other supplier --role reporter")]
    Invite {
        /// User name
        username: String,
        /// The project
        #[arg(long, value_name = "GROUP/PROJECT")]
        project: String,
        /// guest, reporter or developer
        #[arg(long, default_value = "reporter", value_parser = ["guest", "reporter", "developer"])]
        role: String,
        /// The last day (2027-01-31, in UTC), or an instant; at most a year from now
        #[arg(long)]
        until: String,
        /// Name shown to people
        #[arg(long, default_value = "")]
        display_name: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Set when a partner's access ends
    #[command(after_help = "Example:
  bascule partner extend supplier --until 2027-06-30")]
    Extend {
        /// User name
        username: String,
        /// The last day (2027-06-30, in UTC), or an instant; at most a year from now
        #[arg(long)]
        until: String,
    },
    /// Cut a partner off, everywhere: sessions, tokens and keys at once, what is open within a second
    #[command(after_help = "Example:
  bascule partner cut-off supplier --reason \"a laptop was lost\"

An administrator opens the account again, with nothing of what was ended.")]
    CutOff {
        /// User name
        username: String,
        /// Why; it stays in the ledger
        #[arg(long)]
        reason: String,
    },
}

impl Partner {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { project } => {
                let path = match project {
                    Some(project) => {
                        output::project(&project)?;
                        format!("/api/v1/projects/{project}/partners")
                    }
                    None => "/api/v1/partners".to_owned(),
                };
                let mut page = context.get(&path).await?;
                if !context.out.is_json() {
                    for partner in page["items"].as_array_mut().into_iter().flatten() {
                        partner["reaches"] = reaches(partner).into();
                    }
                }
                context.out.table(&page, PARTNER);
            }
            Self::Invite {
                username,
                project,
                role,
                until,
                display_name,
                password_stdin,
            } => {
                output::project(&project)?;
                let mut body = json!({
                    "username": username, "display_name": display_name, "role": role, "ends_at": end(&until)?,
                });
                if password_stdin {
                    body["password"] = Value::from(super::identity::read_password()?);
                }
                let made = context
                    .post(&format!("/api/v1/projects/{project}/partners"), &body)
                    .await?;
                context.out.record(
                    &made,
                    &[
                        ("NAME", "username"),
                        ("ENDS", "ends_at"),
                        ("PASSWORD", "initial_password"),
                    ],
                );
            }
            Self::Extend { username, until } => {
                let path = format!("/api/v1/partners/{}/end", bascule_web::url_encode(&username));
                let body = json!({ "ends_at": end(&until)? });
                let mut partner: Value = context.client.put(&path, &body).await?;
                if !context.out.is_json() {
                    partner["reaches"] = reaches(&partner).into();
                }
                context.out.record(&partner, PARTNER);
            }
            Self::CutOff { username, reason } => {
                let path = format!("/api/v1/partners/{}/cut-off", bascule_web::url_encode(&username));
                let answer = context.post(&path, &json!({ "reason": reason })).await?;
                done(context.out, &answer, &format!("{username} is cut off."));
            }
        }
        Ok(code::DONE)
    }
}

/// The projects of a partner on one line.
fn reaches(partner: &Value) -> String {
    let of = |project: &Value, key: &str| project[key].as_str().unwrap_or_default().to_owned();
    let projects = partner["projects"].as_array().into_iter().flatten();
    projects
        .map(|project| format!("{} ({})", of(project, "path"), of(project, "role")))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The end of a day, or an instant.
pub fn end(text: &str) -> Result<Timestamp> {
    let day = format!("{text}T23:59:59Z");
    text.parse().or_else(|_| day.parse()).map_err(|_| {
        usage(
            &format!("`{text}` is no day."),
            "Write it as year-month-day: 2027-01-31.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::end;

    #[test]
    fn a_day_is_meant_to_its_end() {
        assert_eq!(end("2027-01-31").unwrap().to_string(), "2027-01-31T23:59:59Z");
        assert_eq!(
            end("2027-01-31T10:00:00Z").unwrap().to_string(),
            "2027-01-31T10:00:00Z"
        );
        assert!(end("soon").is_err() && end("2027-02-31").is_err());
    }
}
