//! Many agents and environments: one is woken for what it is told, what changed is planned and nothing else, and
//! silence is noticed as before.

use super::{
    plans::{SITE, two_products},
    *,
};
use crate::{deployment, plan};
use bascule_store::args;
use tokio_util::sync::CancellationToken;

const OTHER: &str = "\
environment: site-8
tier: staging
channel: dev
agent: far
install:
  - product: health/auth
";

/// Sets what is stored of the plans of an environment to something that no pass would say.
async fn spoil(world: &World, site: &str) {
    let tx = world.delivery.db.begin().await.unwrap();
    let sql =
        "UPDATE plan SET why = 'spoilt' WHERE environment_id IN (SELECT id FROM environment WHERE name = $1)";
    assert!(tx.run(sql, args![site]).await.unwrap() > 0);
    tx.commit().await.unwrap();
}

async fn spoilt(world: &World, site: &str) -> bool {
    world
        .plan(site)
        .await
        .iter()
        .all(|line| line.ends_with(": spoilt"))
}

async fn two_sites() -> World {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE), ("site-8", OTHER)]).await;
    world.turns(3).await;
    for site in ["site-7", "site-8"] {
        spoil(&world, site).await;
    }
    world
}

#[tokio::test]
async fn what_changed_is_planned_and_nothing_else_until_the_net_finds_it() {
    let mut world = Box::pin(two_sites()).await;
    world.planner.turn().await.unwrap();
    assert!(spoilt(&world, "site-7").await, "nothing changed");

    world
        .delivery
        .suppress(&ana(), "site-8", "a move", None)
        .await
        .unwrap();
    world.planner.turn().await.unwrap();
    assert!(!spoilt(&world, "site-8").await);
    assert!(spoilt(&world, "site-7").await, "it bears on the other alone");

    world.clock.advance(Duration::from_secs(15 * 60));
    world.planner.turn().await.unwrap();
    assert!(!spoilt(&world, "site-7").await, "now and then all is planned");
}

#[tokio::test]
async fn a_release_is_planned_where_its_product_belongs() {
    let mut world = Box::pin(two_sites()).await;
    let needs = "dependencies: [{product: health/auth, minimum: 9.0.0}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    assert!(!spoilt(&world, "site-7").await);
    assert!(spoilt(&world, "site-8").await, "clinic does not belong there");
    assert!(
        world.plan("site-7").await[1].contains("1.1.0 needs"),
        "{:?}",
        world.plan("site-7").await
    );
}

#[tokio::test]
async fn a_change_that_nobody_wrote_down_is_planned_everywhere() {
    let mut world = Box::pin(two_sites()).await;
    let tx = world.delivery.db.begin().await.unwrap();
    let sql = "UPDATE delivery_revision SET value = value + 1 WHERE name = 'plan'";
    tx.run(sql, args![]).await.unwrap();
    tx.commit().await.unwrap();
    world.planner.turn().await.unwrap();
    assert!(!spoilt(&world, "site-7").await && !spoilt(&world, "site-8").await);
}

#[tokio::test]
async fn what_one_server_changed_another_plans_once() {
    let mut world = two_products().await;
    let mut other = Planner::new(World::delivery(&world.delivery.db, &world.ledger, &world.fakes));
    world.declare("c1", &[("site-7", SITE)]).await;
    other.turn().await.unwrap();
    // One server publishes, both plan: the one that comes second finds that it was done.
    world.publish_of("health/auth", "2.1.0", "").await;
    other.turn().await.unwrap();
    world.planner.turn().await.unwrap();
    world.turns(3).await;
    other.turn().await.unwrap();
    assert!(world.plan("site-7").await[0].starts_with("health/auth: 2.1.0 → 2.1.0, up_to_date"));
    let steps = world.facts("deployment.created").await;
    let bodies = steps
        .iter()
        .map(|entry| serde_json::from_str::<serde_json::Value>(&entry.body).unwrap());
    let to = bodies.filter(|body| body["version"] == "2.1.0" && body["environment_name"] == "site-7");
    assert_eq!(to.count(), 1, "no step is taken twice");
}

/// An agent at rest, which has said what it runs, and what it said.
async fn at_rest(world: &mut World) -> (fleet::Agent, AgentReport) {
    world.publish("1.0.0").await;
    world.turns(4).await;
    world.agent_turn().await;
    let agent = world.delivery.agent_of(&world.agent).await.unwrap();
    let stands = fleet::store::agent_stands(&world.delivery.db, agent.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((stands.busy, stands.revision), (0, agent.revision));
    let instances: Vec<InstanceReport> = world
        .wanted()
        .await
        .iter()
        .map(|wanted| InstanceReport {
            instance: wanted.id,
            deployment: wanted.deployment_id,
            state: InstanceState::Healthy,
            address: Some(format!("127.0.0.1:{}", wanted.id.to_string().len())),
            pid: Some(1),
            restarts: 0,
            message: String::new(),
            started_at: Some(Timestamp::from_seconds(1)),
            smoke: Some(SmokeResult {
                passed: true,
                details: vec!["GET / → 200".into()],
            }),
        })
        .collect();
    let report = world.report(&instances);
    (agent, report)
}

async fn silence_is_noticed_as_before(mut world: World) {
    let (agent, mut report) = at_rest(&mut world).await;
    let before = agent.seen_at;
    world.clock.advance(Duration::from_secs(10));
    report.at = world.delivery.now();
    report.disk_free_bytes = 4_711;
    let agent = world.delivery.agent_of(&world.agent).await.unwrap();
    let delivery = world.delivery.clone();
    let (asking, known) = (agent.clone(), agent.revision);
    let call = tokio::spawn(async move {
        delivery
            .hear_agent(&asking, &report, known, Duration::from_secs(60))
            .await
    });
    // Nothing is new, so nothing is written at once; then it is, with all that it said.
    let mut noted = false;
    for _ in 0..200 {
        world.delivery.write_signs().await.unwrap();
        let now = world.delivery.agent_of(&world.agent).await.unwrap();
        if now
            .silent_at
            .is_some_and(|at| at > world.delivery.now().plus(fleet::AGENT_WAIT * 2))
        {
            assert!(now.seen_at > before && now.disk_free == 4_711);
            noted = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(noted, "the call hangs");
    world.clock.advance(Duration::from_secs(50));
    world.driver.turn().await.unwrap();
    assert!(
        world.kinds("agent.seen").await.is_empty(),
        "as long as it hangs it is there"
    );

    // Its connection is lost.
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    world.clock.advance(Duration::from_secs(14));
    world.driver.turn().await.unwrap();
    assert!(world.kinds("agent.seen").await.is_empty());
    world.clock.advance(Duration::from_secs(2));
    world.driver.turn().await.unwrap();
    assert_eq!(world.kinds("agent.seen").await, ["agent local stopped reporting"]);
    world.agent_turn().await;
    assert_eq!(world.kinds("agent.seen").await.len(), 2, "it is back");
}

/// Waits until what is stored of the usual agent is so.
async fn until_stored(world: &World, what: impl Fn(&fleet::Agent) -> bool) {
    for _ in 0..500 {
        world.delivery.write_signs().await.unwrap();
        if what(&world.delivery.agent_of(&world.agent).await.unwrap()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is never stored");
}

#[tokio::test]
async fn an_agent_that_died_while_the_hub_was_down_is_noticed_as_soon_as_others() {
    let mut world = World::new().await;
    let (agent, report) = at_rest(&mut world).await;
    let (delivery, known) = (world.delivery.clone(), agent.revision);
    let call = tokio::spawn(async move {
        delivery
            .hear_agent(&agent, &report, known, fleet::AGENT_REST)
            .await
    });
    let soon = world.delivery.now().plus(fleet::AGENT_SILENCE);
    until_stored(&world, |agent| agent.silent_at.is_some_and(|at| at > soon)).await;
    // The hub is killed, and the agent with it.
    world.restart();
    call.abort();
    let stop = CancellationToken::new();
    let writing = tokio::spawn(fleet::signs::run(world.delivery.clone(), stop.clone()));
    until_stored(&world, |agent| agent.silent_at.is_some_and(|at| at <= soon)).await;
    stop.cancel();
    writing.await.unwrap();
    world.clock.advance(Duration::from_secs(16));
    world.driver.turn().await.unwrap();
    assert_eq!(world.kinds("agent.seen").await, ["agent local stopped reporting"]);
}

#[tokio::test]
async fn an_agent_is_there_while_its_call_hangs_and_silent_soon_after() {
    silence_is_noticed_as_before(World::new().await).await;
}

#[tokio::test]
async fn what_is_told_wakes_the_agent_that_it_is_told_to() {
    let mut world = World::new().await;
    let (agent, report) = at_rest(&mut world).await;
    let token = world.delivery.enrol_agent("far").await.unwrap();
    let far = world.delivery.agent_of(&token).await.unwrap();
    let hang = |agent: fleet::Agent, report: AgentReport| {
        let delivery = world.delivery.clone();
        tokio::spawn(async move {
            delivery
                .hear_agent(&agent, &report, agent.revision, Duration::from_secs(60))
                .await
        })
    };
    let (near, other) = (hang(agent.clone(), report), hang(far, world.report(&[])));
    tokio::task::yield_now().await;
    world.deploy("1.0.0", "production").await.unwrap();
    let revision = tokio::time::timeout(Duration::from_secs(5), near)
        .await
        .expect("it is woken")
        .unwrap()
        .unwrap();
    assert!(revision > agent.revision);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!other.is_finished(), "nothing is new for it");
    // Something that all are told wakes it too.
    let tx = world.delivery.db.begin().await.unwrap();
    world.delivery.bump(&tx, fleet::Channel::Agent).await.unwrap();
    tx.commit().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), other)
        .await
        .expect("it is woken")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn another_server_wakes_an_agent_and_signs_are_written_on_postgresql() {
    let server = bascule_testkit::Postgres::start();
    let options = DbOptions::Postgres(server.url().to_owned());
    let mut world = World::over(tempfile::tempdir().unwrap(), &options).await;
    let (agent, report) = at_rest(&mut world).await;
    let here = World::delivery(&world.delivery.db, &world.ledger, &world.fakes);
    let stop = CancellationToken::new();
    let looking = tokio::spawn(fleet::bells::run(here.clone(), stop.clone()));
    let asking = agent.clone();
    let call = tokio::spawn(async move {
        here.hear_agent(&asking, &report, asking.revision, Duration::from_secs(60))
            .await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The other server tells it.
    world.deploy("1.0.0", "production").await.unwrap();
    let revision = tokio::time::timeout(Duration::from_secs(10), call)
        .await
        .expect("it is seen")
        .unwrap()
        .unwrap();
    assert!(revision > agent.revision);
    stop.cancel();
    looking.await.unwrap();
    world.turns(4).await;
    assert_eq!(
        World::serving(&world.environment("production").await),
        Some("1.0.0")
    );
}

#[tokio::test]
async fn silence_is_noticed_on_postgresql() {
    let server = bascule_testkit::Postgres::start();
    let options = DbOptions::Postgres(server.url().to_owned());
    silence_is_noticed_as_before(World::over(tempfile::tempdir().unwrap(), &options).await).await;
}

#[tokio::test]
async fn an_install_stands_as_its_worst_instance() {
    let mut world = World::new().await;
    let yaml = YAML.replace("rollout: {", "rollout: {replicas: 3, ");
    world.publish_as("1.0.0", &yaml).await;
    world.turns(3).await;
    let staging = world.environment("staging").await;
    let first = world.instances(staging.id).await[0];
    world.own_fates.insert(
        first,
        Fate {
            state: InstanceState::Unhealthy,
            smoke: true,
            restarts: 0,
        },
    );
    world.agent_turn().await;
    let state = |places: Vec<plan::store::Place>| {
        places
            .into_iter()
            .find(|place| place.id == staging.id)
            .and_then(|place| place.instance_state)
    };
    let db = &world.delivery.db;
    let places = plan::store::places_in(db, "staging").await.unwrap();
    assert_eq!(state(places).as_deref(), Some("unhealthy"), "not as its newest");
    // One that stands beside them to be compared with says nothing of it.
    world.own_fates.clear();
    world.agent_turn().await;
    let serving = staging.serving.unwrap().id;
    let new = deployment::instances::New {
        deployment: serving,
        environment: staging.id,
        desired: "run",
        weight: 0,
        baseline: true,
        count: 1,
    };
    let tx = db.begin().await.unwrap();
    deployment::instances::insert(&tx, &new, world.delivery.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let places = plan::store::places_in(db, "staging").await.unwrap();
    assert_eq!(state(places).as_deref(), Some("healthy"));
}
