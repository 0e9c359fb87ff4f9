//! Pushes become pipelines, and pipelines end as they should.

use crate::harness::World;
use bascule_ledger::facts::{ci::ReleaseRequested, forge::TagUpdated};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

const TWO: &str = "build: {stage: build, script: make, artifacts: {paths: [out/]}}\ntest: {stage: test, script: make test}\n";

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_runs_its_stages_in_order_and_tells_the_ledger() {
    let world = World::new().await;
    let runner = world.runner().await;
    world.push("main", &[(".gitlab-ci.yml", TWO)]).await;
    assert_eq!(
        world.states().await,
        pairs(&[("build", "pending"), ("test", "created")])
    );
    let build = runner.ask().await.expect("the first job");
    assert_eq!(build.body["job_info"]["name"], "build");
    assert!(runner.ask().await.is_none(), "the second waits for the first");
    assert_eq!(world.pipeline().await["status"], "running");
    runner.succeed(&build).await;
    let test = runner.ask().await.expect("the second job");
    runner.succeed(&test).await;
    assert_eq!(world.pipeline().await["status"], "success");
    for (kind, count) in [
        ("pipeline.created", 1),
        ("job.started", 2),
        ("job.finished", 2),
        ("pipeline.finished", 1),
    ] {
        assert_eq!(world.facts(kind).await.len(), count, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_fact_makes_one_pipeline() {
    let world = World::new().await;
    world.push("main", &[(".gitlab-ci.yml", TWO)]).await;
    let start = bascule_ci::pipeline::Start {
        project: world.project,
        reference: "main".into(),
        tag: false,
        sha: format!("{:040x}", 1),
        before: None,
        source: "push",
        fact: Some("the same".into()),
        variables: vec![],
        actor: bascule_core::Actor::system(),
        more: bascule_ci::pipeline::More::default(),
    };
    let first = world.ci.create_pipeline(start.clone()).await.unwrap();
    assert_eq!(world.ci.create_pipeline(start).await.unwrap(), first);
    assert_eq!(world.facts("pipeline.created").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_file_is_a_failed_pipeline_that_names_line_and_column() {
    let world = World::new().await;
    world
        .push("main", &[(".gitlab-ci.yml", "build:\n  scirpt: make\n")])
        .await;
    let pipeline = world.pipeline().await;
    assert_eq!(pipeline["status"], "failed");
    assert_eq!(
        (&pipeline["faults"][0]["line"], &pipeline["faults"][0]["column"]),
        (&json!(2), &json!(3))
    );
    let refused = world.facts("pipeline.refused").await;
    assert!(
        refused[0].summary.contains("did you mean `script`"),
        "{}",
        refused[0].summary
    );
    let id = pipeline["id"].as_i64().unwrap();
    let page = world
        .page(&format!("/clinic/app/-/pipelines/{id}"), "reporter")
        .await;
    assert!(page.contains(".gitlab-ci.yml:2:3"), "the page names the place");
}

#[tokio::test(flavor = "multi_thread")]
async fn included_files_come_from_the_same_commit() {
    let world = World::new().await;
    let main = "include: ci/jobs.yml\n";
    world
        .push(
            "main",
            &[(".gitlab-ci.yml", main), ("ci/jobs.yml", "a: {script: x}\n")],
        )
        .await;
    assert_eq!(world.states().await, pairs(&[("a", "pending")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_no_pipeline_and_skip_ci_is_obeyed() {
    let world = World::new().await;
    world.push("main", &[("README.md", "x")]).await;
    world
        .push_with("main", &[(".gitlab-ci.yml", TWO)], "Fix [skip ci]")
        .await;
    let list = world.get("/api/v1/projects/clinic/app/pipelines").await;
    assert_eq!(list["pipelines"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_decide() {
    let world = World::new().await;
    let ci = "doc: {script: x, rules: [{changes: ['docs/**/*']}]}\ncode: {script: x, rules: [{changes: ['src/*']}]}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    world
        .push("main", &[(".gitlab-ci.yml", ci), ("docs/a/b.md", "x")])
        .await;
    assert_eq!(world.states().await, pairs(&[("doc", "pending")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_skips_what_follows_and_a_retry_brings_it_back() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci =
        "a: {stage: build, script: x}\nb: {script: x}\nclean: {stage: deploy, script: x, when: on_failure}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let a = runner.ask().await.unwrap();
    runner.fail(&a, 2).await;
    assert_eq!(
        world.states().await,
        pairs(&[("a", "failed"), ("b", "skipped"), ("clean", "pending")])
    );
    let clean = runner.ask().await.unwrap();
    runner.succeed(&clean).await;
    let pipeline = world.pipeline().await;
    assert_eq!(pipeline["status"], "failed");
    assert_eq!(pipeline["jobs"][0]["exit_code"], 2);
    let path = format!("/api/v1/projects/clinic/app/pipelines/{}/retry", pipeline["id"]);
    assert_eq!(
        world.post(&path, "reporter", json!({})).await.status(),
        403,
        "a reporter may not"
    );
    assert_eq!(world.post(&path, "developer", json!({})).await.status(), 200);
    let again = runner.ask().await.unwrap();
    assert_eq!(again.body["job_info"]["name"], "a");
    runner.succeed(&again).await;
    let b = runner.ask().await.expect("what was skipped runs now");
    runner.succeed(&b).await;
    assert_eq!(world.pipeline().await["status"], "success");
    assert_eq!(world.facts("job.retried").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_failures_warn() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "a: {script: x, allow_failure: {exit_codes: 3}}\nb: {stage: deploy, script: x}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let a = runner.ask().await.unwrap();
    runner.fail(&a, 3).await;
    let b = runner.ask().await.expect("goes on");
    runner.succeed(&b).await;
    assert_eq!(world.pipeline().await["status"], "warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_job_waits_for_a_person() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "a: {script: x, rules: [{when: manual}]}\nb: {stage: deploy, script: x}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    assert_eq!(world.pipeline().await["status"], "manual");
    assert!(runner.ask().await.is_none());
    let id = world.pipeline().await["jobs"][0]["id"].as_i64().unwrap();
    let path = format!("/api/v1/projects/clinic/app/jobs/{id}/play");
    assert_eq!(world.post(&path, "developer", json!({})).await.status(), 200);
    assert_eq!(
        world.post(&path, "developer", json!({})).await.status(),
        409,
        "not twice"
    );
    assert!(runner.ask().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_reaches_the_runner() {
    let world = World::new().await;
    let runner = world.runner().await;
    world.push("main", &[(".gitlab-ci.yml", TWO)]).await;
    let build = runner.ask().await.unwrap();
    let id = world.pipeline().await["id"].as_i64().unwrap();
    let path = format!("/api/v1/projects/clinic/app/pipelines/{id}/cancel");
    assert_eq!(world.post(&path, "developer", json!({})).await.status(), 200);
    assert_eq!(world.pipeline().await["status"], "canceled");
    let told = runner.patch(&build, 0, b"more").await;
    assert_eq!(told.status(), 403);
    assert_eq!(told.headers()["job-status"], "canceled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_runner_s_job_is_tried_once_more_and_says_so() {
    let world = World::new().await;
    let runner = world.runner().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let first = runner.ask().await.unwrap();
    world.wait(50).await;
    assert_eq!(runner.patch(&first, 0, b"still here\n").await.status(), 202);
    world.wait(50).await;
    assert_eq!(
        world.states().await,
        pairs(&[("a", "running")]),
        "it was heard of 50 s ago"
    );
    world.wait(20).await;
    let second = runner.ask().await.expect("tried again");
    assert_ne!(second.id, first.id);
    let log = world.request(
        Method::GET,
        &format!("/api/v1/projects/clinic/app/jobs/{}/log", first.id),
        "reporter",
    );
    let log = log.send().await.unwrap().text().await.unwrap();
    assert!(
        log.starts_with("still here\n") && log.contains("not heard of"),
        "{log}"
    );
    // The machine slept, or the database was away: nobody could have been heard.
    world.clock.advance(Duration::from_secs(70));
    world.ci.sweep().await.unwrap();
    assert_eq!(world.pipeline().await["status"], "running");
    world.wait(70).await;
    assert!(runner.ask().await.is_none(), "only once");
    assert_eq!(world.pipeline().await["status"], "failed");
    let retried = world.facts("job.retried").await;
    assert!(retried[0].summary.contains("runner_system_failure"));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_runner_that_restarts_are_given_up_at_once() {
    let world = World::new().await;
    let (id, token) = world.ci.embedded_runner("embedded").await.unwrap();
    let runner = crate::harness::FakeRunner {
        http: world.http.clone(),
        url: world.url.clone(),
        token: token.clone(),
    };
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    runner.ask().await.unwrap();
    let (same, renewed) = world.ci.embedded_runner("embedded").await.unwrap();
    assert_eq!(same, id);
    assert_ne!(renewed, token);
    assert_eq!(
        world
            .ci
            .fail_jobs_of_runner(id, "the server was started again")
            .await
            .unwrap(),
        1
    );
    let again = crate::harness::FakeRunner {
        token: renewed,
        ..runner
    };
    assert!(again.ask().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_s_release_job_asks_for_a_release_with_the_pipeline_s_archives() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "build: {stage: build, script: make, artifacts: {paths: [out/]}}\n\
              release: {stage: deploy, script: x, release: {tag_name: $CI_COMMIT_TAG, name: 'App $CI_COMMIT_TAG', description: \"By $WHO\"}, variables: {WHO: us}}\n";
    let sha = world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let build = runner.ask().await.unwrap();
    runner.succeed(&build).await;
    let on_branch = runner.ask().await.unwrap();
    runner.succeed(&on_branch).await;
    assert!(
        world.facts("release.requested").await.is_empty(),
        "a branch makes no release"
    );

    let at = bascule_core::Timestamp::from_seconds(1_750_000_000);
    let fact = TagUpdated {
        project: world.project,
        tag: "v1.0".into(),
        before: None,
        after: Some(sha),
        at,
        ci_skip: false,
        ci_options: None,
    };
    world.tell(&fact).await;
    let build = runner.ask().await.unwrap();
    assert_eq!(build.body["git_info"]["ref_type"], "tag");
    assert_eq!(
        runner.upload(&build, "archive", b"PK-not-really").await.status(),
        201
    );
    runner.succeed(&build).await;
    let release = runner.ask().await.unwrap();
    assert_eq!(release.body["dependencies"][0]["name"], "build");
    runner.succeed(&release).await;
    let fact: ReleaseRequested = world.facts("release.requested").await[0].fact().unwrap();
    assert_eq!(
        (fact.tag.as_str(), fact.name.as_str(), fact.description.as_str()),
        ("v1.0", "App v1.0", "By us")
    );
    assert_eq!(fact.project_path, "clinic/app");
    assert_eq!(fact.artifacts.len(), 1);
    assert_eq!(
        fact.artifacts[0].digest,
        bascule_core::Digest::of(b"PK-not-really")
    );
    assert!(fact.ci_file_digest.is_some() && fact.runner.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_of_its_pipelines_own_protected_tag() {
    let world = World::new().await;
    let runner = world.runner().await;
    for (tag, asked, words) in [
        ("foo", "v9.0.0", "a release is of its pipeline's own tag"),
        ("v1.0.0", "v9.0.0", "runs for the tag `v1.0.0`"),
        ("foo", "$CI_COMMIT_TAG", "the tag `foo` is not protected"),
    ] {
        let ci = format!("r: {{script: 'true', release: {{tag_name: {asked}, description: x}}}}\n");
        let sha = world.push("topic", &[(".gitlab-ci.yml", &ci)]).await;
        let on_branch = runner.ask().await.unwrap();
        runner.succeed(&on_branch).await;
        let fact = TagUpdated {
            project: world.project,
            tag: tag.into(),
            before: None,
            after: Some(sha),
            at: bascule_core::Timestamp::from_seconds(1_750_000_000),
            ci_skip: false,
            ci_options: None,
        };
        world.tell(&fact).await;
        let release = runner.ask().await.unwrap();
        runner.succeed(&release).await;
        assert_eq!(world.pipeline().await["status"], "failed", "{tag} {asked}");
        let path = format!("/clinic/app/-/jobs/{}/raw", release.id);
        let log = world
            .request(Method::GET, &path, "reporter")
            .send()
            .await
            .unwrap();
        let log = log.text().await.unwrap();
        assert!(log.contains(words), "{log}");
        assert!(world.facts("release.requested").await.is_empty(), "{tag} {asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_the_project_reach_jobs_masked_and_protected() {
    let world = World::new().await;
    let runner = world.runner().await;
    let path = "/api/v1/projects/clinic/app/ci/variables";
    let set = |name: &str, body: serde_json::Value| {
        world
            .request(Method::PUT, &format!("{path}/{name}"), "admin")
            .json(&body)
            .send()
    };
    assert_eq!(
        set(
            "KEY",
            json!({"value": "hunter2-hunter2", "masked": true, "protected": true})
        )
        .await
        .unwrap()
        .status(),
        204
    );
    assert_eq!(
        set("SHORT", json!({"value": "x", "masked": true}))
            .await
            .unwrap()
            .status(),
        422
    );
    assert_eq!(set("A-B", json!({"value": "x"})).await.unwrap().status(), 422);
    let list: serde_json::Value = world
        .request(Method::GET, path, "admin")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&list[0]["name"], &list[0]["value"]),
        (&json!("KEY"), &json!(null))
    );
    assert_eq!(
        world
            .request(Method::GET, path, "developer")
            .send()
            .await
            .unwrap()
            .status(),
        403
    );

    world
        .push(
            "main",
            &[(".gitlab-ci.yml", "a: {script: x, variables: {KEY: file}}\n")],
        )
        .await;
    world
        .push("feature", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let value = |job: &crate::harness::Taken| {
        let list = job.body["variables"].as_array().unwrap();
        list.iter().rev().find(|v| v["key"] == "KEY").cloned()
    };
    let on_main = value(&runner.ask().await.unwrap()).unwrap();
    assert_eq!(
        (&on_main["value"], &on_main["masked"]),
        (&json!("hunter2-hunter2"), &json!(true))
    );
    assert!(
        value(&runner.ask().await.unwrap()).is_none(),
        "not for an unprotected branch"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_fair_and_tags_are_respected() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "gpu: {script: x, tags: [gpu]}\nlinux: {script: x, tags: [linux]}\nany: {script: x}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    assert_eq!(runner.ask().await.unwrap().body["job_info"]["name"], "linux");
    assert_eq!(runner.ask().await.unwrap().body["job_info"]["name"], "any");
    assert!(runner.ask().await.is_none(), "no runner has the tag gpu");
    let id = world.pipeline().await["jobs"][0]["id"].as_i64().unwrap();
    let page = world.page(&format!("/clinic/app/-/jobs/{id}"), "reporter").await;
    assert!(
        page.contains("No runner has the tag <code>gpu</code>"),
        "the page says why it waits"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_resource_group_runs_at_a_time() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "a: {script: x, resource_group: prod}\nb: {script: x, resource_group: prod}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    world.ci.turn().await;
    let a = runner.ask().await.unwrap();
    assert!(runner.ask().await.is_none());
    assert_eq!(
        world.states().await,
        pairs(&[("a", "running"), ("b", "waiting_for_resource")])
    );
    runner.succeed(&a).await;
    world.ci.turn().await;
    assert!(runner.ask().await.is_some());
}

async fn no_job_is_given_twice(world: &World) {
    let ci: String = (0..40).map(|i| format!("j{i}: {{script: x}}\n")).collect();
    let runner = world.runner().await;
    world.push("main", &[(".gitlab-ci.yml", &ci)]).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let runner = runner.clone();
        tasks.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(job) = runner.ask().await {
                runner.succeed(&job).await;
                mine.push(job.id);
            }
            mine
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all.sort_unstable();
    let unique = {
        let mut u = all.clone();
        u.dedup();
        u.len()
    };
    assert_eq!((all.len(), unique), (40, 40));
    assert_eq!(world.pipeline().await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_given_twice_on_sqlite() {
    no_job_is_given_twice(&World::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_given_twice_on_postgres() {
    let postgres = bascule_testkit::Postgres::start();
    no_job_is_given_twice(&World::on(Some(postgres.url())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_and_tried_again_waits_for_its_turn() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "stages: [build, test, deploy]\nbuild: {stage: build, script: x}\ntest: {stage: test, script: x}\n\
              deploy: {stage: deploy, script: x, when: manual}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    runner.ask().await.unwrap();
    let id = world.pipeline().await["id"].clone();
    let act = async |path: String| {
        let path = format!("/api/v1/projects/clinic/app/{path}");
        let response = world.post(&path, "admin", serde_json::json!({})).await;
        assert!(response.status().is_success(), "{path}: {}", response.status());
    };
    act(format!("pipelines/{id}/cancel")).await;
    act(format!("pipelines/{id}/retry")).await;
    // The build that was stopped begins again, and nothing beside it.
    let build = runner.ask().await.unwrap();
    assert_eq!(build.body["job_info"]["name"], "build");
    assert!(runner.ask().await.is_none());
    // A single job behind it neither.
    let newest = async |name: &str| {
        let jobs = world.pipeline().await["jobs"].clone();
        let mut of: Vec<_> = jobs
            .as_array()
            .unwrap()
            .iter()
            .filter(|job| job["name"] == name)
            .collect();
        of.sort_by_key(|job| job["id"].as_i64());
        of.last().unwrap()["id"].clone()
    };
    for name in ["test", "deploy"] {
        act(format!("jobs/{}/cancel", newest(name).await)).await;
        act(format!("jobs/{}/retry", newest(name).await)).await;
    }
    assert!(runner.ask().await.is_none());
    runner.succeed(&build).await;
    let test = runner.ask().await.unwrap();
    assert_eq!(test.body["job_info"]["name"], "test");
    runner.succeed(&test).await;
    // Nobody has said that it shall run.
    assert!(runner.ask().await.is_none());
    act(format!("jobs/{}/play", newest("deploy").await)).await;
    let deploy = runner.ask().await.unwrap();
    runner.fail(&deploy, 1).await;
    // Who tries again what began once need not say so twice.
    act(format!("jobs/{}/retry", newest("deploy").await)).await;
    assert_eq!(runner.ask().await.unwrap().body["job_info"]["name"], "deploy");
}
