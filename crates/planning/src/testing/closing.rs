//! What reaches the default branch closes issues.

use super::*;
use serde_json::json;

/// A merged request, as the forge tells of it; the fact itself is the forge's.
#[derive(serde::Serialize, serde::Deserialize)]
struct Merged {
    project: ProjectId,
    iid: i64,
    target_branch: String,
    closes: Vec<i64>,
}

impl Fact for Merged {
    const KIND: &'static str = "merge_request.merged";
    fn project(&self) -> Option<ProjectId> {
        Some(self.project)
    }
    fn subject(&self) -> String {
        "merge_request:1".to_owned()
    }
    fn summary(&self) -> String {
        "merged".to_owned()
    }
}

async fn state(world: &World, path: &str) -> (String, String) {
    let issue = world.ok("reporter", "GET", path, &Value::Null).await;
    let how = issue["closed_how"].as_str().unwrap_or_default().to_owned();
    (issue["state"].as_str().unwrap().to_owned(), how)
}

#[tokio::test]
async fn commits_close_issues_once() {
    let world = World::new().await;
    for title in ["one", "two", "three"] {
        world.issue(title).await;
    }
    world
        .ok("developer", "POST", "lab/issues", &json!({ "title": "lab" }))
        .await;
    let fact = world
        .push(
            "developer",
            &[
                "Mend it\n\nCloses #1, #2",
                "Fixes ward/lab#1",
                "See #3, fixes #99, closes other/secret#1",
            ],
        )
        .await;
    let (stands, how) = state(&world, "app/issues/1").await;
    assert_eq!(stands, "closed");
    assert!(how.starts_with("commit "), "{how}");
    assert_eq!(state(&world, "app/issues/2").await.0, "closed");
    assert_eq!(state(&world, "app/issues/3").await.0, "open");
    assert_eq!(state(&world, "lab/issues/1").await.0, "closed");
    // The same fact again leaves alone what was opened again since.
    world
        .ok("reporter", "POST", "app/issues/1/reopen", &Value::Null)
        .await;
    world.tell("developer", &fact).await;
    assert_eq!(state(&world, "app/issues/1").await.0, "open");
    let closed = world
        .kinds()
        .await
        .into_iter()
        .filter(|kind| kind == "issue.closed")
        .count();
    assert_eq!(closed, 3);
    // Who closed it is who pushed.
    let issue = world.ok("reporter", "GET", "app/issues/2", &Value::Null).await;
    assert_eq!(issue["closed_by"], "developer");
}

#[tokio::test]
async fn another_projects_issues_are_closed_by_who_may_edit_them_there() {
    let world = World::new().await;
    world
        .ok("developer", "POST", "lab/issues", &json!({ "title": "lab" }))
        .await;
    world.push("stranger", &["Closes ward/lab#1"]).await;
    assert_eq!(state(&world, "lab/issues/1").await.0, "open");
    world.push("reporter", &["Closes ward/lab#1"]).await;
    assert_eq!(state(&world, "lab/issues/1").await.0, "closed");
}

#[tokio::test]
async fn only_the_default_branch_closes() {
    let world = World::new().await;
    world.issue("one").await;
    let pushed = world.push("developer", &["See nothing"]).await;
    world
        .code
        .0
        .lock()
        .unwrap()
        .insert(pushed.commits[0].sha.clone(), "Closes #1".to_owned());
    world
        .tell(
            "developer",
            &BranchUpdated {
                default: false,
                branch: "topic".to_owned(),
                ..pushed.clone()
            },
        )
        .await;
    assert_eq!(state(&world, "app/issues/1").await.0, "open");
    world
        .tell(
            "developer",
            &BranchUpdated {
                after: None,
                ..pushed.clone()
            },
        )
        .await;
    assert_eq!(state(&world, "app/issues/1").await.0, "open");
    world.tell("developer", &pushed).await;
    assert_eq!(state(&world, "app/issues/1").await.0, "closed");
}

#[tokio::test]
async fn merge_requests_close_issues() {
    let world = World::new().await;
    world.issue("one").await;
    let fact = |target: &str, iid| Merged {
        project: world.places.app,
        iid,
        target_branch: target.to_owned(),
        closes: vec![1, 99],
    };
    world.tell("developer", &fact("release", 6)).await;
    assert_eq!(state(&world, "app/issues/1").await.0, "open");
    world.tell("developer", &fact("main", 7)).await;
    assert_eq!(
        state(&world, "app/issues/1").await,
        ("closed".to_owned(), "merge request 7".to_owned())
    );
}

#[tokio::test]
async fn a_deleted_project_leaves_nothing_and_its_late_facts_harm_nothing() {
    let world = World::new().await;
    world.issue("one").await;
    world
        .ok(
            "reporter",
            "PATCH",
            "app/issues/1",
            &json!({ "labels": ["type::bug"], "assignees": ["developer"] }),
        )
        .await;
    world
        .ok(
            "reporter",
            "POST",
            "app/issues/1/comments",
            &json!({ "body": "x" }),
        )
        .await;
    world
        .ok("reporter", "POST", "app/milestones", &json!({ "title": "m" }))
        .await;
    world
        .ok("reporter", "PATCH", "app/issues/1", &json!({ "milestone": "m" }))
        .await;
    let gone = bascule_ledger::facts::forge::ProjectDeleted {
        project: world.places.app,
        path: "ward/app".to_owned(),
    };
    world.tell("owner", &gone).await;
    let left = bascule_store::Query::count(&world.db, "SELECT COUNT(*) AS n FROM issue", vec![])
        .await
        .unwrap();
    assert_eq!(left, 0);
    world.push("developer", &["Closes #1"]).await;
}
