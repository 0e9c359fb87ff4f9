//! Code pages beyond files and commits: blame, a file's history, comparing, archives, deleted branches.

use crate::fixture::{Server, commit, git, git_ok, write};
use bascule_ledger::facts::forge::BranchUpdated;
use serde_json::{Value, json};
use std::{io::Write as _, process::Stdio};

impl Server {
    async fn api(&self, path: &str) -> Value {
        let answer = self
            .get("reporter", &format!("/api/v1/projects/acme/web{path}"))
            .await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }
}

/// A file that was written by two people, renamed and changed on a branch.
async fn grown(server: &Server) -> std::path::PathBuf {
    let (_, work) = server.seeded("web").await;
    write(&work, "notes.txt", "one\ntwo\nthree\n");
    commit(&work, "Begin the notes").await;
    git_ok(&work, &["mv", "notes.txt", "docs notes.txt"]).await;
    commit(&work, "Rename the notes").await;
    write(&work, "docs notes.txt", "one\nTWO\nthree\n");
    commit(&work, "Shout").await;
    git_ok(&work, &["push", "-q", "origin", "HEAD:main"]).await;
    git_ok(&work, &["switch", "-q", "-c", "topic"]).await;
    write(&work, "docs notes.txt", "one\nTWO\nthree\nfour\n");
    commit(&work, "Add four").await;
    git_ok(&work, &["push", "-q", "origin", "topic"]).await;
    work
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_is_told_with_the_commit_that_wrote_it_also_through_a_rename() {
    let server = Server::start().await;
    grown(&server).await;
    let page = server
        .page("reporter", "/acme/web/-/blame/topic/docs%20notes.txt")
        .await;
    for title in ["Begin the notes", "Shout", "Add four"] {
        assert!(page.contains(title), "{title}");
    }
    let blame = server.api("/blame/docs%20notes.txt?ref=topic").await;
    let told: Vec<String> = blame["hunks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hunk| {
            format!(
                "{} {} {}",
                hunk["first_line"],
                hunk["title"].as_str().unwrap(),
                hunk["lines"]
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"1 Begin the notes ["one"]"#,
            r#"2 Shout ["TWO"]"#,
            r#"3 Begin the notes ["three"]"#,
            r#"4 Add four ["four"]"#
        ]
    );
    let history = server
        .page("reporter", "/acme/web/-/commits/topic/docs%20notes.txt")
        .await;
    assert!(
        history.contains("as notes.txt") && history.contains("Begin the notes"),
        "{history}"
    );
    assert!(
        !history.contains("Begin</a>"),
        "commits that did not touch it are left out"
    );
    let log = server.api("/commits?ref=topic&path=docs%20notes.txt").await;
    assert_eq!(log["commits"].as_array().unwrap().len(), 4);
    let missing = server
        .get("reporter", "/acme/web/-/blame/main/no-such-file")
        .await;
    assert_eq!(missing.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_hundred_thousand_lines_is_blamed_a_page_at_a_time() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let lines: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    write(&work, "long.txt", &lines);
    commit(&work, "Long").await;
    git_ok(&work, &["push", "-q", "origin", "HEAD:main"]).await;
    let blame = server.api("/blame/long.txt?line=99501").await;
    assert_eq!(
        (&blame["lines"], &blame["next_line"]),
        (&json!(100_000), &Value::Null)
    );
    assert_eq!(blame["hunks"][0]["lines"].as_array().unwrap().len(), 500);
    let page = server.page("reporter", "/acme/web/-/blame/main/long.txt").await;
    assert!(page.contains("?from=1001") && page.contains("L1000\"") && !page.contains("L1001\""));
    let beyond = server
        .get("reporter", "/acme/web/-/blame/main/long.txt?from=200000")
        .await;
    assert_eq!(beyond.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_are_compared_and_counted_ahead_and_behind() {
    let server = Server::start().await;
    let work = grown(&server).await;
    git_ok(&work, &["switch", "-q", "main"]).await;
    git_ok(&work, &["reset", "-q", "--hard", "origin/main"]).await;
    write(&work, "only-main", "x");
    commit(&work, "Only on main").await;
    git_ok(&work, &["push", "-q", "origin", "HEAD:main"]).await;
    let page = server
        .page("reporter", "/acme/web/-/compare?from=main&to=topic")
        .await;
    assert!(
        page.contains("is 1 commit ahead of") && page.contains("and 1 behind"),
        "{page}"
    );
    assert!(
        page.contains("Add four") && !page.contains("only-main"),
        "from where they parted"
    );
    let compared = server.api("/compare?from=main&to=topic").await;
    assert_eq!((&compared["ahead"], &compared["behind"]), (&json!(1), &json!(1)));
    assert_eq!(
        compared["files"],
        json!([{ "path": "docs notes.txt", "old_path": null, "change": "changed" }])
    );
    let branches = server.page("reporter", "/acme/web/-/branches").await;
    assert!(
        branches.contains("1 ahead of the default branch, 1 behind it")
            && branches.contains(">1 ahead, 1 behind</a>"),
        "{branches}"
    );
    let same = server.page("reporter", "/acme/web/-/compare").await;
    assert!(same.contains("Name two different branches"));
    let unknown = server
        .get("reporter", "/acme/web/-/compare?from=main&to=nothing")
        .await;
    assert_eq!(unknown.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_holds_one_folder_with_all_files() {
    let server = Server::start().await;
    grown(&server).await;
    for (path, list) in [
        ("/acme/web/-/archive/topic.tar.gz", &["tar", "-tzf", "-"][..]),
        (
            "/api/v1/projects/acme/web/archive?ref=topic&format=tar",
            &["tar", "-tf", "-"],
        ),
    ] {
        let answer = server.get("reporter", path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let bytes = answer.bytes().await.unwrap();
        let mut listing = std::process::Command::new(list[0])
            .args(&list[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        listing.stdin.take().unwrap().write_all(&bytes).unwrap();
        let names = String::from_utf8(listing.wait_with_output().unwrap().stdout).unwrap();
        assert!(names.contains("web-topic/src/main.rs\n"), "{names}");
        assert!(
            names.lines().all(|name| name.starts_with("web-topic/")),
            "{names}"
        );
    }
    let zip = server.get("reporter", "/acme/web/-/archive/main.zip").await;
    assert!(zip.bytes().await.unwrap().starts_with(b"PK"));
    for none in [
        "/acme/web/-/archive/main.rar",
        "/acme/web/-/archive/nothing.zip",
        "/acme/web/-/archive/.zip",
    ] {
        assert_eq!(server.get("reporter", none).await.status(), 404, "{none}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_branch_is_brought_back_even_after_garbage_was_collected() {
    let server = Server::start().await;
    let work = grown(&server).await;
    let tip = git_ok(&work, &["rev-parse", "topic"]).await.trim().to_owned();
    git_ok(&work, &["push", "-q", "origin", "--delete", "topic"]).await;
    let project: Value = server.api("").await;
    let id = project["id"].as_str().unwrap();
    let repository = server.repository(&serde_json::from_value(project.clone()).unwrap());
    git_ok(&repository, &["gc", "-q", "--prune=now"]).await;
    assert!(repository.to_string_lossy().contains(id));
    let page = server.page("developer", "/acme/web/-/branches").await;
    assert!(
        page.contains("Deleted in the last 30 days: 1") && page.contains("Bring back"),
        "{page}"
    );
    assert!(
        !server
            .page("reporter", "/acme/web/-/branches")
            .await
            .contains("Bring back")
    );
    let restore = |role: &'static str| {
        let request = server.http.post(format!(
            "{}/api/v1/projects/acme/web/deleted-branches",
            server.url
        ));
        request
            .basic_auth(role, Some("x"))
            .json(&json!({ "name": "topic" }))
            .send()
    };
    assert_eq!(restore("reporter").await.unwrap().status(), 403);
    assert_eq!(restore("developer").await.unwrap().status(), 201);
    let there = git_ok(&work, &["ls-remote", "origin", "refs/heads/topic"]).await;
    assert!(there.starts_with(&tip), "{there}");
    let hidden = git_ok(&work, &["ls-remote", "origin"]).await;
    assert!(!hidden.contains("refs/bascule"), "{hidden}");
    let facts = server.facts::<BranchUpdated>().await;
    assert_eq!(facts.last().unwrap().1.after.as_deref(), Some(tip.as_str()));
    assert_eq!(
        restore("developer").await.unwrap().status(),
        404,
        "it is deleted no more"
    );
    drop(git(&work, &["fetch"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_a_newline_and_broken_bytes_is_blamed_and_followed() {
    use std::os::unix::ffi::OsStrExt as _;
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let name = std::ffi::OsStr::from_bytes(b"a\nb\xff.txt");
    std::fs::write(work.join(name), "hostile\n").unwrap();
    commit(&work, "A name").await;
    git_ok(&work, &["push", "-q", "origin", "HEAD:main"]).await;
    for what in ["blame", "commits", "blob"] {
        let page = server
            .page("reporter", &format!("/acme/web/-/{what}/main/a%0Ab%25FF.txt"))
            .await;
        assert!(page.contains("a\\u{a}b\\xff.txt"), "{what}");
    }
}
