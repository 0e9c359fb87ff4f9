//! Pushing and cloning with stock git.

use crate::fixture::{Server, commit, git, git_ok, git_refused, work_tree, write};
use async_trait::async_trait;
use bascule_core::{Problem, ProjectId};
use bascule_forge::ports::Keeper;
use bascule_ledger::facts::forge::{BranchUpdated, PushRefused, TagUpdated};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_can_be_cloned_and_is_told_to_the_ledger() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    write(&work, "docs/guide.md", "Guide\n");
    commit(&work, "Add the guide").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;

    let facts = server.facts::<BranchUpdated>().await;
    assert_eq!(facts.len(), 2);
    let (entry, second) = &facts[1];
    assert_eq!(
        (
            second.branch.as_str(),
            second.default,
            second.forced,
            second.commit_count
        ),
        ("main", true, false, 1)
    );
    assert_eq!(second.before, facts[0].1.after);
    assert_eq!(second.project, project.id);
    assert_eq!(entry.actor.name, "maintainer");
    // SHA-256 of ada@example.org, cut: written in another case, it is still the same person.
    assert_eq!(
        second.commits[0].author,
        &bascule_core::Digest::of(b"ada@example.org").hex()[..16]
    );

    git_ok(
        server.dir.path(),
        &["clone", "--quiet", &server.address("reporter", "web"), "copy"],
    )
    .await;
    let copy = server.path("copy");
    assert_eq!(
        std::fs::read_to_string(copy.join("docs/guide.md")).unwrap(),
        "Guide\n"
    );
    assert_eq!(
        git_ok(&copy, &["rev-parse", "HEAD"]).await,
        second.after.clone().unwrap()
    );
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM push_intent").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_push_explains_itself_on_the_clients_own_output() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    let before = git_ok(&work, &["rev-parse", "HEAD"]).await;
    git_ok(
        &work,
        &["remote", "set-url", "origin", &server.address("developer", "web")],
    )
    .await;
    write(&work, "README.md", "# Changed\n");
    commit(&work, "Change").await;
    let told = git_refused(&work, &["push", "origin", "main"]).await;
    for part in [
        "remote: Refused: `main` is protected; you may not push to it.",
        "why:",
        "next: Push to a branch of your own",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let stands = git_ok(&server.repository(&project), &["rev-parse", "refs/heads/main"]).await;
    assert_eq!(stands, before);
    let refused = server.facts::<PushRefused>().await;
    assert_eq!(
        (refused[0].1.reference.as_str(), refused[0].1.rule.as_str()),
        ("refs/heads/main", "protected_branch")
    );

    // What the refusal advises works.
    git_ok(&work, &["push", "--quiet", "origin", "HEAD:my-change"]).await;
    let last = server.facts::<BranchUpdated>().await.pop().unwrap().1;
    assert_eq!(
        (last.branch.as_str(), last.default, last.commit_count),
        ("my-change", false, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_branch_is_neither_rewritten_nor_deleted_not_even_by_an_owner() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    git_ok(
        &work,
        &["remote", "set-url", "origin", &server.address("owner", "web")],
    )
    .await;
    git_ok(&work, &["commit", "--quiet", "--amend", "--message", "Rewritten"]).await;
    let told = git_refused(&work, &["push", "--force", "origin", "main"]).await;
    assert!(told.contains("its history cannot be rewritten"), "{told}");
    let told = git_refused(&work, &["push", "origin", "--delete", "main"]).await;
    assert!(told.contains("cannot be deleted"), "{told}");

    // Elsewhere both are fine, and the ledger says that history was rewritten.
    git_ok(&work, &["push", "--quiet", "origin", "HEAD:topic"]).await;
    git_ok(&work, &["commit", "--quiet", "--amend", "--message", "Once more"]).await;
    git_ok(&work, &["push", "--quiet", "--force", "origin", "HEAD:topic"]).await;
    assert!(server.facts::<BranchUpdated>().await.pop().unwrap().1.forced);
    git_ok(&work, &["push", "--quiet", "origin", "--delete", "topic"]).await;
    assert_eq!(server.facts::<BranchUpdated>().await.pop().unwrap().1.after, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_tag_is_made_by_a_developer_and_stays() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let commit_id = git_ok(&work, &["rev-parse", "HEAD"]).await;
    git_ok(
        &work,
        &["remote", "set-url", "origin", &server.address("developer", "web")],
    )
    .await;
    git_ok(&work, &["tag", "--annotate", "--message", "First", "v1.0.0"]).await;
    git_ok(&work, &["push", "--quiet", "origin", "v1.0.0"]).await;
    let tag = server.facts::<TagUpdated>().await.pop().unwrap().1;
    assert_eq!((tag.tag.as_str(), tag.after), ("v1.0.0", Some(commit_id)));

    commit(&work, "Later").await;
    git_ok(
        &work,
        &["tag", "--force", "--annotate", "--message", "Moved", "v1.0.0"],
    )
    .await;
    let told = git_refused(&work, &["push", "--force", "origin", "v1.0.0"]).await;
    assert!(
        told.contains("The version tag `v1.0.0` cannot be moved by you."),
        "{told}"
    );
    let told = git_refused(&work, &["push", "origin", "HEAD:refs/remotes/origin/x"]).await;
    assert!(told.contains("cannot be pushed here"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_told_what_pushing_needs_and_a_full_disk_is_told_of_before_the_upload() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    commit(&work, "More").await;
    git_ok(
        &work,
        &["remote", "set-url", "origin", &server.address("reporter", "web")],
    )
    .await;
    let told = git_refused(&work, &["push", "origin", "HEAD:x"]).await;
    assert!(
        told.contains("403") && told.contains("remote: You may not push to this project."),
        "{told}"
    );

    let full = Server::start_with(|config| config.keep_free = u64::MAX).await;
    full.project("web").await;
    git_ok(
        &work,
        &["remote", "set-url", "origin", &full.address("owner", "web")],
    )
    .await;
    let told = git_refused(&work, &["push", "origin", "main"]).await;
    assert!(
        told.contains("The server's disk is full; nothing was stored."),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_project_takes_the_branch_that_comes_first_as_its_default() {
    let server = Server::start().await;
    server.project("old").await;
    let work = server.path("old");
    work_tree(&work, &server.address("maintainer", "old")).await;
    git_ok(&work, &["switch", "--quiet", "--orphan", "master"]).await;
    write(&work, "a", "a\n");
    commit(&work, "Begin").await;
    git_ok(&work, &["push", "--quiet", "origin", "master"]).await;
    let project = server.forge.find("acme", "old").await.unwrap().unwrap();
    assert_eq!(project.default_branch, "master");
    assert!(server.facts::<BranchUpdated>().await[0].1.default);
    assert!(
        server
            .forge
            .is_protected(project.id, "master", false)
            .await
            .unwrap()
    );
    git_ok(
        server.dir.path(),
        &["clone", "--quiet", &server.address("reporter", "old"), "copy"],
    )
    .await;
    assert!(server.path("copy/a").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_history_starts_a_pipeline_of_the_trunk_alone() {
    let server = Server::start().await;
    server.project("web").await;
    let work = server.path("history");
    work_tree(&work, &server.address("maintainer", "web")).await;
    commit(&work, "First").await;
    for n in 0..5 {
        git_ok(&work, &["branch", &format!("old-{n}")]).await;
    }
    let told = git(&work, &["push", "origin", "--all"]).await;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        told.status.success() && text.contains("No pipeline runs for 5 of these"),
        "{text}"
    );
    let facts = server.facts::<BranchUpdated>().await;
    let running: Vec<&str> = facts
        .iter()
        .filter(|(_, fact)| !fact.ci_skip)
        .map(|(_, fact)| fact.branch.as_str())
        .collect();
    assert_eq!(running, ["main"]);
    // A few have each their own.
    git_ok(&work, &["push", "--quiet", "origin", "main:new-1", "main:new-2"]).await;
    let facts = server.facts::<BranchUpdated>().await;
    assert!(
        facts
            .iter()
            .filter(|(_, fact)| fact.branch.starts_with("new"))
            .all(|(_, fact)| !fact.ci_skip)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_tag_is_protected_where_the_trunk_stood_at_its_commit() {
    let server = Server::start().await;
    let (project, work) = server.seeded("web").await;
    git_ok(
        &work,
        &["remote", "set-url", "origin", &server.address("developer", "web")],
    )
    .await;
    git_ok(&work, &["tag", "--annotate", "--message", "First", "v1.0.0"]).await;
    git_ok(&work, &["tag", "nightly"]).await;
    git_ok(&work, &["switch", "--quiet", "--create", "mine"]).await;
    write(&work, ".gitlab-ci.yml", "a: {script: env}\n");
    commit(&work, "Nobody has seen this").await;
    git_ok(&work, &["tag", "v1.0.1"]).await;
    git_ok(&work, &["push", "--quiet", "origin", "mine", "--tags"]).await;
    let protected = async |tag: &str| server.forge.is_protected(project.id, tag, true).await.unwrap();
    assert!(protected("v1.0.0").await);
    assert!(!protected("nightly").await, "no version");
    assert!(!protected("v1.0.1").await, "only a branch that anyone pushes to");
    assert!(!protected("v2.0.0").await, "there is none");
    git_ok(
        &work,
        &[
            "push",
            "--quiet",
            &server.address("maintainer", "web"),
            "mine:main",
        ],
    )
    .await;
    assert!(protected("v1.0.1").await, "the trunk has it now");
    // What is only a step on the way to what the trunk has was never looked at by itself.
    write(&work, ".gitlab-ci.yml", "steal: {script: env}\n");
    commit(&work, "A step").await;
    let step = git_ok(&work, &["rev-parse", "HEAD"]).await;
    write(&work, ".gitlab-ci.yml", "a: {script: env}\n");
    commit(&work, "And back").await;
    let maintainer = server.address("maintainer", "web");
    git_ok(&work, &["push", "--quiet", &maintainer, "mine:main"]).await;
    git_ok(&work, &["tag", "v1.0.2", &step]).await;
    git_ok(&work, &["push", "--quiet", "origin", "v1.0.2"]).await;
    assert!(!protected("v1.0.2").await, "a step on the way");
    git_ok(&work, &["tag", "v1.0.3", &step]).await;
    git_ok(&work, &["push", "--quiet", &maintainer, "v1.0.3"]).await;
    assert!(protected("v1.0.3").await, "made by who may push to the trunk");
    // The trunk goes on, and a version of before is still one.
    assert!(protected("v1.0.1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_larger_than_any_buffer_go_both_ways() {
    let server = Server::start().await;
    let (_, work) = server.seeded("big").await;
    let mut bytes = Vec::with_capacity(48 << 20);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while bytes.len() < 48 << 20 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    std::fs::write(work.join("big.bin"), &bytes).unwrap();
    commit(&work, "Add a large file").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    git_ok(
        server.dir.path(),
        &["clone", "--quiet", &server.address("reporter", "big"), "copy"],
    )
    .await;
    assert!(std::fs::read(server.path("copy/big.bin")).unwrap() == bytes);
    let raw = server.get("reporter", "/acme/big/-/raw/main/big.bin").await;
    assert_eq!(raw.headers()["content-length"], bytes.len().to_string());
    assert!(raw.bytes().await.unwrap() == bytes);
    assert!(
        server
            .page("reporter", "/acme/big/-/blob/main/big.bin")
            .await
            .contains("too large to be shown")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_at_the_same_time_all_arrive_with_their_facts() {
    let server = Server::start().await;
    let (project, work) = server.seeded("busy").await;
    let mut tasks = Vec::new();
    for n in 0..6 {
        let (work, address) = (work.clone(), server.address("developer", "busy"));
        tasks.push(tokio::spawn(async move {
            git_ok(
                &work,
                &["push", "--quiet", &address, &format!("HEAD:refs/heads/topic-{n}")],
            )
            .await
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut branches: Vec<_> = server
        .facts::<BranchUpdated>()
        .await
        .into_iter()
        .map(|(_, fact)| fact.branch)
        .collect();
    branches.sort();
    assert_eq!(
        branches,
        [
            "main", "topic-0", "topic-1", "topic-2", "topic-3", "topic-4", "topic-5"
        ]
    );
    let refs = git_ok(
        &server.repository(&project),
        &["for-each-ref", "--format=%(refname)", "refs/heads"],
    )
    .await;
    assert_eq!(refs.lines().count(), 7);
}

/// Reads the folder `sites/` of every project and takes no file that says so.
struct Picky;

#[async_trait]
impl Keeper for Picky {
    async fn folder(&self, _: ProjectId) -> Result<Option<String>, Problem> {
        Ok(Some("sites/".to_owned()))
    }
    async fn judge(&self, _: ProjectId, files: Vec<(String, Vec<u8>)>) -> Result<Option<String>, Problem> {
        let wrong = files.iter().find(|(_, bytes)| bytes == b"wrong\n");
        Ok(wrong.map(|(path, _)| format!("{path}: it is \u{1b}[31mwrong")))
    }
    async fn notice(&self, _: ProjectId) -> Result<Option<String>, Problem> {
        Ok(Some("sites/ is not in force".to_owned()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_acts_on_files_has_a_word_at_the_push_and_refuses_nothing() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let push = async || {
        let pushed = crate::fixture::git(&work, &["push", "origin", "HEAD"]).await;
        let said = String::from_utf8_lossy(&pushed.stderr).into_owned();
        assert!(pushed.status.success(), "{said}");
        said
    };
    write(&work, "sites/a.yaml", "wrong\n");
    commit(&work, "Before anybody reads it").await;
    assert!(!push().await.contains("warning"));
    server.forge.set_keeper(Arc::new(Picky));
    write(&work, "sites/deeper/b.yaml", "wrong\n");
    write(&work, "sites/a.yaml", "right\n");
    commit(&work, "Only what is right in the folder counts").await;
    assert!(!push().await.contains("warning"));
    write(&work, "sites/a.yaml", "wrong\n");
    write(&work, "sites/c.yaml", "right\n");
    commit(&work, "Wrong").await;
    let said = push().await;
    assert!(said.contains("warning: sites/a.yaml: it is"), "{said}");
    assert!(!said.contains('\u{1b}'), "nothing steers the terminal: {said:?}");
    // Another branch than the default one is nobody's concern.
    git_ok(&work, &["switch", "--quiet", "-c", "topic"]).await;
    write(&work, "sites/d.yaml", "wrong\n");
    commit(&work, "Elsewhere").await;
    assert!(!push().await.contains("warning"));
    assert_eq!(server.db_count("SELECT COUNT(*) AS n FROM push_intent").await, 0);
}
