//! The workflow policy, as stock git and people meet it.

use crate::fixture::{GROUP, Server, commit, git, git_ok, git_refused, work_tree, write};
use async_trait::async_trait;
use bascule_core::{Problem, ProjectId};
use bascule_forge::ports::{Issues, Signers};
use bascule_ledger::facts::{
    forge::{ProjectChanged, PushRefused},
    workflow::{GroupWorkflowChanged, WorkflowBypassed},
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Issues 1 to 9 are open.
struct Nine;

#[async_trait]
impl Issues for Nine {
    async fn open(&self, _: ProjectId, numbers: &[i64]) -> Result<HashSet<i64>, Problem> {
        Ok(numbers.iter().copied().filter(|number| *number < 10).collect())
    }
}

/// One key is somebody's.
struct OneKey(String);

#[async_trait]
impl Signers for OneKey {
    async fn addresses(&self, keys: &[String]) -> Result<Vec<(String, String)>, Problem> {
        let known = keys.iter().filter(|key| **key == self.0);
        Ok(known
            .map(|key| (key.clone(), "ada@example.org".to_owned()))
            .collect())
    }
}

/// A project with rules, and a working copy that pushes as a developer.
async fn with(server: &Server, change: Value) -> PathBuf {
    server.forge.set_issues(Arc::new(Nine));
    let (_, work) = server.seeded("web").await;
    server.ok("maintainer", "PATCH", "web/workflow", change).await;
    as_role(server, &work, "developer").await;
    work
}

async fn as_role(server: &Server, work: &Path, role: &str) {
    git_ok(
        work,
        &["remote", "set-url", "origin", &server.address(role, "web")],
    )
    .await;
}

fn rule(name: &str, level: &str) -> Value {
    json!({ "levels": { name: level } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_asks_what_its_parent_asks() {
    let server = Server::start().await;
    with(&server, rule("issue_in_commit", "refuse")).await;
    let new = json!({ "group": "acme", "name": "copy" });
    server.ok("developer", "POST", "web/forks", new).await;
    let rules = server.ok("developer", "GET", "copy/workflow", Value::Null).await;
    let asked = rules["rules"].as_array().unwrap();
    let asked = asked.iter().find(|one| one["rule"] == "issue_in_commit").unwrap();
    assert_eq!(asked["level"], "refuse", "{rules}");
}

/// What a push that goes through says.
async fn said(work: &Path, arguments: &[&str]) -> String {
    let output = git(work, arguments).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_issue_is_refused_and_goes_through_once_amended() {
    let server = Server::start().await;
    let work = with(&server, rule("issue_in_commit", "refuse")).await;
    git_ok(&work, &["switch", "--quiet", "--create", "3-times"]).await;
    write(&work, "times.txt", "8 to 17\n");
    commit(&work, "Say the times").await;
    let told = git_refused(&work, &["push", "origin", "3-times"]).await;
    for part in [
        "Refused: No issue is named in",
        "“Say the times”. Rule: every commit names its issue.",
        "why:  An issue says what a change is for",
        "next: Open an issue if there is none. `git commit --amend`",
        "a maintainer of acme/web",
        "Nothing was changed",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let refused = server.facts::<PushRefused>().await;
    assert_eq!(refused[0].1.rule, "issue_in_commit");
    for (message, through) in [
        ("Say the times #12", false),
        ("Say the times, see other/project#12", true),
        ("Say the times #3", true),
    ] {
        git_ok(&work, &["commit", "--quiet", "--amend", "--message", message]).await;
        if through {
            git_ok(&work, &["push", "--quiet", "--force", "origin", "3-times"]).await;
        } else {
            let told = git_refused(&work, &["push", "origin", "3-times"]).await;
            assert!(told.contains("no such open issue"), "{told}");
        }
    }
    // What the project has already is not judged again, whatever new name it gets.
    git_ok(&work, &["push", "--quiet", "origin", "main:copy"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_said_and_lets_through() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    as_role(&server, &work, "developer").await;
    git_ok(&work, &["switch", "--quiet", "--create", "topic"]).await;
    commit(&work, "Mend it").await;
    let told = said(&work, &["push", "--quiet", "origin", "topic"]).await;
    assert!(told.contains("Warning: No issue is named in"), "{told}");
    assert!(told.contains("why:") && told.contains("next:"), "{told}");
    server
        .ok("maintainer", "PATCH", "web/workflow", json!({ "flow": "github" }))
        .await;
    commit(&work, "Mend more").await;
    let told = said(&work, &["push", "--quiet", "origin", "topic"]).await;
    assert!(!told.contains("Warning"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintainer_lets_through_with_a_reason_and_nobody_else_does() {
    let server = Server::start().await;
    let work = with(&server, rule("issue_in_commit", "refuse")).await;
    git_ok(&work, &["switch", "--quiet", "--create", "3-old"]).await;
    commit(&work, "Old history").await;
    let option = "bascule.bypass=Imported from before the rule";
    let told = git_refused(&work, &["push", "-o", option, "origin", "3-old"]).await;
    assert!(
        told.contains("You may not let it through.")
            && told.contains("a maintainer of acme/web (")
            && told.contains("maintainer"),
        "{told}"
    );
    // Nobody answers for what a program lets through, whatever its role.
    as_role(&server, &work, "owner-bot").await;
    let told = git_refused(&work, &["push", "-o", option, "origin", "3-old"]).await;
    assert!(told.contains("You may not let it through."), "{told}");
    as_role(&server, &work, "maintainer").await;
    let told = git_refused(&work, &["push", "origin", "3-old"]).await;
    assert!(told.contains("git push -o bascule.bypass"), "{told}");
    let told = git_refused(&work, &["push", "-o", "bascule.bypass=", "origin", "3-old"]).await;
    assert!(told.contains("A reason has 5 to 300 characters."), "{told}");
    assert!(server.facts::<WorkflowBypassed>().await.is_empty());
    let told = said(&work, &["push", "-o", option, "origin", "3-old"]).await;
    assert!(
        told.contains("Let through as asked, and recorded: issue_in_commit."),
        "{told}"
    );
    let facts = server.facts::<WorkflowBypassed>().await;
    let (entry, fact) = &facts[0];
    assert_eq!(
        (
            fact.rules.as_slice(),
            fact.reason.as_str(),
            entry.actor.name.as_str()
        ),
        (
            ["issue_in_commit".to_owned()].as_slice(),
            "Imported from before the rule",
            "maintainer"
        )
    );
    assert_eq!(fact.references, ["refs/heads/3-old"]);
    // Where nothing is broken there is nothing to record.
    git_ok(&work, &["push", "-o", option, "origin", "main:more"]).await;
    assert_eq!(server.facts::<WorkflowBypassed>().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_refused_by_file_and_line_and_never_shown() {
    secrets_are_refused(0).await;
}

/// git keeps a large push as one pack, which is looked through file by file first.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_large_push_is_refused_by_file_and_line_too() {
    secrets_are_refused(150).await;
}

/// Among so many files without any.
async fn secrets_are_refused(among: usize) {
    let server = Server::start().await;
    let work = with(&server, json!({ "flow": "github" })).await;
    if among > 0 {
        git_ok(&work, &["switch", "--quiet", "--create", "clean"]).await;
        fill(&work, "clean", among);
        commit(&work, "Nothing secret").await;
        git_ok(&work, &["push", "--quiet", "origin", "clean"]).await;
        git_ok(&work, &["switch", "--quiet", "-"]).await;
    }
    git_ok(&work, &["switch", "--quiet", "--create", "topic"]).await;
    fill(&work, "files", among);
    let secret = ["AKIA", "IOSFODNN7ABCDEFG"].concat();
    write(
        &work,
        "conf/aws.ini",
        &format!("[default]\nregion = x\nkey = {secret}\n"),
    );
    commit(&work, "Configure").await;
    // Taken out by the next commit, it is still in the history.
    write(&work, "conf/aws.ini", "[default]\nregion = x\n");
    commit(&work, "Take it out").await;
    // Neither as a branch nor as a tag; and having been refused does not let it in the second time.
    for to in ["topic", "HEAD:refs/tags/nightly", "topic"] {
        let told = git_refused(&work, &["push", "origin", to]).await;
        assert!(
            told.contains("an AWS access key in conf/aws.ini line 3"),
            "{told}"
        );
        assert!(!told.contains(&secret), "the secret was shown");
    }
    let all = server.facts::<PushRefused>().await;
    assert!(all.iter().all(|(_, fact)| fact.rule == "no_secrets"));
    // A project says what is none.
    let told = git_refused(&work, &["push", "origin", "topic"]).await;
    let fingerprint = told.split("name its fingerprint ").nth(1).unwrap()[..16].to_owned();
    write(
        &work,
        ".bascule/secrets-allowed",
        &format!("{fingerprint} # from the vendor's manual\n"),
    );
    commit(&work, "Say that it is none").await;
    git_ok(&work, &["push", "--quiet", "origin", "topic"]).await;
}

fn fill(work: &Path, folder: &str, files: usize) {
    for number in 0..files {
        write(
            work,
            &format!("{folder}/{number}.txt"),
            &format!("{folder} {number}\n"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_tagged_on_the_trunk_with_its_version_lifted() {
    let server = Server::start().await;
    let work = with(&server, rule("release_from_trunk", "refuse")).await;
    as_role(&server, &work, "maintainer").await;
    git_ok(&work, &["switch", "--quiet", "--create", "topic"]).await;
    write(&work, "package.json", "{\"version\": \"1.0.0\"}\n");
    commit(&work, "Lift #1").await;
    git_ok(&work, &["tag", "--annotate", "v1.0.0", "--message", "One"]).await;
    let told = git_refused(&work, &["push", "origin", "topic", "v1.0.0"]).await;
    assert!(
        told.contains("The commit of `v1.0.0` is not on `main`."),
        "{told}"
    );
    // With the trunk in the same push it is, and names that are no versions are nobody's business.
    git_ok(&work, &["tag", "nightly"]).await;
    git_ok(
        &work,
        &[
            "push",
            "--quiet",
            "origin",
            "topic",
            "nightly",
            "topic:main",
            "v1.0.0",
        ],
    )
    .await;
    git_ok(&work, &["tag", "1.1.0"]).await;
    let told = git_refused(&work, &["push", "origin", "1.1.0"]).await;
    assert!(
        told.contains("`1.1.0` would release what says it is 1.0.0 (package.json)."),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trunk_is_not_merged_into_a_branch_and_a_branch_is_for_one_issue() {
    let server = Server::start().await;
    let levels =
        json!({ "no_trunk_merge": "refuse", "one_branch_one_issue": "refuse", "issue_in_branch": "refuse" });
    let work = with(&server, json!({ "levels": levels })).await;
    git_ok(&work, &["switch", "--quiet", "--create", "3-a"]).await;
    commit(&work, "One #3").await;
    git_ok(&work, &["push", "--quiet", "origin", "3-a"]).await;
    as_role(&server, &work, "maintainer").await;
    git_ok(&work, &["switch", "--quiet", "main"]).await;
    commit(&work, "Meanwhile #1").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    as_role(&server, &work, "developer").await;
    git_ok(&work, &["switch", "--quiet", "3-a"]).await;
    git_ok(&work, &["merge", "--quiet", "--no-edit", "main"]).await;
    let told = git_refused(&work, &["push", "origin", "3-a"]).await;
    assert!(
        told.contains("merges `main` into `3-a`") && told.contains("git rebase origin/main"),
        "{told}"
    );
    git_ok(&work, &["reset", "--quiet", "--hard", "HEAD^1"]).await;
    commit(&work, "Another #4").await;
    let told = git_refused(&work, &["push", "origin", "3-a"]).await;
    assert!(told.contains("for more than one issue: #3, #4"), "{told}");
    let told = git_refused(&work, &["push", "origin", "3-a:topic"]).await;
    assert!(told.contains("carries no issue's number"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_known_key_signed_for_its_committer_is_taken() {
    let server = Server::start().await;
    let work = with(&server, rule("signed_commits", "refuse")).await;
    let key = |name: &str| server.path(name).to_string_lossy().into_owned();
    for name in ["mine", "other"] {
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &key(name)])
            .status()
            .unwrap();
        assert!(made.success());
    }
    let shown = std::process::Command::new("ssh-keygen")
        .args(["-lf", &key("mine")])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let fingerprint = shown.split(' ').nth(1).unwrap().to_owned();
    server.forge.set_signers(Arc::new(OneKey(fingerprint)));
    git_ok(&work, &["switch", "--quiet", "--create", "3-a"]).await;
    commit(&work, "One #3").await;
    let told = git_refused(&work, &["push", "origin", "3-a"]).await;
    assert!(told.contains("is not signed"), "{told}");
    for (name, expected) in [
        ("other", Some("by a key that no account here has")),
        ("mine", None),
    ] {
        let signing = format!("user.signingkey={}", key(name));
        git_ok(
            &work,
            &[
                "-c",
                "gpg.format=ssh",
                "-c",
                &signing,
                "commit",
                "--quiet",
                "--amend",
                "--allow-empty",
                "--no-edit",
                "-S",
            ],
        )
        .await;
        match expected {
            Some(expected) => {
                let told = git_refused(&work, &["push", "origin", "3-a"]).await;
                assert!(told.contains(expected), "{told}");
            }
            None => drop(git_ok(&work, &["push", "--quiet", "origin", "3-a"]).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pushes_is_who_wrote_it_where_that_is_asked_for() {
    let server = Server::start().await;
    let work = with(&server, rule("author_is_pusher", "refuse")).await;
    git_ok(&work, &["switch", "--quiet", "--create", "3-a"]).await;
    commit(&work, "One #3").await;
    let told = git_refused(&work, &["push", "origin", "3-a"]).await;
    assert!(
        told.contains("not your address here") && told.contains("user.email developer@example.org"),
        "{told}"
    );
    git_ok(
        &work,
        &[
            "commit",
            "--quiet",
            "--amend",
            "--allow-empty",
            "--no-edit",
            "--author",
            "D <Developer@example.org>",
        ],
    )
    .await;
    git_ok(&work, &["push", "--quiet", "origin", "3-a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_branches_in_one_push_the_one_that_breaks_a_rule_is_named() {
    let server = Server::start().await;
    let work = with(&server, rule("issue_in_commit", "refuse")).await;
    let mut refspecs = vec!["push".to_owned(), "--quiet".to_owned(), "origin".to_owned()];
    for number in 0..60 {
        let message = if number == 41 {
            "Nothing".to_owned()
        } else {
            format!("For #{}", number % 9 + 1)
        };
        let tree = "HEAD^{tree}";
        let made = git_ok(&work, &["commit-tree", tree, "-p", "HEAD", "-m", &message]).await;
        refspecs.push(format!("{made}:refs/heads/b{number}"));
    }
    let refspecs: Vec<&str> = refspecs.iter().map(String::as_str).collect();
    let told = git_refused(&work, &refspecs).await;
    assert!(
        told.contains("No issue is named in") && told.contains("“Nothing”"),
        "{told}"
    );
    assert_eq!(told.matches("Refused:").count(), 1, "{told}");
    let facts = server.facts::<PushRefused>().await;
    assert_eq!(facts[0].1.reference, "refs/heads/b41");
}

#[tokio::test(flavor = "multi_thread")]
async fn gitflow_merges_where_it_says_and_a_maintainer_around_it_with_a_reason() {
    let server = Server::start().await;
    let work = with(&server, json!({ "flow": "gitflow" })).await;
    server
        .ok(
            "owner",
            "PATCH",
            "web/merge-settings",
            json!({ "developers_merge": true }),
        )
        .await;
    server.branch(&work, "feature/3-a", "a.txt", "one\n").await;
    let iid = server.open_request("web", "feature/3-a").await;
    let path = format!("web/merge-requests/{iid}");
    let shown = server.ok("developer", "GET", &path, Value::Null).await;
    assert_eq!(shown["mergeable"], false, "{shown}");
    let checks = shown["checks"].as_array().unwrap();
    let check = checks
        .iter()
        .find(|check| check["name"] == "merge_target")
        .unwrap();
    assert_eq!(check["state"], "failed");
    for (field, part) in [
        ("what", "In Gitflow `feature/3-a` is not merged into `main`."),
        ("why", "unfinished work"),
        ("next", "Change the request's target to `develop`."),
    ] {
        assert!(check[field].as_str().unwrap().contains(part), "{check}");
    }
    let page = server.page("developer", "/acme/web/-/merge-requests/1").await;
    assert!(
        page.contains("is not merged into") && !page.contains("Merge all the same"),
        "{page}"
    );
    let merge = format!("{path}/merge");
    let (status, told) = server.call("maintainer", "POST", &merge, json!({})).await;
    assert_eq!(
        (status, told["code"].as_str()),
        (409, Some("held_by_merge_target")),
        "{told}"
    );
    // To wait does not help either; and a developer's reason counts for nothing.
    let bypass = json!({ "bypass": "The outage cannot wait" });
    let (status, told) = server.call("developer", "POST", &merge, bypass.clone()).await;
    assert_eq!(
        (status, told["code"].as_str()),
        (403, Some("may_not_bypass")),
        "{told}"
    );
    let (status, told) = server
        .call("maintainer", "POST", &merge, json!({ "bypass": "no" }))
        .await;
    assert_eq!(
        (status, told["code"].as_str()),
        (422, Some("no_reason")),
        "{told}"
    );
    assert!(server.facts::<WorkflowBypassed>().await.is_empty());
    let page = server.page("maintainer", "/acme/web/-/merge-requests/1").await;
    assert!(page.contains("Merge all the same"), "{page}");
    let merged = server.ok("maintainer", "POST", &merge, bypass).await;
    assert_eq!(merged["state"], "merged", "{merged}");
    let (entry, fact) = server.facts::<WorkflowBypassed>().await.remove(0);
    assert_eq!((entry.actor.name.as_str(), fact.iid), ("maintainer", Some(iid)));
    assert_eq!(
        (fact.rules.as_slice(), fact.reason.as_str()),
        (["merge_target".to_owned()].as_slice(), "The outage cannot wait")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_let_by_holds_for_one_head_and_no_other_condition() {
    let server = Server::start().await;
    let work = with(&server, json!({ "flow": "gitflow" })).await;
    server
        .ok("owner", "PATCH", "web/review-settings", json!({ "approvals": 1 }))
        .await;
    server.branch(&work, "feature/3-a", "a.txt", "one\n").await;
    let iid = server.open_request("web", "feature/3-a").await;
    let merge = format!("web/merge-requests/{iid}/merge");
    let bypass = json!({ "bypass": "The outage cannot wait" });
    // It lets by rules, not reviews.
    let (status, told) = server.call("maintainer", "POST", &merge, bypass).await;
    assert_eq!(
        (status, told["code"].as_str()),
        (409, Some("held_by_approvals")),
        "{told}"
    );
    assert!(server.facts::<WorkflowBypassed>().await.is_empty());
    let waits = json!({ "bypass": "The outage cannot wait", "when_checks_pass": true });
    let waiting = server.ok("maintainer", "POST", &merge, waits).await;
    let state = |detail: &Value| {
        let checks = detail["checks"].as_array().unwrap().clone();
        let found = checks.into_iter().find(|check| check["name"] == "merge_target");
        found.unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (waiting["state"].as_str(), state(&waiting)),
        (Some("open"), "passed".to_owned())
    );
    // Other commits are another change.
    write(&work, "b.txt", "two\n");
    commit(&work, "More #3").await;
    git_ok(&work, &["push", "--quiet", "origin", "feature/3-a"]).await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let now = server
        .request_until("web", iid, "the new head", |request| {
            request["head"] == head.as_str()
        })
        .await;
    assert_eq!(state(&now), "failed", "{now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_judged_by_the_project_that_it_asks() {
    let server = Server::start().await;
    let work = with(&server, rule("issue_in_commit", "refuse")).await;
    drop(work);
    server
        .ok(
            "reporter",
            "POST",
            "web/forks",
            json!({ "group": GROUP, "name": "copy" }),
        )
        .await;
    let copy = server.path("copy-work");
    work_tree(&copy, &server.address("developer", "copy")).await;
    git_ok(&copy, &["pull", "--quiet", "origin", "main"]).await;
    git_ok(&copy, &["switch", "--quiet", "--create", "3-topic"]).await;
    write(&copy, "a.txt", "from the fork\n");
    commit(&copy, "From the fork").await;
    // The fork asks for nothing of the kind any more.
    let off = rule("issue_in_commit", "off");
    server.ok("maintainer", "PATCH", "copy/workflow", off).await;
    git_ok(&copy, &["push", "--quiet", "origin", "3-topic"]).await;
    let body = json!({ "source_project": "acme/copy", "source_branch": "3-topic" });
    server.ok("developer", "POST", "web/merge-requests", body).await;
    let (status, told) = server
        .call("maintainer", "POST", "web/merge-requests/1/merge", json!({}))
        .await;
    assert_eq!(
        (status, told["code"].as_str()),
        (409, Some("held_by_issue_in_commit")),
        "{told}"
    );
    git_ok(
        &copy,
        &["commit", "--quiet", "--amend", "--message", "From the fork #3"],
    )
    .await;
    git_ok(&copy, &["push", "--quiet", "--force", "origin", "3-topic"]).await;
    let head = git_ok(&copy, &["rev-parse", "HEAD"]).await;
    server
        .request_until("web", 1, "the new head", |request| {
            request["head"] == head.as_str()
        })
        .await;
    let merged = server
        .ok("maintainer", "POST", "web/merge-requests/1/merge", json!({}))
        .await;
    assert_eq!(merged["state"], "merged");
}

async fn group(server: &Server, who: &str, change: &Value) -> u16 {
    let answer = server
        .http
        .patch(format!("{}/api/v1/groups/{GROUP}/workflow", server.url))
        .basic_auth(who, Some("x"))
        .json(change)
        .send()
        .await
        .unwrap();
    answer.status().as_u16()
}

fn level(workflow: &Value, rule: &str) -> String {
    let rules = workflow["rules"].as_array().unwrap();
    let found = rules.iter().find(|one| one["rule"] == rule).unwrap();
    found["level"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_sets_it_for_its_projects_which_set_it_otherwise_unless_it_is_locked() {
    let server = Server::start().await;
    server.seeded("web").await;
    let get = || server.ok("developer", "GET", "web/workflow", Value::Null);
    assert_eq!(get().await["flow"], "flexible");
    let change = json!({ "flow": "gitlab", "levels": { "issue_in_commit": "refuse" }, "most_lines": 100 });
    assert_eq!(group(&server, "maintainer", &change).await, 403, "owners alone");
    assert_eq!(group(&server, "owner", &change).await, 200);
    let now = get().await;
    assert_eq!(
        (now["flow"].as_str(), now["most_lines"].as_u64()),
        (Some("gitlab"), Some(100))
    );
    assert_eq!(level(&now, "issue_in_commit"), "refuse");
    let own = json!({ "flow": "gitflow", "levels": { "issue_in_commit": "off" } });
    let (status, _) = server
        .call("developer", "PATCH", "web/workflow", own.clone())
        .await;
    assert_eq!(status, 403, "maintainers alone");
    let now = server
        .ok("maintainer", "PATCH", "web/workflow", own.clone())
        .await;
    assert_eq!(
        (level(&now, "issue_in_commit"), level(&now, "merge_target")),
        ("off".to_owned(), "refuse".to_owned())
    );
    let bad = json!({ "levels": { "no_such_rule": "off" } });
    assert_eq!(
        server.call("maintainer", "PATCH", "web/workflow", bad).await.0,
        422
    );
    // The page sets the same, and what is left empty comes from the group.
    let page = server.page("maintainer", "/acme/web/-/settings/workflow").await;
    assert!(
        page.contains("every commit names its issue") && page.contains("as it comes: refuse"),
        "{page}"
    );
    let answer = server
        .http
        .post(format!("{}/acme/web/-/settings/workflow", server.url))
        .basic_auth("maintainer", Some("x"))
        .header("origin", &server.url)
        .form(&[
            ("flow", ""),
            ("rule_issue_in_commit", ""),
            ("rule_change_size", "refuse"),
            ("most_lines", "50"),
        ])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap());
    let now = get().await;
    assert_eq!(
        (now["flow"].as_str(), level(&now, "issue_in_commit")),
        (Some("gitlab"), "refuse".to_owned())
    );
    assert_eq!(
        (level(&now, "change_size"), now["most_lines"].as_u64()),
        ("refuse".to_owned(), Some(50))
    );
    let told: Vec<String> = server
        .facts::<ProjectChanged>()
        .await
        .into_iter()
        .filter(|(_, fact)| fact.setting == "workflow")
        .map(|(_, fact)| fact.value)
        .collect();
    assert_eq!(
        told,
        [
            "Gitflow, issue_in_commit: off",
            "change_size: refuse, at most 50 lines"
        ]
    );
    // Locked, the group's word is the only one.
    assert_eq!(group(&server, "owner", &json!({ "locked": true })).await, 200);
    let now = get().await;
    assert_eq!(
        (now["locked"].as_bool(), now["most_lines"].as_u64()),
        (Some(true), Some(100))
    );
    let (status, told) = server.call("maintainer", "PATCH", "web/workflow", own).await;
    assert_eq!((status, told["code"].as_str()), (403, Some("workflow_locked")));
    let page = server.page("maintainer", "/acme/web/-/settings/workflow").await;
    assert!(page.contains("The group sets this"), "{page}");
    server.page("owner", "/acme/-/workflow").await;
    assert_eq!(server.get("maintainer", "/acme/-/workflow").await.status(), 403);
    assert_eq!(server.facts::<GroupWorkflowChanged>().await.len(), 2);
    // The settings lead to it, and to what reviews need.
    let page = server.page("maintainer", "/acme/web/-/settings").await;
    assert!(page.contains("/acme/web/-/settings/workflow") && page.contains("/acme/web/-/settings/reviews"));
    let page = server.page("owner", "/acme").await;
    assert!(page.contains("/acme/-/workflow"));
}
