//! Values that people give: inputs of a pipeline's file and of a job.

use crate::harness::{Taken, World};
use serde_json::{Value, json};

fn script(job: &Taken) -> String {
    let lines = job.body["steps"][0]["script"].as_array().unwrap();
    lines
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

const PIPELINE: &str = "/api/v1/projects/clinic/app/pipeline";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_takes_the_values_that_its_file_allows_and_keeps_them_when_it_is_tried_again() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "deploy:\n  when: manual\n  inputs:\n    target: {default: staging, options: [staging, production]}\n    count: {type: number, default: 2}\n  artifacts: {paths: ['out-${{ job.inputs.target }}']}\n  script: 'deploy ${{ job.inputs.target }} x${{ job.inputs.count }} ${{ other }}'\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let id = world.pipeline().await["jobs"][0]["id"].clone();
    let at = |verb: &str, id: &Value| format!("/api/v1/projects/clinic/app/jobs/{id}/{verb}");
    for (inputs, code, says) in [
        (
            json!({"tarjet": "x"}),
            "unknown_input",
            "It declares: target, count.",
        ),
        (json!({"target": "moon"}), "bad_input", "staging, production"),
        (json!({"count": "many"}), "bad_input", "must be a number"),
    ] {
        let refused = world
            .post(&at("play", &id), "developer", json!({"inputs": inputs}))
            .await;
        assert_eq!(refused.status(), 422, "{inputs}");
        let problem = refused.text().await.unwrap();
        assert!(problem.contains(code) && problem.contains(says), "{problem}");
    }
    let page = world.page(&format!("/clinic/app/-/jobs/{id}"), "developer").await;
    assert!(
        page.contains("input:target") && page.contains("<option>production</option>"),
        "{page}"
    );
    // The branch is protected; what the file allows, who may run the job may choose.
    let played = world
        .post(
            &at("play", &id),
            "developer",
            json!({"inputs": {"target": "production"}}),
        )
        .await;
    assert_eq!(played.status(), 200);
    let job = runner.ask().await.unwrap();
    assert_eq!(script(&job), "deploy production x2 ${{ other }}");
    assert_eq!(job.body["artifacts"][0]["paths"], json!(["out-production"]));
    runner.fail(&job, 1).await;
    let retried = world
        .post(
            &at("retry", &json!(job.id)),
            "developer",
            json!({"inputs": {"count": 5}}),
        )
        .await;
    assert_eq!(retried.status(), 200);
    let job = runner.ask().await.unwrap();
    assert_eq!(script(&job), "deploy production x5 ${{ other }}");
    runner.fail(&job, 1).await;
    // As the pages' form sends it.
    let form = world
        .request(
            reqwest::Method::POST,
            &format!("/clinic/app/-/jobs/{}/retry", job.id),
            "developer",
        )
        .form(&[("input:target", "staging"), ("input:count", "7")])
        .send()
        .await
        .unwrap();
    assert!(
        form.status().is_success() || form.status().is_redirection(),
        "{}",
        form.status()
    );
    let job = runner.ask().await.unwrap();
    assert_eq!(script(&job), "deploy staging x7 ${{ other }}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_takes_the_inputs_of_its_file() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "spec:\n  inputs:\n    env: {options: [staging, production], description: Where to}\n    count: {type: number, default: 1}\n---\ndeploy: {script: 'up $[[ inputs.env ]] x$[[ inputs.count ]]'}\n";
    world.push("topic", &[(".gitlab-ci.yml", ci)]).await;
    let page = world
        .page("/clinic/app/-/pipelines/new?ref=topic", "developer")
        .await;
    assert!(page.contains("input:env") && page.contains("Where to"), "{page}");
    let without = world.post(PIPELINE, "developer", json!({"ref": "topic"})).await;
    assert_eq!(without.status(), 422);
    assert!(without.text().await.unwrap().contains("`env`"));
    let made = world
        .post(
            PIPELINE,
            "developer",
            json!({"ref": "topic", "inputs": {"env": "staging", "count": 3}}),
        )
        .await;
    assert_eq!(made.status(), 201);
    assert_eq!(script(&runner.ask().await.unwrap()), "up staging x3");
    let form = world
        .request(reqwest::Method::POST, "/clinic/app/-/pipelines/new", "developer")
        .form(&[
            ("ref", "topic"),
            ("input:env", "production"),
            ("was:input:env", ""),
            ("kind:env", "string"),
            ("input:count", "4"),
            ("was:input:count", "1"),
            ("kind:count", "number"),
        ])
        .send()
        .await
        .unwrap();
    assert!(
        form.status().is_success() || form.status().is_redirection(),
        "{}",
        form.status()
    );
    assert_eq!(script(&runner.ask().await.unwrap()), "up production x4");
}
