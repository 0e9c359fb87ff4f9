//! Text from people one does not trust.

use super::*;
use serde_json::json;

const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "[x](javascript:alert(1))",
    "{{ 7*7 }}</textarea><svg/onload=alert(1)>",
    "</title><iframe src=//evil>",
];

#[tokio::test]
async fn no_text_runs_anywhere() {
    let world = World::new().await;
    for text in HOSTILE {
        let new = json!({ "title": text, "description": text });
        let number = world.ok("guest", "POST", "app/issues", &new).await["number"]
            .as_i64()
            .unwrap();
        world
            .ok(
                "guest",
                "POST",
                &format!("app/issues/{number}/comments"),
                &json!({ "body": text }),
            )
            .await;
        let milestone = json!({ "title": text, "description": text });
        let milestone = world.ok("reporter", "POST", "app/milestones", &milestone).await["number"]
            .as_i64()
            .unwrap();
        world
            .ok(
                "reporter",
                "PATCH",
                &format!("app/issues/{number}"),
                &json!({ "milestone": text, "assignees": ["developer"] }),
            )
            .await;
        let label = text.replace(['/', '#', '?', ',', ';', '%', '\\'], "");
        world
            .ok(
                "reporter",
                "POST",
                "app/labels",
                &json!({ "name": label, "description": text }),
            )
            .await;
        world
            .ok(
                "reporter",
                "PATCH",
                &format!("app/issues/{number}"),
                &json!({ "add_labels": [label] }),
            )
            .await;
        for page in [
            format!("/ward/app/-/issues/{number}"),
            format!("/ward/app/-/issues/{number}/edit"),
            format!("/ward/app/-/milestones/{milestone}"),
            "/ward/app/-/milestones".to_owned(),
            "/ward/app/-/labels".to_owned(),
            "/ward/app/-/board".to_owned(),
            "/ward/app/-/issues".to_owned(),
            "/ward/-/board".to_owned(),
            format!(
                "/ward/app/-/issues/new?title={}&description={}",
                bascule_web::url_encode(text),
                bascule_web::url_encode(text)
            ),
            format!(
                "/ward/app/-/issues?search={0}&labels={0}&assignee={0}&milestone={0}",
                bascule_web::url_encode(text)
            ),
        ] {
            let html = world.page("reporter", &page).await;
            let document = scraper::Html::parse_document(&html);
            let bad =
                scraper::Selector::parse("[onerror],[onmouseover],[onload],iframe,[href^='javascript:']")
                    .unwrap();
            assert!(document.select(&bad).next().is_none(), "{page}: {html}");
            let scripts = scraper::Selector::parse("script").unwrap();
            assert!(
                document
                    .select(&scripts)
                    .all(|script| script.attr("src").is_some() && script.inner_html().is_empty()),
                "{page}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_too_long_or_hidden_is_refused_or_taken_out() {
    let world = World::new().await;
    let long = json!({ "title": "x".repeat(256) });
    assert_eq!(
        world.no("guest", "POST", "app/issues", &long).await.1,
        "title_too_long"
    );
    assert_eq!(
        world
            .no("guest", "POST", "app/issues", &json!({ "title": " \u{202e}\n " }))
            .await
            .1,
        "title_missing"
    );
    let heavy = json!({ "title": "x", "description": "x".repeat(crate::text::BODY_BYTES + 1) });
    assert_eq!(world.no("guest", "POST", "app/issues", &heavy).await.0, 413);
    assert_eq!(
        world
            .no(
                "guest",
                "POST",
                "app/issues",
                &json!({ "title": "x", "description": "a\0b" })
            )
            .await
            .1,
        "bad_characters"
    );
    let turned = world
        .ok(
            "guest",
            "POST",
            "app/issues",
            &json!({ "title": "safe\u{202e}exe.txt" }),
        )
        .await;
    assert_eq!(turned["title"], "safeexe.txt");
    for (path, status) in [
        ("app/issues/0", 404),
        ("app/issues/-1", 404),
        ("app/issues/x", 404),
        ("app/issues/99999999999999999999", 404),
    ] {
        assert_eq!(
            world.no("guest", "GET", path, &Value::Null).await.0,
            status,
            "{path}"
        );
    }
    for query in ["state=x", "sort=x", "after=x", "column=x"] {
        assert_eq!(
            world
                .no("guest", "GET", &format!("app/issues?{query}"), &Value::Null)
                .await
                .0,
            400,
            "{query}"
        );
    }
    for search in ["%25", "_", "!", "%27", "%22", "%5C"] {
        let found = world
            .ok(
                "guest",
                "GET",
                &format!("app/issues?search={search}"),
                &Value::Null,
            )
            .await;
        assert_eq!(
            found["items"].as_array().unwrap().len(),
            0,
            "{search} stands for itself"
        );
    }
}
