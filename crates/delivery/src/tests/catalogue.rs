//! Ramps, recalls that happen by themselves, locks; secrets and parity.

use super::*;
use plans::{SITE, two_products};

impl World {
    /// Publishes to the channel `dev` with more in its file, and lets only the platform's own work go on: the plan is
    /// made, nothing is declared yet.
    async fn sites(&mut self, count: usize, text: &str) {
        let files: Vec<(String, String)> = (0..count)
            .map(|n| (format!("site-{n}"), text.replace("SITE", &format!("site-{n}"))))
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        self.declare("sites", &files).await;
    }

    async fn at(&self, version: &str) -> usize {
        let plans = self.delivery.plans(&ana(), None).await.unwrap();
        plans
            .iter()
            .filter(|p| p.environment.starts_with("site-") && p.current == version)
            .count()
    }
}

const ONE: &str = "environment: SITE\ntier: staging\nchannel: dev\ninstall:\n  - product: health/clinic\n";

#[tokio::test]
async fn a_ramp_spreads_a_release_over_its_environments_and_says_when_each_turn_comes() {
    let mut world = two_products().await;
    world.sites(12, ONE).await;
    world.turns(6).await;
    assert_eq!(world.at("1.0.0").await, 12, "what has no ramp comes at once");
    let ramp = "channels: [{name: dev, ramp: 7d}]\n";
    world.publish_of("health/clinic", "1.1.0", ramp).await;
    world.turns(4).await;
    assert_eq!(world.at("1.1.0").await, 0);
    let why = world
        .delivery
        .why_not(&ana(), "site-3", "clinic", "1.1.0")
        .await
        .unwrap();
    assert_eq!(
        why.sentence,
        "health/clinic stays at 1.0.0: 1.1.0 waits for its turn in the ramp of the channel dev"
    );
    let lifts: Timestamp = why.links[0].lifts.parse().unwrap();
    let day = Duration::from_secs(86_400);
    assert!(lifts > world.delivery.now() && lifts.since(world.delivery.now()) < 7 * day);
    let mut last = 0;
    for _ in 0..7 {
        world.clock.advance(day);
        world.turns(6).await;
        let now = world.at("1.1.0").await;
        assert!(now >= last && now - last <= 6, "{last} then {now}");
        last = now;
    }
    assert_eq!(last, 12, "at the end all have it");
}

#[tokio::test]
async fn a_release_that_is_rolled_back_in_two_environments_is_recalled_by_itself() {
    let mut world = two_products().await;
    let more = "recall: {rolled_back: 2}\nrollout: {steps: [50, 100], step: 10s, slice: 1s, max: 30s}\n";
    world.publish_of("health/clinic", "1.0.1", more).await;
    let production = ONE.replace("tier: staging", "tier: production");
    world.sites(3, &production).await;
    world.turns(6).await;
    assert_eq!(world.at("1.0.1").await, 3);
    world.publish_of("health/clinic", "1.1.0", more).await;
    world.turns(3).await;
    for _ in 0..40 {
        world.second(60).await;
        world.settle().await;
        if !world.kinds("release.recalled").await.is_empty() {
            break;
        }
    }
    let recalled = world.kinds("release.recalled").await;
    assert_eq!(recalled.len(), 1, "{recalled:?}");
    assert!(
        recalled[0].starts_with("recalled 1.1.0: it was rolled back in ")
            && recalled[0].ends_with("environments, and its product recalls it after 2"),
        "{recalled:?}"
    );
    for _ in 0..10 {
        world.second(0).await;
    }
    world.settle().await;
    assert_eq!(world.at("1.0.1").await, 3, "nobody goes there again");
}

#[tokio::test]
async fn a_lock_names_the_newest_releases_that_fit_and_may_be_read() {
    let mut world = two_products().await;
    for version in ["2.1.0", "2.2.0", "2.3.0-rc.1", "3.0.0"] {
        world.publish_of("health/auth", version, "").await;
    }
    let file = "product: clinic\nartifact: a\ncommand: ./a\ndependencies:
  - {product: health/auth, minimum: 2.1.0, maximum: 2.x.x, recommended: 2.1.0}
  - {product: health/none, optional: true}\n";
    let lock = world
        .delivery
        .product_lock(&ana(), file)
        .await
        .unwrap()
        .dependencies;
    assert_eq!(
        (lock[0].newest.as_str(), lock[0].stable.as_str(), lock[0].readable),
        ("2.2.0", "2.2.0", true)
    );
    assert_eq!(
        (lock[1].product.as_str(), lock[1].readable),
        ("health/none", false)
    );
    let auth = world.know("health/auth");
    world
        .delivery
        .recall(&ana(), auth, "2.2.0", "loses sessions", "")
        .await
        .unwrap();
    let lock = world
        .delivery
        .product_lock(&ana(), file)
        .await
        .unwrap()
        .dependencies;
    assert_eq!(lock[0].newest, "2.1.0");
    *world.fakes.visible.lock().unwrap() = Some(vec![world.project]);
    let lock = world
        .delivery
        .product_lock(&ben(), file)
        .await
        .unwrap()
        .dependencies;
    assert_eq!((lock[0].newest.as_str(), lock[0].readable), ("", false));
    let bad = world
        .delivery
        .product_lock(&ana(), "product: x\n")
        .await
        .unwrap_err();
    assert_eq!(bad.code, "bad_product");
}

const SECRET_VALUE: &str = "correct-horse-battery";

#[tokio::test]
async fn a_secret_reaches_the_agent_and_nothing_else_and_a_missing_one_holds_the_step() {
    let mut world = two_products().await;
    let with = SITE.replace("{WARD: north}", "{WARD: north, DB: \"secret:DB_PASSWORD\"}");
    world.declare("c1", &[("site-7", &with)]).await;
    let why = world.why("site-7", "clinic", "1.0.0").await;
    assert_eq!(
        why,
        "health/clinic is not there yet: 1.0.0 waits: nobody has set the secret DB_PASSWORD"
    );
    let bad = world
        .delivery
        .set_secret(&ana(), "site-7", "a b", "x")
        .await
        .unwrap_err();
    assert_eq!(bad.code, "bad_secret_name");
    world
        .delivery
        .set_secret(&ana(), "site-7", "DB_PASSWORD", SECRET_VALUE)
        .await
        .unwrap();
    world.turns(4).await;
    let state = world.desired().await;
    let clinic = |state: &bascule_wire::agent::DesiredState| {
        let found = state
            .instances
            .iter()
            .find(|i| i.environment_name == "site-7" && i.project == "health/clinic");
        found.unwrap().variables.clone()
    };
    assert_eq!(clinic(&state).get("DB").map(String::as_str), Some(SECRET_VALUE));
    assert_eq!(clinic(&state).get("WARD").map(String::as_str), Some("north"));

    // Another environment's secret of that name is another; that of all counts where there is no own.
    world
        .delivery
        .remove_secret(&ana(), "site-7", "DB_PASSWORD")
        .await
        .unwrap();
    world
        .delivery
        .set_secret(&ana(), "site-8", "DB_PASSWORD", "other")
        .await
        .unwrap();
    assert_eq!(
        clinic(&world.desired().await).get("DB"),
        None,
        "never the reference for a value"
    );
    world
        .delivery
        .set_secret(&ana(), "*", "DB_PASSWORD", "of all")
        .await
        .unwrap();
    assert_eq!(
        clinic(&world.desired().await).get("DB").map(String::as_str),
        Some("of all")
    );
    world
        .delivery
        .set_secret(&ana(), "site-7", "DB_PASSWORD", SECRET_VALUE)
        .await
        .unwrap();

    // A product's own file cannot reach for it.
    world
        .publish_of(
            "health/clinic",
            "1.1.0",
            "environment: {STOLEN: \"secret:DB_PASSWORD\"}\n",
        )
        .await;
    world.turns(4).await;
    let variables = clinic(&world.desired().await);
    assert_eq!(
        variables.get("STOLEN").map(String::as_str),
        Some("secret:DB_PASSWORD")
    );

    // Nowhere else: not in facts, plans, drift, the database's other tables or answers of the API.
    let other = with.replace("secret:DB_PASSWORD", "secret:DB_OTHER");
    world.declare("c2", &[("site-7", &other)]).await;
    let mut told = String::new();
    for entry in world
        .ledger
        .read(
            &bascule_ledger::Filter::default(),
            Page::After {
                after: 0,
                limit: 10_000,
            },
        )
        .await
        .unwrap()
    {
        told.push_str(&format!("{entry:?}"));
    }
    told.push_str(&format!(
        "{:?}",
        world.delivery.plans(&ana(), None).await.unwrap()
    ));
    told.push_str(&format!(
        "{:?}",
        world.delivery.plan_log(&ana(), "site-7", 100).await.unwrap()
    ));
    told.push_str(&format!("{:?}", world.delivery.secrets("site-7").await.unwrap()));
    told.push_str(&format!(
        "{:?}",
        world.delivery.parity(&ana(), None, "").await.unwrap()
    ));
    told.push_str(&format!(
        "{:?}",
        crate::secret::store::sealed(&world.delivery.db, &["site-7".into()])
            .await
            .unwrap()
            .len()
    ));
    assert!(told.contains("secret:DB_OTHER"), "the reference is told");
    assert!(!told.contains(SECRET_VALUE), "the value is not");
    let bytes = std::fs::read(world.dir.path().join("test.db")).unwrap();
    let wal = std::fs::read(world.dir.path().join("test.db-wal")).unwrap_or_default();
    for bytes in [bytes, wal] {
        assert!(
            !bytes
                .windows(SECRET_VALUE.len())
                .any(|part| part == SECRET_VALUE.as_bytes())
        );
    }
}

#[tokio::test]
async fn parity_shows_differences_first_and_no_values() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let more = "environment: {MODE: quick, LOG_LEVEL: info}\nenvironments: {staging: {variables: {LOG_LEVEL: debug}}}\n";
    world.publish_of("health/clinic", "1.1.0", more).await;
    world.turns(4).await;
    world.deploy("1.0.0", "production").await.unwrap();
    world.turns(4).await;
    let page = world
        .delivery
        .parity(&ana(), Some("health/clinic"), "")
        .await
        .unwrap();
    let clinic = &page.items[0];
    let names: Vec<&str> = clinic.environments.iter().map(|e| e.name.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["production", "site-7", "staging"]);
    let cell = |line: &str, environment: &str| {
        let at = names.iter().position(|name| *name == environment).unwrap();
        let line = clinic.lines.iter().find(|l| l.name == line).unwrap();
        (line.differs, line.cells[at].clone())
    };
    assert_eq!(cell("version", "production"), (true, "1.0.0".into()));
    assert_eq!(cell("version", "staging"), (true, "1.1.0".into()));
    assert_eq!(cell("WARD", "staging"), (true, "unset".into()));
    assert_ne!(cell("LOG_LEVEL", "staging").1, cell("LOG_LEVEL", "site-7").1);
    assert_eq!(cell("MODE", "staging").1, cell("MODE", "site-7").1);
    let first_same = clinic.lines.iter().position(|line| !line.differs).unwrap();
    assert!(
        clinic.lines[first_same..].iter().all(|line| !line.differs),
        "differences first"
    );
    assert_eq!(clinic.lines[0].name, "version");
    let text = format!("{page:?}");
    assert!(!text.contains("quick") && !text.contains("debug") && !text.contains("north"));
    // What the caller may not read is not compared.
    let auth = world.know("health/auth");
    *world.fakes.visible.lock().unwrap() = Some(vec![auth]);
    let page = world.delivery.parity(&ben(), None, "").await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert!(
        world
            .delivery
            .parity(&ben(), Some("health/clinic"), "")
            .await
            .unwrap()
            .items
            .is_empty()
    );
}
