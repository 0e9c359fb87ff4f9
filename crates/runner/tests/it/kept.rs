//! What is kept from job to job: caches at the server, volumes of containers; and what ends with the runner.

use crate::{
    Bench,
    fake::until,
    job, plain,
    podman::{IMAGE, podman, sh},
};
use axum::response::IntoResponse as _;
use bascule_wire::runner::FailureReason;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_caches_serves_them_to_every_runner() {
    let mut first = Bench::new();
    first.start(|_| {}).await;
    let script = ["cat deps/n 2>/dev/null || echo none; mkdir -p deps; echo $CI_JOB_ID > deps/n"];
    let cache = |policy: &str, fallback: &[&str]| {
        json!({
            "features": {"server_cache": true},
            "cache": [{"key": "main/$CI_JOB_NAME", "paths": ["deps"], "policy": policy, "when": "on_success", "fallback_keys": fallback}],
        })
    };
    first.push(job(1, &script, cache("pull-push", &["none"])));
    first.fake.result(1).await;
    let log = plain(&first.fake.log(1));
    assert!(
        log.contains("\nnone\n") && log.contains("Stored the cache main/test"),
        "{log}"
    );
    assert_eq!(first.fake.data().caches.len(), 1);
    assert!(first.fake.data().caches.contains_key("main/test"));
    // Another machine has nothing of it, and asks the server.
    let mut second = Bench::new();
    second.fake.data().caches = first.fake.data().caches.clone();
    second.start(|_| {}).await;
    second.push(job(2, &script, cache("pull", &[])));
    second.fake.result(2).await;
    assert!(
        plain(&second.fake.log(2)).contains("\n1\n"),
        "{}",
        second.fake.log(2)
    );
    // A server that refuses one costs the cache and not the job.
    second.fake.data().caches.clear();
    second.fake.data().no_caches = true;
    second.push(job(3, &script, cache("pull-push", &[])));
    let result = second.fake.result(3).await;
    let log = plain(&second.fake.log(3));
    assert_eq!(result.state.as_str(), "success", "{log}");
    assert!(
        log.contains("could not be restored") && log.contains("was not stored"),
        "{log}"
    );
    first.stop().await;
    second.stop().await;
    // One that is set to keep them itself does.
    let mut third = Bench::new();
    third.start(|c| c.cache_at_server = false).await;
    third.push(job(4, &script, cache("pull-push", &[])));
    third.fake.result(4).await;
    assert!(third.fake.data().caches.is_empty());
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_volumes_of_the_runner_s_configuration_are_kept_and_bounded() {
    if !podman() {
        return;
    }
    let name = format!("bascule-test-{}", std::process::id());
    let mut bench = Bench::new();
    let shared = bench.dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("tool"), "a tool\n").unwrap();
    let volumes = vec![
        format!("{name}:/named"),
        format!("{}:/opt/tools:ro", shared.display()),
        "/kept".to_owned(),
    ];
    bench.start(|c| c.podman.volumes = volumes).await;
    let script = [
        "cat /opt/tools/tool; (echo x > /opt/tools/y) 2>/dev/null || echo kept whole",
        "cat /named/n /kept/n 2>/dev/null || echo none; echo $CI_JOB_ID > /named/n; echo $CI_JOB_ID > /kept/n",
    ];
    let of = |project: i64, protected: bool| {
        json!({
            "image": {"name": IMAGE}, "git_info": {"protected": protected},
            "job_info": {"name": "test", "stage": "test", "project_full_path": "g/p", "project_id": project},
        })
    };
    // What is named is for all; what has no name is the project's own, and protected branches' apart.
    for (id, more, seen) in [
        (1, of(7, false), "\nnone\n"),
        (2, of(7, false), "\n1\n1\n"),
        (3, of(8, false), "\n2\nnone\n"),
        (4, of(7, true), "\n3\nnone\n"),
        (5, of(7, false), "\n4\n2\n"),
    ] {
        bench.push(job(id, &script, more));
        let result = bench.fake.result(id).await;
        let log = plain(&bench.fake.log(id));
        assert_eq!(result.state.as_str(), "success", "{log}");
        assert!(
            log.contains("\na tool\nkept whole\n") && log.contains(seen),
            "{id}: {log}"
        );
    }
    bench.stop().await;
    sh(&format!(
        "podman volume rm {name} >/dev/null; podman volume ls -q | grep '^bascule-cache-' | xargs -r podman volume rm >/dev/null"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_drains_ends_no_job_that_ends_in_time_and_takes_no_other() {
    let mut bench = Bench::new();
    bench
        .start(|c| {
            c.drain_grace = Duration::from_secs(30);
            c.concurrency = 3;
        })
        .await;
    for id in [1, 2] {
        bench.push(job(
            id,
            &["echo begun; until [ -e /tmp/enough ]; do sleep 0.1; [ $((n=n+1)) -lt 15 ] || break; done; echo made > out"],
            json!({
                "artifacts": [{"paths": ["out"], "when": "always", "artifact_type": "archive", "artifact_format": "zip"}],
            }),
        ));
    }
    until("both at once", || {
        [1, 2].iter().all(|id| bench.fake.log(*id).contains("\nbegun"))
    })
    .await;
    bench.cancel.cancel();
    // One that is queued a little later than the runner was told.
    tokio::task::yield_now().await;
    let began = std::time::Instant::now();
    bench.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it waits for jobs, not for its grace"
    );
    bench.push(job(3, &["true"], json!({})));
    let data = bench.fake.data();
    for id in [1, 2] {
        assert_eq!(data.results[&id].state.as_str(), "success");
    }
    assert_eq!(data.uploads.len(), 2, "what they made is kept");
    assert_eq!(data.queue.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debug_trace_tells_each_command_says_so_and_keeps_secrets() {
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    let more = json!({"variables": [
        {"key": "CI_DEBUG_TRACE", "value": "true", "public": true},
        {"key": "SECRET", "value": "s3cret-value!", "masked": true},
    ]});
    bench.push(job(1, &["A=1; test \"$SECRET\" != \"$A\"", "false"], more));
    let result = bench.fake.result(1).await;
    assert_eq!(result.failure_reason, Some(FailureReason::ScriptFailure));
    let log = plain(&bench.fake.log(1));
    assert!(
        log.contains("+ A=1\n") && log.contains("+ test '[MASKED]' '!=' 1\n"),
        "{log}"
    );
    assert!(!bench.fake.log(1).contains("s3cret"), "{log}");
    assert!(
        bench.fake.data().debug.contains(&1),
        "the server is told, who shows it to fewer people"
    );
    bench.push(job(2, &["true"], json!({})));
    bench.fake.result(2).await;
    assert!(!bench.fake.data().debug.contains(&2) && !bench.fake.log(2).contains("+ true"));
    bench.stop().await;
}

/// A registry of one image, as files of its layout; and what it was asked.
async fn registry(layout: &std::path::Path) -> (u16, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (root, told) = (layout.to_owned(), Arc::clone(&asked));
    let serve = move |request: axum::extract::Request| {
        let path = request.uri().path().trim_start_matches("/v2/").to_owned();
        told.lock().unwrap().push(path.clone());
        let blob = |digest: &str| {
            std::fs::read(
                root.join("blobs/sha256")
                    .join(digest.trim_start_matches("sha256:")),
            )
            .ok()
        };
        let index: Value = serde_json::from_slice(&std::fs::read(root.join("index.json")).unwrap()).unwrap();
        let manifest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let found = match path.rsplit_once('/') {
            Some(("tools/thing/manifests", _)) => blob(&manifest).map(|bytes| (manifest.clone(), bytes)),
            Some(("tools/thing/blobs", digest)) => blob(digest).map(|bytes| (digest.to_owned(), bytes)),
            _ => None,
        };
        async move {
            match found {
                _ if path.is_empty() => axum::http::StatusCode::OK.into_response(),
                Some((digest, bytes)) => {
                    let media = "application/vnd.oci.image.manifest.v1+json".to_owned();
                    (
                        [("content-type", media), ("docker-content-digest", digest)],
                        bytes,
                    )
                        .into_response()
                }
                None => axum::http::StatusCode::NOT_FOUND.into_response(),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let routes = axum::Router::new().fallback(serve);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (port, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_images_come_from_the_mirror_of_their_registry() {
    if !podman() {
        return;
    }
    let layout = tempfile::tempdir().unwrap();
    sh(&format!(
        "skopeo copy -q containers-storage:{IMAGE} oci:{}",
        layout.path().display()
    ));
    let (port, asked) = registry(layout.path()).await;
    let mut bench = Bench::new();
    bench
        .start(|c| {
            c.podman.mirrors = vec![("docker.io".into(), format!("http://127.0.0.1:{port}"))];
            c.network_policy = bascule_runner::NetworkPolicy::Mirrors;
        })
        .await;
    bench.push(job(
        1,
        &["echo in the image; nc -w 2 127.0.0.1 $PORT </dev/null && echo reached || echo away"],
        json!({
            "image": {"name": "tools/thing:1", "pull_policy": ["always"]},
            "variables": [{"key": "PORT", "value": port.to_string(), "public": true}],
        }),
    ));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(result.state.as_str(), "success", "{log}");
    // The machine pulls from there; the job goes only where `network_mirrors` says.
    assert!(
        log.contains("\nin the image\n") && log.contains("\naway\n"),
        "{log}"
    );
    let asked = asked.lock().unwrap().clone();
    assert!(
        asked.iter().any(|path| path == "tools/thing/manifests/1"),
        "{asked:?}"
    );
    bench.stop().await;
    sh("podman rmi -f docker.io/tools/thing:1 >/dev/null");
}
