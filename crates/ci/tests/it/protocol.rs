//! The runner protocol, rule by rule.

use crate::harness::{SOON, Taken, World};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Instant;

const ONE: &str = "a: {script: [one, two], before_script: [zero], after_script: [last], timeout: 10m, artifacts: {paths: [out]}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn register_verify_and_remove() {
    let world = World::new().await;
    let post = |path: &str, body: Value| {
        world
            .http
            .post(format!("{}/api/v4/{path}", world.url))
            .json(&body)
            .send()
    };
    assert_eq!(
        post("runners", json!({"token": "wrong"})).await.unwrap().status(),
        403
    );
    let token = world.ci.new_registration_token().await.unwrap();
    let body =
        json!({"token": token, "description": "mine", "tag_list": "a, b", "info": {"platform": "linux"}});
    let made = post("runners", body.clone()).await.unwrap();
    assert_eq!(made.status(), 201);
    assert_eq!(made.headers()["content-type"], "application/json");
    let made: Value = made.json().await.unwrap();
    let runner = made["token"].as_str().unwrap();
    let verified = post("runners/verify", json!({"token": runner, "system_id": "s_1"}))
        .await
        .unwrap();
    assert_eq!(verified.status(), 200);
    assert_eq!(verified.json::<Value>().await.unwrap()["id"], made["id"]);
    assert_eq!(
        post("runners/verify", json!({"token": "nope"}))
            .await
            .unwrap()
            .status(),
        403
    );
    world.ci.new_registration_token().await.unwrap();
    assert_eq!(
        post("runners", body).await.unwrap().status(),
        403,
        "the token before ended"
    );
    let gone = world
        .http
        .delete(format!("{}/api/v4/runners", world.url))
        .json(&json!({"token": runner}));
    assert_eq!(gone.send().await.unwrap().status(), 204);
    assert_eq!(
        post("jobs/request", json!({"token": runner}))
            .await
            .unwrap()
            .status(),
        403
    );
    let router = world
        .http
        .get(format!("{}/api/v4/runners/router/discovery", world.url))
        .send()
        .await
        .unwrap();
    assert_eq!(router.status(), 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_carries_all_that_a_runner_needs() {
    let world = World::new().await;
    let runner = world.runner().await;
    let sha = world.push("main", &[(".gitlab-ci.yml", ONE)]).await;
    let job = runner.ask().await.unwrap();
    let body = &job.body;
    assert_eq!(body["steps"][0]["script"], json!(["zero", "one", "two"]));
    assert_eq!(body["steps"][1]["name"], "after_script");
    assert_eq!(body["runner_info"]["timeout"], 600);
    assert_eq!(body["git_info"]["sha"], json!(sha));
    let url = body["git_info"]["repo_url"].as_str().unwrap();
    assert!(
        url.contains(&format!("gitlab-ci-token:{}@", scripts_token(&job)))
            && url.ends_with("/clinic/app.git")
    );
    assert_eq!(body["artifacts"][0]["paths"], json!(["out"]));
    assert_eq!(body["dependencies"], json!([]));
    let variable = |key: &str| {
        let list = body["variables"].as_array().unwrap();
        list.iter()
            .find(|v| v["key"] == key)
            .map(|v| v["value"].clone())
            .unwrap_or_default()
    };
    assert_eq!(variable("CI_COMMIT_BRANCH"), "main");
    assert_eq!(variable("CI_PROJECT_PATH"), "clinic/app");
    assert_eq!(variable("CI_JOB_NAME"), "a");
    assert_eq!(variable("CI_JOB_ID"), job.id.to_string());
    let identity = world.ci.job_for_token(&job.token).await.unwrap().unwrap();
    assert_eq!((identity.job.0, identity.project), (job.id, world.project));
    runner.succeed(&job).await;
    assert!(
        world.ci.job_for_token(&job.token).await.unwrap().is_none(),
        "a token ends with its job"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_runner_hears_of_a_push_at_once() {
    let world = World::new().await;
    let runner = world.runner().await;
    let waiting = runner.clone();
    let task = tokio::spawn(async move { waiting.ask_for(20).await });
    // The request is on its way once the runner is noted as heard of.
    bascule_testkit::until("the runner asks", SOON, async || {
        world
            .ci
            .runners()
            .await
            .unwrap()
            .iter()
            .any(|r| r.contacted_at.is_some())
            .then_some(())
    })
    .await;
    let started = Instant::now();
    world.push("main", &[(".gitlab-ci.yml", ONE)]).await;
    assert!(task.await.unwrap().is_some());
    assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn log_pieces_fit_or_are_refused_with_what_is_stored() {
    let world = World::new().await;
    let runner = world.runner().await;
    world.push("main", &[(".gitlab-ci.yml", ONE)]).await;
    let job = runner.ask().await.unwrap();
    let first = runner.patch(&job, 0, b"hello ").await;
    assert_eq!(first.status(), 202);
    assert_eq!(first.headers()["range"], "0-6");
    assert_eq!(first.headers()["job-status"], "running");
    assert_eq!(first.headers()["x-gitlab-trace-update-interval"], "3");
    let gap = runner.patch(&job, 9, b"later").await;
    assert_eq!(gap.status(), 416);
    assert_eq!(gap.headers()["range"], "0-6");
    let repeated = runner.patch(&job, 0, b"hello \xff\n").await;
    assert_eq!(repeated.status(), 202);
    assert_eq!(repeated.headers()["range"], "0-8", "only what is new is added");
    let long = vec![b'x'; 200_000];
    assert_eq!(runner.patch(&job, 8, &long).await.headers()["range"], "0-200008");
    let log = world.request(
        Method::GET,
        &format!("/api/v1/projects/clinic/app/jobs/{}/log?offset=6", job.id),
        "reporter",
    );
    let bytes = log.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(&bytes[..2], b"\xff\n");
    assert_eq!(bytes.len(), 200_002);
    let no_range = runner
        .api(Method::PATCH, &format!("jobs/{}/trace", job.id))
        .header("JOB-TOKEN", &job.token);
    assert_eq!(no_range.body("x").send().await.unwrap().status(), 400);
    let foreign = runner
        .api(Method::PATCH, &format!("jobs/{}/trace", job.id))
        .header("JOB-TOKEN", "glcbt-x");
    assert_eq!(
        foreign
            .header("content-range", "0-1")
            .body("xx")
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_taken_only_with_the_whole_log() {
    let world = World::new().await;
    let runner = world.runner().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let job = runner.ask().await.unwrap();
    runner.patch(&job, 0, b"abc").await;
    let end =
        |crc: &str, size: u64| json!({"state": "success", "output": {"checksum": crc, "bytesize": size}});
    assert_eq!(runner.update(&job, end("crc32:00000000", 3)).await.status(), 412);
    let again = runner.patch(&job, 0, b"abd").await;
    assert_eq!(again.headers()["range"], "0-3");
    let crc = format!("crc32:{:08x}", crc32fast::hash(b"abd"));
    assert_eq!(runner.update(&job, end(&crc, 3)).await.status(), 200);
    assert_eq!(world.pipeline().await["status"], "success");
    assert_eq!(
        runner.update(&job, json!({"state": "failed"})).await.status(),
        403,
        "ended is ended"
    );
}

/// What its script sees as `CI_JOB_TOKEN`.
fn scripts_token(job: &Taken) -> &str {
    let variables = job.body["variables"].as_array().unwrap();
    let found = variables.iter().find(|one| one["key"] == "CI_JOB_TOKEN");
    found.and_then(|one| one["value"].as_str()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_that_a_script_sees_reports_nothing() {
    let world = World::new().await;
    let runner = world.runner().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let job = runner.ask().await.unwrap();
    let seen = scripts_token(&job);
    let text = job
        .body
        .to_string()
        .replace(&format!("\"token\":\"{}\"", job.token), "");
    assert!(
        !text.contains(&job.token),
        "the runner's own token is told elsewhere: {text}"
    );
    let script = Taken {
        token: seen.to_owned(),
        ..job.clone()
    };
    for response in [
        runner.update(&script, json!({"state": "success"})).await,
        runner.patch(&script, 0, b"all is well").await,
        runner.upload(&script, "archive", b"x").await,
    ] {
        assert_eq!(response.status(), 403);
        assert!(response.text().await.unwrap().contains("passes its own gate"));
    }
    let both = [seen, job.token.as_str()];
    for token in both {
        assert!(
            world.ci.job_for_token(token).await.unwrap().is_some(),
            "reads code"
        );
    }
    runner.fail(&job, 1).await;
    assert_eq!(world.pipeline().await["status"], "failed");
    for token in both {
        assert!(
            world.ci.job_for_token(token).await.unwrap().is_none(),
            "ends with the job"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_go_up_and_come_down_for_those_who_may() {
    let world = World::new().await;
    let runner = world.runner().await;
    let ci = "a: {stage: build, script: x, artifacts: {paths: [o]}}\nb: {script: x}\nc: {script: x, dependencies: []}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let a = runner.ask().await.unwrap();
    let content = vec![7_u8; 3 * 1024 * 1024];
    assert_eq!(runner.upload(&a, "archive", &content).await.status(), 201);
    assert_eq!(runner.upload(&a, "../x", &content).await.status(), 400);
    runner.succeed(&a).await;
    assert_eq!(
        runner.upload(&a, "archive", b"late").await.status(),
        403,
        "the job ended"
    );
    let b = runner.ask().await.unwrap();
    let c = runner.ask().await.unwrap();
    assert_eq!(b.body["dependencies"][0]["artifacts_file"]["size"], content.len());
    assert_eq!(c.body["dependencies"], json!([]));
    let token = b.body["dependencies"][0]["token"].as_str().unwrap();
    let get = |token: &str| {
        runner
            .api(Method::GET, &format!("jobs/{}/artifacts", a.id))
            .header("JOB-TOKEN", token.to_owned())
            .send()
    };
    let got = get(token).await.unwrap();
    assert_eq!(got.status(), 200);
    assert_eq!(got.bytes().await.unwrap(), content);
    assert_eq!(get("glcbt-wrong").await.unwrap().status(), 401);
    assert_eq!(
        get(&c.token).await.unwrap().status(),
        404,
        "a job takes only what it depends on"
    );
    let path = format!("/clinic/app/-/jobs/{}/artifacts/download", a.id);
    assert_eq!(
        world
            .request(Method::GET, &path, "reporter")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        world
            .request(Method::GET, &path, "guest")
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
    world.clock.advance(std::time::Duration::from_secs(2 * 86_400));
    assert_eq!(
        world
            .request(Method::GET, &path, "reporter")
            .send()
            .await
            .unwrap()
            .status(),
        404,
        "kept for a day"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_an_artifact_is_refused_before_it_is_sent() {
    let world = World::new().await;
    let runner = world.runner().await;
    world.push("main", &[(".gitlab-ci.yml", ONE)]).await;
    let job = runner.ask().await.unwrap();
    let stream = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = runner
        .api(Method::POST, &format!("jobs/{}/artifacts", job.id))
        .header("JOB-TOKEN", &job.token)
        .header("content-type", "multipart/form-data; boundary=x")
        .header("content-length", "99999999999")
        .body(reqwest::Body::wrap_stream(stream));
    assert_eq!(request.send().await.unwrap().status(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_until_the_job_ends() {
    use futures::StreamExt as _;
    let world = World::new().await;
    let runner = world.runner().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let job = runner.ask().await.unwrap();
    runner.patch(&job, 0, b"one <b>\n").await;
    let path = format!("/clinic/app/-/jobs/{}/log/events", job.id);
    let mut events = world
        .request(Method::GET, &path, "reporter")
        .send()
        .await
        .unwrap()
        .bytes_stream();
    let mut seen = String::new();
    while !seen.contains("one &lt;b&gt;") {
        seen += std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap();
    }
    let watched = runner.patch(&job, 8, b"two\n").await;
    assert_eq!(
        watched.headers()["x-gitlab-trace-update-interval"],
        "1",
        "someone watches"
    );
    while !seen.contains("two") {
        seen += std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap();
    }
    let id = seen
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .next_back()
        .unwrap()
        .to_owned();
    runner.succeed(&job).await;
    while let Some(chunk) = events.next().await {
        seen += std::str::from_utf8(&chunk.unwrap()).unwrap();
    }
    assert!(seen.contains("event: done"));
    let resumed = world
        .request(Method::GET, &path, "reporter")
        .header("last-event-id", id)
        .send()
        .await
        .unwrap();
    let resumed = resumed.text().await.unwrap();
    assert!(
        !resumed.contains("one &lt;") && resumed.contains("event: done"),
        "{resumed}"
    );
    let follow = format!(
        "/api/v1/projects/clinic/app/jobs/{}/log?follow=true&offset=4",
        job.id
    );
    let text = world
        .request(Method::GET, &follow, "reporter")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(text, "<b>\ntwo\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_are_refused_without_panic() {
    let world = World::new().await;
    let runner = world.runner().await;
    for (method, path) in [
        (Method::POST, "jobs/request"),
        (Method::PUT, "jobs/1"),
        (Method::PUT, "jobs/99999999999999999999"),
        (Method::PUT, "jobs/..%2f..%2fx"),
        (Method::POST, "runners"),
        (Method::POST, "jobs/1/artifacts"),
    ] {
        for body in ["", "{", "[]", "{\"token\": 5}", "{\"token\": null}", "\u{0}"] {
            let request = runner
                .api(method.clone(), path)
                .header("content-type", "application/json")
                .body(body);
            let status = request.send().await.unwrap().status().as_u16();
            assert!((400..500).contains(&status), "{path} {body:?}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_registers_itself_with_all_that_the_protocol_knows() {
    let world = World::new().await;
    let post = async |path: &str, who: &str| {
        let answer: Value = world.post(path, who, json!({})).await.json().await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    };
    let of_project = post("/api/v1/projects/clinic/app/runners/registration-token", "admin").await;
    let of_all = post("/api/v1/runners/registration-token", "admin").await;
    let api = world.runner().await;
    let register = async |body: Value| api.api(Method::POST, "runners").json(&body).send().await.unwrap();
    let all = json!({
        "token": of_project, "description": "by itself", "tag_list": "a, b", "run_untagged": false,
        "locked": true, "access_level": "ref_protected", "maximum_timeout": 1200, "active": false,
        "info": {"name": "gitlab-runner", "version": "19.4", "platform": "linux", "architecture": "amd64",
            "executor": "docker"},
    });
    let made = register(all).await;
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    assert!(made["token"].as_str().unwrap().starts_with("glrt-") && made["token_expires_at"].is_null());
    let list = world
        .request(Method::GET, "/api/v1/projects/clinic/app/runners", "reporter")
        .send()
        .await
        .unwrap();
    let list: Value = list.json().await.unwrap();
    let own = list
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["number"] == made["id"])
        .unwrap();
    for (key, value) in [
        ("scope", json!("project")),
        ("locked", json!(true)),
        ("protected", json!(true)),
        ("paused", json!(true)),
        ("run_untagged", json!(false)),
        ("maximum_timeout", json!(1200)),
        ("executor", json!("docker")),
        ("tags", json!(["a", "b"])),
    ] {
        assert_eq!(own[key], value, "{key}");
    }
    for (body, why) in [
        (
            json!({"token": of_all, "run_untagged": false}),
            "it would take nothing",
        ),
        (
            json!({"token": of_all, "maximum_timeout": 10}),
            "shorter than GitLab allows",
        ),
        (
            json!({"token": of_all, "tag_list": ["x".repeat(200)]}),
            "a tag too long",
        ),
    ] {
        assert_eq!(register(body).await.status(), 422, "{why}");
    }
    assert_eq!(register(json!({"token": "GR1348941x"})).await.status(), 403);
    let body = json!({"token": made["token"]});
    let reset = api
        .api(Method::POST, "runners/reset_authentication_token")
        .json(&body);
    let reset = reset.send().await.unwrap();
    assert_eq!(reset.status(), 201);
    let renewed: Value = reset.json().await.unwrap();
    let verify = async |token: &Value| {
        let request = api
            .api(Method::POST, "runners/verify")
            .json(&json!({"token": token}));
        request.send().await.unwrap().status()
    };
    assert_eq!(verify(&made["token"]).await, 403, "the old token ended");
    assert_eq!(verify(&renewed["token"]).await, 200);
    let gone = api
        .api(Method::DELETE, "runners")
        .json(&json!({"token": renewed["token"]}));
    assert_eq!(gone.send().await.unwrap().status(), 204);
    assert_eq!(verify(&renewed["token"]).await, 403);
    let facts = world.facts("runner.changed").await;
    assert!(facts.iter().any(|f| f.summary.contains("removed the runner")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_token_opens_its_own_project_and_who_lets_it_in() {
    let world = World::new().await;
    let runner = world.runner().await;
    world.push("main", &[(".gitlab-ci.yml", ONE)]).await;
    let job = runner.ask().await.unwrap();
    let registry = &job.body["credentials"][0];
    let seen = scripts_token(&job);
    assert_eq!(
        (&registry["type"], &registry["username"], &registry["password"]),
        (&json!("registry"), &json!("gitlab-ci-token"), &json!(seen))
    );
    assert!(world.url.ends_with(registry["url"].as_str().unwrap()));
    let other = bascule_core::ProjectId::new();
    let opens = async |target| world.ci.job_token_opens(other, target).await.unwrap();
    assert!(opens(other).await);
    assert!(!opens(world.project).await);
    let path = "/api/v1/projects/clinic/app/ci/job-token-access";
    assert_eq!(
        world
            .post(path, "developer", json!({"path": "clinic"}))
            .await
            .status(),
        403
    );
    for bad in ["", "a/b/c", "a//"] {
        assert_eq!(
            world.post(path, "admin", json!({"path": bad})).await.status(),
            422
        );
    }
    // In this harness every project is called clinic/app.
    assert_eq!(
        world
            .post(path, "admin", json!({"path": "clinic"}))
            .await
            .status(),
        204
    );
    assert!(opens(world.project).await, "by its group");
    let gone = world.request(Method::DELETE, &format!("{path}?path=clinic"), "admin");
    assert_eq!(gone.send().await.unwrap().status(), 204);
    assert!(!opens(world.project).await);
}

/// Large pieces are stored beside the database; reading, repeating and checking must not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_writes_much_loses_nothing() {
    let world = World::new().await;
    let runner = world.runner().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let job = runner.ask().await.unwrap();
    let text: Vec<u8> = (0..500_000_u32)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    let mut at = 0;
    let sizes = [1000, 1 << 20, 300_000, 70_000, 4 << 20, 10];
    for size in sizes.into_iter().cycle() {
        let end = (at + size).min(text.len());
        let answer = runner.patch(&job, at, &text[at..end]).await;
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.headers()["range"], format!("0-{end}").as_str());
        at = end;
        if at == text.len() {
            break;
        }
    }
    // The answer got lost, and the runner sends a part again, with something new behind it.
    let mut again = text[at - 500_000..].to_vec();
    again.extend_from_slice(&vec![b'x'; 300_000]);
    let answer = runner.patch(&job, at - 500_000, &again).await;
    assert_eq!(
        answer.headers()["range"],
        format!("0-{}", text.len() + 300_000).as_str()
    );
    let mut whole = text;
    whole.extend_from_slice(&vec![b'x'; 300_000]);
    for offset in [0, 1, 999, 1000, 1_049_575, 1_049_577, whole.len() - 5] {
        let path = format!("/api/v1/projects/clinic/app/jobs/{}/log?offset={offset}", job.id);
        let bytes = world
            .request(Method::GET, &path, "reporter")
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        assert!(bytes == whole[offset..], "from {offset}: {} bytes", bytes.len());
    }
    let rows = |condition: &str| {
        let sql = format!("SELECT COUNT(*) AS n FROM job_trace WHERE {condition}");
        let db = world.db.clone();
        async move {
            use bascule_store::Query as _;
            db.count(&sql, bascule_store::args![]).await.unwrap()
        }
    };
    assert!(rows("digest IS NOT NULL").await > 3);
    assert_eq!(rows("digest IS NOT NULL AND LENGTH(bytes) > 0").await, 0);
    let output =
        json!({"checksum": format!("crc32:{:08x}", crc32fast::hash(&whole)), "bytesize": whole.len()});
    let end = runner
        .update(&job, json!({"state": "success", "output": output}))
        .await;
    assert_eq!(end.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_has_a_limit_that_is_named_and_pieces_have_one_too() {
    let world = World::new().await;
    let runner = world.runner().await;
    world
        .push("main", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    let job = runner.ask().await.unwrap();
    let huge = runner.patch(&job, 0, &vec![b'x'; (8 << 20) + 1]).await;
    assert_eq!(huge.status(), 413);
    assert!(huge.text().await.unwrap().contains("8388608 bytes"));
    let piece = vec![b'x'; 8 << 20];
    for number in 0..12 {
        assert_eq!(
            runner.patch(&job, number * piece.len(), &piece).await.status(),
            202
        );
    }
    let over = runner.patch(&job, 12 * piece.len(), &piece).await;
    assert_eq!(over.status(), 403, "the runner stops at once");
    let path = format!("/api/v1/projects/clinic/app/jobs/{}", job.id);
    assert_eq!(world.get(&path).await["failure_reason"], "trace_size_exceeded");
    let tail = format!("{path}/log?offset={}", 12 * piece.len());
    let tail = world
        .request(Method::GET, &tail, "reporter")
        .send()
        .await
        .unwrap();
    assert!(tail.text().await.unwrap().contains("longer than 104857600 bytes"));
}

/// A job's identity token is checked as a cloud or a vault would: by what the issuer publishes.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_proves_which_job_it_is() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
    let (world, _town) = crate::town::town().await;
    let runner = world.runner().await;
    let ci = "a: {script: x, environment: {name: production}, \
        id_tokens: {VAULT_TOKEN: {aud: 'https://vault.$CI_PROJECT_NAME.example'}, BOTH: {aud: [a, b]}}}\n";
    world.push("main", &[(".gitlab-ci.yml", ci)]).await;
    let job = runner.ask().await.unwrap();
    let variable = |key: &str| {
        let list = job.body["variables"].as_array().unwrap();
        list.iter().find(|v| v["key"] == key).cloned().unwrap()
    };
    let token = variable("VAULT_TOKEN");
    assert_eq!(
        (&token["masked"], &token["public"]),
        (&json!(true), &json!(false))
    );
    let open = async |path: &str| -> Value {
        let answer = world
            .http
            .get(format!("{}{path}", world.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    };
    let published = open("/.well-known/openid-configuration").await;
    assert_eq!(published["issuer"], json!(world.url));
    let keys = published["jwks_uri"]
        .as_str()
        .unwrap()
        .strip_prefix(&world.url)
        .unwrap();
    let key = open(keys).await["keys"][0].clone();
    let check = |text: &str| -> Value {
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let (head, body) = signed.split_once('.').unwrap();
        let part = |text: &str| B64.decode(text).unwrap();
        let of = |name: &str| part(key[name].as_str().unwrap());
        let public = ring::signature::RsaPublicKeyComponents {
            n: of("n"),
            e: of("e"),
        };
        public
            .verify(
                &ring::signature::RSA_PKCS1_2048_8192_SHA256,
                signed.as_bytes(),
                &part(signature),
            )
            .expect("signed by the published key");
        let head: Value = serde_json::from_slice(&part(head)).unwrap();
        assert_eq!((&head["alg"], &head["kid"]), (&json!("RS256"), &key["kid"]));
        serde_json::from_slice(&part(body)).unwrap()
    };
    let claims = check(token["value"].as_str().unwrap());
    for (name, value) in [
        ("iss", json!(world.url)),
        ("aud", json!("https://vault.app.example")),
        ("sub", json!("project_path:clinic/app:ref_type:branch:ref:main")),
        ("project_path", json!("clinic/app")),
        ("namespace_path", json!("clinic")),
        ("namespace_id", json!("group-id")),
        ("project_visibility", json!("private")),
        ("job_project_path", json!("clinic/app")),
        ("user_login", json!("ada")),
        ("user_email", json!("ada@example.org")),
        ("user_access_level", json!("developer")),
        ("environment_protected", json!("true")),
        ("ref_path", json!("refs/heads/main")),
        ("ref", json!("main")),
        ("ref_type", json!("branch")),
        ("ref_protected", json!("true")),
        ("environment", json!("production")),
        ("pipeline_source", json!("push")),
        ("job_id", json!(job.id.to_string())),
        ("runner_environment", json!("self-hosted")),
        ("exp", json!(1_750_000_000_i64 + 3600)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(
        check(variable("BOTH")["value"].as_str().unwrap())["aud"],
        json!(["a", "b"])
    );
}
