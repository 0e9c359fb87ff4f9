//! Merging: by every strategy, once, around no rule, and through the queue.

use crate::fixture::{Server, commit, git, git_ok, git_refused, write};
use async_trait::async_trait;
use bascule_core::{PipelineId, Problem, ProjectId};
use bascule_forge::{
    MergeRequest,
    ports::{Outcome, Pipeline, Pipelines, Trial},
};
use bascule_ledger::facts::{
    forge::BranchUpdated,
    merge_request::{MergeRequestMerged, MergeSpeculated, MergeUnqueued},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

async fn settings(server: &Server, body: Value) {
    server.ok("owner", "PATCH", "web/merge-settings", body).await;
}

async fn merge(server: &Server, who: &str, iid: i64, body: Value) -> (u16, Value) {
    server
        .call(who, "POST", &format!("web/merge-requests/{iid}/merge"), body)
        .await
}

async fn log(server: &Server, project: &bascule_wire::forge::Project, format: &str) -> String {
    git_ok(
        &server.repository(project),
        &["log", "--first-parent", &format!("--format={format}"), "main"],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_commit_names_the_request_and_the_branch_goes() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let head = server.branch(&work, "topic", "a.txt", "one\n").await;
    let body = json!({ "source_branch": "topic", "title": "Add a", "description": "Closes #3 and #4" });
    server.ok("developer", "POST", "web/merge-requests", body).await;
    // A developer does not merge into a protected branch, unless the project lets them.
    let (status, problem) = merge(&server, "developer", 1, json!({})).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (403, Some("branch_protected"))
    );
    let (status, _) = merge(&server, "reporter", 1, json!({})).await;
    assert_eq!(status, 403);
    settings(&server, json!({ "developers_merge": true })).await;
    let (status, merged) = merge(&server, "developer-2", 1, json!({ "sha": head })).await;
    assert_eq!(
        (status, merged["state"].as_str()),
        (200, Some("merged")),
        "{merged}"
    );
    assert_eq!(merged["merged_by"], "developer-2");
    let page = server.page("reporter", "/acme/web/-/merge-requests/1").await;
    assert!(!page.contains("wants to merge"), "{page}");

    let message = git_ok(
        &server.repository(&project),
        &["log", "-1", "--format=%an <%ae>%n%B", "main"],
    )
    .await;
    for part in [
        "developer-2 <developer-2@example.org>",
        "Merge branch 'topic' into 'main'",
        "Add a",
        "See merge request acme/web!1",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let facts = server.facts::<MergeRequestMerged>().await;
    assert_eq!(facts.len(), 1);
    let fact = &facts[0].1;
    assert_eq!(
        (fact.closes.as_slice(), fact.strategy.as_str()),
        ([3, 4].as_slice(), "merge")
    );
    assert_eq!(fact.after, merged["merge_sha"].as_str().unwrap());
    // The branch moved as by a push, and the source branch went with it.
    let branches = server.facts::<BranchUpdated>().await;
    let last: Vec<_> = branches
        .iter()
        .rev()
        .take(2)
        .map(|(_, fact)| (fact.branch.as_str(), fact.after.is_some()))
        .collect();
    assert_eq!(last, [("topic", false), ("main", true)]);
    let (status, problem) = merge(&server, "owner", 1, json!({})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("request_ended")));
    git_ok(&server.repository(&project), &["fsck", "--strict"]).await;
    server.page("reporter", "/acme/web/-/merge-requests/1").await;
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM push_intent").await, 0);
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM merge_intent").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn squash_rebase_and_fast_forward_do_what_they_say() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    for (iid, name) in [(1, "squash"), (2, "rebase"), (3, "late")] {
        server
            .branch(&work, name, &format!("{name}-1.txt"), "one\n")
            .await;
        write(&work, &format!("{name}-2.txt"), "two\n");
        commit(&work, &format!("Second of {name}")).await;
        git_ok(&work, &["push", "--quiet", "origin", name]).await;
        assert_eq!(server.open_request("web", name).await, iid);
    }
    let (status, done) = merge(&server, "maintainer", 1, json!({ "strategy": "squash" })).await;
    assert_eq!(status, 200, "{done}");
    let (status, done) = merge(&server, "maintainer", 2, json!({ "strategy": "rebase" })).await;
    assert_eq!(status, 200, "{done}");
    let titles = log(&server, &project, "%s by %an, %cn").await;
    assert_eq!(
        titles.lines().collect::<Vec<_>>(),
        [
            "Second of rebase by Ada, maintainer",
            "Change rebase-1.txt by Ada, maintainer",
            "squash by Ada, maintainer",
            "Begin by Ada, Ada",
        ]
    );
    // Fast-forward: not while the branch has moved on.
    let (status, problem) = merge(&server, "maintainer", 3, json!({ "strategy": "fast_forward" })).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("not_fast_forward"))
    );
    git_ok(&work, &["switch", "--quiet", "late"]).await;
    git_ok(&work, &["pull", "--quiet", "--rebase", "origin", "main"]).await;
    git_ok(&work, &["push", "--quiet", "--force", "origin", "late"]).await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    server
        .request_until("web", 3, "the rebased version", |r| r["head"] == head.as_str())
        .await;
    let (status, done) = merge(&server, "maintainer", 3, json!({ "strategy": "fast_forward" })).await;
    assert_eq!(
        (status, done["merge_sha"].as_str()),
        (200, Some(head.as_str())),
        "{done}"
    );
    git_ok(&server.repository(&project), &["fsck", "--strict"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_looked_at_is_not_merged_and_conflicts_name_their_files() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let first = server.branch(&work, "topic", "a.txt", "one\n").await;
    server.open_request("web", "topic").await;
    write(&work, "a.txt", "two\n");
    commit(&work, "Two").await;
    git_ok(&work, &["push", "--quiet", "origin", "topic"]).await;
    let (status, problem) = merge(&server, "maintainer", 1, json!({ "sha": first })).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("head_moved")));

    server.branch(&work, "other", "a.txt", "three\n").await;
    server.open_request("web", "other").await;
    server
        .request_until("web", 1, "version 2", |r| r["version"] == 2)
        .await;
    let (status, done) = merge(&server, "maintainer", 1, json!({})).await;
    assert_eq!(status, 200, "{done}");
    let (status, problem) = merge(&server, "maintainer", 2, json!({})).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("held_by_conflicts"))
    );
    assert!(
        problem["title"].as_str().unwrap().contains("`a.txt`"),
        "{problem}"
    );
    server.page("reporter", "/acme/web/-/merge-requests/2").await;

    // A draft is not merged either, by nobody.
    server.branch(&work, "later", "later.txt", "x\n").await;
    let body = json!({ "source_branch": "later", "title": "Draft: later" });
    server.ok("developer", "POST", "web/merge-requests", body).await;
    let (status, problem) = merge(&server, "owner", 3, json!({})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("held_by_draft")));
    // It is asked for later, and merged as soon as it is ready.
    let (status, asked) = merge(&server, "maintainer", 3, json!({ "when_checks_pass": true })).await;
    assert_eq!((status, asked["state"].as_str()), (200, Some("open")), "{asked}");
    server
        .ok(
            "developer",
            "PATCH",
            "web/merge-requests/3",
            json!({ "draft": false }),
        )
        .await;
    server
        .request_until("web", 3, "the merge", |r| r["state"] == "merged")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_merge_at_once_one_wins_and_the_other_is_told() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    server.open_request("web", "topic").await;
    let (one, two) = tokio::join!(
        merge(&server, "maintainer", 1, json!({})),
        merge(&server, "owner", 1, json!({}))
    );
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {two:?}");
    assert_eq!(server.facts::<MergeRequestMerged>().await.len(), 1);
    assert_eq!(log(&server, &project, "%s").await.lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_asks_for_requests_takes_no_direct_push_from_anybody() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    settings(&server, json!({ "require_request": true })).await;
    write(&work, "direct.txt", "x\n");
    commit(&work, "Direct").await;
    git_ok(
        &work,
        &["remote", "set-url", "origin", &server.address("owner", "web")],
    )
    .await;
    let told = git_refused(&work, &["push", "origin", "main"]).await;
    for part in ["merge request", "why:", "next:"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let body = json!({ "branch": "main", "message": "x", "files": [{ "path": "x", "content": "x" }] });
    let (status, problem) = server.call("owner", "POST", "web/commits", body).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (403, Some("request_required"))
    );
    git_ok(&work, &["push", "--quiet", "origin", "HEAD:direct"]).await;
    server.open_request("web", "direct").await;
    let (status, done) = merge(&server, "maintainer", 1, json!({})).await;
    assert_eq!(status, 200, "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_brings_a_requests_commits_merges_it() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\n").await;
    server.open_request("web", "topic").await;
    git_ok(&work, &["switch", "--quiet", "main"]).await;
    git_ok(
        &work,
        &["merge", "--quiet", "--no-ff", "--message", "By hand", "topic"],
    )
    .await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    let request = server
        .request_until("web", 1, "the merge", |r| r["state"] == "merged")
        .await;
    assert_eq!(request["merged_by"], "maintainer");
    assert_eq!(server.facts::<MergeRequestMerged>().await[0].1.strategy, "push");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_a_crash_cut_off_is_finished_or_forgotten() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let repository = server.repository(&project);
    let base = git_ok(&work, &["rev-parse", "main"]).await;
    let mut heads = Vec::new();
    for name in ["moved", "unmoved"] {
        heads.push(server.branch(&work, name, name, "x\n").await);
        server.open_request("web", name).await;
    }
    // As if killed with the branch moved, and nothing told: the intents are there, the facts are not.
    for (iid, head) in [(1, &heads[0]), (2, &heads[1])] {
        let tx = server.db.begin().await.unwrap();
        tx.run(
            "INSERT INTO push_intent (push, project_id, reference, old_sha, new_sha, actor_kind, actor_id, actor_name, may_protect, at)
             VALUES ($1, $2, 'refs/heads/main', $3, $4, 'user', 'u1', 'ada', $5, 0)",
            bascule_store::args![format!("push{iid}"), project.id, base, head, true],
        )
        .await
        .unwrap();
        tx.run(
            "INSERT INTO merge_intent (merge_request_id, project_id, push, holder, target_branch, head, before_sha, after_sha,
             strategy, queued, delete_source, actor_kind, actor_id, actor_name, at)
             SELECT id, project_id, $1, 'dead', 'main', head, $2, head, 'fast_forward', $3, $4, 'user', 'u1', 'ada', 0
             FROM merge_request WHERE iid = $5",
            bascule_store::args![format!("push{iid}"), base, false, true, iid as i64],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }
    git_ok(&repository, &["update-ref", "refs/heads/main", &heads[0]]).await;
    server
        .request_until("web", 1, "the end of the merge", |r| r["state"] == "merged")
        .await;
    crate::fixture::until("the source branch gone", || {
        !repository.join("refs/heads/moved").exists()
    })
    .await;
    let open = server
        .ok("reporter", "GET", "web/merge-requests/2", Value::Null)
        .await;
    assert_eq!(open["state"], "open");
    let facts = server.facts::<MergeRequestMerged>().await;
    assert_eq!((facts.len(), facts[0].0.actor.name.as_str()), (1, "ada"));
    let (status, done) = merge(&server, "maintainer", 2, json!({})).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM merge_intent").await, 0);
}

/// CI that looks at a commit's files: two of a pair together are red.
struct Pairs {
    root: PathBuf,
    pipelines: Mutex<HashMap<String, (i64, Outcome)>>,
    tried: Mutex<BTreeMap<String, usize>>,
    /// Nothing has ended yet.
    held: AtomicBool,
}

impl Pairs {
    async fn look(&self, project: ProjectId, sha: &str) -> Outcome {
        let id = project.to_string();
        let repository = self.root.join(&id[id.len() - 2..]).join(format!("{id}.git"));
        let files = git(&repository, &["ls-tree", "--name-only", sha]).await;
        let files = String::from_utf8(files.stdout).unwrap();
        let red = ["x", "y", "z"].iter().any(|pair| {
            let has = |side: &str| files.lines().any(|name| name == format!("{pair}-{side}"));
            has("left") && has("right")
        });
        if red { Outcome::Failed } else { Outcome::Passed }
    }
}

#[async_trait]
impl Pipelines for Pairs {
    async fn of_request(&self, _: &MergeRequest) -> Result<Option<Pipeline>, Problem> {
        Ok(None)
    }

    async fn of_trial(&self, _: ProjectId, id: PipelineId) -> Result<Option<Outcome>, Problem> {
        let known = self.pipelines.lock().unwrap();
        let found = known.values().find(|(known, _)| *known == id.0);
        Ok(found.map(|(_, outcome)| match self.held.load(Ordering::SeqCst) {
            true => Outcome::Running,
            false => *outcome,
        }))
    }

    async fn try_merge(&self, trial: &Trial) -> Result<Option<PipelineId>, Problem> {
        let outcome = self.look(trial.project, &trial.sha).await;
        let mut known = self.pipelines.lock().unwrap();
        let next = known.len() as i64 + 1;
        let (id, _) = known.entry(trial.sha.clone()).or_insert((next, outcome));
        *self
            .tried
            .lock()
            .unwrap()
            .entry(trial.reference.clone())
            .or_default() += 1;
        Ok(Some(PipelineId(*id)))
    }

    async fn cancel(&self, _: ProjectId, _: PipelineId) -> Result<(), Problem> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_in_the_queue_the_three_that_break_the_branch_together_with_others_are_named() {
    let server = Server::start().await;
    let pairs = Arc::new(Pairs {
        root: server.dir.path().join("data/repositories"),
        pipelines: Mutex::default(),
        tried: Mutex::default(),
        held: Default::default(),
    });
    server.forge.set_pipelines(pairs.clone());
    let (project, work) = server.seeded("web").await;
    settings(&server, json!({ "queue": true })).await;
    let files = |n: i64| match n {
        3 => "x-left".to_owned(),
        8 => "x-right".to_owned(),
        5 => "y-left".to_owned(),
        6 => "y-right".to_owned(),
        10 => "z-left".to_owned(),
        20 => "z-right".to_owned(),
        n => format!("file-{n}"),
    };
    for n in 1..=20 {
        server
            .branch(&work, &format!("topic-{n}"), &files(n), "x\n")
            .await;
        assert_eq!(server.open_request("web", &format!("topic-{n}")).await, n);
    }
    for n in 1..=20 {
        let (status, queued) = merge(&server, "maintainer", n, json!({})).await;
        assert_eq!(status, 200, "{queued}");
    }
    for n in (1..=20).filter(|n| ![6, 8, 20].contains(n)) {
        server
            .request_until("web", n, "the merge", |r| r["state"] == "merged")
            .await;
    }
    for n in [6, 8, 20] {
        server
            .request_until("web", n, "being out of the queue", |r| r["queue"].is_null())
            .await;
    }
    crate::fixture::until("an empty queue", || {
        server.path("data/repositories").join("none").exists() || {
            let path = server.repository(&project).join("refs/merge-queue");
            std::fs::read_dir(path).map_or(true, |entries| entries.count() == 0)
        }
    })
    .await;
    let out = server.facts::<MergeUnqueued>().await;
    let mut named: Vec<_> = out
        .iter()
        .map(|(_, fact)| (fact.iid, fact.reason.as_str()))
        .collect();
    named.sort_unstable();
    assert_eq!(
        named,
        [
            (6, "pipeline_failed"),
            (8, "pipeline_failed"),
            (20, "pipeline_failed")
        ]
    );
    // Every place at which the branch stood was green.
    for (_, moved) in server.facts::<BranchUpdated>().await {
        if let (true, Some(sha)) = (moved.default, &moved.after) {
            assert_eq!(pairs.look(project.id, sha).await, Outcome::Passed, "{sha}");
        }
    }
    assert_eq!(server.facts::<MergeRequestMerged>().await.len(), 17);
    // Tried side by side: far fewer rounds than requests, and each fact has its commit.
    assert!(server.facts::<MergeSpeculated>().await.len() >= 20);
    let queue = server.ok("reporter", "GET", "web/merge-queue", Value::Null).await;
    assert_eq!(queue["entries"].as_array().unwrap().len(), 0);
    assert_eq!(queue["taken_out"].as_array().unwrap().len(), 3);
    let page = server.page("reporter", "/acme/web/-/merge-queue").await;
    assert!(page.contains("!20") && page.contains("would be broken"), "{page}");
    assert!(page.contains("Change z-right"), "by its title: {page}");
    let of = |iid: i64| {
        let all = queue["taken_out"].as_array().unwrap();
        all.iter().find(|out| out["iid"] == iid).unwrap().clone()
    };
    let pipeline = of(6)["pipeline"].as_i64().unwrap();
    assert!(
        page.contains(&format!("/acme/web/-/pipelines/{pipeline}")),
        "{page}"
    );
    let page = server.page("reporter", "/acme/web/-/merge-requests/20").await;
    assert!(page.contains("would be broken"), "{page}");
    git_ok(&server.repository(&project), &["fsck", "--strict"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_branch_by_itself_blames_nothing_before_it_and_is_not_called_ready() {
    let server = Server::start().await;
    let pairs = Arc::new(Pairs {
        root: server.dir.path().join("data/repositories"),
        pipelines: Mutex::default(),
        tried: Mutex::default(),
        held: Default::default(),
    });
    server.forge.set_pipelines(pairs);
    let (_, work) = server.seeded("web").await;
    write(&work, "x-left", "x\n");
    commit(&work, "Left").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    settings(&server, json!({ "queue": true })).await;
    server.branch(&work, "topic", "x-right", "x\n").await;
    server.open_request("web", "topic").await;
    let (status, queued) = merge(&server, "maintainer", 1, json!({})).await;
    assert_eq!(status, 200, "{queued}");
    let find = |request: &Value| {
        let checks = request["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == "merge_queue")
            .cloned()
    };
    let request = server
        .request_until("web", 1, "the queue's word", |r| find(r).is_some())
        .await;
    let check = find(&request).unwrap();
    assert_eq!(check["state"], "warned");
    let what = check["what"].as_str().unwrap();
    assert!(
        what.contains("failed: with it, `main` would be broken") && !what.contains("before it"),
        "{what}"
    );
    // It holds nothing: whoever thinks that the pipeline was at fault asks again.
    assert_eq!(request["mergeable"], true, "{request}");
    let page = server.page("reporter", "/acme/web/-/merge-requests/1").await;
    assert!(!page.contains("Ready to be merged"), "{page}");
    assert!(page.contains("/acme/web/-/pipelines/1\">#1</a>"), "{page}");
    assert!(page.contains("<code>main</code>"), "{page}");
    // Mended, it is as any other.
    write(&work, "x-right", "");
    git_ok(&work, &["rm", "--quiet", "--force", "x-right"]).await;
    write(&work, "other", "x\n");
    commit(&work, "Mend").await;
    git_ok(&work, &["push", "--quiet", "origin", "topic"]).await;
    server
        .request_until("web", 1, "no word of the queue", |r| {
            r["version"] == 2 && find(r).is_none()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_branch_with_another_names_the_other() {
    let server = Server::start().await;
    let pairs = Arc::new(Pairs {
        root: server.dir.path().join("data/repositories"),
        pipelines: Mutex::default(),
        tried: Mutex::default(),
        held: AtomicBool::new(true),
    });
    server.forge.set_pipelines(pairs.clone());
    let (_, work) = server.seeded("web").await;
    settings(&server, json!({ "queue": true })).await;
    for (n, file) in [(1, "x-left"), (2, "x-right")] {
        server.branch(&work, &format!("topic-{n}"), file, "x\n").await;
        server.open_request("web", &format!("topic-{n}")).await;
        let (status, queued) = merge(&server, "maintainer", n, json!({})).await;
        assert_eq!(status, 200, "{queued}");
    }
    pairs.held.store(false, Ordering::SeqCst);
    // As when a pipeline ends: the queue looks again.
    server
        .ok("owner", "PATCH", "web/review-settings", json!({}))
        .await;
    server
        .request_until("web", 1, "the merge", |r| r["state"] == "merged")
        .await;
    let out = |queue: &Value| queue["taken_out"].as_array().unwrap().first().cloned();
    let mut found = None;
    for _ in 0..400 {
        found = out(&server.ok("reporter", "GET", "web/merge-queue", Value::Null).await);
        if found.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let found = found.unwrap();
    assert_eq!(
        (&found["iid"], &found["title"]),
        (&json!(2), &json!("Change x-right"))
    );
    let detail = found["detail"].as_str().unwrap();
    assert!(
        detail.contains("with !1, which was before it in the queue, `main` would be broken"),
        "{detail}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changes_after_entering_the_queue_is_taken_out() {
    let server = Server::start().await;
    // CI that never ends.
    struct Never;
    #[async_trait]
    impl Pipelines for Never {
        async fn of_request(&self, _: &MergeRequest) -> Result<Option<Pipeline>, Problem> {
            Ok(None)
        }
        async fn of_trial(&self, _: ProjectId, _: PipelineId) -> Result<Option<Outcome>, Problem> {
            Ok(Some(Outcome::Running))
        }
        async fn try_merge(&self, _: &Trial) -> Result<Option<PipelineId>, Problem> {
            Ok(Some(PipelineId(1)))
        }
        async fn cancel(&self, _: ProjectId, _: PipelineId) -> Result<(), Problem> {
            Ok(())
        }
    }
    server.forge.set_pipelines(Arc::new(Never));
    let (_, work) = server.seeded("web").await;
    settings(&server, json!({ "queue": true })).await;
    for n in 1..=2 {
        server
            .branch(&work, &format!("topic-{n}"), &format!("{n}"), "x\n")
            .await;
        server.open_request("web", &format!("topic-{n}")).await;
        let (status, queued) = merge(&server, "maintainer", n, json!({})).await;
        assert_eq!(
            (status, queued["state"].as_str()),
            (200, Some("open")),
            "{queued}"
        );
        assert_eq!(
            queued["queue"],
            json!({ "number": n, "target_branch": "main" }),
            "{queued}"
        );
    }
    for _ in 0..400 {
        let queue = server.ok("reporter", "GET", "web/merge-queue", Value::Null).await;
        let entries = queue["entries"].as_array().unwrap();
        if entries.iter().all(|entry| entry["state"] == "running") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let page = server.page("reporter", "/acme/web/-/merge-queue").await;
    assert!(
        page.contains("running: <a href=\"/acme/web/-/pipelines/1\">"),
        "{page}"
    );
    write(&work, "more", "x\n");
    commit(&work, "More").await;
    git_ok(&work, &["push", "--quiet", "origin", "topic-2"]).await;
    server
        .ok("developer", "DELETE", "web/merge-requests/1/queue", Value::Null)
        .await;
    for _ in 0..400 {
        if server.facts::<MergeUnqueued>().await.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let mut out: Vec<_> = server
        .facts::<MergeUnqueued>()
        .await
        .into_iter()
        .map(|(_, fact)| (fact.iid, fact.reason))
        .collect();
    out.sort();
    assert_eq!(out, [(1, "taken_out".to_owned()), (2, "changed".to_owned())]);
}
