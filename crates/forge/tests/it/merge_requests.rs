//! Merge requests: their life, their versions, their pages.

use crate::fixture::{Server, commit, git_ok, write};
use bascule_ledger::facts::merge_request::{MergeRequestOpened, MergeRequestUpdated};
use serde_json::{Value, json};
use std::path::Path;

impl Server {
    pub async fn call(&self, who: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = method.parse().unwrap();
        let answer = self
            .http
            .request(method, format!("{}/api/v1/projects/acme/{path}", self.url))
            .basic_auth(who, Some("x"))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn ok(&self, who: &str, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(who, method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// A branch with one change, pushed by a developer.
    pub async fn branch(&self, work: &Path, name: &str, file: &str, text: &str) -> String {
        git_ok(work, &["switch", "--quiet", "main"]).await;
        git_ok(work, &["switch", "--quiet", "--create", name]).await;
        write(work, file, text);
        commit(work, &format!("Change {file}")).await;
        git_ok(work, &["push", "--quiet", "origin", name]).await;
        git_ok(work, &["rev-parse", "HEAD"]).await
    }

    pub async fn open_request(&self, project: &str, branch: &str) -> i64 {
        let path = format!("{project}/merge-requests");
        let made = self
            .ok("developer", "POST", &path, json!({ "source_branch": branch }))
            .await;
        made["iid"].as_i64().unwrap()
    }

    /// Waits until a request looks so.
    pub async fn request_until(
        &self,
        project: &str,
        iid: i64,
        what: &str,
        so: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        for _ in 0..400 {
            last = self
                .ok(
                    "reporter",
                    "GET",
                    &format!("{project}/merge-requests/{iid}"),
                    Value::Null,
                )
                .await;
            if so(&last) {
                return last;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("never came: {what}: {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_opened_and_follows_its_branch() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let first = server.branch(&work, "topic", "a.txt", "one\n").await;
    let iid = server.open_request("web", "topic").await;
    assert_eq!(iid, 1);
    let request = server
        .ok("reporter", "GET", "web/merge-requests/1", Value::Null)
        .await;
    assert_eq!(request["title"], "Change a.txt");
    assert_eq!(request["head"], first.as_str());
    assert_eq!(request["mergeable"], true);
    let opened = server.facts::<MergeRequestOpened>().await;
    assert_eq!((opened.len(), opened[0].1.head.as_str()), (1, first.as_str()));

    // One for the same branch is enough.
    let (status, problem) = server
        .call(
            "developer",
            "POST",
            "web/merge-requests",
            json!({ "source_branch": "topic" }),
        )
        .await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("already_open")));

    // A push, then a forced one: two more versions, and all are kept.
    write(&work, "b.txt", "two\n");
    commit(&work, "More").await;
    git_ok(&work, &["push", "--quiet", "origin", "topic"]).await;
    server
        .request_until("web", 1, "version 2", |r| r["version"] == 2)
        .await;
    git_ok(&work, &["commit", "--quiet", "--amend", "--message", "Better"]).await;
    git_ok(&work, &["push", "--quiet", "--force", "origin", "topic"]).await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let request = server
        .request_until("web", 1, "version 3", |r| r["version"] == 3)
        .await;
    assert_eq!(request["head"], head.as_str());
    let versions = server
        .ok("reporter", "GET", "web/merge-requests/1/versions", Value::Null)
        .await;
    let forced: Vec<bool> = versions["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["forced"].as_bool().unwrap())
        .collect();
    assert_eq!(forced, [true, false, false]);
    assert_eq!(server.facts::<MergeRequestUpdated>().await.len(), 2);
    let kept = git_ok(
        &server.repository(&project),
        &[
            "for-each-ref",
            "--format=%(refname) %(objectname)",
            "refs/merge-requests",
        ],
    )
    .await;
    assert_eq!(kept.lines().count(), 4, "{kept}");
    assert!(
        kept.contains(&format!("refs/merge-requests/1/head {head}")),
        "{kept}"
    );
    assert!(
        kept.contains(&format!("refs/merge-requests/1/v1 {first}")),
        "{kept}"
    );
    let commits = server
        .ok("reporter", "GET", "web/merge-requests/1/commits", Value::Null)
        .await;
    assert_eq!(commits["commits"].as_array().unwrap().len(), 2);
    let changes = server
        .ok("reporter", "GET", "web/merge-requests/1/changes", Value::Null)
        .await;
    assert_eq!(changes["total"], 2);
    assert!(changes["files"][0]["diff"].as_str().unwrap().contains("\n+one\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_deleted_under_an_open_request_holds_it_and_its_commits_stay() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    server.open_request("web", "topic").await;
    git_ok(&work, &["push", "--quiet", "origin", ":topic"]).await;
    let request = server
        .request_until("web", 1, "a source that is gone", |r| r["mergeable"] == false)
        .await;
    assert!(
        request["checks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|check| check["name"] == "source" && check["state"] == "failed"),
        "{request}"
    );
    for path in ["", "/commits", "/changes", "/changes?view=split"] {
        server
            .page("reporter", &format!("/acme/web/-/merge-requests/1{path}"))
            .await;
    }
    let restored = server
        .ok(
            "developer",
            "POST",
            "web/merge-requests/1/restore-branch",
            Value::Null,
        )
        .await;
    assert_eq!(restored["mergeable"], true, "{restored}");
    git_ok(&work, &["push", "--quiet", "origin", ":topic"]).await;
    let closed = server
        .ok("developer", "POST", "web/merge-requests/1/close", Value::Null)
        .await;
    assert_eq!(closed["state"], "closed");
    let (status, problem) = server
        .call("developer", "POST", "web/merge-requests/1/reopen", Value::Null)
        .await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("source_gone")));
    git_ok(&work, &["push", "--quiet", "origin", "topic"]).await;
    let open = server
        .ok("developer", "POST", "web/merge-requests/1/reopen", Value::Null)
        .await;
    assert_eq!(open["state"], "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_is_shown_and_never_run() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}";
    git_ok(&work, &["switch", "--quiet", "--create", "x"]).await;
    write(&work, "a<b>.txt", "<script>alert(3)</script>\n");
    commit(&work, "<script>alert(4)</script>").await;
    git_ok(&work, &["push", "--quiet", "origin", "x"]).await;
    let body = json!({ "source_branch": "x", "title": hostile, "description": hostile });
    server.ok("developer", "POST", "web/merge-requests", body).await;
    for path in [
        "",
        "/new",
        "/1",
        "/1/commits",
        "/1/changes",
        "/1/changes?view=split",
        "/1/edit",
    ] {
        let page = server
            .page("developer", &format!("/acme/web/-/merge-requests{path}"))
            .await;
        for sign in ["<script>alert", "<img src=x onerror", "\u{202e}</"] {
            // A form gives back what was written, as it was written.
            let given_back = path == "/1/edit" && sign.starts_with('\u{202e}');
            assert!(given_back || !page.contains(sign), "{path}: {sign}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reporter_opens_no_request_from_others_branches_and_a_guest_sees_none() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    let body = json!({ "source_branch": "topic" });
    let (status, _) = server
        .call("reporter", "POST", "web/merge-requests", body.clone())
        .await;
    assert_eq!(status, 403);
    server.open_request("web", "topic").await;
    let (status, _) = server
        .call("guest", "GET", "web/merge-requests/1", Value::Null)
        .await;
    assert_eq!(status, 403);
    let (status, _) = server
        .call("reporter", "POST", "web/merge-requests/1/close", Value::Null)
        .await;
    assert_eq!(status, 403);
    for (body, code) in [
        (json!({ "source_branch": "main" }), "same_branch"),
        (json!({ "source_branch": "none" }), "no_such_branch"),
        (
            json!({ "source_branch": "topic", "target_branch": "none" }),
            "no_such_branch",
        ),
        (json!({ "source_branch": "a b" }), "bad_branch_name"),
    ] {
        let (_, problem) = server.call("developer", "POST", "web/merge-requests", body).await;
        assert_eq!(problem["code"], code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_project_keeps_its_requests_and_they_are_merged_under_the_new_name() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    server.open_request("web", "topic").await;
    server
        .ok("owner", "PATCH", "web", json!({ "name": "shop" }))
        .await;
    for path in ["", "/1", "/1/changes"] {
        server
            .page("reporter", &format!("/acme/shop/-/merge-requests{path}"))
            .await;
    }
    let merged = server
        .ok("maintainer", "POST", "shop/merge-requests/1/merge", json!({}))
        .await;
    assert_eq!(
        (merged["state"].as_str(), merged["project"].as_str()),
        (Some("merged"), Some("acme/shop"))
    );
    let message = git_ok(
        &server.repository(&project),
        &["log", "-1", "--format=%B", "main"],
    )
    .await;
    assert!(message.contains("See merge request acme/shop!1"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_opens_a_request_when_it_says_so() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    git_ok(&work, &["switch", "--quiet", "--create", "topic"]).await;
    write(&work, "a.txt", "one\n");
    commit(&work, "Add a").await;
    let push = [
        "push",
        "-o",
        "merge_request.create",
        "-o",
        "merge_request.title=From a push",
        "origin",
        "topic",
    ];
    let done = crate::fixture::git(&work, &push).await;
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        done.status.success() && told.contains("Merge request !1: http"),
        "{told}"
    );
    let request = server
        .ok("reporter", "GET", "web/merge-requests/1", Value::Null)
        .await;
    assert_eq!(
        (request["title"].as_str(), request["author"].as_str()),
        (Some("From a push"), Some("maintainer"))
    );
    // The next push finds it open; the push stands all the same.
    write(&work, "a.txt", "two\n");
    commit(&work, "Two").await;
    let done = crate::fixture::git(&work, &push).await;
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && told.contains("!1 is open"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_takes_no_number() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    git_ok(&work, &["push", "--quiet", "origin", "main:empty"]).await;
    for branch in ["nowhere", "empty"] {
        let body = json!({ "source_branch": branch });
        let (status, problem) = server.call("developer", "POST", "web/merge-requests", body).await;
        assert_eq!(status, 422, "{problem}");
    }
    server.branch(&work, "topic", "a.txt", "one\n").await;
    assert_eq!(server.open_request("web", "topic").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_begun_anew_from_nothing_is_told_as_unrelated() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    server.open_request("web", "topic").await;
    git_ok(&work, &["switch", "--quiet", "--orphan", "fresh"]).await;
    write(&work, "b.txt", "two\n");
    commit(&work, "From nothing").await;
    git_ok(&work, &["push", "--quiet", "--force", "origin", "fresh:topic"]).await;
    let request = server
        .request_until("web", 1, "version 2", |r| r["version"] == 2)
        .await;
    let check = request["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "unrelated")
        .unwrap_or_else(|| panic!("{request}"));
    assert_eq!(check["state"], "failed");
    assert_eq!(check["what"], "`topic` has no commit in common with `main`.");
    let (status, problem) = server
        .call("maintainer", "POST", "web/merge-requests/1/merge", json!({}))
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("held_by_unrelated")),
        "{problem}"
    );
    for page in ["", "/changes", "/commits"] {
        let page = server
            .page("reporter", &format!("/acme/web/-/merge-requests/1{page}"))
            .await;
        assert!(page.contains("!1"));
    }
    let page = server.page("reporter", "/acme/web/-/merge-requests/1").await;
    assert!(page.contains("has no commit in common with"), "{page}");
    for (act, state) in [("close", "closed"), ("reopen", "open")] {
        let path = format!("web/merge-requests/1/{act}");
        let request = server.ok("developer", "POST", &path, json!({})).await;
        assert_eq!(request["state"], state, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_changes_is_a_patch_that_git_applies() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let moved: String = (1..=40).map(|n| format!("line {n}\n")).collect();
    write(&work, "old name.txt", &moved);
    write(&work, "run.sh", "true\n");
    commit(&work, "More files").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    git_ok(&work, &["switch", "--quiet", "--create", "topic"]).await;
    git_ok(&work, &["mv", "old name.txt", "new näme.txt"]).await;
    write(&work, "new näme.txt", &moved.replace("line 7", "line seven"));
    write(&work, "new.txt", "no newline at the end");
    std::fs::write(work.join("picture.bin"), [0_u8, 159, 146, 150, 255, 10, 0, 1]).unwrap();
    std::fs::set_permissions(work.join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    commit(&work, "Change everything").await;
    git_ok(&work, &["push", "--quiet", "origin", "topic"]).await;
    server.open_request("web", "topic").await;
    let path = "/api/v1/projects/acme/web/merge-requests/1/raw.diff";
    for path in [path.to_owned(), format!("{path}?version=1")] {
        let answer = server.get("reporter", &path).await;
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        let patch = answer.bytes().await.unwrap();
        std::fs::write(work.join("../topic.patch"), &patch).unwrap();
        git_ok(&work, &["switch", "--quiet", "--detach", "main"]).await;
        git_ok(&work, &["apply", "--check", "--index", "../topic.patch"]).await;
        git_ok(&work, &["apply", "--index", "../topic.patch"]).await;
        // All of it: what came of it is the branch.
        git_ok(&work, &["diff", "--cached", "--exit-code", "topic"]).await;
        git_ok(&work, &["reset", "--quiet", "--hard"]).await;
    }
    let page = server
        .page("reporter", "/acme/web/-/merge-requests/1/changes")
        .await;
    assert!(
        page.contains("The mode changed from 100644 (a plain file) to 100755 (executable)."),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_with_a_field_that_nobody_knows_is_refused() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    server.open_request("web", "topic").await;
    for body in [
        json!({ "body": "Here", "path": "a.txt", "line": 1 }),
        json!({ "body": "Here", "position": { "path": "a.txt", "start": 1, "end": 1, "line": 1 } }),
    ] {
        let (status, problem) = server
            .call("developer", "POST", "web/merge-requests/1/threads", body)
            .await;
        assert!(status == 400 || status == 422, "{status} {problem}");
    }
    let position = json!({ "path": "a.txt", "start": 1, "end": 1 });
    let body = json!({ "body": "Here", "position": position });
    server
        .ok("developer", "POST", "web/merge-requests/1/threads", body)
        .await;
}
