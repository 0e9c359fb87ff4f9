//! Files that jobs leave come in: only what the job declares, and only as much as leaves room for others.

use super::protocol::{header_of, job_of};
use crate::{
    Ci,
    job::{Job, artifact::Upload},
    retention::store::note_one,
};
use axum::{
    Json,
    extract::{Multipart, State, multipart::Field},
    response::{IntoResponse, Response},
};
use bascule_core::{Problem, Result, limits};
use bascule_store::{BlobWriter, Space};
use bascule_web::{Answer, Params, PathOf};
use bascule_wire::runner as wire;
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;

/// Time that the rest of a refused upload is listened to.
const REST: Duration = Duration::from_secs(60);
/// Bytes of an upload between two looks at the disk.
const LOOK: u64 = 64 * 1024 * 1024;
/// Kinds that runners of others send although no job declares them.
const ALWAYS: &[&str] = &[wire::ARTIFACT_ARCHIVE, "metadata", "trace"];
/// Longest field of the form beside the file, in bytes.
const FIELD: usize = 1024;

pub(super) async fn upload(
    State(ci): State<Ci>,
    PathOf(id): PathOf<String>,
    Params(query): Params<wire::ArtifactQuery>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Answer {
    let announced = header_of(&headers, header::CONTENT_LENGTH.as_str())
        .parse::<u64>()
        .unwrap_or(0);
    if announced > limits::ARTIFACT_BYTES + 64 * 1024 {
        return Err(too_large().into());
    }
    let job = match job_of(&ci, &id, header_of(&headers, wire::JOB_TOKEN)).await {
        Ok(job) => job,
        Err(response) => return Ok(response),
    };
    let mut query = query;
    let mut file: Option<(String, BlobWriter)> = None;
    let outcome = take_form(&ci, &job, &mut form, &mut query, &mut file).await;
    let taken = match (outcome, file) {
        (Ok(()), Some((file_name, writer))) => finish(&ci, &job, &query, &file_name, writer).await,
        (Ok(()), None) => Err(Problem::bad_request(
            "no_file",
            "The form has no part named `file`.",
        )),
        (Err(problem), writer) => {
            if let Some((_, writer)) = writer {
                writer.abort().await;
            }
            Err(problem)
        }
    };
    Ok(taken?)
}

/// Reads the form; the file's bytes are written and have no name yet.
async fn take_form(
    ci: &Ci,
    job: &Job,
    form: &mut Multipart,
    query: &mut wire::ArtifactQuery,
    file: &mut Option<(String, BlobWriter)>,
) -> Result<()> {
    while let Some(mut field) = form.next_field().await.map_err(|error| cut(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" && file.is_some() {
            return Err(
                Problem::bad_request("two_files", "The form has two parts named `file`.")
                    .next("Send one file in each request."),
            );
        }
        if name == "file" {
            let taken = take_file(ci, job, query, &mut field, file).await;
            if taken.is_err() {
                // A client that is still sending hears an answer only once it is done.
                drop(tokio::time::timeout(REST, take_the_rest(&mut field)).await);
            }
            taken?;
            continue;
        }
        let mut text = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(|error| cut(&error))? {
            if text.len() + chunk.len() > FIELD {
                return Err(Problem::too_large(format!(
                    "A field of the form is longer than {FIELD} bytes."
                )));
            }
            text.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        match name.as_str() {
            "artifact_format" => {
                query.artifact_format = wire::ArtifactFormat::parse(&text).unwrap_or_default();
            }
            "artifact_type" => query.artifact_type = text,
            "expire_in" => query.expire_in = Some(text),
            _ => {}
        }
    }
    Ok(())
}

async fn take_file(
    ci: &Ci,
    job: &Job,
    query: &wire::ArtifactQuery,
    field: &mut Field<'_>,
    file: &mut Option<(String, BlobWriter)>,
) -> Result<()> {
    // Before anything is written, as far as the request has said it by now.
    if !query.artifact_type.is_empty() {
        declared(job, &query.artifact_type)?;
    }
    let left = ci.upload_room(job.id).await?;
    let file_name = field.file_name().unwrap_or_default().to_owned();
    enough_space(ci)?;
    let writer = ci.blobs.writer(left.min(limits::ARTIFACT_BYTES)).await?;
    let (_, writer) = file.insert((file_name, writer));
    let mut looked = 0;
    while let Some(chunk) = field.chunk().await.map_err(|error| cut(&error))? {
        if let Err(error) = writer.write(&chunk).await {
            let problem = Problem::from(error);
            return Err(match problem.status {
                413 if left < limits::ARTIFACT_BYTES => too_much(),
                413 => too_large(),
                _ => problem,
            });
        }
        if writer.size() >= looked + LOOK {
            looked = writer.size();
            enough_space(ci)?;
        }
    }
    Ok(())
}

/// Gives the file its place.
async fn finish(
    ci: &Ci,
    job: &Job,
    query: &wire::ArtifactQuery,
    file_name: &str,
    writer: BlobWriter,
) -> Result<Response> {
    let kind = match query.artifact_type.as_str() {
        "" => wire::ARTIFACT_ARCHIVE,
        kind => kind,
    };
    if let Err(problem) = declared(job, kind) {
        writer.abort().await;
        return Err(problem);
    }
    let upload = Upload {
        kind,
        format: query.artifact_format,
        file_name,
        expire_in: query.expire_in.as_deref(),
        blob: writer.finish().await?,
    };
    let digest = upload.blob.digest.clone();
    if let Err(problem) = ci.add_artifact(job.id, upload).await {
        note_one(&ci.db, &digest, ci.clock.now()).await?;
        return Err(problem);
    }
    ci.heard_of(job.id).await?;
    Ok((StatusCode::CREATED, Json(serde_json::json!({ "id": job.id }))).into_response())
}

/// Whether the job leaves files of this kind.
fn declared(job: &Job, kind: &str) -> Result<()> {
    let known = ALWAYS.contains(&kind) || job.spec.0.artifacts.iter().any(|one| one.artifact_type == kind);
    if known {
        return Ok(());
    }
    Err(
        Problem::bad_request("bad_type", "The job declares no artifact of this type.")
            .why("Only what the CI file names is kept, so that one job cannot fill the disk for all.")
            .next("Name the report under `artifacts:reports`."),
    )
}

/// Refuses an upload before the disk is so full that the platform itself could not write any more.
pub(crate) fn enough_space(ci: &Ci) -> Result<()> {
    match ci.blobs.space() {
        Some(space) if space.free < reserve(space) => {
            tracing::error!(free = space.free, "the disk is nearly full; uploads are refused");
            Err(Problem::new(
                507,
                "storage_full",
                "The server's disk is nearly full; nothing was stored.",
            )
            .why("What is left is for the platform's own records, which all work needs.")
            .next("Ask an administrator to free or add space, then send it again."))
        }
        _ => Ok(()),
    }
}

/// What uploads leave free: a fiftieth of the disk, but no less than pushes leave and no more than 2 GiB.
fn reserve(space: Space) -> u64 {
    (space.total / 50).clamp(64 << 20, 2 << 30)
}

/// Takes in what still comes of a refused upload and keeps none of it.
async fn take_the_rest(field: &mut Field<'_>) {
    let mut left = limits::ARTIFACT_BYTES;
    while let Ok(Some(chunk)) = field.chunk().await {
        let Some(rest) = left.checked_sub(chunk.len() as u64) else {
            return;
        };
        left = rest;
    }
}

fn too_large() -> Problem {
    Problem::too_large(format!(
        "The artifact is larger than {} bytes.",
        limits::ARTIFACT_BYTES
    ))
    .why("Every upload has a limit, so that one cannot fill the disk for all.")
    .next("Keep fewer files: narrow `artifacts:paths`.")
}

/// All uploads of a job together.
pub(crate) fn too_much() -> Problem {
    Problem::too_large(format!(
        "What this job uploads is more than {} bytes in all.",
        limits::JOB_UPLOADS_BYTES
    ))
    .why("A job's uploads have a limit, so that one cannot fill the disk for all.")
    .next("Keep fewer files: narrow `artifacts:paths`.")
}

fn cut(error: &axum::extract::multipart::MultipartError) -> Problem {
    Problem::bad_request("bad_form", format!("The upload cannot be read: {error}.")).next("Send it again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_a_part_of_the_disk_within_bounds() {
        for (total, left) in [(192 << 20, 64 << 20), (50 << 30, 1 << 30), (8 << 40, 2 << 30)] {
            assert_eq!(reserve(Space { free: 0, total }), left);
        }
    }
}
