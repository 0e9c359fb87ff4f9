//! The two views and the fleet: what a person sees there, and what nobody sees who may not.

use super::{
    plans::{SITE, two_products},
    web::{app, call, get},
    *,
};
use axum::{Router, body::Body};
use bascule_core::{GroupId, GroupScope, Problem, ProjectScope, Role};
use bascule_web::access::Gate;
use http::{Request, StatusCode, request::Parts};

impl World {
    /// A page as a browser, or the part of it that htmx asks for.
    async fn page(&self, path: &str, part: bool) -> String {
        let mut request = get(path);
        if part {
            request
                .headers_mut()
                .insert("hx-request", "true".parse().unwrap());
        }
        let (status, page) = call(&self.app(), request).await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        page
    }

    /// As ana, who may read everything; once something is set for ben, as ben.
    fn app(&self) -> Router {
        if self.fakes.visible.lock().unwrap().is_none() {
            return app(self, Role::Maintainer);
        }
        let (router, _, _) = self.delivery.routes().into_parts();
        bascule_web::finish(router, Arc::new(Ben(self.project)))
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (status, text) = call(&self.app(), request).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

struct Ben(ProjectId);

#[async_trait]
impl Gate for Ben {
    async fn caller(&self, _: &Parts) -> Result<Caller, Problem> {
        Ok(ben())
    }
    async fn group(&self, _: &Caller, _: &str) -> Result<Option<GroupScope>, Problem> {
        Ok(None)
    }
    async fn project(&self, _: &Caller, group: &str, name: &str) -> Result<Option<ProjectScope>, Problem> {
        Ok(Some(ProjectScope {
            id: self.0,
            group_id: GroupId::new(),
            group: group.into(),
            name: name.into(),
            role: Role::Reporter,
            scopes: None,
        }))
    }
}

fn products(page: &serde_json::Value) -> Vec<String> {
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            format!(
                "{} {}",
                line["environment"].as_str().unwrap(),
                line["product"].as_str().unwrap()
            )
        })
        .collect()
}

/// clinic 1.1.0 waits in site-7 for an approval, and serves in staging.
async fn waiting() -> World {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world
        .declare("c2", &[("site-7", &format!("{SITE}approvals: [security]\n"))])
        .await;
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(4).await;
    world
}

#[tokio::test]
async fn the_fleet_is_filtered_by_words_and_state_and_read_page_by_page() {
    let mut world = two_products().await;
    let names: Vec<String> = (0..60).map(|n| format!("site-{n:02}")).collect();
    let files: Vec<(String, String)> = names
        .iter()
        .map(|name| (name.clone(), SITE.replace("site-7", name)))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    world.declare("c1", &files).await;
    // 60 sites of two products each, and two environments that each product has.
    let mut all = Vec::new();
    let mut next = String::new();
    loop {
        let page = world.json(&format!("/api/v1/fleet?after={next}")).await;
        assert_eq!(page["found"], 124);
        all.extend(products(&page));
        match page["next"].as_str() {
            Some(more) => next = bascule_web::url_encode(more),
            None => break,
        }
    }
    let mut sorted = all.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(all, sorted, "each install once, in order");
    assert_eq!(all.len(), 124);
    let page = world.json("/api/v1/fleet?q=SITE-1%20auth").await;
    assert_eq!(page["found"], 10, "{page}");
    assert!(products(&page).iter().all(|line| line.starts_with("site-1")));
    let found: i64 = page["counts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|counted| counted["count"].as_i64().unwrap())
        .sum();
    assert_eq!(found, 10, "the bar counts what matches");
    assert_eq!(world.json("/api/v1/fleet?q=100%25").await["found"], 0);
    let part = world.page("/plans?q=site-03+clinic", true).await;
    assert!(part.contains(">1 install<") && !part.contains("<html"), "{part}");
    assert!(part.contains("site-03") && !part.contains("site-04"), "{part}");
    let page = world.page("/environments?q=site-0", true).await;
    assert_eq!(page.matches("data-environment").count(), 10, "{page}");
    let page = world.page("/environments", false).await;
    assert!(page.contains("More environments"), "62 do not stand on one page");
}

#[tokio::test]
async fn a_developer_sees_which_release_runs_where_and_what_it_waits_for() {
    let world = Box::pin(waiting()).await;
    let page = world.page("/products", false).await;
    assert!(page.contains("health/clinic") && page.contains("1.1.0"), "{page}");
    let page = world.page("/products/health/clinic", false).await;
    for part in [
        "waits for approval by security",
        "Approve 1.1.0 for site-7 in the name of security?",
        "Which release runs where",
        "Where is my commit?",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let view = world.json("/api/v1/projects/health/clinic/product").await;
    assert_eq!(view["approvals"][0]["team"], "security");
    assert_eq!(view["releases"][0]["version"], "1.1.0");
    assert_eq!(
        view["places"][0]["environment"], "site-7",
        "what waits comes first: {view}"
    );
    let page = world
        .page("/products/health/clinic?environment=site-7&version=1.1.0", false)
        .await;
    assert!(
        page.contains("health/clinic stays at 1.0.0: 1.1.0 waits for approval by security"),
        "{page}"
    );
    // Approved in the browser, it goes on by itself.
    let form = Request::post("/products/health/clinic/approvals")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("environment=site-7&version=1.1.0&team=security"))
        .unwrap();
    let (status, body) = call(&app(&world, Role::Reporter), form).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{body}");
    let mut world = world;
    world.turns(6).await;
    let view = world.json("/api/v1/projects/health/clinic/product").await;
    let site = view["places"]
        .as_array()
        .unwrap()
        .iter()
        .find(|place| place["environment"] == "site-7")
        .unwrap();
    assert_eq!(site["runs"], "1.1.0", "{view}");
    assert!(view["approvals"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn an_approval_is_asked_for_although_another_product_has_to_move_first() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let asked = format!("{SITE}approvals: [security]\n");
    world.declare("c2", &[("site-7", &asked)]).await;
    let needs = "dependencies: [{product: health/auth, minimum: 2.1.0, maximum: 2.x.x}]\n";
    world.publish_of("health/auth", "2.1.0", "").await;
    world.publish_of("health/clinic", "1.1.0", needs).await;
    world.turns(4).await;
    let page = world.page("/products/health/clinic", false).await;
    assert!(page.contains("s-blocked"), "{page}");
    assert!(
        page.contains("Approve 1.1.0 for site-7 in the name of security?"),
        "{page}"
    );
}

#[tokio::test]
async fn a_product_that_does_not_exist_yet_counts_everywhere_and_leads_nowhere() {
    let mut world = two_products().await;
    let file = format!("{SITE}  - product: health/billing\n");
    world.declare("c1", &[("site-7", &file)]).await;
    for path in ["/plans?q=billing", "/plans/site-7", "/environments?q=site-7"] {
        let page = world.page(path, false).await;
        assert!(page.contains("unknown product"), "{path}: {page}");
        assert!(!page.contains("/products/health/billing"), "{path}: {page}");
    }
    let page = world.page("/environments?q=site-7", true).await;
    for part in ["1 unknown product", "3 products"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = world.page("/environments?state=unknown_product", true).await;
    assert_eq!(page.matches("data-environment").count(), 1, "{page}");
}

#[tokio::test]
async fn nothing_is_missing_where_nobody_declared_a_product() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let parity = world.json("/api/v1/parity?product=health/clinic").await;
    let lines = parity["items"][0]["lines"].as_array().unwrap();
    let version = lines.iter().find(|line| line["name"] == "version").unwrap();
    assert!(
        version["cells"]
            .as_array()
            .unwrap()
            .contains(&"nothing runs".into()),
        "{version}"
    );
    assert_eq!(
        version["differs"], false,
        "production is filled by people: {version}"
    );
    let page = world.page("/parity?product=health/clinic", false).await;
    assert!(page.contains("data-label=\"site-7\""), "{page}");
    assert!(
        !page.contains("fw-normal\">production<"),
        "its name says it: {page}"
    );
}

#[tokio::test]
async fn a_commit_is_found_in_its_releases_and_environments() {
    let world = Box::pin(waiting()).await;
    let old = format!("{:0>40}", "1.0.0");
    let found = world
        .json(&format!("/api/v1/projects/health/clinic/where?commit={old}"))
        .await;
    assert_eq!(
        found["sentence"],
        "00000000 is in 2 releases, first in 1.0.0; it runs in 2 of 3 environments: site-7, staging"
    );
    assert_eq!(found["title"], "Release 1.0.0");
    let found = world
        .json("/api/v1/projects/health/clinic/where?commit=v1.1.0")
        .await;
    assert_eq!(
        found["sentence"],
        "00000000 is in the release 1.1.0; it runs in 1 of 3 environments: staging"
    );
    let site = found["environments"]
        .as_array()
        .unwrap()
        .iter()
        .find(|place| place["environment"] == "site-7")
        .unwrap();
    assert!(
        site["here"] == false && site["why"].as_str().unwrap().contains("approval by security"),
        "{found}"
    );
    let page = world.page("/products/health/clinic?commit=1.1.0", false).await;
    assert!(
        page.contains("still 1.0.0: health/clinic stays at 1.0.0"),
        "{page}"
    );
    let page = world.page("/products/health/clinic?commit=beef", false).await;
    assert!(page.contains("has no commit `beef`"), "{page}");
}

#[tokio::test]
async fn an_environment_shows_its_tree_its_windows_and_each_verdict() {
    let mut world = two_products().await;
    let held = format!(
        "{SITE}windows: [{{cron: \"0 22 * * SAT\", timezone: UTC, duration: 4h}}]\napprovals: [security]\n"
    );
    world.declare("c1", &[("site-7", SITE)]).await;
    world.declare("c2", &[("site-7", &held)]).await;
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(3).await;
    let page = world.page("/plans/site-7", false).await;
    for part in [
        "no window is open",
        "class=\"window\"",
        "Saturday 17 January 22:00 (UTC)",
        "each constraint",
        "approval: waits for approval by security",
        "staging; follows the channel dev; changes are approved by security",
        "class=\"now\"",
        "open for 4 h",
        "agent local",
        "with the newest routes",
        "100 % of traffic",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // An end is neither said twice nor as a machine writes it.
    for part in ["(until approval by security)", "(until 1970", "open for 4h 0m"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    let part = world.page("/plans/site-7", true).await;
    assert!(
        part.contains("agent local") && !part.contains("Plan log"),
        "{part}"
    );
    let (status, _) = call(&app(&world, Role::Maintainer), get("/plans/site-9")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let map = world.page("/environments", false).await;
    for part in [
        "What plans wait for",
        "a maintenance window",
        "Windows of the next seven days",
        "data-environment=\"site-7\"",
        "Waiting longest",
    ] {
        assert!(map.contains(part), "{part}: {map}");
    }
    let place = |name: &str| map.find(&format!("data-environment=\"{name}\"")).unwrap();
    assert!(
        place("site-7") < place("production"),
        "what is held comes first: {map}"
    );
    world
        .delivery
        .suppress(&ana(), "*", "the auditors are here", None)
        .await
        .unwrap();
    let map = world.page("/environments", true).await;
    assert!(
        map.contains("Changes are held everywhere: the auditors are here"),
        "{map}"
    );
}

#[tokio::test]
async fn products_that_one_may_not_read_are_named_nowhere() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let needs = "dependencies: [{product: health/auth, minimum: 2.1.0, maximum: 2.x.x}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    let only = "environment: site-8\ntier: staging\nchannel: dev\ninstall: [{product: health/auth}]\n";
    world.declare("c2", &[("site-7", SITE), ("site-8", only)]).await;
    let all = world.page("/plans/site-7", false).await;
    assert!(all.contains("needs health/auth ≥ 2.1.0"), "{all}");
    let clinic = world.know("health/clinic");
    *world.fakes.visible.lock().unwrap() = Some(vec![clinic]);
    for path in [
        "/plans",
        "/plans?q=auth",
        "/plans/site-7",
        "/plans/site-7?product=health/clinic&version=1.1.0",
        "/environments",
        "/products",
        "/products/health/clinic",
        "/products/health/clinic?environment=site-7&version=1.1.0",
        "/products/health/clinic?commit=1.1.0",
    ] {
        let page = world.page(path, false).await;
        assert!(!page.contains("health/auth"), "{path}: {page}");
        assert!(!page.contains("site-8"), "{path}: {page}");
    }
    for path in [
        "/api/v1/fleet",
        "/api/v1/plans",
        "/api/v1/plans/site-7/log",
        "/api/v1/plans/site-7/why?product=clinic&version=1.1.0",
        "/api/v1/products",
        "/api/v1/projects/health/clinic/product",
        "/api/v1/projects/health/clinic/where?commit=1.1.0",
    ] {
        let text = world.json(path).await.to_string();
        assert!(
            !text.contains("health/auth") && !text.contains("site-8"),
            "{path}: {text}"
        );
        if path.ends_with("why?product=clinic&version=1.1.0") {
            assert!(
                text.contains("needs a product that you may not read ≥ 2.1.0"),
                "{text}"
            );
        }
    }
    // Nor does asking for a name tell that it is there.
    assert_eq!(world.json("/api/v1/fleet?q=health/auth").await["found"], 0);
    let (status, _) = call(&world.app(), get("/plans/site-8")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    *world.fakes.visible.lock().unwrap() = Some(Vec::new());
    assert_eq!(world.json("/api/v1/fleet").await["found"], 0);
}

#[tokio::test]
async fn the_calendar_says_on_which_holiday_no_window_opens() {
    let mut world = two_products().await;
    let held = format!(
        "{SITE}windows: [{{cron: \"0 22 * * SAT\", timezone: UTC, duration: 4h}}]\nholidays: [\"1970-01-24\"]\n"
    );
    world.declare("c1", &[("site-7", &held)]).await;
    let page = world.page("/plans/site-7", false).await;
    let place = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("{text} is not on the page: {page}"))
    };
    let (before, holiday, after) = (
        place("Saturday 17 January 22:00 (UTC)"),
        place("Saturday 24 January: no changes (holiday)"),
        place("Saturday 31 January 22:00 (UTC)"),
    );
    assert!(before < holiday && holiday < after, "in the order of their days");
}
