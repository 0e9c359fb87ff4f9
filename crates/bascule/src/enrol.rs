//! First start of an agent or edge on a machine of its own: a one-time code becomes a token that stays in its
//! data directory, and, at the agents' own address, a certificate for a key that is made here.

use crate::cli::output::usage;
use bascule_client::{Client, Identity, identity::Request};
use bascule_core::{Clock as _, Digest, Problem, Result, SystemClock};
use bascule_wire::fleet::{Enrol, Enrolled, MemberKind, split_code};
use std::{
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// What a part calls the server with.
#[derive(Debug)]
pub struct Credentials {
    /// The server's address.
    pub server: String,
    /// Its token.
    pub token: String,
    /// Its certificate, and where that is kept, where it has one.
    pub identity: Option<(Identity, PathBuf)>,
}

/// The credentials to work with: the token given, else those kept in `data`, else what `code` is exchanged for.
pub async fn credentials(
    kind: MemberKind,
    server: Option<String>,
    given: Option<String>,
    code: Option<&str>,
    data: &Path,
) -> Result<Credentials> {
    let server = server.filter(|server| !server.is_empty());
    if let Some(token) = given.filter(|token| !token.is_empty()) {
        return Ok(Credentials {
            server: needed(server)?,
            token,
            identity: None,
        });
    }
    let file = Identity::file(data, kind);
    if let Some(identity) = Identity::load(&file)? {
        return Ok(Credentials {
            server: server.unwrap_or_else(|| identity.server.clone()),
            token: identity.token.clone(),
            identity: Some((identity, file)),
        });
    }
    let token = data.join(format!("{kind}.token"));
    match std::fs::read_to_string(&token) {
        Ok(token) if !token.trim().is_empty() => {
            return Ok(Credentials {
                server: needed(server)?,
                token: token.trim().to_owned(),
                identity: None,
            });
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unusable(kind, &token, &error)),
        _ => {}
    }
    let code = code.filter(|code| !code.is_empty()).ok_or_else(|| {
        usage(
            &format!("No token is in {} yet.", data.display()),
            &format!("Get a code by `bascule {kind}s create NAME` and give it once with --code."),
        )
    })?;
    enrol(kind, &needed(server)?, code, data).await
}

fn needed(server: Option<String>) -> Result<String> {
    server.ok_or_else(|| {
        usage(
            "The server's address is missing.",
            "Give it with --server, as `bascule agents create` printed it, or as BASCULE_SERVER.",
        )
    })
}

fn unusable(kind: MemberKind, file: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        500,
        "data_dir",
        format!("The {kind} cannot use {}.", file.display()),
    )
    .why(error.to_string())
    .next("Check that the data directory exists and is writable, or choose another with --data.")
}

/// Exchanges a code. One that names an authority is used with that authority alone, save on this machine's loopback.
pub async fn enrol(kind: MemberKind, server: &str, code: &str, data: &Path) -> Result<Credentials> {
    let (_, pin) = split_code(code);
    let plain = server.trim().starts_with("http://");
    match pin {
        Some(pin) if !plain => with_certificate(kind, server, code, &pin, data).await,
        Some(_) if !is_loopback(server) => Err(Problem::new(
            403,
            "code_for_tls",
            "The code is for the agents' own address, which begins with https.",
        )
        .why("Over plain HTTP anyone on the way could read the token that comes back.")
        .next("Use the address that `bascule agents create` printed with the code.")),
        _ => with_token(kind, server, code, data).await,
    }
}

fn is_loopback(server: &str) -> bool {
    let Ok(url) = url::Url::parse(server.trim()) else {
        return false;
    };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn asking(kind: MemberKind, code: &str, csr: String) -> Enrol {
    Enrol {
        code: code.trim().to_owned(),
        kind,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: bascule_agent::machine_facts(),
        csr,
    }
}

async fn with_token(kind: MemberKind, server: &str, code: &str, data: &Path) -> Result<Credentials> {
    let file = data.join(format!("{kind}.token"));
    let unusable = |error: std::io::Error| unusable(kind, &file, &error);
    std::fs::create_dir_all(data).map_err(unusable)?;
    // Made before the code is used up, so that a full or read-only disk costs no code. Its mode is 0600.
    let mut kept = tempfile::NamedTempFile::new_in(data).map_err(unusable)?;
    let enrolled: Enrolled = Client::new(server, None)?
        .post("/api/v1/agent/enrol", &asking(kind, code, String::new()))
        .await?;
    kept.write_all(enrolled.token.as_bytes()).map_err(unusable)?;
    kept.as_file().sync_all().map_err(unusable)?;
    kept.persist(&file).map_err(|error| unusable(error.error))?;
    // What this machine was before counts no more.
    drop(std::fs::remove_file(Identity::file(data, kind)));
    tracing::info!(name = enrolled.name, %kind, "enrolled");
    Ok(Credentials {
        server: server.to_owned(),
        token: enrolled.token,
        identity: None,
    })
}

async fn with_certificate(
    kind: MemberKind,
    server: &str,
    code: &str,
    pin: &Digest,
    data: &Path,
) -> Result<Credentials> {
    let file = Identity::file(data, kind);
    let unusable = |error: std::io::Error| unusable(kind, &file, &error);
    std::fs::create_dir_all(data).map_err(unusable)?;
    // Tried before the code is used up, so that a full or read-only disk costs no code.
    drop(tempfile::NamedTempFile::new_in(data).map_err(unusable)?);
    let request = Request::new()?;
    let enrolled: Enrolled = Client::pinned(server, pin)?
        .post("/api/v1/agent/enrol", &asking(kind, code, request.csr))
        .await?;
    let missing = || {
        Problem::new(502, "no_certificate", "The server gave no certificate.")
            .why("What answers is no agents' address of a Bascule server.")
            .next("Use the address that `bascule agents create` printed with the code.")
    };
    let certified = enrolled.certificate.ok_or_else(missing)?;
    let identity = Identity {
        kind,
        name: enrolled.name,
        server: server.to_owned(),
        token: enrolled.token,
        authority: certified.authority,
        certificate: certified.certificate,
        key: request.key,
        received_at: SystemClock.now(),
        life_seconds: certified.life_seconds,
    };
    if identity.authority_fingerprint().as_ref() != Some(pin) {
        return Err(missing());
    }
    identity.save(&file).map_err(unusable)?;
    tracing::info!(name = identity.name, %kind, authority = %pin, "enrolled with a certificate");
    Ok(Credentials {
        server: server.to_owned(),
        token: identity.token.clone(),
        identity: Some((identity, file)),
    })
}
