//! Embedded files, named by content and kept by browsers for ever.

use crate::{Access, Routes, highlight};
use axum::{
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use bascule_core::Problem;
use http::header;
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::LazyLock,
};

struct Asset {
    name: &'static str,
    hash: &'static str,
    kind: &'static str,
    gzip: &'static [u8],
}

const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

static HIGHLIGHT: LazyLock<String> = LazyLock::new(highlight::stylesheet);

/// The address of the colours of code, which changes with them.
static HIGHLIGHT_HREF: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    HIGHLIGHT.hash(&mut hasher);
    format!("/assets/{:016x}/highlight.css", hasher.finish())
});

/// The address of the stylesheet for code.
pub(crate) fn highlight_href() -> String {
    HIGHLIGHT_HREF.clone()
}

/// The address of an embedded file.
#[must_use]
pub fn href(name: &str) -> String {
    let hash = ASSETS
        .iter()
        .find(|asset| asset.name == name)
        .map_or("0", |asset| asset.hash);
    format!("/assets/{hash}/{name}")
}

/// Serves the embedded files.
#[must_use]
pub fn routes() -> Routes {
    Routes::new()
        .page("GET", "/assets/{hash}/{name}", Access::Public, get(serve))
        .page("GET", "/favicon.ico", Access::Public, get(favicon))
}

async fn favicon() -> Response {
    serve(Path((String::new(), "logo.svg".to_owned()))).await
}

async fn serve(Path((_, name)): Path<(String, String)>) -> Response {
    const FOR_EVER: (header::HeaderName, &str) =
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
    if name == "highlight.css" {
        return ([FOR_EVER, (header::CONTENT_TYPE, "text/css")], HIGHLIGHT.as_str()).into_response();
    }
    match ASSETS.iter().find(|asset| asset.name == name) {
        // Every browser takes gzip; a client that does not is no browser and needs no stylesheet.
        Some(asset) => (
            [
                FOR_EVER,
                (header::CONTENT_TYPE, asset.kind),
                (header::CONTENT_ENCODING, "gzip"),
            ],
            asset.gzip,
        )
            .into_response(),
        None => crate::Failure::from(Problem::not_found("file")).into_response(),
    }
}
