//! What one project has of another: pipelines, how they stand, what their jobs left; and what it may not have.

use crate::{
    harness::{FakeRunner, Taken, World},
    town::{Town, act, job, rest, town},
};
use bascule_ci::pipeline::{Created, More, Start};
use bascule_core::{Actor, ActorKind, Permission, PipelineId};
use bascule_ledger::facts::forge::{ProjectDeleted, TagUpdated};

/// A pipeline of the other project.
async fn elsewhere(world: &World, town: &Town, branch: &str, ci: &str) -> PipelineId {
    let sha = world
        .push("aside", &[("unused", ci), (".gitlab-ci.yml", ci)])
        .await;
    world
        .ci
        .cancel_pipeline(world.project, newest(world).await, &Actor::system())
        .await
        .unwrap();
    let start = Start {
        project: town.other.id,
        reference: branch.to_owned(),
        tag: false,
        sha,
        before: None,
        source: "push",
        fact: None,
        variables: Vec::new(),
        actor: Actor::new(ActorKind::User, "u", "bea"),
        more: More::default(),
    };
    match world.ci.create_pipeline(start).await.unwrap() {
        Created::Pipeline(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn newest(world: &World) -> PipelineId {
    PipelineId(world.pipeline().await["id"].as_i64().unwrap())
}

async fn leave(runner: &FakeRunner) -> Taken {
    let job = runner.ask().await.expect("a job");
    assert_eq!(runner.upload(&job, "archive", b"PK\x05\x06").await.status(), 201);
    runner.succeed(&job).await;
    job
}

fn taken_from(job: &Taken) -> Vec<i64> {
    let list = job.body["dependencies"].as_array().cloned().unwrap_or_default();
    list.iter().map(|one| one["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_reach_a_protected_branch_elsewhere_as_variables_do() {
    let (world, town) = town().await;
    town.guests.lock().unwrap().insert("ada".to_owned());
    town.closed.lock().unwrap().push(Permission::ProtectedPush);
    let there =
        "spec:\n  inputs:\n    version: {default: '1'}\n---\nscan: {script: 'scan $[[ inputs.version ]]'}\n";
    world.push("main", &[(".gitlab-ci.yml", there)]).await;
    let ci = "far: {trigger: {project: clinic/policy, branch: main, inputs: {version: '1; env'}}}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    rest(&world).await;
    let refused = world.pipeline().await;
    assert_eq!(
        job(&refused, "far")["failure_reason"],
        "insufficient_bridge_permissions"
    );
    let path = format!(
        "/api/v1/projects/clinic/app/jobs/{}/log",
        job(&refused, "far")["id"]
    );
    let log = world.page(&path, "reporter").await;
    assert!(
        log.contains("is protected, and its jobs see protected variables")
            && log.contains("Leave out `trigger:inputs`"),
        "{log}"
    );
    town.closed.lock().unwrap().clear();
    act(&world, &format!("pipelines/{}/retry", refused["id"]), "developer").await;
    rest(&world).await;
    assert_eq!(job(&world.pipeline().await, "far")["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_ends_with_what_it_mirrors_and_keeps_no_bridge_back() {
    let (world, town) = town().await;
    town.guests.lock().unwrap().insert("ada".to_owned());
    let runner = world.runner().await;
    let other = elsewhere(&world, &town, "main", "deep: {script: x}\n").await;
    let ci = "mirror: {parallel: 101, needs: [{pipeline: clinic/policy}]}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    rest(&world).await;
    let mirrors = newest(&world).await;
    assert_eq!(world.states().await[0].1, "running");
    // Others are crossed although more than a page of mirrors waits.
    world
        .push(
            "other",
            &[
                (".gitlab-ci.yml", "child: {trigger: {include: c.yml}}\n"),
                ("c.yml", "a: {script: x}\n"),
            ],
        )
        .await;
    world.ci.turn().await;
    assert_eq!(
        world.states().await[0],
        ("child".to_owned(), "success".to_owned())
    );
    let deep = runner.ask().await.unwrap();
    runner.fail(&deep, 1).await;
    rest(&world).await;
    assert_eq!(
        world
            .ci
            .pipeline(town.other.id, other)
            .await
            .unwrap()
            .status
            .as_str(),
        "failed"
    );
    let ended = world.ci.pipeline(world.project, mirrors).await.unwrap();
    assert_eq!(ended.status.as_str(), "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn bridges_do_not_wait_for_a_project_that_is_gone() {
    let (world, town) = town().await;
    town.guests.lock().unwrap().insert("ada".to_owned());
    world
        .push("other", &[(".gitlab-ci.yml", "deep: {script: x}\n")])
        .await;
    let ci = "far: {trigger: {project: clinic/policy, branch: other, strategy: depend}}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    rest(&world).await;
    assert_eq!(world.states().await[0].1, "running");
    let gone = ProjectDeleted {
        project: town.other.id,
        path: "clinic/policy".to_owned(),
    };
    world.tell(&gone).await;
    assert_eq!(world.pipeline().await["status"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_artifacts_are_had_only_by_who_may_have_them() {
    let (world, town) = town().await;
    let runner = world.runner().await;
    let mut jobs = Vec::new();
    for access in ["all", "maintainer", "none"] {
        let ci = format!("build: {{script: x, artifacts: {{paths: [x], access: {access}}}}}\n");
        elsewhere(&world, &town, access, &ci).await;
        jobs.push(leave(&runner).await.id);
    }
    // What a job on `topic` gets of each.
    let take = async |guest: bool, closed: &[Permission]| {
        town.guests.lock().unwrap().clear();
        if guest {
            town.guests.lock().unwrap().insert("ada".to_owned());
        }
        *town.closed.lock().unwrap() = closed.to_vec();
        let mut had = Vec::new();
        for branch in ["all", "maintainer", "none"] {
            let need = format!("{{project: clinic/policy, ref: {branch}, job: build}}");
            let ci = format!("use: {{script: x, needs: [{need}]}}\n");
            world.push("topic", &[(".gitlab-ci.yml", &ci)]).await;
            if let Some(taken) = runner.ask().await {
                runner.succeed(&taken).await;
                had.extend(taken_from(&taken));
            } else {
                let refused = world.pipeline().await;
                assert_eq!(
                    job(&refused, "use")["failure_reason"],
                    "missing_dependency_failure"
                );
            }
        }
        had
    };
    assert_eq!(take(false, &[]).await, [0_i64; 0], "who reads the code alone");
    assert_eq!(take(true, &[Permission::ProjectManage]).await, [jobs[0]]);
    assert_eq!(take(true, &[]).await, [jobs[0], jobs[1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelines_number_opens_nothing_outside_its_family() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    let build = "build: {script: x, artifacts: {paths: [x]}}\n";
    world.push("main", &[(".gitlab-ci.yml", build)]).await;
    leave(&runner).await;
    let number = newest(&world).await;
    let ci = format!("use: {{script: x, needs: [{{pipeline: '{number}', job: build}}]}}\n");
    world.push("topic", &[(".gitlab-ci.yml", &ci)]).await;
    assert!(runner.ask().await.is_none());
    let refused = world.pipeline().await;
    assert_eq!(
        job(&refused, "use")["failure_reason"],
        "missing_dependency_failure"
    );
    // A child takes what its parent left.
    let parent = format!(
        "{build}child: {{stage: deploy, variables: {{UP: $CI_PIPELINE_ID}}, trigger: {{include: c.yml}}}}\n"
    );
    let child = "use: {script: x, needs: [{pipeline: $UP, job: build}]}\n";
    world
        .push("other", &[(".gitlab-ci.yml", &parent), ("c.yml", child)])
        .await;
    let left = leave(&runner).await;
    rest(&world).await;
    assert_eq!(taken_from(&runner.ask().await.unwrap()), [left.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_called_like_a_branch_is_not_the_branch() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    let build = "build: {script: x, artifacts: {paths: [x]}}\n";
    let sha = world.push("main", &[(".gitlab-ci.yml", build)]).await;
    let trunk = leave(&runner).await;
    world
        .tell(&TagUpdated {
            project: world.project,
            tag: "main".to_owned(),
            before: None,
            after: Some(sha),
            at: bascule_core::Timestamp::from_seconds(1_750_000_000),
            ci_skip: false,
            ci_options: None,
        })
        .await;
    let tagged = leave(&runner).await;
    assert_ne!(trunk.id, tagged.id);
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = format!(
        "{}/clinic/app/-/jobs/artifacts/main/download?job=build",
        world.url
    );
    let found = client.get(url).bearer_auth("reporter").send().await.unwrap();
    let to = found.headers()["location"].to_str().unwrap();
    assert!(to.contains(&format!("/jobs/{}/", trunk.id)), "{to}");
}

/// What is asked each second must not read every job that is kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_asks_is_answered_by_indexes() {
    let (world, _town) = town().await;
    bascule_store::row! { struct Step { detail: String } }
    for sql in [
        "SELECT id FROM job WHERE status = 'running' AND bridge AND downstream_id IS NULL AND id > 0 ORDER BY id LIMIT 100",
        "SELECT DISTINCT project_id, resource_group FROM job WHERE status = 'waiting_for_resource' AND resource_group IS NOT NULL ORDER BY project_id, resource_group LIMIT 1000",
        "SELECT id FROM job WHERE status = 'scheduled' AND run_at <= 1 ORDER BY run_at, id LIMIT 100",
        "SELECT id FROM job WHERE downstream_id = 1 AND status = 'running' AND bridge AND id > 0 ORDER BY id LIMIT 100",
    ] {
        use bascule_store::Query as _;
        let plan: Vec<Step> = world
            .db
            .all(&format!("EXPLAIN QUERY PLAN {sql}"), bascule_store::args![])
            .await
            .unwrap();
        let plan: Vec<String> = plan.into_iter().map(|step| step.detail).collect();
        let part = ["job_to_cross", "job_for_resource", "job_run_at", "job_downstream"];
        let by_index =
            |step: &String| step.starts_with("USE TEMP") || part.iter().any(|name| step.contains(name));
        assert!(plan.iter().all(by_index), "{sql}: {plan:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_was_canceled_makes_nothing() {
    let (world, _town) = town().await;
    world
        .push(
            "topic",
            &[
                (".gitlab-ci.yml", "child: {trigger: {include: c.yml}}\n"),
                ("c.yml", "a: {script: x}\n"),
            ],
        )
        .await;
    let parent = world.pipeline().await;
    let (id, bridge) = (newest(&world).await, job(&parent, "child")["id"].clone());
    act(&world, &format!("jobs/{bridge}/cancel"), "developer").await;
    let made = world
        .ci
        .create_pipeline(Start {
            project: world.project,
            reference: "topic".to_owned(),
            tag: false,
            sha: parent["sha"].as_str().unwrap().to_owned(),
            before: None,
            source: "pipeline",
            fact: Some(format!("bridge:{bridge}")),
            variables: Vec::new(),
            actor: Actor::system(),
            more: More {
                upstream: Some(bascule_ci::pipeline::Upstream {
                    pipeline: id,
                    job: bascule_core::JobId(bridge.as_i64().unwrap()),
                    root: id,
                    depth: 1,
                }),
                ..More::default()
            },
        })
        .await
        .unwrap();
    // As where the engine planned it while a person canceled: its file has jobs, but nobody would cancel them.
    assert!(matches!(made, Created::Nothing(_)), "{made:?}");
    rest(&world).await;
    assert_eq!(newest(&world).await, id);
}
