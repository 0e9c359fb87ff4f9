use super::{
    plans::{SITE, two_products},
    web::{app, call, get},
    *,
};
use axum::body::Body;
use bascule_core::Role;
use bascule_wire::delivery::{GroupStep, NewSwitch};
use http::{Request, StatusCode};

/// clinic 1.1.0 takes auth 2 alone, clinic 1.2.0 auth 3 alone: the two can only switch together.
async fn coupled() -> World {
    let mut world = two_products().await;
    let takes = |least: &str, most: &str| {
        format!("dependencies: [{{product: health/auth, minimum: {least}, maximum: {most}}}]\n")
    };
    world
        .publish_of("health/clinic", "1.1.0", &takes("2.0.0", "2.x.x"))
        .await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.turns(6).await;
    world.publish_of("health/auth", "3.0.0", "").await;
    world
        .publish_of("health/clinic", "1.2.0", &takes("3.0.0", "3.x.x"))
        .await;
    world.turns(4).await;
    world
}

async fn offered(world: &World) -> GroupStep {
    let mut all = world.delivery.group_steps(&ana(), "site-7").await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn ask(group: &GroupStep, reason: &str) -> NewSwitch {
    NewSwitch {
        members: group
            .members
            .iter()
            .map(|member| format!("{}@{}", member.product, member.to))
            .collect(),
        reason: reason.into(),
        force: false,
    }
}

/// What an agent is told to run in site-7, as `project version`.
async fn runs(world: &World) -> Vec<String> {
    let mut all: Vec<String> = world
        .wanted()
        .await
        .into_iter()
        .filter(|wanted| wanted.environment == "site-7" && wanted.desired == "run")
        .map(|wanted| format!("{} {}", wanted.project_path, wanted.version))
        .collect();
    all.sort();
    all
}

/// Whether an old version of the one stands beside a new one of the other.
fn mixed(runs: &[String]) -> bool {
    let has = |text: &str| runs.iter().any(|one| one == text);
    (has("health/auth 3.0.0") && has("health/clinic 1.1.0"))
        || (has("health/auth 2.0.0") && has("health/clinic 1.2.0"))
}

#[tokio::test]
async fn a_group_switches_as_one_on_a_persons_word_and_never_in_part() {
    let mut world = Box::pin(coupled()).await;
    let plan = world.plan("site-7").await;
    assert!(
        plan.iter()
            .all(|line| line.contains("coupled: can only switch together")),
        "{plan:?}"
    );
    let group = offered(&world).await;
    let names: Vec<String> = group
        .members
        .iter()
        .map(|member| format!("{} {} → {}", member.product, member.from, member.to))
        .collect();
    assert_eq!(
        names,
        ["health/auth 2.0.0 → 3.0.0", "health/clinic 1.1.0 → 1.2.0"]
    );
    assert!(group.held.is_empty() && group.downtime_seconds > 0, "{group:?}");

    let take = async |caller: &Caller, new: &NewSwitch| {
        let taken = world.delivery.take_group_step(caller, "site-7", new).await;
        taken.map_err(|problem| problem.code)
    };
    assert_eq!(
        take(&ana(), &ask(&group, " ")).await.unwrap_err(),
        "reason_missing"
    );
    assert_eq!(take(&ben(), &ask(&group, "now")).await.unwrap_err(), "forbidden");
    let mut other = ask(&group, "now");
    other.members.pop();
    assert_eq!(take(&ana(), &other).await.unwrap_err(), "no_such_group");
    take(&ana(), &ask(&group, "the ward is closed")).await.unwrap();

    let mut seen = vec![runs(&world).await];
    for _ in 0..30 {
        world.turns(1).await;
        let now = runs(&world).await;
        assert!(!mixed(&now), "{now:?} after {seen:?}");
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(
        seen,
        [
            vec!["health/auth 2.0.0".to_owned(), "health/clinic 1.1.0".to_owned()],
            vec!["health/auth 2.0.0".to_owned()],
            Vec::new(),
            vec!["health/auth 3.0.0".to_owned(), "health/clinic 1.2.0".to_owned()],
        ],
        "whoever needs the other ends first, and both begin together"
    );
    let plan = world.plan("site-7").await;
    assert!(
        plan[0].starts_with("health/auth: 3.0.0 → 3.0.0, up_to_date")
            && plan[1].starts_with("health/clinic: 1.2.0 → 1.2.0, up_to_date"),
        "{plan:?}"
    );
    let told = world.kinds("switch.asked").await;
    assert_eq!(told.len(), 2, "one for each product: {told:?}");
    assert!(told[0].ends_with("the ward is closed"), "{told:?}");
}

#[tokio::test]
async fn where_one_of_a_group_is_not_healthy_all_go_back() {
    let mut world = Box::pin(coupled()).await;
    world.fates.insert(
        "1.2.0".into(),
        Fate {
            state: InstanceState::Failed,
            smoke: true,
            restarts: 0,
        },
    );
    let group = offered(&world).await;
    world
        .delivery
        .take_group_step(&ana(), "site-7", &ask(&group, "the ward is closed"))
        .await
        .unwrap();
    for _ in 0..40 {
        world.turns(1).await;
        let now = runs(&world).await;
        assert!(!mixed(&now), "{now:?}");
    }
    assert_eq!(runs(&world).await, ["health/auth 2.0.0", "health/clinic 1.1.0"]);
    let ended = world.kinds("deployment.finished").await;
    assert!(
        ended
            .iter()
            .any(|line| line.contains("all that switch together go back")),
        "{ended:?}"
    );
    let plan = world.plan("site-7").await;
    assert!(
        plan.iter()
            .all(|line| line.contains("is not tried again by itself")),
        "{plan:?}"
    );
    // A person may try it again, and is told what became of it.
    let router = app(&world, Role::Maintainer);
    let (_, page) = call(&router, get("/plans/site-7")).await;
    assert!(page.contains("Switch 2 products together now?"), "{page}");
    let group = offered(&world).await;
    assert_eq!(group.tried.len(), 2, "{group:?}");
    assert!(
        group.tried[1].starts_with("health/clinic 1.2.0 is not tried again by itself (it failed here:"),
        "{group:?}"
    );
    world.fates.clear();
    world
        .delivery
        .take_group_step(&ana(), "site-7", &ask(&group, "the disk was full"))
        .await
        .unwrap();
    world.turns(20).await;
    assert_eq!(runs(&world).await, ["health/auth 3.0.0", "health/clinic 1.2.0"]);
    assert!(
        world
            .delivery
            .group_steps(&ana(), "site-7")
            .await
            .unwrap()
            .is_empty()
    );
}

/// What the ledger tells of a group step in site-7: each deployment's and rollout's beginning and end.
async fn steps(world: &World) -> Vec<String> {
    let places = crate::plan::store::places_in(&world.delivery.db, "site-7")
        .await
        .unwrap();
    let there: Vec<String> = places.iter().map(|place| place.id.to_string()).collect();
    let mut all = Vec::new();
    for kind in [
        "deployment.created",
        "rollout.started",
        "rollout.finished",
        "deployment.finished",
    ] {
        for entry in world.facts(kind).await {
            let body: serde_json::Value = serde_json::from_str(&entry.body).unwrap();
            let at = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
            let version = at("version");
            if there.contains(&at("environment")) && ["3.0.0", "1.2.0"].contains(&version.as_str()) {
                all.push(format!("{kind} {version}"));
            }
        }
    }
    all
}

/// Takes the group step and goes on until it is done, with something done between any two things; what ran.
async fn switched(world: &mut World, between: impl Fn(&mut World)) -> Vec<Vec<String>> {
    let group = offered(world).await;
    world
        .delivery
        .take_group_step(&ana(), "site-7", &ask(&group, "the ward is closed"))
        .await
        .unwrap();
    let mut seen = vec![runs(world).await];
    for _ in 0..40 {
        between(world);
        world.agent_turn().await;
        between(world);
        world.edge_config().await;
        between(world);
        world.driver.turn().await.unwrap();
        between(world);
        world.planner.turn().await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        let now = runs(world).await;
        assert!(!mixed(&now), "{now:?} after {seen:?}");
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    seen
}

#[tokio::test]
async fn a_hub_that_is_killed_again_and_again_comes_to_the_same_end_and_takes_no_step_twice() {
    for fails in [false, true] {
        let mut all = Vec::new();
        for killed in [false, true] {
            let mut world = Box::pin(coupled()).await;
            if fails {
                let fate = Fate {
                    state: InstanceState::Failed,
                    smoke: true,
                    restarts: 0,
                };
                world.fates.insert("1.2.0".into(), fate);
            }
            let between = |world: &mut World| {
                if killed {
                    world.restart();
                }
            };
            let seen = Box::pin(switched(&mut world, between)).await;
            let end: &[&str] = if fails {
                &["health/auth 2.0.0", "health/clinic 1.1.0"]
            } else {
                &["health/auth 3.0.0", "health/clinic 1.2.0"]
            };
            assert_eq!(seen.last().unwrap(), end, "killed: {killed}; {seen:?}");
            let steps = steps(&world).await;
            let once: BTreeSet<&String> = steps.iter().collect();
            assert_eq!(once.len(), steps.len(), "killed: {killed}; {steps:?}");
            assert!(
                steps.contains(&"deployment.finished 1.2.0".to_owned()),
                "{steps:?}"
            );
            all.push((seen, steps));
        }
        assert_eq!(all[0], all[1], "a hub that is killed does as one that lives");
    }
}

/// The rollout of a product that is under way.
async fn open_rollout(world: &World, path: &str) -> Option<(ProjectId, bascule_core::RolloutId)> {
    let project = *world.fakes.projects.lock().unwrap().get(path).unwrap();
    let rows = crate::rollout::store::list(&world.delivery.db, project, None, 1)
        .await
        .unwrap();
    let open = rows.into_iter().find(|row| row.finished_at.is_none());
    open.map(|row| (project, row.id))
}

#[tokio::test]
async fn whoever_aborts_one_of_a_group_takes_all_of_it_back() {
    for aborted in ["health/clinic", "health/auth"] {
        let mut world = Box::pin(coupled()).await;
        let group = offered(&world).await;
        world
            .delivery
            .take_group_step(&ana(), "site-7", &ask(&group, "the ward is closed"))
            .await
            .unwrap();
        let mut waited = 0;
        let (project, rollout) = loop {
            if let Some(found) = open_rollout(&world, aborted).await {
                break found;
            }
            waited += 1;
            assert!(waited < 20, "{aborted} is never rolled out");
            world.turns(1).await;
        };
        world
            .delivery
            .act_on_rollout(
                &ana(),
                project,
                rollout,
                crate::rollout::service::Act::Abort,
                "not now",
            )
            .await
            .unwrap();
        for _ in 0..40 {
            world.turns(1).await;
            let now = runs(&world).await;
            assert!(!mixed(&now), "{aborted}: {now:?}");
        }
        assert_eq!(
            runs(&world).await,
            ["health/auth 2.0.0", "health/clinic 1.1.0"],
            "{aborted}"
        );
        let ended = world.kinds("deployment.finished").await;
        let told = |text: &str| ended.iter().filter(|line| line.contains(text)).count();
        assert_eq!(told("aborted by ana: not now"), 2, "{aborted}: {ended:?}");
        // It can be ordered anew.
        let group = offered(&world).await;
        world
            .delivery
            .take_group_step(&ana(), "site-7", &ask(&group, "now it may"))
            .await
            .unwrap();
        world.turns(20).await;
        assert_eq!(
            runs(&world).await,
            ["health/auth 3.0.0", "health/clinic 1.2.0"],
            "{aborted}"
        );
    }
}

#[tokio::test]
async fn whoever_cancels_one_of_a_group_before_its_turn_takes_all_of_it_back() {
    let mut world = Box::pin(coupled()).await;
    let group = offered(&world).await;
    let switched = world
        .delivery
        .take_group_step(&ana(), "site-7", &ask(&group, "the ward is closed"))
        .await
        .unwrap();
    // clinic ends first; auth waits for it.
    world.turns(1).await;
    let auth = world.know("health/auth");
    world
        .delivery
        .cancel(&ana(), auth, |_| true, switched.deployments[0], "not now")
        .await
        .unwrap();
    for _ in 0..40 {
        world.turns(1).await;
        let now = runs(&world).await;
        assert!(!mixed(&now), "{now:?}");
    }
    assert_eq!(runs(&world).await, ["health/auth 2.0.0", "health/clinic 1.1.0"]);
}

#[tokio::test]
async fn what_holds_one_of_a_group_holds_it_unless_it_is_forced() {
    let mut world = Box::pin(coupled()).await;
    world
        .delivery
        .suppress(&ana(), "site-7", "the auditors are here", None)
        .await
        .unwrap();
    world.turns(1).await;
    let group = offered(&world).await;
    assert_eq!(group.held.len(), 2, "{group:?}");
    let mut new = ask(&group, "it cannot wait");
    let refused = world.delivery.take_group_step(&ana(), "site-7", &new).await;
    let refused = refused.unwrap_err();
    assert!(
        refused.code == "held" && refused.what.contains("the auditors are here"),
        "{refused:?}"
    );
    new.force = true;
    world
        .delivery
        .take_group_step(&ana(), "site-7", &new)
        .await
        .unwrap();
    world.turns(20).await;
    assert_eq!(runs(&world).await, ["health/auth 3.0.0", "health/clinic 1.2.0"]);
}

#[tokio::test]
async fn the_plans_page_and_the_api_offer_the_group_and_take_it() {
    let mut world = Box::pin(coupled()).await;
    let router = app(&world, Role::Maintainer);
    let (_, page) = call(&router, get("/plans/site-7")).await;
    for part in [
        "Switch 2 products together now?",
        "value=\"health/auth@3.0.0 health/clinic@1.2.0 \"",
        "seconds without service",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (status, text) = call(&router, get("/api/v1/plans/site-7/groups")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let groups: Vec<GroupStep> = serde_json::from_str(&text).unwrap();
    assert_eq!(groups, [offered(&world).await]);
    let (status, _) = call(&router, get("/api/v1/plans/site-9/groups")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let form = |reason: &str| {
        Request::post("/plans/site-7/switch")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(format!(
                "members=health%2Fauth%403.0.0+health%2Fclinic%401.2.0+&reason={reason}"
            )))
            .unwrap()
    };
    let (status, _) = call(&router, form("")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, body) = call(&router, form("tonight")).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{body}");
    world.turns(20).await;
    assert_eq!(runs(&world).await, ["health/auth 3.0.0", "health/clinic 1.2.0"]);
}
