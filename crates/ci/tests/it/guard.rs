//! Protected branches: who runs what they hold.

use crate::{
    harness::World,
    town::{job, town},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const CI: &str =
    "test: {script: x}\nship: {stage: deploy, script: y, when: manual, environment: production}\n";

async fn post(world: &World, path: &str, who: &str) -> (u16, Value) {
    let path = format!("/api/v1/projects/clinic/app/{path}");
    let response = world.post(&path, who, json!({})).await;
    (
        response.status().as_u16(),
        response.json().await.unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_pushes_or_merges_there_runs_what_a_protected_branch_holds() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    world.code.strict.store(true, Ordering::SeqCst);
    world.push("main", &[(".gitlab-ci.yml", CI)]).await;
    runner.succeed(&runner.ask().await.unwrap()).await;
    let pipeline = world.pipeline().await;
    let of = |name: &str| format!("jobs/{}", job(&pipeline, name)["id"]);
    let ship = of("ship");
    for path in [
        format!("{ship}/play"),
        format!("{}/retry", of("test")),
        format!("pipelines/{}/retry", pipeline["id"]),
        "pipeline".to_owned(),
    ] {
        let (status, told) = post(&world, &path, "developer").await;
        assert_eq!(status, 403, "{path}");
        assert!(
            told.to_string()
                .contains("`main` is protected; you may not run its jobs"),
            "{told}"
        );
    }
    let schedule = json!({"description": "Nightly", "cron": "0 3 * * *"});
    let refused = world
        .post("/api/v1/projects/clinic/app/schedule", "developer", schedule)
        .await;
    assert_eq!(refused.status(), 403);
    let page = world.request(Method::POST, &format!("/clinic/app/-/{ship}/play"), "developer");
    assert_eq!(page.form(&[("x", "y")]).send().await.unwrap().status(), 403);
    assert_eq!(post(&world, &format!("{ship}/play"), "admin").await.0, 200);
    // On a branch of their own they go on, and where developers merge, they run too.
    world.push("topic", &[(".gitlab-ci.yml", CI)]).await;
    let topic = json!({"ref": "topic"});
    let run = world
        .post("/api/v1/projects/clinic/app/pipeline", "developer", topic)
        .await;
    assert_eq!(run.status(), 201);
    world.code.strict.store(false, Ordering::SeqCst);
    assert_eq!(post(&world, "pipeline", "developer").await.0, 201);
}
