//! Previews: what a policy may say, and what people see.

use super::*;

#[tokio::test]
async fn a_policy_chooses_no_production_agent_and_no_reserved_name() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    world.main_says(&MAIN.replace("most: 2", "most: 2, environment: nowhere"));
    world.opens(7, "h1").await;
    world.green("h1").await;
    world.goes_on(2).await;
    assert_eq!(
        world.preview_says(7).await,
        ("failed".into(), "unknown_environment".into())
    );
    let fault = crate::site::parse("environments/review-3.yaml", b"environment: review-3\n").unwrap_err();
    assert!(fault.what.contains("previews"), "{fault}");
    // A deployment by hand does not reach into a preview.
    world.main_says(MAIN);
    world.pushes(7, "h2").await;
    world.green("h2").await;
    world.goes_on(5).await;
    assert_eq!(world.preview_says(7).await.0, "running");
    let refused = world.deploy("1.0.0", "review-7").await.unwrap_err();
    assert_eq!(refused.code, "unknown_environment");
}

#[tokio::test]
async fn the_routes_and_the_card_show_it_to_those_who_may() {
    let world = running().await;
    let app = web::app(&world, Role::Reporter);
    let at = "/api/v1/projects/health/clinic/merge-requests/7/preview";
    let (status, body) = web::call(&app, web::get(at)).await;
    assert!(
        status.is_success() && body.contains("\"state\":\"running\""),
        "{body}"
    );
    let (status, body) = web::call(&app, web::get("/api/v1/projects/health/clinic/previews")).await;
    assert!(
        status.is_success() && body.contains("review-7.clinic.health"),
        "{body}"
    );
    for (path, body) in [("start", "{}"), ("stop", "")] {
        let request = http::Request::post(format!("{at}/{path}"))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body))
            .unwrap();
        assert_eq!(web::call(&app, request).await.0, 403, "{path}");
    }
    assert_eq!(
        web::call(&app, web::get("/api/v1/projects/health/clinic/preview-secrets"))
            .await
            .0,
        403
    );
    let scope = |role| bascule_core::ProjectScope {
        id: world.project,
        group_id: bascule_core::GroupId::new(),
        group: "health".into(),
        name: "clinic".into(),
        role,
        scopes: None,
    };
    let card = |role| {
        let scope = scope(role);
        let delivery = world.delivery.clone();
        async move {
            let panel = delivery.panel(&ana(), &scope, 7, true).await.unwrap();
            panel
                .preview
                .map(|markup| markup.as_str().to_owned())
                .unwrap_or_default()
        }
    };
    let shown = card(Role::Developer).await;
    assert!(
        shown.contains("running") && shown.contains("preview/stop"),
        "{shown}"
    );
    assert!(!card(Role::Reporter).await.contains("preview/stop"));
    assert!(card(Role::Guest).await.is_empty());
}

#[tokio::test]
async fn a_request_of_the_environments_project_tells_what_merging_it_changes() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    let home = world.project;
    let clinic = ProjectId::new();
    {
        let mut projects = world.fakes.projects.lock().unwrap();
        projects.insert("platform/fleet".into(), home);
        projects.insert("health/clinic".into(), clinic);
    }
    let file = "environment: site-7\ntier: production\ninstall:\n  - product: health/clinic\n";
    world
        .fakes
        .files
        .lock()
        .unwrap()
        .insert("tree:environments/site-7.yaml".into(), file.into());
    world.request(3, |request| request.head = "tree".into());
    let told = world.delivery.dry_run_of_request(&ana(), home, 3).await.unwrap();
    let texts: Vec<_> = told.changes.iter().map(|change| change.text.as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("site-7")), "{texts:?}");
    let elsewhere = world
        .delivery
        .dry_run_of_request(&ana(), clinic, 3)
        .await
        .unwrap_err();
    assert_eq!(elsewhere.code, "no_declarations");

    let scope = bascule_core::ProjectScope {
        id: home,
        group_id: bascule_core::GroupId::new(),
        group: "platform".into(),
        name: "fleet".into(),
        role: Role::Reporter,
        scopes: None,
    };
    let panel = world.delivery.panel(&ana(), &scope, 3, true).await.unwrap();
    let shown = panel.dry_run.unwrap().as_str().to_owned();
    assert!(
        shown.contains("This merge would change") && shown.contains("site-7"),
        "{shown}"
    );
    world.request(3, |request| request.open = false);
    assert!(
        world
            .delivery
            .panel(&ana(), &scope, 3, false)
            .await
            .unwrap()
            .dry_run
            .is_none()
    );
}

#[tokio::test]
async fn requests_from_before_get_theirs_and_what_never_ran_is_forgotten() {
    let mut world = World::new().await;
    // Opened before anybody knew of previews: no fact of it is heard.
    world.request(4, |request| request.head = "g1".into());
    world
        .fakes
        .files
        .lock()
        .unwrap()
        .insert("g1".into(), BRANCH.into());
    world.green("g1").await;
    world.main_says(MAIN);
    world
        .hears(&bascule_ledger::facts::forge::BranchUpdated {
            project: world.project,
            branch: "main".into(),
            default: true,
            before: None,
            after: Some("main-tip".into()),
            forced: false,
            commits: Vec::new(),
            commit_count: 0,
            at: world.delivery.now(),
            ci_skip: false,
            ci_options: None,
        })
        .await;
    world.goes_on(4).await;
    assert_eq!(world.preview_says(4).await.0, "running");

    world.opens(5, "k1").await;
    world.goes_on(1).await;
    assert_eq!(world.preview_says(5).await.0, "waiting");
    world.request(5, |request| request.open = false);
    world
        .hears(&MergeRequestClosed {
            project: world.project,
            merge_request: bascule_core::MergeRequestId::new(),
            iid: 5,
            at: world.delivery.now(),
        })
        .await;
    world.goes_on(1).await;
    assert_eq!(
        world.delivery.preview(world.project, 5).await.unwrap_err().status,
        404
    );
}
