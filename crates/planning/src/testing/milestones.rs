//! Milestones.

use super::*;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_milestone_fills_and_is_closed() {
    let world = World::new().await;
    let new = json!({ "title": "1.0", "starts_on": "2024-07-04", "due_on": "2024-07-06", "description": "The **first**" });
    world.ok("reporter", "POST", "app/milestones", &new).await;
    assert_eq!(
        world
            .no("reporter", "POST", "app/milestones", &json!({ "title": "1.0" }))
            .await
            .0,
        409
    );
    let back = json!({ "title": "x", "starts_on": "2024-07-06", "due_on": "2024-07-04" });
    assert_eq!(
        world.no("reporter", "POST", "app/milestones", &back).await.1,
        "bad_day"
    );
    assert_eq!(
        world
            .no("guest", "POST", "app/milestones", &json!({ "title": "y" }))
            .await
            .0,
        403
    );
    for title in ["a", "b"] {
        world
            .ok(
                "reporter",
                "POST",
                "app/issues",
                &json!({ "title": title, "milestone": "1.0" }),
            )
            .await;
    }
    world.clock.advance(Duration::from_secs(86_400));
    world
        .ok("reporter", "POST", "app/issues", &json!({ "title": "c" }))
        .await;
    world
        .ok(
            "reporter",
            "PATCH",
            "app/issues/3",
            &json!({ "milestone": "1.0" }),
        )
        .await;
    world
        .ok("reporter", "POST", "app/issues/1/close", &Value::Null)
        .await;
    world.clock.advance(Duration::from_secs(2 * 86_400));
    let found = world.ok("guest", "GET", "app/milestones/1", &Value::Null).await;
    assert_eq!(
        (found["total"].as_i64(), found["closed"].as_i64()),
        (Some(3), Some(1))
    );
    let days: Vec<(i64, i64)> = found["burn_up"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| (day["scope"].as_i64().unwrap(), day["done"].as_i64().unwrap()))
        .collect();
    assert_eq!(days, [(2, 0), (3, 1), (3, 1), (3, 1)]);
    let html = world.page("guest", "/ward/app/-/milestones/1").await;
    for part in [
        "<svg class=\"burnup\"",
        "class=\"due\"",
        ">late<",
        "<strong>first</strong>",
        "1 of 3 issues are done",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert_eq!(
        world
            .form("reporter", "/ward/app/-/milestones/1", "state=closed")
            .await,
        StatusCode::SEE_OTHER
    );
    let found = world.ok("guest", "GET", "app/milestones", &Value::Null).await;
    assert_eq!(found["items"][0]["state"], "closed");
    assert!(
        !world
            .page("reporter", "/ward/app/-/issues/new")
            .await
            .contains("<option>1.0</option>")
    );
    world
        .ok(
            "reporter",
            "PATCH",
            "app/milestones/1",
            &json!({ "state": "open", "due_on": "" }),
        )
        .await;
    assert_eq!(
        world.ok("guest", "GET", "app/milestones/1", &Value::Null).await["due_on"],
        Value::Null
    );
}

#[tokio::test]
async fn a_groups_milestone_gathers_its_projects() {
    let world = World::new().await;
    let group = "/api/v1/groups/ward/milestones";
    world
        .ok("reporter", "POST", group, &json!({ "title": "Audit" }))
        .await;
    assert_eq!(
        world
            .no("stranger", "POST", group, &json!({ "title": "x" }))
            .await
            .0,
        403
    );
    for project in ["app", "lab"] {
        world
            .ok(
                "reporter",
                "POST",
                &format!("{project}/issues"),
                &json!({ "title": project, "milestone": "Audit" }),
            )
            .await;
    }
    let found = world
        .ok("guest", "GET", &format!("{group}/1"), &Value::Null)
        .await;
    let projects: Vec<&str> = found["issues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|issue| issue["project"].as_str().unwrap())
        .collect();
    assert_eq!(projects, ["ward/app", "ward/lab"]);
    assert!(
        world
            .page("guest", "/ward/-/milestones/1")
            .await
            .contains("0 of 2 issues are done")
    );
    let of_project = world.ok("guest", "GET", "app/milestones", &Value::Null).await;
    assert_eq!(
        (
            of_project["items"][0]["group"].as_bool(),
            of_project["items"][0]["total"].as_i64()
        ),
        (Some(true), Some(1))
    );
    assert_eq!(
        world
            .no("reporter", "GET", "app/milestones/1", &Value::Null)
            .await
            .0,
        404,
        "it is the group's"
    );
}
