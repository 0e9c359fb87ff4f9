//! What clients of an image registry ask (OCI distribution specification 1.1, the part that pulls).

use super::{Images, service::Found};
use crate::release::range::{Wanted, wanted};
use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bascule_core::{Digest, Permission, Problem, limits};
use bascule_web::{Access, Answer, InProject, Params, PathOf, Routes, Who, url_encode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

/// All routes of the registry.
#[must_use]
pub fn routes(images: Images) -> Routes {
    let pull = Access::Project(Permission::ImageRead);
    let state = images.clone();
    Routes::new()
        .page("GET", "/v2/", Access::Public, get(ping))
        .page("GET", "/v2/token", Access::Public, get(token))
        .page("GET", "/v2/{group}/{project}/tags/list", pull, get(tags))
        .page(
            "GET",
            "/v2/{group}/{project}/manifests/{reference}",
            pull,
            get(manifest),
        )
        .page("GET", "/v2/{group}/{project}/blobs/{digest}", pull, get(blob))
        .page("POST", "/v2/{group}/{project}/blobs/uploads/", pull, post(push))
        .wrap(|router| router.route_layer(from_fn_with_state(state, speak)))
        .with_state(images)
}

/// Says what protocol this is, and by what to sign in.
async fn speak(State(images): State<Images>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    if status == StatusCode::UNAUTHORIZED {
        let bearer = format!(
            "Bearer realm=\"{}/v2/token\",service=\"bascule\"",
            images.public_url()
        );
        let basic = HeaderValue::from_static("Basic realm=\"Bascule\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, basic.clone());
        if let Ok(bearer) = HeaderValue::from_str(&bearer) {
            // Clients take the first that they know.
            headers.insert(header::WWW_AUTHENTICATE, bearer);
            headers.append(header::WWW_AUTHENTICATE, basic);
        }
    }
    response
}

/// Clients ask this first, to learn whether and how to sign in.
async fn ping(Who(caller): Who) -> Answer {
    if caller.is_anonymous() {
        return Err(Problem::unauthenticated().into());
    }
    Ok(Json(serde_json::json!({})).into_response())
}

#[derive(Serialize)]
struct Token {
    token: String,
    access_token: String,
    expires_in: u32,
}

/// The token that a client is to send from here on: the very one that it signed in with. What is ended is ended at
/// once, so nothing is made here that would live on.
async fn token(Who(caller): Who, headers: HeaderMap) -> Answer<Json<Token>> {
    if caller.is_anonymous() || caller.by_cookie {
        return Err(Problem::unauthenticated().into());
    }
    let token = presented(&headers).ok_or_else(Problem::unauthenticated)?;
    Ok(Json(Token {
        access_token: token.clone(),
        token,
        expires_in: 300,
    }))
}

/// The secret in a request that was found to be good.
fn presented(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    let lone = password.is_empty() || password == "x-oauth-basic";
    Some(if lone { user } else { password }.to_owned())
}

#[derive(Deserialize)]
struct TagParams {
    n: Option<i64>,
    last: Option<String>,
}

#[derive(Serialize)]
struct Tags {
    name: String,
    tags: Vec<String>,
}

async fn tags(
    State(images): State<Images>,
    Who(caller): Who,
    project: InProject,
    Params(params): Params<TagParams>,
) -> Answer {
    let limit = params
        .n
        .unwrap_or(limits::API_PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    // The last tag of a page may name one image of several; versions are what is paged by.
    let last = params.last.as_deref().unwrap_or_default();
    let last = last.split_once('_').map_or(last, |(version, _)| version);
    let (tags, more) = images.tags(&caller, project.id, last, limit).await?;
    let name = format!("{}/{}", project.group, project.name);
    let mut response = Json(Tags {
        name: name.clone(),
        tags,
    })
    .into_response();
    if let Some(last) = more {
        let link = format!(
            "</v2/{name}/tags/list?n={limit}&last={}>; rel=\"next\"",
            url_encode(&last)
        );
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

#[derive(Deserialize)]
struct ManifestPath {
    reference: String,
}

async fn manifest(
    State(images): State<Images>,
    Who(caller): Who,
    project: InProject,
    PathOf(path): PathOf<ManifestPath>,
    headers: HeaderMap,
) -> Answer {
    let found = images.manifest(&caller, project.id, &path.reference).await?;
    let found = found.ok_or_else(|| {
        Problem::not_found("image")
            .why("A tag is the version of a release that holds an image, as an OCI or docker archive `….tar` among its artifacts.")
            .next(format!("`bascule release show {}/{}` tells what a release holds.", project.group, project.name))
    })?;
    serve(&images, &found, &headers, &found.media_type)
}

#[derive(Deserialize)]
struct BlobPath {
    digest: String,
}

async fn blob(
    State(images): State<Images>,
    Who(caller): Who,
    project: InProject,
    PathOf(path): PathOf<BlobPath>,
    headers: HeaderMap,
) -> Answer {
    let digest: Digest = path
        .digest
        .parse()
        .map_err(|why| Problem::bad_request("digest_invalid", format!("{why}.")))?;
    let found = images.blob(&caller, project.id, &digest, false).await?;
    let found = found.ok_or_else(|| Problem::not_found("blob of an image"))?;
    serve(&images, &found, &headers, "application/octet-stream")
}

fn serve(images: &Images, found: &Found, headers: &HeaderMap, media_type: &str) -> Answer {
    let etag = format!("\"{}\"", found.digest);
    let known = headers.get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, range, shown) = match wanted(asked, found.size) {
        Wanted::Whole => (StatusCode::OK, 0..found.size, None),
        Wanted::Part(range) => {
            let shown = format!(
                "bytes {}-{}/{}",
                range.start,
                range.end.saturating_sub(1),
                found.size
            );
            (StatusCode::PARTIAL_CONTENT, range, Some(shown))
        }
        Wanted::Unsatisfiable => return Ok(crate::release::unsatisfiable(found.size)),
    };
    let length = range.end.saturating_sub(range.start);
    let mut response = (status, Body::from_stream(images.open(found, range))).into_response();
    let set = response.headers_mut();
    set.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    set.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=31536000"),
    );
    let mut texts = vec![
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::ETAG, etag),
    ];
    texts.extend(shown.map(|shown| (header::CONTENT_RANGE, shown)));
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            set.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&found.digest.to_string()) {
        set.insert("docker-content-digest", value);
    }
    Ok(response)
}

/// Not yet: images come with releases.
async fn push() -> Answer {
    Err(Problem::new(405, "unsupported", "Images cannot be pushed here.")
        .why("They come with releases, which are made of what a pipeline built and signed.")
        .next("Keep the image as an artifact (`podman save --format oci-archive -o dist/app.oci.tar`) and release.")
        .into())
}
