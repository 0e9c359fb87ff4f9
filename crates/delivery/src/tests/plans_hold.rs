//! What plans keep to: people's going back, failures, what changed while they were made, and who may read them.

use super::{
    plans::{SITE, two_products},
    *,
};
use crate::plan::pass::Planner;

#[tokio::test]
async fn what_a_person_went_back_from_is_not_put_there_again_and_what_is_newer_is() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(4).await;
    assert!(world.plan("site-7").await[1].starts_with("health/clinic: 1.1.0"));
    world.deploy("1.0.0", "site-7").await.unwrap();
    world.turns(8).await;
    let plan = world.plan("site-7").await;
    assert_eq!(
        plan[1],
        "health/clinic: 1.0.0 → 1.0.0, up_to_date: health/clinic stays at 1.0.0: \
         1.1.0 is kept out since ana went back from 1.1.0"
    );
    // Healing what differs from the file changes no version, and so lifts nothing.
    let south = SITE.replace("north", "south");
    world.declare("c2", &[("site-7", &south)]).await;
    world.turns(8).await;
    assert!(world.plan("site-7").await[1].starts_with("health/clinic: 1.0.0"));
    world.publish_of("health/clinic", "1.1.1", "").await;
    world.turns(6).await;
    assert!(world.plan("site-7").await[1].starts_with("health/clinic: 1.1.1"));
}

#[tokio::test]
async fn a_failure_holds_until_the_declaration_is_corrected() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let fate = Fate {
        state: InstanceState::Failed,
        smoke: true,
        restarts: 0,
    };
    world.fates.insert("1.1.0".into(), fate);
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(6).await;
    let why = world.why("site-7", "clinic", "1.1.0").await;
    assert!(
        why.contains("not tried again by itself (it failed here: "),
        "{why}"
    );
    let made = world.kinds("deployment.created").await.len();
    world.turns(6).await;
    assert_eq!(world.kinds("deployment.created").await.len(), made);

    world.fates.clear();
    let south = SITE.replace("north", "south");
    world.declare("c2", &[("site-7", &south)]).await;
    world.turns(6).await;
    assert!(
        world.plan("site-7").await[1].starts_with("health/clinic: 1.1.0"),
        "other variables are another try: {:?}",
        world.plan("site-7").await
    );
}

#[tokio::test]
async fn a_step_planned_from_what_changed_since_is_not_taken() {
    let mut world = two_products().await;
    let held = format!("{SITE}approvals: [security]\n");
    world.declare("c1", &[("site-7", &held)]).await;
    let auth = world.know("health/auth");
    world
        .delivery
        .approve(&ana(), auth, "2.0.0", "environment:site-7", "security")
        .await
        .unwrap();
    // Two servers plan at once; between the reading of one and its step a person holds everything.
    let epoch = crate::plan::store::epoch(&world.delivery.db).await.unwrap();
    world
        .delivery
        .suppress(&ana(), "site-7", "hold it", None)
        .await
        .unwrap();
    let tx = world.delivery.db.begin().await.unwrap();
    assert!(!crate::plan::store::claim_epoch(&tx, epoch).await.unwrap());
    drop(tx);
    let mut other = Planner::new(world.delivery.clone());
    other.turn().await.unwrap();
    world.planner.turn().await.unwrap();
    let to_site = |lines: Vec<String>| lines.iter().filter(|line| line.ends_with("to site-7")).count();
    assert_eq!(to_site(world.kinds("deployment.created").await), 0);
    world.delivery.unsuppress(&ana(), "site-7").await.unwrap();
    other.turn().await.unwrap();
    world.planner.turn().await.unwrap();
    assert_eq!(
        to_site(world.kinds("deployment.created").await),
        1,
        "one step, by one of them"
    );
}

#[tokio::test]
async fn nobody_reads_names_of_projects_that_are_hidden_from_them() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let needs = "dependencies: [{product: health/auth, minimum: 2.1.0, maximum: 2.x.x}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    // Here what it needs does not belong at all, and what lifts the hold names it.
    let alone =
        "environment: site-8\ntier: staging\nchannel: dev\ninstall: [{product: health/clinic, pin: 1.1.0}]\n";
    world.declare("c2", &[("site-7", SITE), ("site-8", alone)]).await;
    let all = world.delivery.plans(&ana(), Some("site-8")).await.unwrap();
    assert!(
        all[0].verdicts.iter().any(|v| v.lifts.contains("health/auth")),
        "{all:?}"
    );
    *world.fakes.visible.lock().unwrap() = Some(vec![world.project]);
    let why = world
        .delivery
        .why_not(&ben(), "site-7", "clinic", "1.1.0")
        .await
        .unwrap();
    let plans = world.delivery.plans(&ben(), None).await.unwrap();
    let log = world.delivery.plan_log(&ben(), "site-7", 50).await.unwrap();
    assert!(
        why.sentence.contains("a product that you may not read"),
        "{why:?}"
    );
    assert!(
        plans
            .iter()
            .any(|plan| plan.why.contains("a product that you may not read"))
    );
    for told in [
        serde_json::to_string(&why).unwrap(),
        serde_json::to_string(&plans).unwrap(),
        serde_json::to_string(&log).unwrap(),
    ] {
        assert!(!told.contains("health/auth"), "{told}");
    }
    let refused = world
        .delivery
        .why_not(&ben(), "site-7", "auth", "2.0.0")
        .await
        .unwrap_err();
    assert_eq!(refused.code, "unknown_product");
}

#[tokio::test]
async fn soaking_begins_anew_where_health_was_lost() {
    let mut world = World::new().await;
    let soak = format!("{YAML}channels: [{{name: stable, soak: 1h, in: [staging]}}]\n");
    world.announce("1.0.0", Some(&soak)).await;
    world.settle().await;
    world.turns(4).await;
    world.clock.advance(Duration::from_secs(3_000));
    let sick = Fate {
        state: InstanceState::Unhealthy,
        smoke: true,
        restarts: 0,
    };
    world.fates.insert("1.0.0".into(), sick);
    world.turns(2).await;
    world.fates.clear();
    world.turns(2).await;
    world.clock.advance(Duration::from_secs(1_000));
    world.turns(2).await;
    assert_eq!(
        world.kinds("release.promoted").await.len(),
        0,
        "only 1,000 s healthy at a stretch"
    );
    world.clock.advance(Duration::from_secs(3_000));
    world.turns(2).await;
    assert_eq!(world.kinds("release.promoted").await.len(), 1);
}
