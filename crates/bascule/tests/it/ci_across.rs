//! What real jobs take across pipelines and projects, over HTTP and by their own tokens: artifacts of another project and of
//! the parent, and code of a project that lets them in.

use crate::{
    BIN,
    ci_containers::{ended, job},
    product::rows,
};
use bascule_testkit::{Git, TestApp, until};
use serde_json::json;
use std::time::Duration;

const LIB: &str = "build:\n  script: [mkdir out, echo made by $CI_PROJECT_PATH at $CI_COMMIT_BRANCH > out/lib]\n  artifacts: {paths: [out]}\n";

const APP: &str = "\
make:
  script: [mkdir own, echo made by the parent > own/file]
  artifacts: {paths: [own]}
use:
  needs:
    - {project: demo/lib, job: build, ref: main, artifacts: true}
  script: [cat out/lib]
child:
  needs: [make]
  variables: {PARENT: $CI_PIPELINE_ID}
  trigger: {include: child.yml, strategy: depend}
";

const CHILD: &str = "\
take:
  needs:
    - {pipeline: $PARENT, job: make}
  script: [cat own/file]
";

/// A job that clones another project by its own token; its network leads to the server alone, which is on this machine's
/// loopback here, so that programs would pass the proxy over.
const CLONE: &str = "\
clone:
  variables: {BASCULE_NETWORK: mirrors, GIT_TERMINAL_PROMPT: '0', no_proxy: '', NO_PROXY: ''}
  script:
    - git clone -q $(echo $CI_SERVER_URL | sed s,://,://gitlab-ci-token:$CI_JOB_TOKEN@,)/vault/lib.git got
    - cat got/file
";

fn push(app: &TestApp, project: &str, git: &Git, files: &[(&str, &str)]) {
    for (path, text) in files {
        git.write(path, text);
    }
    git.commit("Change");
    drop(git.ok(&["push", "-q", &app.remote(project, app.token()), "main"]));
}

async fn number_of_pipelines(app: &TestApp, project: &str, n: usize) {
    until("another pipeline", Duration::from_secs(30), async || {
        (rows(&app.cli().json(&["pipeline", "list", project])).len() >= n).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_take_artifacts_of_other_projects_and_of_the_parent() {
    let app = TestApp::start_with(BIN, &[("BASCULE_JOBS", "2")]);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    for project in ["demo/lib", "demo/app"] {
        drop(cli.ok(&["project", "create", project, "--visibility", "private"]));
    }
    push(&app, "demo/lib", &Git::init(), &[(".gitlab-ci.yml", LIB)]);
    let (_, status) = ended(&app, "demo/lib").await;
    assert_eq!(status, "success");
    push(
        &app,
        "demo/app",
        &Git::init(),
        &[(".gitlab-ci.yml", APP), ("child.yml", CHILD)],
    );
    number_of_pipelines(&app, "demo/app", 1).await;
    let first = until("the parent's end", Duration::from_secs(90), async || {
        let all = rows(&cli.json(&["pipeline", "list", "demo/app"]));
        let parent = all.iter().min_by_key(|one| one["id"].as_i64())?.clone();
        let over = ["success", "failed", "canceled"].contains(&parent["status"].as_str()?);
        over.then_some(parent)
    })
    .await;
    let parent = first["id"].as_i64().unwrap().to_string();
    let (_, log) = job(&app, "demo/app", &parent, "use");
    assert!(log.contains("made by demo/lib at main"), "{log}");
    assert_eq!(first["status"], "success", "{first}\n{log}");
    // The child's own list shows what it took.
    let child = until("the child", Duration::from_secs(30), async || {
        let shown = cli.json(&["pipeline", "show", "demo/app", &parent]);
        let all = rows(&shown["jobs"]);
        let bridge = all.iter().find(|job| job["name"] == "child")?.clone();
        bridge["downstream"].as_i64()
    })
    .await;
    let (status, log) = job(&app, "demo/app", &child.to_string(), "take");
    assert_eq!(status, "success", "{log}");
    assert!(log.contains("made by the parent"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_reads_another_project_once_that_lets_it_in() {
    let app = TestApp::start_with(BIN, &[("BASCULE_JOBS", "2")]);
    let cli = app.cli();
    for group in ["vault", "demo"] {
        drop(cli.ok(&["group", "create", group]));
    }
    for project in ["vault/lib", "demo/app"] {
        drop(cli.ok(&["project", "create", project, "--visibility", "private"]));
    }
    push(&app, "vault/lib", &Git::init(), &[("file", "from the vault\n")]);
    let git = Git::init();
    push(&app, "demo/app", &git, &[(".gitlab-ci.yml", CLONE)]);
    let (id, status) = ended(&app, "demo/app").await;
    let (_, log) = job(&app, "demo/app", &id, "clone");
    assert_eq!(status, "failed", "nobody let it in: {log}");
    assert!(
        log.contains("not found") && !log.contains("\nfrom the vault"),
        "{log}"
    );

    let path = "/api/v1/projects/vault/lib/ci/job-token-access";
    let answer = app
        .request("POST", path)
        .json(&json!({"path": "demo/app"}))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    push(&app, "demo/app", &git, &[("more", "1")]);
    number_of_pipelines(&app, "demo/app", 2).await;
    let (id, status) = ended(&app, "demo/app").await;
    let (_, log) = job(&app, "demo/app", &id, "clone");
    assert_eq!(status, "success", "{log}");
    assert!(log.contains("\nfrom the vault"), "{log}");

    // Another project's jobs are as before.
    drop(cli.ok(&["project", "create", "demo/other", "--visibility", "private"]));
    push(&app, "demo/other", &Git::init(), &[(".gitlab-ci.yml", CLONE)]);
    let (id, status) = ended(&app, "demo/other").await;
    let (_, log) = job(&app, "demo/other", &id, "clone");
    assert_eq!(status, "failed", "{log}");

    let gone = app
        .request("DELETE", &format!("{path}?path=demo/app"))
        .send()
        .await
        .unwrap();
    assert!(gone.status().is_success(), "{}", gone.status());
    push(&app, "demo/app", &git, &[("more", "2")]);
    number_of_pipelines(&app, "demo/app", 3).await;
    let (_, status) = ended(&app, "demo/app").await;
    assert_eq!(status, "failed");
}
