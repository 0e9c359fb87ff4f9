//! What programs may not do, though their token has a maintainer's role: change the rules by which code is let in.

use crate::fixture::Server;
use bascule_core::Permission;
use bascule_web::Access;
use serde_json::{Value, json};

/// A route that changes a rule, and something valid to send it.
enum Sent {
    Json(Value),
    Form(&'static str),
}

/// What only a person does. Each is sent what a person could send, so that it is refused for who asks alone.
fn barred(method: &str, path: &str) -> Option<Sent> {
    let form = Sent::Form;
    Some(match (method, path) {
        ("PATCH", "/api/v1/projects/{group}/{project}") => Sent::Json(json!({ "default_branch": "other" })),
        ("POST", "/api/v1/projects/{group}/{project}/protected-branches") => {
            Sent::Json(json!({ "pattern": "x" }))
        }
        ("DELETE", "/api/v1/projects/{group}/{project}/protected-branches/{pattern}") => {
            Sent::Json(Value::Null)
        }
        ("PATCH", "/api/v1/projects/{group}/{project}/review-settings") => {
            Sent::Json(json!({ "code_owners": false, "teams": [] }))
        }
        ("PATCH", "/api/v1/projects/{group}/{project}/merge-settings") => {
            Sent::Json(json!({ "require_request": false }))
        }
        ("PATCH", "/api/v1/projects/{group}/{project}/workflow" | "/api/v1/groups/{group}/workflow") => {
            Sent::Json(json!({ "flow": "gitflow" }))
        }
        ("POST", "/{group}/{project}/-/settings") => form("name=web&visibility=private&default_branch=other"),
        ("POST", "/{group}/{project}/-/settings/protect" | "/{group}/{project}/-/settings/unprotect") => {
            form("pattern=x")
        }
        ("POST", "/{group}/{project}/-/settings/reviews") => form("approvals=0"),
        ("POST", "/{group}/{project}/-/settings/merging") => form("strategy=merge&queue_parallel=5"),
        ("POST", "/{group}/{project}/-/settings/workflow" | "/{group}/-/workflow") => form("flow=gitflow"),
        _ => return None,
    })
}

/// What a maintainer's program may do: it lets no code in.
fn open(path: &str) -> bool {
    ["limits", "storage", "upkeep", "fsck"]
        .iter()
        .any(|word| path.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_changes_what_keeps_unreviewed_code_out() {
    let server = Server::start().await;
    server.seeded("web").await;
    let (_, _, table) = server.forge.routes().into_parts();
    let mut refused = 0;
    for route in table {
        let manages = matches!(
            route.access,
            Access::Project(Permission::ProjectManage) | Access::Group(Permission::GroupManage)
        );
        if !manages || route.method == "GET" {
            continue;
        }
        let name = format!("{} {}", route.method, route.path);
        let Some(sent) = barred(&route.method, &route.path) else {
            assert!(
                open(&route.path),
                "say in this test whether a program may: {name}"
            );
            continue;
        };
        let path = route.path.replace("{group}", "acme").replace("{project}", "web");
        let path = path.replace("{pattern}", "x");
        let request = server
            .http
            .request(route.method.parse().unwrap(), format!("{}{path}", server.url))
            // An owner's role would let it do what a group allows, too.
            .basic_auth("owner-bot", Some("x"))
            .header("accept", "application/json");
        let request = match sent {
            Sent::Json(body) => request.json(&body),
            Sent::Form(body) => request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body),
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(
            (status, problem["code"].as_str()),
            (403, Some("not_a_person")),
            "{name}: {problem}"
        );
        let next = problem["next"].as_str().unwrap();
        assert!(next.contains("A person with the role maintainer"), "{next}");
        refused += 1;
    }
    assert_eq!(refused, 14);
    // What a program may: nothing of it lets code in.
    let change = json!({ "description": "Told by a program" });
    let call = server.call("maintainer-bot", "PATCH", "web", change).await;
    assert_eq!(call.0, 200, "{}", call.1);
    // People do it as before.
    let change = json!({ "approvals": 1 });
    server
        .ok("maintainer", "PATCH", "web/review-settings", change)
        .await;
}
