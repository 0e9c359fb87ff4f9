//! The life of an issue.

use super::*;
use serde_json::json;

#[tokio::test]
async fn an_issue_lives_from_opening_to_done() {
    let world = World::new().await;
    let new = json!({
        "title": "Nobody can sign in", "description": "Since **noon**, @sre and @developer",
        "labels": ["type::bug", "priority::high"], "due_on": "2024-07-05",
    });
    let issue = world.ok("reporter", "POST", "app/issues", &new).await;
    assert_eq!(
        (issue["number"].as_i64(), issue["column"].as_str()),
        (Some(1), Some("open"))
    );
    // Given to someone, it goes to To do.
    let issue = world
        .ok(
            "developer",
            "PATCH",
            "app/issues/1",
            &json!({ "assignees": ["developer"] }),
        )
        .await;
    assert_eq!(
        (issue["column"].as_str(), &issue["assignees"]),
        (Some("todo"), &json!(["developer"]))
    );
    let issue = world
        .ok(
            "developer",
            "POST",
            "app/issues/1/move",
            &json!({ "to": "doing" }),
        )
        .await;
    assert_eq!(issue["column"], "doing");
    // A label replaces the other of its family.
    let change = json!({ "add_labels": ["priority::critical", "area::backend"] });
    let issue = world.ok("developer", "PATCH", "app/issues/1", &change).await;
    assert_eq!(
        issue["labels"],
        json!(["type::bug", "area::backend", "priority::critical"])
    );
    let two = json!({ "labels": ["priority::critical", "priority::low"] });
    assert_eq!(
        world.no("developer", "PATCH", "app/issues/1", &two).await,
        (422, "one_of_a_family".to_owned())
    );
    assert_eq!(
        world
            .no(
                "developer",
                "PATCH",
                "app/issues/1",
                &json!({ "labels": ["none such"] })
            )
            .await
            .1,
        "no_label"
    );
    world.clock.advance(std::time::Duration::from_secs(1));
    world
        .ok(
            "guest",
            "POST",
            "app/issues/1/comments",
            &json!({ "body": "Here too, @developer2" }),
        )
        .await;
    world.clock.advance(std::time::Duration::from_secs(1));
    let issue = world
        .ok("developer", "POST", "app/issues/1/close", &Value::Null)
        .await;
    assert_eq!(
        (issue["state"].as_str(), issue["closed_by"].as_str()),
        (Some("closed"), Some("developer"))
    );
    let issue = world
        .ok("reporter", "POST", "app/issues/1/reopen", &Value::Null)
        .await;
    assert_eq!(
        (issue["column"].as_str(), issue["closed_by"].as_str()),
        (Some("todo"), None)
    );
    let told: Vec<&str> = issue["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        told,
        [
            "opened issue #1",
            "gave issue #1 to developer",
            "moved issue #1 from Open to To do",
            "moved issue #1 from To do to Doing",
            "put priority::critical, area::backend on and took priority::high off issue #1",
            "Here too, @developer2",
            "closed issue #1",
            "opened issue #1 again",
        ]
    );
    let said = world
        .ledger
        .read(
            &Filter {
                kinds: vec!["issue.commented".to_owned()],
                ..Filter::default()
            },
            Page::After { after: 0, limit: 9 },
        )
        .await
        .unwrap();
    assert!(
        said[0]
            .body
            .contains(&world.crowd.users["developer2"].to_string()),
        "{}",
        said[0].body
    );
    assert!(!said[0].body.contains("Here too"), "texts stay out of the ledger");
}

#[tokio::test]
async fn roles_follow_gitlab() {
    let world = World::new().await;
    // Guests open and comment; they plan nothing.
    let guests = world
        .ok("guest", "POST", "app/issues", &json!({ "title": "By a guest" }))
        .await;
    assert_eq!(guests["author"], "guest");
    let planned = json!({ "title": "x", "labels": ["type::bug"] });
    assert_eq!(world.no("guest", "POST", "app/issues", &planned).await.0, 403);
    let number = world.issue("By a reporter").await;
    assert_eq!(
        world
            .no(
                "guest",
                "PATCH",
                &format!("app/issues/{number}"),
                &json!({ "title": "y" })
            )
            .await
            .0,
        403
    );
    assert_eq!(
        world
            .no(
                "guest",
                "POST",
                &format!("app/issues/{number}/close"),
                &Value::Null
            )
            .await
            .0,
        403
    );
    assert_eq!(
        world
            .no(
                "guest",
                "POST",
                &format!("app/issues/{number}/move"),
                &json!({ "to": "todo" })
            )
            .await
            .0,
        403
    );
    // An author edits and closes their own.
    world
        .ok("guest", "PATCH", "app/issues/1", &json!({ "title": "Mine" }))
        .await;
    assert_eq!(
        world
            .no(
                "guest",
                "PATCH",
                "app/issues/1",
                &json!({ "due_on": "2024-08-01" })
            )
            .await
            .0,
        403
    );
    world
        .ok("guest", "POST", "app/issues/1/close", &Value::Null)
        .await;
    // Whoever reads an internal project may open an issue, and is no member by that.
    world
        .ok(
            "stranger",
            "POST",
            "app/issues",
            &json!({ "title": "From elsewhere" }),
        )
        .await;
    assert_eq!(
        world
            .no(
                "stranger",
                "PATCH",
                "app/issues/1",
                &json!({ "add_labels": ["type::bug"] })
            )
            .await
            .0,
        403
    );
    assert_eq!(
        world
            .no("stranger", "POST", "app/labels", &json!({ "name": "x" }))
            .await
            .0,
        403
    );
    assert_eq!(
        world
            .no(
                "stranger",
                "POST",
                "/api/v1/groups/ward/labels",
                &json!({ "name": "x" })
            )
            .await
            .0,
        403
    );
    // Auditors change nothing.
    assert_eq!(
        world
            .no("auditor", "POST", "app/issues", &json!({ "title": "x" }))
            .await
            .0,
        403
    );
    assert_eq!(
        world
            .no(
                "auditor",
                "POST",
                "app/issues/1/comments",
                &json!({ "body": "x" })
            )
            .await
            .0,
        403
    );
    world.ok("auditor", "GET", "app/issues/1", &Value::Null).await;
    assert_eq!(world.no("nobody", "GET", "app/issues", &Value::Null).await.0, 401);
    // Only who is a member can have an issue.
    let gone = json!({ "assignees": ["stranger"] });
    assert_eq!(
        world.no("reporter", "PATCH", "app/issues/1", &gone).await,
        (422, "no_member".to_owned())
    );
}

#[tokio::test]
async fn links_are_seen_from_both_ends_and_only_by_who_sees_both() {
    let world = World::new().await;
    let (one, two) = (world.issue("one").await, world.issue("two").await);
    let lab = world
        .ok(
            "reporter",
            "POST",
            "lab/issues",
            &json!({ "title": "in the lab", "confidential": true }),
        )
        .await;
    let to = format!("ward/lab#{}", lab["number"]);
    world
        .ok(
            "reporter",
            "POST",
            &format!("app/issues/{one}/links"),
            &json!({ "kind": "blocked_by", "to": format!("#{two}") }),
        )
        .await;
    let seen = world
        .ok(
            "reporter",
            "POST",
            &format!("app/issues/{one}/links"),
            &json!({ "kind": "relates", "to": to }),
        )
        .await;
    let kinds: Vec<&str> = seen["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["blocked_by", "relates"]);
    let other = world
        .ok("guest", "GET", &format!("app/issues/{two}"), &Value::Null)
        .await;
    assert_eq!(other["links"][0]["kind"], "blocks");
    let guests = world
        .ok("guest", "GET", &format!("app/issues/{one}"), &Value::Null)
        .await;
    assert_eq!(
        guests["links"].as_array().unwrap().len(),
        1,
        "the confidential one is not told of"
    );
    // What stands is said, and stays; the same again is no change.
    let path = format!("app/issues/{two}/links");
    let contrary = json!({ "kind": "blocked_by", "to": one.to_string() });
    let (status, problem) = world.call("reporter", "POST", &path, &contrary).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("linked_otherwise"))
    );
    assert_eq!(problem["title"], format!("Issue #{two} blocks #{one} already."));
    let same = json!({ "kind": "blocks", "to": one.to_string() });
    let other = world.ok("reporter", "POST", &path, &same).await;
    assert_eq!(other["links"].as_array().unwrap().len(), 1);
    assert_eq!(other["links"][0]["kind"], "blocks");
    let itself = json!({ "kind": "blocks", "to": one.to_string() });
    assert_eq!(
        world
            .no("reporter", "POST", &format!("app/issues/{one}/links"), &itself)
            .await
            .1,
        "bad_link"
    );
    for nowhere in ["other/secret#1", "ward/app#99", "../x#1", "zzz"] {
        let link = json!({ "kind": "blocks", "to": nowhere });
        assert!(
            matches!(
                world
                    .no("reporter", "POST", &format!("app/issues/{one}/links"), &link)
                    .await
                    .0,
                404 | 422
            ),
            "{nowhere}"
        );
    }
    world
        .ok(
            "reporter",
            "POST",
            &format!("app/issues/{two}/unlink"),
            &json!({ "kind": "", "to": one.to_string() }),
        )
        .await;
    let other = world
        .ok("guest", "GET", &format!("app/issues/{two}"), &Value::Null)
        .await;
    assert_eq!(other["links"], json!([]));
}

#[tokio::test]
async fn templates_fill_new_issues() {
    let world = World::new().await;
    let found = world
        .ok("guest", "GET", "app/issue-templates", &Value::Null)
        .await;
    let names: Vec<&str> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|template| template["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Bug", "Default"]);
    let html = world.page("guest", "/ward/app/-/issues/new").await;
    assert!(
        html.contains("## Why") && !html.contains("name=\"assignee\""),
        "{html}"
    );
    let html = world
        .page("reporter", "/ward/app/-/issues/new?template=Bug")
        .await;
    assert!(
        html.contains("## What happens") && html.contains("name=\"assignee\" value=\"developer\""),
        "{html}"
    );
}

#[tokio::test]
async fn labels_are_seeded_made_and_subscribed_to() {
    let world = World::new().await;
    let labels = world.ok("guest", "GET", "app/labels", &Value::Null).await;
    assert_eq!(
        labels["items"].as_array().unwrap().len(),
        crate::label::SEEDS.len()
    );
    world
        .ok(
            "reporter",
            "POST",
            "app/labels",
            &json!({ "name": "area::printing" }),
        )
        .await;
    assert_eq!(
        world
            .no(
                "reporter",
                "POST",
                "app/labels",
                &json!({ "name": "area::printing" })
            )
            .await
            .0,
        409
    );
    assert_eq!(
        world
            .no(
                "reporter",
                "POST",
                "app/labels",
                &json!({ "name": "x", "colour": "#fff;}" })
            )
            .await
            .1,
        "bad_colour"
    );
    world
        .ok(
            "reporter",
            "POST",
            "/api/v1/groups/ward/labels",
            &json!({ "name": "team::north" }),
        )
        .await;
    let number = world.issue("x").await;
    world
        .ok(
            "reporter",
            "PATCH",
            &format!("app/issues/{number}"),
            &json!({ "labels": ["area::printing", "team::north"] }),
        )
        .await;
    world
        .ok(
            "guest",
            "PUT",
            "app/labels/area::printing/subscription",
            &Value::Null,
        )
        .await;
    let all = crate::label::store::list(
        &world.db,
        crate::label::store::Owner::Project(world.places.app, world.places.group),
    )
    .await
    .unwrap();
    let printing = all.iter().find(|label| label.name == "area::printing").unwrap();
    assert_eq!(
        world.planning.label_subscribers(&[printing.id]).await.unwrap(),
        [world.crowd.users["guest"]]
    );
    // A label keeps its family, and its issues when it is renamed.
    let leave = json!({ "name": "type::printing" });
    assert_eq!(
        world
            .no("reporter", "PATCH", "app/labels/area::printing", &leave)
            .await
            .1,
        "family_stays"
    );
    world
        .ok(
            "reporter",
            "PATCH",
            "app/labels/area::printing",
            &json!({ "name": "area::printers" }),
        )
        .await;
    let issue = world
        .ok("guest", "GET", &format!("app/issues/{number}"), &Value::Null)
        .await;
    assert_eq!(issue["labels"], json!(["team::north", "area::printers"]));
    world
        .ok(
            "reporter",
            "DELETE",
            "/api/v1/groups/ward/labels/team::north",
            &Value::Null,
        )
        .await;
    let issue = world
        .ok("guest", "GET", &format!("app/issues/{number}"), &Value::Null)
        .await;
    assert_eq!(issue["labels"], json!(["area::printers"]));
    assert_eq!(
        world
            .form("guest", "/ward/app/-/labels/subscribe", "label=type::bug&on=yes")
            .await,
        StatusCode::SEE_OTHER
    );
    assert!(
        world
            .page("guest", "/ward/app/-/labels")
            .await
            .contains("Unsubscribe")
    );
    assert!(
        world
            .page("guest", "/ward/-/labels")
            .await
            .contains("No labels of the group")
    );
}

#[tokio::test]
async fn pages_do_all_without_script() {
    let world = World::new().await;
    let new = "title=Print+a+list&description=why&family-0=type%3A%3Abug&family-4=priority%3A%3Alow&assignee=developer&assignee=developer2&due_on=2024-08-01";
    assert_eq!(
        world.form("reporter", "/ward/app/-/issues", new).await,
        StatusCode::SEE_OTHER
    );
    let html = world.page("reporter", "/ward/app/-/issues/1").await;
    for part in [
        "Print a list",
        "value=\"type::bug\" selected",
        "value=\"developer2\" checked",
        "2024-08-01",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert_eq!(
        world
            .form(
                "reporter",
                "/ward/app/-/issues/1/plan",
                "family-0=type%3A%3Afeature&assignee=developer"
            )
            .await,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        world.form("maintainer", "/ward/app/-/issues/1/take", "").await,
        StatusCode::SEE_OTHER
    );
    let issue = world.ok("reporter", "GET", "app/issues/1", &Value::Null).await;
    assert_eq!(issue["labels"], json!(["type::feature"]));
    assert_eq!(
        (&issue["assignees"], &issue["due_on"]),
        (&json!(["developer", "maintainer"]), &Value::Null)
    );
    assert_eq!(
        world
            .form(
                "reporter",
                "/ward/app/-/issues/1/edit",
                "title=Print+two&description="
            )
            .await,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        world
            .form("guest", "/ward/app/-/issues/1/comments", "body=see+%231")
            .await,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        world
            .form("reporter", "/ward/app/-/issues/1/comments", "body=done&close=yes")
            .await,
        StatusCode::SEE_OTHER
    );
    let html = world.page("guest", "/ward/app/-/issues/1").await;
    assert!(
        html.contains("<a href=\"/ward/app/-/issues/1\">#1</a>") && html.contains("Print two"),
        "{html}"
    );
    assert!(!html.contains("/plan\""), "a guest has no form to plan with");
    assert_eq!(
        world
            .send("guest", "GET", "/ward/app/-/issues/1/edit", "", "", false)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    assert!(
        world
            .page("guest", "/ward/app/-/issues")
            .await
            .contains("No issues here.")
    );
    assert!(
        world
            .page("guest", "/ward/app/-/issues?state=closed")
            .await
            .contains("Print two")
    );
    assert!(
        world
            .page("guest", "/ward/-/issues?state=all")
            .await
            .contains("ward/app#1")
    );
}

#[tokio::test]
async fn an_issue_shows_the_merge_requests_that_close_it() {
    let world = World::new().await;
    let number = world.issue("one").await;
    let here = format!("/ward/app/-/issues/{number}");
    assert!(!world.page("developer", &here).await.contains("that close it"));
    for (number, state) in [(4, "open"), (2, "closed")] {
        world.code.1.lock().unwrap().push(crate::ports::ClosingRequest {
            number,
            title: "Mend <it>".to_owned(),
            state,
        });
    }
    let html = world.page("developer", &here).await;
    assert!(
        html.contains("href=\"/ward/app/-/merge-requests/4\">!4</a>"),
        "{html}"
    );
    assert!(
        html.contains(">open</span>") && html.contains(">closed</span>"),
        "{html}"
    );
    assert!(!html.contains("<it>"), "{html}");
    let path = format!("app/issues/{number}");
    let shown = world.ok("developer", "GET", &path, &Value::Null).await;
    assert_eq!(shown["merge_requests"][0]["state"], "open");
    assert_eq!(shown["merge_requests"][0]["number"], 4);
    // Guests read no code, so they hear of no request.
    assert!(!world.page("guest", &here).await.contains("merge-requests/4"));
}

#[tokio::test]
async fn where_members_are_many_they_are_named_in_a_field() {
    let world = World::new().await;
    let number = world.issue("one").await;
    let here = format!("/ward/app/-/issues/{number}");
    let html = world.page("reporter", &here).await;
    assert!(html.contains("type=\"checkbox\" name=\"assignee\" value=\"developer\""));
    assert!(!html.contains("<datalist"));
    let many = (1..=12).map(|n| (format!("nurse{n}"), Role::Developer));
    world.crowd.roles.lock().unwrap().extend(many);
    let form = "assignee=nurse3%2C+nurse12&milestone=&due_on=";
    assert_eq!(
        world.form("reporter", &format!("{here}/plan"), form).await,
        StatusCode::SEE_OTHER
    );
    let html = world.page("reporter", &here).await;
    assert!(
        html.contains("<option value=\"nurse4\">") && html.contains("list=\"members\""),
        "{html}"
    );
    for name in ["nurse3", "nurse12"] {
        let box_on = format!("type=\"checkbox\" name=\"assignee\" value=\"{name}\" checked");
        assert!(html.contains(&box_on), "{name}: {html}");
    }
    assert!(!html.contains("type=\"checkbox\" name=\"assignee\" value=\"nurse4\""));
}
