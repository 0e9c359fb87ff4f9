//! Configuration: command line over environment (`BASCULE_*`) over file over what is usual.

use crate::runner_settings::RunnerSettings;
use bascule_core::{Problem, Result};
use bascule_store::DbOptions;
use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// All settings of a server, and of what `up` runs beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub data: PathBuf,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The address under which people and runners reach the server; from `listen` if empty.
    pub external_url: String,
    /// `postgres://…`; empty for SQLite in the data directory.
    pub database: String,
    /// Where the edge serves all environments by host name; unset for a free port.
    pub edge_listen: Option<SocketAddr>,
    /// Where agents and edges call with certificates of their own, by TLS; unset for nowhere.
    pub agent_listen: Option<SocketAddr>,
    /// The address under which they reach it, as in `https://agents.example.org:8443`; from `agent_listen` if empty.
    pub agent_url: String,
    /// More names and addresses under which they may reach it.
    pub agent_names: Vec<String>,
    /// How long their certificates are good, in seconds.
    pub agent_certificate_seconds: u64,
    /// Where git over SSH is served; unset for nowhere. Never by itself: an address that changes, or whose
    /// key does, teaches people to click away warnings.
    pub ssh_listen: Option<SocketAddr>,
    /// `host` or `host:port` under which people reach it; from `external_url` and `ssh_listen` if empty.
    pub ssh_external: String,
    /// Jobs that the embedded runner runs at once.
    pub jobs: usize,
    /// Which jobs get a network: `never`, `mirrors`, `on_request` or `always`.
    pub job_network: String,
    /// Environment variables that every job gets, such as the addresses of package mirrors.
    pub job_variables: std::collections::BTreeMap<String, String>,
    /// How the embedded runner runs jobs.
    pub runner: RunnerSettings,
    /// The mail server's name; empty for no mail.
    pub mail_host: String,
    /// Its port; 0 for the usual one: 587 with STARTTLS, 465 with TLS, 25 with neither.
    pub mail_port: u16,
    /// How the connection is secured: `starttls`, `tls` or `none`.
    pub mail_tls: String,
    /// Who signs in at the mail server; empty for nobody.
    pub mail_user: String,
    /// Their password. Better in a file of its own: `mail_password_file`.
    pub mail_password: String,
    /// A file that holds the password.
    pub mail_password_file: PathBuf,
    /// The sender: an address, or `Name <address>`.
    pub mail_from: String,
    /// A file with an authority in PEM that is trusted besides the system's; empty for none.
    pub mail_ca: PathBuf,
    /// Addresses, ranges and hosts that webhooks may call although they are no public ones.
    pub webhook_allow: Vec<String>,
    /// Addresses under which files for `include: remote` may lie, such as `https://files.example.org/ci/`; none
    /// by itself, since such a file decides what runs here.
    pub ci_remote_includes: Vec<String>,
    /// Days that logs of ended jobs are kept; 0 for as long as their pipeline.
    pub ci_keep_logs_days: u64,
    /// Days that ended pipelines are kept, with all of their jobs; 0 for ever.
    pub ci_keep_pipelines_days: u64,
    /// `group/project` that keeps post-mortems.
    pub postmortems: String,
    /// `group/project` that declares environments, one file each under `environments/`.
    pub environments: String,
    /// Multiplies the windows of burn-rate alerts; 1 for the SRE workbook's.
    pub alert_time_scale: f64,
    /// Seconds between two summaries of an environment's traffic in the ledger.
    pub traffic_summary_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("bascule-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            external_url: String::new(),
            database: String::new(),
            edge_listen: None,
            agent_listen: None,
            agent_url: String::new(),
            agent_names: Vec::new(),
            agent_certificate_seconds: 30 * 86_400,
            ssh_listen: None,
            ssh_external: String::new(),
            jobs: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            job_network: "on_request".to_owned(),
            job_variables: std::collections::BTreeMap::new(),
            runner: RunnerSettings::default(),
            mail_host: String::new(),
            mail_port: 0,
            mail_tls: "starttls".to_owned(),
            mail_user: String::new(),
            mail_password: String::new(),
            mail_password_file: PathBuf::new(),
            mail_from: String::new(),
            mail_ca: PathBuf::new(),
            webhook_allow: Vec::new(),
            ci_remote_includes: Vec::new(),
            ci_keep_logs_days: 0,
            ci_keep_pipelines_days: 0,
            postmortems: "platform/postmortems".to_owned(),
            environments: "platform/fleet".to_owned(),
            alert_time_scale: 1.0,
            traffic_summary_seconds: 300,
        }
    }
}

/// Options of `up` and `server`.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub struct ServerOptions {
    /// Data directory, created if missing [default: bascule-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Address under which others reach the server, as in https://bascule.example.org
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    external_url: Option<String>,
    /// postgres://… instead of SQLite in the data directory
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// Address on which the edge serves all environments by host name
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_listen: Option<SocketAddr>,
    /// Address on which agents and edges call with certificates of their own, by TLS
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_listen: Option<SocketAddr>,
    /// Address on which git over SSH is served, such as 127.0.0.1:2222; off if left out
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_listen: Option<SocketAddr>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "BASCULE_CONFIG")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

impl Config {
    /// How long CI keeps logs and pipelines.
    #[must_use]
    pub fn ci_keep(&self) -> bascule_ci::retention::Keep {
        let days = |days: u64| (days > 0).then(|| Duration::from_secs(days.saturating_mul(86_400)));
        bascule_ci::retention::Keep {
            logs: days(self.ci_keep_logs_days),
            pipelines: days(self.ci_keep_pipelines_days),
        }
    }

    /// Reads all sources.
    pub fn read(options: &ServerOptions) -> Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = &options.config {
            if !file.is_file() {
                return Err(Problem::new(
                    400,
                    "usage",
                    format!("There is no configuration file {}.", file.display()),
                )
                .next("Correct --config, or leave it out."));
            }
            figment = figment.merge(Toml::file(file));
        }
        let known: Vec<String> = serde_json::to_value(Self::default())
            .ok()
            .and_then(|v| v.as_object().map(|o| o.keys().cloned().collect()))
            .unwrap_or_default();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let config: Self = figment
            .merge(Env::prefixed("BASCULE_").only(&names))
            .merge(Serialized::defaults(options))
            .extract()
            .map_err(|error| {
                Problem::new(
                    400,
                    "usage",
                    format!("The configuration cannot be read: {error}."),
                )
                .next("See the book, chapter Configuration, for every setting.")
            })?;
        let config = Self {
            data: data_directory(&config.data)?,
            ..config
        };
        if !matches!(
            config.job_network.as_str(),
            "never" | "mirrors" | "on_request" | "always"
        ) {
            return Err(
                Problem::new(400, "usage", format!("job_network is `{}`.", config.job_network))
                    .next("Use never, mirrors, on_request or always."),
            );
        }
        Ok(config)
    }

    /// How to reach the database.
    pub fn db(&self) -> DbOptions {
        if self.database.is_empty() {
            DbOptions::Sqlite(self.data.join("bascule.db"))
        } else {
            DbOptions::Postgres(self.database.clone())
        }
    }
}

/// A data directory as given on the command line, in the environment or in a file, made absolute: jobs and
/// products are started from other directories.
pub fn data_directory(given: &Path) -> Result<PathBuf> {
    std::path::absolute(given).map_err(|error| {
        Problem::new(
            400,
            "usage",
            format!(
                "The data directory `{}` cannot be used: {error}.",
                given.display()
            ),
        )
        .next("Give --data as an absolute path.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_data_directory_is_made_absolute_and_an_empty_one_refused() {
        let options = |data: &str| ServerOptions {
            data: Some(PathBuf::from(data)),
            ..ServerOptions::default()
        };
        let config = Config::read(&options("./data")).unwrap();
        assert_eq!(config.data, std::env::current_dir().unwrap().join("data"));
        assert_eq!(
            Config::read(&options("/srv/data")).unwrap().data,
            Path::new("/srv/data")
        );
        assert_eq!(Config::read(&options("")).unwrap_err().code, "usage");
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bascule.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\njobs = 7\n").unwrap();
        let options = ServerOptions {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            config: Some(file.clone()),
            ..ServerOptions::default()
        };
        let config = Config::read(&options).unwrap();
        assert_eq!((config.listen.port(), config.jobs), (0, 7));

        std::fs::write(&file, "lisen = 1\n").unwrap();
        assert_eq!(
            Config::read(&options).unwrap_err().code,
            "usage",
            "a misspelt setting is an error"
        );
    }
}
