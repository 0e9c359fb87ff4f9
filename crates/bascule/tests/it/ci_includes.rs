//! CI files that include others' files: by the right of who starts the pipeline, and by no other.

use crate::{
    BIN,
    reviews::{PATH, PROJECT, Scene},
};
use bascule_testkit::{Git, TestApp, until};
use serde_json::{Value, json};
use std::time::Duration;

const CI: &str = "\
include:
  - project: sec/rules
    file: scan.yml
  - component: $CI_SERVER_FQDN/sec/rules/audit@~latest
    inputs: {depth: 2}
  - template: Workflows/Branch-Pipelines.gitlab-ci.yml
build: {script: make}
";

/// A private project of the group `sec`, which `security` alone may read.
fn rules(scene: &Scene) {
    let cli = scene.app.cli();
    drop(cli.ok(&["project", "create", "sec/rules", "--visibility", "private"]));
    let git = Git::init();
    git.write(
        "scan.yml",
        "include: parts/tags.yml\nscan: {extends: .tags, script: ./scan}\n",
    );
    git.write("parts/tags.yml", ".tags: {tags: [trusted]}\n");
    git.write("templates/audit.yml", "audit: {script: old}\n");
    git.commit("Begin");
    git.ok(&["tag", "1.0.0"]);
    git.write(
        "templates/audit.yml",
        "spec: {inputs: {depth: {type: number}}}\n---\naudit: {script: \"audit $[[ inputs.depth ]]\"}\n",
    );
    git.commit("Take a depth");
    git.ok(&["tag", "1.1.0"]);
    let remote = scene.app.remote("sec/rules", scene.app.token());
    git.ok(&["push", "-q", &remote, "main", "1.0.0", "1.1.0"]);
}

async fn pipeline(scene: &Scene, branch: &str) -> Value {
    let path = format!("{PATH}/pipelines?ref={branch}");
    until("a pipeline of the branch", Duration::from_secs(30), async || {
        let list = scene.ok("second", "GET", &path, &Value::Null).await;
        let id = list["pipelines"].get(0)?["id"].as_i64()?;
        Some(
            scene
                .ok("second", "GET", &format!("{PATH}/pipelines/{id}"), &Value::Null)
                .await,
        )
    })
    .await
}

fn names(pipeline: &Value) -> Vec<&str> {
    let jobs = pipeline["jobs"].as_array().unwrap();
    jobs.iter().filter_map(|job| job["name"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_another_project_are_included_for_those_who_may_read_them() {
    let scene = Scene::with(&[(".gitlab-ci.yml", CI)]).await;
    rules(&scene);
    let text = json!({ "content": CI, "merged": true });
    // Who may not read the project learns nothing of it, not even that it is there.
    let lint = scene
        .ok("developer", "POST", &format!("{PATH}/ci/lint"), &text)
        .await;
    let told = lint["faults"][0]["message"].as_str().unwrap();
    assert!(
        told.contains("no project `sec/rules` that developer may read"),
        "{lint}"
    );
    let absent = json!({ "content": "include: {project: sec/absent, file: a.yml}\n" });
    let absent = scene
        .ok("developer", "POST", &format!("{PATH}/ci/lint"), &absent)
        .await;
    let alike = absent["faults"][0]["message"].as_str().unwrap();
    assert_eq!(alike.replace("absent", "rules"), told);
    let lint = scene
        .ok("security", "POST", &format!("{PATH}/ci/lint"), &text)
        .await;
    assert_eq!(lint["valid"], true, "{lint}");
    assert!(lint["merged"].as_str().unwrap().contains("audit 2"), "{lint}");
    assert_eq!(lint["files"].as_array().unwrap().len(), 5, "{lint}");
    let cli = scene.app.cli_as(&scene.tokens["security"]);
    let said = cli.ok(&["ci", "lint", PROJECT, "--source", "merge_request_event"]);
    assert!(said.contains("No pipeline would be made"), "{said}");

    scene.push("developer", "theirs", &[("a", "1")]);
    let refused = pipeline(&scene, "theirs").await;
    assert_eq!(refused["status"], "failed", "{refused}");
    let fault = &refused["faults"][0];
    assert_eq!(
        (fault["line"].as_i64(), fault["column"].as_i64()),
        (Some(3), Some(11)),
        "{fault}"
    );
    scene.push("security", "ours", &[("b", "1")]);
    let made = pipeline(&scene, "ours").await;
    assert_eq!(names(&made), ["scan", "audit", "build"], "{made}");
    assert_eq!(made["jobs"][0]["tags"], json!(["trusted"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_files_come_only_from_addresses_that_the_instance_names() {
    let answer = "scan: {script: ./scan}\n";
    let router = axum::Router::new()
        .route("/ci/scan.yml", axum::routing::get(move || async move { answer }))
        .route(
            "/ci/away.yml",
            axum::routing::get(|| async { axum::response::Redirect::to("/secret.yml") }),
        )
        .route("/secret.yml", axum::routing::get(move || async move { answer }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let allowed = format!("[\"{base}/ci/\"]");
    let app = TestApp::start_with(BIN, &[("BASCULE_CI_REMOTE_INCLUDES", &allowed)]);
    let scene = Scene::on(app, &[]).await;
    for (path, told) in [
        ("/ci/scan.yml", None),
        ("/secret.yml", Some("does not allow files from")),
        ("/ci/../secret.yml", Some("does not allow files from")),
        ("/ci/away.yml", Some("it answers 303")),
        ("/ci/absent.yml", Some("it answers 404")),
    ] {
        let body = json!({ "content": format!("include: '{base}{path}'\n") });
        let lint = scene
            .ok("developer", "POST", &format!("{PATH}/ci/lint"), &body)
            .await;
        match told {
            None => assert_eq!(lint["jobs"][0]["name"], "scan", "{lint}"),
            Some(told) => assert!(
                lint["faults"][0]["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(told)),
                "{path}: {lint}"
            ),
        }
    }
    server.abort();
}
