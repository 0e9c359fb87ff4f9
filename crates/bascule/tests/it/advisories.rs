//! A new advisory recalls a release that is out already; drills hold an environment.

use crate::{
    BIN,
    product::{self, PROJECT, release, rows},
};
use bascule_testkit::{TestApp, until};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

/// An advisory about what the product's `requirements.txt` names.
pub fn advisory(folder: &Path, modified: u32, withdrawn: bool) -> String {
    let mut record = json!({
        "id": "GHSA-test-0001", "aliases": ["CVE-2026-0001"], "modified": format!("2026-01-{modified:02}T00:00:00Z"),
        "summary": "Reads past the end", "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        "affected": [{"package": {"ecosystem": "PyPI", "name": "IDNA"},
                      "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.11"}]}]}]
    });
    if withdrawn {
        record["withdrawn"] = json!("2026-01-20T00:00:00Z");
    }
    let file = folder.join(format!("GHSA-test-0001-{modified}.json"));
    fs::write(&file, record.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Waits until a deployment by hand is held for a recall, or is not.
async fn recalled(app: &TestApp, expected: bool) -> String {
    until(
        if expected { "the recall" } else { "its end" },
        Duration::from_secs(30),
        async || {
            let output = app.cli().run(&[
                "plan",
                "--in",
                "production",
                "--why",
                &format!("{PROJECT}@1.0.0"),
                "--json",
            ]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (text.contains("was recalled") == expected && !text.is_empty()).then_some(text)
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_critical_advisory_recalls_what_is_out_and_a_waiver_lifts_it() {
    let app = TestApp::start_on_postgres(BIN);
    let cli = app.cli();
    let git = product::create(&app);
    release(&app, &git, "1.0.0").await;
    let folder = tempfile::tempdir().unwrap();
    drop(advisory(folder.path(), 1, false));
    fs::write(folder.path().join("bad.json"), "{\"id\": \"BAD-1\"}").unwrap();
    let output = cli.run(&["advisory", "import", folder.path().to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1), "one record could not be read");
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&done["added"], &done["opened"], &done["refused"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(done["errors"][0]["id"], "BAD-1");

    let found = rows(&cli.json(&["finding", "list", "--search", "CVE-2026-0001"]))[0].clone();
    assert_eq!(
        (
            &found["project"],
            &found["severity"],
            &found["fixed"],
            &found["environments"]
        ),
        (
            &json!(PROJECT),
            &json!("critical"),
            &json!(["3.11"]),
            &json!(["staging"])
        )
    );
    let why = recalled(&app, true).await;
    assert!(
        why.contains("GHSA-test-0001 (critical) in pypi:idna 3.10, fixed in 3.11"),
        "{why}"
    );
    assert_eq!(
        product::serving(&app, "staging").unwrap().0,
        "1.0.0",
        "what serves is not taken down"
    );
    let (exit, said) = cli.refused(&["deploy", PROJECT, "1.0.0", "--to", "production"]);
    assert!(exit == 3 && said.contains("was recalled"), "{exit} {said}");

    app.page("/findings").await.shows("table", "GHSA-test-0001");
    let key = found["key"].as_str().unwrap();
    app.page(&format!("/{PROJECT}/-/findings/{key}"))
        .await
        .shows("#decision", "Set it aside");
    app.page(&format!("/{PROJECT}/-/releases/1.0.0/findings"))
        .await
        .shows("table", "pypi:idna");
    app.page("/advisories/GHSA-test-0001")
        .await
        .shows("h1", "GHSA-test-0001");
    drop(cli.ok(&[
        "finding",
        "waive",
        PROJECT,
        key,
        "--reason",
        "never parses it",
        "--days",
        "3",
    ]));
    drop(recalled(&app, false).await);
    drop(cli.ok(&["finding", "waive", PROJECT, key, "--end"]));
    drop(recalled(&app, true).await);
    let withdrawn = advisory(folder.path(), 20, true);
    let done = cli.json(&["advisory", "import", &withdrawn]);
    assert_eq!((&done["changed"], &done["closed"]), (&json!(1), &json!(1)));
    drop(recalled(&app, false).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_is_started_listed_and_ended() {
    let mut app = TestApp::start(BIN);
    let git = product::create(&app);
    release(&app, &git, "1.0.0").await;
    let cli = app.cli();
    let (exit, _) = cli.refused(&["drill", "start", "--in", "moon", "--reason", "x"]);
    assert_eq!(exit, 1);
    let start = [
        "drill",
        "start",
        "--in",
        "staging",
        "--for",
        "1h",
        "--reason",
        "the disk is full",
    ];
    let drill = cli.json(&start);
    assert_eq!(drill["state"], "running");
    let (exit, said) = cli.refused(&start);
    assert!(exit == 3 && said.contains("already"), "{said}");
    app.kill();
    app.resume();
    let cli = app.cli();
    let drill = rows(&cli.json(&["drill", "list"]))[0].clone();
    assert_eq!(
        (&drill["state"], &drill["number"]),
        (&json!("running"), &json!(1))
    );
    drop(cli.ok(&["drill", "end", "1"]));
    assert_eq!(rows(&cli.json(&["drill", "list"]))[0]["ended_by"], "admin");
}
