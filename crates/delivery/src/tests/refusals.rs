use super::*;

#[tokio::test]
async fn every_refusal_says_what_why_and_what_next() {
    let mut world = World::new().await;
    let nothing = world.deploy("1.0.0", "production").await.unwrap_err();
    assert_eq!(nothing.code, "unknown_environment");
    assert!(nothing.next.contains("bascule.yaml"), "{nothing}");

    world.publish("1.0.0").await;
    let mut problems = Vec::new();
    problems.push((
        "unknown_environment",
        world.deploy("1.0.0", "prod").await.unwrap_err(),
    ));
    problems.push((
        "unknown_release",
        world.deploy("9.9.9", "production").await.unwrap_err(),
    ));
    problems.push((
        "already_serving",
        world.deploy("v1.0.0", "staging").await.unwrap_err(),
    ));
    problems.push((
        "forbidden",
        world
            .deploy_as(&ben(), "1.0.0", "production", None)
            .await
            .unwrap_err(),
    ));
    problems.push((
        "reason_missing",
        world
            .deploy_as(&ana(), "1.0.0", "staging", Some(" "))
            .await
            .unwrap_err(),
    ));

    world.fates.insert(
        "1.1.0".into(),
        Fate {
            state: InstanceState::Failed,
            smoke: true,
            restarts: 0,
        },
    );
    world.publish("1.1.0").await;
    problems.push((
        "failed_in_staging",
        world.deploy("1.1.0", "production").await.unwrap_err(),
    ));
    world.fates.insert(
        "1.2.0".into(),
        Fate {
            state: InstanceState::Starting,
            smoke: true,
            restarts: 0,
        },
    );
    world.publish("1.2.0").await;
    problems.push((
        "staging_not_done",
        world.deploy("1.2.0", "production").await.unwrap_err(),
    ));

    world.deploy("1.0.0", "production").await.unwrap();
    problems.push((
        "deployment_running",
        world.deploy("1.0.0", "production").await.unwrap_err(),
    ));
    for (code, problem) in problems {
        assert_eq!(problem.code, code, "{problem}");
        assert!(!problem.why.is_empty() && !problem.next.is_empty(), "{problem}");
    }
}

#[tokio::test]
async fn a_rule_may_be_set_aside_with_a_reason_that_is_kept() {
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
    world.fates.remove("1.1.0");
    let id = world
        .deploy_as(&ana(), "1.1.0", "production", Some("staging's disk is full"))
        .await
        .unwrap();
    world.turns(3).await;
    let (deployment, _) = world.delivery.deployment_view(world.project, id).await.unwrap();
    assert_eq!(
        (deployment.status.as_str(), deployment.forced.as_str()),
        ("succeeded", "staging's disk is full")
    );
}

#[tokio::test]
async fn a_wrong_product_file_is_told_and_deploys_nothing() {
    let world = World::new().await;
    world
        .announce(
            "1.0.0",
            Some("product: clinic\nartifact: dist/app.tar.gz\ncomand: ./app\n"),
        )
        .await;
    world
        .announce(
            "1.1.0",
            Some("product: clinic\nartifact: nowhere.zip\ncommand: ./app\n"),
        )
        .await;
    world.announce("1.2.0", None).await;
    world.settle().await;
    let refused = world.kinds("product.refused").await;
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused[0].contains("bascule.yaml:3:1") && refused[0].contains("did you mean `command`?"),
        "{refused:?}"
    );
    assert!(refused[1].contains("nowhere.zip"), "{refused:?}");
    assert!(
        world
            .delivery
            .environments(world.project)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_release_offered_twice_is_deployed_once() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    let tx = world.delivery.db.begin().await.unwrap();
    tx.run("DELETE FROM subscriber", Vec::new()).await.unwrap();
    tx.commit().await.unwrap();
    world.settle().await;
    world.turns(2).await;
    assert_eq!(world.facts("deployment.created").await.len(), 1);
    assert_eq!(world.facts("environment.created").await.len(), 2);
}

#[tokio::test]
async fn a_newer_release_takes_the_place_of_one_that_is_not_proven() {
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
    world.publish("1.1.0").await;
    world.turns(2).await;
    let list = world
        .delivery
        .deployment_views(world.project, None, None, 10)
        .await
        .unwrap();
    let results: Vec<_> = list
        .iter()
        .map(|d| (d.version.as_str(), d.status.as_str()))
        .collect();
    assert_eq!(results, [("1.1.0", "succeeded"), ("1.0.0", "superseded")]);
    assert_eq!(world.instances(list[0].environment).await.len(), 1);
}

#[tokio::test]
async fn only_an_agent_that_runs_it_fetches_an_artifact() {
    let mut world = World::new().await;
    assert_eq!(
        world.delivery.agent_of("bagt-wrong").await.unwrap_err().status,
        401
    );
    world.publish("1.0.0").await;
    let agent = world.delivery.agent_of(&world.agent).await.unwrap();
    let digest = world.environment("staging").await.serving.unwrap().artifact;
    assert!(world.delivery.artifact_for(&agent, &digest).await.is_ok());
    assert_eq!(
        world
            .delivery
            .artifact_for(&agent, &Digest::of(b"other"))
            .await
            .err()
            .unwrap()
            .status,
        404
    );
    let token = world.delivery.enrol_agent("site-7").await.unwrap();
    let other = world.delivery.agent_of(&token).await.unwrap();
    assert_eq!(
        world
            .delivery
            .artifact_for(&other, &digest)
            .await
            .err()
            .unwrap()
            .status,
        404
    );
    let again = world.delivery.enrol_agent("site-7").await.unwrap();
    assert!(world.delivery.agent_of(&token).await.is_err() && world.delivery.agent_of(&again).await.is_ok());
}

#[tokio::test]
async fn an_agent_that_falls_silent_is_told_once_and_so_is_its_return() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    world.clock.advance(Duration::from_secs(16));
    for _ in 0..3 {
        world.driver.turn().await.unwrap();
    }
    assert_eq!(world.kinds("agent.seen").await, ["agent local stopped reporting"]);
    assert!(!world.environment("staging").await.agent_online);
    world.turns(2).await;
    assert_eq!(
        world.kinds("agent.seen").await,
        ["agent local stopped reporting", "agent local reports again"]
    );
}

#[tokio::test]
async fn an_agents_calls_may_overtake_each_other() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    let agent = world.delivery.agent_of(&world.agent).await.unwrap();
    let mut late = world.report(&[]);
    late.at = Timestamp::from_micros(late.at.micros() - 5_000);
    world
        .delivery
        .sync_agent(&agent, &late, -1, Duration::ZERO)
        .await
        .unwrap();
    let staging = world.environment("staging").await;
    assert_eq!(
        staging.instances[0].state,
        InstanceState::Healthy,
        "an old report changes nothing"
    );
    // A clock set back by an hour is no old report.
    late.at = Timestamp::from_seconds(late.at.seconds() - 3_600);
    world
        .delivery
        .sync_agent(&agent, &late, -1, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        world.environment("staging").await.instances[0].state,
        InstanceState::Starting
    );
}
