//! What a group requires, from push to merge on the real platform: each way in which a developer might get round it.

use crate::{
    product::rows,
    reviews::{PATH, PROJECT, Scene},
};
use bascule_testkit::{Git, until};
use serde_json::{Value, json};
use std::time::Duration;

const POLICY: &str = "pipelines:\n  - {name: security, file: scan.yml}\n";
const SCAN: &str = "scan:
  script:
    - if [ -e forbidden ]; then echo 'a forbidden file'; exit 1; fi
    - for i in $(seq 100); do [ -e slow ] || break; sleep 0.2; done
";
/// A file whose own jobs are for merge requests alone, and pass.
const OWN: &str = "mine:
  script: [echo fine]
  rules: [{if: '$CI_PIPELINE_SOURCE == \"merge_request_event\"'}]
";
const CHECK: &str = "required_pipeline";

/// A project whose developers may merge, and whose group requires a scan.
async fn guarded() -> Scene {
    let scene = Scene::with(&[(".gitlab-ci.yml", OWN)]).await;
    let cli = scene.app.cli();
    drop(cli.ok(&["group", "create", "security-office"]));
    drop(cli.ok(&["project", "create", "security-office/policy"]));
    let policy = Git::init();
    policy.write("required-pipelines.yml", POLICY);
    policy.write("scan.yml", SCAN);
    policy.commit("Require a scan");
    let remote = scene.app.remote("security-office/policy", scene.app.token());
    drop(policy.ok(&["push", "-q", &remote, "main"]));
    drop(cli.ok(&["ci", "required", "demo", "--policy", "security-office/policy"]));
    let settings = json!({ "developers_merge": true, "require_pipeline": false });
    scene
        .ok("sre", "PATCH", &format!("{PATH}/merge-settings"), &settings)
        .await;
    scene
}

impl Scene {
    /// Waits until the condition stands so; its sentences.
    async fn required(&self, request: &str, state: &str, says: &str) -> Value {
        let what = format!("the condition to be {state}: {says}");
        until(&what, Duration::from_secs(60), async || {
            let found = self.check(request, CHECK).await?;
            let said = found["what"].as_str()?.contains(says);
            (found["state"] == state && said).then_some(found)
        })
        .await
    }

    async fn merge(&self, who: &str, request: &str, order: &Value) -> (u16, Value) {
        self.send(who, "POST", &format!("{request}/merge"), order).await
    }

    /// That nobody merges it in any way, and what they are told.
    async fn nobody_merges(&self, request: &str, says: &str) {
        for who in ["developer", "sre", "admin"] {
            let (status, told) = self.merge(who, request, &json!({})).await;
            assert_eq!(
                (status, &told["code"]),
                (409, &json!("held_by_required_pipeline")),
                "{who}: {told}"
            );
            assert!(told["title"].as_str().unwrap().contains(says), "{told}");
            assert!(
                told["detail"]
                    .as_str()
                    .unwrap()
                    .contains("demo requires the pipeline `security`"),
                "{told}"
            );
            assert!(!told["next"].as_str().unwrap().is_empty(), "{told}");
        }
        let bypass = json!({ "bypass": "It is urgent" });
        assert_eq!(self.merge("admin", request, &bypass).await.0, 409);
        let iid = request.rsplit('/').next().unwrap();
        let cli = self.app.cli_as(&self.tokens["developer"]);
        let (code, said) = cli.refused(&["mr", "merge", iid, "--project", PROJECT]);
        assert_eq!(code, 3, "{said}");
        for part in [says, "why:", "security", "next:"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // The page's button does what the API does, and says the same.
        let answer = self
            .app
            .request("POST", &format!("/{PROJECT}/-/merge-requests/{iid}/merge"))
            .header("origin", self.app.url())
            .form(&[("strategy", "merge")])
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let page = answer.text().await.unwrap();
        assert!(
            status >= 400 || page.contains("cannot be merged yet"),
            "{status} {page}"
        );
        let found = self.ok("developer", "GET", request, &Value::Null).await;
        assert_eq!(
            (&found["state"], &found["mergeable"]),
            (&json!("open"), &json!(false)),
            "{found}"
        );
    }

    async fn merged(&self, request: &str) {
        until("the merge", Duration::from_secs(60), async || {
            let found = self.ok("admin", "GET", request, &Value::Null).await;
            (found["state"] == "merged").then_some(())
        })
        .await;
    }

    /// The newest pipeline of a branch from a source, once it has ended, or waits for a person.
    async fn ended(&self, branch: &str, source: &str) -> Value {
        until(
            &format!("{branch}'s pipeline of {source}"),
            Duration::from_secs(60),
            async || {
                let all = self
                    .ok(
                        "admin",
                        "GET",
                        &format!("{PATH}/pipelines?ref={branch}"),
                        &Value::Null,
                    )
                    .await;
                rows(&all)
                    .into_iter()
                    .find(|one| one["source"] == source)
                    .filter(|one| !one["finished_at"].is_null())
            },
        )
        .await
    }

    /// The identifier of the newest pipeline's required job.
    async fn scan(&self, pipeline: &Value) -> i64 {
        let whole = self
            .ok(
                "admin",
                "GET",
                &format!("{PATH}/pipelines/{pipeline}"),
                &Value::Null,
            )
            .await;
        let jobs = whole["jobs"].as_array().unwrap();
        let scan = jobs.iter().rfind(|job| job["name"] == "security/scan").unwrap();
        scan["id"].as_i64().unwrap()
    }

    fn mend(&self, branch: &str, gone: &[&str], message: &str) -> String {
        for file in gone {
            std::fs::remove_file(self.git.path().join(file)).unwrap();
        }
        self.commit_as("developer", message);
        self.push_branch("developer", branch)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_green_pipeline_for_the_merge_request_does_not_stand_for_the_required_one() {
    let scene = guarded().await;
    scene.push("developer", "topic", &[("forbidden", "x\n")]);
    let request = scene.open("topic").await;
    let own = scene.ended("topic", "merge_request_event").await;
    assert_eq!(
        own["status"], "success",
        "the request's own pipeline passes: {own}"
    );
    let told = scene.required(&request, "failed", "failed").await;
    assert!(
        told["what"]
            .as_str()
            .unwrap()
            .contains("`security/scan` of pipeline #"),
        "{told}"
    );
    scene
        .nobody_merges(&request, "`security/scan` of pipeline #")
        .await;

    // A pipeline run by hand, with what might switch it off, runs it anew.
    let run = json!({ "ref": "topic", "variables": { "SCAN_DISABLED": "true", "GIT_STRATEGY": "none" } });
    let made = scene
        .ok("developer", "POST", &format!("{PATH}/pipeline"), &run)
        .await;
    scene.ended("topic", "api").await;
    scene
        .required(&request, "failed", &format!("#{}", made["id"]))
        .await;
    scene.nobody_merges(&request, "failed").await;

    // A commit and a push that ask for no CI, an own job that is called the same, and a file without any job.
    for (file, message) in [
        (OWN, "More [skip ci]"),
        (
            "security/scan: {script: echo fine, stage: test}\n",
            "The same name",
        ),
        (
            "workflow: {rules: [{when: never}]}\na: {script: echo}\n",
            "No pipelines",
        ),
        ("a: [", "No YAML"),
    ] {
        scene.git.write(".gitlab-ci.yml", file);
        scene.commit_as("developer", message);
        let remote = scene.app.remote(PROJECT, &scene.tokens["developer"]);
        drop(scene.git.ok(&["push", "-q", "-o", "ci.skip", &remote, "topic"]));
        let head = scene.git.ok(&["rev-parse", "HEAD"]).trim().to_owned();
        scene.taken_up(&request, &head).await;
        scene.required(&request, "failed", "failed").await;
        scene.nobody_merges(&request, "failed").await;
    }

    // Mended: it passes, and the developer merges.
    scene.git.write(".gitlab-ci.yml", OWN);
    let head = scene.mend("topic", &["forbidden"], "Take it out");
    scene.taken_up(&request, &head).await;
    scene.required(&request, "passed", "`security` passed").await;
    let (status, told) = scene.merge("developer", &request, &json!({})).await;
    assert_eq!((status, &told["state"]), (200, &json!("merged")), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_or_was_stopped_holds_it_and_merge_when_met_waits_for_it() {
    let scene = guarded().await;
    scene.push("developer", "topic", &[("slow", "x\n")]);
    let request = scene.open("topic").await;
    scene.required(&request, "pending", "has not ended").await;
    scene.nobody_merges(&request, "has not ended").await;
    let pushed = until("its pipeline", Duration::from_secs(30), async || {
        let all = scene
            .ok(
                "admin",
                "GET",
                &format!("{PATH}/pipelines?ref=topic"),
                &Value::Null,
            )
            .await;
        rows(&all)
            .into_iter()
            .find(|one| one["source"] == "push" && one["status"] == "running")
    })
    .await;
    let job = scene.scan(&pushed["id"]).await;
    scene
        .ok(
            "developer",
            "POST",
            &format!("{PATH}/jobs/{job}/cancel"),
            &json!({}),
        )
        .await;
    scene.required(&request, "failed", "was canceled").await;
    scene.nobody_merges(&request, "was canceled").await;
    let page = scene.app.page("/demo/p/-/merge-requests/1").await;
    assert!(page.source().contains("was canceled"));

    // Tried again, it runs, and who asks for the merge when all is met waits for it.
    scene
        .ok(
            "developer",
            "POST",
            &format!("{PATH}/jobs/{job}/retry"),
            &json!({}),
        )
        .await;
    scene.required(&request, "pending", "has not ended").await;
    let order = json!({ "when_checks_pass": true });
    let (status, told) = scene.merge("developer", &request, &order).await;
    assert_eq!((status, &told["state"]), (200, &json!("open")), "{told}");
    scene.mend("topic", &["slow"], "Quicker");
    scene.required(&request, "passed", "passed").await;
    let found = scene.ok("admin", "GET", &request, &Value::Null).await;
    assert_eq!(found["state"], "open", "a push takes the wish back: {found}");
    let told = found["auto_merge_dropped"].as_str().unwrap();
    assert!(
        told.contains("developer had asked") && told.contains("pushed new commits"),
        "{told}"
    );
    let page = scene.app.page("/demo/p/-/merge-requests/1").await;
    assert!(page.source().contains("Not merged by itself any more"));
    let todos = async || {
        scene
            .ok("developer", "GET", "/api/v1/todos", &Value::Null)
            .await
            .to_string()
    };
    assert!(
        !todos().await.contains("auto_merge_dropped"),
        "who pushed themselves knows"
    );
    // Somebody else's push is told to who had asked.
    scene.git.write("slow", "x\n");
    scene.commit_as("second", "Slower again");
    let slow = scene.push_branch("second", "topic");
    scene.taken_up(&request, &slow).await;
    scene.required(&request, "pending", "has not ended").await;
    let (status, told) = scene.merge("developer", &request, &order).await;
    assert_eq!(
        (status, &told["auto_merge_dropped"]),
        (200, &Value::Null),
        "{told}"
    );
    std::fs::remove_file(scene.git.path().join("slow")).unwrap();
    scene.commit_as("second", "Quick again");
    scene.push_branch("second", "topic");
    until("the notice", Duration::from_secs(30), async || {
        todos().await.contains("auto_merge_dropped").then_some(())
    })
    .await;
    scene.required(&request, "passed", "passed").await;

    // What a required job left is the proof that it ran: neither developers nor maintainers of the project erase it.
    let all = scene
        .ok(
            "admin",
            "GET",
            &format!("{PATH}/pipelines?ref=topic"),
            &Value::Null,
        )
        .await;
    let newest = rows(&all)
        .into_iter()
        .find(|one| one["source"] == "push")
        .unwrap();
    let job = scene.scan(&newest["id"]).await;
    let erase = format!("{PATH}/jobs/{job}/erase");
    for who in ["developer", "sre"] {
        let (status, told) = scene.send(who, "POST", &erase, &json!({})).await;
        assert_eq!(
            (status, &told["code"]),
            (403, &json!("required_job")),
            "{who}: {told}"
        );
        assert!(
            told["next"].as_str().unwrap().contains("policy project"),
            "{told}"
        );
    }
    let cli = scene.app.cli();
    drop(cli.ok(&[
        "group",
        "set-member",
        "security-office",
        "security",
        "--role",
        "maintainer",
    ]));
    scene.ok("security", "POST", &erase, &json!({})).await;
    let facts = rows(&cli.json(&["ledger", "list", "--kind", "job.erased"]));
    assert_eq!(facts.len(), 1, "{facts:?}");
    assert!(facts[0].to_string().contains("security/scan"), "{facts:?}");

    // Asked for before the scan has begun, it is merged by itself after it.
    scene.push("developer", "second", &[("more", "x\n")]);
    let request = scene.open("second").await;
    let (status, told) = scene.merge("developer", &request, &order).await;
    assert_eq!(status, 200, "{told}");
    scene.merged(&request).await;
    // And not at all where it fails.
    scene.push("developer", "third", &[("forbidden", "x\n")]);
    let request = scene.open("third").await;
    scene.merge("developer", &request, &order).await;
    scene.required(&request, "failed", "failed").await;
    let found = scene.ok("admin", "GET", &request, &Value::Null).await;
    assert_eq!(found["state"], "open", "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forks_own_green_pipeline_stands_for_nothing_here() {
    let scene = guarded().await;
    let reader = scene.app.cli_as(&scene.tokens["reader"]);
    drop(reader.json(&["project", "fork", PROJECT]));
    let remote = scene.app.remote("reader/p", &scene.tokens["reader"]);
    let git = Git::clone(&remote);
    git.write(".gitlab-ci.yml", "mine: {script: echo fine}\n");
    git.write("forbidden", "x\n");
    git.commit("Something good");
    drop(git.ok(&["push", "-q", "origin", "HEAD:change"]));
    let new = json!({ "source_branch": "change", "source_project": "reader/p", "title": "From a fork" });
    let made = scene
        .ok("reader", "POST", &format!("{PATH}/merge-requests"), &new)
        .await;
    let request = format!("{PATH}/merge-requests/{}", made["iid"]);
    until("the fork's own pipeline", Duration::from_secs(60), async || {
        let found = scene.check(&request, "pipeline").await?;
        (found["state"] == "passed").then_some(())
    })
    .await;
    let told = scene.required(&request, "failed", "came from a fork").await;
    assert!(
        told["next"].as_str().unwrap().contains("push them to a branch"),
        "{told}"
    );
    scene.nobody_merges(&request, "fork").await;

    // As it says: a developer pushes what they looked at, and what is required runs on it.
    let fetched = scene.app.remote("reader/p", scene.app.token());
    let take = |branch: &str| {
        drop(scene.git.ok(&["fetch", "-q", &fetched, "change"]));
        let to = scene.app.remote(PROJECT, &scene.tokens["developer"]);
        drop(
            scene
                .git
                .ok(&["push", "-q", &to, &format!("FETCH_HEAD:refs/heads/{branch}")]),
        );
    };
    take("looked-at");
    scene.required(&request, "failed", "failed").await;
    scene
        .nobody_merges(&request, "`security/scan` of pipeline #")
        .await;
    std::fs::remove_file(git.path().join("forbidden")).unwrap();
    let head = git.commit("Without it");
    drop(git.ok(&["push", "-q", "origin", "HEAD:change"]));
    scene.taken_up(&request, &head).await;
    scene.required(&request, "failed", "came from a fork").await;
    take("looked-at-again");
    scene.required(&request, "passed", "passed").await;
    let (status, told) = scene.merge("developer", &request, &json!({})).await;
    assert_eq!((status, &told["state"]), (200, &json!("merged")), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_of_the_projects_own_does_not_answer_for_it() {
    let scene = guarded().await;
    let runners = scene.ok("admin", "GET", "/api/v1/runners", &Value::Null).await;
    let instance = rows(&runners)[0]["id"].clone();
    let pause = |paused: bool| {
        let path = format!("/api/v1/runners/{}", instance.as_str().unwrap());
        let scene = &scene;
        async move {
            scene
                .ok("admin", "PATCH", &path, &json!({ "paused": paused }))
                .await
        }
    };
    pause(true).await;
    let own = json!({ "description": "ours", "run_untagged": true });
    let own = scene.ok("sre", "POST", &format!("{PATH}/runner"), &own).await;
    let take = async || {
        let asked = scene
            .app
            .anonymous("POST", "/api/v4/jobs/request")
            .json(&json!({ "token": own["token"], "info": { "features": {} } }))
            .send()
            .await
            .unwrap();
        match asked.status().as_u16() {
            201 => Some(asked.json::<Value>().await.unwrap()),
            _ => None,
        }
    };
    let ci = "mine: {script: echo fine}\n";
    scene.push(
        "developer",
        "topic",
        &[(".gitlab-ci.yml", ci), ("forbidden", "x\n")],
    );
    let request = scene.open("topic").await;
    scene.required(&request, "pending", "has not ended").await;
    let job = take().await.expect("the project's own job");
    assert_eq!(job["job_info"]["name"], "mine");
    let done = scene
        .app
        .anonymous("PUT", &format!("/api/v4/jobs/{}", job["id"]))
        .json(&json!({ "token": job["token"], "state": "success" }))
        .send()
        .await
        .unwrap();
    assert_eq!(done.status(), 200);
    assert!(take().await.is_none(), "what is required is not for it");
    scene.nobody_merges(&request, "has not ended").await;
    let pipelines = scene
        .ok(
            "admin",
            "GET",
            &format!("{PATH}/pipelines?ref=topic"),
            &Value::Null,
        )
        .await;
    let job = scene.scan(&rows(&pipelines)[0]["id"]).await;
    let page = scene.app.page(&format!("/demo/p/-/jobs/{job}")).await;
    assert!(page.source().contains("What could take it is paused"));
    pause(false).await;
    scene.required(&request, "failed", "failed").await;
    scene.nobody_merges(&request, "failed").await;
    scene.mend("topic", &["forbidden"], "Take it out");
    scene.required(&request, "passed", "passed").await;
    scene.merge("developer", &request, &json!({})).await;
    scene.merged(&request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_takes_and_lands_only_what_is_required_of_it() {
    let scene = guarded().await;
    // Each is good alone; together they are not.
    let together = json!({ "queue": true });
    scene
        .ok("sre", "PATCH", &format!("{PATH}/merge-settings"), &together)
        .await;
    scene.push("developer", "bad", &[("forbidden", "x\n")]);
    let bad = scene.open("bad").await;
    scene.required(&bad, "failed", "failed").await;
    scene.nobody_merges(&bad, "failed").await;
    std::fs::remove_file(scene.git.path().join("forbidden")).unwrap();
    scene.push("developer", "good", &[("good", "x\n")]);
    let good = scene.open("good").await;
    scene.required(&good, "passed", "passed").await;
    let (status, told) = scene.merge("developer", &good, &json!({})).await;
    assert_eq!(status, 200, "{told}");
    scene.merged(&good).await;
    let all = scene
        .ok(
            "admin",
            "GET",
            &format!("{PATH}/pipelines?ref=merge-queue/2"),
            &Value::Null,
        )
        .await;
    scene.scan(&rows(&all)[0]["id"]).await;
}
