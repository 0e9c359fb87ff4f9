//! Git's smart HTTP protocol (gitprotocol-http): the advertisement and the two services.

use super::{
    process::{Running, Upload, first_line, output, read},
    receive::Way,
};
use crate::{Forge, code::repository_gone};
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bascule_core::{Permission, Problem, ProjectScope};
use bascule_web::{Access, Answer, Failure, InProject, Params, PathOf, Routes, Who};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::{process::Command, sync::OwnedSemaphorePermit};

/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(30);

/// What git is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Clones and fetches.
    UploadPack,
    /// Pushes.
    ReceivePack,
}

impl Service {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::UploadPack, Self::ReceivePack]
            .into_iter()
            .find(|s| text.strip_prefix("git-") == Some(s.name()))
    }
}

pub(crate) fn routes() -> Routes<Forge> {
    let read = Access::Project(Permission::CodeRead);
    Routes::new()
        .page("GET", "/{group}/{project}/info/refs", read, get(info_refs))
        .page(
            "POST",
            "/{group}/{project}/git-upload-pack",
            read,
            post(upload_pack),
        )
        // The handler asks for the right to push; the route lets readers in, so that they are told what is missing.
        .page(
            "POST",
            "/{group}/{project}/git-receive-pack",
            read,
            post(receive_pack),
        )
}

#[derive(Deserialize)]
struct Asked {
    service: Option<String>,
}

async fn info_refs(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, name)): PathOf<(String, String)>,
    Params(asked): Params<Asked>,
    headers: HeaderMap,
) -> Answer {
    git_address(&name)?;
    let service = asked.service.as_deref().and_then(Service::parse).ok_or_else(|| {
        Problem::new(403, "dumb_protocol", "Only git's smart HTTP protocol is served.")
            .why("The old protocol reads files one by one and cannot be checked.")
            .next("Use git 1.6.6 or newer.")
    })?;
    may(service, &scope)?;
    if service == Service::ReceivePack {
        enough_space(&forge)?;
    }
    let repository = forge.repositories().path(scope.id);
    let protocol = protocol(&headers);
    let mut command = forge.git().command();
    set_protocol(&mut command, protocol.as_deref());
    command
        .arg(service.name())
        .args(["--stateless-rpc", "--http-backend-info-refs"])
        .arg(&repository);
    let permit = turn(&forge).await?;
    let running = start(&forge, command, None, permit)?;
    let mut first = BytesMut::new();
    // Version 2 of the protocol begins without this line.
    if !(service == Service::UploadPack && protocol.as_deref().is_some_and(is_version_2)) {
        let line = format!("# service=git-{}\n", service.name());
        first.extend_from_slice(format!("{:04x}{line}0000", line.len() + 4).as_bytes());
    }
    answer(
        &format!("application/x-git-{}-advertisement", service.name()),
        first,
        running,
    )
    .await
}

async fn upload_pack(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, name)): PathOf<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    git_address(&name)?;
    let upload = upload(&forge, Service::UploadPack, &headers, body)?;
    let mut command = forge.git().command();
    set_protocol(&mut command, protocol(&headers).as_deref());
    command
        .args(["upload-pack", "--stateless-rpc"])
        .arg(forge.repositories().path(scope.id));
    let permit = turn(&forge).await?;
    let running = start(&forge, command, Some(upload), permit)?;
    answer("application/x-git-upload-pack-result", BytesMut::new(), running).await
}

async fn receive_pack(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Who(caller): Who,
    PathOf((_, name)): PathOf<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    git_address(&name)?;
    may(Service::ReceivePack, &scope)?;
    enough_space(&forge)?;
    let upload = upload(&forge, Service::ReceivePack, &headers, body)?;
    let permit = turn(&forge).await?;
    let mut command = forge.git().command();
    set_protocol(&mut command, protocol(&headers).as_deref());
    command
        .args(["receive-pack", "--stateless-rpc"])
        .arg(forge.repositories().path(scope.id));
    let body = forge
        .receive(command, &scope, &caller, upload, permit, Way::Request)
        .await?;
    Ok(respond("application/x-git-receive-pack-result", body))
}

/// Git adds nothing to what it is given: an address without `.git` is a page's.
fn git_address(name: &str) -> Result<(), Problem> {
    if name.ends_with(".git") {
        return Ok(());
    }
    Err(Problem::not_found("page").next("Add `.git` to the project's address for git."))
}

fn may(service: Service, scope: &ProjectScope) -> Result<(), Problem> {
    match service {
        Service::UploadPack => Ok(()),
        Service::ReceivePack => may_push(scope),
    }
}

pub(crate) fn may_push(scope: &ProjectScope) -> Result<(), Problem> {
    if scope.holds(Permission::CodePush) {
        return Ok(());
    }
    Err(Problem::forbidden(Permission::CodePush))
}

pub(crate) fn enough_space(forge: &Forge) -> Result<(), Problem> {
    let Ok(disk) = rustix::fs::statvfs(&forge.config().data) else {
        return Ok(());
    };
    if disk.f_bavail.saturating_mul(disk.f_frsize) >= forge.config().keep_free {
        return Ok(());
    }
    tracing::error!("the disk is nearly full; pushes are refused");
    Err(storage_full())
}

fn storage_full() -> Problem {
    Problem::new(
        507,
        "storage_full",
        "The server's disk is full; nothing was stored.",
    )
    .why("A push that cannot be stored whole is not stored at all.")
    .next("Ask an administrator to free or add space, then push again.")
}

/// The client's wish for a version of the protocol, if it is one.
fn protocol(headers: &HeaderMap) -> Option<String> {
    plain_protocol(headers.get("git-protocol")?.to_str().ok()?)
}

/// The same, of a text.
pub(crate) fn plain_protocol(value: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b':' | b'.' | b'-' | b'_');
    (value.len() <= 200 && value.bytes().all(plain)).then(|| value.to_owned())
}

fn is_version_2(protocol: &str) -> bool {
    protocol.split(':').any(|part| part == "version=2")
}

pub(crate) fn set_protocol(command: &mut Command, protocol: Option<&str>) {
    if let Some(protocol) = protocol {
        command.env("GIT_PROTOCOL", protocol);
    }
}

fn upload(forge: &Forge, service: Service, headers: &HeaderMap, body: Body) -> Result<Upload, Problem> {
    let expected = format!("application/x-git-{}-request", service.name());
    let named = |name: header::HeaderName| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    if named(header::CONTENT_TYPE) != expected {
        return Err(Problem::new(415, "not_git", "This address speaks with git only.")
            .next(format!("Use a git client, or send `Content-Type: {expected}`.")));
    }
    let gzip = match named(header::CONTENT_ENCODING) {
        "" | "identity" => false,
        "gzip" | "x-gzip" => true,
        _ => {
            return Err(Problem::new(415, "encoding", "The body's encoding is unknown.")
                .next("Send it plain or as gzip."));
        }
    };
    Ok(Upload {
        body,
        gzip,
        idle: forge.config().idle,
        begun: Arc::default(),
    })
}

async fn turn(forge: &Forge) -> Result<OwnedSemaphorePermit, Failure> {
    turn_of(forge)
        .await
        .map_err(|problem| Failure::from(problem).retry_after(10))
}

/// Waits for one of the git processes that may run at once.
pub(crate) async fn turn_of(forge: &Forge) -> Result<OwnedSemaphorePermit, Problem> {
    let turns = forge.pushes().turns();
    match tokio::time::timeout(TURN, turns.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Problem::new(
            503,
            "busy",
            "The server is serving as many clones and pushes as it can.",
        )
        .why("A bound on them keeps all of them fast.")
        .next("Try again in a moment.")),
    }
}

fn start(
    forge: &Forge,
    command: Command,
    upload: Option<Upload>,
    permit: OwnedSemaphorePermit,
) -> Result<Running, Problem> {
    Running::start(command, upload, forge.config().timeout, permit).map_err(|error| {
        tracing::error!(%error, "git could not be started");
        Problem::internal()
    })
}

/// Answers with what git writes. What git refuses before it has written anything gets a clear refusal.
async fn answer(kind: &str, mut first: BytesMut, mut running: Running) -> Answer {
    let prefix = first.len();
    let mut buffer = BytesMut::new();
    let chunk = read(&mut running.stdout, &mut buffer).await.map_err(|error| {
        tracing::error!(%error, "git's output could not be read");
        Problem::internal()
    })?;
    if chunk.is_empty() {
        let (status, complaint) = running.finish().await.map_err(|_| Problem::internal())?;
        if !status.success() {
            return Err(refused(&complaint).into());
        }
        return Ok(respond(kind, Body::from(first.freeze())));
    }
    let first = if prefix == 0 {
        chunk
    } else {
        first.extend_from_slice(&chunk);
        first.freeze()
    };
    Ok(respond(kind, Body::from_stream(output(first, running, false))))
}

/// What a client is told when git could make nothing of its request.
pub(crate) fn refused(complaint: &str) -> Problem {
    if complaint.contains("does not appear to be a git repository")
        || complaint.contains("not a git repository")
    {
        tracing::error!(complaint, "a project has no repository");
        return repository_gone();
    }
    if is_full(complaint.as_bytes()) {
        tracing::error!(complaint, "the disk is full");
        return storage_full();
    }
    tracing::info!(complaint, "git refused a request");
    Problem::bad_request(
        "bad_git_request",
        format!("git could not read the request: {}.", first_line(complaint)),
    )
    .why("The bytes are not what git's protocol says, or the connection broke in between.")
    .next("Try again with a current git client.")
}

pub(crate) fn respond(kind: &str, body: Body) -> Response {
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, max-age=0, must-revalidate"),
    );
    response
}

/// Whether git says that its disk (or quota) is full.
pub(crate) fn is_full(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("No space left on device") || text.contains("Disk quota exceeded")
}

/// What git has said of a full disk, said once more for people, as a packet of the band that clients show.
pub(crate) fn full_packet() -> Bytes {
    tracing::error!("the disk became full under a push");
    packet(&format!("\nRefused: {}\n\n", storage_full()))
}

/// Whether git says that it stopped reading a push because it is too large.
pub(crate) fn is_huge(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("exceeds maximum allowed size")
}

/// A text as a packet of the band that clients show; at most what one packet holds.
pub(crate) fn packet(text: &str) -> Bytes {
    let mut end = text.len().min(60_000);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    Bytes::from(format!("{:04x}\u{2}{text}", text.len() + 5))
}

/// A part of a response body.
pub(crate) type Part = Result<Bytes, std::io::Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_protocol_wishes_reach_gits_environment() {
        let wish = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("git-protocol", HeaderValue::from_bytes(value).unwrap());
            protocol(&headers)
        };
        assert_eq!(wish(b"version=2").as_deref(), Some("version=2"));
        assert!(is_version_2("object-format=sha1:version=2"));
        assert_eq!(wish(b"version=2; rm -rf /"), None);
        assert_eq!(wish(&[b'a'; 500]), None);
    }

    #[test]
    fn a_full_disk_is_told_in_a_packet_of_the_second_band() {
        assert!(is_full(b"fatal: write error: No space left on device\n"));
        assert!(!is_full(b"fatal: early EOF\n"));
        assert_eq!(refused("fatal: No space left on device").status, 507);
        let packet = full_packet();
        let length = usize::from_str_radix(std::str::from_utf8(&packet[..4]).unwrap(), 16).unwrap();
        assert_eq!((length, packet[4]), (packet.len(), 2));
    }

    #[test]
    fn services_are_named_as_git_names_them() {
        assert_eq!(Service::parse("git-upload-pack"), Some(Service::UploadPack));
        assert_eq!(Service::parse("upload-pack"), None);
        assert_eq!(Service::parse("git-shell"), None);
    }
}
