//! A project whose product needs nothing but Python's standard library, so that tests need no network.

use bascule_testkit::{Git, TestApp, until};
use serde_json::Value;
use std::time::Duration;

pub const PROJECT: &str = "demo/hello";

const SERVER: &str = r#"import http.server, os, random

class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        bad = self.path == "/" and random.random() < float(os.environ.get("FAIL", "0"))
        body = b"no" if bad else b"hello VERSION"
        self.send_response(500 if bad else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Hello).serve_forever()
"#;

const CI: &str = r#"stages: [test, build, release]
test:
  stage: test
  script:
    - echo "testing"
    - grep -q hello src/server.py
package:
  stage: build
  rules: [{ if: $CI_COMMIT_TAG }]
  script: [ "tar -czf app.tar.gz src" ]
  artifacts: { paths: [app.tar.gz] }
publish:
  stage: release
  rules: [{ if: $CI_COMMIT_TAG }]
  script: [ "echo release" ]
  release: { tag_name: $CI_COMMIT_TAG, description: "A release" }
"#;

/// Writes version `version`, of whose requests a share `fail` gets an error.
pub fn write(git: &Git, version: &str, fail: &str) {
    git.write("README.md", "# Hello\n");
    git.write("src/server.py", &SERVER.replace("VERSION", version));
    git.write("requirements.txt", "idna==3.10\n");
    git.write(".gitlab-ci.yml", CI);
    git.write(
        "bascule.yaml",
        &format!(
            "product: hello\nartifact: app.tar.gz\ncommand: python3 src/server.py\nhealth: {{ path: /healthz, interval: 300ms, timeout: 1s, start: 20s }}\nsmoke: [{{ path: /healthz, status: 200, contains: hello }}]\nenvironment: {{ FAIL: \"{fail}\" }}\nrollout: {{ strategy: blue_green, steps: [25, 50, 100], step: 2s, slice: 1s }}\n"
        ),
    );
}

/// Group, project, first commit, pushed.
pub fn create(app: &TestApp) -> Git {
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", PROJECT]));
    let git = Git::init();
    write(&git, "1.0.0", "0");
    git.commit("Say hello");
    drop(git.ok(&["remote", "add", "origin", &app.remote(PROJECT, app.token())]));
    drop(git.ok(&["push", "-q", "origin", "main"]));
    git
}

/// The rows of a list, whatever wraps them.
pub fn rows(value: &Value) -> Vec<Value> {
    value
        .as_array()
        .cloned()
        .or_else(|| {
            value
                .as_object()
                .and_then(|o| o.values().find_map(|v| v.as_array().cloned()))
        })
        .unwrap_or_default()
}

/// Which version an environment serves, and where.
pub fn serving(app: &TestApp, environment: &str) -> Option<(String, String)> {
    let list = app.cli().json(&["environment", "list", PROJECT]);
    let row = rows(&list).into_iter().find(|row| row["name"] == environment)?;
    Some((
        row["serving"]["version"].as_str()?.to_owned(),
        row["url"].as_str()?.to_owned(),
    ))
}

/// Tags, pushes, and waits until staging serves it.
pub async fn release(app: &TestApp, git: &Git, version: &str) {
    drop(git.ok(&["tag", version]));
    drop(git.ok(&["push", "-q", "origin", "main", version]));
    until(
        &format!("staging to serve {version}"),
        Duration::from_secs(90),
        async || serving(app, "staging").filter(|(serves, _)| serves == version),
    )
    .await;
}

/// Waits for the newest pipeline of a branch or tag to end and returns it with its jobs.
pub async fn pipeline(app: &TestApp, project: &str, reference: &str) -> Value {
    let id = until(
        &format!("a pipeline for {reference}"),
        Duration::from_secs(30),
        async || {
            rows(&app.cli().json(&["pipeline", "list", project, "--ref", reference]))
                .first()
                .and_then(|p| p["id"].as_i64())
        },
    )
    .await;
    let output = app
        .cli()
        .run(&["pipeline", "show", project, &id.to_string(), "--wait", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}
