//! Ways in which a project could try to get round what its group requires. Each has been closed, and stays so.

use crate::{
    harness::World,
    town::{Town, enforce, job, names, town},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;

const POLICY: &str = "pipelines:\n  - {name: security, file: scan.yml}\n";
const SCAN: &str = "stages: [look, tell]\nscan:\n  stage: look\n  script: [scan --all]\n  cache: {key: tools, paths: [.tools]}\nreport: {stage: tell, script: report}\n";

async fn guarded() -> (World, Arc<Town>) {
    let (world, town) = town().await;
    enforce(
        &world,
        &town,
        &[("required-pipelines.yml", POLICY), ("scan.yml", SCAN)],
    )
    .await;
    (world, town)
}

/// The required job as a runner gets it.
async fn scan(world: &World) -> Value {
    let runner = world.runner().await;
    let mut found = Value::Null;
    while let Some(taken) = runner.ask().await {
        let policy = &taken.body["policy_options"];
        if policy["execution_policy_job"] == true && found.is_null() {
            assert_eq!(policy["policy_name"], "security");
            found = taken.body.clone();
        }
        runner.succeed(&taken).await;
    }
    assert!(!found.is_null(), "the required job was not handed out");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_project_s_file_says_the_required_job_is_the_policy_s() {
    for (what, ci) in [
        (
            "the same name",
            "security/scan: {script: [echo fine], stage: test}\n",
        ),
        (
            "the same name and its suffix",
            "security/scan: {script: y}\nsecurity/scan (required): {script: y}\n",
        ),
        ("the hidden name", ".scan: {script: y}\nscan: {extends: .scan}\n"),
        (
            "stages renamed",
            "stages: [security/look, security/tell]\na: {script: x, stage: security/look}\n",
        ),
        (
            "no stages of its own",
            "stages: []\na: {script: x, stage: .pre}\nb: {script: x, stage: .post}\n",
        ),
        (
            "default",
            "default: {before_script: [exit 0], image: fake, tags: [nobody], interruptible: true, retry: 2, timeout: 1s, hooks: {pre_get_sources_script: [rm -rf /]}}\na: {script: x}\n",
        ),
        (
            "old globals",
            "before_script: [exit 0]\nimage: fake\ncache: {key: tools, paths: [.tools]}\na: {script: x}\n",
        ),
        (
            "variables",
            "variables: {GIT_STRATEGY: none, PATH: /evil, BASH_ENV: ./evil, CI_DEBUG_TRACE: 'true'}\na: {script: x}\n",
        ),
        ("workflow", "workflow: {rules: [{when: never}]}\na: {script: x}\n"),
        (
            "workflow variables",
            "workflow: {rules: [{when: always, variables: {GIT_STRATEGY: none}}]}\na: {script: x}\n",
        ),
        (
            "a child pipeline of that name",
            "security/scan: {trigger: {include: child.yml}}\n",
        ),
        (
            "inputs that are missing",
            "spec: {inputs: {x: }}\n---\na: {script: x}\n",
        ),
        ("an include of nothing", "include: nowhere.yml\na: {script: x}\n"),
        (
            "a bomb",
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e]\n",
        ),
        ("not UTF-8 is no way either", "\u{0}"),
    ] {
        let (world, _town) = guarded().await;
        world
            .push(
                "topic",
                &[(".gitlab-ci.yml", ci), ("child.yml", "x: {script: y}\n")],
            )
            .await;
        let body = scan(&world).await;
        assert_eq!(body["steps"].as_array().map(Vec::len), Some(1), "{what}");
        assert_eq!(body["steps"][0]["script"], json!(["scan --all"]), "{what}");
        assert_eq!(
            (&body["image"], &body["runner_info"]["timeout"]),
            (&Value::Null, &json!(3600)),
            "{what}"
        );
        assert!(body.get("hooks").is_none(), "{what}");
        for key in ["GIT_STRATEGY", "PATH", "BASH_ENV", "CI_DEBUG_TRACE"] {
            let there = body["variables"]
                .as_array()
                .unwrap()
                .iter()
                .any(|v| v["key"] == key);
            assert!(!there, "{what}: {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_give_does_not_reach_it() {
    let (world, _town) = guarded().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    world
        .request(
            Method::PUT,
            "/api/v1/projects/clinic/app/ci/variables/BASH_ENV",
            "admin",
        )
        .json(&json!({"value": "./evil"}))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let made = world
        .post(
            "/api/v1/projects/clinic/app/pipeline",
            "admin",
            json!({"ref": "main", "variables": {"GIT_STRATEGY": "none", "SCAN_DISABLED": "true"}}),
        )
        .await;
    assert_eq!(made.status(), 201);
    let body = scan(&world).await;
    for key in ["BASH_ENV", "GIT_STRATEGY", "SCAN_DISABLED"] {
        let there = body["variables"]
            .as_array()
            .unwrap()
            .iter()
            .any(|v| v["key"] == key);
        assert!(!there, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_cache_is_out_of_reach_of_the_project_s_jobs() {
    let (world, _town) = guarded().await;
    let poison = "a: {script: x, cache: [{key: tools, paths: [.tools]}, {key: tools-non_protected-required-security, paths: [.tools]}]}\n";
    world.push("topic", &[(".gitlab-ci.yml", poison)]).await;
    let runner = world.runner().await;
    let (mut own, mut required) = (Vec::new(), Vec::new());
    while let Some(taken) = runner.ask().await {
        // The server keeps caches too, and a job's token may name any key.
        let put = runner
            .api(Method::PUT, &format!("jobs/{}/cache", taken.id))
            .query(&[("key", "tools-non_protected-required-security")])
            .header("JOB-TOKEN", &taken.token)
            .body("poison")
            .send()
            .await
            .unwrap();
        let policy = taken.body.get("policy_options").is_some();
        assert_eq!(put.status(), if policy { 201 } else { 403 });
        let keys = taken.body["cache"].as_array().cloned().unwrap_or_default();
        let keys = keys.iter().map(|cache| cache["key"].as_str().unwrap().to_owned());
        match taken.body["job_info"]["name"].as_str().unwrap() {
            "a" => own.extend(keys),
            _ => required.extend(keys),
        }
        runner.succeed(&taken).await;
    }
    assert_eq!(required, ["tools-non_protected-required-security"]);
    assert_eq!(own.len(), 2);
    assert!(own.iter().all(|key| !required.contains(key)), "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_of_the_project_itself_cannot_say_that_it_succeeded() {
    let (world, _town) = guarded().await;
    world
        .push("topic", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let made = world
        .post(
            "/api/v1/projects/clinic/app/runner",
            "admin",
            json!({"description": "ours", "run_untagged": true}),
        )
        .await;
    assert!(made.status().is_success(), "{}", made.text().await.unwrap());
    let made: Value = made.json().await.unwrap();
    let ours = crate::harness::FakeRunner {
        http: world.http.clone(),
        url: world.url.clone(),
        token: made["token"].as_str().unwrap().to_owned(),
    };
    let taken = ours.ask().await.unwrap();
    assert_eq!(taken.body["job_info"]["name"], "a");
    ours.succeed(&taken).await;
    assert!(ours.ask().await.is_none(), "the required job is not for it");
    let pipeline = world.pipeline().await;
    let id = &job(&pipeline, "security/scan")["id"];
    let page = world.page(&format!("/clinic/app/-/jobs/{id}"), "developer").await;
    assert!(
        page.contains("no runner of the project itself may take it"),
        "{page}"
    );
    let theirs = world.runner().await;
    assert_eq!(
        theirs.ask().await.unwrap().body["job_info"]["name"],
        "security/scan"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stands_beside_a_failed_or_canceled_project() {
    let (world, _town) = guarded().await;
    let ci = "workflow: {auto_cancel: {on_job_failure: all}}\na: {script: x}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    assert_eq!(names(&world).await, ["a", "security/scan", "security/report"]);
    let pipeline = world.pipeline().await;
    let id = job(&pipeline, "security/scan")["id"].clone();
    // Canceled by a developer, it leaves no green pipeline behind.
    let canceled = world
        .post(
            &format!("/api/v1/projects/clinic/app/jobs/{id}/cancel"),
            "developer",
            json!({}),
        )
        .await;
    assert_eq!(canceled.status(), 200);
    let runner = world.runner().await;
    while let Some(taken) = runner.ask().await {
        runner.succeed(&taken).await;
    }
    let status = world.pipeline().await["status"].clone();
    assert_ne!(status, "success");
    assert_ne!(status, "warning");
}
