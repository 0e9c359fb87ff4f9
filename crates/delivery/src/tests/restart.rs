use super::*;

#[tokio::test]
async fn after_a_restart_the_rollout_goes_on_when_both_instances_are_back() {
    let mut world = World::rolling().await;
    for _ in 0..5 {
        world.second(0).await;
    }
    let before = world.rollout().await;
    world.restart();
    world.driver.turn().await.unwrap();
    assert_eq!(
        world.rollout().await.status,
        "running",
        "it waits for word of the instances"
    );
    world.clock.advance(Duration::from_secs(3));
    world.turns(2).await;
    let after = world.rollout().await;
    assert_eq!((after.status.as_str(), after.weight), ("running", before.weight));
    assert!(
        after.numbers.new_requests >= before.numbers.new_requests,
        "evidence is kept"
    );
    let judged = world.kinds("rollout.judged").await;
    assert!(judged.last().unwrap().contains("restarted"), "{judged:?}");
    for _ in 0..30 {
        world.second(0).await;
    }
    assert_eq!(world.rollout().await.status, "promoted");
}

#[tokio::test]
async fn after_a_restart_the_rollout_is_undone_when_an_instance_does_not_come_back() {
    let mut world = World::rolling().await;
    world.second(0).await;
    world.fates.insert(
        "1.1.0".into(),
        Fate {
            state: InstanceState::Starting,
            smoke: true,
            restarts: 0,
        },
    );
    world.restart();
    for _ in 0..32 {
        world.turns(1).await;
        world.clock.advance(Duration::from_secs(1));
    }
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.cause.as_deref()),
        ("aborted", Some("restart"))
    );
    assert!(rollout.reason.contains("restarted"), "{}", rollout.reason);
    assert_eq!(world.weights("production").await, [("1.0.0".to_owned(), 100)]);
}

#[tokio::test]
async fn a_restart_while_an_instance_starts_changes_nothing() {
    let mut world = World::new().await;
    world.announce("1.0.0", Some(YAML)).await;
    world.settle().await;
    world.restart();
    world.turns(3).await;
    assert_eq!(World::serving(&world.environment("staging").await), Some("1.0.0"));
    world.restart();
    world.turns(2).await;
    assert_eq!(world.facts("deployment.created").await.len(), 1);
}

#[tokio::test]
async fn the_loop_drives_and_ends_when_told() {
    let world = World::new().await;
    world.announce("1.0.0", Some(YAML)).await;
    world.settle().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(world.delivery.clone().run(stop.clone()));
    let serves = async {
        loop {
            let mut changes = world.ledger.watch();
            world.agent_turn().await;
            if World::serving(&world.environment("staging").await) == Some("1.0.0") {
                return;
            }
            drop(tokio::time::timeout(Duration::from_millis(50), changes.changed()).await);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), serves)
        .await
        .expect("the loop takes it to staging");
    // A call that hangs ends with the loop, so that the server can stop.
    let agent = world.delivery.agent_of(&world.agent).await.unwrap();
    let delivery = world.delivery.clone();
    let hanging = tokio::spawn(async move {
        let (bell, known) = (delivery.signals.bells.listen(agent.id), agent.revision);
        delivery
            .wait_for_agent(agent.id, bell, known, known, Duration::from_secs(60))
            .await
    });
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running)
        .await
        .expect("it ends")
        .unwrap();
    tokio::time::timeout(Duration::from_secs(5), hanging)
        .await
        .expect("the call ends")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_instance_that_never_becomes_healthy_fails_in_time_but_not_for_the_servers_own_absence() {
    let mut world = World::new().await;
    world.fates.insert(
        "1.0.0".into(),
        Fate {
            state: InstanceState::Starting,
            smoke: true,
            restarts: 0,
        },
    );
    world.publish("1.0.0").await;
    world.clock.advance(Duration::from_secs(3_600));
    world.restart();
    world.turns(2).await;
    let status = |world: &World| {
        let (delivery, project) = (world.delivery.clone(), world.project);
        async move {
            delivery
                .deployment_views(project, None, None, 1)
                .await
                .unwrap()
                .remove(0)
        }
    };
    assert_eq!(
        status(&world).await.status,
        "starting",
        "the server was away for an hour, not the release"
    );
    world.clock.advance(Duration::from_secs(151));
    world.turns(2).await;
    let deployment = status(&world).await;
    assert_eq!(deployment.status, "failed");
    assert!(
        deployment
            .reason
            .contains("not proven healthy within 150 seconds"),
        "{}",
        deployment.reason
    );
}
