//! What happens by itself: bridges, delayed jobs, schedules, required pipelines, and what a newer commit does.

use crate::harness::World;
use async_trait::async_trait;
use bascule_ci::ports::{Neighbour, Reach};
use bascule_core::{Actor, GroupId, Permission, ProjectId, Result};
use bascule_ledger::facts::{forge::BranchUpdated, identity::UserDeactivated};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Two projects of one group, and who may do what in which.
struct Town {
    own: Neighbour,
    other: Neighbour,
    /// User names that may do nothing any more.
    out: Mutex<BTreeSet<String>>,
    /// User names that may run pipelines in the other project.
    guests: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Reach for Town {
    async fn find(&self, path: &str) -> Result<Option<Neighbour>> {
        Ok([&self.own, &self.other]
            .into_iter()
            .find(|one| one.path == path)
            .cloned())
    }

    async fn get(&self, project: ProjectId) -> Result<Option<Neighbour>> {
        Ok([&self.own, &self.other]
            .into_iter()
            .find(|one| one.id == project)
            .cloned())
    }

    async fn of_group(&self, _: GroupId, after: &str, _: i64) -> Result<Vec<Neighbour>> {
        Ok([&self.own, &self.other]
            .into_iter()
            .filter(|one| one.path.as_str() > after)
            .cloned()
            .collect())
    }

    async fn may(&self, actor: &Actor, project: ProjectId, permission: Permission) -> Result<bool> {
        if self.out.lock().unwrap().contains(&actor.name) {
            return Ok(false);
        }
        Ok(project == self.own.id
            || permission == Permission::CodeRead
            || self.guests.lock().unwrap().contains(&actor.name))
    }

    async fn is_open(&self, _: &str) -> Result<bool> {
        Ok(true)
    }
}

async fn town() -> (World, Arc<Town>) {
    town_on(None).await
}

async fn town_on(postgres: Option<&str>) -> (World, Arc<Town>) {
    let world = World::on(postgres).await;
    let group = GroupId::new();
    let one = |id, path: &str| Neighbour {
        id,
        group,
        path: path.to_owned(),
        default_branch: "main".to_owned(),
    };
    let town = Arc::new(Town {
        own: one(world.project, "clinic/app"),
        other: one(ProjectId::new(), "clinic/policy"),
        out: Mutex::default(),
        guests: Mutex::default(),
    });
    world.ci.set_reach(town.clone());
    (world, town)
}

/// Lets all that follows by itself happen.
async fn rest(world: &World) {
    for _ in 0..4 {
        world.ci.turn().await;
        world.settle().await;
    }
}

fn job<'a>(pipeline: &'a Value, name: &str) -> &'a Value {
    pipeline["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .rfind(|job| job["name"] == name)
        .unwrap_or_else(|| panic!("no job {name} in {pipeline}"))
}

async fn pipeline(world: &World, id: &Value) -> Value {
    world
        .get(&format!("/api/v1/projects/clinic/app/pipelines/{id}"))
        .await
}

async fn act(world: &World, path: &str, who: &str) -> Value {
    let response = world
        .post(&format!("/api/v1/projects/clinic/app/{path}"), who, json!({}))
        .await;
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.json().await.unwrap()
}

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
async fn a_schedule_runs_once_for_all_replicas_and_stops_with_its_owner() {
    let (world, town) = town().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let path = "/api/v1/projects/clinic/app/schedule";
    let bad = world
        .post(
            path,
            "developer",
            json!({"description": "x", "cron": "* * * * *"}),
        )
        .await;
    assert_eq!(bad.status(), 422);
    let refused = world
        .post(
            path,
            "developer",
            json!({"description": "x", "cron": "0 3 * * *", "variables": {"A": "1"}}),
        )
        .await;
    assert_eq!(
        refused.status(),
        403,
        "main is protected, and variables could turn its secrets to other ends"
    );
    let new = json!({"description": "Nightly", "cron": "0 3 * * *", "timezone": "Europe/Paris"});
    let made: Value = world.post(path, "developer", new).await.json().await.unwrap();
    assert_eq!(made["ref"], "main");
    let due: bascule_core::Timestamp = made["next_run_at"].as_str().unwrap().parse().unwrap();
    world
        .clock
        .advance(due.since(bascule_core::Clock::now(&world.clock)) + Duration::from_secs(1));
    // Two replicas look at the same time.
    let (one, two) = (world.ci.clone(), world.ci.clone());
    tokio::join!(one.turn(), two.turn());
    rest(&world).await;
    let run = world.pipeline().await;
    assert_eq!(
        (&run["source"], &run["schedule"], &run["actor"]),
        (&json!("schedule"), &made["id"], &json!("developer"))
    );
    let all = world.get("/api/v1/projects/clinic/app/pipelines").await;
    assert_eq!(all["pipelines"].as_array().unwrap().len(), 2, "{all}");
    let schedule = format!("/api/v1/projects/clinic/app/schedules/{}", made["id"]);
    let after = world.get(&schedule).await;
    assert_eq!(after["last_pipeline"], run["id"]);
    // Missed runs are made up for once.
    world.clock.advance(Duration::from_secs(5 * 86_400));
    rest(&world).await;
    let all = world.get("/api/v1/projects/clinic/app/pipelines").await;
    assert_eq!(all["pipelines"].as_array().unwrap().len(), 3);
    town.out.lock().unwrap().insert("developer".to_owned());
    world.clock.advance(Duration::from_secs(86_400));
    rest(&world).await;
    let stopped = world.get(&schedule).await;
    assert_eq!(stopped["active"], false);
    assert!(
        stopped["stopped"]
            .as_str()
            .unwrap()
            .contains("may not run pipelines"),
        "{stopped}"
    );
    assert_eq!(world.facts("schedule.stopped").await.len(), 1);
    let page = world.page("/clinic/app/-/schedules", "reporter").await;
    assert!(
        page.contains("Nightly") && page.contains("Stopped, because"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_stops_its_schedules_at_once() {
    let (world, _town) = town().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let new = json!({"description": "Nightly", "cron": "0 3 * * *"});
    let made: Value = world
        .post("/api/v1/projects/clinic/app/schedule", "developer", new)
        .await
        .json()
        .await
        .unwrap();
    let owner = world.ci.schedule(world.project, 1).await.unwrap().owner_id;
    world
        .tell(&UserDeactivated {
            user: owner.parse().unwrap(),
            username: "developer".to_owned(),
            sessions: 0,
            tokens: 0,
            keys: 0,
            partner: false,
            reason: String::new(),
        })
        .await;
    let path = format!("/api/v1/projects/clinic/app/schedules/{}", made["id"]);
    let stopped = world.get(&path).await;
    assert_eq!(stopped["stopped"], "the account of its owner developer is closed");
}

const POLICY: &str = "pipelines:\n  - {name: security, file: scan.yml}\n";
const SCAN: &str =
    "scan: {script: scan, rules: [{if: '$OFF', when: never}, {when: always}], variables: {LEVEL: high}}\n";

/// A policy that holds for the world's group, and the branch of the policy project that it stands on.
async fn enforce(world: &World, town: &Town, files: &[(&str, &str)]) -> String {
    let sha = world.push("main", files).await;
    let group = bascule_core::GroupScope {
        id: town.own.group,
        name: "clinic".to_owned(),
        role: bascule_core::Role::Owner,
    };
    let user = bascule_core::UserId::new();
    let caller = bascule_core::Caller {
        actor: Actor::new(bascule_core::ActorKind::User, user, "security"),
        user: Some(user),
        instance_role: bascule_core::InstanceRole::Member,
        ..bascule_core::Caller::anonymous()
    };
    let request = bascule_wire::pipelines::SetRequiredPipelines {
        policy: Some("clinic/policy".to_owned()),
    };
    let held = world
        .ci
        .set_required_pipelines(&caller, &group, &request)
        .await
        .unwrap();
    assert_eq!(held.sha.as_deref(), Some(sha.as_str()));
    sha
}

async fn names(world: &World) -> Vec<String> {
    world.states().await.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_requires_cannot_be_got_round() {
    let (world, town) = town().await;
    enforce(
        &world,
        &town,
        &[("required-pipelines.yml", POLICY), ("scan.yml", SCAN)],
    )
    .await;
    let before = world.get("/api/v1/projects/clinic/app/pipelines").await["pipelines"]
        .as_array()
        .unwrap()
        .len();
    // A variable of the project that the template's rule asks about; it sees the project's variables nowhere.
    let set = json!({"value": "1"});
    let response = world
        .request(
            Method::PUT,
            "/api/v1/projects/clinic/app/ci/variables/OFF",
            "admin",
        )
        .json(&set)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 204);
    for (what, files, message) in [
        ("no CI file", vec![("README", "x")], "Change"),
        (
            "workflow says no",
            vec![(
                ".gitlab-ci.yml",
                "workflow: {rules: [{when: never}]}\na: {script: x}\n",
            )],
            "Change",
        ),
        (
            "skip ci",
            vec![(".gitlab-ci.yml", "a: {script: x}\n")],
            "Change [skip ci]",
        ),
        (
            "no job for this ref",
            vec![(".gitlab-ci.yml", "a: {script: x, only: [tags]}\n")],
            "Change",
        ),
    ] {
        world.push_with("topic", &files, message).await;
        assert_eq!(names(&world).await, ["security/scan"], "{what}");
    }
    let of_same_name = "security/scan: {script: fake, stage: security}\nstages: [security]\ndefault: {tags: [none]}\nvariables: {LEVEL: low, GIT_STRATEGY: none}\n";
    world.push("topic", &[(".gitlab-ci.yml", of_same_name)]).await;
    let both = world.pipeline().await;
    assert_eq!(names(&world).await, ["security/scan", "security/scan (required)"]);
    assert_eq!(job(&both, "security/scan (required)")["required"], "security");
    assert!(job(&both, "security/scan").get("required").is_none());
    assert_eq!(
        job(&both, "security/scan (required)")["stage"],
        "security (required)"
    );
    assert_eq!(job(&both, "security/scan (required)")["tags"], json!([]));
    // Its jobs see their own values, not the project's.
    let runner = world.runner().await;
    let mut seen = Vec::new();
    while let Some(taken) = runner.ask().await {
        if taken.body["job_info"]["name"] == "security/scan (required)" {
            for variable in taken.body["variables"].as_array().unwrap() {
                seen.push((
                    variable["key"].as_str().unwrap().to_owned(),
                    variable["value"].clone(),
                ));
            }
        }
        runner.succeed(&taken).await;
    }
    let value = |key: &str| {
        seen.iter()
            .rfind(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(value("LEVEL"), Some(json!("high")));
    assert_eq!((value("OFF"), value("GIT_STRATEGY")), (None, None));
    // A faulty file fails the pipeline, and what is required runs all the same.
    world
        .push("topic", &[(".gitlab-ci.yml", "a: {scirpt: x}\n")])
        .await;
    assert_eq!(names(&world).await, ["security/scan"]);
    runner.succeed(&runner.ask().await.unwrap()).await;
    let faulty = world.pipeline().await;
    assert_eq!(
        (&faulty["status"], faulty["faults"].as_array().map(Vec::len)),
        (&json!("failed"), Some(1))
    );
    assert!(before < 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_from_its_next_good_commit_on() {
    let (world, town) = town().await;
    enforce(
        &world,
        &town,
        &[("required-pipelines.yml", POLICY), ("scan.yml", SCAN)],
    )
    .await;
    world.push("topic", &[("README", "x")]).await;
    assert_eq!(names(&world).await, ["security/scan"]);
    // A push to the policy project's default branch, as the forge tells of it.
    let moved = |after: &str| BranchUpdated {
        project: town.other.id,
        branch: "main".to_owned(),
        before: None,
        after: Some(after.to_owned()),
        default: true,
        forced: false,
        commits: Vec::new(),
        commit_count: 1,
        at: bascule_core::Timestamp::from_seconds(1_750_000_000),
        ci_skip: true,
    };
    let bad = world
        .push(
            "main",
            &[
                ("required-pipelines.yml", POLICY),
                ("scan.yml", "scan: {scirpt: x}\n"),
            ],
        )
        .await;
    world.tell(&moved(&bad)).await;
    world.push("topic", &[("README", "y")]).await;
    assert_eq!(
        names(&world).await,
        ["security/scan"],
        "what held before still holds"
    );
    let refused = world.facts("required_pipelines.refused").await;
    assert!(
        refused[0].summary.contains("did you mean `script`"),
        "{}",
        refused[0].summary
    );
    let good = world
        .push(
            "main",
            &[
                (
                    "required-pipelines.yml",
                    "pipelines: [{name: security, file: scan.yml, gate: true}]\n",
                ),
                ("scan.yml", "scan: {script: x}\nlicences: {script: x}\n"),
            ],
        )
        .await;
    world.tell(&moved(&good)).await;
    world
        .push("topic", &[(".gitlab-ci.yml", "a: {script: x, needs: []}\n")])
        .await;
    assert_eq!(
        world.states().await,
        [
            ("security/scan", "pending"),
            ("security/licences", "pending"),
            ("a", "created")
        ]
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert_eq!(world.facts("required_pipelines.changed").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_whom_a_policy_would_fail() {
    let (world, town) = town().await;
    world
        .push(
            "main",
            &[
                (
                    "required-pipelines.yml",
                    "pipelines: [{name: security, file: scan.yml, except: [none]}]\n",
                ),
                ("scan.yml", "scan: {script: x, tags: [vault]}\n"),
                (".gitlab-ci.yml", "a: {script: x}\n"),
            ],
        )
        .await;
    let group = bascule_core::GroupScope {
        id: town.own.group,
        name: "clinic".to_owned(),
        role: bascule_core::Role::Owner,
    };
    let caller = bascule_core::Caller {
        actor: Actor::new(bascule_core::ActorKind::User, "u", "security"),
        ..bascule_core::Caller::anonymous()
    };
    let request = bascule_wire::pipelines::RequiredDryRunRequest {
        policy: Some("clinic/policy".to_owned()),
        reference: None,
    };
    let dry = world
        .ci
        .dry_run_required(&caller, &group, &request)
        .await
        .unwrap();
    assert!(dry.summary.starts_with("would fail 2 of 2: "), "{}", dry.summary);
    assert_eq!(dry.failures[0].kind, "no_runner");
    world
        .ci
        .create_runner("vault", vec!["vault".into()], false)
        .await
        .unwrap();
    let dry = world
        .ci
        .dry_run_required(&caller, &group, &request)
        .await
        .unwrap();
    assert_eq!((dry.summary.as_str(), dry.would_run), ("would fail none of 2", 2));
    world
        .push(
            "main",
            &[
                ("required-pipelines.yml", POLICY),
                ("scan.yml", SCAN),
                (".gitlab-ci.yml", "a: {scirpt: x}\n"),
            ],
        )
        .await;
    let dry = world
        .ci
        .dry_run_required(&caller, &group, &request)
        .await
        .unwrap();
    assert_eq!((dry.would_fail, dry.failures[0].kind.as_str()), (2, "own_config"));
    let list = world.get("/api/v1/projects/clinic/app/pipelines").await;
    let sources: BTreeSet<&str> = list["pipelines"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["source"].as_str())
        .collect();
    assert_eq!(sources, BTreeSet::from(["push"]), "nothing was started");
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

/// Merge requests, by number: what they ask, and what merging them would make.
#[derive(Default)]
struct Asked(Mutex<std::collections::BTreeMap<i64, (bascule_ci::pipeline::MergeRequest, Option<String>)>>);

#[async_trait]
impl bascule_ci::ports::Requests for Asked {
    async fn request(&self, _: ProjectId, iid: i64) -> Result<Option<bascule_ci::pipeline::MergeRequest>> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .get(&iid)
            .map(|(request, _)| request.clone()))
    }

    async fn merged(&self, _: ProjectId, iid: i64) -> Result<Option<bascule_ci::ports::Merged>> {
        Ok(self.0.lock().unwrap().get(&iid).and_then(|(_, sha)| {
            sha.clone().map(|sha| bascule_ci::ports::Merged {
                sha,
                target: "c".repeat(40),
            })
        }))
    }

    async fn open_from(&self, _: ProjectId, branch: &str) -> Result<Vec<i64>> {
        let all = self.0.lock().unwrap();
        Ok(all
            .iter()
            .filter(|(_, (request, _))| request.source_branch == branch)
            .map(|(iid, _)| *iid)
            .collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_requests_get_pipelines_of_their_own_and_of_what_merging_would_make() {
    let (world, town) = town().await;
    enforce(
        &world,
        &town,
        &[("required-pipelines.yml", POLICY), ("scan.yml", SCAN)],
    )
    .await;
    let asked = Arc::new(Asked::default());
    world.ci.set_requests(asked.clone());
    let ci = "plain: {script: x}\nonly_mr: {script: x, rules: [{if: '$CI_PIPELINE_SOURCE == \"merge_request_event\"'}]}\nbranch: {script: x, rules: [{if: '$CI_COMMIT_BRANCH && $CI_OPEN_MERGE_REQUESTS == null'}]}\n";
    let head = world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    assert_eq!(names(&world).await, ["plain", "branch", "security/scan"]);
    let request = bascule_ci::pipeline::MergeRequest {
        iid: 7,
        title: "Colours".to_owned(),
        source_branch: "topic".to_owned(),
        source_sha: head.clone(),
        target_branch: "main".to_owned(),
        ..bascule_ci::pipeline::MergeRequest::default()
    };
    asked.0.lock().unwrap().insert(7, (request, None));
    let opened = bascule_ledger::facts::merge_request::MergeRequestReopened {
        project: world.project,
        merge_request: bascule_core::MergeRequestId::new(),
        iid: 7,
        at: bascule_core::Timestamp::from_seconds(1_750_000_000),
    };
    world.tell(&opened).await;
    let detached = world.pipeline().await;
    assert_eq!(
        (&detached["source"], &detached["merge_request"]),
        (&json!("merge_request_event"), &json!(7))
    );
    assert_eq!(
        names(&world).await,
        ["only_mr", "security/scan"],
        "jobs without rules are the branch's"
    );
    let runner = world.runner().await;
    let mut told = Value::Null;
    while let Some(taken) = runner.ask().await {
        if taken.body["job_info"]["name"] == "only_mr" {
            told = taken.body["variables"].clone();
        }
        runner.succeed(&taken).await;
    }
    let value = |key: &str| {
        told.as_array()
            .unwrap()
            .iter()
            .find(|variable| variable["key"] == key)
            .map(|variable| variable["value"].clone())
    };
    assert_eq!(value("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"), Some(json!("main")));
    assert_eq!(value("CI_MERGE_REQUEST_EVENT_TYPE"), Some(json!("detached")));
    assert_eq!(value("CI_OPEN_MERGE_REQUESTS"), Some(json!("clinic/app!7")));
    assert_eq!(value("CI_COMMIT_BRANCH"), None);
    // Now what merging would make is tried, and stands for the request's own commit.
    let merged = world
        .push("merged", &[(".gitlab-ci.yml", ci), ("both", "x")])
        .await;
    asked.0.lock().unwrap().get_mut(&7).unwrap().1 = Some(merged.clone());
    world
        .request(
            Method::PUT,
            "/api/v1/projects/clinic/app/ci/merge-pipelines",
            "admin",
        )
        .json(&json!({"merged_results": true}))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    world.tell(&opened).await;
    let result = world.pipeline().await;
    assert_eq!(result["sha"], merged);
    let (id, _) = world
        .ci
        .commit_status(world.project, &head)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(json!(id.0), result["id"]);
    // A file without jobs for merge requests makes none, not even with what is required.
    let plain = world
        .push("plain", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    {
        let mut all = asked.0.lock().unwrap();
        let (request, sha) = all.get_mut(&7).unwrap();
        (request.source_sha, *sha) = (plain, None);
    }
    let before = world.pipeline().await;
    world.tell(&opened).await;
    assert_eq!(world.pipeline().await["id"], before["id"]);
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
