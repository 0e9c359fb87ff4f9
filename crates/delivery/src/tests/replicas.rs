//! Several instances of a version: shares over all of them, and a baseline of the same age.

use super::*;
use crate::rollout::service::Act;

const THREE: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
smoke: [{path: /}]
rollout: {replicas: 3, steps: [25, 50, 100], step: 10s, slice: 1s, max: 30s, staging: {replicas: 1}}
";

pub(super) const FRESH: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
smoke: [{path: /}]
rollout: {steps: [10, 60, 100], step: 10s, slice: 1s, max: 30s, baseline: fresh}
";

async fn rolling(yaml: &str) -> World {
    let mut world = World::new().await;
    for version in ["1.0.0", "1.1.0"] {
        world.publish_as(version, yaml).await;
        world.deploy(version, "production").await.unwrap();
        world.turns(3).await;
    }
    world
}

fn ill(state: InstanceState) -> Fate {
    Fate {
        state,
        smoke: true,
        restarts: 0,
    }
}

#[tokio::test]
async fn each_version_has_its_share_over_all_its_instances() {
    let mut world = rolling(THREE).await;
    assert_eq!(
        world.environment("staging").await.instances.len(),
        1,
        "its own number"
    );
    let weights = world.weights("production").await;
    let sum = |version: &str| -> u32 { weights.iter().filter(|w| w.0 == version).map(|w| w.1).sum() };
    assert_eq!(weights.len(), 6);
    assert_eq!(sum("1.0.0"), 3 * sum("1.1.0"), "{weights:?}");
    let production = world.environment("production").await;
    let shown: Vec<_> = production.instances.iter().map(|i| i.weight).collect();
    assert_eq!(shown, [25, 25, 25, 8, 8, 8]);

    // One that fails its check gives its part to its own side.
    let first = production.instances.last().unwrap().id;
    world.own_fates.insert(first, ill(InstanceState::Unhealthy));
    world.agent_turn().await;
    let weights = world.weights("production").await;
    let sum = |version: &str| -> u32 { weights.iter().filter(|w| w.0 == version).map(|w| w.1).sum() };
    assert_eq!(
        (weights.len(), sum("1.0.0")),
        (5, 3 * sum("1.1.0")),
        "{weights:?}"
    );
    world.own_fates.clear();

    for _ in 0..30 {
        world.second(0).await;
    }
    world.turns(3).await;
    assert_eq!(world.rollout().await.status, "promoted");
    let production = world.environment("production").await;
    assert_eq!(World::serving(&production), Some("1.1.0"));
    assert_eq!(production.instances.len(), 3, "the old ones are gone");
    let (view, shown) = world
        .delivery
        .deployment_view(world.project, production.serving.unwrap().id)
        .await
        .unwrap();
    assert_eq!((view.status.as_str(), shown.len()), ("succeeded", 3));
}

#[tokio::test]
async fn a_version_is_undone_when_one_of_its_instances_crashes() {
    let mut world = rolling(THREE).await;
    world.second(0).await;
    let production = world.environment("production").await;
    let last = production.instances.last().unwrap().id;
    world.own_fates.insert(last, ill(InstanceState::Crashed));
    world.turns(1).await;
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.cause.as_deref()),
        ("aborted", Some("guardrail"))
    );
    world.turns(3).await;
    let weights = world.weights("production").await;
    assert!(
        weights.len() == 3 && weights.iter().all(|w| w.0 == "1.0.0"),
        "{weights:?}"
    );
}

#[tokio::test]
async fn all_instances_must_be_proven_before_users_meet_one() {
    let mut world = World::new().await;
    world.publish_as("1.0.0", THREE).await;
    world.deploy("1.0.0", "production").await.unwrap();
    let production = world.environment("production").await.id;
    let one = world.instances(production).await[1];
    world.own_fates.insert(one, ill(InstanceState::Starting));
    world.turns(3).await;
    assert_eq!(World::serving(&world.environment("production").await), None);
    world.own_fates.clear();
    world.turns(2).await;
    assert_eq!(
        World::serving(&world.environment("production").await),
        Some("1.0.0")
    );
}

#[tokio::test]
async fn a_fresh_baseline_stands_beside_the_new_version_and_ends_with_the_rollout() {
    let mut world = rolling(FRESH).await;
    world.turns(2).await;
    let rollout = world.rollout().await;
    assert!(rollout.fresh && rollout.weight == 10, "{rollout:?}");
    let production = world.environment("production").await;
    let shown: Vec<_> = production
        .instances
        .iter()
        .map(|i| (i.version.as_str(), i.baseline, i.weight))
        .collect();
    assert_eq!(
        shown,
        [("1.0.0", false, 80), ("1.1.0", false, 10), ("1.0.0", true, 10)]
    );
    for _ in 0..9 {
        world.second(0).await;
    }
    let numbers = world.rollout().await.numbers;
    assert!(
        numbers.old_requests > 0 && numbers.old_requests == numbers.new_requests,
        "compared with the fresh one alone: {numbers:?}"
    );
    while world.rollout().await.weight == 10 {
        world.second(0).await;
    }
    let production = world.environment("production").await;
    let shown: Vec<_> = production.instances.iter().map(|i| i.weight).collect();
    assert_eq!(shown, [0, 60, 40], "what is left goes to the baseline first");
    while world.rollout().await.finished_at.is_none() {
        world.second(0).await;
    }
    assert_eq!(world.rollout().await.status, "promoted");
    world.turns(3).await;
    let production = world.environment("production").await;
    assert_eq!(
        (World::serving(&production), production.instances.len()),
        (Some("1.1.0"), 1)
    );
}

#[tokio::test]
async fn an_undone_rollout_ends_its_baseline_and_a_lost_baseline_ends_no_rollout() {
    let mut world = rolling(FRESH).await;
    world.turns(2).await;
    let baseline =
        |environment: &dto::Environment| environment.instances.iter().find(|i| i.baseline).cloned();
    let fresh = baseline(&world.environment("production").await).unwrap().id;
    world.own_fates.insert(fresh, ill(InstanceState::Crashed));
    for _ in 0..8 {
        world.second(0).await;
    }
    let rollout = world.rollout().await;
    assert!(!rollout.fresh && rollout.status == "running", "{rollout:?}");
    world.turns(2).await;
    assert!(baseline(&world.environment("production").await).is_none());
    assert_eq!(
        world.weights("production").await,
        [("1.0.0".to_owned(), 90), ("1.1.0".to_owned(), 10)]
    );
    let judged = world.kinds("rollout.judged").await;
    assert!(judged.last().unwrap().contains("was lost"), "{judged:?}");

    let mut world = rolling(FRESH).await;
    world.turns(2).await;
    world.second(0).await;
    let id = world.rollout().await.id;
    world
        .delivery
        .act_on_rollout(&ana(), world.project, id, Act::Abort, "")
        .await
        .unwrap();
    world.turns(3).await;
    let production = world.environment("production").await;
    assert_eq!(production.instances.len(), 1);
    assert_eq!(world.weights("production").await, [("1.0.0".to_owned(), 100)]);
}

#[tokio::test]
async fn where_no_fresh_instance_starts_what_serves_is_compared_with() {
    let mut world = World::new().await;
    world.publish_as("1.0.0", FRESH).await;
    world.deploy("1.0.0", "production").await.unwrap();
    world.turns(3).await;
    world.publish_as("1.1.0", FRESH).await;
    world.deploy("1.1.0", "production").await.unwrap();
    world.turns(1).await;
    let production = world.environment("production").await;
    let fresh = production.instances.iter().find(|i| i.baseline).unwrap().id;
    world.own_fates.insert(fresh, ill(InstanceState::Failed));
    world.turns(3).await;
    let rollout = world.rollout().await;
    assert!(!rollout.fresh && rollout.status == "running", "{rollout:?}");
    assert_eq!(world.environment("production").await.instances.len(), 2);
}
