//! What happens by itself: bridges, delayed jobs, resource groups, environments, and what a newer commit does.

use crate::{
    harness::World,
    town::{act, job, pipeline, rest, town, town_on},
};
use bascule_ledger::facts::forge::BranchUpdated;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const PARENT: &str = "
variables: {COLOUR: blue}
before: {stage: build, script: x}
child:
  stage: test
  variables: {SIZE: '$COLOUR-$KIND', KIND: large}
  trigger: {include: child.yml, strategy: depend}
after: {stage: deploy, script: y}
";
const CHILD: &str = "inner: {script: z}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_ends_as_its_child_does_and_opens_again_with_it() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    world
        .push("topic", &[(".gitlab-ci.yml", PARENT), ("child.yml", CHILD)])
        .await;
    let before = runner.ask().await.unwrap();
    runner.succeed(&before).await;
    rest(&world).await;
    let parent = world.pipeline().await;
    let bridge = job(&parent, "child");
    assert_eq!(bridge["status"], "running");
    let id = bridge["downstream"].clone();
    let child = pipeline(&world, &id).await;
    assert_eq!(
        (&child["source"], &child["upstream"]),
        (&json!("parent_pipeline"), &parent["id"])
    );
    assert_eq!(parent["downstream_pipelines"][0]["id"], id);
    assert_eq!(parent["downstream_pipelines"][0]["job_name"], "child");
    assert_eq!(child["upstream_pipeline"]["id"], parent["id"]);
    let inner = runner.ask().await.unwrap();
    let given: Vec<&Value> = inner.body["variables"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|variable| variable["key"] == "SIZE")
        .map(|variable| &variable["value"])
        .collect();
    assert_eq!(given, ["blue-large"], "variables are handed on with their values");
    assert!(runner.ask().await.is_none(), "what follows the bridge waits");
    runner.fail(&inner, 1).await;
    rest(&world).await;
    let failed = world.pipeline().await;
    assert_eq!(
        failed["id"], parent["id"],
        "children stand with their parents, not in the list"
    );
    assert_eq!(failed["status"], "failed");
    assert_eq!(
        job(&failed, "child")["failure_reason"],
        "downstream_pipeline_failed"
    );
    assert_eq!(job(&failed, "after")["status"], "skipped");
    act(&world, &format!("pipelines/{id}/retry"), "developer").await;
    let reopened = world.pipeline().await;
    assert_eq!(job(&reopened, "child")["status"], "running");
    assert_eq!(job(&reopened, "after")["status"], "created");
    let inner = runner.ask().await.unwrap();
    runner.succeed(&inner).await;
    rest(&world).await;
    let after = runner.ask().await.expect("what follows the bridge");
    runner.succeed(&after).await;
    assert_eq!(world.pipeline().await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn canceling_goes_down_and_a_retried_bridge_makes_another_child() {
    let (world, _town) = town().await;
    let ci =
        "child: {trigger: {include: child.yml, strategy: depend}}\nloose: {trigger: {include: child.yml}}\n";
    world
        .push("topic", &[(".gitlab-ci.yml", ci), ("child.yml", CHILD)])
        .await;
    rest(&world).await;
    let parent = world.pipeline().await;
    assert_eq!(job(&parent, "loose")["status"], "success", "it waits for nothing");
    let ids = [
        &job(&parent, "child")["downstream"],
        &job(&parent, "loose")["downstream"],
    ];
    act(&world, &format!("pipelines/{}/cancel", parent["id"]), "developer").await;
    rest(&world).await;
    for id in ids {
        assert_eq!(pipeline(&world, id).await["status"], "canceled");
    }
    let bridge = job(&parent, "child")["id"].clone();
    act(&world, &format!("jobs/{bridge}/retry"), "developer").await;
    rest(&world).await;
    let again = world.pipeline().await;
    assert_eq!(job(&again, "child")["status"], "running");
    assert_ne!(job(&again, "child")["downstream"], *ids[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_children_end_at_the_limit_which_is_named() {
    let (world, _town) = town().await;
    let ci = "again: {trigger: {include: .gitlab-ci.yml, strategy: depend}}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    for _ in 0..4 {
        rest(&world).await;
    }
    let mut at = world.pipeline().await;
    assert_eq!(at["status"], "failed");
    let mut depth = 0;
    while let Some(id) = at["jobs"][0]["downstream"].as_i64() {
        depth += 1;
        at = pipeline(&world, &json!(id)).await;
    }
    assert_eq!(depth, 2);
    assert_eq!(
        at["jobs"][0]["failure_reason"],
        "reached_max_descendant_pipelines_depth"
    );
    let log = world
        .request(
            Method::GET,
            &format!("/api/v1/projects/clinic/app/jobs/{}/log", at["jobs"][0]["id"]),
            "reporter",
        )
        .send()
        .await
        .unwrap();
    assert!(log.text().await.unwrap().contains("nested 2 deep"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_is_reached_only_with_the_right_to_run_there() {
    let (world, town) = town().await;
    let ci = "far: {trigger: {project: clinic/policy, branch: other, strategy: depend}}\n";
    world
        .push("other", &[(".gitlab-ci.yml", "deep: {script: x}\n")])
        .await;
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    rest(&world).await;
    let refused = world.pipeline().await;
    assert_eq!(
        job(&refused, "far")["failure_reason"],
        "downstream_bridge_project_not_found",
        "who sees nothing there is told of nothing"
    );
    town.guests.lock().unwrap().insert("ada".to_owned());
    act(&world, &format!("pipelines/{}/retry", refused["id"]), "developer").await;
    rest(&world).await;
    let crossed = world.pipeline().await;
    assert_eq!(job(&crossed, "far")["status"], "running");
    let (id, project) = (
        job(&crossed, "far")["downstream"].as_i64().unwrap(),
        town.other.id,
    );
    let made = world
        .ci
        .pipeline(project, bascule_core::PipelineId(id))
        .await
        .unwrap();
    assert_eq!(
        (made.source.as_str(), made.actor_name.as_str()),
        ("pipeline", "ada")
    );
    assert!(
        crossed.get("downstream_pipelines").is_none(),
        "the reporter may not read pipelines there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_job_waits_and_can_be_started_or_taken_off_its_time() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    let ci = "a: {script: x, when: delayed, start_in: 30 minutes}\nb: {script: x, when: delayed, start_in: 1 hour}\nc: {script: x, when: delayed, start_in: 1 day}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    rest(&world).await;
    let first = world.pipeline().await;
    assert_eq!(first["status"], "scheduled");
    assert!(first["jobs"][0]["run_at"].is_string());
    assert!(runner.ask().await.is_none());
    world.clock.advance(Duration::from_secs(1801));
    rest(&world).await;
    let a = runner.ask().await.expect("its time has come");
    runner.succeed(&a).await;
    let id = |name: &str| job(&first, name)["id"].clone();
    act(&world, &format!("jobs/{}/play", id("b")), "developer").await;
    let b = runner.ask().await.expect("started by hand");
    runner.succeed(&b).await;
    act(&world, &format!("jobs/{}/unschedule", id("c")), "developer").await;
    assert_eq!(world.pipeline().await["status"], "manual");
    world.clock.advance(Duration::from_secs(100_000));
    rest(&world).await;
    assert!(runner.ask().await.is_none(), "it waits for a person now");
    act(&world, &format!("jobs/{}/play", id("c")), "developer").await;
    runner.succeed(&runner.ask().await.unwrap()).await;
    assert_eq!(world.pipeline().await["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_commit_takes_the_place_of_what_has_not_begun() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    let ci = "a: {script: x}\nb: {script: x, interruptible: true}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    let first = world.pipeline().await;
    world.push("topic", &[(".gitlab-ci.yml", ci), ("f", "1")]).await;
    rest(&world).await;
    let second = world.pipeline().await;
    let first = pipeline(&world, &first["id"]).await;
    assert_eq!(
        (&first["status"], &first["canceled_for"]),
        (&json!("canceled"), &second["id"])
    );
    // One that may not be interrupted has begun: the pipeline goes on.
    let a = runner.ask().await.unwrap();
    assert_eq!(a.body["job_info"]["name"], "a");
    world.push("topic", &[(".gitlab-ci.yml", ci), ("f", "2")]).await;
    rest(&world).await;
    assert_eq!(pipeline(&world, &second["id"]).await["status"], "running");
    assert_eq!(world.facts("pipeline.superseded").await.len(), 1);
    // Another branch is another matter.
    let third = world.pipeline().await;
    world.push("other", &[(".gitlab-ci.yml", ci)]).await;
    rest(&world).await;
    assert_eq!(pipeline(&world, &third["id"]).await["status"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failure_ends_the_rest_where_the_file_says_so() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    let ci = "workflow: {auto_cancel: {on_job_failure: all}}\na: {script: x}\nb: {script: x}\nc: {script: x, allow_failure: true}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    let (a, b, c) = (
        runner.ask().await.unwrap(),
        runner.ask().await.unwrap(),
        runner.ask().await.unwrap(),
    );
    runner.fail(&c, 1).await;
    assert_eq!(
        world.pipeline().await["status"],
        "running",
        "an allowed failure ends nothing"
    );
    runner.fail(&a, 1).await;
    let ended = world.pipeline().await;
    assert_eq!(
        (&job(&ended, "b")["status"], &ended["status"]),
        (&json!("canceled"), &json!("failed"))
    );
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_comes_first_where_a_group_is_ordered_so() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    let ci = "build: {stage: build, script: x}\nship: {stage: deploy, script: x, resource_group: 'env-$CI_COMMIT_REF_NAME'}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    rest(&world).await;
    let build = runner.ask().await.unwrap();
    let set = world
        .request(
            Method::PUT,
            "/api/v1/projects/clinic/app/resource-groups/env-topic",
            "admin",
        )
        .json(&json!({"process_mode": "oldest_first"}))
        .send()
        .await
        .unwrap();
    assert_eq!(set.status(), 200);
    // A second pipeline gets ahead, but its turn comes after the first one's.
    let later = world
        .post(
            "/api/v1/projects/clinic/app/pipeline",
            "developer",
            json!({"ref": "topic"}),
        )
        .await;
    assert_eq!(later.status(), 201);
    rest(&world).await;
    let second = runner.ask().await.unwrap();
    runner.succeed(&second).await;
    rest(&world).await;
    assert!(runner.ask().await.is_none());
    assert_eq!(
        world.states().await[1],
        ("ship".to_owned(), "waiting_for_resource".to_owned())
    );
    let waits = job(&world.pipeline().await, "ship")["id"].to_string();
    let page = world
        .page(&format!("/clinic/app/-/jobs/{waits}"), "reporter")
        .await;
    assert!(
        page.contains("comes first, and that one waits for what stands before it"),
        "{page}"
    );
    runner.succeed(&build).await;
    rest(&world).await;
    let first = runner.ask().await.expect("the oldest pipeline's");
    let groups = world.get("/api/v1/projects/clinic/app/resource-groups").await;
    let held: Vec<&Value> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["held_by"])
        .collect();
    assert!(held.contains(&&json!(first.id)), "{groups}");
    runner.succeed(&first).await;
    rest(&world).await;
    assert!(runner.ask().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_are_told_and_taken_down_with_their_branch_or_time() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    let ci = "
up:
  stage: deploy
  script: x
  environment: {name: review/$CI_COMMIT_REF_SLUG, url: 'https://$CI_ENVIRONMENT_SLUG.example.org', on_stop: down, auto_stop_in: 1 week}
down:
  stage: deploy
  script: y
  when: manual
  allow_failure: true
  environment: {name: review/$CI_COMMIT_REF_SLUG, action: stop}
";
    let list = "/api/v1/projects/clinic/app/ci/environments";
    for branch in ["topic", "other"] {
        world.push(branch, &[(".gitlab-ci.yml", ci)]).await;
        let up = runner.ask().await.unwrap();
        runner.succeed(&up).await;
    }
    let all = world.get(list).await;
    assert_eq!(
        (&all[1]["name"], &all[1]["state"], &all[1]["tier"]),
        (&json!("review/topic"), &json!("available"), &json!("development"))
    );
    assert_eq!(all[1]["url"], "https://review-topic.example.org");
    assert!(all[1]["last_deployment"]["pipeline"].is_i64());
    // The branch is deleted: its stop job runs.
    world
        .tell(&BranchUpdated {
            project: world.project,
            branch: "topic".to_owned(),
            before: Some("a".repeat(40)),
            after: None,
            default: false,
            forced: false,
            commits: Vec::new(),
            commit_count: 0,
            at: bascule_core::Timestamp::from_seconds(1_750_000_000),
            ci_skip: false,
            ci_options: None,
        })
        .await;
    assert_eq!(world.get(list).await[1]["state"], "stopping");
    let down = runner.ask().await.expect("the stop job");
    assert_eq!(down.body["job_info"]["name"], "down");
    runner.succeed(&down).await;
    assert_eq!(world.get(list).await[1]["state"], "stopped");
    // The other's time is up.
    world.clock.advance(Duration::from_secs(8 * 86_400));
    rest(&world).await;
    let down = runner.ask().await.expect("the other stop job");
    runner.succeed(&down).await;
    assert_eq!(world.get(list).await[0]["state"], "stopped");
    assert_eq!(world.facts("ci_environment.changed").await.len(), 6);
}

/// Two replicas over one database do each thing once.
async fn twice_is_once(world: &World) {
    let runner = world.runner().await;
    let ci = "
a: {stage: build, script: x, resource_group: prod}
b: {stage: build, script: x, resource_group: prod}
later: {stage: build, script: x, when: delayed, start_in: 10 minutes}
child: {stage: build, trigger: {include: child.yml, strategy: depend}}
";
    world
        .push("main", &[(".gitlab-ci.yml", ci), ("child.yml", CHILD)])
        .await;
    let new = json!({"description": "Hourly", "cron": "0 * * * *"});
    let made = world
        .post("/api/v1/projects/clinic/app/schedule", "developer", new)
        .await;
    assert_eq!(made.status(), 201);
    let both = || async {
        let replicas: Vec<_> = (0..4)
            .map(|_| {
                let ci = world.ci.clone();
                tokio::spawn(async move { ci.turn().await })
            })
            .collect();
        for replica in replicas {
            replica.await.unwrap();
        }
        world.settle().await;
    };
    both().await;
    let first = world.pipeline().await;
    assert_eq!(
        world
            .states()
            .await
            .iter()
            .map(|(_, state)| state.as_str())
            .collect::<Vec<_>>(),
        ["pending", "waiting_for_resource", "scheduled", "running"]
    );
    world.clock.advance(Duration::from_secs(3600));
    both().await;
    both().await;
    let list = world.get("/api/v1/projects/clinic/app/pipelines").await;
    let scheduled = list["pipelines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["source"] == "schedule")
        .count();
    assert_eq!(scheduled, 1);
    let mut names: Vec<String> = Vec::new();
    while let Some(taken) = runner.ask().await {
        names.push(taken.body["job_info"]["name"].as_str().unwrap().to_owned());
        runner.succeed(&taken).await;
        both().await;
    }
    let count = |name: &str| names.iter().filter(|one| *one == name).count();
    // Of both pipelines each job ran once, the delayed one of the second not yet.
    assert_eq!(
        (count("a"), count("b"), count("later"), count("inner")),
        (2, 2, 1, 2),
        "{names:?}"
    );
    let first = pipeline(world, &first["id"]).await;
    assert_eq!(first["status"], "success", "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_do_each_thing_once() {
    let (world, _town) = town().await;
    twice_is_once(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_do_each_thing_once_on_postgres() {
    let postgres = bascule_testkit::Postgres::start();
    let (world, _town) = town_on(Some(postgres.url())).await;
    twice_is_once(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_loses_is_tried_again_once_and_not_taken_from_the_files_tries() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    world
        .push(
            "topic",
            &[(
                ".gitlab-ci.yml",
                "a: {script: x, retry: {max: 1, when: script_failure}}\n",
            )],
        )
        .await;
    let lost = runner.ask().await.unwrap();
    let body = json!({"state": "failed", "failure_reason": "runner_system_failure"});
    assert_eq!(runner.update(&lost, body.clone()).await.status(), 200);
    let second = runner
        .ask()
        .await
        .expect("tried again, for it was the platform's failure");
    runner.fail(&second, 1).await;
    let third = runner.ask().await.expect("the file's own try is still there");
    runner.fail(&third, 1).await;
    assert!(runner.ask().await.is_none());
    let ended = world.pipeline().await;
    assert_eq!(ended["status"], "failed");
    let reasons: Vec<&Value> = ended["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["failure_reason"])
        .collect();
    assert_eq!(
        reasons,
        ["runner_system_failure", "script_failure", "script_failure"]
    );
}
