//! The JSON API of releases, and the one list of this crate's routes.

use super::{
    Release, ReleasePart, Releases, pages,
    range::{Wanted, wanted},
};
use crate::bundle;
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use bascule_core::{Digest, Permission, Problem, ProjectId, ReleaseId, limits};
use bascule_web::{Access, Answer, Failure, InProject, Params, PathOf, Routes};
use bascule_wire::release::{
    ComponentPage, InstanceKeyInfo, InstanceKeys, ReleaseDetails, ReleasePage, ReleasePart as WirePart,
    ReleaseSummary,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

/// All routes of this crate.
#[must_use]
pub fn routes(releases: Releases) -> Routes {
    let read = Access::Project(Permission::ReleaseRead);
    Routes::new()
        .api(read, bascule_web::routes!(list))
        .api(read, bascule_web::routes!(show))
        .api(read, bascule_web::routes!(components))
        .api(read, bascule_web::routes!(download))
        .api(Access::Public, bascule_web::routes!(keys))
        .page("GET", "/{group}/{project}/-/releases", read, get(pages::list))
        .page(
            "GET",
            "/{group}/{project}/-/releases/{tag}",
            read,
            get(pages::show),
        )
        .with_state(releases)
}

#[derive(Deserialize)]
struct ListParams {
    before: Option<ReleaseId>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
struct ComponentParams {
    search: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// The tag in a path.
#[derive(Deserialize)]
pub(super) struct TagPath {
    pub(super) tag: String,
}

#[derive(Deserialize)]
struct PartPath {
    tag: String,
    digest: String,
}

/// Lists the project's releases, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{group}/{project}/releases",
    tag = "releases",
    params(
        ("group" = String, Path, description = "Group"),
        ("project" = String, Path, description = "Project"),
        ("before" = Option<String>, Query, description = "Only releases older than this one: the `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "How many at most, up to 200; 50 if not given"),
    ),
    responses((status = 200, body = ReleasePage))
)]
async fn list(
    State(releases): State<Releases>,
    project: InProject,
    Params(params): Params<ListParams>,
) -> Answer<Json<ReleasePage>> {
    let limit = params
        .limit
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    let mut found = releases.list(project.id, params.before, limit + 1).await?;
    let next = more(&mut found, limit)
        .then(|| found.last().map(|release| release.id))
        .flatten();
    Ok(Json(ReleasePage {
        items: found.iter().map(ReleaseSummary::from).collect(),
        next,
    }))
}

/// Cuts a list that was read with one entry too many; whether there was one.
pub(crate) fn more<T>(found: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    more
}

/// One release with all its parts, by tag or version.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{group}/{project}/releases/{tag}",
    tag = "releases",
    params(
        ("group" = String, Path, description = "Group"),
        ("project" = String, Path, description = "Project"),
        ("tag" = String, Path, description = "Tag or version"),
    ),
    responses((status = 200, body = ReleaseDetails), (status = 404, body = Problem))
)]
async fn show(
    State(releases): State<Releases>,
    project: InProject,
    PathOf(path): PathOf<TagPath>,
) -> Answer<Json<ReleaseDetails>> {
    let release = find(&releases, project.id, &path.tag).await?;
    let parts = releases.parts(release.id).await?;
    Ok(Json(details(&release, &parts)))
}

/// The components of a release, as its SBOM lists them.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{group}/{project}/releases/{tag}/components",
    tag = "releases",
    params(
        ("group" = String, Path, description = "Group"),
        ("project" = String, Path, description = "Project"),
        ("tag" = String, Path, description = "Tag or version"),
        ("search" = Option<String>, Query, description = "Only components whose package URL holds this"),
        ("after" = Option<String>, Query, description = "Only components after this one: the `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "How many at most, up to 200; 50 if not given"),
    ),
    responses((status = 200, body = ComponentPage), (status = 404, body = Problem))
)]
async fn components(
    State(releases): State<Releases>,
    project: InProject,
    PathOf(path): PathOf<TagPath>,
    Params(params): Params<ComponentParams>,
) -> Answer<Json<ComponentPage>> {
    let release = find(&releases, project.id, &path.tag).await?;
    let limit = params
        .limit
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    Ok(Json(
        component_page(
            &releases,
            release.id,
            params.search.as_deref(),
            params.after.as_deref(),
            limit,
        )
        .await?,
    ))
}

pub(super) async fn component_page(
    releases: &Releases,
    release: ReleaseId,
    search: Option<&str>,
    after: Option<&str>,
    limit: i64,
) -> Answer<ComponentPage> {
    let (mut items, total) = releases
        .components(
            release,
            search.unwrap_or_default(),
            after.unwrap_or_default(),
            limit + 1,
        )
        .await?;
    let next = more(&mut items, limit)
        .then(|| items.last().map(|component| component.purl.clone()))
        .flatten();
    Ok(ComponentPage { items, total, next })
}

/// The bytes of one part of a release, or of its signed manifest, by digest. Serves byte ranges.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{group}/{project}/releases/{tag}/parts/{digest}",
    tag = "releases",
    params(
        ("group" = String, Path, description = "Group"),
        ("project" = String, Path, description = "Project"),
        ("tag" = String, Path, description = "Tag or version"),
        ("digest" = String, Path, description = "Digest of the part or of the manifest, `sha256:…`"),
    ),
    responses(
        (status = 200, description = "All of it", content_type = "application/octet-stream"),
        (status = 206, description = "The range that was asked for", content_type = "application/octet-stream"),
        (status = 404, body = Problem),
        (status = 416, body = Problem)
    )
)]
async fn download(
    State(releases): State<Releases>,
    project: InProject,
    PathOf(path): PathOf<PartPath>,
    headers: HeaderMap,
) -> Answer {
    let digest: Digest = path
        .digest
        .parse()
        .map_err(|why| Problem::bad_request("bad_digest", format!("{why}.")))?;
    let release = find(&releases, project.id, &path.tag).await?;
    let part = if digest == release.manifest {
        manifest_part(&release)
    } else {
        releases
            .part_by_digest(release.id, &digest)
            .await?
            .ok_or_else(|| Problem::not_found("part of this release"))?
    };
    let etag = format!("\"{}\"", part.digest.hex());
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, length, body, content_range) = match wanted(asked, part.size) {
        Wanted::Whole => {
            let stream = releases.open_part(&part.digest).await?.ok_or_else(|| {
                tracing::error!(digest = %part.digest, "a release's part is gone from the blob store");
                Problem::internal()
            })?;
            (StatusCode::OK, part.size, Body::from_stream(stream), None)
        }
        Wanted::Part(range) => {
            let shown = format!(
                "bytes {}-{}/{}",
                range.start,
                range.end.saturating_sub(1),
                part.size
            );
            let length = range.end.saturating_sub(range.start);
            (
                StatusCode::PARTIAL_CONTENT,
                length,
                Body::from_stream(releases.open_range(&part.digest, range)),
                Some(shown),
            )
        }
        Wanted::Unsatisfiable => return Ok(unsatisfiable(part.size)),
    };
    let mut response = (status, body).into_response();
    let set = response.headers_mut();
    set.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    set.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Bytes by digest never change, but are not for everyone.
    set.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=31536000, immutable"),
    );
    let texts = [
        (header::CONTENT_TYPE, part.media_type.clone()),
        (header::ETAG, etag),
        (header::CONTENT_DISPOSITION, disposition(&part.name)),
    ];
    for (name, value) in texts
        .into_iter()
        .chain(content_range.map(|range| (header::CONTENT_RANGE, range)))
    {
        if let Ok(value) = HeaderValue::from_str(&value) {
            set.insert(name, value);
        }
    }
    Ok(response)
}

fn manifest_part(release: &Release) -> ReleasePart {
    ReleasePart {
        name: bundle::MANIFEST_FILE.to_owned(),
        kind: bundle::PartKind::Provenance,
        media_type: bundle::MEDIA_TYPE.to_owned(),
        digest: release.manifest.clone(),
        size: release.manifest_size,
        job: None,
        path: None,
    }
}

pub(crate) fn unsatisfiable(size: u64) -> Response {
    let problem = Problem::new(
        416,
        "bad_range",
        format!("The part has {size} bytes, none of them in the range asked for."),
    )
    .next("Ask for a range that begins within it, or for all of it.");
    let mut response = Failure::from(problem).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

/// Always a download, never shown: an artifact may hold a page with scripts.
fn disposition(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    let plain: String = file
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && !matches!(c, '"' | '\\') {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!(
        "attachment; filename=\"{plain}\"; filename*=UTF-8''{}",
        bascule_web::url_encode(file)
    )
}

/// The public keys by which signatures are checked, also by those who have no account here: this instance's own,
/// then those of instances whose releases came here in bundles.
#[utoipa::path(get, path = "/api/v1/keys", tag = "releases", responses((status = 200, body = InstanceKeys)))]
async fn keys(State(releases): State<Releases>) -> Answer<Json<InstanceKeys>> {
    let keys = releases.keys().await?;
    Ok(Json(InstanceKeys {
        keys: keys
            .iter()
            .map(|key| InstanceKeyInfo {
                id: key.id().to_owned(),
                algorithm: "ed25519".to_owned(),
                pem: key.to_pem(),
            })
            .collect(),
    }))
}

pub(super) async fn find(releases: &Releases, project: ProjectId, tag: &str) -> Result<Release, Problem> {
    releases
        .release_by_version(project, tag)
        .await?
        .ok_or_else(|| Problem::not_found("release"))
}

impl From<&Release> for ReleaseSummary {
    fn from(release: &Release) -> Self {
        Self {
            id: release.id,
            tag: release.tag.clone(),
            version: release.version.clone(),
            name: release.name.clone(),
            sha: release.sha.clone(),
            pipeline: release.pipeline,
            origin: release.origin.clone(),
            components: release.components,
            commit_count: release.commit_count,
            at: release.at,
        }
    }
}

fn details(release: &Release, parts: &[ReleasePart]) -> ReleaseDetails {
    ReleaseDetails {
        summary: ReleaseSummary::from(release),
        project: release.project_path.clone(),
        description: release.description.clone(),
        previous: release.previous.clone(),
        manifest: release.manifest.clone(),
        manifest_size: release.manifest_size,
        key_id: release.key_id.clone(),
        lockfiles: release.lockfiles.clone(),
        notes: release.notes.clone(),
        parts: parts
            .iter()
            .map(|part| WirePart {
                name: part.name.clone(),
                kind: part.kind.as_str().to_owned(),
                media_type: part.media_type.clone(),
                digest: part.digest.clone(),
                size: part.size,
                job: part.job.clone(),
                path: part.path.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_cannot_break_out_of_the_header() {
        assert_eq!(
            disposition("files/b/app.tar.gz"),
            "attachment; filename=\"app.tar.gz\"; filename*=UTF-8''app.tar.gz"
        );
        let hostile = disposition("a/\"; x=\"\r\nü");
        assert_eq!(
            hostile,
            "attachment; filename=\"_;_x=____\"; filename*=UTF-8''%22%3B%20x%3D%22%0D%0A%C3%BC"
        );
    }
}
