//! `variable`: CI variables and secrets of a project, a group, or the instance.

use super::{
    context::Context,
    identity::done,
    output::{self, Column, code},
    runners::Of,
};
use bascule_client::Method;
use bascule_core::Result;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

const VARIABLE: &[Column] = &[
    ("NAME", "name"),
    ("ENVIRONMENTS", "environment"),
    ("VALUE", "value"),
    ("MASKED", "masked"),
    ("PROTECTED", "protected"),
    ("FILE", "file"),
    ("SECRET", "secret"),
    ("SET", "updated_at"),
];

/// `bascule variable …`
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "made once, from the command line")]
pub enum Variable {
    /// List variables; masked ones and secrets without their values
    #[command(
        after_help = "Examples:\n  bascule variable list -p demo/appointments\n  bascule variable list -g demo"
    )]
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Set a variable, from the command line, a file, or standard input
    #[command(after_help = "Examples:
  bascule variable set REGION eu -g demo
  bascule variable set API_KEY -p demo/appointments --masked --protected < key.txt
  bascule variable set DEPLOY_KEY -p demo/appointments --secret --from-file key.pem
  bascule variable set URL https://review.example.org -p demo/appointments --environment \"review/*\"")]
    Set {
        /// Its name
        name: String,
        /// Its value; without it, it is read from standard input, so that no history keeps it
        value: Option<String>,
        #[command(flatten)]
        of: Of,
        /// Read the value from a file
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        from_file: Option<PathBuf>,
        /// Hide it here and in logs
        #[arg(long)]
        masked: bool,
        /// Only for jobs of protected branches and tags
        #[arg(long)]
        protected: bool,
        /// Give the job the path of a file that holds it
        #[arg(long)]
        file: bool,
        /// Leave `$` in the value as it is
        #[arg(long)]
        raw: bool,
        /// Only for jobs that name it under `secrets`
        #[arg(long)]
        secret: bool,
        /// Only for jobs of this environment; a pattern may hold `*`
        #[arg(long, default_value = "*")]
        environment: String,
    },
    /// Remove a variable
    #[command(after_help = "Example:\n  bascule variable remove REGION -g demo")]
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        of: Of,
        /// The environments that it is for
        #[arg(long, default_value = "*")]
        environment: String,
    },
}

impl Variable {
    pub async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::List { of } => {
                let list = context.get(&format!("{}/ci/variables", of.base()?)).await?;
                context.out.table(&list, VARIABLE);
            }
            Self::Set {
                name,
                value,
                of,
                from_file,
                masked,
                protected,
                file,
                raw,
                secret,
                environment,
            } => {
                let value = match (value, from_file) {
                    (Some(value), _) => value,
                    (None, Some(path)) => super::read_file(&path)?,
                    (None, None) => {
                        let text = std::io::read_to_string(std::io::stdin()).map_err(|error| {
                            output::usage(
                                &format!("Standard input cannot be read: {error}."),
                                "Give the value, or --from-file.",
                            )
                        })?;
                        text.trim_end_matches(['\r', '\n']).to_owned()
                    }
                };
                let body = json!({
                    "value": value, "masked": masked, "protected": protected, "file": file,
                    "expand": !raw, "secret": secret, "environment": environment,
                });
                let path = format!("{}/ci/variables/{}", of.base()?, bascule_web::url_encode(&name));
                context
                    .client
                    .request(Method::PUT, &path)
                    .json(&body)?
                    .send()
                    .await?;
                done(context.out, &json!({}), &format!("{name} is set."));
            }
            Self::Remove {
                name,
                of,
                environment,
            } => {
                let path = format!(
                    "{}/ci/variables/{}?environment={}",
                    of.base()?,
                    bascule_web::url_encode(&name),
                    bascule_web::url_encode(&environment)
                );
                context.client.request(Method::DELETE, &path).send().await?;
                done(
                    context.out,
                    &Value::Object(serde_json::Map::new()),
                    &format!("{name} is removed."),
                );
            }
        }
        Ok(code::DONE)
    }
}
