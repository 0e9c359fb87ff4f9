//! Previews of merge requests: at an address of their own while they are looked at, and gone afterwards.

use crate::{
    BIN,
    product::{pipeline, rows},
    reviews::{PATH, PROJECT, Scene},
};
use bascule_testkit::{Git, TestApp, until};
use serde_json::{Value, json};
use std::time::Duration;

/// Answers with what the branch says, and at /env with all that it was given.
const SERVER: &str = r#"import http.server, json, os

class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps(dict(os.environ)).encode() if self.path == "/env" else open("src/hello.txt", "rb").read()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Hello).serve_forever()
"#;

const CI: &str = r#"package:
  script: [ "grep -q hello src/hello.txt", "tar -czf app.tar.gz src" ]
  artifacts: { paths: [app.tar.gz] }
"#;

/// What the product says; `mark` is found in the environment of each of its processes.
fn product(mark: &str) -> String {
    format!(
        "product: hello\nartifact: app.tar.gz\ncommand: python3 src/server.py\nhealth: {{ path: /, interval: 300ms, timeout: 1s, start: 20s }}\nenvironment: {{ MARK: {mark}, STOLEN: \"secret:PROD\" }}\ndrain: 1s\npreview: {{ most: 3, variables: {{ MODE: preview }} }}\n"
    )
}

async fn scene(app: TestApp, mark: &str) -> Scene {
    let product = product(mark);
    let files = [
        ("src/server.py", SERVER),
        ("src/hello.txt", "hello main"),
        (".gitlab-ci.yml", CI),
        ("bascule.yaml", &product),
    ];
    Scene::on(app, &files).await
}

async fn fetch(url: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .get(url)
        .timeout(Duration::from_secs(5))
        .send()
        .await
        .ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

async fn found(app: &TestApp, iid: i64) -> Value {
    let path = format!("{PATH}/merge-requests/{iid}/preview");
    let answer = app.request("GET", &path).send().await.unwrap();
    answer.json().await.unwrap()
}

/// Waits until a preview stands so, and returns it.
async fn stands(app: &TestApp, iid: i64, what: &str, check: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..600 {
        last = found(app, iid).await;
        if check(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the preview of !{iid} was never {what}: {last:#}\n{}", app.log());
}

async fn serves(app: &TestApp, iid: i64, head: &str) -> String {
    let up = stands(app, iid, "up", |found| {
        found["state"] == "running" && found["sha"] == head && found["url"].is_string()
    })
    .await;
    up["url"].as_str().unwrap().to_owned()
}

/// Processes that were given this mark.
fn processes(mark: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("environ")).ok())
        .filter(|environ| environ.windows(mark.len()).any(|some| some == mark.as_bytes()))
        .count()
}

async fn gone(app: &TestApp, iid: i64, url: &str, mark: &str) {
    stands(app, iid, "stopped", |found| found["state"] == "stopped").await;
    until("its processes to end", Duration::from_secs(20), async || {
        (processes(mark) == 0).then_some(())
    })
    .await;
    until(
        "its address to answer no more",
        Duration::from_secs(20),
        async || {
            fetch(url)
                .await
                .is_none_or(|(status, _)| status == 404)
                .then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_answers_at_its_own_address_until_it_is_merged() {
    let mark = format!("mark-{}", std::process::id());
    let mut scene = scene(TestApp::start(BIN), &mark).await;
    // Production's secrets, and everybody's, are for no preview.
    for (place, value) in [("*", "hush"), ("production", "hush"), ("staging", "hush")] {
        let path = format!(
            "/api/v1/sites/{}/secrets/PROD",
            if place == "*" { "%2A" } else { place }
        );
        scene.ok("admin", "PUT", &path, &json!({ "value": value })).await;
    }
    let secret = format!("{PATH}/preview-secrets/TEST_KEY");
    let (status, _) = scene
        .send("developer", "PUT", &secret, &json!({ "value": "x" }))
        .await;
    assert_eq!(status, 403);
    scene
        .ok("sre", "PUT", &secret, &json!({ "value": "for-tests" }))
        .await;

    let first = scene.push("developer", "a", &[("src/hello.txt", "hello from a")]);
    scene.open("a").await;
    let url = serves(&scene.app, 1, &first).await;
    assert_eq!(fetch(&url).await.unwrap(), (200, "hello from a".to_owned()));
    let given = fetch(&format!("{url}/env")).await.unwrap().1;
    let given: Value = serde_json::from_str(&given).unwrap();
    assert_eq!(
        (&given["TEST_KEY"], &given["MODE"], &given["BASCULE_ENVIRONMENT"]),
        (&json!("for-tests"), &json!("preview"), &json!("review-1"))
    );
    assert!(!given.to_string().contains("hush"), "{given}");
    assert_eq!(
        given["STOLEN"], "secret:PROD",
        "in a product's own file that is just text"
    );

    // It is on the request's page, in the list, and among no environments, releases or deployments.
    let page = scene.app.page(&format!("/{PROJECT}/-/merge-requests/1")).await;
    page.shows("#preview .badge", "running");
    page.shows("#preview a", &url);
    let cli = scene.app.cli();
    let listed = cli.json(&["preview", "list", "--project", PROJECT]);
    assert_eq!(rows(&listed)[0]["url"], url.as_str(), "{listed}");
    assert!(rows(&cli.json(&["environment", "list", PROJECT])).is_empty());
    assert!(rows(&cli.json(&["release", "list", PROJECT])).is_empty());
    assert!(processes(&mark) > 0);

    // The hub is killed while the next commit is built and put there.
    let second = scene.push("developer", "a", &[("src/hello.txt", "hello again")]);
    assert_eq!(pipeline(&scene.app, PROJECT, "a").await["status"], "success");
    scene.app.kill();
    scene.app.resume();
    let url = serves(&scene.app, 1, &second).await;
    until("the new content", Duration::from_secs(10), async || {
        (fetch(&url).await?.1 == "hello again").then_some(())
    })
    .await;

    // A person stops it and starts it again.
    drop(
        scene
            .app
            .cli()
            .ok(&["preview", "stop", "1", "--project", PROJECT]),
    );
    gone(&scene.app, 1, &url, &mark).await;
    let (status, refusal) = scene
        .send(
            "reader",
            "POST",
            &format!("{PATH}/merge-requests/1/preview/start"),
            &json!({}),
        )
        .await;
    assert_eq!(status, 403, "{refusal}");
    drop(
        scene
            .app
            .cli()
            .ok(&["preview", "start", "1", "--project", PROJECT]),
    );
    let url = serves(&scene.app, 1, &second).await;
    let shown = scene
        .app
        .cli()
        .run(&["preview", "show", "1", "--project", PROJECT, "--wait"]);
    assert_eq!(shown.status.code(), Some(0));

    // Merged, and the hub is killed at that moment: nothing is left all the same.
    scene
        .ok(
            "sre",
            "POST",
            &format!("{PATH}/merge-requests/1/merge"),
            &json!({ "sha": second }),
        )
        .await;
    scene.app.kill();
    scene.app.resume();
    gone(&scene.app, 1, &url, &mark).await;
    let told = found(&scene.app, 1).await;
    assert_eq!(
        (&told["rule"], &told["url"]),
        (&json!("merged"), &Value::Null),
        "{told}"
    );
    let cli = scene.app.cli();
    let stopped = rows(&cli.json(&["ledger", "list", "--kind", "preview.stopped"]));
    assert_eq!(stopped.len(), 2, "{stopped:?}");
    assert!(cli.ok(&["ledger", "verify"]).starts_with("Clean"));
    assert!(!scene.app.log().contains("panicked"), "{}", scene.app.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forks_code_runs_only_after_a_maintainer_looked_at_it() {
    let mark = format!("fork-{}", std::process::id());
    let scene = scene(TestApp::start_on_postgres(BIN), &mark).await;
    scene
        .ok(
            "sre",
            "PUT",
            &format!("{PATH}/preview-secrets/TEST_KEY"),
            &json!({ "value": "for-tests" }),
        )
        .await;
    let reader = scene.app.cli_as(&scene.tokens["reader"]);
    let fork = reader.json(&["project", "fork", PROJECT]);
    assert_eq!(fork["path"], "reader/p", "{fork}");
    let remote = scene.app.remote("reader/p", &scene.tokens["reader"]);
    let git = Git::clone(&remote);
    let push = |text: &str| {
        git.write("src/hello.txt", text);
        let head = git.commit("Change");
        drop(git.ok(&["push", "-q", "origin", "HEAD:change"]));
        head.trim().to_owned()
    };
    drop(push("hello fork"));
    let first = git.ok(&["rev-parse", "HEAD"]).trim().to_owned();
    let new = json!({ "source_branch": "change", "source_project": "reader/p", "title": "From a fork" });
    scene
        .ok("reader", "POST", &format!("{PATH}/merge-requests"), &new)
        .await;
    assert_eq!(
        pipeline(&scene.app, "reader/p", "change").await["status"],
        "success"
    );
    let held = stands(&scene.app, 1, "held", |found| found["state"] == "held").await;
    assert_eq!(held["rule"], "fork", "{held}");
    assert!(held["next"].as_str().unwrap().contains("maintainer"), "{held}");
    assert_eq!(processes(&mark), 0);

    let start = format!("{PATH}/merge-requests/1/preview/start");
    let looked = json!({ "sha": first });
    for who in ["reader", "developer"] {
        assert_eq!(scene.send(who, "POST", &start, &looked).await.0, 403, "{who}");
    }
    let (status, refusal) = scene.send("sre", "POST", &start, &json!({})).await;
    assert_eq!((status, refusal["code"].as_str()), (422, Some("sha_missing")));
    scene.ok("sre", "POST", &start, &looked).await;
    let url = serves(&scene.app, 1, &first).await;
    assert_eq!(fetch(&url).await.unwrap().1, "hello fork");
    let given = fetch(&format!("{url}/env")).await.unwrap().1;
    assert!(!given.contains("for-tests"), "{given}");

    // What comes next is held again, and what was looked at goes on running.
    drop(push("hello other"));
    let second = git.ok(&["rev-parse", "HEAD"]).trim().to_owned();
    let held = stands(&scene.app, 1, "held at the next commit", |found| {
        found["head"] == second.as_str() && found["rule"] == "fork"
    })
    .await;
    assert_eq!((&held["state"], &held["sha"]), (&json!("running"), &json!(first)));
    assert_eq!(fetch(&url).await.unwrap().1, "hello fork");

    // The fork's branch goes, and the preview with it.
    drop(git.ok(&["push", "-q", "origin", ":change"]));
    gone(&scene.app, 1, &url, &mark).await;
    assert_eq!(found(&scene.app, 1).await["rule"], "branch_gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_the_environments_project_tells_what_merging_it_changes() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "platform"]));
    drop(cli.ok(&["project", "create", "platform/fleet"]));
    let git = Git::init();
    let file = |channel: &str| format!("environment: site-7\nchannel: {channel}\ninstall: []\n");
    git.write("environments/site-7.yaml", &file("stable"));
    git.commit("Declare");
    let remote = app.remote("platform/fleet", app.token());
    drop(git.ok(&["push", "-q", &remote, "main"]));
    until("site-7 to be declared", Duration::from_secs(20), async || {
        let declared = cli.json(&["ledger", "list", "--kind", "site.declared"]);
        rows(&declared).first().cloned()
    })
    .await;
    drop(git.ok(&["checkout", "-q", "-b", "beta"]));
    git.write("environments/site-7.yaml", &file("beta"));
    git.commit("Follow beta");
    drop(git.ok(&["push", "-q", &remote, "beta"]));
    // Meanwhile the target goes on: that is not this request's doing.
    drop(git.ok(&["checkout", "-q", "main"]));
    git.write("environments/site-8.yaml", "environment: site-8\ninstall: []\n");
    git.commit("Another");
    drop(git.ok(&["push", "-q", &remote, "main"]));
    until("site-8 to be declared", Duration::from_secs(20), async || {
        let declared = cli.json(&["ledger", "list", "--kind", "site.declared"]);
        (rows(&declared).len() == 2).then_some(())
    })
    .await;
    let made = cli.json(&[
        "mr",
        "create",
        "--source",
        "beta",
        "--title",
        "Beta",
        "--project",
        "platform/fleet",
    ]);
    let iid = made["iid"].to_string();
    let told = cli.ok(&["plan", "--request", &iid, "--project", "platform/fleet"]);
    assert!(
        told.contains("channel of site-7 changes from stable to beta"),
        "{told}"
    );
    assert!(!told.contains("site-8"), "{told}");
    let page = app.page(&format!("/platform/fleet/-/merge-requests/{iid}")).await;
    page.shows("#dry-run li", "channel of site-7 changes from stable to beta");
}
