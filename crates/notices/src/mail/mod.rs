//! Notices by e-mail. What is to be sent is written down in the transaction in which the fact is heard; the text is
//! made when it is sent, of what is there then, for whoever may read it then. What cannot be sent is tried again for
//! days, then shown to administrators. After a crash between sending and noting so a mail is sent again, under the same
//! `Message-ID`.

pub(crate) mod api;
mod compose;
pub(crate) mod pages;
mod send;
pub(crate) mod service;
pub(crate) mod store;

pub(crate) use service::enqueue;

use bascule_core::{MailId, ProjectId, Timestamp, UserId};
use std::{fmt, time::Duration};

/// How long it is kept that a mail was sent or given up.
pub(crate) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a mail is tried.
pub(crate) const TRIED_FOR: Duration = Duration::from_secs(3 * 24 * 3600);

/// How the connection to the mail server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the beginning (port 465).
    Tls,
    /// STARTTLS, without which nothing is sent (port 587).
    StartTls,
    /// None; only for a server on the same machine or network.
    None,
}

/// How mail is sent.
#[derive(Clone)]
pub struct Settings {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// Who signs in there; empty for nobody.
    pub user: String,
    /// Their password.
    pub password: String,
    /// The sender: an address, or `Name <address>`.
    pub from: String,
    /// An authority in PEM that is trusted besides the system's; empty for none.
    pub ca: Vec<u8>,
}

impl Settings {
    /// Whether mail can be sent so, as far as that is known without the server.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.user.is_empty() != self.password.is_empty() {
            return Err("a user needs a password, and a password a user".to_owned());
        }
        if self.security == Security::None && !self.user.is_empty() {
            return Err("a password is not sent over a connection that is not secured".to_owned());
        }
        compose::sender(self)?;
        send::transport(self, "http://localhost").map(drop)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out of logs.
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// How much someone wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    Todos,
    All,
}

impl Level {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Todos => "todos",
            Self::All => "all",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Todos, Self::All]
            .into_iter()
            .find(|level| level.as_str() == text)
    }
}

/// What someone chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) issues: Level,
    pub(crate) merge_requests: Level,
    pub(crate) pipelines: Level,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            issues: Level::Todos,
            merge_requests: Level::Todos,
            pipelines: Level::Todos,
        }
    }
}

bascule_store::row! {
    /// A mail as kept.
    #[derive(Clone, Debug)]
    pub(crate) struct Mail {
        pub(crate) id: MailId,
        pub(crate) user_id: UserId,
        pub(crate) project_id: ProjectId,
        pub(crate) action: String,
        pub(crate) kind: String,
        pub(crate) target: String,
        pub(crate) target_id: String,
        pub(crate) anchor: String,
        pub(crate) actor: String,
        pub(crate) summary: String,
        pub(crate) at: Timestamp,
        pub(crate) state: String,
        pub(crate) tries: i64,
        pub(crate) due_at: Timestamp,
        pub(crate) tried_at: Option<Timestamp>,
        pub(crate) error: String,
    }
}
