//! What people are told where nothing moves by itself, or where nothing is seen from here: refused pushes, rollouts that
//! wait for a person, what is no longer declared, drift that is only shown, sites that report by bundles.

use super::{
    plans::{SITE, two_products},
    web::{app, call, get},
    *,
};
use crate::{carry, rollout::service::Act};
use axum::{Router, body::Body};
use bascule_core::{GroupId, GroupScope, InstanceRole, Problem, ProjectScope, Role};
use bascule_store::Json;
use bascule_web::access::Gate;
use bascule_wire::bundle::{ObservedInstall, ObservedSite};
use http::{Request, StatusCode, request::Parts};

/// Everyone is an administrator of the instance.
struct Admins(ProjectId);

fn admin() -> Caller {
    Caller {
        instance_role: InstanceRole::Admin,
        ..ana()
    }
}

#[async_trait]
impl Gate for Admins {
    async fn caller(&self, _: &Parts) -> Result<Caller, Problem> {
        Ok(admin())
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
            role: Role::Maintainer,
            scopes: None,
        }))
    }
}

impl World {
    fn admins(&self) -> Router {
        let (router, _, _) = self.delivery.routes().into_parts();
        bascule_web::finish(router, Arc::new(Admins(self.project)))
    }

    async fn seen(&self, path: &str) -> String {
        let (status, page) = call(&self.admins(), get(path)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        page
    }

    async fn read(&self, path: &str) -> serde_json::Value {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (status, text) = call(&self.admins(), request).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn send(&self, path: &str, form: &str) {
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let (status, text) = call(&self.admins(), request).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}: {text}");
    }

    /// So many seconds pass in which nobody uses anything.
    async fn quiet(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.turns(1).await;
        }
    }
}

#[tokio::test]
async fn a_refused_push_is_said_until_a_later_one_is_taken() {
    let mut world = two_products().await;
    let places = ["/plans", "/plans/site-7", "/environments"];
    world.declare("c1c1c1c1c1", &[("site-7", SITE)]).await;
    assert!(!world.seen("/plans").await.contains("is not in force"));
    assert!(world.read("/api/v1/plans/refused").await.is_null());
    let bad = "environment: bad\ntier: staging\nwindows: [{cron: \"0 22 * * SAT\", timezone: Europe/Pris, duration: 4h}]\n";
    world
        .declare("c2c2c2c2c2", &[("site-7", SITE), ("bad", bad)])
        .await;
    for place in places {
        let page = world.seen(place).await;
        for part in [
            "platform/fleet at c2c2c2c2 is not in force: environments/bad.yaml:3:11",
            "Europe/Pris",
            "in force is c1c1c1c1",
            "/platform/fleet/-/commit/c2c2c2c2c2",
        ] {
            assert!(page.contains(part), "{place}: {part}: {page}");
        }
    }
    // A good change beside the bad file is as little in force, and that is said of it too.
    world
        .declare(
            "c3c3c3c3c3",
            &[("site-7", &SITE.replace("north", "south")), ("bad", bad)],
        )
        .await;
    let refused = world.read("/api/v1/plans/refused").await;
    assert_eq!(
        (&refused["commit"], &refused["in_force"]),
        (&"c3c3c3c3c3".into(), &"c1c1c1c1c1".into())
    );
    assert_eq!(world.read("/api/v1/fleet").await["refused"], refused);
    // Who may not read the files is told nothing of them.
    let clinic = world.know("health/clinic");
    *world.fakes.visible.lock().unwrap() = Some(vec![clinic]);
    assert_eq!(world.delivery.refused_commit(&ben()).await.unwrap(), None);
    // The same before the push is taken: what its files would come to.
    let files = vec![("environments/bad.yaml".to_owned(), bad.as_bytes().to_vec())];
    let fault = world.delivery.try_files(&files).await.unwrap().unwrap();
    assert!(fault.starts_with("environments/bad.yaml:3:11"), "{fault}");
    let files = vec![("environments/site-7.yaml".to_owned(), SITE.as_bytes().to_vec())];
    assert_eq!(world.delivery.try_files(&files).await.unwrap(), None);
    world.declare("c4c4c4c4c4", &[("site-7", SITE)]).await;
    for place in places {
        assert!(!world.seen(place).await.contains("is not in force"), "{place}");
    }
}

#[tokio::test]
async fn a_rollout_that_waits_for_a_person_is_found_by_whoever_looks_for_what_waits() {
    let mut world = World::rolling().await;
    world.quiet(35).await;
    let rollout = world.rollout().await;
    assert_eq!(rollout.status, "waiting");
    let why = "1.1.0 is at 25 % and waits for a person: too little traffic to judge";
    let verb = format!("bascule rollout promote health/clinic {}", rollout.id);
    let link = format!("/health/clinic/-/rollouts/{}", rollout.id);
    for place in [
        "/environments",
        "/plans",
        "/plans/production",
        "/products/health/clinic",
    ] {
        let page = world.seen(place).await;
        for part in [why, verb.as_str(), link.as_str(), "waits for a person"] {
            assert!(page.contains(part), "{place}: {part}: {page}");
        }
    }
    let map = world.seen("/environments").await;
    assert!(map.contains("1 wait<"), "it counts among what waits: {map}");
    let plans = world.delivery.plans(&ana(), Some("production")).await.unwrap();
    assert!(
        plans[0].why.starts_with(why) && plans[0].why.contains(&verb),
        "{}",
        plans[0].why
    );
    let fleet = world.read("/api/v1/fleet?q=production").await;
    assert_eq!(fleet["items"][0]["rollout"]["next"], verb, "{fleet}");
    // It is counted as such, not among those that move by themselves.
    for place in ["/environments", "/products", "/plans/production", "/plans"] {
        let page = world.seen(place).await;
        assert!(page.contains("1 waits for a person"), "{place}: {page}");
        assert!(!page.contains("1 moving"), "{place}: {page}");
    }
    let count = |state: &str| format!("/api/v1/fleet?state={state}");
    assert_eq!(world.read(&count("waiting")).await["found"], 1);
    assert_eq!(world.read(&count("moving")).await["found"], 0);
    let map = world.read("/api/v1/environments?state=waiting").await;
    assert_eq!(map["items"].as_array().unwrap().len(), 1, "{map}");
    let counts = &map["items"][0]["counts"];
    assert_eq!(
        (&counts[0]["state"], &counts[0]["count"]),
        (&"waiting".into(), &1.into())
    );
    // Paused by a person, another verb lets it go on.
    world
        .delivery
        .act_on_rollout(&ana(), world.project, rollout.id, Act::Pause, "lunch")
        .await
        .unwrap();
    let page = world.seen("/environments").await;
    assert!(page.contains("paused by ana: lunch"), "{page}");
    assert!(page.contains("bascule rollout resume health/clinic"), "{page}");
}

const PRODUCTION: &str = "\
environment: ward
tier: production
channel: dev
install:
  - product: health/clinic
";

/// 1.1.0 is half-way into a declared environment where nobody uses it; how its rollout ended after a while.
async fn unused(policy: &str) -> (World, dto::Rollout) {
    let mut world = two_products().await;
    world.declare("c1", &[("ward", PRODUCTION)]).await;
    let more = format!("rollout: {{steps: [50, 100], step: 10s, slice: 1s, max: 30s{policy}}}\n");
    world.publish_of("health/clinic", "1.1.0", &more).await;
    world.turns(4).await;
    assert_eq!(world.rollout().await.weight, 50);
    world.quiet(20).await;
    assert_eq!(world.rollout().await.weight, 50, "not before the extended time");
    world.quiet(15).await;
    let rollout = world.rollout().await;
    (world, rollout)
}

#[tokio::test]
async fn what_files_declare_moves_by_itself_where_nobody_uses_it() {
    let (world, rollout) = Box::pin(unused("")).await;
    assert_eq!(rollout.status, "promoted", "{}", rollout.reason);
    assert!(
        rollout.reason.contains("too little traffic") && rollout.reason.contains("healthy"),
        "{}",
        rollout.reason
    );
    let plan = world.plan("ward").await;
    assert!(plan[0].starts_with("health/clinic: 1.1.0"), "{plan:?}");
    let (_, rollout) = Box::pin(unused(", inconclusive: ask")).await;
    assert_eq!(rollout.status, "waiting", "the product's word counts for more");
}

#[tokio::test]
async fn a_refused_prune_is_shown_and_confirmed_where_one_looks() {
    let mut world = two_products().await;
    let prune = format!("{SITE}prune: true\n");
    world.declare("c1", &[("site-7", &prune)]).await;
    world.publish_of("health/clinic", "1.2.0", "").await;
    world.turns(4).await;
    // The file is deleted.
    world.declare("c2", &[]).await;
    world.turns(3).await;
    let page = world.seen("/plans/site-7").await;
    for part in [
        "No longer declared",
        "a person has to confirm it",
        "Take these away",
        "no longer declared, and not taken away",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for part in ["can be put here", "moved by people"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    let plan = world.plan("site-7").await;
    assert!(
        plan.iter().all(|line| line.contains("held: no longer declared")
            && line.contains("bascule prune --in site-7 --confirm")),
        "{plan:?}"
    );
    // Who may not confirm it is told who may.
    let (_, page) = call(&app(&world, Role::Maintainer), get("/plans/site-7")).await;
    assert!(
        page.contains("An administrator confirms it here") && !page.contains("Take these away"),
        "{page}"
    );
    world.send("/plans/site-7/prune", "").await;
    world.turns(4).await;
    world.clock.advance(Duration::from_secs(10));
    world.turns(4).await;
    assert_eq!(world.kinds("environment.pruned").await.len(), 2);
}

#[tokio::test]
async fn changes_are_held_and_let_go_on_the_pages() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    assert!(
        world
            .seen("/plans/site-7")
            .await
            .contains("changes may happen at any time")
    );
    world
        .send("/plans/site-7/suppress", "reason=the+audit&minutes=60")
        .await;
    let page = world.seen("/plans/site-7").await;
    assert!(page.contains("Changes are held here: the audit"), "{page}");
    assert!(!page.contains("changes may happen at any time"), "{page}");
    let held = world.read("/api/v1/suppressions").await;
    assert_eq!(held[0]["reason"], "the audit");
    let windows = world.read("/api/v1/plans/site-7/windows").await;
    assert_eq!(windows["held"][0]["actor"], "ana", "{windows}");
    world.send("/plans/site-7/unsuppress", "").await;
    assert!(
        world
            .read("/api/v1/suppressions")
            .await
            .as_array()
            .unwrap()
            .is_empty()
    );
    world
        .send("/plans/*/suppress", "reason=an+outage&minutes=0")
        .await;
    assert!(
        world
            .seen("/environments")
            .await
            .contains("Changes are held everywhere: an outage")
    );
    world.send("/plans/*/unsuppress", "").await;
    // A release is recalled from its product's page.
    world
        .send(
            "/products/health/clinic/recalls",
            "versions=1.0.0&reason=loses+data&floor=",
        )
        .await;
    let recalls = world.read("/api/v1/projects/health/clinic/recalls").await;
    assert_eq!(recalls[0]["reason"], "loses data", "{recalls}");
}

#[tokio::test]
async fn drift_that_is_only_shown_is_put_right_by_the_same_release() {
    let mut world = two_products().await;
    let shown = format!("{SITE}drift: show\n");
    world.declare("c1", &[("site-7", &shown)]).await;
    let same = world.deploy("1.0.0", "site-7").await.unwrap_err();
    assert_eq!(same.code, "already_serving", "nothing differs");
    world
        .declare("c2", &[("site-7", &shown.replace("north", "south"))])
        .await;
    let page = world.seen("/plans/site-7").await;
    assert!(page.contains("Put right"), "{page}");
    world
        .send(
            "/health/clinic/-/deployments/new",
            "version=1.0.0&environment=site-7",
        )
        .await;
    let tree = world.read("/api/v1/plans/site-7/tree").await;
    let products = tree["machines"][0]["products"].as_array().unwrap();
    let clinic = products.iter().find(|p| p["product"] == "health/clinic").unwrap();
    let parts: Vec<&str> = clinic["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|instance| instance["part"].as_str().unwrap())
        .collect();
    assert!(
        parts.contains(&"serves") && parts.contains(&"comes"),
        "two of one version are told apart: {clinic}"
    );
    world.turns(6).await;
    let plan = world.plan("site-7").await;
    assert!(plan[1].contains("up_to_date"), "{plan:?}");
}

const APART: &str =
    "environment: outpost\nnetwork: none\nchannel: dev\ninstall: [{product: health/clinic}]\n";

#[tokio::test]
async fn what_a_site_without_a_network_reported_is_shown_as_such_everywhere() {
    let mut world = two_products().await;
    world.declare("c1", &[("outpost", APART)]).await;
    let page = world.seen("/plans/outpost").await;
    assert!(page.contains("it has reported nothing yet"), "{page}");
    let report = carry::store::Reported {
        site: "outpost".into(),
        sequence: 12,
        applied: 3,
        applied_id: None,
        body: Json(ObservedSite {
            format: "bascule.observed/1".into(),
            site: "outpost".into(),
            at: world.delivery.now().minus(Duration::from_secs(3 * 3_600)),
            bascule: "0.1.0".into(),
            applied: None,
            installs: vec![ObservedInstall {
                product: "health/clinic".into(),
                version: "1.0.0".into(),
                health: "healthy".into(),
                plan: "up_to_date".into(),
                why: String::new(),
            }],
        }),
        inventory: Digest::of(b"none"),
        at: world.delivery.now(),
    };
    let tx = world.delivery.db.begin().await.unwrap();
    carry::store::put_report(&tx, &report).await.unwrap();
    world.delivery.replan(&tx).await.unwrap();
    tx.commit().await.unwrap();
    world.turns(3).await;
    let page = world.seen("/plans/outpost").await;
    for part in ["as reported <time", "by bundle 12", "1.0.0"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for part in ["no agent runs these", "nothing serves", "no edge reports"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    // So does the project's own page, which offers nothing that no network would carry.
    let page = world.seen("/health/clinic/-/environments").await;
    for part in ["as reported <time", "by bundle 12", "No network reaches it"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for part in ["no agent is enrolled", "<option>outpost"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    let views = world.read("/api/v1/projects/health/clinic/environments").await;
    let outpost = views
        .as_array()
        .unwrap()
        .iter()
        .find(|view| view["name"] == "outpost");
    let outpost = outpost.unwrap();
    assert_eq!(outpost["told"]["version"], "1.0.0", "{outpost}");
    assert_eq!(
        (&outpost["url"], &outpost["apart"]),
        (&serde_json::Value::Null, &true.into())
    );
    let map = world.read("/api/v1/environments?q=outpost").await;
    assert_eq!(map["items"][0]["health"], "healthy", "{map}");
    assert_eq!(map["items"][0]["reported"]["sequence"], 12, "{map}");
    let page = world.seen("/environments?q=outpost").await;
    assert!(page.contains("as reported <time"), "{page}");
    let view = world.read("/api/v1/projects/health/clinic/product").await;
    let places = view["places"].as_array().unwrap();
    let outpost = places
        .iter()
        .find(|place| place["environment"] == "outpost")
        .unwrap();
    assert_eq!(
        (&outpost["runs"], &outpost["health"]),
        (&"1.0.0".into(), &"healthy".into()),
        "{outpost}"
    );
    assert_eq!(outpost["reported"]["sequence"], 12);
    let found = world
        .read("/api/v1/projects/health/clinic/where?commit=1.0.0")
        .await;
    let places = found["environments"].as_array().unwrap();
    assert!(
        places
            .iter()
            .any(|place| place["environment"] == "outpost" && place["here"] == true),
        "{found}"
    );
    let parity = world.read("/api/v1/parity?product=health/clinic").await;
    let item = &parity["items"][0];
    let names = item["environments"].as_array().unwrap();
    let at = names.iter().position(|named| named["name"] == "outpost").unwrap();
    let line = |name: &str| {
        let lines = item["lines"].as_array().unwrap();
        lines.iter().find(|line| line["name"] == name).unwrap()["cells"][at].clone()
    };
    assert_eq!(line("version"), "1.0.0");
    assert_eq!(line("machine"), "not reported");
    assert!(names[at]["reported_at"].is_string(), "{item}");
}
