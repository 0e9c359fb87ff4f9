//! Reports of child pipelines count for the pipeline that waits for them; lines that no test reached.

use crate::{
    harness::{FakeRunner, World},
    pages::select,
    town::{job, rest, town, town_on},
};
use bascule_core::PipelineId;
use bascule_testkit::Postgres;
use serde_json::{Value, json};

const CI: &str = "
unit: {stage: test, script: x, artifacts: {reports: {junit: r.xml, coverage_report: {coverage_format: cobertura, path: c.xml}}}}
child: {stage: test, trigger: {include: child.yml, strategy: depend}}
loose: {stage: test, trigger: {include: loose.yml}}
";
const CHILD: &str = "inner: {script: x, artifacts: {expose_as: The site, paths: [out/], \
    reports: {junit: r.xml, coverage_report: {coverage_format: cobertura, path: c.xml}}}}\n";
const LOOSE: &str = "aside: {script: x, artifacts: {reports: {junit: r.xml, \
    coverage_report: {coverage_format: cobertura, path: c.xml}}}}\n";

fn junit(name: &str, passed: bool) -> Vec<u8> {
    let inner = if passed { "" } else { "<failure message=\"no\"/>" };
    format!("<testsuite name=\"s\"><testcase classname=\"c\" name=\"{name}\">{inner}</testcase></testsuite>")
        .into_bytes()
}

/// A report in which these lines of a file were looked at, and some not reached.
fn cobertura(file: &str, lines: &[(u32, bool)]) -> Vec<u8> {
    let lines: String = lines
        .iter()
        .map(|(number, hit)| format!("<line number=\"{number}\" hits=\"{}\"/>", u8::from(*hit)))
        .collect();
    format!(
        "<coverage><packages><package><classes><class filename=\"{file}\"><lines>{lines}</lines></class></classes>\
         </package></packages></coverage>"
    )
    .into_bytes()
}

/// Runs all jobs of a new pipeline of a branch, children included; a job's reports are told by its name.
async fn run(world: &World, runner: &FakeRunner, branch: &str, inner_passes: bool) -> i64 {
    let files = [(".gitlab-ci.yml", CI), ("child.yml", CHILD), ("loose.yml", LOOSE)];
    world.push(branch, &files).await;
    rest(world).await;
    let mut root = i64::MAX;
    while let Some(job) = runner.ask().await {
        root = root.min(job.body["job_info"]["pipeline_id"].as_i64().unwrap());
        let name = job.body["job_info"]["name"].as_str().unwrap().to_owned();
        let passed = name != "inner" || inner_passes;
        assert_eq!(
            runner.upload(&job, "junit", &junit(&name, passed)).await.status(),
            201
        );
        let lines: &[(u32, bool)] = match name.as_str() {
            "unit" => &[(1, true), (2, false), (3, false), (4, true)],
            "inner" => &[(1, false), (2, true), (3, false), (4, true)],
            _ => &[(9, false)],
        };
        let report = cobertura("app.py", lines);
        assert_eq!(runner.upload(&job, "cobertura", &report).await.status(), 201);
        if name == "inner" {
            runner.upload(&job, "archive", b"PK").await;
        }
        runner.succeed(&job).await;
        rest(world).await;
    }
    root
}

async fn results(world: &World, id: i64) -> Value {
    let path = format!("/api/v1/projects/clinic/app/pipelines/{id}/results");
    world.get(&path).await
}

async fn children_that_are_waited_for_count(world: &World) {
    let runner = world.runner().await;
    let trunk = run(world, &runner, "main", true).await;
    let id = run(world, &runner, "feature", false).await;
    let found = results(world, id).await;
    assert_eq!(
        (
            &found["tests"]["total"],
            &found["tests"]["failed"],
            &found["new_failures"]
        ),
        (&json!(2), &json!(1), &json!(1)),
        "the job of `loose` is not waited for: {found}"
    );
    assert_eq!(found["coverage"]["percent"], "50.00", "4 of 8 lines: {found}");
    assert_eq!(
        found["coverage"]["compared_with"], trunk,
        "the parent, not its child"
    );
    let page = world
        .page(&format!("/clinic/app/-/pipelines/{id}/tests"), "reporter")
        .await;
    assert!(page.contains("inner") && !page.contains("aside"));
    let sha = world
        .get(&format!("/api/v1/projects/clinic/app/pipelines/{id}"))
        .await;
    let sha = sha["sha"].as_str().unwrap().to_owned();
    let html = world.widget("feature", &sha).await;
    assert!(html.contains(&format!("Pipeline #{id}")), "{html}");
    assert!(
        html.contains("1 failed") && html.contains("1 new") && html.contains("The site"),
        "{html}"
    );
    assert!(select(&html, "strong").contains(&"50.00 %".to_owned()));
    // A line that one of the two reached is reached; what is not waited for says nothing.
    let missed = world.ci.lines_missed(PipelineId(id)).await.unwrap();
    assert_eq!(missed["app.py"], [(3, 3)]);
    let files = ["app.py".to_owned()];
    let at = world
        .ci
        .lines_missed_at(world.project, &sha, &files)
        .await
        .unwrap();
    assert_eq!(at["app.py"], [(3, 3)]);
    let none = world
        .ci
        .lines_missed_at(world.project, &sha, &["b.py".to_owned()])
        .await
        .unwrap();
    assert!(none.is_empty());
    let path = format!("/api/v1/projects/clinic/app/pipelines/{id}/uncovered");
    assert_eq!(
        world.get(&path).await,
        json!([{"file": "app.py", "lines": [[3, 3]]}])
    );
    assert_eq!(world.get(&format!("{path}?after=app.py")).await, json!([]));
    // The child's own page tells of itself alone.
    let parent = world
        .get(&format!("/api/v1/projects/clinic/app/pipelines/{id}"))
        .await;
    let child = job(&parent, "child")["downstream"].as_i64().unwrap();
    let own = results(world, child).await;
    assert_eq!(
        (&own["tests"]["total"], &own["new_failures"]),
        (&json!(1), &json!(1)),
        "{own}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_children_count_for_the_pipeline_that_waits() {
    children_that_are_waited_for_count(&town().await.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_children_count_on_postgresql() {
    let postgres = Postgres::start();
    children_that_are_waited_for_count(&town_on(Some(postgres.url())).await.0).await;
}
