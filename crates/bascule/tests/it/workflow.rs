//! The workflow policy on the real platform: stock git, real issues, the command line.

use crate::{
    BIN,
    product::rows,
    reviews::{PATH, PROJECT, Scene},
};
use bascule_testkit::TestApp;
use serde_json::{Value, json};

impl Scene {
    fn flow(&self, arguments: &[&str]) {
        let all: Vec<&str> = ["flow", "set", PROJECT]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        drop(self.app.cli().ok(&all));
    }

    fn to(&self, who: &str) -> String {
        self.app.remote(PROJECT, &self.tokens[who])
    }

    /// What a push that goes through says to whoever pushes.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.git.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {arguments:?}: {told}");
        told
    }

    fn bypasses(&self) -> Vec<Value> {
        let cli = self.app.cli();
        rows(&cli.json(&["ledger", "list", "--kind", "workflow.bypassed"]))
    }
}

#[tokio::test]
async fn a_missing_issue_is_refused_amended_and_accepted_and_a_warning_lets_through() {
    let scene = Scene::with(&[]).await;
    let to = scene.to("developer");
    let issues = format!("{PATH}/issues");
    for title in ["Say the times", "Something done"] {
        scene
            .ok("developer", "POST", &issues, &json!({ "title": title }))
            .await;
    }
    // A new project only warns.
    scene.git.ok(&["switch", "-q", "-c", "1-times"]);
    scene.git.write("times.txt", "8 to 17\n");
    scene.commit_as("developer", "Say the times");
    let told = scene.said(&["push", &to, "1-times:0-warned"]);
    assert!(told.contains("Warning: No issue is named in"), "{told}");
    scene.flow(&["--rule", "issue_in_commit=refuse"]);
    scene.git.write("times.txt", "8 to 18\n");
    scene.git.ok(&["add", "-A"]);
    scene.git.ok(&["commit", "-q", "--amend", "--no-edit"]);
    let told = scene.git.refused(&["push", &to, "1-times"]);
    for part in [
        "Refused: No issue is named in",
        "every commit names its issue",
        "why:",
        "next: Open an issue if there is none.",
        "a maintainer of demo/p (admin, sre)",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // An issue that is not there, one that is closed, one that is open.
    scene
        .ok("developer", "POST", &format!("{issues}/2/close"), &json!({}))
        .await;
    for (number, through) in [(99, false), (2, false), (1, true)] {
        let message = format!("Say the times (#{number})");
        scene.git.ok(&["commit", "-q", "--amend", "-m", &message]);
        if through {
            scene.git.ok(&["push", "-q", &to, "1-times"]);
        } else {
            let told = scene.git.refused(&["push", &to, "1-times"]);
            assert!(told.contains("no such open issue"), "{told}");
        }
    }
    let refused = rows(
        &scene
            .app
            .cli()
            .json(&["ledger", "list", "--kind", "push.refused"]),
    );
    assert_eq!(refused.len(), 3, "{refused:?}");
}

#[tokio::test]
async fn a_maintainer_lets_through_on_the_record_and_a_developer_does_not() {
    let scene = Scene::with(&[]).await;
    scene.flow(&["--rule", "issue_in_commit=refuse"]);
    scene.git.ok(&["switch", "-q", "-c", "old"]);
    scene.commit_as("developer", "Old history");
    let option = "bascule.bypass=Imported from before the rule";
    let told = scene
        .git
        .refused(&["push", "-o", option, &scene.to("developer"), "old"]);
    assert!(
        told.contains("You may not let it through.") && told.contains("sre"),
        "{told}"
    );
    assert_eq!(scene.bypasses().len(), 0);
    let told = scene.said(&["push", "-o", option, &scene.to("sre"), "old"]);
    assert!(told.contains("Let through as asked, and recorded"), "{told}");
    let facts = scene.bypasses();
    let text = facts[0].to_string();
    assert_eq!(facts.len(), 1);
    for part in ["sre", "issue_in_commit", "Imported from before the rule"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A secret in a commit is told by its place alone.
    let secret = ["glpat", "-abcdefghij0123456789"].concat();
    scene.git.write(
        "deploy.sh",
        &format!("#!/bin/sh\ncurl -H 'PRIVATE-TOKEN: {secret}'\n"),
    );
    scene.commit_as("developer", "Deploy #1");
    let told = scene.git.refused(&["push", &scene.to("developer"), "old"]);
    assert!(
        told.contains("a GitLab token in deploy.sh line 2") && !told.contains(&secret),
        "{told}"
    );
}

#[tokio::test]
async fn gitflow_holds_a_merge_for_everyone_and_a_release_stands_on_the_trunk() {
    let scene = Scene::on(
        TestApp::start(BIN),
        &[("package.json", "{\"version\": \"1.0.0\"}\n")],
    )
    .await;
    scene.flow(&["--flow", "gitflow", "--rule", "release_from_trunk=refuse"]);
    scene.push("developer", "feature/1-a", &[("a.txt", "a\n")]);
    let request = scene.open("feature/1-a").await;
    let check = scene.check(&request, "merge_target").await.unwrap();
    assert_eq!(check["state"], "failed", "{check}");
    for who in ["sre", "admin"] {
        let told = scene.refused(who, &format!("{request}/merge"), &json!({})).await;
        assert_eq!(told, "held_by_merge_target");
    }
    let iid = request.rsplit('/').next().unwrap();
    let cli = scene.app.cli();
    let output = cli.run(&["mr", "merge", iid, "--project", PROJECT]);
    assert_eq!(output.status.code(), Some(3), "refused by a rule");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("Change the request's target to `develop`."),
        "{told}"
    );
    let page = scene
        .app
        .page(&format!("/{PROJECT}/-/merge-requests/{iid}"))
        .await;
    page.shows("main", "is not merged into");
    // A tag off the trunk, then one whose manifest says something else.
    let to = scene.to("sre");
    scene.git.ok(&["tag", "1.0.0"]);
    let told = scene.git.refused(&["push", &to, "1.0.0"]);
    assert!(told.contains("The commit of `1.0.0` is not on `main`."), "{told}");
    scene.git.ok(&["tag", "2.0.0", "main"]);
    let told = scene.git.refused(&["push", &to, "2.0.0"]);
    assert!(
        told.contains("Lift the version in package.json to 2.0.0"),
        "{told}"
    );
    scene.git.ok(&["push", "-q", &to, "main:refs/tags/v1.0.0"]);
    // With a reason, by the command line.
    let merged = cli.json(&[
        "mr",
        "merge",
        iid,
        "--project",
        PROJECT,
        "--bypass",
        "The outage cannot wait",
    ]);
    assert_eq!(merged["state"], "merged", "{merged}");
    assert_eq!(scene.bypasses().len(), 1);
    let shown = cli.ok(&["flow", "show", PROJECT]);
    assert!(
        shown.contains("Gitflow") && shown.contains("release_from_trunk"),
        "{shown}"
    );
}
