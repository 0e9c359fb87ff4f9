//! Forks, and what can be done with a request besides merging it.

use crate::fixture::{Server, commit, git_ok, until, work_tree, write};
use bascule_ledger::facts::merge_request::ProjectForked;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_forks_pushes_and_has_it_merged() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    git_ok(&work, &["tag", "v1.0.0"]).await;
    git_ok(&work, &["push", "--quiet", "origin", "v1.0.0"]).await;
    let (status, fork) = server
        .call(
            "reporter",
            "POST",
            "web/forks",
            json!({ "group": "acme", "name": "copy" }),
        )
        .await;
    assert_eq!(
        (status, fork["path"].as_str()),
        (201, Some("acme/copy")),
        "{fork}"
    );
    let (status, _) = server
        .call(
            "reporter",
            "POST",
            "web/forks",
            json!({ "group": "acme", "name": "copy" }),
        )
        .await;
    assert_eq!(status, 409);
    let (status, _) = server.call("guest", "POST", "web/forks", json!({})).await;
    assert_eq!(status, 403);
    assert_eq!(server.facts::<ProjectForked>().await[0].1.parent, project.id);

    // In these tests a role holds everywhere: whoever forks pushes to the fork as a developer.
    let copy = server.path("copy-work");
    work_tree(&copy, &server.address("developer", "copy")).await;
    git_ok(&copy, &["pull", "--quiet", "origin", "main"]).await;
    assert_eq!(
        git_ok(&copy, &["ls-remote", "--tags", "origin"])
            .await
            .lines()
            .count(),
        1
    );
    git_ok(&copy, &["switch", "--quiet", "--create", "topic"]).await;
    write(&copy, "a.txt", "from the fork\n");
    commit(&copy, "From the fork").await;
    git_ok(&copy, &["push", "--quiet", "origin", "topic"]).await;
    let body = json!({ "source_project": "acme/copy", "source_branch": "topic" });
    let made = server.ok("developer", "POST", "web/merge-requests", body).await;
    assert_eq!(
        (made["source_project"].as_str(), made["iid"].as_i64()),
        (Some("acme/copy"), Some(1))
    );
    // New commits of the fork are taken up.
    write(&copy, "b.txt", "more\n");
    commit(&copy, "More").await;
    git_ok(&copy, &["push", "--quiet", "origin", "topic"]).await;
    let head = git_ok(&copy, &["rev-parse", "HEAD"]).await;
    server
        .request_until("web", 1, "version 2", |r| r["head"] == head.as_str())
        .await;
    for path in ["", "/commits", "/changes", "/versions"] {
        server
            .page("reporter", &format!("/acme/web/-/merge-requests/1{path}"))
            .await;
    }
    // The fork goes: what was asked for stays, and cannot be merged any more.
    let (status, merged) = server
        .call("maintainer", "POST", "web/merge-requests/1/merge", json!({}))
        .await;
    assert_eq!(status, 200, "{merged}");
    let repository = server.repository(&project);
    assert!(git_ok(&repository, &["cat-file", "-t", &head]).await == "commit");
    git_ok(&repository, &["fsck", "--strict"]).await;
    assert!(!repository.join("objects/info/alternates").exists());
    // Strangers' projects are no source.
    let (_, _) = server.seeded("other").await;
    let body = json!({ "source_project": "acme/other", "source_branch": "main" });
    let (status, problem) = server.call("developer", "POST", "web/merge-requests", body).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("no_fork")),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_change_is_reverted_and_brought_elsewhere_by_requests() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    git_ok(&work, &["push", "--quiet", "origin", "main:release/1"]).await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    let body = json!({ "source_branch": "topic", "title": "Add a" });
    server.ok("developer", "POST", "web/merge-requests", body).await;
    let (status, problem) = server
        .call("developer", "POST", "web/merge-requests/1/revert", json!({}))
        .await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("not_merged")));
    server
        .ok("maintainer", "POST", "web/merge-requests/1/merge", json!({}))
        .await;
    let body = json!({ "target_branch": "release/1" });
    let picked = server
        .ok("developer", "POST", "web/merge-requests/1/cherry-pick", body)
        .await;
    assert_eq!(
        (picked["source_branch"].as_str(), picked["target_branch"].as_str()),
        (Some("pick-1-to-release-1"), Some("release/1"))
    );
    let reverted = server
        .ok("developer", "POST", "web/merge-requests/1/revert", json!({}))
        .await;
    assert_eq!(reverted["title"], "Revert \"Add a\"");
    for iid in [2, 3] {
        server
            .ok(
                "maintainer",
                "POST",
                &format!("web/merge-requests/{iid}/merge"),
                json!({ "strategy": "squash" }),
            )
            .await;
    }
    let repository = server.repository(&project);
    let files = git_ok(&repository, &["ls-tree", "--name-only", "main"]).await;
    assert!(!files.contains("a.txt"), "{files}");
    let files = git_ok(&repository, &["ls-tree", "--name-only", "release/1"]).await;
    assert!(files.contains("a.txt"), "{files}");
    let (status, problem) = server
        .call("developer", "POST", "web/merge-requests/1/revert", json!({}))
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("nothing_to_change"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_solved_on_the_page_hunk_by_hunk_and_by_side() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    write(&work, "a.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    write(&work, "gone.txt", "x\n");
    commit(&work, "Files").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    git_ok(&work, &["switch", "--quiet", "--create", "topic"]).await;
    write(&work, "a.txt", "one\n2\n3\n4\n5\n6\n7\n8\nnine\n");
    git_ok(&work, &["rm", "--quiet", "gone.txt"]).await;
    commit(&work, "Mine").await;
    git_ok(&work, &["push", "--quiet", "origin", "topic"]).await;
    server.open_request("web", "topic").await;
    git_ok(&work, &["switch", "--quiet", "main"]).await;
    write(&work, "a.txt", "eins\n2\n3\n4\n5\n6\n7\n8\nneun\n");
    write(&work, "gone.txt", "y\n");
    commit(&work, "Theirs").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;

    let found = server
        .ok("developer", "GET", "web/merge-requests/1/conflicts", Value::Null)
        .await;
    let files = found["files"].as_array().unwrap();
    assert_eq!(
        (files.len(), files[0]["hunks"].as_array().unwrap().len()),
        (2, 2),
        "{found}"
    );
    assert_eq!(files[1]["kind"], "modify/delete");
    let page = server
        .page("developer", "/acme/web/-/merge-requests/1/conflicts")
        .await;
    assert!(
        page.contains("eins") && page.contains("hunk-0-1") && page.contains("side-1"),
        "{page}"
    );
    let solve = |target: Value| {
        json!({ "target": target, "source": found["source"],
            "files": [{ "hunks": ["theirs", "both"] }, { "side": "theirs" }] })
    };
    let stale = solve(json!("0".repeat(40)));
    let (status, problem) = server
        .call("developer", "POST", "web/merge-requests/1/conflicts", stale)
        .await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("head_moved")));
    let (status, _) = server
        .call(
            "reporter",
            "POST",
            "web/merge-requests/1/conflicts",
            solve(found["target"].clone()),
        )
        .await;
    assert_eq!(status, 403);
    let solved = server
        .ok(
            "developer",
            "POST",
            "web/merge-requests/1/conflicts",
            solve(found["target"].clone()),
        )
        .await;
    assert_eq!(
        (solved["version"].as_i64(), solved["mergeable"].as_bool()),
        (Some(2), Some(true)),
        "{solved}"
    );
    let repository = server.repository(&project);
    assert_eq!(
        git_ok(&repository, &["show", "topic:a.txt"]).await,
        "one\n2\n3\n4\n5\n6\n7\n8\nneun\nnine"
    );
    assert!(
        !git_ok(&repository, &["ls-tree", "--name-only", "topic"])
            .await
            .contains("gone.txt")
    );
    let author = git_ok(&repository, &["log", "-1", "--format=%an", "topic"]).await;
    assert_eq!(author, "developer");
    server
        .ok("maintainer", "POST", "web/merge-requests/1/merge", json!({}))
        .await;
    until("the merge", || true).await;
    git_ok(&repository, &["fsck", "--strict"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_commit_by_commit() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    server.open_request("web", "topic").await;
    write(&work, "a.txt", "two\n");
    git_ok(&work, &["add", "--all"]).await;
    git_ok(&work, &["commit", "--quiet", "--amend", "--message", "Better"]).await;
    git_ok(&work, &["push", "--quiet", "--force", "origin", "topic"]).await;
    server
        .request_until("web", 1, "version 2", |r| r["version"] == 2)
        .await;
    let found = server
        .ok(
            "reporter",
            "GET",
            "web/merge-requests/1/range-diff?from=1",
            Value::Null,
        )
        .await;
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("Better") || text.contains("Change a.txt"), "{text}");
    let page = server
        .page("reporter", "/acme/web/-/merge-requests/1/versions")
        .await;
    assert!(page.contains("diff-hunk"), "{page}");
    let page = server
        .page(
            "reporter",
            "/acme/web/-/merge-requests/1/changes?version=2&against=1",
        )
        .await;
    assert!(page.contains("two") && page.contains("one"), "{page}");
}

/// A request with 300 files: the first content comes at once, the rest page by page.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_many_files_is_shown_at_once_and_page_by_page() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    git_ok(&work, &["switch", "--quiet", "--create", "many"]).await;
    for n in 0..10_000 {
        let lines = if n < 300 { 30 } else { 1 };
        write(
            &work,
            &format!("d{}/f{n:05}.txt", n / 100),
            &format!("line {n}\n").repeat(lines),
        );
    }
    commit(&work, "Many").await;
    git_ok(&work, &["push", "--quiet", "origin", "many"]).await;
    server.open_request("web", "many").await;
    let started = std::time::Instant::now();
    let page = server
        .page("reporter", "/acme/web/-/merge-requests/1/changes")
        .await;
    let took = started.elapsed();
    assert!(page.contains("10000 files changed") && page.contains("Next files"));
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    // In a build that is not optimised; the bench measures the goal.
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    let (mut from, mut seen, mut pages) = (Some(0), 0, 0);
    while let Some(at) = from {
        let part = server
            .ok(
                "reporter",
                "GET",
                &format!("web/merge-requests/1/changes?from={at}"),
                Value::Null,
            )
            .await;
        seen += part["files"].as_array().unwrap().len();
        from = part["next_from"].as_u64();
        pages += 1;
    }
    assert_eq!(seen, 10_000);
    assert!(pages > 5, "{pages}");
}
