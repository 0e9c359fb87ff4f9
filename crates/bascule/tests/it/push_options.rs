//! What a push gives its pipeline: `git push -o` of stock git against the real server and its runner.

use crate::{
    ci_containers::job,
    product::rows,
    reviews::{PATH, PROJECT, Scene},
};
use bascule_testkit::until;
use serde_json::Value;
use std::time::Duration;

const CI: &str = r#"spec:
  inputs:
    level: { options: [low, high], default: low }
---
tell:
  script: ['echo "given=[$GIVEN] other=[$OTHER] level=[$[[ inputs.level ]]] from=$CI_PIPELINE_SOURCE"']
"#;

impl Scene {
    fn pushes(&self, who: &str, to: &str, options: &[&str]) -> String {
        self.commit_as("developer", &format!("For {to}"));
        let remote = self.app.remote(PROJECT, &self.tokens[who]);
        let with: Vec<&str> = options.iter().flat_map(|option| ["-o", *option]).collect();
        let target = format!("HEAD:{to}");
        drop(
            self.git
                .ok(&[&["push", "-q"], with.as_slice(), &[&remote, &target]].concat()),
        );
        self.git.ok(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// The pipeline of a commit once it has ended.
    async fn pipeline_of(&self, sha: &str) -> Value {
        until("the pipeline", Duration::from_secs(60), async || {
            let all = self
                .ok("admin", "GET", &format!("{PATH}/pipelines"), &Value::Null)
                .await;
            rows(&all)
                .into_iter()
                .find(|one| one["sha"] == sha && !one["finished_at"].is_null())
        })
        .await
    }

    fn told(&self, pipeline: &Value) -> String {
        job(&self.app, PROJECT, &pipeline["id"].to_string(), "tell").1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_gives_its_pipeline_variables_and_inputs_or_asks_for_none() {
    let scene = Scene::with(&[(".gitlab-ci.yml", CI)]).await;
    let options = [
        "ci.variable=GIVEN=a=b c",
        "ci.variable=OTHER=$GIVEN",
        "ci.input=level=high",
    ];
    let sha = scene.pushes("developer", "refs/heads/topic", &options);
    let made = scene.pipeline_of(&sha).await;
    assert_eq!(made["status"], "success", "{made}");
    let log = scene.told(&made);
    assert!(
        log.contains("given=[a=b c] other=[a=b c] level=[high] from=push"),
        "{log}"
    );

    // What was given is of that push alone.
    let sha = scene.pushes("developer", "refs/heads/topic", &[]);
    let log = scene.told(&scene.pipeline_of(&sha).await);
    assert!(log.contains("given=[] other=[] level=[low]"), "{log}");

    // Skipped: facts come in order, so that once the next push has a pipeline this one has none.
    let skipped = scene.pushes("developer", "refs/heads/quiet", &["ci.skip"]);
    let next = scene.pushes("developer", "refs/heads/loud", &[]);
    scene.pipeline_of(&next).await;
    let all = scene
        .ok("admin", "GET", &format!("{PATH}/pipelines"), &Value::Null)
        .await;
    assert!(
        rows(&all).iter().all(|one| one["sha"] != skipped.as_str()),
        "{all}"
    );

    // What is no value is told to who pushes, and the push is not taken.
    let remote = scene.app.remote(PROJECT, &scene.tokens["developer"]);
    for (option, says) in [
        ("ci.variable=GIVEN", "gives no value"),
        ("ci.input=level", "gives no value"),
    ] {
        let told = scene
            .git
            .refused(&["push", "-o", option, &remote, "HEAD:refs/heads/wrong"]);
        for part in [says, "why:", "next:", "-o ci.variable=\"NAME=value\""] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
    // What the file does not allow fails the pipeline with its reason.
    for (branch, option, says) in [
        ("value", "ci.input=level=extreme", "level"),
        ("unknown", "ci.input=depth=1", "depth"),
        ("name", "ci.variable=9=x", "cannot be a variable's name"),
    ] {
        let sha = scene.pushes("developer", &format!("refs/heads/{branch}"), &[option]);
        let made = scene.pipeline_of(&sha).await;
        assert_eq!(made["status"], "failed", "{made}");
        let path = format!("{PATH}/pipelines/{}", made["id"]);
        let whole = scene.ok("admin", "GET", &path, &Value::Null).await;
        let faults = whole["faults"].to_string();
        assert!(faults.contains(says), "{option}: {faults}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protected_branch_takes_variables_of_who_may_push_there() {
    let scene = Scene::with(&[(".gitlab-ci.yml", CI)]).await;
    let sha = scene.pushes("sre", "refs/heads/main", &["ci.variable=GIVEN=mine"]);
    let log = scene.told(&scene.pipeline_of(&sha).await);
    assert!(log.contains("given=[mine]"), "{log}");
    // A version tag of a protected branch's commit is protected too, and a developer may set it.
    let remote = scene.app.remote(PROJECT, &scene.tokens["developer"]);
    let pushed = scene.git.run(&[
        "push",
        "-q",
        "-o",
        "ci.variable=GIVEN=evil",
        &remote,
        "HEAD:refs/tags/v1.0.0",
    ]);
    let told = String::from_utf8_lossy(&pushed.stderr).into_owned();
    if !pushed.status.success() {
        assert!(told.contains("Refused"), "{told}");
        return;
    }
    let made = until("the tag's pipeline", Duration::from_secs(60), async || {
        let all = scene
            .ok(
                "admin",
                "GET",
                &format!("{PATH}/pipelines?ref=v1.0.0"),
                &Value::Null,
            )
            .await;
        rows(&all).into_iter().find(|one| !one["finished_at"].is_null())
    })
    .await;
    let path = format!("{PATH}/pipelines/{}", made["id"]);
    let whole = scene.ok("admin", "GET", &path, &Value::Null).await;
    assert_eq!(whole["status"], "failed", "{whole}");
    let faults = whole["faults"].to_string();
    for part in [
        "`v1.0.0` is protected, and its jobs see protected variables",
        "ci.variable",
    ] {
        assert!(faults.contains(part), "{part}: {faults}");
    }
}
