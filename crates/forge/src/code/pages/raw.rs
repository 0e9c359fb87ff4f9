//! Bytes as they are. Never as something that a browser would run: pictures are shown, all else is saved.

use crate::{
    Forge,
    code::{
        paths::{base_name, shown},
        read,
    },
};
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bascule_core::{Problem, ProjectId};
use bascule_web::{Answer, InProject, PathOf, url_encode};
use gix::{ObjectId, objs::tree::EntryKind};
use http::{HeaderValue, header};

/// Larger files are streamed from a git process instead of being held in memory.
const HELD: u64 = 2 * 1024 * 1024;

pub(super) async fn raw(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, text)): PathOf<(String, String, String)>,
) -> Answer {
    let place = forge.place(&scope, text).await?;
    respond(&forge, scope.id, place.found.id, place.path).await
}

pub(super) async fn archive(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, file)): PathOf<(String, String, String)>,
) -> Answer {
    crate::code::archive::respond(&forge, &scope, &file).await
}

/// The kind of picture, told by its first bytes and never by its name.
pub(super) fn picture(bytes: &[u8]) -> Option<&'static str> {
    let starts: [(&[u8], &str); 4] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
    ];
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    starts
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, kind)| *kind)
        .or(webp.then_some("image/webp"))
}

/// Answers with the file at a path of a commit.
pub(crate) async fn respond(forge: &Forge, project: ProjectId, commit: ObjectId, path: Vec<u8>) -> Answer {
    let name = base_name(&path).to_vec();
    let (id, size, bytes) = forge
        .repositories()
        .read(project, move |repo| match read::entry(repo, commit, &path)? {
            Some((EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link, id)) => {
                Ok((id, read::size(repo, id)?, read::bytes(repo, id, HELD)?))
            }
            _ => Err(Problem::not_found("file").into()),
        })
        .await?;
    let kind = bytes.as_deref().and_then(picture);
    let body = match bytes {
        Some(bytes) => Body::from(bytes),
        None => {
            let mut command = forge.git().within(&forge.repositories().path(project));
            command.args(["cat-file", "blob", &id.to_string()]);
            forge
                .git()
                .stream(command, forge.config().timeout)
                .map_err(|error| {
                    tracing::error!(%error, "git could not be started");
                    Problem::internal()
                })?
        }
    };
    let mut response: Response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(kind.unwrap_or("application/octet-stream")),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    let how = if kind.is_some() { "inline" } else { "attachment" };
    let disposition = format!("{how}; filename*=UTF-8''{}", url_encode(&shown(&name)));
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_told_by_its_bytes() {
        assert_eq!(picture(b"\x89PNG\r\n\x1a\nxxxx"), Some("image/png"));
        assert_eq!(picture(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(picture(b"<svg onload=alert(1)>"), None);
        assert_eq!(picture(b"<html>"), None);
    }
}
