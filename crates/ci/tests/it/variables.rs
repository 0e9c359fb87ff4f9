//! Variables of instance, group and project, for environments, and secrets.

use crate::{
    harness::{Taken, World},
    town::job,
};
use bascule_ci::variable::Place;
use bascule_core::Actor;
use bascule_store::{Query as _, args};
use bascule_wire::ci::SetCiVariable;
use reqwest::Method;
use serde_json::{Value, json};

fn value_of(job: &Taken, key: &str) -> Value {
    let list = job.body["variables"].as_array().unwrap();
    // The last of a name counts.
    list.iter()
        .rev()
        .find(|v| v["key"] == key)
        .cloned()
        .unwrap_or_default()
}

fn set(value: &str, environment: &str) -> SetCiVariable {
    serde_json::from_value(json!({"value": value, "environment": environment})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_closest_value_counts_and_none_lies_open_in_the_database() {
    let world = World::new().await;
    let runner = world.runner().await;
    let system = Actor::system();
    let (all, group, project) = (
        Place::Instance,
        Place::Group("clinic".to_owned()),
        Place::Project(world.project),
    );
    for (place, name, value, environment) in [
        (&all, "A", "instance", "*"),
        (&all, "B", "instance", "*"),
        (&all, "C", "instance", "*"),
        (&group, "B", "group", "*"),
        (&group, "C", "group", "*"),
        (&project, "C", "project", "*"),
        (&project, "C", "review apps", "review/*"),
        (&Place::Group("other".to_owned()), "A", "another group", "*"),
    ] {
        world
            .ci
            .set_variable(place, name, &set(value, environment), &system)
            .await
            .unwrap();
    }
    let ci = "a: {script: x}\nb: {script: x, environment: {name: review/$CI_COMMIT_REF_SLUG}}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let (a, b) = (runner.ask().await.unwrap(), runner.ask().await.unwrap());
    assert_eq!(value_of(&a, "A")["value"], "instance");
    assert_eq!(value_of(&a, "B")["value"], "group");
    assert_eq!(value_of(&a, "C")["value"], "project");
    assert_eq!(value_of(&b, "C")["value"], "review apps");
    let open = world
        .db
        .count(
            "SELECT COUNT(*) AS n FROM ci_scoped_variable WHERE value IN ('instance', 'group', 'project') OR sealed = FALSE",
            args![],
        )
        .await
        .unwrap();
    assert_eq!(open, 0, "values are sealed");
    let list = world.request(Method::GET, "/api/v1/projects/clinic/app/ci/variables", "admin");
    let list: Value = list.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&list[1]["environment"], &list[1]["value"]),
        (&json!("review/*"), &json!("review apps"))
    );
    let gone = world.request(
        Method::DELETE,
        "/api/v1/projects/clinic/app/ci/variables/C?environment=review/*",
        "admin",
    );
    assert_eq!(gone.send().await.unwrap().status(), 204);
    assert_eq!(world.ci.variables(world.project).await.unwrap().len(), 1);
    let facts = world.facts("ci.variable_set").await;
    assert!(facts.iter().all(|fact| !fact.body.contains("review apps")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_only_the_job_that_names_it() {
    let world = World::new().await;
    let runner = world.runner().await;
    let path = "/api/v1/projects/clinic/app/ci/variables/DEPLOY";
    let put = |body: Value| world.request(Method::PUT, path, "admin").json(&body).send();
    assert_eq!(
        put(json!({"value": "s3cr3t-value", "secret": true}))
            .await
            .unwrap()
            .status(),
        204
    );
    let ci = "a: {script: x}\n\
        b: {script: x, secrets: {KEY: {gitlab_secrets_manager: {name: DEPLOY}}}}\n\
        c: {script: x, secrets: {KEY: {gitlab_secrets_manager: {name: DEPLOY}, file: false}}}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let a = runner.ask().await.unwrap();
    assert!(!a.body.to_string().contains("s3cr3t-value"));
    let b = runner.ask().await.unwrap();
    let key = value_of(&b, "KEY");
    assert_eq!(
        (&key["value"], &key["file"], &key["masked"]),
        (&json!("s3cr3t-value"), &json!(true), &json!(true))
    );
    let c = runner.ask().await.unwrap();
    assert_eq!(value_of(&c, "KEY")["file"], false);
    let page = world.page("/clinic/app/-/settings/ci", "admin").await;
    assert!(page.contains("jobs that ask by") && !page.contains("s3cr3t-value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_had_fails_the_job_and_says_what_to_do() {
    let world = World::new().await;
    let runner = world.runner().await;
    for (ci, words) in [
        (
            "a: {script: x, secrets: {KEY: {gitlab_secrets_manager: {name: NONE}}}}\n",
            ["no secret `NONE`", "bascule variable set NONE --secret"],
        ),
        (
            "a: {script: x, id_tokens: {T: {aud: x}}, secrets: {KEY: {vault: a/b/c@ops}}}\n",
            ["from `vault`, which is not served here", "id_tokens"],
        ),
    ] {
        world.push("main", &[(".gitlab-ci.yml", ci)]).await;
        assert!(runner.ask().await.is_none());
        let pipeline = world.pipeline().await;
        assert_eq!(pipeline["status"], "failed");
        let job = &pipeline["jobs"][0];
        assert_eq!(job["failure_reason"], "configuration_error");
        let log = format!("/api/v1/projects/clinic/app/jobs/{}/log", job["id"]);
        let log = world.request(Method::GET, &log, "reporter").send().await.unwrap();
        let log = log.text().await.unwrap();
        for word in words {
            assert!(log.contains(word), "{word}: {log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_knows_for_whom_it_runs() {
    let (world, _town) = crate::town::town().await;
    let runner = world.runner().await;
    let ci = "a: {script: x, tags: [t, u]}\nb: {script: x, when: manual, rules: [{if: '$GITLAB_USER_EMAIL =~ /example/', when: manual}]}\n";
    let ci = ci.replace("when: manual, rules", "rules");
    world.push("main", &[(".gitlab-ci.yml", &ci)]).await;
    let pipeline = world.pipeline().await;
    let b = job(&pipeline, "b")["id"].clone();
    let play = format!("/api/v1/projects/clinic/app/jobs/{b}/play");
    assert_eq!(world.post(&play, "admin", json!({})).await.status(), 200);
    let taken = runner.ask().await.unwrap();
    let value = |key: &str| {
        let list = taken.body["variables"].as_array().unwrap();
        let found = list.iter().rfind(|one| one["key"] == key);
        found.map(|one| one["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        value("CI_JOB_NAME").as_deref(),
        Some("b"),
        "nobody takes the tags of a"
    );
    for (key, wanted) in [
        ("GITLAB_USER_LOGIN", "admin"),
        ("GITLAB_USER_NAME", "The admin"),
        ("GITLAB_USER_EMAIL", "admin@example.org"),
        ("CI_JOB_RETRY_COUNT", "0"),
        ("CI_JOB_TAGS", "[]"),
        ("CI_PROJECT_VISIBILITY", "private"),
    ] {
        assert_eq!(value(key).as_deref(), Some(wanted), "{key}");
    }
    assert!(value("GITLAB_USER_ID").is_some());
}
