//! The JSON API of bundles. Files are streamed, both ways.

use super::Carry;
use axum::{
    Json,
    body::Body as RawBody,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, PathOf, Routes, Who, routes};
use bascule_wire::bundle::{
    BundleExport, BundleImport, BundleKey, CarriedSite, GatheredSet, NewBundleExport, NewBundleKey,
    NewBundleReport,
};
use futures::TryStreamExt as _;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::io;

pub(super) fn routes() -> Routes<Carry> {
    let manage = Access::Instance(Permission::InstanceManage);
    let read = Access::Instance(Permission::InstanceRead);
    Routes::new()
        .api(read, routes!(keys))
        .api(manage, routes!(believe))
        .api(manage, routes!(doubt))
        .api(manage, routes!(export))
        .api(manage, routes!(report))
        .api(manage, routes!(fetch))
        .api(manage, routes!(import))
        .api(read, routes!(sites))
        .api(read, routes!(gathered))
}

/// The keys of other instances that are believed.
#[utoipa::path(
    get, path = "/api/v1/bundles/keys", tag = "bundles", responses((status = 200, body = Vec<BundleKey>))
)]
async fn keys(State(carry): State<Carry>) -> Answer<Json<Vec<BundleKey>>> {
    Ok(Json(carry.keys().await?))
}

/// Believe a hub's bundles, or a site's reports, by a key that came another way than with them.
#[utoipa::path(
    post, path = "/api/v1/bundles/keys", tag = "bundles", request_body = NewBundleKey,
    responses((status = 200, body = BundleKey), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn believe(
    State(carry): State<Carry>,
    who: Who,
    Body(new): Body<NewBundleKey>,
) -> Answer<Json<BundleKey>> {
    Ok(Json(carry.believe(&who.actor, &new).await?))
}

/// Believe a key no longer.
#[utoipa::path(
    delete, path = "/api/v1/bundles/keys/{id}", tag = "bundles", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem))
)]
async fn doubt(State(carry): State<Carry>, who: Who, PathOf(id): PathOf<String>) -> Answer<StatusCode> {
    carry.doubt(&who.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a bundle for a site that no network reaches; its files are then fetched one by one.
#[utoipa::path(
    post, path = "/api/v1/bundles/exports", tag = "bundles", request_body = NewBundleExport,
    responses((status = 200, body = BundleExport), (status = 404, body = Problem), (status = 409, body = Problem))
)]
async fn export(
    State(carry): State<Carry>,
    who: Who,
    Body(wanted): Body<NewBundleExport>,
) -> Answer<Json<BundleExport>> {
    Ok(Json(Box::pin(carry.export(&who.actor, &wanted)).await?))
}

/// Make a report for this site's hub; its files are then fetched one by one.
#[utoipa::path(
    post, path = "/api/v1/bundles/reports", tag = "bundles", request_body = NewBundleReport,
    responses((status = 200, body = BundleExport), (status = 409, body = Problem))
)]
async fn report(
    State(carry): State<Carry>,
    who: Who,
    Body(wanted): Body<NewBundleReport>,
) -> Answer<Json<BundleExport>> {
    Ok(Json(carry.report(&who.actor, &wanted).await?))
}

#[derive(Deserialize)]
struct FilePath {
    way: String,
    site: String,
    sequence: i64,
    chunk: u32,
}

/// One file of a bundle or report that was made. The same bytes each time.
#[utoipa::path(
    get, path = "/api/v1/bundles/files/{way}/{site}/{sequence}/{chunk}", tag = "bundles",
    params(
        ("way" = String, Path, description = "`to` a site, or `from` this one"),
        ("site" = String, Path), ("sequence" = i64, Path), ("chunk" = u32, Path, description = "From 1 on"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "application/x-tar"),
        (status = 404, body = Problem)
    )
)]
async fn fetch(State(carry): State<Carry>, PathOf(path): PathOf<FilePath>) -> Answer<Response> {
    let file = carry
        .fetch(&path.way, &path.site, path.sequence, path.chunk)
        .await?;
    let mut response = RawBody::from_stream(file.bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-tar"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.size));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", file.name)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Take a file of a bundle or report: the body is the file. Files may come in any order and more than once; what is
/// ready by it is applied before this answers.
#[utoipa::path(
    post, path = "/api/v1/bundles/imports", tag = "bundles",
    request_body(content = String, content_type = "application/x-tar", description = "The file"),
    responses(
        (status = 200, body = BundleImport), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 507, body = Problem)
    )
)]
async fn import(State(carry): State<Carry>, who: Who, request: Request) -> Answer<Json<BundleImport>> {
    let bytes = request.into_body().into_data_stream().map_err(io::Error::other);
    Ok(Json(carry.import(&who.actor, bytes).await?))
}

/// The sites that no network reaches: what was made for them, and what they told of themselves.
#[utoipa::path(
    get, path = "/api/v1/bundles/sites", tag = "bundles", responses((status = 200, body = Vec<CarriedSite>))
)]
async fn sites(State(carry): State<Carry>) -> Answer<Json<Vec<CarriedSite>>> {
    Ok(Json(carry.sites().await?))
}

/// What is being gathered here: sets of which files are missing, or that wait for another.
#[utoipa::path(
    get, path = "/api/v1/bundles/gathered", tag = "bundles",
    responses((status = 200, body = Vec<GatheredSet>), (status = 409, body = Problem))
)]
async fn gathered(State(carry): State<Carry>) -> Answer<Json<Vec<GatheredSet>>> {
    Ok(Json(carry.gathered().await?))
}
