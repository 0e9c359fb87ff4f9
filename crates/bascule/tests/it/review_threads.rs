//! Threads, suggestions and findings on merge requests.

use crate::reviews::*;
use serde_json::{Value, json};

#[tokio::test]
async fn comments_are_kept_back_follow_their_lines_and_hold_the_merge() {
    let scene = Scene::with(&[]).await;
    scene.settings(&json!({ "resolve_threads": true })).await;
    scene.push(
        "developer",
        "a",
        &[("README.md", "one\nTWO\nthree\nfour\nfive\n")],
    );
    let request = scene.open("a").await;
    let threads = format!("{request}/threads");
    let on = |line: u32| json!({ "path": "README.md", "side": "new", "start": line, "end": line });
    let draft = scene
        .ok(
            "second",
            "POST",
            &threads,
            &json!({ "body": "kept back", "draft": true, "position": on(2) }),
        )
        .await;
    assert_eq!(draft["comments"][0]["draft"], true);
    // Nobody else sees it, nor can answer it.
    let others = scene.ok("sre", "GET", &threads, &Value::Null).await;
    assert_eq!(others["threads"].as_array().unwrap().len(), 0, "{others}");
    let reply = format!("{threads}/{}/comments", draft["id"].as_str().unwrap());
    assert_eq!(
        scene.send("sre", "POST", &reply, &json!({ "body": "x" })).await.0,
        404
    );
    assert_eq!(scene.check(&request, "threads").await.unwrap()["state"], "passed");
    let body = json!({ "verdict": "request_changes", "body": "Not yet, @sre" });
    scene
        .ok("second", "POST", &format!("{request}/reviews"), &body)
        .await;
    let seen = scene.ok("sre", "GET", &threads, &Value::Null).await;
    assert_eq!(seen["unresolved"], 2, "{seen}");
    assert_eq!(scene.check(&request, "threads").await.unwrap()["state"], "failed");
    assert_eq!(
        scene.check(&request, "changes_requested").await.unwrap()["state"],
        "failed"
    );
    // Its author cannot set it aside; a maintainer can.
    let dismiss = format!("{request}/people/second/dismiss");
    assert_eq!(
        scene.send("developer", "POST", &dismiss, &Value::Null).await.0,
        403
    );
    let drop_them = json!({ "reviewers": [] });
    assert_eq!(
        scene
            .send("developer", "PUT", &format!("{request}/people"), &drop_them)
            .await
            .0,
        200
    );
    assert!(scene.check(&request, "changes_requested").await.is_some());
    scene.ok("sre", "POST", &dismiss, &Value::Null).await;
    assert!(scene.check(&request, "changes_requested").await.is_none());
    // A line put above moves the comment along; a change of its line makes it outdated.
    scene
        .git
        .write("README.md", "zero\none\nTWO\nthree\nfour\nfive\n");
    scene.commit_as("developer", "Above");
    let head = scene.push_branch("developer", "a");
    scene.taken_up(&request, &head).await;
    let first = |answer: &Value| -> Value {
        let all = answer["threads"].as_array().unwrap();
        all.iter().find(|t| !t["position"].is_null()).unwrap().clone()
    };
    let place = first(&scene.ok("sre", "GET", &threads, &Value::Null).await)["position"].clone();
    assert_eq!(
        (place["start"].as_i64(), place["outdated"].as_bool()),
        (Some(3), Some(false))
    );
    let page = scene.app.page("/demo/p/-/merge-requests/1/changes").await;
    page.shows("td.note", "kept back");
    scene
        .git
        .write("README.md", "zero\none\ntwo\nthree\nfour\nfive\n");
    scene.commit_as("developer", "Back");
    let head = scene.push_branch("developer", "a");
    scene.taken_up(&request, &head).await;
    let place = first(&scene.ok("sre", "GET", &threads, &Value::Null).await)["position"].clone();
    assert_eq!(place["outdated"], true);
    // Others' words are theirs.
    let comment = format!(
        "{request}/comments/{}",
        draft["comments"][0]["id"].as_str().unwrap()
    );
    assert_eq!(
        scene
            .send("sre", "PATCH", &comment, &json!({ "body": "x" }))
            .await
            .0,
        403
    );
    assert_eq!(scene.send("sre", "DELETE", &comment, &Value::Null).await.0, 403);
    scene
        .ok("second", "PATCH", &comment, &json!({ "body": "changed" }))
        .await;
    scene.ok("second", "DELETE", &comment, &Value::Null).await;
    let left = scene.ok("sre", "GET", &threads, &Value::Null).await;
    assert_eq!(first(&left)["comments"][0]["body"], "", "{left}");
    // Nothing that was written is in the ledger.
    let facts = scene.app.cli().ok(&["ledger", "list", "--json"]);
    assert!(
        !facts.contains("kept back") && !facts.contains("Not yet"),
        "a comment is in the ledger"
    );
    let cli = scene.app.cli_as(&scene.tokens["sre"]);
    assert_eq!(
        cli.refused(&["mr", "threads", "1", "--open", "--project", PROJECT])
            .0,
        3
    );
}

#[tokio::test]
async fn suggestions_become_a_commit_unless_their_lines_have_changed() {
    let scene = Scene::with(&[]).await;
    scene.push(
        "developer",
        "a",
        &[("README.md", "one\nTWO\nthree\nFOUR\nfive\n")],
    );
    let request = scene.open("a").await;
    let suggest = |line: u32, text: &str| {
        json!({ "body": format!("Better:\n\n```suggestion\n{text}\n```\n"),
            "position": { "path": "README.md", "start": line, "end": line } })
    };
    let mut ids = Vec::new();
    for (line, text) in [(2, "two, too"), (4, "four"), (4, "vier")] {
        let made = scene
            .ok(
                "second",
                "POST",
                &format!("{request}/threads"),
                &suggest(line, text),
            )
            .await;
        assert_eq!(made["comments"][0]["suggestions"][0]["start"], line, "{made}");
        ids.push(made["comments"][0]["id"].as_str().unwrap().to_owned());
    }
    let apply = format!("{request}/suggestions");
    let of = |some: &[&String]| json!({ "suggestions": some.iter().map(|id| json!({ "comment": id })).collect::<Vec<_>>() });
    // Whoever may not push, and programs, apply nothing; two for one line are refused.
    assert_eq!(scene.send("reader", "POST", &apply, &of(&[&ids[0]])).await.0, 403);
    let told = scene.refused("developer", &apply, &of(&[&ids[1], &ids[2]])).await;
    assert_eq!(told, "suggestions_overlap");
    let done = scene
        .ok("developer", "POST", &apply, &of(&[&ids[0], &ids[1]]))
        .await;
    let commit = done["commit"].as_str().unwrap().to_owned();
    scene.taken_up(&request, &commit).await;
    drop(
        scene
            .git
            .ok(&["fetch", "-q", &scene.app.remote(PROJECT, scene.app.token()), "a"]),
    );
    let text = scene.git.ok(&["show", "FETCH_HEAD:README.md"]);
    assert_eq!(text, "one\ntwo, too\nthree\nfour\nfive\n");
    let message = scene
        .git
        .ok(&["log", "-1", "--format=%an <%ae>%n%B", "FETCH_HEAD"]);
    assert!(
        message.starts_with("developer <developer@example.org>"),
        "{message}"
    );
    assert!(
        message.contains("Co-authored-by: second <second@example.org>"),
        "{message}"
    );
    let told = scene.refused("developer", &apply, &of(&[&ids[0]])).await;
    assert_eq!(told, "applied_already");
    let told = scene.refused("developer", &apply, &of(&[&ids[2]])).await;
    assert_eq!(told, "suggestion_outdated");
    // Who suggested took no part in the writing: they may approve.
    assert_eq!(scene.approve("second", &request).await.0, 200);
}

#[tokio::test]
async fn findings_stand_on_their_lines_once_and_go_by_themselves() {
    let scene = Scene::with(&[]).await;
    let head = scene.push("developer", "a", &[("src/a.rs", "fn a() {}\nfn b() {}\n")]);
    let request = scene.open("a").await;
    let bot = scene.app.cli().json(&[
        "token",
        "create",
        "bot",
        "--project",
        PROJECT,
        "--role",
        "developer",
        "--scope",
        "api",
    ]);
    let bot = bot["secret"].as_str().unwrap().to_owned();
    let post = async |token: &str, sha: &str, report: &str| {
        let answer = scene
            .app
            .anonymous("POST", &format!("{PATH}/commits/{sha}/findings?tool=lint"))
            .bearer_auth(token)
            .body(report.to_owned())
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let line = |line: u32, text: &str| {
        format!(
            "{{\"message\":\"{text}\",\"severity\":\"ERROR\",\"location\":{{\"path\":\"src/a.rs\",\"range\":{{\"start\":{{\"line\":{line}}}}}}}}}\n"
        )
    };
    let hostile = "<script>alert(1)</script>";
    let report = line(2, hostile) + &line(1, "unused");
    assert_eq!(post(&scene.tokens["reader"], &head, &report).await.0, 403);
    assert_eq!(post(&bot, &"0".repeat(40), &report).await.0, 404);
    assert_eq!(post(&bot, &head, "nonsense").await.0, 422);
    assert_eq!(post(&bot, &head, &report).await.0, 201);
    assert_eq!(post(&bot, &head, &report).await.0, 201, "the same again");
    let found = scene
        .ok("reader", "GET", &format!("{request}/findings"), &Value::Null)
        .await;
    let all = found["findings"].as_array().unwrap();
    assert_eq!(all.len(), 2, "{found}");
    assert!(
        all.iter()
            .all(|one| one["on_changed_line"] == true && one["resolved"] == false)
    );
    let page = scene.app.page("/demo/p/-/merge-requests/1/changes").await;
    page.shows(".review-finding", hostile);
    assert!(page.attributes("td.note script", "src").is_empty() && page.texts("td.note script").is_empty());
    // A line above: the next run finds one of them again, further down, and the other no more.
    scene.git.write("src/a.rs", "// new\nfn a() {}\nfn b() {}\n");
    scene.commit_as("developer", "Above");
    let next = scene.push_branch("developer", "a");
    scene.taken_up(&request, &next).await;
    let found = scene
        .ok("reader", "GET", &format!("{request}/findings"), &Value::Null)
        .await;
    assert_eq!(
        found["findings"][0]["start"], 2,
        "before the next run lines are followed: {found}"
    );
    assert_eq!(post(&bot, &next, &line(3, hostile)).await.0, 201);
    let found = scene
        .ok("reader", "GET", &format!("{request}/findings"), &Value::Null)
        .await;
    let all: Vec<_> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["start"].as_i64().unwrap(), one["resolved"].as_bool().unwrap()))
        .collect();
    assert_eq!(all, [(3, false), (2, true)], "{found}");
}

#[tokio::test]
async fn hostile_texts_run_nowhere_and_forms_work_without_script() {
    let scene = Scene::with(&[]).await;
    let name = "<img src=x onerror=alert(1)>.md";
    scene.push(
        "developer",
        "a",
        &[("README.md", "one\n<script>alert(1)</script>\n"), (name, "x\n")],
    );
    let request = scene.open("a").await;
    // The way of a person without script: the line's link, the form, the review.
    let changes = scene.app.page("/demo/p/-/merge-requests/1/changes").await;
    let links = changes.attributes("td.no a", "href");
    let link = links
        .iter()
        .find(|href| href.contains("README.md") && href.contains("side=new&line=2"))
        .unwrap();
    let form = scene.app.page(link).await;
    assert_eq!(form.status, 200);
    form.shows("td", "<script>alert(1)</script>");
    let odd = links.iter().find(|href| href.contains("onerror")).unwrap();
    assert_eq!(scene.app.page(odd).await.status, 200);
    for hostile in [
        "<script>alert(1)</script> @reader !1 #1",
        "[x](javascript:alert(1))",
        "```suggestion\n<script>alert(1)</script>\n```",
        "<a href=\"javascript:alert(1)\" onclick=alert(1)>x</a><iframe src=/></iframe>",
    ] {
        let answer = scene
            .app
            .anonymous("POST", "/demo/p/-/merge-requests/1/comment")
            .bearer_auth(&scene.tokens["second"])
            .form(&[
                ("path", "README.md"),
                ("side", "new"),
                ("line", "2"),
                ("body", hostile),
                ("draft", "yes"),
            ])
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 303, "{hostile}");
        let to = answer.headers()["location"].to_str().unwrap();
        assert!(
            to.starts_with("/demo/p/-/merge-requests/1/changes#thread-"),
            "{to}"
        );
    }
    let sent = scene
        .app
        .anonymous("POST", "/demo/p/-/merge-requests/1/review")
        .bearer_auth(&scene.tokens["second"])
        .form(&[
            ("verdict", "comment"),
            ("body", "<svg onload=alert(1)>"),
            ("sha", ""),
        ])
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 303);
    for path in ["/demo/p/-/merge-requests/1", "/demo/p/-/merge-requests/1/changes"] {
        let page = scene.app.page(path).await;
        assert_eq!(page.status, 200, "{path}");
        page.shows(".review-thread", "second");
        for selector in [
            "main script",
            "main iframe",
            "main svg[onload]",
            "main [onerror]",
            "main [onclick]",
            "main a[href^='javascript']",
        ] {
            assert!(page.texts(selector).is_empty(), "{path}: {selector}");
        }
    }
    // A stale form is refused rather than put on other lines.
    let told = scene
        .refused(
            "second",
            &format!("{request}/threads"),
            &json!({ "body": "x", "position": { "path": "README.md", "start": 1, "end": 1, "head": "0".repeat(40) } }),
        )
        .await;
    assert_eq!(told, "stale_head");
}
