//! The board: order, moves, the limit.

use super::*;
use serde_json::json;

#[tokio::test]
async fn order_is_priority() {
    let world = World::new().await;
    for title in ["a", "b", "c"] {
        world.issue(title).await;
    }
    assert_eq!(world.column("open").await, ["a", "b", "c"]);
    world
        .ok("reporter", "POST", "app/issues/3/move", &json!({ "before": "1" }))
        .await;
    assert_eq!(world.column("open").await, ["c", "a", "b"]);
    world
        .ok("reporter", "POST", "app/issues/3/move", &json!({ "after": "#1" }))
        .await;
    assert_eq!(world.column("open").await, ["a", "c", "b"]);
    // A priority label puts an issue above all that are less urgent, and a new one comes in at its place.
    world
        .ok(
            "reporter",
            "PATCH",
            "app/issues/2",
            &json!({ "add_labels": ["priority::high"] }),
        )
        .await;
    assert_eq!(world.column("open").await, ["b", "a", "c"]);
    let new = json!({ "title": "d", "labels": ["priority::critical"] });
    world.ok("reporter", "POST", "app/issues", &new).await;
    let new = json!({ "title": "e", "labels": ["priority::medium"] });
    world.ok("reporter", "POST", "app/issues", &new).await;
    assert_eq!(world.column("open").await, ["d", "b", "e", "a", "c"]);
    // It is not held there: what people drag stays where they put it.
    world
        .ok("reporter", "POST", "app/issues/1/move", &json!({ "before": "4" }))
        .await;
    world
        .ok(
            "reporter",
            "PATCH",
            "app/issues/1",
            &json!({ "add_labels": ["type::bug"] }),
        )
        .await;
    assert_eq!(world.column("open").await, ["a", "d", "b", "e", "c"]);
}

#[tokio::test]
async fn any_number_of_moves_finds_room() {
    let world = World::new().await;
    for title in ["a", "b", "c"] {
        world.issue(title).await;
    }
    // Each move halves the room between two; after some twenty there is none left, and all are spread anew.
    for _ in 0..30 {
        world
            .ok("reporter", "POST", "app/issues/3/move", &json!({ "before": "2" }))
            .await;
        world
            .ok("reporter", "POST", "app/issues/1/move", &json!({ "after": "3" }))
            .await;
        assert_eq!(world.column("open").await, ["c", "a", "b"]);
        world
            .ok("reporter", "POST", "app/issues/3/move", &json!({ "after": "1" }))
            .await;
        assert_eq!(world.column("open").await, ["a", "c", "b"]);
    }
}

#[tokio::test]
async fn the_limit_is_one_issue_for_each_member_who_is_there() {
    let world = World::new().await;
    *world.crowd.roles.lock().unwrap() = vec![
        ("reporter".to_owned(), Role::Reporter),
        ("developer".to_owned(), Role::Developer),
        ("developer2".to_owned(), Role::Developer),
        ("maintainer".to_owned(), Role::Maintainer),
    ];
    for number in 1..=4 {
        world.issue(&format!("issue {number}")).await;
    }
    let doing = json!({ "to": "doing" });
    assert_eq!(
        world.no("admin", "POST", "app/issues/1/move", &doing).await,
        (409, "nobody_assigned".to_owned()),
        "who is no member takes nothing"
    );
    for (number, who) in [
        (1, "developer"),
        (2, "developer2"),
        (3, "maintainer"),
        (4, "developer"),
    ] {
        world
            .ok(
                "reporter",
                "PATCH",
                &format!("app/issues/{number}"),
                &json!({ "assignees": [who] }),
            )
            .await;
    }
    // Someone away is not counted on.
    let away = json!({ "away": true, "until": "2024-07-05" });
    assert_eq!(
        world
            .no("developer", "PUT", "app/board/members/maintainer", &away)
            .await
            .0,
        403
    );
    world
        .ok("maintainer", "PUT", "app/board/members/maintainer", &away)
        .await;
    world.ok("developer", "POST", "app/issues/1/move", &doing).await;
    world.ok("developer", "POST", "app/issues/2/move", &doing).await;
    let (status, json) = world.call("developer", "POST", "app/issues/3/move", &doing).await;
    assert_eq!((status, json["code"].as_str()), (409, Some("wip_limit")));
    assert_eq!(
        json["title"],
        "2 issues are in Doing already, and 2 members are there to work."
    );
    assert_eq!(world.column("doing").await, ["issue 1", "issue 2"]);
    // The day after the last day away, they are back by themselves.
    world.clock.advance(std::time::Duration::from_secs(2 * 86_400));
    world.ok("developer", "POST", "app/issues/3/move", &doing).await;
    assert_eq!(
        world.no("developer", "POST", "app/issues/4/move", &doing).await.1,
        "wip_limit"
    );
    // A project may be warned instead; whoever does too much at once is named.
    assert_eq!(
        world
            .no("developer", "PUT", "app/board", &json!({ "wip": "warn" }))
            .await
            .0,
        403
    );
    world
        .ok("maintainer", "PUT", "app/board", &json!({ "wip": "warn" }))
        .await;
    let moved = world.ok("developer", "POST", "app/issues/4/move", &doing).await;
    let warnings = moved["warnings"].to_string();
    assert!(
        warnings.contains("developer works on #1 already") && warnings.contains("Beyond the limit"),
        "{warnings}"
    );
    let board = world.ok("reporter", "GET", "app/board", &Value::Null).await;
    assert_eq!(
        (board["limit"].as_i64(), board["columns"][2]["count"].as_i64()),
        (Some(3), Some(4))
    );
    // Taken from everyone, it is not being done any more.
    let issue = world
        .ok("reporter", "PATCH", "app/issues/4", &json!({ "assignees": [] }))
        .await;
    assert_eq!(issue["column"], "todo");
}

#[tokio::test]
async fn many_at_once_keep_the_limit() {
    let world = Arc::new(World::new().await);
    *world.crowd.roles.lock().unwrap() = vec![
        ("reporter".to_owned(), Role::Reporter),
        ("developer".to_owned(), Role::Developer),
        ("developer2".to_owned(), Role::Developer),
    ];
    for number in 1..=8 {
        world.issue(&format!("issue {number}")).await;
        world
            .ok(
                "reporter",
                "PATCH",
                &format!("app/issues/{number}"),
                &json!({ "assignees": ["developer"] }),
            )
            .await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=8 {
        let world = world.clone();
        tasks.spawn(async move {
            world
                .call(
                    "developer",
                    "POST",
                    &format!("app/issues/{number}/move"),
                    &json!({ "to": "doing" }),
                )
                .await
                .0
        });
    }
    let mut done = tasks.join_all().await;
    done.sort_unstable();
    assert_eq!(done, [200, 200, 409, 409, 409, 409, 409, 409]);
    assert_eq!(world.column("doing").await.len(), 2);
}

#[tokio::test]
async fn the_board_is_moved_by_forms_and_says_why_not() {
    let world = World::new().await;
    world.issue("first").await;
    world.issue("second").await;
    let html = world.page("reporter", "/ward/app/-/board").await;
    for part in [
        "Move #1 to To do",
        "More important: move #2 up",
        "hx-trigger=\"every 3s\"",
        "/board.js\"",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(!html.contains(" onclick") && !html.contains("<script>"), "{html}");
    assert_eq!(
        world
            .form("reporter", "/ward/app/-/issues/2/move", "view=project&before=1")
            .await,
        StatusCode::SEE_OTHER
    );
    assert_eq!(world.column("open").await, ["second", "first"]);
    assert_eq!(
        world
            .form("admin", "/ward/app/-/issues/1/move", "view=project&to=doing")
            .await,
        StatusCode::CONFLICT
    );
    let kind = "application/x-www-form-urlencoded";
    let (status, html) = world
        .send(
            "admin",
            "POST",
            "/ward/app/-/issues/1/move",
            kind,
            "view=project&to=doing",
            true,
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        html.contains("role=\"alert\"")
            && html.contains("Nobody has issue #1 yet")
            && !html.contains("<html"),
        "{html}"
    );
    let (_, html) = world
        .send(
            "reporter",
            "POST",
            "/ward/app/-/issues/1/move",
            kind,
            "view=project&to=todo",
            true,
        )
        .await;
    assert!(html.contains("Issue 1 is in To do now."), "{html}");
    // A page that has everything is told so.
    let board = world.ok("reporter", "GET", "app/board", &Value::Null).await;
    let same = format!("/ward/app/-/board?version={}", board["version"]);
    assert_eq!(
        world.send("reporter", "GET", &same, "", "", true).await.0,
        StatusCode::NO_CONTENT
    );
    world.issue("third").await;
    assert_eq!(
        world.send("reporter", "GET", &same, "", "", true).await.0,
        StatusCode::OK
    );
    // Guests look on.
    let html = world.page("guest", "/ward/app/-/board").await;
    assert!(html.contains("third") && !html.contains("data-move"), "{html}");
    assert_eq!(
        world.form("guest", "/ward/app/-/issues/1/move", "to=done").await,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn one_order_runs_through_a_group() {
    let world = World::new().await;
    world.issue("app 1").await;
    world
        .ok("reporter", "POST", "lab/issues", &json!({ "title": "lab 1" }))
        .await;
    world.issue("app 2").await;
    let shown = |board: &Value| -> Vec<String> {
        board["columns"][0]["issues"]
            .as_array()
            .unwrap()
            .iter()
            .map(|issue| issue["title"].as_str().unwrap().to_owned())
            .collect()
    };
    let group = "/api/v1/groups/ward/board";
    assert_eq!(
        shown(&world.ok("reporter", "GET", group, &Value::Null).await),
        ["app 1", "lab 1", "app 2"]
    );
    world
        .ok(
            "reporter",
            "POST",
            "app/issues/2/move",
            &json!({ "before": "ward/lab#1" }),
        )
        .await;
    assert_eq!(
        shown(&world.ok("reporter", "GET", group, &Value::Null).await),
        ["app 1", "app 2", "lab 1"]
    );
    let html = world.page("reporter", "/ward/-/board").await;
    assert!(
        html.contains("ward/lab#1") && html.contains("name=\"view\" value=\"group\""),
        "{html}"
    );
    let kind = "application/x-www-form-urlencoded";
    let (_, html) = world
        .send(
            "reporter",
            "POST",
            "/ward/lab/-/issues/1/move",
            kind,
            "view=group&before=ward/app%231",
            true,
        )
        .await;
    assert!(html.contains("ward/app#1"), "{html}");
    assert_eq!(
        shown(&world.ok("reporter", "GET", group, &Value::Null).await),
        ["lab 1", "app 1", "app 2"]
    );
}

#[tokio::test]
async fn who_moves_what_nobody_has_gets_it() {
    let world = World::new().await;
    for number in 1..=7 {
        world.issue(&format!("issue {number}")).await;
    }
    for (number, to) in [(1, "todo"), (2, "doing")] {
        let path = format!("app/issues/{number}/move");
        let moved = world.ok("developer", "POST", &path, &json!({ "to": to })).await;
        assert_eq!(moved["column"], to);
        assert_eq!(moved["assignees"][0], "developer");
    }
    assert!(world.kinds().await.contains(&"issue.assigned".to_owned()));
    // Someone who has it keeps it.
    let moved = world
        .ok(
            "maintainer",
            "POST",
            "app/issues/1/move",
            &json!({ "to": "doing" }),
        )
        .await;
    assert_eq!(moved["assignees"].as_array().unwrap().len(), 1);
    assert_eq!(moved["assignees"][0], "developer");
    assert_eq!(moved["warnings"], json!(["developer works on #2 already."]));
    // However many there are, they are told in one line.
    world
        .ok("maintainer", "PUT", "app/board", &json!({ "wip": "off" }))
        .await;
    for number in 3..=6 {
        let path = format!("app/issues/{number}/move");
        world
            .ok("developer", "POST", &path, &json!({ "to": "doing" }))
            .await;
    }
    let moved = world
        .ok(
            "developer",
            "POST",
            "app/issues/7/move",
            &json!({ "to": "doing" }),
        )
        .await;
    assert_eq!(
        moved["warnings"],
        json!(["developer works on #1, #2, #3 and 3 more already."])
    );
}
