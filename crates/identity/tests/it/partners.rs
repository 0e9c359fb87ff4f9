//! Outside partners: what they may have, who has a say about them, and their end.

use crate::app::{App, PASSWORD};
use bascule_core::{Caller, InstanceRole, Role, Scope, Timestamp};
use bascule_identity::Place;
use bascule_wire::identity::NewUser;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const DAY: u64 = 24 * 3600;
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9pQGvSi6pY0ZWUzSzxwUjJkqvQdCWIUR4bxBOqYNTB partner@laptop";

fn in_days(app: &App, days: u64) -> Timestamp {
    app.now().plus(Duration::from_secs(days * DAY))
}

async fn invite(app: &App, token: &str, name: &str, role: &str, days: u64) -> (u16, Value) {
    let body = json!({
        "username": name, "email": "someone@firm.test", "password": PASSWORD, "role": role,
        "ends_at": in_days(app, days),
    });
    let answer = app
        .post("/api/v1/projects/clinic/site/partners")
        .bearer(token)
        .json(&body)
        .send()
        .await;
    (answer.status.as_u16(), answer.json())
}

async fn listed(app: &App, token: &str) -> Vec<String> {
    let page = app.get("/api/v1/partners").bearer(token).send().await.json();
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|partner| partner["username"].as_str().unwrap().to_owned())
        .collect()
}

async fn code_of(ask: crate::app::Ask<'_>) -> (u16, String) {
    let answer = ask.send().await;
    let code = if answer.text.is_empty() {
        String::new()
    } else {
        answer.json()["code"].as_str().unwrap_or_default().to_owned()
    };
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn a_maintainer_invites_a_partner_who_is_developer_at_most() {
    let app = App::start().await;
    app.user("max", InstanceRole::Member).await;
    app.user("dev", InstanceRole::Member).await;
    app.in_project("max", Role::Maintainer).await;
    app.in_project("dev", Role::Developer).await;
    let (olga, max, dev) = (
        app.token("olga", &[Scope::Api]).await,
        app.token("max", &[Scope::Api]).await,
        app.token("dev", &[Scope::Api]).await,
    );
    assert_eq!(invite(&app, &dev, "firm", "reporter", 30).await.0, 403);
    assert_eq!(
        invite(&app, &max, "firm", "maintainer", 30).await.1["code"],
        "partner_role"
    );
    assert_eq!(
        invite(&app, &max, "firm", "developer", 0).await.1["code"],
        "end_has_passed"
    );
    assert_eq!(
        invite(&app, &max, "firm", "developer", 500).await.1["code"],
        "end_too_far"
    );
    let (status, made) = invite(&app, &max, "firm", "developer", 30).await;
    assert_eq!((status, &made["role"]), (201, &json!("external")), "{made}");
    assert_eq!(
        invite(&app, &max, "firm", "developer", 30).await.1["code"],
        "username_taken"
    );

    let firm = app.token("firm", &[Scope::Api]).await;
    let pushed = app.post("/clinic/site/push").bearer(&firm).send().await;
    assert_eq!(pushed.text, "firm is developer in clinic/site");
    // What belongs to the institution is not there, or not theirs.
    let groups = app.get("/api/v1/groups").bearer(&firm).send().await.json();
    assert_eq!(groups["items"], json!([]));
    for (path, status) in [
        ("/api/v1/groups/clinic", 404),
        ("/clinic/-/members", 404),
        ("/api/v1/partners", 403),
        ("/partners", 403),
        ("/api/v1/users", 403),
        ("/clinic/site/-/partners", 403),
    ] {
        assert_eq!(
            app.get(path).bearer(&firm).send().await.status.as_u16(),
            status,
            "{path}"
        );
    }

    // Neither in a group nor above developer, whoever gives it.
    let put = |token: &str, path: &str, role: &str| {
        app.ask(Method::PUT, path)
            .bearer(token)
            .json(&json!({ "role": role }))
    };
    for (path, role, code) in [
        ("/api/v1/groups/clinic/members/firm", "guest", "partner_in_group"),
        (
            "/api/v1/projects/clinic/site/members/firm",
            "maintainer",
            "partner_role",
        ),
        (
            "/api/v1/projects/clinic/site/members/firm",
            "owner",
            "partner_role",
        ),
    ] {
        assert_eq!(code_of(put(&olga, path, role)).await, (403, code.to_owned()));
    }

    // An administrator who makes a member a partner is told what stands in the way.
    let olga_is = app
        .identity
        .set_instance_role(&Caller::system(), "olga", InstanceRole::External)
        .await;
    assert_eq!(olga_is.unwrap_err().code, "roles_above_partner");
    let dev_is = app
        .identity
        .set_instance_role(&Caller::system(), "dev", InstanceRole::External)
        .await
        .unwrap();
    assert_eq!(dev_is.ends_at, Some(in_days(&app, 365)), "a year, as nobody said");
    let dev_is = app
        .identity
        .set_instance_role(&Caller::system(), "dev", InstanceRole::Member)
        .await
        .unwrap();
    assert_eq!(dev_is.ends_at, None);
}

#[tokio::test]
async fn any_of_their_maintainers_cuts_a_partner_off_and_all_of_them_extend() {
    let app = App::start().await;
    app.user("max", InstanceRole::Member).await;
    app.user("mia", InstanceRole::Member).await;
    app.user("root", InstanceRole::Admin).await;
    app.in_project("max", Role::Maintainer).await;
    let (olga, max, mia, root) = (
        app.token("olga", &[Scope::Api]).await,
        app.token("max", &[Scope::Api]).await,
        app.token("mia", &[Scope::Api]).await,
        app.token("root", &[Scope::Api]).await,
    );
    invite(&app, &max, "firm", "developer", 10).await;
    app.user("lone", InstanceRole::External).await;
    assert_eq!(listed(&app, &max).await, ["firm"]);
    assert_eq!(listed(&app, &olga).await, ["firm"], "by the group");
    assert!(listed(&app, &mia).await.is_empty());
    assert_eq!(listed(&app, &root).await, ["firm", "lone"]);
    let page = app.get("/api/v1/partners").bearer(&max).send().await.json();
    let firm = &page["items"][0];
    assert_eq!(firm["projects"][0]["path"], "clinic/site");
    assert_eq!(
        (&firm["ends_soon"], &firm["may_extend"]),
        (&json!(true), &json!(true))
    );

    let end = |token: &str, name: &str, days: u64| {
        app.ask(Method::PUT, &format!("/api/v1/partners/{name}/end"))
            .bearer(token)
            .json(&json!({ "ends_at": in_days(&app, days) }))
    };
    assert_eq!(code_of(end(&mia, "firm", 20)).await, (404, "no_such_user".into()));
    assert_eq!(code_of(end(&max, "lone", 20)).await.0, 404);
    assert_eq!(code_of(end(&max, "olga", 20)).await.0, 404, "she is no partner");
    assert_eq!(code_of(end(&max, "firm", 20)).await.0, 200);
    assert_eq!(app.facts("user.end_set").await, 1);

    let cut = |token: &str, reason: &str| {
        app.post("/api/v1/partners/firm/cut-off")
            .bearer(token)
            .json(&json!({ "reason": reason }))
    };
    assert_eq!(code_of(cut(&mia, "bored")).await.0, 404);
    assert_eq!(code_of(cut(&max, " ")).await, (422, "missing".into()));
    assert_eq!(
        code_of(cut(&max, "ask a@b.test")).await,
        (422, "address_in_reason".into())
    );
    let (cookie, token) = (
        app.signed_in("firm").await,
        app.token("firm", &[Scope::Api]).await,
    );
    let key = app
        .post("/api/v1/user/keys")
        .bearer(&token)
        .json(&json!({ "key": KEY }))
        .send()
        .await;
    let fingerprint = key.json()["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(code_of(cut(&max, "the contract ended")).await.0, 204);
    assert_eq!(code_of(cut(&max, "twice is once")).await.0, 204);
    for ask in [
        app.get("/clinic/site/code").cookie(&cookie),
        app.get("/clinic/site/code").bearer(&token),
    ] {
        assert_eq!(ask.send().await.status, StatusCode::UNAUTHORIZED);
    }
    assert!(app.identity.authenticate_key(&fingerprint).await.is_err());
    assert!(app.identity.keys_alive(&[fingerprint]).await.unwrap().is_empty());
    assert_eq!(
        app.sign_in_as("firm", PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(app.facts("user.deactivated").await, 1);

    // The way back is an administrator's.
    assert_eq!(
        code_of(end(&max, "firm", 30)).await,
        (403, "not_yours_alone".into())
    );
    let open = app.post("/api/v1/users/firm/activate").bearer(&root);
    assert_eq!(open.send().await.status, StatusCode::NO_CONTENT);
    app.signed_in("firm").await;
}

#[tokio::test]
async fn the_end_date_shuts_every_way_in_at_that_instant_and_becomes_a_fact() {
    let app = App::start().await;
    let olga = app.token("olga", &[Scope::Api]).await;
    invite(&app, &olga, "firm", "developer", 10).await;
    let (cookie, token) = (
        app.signed_in("firm").await,
        app.token("firm", &[Scope::Api]).await,
    );
    let key = app
        .post("/api/v1/user/keys")
        .bearer(&token)
        .json(&json!({ "key": KEY }))
        .send()
        .await;
    let fingerprint = key.json()["fingerprint"].as_str().unwrap().to_owned();
    let settings = app.get("/settings").cookie(&cookie).send().await;
    assert!(settings.text.contains("Your access ends"), "{}", settings.text);
    app.later(6 * DAY);
    app.use_session(&cookie).await;
    app.later(4 * DAY - 1);
    assert_eq!(app.identity.end_what_is_over().await.unwrap(), 0);
    let look = async || {
        let page = app.get("/clinic/site/code").cookie(&cookie).send().await;
        let api = app.get("/clinic/site/code").bearer(&token).send().await;
        [page.status.as_u16(), api.status.as_u16()]
    };
    assert_eq!(look().await, [200, 200]);
    app.later(1);
    // Before anybody has noticed, and after.
    for _ in 0..2 {
        assert_eq!(look().await, [401, 401]);
        assert!(app.identity.authenticate_key(&fingerprint).await.is_err());
        assert!(app.identity.open_user("firm").await.unwrap().is_none());
        assert_eq!(
            app.sign_in_as("firm", PASSWORD).await.status,
            StatusCode::UNAUTHORIZED
        );
        app.identity.end_what_is_over().await.unwrap();
    }
    assert_eq!(app.facts("user.deactivated").await, 1);
    app.user("root", InstanceRole::Admin).await;
    let root = app.token("root", &[Scope::Api]).await;
    let open = || app.post("/api/v1/users/firm/activate").bearer(&root);
    assert_eq!(code_of(open()).await, (409, "end_reached".into()));
    let later = app
        .ask(Method::PUT, "/api/v1/partners/firm/end")
        .bearer(&root)
        .json(&json!({ "ends_at": in_days(&app, 5) }));
    assert_eq!(later.send().await.status, StatusCode::OK);
    assert_eq!(open().send().await.status, StatusCode::NO_CONTENT);
    app.signed_in("firm").await;
}

#[tokio::test]
async fn a_role_with_an_end_goes_by_itself_and_its_holder_stays() {
    let app = App::start().await;
    let olga = app.token("olga", &[Scope::Api]).await;
    invite(&app, &olga, "firm", "reporter", 30).await;
    let path = "/api/v1/projects/clinic/site/members/firm";
    let give = |days: u64| {
        app.ask(Method::PUT, path)
            .bearer(&olga)
            .json(&json!({ "role": "developer", "ends_at": in_days(&app, days) }))
    };
    assert_eq!(code_of(give(31)).await, (422, "end_after_account".into()));
    assert_eq!(code_of(give(2)).await.0, 204);
    let token = app.token("firm", &[Scope::Api]).await;
    let push = async || {
        app.post("/clinic/site/push")
            .bearer(&token)
            .send()
            .await
            .status
            .as_u16()
    };
    assert_eq!(push().await, 200);
    let members = app
        .get("/api/v1/projects/clinic/site/members")
        .bearer(&olga)
        .send()
        .await
        .json();
    let firm = &members["items"][0];
    assert_eq!(
        (&firm["username"], &firm["partner"], &firm["ends_at"]),
        (&json!("firm"), &json!(true), &json!(in_days(&app, 2)))
    );
    app.later(2 * DAY);
    assert_eq!(push().await, 404, "the project is not there for them any more");
    assert_eq!(app.identity.end_what_is_over().await.unwrap(), 1);
    assert_eq!(app.identity.end_what_is_over().await.unwrap(), 0);
    assert_eq!((push().await, app.facts("member.removed").await), (404, 1));
    assert_eq!(
        app.get("/api/v1/user").bearer(&token).send().await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_pages_invite_warn_extend_and_cut_off() {
    let app = App::start().await;
    let cookie = app.signed_in("olga").await;
    let end = in_days(&app, 7).to_string()[..10].to_owned();
    let form = [
        ("username", "firm"),
        ("display_name", "The Firm"),
        ("role", "reporter"),
        ("ends_on", end.as_str()),
    ];
    let page = app
        .post("/clinic/site/-/partners")
        .cookie(&cookie)
        .form(&form)
        .send()
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("The password of firm"));
    assert_eq!(page.select("#role option"), ["guest", "reporter", "developer"]);
    let all = app.get("/partners").cookie(&cookie).send().await;
    assert_eq!(all.select(".alert-warning strong"), ["firm"]);
    assert!(all.select("tbody td")[1].contains("clinic/site"));
    let members = app.get("/clinic/site/-/members").cookie(&cookie).send().await;
    assert!(members.select("tbody td")[0].contains("outside partner"));
    let later = in_days(&app, 60).to_string()[..10].to_owned();
    let set = app
        .post("/partners/firm/end")
        .cookie(&cookie)
        .form(&[("ends_on", later.as_str())])
        .send()
        .await;
    assert_eq!(set.location(), "/partners?done=end-set");
    let all = app.get("/partners").cookie(&cookie).send().await;
    assert!(all.select(".alert-warning").is_empty());
    let cut = app
        .post("/partners/firm/cut-off")
        .cookie(&cookie)
        .form(&[("reason", "done")])
        .send()
        .await;
    assert_eq!(cut.location(), "/partners?done=cut-off");
    let all = app.get("/partners?done=cut-off").cookie(&cookie).send().await;
    assert_eq!(all.select("tbody .badge"), ["cut off"]);
}

#[tokio::test]
async fn deploy_keys_go_with_whoever_had_made_them() {
    let app = App::start().await;
    app.user("max", InstanceRole::Member).await;
    app.in_project("max", Role::Maintainer).await;
    let max = app.token("max", &[Scope::Api]).await;
    let made = app
        .post("/api/v1/projects/clinic/site/deploy-keys")
        .bearer(&max)
        .json(&json!({ "title": "mirror", "key": KEY }))
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let fingerprint = made.json()["fingerprint"].as_str().unwrap().to_owned();
    assert!(app.identity.authenticate_key(&fingerprint).await.is_ok());
    app.identity
        .deactivate_user(&Caller::system(), "max")
        .await
        .unwrap();
    assert!(app.identity.authenticate_key(&fingerprint).await.is_err());
    assert_eq!(app.facts("deploy_key.removed").await, 1);
}

#[tokio::test]
async fn an_end_is_for_partners_alone() {
    let app = App::start().await;
    let new = |role, ends_at| NewUser {
        username: bascule_core::Name::new("somebody").unwrap(),
        display_name: String::new(),
        email: String::new(),
        password: Some(PASSWORD.to_owned()),
        role,
        ends_at,
    };
    let system = Caller::system();
    let end = Some(in_days(&app, 3));
    let refused = app
        .identity
        .create_user(&system, &new(InstanceRole::Member, end))
        .await;
    assert_eq!(refused.unwrap_err().code, "no_end_here");
    let made = app
        .identity
        .create_user(&system, &new(InstanceRole::External, end))
        .await
        .unwrap();
    assert_eq!(made.user.ends_at, end);
    let place = Place::Group(app.group);
    let refused = app
        .identity
        .set_member(&system, Role::Owner, place, "somebody", Role::Guest)
        .await;
    assert_eq!(refused.unwrap_err().code, "partner_in_group");
}
