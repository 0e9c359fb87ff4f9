//! One project's fault, whoever's it is, keeps no other project's pushes back.

use crate::harness::World;
use bascule_ledger::{Hub, facts::forge::BranchUpdated};

/// Tells of a push of a commit that cannot be read, and looks at it once.
async fn broken(world: &World, sha: &str, status: u16) {
    world.code.broken.lock().unwrap().insert(sha.to_owned(), status);
    let fact = BranchUpdated {
        project: world.project,
        branch: "topic".to_owned(),
        before: None,
        after: Some(sha.to_owned()),
        default: false,
        forced: false,
        commits: Vec::new(),
        commit_count: 1,
        at: bascule_core::Timestamp::from_seconds(1_750_000_000),
        ci_skip: false,
        ci_options: None,
    };
    let tx = world.db.begin().await.unwrap();
    let actor = bascule_core::Actor::new(bascule_core::ActorKind::User, "u", "ada");
    world.ledger.append(&tx, &actor, &fact).await.unwrap();
    tx.commit().await.unwrap();
}

/// How often all subscribers must look until each has handled everything.
async fn looks(world: &World) -> usize {
    for count in 1..20 {
        let mut hub = Hub::default();
        for subscriber in world.ci.subscribers() {
            hub = hub.with(subscriber);
        }
        if hub.settle(&world.ledger).await.is_ok() {
            return count;
        }
    }
    panic!("never at rest");
}

/// Another push makes its pipeline.
async fn others_go_on(world: &World) {
    world
        .push("other", &[(".gitlab-ci.yml", "a: {script: x}\n")])
        .await;
    assert_eq!(world.pipeline().await["status"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_commit_is_too_large_for_is_told_to_who_pushed_it() {
    let world = World::new().await;
    let sha = world.push("main", &[("README", "x")]).await;
    broken(&world, &sha, 413).await;
    assert_eq!(looks(&world).await, 1);
    let refused = world.pipeline().await;
    assert_eq!(refused["status"], "failed");
    assert!(
        refused["faults"]
            .to_string()
            .contains("This cannot be read; Make it smaller"),
        "{refused}"
    );
    others_go_on(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_cannot_read_is_tried_again_and_then_given_up() {
    let world = World::new().await;
    let sha = world.push("main", &[("README", "x")]).await;
    broken(&world, &sha, 500).await;
    assert_eq!(looks(&world).await, 10);
    let refused = world.pipeline().await;
    assert!(
        refused["faults"]
            .to_string()
            .contains("the platform cannot make this pipeline"),
        "{refused}"
    );
    others_go_on(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_gone_makes_nothing() {
    let world = World::new().await;
    broken(&world, &"f".repeat(40), 404).await;
    assert_eq!(looks(&world).await, 1);
    assert!(world.facts("pipeline.refused").await.is_empty());
}
