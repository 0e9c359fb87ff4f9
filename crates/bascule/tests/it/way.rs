//! The whole way of one commit, on both databases.

use crate::{
    BIN,
    product::{self, PROJECT, pipeline, release, rows, serving},
};
use bascule_testkit::{TestApp, until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_commit_to_postmortem_on_sqlite() {
    whole_way(&TestApp::start_with(
        BIN,
        &[("BASCULE_TRAFFIC_SUMMARY_SECONDS", "2")],
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_commit_to_production_on_postgres() {
    let app = TestApp::start_on_postgres(BIN);
    let git = product::create(&app);
    assert_eq!(pipeline(&app, PROJECT, "main").await["status"], "success");
    release(&app, &git, "1.0.0").await;
    drop(
        app.cli()
            .ok(&["deploy", PROJECT, "1.0.0", "--to", "production", "--wait"]),
    );
    assert_eq!(serving(&app, "production").unwrap().0, "1.0.0");
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
    let number = app.cli().json(&["incident", "declare", PROJECT, "Slow pages"])["number"].to_string();
    drop(app.cli().ok(&["incident", "resolve", PROJECT, &number]));
    postmortem(&app).await;
    assert!(app.cli().json(&["insights", PROJECT])["dora"].is_object());
}

/// `--data ./NAME`: jobs and products are started from other directories and find their files all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relative_data_directory_runs_jobs_and_products() {
    let app = TestApp::start_relative(BIN);
    let git = product::create(&app);
    assert_eq!(pipeline(&app, PROJECT, "main").await["status"], "success");
    release(&app, &git, "1.0.0").await;
    let (_, url) = serving(&app, "staging").unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello 1.0.0");
}

/// Asks at a steady rate until told to stop; counts answers that never came.
fn load(url: String, stop: Arc<AtomicBool>, lost: Arc<AtomicU64>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut beat = tokio::time::interval(Duration::from_millis(12));
        let mut flights = tokio::task::JoinSet::new();
        while !stop.load(Ordering::Relaxed) {
            beat.tick().await;
            let (client, url, lost) = (client.clone(), url.clone(), lost.clone());
            flights.spawn(async move {
                if client.get(url).send().await.is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while flights.join_next().await.is_some() {}
    })
}

async fn whole_way(app: &TestApp) {
    let cli = app.cli();
    let git = product::create(app);
    let first = pipeline(app, PROJECT, "main").await;
    assert_eq!(first["status"], "success", "{first}");
    let job = rows(&first["jobs"])[0]["id"].to_string();
    assert!(cli.ok(&["job", "log", PROJECT, &job]).contains("testing"));

    release(app, &git, "1.0.0").await;
    evidence(app);
    drop(cli.ok(&["deploy", PROJECT, "1.0.0", "--to", "production", "--wait"]));
    let (version, url) = serving(app, "production").unwrap();
    assert_eq!(version, "1.0.0");

    let (stop, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let users = load(url, stop.clone(), lost.clone());
    product::write(&git, "1.1.0", "0");
    git.commit("Say hello better");
    release(app, &git, "1.1.0").await;
    drop(cli.ok(&["deploy", PROJECT, "1.1.0", "--to", "production", "--wait"]));
    assert_eq!(serving(app, "production").unwrap().0, "1.1.0");

    product::write(&git, "1.2.0", "0.3");
    git.commit("Break it");
    release(app, &git, "1.2.0").await;
    let output = cli.run(&["deploy", PROJECT, "1.2.0", "--to", "production", "--wait"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(
        serving(app, "production").unwrap().0,
        "1.1.0",
        "the old version serves on"
    );
    stop.store(true, Ordering::Relaxed);
    users.await.unwrap();
    assert_eq!(
        lost.load(Ordering::Relaxed),
        0,
        "no request was lost by switching and undoing"
    );

    let number = until("the incident", Duration::from_secs(20), async || {
        rows(&cli.json(&["incident", "list", PROJECT]))
            .first()
            .and_then(|i| i["number"].as_i64())
    })
    .await
    .to_string();
    drop(cli.ok(&["incident", "acknowledge", PROJECT, &number]));
    drop(cli.ok(&["incident", "resolve", PROJECT, &number]));
    postmortem(app).await;

    let measured = until(
        "the measures to know the incident",
        Duration::from_secs(20),
        async || {
            let measured = cli.json(&["insights", PROJECT]);
            (measured["dora"]["change_failure_rate"]["failed"] == 1 && !rows(&measured["mttx"]).is_empty())
                .then_some(measured)
        },
    )
    .await;
    for measure in [
        "deployment_frequency",
        "lead_time",
        "change_failure_rate",
        "time_to_restore",
        "reliability",
    ] {
        let facts = rows(&measured["dora"][measure]["facts"]["seqs"]);
        assert!(!facts.is_empty(), "{measure} has no facts: {measured:#}");
    }
    assert!(
        cli.ok(&["insights", PROJECT, "--facts"])
            .contains("Deployment frequency is computed from")
    );
    assert!(cli.ok(&["ledger", "verify"]).starts_with("Clean"));
    for path in [
        "",
        "/-/pipelines",
        "/-/releases",
        "/-/environments",
        "/-/telemetry",
        "/-/incidents",
        "/-/insights",
    ] {
        let page = app.page(&format!("/{PROJECT}{path}")).await;
        assert_eq!(page.status, 200, "{path}");
        page.shows(".subnav a[aria-current]", "");
    }
}

/// Downloads the release and verifies it offline; then with one byte changed.
fn evidence(app: &TestApp) {
    let cli = app.cli();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    drop(cli.ok(&["release", "download", PROJECT, "1.0.0", "--output", &path]));
    let key = folder.path().join("instance.pem");
    std::fs::write(&key, cli.ok(&["release", "key"])).unwrap();
    let verify = ["release", "verify", &path, "--key", key.to_str().unwrap()];
    assert!(cli.ok(&verify).contains("whole and signed"));

    let sbom = folder.path().join("parts/sbom.cdx.json");
    let text = std::fs::read_to_string(&sbom).unwrap();
    assert!(text.contains("pkg:pypi/idna@3.10"), "{text}");
    std::fs::write(&sbom, text.replacen("idna", "idnb", 1)).unwrap();
    let output = cli.run(&verify);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("sbom.cdx.json"));
}

async fn postmortem(app: &TestApp) {
    until("the post-mortem", Duration::from_secs(30), async || {
        rows(
            &app.cli()
                .json(&["ledger", "list", "--kind", "postmortem.committed"]),
        )
        .pop()
    })
    .await;
    let clone = bascule_testkit::Git::clone(&app.remote("platform/postmortems", app.token()));
    assert!(clone.ok(&["ls-files"]).contains(".md"));
}
