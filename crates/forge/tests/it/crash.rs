//! What a crash leaves behind, and what is made of it.

use crate::fixture::{Everything, Server, commit, config, git_ok, until, write};
use bascule_forge::Forge;
use bascule_ledger::facts::forge::BranchUpdated;
use bascule_store::args;
use bytes::Bytes;
use std::sync::Arc;

impl Server {
    pub async fn db_count(&self, sql: &str) -> i64 {
        bascule_store::Query::count(&self.db, sql, args![]).await.unwrap()
    }

    /// Leaves the intent that a killed server would have left.
    async fn intend(
        &self,
        project: bascule_core::ProjectId,
        reference: &str,
        old: Option<&str>,
        new: &str,
        at: i64,
    ) {
        let tx = self.db.begin().await.unwrap();
        tx.run(
            "INSERT INTO push_intent (push, project_id, reference, old_sha, new_sha, actor_kind, actor_id, actor_name, may_protect, at)
             VALUES ($1, $2, $3, $4, $5, 'user', 'u1', 'ada', $6, $7)",
            args![format!("{reference}{at}"), project, reference, old, new, false, at],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    async fn reopen(&self) -> Forge {
        let config = config(self.dir.path().join("data"), &self.url);
        Forge::open(self.db.clone(), self.ledger.clone(), config, Arc::new(Everything))
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_was_cut_off_after_it_moved_a_branch_is_told_to_the_ledger_at_the_next_start() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    // As if killed between the move and the fact: the branch is there, the intent too, the fact is not.
    git_ok(
        &server.repository(&project),
        &["update-ref", "refs/heads/done", &head],
    )
    .await;
    server.intend(project.id, "refs/heads/done", None, &head, 0).await;
    // And one killed before the move.
    server
        .intend(project.id, "refs/heads/undone", None, &head, 0)
        .await;
    server.reopen().await;
    let facts = server.facts::<BranchUpdated>().await;
    assert_eq!(facts.len(), 2);
    assert_eq!(
        (facts[1].1.branch.as_str(), facts[1].0.actor.name.as_str()),
        ("done", "ada")
    );
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM push_intent").await, 0);
    // Again: nothing more comes of it.
    server.reopen().await;
    assert_eq!(server.facts::<BranchUpdated>().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_whose_git_may_still_run_is_kept_for_a_while() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let now = server.ledger.clock().now().micros();
    server
        .intend(project.id, "refs/heads/late", None, &head, now)
        .await;
    commit(&work, "In between").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM push_intent").await, 1);
    // git, which outlived the server, moves the branch; the next push to the project settles both.
    git_ok(
        &server.repository(&project),
        &["update-ref", "refs/heads/late", &head],
    )
    .await;
    write(&work, "b", "b\n");
    commit(&work, "Next").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    let branches: Vec<_> = server
        .facts::<BranchUpdated>()
        .await
        .into_iter()
        .map(|(_, f)| f.branch)
        .collect();
    assert_eq!(branches, ["main", "main", "late", "main"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_in_the_middle_of_a_push_leaves_nothing_behind() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let repository = server.repository(&project);
    let objects = repository.join("objects");
    let quarantined = || {
        std::fs::read_dir(&objects).unwrap().flatten().any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("tmp_objdir-") || name.starts_with("incoming-")
        })
    };
    // The beginning of a real push: the command, and part of a pack of many objects.
    for n in 0..300 {
        write(&work, &format!("many/{n}"), &format!("{n}\n").repeat(50));
    }
    commit(&work, "Many").await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    git_ok(&work, &["repack", "-a", "-d", "--quiet"]).await;
    let pack = std::fs::read_dir(work.join(".git/objects/pack"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "pack"))
        .unwrap();
    let pack = std::fs::read(pack).unwrap();
    let line = format!(
        "{} {head} refs/heads/half\0 report-status side-band-64k",
        "0".repeat(40)
    );
    let begin = format!("{:04x}{line}0000", line.len() + 4);
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(receive));
    let request = server
        .http
        .post(format!("{}/acme/web.git/git-receive-pack", server.url))
        .basic_auth("owner", Some("x"))
        .header("content-type", "application/x-git-receive-pack-request")
        .body(body)
        .send();
    let request = tokio::spawn(request);
    send.send(Ok(Bytes::from(begin.into_bytes()))).await.unwrap();
    send.send(Ok(Bytes::copy_from_slice(&pack[..pack.len() / 2])))
        .await
        .unwrap();
    until("a quarantine", quarantined).await;
    send.send(Err(std::io::Error::other("the cable was pulled")))
        .await
        .unwrap();
    drop(send);
    drop(request.await);
    until("the quarantine swept", || !quarantined()).await;
    git_ok(&repository, &["fsck", "--strict"]).await;
    assert_eq!(
        git_ok(&repository, &["for-each-ref", "--format=%(refname)"]).await,
        "refs/heads/main"
    );
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM push_intent").await, 0);
    // And the project is as good as before.
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
}
