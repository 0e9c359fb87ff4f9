//! Caches in an object store: a small one that speaks as much of S3 as is asked of it here, or a real one named by
//! `BASCULE_TEST_S3` (`http://key:secret@host:port/bucket`).

use crate::{Bench, job, plain};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::get,
};
use bascule_runner::S3;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

fn signed(query: &HashMap<String, String>) -> bool {
    query
        .get("X-Amz-Signature")
        .is_some_and(|signature| signature.len() == 64)
        && query
            .get("X-Amz-Credential")
            .is_some_and(|who| who.starts_with("key/"))
}

async fn take(
    State(objects): State<Objects>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Bytes, StatusCode> {
    if !signed(&query) {
        return Err(StatusCode::FORBIDDEN);
    }
    objects
        .lock()
        .unwrap()
        .get(&name)
        .cloned()
        .ok_or(StatusCode::NOT_FOUND)
}

async fn put(
    State(objects): State<Objects>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> StatusCode {
    if !signed(&query) {
        return StatusCode::FORBIDDEN;
    }
    objects.lock().unwrap().insert(name, body);
    StatusCode::OK
}

/// The store, and what is in it where it is ours.
async fn store() -> (S3, Objects) {
    let objects = Objects::default();
    let mut store = S3 {
        bucket: "caches".into(),
        region: "us-east-1".into(),
        access_key: "key".into(),
        secret_key: "secret".into(),
        prefix: format!("run-{}", std::process::id()),
        ..S3::default()
    };
    if let Ok(text) = std::env::var("BASCULE_TEST_S3") {
        let url = url::Url::parse(&text).unwrap();
        store.endpoint = format!(
            "{}://{}:{}",
            url.scheme(),
            url.host_str().unwrap(),
            url.port().unwrap()
        );
        store.bucket = url.path().trim_matches('/').to_owned();
        store.access_key = url.username().to_owned();
        store.secret_key = url.password().unwrap_or_default().to_owned();
        return (store, objects);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    store.endpoint = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new()
        .route("/caches/{*name}", get(take).put(put))
        .with_state(Arc::clone(&objects));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (store, objects)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_in_an_object_store_serve_other_runners_by_key_fallback_policy_and_protection() {
    let (store, objects) = store().await;
    let mut first = Bench::new();
    first.start(|c| c.cache_s3 = Some(store.clone())).await;
    let cache = |key: &str, policy: &str, fallback: &[&str]| json!([{"key": key, "paths": ["deps"], "policy": policy, "when": "on_success", "fallback_keys": fallback}]);
    let script = ["cat deps/n 2>/dev/null || echo none; mkdir -p deps; echo $CI_JOB_ID > deps/n"];
    first.push(job(1, &script, json!({"cache": cache("main", "pull-push", &[])})));
    first.fake.result(1).await;
    assert!(
        plain(&first.fake.log(1)).contains("\nnone\n"),
        "{}",
        first.fake.log(1)
    );
    assert!(
        first.fake.log(1).contains("Stored the cache main"),
        "{}",
        first.fake.log(1)
    );
    first.stop().await;

    // Another machine.
    let mut second = Bench::new();
    second.start(|c| c.cache_s3 = Some(store.clone())).await;
    for (id, cache, protected, seen) in [
        (2, cache("branch", "pull", &["none", "main"]), false, "1"),
        // It only took: nothing is stored under its key.
        (3, cache("branch", "pull-push", &[]), false, "none"),
        (4, cache("branch", "push", &[]), false, "none"),
        (5, cache("branch", "pull", &[]), false, "4"),
        // A protected branch does not take what an unprotected one made.
        (6, cache("branch", "pull", &["main"]), true, "none"),
    ] {
        second.push(job(
            id,
            &script,
            json!({"cache": cache, "git_info": {"protected": protected}}),
        ));
        let result = second.fake.result(id).await;
        let log = plain(&second.fake.log(id));
        assert_eq!(result.state.as_str(), "success", "{log}");
        assert!(log.contains(&format!("\n{seen}\n")), "{id}: {log}");
    }
    // A job that failed stores none.
    second.push(job(
        7,
        &["mkdir deps; echo 7 > deps/n; exit 1"],
        json!({"cache": cache("failed", "pull-push", &[])}),
    ));
    second.fake.result(7).await;
    second.push(job(8, &script, json!({"cache": cache("failed", "pull", &[])})));
    second.fake.result(8).await;
    assert!(plain(&second.fake.log(8)).contains("\nnone\n"));
    second.stop().await;
    if std::env::var("BASCULE_TEST_S3").is_err() {
        assert_eq!(objects.lock().unwrap().len(), 2);
        // A store that is away, or knows us not, costs the cache and not the job.
        let mut third = Bench::new();
        third
            .start(|c| {
                c.cache_s3 = Some(S3 {
                    access_key: "other".into(),
                    ..store.clone()
                });
            })
            .await;
        third.push(job(9, &script, json!({"cache": cache("main", "pull-push", &[])})));
        let result = third.fake.result(9).await;
        let log = plain(&third.fake.log(9));
        assert_eq!(result.state.as_str(), "success", "{log}");
        assert!(
            log.contains("could not be restored") && log.contains("was not stored"),
            "{log}"
        );
        third.stop().await;
    }
}
