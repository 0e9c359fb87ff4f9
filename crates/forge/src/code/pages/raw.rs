//! Bytes as they are. Never as something that a browser would run: pictures are shown, all else is saved.

use crate::{
    Forge,
    code::{
        paths::{base_name, shown},
        read,
    },
};
use axum::{body::Body, extract::State};
use bascule_core::{Problem, ProjectId};
use bascule_web::{
    Answer, InProject, PathOf,
    raw::{picture, untrusted},
};
use gix::{ObjectId, objs::tree::EntryKind};
use http::{HeaderMap, HeaderValue, header};

/// Larger files are streamed from a git process instead of being held in memory.
pub(super) const HELD: u64 = 2 * 1024 * 1024;

pub(super) async fn raw(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, text)): PathOf<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let place = forge.place(&scope, text).await?;
    let asked = Asked::of(&headers);
    respond(&forge, scope.id, place.found.id, place.path, asked).await
}

/// What the browser wants the bytes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// As a picture within a page (Fetch Metadata, W3C), where a browser runs no script of it.
    AsImage,
    /// Anything else, or nobody knows.
    Else,
}

impl Asked {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if headers.get("sec-fetch-dest").is_some_and(|dest| dest == "image") {
            Self::AsImage
        } else {
            Self::Else
        }
    }
}

pub(super) async fn archive(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    PathOf((_, _, file)): PathOf<(String, String, String)>,
) -> Answer {
    crate::code::archive::respond(&forge, &scope, &file).await
}

/// Whether the bytes are a drawing in SVG: a text whose first element is `svg`.
pub(super) fn is_svg(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    let text = String::from_utf8_lossy(start);
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    // What may stand before the first element (XML 1.0, 2.8 Prolog).
    for _ in 0..20 {
        let end = match rest {
            _ if rest.starts_with("<?") => "?>",
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.starts_with("<!") => ">",
            _ => break,
        };
        match rest.split_once(end) {
            Some((_, after)) => rest = after.trim_start(),
            None => return false,
        }
    }
    rest.strip_prefix("<svg")
        .is_some_and(|after| after.starts_with(|c: char| c.is_whitespace() || c == '>'))
}

/// Answers with the file at a path of a commit.
pub(crate) async fn respond(
    forge: &Forge,
    project: ProjectId,
    commit: ObjectId,
    path: Vec<u8>,
    asked: Asked,
) -> Answer {
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
    // A drawing may hold scripts, which no browser runs in an image; opened by itself it is saved.
    let drawing = asked == Asked::AsImage && bytes.as_deref().is_some_and(is_svg);
    let kind = bytes
        .as_deref()
        .and_then(picture)
        .or(drawing.then_some("image/svg+xml"));
    let body = match bytes {
        Some(bytes) => Body::from(bytes),
        None => {
            let mut command = forge.git().within(&forge.repositories().path(project));
            command.args(["cat-file", "blob", &id.to_string()]);
            forge.stream(command).await?
        }
    };
    let mut response = untrusted(body, &shown(&name), kind);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(header::VARY, HeaderValue::from_static("Sec-Fetch-Dest"));
    if drawing {
        // Its own looks, and still nothing from elsewhere.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_is_told_by_its_first_element() {
        for text in [
            "<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
            "\u{feff}<?xml version=\"1.0\"?>\n<!-- made by hand -->\n<!DOCTYPE svg>\n<svg>",
        ] {
            assert!(is_svg(text.as_bytes()), "{text}");
        }
        for text in ["", "<html><svg></svg>", "<svgx>", "<!-- <svg> ", "svg", "<?xml?>"] {
            assert!(!is_svg(text.as_bytes()), "{text}");
        }
    }
}
