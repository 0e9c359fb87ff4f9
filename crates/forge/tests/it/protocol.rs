//! Git's protocol at its edges: versions, shallow and partial clones, and clients that send rubbish.

use crate::fixture::{Server, commit, git, git_ok, write};

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_the_protocol_and_every_kind_of_clone_is_served() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    for n in 0..5 {
        write(&work, "a", &format!("{n}\n"));
        commit(&work, &format!("Change {n}")).await;
    }
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let address = server.address("reporter", "web");
    let kinds: [(&str, &[&str]); 5] = [
        ("v0", &["-c", "protocol.version=0", "clone", "--quiet"]),
        ("v1", &["-c", "protocol.version=1", "clone", "--quiet"]),
        ("shallow", &["clone", "--quiet", "--depth=1"]),
        (
            "shallow0",
            &["-c", "protocol.version=0", "clone", "--quiet", "--depth=2"],
        ),
        ("partial", &["clone", "--quiet", "--filter=blob:none"]),
    ];
    for (name, arguments) in kinds {
        git_ok(
            server.dir.path(),
            &[arguments, &[address.as_str(), name]].concat(),
        )
        .await;
        assert_eq!(
            git_ok(&server.path(name), &["rev-parse", "HEAD"]).await,
            head,
            "{name}"
        );
    }
    assert_eq!(
        git_ok(&server.path("shallow"), &["rev-list", "--count", "HEAD"]).await,
        "1"
    );
    // As runners fetch: one commit by its identifier.
    let one = server.path("one");
    std::fs::create_dir(&one).unwrap();
    git_ok(&one, &["init", "--quiet"]).await;
    git_ok(&one, &["fetch", "--quiet", "--depth=1", &address, &head]).await;
    // A later fetch negotiates, which sends a compressed request once it is long.
    for n in 0..40 {
        commit(&work, &format!("More {n}")).await;
    }
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    git_ok(&server.path("v0"), &["fetch", "--quiet"]).await;
    assert_eq!(
        git_ok(&server.path("v0"), &["rev-parse", "origin/main"]).await,
        git_ok(&work, &["rev-parse", "HEAD"]).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_is_refused_clearly_and_changes_nothing() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let zero = "0".repeat(40);
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let command = line(&format!("{head} {zero} refs/heads/main\0 report-status"));
    let bodies: Vec<Vec<u8>> = vec![
        b"rubbish".to_vec(),
        b"zzzz".to_vec(),
        b"0003".to_vec(),
        b"ffff".to_vec(),
        vec![0xff; 100_000],
        line("want nothing\n").into_bytes(),
        format!(
            "{}0000PACK",
            line(&format!(
                "{zero} {head} refs/heads/../../../../etc/x\0 report-status"
            ))
        )
        .into_bytes(),
        format!(
            "{}0000not a pack",
            line(&format!("{zero} {} refs/heads/x\0 report-status", "1".repeat(40)))
        )
        .into_bytes(),
        command.as_bytes()[..command.len() / 2].to_vec(),
    ];
    for service in ["upload-pack", "receive-pack"] {
        for body in &bodies {
            for gzip in [false, true] {
                let mut request = server
                    .http
                    .post(format!("{}/acme/web.git/git-{service}", server.url))
                    .basic_auth("owner", Some("x"))
                    .header("content-type", format!("application/x-git-{service}-request"))
                    .body(body.clone());
                if gzip {
                    // Not compressed at all, though it says so.
                    request = request.header("content-encoding", "gzip");
                }
                let answer = request.send().await.unwrap();
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                // Either refused by us, or answered by git in its own words; never a failure of ours.
                assert!(
                    status.is_client_error() || status == 200,
                    "{service} {body:?}: {status} {text}"
                );
                if status == 200 {
                    assert!(
                        text.is_empty()
                            || ["ERR", "unpack", "ng ", "error", "fatal"]
                                .iter()
                                .any(|w| text.contains(w)),
                        "{service}: {text}"
                    );
                } else {
                    assert!(text.contains("next:"), "{service}: {text}");
                }
            }
        }
    }
    let repository = server.repository(&project);
    assert_eq!(
        git_ok(
            &repository,
            &["for-each-ref", "--format=%(refname) %(objectname)"]
        )
        .await,
        format!("refs/heads/main {head}")
    );
    git_ok(&repository, &["fsck", "--strict"]).await;
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM push_intent").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_not_gits_are_refused() {
    let server = Server::start().await;
    server.seeded("web").await;
    let get = |path: &str| server.http.get(format!("{}{path}", server.url));
    let status = |path: &'static str, role: &'static str| {
        let request = get(path).basic_auth(role, Some("x"));
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(
        status("/acme/web/info/refs?service=git-upload-pack", "owner").await,
        404
    );
    assert_eq!(status("/acme/web.git/info/refs", "owner").await, 403);
    assert_eq!(
        status("/acme/web.git/info/refs?service=git-shell", "owner").await,
        403
    );
    assert_eq!(
        status("/acme/none.git/info/refs?service=git-upload-pack", "owner").await,
        404
    );
    assert_eq!(
        status(
            "/acme/..%2f..%2fetc.git/info/refs?service=git-upload-pack",
            "owner"
        )
        .await,
        404
    );
    assert_eq!(
        status("/acme/web.git/info/refs?service=git-upload-pack", "guest").await,
        403
    );
    assert_eq!(
        status("/acme/web.git/info/refs?service=git-upload-pack", "stranger").await,
        404
    );
    let anonymous = get("/acme/web.git/info/refs?service=git-upload-pack")
        .send()
        .await
        .unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(
        anonymous.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic")
    );
    let wrong = server
        .http
        .post(format!("{}/acme/web.git/git-upload-pack", server.url))
        .basic_auth("owner", Some("x"))
        .body("0000")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 415);
    let told = git(
        server.dir.path(),
        &["clone", &server.address("stranger", "web"), "x"],
    )
    .await;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        told.contains("There is no such project, or you may not see it."),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clones_than_there_are_turns_wait_for_theirs() {
    let server = Server::start_with(|config| config.processes = 1).await;
    server.seeded("web").await;
    let mut tasks = Vec::new();
    for n in 0..4 {
        let (dir, address) = (server.dir.path().to_owned(), server.address("reporter", "web"));
        tasks.push(tokio::spawn(async move {
            git_ok(&dir, &["clone", "--quiet", &address, &format!("copy-{n}")]).await;
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(server.path("copy-3/README.md").exists());
}
