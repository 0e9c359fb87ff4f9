//! What jobs leave goes when it is no longer kept: rows, then bytes, and never what something still names.

use crate::harness::{FakeRunner, Taken, World};
use bascule_ci::retention::{Keep, Removed};
use bascule_core::{Actor, JobId};
use bascule_store::{Query as _, args};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const CI: &str = "a: {script: x, artifacts: {paths: [o]}}\nb: {script: x, artifacts: {paths: [o]}}\n";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The blobs, made as old as the test's clock is young.
fn aged(world: &World) -> usize {
    let blobs = files(&world.dir.path().join("blobs"));
    for blob in &blobs {
        let file = fs::File::options().write(true).open(blob).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_000_000);
        file.set_modified(long_ago).unwrap();
    }
    blobs.len()
}

async fn rows(world: &World, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) AS n FROM {table}");
    world.db.count(&sql, args![]).await.unwrap()
}

async fn two_jobs(world: &World, runner: &FakeRunner) -> [Taken; 2] {
    world.push("main", &[(".gitlab-ci.yml", CI)]).await;
    let jobs = [runner.ask().await.unwrap(), runner.ask().await.unwrap()];
    for job in &jobs {
        assert_eq!(
            runner.upload(job, "archive", b"the same bytes").await.status(),
            201
        );
        // A large piece of log is a blob.
        assert_eq!(runner.patch(job, 0, &vec![b'x'; 300 * 1024]).await.status(), 202);
        runner.succeed(job).await;
    }
    jobs
}

async fn expired_files_free_their_bytes(postgres: Option<&str>) {
    let world = World::on(postgres).await;
    let runner = world.runner().await;
    let [_, kept] = two_jobs(&world, &runner).await;
    world
        .ci
        .keep_artifacts(world.project, JobId(kept.id))
        .await
        .unwrap();
    assert_eq!(aged(&world), 2, "an archive and a log of the same bytes each");

    world.clock.advance(2 * DAY);
    let removed = world.ci.retain().await.unwrap();
    assert_eq!((removed.files, removed.blobs), (1, 0));
    assert_eq!(rows(&world, "job_artifact").await, 1);
    world.clock.advance(2 * DAY);
    assert_eq!(
        world.ci.retain().await.unwrap(),
        Removed::default(),
        "the other job still names those bytes"
    );
    assert_eq!(aged(&world), 2);

    let actor = Actor::system();
    world
        .ci
        .erase_job(world.project, JobId(kept.id), &actor)
        .await
        .unwrap();
    assert_eq!(
        world.ci.retain().await.unwrap().blobs,
        0,
        "an upload may be under way"
    );
    world.clock.advance(2 * DAY);
    assert_eq!(world.ci.retain().await.unwrap().blobs, 1);
    assert_eq!(aged(&world), 1, "the first job's log");
    let log = format!("/clinic/app/-/jobs/{}/raw", kept.id - 1);
    let log = world
        .request(reqwest::Method::GET, &log, "reporter")
        .send()
        .await
        .unwrap();
    assert_eq!(log.bytes().await.unwrap().len(), 300 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_files_free_their_bytes_on_sqlite() {
    expired_files_free_their_bytes(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_files_free_their_bytes_on_postgres() {
    let postgres = bascule_testkit::Postgres::start();
    expired_files_free_their_bytes(Some(postgres.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_stored_anew_are_not_deleted() {
    let world = World::new().await;
    let runner = world.runner().await;
    two_jobs(&world, &runner).await;
    world.clock.advance(2 * DAY);
    assert_eq!(world.ci.retain().await.unwrap().files, 2);
    // Stored by the machine's clock, which is ahead of the test's: as if sent this very moment.
    world.clock.advance(2 * DAY);
    assert_eq!(world.ci.retain().await.unwrap().blobs, 0);
    aged(&world);
    world.clock.advance(2 * DAY);
    assert_eq!(world.ci.retain().await.unwrap().blobs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_does_not_start_without_the_artifacts_that_it_takes() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "build: {script: x, artifacts: {paths: [o]}}\nother: {script: x}\n\
              deploy: {stage: deploy, script: x, when: manual, needs: [build]}\n\
              all: {stage: deploy, script: x, when: manual}\n\
              none: {stage: deploy, script: x, when: manual, dependencies: [other]}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let build = runner.ask().await.unwrap();
    let other = runner.ask().await.unwrap();
    assert_eq!(runner.upload(&build, "archive", b"built").await.status(), 201);
    runner.succeed(&build).await;
    runner.succeed(&other).await;
    let play = async |name: &str| {
        let pipeline = world.pipeline().await;
        let jobs = pipeline["jobs"].as_array().unwrap();
        let id = jobs
            .iter()
            .find(|job| job["name"] == name && job["retried"] == false)
            .unwrap()["id"]
            .as_i64()
            .unwrap();
        let path = format!("/api/v1/projects/clinic/app/jobs/{id}/play");
        assert_eq!(
            world.post(&path, "developer", json!({})).await.status(),
            200,
            "{name}"
        );
        id
    };
    for (name, days, reaped) in [("deploy", 2, false), ("all", 1, true)] {
        world.clock.advance(days * DAY);
        if reaped {
            world.ci.retain().await.unwrap();
        }
        let id = play(name).await;
        assert!(runner.ask().await.is_none(), "{name}");
        let job = world.get(&format!("/api/v1/projects/clinic/app/jobs/{id}")).await;
        assert_eq!(job["failure_reason"], "missing_dependency_failure");
        let log = format!("/clinic/app/-/jobs/{id}/raw");
        let log = world
            .request(reqwest::Method::GET, &log, "reporter")
            .send()
            .await
            .unwrap();
        let log = log.text().await.unwrap();
        assert!(
            log.contains("The artifacts of the job `build` expired or were erased"),
            "{log}"
        );
    }
    play("none").await;
    assert!(runner.ask().await.is_some(), "it takes nothing of what is gone");
}

async fn logs_and_pipelines_are_kept_so_long(postgres: Option<&str>) {
    let keep = Keep {
        logs: Some(10 * DAY),
        pipelines: Some(30 * DAY),
    };
    let world = World::keeping(postgres, keep).await;
    let runner = world.runner().await;
    let [old, _] = two_jobs(&world, &runner).await;
    world.clock.advance(11 * DAY);
    let [_, new] = two_jobs(&world, &runner).await;
    assert_eq!(world.ci.retain().await.unwrap().logs, 2);
    let path = |job: &Taken| format!("/api/v1/projects/clinic/app/jobs/{}", job.id);
    assert_eq!(world.get(&path(&old)).await["log_bytes"], 0);
    assert_eq!(world.get(&path(&new)).await["log_bytes"], 300 * 1024);

    world.clock.advance(20 * DAY);
    assert_eq!(world.ci.retain().await.unwrap().pipelines, 1);
    let gone = world
        .request(reqwest::Method::GET, &path(&old), "reporter")
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 404);
    assert_eq!(
        (rows(&world, "pipeline").await, rows(&world, "job").await),
        (1, 2)
    );
    aged(&world);
    world.clock.advance(20 * DAY);
    world.ci.retain().await.unwrap();
    world.clock.advance(2 * DAY);
    world.ci.retain().await.unwrap();
    for table in ["pipeline", "job", "job_trace", "job_artifact", "ci_unnamed"] {
        assert_eq!(rows(&world, table).await, 0, "{table}");
    }
    assert_eq!(aged(&world), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_pipelines_are_kept_so_long_on_sqlite() {
    logs_and_pipelines_are_kept_so_long(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_pipelines_are_kept_so_long_on_postgres() {
    let postgres = bascule_testkit::Postgres::start();
    logs_and_pipelines_are_kept_so_long(Some(postgres.url())).await;
}
