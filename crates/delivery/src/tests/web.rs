use super::*;
use axum::{Router, body::Body};
use bascule_core::{GroupId, GroupScope, Problem, ProjectScope, Role};
use bascule_web::access::Gate;
use bascule_wire::agent::DesiredState;
use http::{Request, StatusCode, request::Parts};
use tower::ServiceExt as _;

struct Open(ProjectId, Role);

#[async_trait]
impl Gate for Open {
    async fn caller(&self, _: &Parts) -> Result<Caller, Problem> {
        Ok(ana())
    }
    async fn group(&self, _: &Caller, _: &str) -> Result<Option<GroupScope>, Problem> {
        Ok(None)
    }
    async fn project(&self, _: &Caller, group: &str, project: &str) -> Result<Option<ProjectScope>, Problem> {
        let scope = ProjectScope {
            id: self.0,
            group_id: GroupId::new(),
            group: group.into(),
            name: project.into(),
            role: self.1,
            scopes: None,
        };
        Ok((group == "health").then_some(scope))
    }
}

pub(super) fn app(world: &World, role: Role) -> Router {
    let (router, _, _) = world.delivery.routes().into_parts();
    bascule_web::finish(router, Arc::new(Open(world.project, role)))
}

pub(super) async fn call(app: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 22).await.unwrap();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn get(path: &str) -> Request<Body> {
    Request::get(path)
        .header("accept", "text/html")
        .body(Body::empty())
        .unwrap()
}

fn post(path: &str, body: &str) -> Request<Body> {
    let kind = if path.starts_with("/api") {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    Request::post(path)
        .header("content-type", kind)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn what_was_undone_is_offered_and_not_chosen() {
    let mut world = World::rolling().await;
    world.second(0).await;
    let rollout = world.rollout().await;
    let app = app(&world, Role::Maintainer);
    let path = format!("/health/clinic/-/rollouts/{}/abort", rollout.id);
    let (status, body) = call(&app, post(&path, "reason=it+loses+appointments")).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{body}");
    world.turns(4).await;
    let (_, page) = call(&app, get(&format!("/health/clinic/-/rollouts/{}", rollout.id))).await;
    assert!(
        page.contains("data-step=\"undone\"") && page.contains("s-failed"),
        "{page}"
    );
    assert!(!page.contains("data-step=\"done\""), "{page}");
    let (_, page) = call(&app, get("/health/clinic/-/environments")).await;
    for part in [
        "<option value=\"1.1.0\">1.1.0 (was undone)</option>",
        "<option value=\"1.0.0\" selected>1.0.0</option>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn pages_show_what_serves_and_how_the_rollout_goes() {
    let mut world = World::rolling().await;
    for _ in 0..5 {
        world.second(0).await;
    }
    let app = app(&world, Role::Maintainer);
    let rollout = world.rollout().await;
    let (status, page) = call(&app, get("/health/clinic/-/environments")).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(
        page.contains("1.1.0 is rolling out") && page.contains("Deploy a release"),
        "{page}"
    );
    let (_, page) = call(&app, get("/environments")).await;
    assert!(
        page.contains("health/clinic") && page.contains("production"),
        "{page}"
    );
    let (_, page) = call(&app, get("/health/clinic/-/deployments?environment=production")).await;
    assert!(page.contains("rolling out"), "{page}");
    let (_, page) = call(
        &app,
        get(&format!("/health/clinic/-/deployments/{}", rollout.deployment)),
    )
    .await;
    assert!(
        page.contains("1.1.0 to production") && page.contains("25 %"),
        "{page}"
    );
    let address = format!("/health/clinic/-/rollouts/{}", rollout.id);
    let (_, page) = call(&app, get(&address)).await;
    for part in [
        "1.1.0 beside 1.0.0 in production",
        "Abort",
        "Pause",
        "data-chart",
        "Last slices in numbers",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for kind in ["weight", "errors", "evidence"] {
        let (status, chart) = call(&app, get(&format!("{address}/chart/{kind}"))).await;
        assert_eq!(status, StatusCode::OK);
        let option: serde_json::Value = serde_json::from_str(&chart).unwrap();
        assert!(
            option["series"][0]["data"]
                .as_array()
                .is_some_and(|data| !data.is_empty()),
            "{chart}"
        );
    }
    assert_eq!(
        call(&app, get(&format!("{address}/chart/other"))).await.0,
        StatusCode::NOT_FOUND
    );
    let (status, _) = call(&app, post(&format!("{address}/abort"), "reason=")).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(world.rollout().await.status, "aborted");
}

#[tokio::test]
async fn the_api_serves_members_and_refuses_others() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    let base = "/api/v1/projects/health/clinic";
    let maintainer = app(&world, Role::Maintainer);
    let (status, body) = call(&maintainer, get(&format!("{base}/environments"))).await;
    assert_eq!(status, StatusCode::OK);
    let environments: Vec<dto::Environment> = serde_json::from_str(&body).unwrap();
    assert_eq!(World::serving(&environments[0]), Some("1.0.0"));
    assert_eq!(
        call(&maintainer, get(&format!("{base}/environments/nowhere")))
            .await
            .0,
        StatusCode::NOT_FOUND
    );

    let order = r#"{"version":"1.0.0","environment":"production"}"#;
    let developer = app(&world, Role::Developer);
    let (status, body) = call(&developer, post(&format!("{base}/deployments"), order)).await;
    assert_eq!(
        (status, body.contains("deploy to production")),
        (StatusCode::FORBIDDEN, true),
        "{body}"
    );
    let reporter = app(&world, Role::Reporter);
    assert_eq!(
        call(&reporter, post(&format!("{base}/deployments"), order))
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    let guest = app(&world, Role::Guest);
    assert_eq!(
        call(&guest, get(&format!("{base}/environments"))).await.0,
        StatusCode::FORBIDDEN
    );
    let (status, body) = call(&maintainer, post(&format!("{base}/deployments"), order)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let made: dto::Deployment = serde_json::from_str(&body).unwrap();
    let (_, body) = call(&maintainer, get(&format!("{base}/deployments/{}", made.id))).await;
    assert!(body.contains("\"starting\""), "{body}");
    assert_eq!(call(&maintainer, get(&format!("{base}/rollouts"))).await.1, "[]");
    assert_eq!(
        call(
            &maintainer,
            get(&format!("{base}/deployments/{}", ReleaseId::new()))
        )
        .await
        .0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn agents_and_edges_need_their_own_tokens() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    let app = app(&world, Role::Owner);
    let report = serde_json::to_string(&world.report(&[])).unwrap();
    assert_eq!(
        call(&app, post("/api/v1/agent/sync", &report)).await.0,
        StatusCode::UNAUTHORIZED
    );
    let with = |path: &str, token: &str, body: &str| {
        let mut request = post(path, body);
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    assert_eq!(
        call(&app, with("/api/v1/agent/sync", &world.edge, &report))
            .await
            .0,
        StatusCode::UNAUTHORIZED
    );
    let (status, body) = call(
        &app,
        with("/api/v1/agent/sync?revision=0&wait=5", &world.agent, &report),
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let desired: DesiredState = serde_json::from_str(&body).unwrap();
    let path = &desired.instances[0].artifact.path;
    let mut fetch = get(path);
    fetch.headers_mut().insert(
        "authorization",
        format!("Bearer {}", world.agent).parse().unwrap(),
    );
    let release = world.fakes.releases.lock().unwrap()[0].id;
    assert_eq!(
        call(&app, fetch).await,
        (StatusCode::OK, bytes_of(release, "dist/app.tar.gz"))
    );

    let staging = world.environment("staging").await;
    let listeners = format!(
        r#"[{{"environment":"{}","url":"http://127.0.0.1:4711","port":4711}}]"#,
        staging.id
    );
    assert_eq!(
        call(&app, with("/api/v1/edge/listeners", &world.edge, &listeners))
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        world.environment("staging").await.url.as_deref(),
        Some("http://127.0.0.1:4711")
    );
    let bad = listeners.replace("http://", "javascript://");
    assert_eq!(
        call(&app, with("/api/v1/edge/listeners", &world.edge, &bad))
            .await
            .0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        call(&app, with("/api/v1/edge/counts", &world.edge, "[]")).await.0,
        StatusCode::NO_CONTENT
    );
    let mut config = get("/api/v1/edge/config?revision=0");
    config
        .headers_mut()
        .insert("authorization", format!("Bearer {}", world.edge).parse().unwrap());
    let (_, body) = call(&app, config).await;
    let config: EdgeConfig = serde_json::from_str(&body).unwrap();
    let route = config
        .routes
        .iter()
        .find(|route| route.environment == staging.id)
        .unwrap();
    assert_eq!(
        (route.port, route.host.as_str()),
        (Some(4711), "staging.clinic.health")
    );
}

#[tokio::test]
async fn a_task_is_asked_for_and_followed_on_its_pages() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    let maintainer = app(&world, Role::Maintainer);
    let (status, body) = call(&maintainer, get("/health/clinic/-/tasks")).await;
    assert!(
        status == StatusCode::OK && body.contains("No tasks") && body.contains("Run a command once"),
        "{body}"
    );
    let form = "environment=staging&command=.%2Fmanage+reindex+%3C1&reason=lost+index";
    let (status, _) = call(&maintainer, post("/health/clinic/-/tasks/new", form)).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let task = world
        .delivery
        .tasks(world.project, None, 1)
        .await
        .unwrap()
        .remove(0);
    let agent = world.delivery.agent_of(&world.agent).await.unwrap();
    world
        .delivery
        .add_task_output(&agent, task.id, 0, b"<b>rows: 7</b>\n")
        .await
        .unwrap();
    let path = format!("/health/clinic/-/tasks/{}", task.id);
    let (status, body) = call(&maintainer, get(&path)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    for shown in [
        "sh -c",
        "./manage reindex",
        "lost index",
        "rows: 7",
        "queued",
        "Cancel",
    ] {
        assert!(body.contains(shown), "{shown}: {body}");
    }
    assert!(!body.contains("<b>rows"), "what it wrote is text");
    let (_, list) = call(&maintainer, get("/health/clinic/-/tasks")).await;
    assert!(list.contains("reindex"), "{list}");
    // Who may not run one sees that it ran, and not what it wrote.
    let reporter = app(&world, Role::Reporter);
    let (status, body) = call(&reporter, get(&path)).await;
    assert!(
        status == StatusCode::OK && body.contains("reindex") && !body.contains("rows: 7"),
        "{body}"
    );
    let (status, _) = call(&maintainer, post(&format!("{path}/cancel"), "")).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, body) = call(&maintainer, get(&path)).await;
    assert!(body.contains("is being ended"), "{body}");
}
