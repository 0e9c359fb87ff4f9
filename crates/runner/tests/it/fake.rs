//! A small server of the GitLab runner protocol, as strict as the real one about ranges and checksums.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Multipart, Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, patch, post, put},
};
use bascule_wire::runner::{JobUpdate, log_checksum, parse_content_range, stored_range};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

pub const TOKEN: &str = "runner-token";

/// Job, query, file name, content.
pub type Upload = (i64, HashMap<String, String>, String, Vec<u8>);

#[derive(Default)]
pub struct Data {
    pub queue: VecDeque<Value>,
    pub logs: HashMap<i64, Vec<u8>>,
    pub patches: u32,
    pub results: HashMap<i64, JobUpdate>,
    pub status: HashMap<i64, String>,
    pub uploads: Vec<Upload>,
    pub downloads: HashMap<i64, Vec<u8>>,
    /// Answer final updates so many times with 202 first.
    pub not_yet: u32,
    /// Directory of a bare repository served over plain HTTP.
    pub git: Option<PathBuf>,
    /// Caches by key, where the server keeps them; and whether it refuses to.
    pub caches: HashMap<String, Vec<u8>>,
    pub no_caches: bool,
    /// Jobs whose log was said to tell all that the shell does.
    pub debug: HashSet<i64>,
}

#[derive(Clone, Default)]
pub struct Fake {
    data: Arc<Mutex<Data>>,
}

/// A server that is up; dropping it cuts every connection.
pub struct Up {
    pub address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Fake {
    pub fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap()
    }

    pub fn up(&self, address: &str) -> Up {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let routes = Router::new()
            .route("/api/v4/jobs/request", post(request))
            .route("/api/v4/jobs/{id}/trace", patch(trace))
            .route("/api/v4/jobs/{id}", put(update))
            .route("/api/v4/jobs/{id}/artifacts", post(upload).get(download))
            .route("/api/v4/jobs/{id}/cache", get(cached).put(cache))
            .route("/g/p.git/{*path}", get(repository))
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(self.clone());
        let _inside = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Up {
            address,
            runtime: Some(runtime),
        }
    }

    pub fn log(&self, id: i64) -> String {
        String::from_utf8_lossy(self.data().logs.get(&id).map_or(&[], Vec::as_slice)).into_owned()
    }

    pub async fn result(&self, id: i64) -> JobUpdate {
        until(&format!("the result of {id}"), || {
            self.data().results.contains_key(&id)
        })
        .await;
        self.data().results[&id].clone()
    }
}

pub async fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn request(State(fake): State<Fake>, Json(body): Json<Value>) -> Response {
    if body["token"] != TOKEN {
        return (StatusCode::FORBIDDEN, Json(json!({"message": "403 Forbidden"}))).into_response();
    }
    assert!(body["info"]["features"]["refspecs"].as_bool().unwrap());
    for _ in 0..20 {
        if let Some(job) = fake.data().queue.pop_front() {
            return (StatusCode::CREATED, Json(job)).into_response();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    StatusCode::NO_CONTENT.into_response()
}

fn authorized(headers: &HeaderMap, id: i64) -> bool {
    headers.get("job-token").is_some_and(|t| *t == job_token(id))
}

pub fn job_token(id: i64) -> String {
    format!("job-token-{id}")
}

async fn trace(
    State(fake): State<Fake>,
    Path(id): Path<i64>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !authorized(&headers, id) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut data = fake.data();
    if query.get("debug_trace").is_some_and(|word| word == "true") {
        data.debug.insert(id);
    }
    if data.results.contains_key(&id) {
        return StatusCode::FORBIDDEN.into_response();
    }
    data.patches += 1;
    let (start, _) = parse_content_range(headers["content-range"].to_str().unwrap()).unwrap();
    let log = data.logs.entry(id).or_default();
    let status = if start == log.len() as u64 {
        log.extend_from_slice(&body);
        StatusCode::ACCEPTED
    } else {
        StatusCode::RANGE_NOT_SATISFIABLE
    };
    let range = stored_range(log.len() as u64);
    let job_status = data.status.get(&id).cloned().unwrap_or_else(|| "running".into());
    (
        status,
        [
            ("Range", range),
            ("Job-Status", job_status),
            ("X-GitLab-Trace-Update-Interval", "1".into()),
        ],
    )
        .into_response()
}

async fn update(
    State(fake): State<Fake>,
    Path(id): Path<i64>,
    headers: HeaderMap,
    Json(update): Json<JobUpdate>,
) -> Response {
    if !authorized(&headers, id) || update.token != job_token(id) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut data = fake.data();
    if data.results.contains_key(&id) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let job_status = data.status.get(&id).cloned().unwrap_or_else(|| "running".into());
    let status = if update.state.as_str() == "running" {
        StatusCode::OK
    } else if data.not_yet > 0 {
        data.not_yet -= 1;
        StatusCode::ACCEPTED
    } else {
        let log = data.logs.get(&id).cloned().unwrap_or_default();
        let right = update.output.as_ref().is_none_or(|o| {
            o.bytesize == log.len() as u64 && o.checksum == log_checksum(crc32fast::hash(&log))
        });
        if right {
            data.results.insert(id, update);
            StatusCode::OK
        } else {
            StatusCode::PRECONDITION_FAILED
        }
    };
    (status, [("Job-Status", job_status)]).into_response()
}

async fn upload(
    State(fake): State<Fake>,
    Path(id): Path<i64>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Response {
    if !authorized(&headers, id) {
        return StatusCode::FORBIDDEN.into_response();
    }
    while let Some(field) = form.next_field().await.unwrap() {
        assert_eq!(field.name(), Some("file"));
        let name = field.file_name().unwrap().to_owned();
        let bytes = field.bytes().await.unwrap();
        if name == "faulty.gz" {
            let refused = json!({"code": "bad_dotenv", "message": "The dotenv report cannot be read."});
            return (StatusCode::BAD_REQUEST, Json(refused)).into_response();
        }
        fake.data()
            .uploads
            .push((id, query.clone(), name, bytes.to_vec()));
    }
    (StatusCode::CREATED, Json(json!({}))).into_response()
}

async fn download(State(fake): State<Fake>, Path(id): Path<i64>, headers: HeaderMap) -> Response {
    if !authorized(&headers, id) {
        return StatusCode::FORBIDDEN.into_response();
    }
    match fake.data().downloads.get(&id) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn cached(
    State(fake): State<Fake>,
    Path(id): Path<i64>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let data = fake.data();
    if !authorized(&headers, id) || data.no_caches {
        return StatusCode::FORBIDDEN.into_response();
    }
    match data.caches.get(&query["key"]) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn cache(
    State(fake): State<Fake>,
    Path(id): Path<i64>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut data = fake.data();
    if !authorized(&headers, id) || data.no_caches {
        return StatusCode::FORBIDDEN.into_response();
    }
    data.caches.insert(query["key"].clone(), body.to_vec());
    StatusCode::CREATED.into_response()
}

/// Git's plain file protocol, with a password.
async fn repository(State(fake): State<Fake>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    // gitlab-ci-token:git-password
    let right = "Basic Z2l0bGFiLWNpLXRva2VuOmdpdC1wYXNzd29yZA==";
    if headers.get("authorization").is_none_or(|a| a != right) {
        return (
            StatusCode::UNAUTHORIZED,
            [("WWW-Authenticate", "Basic realm=git")],
        )
            .into_response();
    }
    let file = fake.data().git.clone().unwrap().join(path);
    match std::fs::read(file) {
        Ok(bytes) => bytes.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}
