//! The pages, as a browser without script sees them.

use crate::app::App;
use bascule_core::{InstanceRole, Role};
use http::StatusCode;

#[tokio::test]
async fn hostile_names_are_shown_and_never_run() {
    let app = App::start().await;
    app.user("root", InstanceRole::Admin).await;
    let cookie = app.signed_in("olga").await;
    let hostile = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>";
    let saved = app
        .post("/settings/profile")
        .cookie(&cookie)
        .form(&[("display_name", hostile)])
        .send()
        .await;
    assert_eq!(saved.location(), "/settings?done=saved");
    let root = app.signed_in("root").await;
    for (path, cookie) in [
        ("/settings", &cookie),
        ("/clinic/-/members", &cookie),
        ("/clinic/site/-/members", &cookie),
        ("/admin/users", &root),
    ] {
        let page = app.get(path).cookie(cookie).send().await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(
            page.text.contains("alert(1)") && !page.text.contains("<script>alert"),
            "{path}"
        );
        assert!(page.select("img[onerror]").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn every_field_has_a_label() {
    let app = App::start().await;
    app.user("root", InstanceRole::Admin).await;
    app.user("firm", InstanceRole::External).await;
    app.in_project("firm", Role::Developer).await;
    let cookie = app.signed_in("root").await;
    let paths = [
        "/partners",
        "/clinic/site/-/partners",
        "/settings",
        "/settings/sessions",
        "/settings/tokens",
        "/settings/keys",
        "/groups/new",
        "/clinic/-/members",
        "/clinic/site/-/members",
        "/clinic/site/-/settings/tokens",
        "/admin",
        "/admin/users",
    ];
    for path in paths {
        let page = app
            .get(path)
            .cookie(&cookie)
            .header("accept", "text/html")
            .send()
            .await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        let document = scraper::Html::parse_document(&page.text);
        let selector = |css: &str| scraper::Selector::parse(css).unwrap();
        let labels: Vec<_> = document
            .select(&selector("label[for]"))
            .filter_map(|l| l.value().attr("for"))
            .collect();
        for field in document.select(&selector(
            "main input:not([type=hidden]):not([aria-hidden]), main select, main textarea",
        )) {
            let id = field.value().attr("id").unwrap_or_default();
            let wrapped = field
                .ancestors()
                .filter_map(scraper::ElementRef::wrap)
                .any(|e| e.value().name() == "label");
            assert!(
                labels.contains(&id) || wrapped || field.value().attr("aria-label").is_some(),
                "{path}: {}",
                field.html()
            );
        }
        for button in document.select(&selector("main button")) {
            assert!(
                !button.text().collect::<String>().trim().is_empty(),
                "{path}: {}",
                button.html()
            );
        }
    }
}

#[tokio::test]
async fn an_owner_manages_members_with_plain_forms() {
    let app = App::start().await;
    app.user("dev", InstanceRole::Member).await;
    let cookie = app.signed_in("olga").await;
    let add = app
        .post("/clinic/-/members")
        .cookie(&cookie)
        .form(&[("username", "dev"), ("role", "developer")])
        .send()
        .await;
    let page = app.get(add.location()).cookie(&cookie).send().await;
    assert_eq!(page.select("[role=status]"), ["The role is given."]);
    assert!(page.select("tbody td div.small").contains(&"dev".to_owned()));
    let reader = app
        .get("/clinic/-/members")
        .cookie(&app.signed_in("dev").await)
        .send()
        .await;
    assert_eq!(reader.status, StatusCode::OK);
    assert!(
        reader.select("main form").is_empty(),
        "offers nothing that would be refused"
    );
    let out = app
        .post("/clinic/-/members/dev/remove")
        .cookie(&cookie)
        .form(&[])
        .send()
        .await;
    assert_eq!(out.location(), "/clinic/-/members?done=member-removed");
}

#[tokio::test]
async fn an_administrator_creates_an_account_and_hands_over_its_password() {
    let app = App::start().await;
    app.user("root", InstanceRole::Admin).await;
    let cookie = app.signed_in("root").await;
    let form = [
        ("username", "nina"),
        ("display_name", "Nina"),
        ("email", "nina@example.org"),
        ("role", "member"),
    ];
    let page = app.post("/admin/users").cookie(&cookie).form(&form).send().await;
    let password = page
        .text
        .split("id=\"password-once\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(
        app.sign_in_as("nina", &password).await.status,
        StatusCode::SEE_OTHER
    );
    assert!(
        !app.get("/admin/users")
            .cookie(&cookie)
            .send()
            .await
            .text
            .contains(&password)
    );
    let twice = app.post("/admin/users").cookie(&cookie).form(&form).send().await;
    assert_eq!(twice.status, StatusCode::CONFLICT);
    let closed = app
        .post("/admin/users/nina/deactivate")
        .cookie(&cookie)
        .form(&[])
        .send()
        .await;
    assert_eq!(closed.location(), "/admin/users?done=closed");
    assert_eq!(
        app.sign_in_as("nina", &password).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_person_ends_a_session_they_do_not_know() {
    let app = App::start().await;
    let (stolen, cookie) = (app.signed_in("olga").await, app.signed_in("olga").await);
    app.user("eve", InstanceRole::Member).await;
    let eve = app.signed_in("eve").await;
    let page = app.get("/settings/sessions").cookie(&cookie).send().await;
    assert_eq!(page.select("tbody tr").len(), 2);
    assert_eq!(page.select("tbody .badge"), ["this one"]);
    let ends = |text: &str| -> Vec<String> {
        text.split("action=\"/settings/sessions/")
            .skip(1)
            .map(|rest| rest.split("/end").next().unwrap().to_owned())
            .collect()
    };
    for id in ends(&page.text) {
        let path = format!("/settings/sessions/{id}/end");
        assert_eq!(
            app.post(&path).cookie(&eve).form(&[]).send().await.status,
            StatusCode::NOT_FOUND
        );
    }
    let rows: Vec<_> = page
        .text
        .split("<tr>")
        .skip(1)
        .filter(|row| row.contains("/end") && !row.contains("this one"))
        .collect();
    let path = format!("/settings/sessions/{}/end", ends(rows[0])[0]);
    app.post(&path).cookie(&cookie).form(&[]).send().await;
    assert_eq!(
        app.get("/settings").cookie(&stolen).send().await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        app.get("/settings").cookie(&cookie).send().await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_maintainer_is_offered_no_role_above_their_own() {
    let app = App::start().await;
    app.user("max", InstanceRole::Member).await;
    app.in_project("max", Role::Maintainer).await;
    let cookie = app.signed_in("max").await;
    for path in ["/clinic/site/-/members", "/clinic/site/-/settings/tokens"] {
        let page = app.get(path).cookie(&cookie).send().await;
        let offered = page.select("#role option");
        assert_eq!(
            offered,
            ["guest", "reporter", "developer", "maintainer"],
            "{path}"
        );
    }
}
