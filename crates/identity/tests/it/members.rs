//! Groups, members, and who may give which role.

use crate::app::App;
use bascule_core::{InstanceRole, Role, Scope};
use http::{Method, StatusCode};
use serde_json::json;

async fn put(app: &App, token: &str, path: &str, role: &str) -> (u16, String) {
    let answer = app
        .ask(Method::PUT, path)
        .bearer(token)
        .json(&json!({"role": role}))
        .send()
        .await;
    let code = if answer.text.is_empty() {
        String::new()
    } else {
        answer.json()["code"].as_str().unwrap_or_default().to_owned()
    };
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn groups_are_made_by_members_and_seen_by_those_who_may() {
    let app = App::start().await;
    app.user("mia", InstanceRole::Member).await;
    app.user("partner", InstanceRole::External).await;
    let (mia, partner) = (
        app.token("mia", &[Scope::Api]).await,
        app.token("partner", &[Scope::Api]).await,
    );
    let make = |token: &str, name: &str| {
        app.post("/api/v1/groups")
            .bearer(token)
            .json(&json!({"name": name, "visibility": "internal"}))
    };
    assert_eq!(make(&mia, "lab").send().await.status, StatusCode::CREATED);
    assert_eq!(make(&mia, "lab").send().await.status, StatusCode::CONFLICT);
    assert_eq!(make(&mia, "../lab").send().await.status.as_u16() / 100, 4);
    assert_eq!(make(&partner, "shop").send().await.status, StatusCode::FORBIDDEN);
    let names = async |token: &str| -> Vec<String> {
        let page = app.get("/api/v1/groups").bearer(token).send().await.json();
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|g| g["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let olga = app.token("olga", &[Scope::Api]).await;
    assert_eq!(names(&mia).await, ["lab"]);
    assert_eq!(names(&olga).await, ["clinic", "lab"]);
    assert!(names(&partner).await.is_empty());
    assert_eq!(
        app.get("/api/v1/groups/lab").bearer(&olga).send().await.json()["role"],
        "reporter"
    );
    for (token, path) in [
        (&mia, "/api/v1/groups/clinic"),
        (&partner, "/api/v1/groups/lab"),
        (&mia, "/clinic/-/members"),
    ] {
        assert_eq!(
            app.get(path).bearer(token).send().await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let page = app
        .get("/api/v1/groups?limit=1")
        .bearer(&olga)
        .send()
        .await
        .json();
    assert_eq!(page["next"], "clinic");
    let page = app
        .get("/api/v1/groups?limit=1&after=clinic")
        .bearer(&olga)
        .send()
        .await
        .json();
    assert_eq!(
        (page["items"][0]["name"].as_str(), page["next"].is_null()),
        (Some("lab"), true)
    );
}

#[tokio::test]
async fn nobody_gives_a_role_above_their_own() {
    let app = App::start().await;
    for name in ["max", "dev"] {
        app.user(name, InstanceRole::Member).await;
    }
    app.in_project("max", Role::Maintainer).await;
    let (olga, max) = (
        app.token("olga", &[Scope::Api]).await,
        app.token("max", &[Scope::Api]).await,
    );
    let path = "/api/v1/projects/clinic/site/members/dev";
    assert_eq!(
        put(&app, &max, path, "owner").await,
        (403, "role_above_own".into())
    );
    assert_eq!(put(&app, &max, path, "developer").await.0, 204);
    let dev = app.token("dev", &[Scope::Api]).await;
    assert_eq!(
        put(&app, &dev, path, "developer").await,
        (403, "forbidden".into())
    );
    assert_eq!(put(&app, &olga, path, "owner").await.0, 204);
    assert_eq!(
        put(&app, &max, path, "guest").await,
        (403, "role_above_own".into())
    );
    assert_eq!(
        put(&app, &max, "/api/v1/groups/clinic/members/max", "owner")
            .await
            .0,
        404
    );
    assert_eq!(
        put(&app, &max, "/api/v1/projects/clinic/site/members/nobody", "guest").await,
        (422, "no_such_user".into())
    );
    assert_eq!(put(&app, &max, path, "emperor").await.0, 422);
}

#[tokio::test]
async fn a_group_keeps_its_last_owner() {
    let app = App::start().await;
    app.user("mia", InstanceRole::Member).await;
    let olga = app.token("olga", &[Scope::Api]).await;
    let own = "/api/v1/groups/clinic/members/olga";
    assert_eq!(
        put(&app, &olga, own, "developer").await,
        (409, "last_owner".into())
    );
    assert_eq!(
        app.ask(Method::DELETE, own).bearer(&olga).send().await.status,
        StatusCode::CONFLICT
    );
    assert_eq!(
        put(&app, &olga, "/api/v1/groups/clinic/members/mia", "owner")
            .await
            .0,
        204
    );
    // An owner whose account is closed is none.
    app.identity
        .deactivate_user(&bascule_core::Caller::system(), "mia")
        .await
        .unwrap();
    assert_eq!(
        put(&app, &olga, own, "developer").await,
        (409, "last_owner".into())
    );
    assert_eq!(
        put(&app, &olga, "/api/v1/groups/clinic/members/mia", "guest").await,
        (409, "account_closed".into())
    );
    let out = app
        .ask(Method::DELETE, "/api/v1/groups/clinic/members/mia")
        .bearer(&olga)
        .send()
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_role_given_or_taken_counts_from_the_next_request() {
    let app = App::start().await;
    app.user("dev", InstanceRole::Member).await;
    let (olga, dev) = (
        app.token("olga", &[Scope::Api]).await,
        app.token("dev", &[Scope::Api]).await,
    );
    let path = "/api/v1/groups/clinic/members/dev";
    let push = async || {
        app.post("/clinic/site/push")
            .bearer(&dev)
            .send()
            .await
            .status
            .as_u16()
    };
    assert_eq!(push().await, 404);
    put(&app, &olga, path, "guest").await;
    assert_eq!(push().await, 403);
    put(&app, &olga, path, "developer").await;
    assert_eq!(push().await, 200);
    let members = app
        .get("/api/v1/projects/clinic/site/members")
        .bearer(&dev)
        .send()
        .await
        .json();
    let names: Vec<_> = members["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["username"].as_str().unwrap(), m["inherited"].as_bool().unwrap()))
        .collect();
    assert_eq!(names, [("dev", true), ("olga", true)]);
    app.ask(Method::DELETE, path).bearer(&olga).send().await;
    assert_eq!(push().await, 404);
    assert_eq!(
        (app.facts("member.set").await, app.facts("member.removed").await),
        (3, 1)
    );
}
