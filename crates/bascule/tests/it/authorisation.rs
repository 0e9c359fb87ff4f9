//! From the route table itself: every route refuses the anonymous and the guest, unless listed here.

use crate::BIN;
use bascule_core::{Clock as _, SystemClock};
use bascule_testkit::TestApp;
use serde_json::Value;
use std::{process::Command, time::Duration};

/// Routes that anyone may call.
const PUBLIC: &[&str] = &[
    "GET /.well-known/openid-configuration",
    "GET /oauth/discovery/keys",
    "GET /sign-in",
    // The addresses of other forges lead there.
    "GET /login",
    "GET /users/sign_in",
    "POST /sign-in",
    "GET /healthz",
    // The schema that editors check CI files with, the same everywhere.
    "GET /schemas/gitlab-ci.json",
    "GET /readyz",
    "GET /favicon.ico",
    "GET /assets/{hash}/{name}",
    "GET /api/v1/openapi.json",
    "GET /api/v1/keys",
    "GET /metrics",
    "POST /sign-out",
    // Ask for a sign-in themselves, as clients of registries expect.
    "GET /v2/",
    "GET /v2/token",
];

fn fill(path: &str, project: bool) -> String {
    let mut filled = String::new();
    for segment in path.split('/').skip(1) {
        filled.push('/');
        filled.push_str(match segment {
            "{group}" => "demo",
            "{project}" if project => "secret",
            "{project}" => "none",
            s if s.starts_with('{') => "1",
            s => s,
        });
    }
    // Git's addresses end in .git.
    for git in ["info/refs", "git-upload-pack", "git-receive-pack"] {
        if filled.ends_with(git) {
            filled = filled.replace("/secret/", "/secret.git/");
        }
    }
    filled
}

fn routes() -> Vec<Value> {
    let output = Command::new(BIN).arg("routes").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn every_route_refuses_the_anonymous_and_the_guest() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", "demo/secret"]));
    // A guest of another project: an account that this project is none of the business of; and a token that
    // is a guest in this very project.
    let guest = cli.json(&[
        "token",
        "create",
        "guest",
        "--project",
        "demo/secret",
        "--role",
        "guest",
        "--scope",
        "api",
    ]);
    let guest = guest["secret"].as_str().unwrap().to_owned();
    let routes = routes();
    assert!(routes.len() > 100, "{} routes", routes.len());
    let mut open = Vec::new();
    for route in &routes {
        let (method, path) = (route["method"].as_str().unwrap(), route["path"].as_str().unwrap());
        let access = route["access"].as_str().unwrap();
        let name = format!("{method} {path}");
        let listed = PUBLIC.contains(&name.as_str());
        assert_eq!(
            listed,
            access == "Public",
            "{name} is {access}: list it as public here, or close it"
        );
        if listed {
            continue;
        }
        let address = fill(path, true);
        let anonymous = app
            .anonymous(method, &address)
            .header("accept", "application/json")
            .send()
            .await
            .unwrap();
        let status = anonymous.status();
        if access.starts_with("Machine") {
            // These check their own kind of token, some of which stand in the body: whatever is wrong first is
            // told first. 501 is how a server says that it has no job router.
            if !status.is_client_error() && status.as_u16() != 501 {
                open.push(format!("{name} answers nobody with {status}"));
            }
            continue;
        }
        if !matches!(status.as_u16(), 401 | 403) {
            open.push(format!("{name} answers nobody with {status}"));
        }
        let as_guest = app
            .anonymous(method, &address)
            .bearer_auth(&guest)
            .header("accept", "application/json")
            .send()
            .await
            .unwrap()
            .status()
            .as_u16();
        let guest_may = [
            "Project(ProjectView)",
            "Project(IssueRead)",
            "Project(IssueCreate)",
            // A token may ask what it is.
            "Holder",
        ]
        .contains(&access);
        if !guest_may && !matches!(as_guest, 401 | 403 | 404) {
            open.push(format!("{name} ({access}) answers a guest with {as_guest}"));
        }
    }
    assert!(open.is_empty(), "{open:#?}");
}

/// What outside partners may call beside what their role in a project opens: their own account, and the lists of
/// what they were given.
const PARTNERS: &[&str] = &[
    "GET /",
    "GET /explore",
    // What they are to do, and what mail they want: nothing is told of what they may not read.
    "GET /-/todos",
    "GET /api/v1/todos",
    "GET /api/v1/user/mail",
    "GET /settings/mail",
    "POST /-/todos/done",
    "POST /-/todos/{id}/done",
    "POST /api/v1/todos/done",
    "POST /api/v1/todos/{id}/done",
    "POST /settings/mail",
    "PUT /api/v1/user/mail",
    "GET /api/v1/projects",
    "GET /api/v1/groups",
    "GET /api/v1/ssh",
    "GET /api/v1/user",
    "GET /api/v1/user/keys",
    "POST /api/v1/user/keys",
    "DELETE /api/v1/user/keys/{key}",
    "GET /api/v1/user/tokens",
    "POST /api/v1/user/tokens",
    "DELETE /api/v1/user/tokens/{token}",
    "GET /settings",
    "POST /settings/profile",
    "POST /settings/password",
    "GET /settings/keys",
    "POST /settings/keys",
    "POST /settings/keys/{key}/remove",
    "GET /settings/sessions",
    "POST /settings/sessions/{session}/end",
    "GET /settings/ssh",
    "GET /settings/tokens",
    "POST /settings/tokens",
    "POST /settings/tokens/{token}/revoke",
];

#[tokio::test]
async fn an_outside_partner_finds_every_other_door_shut() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo", "--visibility", "internal"]));
    for (project, visibility) in [
        ("secret", "private"),
        ("intern", "internal"),
        ("granted", "private"),
    ] {
        let path = format!("demo/{project}");
        drop(cli.ok(&["project", "create", &path, "--visibility", visibility]));
    }
    drop(cli.ok(&["user", "create", "colleague"]));
    let until = SystemClock
        .now()
        .plus(Duration::from_secs(30 * 24 * 3600))
        .to_string();
    let created = cli.json(&[
        "partner",
        "invite",
        "supplier",
        "--project",
        "demo/granted",
        "--role",
        "developer",
        "--until",
        &until,
    ]);
    let password = created["initial_password"].as_str().unwrap();
    let answer = app
        .anonymous("POST", "/sign-in")
        .form(&[("username", "supplier"), ("password", password)])
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let ask = async |method: &str, address: &str| {
        let request = app.anonymous(method, address).header("cookie", &cookie);
        request.header("accept", "application/json").send().await.unwrap()
    };
    let mut open = Vec::new();
    let mut own = Vec::new();
    for route in routes() {
        let (method, path) = (route["method"].as_str().unwrap(), route["path"].as_str().unwrap());
        let access = route["access"].as_str().unwrap();
        if access == "Public" || access.starts_with("Machine") {
            continue;
        }
        let name = format!("{method} {path}");
        if matches!(access, "SignedIn" | "Holder") {
            own.push(name);
            if method == "GET" {
                let text = ask(method, path).await.text().await.unwrap();
                for word in ["secret", "intern", "colleague", "admin"] {
                    if text.contains(&format!("demo/{word}")) || text.contains(&format!(">{word}<")) {
                        open.push(format!("{path} tells of {word}"));
                    }
                }
            }
            continue;
        }
        for project in ["secret", "intern"] {
            let address = fill(path, true).replace("demo/secret", &format!("demo/{project}"));
            let status = ask(method, &address).await.status().as_u16();
            let right = if access.starts_with("Project") || access.starts_with("Group") {
                status == 404
            } else {
                status == 403
            };
            if !right {
                open.push(format!(
                    "{method} {address} ({access}) answers a partner with {status}"
                ));
            }
        }
    }
    assert!(open.is_empty(), "{open:#?}");
    own.sort();
    let mut stated = PARTNERS.to_vec();
    stated.sort_unstable();
    assert_eq!(
        own, stated,
        "state here what partners may call beside their projects"
    );

    // The project that was granted is open as far as the role goes.
    let status = async |path: &str| ask("GET", path).await.status().as_u16();
    assert_eq!(status("/demo/granted").await, 200);
    assert_eq!(status("/demo/granted/-/pipelines").await, 200);
    assert_eq!(status("/demo/granted/-/settings").await, 403);
    assert_eq!(status("/demo/granted/-/partners").await, 403);
    let listed = ask("GET", "/api/v1/projects").await.text().await.unwrap();
    assert!(listed.contains("demo/granted"), "{listed}");
}

#[tokio::test]
async fn leaving_ends_everything_at_once() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", "demo/secret"]));
    let token = cli.json(&[
        "token",
        "create",
        "bot",
        "--project",
        "demo/secret",
        "--role",
        "reporter",
        "--scope",
        "api",
    ]);
    let secret = token["secret"].as_str().unwrap();
    let bot = app.cli_as(secret);
    drop(bot.ok(&["project", "show", "demo/secret"]));
    let (code, said) = bot.refused(&["project", "create", "demo/other"]);
    assert_eq!(
        code, 1,
        "another group's matters look as if they were not there: {said}"
    );
    let id = token["id"]
        .as_str()
        .or_else(|| token["token"]["id"].as_str())
        .unwrap();
    let answer = app
        .request("DELETE", &format!("/api/v1/projects/demo/secret/tokens/{id}"))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    assert_eq!(
        bot.refused(&["project", "show", "demo/secret"]).0,
        3,
        "revoked is out"
    );
}

#[tokio::test]
async fn a_guest_of_a_group_reads_none_of_its_facts() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", "demo/secret"]));
    let created = cli.json(&["user", "create", "visitor"]);
    drop(cli.ok(&["group", "set-member", "demo", "visitor", "--role", "guest"]));
    let password = created["initial_password"].as_str().unwrap();
    let answer = app
        .anonymous("POST", "/sign-in")
        .header("origin", app.url())
        .form(&[("username", "visitor"), ("password", password), ("next", "/")])
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    for path in [
        "/api/v1/ledger",
        "/",
        "/ledger",
        "/insights",
        "/incidents",
        "/environments",
    ] {
        let answer = app
            .anonymous("GET", path)
            .header("cookie", &cookie)
            .header("accept", "text/html")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(
            !answer.text().await.unwrap().contains("demo/secret"),
            "{path} tells a guest of the project's facts"
        );
    }
    let project = app
        .anonymous("GET", "/demo/secret/-/commits")
        .header("cookie", &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(project.status(), 403, "a guest reads no code");
}
