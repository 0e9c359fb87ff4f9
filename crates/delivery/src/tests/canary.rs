//! Canaries: a time of its own for each step, pauses that wait for a person, and the budget's hard limit.

use super::{
    web::{app, call, get},
    *,
};
use crate::rollout::service::Act;
use bascule_core::Role;
use bascule_ledger::facts::delivery::RolloutStarted;

const CANARY: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
slo: {availability: 99.9}
rollout:
  strategy: canary
  steps: [{weight: 20, time: 5s}, {pause: true}, {weight: 50, time: 20s}]
  slice: 1s
  burn: 20
";

async fn rolling() -> World {
    let mut world = World::new().await;
    for version in ["1.0.0", "1.1.0"] {
        world.announce(version, Some(CANARY)).await;
        world.settle().await;
        world.turns(3).await;
        world.deploy(version, "production").await.unwrap();
        world.turns(3).await;
    }
    world
}

#[tokio::test]
async fn a_canary_keeps_each_steps_time_and_waits_for_a_person_where_the_file_says() {
    let mut world = rolling().await;
    let rollout = world.rollout().await;
    assert_eq!((rollout.strategy.as_str(), rollout.weight), ("canary", 20));
    let started: RolloutStarted = world.facts("rollout.started").await[0].fact().unwrap();
    assert_eq!(started.strategy, "canary");
    for _ in 0..30 {
        world.second(0).await;
    }
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.weight),
        ("paused", 20),
        "{rollout:?}"
    );
    assert!(
        rollout.reason.contains("the policy pauses at 20 %"),
        "{}",
        rollout.reason
    );
    let judged = world.kinds("rollout.judged").await;
    let holds = judged
        .iter()
        .filter(|line| line.contains("the policy pauses"))
        .count();
    assert_eq!(holds, 1, "said once: {judged:?}");

    // The pause outlives the server, and so does its end.
    world.restart();
    world.turns(2).await;
    world.clock.advance(Duration::from_secs(3));
    world.turns(2).await;
    assert_eq!(world.rollout().await.status, "paused");
    world
        .delivery
        .act_on_rollout(&ana(), world.project, rollout.id, Act::Resume, "looks good")
        .await
        .unwrap();
    for _ in 0..10 {
        world.second(0).await;
    }
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.weight),
        ("running", 50),
        "{rollout:?}"
    );
    let states: Vec<_> = rollout.plan.iter().map(|step| step.state.as_str()).collect();
    assert_eq!(states, ["done", "now", "ahead"]);
    let mut seconds = 0;
    while world.rollout().await.status == "running" {
        world.second(0).await;
        seconds += 1;
    }
    assert!(seconds >= 8, "the step lasts twenty seconds");
    assert_eq!(world.rollout().await.status, "promoted");
    assert_eq!(
        World::serving(&world.environment("production").await),
        Some("1.1.0")
    );
}

#[tokio::test]
async fn a_pause_of_the_policy_can_be_promoted_or_aborted_as_well() {
    for (act, end) in [(Act::Promote, "promoted"), (Act::Abort, "aborted")] {
        let mut world = rolling().await;
        for _ in 0..12 {
            world.second(0).await;
        }
        let rollout = world.rollout().await;
        assert_eq!(rollout.status, "paused");
        let path = format!("/health/clinic/-/rollouts/{}", rollout.id);
        let (_, page) = call(&app(&world, Role::Maintainer), get(&path)).await;
        assert!(page.contains("it waits for you to resume it"), "{page}");
        let (_, resume) = page.split_once("/resume\"").unwrap();
        let (button, _) = resume.split_once("</form>").unwrap();
        assert!(
            button.contains("btn-primary"),
            "what lets it go on stands out: {page}"
        );
        world
            .delivery
            .act_on_rollout(&ana(), world.project, rollout.id, act, "")
            .await
            .unwrap();
        let rollout = world.rollout().await;
        assert_eq!(
            (rollout.status.as_str(), rollout.cause.as_deref()),
            (end, Some("person"))
        );
    }
}

#[tokio::test]
async fn a_version_that_burns_the_budget_is_undone_with_the_numbers() {
    let mut world = rolling().await;
    for _ in 0..40 {
        world.second(40).await;
        if world.rollout().await.status == "aborted" {
            break;
        }
    }
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.cause.as_deref()),
        ("aborted", Some("guardrail")),
        "{rollout:?}"
    );
    assert!(
        rollout.reason.contains("what the error budget allows (0.10 %)")
            && rollout.reason.contains("limit is 20 times"),
        "{}",
        rollout.reason
    );
    let judged = world.kinds("rollout.judged").await;
    assert!(judged.last().unwrap().contains("error budget"), "{judged:?}");
    assert_eq!(world.weights("production").await, [("1.0.0".to_owned(), 100)]);
}
