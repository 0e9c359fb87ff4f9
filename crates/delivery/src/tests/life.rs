use super::*;
use crate::rollout::service::Act;
use bascule_ledger::facts::delivery::{DeploymentFinished, RolloutFinished};

#[tokio::test]
async fn a_release_reaches_staging_by_itself_and_production_in_judged_steps() {
    drop(Box::pin(whole_life(World::new().await)).await);
}

#[tokio::test]
async fn all_of_it_is_the_same_on_postgresql() {
    let server = bascule_testkit::Postgres::start();
    let options = DbOptions::Postgres(server.url().to_owned());
    let world = World::over(tempfile::tempdir().unwrap(), &options).await;
    let mut second = Driver::new(world.delivery.clone());
    let mut world = Box::pin(whole_life(world)).await;
    assert!(!second.turn().await.unwrap(), "another replica holds the lease");

    world.publish("1.2.0").await;
    world.deploy("1.2.0", "production").await.unwrap();
    world.turns(2).await;
    while world.rollout().await.status == "running" {
        world.second(8).await;
    }
    assert_eq!(world.weights("production").await, [("1.1.0".to_owned(), 100)]);
    world.clock.advance(Duration::from_secs(16));
    world.driver.turn().await.unwrap();
    assert_eq!(world.kinds("agent.seen").await, ["agent local stopped reporting"]);
    drop(world);
}

async fn whole_life(mut world: World) -> World {
    world.publish("1.0.0").await;
    assert_eq!(World::serving(&world.environment("staging").await), Some("1.0.0"));
    assert_eq!(World::serving(&world.environment("production").await), None);
    assert_eq!(world.weights("staging").await, [("1.0.0".to_owned(), 100)]);

    // Into an empty environment there is nothing to compare with: all traffic at once.
    world.deploy("1.0.0", "production").await.unwrap();
    world.turns(3).await;
    assert_eq!(world.weights("production").await, [("1.0.0".to_owned(), 100)]);

    world.publish("1.1.0").await;
    world.deploy("1.1.0", "production").await.unwrap();
    world.turns(2).await;
    assert_eq!(
        world.weights("production").await,
        [("1.0.0".to_owned(), 75), ("1.1.0".to_owned(), 25)]
    );
    let mut seen = Vec::new();
    for _ in 0..30 {
        world.second(0).await;
        seen.push(world.rollout().await.weight);
    }
    seen.dedup();
    assert_eq!(seen, [25, 50, 100], "steps in order, none skipped");
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.cause.as_deref()),
        ("promoted", Some("judge"))
    );
    world.turns(3).await;
    let production = world.environment("production").await;
    assert_eq!(World::serving(&production), Some("1.1.0"));
    assert_eq!(production.instances.len(), 1, "the old instance is gone");
    assert_eq!(world.weights("production").await, [("1.1.0".to_owned(), 100)]);
    let facts = world.facts("deployment.finished").await;
    let last: DeploymentFinished = facts.last().unwrap().fact().unwrap();
    assert_eq!(
        (last.result.as_str(), last.exposed, last.tier.as_str()),
        ("succeeded", true, "production")
    );
    let numbers = rollout.numbers;
    assert!(
        numbers.new_requests > 0 && numbers.new_requests <= 30 * 60,
        "counts sent twice count once: {numbers:?}"
    );
    assert!(
        !world.fakes.recorded.lock().unwrap().is_empty(),
        "telemetry got the slices"
    );
    world
}

#[tokio::test]
async fn a_version_that_fails_eight_percent_is_undone_by_the_judge() {
    let mut world = World::rolling().await;
    for second in 0..60 {
        world.second(8).await;
        if world.rollout().await.status == "aborted" {
            assert!(second <= 30, "caught after {second} s");
            break;
        }
    }
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.cause.as_deref()),
        ("aborted", Some("judge")),
        "{rollout:?}"
    );
    assert!(
        rollout.reason.contains("failed on the new version"),
        "{}",
        rollout.reason
    );
    assert_eq!(world.weights("production").await, [("1.0.0".to_owned(), 100)]);
    let finished: RolloutFinished = world
        .facts("rollout.finished")
        .await
        .last()
        .unwrap()
        .fact()
        .unwrap();
    assert!(finished.exposed_at.unwrap() <= finished.first_error_at.unwrap());
    let judged = world.kinds("rollout.judged").await;
    assert!(judged.last().unwrap().contains("fail"), "{judged:?}");
    world.turns(3).await;
    let production = world.environment("production").await;
    assert_eq!(
        (World::serving(&production), production.instances.len()),
        (Some("1.0.0"), 1)
    );
}

#[tokio::test]
async fn an_abort_moves_traffic_in_one_revision_and_drains_only_after_the_edge_knows() {
    let mut world = World::rolling().await;
    world.second(0).await;
    let edge = world.delivery.edge_of(&world.edge).await.unwrap();
    let before = world.edge_config().await.revision;
    // The edge hangs on its long poll, as it does in life.
    let delivery = world.delivery.clone();
    let poll =
        tokio::spawn(async move { delivery.edge_config(&edge, before, Duration::from_secs(20)).await });
    tokio::task::yield_now().await;
    let id = world.rollout().await.id;
    world
        .delivery
        .act_on_rollout(&ben(), world.project, id, Act::Abort, "numbers look odd")
        .await
        .unwrap();
    let config = tokio::time::timeout(Duration::from_secs(1), poll)
        .await
        .expect("within a second")
        .unwrap()
        .unwrap();
    assert_eq!(config.revision, before + 1, "weights change in one revision");
    let production = world.environment("production").await;
    let route = config
        .routes
        .iter()
        .find(|route| route.environment == production.id)
        .unwrap();
    let weights: Vec<_> = route
        .backends
        .iter()
        .map(|b| (b.version.as_str(), b.weight))
        .collect();
    assert_eq!(weights, [("1.0.0", 100)]);

    // The edge has the answer but has not said that it is in force: nothing is drained yet.
    world.driver.turn().await.unwrap();
    assert!(world.wanted().await.iter().all(|row| row.desired == "run"));
    let edge = world.delivery.edge_of(&world.edge).await.unwrap();
    world
        .delivery
        .edge_config(&edge, config.revision, Duration::ZERO)
        .await
        .unwrap();
    world.driver.turn().await.unwrap();
    assert_eq!(
        world
            .wanted()
            .await
            .iter()
            .filter(|row| row.desired == "drain")
            .count(),
        1
    );
    world.agent_turn().await;
    assert!(
        world.wanted().await.iter().all(|row| row.desired == "run"),
        "it is gone"
    );
    assert_eq!(world.instances(production.id).await.len(), 1);

    let rollout = world.rollout().await;
    assert_eq!(rollout.cause.as_deref(), Some("person"));
    assert_eq!(rollout.reason, "aborted by ben: numbers look odd");
    let again = world
        .delivery
        .act_on_rollout(&ben(), world.project, id, Act::Abort, "")
        .await
        .unwrap_err();
    assert_eq!(again.code, "rollout_ended");
    // Undone versions cannot slip back in without a word: staging passed, so promotion is allowed again.
    assert!(world.deploy("1.1.0", "production").await.is_ok());
}

#[tokio::test]
async fn an_edge_that_never_answers_does_not_hold_up_the_drain_for_ever() {
    let mut world = World::rolling().await;
    world.second(0).await;
    let id = world.rollout().await.id;
    world
        .delivery
        .act_on_rollout(&ana(), world.project, id, Act::Promote, "")
        .await
        .unwrap();
    world.driver.turn().await.unwrap();
    assert!(world.wanted().await.iter().all(|row| row.desired == "run"));
    world.clock.advance(Duration::from_secs(5));
    world.driver.turn().await.unwrap();
    assert_eq!(
        world
            .wanted()
            .await
            .iter()
            .filter(|row| row.desired == "drain")
            .count(),
        1
    );
    assert_eq!(world.rollout().await.status, "promoted");
}

#[tokio::test]
async fn a_crash_during_the_rollout_is_undone_without_waiting_for_numbers() {
    let mut world = World::rolling().await;
    world.second(0).await;
    world.fates.insert(
        "1.1.0".into(),
        Fate {
            state: InstanceState::Crashed,
            smoke: true,
            restarts: 1,
        },
    );
    world.turns(1).await;
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.cause.as_deref()),
        ("aborted", Some("guardrail"))
    );
    assert!(rollout.reason.contains("crashed"), "{}", rollout.reason);
    let changes = world.kinds("instance.changed").await;
    assert!(changes.iter().any(|line| line.contains("crashed")), "{changes:?}");
}

#[tokio::test]
async fn a_pause_holds_the_step_and_a_resume_goes_on() {
    let mut world = World::rolling().await;
    let id = world.rollout().await.id;
    world
        .delivery
        .act_on_rollout(&ana(), world.project, id, Act::Pause, "lunch")
        .await
        .unwrap();
    let twice = world
        .delivery
        .act_on_rollout(&ana(), world.project, id, Act::Pause, "")
        .await
        .unwrap_err();
    assert_eq!(twice.code, "not_so");
    for _ in 0..20 {
        world.second(0).await;
    }
    let rollout = world.rollout().await;
    assert_eq!((rollout.status.as_str(), rollout.weight), ("paused", 25));
    world
        .delivery
        .act_on_rollout(&ana(), world.project, id, Act::Resume, "")
        .await
        .unwrap();
    world.turns(1).await;
    assert_eq!(world.rollout().await.weight, 50);
}

#[tokio::test]
async fn without_traffic_a_person_is_asked() {
    let mut world = World::rolling().await;
    for _ in 0..35 {
        world.clock.advance(Duration::from_secs(1));
        world.turns(1).await;
    }
    let rollout = world.rollout().await;
    assert_eq!((rollout.status.as_str(), rollout.weight), ("waiting", 25));
    assert!(
        rollout.reason.contains("too little traffic"),
        "{}",
        rollout.reason
    );
    assert_eq!(
        world.kinds("rollout.judged").await.len(),
        2,
        "said once that it extends, once that it asks"
    );
}

#[tokio::test]
async fn a_release_that_cannot_start_or_fails_its_smoke_test_meets_nobody() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    world.fates.insert(
        "1.1.0".into(),
        Fate {
            state: InstanceState::Failed,
            smoke: true,
            restarts: 0,
        },
    );
    world.publish("1.1.0").await;
    world.fates.insert(
        "1.2.0".into(),
        Fate {
            state: InstanceState::Healthy,
            smoke: false,
            restarts: 0,
        },
    );
    world.publish("1.2.0").await;
    let staging = world.environment("staging").await;
    assert_eq!(World::serving(&staging), Some("1.0.0"));
    assert_eq!(world.weights("staging").await, [("1.0.0".to_owned(), 100)]);
    let list = world
        .delivery
        .deployment_views(world.project, Some("staging"), None, 10)
        .await
        .unwrap();
    let results: Vec<_> = list
        .iter()
        .map(|d| (d.version.as_str(), d.status.as_str()))
        .collect();
    assert_eq!(
        results,
        [("1.2.0", "failed"), ("1.1.0", "failed"), ("1.0.0", "succeeded")]
    );
    assert!(list[0].reason.contains("smoke test failed"), "{}", list[0].reason);
    assert!(list.iter().take(2).all(|d| d.exposed_at.is_none()));
    world.turns(2).await;
    assert_eq!(
        world.instances(staging.id).await.len(),
        1,
        "what failed is taken away"
    );
}
