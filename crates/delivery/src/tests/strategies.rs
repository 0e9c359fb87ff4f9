//! Rolling replacement and recreation: the promise held in every turn, failures half-way, restarts between any two
//! turns, and what people may do.

use super::*;
use crate::rollout::service::Act;

const ROLLING: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
smoke: [{path: /}]
rollout: {strategy: rolling, replicas: 3, step: 3s, max: 12s}
";

/// With time enough to be judged.
const JUDGED: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
smoke: [{path: /}]
rollout: {strategy: rolling, replicas: 3, step: 10s}
";

const RECREATE: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
smoke: [{path: /}]
rollout: {strategy: recreate, replicas: 2}
";

/// 1.0.0 serves in production, 1.1.0 was asked for there.
async fn asked(yaml: &str) -> World {
    asked_in(World::new().await, yaml).await
}

async fn asked_in(mut world: World, yaml: &str) -> World {
    world.publish_as("1.0.0", yaml).await;
    world.deploy("1.0.0", "production").await.unwrap();
    world.turns(4).await;
    assert_eq!(
        World::serving(&world.environment("production").await),
        Some("1.0.0")
    );
    world.publish_as("1.1.0", yaml).await;
    staged(&mut world, "1.1.0").await;
    world.deploy("1.1.0", "production").await.unwrap();
    world
}

/// The version serves in staging.
async fn staged(world: &mut World, version: &str) {
    for _ in 0..40 {
        if World::serving(&world.environment("staging").await) == Some(version) {
            return;
        }
        world.second(0).await;
    }
    panic!("{version} never served in staging");
}

/// Healthy instances that get requests in production, by version.
async fn serving(world: &World) -> Vec<String> {
    let weights = world.weights("production").await;
    weights.into_iter().filter(|w| w.1 > 0).map(|w| w.0).collect()
}

async fn running(world: &World) -> Vec<String> {
    let production = world.environment("production").await.id;
    let wanted = world.wanted().await;
    wanted
        .into_iter()
        .filter(|w| w.environment_id == production)
        .map(|w| w.version)
        .collect()
}

/// A second passes; never fewer than three serve, never more than four run.
async fn kept(world: &mut World, fail_percent: u64) {
    kept_at(world, fail_percent, 3).await;
}

async fn kept_at(world: &mut World, fail_percent: u64, replicas: usize) {
    world.second(fail_percent).await;
    let (serving, running) = (serving(world).await, running(world).await);
    assert!(serving.len() >= replicas, "only {serving:?} serve");
    assert!(running.len() <= replicas + 1, "{running:?} run");
}

/// Whether the deployment to production has ended.
async fn ended(world: &World) -> bool {
    !matches!(status(world).await.0.as_str(), "starting" | "rolling_out")
}

async fn status(world: &World) -> (String, String) {
    let list = world
        .delivery
        .deployment_views(world.project, Some("production"), None, 1)
        .await
        .unwrap();
    (list[0].status.clone(), list[0].reason.clone())
}

fn fails() -> Fate {
    Fate {
        state: InstanceState::Healthy,
        smoke: false,
        restarts: 0,
    }
}

#[tokio::test]
async fn a_rolling_replacement_keeps_its_promise_in_every_turn() {
    let mut world = asked(JUDGED).await;
    let mut seen = Vec::new();
    for _ in 0..60 {
        kept(&mut world, 0).await;
        let new = serving(&world).await.iter().filter(|v| *v == "1.1.0").count();
        seen.push(new);
        if status(&world).await.0 == "succeeded" {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen, [0, 1, 2, 3], "one at a time");
    assert_eq!(status(&world).await.0, "succeeded");
    world.turns(3).await;
    assert_eq!(running(&world).await, ["1.1.0", "1.1.0", "1.1.0"]);
    let rollout = world.rollout().await;
    assert_eq!(
        (
            rollout.status.as_str(),
            rollout.strategy.as_str(),
            rollout.replicas
        ),
        ("promoted", "rolling", 3)
    );
    assert_eq!(rollout.steps, [33, 66, 100]);
    assert!(rollout.numbers.new_requests > 0 && rollout.numbers.old_requests > 0);
    let steps = world.kinds("rollout.stepped").await;
    assert!(steps.iter().any(|line| line.contains("25 %")), "{steps:?}");
    let judged = world.kinds("rollout.judged").await;
    assert!(
        judged.iter().filter(|line| line.contains("pass")).count() >= 3,
        "{judged:?}"
    );
}

#[tokio::test]
async fn it_needs_no_traffic_to_go_on() {
    let mut world = asked(ROLLING).await;
    for _ in 0..60 {
        world.clock.advance(Duration::from_secs(1));
        world.turns(1).await;
    }
    assert_eq!(status(&world).await.0, "succeeded");
}

#[tokio::test]
async fn a_restart_between_any_two_turns_changes_nothing() {
    let two = ROLLING.replace("replicas: 3", "replicas: 2");
    for at in 0..20 {
        let mut world = asked(&two).await;
        for turn in 0..90 {
            if turn == at {
                world.restart();
            }
            kept_at(&mut world, 0, 2).await;
            if turn > at && ended(&world).await {
                break;
            }
        }
        world.turns(3).await;
        assert_eq!(status(&world).await.0, "succeeded", "restarted before turn {at}");
        assert_eq!(running(&world).await, ["1.1.0", "1.1.0"], "{at}");
    }
}

#[tokio::test]
async fn a_first_instance_that_fails_meets_nobody() {
    let mut world = asked(ROLLING).await;
    world.fates.insert("1.1.0".into(), fails());
    for _ in 0..6 {
        kept(&mut world, 0).await;
    }
    let (status, reason) = status(&world).await;
    assert_eq!(status, "failed");
    assert!(reason.contains("smoke test failed"), "{reason}");
    assert_eq!(running(&world).await, ["1.0.0", "1.0.0", "1.0.0"]);
    assert!(world.facts("rollout.started").await.is_empty());
}

#[tokio::test]
async fn one_that_fails_half_way_is_undone_and_the_old_ones_start_again() {
    for replaced in 1..=2 {
        for restart_at in [None, Some(1), Some(2), Some(4), Some(6)] {
            let mut world = asked(ROLLING).await;
            let count = |serving: &[String]| serving.iter().filter(|v| *v == "1.1.0").count();
            while count(&serving(&world).await) < replaced {
                kept(&mut world, 0).await;
            }
            let so_far: Vec<InstanceId> = world.wanted().await.iter().map(|w| w.id).collect();
            for id in so_far {
                world.own_fates.insert(
                    id,
                    Fate {
                        state: InstanceState::Healthy,
                        smoke: true,
                        restarts: 0,
                    },
                );
            }
            world.fates.insert("1.1.0".into(), fails());
            for turn in 0..60 {
                if restart_at == Some(turn) {
                    world.restart();
                }
                kept(&mut world, 0).await;
                if turn > restart_at.unwrap_or(0) && ended(&world).await {
                    break;
                }
            }
            world.turns(3).await;
            let (status, reason) = status(&world).await;
            assert_eq!(status, "rolled_back", "{replaced} {restart_at:?}: {reason}");
            assert!(reason.contains("smoke test failed"), "{reason}");
            assert_eq!(running(&world).await, ["1.0.0", "1.0.0", "1.0.0"]);
            let rollout = world.rollout().await;
            assert_eq!(
                (rollout.status.as_str(), rollout.cause.as_deref()),
                ("aborted", Some("guardrail"))
            );
            assert_eq!(
                World::serving(&world.environment("production").await),
                Some("1.0.0")
            );
        }
    }
}

#[tokio::test]
async fn one_that_errs_is_undone_by_the_judge_and_the_promise_holds_on_the_way_back() {
    let mut world = asked(JUDGED).await;
    let mut statuses = Vec::new();
    for _ in 0..80 {
        kept(&mut world, 30).await;
        if world.facts("rollout.started").await.is_empty() {
            continue;
        }
        statuses.push(world.rollout().await.status);
        if status(&world).await.0 == "rolled_back" {
            break;
        }
    }
    statuses.dedup();
    assert_eq!(
        statuses.last().map(String::as_str),
        Some("aborted"),
        "{statuses:?}"
    );
    let rollout = world.rollout().await;
    assert_eq!(rollout.cause.as_deref(), Some("judge"), "{rollout:?}");
    world.turns(3).await;
    assert_eq!(running(&world).await, ["1.0.0", "1.0.0", "1.0.0"]);
    let judged = world.kinds("rollout.judged").await;
    assert_eq!(
        judged.iter().filter(|line| line.contains("fail,")).count(),
        1,
        "{judged:?}"
    );
}

#[tokio::test]
async fn one_that_crashes_in_service_is_replaced_by_the_old_version() {
    let mut world = asked(ROLLING).await;
    while serving(&world).await.iter().filter(|v| *v == "1.1.0").count() < 2 {
        kept(&mut world, 0).await;
    }
    world.fates.insert(
        "1.1.0".into(),
        Fate {
            state: InstanceState::Crashed,
            smoke: true,
            restarts: 1,
        },
    );
    // What crashes is lost to users whatever the platform does; the rest is not.
    for _ in 0..40 {
        world.second(0).await;
        assert!(running(&world).await.len() <= 4);
    }
    assert_eq!(status(&world).await.0, "rolled_back");
    assert_eq!(serving(&world).await, ["1.0.0", "1.0.0", "1.0.0"]);
}

#[tokio::test]
async fn people_pause_promote_and_abort_a_rolling_replacement() {
    let act = |world: &World, act: Act| {
        let (delivery, project) = (world.delivery.clone(), world.project);
        async move {
            let rows = crate::rollout::store::list(&delivery.db, project, None, 1)
                .await
                .unwrap();
            delivery
                .act_on_rollout(&ana(), project, rows[0].id, act, "so said")
                .await
        }
    };
    let count = |serving: &[String]| serving.iter().filter(|v| *v == "1.1.0").count();
    let mut world = asked(ROLLING).await;
    while count(&serving(&world).await) < 1 {
        kept(&mut world, 0).await;
    }
    act(&world, Act::Pause).await.unwrap();
    for _ in 0..20 {
        kept(&mut world, 0).await;
    }
    assert_eq!(count(&serving(&world).await), 1, "it stands still");
    assert_eq!(world.rollout().await.status, "paused");
    act(&world, Act::Resume).await.unwrap();
    while count(&serving(&world).await) < 2 {
        kept(&mut world, 0).await;
    }
    act(&world, Act::Promote).await.unwrap();
    let mut seconds = 0;
    while world.rollout().await.finished_at.is_none() {
        kept(&mut world, 0).await;
        seconds += 1;
    }
    assert!(seconds <= 5, "it took {seconds} s without waiting");
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.cause.as_deref()),
        ("promoted", Some("person"))
    );
    assert_eq!(rollout.reason, "promoted by ana: so said");

    let mut world = asked(ROLLING).await;
    while count(&serving(&world).await) < 2 {
        kept(&mut world, 0).await;
    }
    act(&world, Act::Abort).await.unwrap();
    let refused = act(&world, Act::Promote).await.unwrap_err();
    assert_eq!(refused.code, "not_so");
    while world.rollout().await.finished_at.is_none() {
        kept(&mut world, 0).await;
    }
    world.turns(3).await;
    assert_eq!(running(&world).await, ["1.0.0", "1.0.0", "1.0.0"]);
    assert_eq!(world.rollout().await.reason, "aborted by ana: so said");

    // Asked twice, it does not wait for the old version to be whole.
    let mut world = asked(ROLLING).await;
    while count(&serving(&world).await) < 2 {
        kept(&mut world, 0).await;
    }
    act(&world, Act::Abort).await.unwrap();
    act(&world, Act::Abort).await.unwrap();
    assert_eq!(world.rollout().await.status, "aborted");
    assert!(serving(&world).await.iter().all(|version| version == "1.0.0"));
}

#[tokio::test]
async fn without_a_surge_old_ones_go_first_and_the_number_changes_with_the_file() {
    const NARROW: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
rollout: {strategy: rolling, replicas: 3, step: 2s, max_surge: 0, max_unavailable: 1}
";
    const WIDE: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
rollout: {strategy: rolling, replicas: 5, step: 2s, max_surge: 2}
";
    let mut world = asked(NARROW).await;
    for _ in 0..60 {
        world.second(0).await;
        assert!(serving(&world).await.len() >= 2 && running(&world).await.len() <= 3);
    }
    assert_eq!(status(&world).await.0, "succeeded");
    for (version, yaml, instances) in [("1.2.0", WIDE, 5), ("1.3.0", NARROW, 3)] {
        world.publish_as(version, yaml).await;
        staged(&mut world, version).await;
        world.deploy(version, "production").await.unwrap();
        for _ in 0..60 {
            world.second(0).await;
            assert!(serving(&world).await.len() >= 2);
        }
        assert_eq!(status(&world).await.0, "succeeded");
        assert_eq!(running(&world).await, vec![version; instances]);
    }
}

#[tokio::test]
async fn recreation_ends_the_old_before_the_new_starts_and_says_how_long_nothing_served() {
    for restart_at in 0..12 {
        let mut world = asked(RECREATE).await;
        let mut silent = 0;
        for turn in 0..40 {
            if turn == restart_at {
                world.restart();
            }
            world.second(0).await;
            let mut versions = running(&world).await;
            versions.dedup();
            assert!(versions.len() <= 1, "both run: {versions:?}");
            silent += u32::from(serving(&world).await.is_empty());
            if turn > restart_at && ended(&world).await {
                break;
            }
        }
        world.turns(3).await;
        let (status, reason) = status(&world).await;
        assert_eq!(status, "succeeded", "{restart_at}: {reason}");
        assert!(reason.contains("nothing served for"), "{reason}");
        assert_eq!(serving(&world).await, ["1.1.0", "1.1.0"]);
        let rollout = world.rollout().await;
        assert_eq!(
            (rollout.status.as_str(), rollout.strategy.as_str()),
            ("promoted", "recreate")
        );
        let down = rollout.downtime_ms.unwrap();
        assert!(
            silent > 0 && down >= u64::from(silent - 1) * 1_000,
            "{silent} s, {down} ms"
        );
    }
}

#[tokio::test]
async fn a_version_that_cannot_start_gives_its_place_back() {
    for restart_at in 0..12 {
        let mut world = asked(RECREATE).await;
        world.fates.insert("1.1.0".into(), fails());
        for turn in 0..40 {
            if turn == restart_at {
                world.restart();
            }
            world.second(0).await;
            let mut versions = running(&world).await;
            versions.dedup();
            assert!(versions.len() <= 1, "both run: {versions:?}");
            if turn > restart_at && ended(&world).await {
                break;
            }
        }
        world.turns(3).await;
        let (status, reason) = status(&world).await;
        assert_eq!(status, "rolled_back", "{restart_at}: {reason}");
        assert!(
            reason.contains("smoke test failed") && reason.contains("1.0.0 was started again"),
            "{reason}"
        );
        assert_eq!(serving(&world).await, ["1.0.0", "1.0.0"]);
        assert_eq!(
            World::serving(&world.environment("production").await),
            Some("1.0.0")
        );
    }
}

#[tokio::test]
async fn recreation_can_be_aborted_and_nothing_else() {
    let mut world = asked(RECREATE).await;
    world.turns(1).await;
    let id = world.rollout().await.id;
    let act = |world: &World, act: Act| {
        let (delivery, project) = (world.delivery.clone(), world.project);
        async move { delivery.act_on_rollout(&ana(), project, id, act, "").await }
    };
    assert_eq!(act(&world, Act::Pause).await.unwrap_err().code, "no_steps");
    act(&world, Act::Abort).await.unwrap();
    for _ in 0..12 {
        world.second(0).await;
    }
    let rollout = world.rollout().await;
    assert_eq!(
        (rollout.status.as_str(), rollout.cause.as_deref()),
        ("aborted", Some("person"))
    );
    assert_eq!(serving(&world).await, ["1.0.0", "1.0.0"]);
}

#[tokio::test]
async fn nothing_is_ended_for_what_no_agent_could_start() {
    let mut world = asked(RECREATE).await;
    world.clock.advance(Duration::from_secs(20));
    world.driver.turn().await.unwrap();
    world.driver.turn().await.unwrap();
    assert_eq!(status(&world).await.0, "starting");
    assert!(running(&world).await.iter().all(|version| version == "1.0.0"));
    for _ in 0..20 {
        world.second(0).await;
    }
    assert_eq!(status(&world).await.0, "succeeded");
}

#[tokio::test]
async fn a_newer_release_takes_over_from_one_that_is_half_way_into_staging() {
    const STAGED: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
rollout: {replicas: 3, staging: {strategy: rolling, step: 4s}}
";
    let mut world = World::new().await;
    world.publish_as("1.0.0", STAGED).await;
    world.turns(3).await;
    world.publish_as("1.1.0", STAGED).await;
    let mixed = |weights: &[(String, u32)]| weights.iter().any(|w| w.0 == "1.1.0" && w.1 > 0);
    while !mixed(&world.weights("staging").await) {
        world.second(0).await;
    }
    world.publish_as("1.2.0", STAGED).await;
    for _ in 0..80 {
        world.second(0).await;
        let serving = world.weights("staging").await;
        assert!(serving.iter().filter(|w| w.1 > 0).count() >= 3, "{serving:?}");
    }
    let staging = world.environment("staging").await;
    assert_eq!(World::serving(&staging), Some("1.2.0"));
    assert!(staging.instances.iter().all(|i| i.version == "1.2.0") && staging.instances.len() == 3);
    let list = world
        .delivery
        .deployment_views(world.project, Some("staging"), None, 3)
        .await
        .unwrap();
    let ends: Vec<_> = list.iter().map(|d| d.status.as_str()).collect();
    assert_eq!(ends, ["succeeded", "superseded", "succeeded"]);
    let finished = world.kinds("rollout.finished").await;
    assert!(finished[0].starts_with("left 1.1.0"), "{finished:?}");
}

#[tokio::test]
async fn all_strategies_are_the_same_on_postgresql() {
    for (yaml, bad, end) in [
        (ROLLING, false, "succeeded"),
        (ROLLING, true, "rolled_back"),
        (RECREATE, false, "succeeded"),
        (RECREATE, true, "rolled_back"),
        (replicas::FRESH, false, "succeeded"),
    ] {
        let server = bascule_testkit::Postgres::start();
        let options = DbOptions::Postgres(server.url().to_owned());
        let world = World::over(tempfile::tempdir().unwrap(), &options).await;
        let mut world = Box::pin(asked_in(world, yaml)).await;
        let mut spoilt = !bad;
        for _ in 0..60 {
            let met = serving(&world).await.iter().any(|version| version == "1.1.0");
            if !spoilt && (met || yaml == RECREATE) {
                // Those that serve stay well, those that come fail.
                for wanted in world.wanted().await {
                    let well = Fate {
                        smoke: true,
                        ..fails()
                    };
                    world.own_fates.insert(wanted.id, well);
                }
                world.fates.insert("1.1.0".into(), fails());
                spoilt = true;
            }
            world.second(0).await;
            if ended(&world).await {
                break;
            }
        }
        let (status, reason) = status(&world).await;
        assert_eq!(status, end, "{yaml}: {reason}");
    }
}
