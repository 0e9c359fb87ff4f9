//! The server side of GitLab's runner protocol, under `/api/v4`.

use super::{Runner, request::Can, upload::upload};
use crate::{
    Change, Ci,
    job::{self, Failure, Job, Outcome, log::Appended, runner_actor},
    signals::LogMemory,
    status::JobStatus,
};
use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::{get, patch, post, put},
};
use bascule_core::{JobId, Problem, Result, limits};
use bascule_web::{Access, Answer, Body, Failure as Refusal, MachineKind, Params, PathOf, Routes};
use bascule_wire::runner as wire;
use bytes::BytesMut;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;

/// Largest piece of a log in one request.
const PATCH_BYTES: usize = 8 * 1024 * 1024;
/// Seconds between pieces of a log while someone watches, and otherwise.
const WATCHED: u64 = 1;
const UNWATCHED: u64 = 3;
/// Time within which some more of a piece of log comes.
const PART_WITHIN: Duration = Duration::from_secs(5);
/// Memory that a piece of log is given before it is known to come whole, in bytes.
const FIRST_BYTES: usize = 64 * 1024;
/// Time within which a piece of log comes whole.
const PIECE_WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn routes() -> Routes<Ci> {
    let access = Access::Machine(MachineKind::Runner);
    let upload = post(upload).layer(DefaultBodyLimit::disable()).get(download);
    Routes::new()
        .page(
            "POST,DELETE",
            "/api/v4/runners",
            access,
            post(register).delete(unregister),
        )
        .page(
            "DELETE",
            "/api/v4/runners/managers",
            access,
            axum::routing::delete(unregister_manager),
        )
        .page("POST", "/api/v4/runners/verify", access, post(verify))
        .page(
            "POST",
            "/api/v4/runners/reset_authentication_token",
            access,
            post(reset_token),
        )
        .page("GET", "/api/v4/runners/router/discovery", access, get(discovery))
        .page("POST", "/api/v4/jobs/request", access, post(request))
        .page("PUT", "/api/v4/jobs/{id}", access, put(update))
        .page(
            "PATCH",
            "/api/v4/jobs/{id}/trace",
            access,
            patch(trace).layer(DefaultBodyLimit::disable()),
        )
        .page("POST,GET", "/api/v4/jobs/{id}/artifacts", access, upload)
        // Not GitLab's: caches of runners that have no store of their own.
        .page(
            "GET,PUT",
            "/api/v4/jobs/{id}/cache",
            access,
            get(give_cache).put(take_cache).layer(DefaultBodyLimit::disable()),
        )
}

pub(super) fn header_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// A token from its header, or else from the body.
fn either<'a>(headers: &'a HeaderMap, name: &str, body: &'a str) -> &'a str {
    let header = header_of(headers, name);
    if header.is_empty() { body } else { header }
}

fn registered(status: StatusCode, runner: &Runner, token: &str) -> Response {
    let body = wire::RegisterResponse {
        id: runner.number,
        token: token.to_owned(),
        token_expires_at: None,
    };
    (status, Json(body)).into_response()
}

async fn register(State(ci): State<Ci>, Body(request): Body<wire::RegisterRequest>) -> Answer {
    let (runner, token) = ci.register_runner(request).await?;
    Ok(registered(StatusCode::CREATED, &runner, &token))
}

async fn verify(
    State(ci): State<Ci>,
    headers: HeaderMap,
    Body(request): Body<wire::VerifyRequest>,
) -> Answer {
    let token = either(&headers, wire::RUNNER_TOKEN, &request.token);
    let runner = ci.runner_of(token).await?;
    ci.runner_contacted(&runner, &request.info).await?;
    Ok(registered(StatusCode::OK, &runner, token))
}

async fn unregister(
    State(ci): State<Ci>,
    headers: HeaderMap,
    Body(request): Body<wire::VerifyRequest>,
) -> Answer {
    let runner = ci
        .runner_of(either(&headers, wire::RUNNER_TOKEN, &request.token))
        .await?;
    let actor = runner_actor(runner.id, &runner.description);
    ci.delete_runner(runner.id, &actor).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// One machine of a runner goes; the runner stays.
async fn unregister_manager(
    State(ci): State<Ci>,
    headers: HeaderMap,
    Body(request): Body<wire::VerifyRequest>,
) -> Answer {
    ci.runner_of(either(&headers, wire::RUNNER_TOKEN, &request.token))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn reset_token(
    State(ci): State<Ci>,
    headers: HeaderMap,
    Body(request): Body<wire::VerifyRequest>,
) -> Answer {
    let runner = ci
        .runner_of(either(&headers, wire::RUNNER_TOKEN, &request.token))
        .await?;
    let token = ci.renew_token(&runner).await?;
    Ok(registered(StatusCode::CREATED, &runner, &token))
}

async fn discovery() -> Answer {
    Err(Problem::new(501, "not_served", "There is no job router here.").into())
}

/// Long poll. A client that does not want to hang says so with `Prefer: wait=0` (RFC 7240).
async fn request(State(ci): State<Ci>, headers: HeaderMap, Body(request): Body<wire::JobRequest>) -> Answer {
    let runner = ci
        .runner_of(either(&headers, wire::RUNNER_TOKEN, &request.token))
        .await?;
    ci.runner_contacted(&runner, &request.info).await?;
    let preferred = header_of(&headers, "prefer")
        .split(',')
        .find_map(|part| part.trim().strip_prefix("wait="));
    let wait = preferred
        .and_then(|seconds| seconds.parse().ok())
        .map_or(limits::LONG_POLL, Duration::from_secs)
        .min(limits::LONG_POLL);
    let before = ci.signals.ticket(ci.signals.generation());
    let can = Can::of(&request.info);
    match ci.request_job(&runner, can, &request.last_update, wait).await? {
        Some(job) => Ok((StatusCode::CREATED, Json(job)).into_response()),
        None => Ok((StatusCode::NO_CONTENT, [(wire::LAST_UPDATE, before)]).into_response()),
    }
}

/// The job whose runner shows its token, running or offered; otherwise a refusal that tells the runner how the job stands.
pub(super) async fn job_of(ci: &Ci, id: &str, token: &str) -> std::result::Result<Job, Response> {
    let gone = |problem: Problem| Refusal::from(problem).into_response();
    let id: JobId = id.parse().map_err(|_| gone(Problem::not_found("job")))?;
    match ci.job_by_runners_token(token).await {
        Ok(Some(job)) if job.id == id => return Ok(job),
        Ok(_) => {}
        Err(problem) => return Err(gone(problem)),
    }
    let problem = Problem::new(
        403,
        "job_not_running",
        "This job is not running, or the token is not its own.",
    )
    .why("A job's token ends with the job; and the one that its script sees reports nothing, so that no script passes its own gate.");
    let mut response = gone(problem);
    if ci.was_token(id, token).await.unwrap_or_default()
        && let Ok(Some(job)) = job::store::find(&ci.db, id).await
        && job.status.is_final()
        && let Ok(value) = http::HeaderValue::from_str(job.status.as_str())
    {
        response.headers_mut().insert(wire::JOB_STATUS, value);
    }
    Err(response)
}

async fn update(
    State(ci): State<Ci>,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    Body(update): Body<wire::JobUpdate>,
) -> Answer {
    let job = match job_of(&ci, &id, either(&headers, wire::JOB_TOKEN, &update.token)).await {
        Ok(job) => job,
        Err(response) => {
            let token = either(&headers, wire::JOB_TOKEN, &update.token);
            return offer_ended(&ci, &id, token, update.state, response).await;
        }
    };
    // Also a runner that ends what it never said that it runs has taken the offer.
    if job.status == JobStatus::Pending && update.state != wire::JobState::Pending {
        ci.accept_job(&job).await?;
    }
    let outcome = match update.state {
        wire::JobState::Pending | wire::JobState::Running => {
            ci.heard_of(job.id).await?;
            let now = match job.status {
                JobStatus::Pending if update.state == wire::JobState::Running => JobStatus::Running,
                other => other,
            };
            return Ok(stands(StatusCode::OK, now, &ci, job.id));
        }
        wire::JobState::Success => Outcome::Success,
        wire::JobState::Failed => Outcome::Failed(Failure {
            reason: update
                .failure_reason
                .unwrap_or(wire::FailureReason::UnknownFailure)
                .to_string(),
            exit_code: update.exit_code.map(i64::from),
        }),
    };
    if !ci.log_is_whole(&job, &update).await? {
        return Ok(stands(StatusCode::PRECONDITION_FAILED, job.status, &ci, job.id));
    }
    let status = match (&outcome, job.status) {
        (_, JobStatus::Canceling) => JobStatus::Canceled,
        (Outcome::Success, _) => JobStatus::Success,
        (Outcome::Failed(_), _) => JobStatus::Failed,
    };
    let actor = match job.runner_id {
        Some(id) => {
            let name = super::store::find(&ci.db, id)
                .await?
                .map(|runner| runner.description);
            runner_actor(id, &name.unwrap_or_else(|| "runner".to_owned()))
        }
        None => bascule_core::Actor::system(),
    };
    ci.end_job(job.id, outcome, &actor).await?;
    Ok(stands(StatusCode::OK, status, &ci, job.id))
}

/// A runner speaks of a job that it was offered and that went back to the queue meanwhile: 409 says so, where 403 would
/// mean that its token is wrong.
async fn offer_ended(ci: &Ci, id: &str, token: &str, state: wire::JobState, refusal: Response) -> Answer {
    let speaks_of_offer = matches!(state, wire::JobState::Pending | wire::JobState::Running);
    if speaks_of_offer
        && let Ok(id) = id.parse::<JobId>()
        && ci.was_token(id, token).await?
        && job::store::find(&ci.db, id)
            .await?
            .is_some_and(|job| job.status == JobStatus::Pending)
    {
        return Err(
            Problem::conflict("offer_ended", "The job is not offered to this runner any more.")
                .why("An offer that is not taken goes back to the queue.")
                .next("Ask for another job.")
                .into(),
        );
    }
    Ok(refusal)
}

fn stands(code: StatusCode, status: JobStatus, ci: &Ci, job: JobId) -> Response {
    let seconds = if ci.signals.is_watched(job) {
        WATCHED
    } else {
        UNWATCHED
    };
    let headers = [
        (wire::JOB_STATUS, status.to_string()),
        (wire::TRACE_UPDATE_INTERVAL, seconds.to_string()),
    ];
    (code, headers, Json(serde_json::json!({}))).into_response()
}

async fn trace(
    State(ci): State<Ci>,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Answer {
    let job = match job_of(&ci, &id, header_of(&headers, wire::JOB_TOKEN)).await {
        Ok(job) => job,
        Err(response) => return Ok(response),
    };
    let range = header_of(&headers, header::CONTENT_RANGE.as_str());
    let Some((start, _)) = wire::parse_content_range(range) else {
        return Err(
            Problem::bad_request("no_range", "The piece of log does not say where it belongs.")
                .next("Send `Content-Range: first-last`.")
                .into(),
        );
    };
    // One at a time, so that a job that calls here by itself takes no memory from others.
    let Some(_writing) = ci.signals.writes(job.id) else {
        return Err(Problem::new(
            429,
            "one_at_a_time",
            "A piece of this job's log is being sent already.",
        )
        .next("Send one piece after the other.")
        .into());
    };
    let (_held, piece) = read_piece(&ci, &job, &headers, body).await?;
    let now = ci.clock.now();
    let (code, stored) = match job::log::append(&ci.db, &ci.blobs, job.id, start, piece, now).await? {
        Appended::Stored(stored) => (StatusCode::ACCEPTED, stored),
        Appended::Gap(stored) => (StatusCode::RANGE_NOT_SATISFIABLE, stored),
        Appended::TooLong => {
            let words = format!(
                "the log is longer than {} bytes; the job was ended",
                limits::TRACE_BYTES
            );
            ci.fail_by_platform(&job, "trace_size_exceeded", &words).await?;
            return Err(Problem::new(403, "log_too_long", words).into());
        }
    };
    ci.signals.changed(Change::Job(job.id));
    let mut response = stands(code, job.status, &ci, job.id);
    if let Ok(value) = http::HeaderValue::from_str(&wire::stored_range(stored)) {
        response.headers_mut().insert(header::RANGE, value);
    }
    Ok(response)
}

/// Reads a piece of log. Memory for it is taken once its first bytes are there, so that who sends nothing takes none; all
/// pieces together never hold more than [`limits::TRACE_MEMORY`], however many jobs write at once.
async fn read_piece(
    ci: &Ci,
    job: &Job,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<(LogMemory, Bytes)> {
    let announced = header_of(headers, header::CONTENT_LENGTH.as_str())
        .parse::<usize>()
        .unwrap_or(PATCH_BYTES);
    if announced > PATCH_BYTES {
        return Err(piece_too_large());
    }
    let mut body = body.into_data_stream();
    let first = next_part(&mut body).await?.unwrap_or_default();
    let held = if let Some(held) = ci.signals.memory_at_once(job.project_id, announced) {
        held
    } else {
        // However long it waits, the runner was heard.
        ci.heard_of(job.id).await?;
        ci.signals.memory_for_log(job.project_id, announced).await?
    };
    let read = async {
        if first.len() > announced {
            return Err(piece_too_large());
        }
        let mut piece = BytesMut::with_capacity(announced.min(FIRST_BYTES));
        piece.extend_from_slice(&first);
        while let Some(part) = next_part(&mut body).await? {
            if piece.len() + part.len() > announced {
                return Err(piece_too_large());
            }
            piece.extend_from_slice(&part);
        }
        Ok(piece.freeze())
    };
    let piece = tokio::time::timeout(PIECE_WITHIN, read)
        .await
        .map_err(|_| too_slow())?;
    Ok((held, piece?))
}

/// The next bytes of a piece, which must not be long in coming.
async fn next_part(body: &mut axum::body::BodyDataStream) -> Result<Option<Bytes>> {
    match tokio::time::timeout(PART_WITHIN, body.next()).await {
        Ok(Some(Ok(part))) => Ok(Some(part)),
        Ok(Some(Err(_))) => {
            Err(Problem::bad_request("cut", "The piece of log ended early.").next("Send it again."))
        }
        Ok(None) => Ok(None),
        Err(_) => Err(too_slow()),
    }
}

fn piece_too_large() -> Problem {
    Problem::too_large(format!("The piece of log is larger than {PATCH_BYTES} bytes."))
        .next("Send the log in smaller pieces.")
}

fn too_slow() -> Problem {
    Problem::new(408, "too_slow", "The piece of log did not come whole in time.").next("Send it again.")
}

async fn download(State(ci): State<Ci>, PathOf(id): PathOf<String>, headers: HeaderMap) -> Answer {
    let id: JobId = id.parse().map_err(|_| Problem::not_found("artifact"))?;
    let token = header_of(&headers, wire::JOB_TOKEN);
    let job = ci.job_by_token(token).await?;
    let Some(job) = job.filter(|job| job.status != JobStatus::Pending) else {
        return Err(Problem::new(401, "bad_job_token", "This job token is not valid.").into());
    };
    if !ci.may_download(&job, id).await? {
        return Err(Problem::not_found("artifact").into());
    }
    ci.serve_artifact(id, wire::ARTIFACT_ARCHIVE).await
}

/// Which cache is meant.
#[derive(Debug, Default, serde::Deserialize)]
struct CacheQuery {
    #[serde(default)]
    key: String,
}

async fn give_cache(
    State(ci): State<Ci>,
    PathOf(id): PathOf<String>,
    Params(query): Params<CacheQuery>,
    headers: HeaderMap,
) -> Answer {
    match job_of(&ci, &id, header_of(&headers, wire::JOB_TOKEN)).await {
        Ok(job) => ci.serve_cache(&job, &query.key).await,
        Err(response) => Ok(response),
    }
}

async fn take_cache(
    State(ci): State<Ci>,
    PathOf(id): PathOf<String>,
    Params(query): Params<CacheQuery>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Answer {
    match job_of(&ci, &id, header_of(&headers, wire::JOB_TOKEN)).await {
        Ok(job) => ci.take_cache(&job, &query.key, &headers, body).await,
        Err(response) => Ok(response),
    }
}
