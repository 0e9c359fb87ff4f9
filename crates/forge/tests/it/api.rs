//! The JSON API, and what other capabilities ask of the forge.

use crate::fixture::{Server, git_ok};
use bascule_core::Actor;
use bascule_forge::{FileToCommit, Signature};
use bascule_ledger::facts::forge::{BranchUpdated, ProjectChanged, ProjectCreated, ProjectDeleted};
use serde_json::{Value, json};

impl Server {
    async fn json(&self, method: &str, role: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self
            .http
            .request(method.parse().unwrap(), format!("{}/api/v1{path}", self.url))
            .basic_auth(role, Some("x"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or(Value::Null),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_live_and_die_over_the_api_with_their_facts() {
    let server = Server::start().await;
    let project = server.project("web").await;
    assert_eq!(project.path, "acme/web");
    assert_eq!(project.clone_url, format!("{}/acme/web.git", server.url));
    let (status, problem) = server
        .json(
            "POST",
            "owner",
            "/groups/acme/projects",
            Some(json!({ "name": "web" })),
        )
        .await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("name_taken")));
    for bad in ["../x", "a/b", "x.git", "-", ""] {
        let (status, problem) = server
            .json(
                "POST",
                "owner",
                "/groups/acme/projects",
                Some(json!({ "name": bad })),
            )
            .await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (422, Some("bad_name")),
            "{bad}"
        );
    }
    assert_eq!(
        server
            .json(
                "POST",
                "developer",
                "/groups/acme/projects",
                Some(json!({ "name": "no" }))
            )
            .await
            .0,
        403
    );
    let (_, list) = server.json("GET", "reporter", "/projects?search=we", None).await;
    assert_eq!(list["projects"][0]["name"], "web");
    let change = json!({ "name": "shop", "visibility": "internal" });
    assert_eq!(
        server
            .json("PATCH", "developer", "/projects/acme/web", Some(change.clone()))
            .await
            .0,
        403
    );
    let (status, changed) = server
        .json("PATCH", "maintainer", "/projects/acme/web", Some(change))
        .await;
    assert_eq!((status, changed["path"].as_str()), (200, Some("acme/shop")));
    assert_eq!(
        server.json("GET", "reporter", "/projects/acme/web", None).await.0,
        307
    );
    assert_eq!(server.facts::<ProjectCreated>().await.len(), 1);
    assert_eq!(server.facts::<ProjectChanged>().await.len(), 2);
    assert_eq!(
        server
            .json("DELETE", "maintainer", "/projects/acme/shop", None)
            .await
            .0,
        403
    );
    assert_eq!(
        server
            .json("DELETE", "owner", "/projects/acme/shop", None)
            .await
            .0,
        204
    );
    assert_eq!(
        server.json("GET", "owner", "/projects/acme/shop", None).await.0,
        404
    );
    assert_eq!(server.facts::<ProjectDeleted>().await[0].1.path, "acme/shop");
    assert!(!server.repository(&project).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_read_and_committed_over_the_api() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let (_, branches) = server
        .json("GET", "reporter", "/projects/acme/web/branches", None)
        .await;
    assert_eq!(
        (
            &branches["branches"][0]["sha"],
            &branches["branches"][0]["protected"]
        ),
        (&json!(head), &json!(true))
    );
    let (_, commits) = server
        .json("GET", "reporter", "/projects/acme/web/commits?ref=main", None)
        .await;
    assert_eq!(commits["commits"][0]["title"], "Begin");
    let file = server
        .get(
            "reporter",
            "/api/v1/projects/acme/web/files/src%2Fmain.rs?ref=main",
        )
        .await;
    assert!(file.text().await.unwrap().starts_with("fn main()"));
    let new = json!({ "branch": "notes", "message": "Add notes", "files": [{ "path": "docs/notes.md", "content": "x\n" }] });
    let (status, made) = server
        .json("POST", "developer", "/projects/acme/web/commits", Some(new))
        .await;
    assert_eq!(status, 201, "{made}");
    let (_, commit) = server
        .json(
            "GET",
            "reporter",
            &format!("/projects/acme/web/commits/{}", made["sha"].as_str().unwrap()),
            None,
        )
        .await;
    assert_eq!(commit["parents"], json!([head]));
    let protected = json!({ "branch": "main", "message": "No", "files": [{ "path": "a", "content": "" }] });
    assert_eq!(
        server
            .json("POST", "developer", "/projects/acme/web/commits", Some(protected))
            .await
            .0,
        403
    );
    let outside = json!({ "branch": "x", "message": "No", "files": [{ "path": "../a", "content": "" }] });
    assert_eq!(
        server
            .json("POST", "developer", "/projects/acme/web/commits", Some(outside))
            .await
            .1["code"],
        "bad_path"
    );
    let last = server.facts::<BranchUpdated>().await.pop().unwrap().1;
    assert_eq!((last.branch.as_str(), last.commit_count), ("notes", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_commits_for_itself_and_others_can_ask_what_changed() {
    let server = Server::start().await;
    let project = server.project("sheets").await;
    let author = Signature {
        name: "Bascule <x>".into(),
        email: "bascule@example.org".into(),
    };
    let file = |path: &str, text: &str| FileToCommit {
        path: path.into(),
        bytes: text.into(),
    };
    let commit = |files, message: &'static str| {
        let (forge, author) = (server.forge.clone(), author.clone());
        async move {
            forge
                .commit_files(project.id, "main", files, message, &author, &Actor::system())
                .await
                .unwrap()
        }
    };
    let first = commit(vec![file("a.md", "a\n"), file("deep/er/b.md", "b\n")], "First").await;
    let second = commit(vec![file("deep/er/b.md", "b2\n"), file("c", "c")], "Second").await;
    assert_eq!(commit(vec![file("c", "c")], "Nothing new").await, second);

    let forge = &server.forge;
    let id = project.id;
    assert_eq!(
        forge
            .resolve(id, "main")
            .await
            .unwrap()
            .map(|r| (r.sha, r.is_tag)),
        Some((second.clone(), false))
    );
    assert_eq!(forge.resolve(id, "none").await.unwrap(), None);
    assert_eq!(
        forge.list_paths(id, &second).await.unwrap(),
        ["a.md", "c", "deep/er/b.md"]
    );
    assert_eq!(
        forge.changed_paths(id, Some(&first), &second).await.unwrap(),
        ["c", "deep/er/b.md"]
    );
    assert_eq!(
        forge.changed_paths(id, None, &first).await.unwrap(),
        ["a.md", "deep/er/b.md"]
    );
    assert_eq!(
        forge
            .read_file(id, &first, "deep/er/b.md")
            .await
            .unwrap()
            .as_deref(),
        Some(b"b\n".as_slice())
    );
    assert_eq!(forge.read_file(id, &first, "c").await.unwrap(), None);
    assert_eq!(forge.read_file(id, &first, "deep").await.unwrap(), None);
    assert!(forge.read_file_up_to(id, &first, "a.md", 1).await.is_err());
    assert_eq!(
        forge.commit_message(id, &second).await.unwrap().as_deref(),
        Some("Second\n")
    );
    let (stamps, count) = forge.commits_between(id, Some(&first), &second).await.unwrap();
    assert_eq!(
        (stamps.len(), count, stamps[0].sha.as_str()),
        (1, 1, second.as_str())
    );
    assert_eq!(forge.commits_between(id, None, &second).await.unwrap().1, 2);
    // A commit is found by the beginning of its identifier, and by what leads to it.
    for text in [&second[..7], "main", second.as_str()] {
        let found = forge.find_commit(id, text).await.unwrap();
        assert_eq!(found, Some((second.clone(), "Second".to_owned())), "{text}");
    }
    assert_eq!(forge.find_commit(id, "dead").await.unwrap(), None);
    assert_eq!(
        forge.find_commit(id, "abc").await.unwrap(),
        None,
        "three digits are too few"
    );
    let tips = [first.clone(), second.clone(), "1".repeat(40)];
    assert_eq!(
        forge.containing(id, &first, &tips).await.unwrap(),
        [true, true, false]
    );
    assert_eq!(
        forge.containing(id, &second, &tips).await.unwrap(),
        [false, true, false]
    );
    assert_eq!(
        forge
            .read_file(id, &"1".repeat(40), "a")
            .await
            .unwrap_err()
            .status,
        404
    );
    let facts = server.facts::<BranchUpdated>().await;
    assert_eq!(
        facts
            .iter()
            .map(|(_, f)| (f.commit_count, f.default))
            .collect::<Vec<_>>(),
        [(1, true), (1, true)]
    );
    git_ok(
        server.dir.path(),
        &["clone", "--quiet", &server.address("reporter", "sheets"), "copy"],
    )
    .await;
    git_ok(&server.repository(&project), &["fsck", "--strict"]).await;
    assert_eq!(
        git_ok(&server.path("copy"), &["log", "-1", "--format=%an %ae"]).await,
        "Bascule x bascule@example.org"
    );
}
