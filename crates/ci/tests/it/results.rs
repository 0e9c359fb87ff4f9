//! What jobs report, and what people see of it.

use crate::harness::{FakeRunner, Taken, World};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write as _;

const FILE: &str = "test:\n  script: x\n  coverage: '/TOTAL .* (\\d+(?:\\.\\d+)?)%/'\n  artifacts: {reports: {junit: r.xml}}\n";

fn junit(cases: &[(&str, bool)]) -> Vec<u8> {
    let mut text = String::from("<testsuites><testsuite name=\"unit\">");
    for (name, passed) in cases {
        let inner = if *passed {
            ""
        } else {
            "<failure message=\"expected 1\">at <![CDATA[<line>]]> 7</failure>"
        };
        text += &format!("<testcase classname=\"app\" name=\"{name}\" time=\"0.25\">{inner}</testcase>");
    }
    text += "</testsuite></testsuites>";
    let mut out = flate2::GzBuilder::new()
        .filename("r.xml")
        .write(Vec::new(), flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

/// Pushes a change to a branch and takes its job.
async fn started(world: &World, runner: &FakeRunner, branch: &str) -> Taken {
    world.push(branch, &[(".gitlab-ci.yml", FILE)]).await;
    runner.ask().await.expect("a job")
}

async fn ended(world: &World, runner: &FakeRunner, job: &Taken, report: &[u8], passed: bool) {
    assert_eq!(runner.upload(job, "junit", report).await.status(), 201);
    if passed {
        runner.succeed(job).await;
    } else {
        runner.fail(job, 1).await;
    }
    world.settle().await;
}

async fn newest(world: &World) -> i64 {
    world.pipeline().await["id"].as_i64().unwrap()
}

async fn tests(world: &World) -> Value {
    let id = newest(world).await;
    world
        .get(&format!("/api/v1/projects/clinic/app/pipelines/{id}/tests"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_new_against_the_default_branch() {
    let world = World::new().await;
    let runner = world.runner().await;
    let trunk = started(&world, &runner, "main").await;
    ended(
        &world,
        &runner,
        &trunk,
        &junit(&[("old", false), ("good", true), ("mine", true)]),
        false,
    )
    .await;
    let first = tests(&world).await;
    assert_eq!((&first["total"], &first["failed"]), (&json!(3), &json!(1)));
    assert_eq!(
        first["new_failures"],
        Value::Null,
        "there is nothing to compare with"
    );
    let branch = started(&world, &runner, "feature").await;
    ended(
        &world,
        &runner,
        &branch,
        &junit(&[("old", false), ("good", true), ("mine", false)]),
        false,
    )
    .await;
    let report = tests(&world).await;
    assert_eq!(report["new_failures"], 1);
    let names: Vec<(&str, bool)> = report["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["new"].as_bool().unwrap()))
        .collect();
    assert_eq!(names, [("mine", true), ("old", false)], "new ones first");
    assert_eq!(report["failures"][0]["output"], "at <line> 7");
    let id = newest(&world).await;
    let page = world
        .page(&format!("/clinic/app/-/pipelines/{id}/tests"), "reporter")
        .await;
    assert!(page.contains("at &#60;line&#62; 7") && page.contains(">new</span>"));
    assert!(page.contains("1 new"));
    let all = format!("/clinic/app/-/pipelines/{id}/tests?job={}", branch.id);
    let page = world.page(&all, "reporter").await;
    assert!(page.contains("1 to 3 of 3") && page.contains("good"));
    let searched = world.page(&format!("{all}&search=GOO"), "reporter").await;
    assert!(searched.contains("1 to 1 of 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_failed_and_passed_on_one_commit_is_flaky() {
    let world = World::new().await;
    let runner = world.runner().await;
    let job = started(&world, &runner, "main").await;
    ended(
        &world,
        &runner,
        &job,
        &junit(&[("shaky", false), ("good", true)]),
        false,
    )
    .await;
    let path = format!("/api/v1/projects/clinic/app/jobs/{}/retry", job.id);
    assert_eq!(world.post(&path, "developer", json!({})).await.status(), 200);
    let again = runner.ask().await.unwrap();
    ended(
        &world,
        &runner,
        &again,
        &junit(&[("shaky", true), ("good", true)]),
        true,
    )
    .await;
    let flaky = world.ci.flaky_tests(world.project, 10).await.unwrap();
    let names: Vec<&str> = flaky.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["shaky"]);
    // The other way round: it passed, and fails when it is run once more.
    let third = {
        let path = format!("/api/v1/projects/clinic/app/jobs/{}/retry", again.id);
        world.post(&path, "developer", json!({})).await;
        runner.ask().await.unwrap()
    };
    ended(
        &world,
        &runner,
        &third,
        &junit(&[("shaky", true), ("good", false)]),
        false,
    )
    .await;
    let flaky = world.ci.flaky_tests(world.project, 10).await.unwrap();
    assert_eq!(flaky.len(), 2, "{flaky:?}");
    let report = tests(&world).await;
    assert_eq!(report["failures"][0]["flaky"], true);
    assert_eq!(
        report["runs"].as_array().unwrap().len(),
        1,
        "tries before do not count"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn coverage_comes_from_log_or_report_and_is_compared() {
    let world = World::new().await;
    let runner = world.runner().await;
    let trunk = started(&world, &runner, "main").await;
    runner
        .patch(&trunk, 0, b"TOTAL 100 20 \x1b[32m80.5%\x1b[0m\n")
        .await;
    runner.succeed(&trunk).await;
    world.settle().await;
    let reports = "artifacts: {reports: {coverage_report: {coverage_format: cobertura, path: c.xml}}}";
    world
        .push(
            "feature",
            &[(".gitlab-ci.yml", &format!("test: {{script: x, {reports}}}\n"))],
        )
        .await;
    let branch = runner.ask().await.expect("a job");
    let report = br#"<coverage><packages><package><classes><class filename="a.py"><lines>
        <line number="1" hits="1"/><line number="2" hits="0"/><line number="3" hits="0"/><line number="4" hits="1"/>
        </lines></class></classes></package></packages></coverage>"#;
    // Under the name by which the job asks for it.
    let kind = branch.body["artifacts"]
        .as_array()
        .and_then(|list| {
            list.iter()
                .find_map(|one| one["artifact_type"].as_str().filter(|kind| *kind == "cobertura"))
        })
        .expect("the job asks for its coverage");
    assert_eq!(runner.upload(&branch, kind, report).await.status(), 201);
    runner.succeed(&branch).await;
    world.settle().await;
    let id = newest(&world).await;
    let path = format!("/api/v1/projects/clinic/app/pipelines/{id}/results");
    let found = world.get(&path).await;
    assert_eq!(
        found["coverage"],
        json!({"percent": "50.00", "change": "−30.50", "compared_with": id - 1, "floor": "80.00", "gate": "warn", "below": true})
    );
    let missed = world.ci.lines_missed(bascule_core::PipelineId(id)).await.unwrap();
    assert_eq!(missed["a.py"], [(2, 3)]);
    let settings = "/api/v1/projects/clinic/app/ci/settings";
    let set = |who: &str, floor: &str| {
        world
            .request(Method::PUT, settings, who)
            .json(&json!({"coverage_floor": floor, "coverage_gate": "fail"}))
            .send()
    };
    assert_eq!(set("developer", "40").await.unwrap().status(), 403);
    assert_eq!(set("admin", "400").await.unwrap().status(), 422);
    assert_eq!(set("admin", "40.5").await.unwrap().status(), 200);
    assert_eq!(world.get(&path).await["coverage"]["below"], false);
    let form = [("floor", "75"), ("gate", "off")];
    let page = world
        .request(Method::POST, "/clinic/app/-/settings/ci/results", "admin")
        .form(&form)
        .send()
        .await
        .unwrap();
    assert!(page.text().await.unwrap().contains("value=\"75.00\""));
    let badge = |file: &str| {
        world
            .request(
                Method::GET,
                &format!("/clinic/app/badges/feature/{file}"),
                "reporter",
            )
            .send()
    };
    let svg = badge("coverage.svg").await.unwrap();
    assert_eq!(svg.headers()["content-type"], "image/svg+xml");
    assert!(svg.text().await.unwrap().contains("50.00 %"));
    assert!(
        badge("pipeline.svg")
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("success")
    );
    assert_eq!(badge("other.svg").await.unwrap().status(), 404);
    let of_tag = badge("pipeline.svg?ref_type=tags").await.unwrap();
    assert!(
        of_tag.text().await.unwrap().contains("unknown"),
        "no tag is called so"
    );
    let of_branch = badge("pipeline.svg?ref_type=heads").await.unwrap();
    assert!(of_branch.text().await.unwrap().contains("success"));
    assert_eq!(badge("pipeline.svg?ref_type=x").await.unwrap().status(), 400);
    let guest = world
        .request(Method::GET, "/clinic/app/badges/feature/pipeline.svg", "guest")
        .send();
    assert_eq!(guest.await.unwrap().status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_read_is_told_and_holds_nothing_up() {
    let world = World::new().await;
    let runner = world.runner().await;
    let job = started(&world, &runner, "main").await;
    ended(&world, &runner, &job, b"<html>", true).await;
    let report = tests(&world).await;
    assert!(report["runs"][0]["fault"].as_str().unwrap().contains("`html`"));
    assert_eq!(world.pipeline().await["status"], "success");
    let id = newest(&world).await;
    let page = world
        .page(&format!("/clinic/app/-/pipelines/{id}/tests"), "reporter")
        .await;
    assert!(page.contains("Its report cannot be read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_a_dotenv_report_reach_the_jobs_behind() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "build: {stage: build, script: x, artifacts: {reports: {dotenv: e}}}\n\
              test: {stage: test, script: x}\n\
              alone: {stage: test, script: x, needs: []}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let mut jobs = [runner.ask().await.unwrap(), runner.ask().await.unwrap()];
    jobs.sort_by_key(|job| job.id);
    let build = &jobs[0];
    let refused = runner.upload(build, "dotenv", b"no variable").await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("line 1"));
    assert_eq!(
        runner
            .upload(build, "dotenv", b"VERSION=1.2.3\nDOLLAR=$HOME\n")
            .await
            .status(),
        201
    );
    runner.succeed(build).await;
    let test = runner.ask().await.unwrap();
    let value = |job: &Taken, key: &str| {
        let variables = job.body["variables"].as_array().unwrap().clone();
        variables
            .into_iter()
            .find(|v| v["key"] == key)
            .map(|v| (v["value"].as_str().unwrap().to_owned(), v["raw"].clone()))
    };
    assert_eq!(value(&test, "VERSION"), Some(("1.2.3".to_owned(), json!(true))));
    assert_eq!(
        value(&jobs[1], "VERSION"),
        None,
        "it needs no job, so it takes nothing over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_graph_draws_needs_and_groups_and_answers_nothing_when_nothing_changed() {
    let world = World::new().await;
    let ci = "build: {stage: build, script: x}\n\
              test: {script: x, needs: [build], parallel: 3}\n\
              lint: {script: x, needs: []}\n\
              ship: {stage: deploy, script: x, when: manual, needs: [test]}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let id = newest(&world).await;
    let path = format!("/clinic/app/-/pipelines/{id}?view=needs");
    let page = world.page(&path, "developer").await;
    assert_eq!(
        page.matches("class=\"stage\"").count(),
        3,
        "three steps of waiting"
    );
    assert!(page.contains("job-group") && page.contains("test 2/3"));
    assert!(page.matches("<path d=").count() >= 2);
    let seen = page.split("seen=").nth(1).unwrap().split('"').next().unwrap();
    let poll = world
        .request(Method::GET, &format!("{path}&seen={seen}"), "developer")
        .header("hx-request", "true")
        .send()
        .await
        .unwrap();
    assert_eq!(poll.status(), 204);
    let runner = world.runner().await;
    runner.ask().await.unwrap();
    let poll = world.page(&format!("{path}&seen={seen}"), "developer").await;
    assert!(poll.contains("running"));
    let timing = world
        .page(&format!("/clinic/app/-/pipelines/{id}/timing"), "reporter")
        .await;
    assert!(timing.contains("No job has ended yet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_run_with_variables_that_the_file_describes() {
    let world = World::new().await;
    let ci = "variables:\n  WHERE: {value: staging, description: Where it goes, options: [staging, production]}\n  NOTE: {value: '', description: A word}\n  PLAIN: x\n\
              show: {script: x}\nship: {script: x, when: manual}\n";
    world.push("feature", &[(".gitlab-ci.yml", ci)]).await;
    let page = world
        .page("/clinic/app/-/pipelines/new?ref=feature", "developer")
        .await;
    assert!(page.contains("Where it goes") && page.contains("<option>production</option>"));
    assert!(page.contains("<option selected>staging</option>"));
    assert!(!page.contains("PLAIN"), "what is not described is not asked for");
    let form = [
        ("ref", "feature"),
        ("var:WHERE", "production"),
        ("was:WHERE", "staging"),
        ("var:NOTE", ""),
        ("was:NOTE", ""),
        ("key-0", "EXTRA"),
        ("value-0", "yes"),
    ];
    let made = world
        .request(Method::POST, "/clinic/app/-/pipelines/new", "developer")
        .form(&form)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 200);
    let id = newest(&world).await;
    let pipeline = world
        .get(&format!("/api/v1/projects/clinic/app/pipelines/{id}"))
        .await;
    assert_eq!(pipeline["source"], "web");
    let runner = world.runner().await;
    let value = |job: &Taken, key: &str| {
        let found = job.body["variables"].as_array().unwrap().iter().rev();
        let mut found = found.filter(|v| v["key"] == key);
        found.next().map(|v| v["value"].as_str().unwrap().to_owned())
    };
    let mut seen = Vec::new();
    while let Some(job) = runner.ask().await {
        if job.body["job_info"]["pipeline_id"] == id {
            seen.push((value(&job, "WHERE"), value(&job, "EXTRA")));
        }
    }
    assert_eq!(seen, [(Some("production".to_owned()), Some("yes".to_owned()))]);
    // A job started by hand takes variables too, and keeps them when it is tried again.
    let ship = pipeline["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|job| job["name"] == "ship")
        .unwrap()["id"]
        .clone();
    let play = format!("/api/v1/projects/clinic/app/jobs/{ship}/play");
    let refused = world
        .post(&play, "developer", json!({"variables": {"1X": "y"}}))
        .await;
    assert_eq!(refused.status(), 422);
    let played = world
        .post(&play, "developer", json!({"variables": {"EXTRA": "by hand"}}))
        .await;
    assert_eq!(played.status(), 200);
    let job = runner.ask().await.unwrap();
    assert_eq!(value(&job, "EXTRA").as_deref(), Some("by hand"));
    runner.fail(&job, 1).await;
    world
        .post(
            &format!("/api/v1/projects/clinic/app/jobs/{}/retry", job.id),
            "developer",
            json!({}),
        )
        .await;
    let again = runner.ask().await.unwrap();
    assert_eq!(value(&again, "EXTRA").as_deref(), Some("by hand"));
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_tell_days_jobs_and_flaky_tests() {
    let world = World::new().await;
    let runner = world.runner().await;
    assert!(
        world
            .page("/clinic/app/-/pipelines/charts", "reporter")
            .await
            .contains("No pipeline ended")
    );
    for passed in [true, false, true] {
        let job = started(&world, &runner, "main").await;
        world.clock.advance(std::time::Duration::from_secs(60));
        ended(&world, &runner, &job, &junit(&[("a", passed)]), passed).await;
    }
    let all = world.get("/api/v1/projects/clinic/app/ci/analytics?days=7").await;
    assert_eq!(
        (&all["pipelines"], &all["passed_percent"], &all["median_ms"]),
        (&json!(3), &json!("66.7"), &json!(60_000))
    );
    assert_eq!(
        (&all["jobs"][0]["runs"], &all["jobs"][0]["failed"]),
        (&json!(3), &json!(1))
    );
    let chart: Value = world.get("/clinic/app/-/pipelines/charts/pipelines").await;
    assert_eq!(chart["series"][0]["data"], json!([2]));
    let page = world.page("/clinic/app/-/pipelines/charts", "reporter").await;
    assert!(page.contains("66.7 %") && page.contains("data-chart"));
    let id = newest(&world).await;
    let timing = world
        .get(&format!("/api/v1/projects/clinic/app/pipelines/{id}/timing"))
        .await;
    assert_eq!(timing["critical_path"][0]["ran_ms"], 60_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_request_is_told_what_its_pipeline_found() {
    let world = World::new().await;
    let runner = world.runner().await;
    let trunk = started(&world, &runner, "main").await;
    runner.patch(&trunk, 0, b"TOTAL 1 90%\n").await;
    ended(&world, &runner, &trunk, &junit(&[("a", true)]), true).await;
    let branch = started(&world, &runner, "feature").await;
    runner.patch(&branch, 0, b"TOTAL 1 70%\n").await;
    ended(&world, &runner, &branch, &junit(&[("a", false)]), false).await;
    let sha = world.pipeline().await["sha"].as_str().unwrap().to_owned();
    let html = world.widget("feature", &sha).await;
    assert!(html.contains("1 failed") && html.contains("1 new"), "{html}");
    assert!(html.contains("70.00 %") && html.contains("−20.00"), "{html}");
    assert!(
        html.contains("href=\"/clinic/app/-/jobs/"),
        "the job that failed is named"
    );
    let concern = world
        .ci
        .coverage_concern(&world.asked("feature", &sha))
        .await
        .unwrap()
        .expect("below 80 %");
    assert!(!concern.holds && concern.what.contains("70.00 %") && concern.what.contains("80.00 %"));
}
