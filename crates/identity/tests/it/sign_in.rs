//! Signing in and out with a browser.

use crate::app::{App, PASSWORD};
use bascule_core::InstanceRole;
use http::StatusCode;

#[tokio::test]
async fn a_person_signs_in_goes_on_where_they_were_and_signs_out() {
    let app = App::start().await;
    let refused = app
        .get("/settings/tokens?x=1")
        .header("accept", "text/html")
        .send()
        .await;
    assert_eq!(refused.location(), "/sign-in?next=%2Fsettings%2Ftokens%3Fx%3D1");
    let form = app.get(refused.location()).send().await;
    assert_eq!(form.select("label"), ["User name", "Password"]);
    assert!(form.text.contains("value=\"/settings/tokens?x=1\""));

    let pairs = [
        ("username", " Olga "),
        ("password", PASSWORD),
        ("next", "/settings/tokens?x=1"),
    ];
    let answer = app.post("/sign-in").form(&pairs).send().await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::SEE_OTHER, "/settings/tokens?x=1")
    );
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax") && !set.contains("Secure"),
        "{set}"
    );
    let cookie = answer.cookie().unwrap();
    assert_eq!(
        app.get("/settings").cookie(&cookie).send().await.status,
        StatusCode::OK
    );
    assert_eq!(app.facts("session.started").await, 1);

    let out = app.post("/sign-out").cookie(&cookie).send().await;
    assert_eq!(out.location(), "/sign-in");
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(
        app.get("/settings").cookie(&cookie).send().await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(app.facts("session.ended").await, 1);
}

#[tokio::test]
async fn the_cookie_is_secure_where_the_browser_came_by_https() {
    let app = App::start().await;
    let form = [("username", "olga"), ("password", PASSWORD)];
    let answer = app
        .post("/sign-in")
        .header("x-forwarded-proto", "https")
        .form(&form)
        .send()
        .await;
    assert!(
        answer.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("; Secure")
    );
}

#[tokio::test]
async fn a_session_planted_before_sign_in_is_worth_nothing_after_it() {
    let app = App::start().await;
    app.user("eve", InstanceRole::External).await;
    let planted = app.signed_in("eve").await;
    let form = [("username", "olga"), ("password", PASSWORD)];
    let answer = app.post("/sign-in").cookie(&planted).form(&form).send().await;
    let own = answer.cookie().unwrap();
    assert_ne!(own, planted);
    assert_eq!(
        app.get("/api/v1/user").cookie(&planted).send().await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        app.get("/api/v1/user").cookie(&own).send().await.json()["username"],
        "olga"
    );
    let made_up = "bascule_session=attackerchosevalue";
    let again = app
        .post("/sign-in")
        .cookie(made_up)
        .form(&form)
        .send()
        .await
        .cookie()
        .unwrap();
    assert!(!again.contains("attacker"));
    assert_eq!(
        app.get("/api/v1/user").cookie(made_up).send().await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn nothing_leads_to_another_host() {
    let app = App::start().await;
    let foreign = [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "/\t/evil.example",
        "javascript:1",
    ];
    for next in foreign {
        let form = [("username", "olga"), ("password", PASSWORD), ("next", next)];
        let answer = app.post("/sign-in").form(&form).send().await;
        assert_eq!(
            (answer.status, answer.location()),
            (StatusCode::SEE_OTHER, "/"),
            "{next:?}"
        );
        let cookie = answer.cookie().unwrap();
        let path = format!("/sign-in?next={}", bascule_web::url_encode(next));
        assert_eq!(
            app.get(&path).cookie(&cookie).send().await.location(),
            "/",
            "{next:?}"
        );
    }
}

#[tokio::test]
async fn wrong_names_and_wrong_passwords_look_alike() {
    let app = App::start().await;
    app.user("gone", InstanceRole::Member).await;
    app.identity
        .deactivate_user(&bascule_core::Caller::system(), "gone")
        .await
        .unwrap();
    let mut texts = Vec::new();
    for (name, password) in [
        ("olga", "a wrong password"),
        ("nobody", PASSWORD),
        ("gone", PASSWORD),
    ] {
        let answer = app.sign_in_as(name, password).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.cookie().is_none());
        texts.push(answer.select("[role=alert]"));
    }
    assert!(
        texts.iter().all(|text| *text == texts[0] && text.len() == 1),
        "{texts:?}"
    );
    assert_eq!(app.facts("session.refused").await, 3);
}

#[tokio::test]
async fn what_is_typed_into_the_wrong_field_stays_out_of_the_ledger() {
    let app = App::start().await;
    app.sign_in_as("hunter2-my-password", "x").await;
    use bascule_store::{Query as _, args};
    let sql = "SELECT COUNT(*) AS n FROM fact WHERE body LIKE '%hunter2%' OR summary LIKE '%hunter2%' OR subject LIKE '%hunter2%'";
    assert_eq!(app.db.count(sql, args![]).await.unwrap(), 0);
}

#[tokio::test]
async fn guessing_is_slowed_down_per_account_and_time_heals() {
    let app = App::start().await;
    for _ in 0..5 {
        assert_eq!(
            app.sign_in_as("olga", "a wrong guess").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let locked = app.sign_in_as("olga", PASSWORD).await;
    assert_eq!(locked.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(locked.headers["retry-after"], "4");
    assert!(
        locked
            .text
            .contains("access tokens and open sessions keep working")
    );
    // From anywhere, and once in the ledger however often.
    let form = [("username", "olga"), ("password", PASSWORD)];
    let elsewhere = app
        .post("/sign-in")
        .at_address("198.51.100.1")
        .form(&form)
        .send()
        .await;
    assert_eq!(elsewhere.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(app.facts("session.refused").await, 6);

    app.later(5);
    assert_eq!(
        app.sign_in_as("olga", "another wrong guess").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(app.sign_in_as("olga", PASSWORD).await.headers["retry-after"], "8");
    app.later(9);
    app.signed_in("olga").await;
    assert_eq!(
        app.sign_in_as("olga", "a slip").await.status,
        StatusCode::UNAUTHORIZED,
        "the count began anew"
    );
}

#[tokio::test]
async fn unknown_accounts_are_slowed_down_just_the_same() {
    let app = App::start().await;
    for _ in 0..5 {
        app.sign_in_as("nobody", "a wrong guess").await;
    }
    assert_eq!(
        app.sign_in_as("nobody", "a wrong guess").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
}

#[tokio::test]
async fn guessing_over_many_accounts_is_slowed_down_per_address() {
    let app = App::start().await;
    for n in 0..30 {
        assert_eq!(
            app.sign_in_as(&format!("user{n}"), "a wrong guess").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(
        app.sign_in_as("olga", PASSWORD).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    let form = [("username", "olga"), ("password", PASSWORD)];
    let elsewhere = app
        .post("/sign-in")
        .at_address("198.51.100.1")
        .form(&form)
        .send()
        .await;
    assert_eq!(elsewhere.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn many_guesses_at_once_are_no_way_around() {
    let app = App::start().await;
    let guesses = (0..40).map(|_| app.sign_in_as("olga", "a wrong guess"));
    let answers = futures_join(guesses).await;
    let checked = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::UNAUTHORIZED)
        .count();
    assert_eq!(checked, 5);
}

async fn futures_join<F: Future<Output = crate::app::Answer>>(
    all: impl Iterator<Item = F>,
) -> Vec<crate::app::Answer> {
    futures::future::join_all(all).await
}

#[tokio::test]
async fn other_sites_can_neither_sign_in_nor_act() {
    let app = App::start().await;
    let form = [("username", "olga"), ("password", PASSWORD)];
    let forged = app
        .post("/sign-in")
        .header("sec-fetch-site", "cross-site")
        .form(&form)
        .send()
        .await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    assert!(forged.cookie().is_none());

    let cookie = app.signed_in("olga").await;
    let tick = [("name", "stolen"), ("api", "on"), ("days", "30")];
    let forged = app
        .post("/settings/tokens")
        .cookie(&cookie)
        .header("origin", "https://evil.example")
        .form(&tick);
    assert_eq!(forged.send().await.status, StatusCode::FORBIDDEN);
    let out = app
        .post("/sign-out")
        .cookie(&cookie)
        .header("sec-fetch-site", "cross-site")
        .send()
        .await;
    assert_eq!(out.status, StatusCode::FORBIDDEN);
    let own = app
        .post("/settings/tokens")
        .cookie(&cookie)
        .header("origin", "http://bascule.test")
        .form(&tick);
    assert_eq!(own.send().await.status, StatusCode::OK);
    assert_eq!(app.facts("token.created").await, 1);
}

#[tokio::test]
async fn a_browser_that_repeats_basic_credentials_is_checked_like_one_with_a_cookie() {
    let app = App::start().await;
    let token = app.token("olga", &[bascule_core::Scope::Api]).await;
    let forged = app
        .post("/groups/new")
        .basic("olga", &token)
        .header("sec-fetch-site", "cross-site");
    let form = [("name", "stolen"), ("visibility", "private")];
    assert_eq!(forged.form(&form).send().await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        app.post("/groups/new")
            .basic("olga", &token)
            .form(&form)
            .send()
            .await
            .status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn a_session_lasts_while_it_is_used() {
    let app = App::start().await;
    let cookie = app.signed_in("olga").await;
    let idle = bascule_core::limits::SESSION_IDLE.as_secs();
    for _ in 0..2 {
        app.later(idle - 60);
        app.use_session(&cookie).await;
    }
    app.later(idle + 1);
    assert_eq!(
        app.get("/settings").cookie(&cookie).send().await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_and_renews_this_one() {
    let app = App::start().await;
    let (other, cookie) = (app.signed_in("olga").await, app.signed_in("olga").await);
    let wrong = [("current", "not it at all"), ("new", "five new unrelated words")];
    let refused = app
        .post("/settings/password")
        .cookie(&cookie)
        .form(&wrong)
        .send()
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let right = [("current", PASSWORD), ("new", "five new unrelated words")];
    let changed = app
        .post("/settings/password")
        .cookie(&cookie)
        .form(&right)
        .send()
        .await;
    assert_eq!(changed.location(), "/settings?done=password");
    let renewed = changed.cookie().unwrap();
    for (old, status) in [(&other, 401), (&cookie, 401), (&renewed, 200)] {
        assert_eq!(
            app.get("/settings").cookie(old).send().await.status.as_u16(),
            status
        );
    }
    assert_eq!(
        app.sign_in_as("olga", PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        app.sign_in_as("olga", "five new unrelated words").await.status,
        StatusCode::SEE_OTHER
    );
}
