//! Confidential issues: seen by members from reporter up, by their author, by their assignees, and by nobody else,
//! nowhere.

use super::*;
use serde_json::json;

#[tokio::test]
async fn who_may_not_see_it_finds_it_nowhere() {
    let world = World::new().await;
    let new = json!({ "title": "Hole in the wall", "description": "hidden words", "confidential": true, "labels": ["type::bug"] });
    world.ok("reporter", "POST", "app/issues", &new).await;
    world.issue("Plain").await;
    world
        .ok("reporter", "POST", "app/milestones", &json!({ "title": "1.0" }))
        .await;
    world
        .ok(
            "reporter",
            "PATCH",
            "app/issues/1",
            &json!({ "milestone": "1.0" }),
        )
        .await;
    for who in ["reporter", "developer", "owner", "auditor", "admin"] {
        world.ok(who, "GET", "app/issues/1", &Value::Null).await;
    }
    for who in ["guest", "stranger"] {
        assert_eq!(
            world.no(who, "GET", "app/issues/1", &Value::Null).await.0,
            404,
            "{who}"
        );
        assert_eq!(
            world
                .no(who, "POST", "app/issues/1/comments", &json!({ "body": "x" }))
                .await
                .0,
            404,
            "{who}"
        );
        let scope = ports::Projects::find(&*world.places, &world.crowd.caller(who), "ward/app")
            .await
            .unwrap()
            .unwrap();
        assert!(
            !world
                .planning
                .may_see(&world.crowd.caller(who), &scope, 1)
                .await
                .unwrap()
        );
        for page in [
            "/ward/app/-/issues?state=all",
            "/ward/app/-/issues?state=all&search=hidden",
            "/ward/app/-/board",
            "/ward/-/board",
            "/ward/-/issues?state=all",
            "/ward/app/-/milestones/1",
            "/ward/app/-/issues/export",
        ] {
            let html = world.page(who, page).await;
            assert!(
                !html.contains("Hole in the wall") && !html.contains("hidden words"),
                "{who} {page}"
            );
        }
        let board = world.ok(who, "GET", "app/board", &Value::Null).await;
        assert_eq!(board["columns"][0]["count"], 1, "{who}: not even counted");
        let milestone = world.ok(who, "GET", "app/milestones/1", &Value::Null).await;
        assert_eq!(
            (
                milestone["total"].as_i64(),
                milestone["issues"].as_array().unwrap().len()
            ),
            (Some(0), 0),
            "{who}"
        );
        let moved = world
            .no("guest", "POST", "app/issues/2/move", &json!({ "before": "1" }))
            .await
            .0;
        assert_eq!(moved, 403);
    }
    // Given to a guest, the guest sees it; taken from them, no longer.
    world
        .ok(
            "reporter",
            "PATCH",
            "app/issues/1",
            &json!({ "assignees": ["guest"] }),
        )
        .await;
    world.ok("guest", "GET", "app/issues/1", &Value::Null).await;
    assert!(
        world
            .page("guest", "/ward/app/-/board")
            .await
            .contains("Hole in the wall")
    );
    world
        .ok("reporter", "PATCH", "app/issues/1", &json!({ "assignees": [] }))
        .await;
    assert_eq!(
        world.no("guest", "GET", "app/issues/1", &Value::Null).await.0,
        404
    );
    // Its author sees their own.
    let own = json!({ "title": "My hole", "confidential": true });
    let number = world.ok("guest", "POST", "app/issues", &own).await["number"]
        .as_i64()
        .unwrap();
    world
        .ok("guest", "GET", &format!("app/issues/{number}"), &Value::Null)
        .await;
    assert_eq!(
        world
            .no("stranger", "GET", &format!("app/issues/{number}"), &Value::Null)
            .await
            .0,
        404
    );
    // Nor does the ledger tell: no titles at all, and of these no labels and no names.
    let all = world
        .ledger
        .read(
            &Filter {
                kinds: vec!["issue.*".to_owned()],
                ..Filter::default()
            },
            Page::After { after: 0, limit: 100 },
        )
        .await
        .unwrap();
    for entry in all {
        for word in ["Hole", "hidden", "type::bug", "\"guest\""] {
            assert!(
                !entry.body.contains(word) && !entry.summary.contains(word),
                "{word}: {}",
                entry.body
            );
        }
    }
}

#[tokio::test]
async fn others_are_told_how_an_issue_stands() {
    let world = World::new().await;
    world.issue("Plain").await;
    let stands = world
        .planning
        .issue_state(world.places.app, 1)
        .await
        .unwrap()
        .unwrap();
    assert!(stands.open && !stands.confidential);
    assert_eq!(stands.title, "Plain");
    assert_eq!(
        world.planning.issue_state(world.places.app, 2).await.unwrap(),
        None
    );
}
