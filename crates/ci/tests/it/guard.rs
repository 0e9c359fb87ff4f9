//! Protected branches: who runs what they hold.

use crate::{
    harness::World,
    pages::select,
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

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_the_buttons_that_may_be_pressed_and_say_who_may_press_the_others() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    world.code.strict.store(true, Ordering::SeqCst);
    world.push("main", &[(".gitlab-ci.yml", CI)]).await;
    runner.fail(&runner.ask().await.unwrap(), 1).await;
    let pipeline = world.pipeline().await;
    let pages = [
        format!("/clinic/app/-/pipelines/{}", pipeline["id"]),
        format!("/clinic/app/-/jobs/{}", job(&pipeline, "test")["id"]),
    ];
    for path in &pages {
        let page = world.page(path, "developer").await;
        let forms = "form[action$=retry], form[action$=cancel], form[action$=play]";
        assert!(select(&page, forms).is_empty(), "{path}");
        let who = "main is protected: only maintainers start, retry and cancel its jobs.";
        assert_eq!(select(&page, "#who-may"), [who]);
        assert!(!select(&page, "button[disabled]").is_empty(), "{path}");
        let page = world.page(path, "admin").await;
        assert!(!select(&page, "form[action$=retry]").is_empty(), "{path}");
        assert!(select(&page, "#who-may").is_empty());
        // A reporter starts nothing anywhere, and is told nothing of it.
        let page = world.page(path, "reporter").await;
        assert!(select(&page, "#who-may, button[disabled]").is_empty());
    }
    world.push("topic", &[(".gitlab-ci.yml", CI)]).await;
    let form = world.page("/clinic/app/-/pipelines/new", "developer").await;
    assert!(
        select(&form, "form[action$=new][method=post]").is_empty(),
        "main cannot be run"
    );
    assert!(select(&form, "#who-may")[0].contains("Choose another branch"));
    let form = world
        .page("/clinic/app/-/pipelines/new?ref=topic", "developer")
        .await;
    assert_eq!(
        select(&form, "form[action$=new][method=post] button.btn-primary"),
        ["Run topic"]
    );
    // Where developers merge they run, but give nothing to jobs that see protected variables.
    world.code.strict.store(false, Ordering::SeqCst);
    let form = world.page("/clinic/app/-/pipelines/new", "developer").await;
    assert_eq!(
        select(&form, "form[action$=new][method=post] button.btn-primary"),
        ["Run main"]
    );
    assert!(select(&form, "input[name=key-0]").is_empty());
    assert!(form.contains("only maintainers give its pipelines variables"));
    let page = world.page(&pages[0], "developer").await;
    assert!(!select(&page, "form[action$=retry]").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_runs_what_deployed_stops_it() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    world.code.strict.store(true, Ordering::SeqCst);
    let ci = "deploy: {script: x, environment: {name: production, on_stop: halt}}\n\
              halt: {script: x, when: manual, environment: {name: production, action: stop}}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let pipeline = world.pipeline().await;
    for path in [
        format!("pipelines/{}/cancel", pipeline["id"]),
        format!("jobs/{}/cancel", job(&pipeline, "deploy")["id"]),
    ] {
        assert_eq!(post(&world, &path, "developer").await.0, 403, "{path}");
    }
    runner.succeed(&runner.ask().await.unwrap()).await;
    let list = "/api/v1/projects/clinic/app/ci/environments";
    let id = world.get(list).await[0]["id"].clone();
    let stop = format!("ci/environments/{id}/stop");
    let (status, told) = post(&world, &stop, "developer").await;
    assert_eq!(status, 403);
    assert!(told.to_string().contains("`main` is protected"), "{told}");
    let page = world.page("/clinic/app/-/ci/environments", "developer").await;
    assert!(select(&page, "form[action$=stop]").is_empty());
    assert!(page.contains("only maintainers stop it"));
    let gone = format!("{list}/{id}");
    let refused = world
        .request(Method::DELETE, &gone, "admin")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 409, "it is there");
    assert_eq!(post(&world, &stop, "admin").await.0, 200);
    runner.succeed(&runner.ask().await.unwrap()).await;
    let refused = world
        .request(Method::DELETE, &gone, "developer")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    let page = world
        .page("/clinic/app/-/ci/environments?stopped=1", "developer")
        .await;
    assert!(select(&page, "form[action$=delete]").is_empty());
    let page = world
        .page("/clinic/app/-/ci/environments?stopped=1", "admin")
        .await;
    assert_eq!(select(&page, "form[action$=delete] button"), ["Delete"]);
    let done = world
        .request(Method::DELETE, &gone, "admin")
        .send()
        .await
        .unwrap();
    assert_eq!(done.status(), 204);
    assert_eq!(world.get(list).await, json!([]));
}
