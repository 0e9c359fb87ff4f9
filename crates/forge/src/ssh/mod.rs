//! git over SSH. The same git, judge, sessions and facts as over HTTP; only the way in differs: a key says
//! who asks, and a command names what is wanted. There is no shell, no forwarding and no file transfer.
//!
//! [`crate::ports::Keys`] says whose key it is and what they may reach. It is asked again while connections
//! are open, so that a key removed or an account closed ends them within a second.

mod command;
mod connection;
mod host_key;
mod live;
pub(crate) mod pages;
mod serve;
mod server;

pub use command::parse as parse_command;
pub use host_key::{HOST_KEY_FILE, fingerprint_of as host_key_fingerprint};

pub(crate) use host_key::HostKey;
pub(crate) use live::Live;

use std::time::Duration;

/// Most connections at once.
const CONNECTIONS: usize = 512;
/// Most connections at once from one address.
const PER_ADDRESS: usize = 96;
/// How long a client may take to say who it is.
const LOGIN: Duration = Duration::from_secs(30);
/// Most keys that a client may offer in one connection.
const ATTEMPTS: usize = 12;
/// Most commands at once in one connection; clients that share one connection open several.
const CHANNELS: usize = 16;
/// How often it is asked whether the keys of open connections still open something.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// How often a silent client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where people reach git over SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// The address that `git clone` takes for a project at `group/name`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == 22 {
            format!("git@{host}:{path}.git")
        } else {
            format!("ssh://git@{host}:{}/{path}.git", self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_short_where_they_can_be() {
        let at = |host: &str, port| {
            Address {
                host: host.to_owned(),
                port,
            }
            .url("a/b")
        };
        assert_eq!(at("git.example", 22), "git@git.example:a/b.git");
        assert_eq!(at("git.example", 2222), "ssh://git@git.example:2222/a/b.git");
        assert_eq!(at("::1", 2222), "ssh://git@[::1]:2222/a/b.git");
    }
}
