//! This project's own repository, whole history, pushed to a running instance.

use crate::{BIN, product::rows};
use bascule_testkit::{Git, TestApp, until};
use std::{path::Path, time::Duration};

#[tokio::test]
async fn it_hosts_itself_and_its_sbom_lists_every_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "bascule"]));
    drop(cli.ok(&["project", "create", "bascule/bascule"]));
    let git = Git::clone(root.to_str().unwrap());
    let commits: usize = git.ok(&["rev-list", "--count", "HEAD"]).trim().parse().unwrap();
    drop(git.ok(&[
        "push",
        "-q",
        &app.remote("bascule/bascule", app.token()),
        "HEAD:refs/heads/main",
    ]));
    let page = app.page("/bascule/bascule").await;
    assert_eq!(page.status, 200);
    page.shows("main", "README");
    let again = Git::clone(&app.remote("bascule/bascule", app.token()));
    assert_eq!(
        again
            .ok(&["rev-list", "--count", "HEAD"])
            .trim()
            .parse::<usize>()
            .unwrap(),
        commits
    );

    // A release of it: a commit that gives it a pipeline, then a tag.
    git.write(".gitlab-ci.yml", "pack:\n  rules: [{ if: $CI_COMMIT_TAG }]\n  script: [ 'tar -cf sources.tar Cargo.lock' ]\n  artifacts: { paths: [sources.tar] }\npublish:\n  needs: [pack]\n  rules: [{ if: $CI_COMMIT_TAG }]\n  script: [ 'true' ]\n  release: { tag_name: $CI_COMMIT_TAG, description: own }\n");
    git.commit("Release ourselves");
    drop(git.ok(&["tag", "0.1.0"]));
    drop(git.ok(&[
        "push",
        "-q",
        &app.remote("bascule/bascule", app.token()),
        "HEAD:refs/heads/main",
        "0.1.0",
    ]));
    until("the release", Duration::from_secs(120), async || {
        rows(&cli.json(&["release", "list", "bascule/bascule"])).pop()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    drop(cli.ok(&[
        "release",
        "download",
        "bascule/bascule",
        "0.1.0",
        "--output",
        folder.path().to_str().unwrap(),
    ]));
    let sbom: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("parts/sbom.cdx.json")).unwrap()).unwrap();
    let purls: std::collections::BTreeSet<&str> = sbom["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c["purl"].as_str())
        .collect();
    let lock: toml::Table = std::fs::read_to_string(root.join("Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    for package in lock["package"].as_array().unwrap() {
        let purl = format!(
            "pkg:cargo/{}@{}",
            package["name"].as_str().unwrap(),
            // A purl percent-encodes the plus of build metadata.
            package["version"].as_str().unwrap().replace('+', "%2B")
        );
        assert!(
            purls.iter().any(|p| p.split('?').next() == Some(&purl)),
            "{purl} is not in the SBOM"
        );
    }
}
