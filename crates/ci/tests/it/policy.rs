//! What starts by itself or by others' will: schedules, required pipelines, merge requests.

use crate::town::{POLICY, SCAN, act, enforce, job, names, rest, town};
use async_trait::async_trait;
use bascule_ci::{required::Stands, status::PipelineStatus};
use bascule_core::{Actor, ProjectId, Result};
use bascule_ledger::facts::{forge::BranchUpdated, identity::UserDeactivated};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

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
    // Run by hand, it tells of that run.
    let user = owner.parse().unwrap();
    let caller = bascule_core::Caller {
        actor: Actor::new(bascule_core::ActorKind::User, user, "developer"),
        user: Some(user),
        ..bascule_core::Caller::anonymous()
    };
    let scope = bascule_core::ProjectScope {
        id: world.project,
        group_id: bascule_core::GroupId::new(),
        group: "clinic".to_owned(),
        name: "app".to_owned(),
        role: bascule_core::Role::Developer,
        scopes: None,
    };
    world.ci.play_schedule(&caller, &scope, 1).await.unwrap();
    let path = format!("/api/v1/projects/clinic/app/schedules/{}", made["id"]);
    assert_eq!(
        world.get(&path).await["last_pipeline"],
        world.pipeline().await["id"]
    );
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
    let stopped = world.get(&path).await;
    assert_eq!(stopped["stopped"], "the account of its owner developer is closed");
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
        ci_options: None,
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
async fn a_green_pipeline_of_less_lets_nothing_be_merged() {
    let (world, town) = town().await;
    // Without rules, it is no part of merge requests' pipelines.
    let scan = "scan: {script: scan}\n";
    enforce(
        &world,
        &town,
        &[("required-pipelines.yml", POLICY), ("scan.yml", scan)],
    )
    .await;
    let runner = world.runner().await;
    let ci = "mine: {script: x, rules: [{if: '$CI_PIPELINE_SOURCE == \"merge_request_event\"'}]}\n";
    let head = world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    assert_eq!(names(&world).await, ["security/scan"]);
    let branch = world.pipeline().await["id"].as_i64().unwrap();
    let failing = runner.ask().await.unwrap();
    runner.fail(&failing, 1).await;
    let asked = Arc::new(Asked::default());
    world.ci.set_requests(asked.clone());
    let request = bascule_ci::pipeline::MergeRequest {
        iid: 7,
        source_branch: "topic".to_owned(),
        source_sha: head.clone(),
        target_branch: "main".to_owned(),
        ..bascule_ci::pipeline::MergeRequest::default()
    };
    asked.0.lock().unwrap().insert(7, (request.clone(), None));
    world
        .tell(&bascule_ledger::facts::merge_request::MergeRequestReopened {
            project: world.project,
            merge_request: bascule_core::MergeRequestId::new(),
            iid: 7,
            at: bascule_core::Timestamp::from_seconds(1_750_000_000),
        })
        .await;
    assert_eq!(names(&world).await, ["mine"]);
    runner.succeed(&runner.ask().await.unwrap()).await;
    assert_eq!(world.pipeline().await["status"], "success");
    let required = async |request: &bascule_ci::pipeline::MergeRequest, fork| {
        let asked = bascule_ci::required::Asked {
            project: world.project,
            fork,
            request,
        };
        let found = world.ci.required_standing(&asked).await.unwrap().unwrap();
        assert_eq!(
            (found.group.as_str(), found.names),
            ("clinic", vec!["security".to_owned()])
        );
        found.stands
    };
    let open = |status| Stands::Open {
        pipeline: bascule_core::PipelineId(branch),
        status,
        jobs: vec!["security/scan".to_owned()],
    };
    // The request's own pipeline is green, and what is required failed all the same.
    let own = world
        .ci
        .branch_status(world.project, "topic", &head)
        .await
        .unwrap();
    assert_eq!(own.unwrap().1, PipelineStatus::Success);
    assert_eq!(required(&request, false).await, open(PipelineStatus::Failed));
    act(&world, &format!("pipelines/{branch}/retry"), "developer").await;
    assert_eq!(required(&request, false).await, open(PipelineStatus::Pending));
    // The same commit under another name, where less may run, is another matter; for a fork, whose branches are not
    // here, what ran of the commit in this project counts.
    let other = bascule_ci::pipeline::MergeRequest {
        source_branch: "other".to_owned(),
        ..request.clone()
    };
    let missing = Stands::Missing(vec!["security/scan".to_owned()]);
    assert_eq!(required(&other, false).await, missing);
    assert_eq!(required(&other, true).await, open(PipelineStatus::Pending));
    runner.succeed(&runner.ask().await.unwrap()).await;
    assert_eq!(required(&request, false).await, Stands::Passed);
    assert_eq!(required(&other, true).await, Stands::Passed);
    let never = bascule_ci::pipeline::MergeRequest {
        source_sha: world.push("strange", &[("x", "y")]).await,
        ..other
    };
    assert_eq!(required(&never, false).await, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_has_for_merge_requests_alone_runs_where_the_project_has_nothing_for_them() {
    let (world, town) = town().await;
    let scan = "push: {script: scan, rules: [{if: '$CI_PIPELINE_SOURCE == \"push\"', changes: [src/**/*]}]}\nmr: {script: scan, rules: [{if: $CI_MERGE_REQUEST_IID}]}\n";
    enforce(
        &world,
        &town,
        &[("required-pipelines.yml", POLICY), ("scan.yml", scan)],
    )
    .await;
    let ci = (".gitlab-ci.yml", "mine: {script: x}\n");
    let begun = world.push("main", &[ci]).await;
    let first = world.push("topic", &[ci, ("src/bad", "x")]).await;
    assert_eq!(names(&world).await, ["mine", "security/push"]);
    // A second push that touches something else does not hide what the first brought.
    let head = world
        .push("topic", &[ci, ("src/bad", "x"), ("README", "x")])
        .await;
    assert_ne!(first, head);
    assert_eq!(names(&world).await, ["mine", "security/push"]);
    let branch = world.pipeline().await["id"].as_i64().unwrap();
    let asked = Arc::new(Asked::default());
    world.ci.set_requests(asked.clone());
    let request = bascule_ci::pipeline::MergeRequest {
        iid: 7,
        source_branch: "topic".to_owned(),
        source_sha: head.clone(),
        target_branch: "main".to_owned(),
        base_sha: begun,
        ..bascule_ci::pipeline::MergeRequest::default()
    };
    let required = async || {
        let asked = bascule_ci::required::Asked {
            project: world.project,
            fork: false,
            request: &request,
        };
        world.ci.required_standing(&asked).await.unwrap().unwrap().stands
    };
    assert_eq!(required().await, Stands::Missing(vec!["security/mr".to_owned()]));
    asked.0.lock().unwrap().insert(7, (request.clone(), None));
    world
        .tell(&bascule_ledger::facts::merge_request::MergeRequestReopened {
            project: world.project,
            merge_request: bascule_core::MergeRequestId::new(),
            iid: 7,
            at: bascule_core::Timestamp::from_seconds(1_750_000_000),
        })
        .await;
    assert_eq!(names(&world).await, ["security/mr"]);
    let runner = world.runner().await;
    while let Some(taken) = runner.ask().await {
        match taken.body["job_info"]["name"].as_str().unwrap() {
            "mine" => runner.fail(&taken, 1).await,
            _ => runner.succeed(&taken).await,
        }
    }
    assert_eq!(required().await, Stands::Passed);
    // What is required stands for itself alone: the project's own job failed.
    let own = world
        .ci
        .branch_status(world.project, "topic", &head)
        .await
        .unwrap();
    assert_eq!(
        own.map(|(id, status)| (id.0, status)),
        Some((branch, PipelineStatus::Failed))
    );
}
