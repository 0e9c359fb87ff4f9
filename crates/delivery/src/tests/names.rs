//! What a declaration names that is not there is said, with what to do.

use super::{
    plans::{HOME, SITE, two_products},
    web::{app, call, get},
    *,
};
use bascule_core::{GroupId, Role};
use bascule_ledger::facts::identity::GroupCreated;
use bascule_wire::environments as env;

const WAY: &str = "channels: [{name: dev}, {name: beta}, {name: stable}]\n";
const WRONG: &str = "channel `stabel` is not one of health/clinic's: dev, beta, stable";
const NEXT: &str =
    "Follow one of these in environments/site-7.yaml, or let health/clinic's bascule.yaml name `stabel`.";

fn stabel() -> String {
    SITE.replace(
        "  - product: health/clinic\n",
        "  - product: health/clinic\n    channel: stabel\n",
    )
}

#[tokio::test]
async fn a_channel_that_the_product_does_not_have_is_said_with_those_that_it_has() {
    let mut world = two_products().await;
    world.publish_of("health/clinic", "1.1.0", WAY).await;
    world.declare("c1", &[("site-7", &stabel())]).await;
    let plan = world.plan("site-7").await;
    assert_eq!(
        plan[1],
        format!(
            "health/clinic:  → 1.1.0, blocked: health/clinic is not there yet: 1.1.0 cannot come here: {WRONG}"
        )
    );
    assert_eq!(
        world.why("site-7", "clinic", "1.1.0").await,
        format!("health/clinic is not there yet: 1.1.0 cannot come here: {WRONG}")
    );
    assert_eq!(
        world.kinds("site.misnamed").await,
        [format!("site-7 names what is not there: {WRONG}")]
    );
    let (_, page) = call(&app(&world, Role::Maintainer), get("/plans/site-7")).await;
    let said = format!("{WRONG}. {NEXT}").replace('\'', "&#39;");
    assert!(page.contains(&said), "{page}");

    // Once a release names it, it goes there without another push.
    let named = format!("{}, {{name: stabel}}]\n", WAY.trim_end().trim_end_matches(']'));
    world.publish_of("health/clinic", "1.2.0", &named).await;
    world.turns(4).await;
    let plan = world.plan("site-7").await;
    assert_eq!(
        plan[1],
        "health/clinic: 1.2.0 → 1.2.0, up_to_date: 1.2.0 is the newest that may be here"
    );
    assert_eq!(
        world.kinds("site.misnamed").await[1],
        "all that site-7 names is there now"
    );
    let (_, page) = call(&app(&world, Role::Maintainer), get("/plans/site-7")).await;
    assert!(!page.contains("id=\"misnamed\""), "{page}");
}

#[tokio::test]
async fn what_runs_already_says_that_its_channel_is_gone() {
    let mut world = two_products().await;
    world.publish_of("health/clinic", "1.1.0", WAY).await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.turns(4).await;
    world.declare("c2", &[("site-7", &stabel())]).await;
    assert_eq!(
        world.plan("site-7").await[1],
        format!("health/clinic: 1.1.0 → 1.1.0, up_to_date: 1.1.0 is the newest that may be here; {WRONG}")
    );
}

#[tokio::test]
async fn a_group_that_does_not_exist_is_said_until_it_does() {
    let mut world = two_products().await;
    let asks = format!("{SITE}approvals: [security, nobody-group]\n");
    world.declare("c1", &[("site-7", &asks)]).await;
    let wrong = "approval by nobody-group, and there is no group of that name";
    assert_eq!(
        world.why("site-7", "auth", "2.0.0").await,
        format!("health/auth is not there yet: 2.0.0 waits for approval by security and for {wrong}")
    );
    assert_eq!(
        world.kinds("site.misnamed").await,
        [format!("site-7 names what is not there: {wrong}")]
    );
    let (_, page) = call(&app(&world, Role::Maintainer), get("/plans/site-7")).await;
    let next = "Create the group nobody-group, or ask another for approval in environments/site-7.yaml.";
    assert!(page.contains(&format!("{wrong}. {next}")), "{page}");

    world.fakes.teams.lock().unwrap().push("nobody-group".into());
    let fact = GroupCreated {
        group: GroupId::new(),
        name: "nobody-group".into(),
    };
    let tx = world.delivery.db.begin().await.unwrap();
    world.ledger.append(&tx, &Actor::system(), &fact).await.unwrap();
    tx.commit().await.unwrap();
    world.settle().await;
    world.turns(1).await;
    assert_eq!(
        world.why("site-7", "auth", "2.0.0").await,
        "health/auth is not there yet: 2.0.0 waits for approval by security and for approval by nobody-group"
    );
    assert_eq!(
        world.kinds("site.misnamed").await[1],
        "all that site-7 names is there now"
    );
}

#[tokio::test]
async fn where_no_network_reaches_the_sites_own_groups_count() {
    let mut world = two_products().await;
    let asks = format!("{SITE}network: none\napprovals: [ward]\n");
    world.declare("c1", &[("site-7", &asks)]).await;
    assert!(world.kinds("site.misnamed").await.is_empty());
}

#[tokio::test]
async fn a_dry_run_says_it_before_the_push_to_who_may_read_the_product() {
    let mut world = two_products().await;
    world.publish_of("health/clinic", "1.1.0", WAY).await;
    let home = world.know(HOME);
    world.declare("c1", &[("site-7", SITE)]).await;
    world.turns(4).await;
    let new = env::NewDryRun {
        files: vec![env::DryRunFile {
            path: "environments/site-7.yaml".into(),
            text: stabel(),
        }],
        ..env::NewDryRun::default()
    };
    let told = world.delivery.dry_run(&ana(), &new).await.unwrap();
    let change = told.changes.iter().find(|change| change.kind == "unknown_name");
    assert_eq!(change.unwrap().text, format!("{WRONG}. {NEXT}"));
    let auth = world.know("health/auth");
    *world.fakes.visible.lock().unwrap() = Some(vec![auth, home]);
    let told = world.delivery.dry_run(&ben(), &new).await.unwrap();
    assert!(
        told.changes.iter().all(|change| !change.text.contains("clinic")),
        "{told:?}"
    );
}
