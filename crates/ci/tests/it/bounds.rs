//! What one job may take of the server, and what it may learn.

use crate::harness::World;
use bascule_core::{ProjectId, limits};
use bascule_store::{Query as _, args};
use reqwest::Method;
use serde_json::json;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_log_that_do_not_come_hold_up_no_other_project() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "a: {script: x, parallel: 12}\n";
    world.push("feature", &[(".gitlab-ci.yml", ci)]).await;
    let mut jobs = Vec::new();
    while let Some(job) = runner.ask().await {
        jobs.push(job);
    }
    let own = jobs.pop().unwrap();
    let other = jobs.pop().unwrap();
    let sql = "UPDATE job SET project_id = $1 WHERE id = $2";
    let tx = world.db.begin().await.unwrap();
    tx.run(sql, args![ProjectId::new(), other.id]).await.unwrap();
    tx.commit().await.unwrap();
    let mut stalled = Vec::new();
    for job in &jobs {
        let host = world.url.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
        let head = format!(
            "PATCH /api/v4/jobs/{}/trace HTTP/1.1\r\nhost: {host}\r\njob-token: {}\r\ncontent-range: 0-8388607\r\n\
             content-length: 8388608\r\n\r\nx",
            job.id, job.token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stalled.push(stream);
    }
    let mut at = 0;
    loop {
        let piece = runner.patch(&own, at, b"x");
        match tokio::time::timeout(Duration::from_millis(300), piece).await {
            Ok(answer) => assert_eq!(answer.status(), 202),
            // The project has used its share up.
            Err(_) => break,
        }
        at += 1;
    }
    let begun = Instant::now();
    assert_eq!(runner.patch(&other, 0, b"hello").await.status(), 202);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_read_for_a_moment_is_handed_out_later() {
    let world = World::new().await;
    let runner = world.runner().await;
    world
        .push("feature", &[(".gitlab-ci.yml", "a: {script: x, parallel: 2}\n")])
        .await;
    let first = runner.ask().await.unwrap();
    let ask = async || {
        let body = json!({"token": runner.token, "info": {"version": "1"}});
        let request = runner
            .api(Method::POST, "jobs/request")
            .header("prefer", "wait=0");
        request.json(&body).send().await.unwrap().status().as_u16()
    };
    world.code.down.store(true, Ordering::Relaxed);
    assert_eq!(ask().await, 500);
    world.code.down.store(false, Ordering::Relaxed);
    let second = runner.ask().await.expect("it is in the queue again");
    assert_ne!(first.id, second.id);
    runner.succeed(&first).await;
    runner.succeed(&second).await;
    assert_eq!(world.pipeline().await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_job_ended_is_told_to_who_had_its_token() {
    let world = World::new().await;
    let runner = world.runner().await;
    world
        .push("feature", &[(".gitlab-ci.yml", "a: {script: x, parallel: 2}\n")])
        .await;
    let mut job = runner.ask().await.unwrap();
    let other = runner.ask().await.unwrap();
    runner.succeed(&job).await;
    let own = runner.patch(&job, 0, b"late").await;
    assert_eq!(own.status(), 403);
    assert_eq!(own.headers()["job-status"], "success");
    job.token = other.token;
    let foreign = runner.patch(&job, 0, b"late").await;
    assert_eq!(foreign.status(), 403);
    assert!(!foreign.headers().contains_key("job-status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_uploads_what_it_declares_and_so_much_in_all() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "a: {script: x, artifacts: {paths: [o], reports: {junit: r.xml}}}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let job = runner.ask().await.unwrap();
    let told = async |kind: &str, bytes: &[u8]| {
        let answer = runner.upload(&job, kind, bytes).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, words) = told("sarif", b"{}").await;
    assert_eq!(status, 400);
    assert!(
        words.contains("Name the report under `artifacts:reports`"),
        "{words}"
    );
    for (kind, bytes) in [("junit", &b"<testsuites/>"[..]), ("archive", b"0123456789")] {
        // Also again, as a runner does whose answer got lost.
        for _ in 0..2 {
            assert_eq!(told(kind, bytes).await.0, 201);
        }
    }
    let counted = "SELECT COUNT(*) AS n FROM job WHERE uploaded = 23";
    assert_eq!(world.db.count(counted, args![]).await.unwrap(), 1);

    // As if what it replaced had been large.
    let most = i64::try_from(limits::JOB_UPLOADS_BYTES).unwrap();
    let tx = world.db.begin().await.unwrap();
    tx.run("UPDATE job SET uploaded = $1", args![most - 5])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(told("archive", b"01234").await.0, 201);
    let (status, words) = told("archive", b"5").await;
    assert_eq!(status, 413);
    assert!(words.contains(&most.to_string()), "{words}");
}
