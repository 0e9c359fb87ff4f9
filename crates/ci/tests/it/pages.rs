//! What people see.

use crate::harness::World;
use reqwest::Method;
use scraper::{Html, Selector};
use serde_json::json;

pub fn select(page: &str, css: &str) -> Vec<String> {
    let selector = Selector::parse(css).unwrap();
    Html::parse_document(page)
        .select(&selector)
        .map(|element| {
            element
                .text()
                .collect::<String>()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_listed_and_drawn_by_stage() {
    let world = World::new().await;
    let runner = world.runner().await;
    assert!(
        world
            .page("/clinic/app/-/pipelines", "reporter")
            .await
            .contains("No pipelines yet")
    );
    let ci = "a: {stage: build, script: x}\nb: {script: x, needs: [a]}\nc: {stage: deploy, script: x, when: manual}\n";
    world
        .push_with("main", &[(".gitlab-ci.yml", ci)], "Add <things>\n\nMore")
        .await;
    let list = world.page("/clinic/app/-/pipelines", "developer").await;
    assert_eq!(select(&list, "tbody tr").len(), 1);
    assert!(
        list.contains("Add &#60;things&#62;"),
        "the commit's title, escaped"
    );
    let id = world.pipeline().await["id"].as_i64().unwrap();
    let path = format!("/clinic/app/-/pipelines/{id}");
    let page = world.page(&path, "developer").await;
    assert_eq!(select(&page, ".stage h3"), ["build", "test", "deploy"]);
    assert_eq!(select(&page, ".stage .job a.job-name"), ["a", "b", "c"]);
    assert!(page.contains("needs a") && page.contains("hx-trigger=\"every 2s\""));
    let job = runner.ask().await.unwrap();
    runner.patch(&job, 0, b"\x1b[32mhello\x1b[0m\n").await;
    runner.succeed(&job).await;
    let log = world
        .page(&format!("/clinic/app/-/jobs/{}", job.id), "reporter")
        .await;
    assert_eq!(select(&log, ".log .ansi-green"), ["hello"]);
    assert_eq!(select(&log, ".log a#L1"), ["1"]);
    assert!(
        select(&log, "form[action$=retry]").is_empty(),
        "a reporter sees no button that would be refused"
    );
    let b = runner.ask().await.unwrap();
    runner.succeed(&b).await;
    let done = world.page(&path, "developer").await;
    assert!(
        !done.contains("hx-trigger"),
        "an ended pipeline is not asked for again"
    );
    assert!(done.contains("aria-label=\"Start c\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_shows_faults_or_the_plan() {
    let world = World::new().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let page = world.page("/clinic/app/-/ci/lint", "reporter").await;
    assert!(page.contains("1 job in 1 stage"));
    let form = [("content", "a: {scirpt: x}\r\n"), ("ref", "")];
    let request = world
        .request(Method::POST, "/clinic/app/-/ci/lint", "reporter")
        .form(&form);
    let page = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(
        select(&page, "li .mono"),
        [".gitlab-ci.yml:1:5", "a: {scirpt: x} ^"],
        "where, and the line itself"
    );
    let body =
        json!({"content": "a: {script: x}\nb: {script: x, rules: [{if: $CI_COMMIT_TAG}]}\n", "ref": "main"});
    let found = world
        .post("/api/v1/projects/clinic/app/ci/lint", "reporter", body)
        .await;
    let found: serde_json::Value = found.json().await.unwrap();
    assert_eq!(
        (&found["valid"], &found["jobs"][0]["name"]),
        (&json!(true), &json!("a"))
    );
    let reason = found["left_out"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("none of its rules matches"), "{reason}");
    let secret = json!({"value": "hunter2-hunter2", "masked": true, "protected": true});
    world
        .request(
            Method::PUT,
            "/api/v1/projects/clinic/app/ci/variables/KEY",
            "admin",
        )
        .json(&secret)
        .send()
        .await
        .unwrap();
    for (who, jobs) in [("reporter", 0), ("developer", 0), ("admin", 1)] {
        let guess = json!({"content": "a: {script: x, rules: [{if: $KEY =~ /^h/}]}\n", "ref": "main"});
        let found: serde_json::Value = world
            .post("/api/v1/projects/clinic/app/ci/lint", who, guess)
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(
            found["jobs"].as_array().unwrap().len(),
            jobs,
            "{who} may not guess secrets by asking about rules"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_by_hand_take_variables_and_explain_refusals() {
    let world = World::new().await;
    let ci = "a: {script: x, rules: [{if: $GO}]}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let path = "/api/v1/projects/clinic/app/pipeline";
    assert_eq!(world.post(path, "reporter", json!({})).await.status(), 403);
    let refused = world.post(path, "developer", json!({})).await;
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains("no job is to run"));
    let missing = world.post(path, "developer", json!({"ref": "nope"})).await;
    assert_eq!(missing.status(), 422);
    let request = json!({"ref": "main", "variables": {"GO": "1"}});
    assert_eq!(
        world.post(path, "developer", request.clone()).await.status(),
        403,
        "main is protected"
    );
    let made = world.post(path, "admin", request).await;
    assert_eq!(made.status(), 201);
    assert_eq!(world.pipeline().await["source"], "api");
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_are_made_and_shown_by_administrators_only() {
    let world = World::new().await;
    let form = [
        ("description", "big machine"),
        ("tags", "gpu, linux"),
        ("run_untagged", "1"),
    ];
    let make = |who: &str| {
        world
            .request(Method::POST, "/admin/runners/new", who)
            .form(&form)
            .send()
    };
    assert_eq!(make("developer").await.unwrap().status(), 403);
    let page = make("admin").await.unwrap().text().await.unwrap();
    assert!(
        select(&page, ".alert code")
            .iter()
            .any(|text| text.starts_with("glrt-"))
    );
    let page = world.page("/admin/runners", "admin").await;
    assert_eq!(select(&page, "tbody tr td:first-child"), ["#1 big machine"]);
    assert!(!page.contains("glrt-"), "the token is shown once");
    let refused = world
        .request(Method::GET, "/api/v1/runners", "developer")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_set_and_removed_on_the_settings_page() {
    let world = World::new().await;
    let form = [("name", "KEY"), ("value", "hunter2-hunter2"), ("masked", "1")];
    let set = world
        .request(Method::POST, "/clinic/app/-/settings/ci", "admin")
        .form(&form)
        .send()
        .await
        .unwrap();
    let page = set.text().await.unwrap();
    assert_eq!(select(&page, "tbody td.mono"), ["KEY", "masked"]);
    assert!(!page.contains("hunter2"));
    let gone = world
        .request(Method::POST, "/clinic/app/-/settings/ci/KEY/delete", "admin")
        .send()
        .await
        .unwrap();
    assert!(gone.text().await.unwrap().contains("No variables yet"));
    let refused = world
        .request(Method::GET, "/clinic/app/-/settings/ci", "developer")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_asks_its_question_before_it_is_started_and_says_why_it_is_stuck() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "go: {script: x, when: manual, manual_confirmation: Really deploy to \"production\"?,
      environment: {name: review/$CI_COMMIT_REF_SLUG}}
lost: {script: x, tags: [nowhere]}
plain: {script: x, when: manual}
";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let pipeline = world.pipeline().await;
    let path = format!("/clinic/app/-/pipelines/{}", pipeline["id"]);
    let page = world.page(&path, "developer").await;
    let asked = Selector::parse("form[action$=play]").unwrap();
    let html = Html::parse_document(&page);
    let asked: Vec<_> = html
        .select(&asked)
        .map(|form| form.value().attr("data-confirm"))
        .collect();
    assert_eq!(asked, [Some("Really deploy to \"production\"?"), None]);
    let stuck = select(&page, ".job-stuck");
    assert_eq!(stuck.len(), 1, "{stuck:?}");
    assert!(
        stuck[0].starts_with("stuck: ") && stuck[0].contains("nowhere"),
        "{stuck:?}"
    );
    let id = pipeline["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|job| job["name"] == "go")
        .unwrap()["id"]
        .as_i64()
        .unwrap();
    let job = world.get(&format!("/api/v1/projects/clinic/app/jobs/{id}")).await;
    assert_eq!(job["manual_confirmation"], "Really deploy to \"production\"?");
    let page = world.page(&format!("/clinic/app/-/jobs/{id}"), "reporter").await;
    assert!(page.contains("environment review/main"), "with its variables");
    // A runner that has all it can take asks for nothing, and is heard of by what it says of its job.
    world
        .push("more", &[(".gitlab-ci.yml", "busy: {script: x}\n")])
        .await;
    let busy = runner.ask().await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(59));
    runner.patch(&busy, 0, b"still here\n").await;
    world.clock.advance(std::time::Duration::from_secs(30));
    let online =
        |list: String| serde_json::from_str::<serde_json::Value>(&list).unwrap()[0]["online"].clone();
    assert_eq!(online(world.page("/api/v1/runners", "admin").await), true);
    world.clock.advance(std::time::Duration::from_secs(31));
    assert_eq!(
        online(world.page("/api/v1/runners", "admin").await),
        false,
        "as long as its job is waited for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_before_the_first_push_says_what_cannot_be_read() {
    let world = World::new().await;
    let body =
        json!({"content": "include: ci/common.yml\na: {script: x, rules: [{exists: [Cargo.toml]}]}\n"});
    let answer = world
        .post("/api/v1/projects/clinic/app/ci/lint", "developer", body)
        .await;
    let found: serde_json::Value = answer.json().await.unwrap();
    let message = found["faults"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("the project has no commit yet"), "{found}");
    let body = json!({"content": "a: {script: x, rules: [{exists: [Cargo.toml]}]}\nb: {script: x}\n"});
    let answer = world
        .post("/api/v1/projects/clinic/app/ci/lint", "developer", body)
        .await;
    let found: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(
        (&found["valid"], &found["jobs"][0]["name"]),
        (&json!(true), &json!("b")),
        "{found}"
    );
    let answer = world
        .post("/api/v1/projects/clinic/app/ci/lint", "developer", json!({}))
        .await;
    assert!(answer.text().await.unwrap().contains("no commit yet"));
}
