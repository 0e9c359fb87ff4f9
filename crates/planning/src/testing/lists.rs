//! Lists: filters, orders, pages.

use super::*;
use serde_json::json;

async fn titles(world: &World, query: &str) -> Vec<String> {
    let found = world
        .ok("reporter", "GET", &format!("app/issues?{query}"), &Value::Null)
        .await;
    found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|issue| issue["title"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn filters_narrow() {
    let world = World::new().await;
    world
        .ok("reporter", "POST", "app/milestones", &json!({ "title": "1.0" }))
        .await;
    let new = [
        json!({ "title": "Ärger beim Drucken", "description": "paper JAM", "labels": ["type::bug", "area::backend"], "assignees": ["developer"] }),
        json!({ "title": "Logo", "labels": ["type::feature"], "milestone": "1.0", "due_on": "2024-08-01" }),
        json!({ "title": "Login", "labels": ["type::bug"], "due_on": "2024-07-10" }),
    ];
    for issue in &new {
        world.clock.advance(std::time::Duration::from_secs(60));
        world.ok("reporter", "POST", "app/issues", issue).await;
    }
    world
        .ok("guest", "POST", "app/issues", &json!({ "title": "By a guest" }))
        .await;
    world
        .ok("reporter", "POST", "app/issues/4/close", &Value::Null)
        .await;
    assert_eq!(titles(&world, "").await, ["Ärger beim Drucken", "Logo", "Login"]);
    assert_eq!(
        titles(&world, "labels=type::bug").await,
        ["Ärger beim Drucken", "Login"]
    );
    assert_eq!(
        titles(&world, "labels=type::bug,area::backend").await,
        ["Ärger beim Drucken"]
    );
    assert_eq!(titles(&world, "assignee=developer").await, ["Ärger beim Drucken"]);
    assert_eq!(titles(&world, "assignee=none").await, ["Logo", "Login"]);
    assert_eq!(titles(&world, "milestone=1.0").await, ["Logo"]);
    assert_eq!(
        titles(&world, "milestone=none&labels=type::bug&assignee=none").await,
        ["Login"]
    );
    assert_eq!(
        titles(&world, "search=%C3%A4rger+jam").await,
        ["Ärger beim Drucken"]
    );
    assert_eq!(titles(&world, "search=%232").await, ["Logo"]);
    assert_eq!(titles(&world, "state=closed").await, ["By a guest"]);
    assert_eq!(titles(&world, "state=all&author=guest").await, ["By a guest"]);
    assert_eq!(titles(&world, "column=todo").await, ["Ärger beim Drucken"]);
    assert_eq!(
        titles(&world, "sort=created").await,
        ["Login", "Logo", "Ärger beim Drucken"]
    );
    assert_eq!(
        titles(&world, "sort=due").await,
        ["Login", "Logo", "Ärger beim Drucken"]
    );
    world.clock.advance(std::time::Duration::from_secs(60));
    world
        .ok(
            "reporter",
            "POST",
            "app/issues/2/comments",
            &json!({ "body": "x" }),
        )
        .await;
    assert_eq!(titles(&world, "sort=updated").await[0], "Logo");
}

#[tokio::test]
async fn pages_skip_nothing_in_any_order() {
    let world = World::new().await;
    for number in 0..23 {
        world.clock.advance(std::time::Duration::from_secs(1));
        let due = (number % 3 == 0).then(|| format!("2024-08-{:02}", number + 1));
        world
            .ok(
                "reporter",
                "POST",
                "app/issues",
                &json!({ "title": format!("t{number}"), "due_on": due }),
            )
            .await;
    }
    for sort in ["priority", "created", "updated", "due"] {
        let whole = titles(&world, &format!("sort={sort}&limit=50")).await;
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = world
                .ok(
                    "reporter",
                    "GET",
                    &format!("app/issues?sort={sort}&limit=5&after={after}"),
                    &Value::Null,
                )
                .await;
            seen.extend(
                page["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|issue| issue["title"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(mark) => after = mark.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, whole, "{sort}");
        assert_eq!(seen.len(), 23, "{sort}");
    }
}
