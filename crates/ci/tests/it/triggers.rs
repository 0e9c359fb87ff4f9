//! Pipelines that other programs start, and what a push gives its pipeline.

use crate::{
    harness::{Taken, World},
    town::{names, town},
};
use bascule_core::Permission;
use bascule_ledger::facts::forge::BranchUpdated;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const CI: &str = "spec: {inputs: {count: {type: number, default: 1}}}\n---\na: {script: 'run $[[ inputs.count ]]'}\nonly_triggered: {script: x, only: [triggers]}\n";

fn value(job: &Taken, key: &str) -> Option<String> {
    let all = job.body["variables"].as_array().unwrap();
    let found = all.iter().rfind(|variable| variable["key"] == key);
    found.map(|variable| variable["value"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_token_starts_pipelines_with_its_owner_s_rights_and_nothing_else() {
    let (world, town) = town().await;
    world.push("main", &[(".gitlab-ci.yml", CI)]).await;
    world.push("topic", &[(".gitlab-ci.yml", CI)]).await;
    let runner = world.runner().await;
    while let Some(job) = runner.ask().await {
        runner.succeed(&job).await;
    }
    let tokens = "/api/v1/projects/clinic/app/ci/triggers";
    let refused = world
        .post(tokens, "developer", json!({"description": "the shop"}))
        .await;
    assert_eq!(refused.status(), 403, "who manages the project makes them");
    let made = world
        .post(tokens, "admin", json!({"description": "the shop"}))
        .await;
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("glptt-"));
    let list: Value = world
        .request(Method::GET, tokens, "admin")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(
        list[0].get("token").is_none() && list[0]["last_used"].is_null(),
        "{list}"
    );
    let call = |at: &str, form: Vec<(&'static str, String)>| {
        world.http.post(format!("{}{at}", world.url)).form(&form).send()
    };
    let at = "/api/v4/projects/clinic%2Fapp/trigger/pipeline";
    for (token, reference, status) in [
        ("glptt-wrong", "topic", 404),
        ("", "topic", 404),
        (token.as_str(), "gone", 400),
        (token.as_str(), "", 400),
    ] {
        let form = vec![("token", token.to_owned()), ("ref", reference.to_owned())];
        assert_eq!(
            call(at, form).await.unwrap().status(),
            status,
            "{token} {reference}"
        );
    }
    let form = vec![
        ("token", token.clone()),
        ("ref", "topic".to_owned()),
        ("variables[WHERE]", "here".to_owned()),
        ("inputs[count]", "3".to_owned()),
    ];
    let response = call(at, form.clone()).await.unwrap();
    assert_eq!(response.status(), 201);
    let pipeline: Value = response.json().await.unwrap();
    assert_eq!(
        (&pipeline["source"], &pipeline["ref"]),
        (&json!("trigger"), &json!("topic"))
    );
    assert!(
        pipeline["web_url"]
            .as_str()
            .unwrap()
            .contains("/clinic/app/-/pipelines/")
    );
    assert_eq!(names(&world).await, ["a", "only_triggered"]);
    let job = runner.ask().await.unwrap();
    assert_eq!(job.body["steps"][0]["script"], json!(["run 3"]));
    assert_eq!(value(&job, "WHERE").as_deref(), Some("here"));
    assert_eq!(value(&job, "CI_PIPELINE_TRIGGERED").as_deref(), Some("true"));
    assert_eq!(
        value(&job, "CI_TRIGGER_SHORT_TOKEN").as_deref(),
        made["hint"].as_str()
    );
    assert_eq!(world.pipeline().await["actor"], "admin");
    // Another project's address does not know the token.
    let elsewhere = call("/api/v4/projects/clinic%2Fpolicy/trigger/pipeline", form.clone())
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 404);
    // A webhook of another program: the branch in the address, its own body kept for the jobs.
    let hook = world
        .http
        .post(format!(
            "{}/api/v4/projects/{}/ref/topic/trigger/pipeline?token={token}",
            world.url, world.project
        ))
        .json(&json!({"object_kind": "note"}))
        .send()
        .await
        .unwrap();
    assert_eq!(hook.status(), 201);
    while let Some(job) = runner.ask().await {
        if value(&job, "TRIGGER_PAYLOAD").is_some() {
            assert!(value(&job, "TRIGGER_PAYLOAD").unwrap().contains("\"note\""));
        }
        runner.succeed(&job).await;
    }
    // Whoever may not run pipelines any more lends no rights.
    town.out.lock().unwrap().insert("admin".to_owned());
    assert_eq!(call(at, form.clone()).await.unwrap().status(), 403);
    town.out.lock().unwrap().clear();
    let page = world.page("/clinic/app/-/settings/triggers", "admin").await;
    assert!(page.contains("the shop") && !page.contains(&token), "{page}");
    let gone = world
        .request(Method::DELETE, &format!("{tokens}/{}", made["id"]), "admin")
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(call(at, form).await.unwrap().status(), 404);
    assert_eq!(world.facts("trigger_token.changed").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_starts_a_pipeline_with_its_own_token() {
    let (world, _town) = town().await;
    world.push("topic", &[(".gitlab-ci.yml", CI)]).await;
    let runner = world.runner().await;
    let job = runner.ask().await.unwrap();
    let form = [("token", job.token.as_str()), ("ref", "topic")];
    let at = format!("{}/api/v4/projects/clinic%2Fapp/trigger/pipeline", world.url);
    let made = world.http.post(&at).form(&form).send().await.unwrap();
    assert_eq!(made.status(), 201);
    assert_eq!(world.pipeline().await["source"], "pipeline");
    runner.succeed(&job).await;
    let late = world.http.post(&at).form(&form).send().await.unwrap();
    assert_eq!(late.status(), 403, "a job's token ends with the job");
}

async fn push_with(world: &World, branch: &str, given: bascule_ci::ports::PushOptions) {
    let sha = format!("{:040x}", 900 + world.code.given.lock().unwrap().len());
    let tree = crate::harness::Tree {
        files: [(".gitlab-ci.yml".to_owned(), CI.to_owned())].into(),
        message: "Change".to_owned(),
    };
    world.code.trees.lock().unwrap().insert(sha.clone(), tree);
    let name = format!("push-{sha}");
    world.code.given.lock().unwrap().insert(name.clone(), given);
    world
        .tell(&BranchUpdated {
            project: world.project,
            branch: branch.to_owned(),
            before: None,
            after: Some(sha),
            default: branch == "main",
            forced: false,
            commits: Vec::new(),
            commit_count: 1,
            at: bascule_core::Timestamp::from_seconds(1_750_000_000),
            ci_skip: false,
            ci_options: Some(name),
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_gives_its_pipeline_variables_and_inputs() {
    let world = World::new().await;
    let runner = world.runner().await;
    let given = bascule_ci::ports::PushOptions {
        variables: [("WHERE".to_owned(), "a=b".to_owned())].into(),
        inputs: [("count".to_owned(), "4".to_owned())].into(),
        may_protected: false,
    };
    push_with(&world, "topic", given.clone()).await;
    let job = runner.ask().await.unwrap();
    assert_eq!(job.body["steps"][0]["script"], json!(["run 4"]));
    assert_eq!(value(&job, "WHERE").as_deref(), Some("a=b"));
    runner.succeed(&job).await;
    // On a protected branch variables could turn what its jobs see to other ends.
    push_with(&world, "main", given).await;
    let refused = world.pipeline().await;
    assert_eq!(refused["status"], "failed");
    assert!(
        refused["faults"][0].to_string().contains("ci.variable"),
        "{refused}"
    );
    // Inputs become part of the text: they could do the same.
    let inputs = bascule_ci::ports::PushOptions {
        inputs: [("count".to_owned(), "4".to_owned())].into(),
        ..bascule_ci::ports::PushOptions::default()
    };
    push_with(&world, "main", inputs).await;
    let refused = world.pipeline().await;
    assert_eq!(refused["status"], "failed");
    assert!(refused["faults"][0].to_string().contains("ci.input"), "{refused}");
    let wrong = bascule_ci::ports::PushOptions {
        inputs: [("cuont".to_owned(), "4".to_owned())].into(),
        ..bascule_ci::ports::PushOptions::default()
    };
    push_with(&world, "topic", wrong).await;
    let refused = world.pipeline().await;
    assert!(
        refused["faults"][0].to_string().contains("did you mean `count`"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_push_to_a_protected_branch_gives_its_jobs_nothing_by_a_token() {
    let (world, town) = town().await;
    world.push("main", &[(".gitlab-ci.yml", CI)]).await;
    let runner = world.runner().await;
    let job = runner.ask().await.unwrap();
    town.guests.lock().unwrap().insert("ada".to_owned());
    town.closed.lock().unwrap().push(Permission::ProtectedPush);
    let at = format!("{}/api/v4/projects/clinic%2Fpolicy/trigger/pipeline", world.url);
    let call = async |more: Option<(&str, &str)>| {
        let mut form = vec![("token", job.token.as_str()), ("ref", "main")];
        form.extend(more);
        let response = world.http.post(&at).form(&form).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for given in [("variables[WHERE]", "here"), ("inputs[count]", "3")] {
        let (status, told) = call(Some(given)).await;
        assert_eq!(status, 403, "{given:?}");
        assert!(
            told.contains("Call without variables, inputs and payload"),
            "{told}"
        );
    }
    assert_eq!(call(None).await.0, 201, "developers merge there, and so run");
    world.code.strict.store(true, Ordering::SeqCst);
    let (status, told) = call(None).await;
    assert_eq!(status, 403);
    assert!(told.contains("you may not run its jobs"), "{told}");
    world.code.strict.store(false, Ordering::SeqCst);
    town.closed.lock().unwrap().clear();
    assert_eq!(call(Some(("inputs[count]", "3"))).await.0, 201);
}
