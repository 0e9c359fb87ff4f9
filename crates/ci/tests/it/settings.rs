//! The pages on which CI is set up, and those of environments: what is written is kept, and what is refused is shown
//! again with the reason.

use crate::{harness::World, pages::select};
use bascule_testkit::Postgres;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

impl World {
    /// Sends a form as a browser does.
    async fn form(&self, path: &str, who: &str, fields: &[(&str, &str)]) -> Response {
        let request = self
            .request(Method::POST, path, who)
            .header("accept", "text/html");
        request.form(fields).send().await.unwrap()
    }

    async fn status(&self, path: &str, who: &str) -> StatusCode {
        let request = self.request(Method::GET, path, who);
        request.send().await.unwrap().status()
    }
}

async fn variables_of_group_and_instance(world: &World) {
    for (href, lead) in [
        ("/clinic/-/settings/ci", "all projects of this group"),
        ("/admin/ci", "every job of every project"),
    ] {
        assert_eq!(world.status(href, "developer").await, 403, "{href}");
        let page = world.page(href, "admin").await;
        assert!(page.contains(lead) && page.contains("No variables yet"));
        let fields = [
            ("name", "KEY"),
            ("value", "short"),
            ("masked", "1"),
            ("environment", "prod*"),
        ];
        let refused = world.form(href, "admin", &fields).await;
        assert_eq!(refused.status(), 422);
        let page = refused.text().await.unwrap();
        assert_eq!(
            select(&page, ".alert-danger strong"),
            ["This value cannot be masked."]
        );
        assert!(
            page.contains("name=\"name\" value=\"KEY\"") && page.contains(">short</textarea>"),
            "what was written stays: {page}"
        );
        assert!(page.contains("name=\"masked\" value=\"1\" checked"));
        assert!(!page.contains("name=\"expand\" value=\"1\" checked"));
        let fields = [
            ("name", "KEY"),
            ("value", "long enough"),
            ("masked", "1"),
            ("environment", "prod*"),
        ];
        let set = world.form(href, "admin", &fields).await;
        let page = set.text().await.unwrap();
        assert_eq!(select(&page, "tbody td.mono"), ["KEY", "masked"]);
        assert!(page.contains("environment <code>prod*</code>"));
        let gone = format!("{href}/KEY/delete?environment=prod*");
        let page = world.form(&gone, "admin", &[]).await.text().await.unwrap();
        assert!(page.contains("No variables yet"));
    }
    assert!(
        select(&world.page("/clinic/-/settings/ci", "admin").await, "a.btn").contains(&"Runners".to_owned())
    );
}

async fn limit_of_a_group(world: &World) {
    let base = "/clinic/-/settings/ci";
    let page = world.page(base, "admin").await;
    assert_eq!(select(&page, "form[action$=limit] button"), ["Set"]);
    let refused = world
        .form(&format!("{base}/limit"), "admin", &[("running", "0")])
        .await;
    assert_eq!(refused.status(), 422);
    let page = refused.text().await.unwrap();
    assert!(
        page.contains("1 to") && page.contains("name=\"running\" value=\"0\""),
        "{page}"
    );
    let set = world
        .form(&format!("{base}/limit"), "admin", &[("running", "7")])
        .await;
    assert!(set.text().await.unwrap().contains("name=\"running\" value=\"7\""));
    let lifted = world
        .form(&format!("{base}/limit"), "admin", &[("running", "")])
        .await;
    assert!(
        lifted
            .text()
            .await
            .unwrap()
            .contains("name=\"running\" value=\"\"")
    );
}

async fn runners_of_a_group(world: &World) {
    let base = "/clinic/-/settings/runners";
    assert_eq!(world.status(base, "developer").await, 403);
    assert!(world.page(base, "admin").await.contains("none of its own"));
    let refused = world
        .form(
            &format!("{base}/new"),
            "admin",
            &[("description", "big"), ("maximum_timeout", "soon")],
        )
        .await;
    assert_eq!(refused.status(), 422);
    let page = refused.text().await.unwrap();
    assert!(page.contains("The longest job is a number of seconds.") && page.contains("value=\"soon\""));
    let fields = [
        ("description", "big"),
        ("tags", "linux, gpu"),
        ("run_untagged", "1"),
    ];
    let made = world.form(&format!("{base}/new"), "admin", &fields).await;
    let page = made.text().await.unwrap();
    assert!(select(&page, ".alert code.mono")[0].starts_with("glrt-"));
    let page = world.page(base, "admin").await;
    assert!(!page.contains("glrt-"), "a token is shown once");
    let own: Vec<String> = select(&page, "tbody tr td:first-child");
    assert!(own.len() == 1 && own[0].contains("for group clinic"), "{own:?}");
    let runner = world.ci.runners().await.unwrap().pop().unwrap();
    // Whoever manages the group cannot reach a runner of the instance by its number.
    let (everyones, _) = world.ci.create_runner("everyone's", vec![], true).await.unwrap();
    let reach = format!("{base}/{}/delete", everyones.id);
    assert_eq!(world.form(&reach, "admin", &[]).await.status(), 404);
    let pause = format!("{base}/{}/pause", runner.id);
    let page = world
        .form(&pause, "admin", &[("paused", "1")])
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(select(&page, "tbody .badge")[0], "paused");
    let token = world
        .form(&format!("{base}/registration-token"), "admin", &[])
        .await;
    let token = select(&token.text().await.unwrap(), ".alert code.mono").remove(0);
    let registered = world
        .http
        .post(format!("{}/api/v4/runners", world.url))
        .json(&json!({"token": token, "description": "registered"}))
        .send()
        .await
        .unwrap();
    assert_eq!(registered.status(), 201);
    let page = world.page(base, "admin").await;
    assert_eq!(select(&page, "tbody tr").len(), 2, "it is the group's");
    let remove = format!("{base}/{}/delete", runner.id);
    let page = world.form(&remove, "admin", &[]).await.text().await.unwrap();
    assert_eq!(select(&page, "tbody tr").len(), 1);
    // The queue of the group is at hand from there.
    let queue = world.page("/clinic/-/queue", "admin").await;
    assert!(queue.contains("Nothing waits"));
}

async fn settings_of_a_project(world: &World) {
    let base = "/clinic/app/-/settings/ci";
    let page = world.page(base, "admin").await;
    assert!(!page.contains("name=\"merged_results\" value=\"1\" checked"));
    let page = world
        .form(
            &format!("{base}/merge-pipelines"),
            "admin",
            &[("merged_results", "1")],
        )
        .await;
    assert!(
        page.text()
            .await
            .unwrap()
            .contains("name=\"merged_results\" value=\"1\" checked")
    );
    assert!(
        world
            .ci
            .merge_pipelines(world.project)
            .await
            .unwrap()
            .merged_results
    );
    let off = world.form(&format!("{base}/merge-pipelines"), "admin", &[]).await;
    assert!(
        !off.text()
            .await
            .unwrap()
            .contains("name=\"merged_results\" value=\"1\" checked")
    );
    let refused = world
        .form(
            &format!("{base}/results"),
            "admin",
            &[("floor", "900"), ("gate", "warn")],
        )
        .await;
    assert_eq!(refused.status(), 422);
    let page = refused.text().await.unwrap();
    assert!(page.contains("no percentage") && page.contains("value=\"900\""));
    let refused = world
        .form(&format!("{base}/job-tokens"), "admin", &[("path", "a/b/c")])
        .await;
    assert_eq!(refused.status(), 422);
    let page = refused.text().await.unwrap();
    assert!(page.contains("neither a group nor a project") && page.contains("value=\"a/b/c\""));
    for path in ["clinic/other", "platform"] {
        let added = world
            .form(&format!("{base}/job-tokens"), "admin", &[("path", path)])
            .await;
        assert_eq!(added.status(), 200);
    }
    let page = world.page(base, "admin").await;
    assert_eq!(select(&page, ".list-group a.mono"), ["clinic/other", "platform"]);
    assert!(page.contains("all its projects"));
    let page = world
        .form(
            &format!("{base}/job-tokens/remove"),
            "admin",
            &[("path", "platform")],
        )
        .await;
    assert_eq!(
        select(&page.text().await.unwrap(), ".list-group a.mono"),
        ["clinic/other"]
    );
    for (path, fields) in [
        ("merge-pipelines", [("merged_results", "1")]),
        ("job-tokens", [("path", "x")]),
    ] {
        let refused = world.form(&format!("{base}/{path}"), "developer", &fields).await;
        assert_eq!(refused.status(), 403);
    }
}

async fn environments_of_a_project(world: &World) {
    let runner = world.runner().await;
    let base = "/clinic/app/-/ci/environments";
    assert!(
        world
            .page(base, "reporter")
            .await
            .contains("Nothing is deployed by jobs")
    );
    let ci = "review:
  script: x
  environment: {name: review/$CI_COMMIT_REF_SLUG, url: 'https://$CI_ENVIRONMENT_SLUG.example.org', on_stop: down, auto_stop_in: 1 week}
down:
  script: x
  when: manual
  environment: {name: review/$CI_COMMIT_REF_SLUG, action: stop}
";
    world.push("feature", &[(".gitlab-ci.yml", ci)]).await;
    let job = runner.ask().await.unwrap();
    runner.succeed(&job).await;
    let page = world.page(base, "reporter").await;
    assert_eq!(select(&page, "tbody th strong"), ["review/feature"]);
    assert_eq!(select(&page, "tbody td .badge")[0], "available");
    assert!(page.contains(&format!("/clinic/app/-/jobs/{}", job.id)));
    assert!(select(&page, "tbody th a")[0].ends_with("example.org"));
    assert_eq!(
        select(&page, "tbody time").len(),
        2,
        "when it was deployed and when it stops"
    );
    assert!(
        select(&page, "tbody form").is_empty(),
        "a reporter sees no button that would be refused"
    );
    let page = world.page(base, "developer").await;
    assert_eq!(select(&page, "tbody button"), ["Keep it", "Stop"]);
    assert!(page.contains("The job down takes it down"));
    let list = world
        .get("/api/v1/projects/clinic/app/ci/environments?state=available")
        .await;
    let id = list[0]["id"].as_i64().unwrap();
    let page = world.form(&format!("{base}/{id}/keep"), "developer", &[]).await;
    assert_eq!(
        select(&page.text().await.unwrap(), "tbody button"),
        ["Stop"],
        "it stays"
    );
    let list = world.get("/api/v1/projects/clinic/app/ci/environments").await;
    assert!(list[0]["auto_stop_at"].is_null());
    let page = world.form(&format!("{base}/{id}/stop"), "developer", &[]).await;
    let page = page.text().await.unwrap();
    assert_eq!(select(&page, "tbody td .badge")[0], "stopping");
    assert!(select(&page, "tbody td:last-child a") == ["down"] && page.contains("hx-trigger"));
    let again = world.form(&format!("{base}/{id}/stop"), "developer", &[]).await;
    assert_eq!(again.status(), 409);
    assert!(
        again
            .text()
            .await
            .unwrap()
            .contains("The environment is stopping.")
    );
    runner.succeed(&runner.ask().await.unwrap()).await;
    let page = world.page(base, "developer").await;
    assert_eq!(select(&page, ".nav-link"), ["Active 0", "Stopped 1"]);
    let page = world.page(&format!("{base}?stopped=1"), "developer").await;
    assert_eq!(select(&page, "tbody td .badge")[0], "stopped");
    let bad = "/api/v1/projects/clinic/app/ci/environments?state=gone";
    assert_eq!(world.status(bad, "reporter").await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_the_instance_have_variables_of_their_own() {
    variables_of_group_and_instance(&World::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_groups_runners_are_made_registered_paused_and_removed() {
    let world = World::new().await;
    runners_of_a_group(&world).await;
    limit_of_a_group(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_sets_what_requests_try_and_whose_tokens_it_lets_in() {
    settings_of_a_project(&World::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_are_seen_kept_and_stopped() {
    environments_of_a_project(&World::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_that_holds_on_postgresql() {
    let postgres = Postgres::start();
    let world = World::on(Some(postgres.url())).await;
    variables_of_group_and_instance(&world).await;
    runners_of_a_group(&world).await;
    limit_of_a_group(&world).await;
    settings_of_a_project(&world).await;
    environments_of_a_project(&world).await;
}
