//! The agent with real processes under bubblewrap, and a server that it believes real.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail that way"
)]

mod damage;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod podman;
mod support;
mod tasks;

use bascule_wire::agent::InstanceState::{Crashed, Draining, Failed, Healthy, Stopped, Unhealthy};
use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};
use support::{Running, SERVER, Server, archive, ask, desired};

fn product() -> Vec<u8> {
    archive(&[("server.py", SERVER)])
}

fn folder(data: &Path, instance: bascule_core::InstanceId) -> PathBuf {
    data.join("instances").join(instance.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_starts_is_healthy_passes_its_smoke_test_and_goes_without_a_trace() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let report = server.until(wanted.instance, |one| one.smoke.is_some()).await;
    assert_eq!(report.state, Healthy);
    let smoke = report.smoke.unwrap();
    assert!(smoke.passed && smoke.details.len() == 2, "{smoke:?}");
    assert!(report.pid.is_some() && report.started_at.is_some());
    let address = report.address.unwrap();
    assert!(ask(&address, "/").await.unwrap().contains("version 1.0.0"));
    assert!(server.last().disk_free_bytes > 0);
    let log = std::fs::read_to_string(folder(data.path(), wanted.instance).join("output.log")).unwrap();
    assert!(log.contains("listening"));

    server.desire(Vec::new());
    server.until_gone(wanted.instance).await;
    assert_eq!(ask(&address, "/").await, None);
    assert!(!folder(data.path(), wanted.instance).exists());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smoke_test_that_finds_something_says_what() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let mut wanted = desired(&artifact);
    wanted.smoke[0].contains = "version 2".to_owned();
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let smoke = server
        .until(wanted.instance, |one| one.smoke.is_some())
        .await
        .smoke
        .unwrap();
    assert!(!smoke.passed);
    assert_eq!(smoke.details[0], "GET /: no `version 2` in the body");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_with_the_wrong_digest_is_never_started_nor_tried_again() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let wanted = desired(&artifact);
    let mut changed = artifact.clone();
    changed[20] ^= 1;
    server.hold(&changed, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let report = server.until_state(wanted.instance, Failed).await;
    assert!(report.message.contains("digest"), "{}", report.message);
    assert!(report.pid.is_none());
    // The same again is not tried again, another one is.
    let other = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    server.desire(vec![wanted.clone(), other.clone()]);
    server.until_state(other.instance, Healthy).await;
    assert_eq!(server.history(wanted.instance).last(), Some(&Failed));
    assert_eq!(server.fetched.load(Ordering::Relaxed), 2);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_leads_out_is_refused_and_a_missing_command_too() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let evil = archive(&[("server.py", SERVER), ("../../evil", "gotcha")]);
    let traversing = desired(&evil);
    server.hold(&evil, &traversing.artifact.digest);
    let good = product();
    let mut missing = desired(&good);
    missing.command = "./no-such-program".to_owned();
    server.hold(&good, &missing.artifact.digest);
    let absent = desired(b"never stored");
    let agent = Running::start(&server, data.path());
    server.desire(vec![traversing.clone(), missing.clone(), absent.clone()]);
    let report = server.until_state(traversing.instance, Failed).await;
    assert!(report.message.contains("leads out"), "{}", report.message);
    assert!(!data.path().join("evil").exists() && !data.path().join("instances/evil").exists());
    let report = server.until_state(missing.instance, Failed).await;
    assert!(report.message.contains("no-such-program"), "{}", report.message);
    assert_eq!(report.restarts, 0);
    server.until_state(absent.instance, Failed).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_told_with_the_last_output_and_started_again() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let address = server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    ask(&address, "/crash").await;
    let report = server.until_state(wanted.instance, Crashed).await;
    assert!(
        report.message.contains("exit code 3") && report.message.contains("about to crash"),
        "{}",
        report.message
    );
    let report = server
        .until(wanted.instance, |one| one.state == Healthy && one.restarts == 1)
        .await;
    assert!(ask(&report.address.unwrap(), "/").await.is_some());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_is_slowed_down() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let mut wanted = desired(&artifact);
    wanted.command = "echo cannot go on; exit 9".to_owned();
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    let begin = tokio::time::Instant::now();
    server.desire(vec![wanted.clone()]);
    let report = server.until(wanted.instance, |one| one.restarts == 4).await;
    // Pauses of 100, 200, 400 and 800 ms.
    assert!(
        begin.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        begin.elapsed()
    );
    let report = if report.state == Crashed {
        report
    } else {
        server.until_state(wanted.instance, Crashed).await
    };
    assert!(
        report.message.contains("cannot go on") && report.message.contains("exit code 9"),
        "{}",
        report.message
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_gets_healthy_is_started_again_and_says_so() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let mut wanted = desired(&artifact);
    wanted.health.path = "/missing".to_owned();
    wanted.health.start_ms = 600;
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let report = server.until_state(wanted.instance, Crashed).await;
    assert!(
        report.message.contains("not healthy within 600 ms"),
        "{}",
        report.message
    );
    assert!(!server.history(wanted.instance).contains(&Healthy));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_checks_make_a_running_one_unhealthy() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let address = server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    ask(&address, "/sicken").await;
    let report = server.until_state(wanted.instance, Unhealthy).await;
    assert!(report.message.contains("answered 500"), "{}", report.message);
    assert!(ask(&address, "/").await.is_some(), "an unhealthy one still runs");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_goes_on_serving_can_be_taken_back_and_ends_politely() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let address = server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    let mut draining = wanted.clone();
    draining.drain_ms = Some(60_000);
    server.desire(vec![draining.clone()]);
    server.until_state(wanted.instance, Draining).await;
    assert!(ask(&address, "/").await.is_some());
    server.desire(vec![wanted.clone()]);
    server.until_state(wanted.instance, Healthy).await;
    draining.drain_ms = Some(200);
    server.desire(vec![draining]);
    let report = server.until_state(wanted.instance, Stopped).await;
    assert_eq!(report.address, None);
    assert_eq!(ask(&address, "/").await, None);
    assert!(
        folder(data.path(), wanted.instance)
            .join("root/ended-politely")
            .exists()
    );
    server.desire(Vec::new());
    server.until_gone(wanted.instance).await;
    assert!(!folder(data.path(), wanted.instance).exists());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn products_run_on_while_the_server_is_away_and_start_without_it() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let first = server.until_state(wanted.instance, Healthy).await;
    server.away.store(true, Ordering::Relaxed);
    let address = first.address.clone().unwrap();
    ask(&address, "/crash").await;
    // Started again though nobody could be asked; the product of a killed agent dies with it.
    let folder = folder(data.path(), wanted.instance);
    while std::fs::read_to_string(folder.join("output.log"))
        .unwrap_or_default()
        .matches("listening")
        .count()
        < 2
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    agent.kill().await;
    let agent = Running::start(&server, data.path());
    while std::fs::read_to_string(folder.join("output.log"))
        .unwrap_or_default()
        .matches("listening")
        .count()
        != 1
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.away.store(false, Ordering::Relaxed);
    let again = server
        .until(wanted.instance, |one| {
            one.state == Healthy && one.pid != first.pid
        })
        .await;
    assert!(ask(&again.address.unwrap(), "/").await.is_some());
    assert_eq!(server.fetched.load(Ordering::Relaxed), 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_command_replaces_the_process_and_a_second_agent_is_refused() {
    let (server, data, artifact) = (Server::start().await, tempfile::tempdir().unwrap(), product());
    let mut wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let first = server.until_state(wanted.instance, Healthy).await;
    wanted
        .variables
        .insert("VERSION".to_owned(), "1.0.0-b".to_owned());
    server.desire(vec![wanted.clone()]);
    let second = server
        .until(wanted.instance, |one| {
            one.state == Healthy && one.pid != first.pid
        })
        .await;
    assert!(
        ask(&second.address.unwrap(), "/")
            .await
            .unwrap()
            .contains("1.0.0-b")
    );

    let url = format!("http://{}", server.address);
    let clock = std::sync::Arc::new(bascule_core::SystemClock);
    let config = bascule_agent::Config::new(&url, "secret", data.path(), clock);
    let refused =
        Box::pin(bascule_agent::Agent::new(config).run(tokio_util::sync::CancellationToken::new())).await;
    assert_eq!(refused.unwrap_err().code, "data_dir");
    agent.stop().await;
}
