//! Which server a client verb talks to, and as whom: `BASCULE_URL` and `BASCULE_TOKEN`, else what
//! `bascule login` kept.

use super::output::{Output, usage};
use bascule_client::Client;
use bascule_core::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// Options that every client verb takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Remote {
    /// The server's address
    #[arg(long, env = "BASCULE_URL", global = true, value_name = "URL")]
    pub url: Option<String>,
    /// The access token
    #[arg(
        long,
        env = "BASCULE_TOKEN",
        global = true,
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub token: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What `bascule login` keeps.
#[derive(Serialize, Deserialize)]
pub struct Login {
    pub url: String,
    pub token: String,
}

/// A server to talk to and a way to print.
pub struct Context {
    pub client: Client,
    pub out: Output,
}

impl Context {
    pub fn new(remote: &Remote) -> Result<Self> {
        let kept = if remote.url.is_none() || remote.token.is_none() {
            Login::read()
        } else {
            None
        };
        let url = remote
            .url
            .clone()
            .or_else(|| kept.as_ref().map(|login| login.url.clone()))
            .ok_or_else(|| {
                usage(
                    "No server is known.",
                    "Run `bascule login URL`, or set BASCULE_URL and BASCULE_TOKEN.",
                )
            })?;
        // A kept token goes only to the server it was kept for.
        let token = remote
            .token
            .clone()
            .or_else(|| kept.filter(|login| login.url == url).map(|login| login.token));
        Ok(Self {
            client: Client::new(&url, token)?,
            out: Output::new(remote.json),
        })
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.client.get(path).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.client.post(path, body).await
    }
}

impl Login {
    fn path() -> Option<PathBuf> {
        let home = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
        Some(home.join("bascule/login.json"))
    }

    fn read() -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path()?).ok()?).ok()
    }

    pub fn write(&self) -> Result<PathBuf> {
        let write = || -> std::io::Result<PathBuf> {
            use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
            let path = Self::path().ok_or_else(|| std::io::Error::other("HOME is not set"))?;
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(&serde_json::to_vec(self).map_err(std::io::Error::other)?)?;
            Ok(path)
        };
        write().map_err(|error| {
            Problem::new(500, "not_kept", format!("The login could not be kept: {error}."))
                .next("Set BASCULE_URL and BASCULE_TOKEN instead.")
        })
    }
}
