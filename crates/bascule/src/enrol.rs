//! First start of an agent or edge on a machine of its own: a one-time code becomes a token that stays in its
//! data directory.

use crate::cli::output::usage;
use bascule_client::Client;
use bascule_core::{Problem, Result};
use bascule_wire::fleet::{Enrol, Enrolled, MemberKind};
use std::{
    io::{ErrorKind, Write as _},
    path::Path,
};

/// The token to work with: the one given, else the one kept in `data`, else what `code` is exchanged for.
pub async fn token(
    kind: MemberKind,
    server: &str,
    given: Option<String>,
    code: Option<&str>,
    data: &Path,
) -> Result<String> {
    if let Some(token) = given.filter(|token| !token.is_empty()) {
        return Ok(token);
    }
    let file = data.join(format!("{kind}.token"));
    let unusable = |error: std::io::Error| {
        Problem::new(
            500,
            "data_dir",
            format!("The {kind} cannot use {}.", file.display()),
        )
        .why(error.to_string())
        .next("Check that the data directory exists and is writable, or choose another with --data.")
    };
    match std::fs::read_to_string(&file) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let code = code.filter(|code| !code.is_empty()).ok_or_else(|| {
        usage(
            &format!("No token is in {} yet.", data.display()),
            &format!("Get a code by `bascule {kind}s create NAME` and give it once with --code."),
        )
    })?;
    std::fs::create_dir_all(data).map_err(unusable)?;
    // Made before the code is used up, so that a full or read-only disk costs no code. Its mode is 0600.
    let mut kept = tempfile::NamedTempFile::new_in(data).map_err(unusable)?;
    let asked = Enrol {
        code: code.to_owned(),
        kind,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: bascule_agent::machine_facts(),
    };
    let enrolled: Enrolled = Client::new(server, None)?
        .post("/api/v1/agent/enrol", &asked)
        .await?;
    kept.write_all(enrolled.token.as_bytes()).map_err(unusable)?;
    kept.as_file().sync_all().map_err(unusable)?;
    kept.persist(&file).map_err(|error| unusable(error.error))?;
    tracing::info!(name = enrolled.name, %kind, "enrolled");
    Ok(enrolled.token)
}
