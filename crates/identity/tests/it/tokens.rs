//! Access tokens and SSH keys, and how closing an account ends them.

use crate::app::{App, PASSWORD};
use bascule_core::{Caller, InstanceRole, Role, Scope};
use http::{Method, StatusCode};
use serde_json::json;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl laptop";

#[tokio::test]
async fn a_token_works_in_every_form_and_a_password_in_none() {
    let app = App::start().await;
    let token = app.token("olga", &[Scope::Api]).await;
    let ok = [
        app.get("/clinic/site/code").bearer(&token),
        app.get("/clinic/site/code").header("private-token", &token),
        app.get("/clinic/site/code").basic("olga", &token),
        app.get("/clinic/site/code").basic("whoever", &token),
        app.get("/clinic/site/code").basic(&token, ""),
    ];
    for ask in ok {
        let answer = ask.send().await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::OK, "olga is owner in clinic/site")
        );
    }
    let refused = app.get("/clinic/site/code").basic("olga", PASSWORD).send().await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.headers.contains_key("www-authenticate"));
    let problem = refused.json();
    assert_eq!(problem["code"], "password_not_accepted");
    assert!(problem["next"].as_str().unwrap().contains("write_repository"));
    for bad in ["bsc_wrong", "glpat-foreign"] {
        assert_eq!(
            app.get("/clinic/site/code").bearer(bad).send().await.json()["code"],
            "bad_token"
        );
    }
}

#[tokio::test]
async fn scopes_limit_what_a_token_reaches() {
    let app = App::start().await;
    let read = app.token("olga", &[Scope::ReadRepository]).await;
    let write = app.token("olga", &[Scope::WriteRepository]).await;
    let api = app.token("olga", &[Scope::ReadApi]).await;
    for (token, code, push, user, create) in [
        (&read, 200, 403, 403, 403),
        (&write, 200, 200, 403, 403),
        (&api, 200, 403, 200, 403),
    ] {
        assert_eq!(
            app.get("/clinic/site/code")
                .bearer(token)
                .send()
                .await
                .status
                .as_u16(),
            code
        );
        assert_eq!(
            app.post("/clinic/site/push")
                .bearer(token)
                .send()
                .await
                .status
                .as_u16(),
            push
        );
        assert_eq!(
            app.get("/api/v1/user").bearer(token).send().await.status.as_u16(),
            user
        );
        let made = app
            .post("/api/v1/user/tokens")
            .bearer(token)
            .json(&json!({"name": "x", "scopes": ["api"]}));
        assert_eq!(made.send().await.status.as_u16(), create);
    }
}

#[tokio::test]
async fn a_token_ends_when_it_says_and_its_use_is_noted() {
    let app = App::start().await;
    let cookie = app.signed_in("olga").await;
    let form = [("name", "laptop"), ("read_api", "on"), ("days", "7")];
    let page = app
        .post("/settings/tokens")
        .cookie(&cookie)
        .form(&form)
        .send()
        .await;
    let shown = page
        .text
        .split("value=\"bsc_")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let token = format!("bsc_{shown}");
    assert!(
        !app.get("/settings/tokens")
            .cookie(&cookie)
            .send()
            .await
            .text
            .contains(shown),
        "shown once"
    );

    assert_eq!(
        app.get("/api/v1/user").bearer(&token).send().await.status,
        StatusCode::OK
    );
    let listed =
        async || app.get("/api/v1/user/tokens").bearer(&token).send().await.json()["items"][0].clone();
    let first = app.now().to_string();
    while listed().await["last_used_at"] != first.as_str() {
        tokio::task::yield_now().await;
    }
    app.later(30);
    assert_eq!(listed().await["last_used_at"], first.as_str(), "to the minute");

    app.later(7 * 24 * 3600);
    let late = app.get("/api/v1/user").bearer(&token).send().await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert!(late.json()["title"].as_str().unwrap().contains("expired"));
}

#[tokio::test]
async fn a_token_makes_none_that_outlives_or_outreaches_it() {
    let app = App::start().await;
    let end = app.now().plus(std::time::Duration::from_secs(3600)).to_string();
    let cookie = app.signed_in("olga").await;
    let short = app
        .post("/api/v1/user/tokens")
        .cookie(&cookie)
        .json(&json!({"name": "a", "scopes": ["api"], "expires_at": end}));
    let made = short.send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let child = app
        .post("/api/v1/user/tokens")
        .bearer(&secret)
        .json(&json!({"name": "b", "scopes": ["api"]}))
        .send()
        .await;
    assert_eq!(child.json()["expires_at"], end.as_str());
    let later = app.now().plus(std::time::Duration::from_secs(7200)).to_string();
    let longer = json!({"name": "c", "scopes": ["api"], "expires_at": later});
    let refused = app
        .post("/api/v1/user/tokens")
        .bearer(&secret)
        .json(&longer)
        .send()
        .await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (StatusCode::FORBIDDEN, Some("outlives_parent"))
    );
}

#[tokio::test]
async fn a_revoked_token_is_dead_at_once() {
    let app = App::start().await;
    let token = app.token("olga", &[Scope::Api]).await;
    let id = app.get("/api/v1/user/tokens").bearer(&token).send().await.json()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.user("eve", InstanceRole::Member).await;
    let eve = app.token("eve", &[Scope::Api]).await;
    let foreign = app
        .ask(Method::DELETE, &format!("/api/v1/user/tokens/{id}"))
        .bearer(&eve)
        .send()
        .await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let revoked = app
        .ask(Method::DELETE, &format!("/api/v1/user/tokens/{id}"))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    assert_eq!(
        app.get("/api/v1/user").bearer(&token).send().await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(app.facts("token.revoked").await, 1);
}

#[tokio::test]
async fn a_project_token_reaches_its_project_alone() {
    let app = App::start().await;
    app.user("max", InstanceRole::Member).await;
    app.in_project("max", Role::Maintainer).await;
    let max = app.token("max", &[Scope::Api]).await;
    let make = |role: &str| {
        app.post("/api/v1/projects/clinic/site/tokens")
            .bearer(&max)
            .json(&json!({"name": "bot", "scopes": ["write_repository"], "role": role}))
    };
    assert_eq!(make("owner").send().await.json()["code"], "role_above_own");
    let bot = make("developer").send().await.json()["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    let pushed = app.post("/clinic/site/push").basic("bot", &bot).send().await;
    assert_eq!(pushed.text, "token:bot is developer in clinic/site");
    for path in ["/clinic/-/members", "/api/v1/groups/clinic", "/clinic/other/code"] {
        assert_eq!(
            app.get(path).bearer(&bot).send().await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    assert_eq!(
        app.get("/api/v1/user").bearer(&bot).send().await.status,
        StatusCode::FORBIDDEN
    );
    // One for the API may ask what it is; what is a person's own it may not.
    let made = app
        .post("/api/v1/projects/clinic/site/tokens")
        .bearer(&max)
        .json(&json!({"name": "asker", "scopes": ["api"], "role": "reporter"}));
    let asker = made.send().await.json()["secret"].as_str().unwrap().to_owned();
    let said = app.get("/api/v1/user").bearer(&asker).send().await.json();
    assert_eq!(
        (&said["username"], &said["role"], &said["scopes"]),
        (&json!("token:asker"), &json!("reporter"), &json!(["api"]))
    );
    assert_eq!(
        app.get("/api/v1/user/tokens").bearer(&asker).send().await.status,
        StatusCode::FORBIDDEN
    );
    // Nor who a maintainer is: whoever that is changes the rules by which code is let in.
    app.user("dan", InstanceRole::Member).await;
    let made = app
        .post("/api/v1/projects/clinic/site/tokens")
        .bearer(&max)
        .json(&json!({"name": "manager", "scopes": ["api"], "role": "maintainer"}));
    let manager = made.send().await.json()["secret"].as_str().unwrap().to_owned();
    let give = |token: &str| {
        app.ask(Method::PUT, "/api/v1/projects/clinic/site/members/dan")
            .bearer(token)
            .json(&json!({"role": "developer"}))
    };
    let refused = give(&manager).send().await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (StatusCode::FORBIDDEN, &json!("not_a_person"))
    );
    assert_eq!(give(&max).send().await.status, StatusCode::NO_CONTENT);

    // Whoever saw its secret and leaves the project takes it along to no use.
    let out = app
        .ask(Method::DELETE, "/api/v1/projects/clinic/site/members/max")
        .bearer(&app.token("olga", &[Scope::Api]).await);
    assert_eq!(out.send().await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        app.post("/clinic/site/push")
            .basic("bot", &bot)
            .send()
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        app.get("/clinic/site/code").bearer(&max).send().await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn closing_an_account_cuts_every_way_in_at_once() {
    let app = App::start().await;
    app.user("root", InstanceRole::Admin).await;
    app.user("guest", InstanceRole::Member).await;
    app.in_project("guest", Role::Maintainer).await;
    let (cookie, token) = (
        app.signed_in("guest").await,
        app.token("guest", &[Scope::Api]).await,
    );
    let key = app
        .post("/api/v1/user/keys")
        .bearer(&token)
        .json(&json!({"key": KEY}))
        .send()
        .await;
    let fingerprint = key.json()["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(
        app.identity
            .authenticate_key(&fingerprint)
            .await
            .unwrap()
            .actor
            .name,
        "guest"
    );
    let bot = app.post("/api/v1/projects/clinic/site/tokens").bearer(&token);
    let bot = bot
        .json(&json!({"name": "bot", "scopes": ["api"], "role": "developer"}))
        .send()
        .await
        .json();
    let bot = bot["secret"].as_str().unwrap().to_owned();
    let ways = |expected: u16| {
        let asks = [
            app.get("/clinic/site/code").cookie(&cookie),
            app.get("/clinic/site/code").bearer(&token),
            app.get("/clinic/site/code").basic("guest", &token),
            app.get("/clinic/site/code").bearer(&bot),
        ];
        async move {
            for ask in asks {
                assert_eq!(ask.send().await.status.as_u16(), expected);
            }
        }
    };
    ways(200).await;
    let root = app.token("root", &[Scope::Api]).await;
    let closed = app
        .post("/api/v1/users/guest/deactivate")
        .bearer(&root)
        .send()
        .await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT);
    ways(401).await;
    assert!(app.identity.authenticate_key(&fingerprint).await.is_err());
    assert_eq!(
        app.sign_in_as("guest", PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(app.facts("user.deactivated").await, 1);

    // Opened again, nothing of what was ended comes back.
    app.post("/api/v1/users/guest/activate")
        .bearer(&root)
        .send()
        .await;
    ways(401).await;
    app.signed_in("guest").await;
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let app = App::start().await;
    app.user("root", InstanceRole::Admin).await;
    let system = Caller::system();
    assert_eq!(
        app.identity
            .deactivate_user(&system, "root")
            .await
            .unwrap_err()
            .code,
        "last_administrator"
    );
    let lower = app
        .identity
        .set_instance_role(&system, "root", InstanceRole::Member)
        .await;
    assert_eq!(lower.unwrap_err().code, "last_administrator");
    app.user("second", InstanceRole::Admin).await;
    let own = app
        .identity
        .deactivate_user(&app.caller("root").await, "root")
        .await;
    assert_eq!(own.unwrap_err().code, "own_account");
    app.identity.deactivate_user(&system, "root").await.unwrap();
}

#[tokio::test]
async fn a_key_stands_for_one_person() {
    let app = App::start().await;
    app.user("eve", InstanceRole::Member).await;
    let (olga, eve) = (
        app.token("olga", &[Scope::Api]).await,
        app.token("eve", &[Scope::Api]).await,
    );
    let add = |token: &str, key: &str| {
        app.post("/api/v1/user/keys")
            .bearer(token)
            .json(&json!({"key": key}))
    };
    let added = add(&olga, KEY).send().await;
    assert_eq!(
        (added.status, added.json()["title"].as_str()),
        (StatusCode::CREATED, Some("laptop"))
    );
    assert_eq!(add(&eve, KEY).send().await.status, StatusCode::CONFLICT);
    assert_eq!(
        add(&eve, "-----BEGIN OPENSSH PRIVATE KEY-----")
            .send()
            .await
            .json()["code"],
        "private_key"
    );
    let id = added.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/user/keys/{id}");
    assert_eq!(
        app.ask(Method::DELETE, &path).bearer(&eve).send().await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        app.ask(Method::DELETE, &path).bearer(&olga).send().await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(add(&eve, KEY).send().await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_can_sign_in() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let app = App::empty().await;
    app.identity.bootstrap(dir.path()).await.unwrap();
    let read = |name: &str| {
        std::fs::read_to_string(dir.path().join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    let (token, password) = (read("admin.token"), read("admin.password"));
    for name in ["admin.token", "admin.password"] {
        let mode = std::fs::metadata(dir.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    app.identity.bootstrap(dir.path()).await.unwrap();
    assert_eq!(read("admin.token"), token);
    let who = app.get("/api/v1/user").bearer(&token).send().await.json();
    assert_eq!(
        (who["username"].as_str(), who["role"].as_str()),
        (Some("admin"), Some("admin"))
    );
    assert_eq!(
        app.sign_in_as("admin", &password).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(app.facts("user.created").await, 1);
}
