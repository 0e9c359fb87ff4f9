//! Our own log: lines on standard output (twelve-factor), JSON for machines or short text for a terminal.
//! `BASCULE_LOG` takes filters such as `info,bascule_edge=debug`. Client verbs log warnings alone, to standard
//! error, because standard output is theirs.

use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, fmt};

/// Begins to log as a server does.
pub fn server() {
    let filter = EnvFilter::try_from_env("BASCULE_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    // Told to standard error, and where nobody reads that either, telling ends the task that had something to say.
    let builder = fmt().with_env_filter(filter).log_internal_errors(false);
    let json = std::env::var("BASCULE_LOG_FORMAT").map_or(!std::io::stdout().is_terminal(), |f| f == "json");
    // A second start, as in tests, keeps the first.
    drop(if json {
        builder.json().try_init()
    } else {
        builder.compact().with_target(false).try_init()
    });
}

/// Begins to log as a client verb does.
pub fn client() {
    let filter = EnvFilter::try_from_env("BASCULE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    drop(
        fmt()
            .with_env_filter(filter)
            .log_internal_errors(false)
            .with_writer(std::io::stderr)
            .compact()
            .with_target(false)
            .try_init(),
    );
}
