//! Every route refuses whoever it is not for; built from the routes themselves.

use crate::app::App;
use bascule_core::{InstanceRole, Scope};
use bascule_web::Access;
use http::{Method, StatusCode};

#[tokio::test]
async fn every_route_refuses_the_anonymous_and_the_outsider_unless_listed() {
    let app = App::start().await;
    app.user("partner", InstanceRole::External).await;
    let partner = app.token("partner", &[Scope::Api]).await;
    let mut public = Vec::new();
    for route in &app.table {
        let path = route
            .path
            .replace("{group}", "clinic")
            .replace("{project}", "site")
            .replace("{username}", "olga")
            .replace("{token}", "01890000-0000-7000-8000-000000000000")
            .replace("{key}", "01890000-0000-7000-8000-000000000000")
            .replace("{session}", "01890000-0000-7000-8000-000000000000");
        let method: Method = route.method.parse().unwrap();
        if route.access == Access::Public {
            public.push(format!("{method} {}", route.path));
            continue;
        }
        let status = app.ask(method.clone(), &path).send().await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} anonymous");
        let status = app
            .ask(method.clone(), &path)
            .bearer(&partner)
            .send()
            .await
            .status;
        match route.access {
            Access::SignedIn | Access::Holder => {
                assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
            }
            Access::Instance(_) | Access::Insider => {
                assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} outsider");
            }
            _ => assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path} outsider"),
        }
    }
    public.sort();
    assert_eq!(
        public,
        [
            "GET /login",
            "GET /sign-in",
            "GET /users/sign_in",
            "POST /sign-in",
            "POST /sign-out"
        ]
    );
}
