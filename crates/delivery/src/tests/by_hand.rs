//! What people put somewhere by hand keeps to the rules that hold plans; what came to nothing is taken back.

use super::{
    plans::{SITE, two_products},
    *,
};
use bascule_core::DeploymentId;

impl World {
    async fn force(&self, version: &str, environment: &str) -> Result<DeploymentId> {
        self.deploy_as(&ana(), version, environment, Some("users wait for it"))
            .await
    }

    async fn cancel(&self, caller: &Caller, id: DeploymentId) -> Result<()> {
        let maintainer = caller.actor.name == "ana";
        let holds = |permission: Permission| maintainer || permission == Permission::DeployStaging;
        self.delivery
            .cancel(caller, self.project, holds, id, "meant for another place")
            .await
    }
}

#[tokio::test]
async fn approvals_and_windows_hold_a_person_too_unless_they_say_why_not() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.turns(4).await;
    let held = format!(
        "{SITE}windows: [{{cron: \"0 22 * * SAT\", timezone: UTC, duration: 4h}}]\napprovals: [security]\n"
    );
    world.declare("c2", &[("site-7", &held)]).await;
    world.publish_of("health/clinic", "1.0.1", "").await;
    world.turns(2).await;
    let refused = world.deploy("1.0.1", "site-7").await.unwrap_err();
    assert_eq!(refused.code, "held");
    for part in ["approval by security", "the window"] {
        assert!(refused.what.contains(part), "{}", refused.what);
    }
    assert!(refused.next.contains("force"), "{}", refused.next);
    world.force("1.0.1", "site-7").await.unwrap();
    world.turns(6).await;
    assert!(world.plan("site-7").await[1].starts_with("health/clinic: 1.0.1"));
    // Its own staging is held by neither.
    let staging = world.environment("staging").await;
    assert_eq!(World::serving(&staging), Some("1.0.1"));
}

#[tokio::test]
async fn what_no_agent_can_run_is_refused_even_by_force_and_says_which_is_missing() {
    let mut world = two_products().await;
    let away = format!("{SITE}agent: nosuch\n");
    world.declare("c1", &[("site-7", &away)]).await;
    for refused in [
        world.deploy("1.0.0", "site-7").await.unwrap_err(),
        world.force("1.0.0", "site-7").await.unwrap_err(),
    ] {
        assert_eq!(refused.code, "no_agent");
        assert!(refused.what.contains("nosuch"), "{}", refused.what);
    }
    let why = world.why("site-7", "clinic", "1.0.0").await;
    assert!(
        why.contains("the agent nosuch") && why.contains("not enrolled"),
        "{why}"
    );
    let carried = format!("{SITE}network: none\n");
    world.declare("c2", &[("site-7", &carried)]).await;
    let refused = world.force("1.0.0", "site-7").await.unwrap_err();
    assert_eq!(refused.code, "air_gap");
    assert!(
        refused.next.contains("bundle export --to site-7"),
        "{}",
        refused.next
    );
}

#[tokio::test]
async fn a_deployment_that_serves_nobody_is_taken_back_and_not_tried_again_by_itself() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    world.deploy("1.0.0", "production").await.unwrap();
    world.turns(6).await;
    world.publish("1.1.0").await;
    world.turns(4).await;
    // It never becomes healthy.
    world.fates.insert(
        "1.1.0".into(),
        Fate {
            state: InstanceState::Starting,
            smoke: true,
            restarts: 0,
        },
    );
    let id = world.deploy("1.1.0", "production").await.unwrap();
    world.turns(1).await;
    let busy = world.deploy("1.0.0", "production").await.unwrap_err();
    assert!(
        busy.next.contains(&format!("cancel PROJECT {id}")),
        "{}",
        busy.next
    );
    let refused = world.cancel(&ben(), id).await.unwrap_err();
    assert_eq!(refused.status, 403);
    world.cancel(&ana(), id).await.unwrap();
    world.turns(2).await;
    let (view, _) = world.delivery.deployment_view(world.project, id).await.unwrap();
    assert_eq!(view.status, "canceled");
    assert_eq!(view.reason, "canceled by ana: meant for another place");
    let production = world.environment("production").await;
    assert_eq!(World::serving(&production), Some("1.0.0"));
    assert!(production.active.is_none());
    let wanted = world.wanted().await;
    assert!(
        !wanted
            .iter()
            .any(|w| w.environment == "production" && w.version == "1.1.0"),
        "nothing of it is left to run"
    );
    let again = world.cancel(&ana(), id).await.unwrap_err();
    assert_eq!(again.code, "ended");
    world.fates.clear();
    assert!(
        world.deploy("1.1.0", "production").await.is_ok(),
        "a person may try again"
    );
}

#[tokio::test]
async fn a_recall_is_corrected_and_lifted() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.publish_of("health/clinic", "1.2.0", "").await;
    world.turns(6).await;
    let project = world.project;
    let recall = async |floor: &str| {
        world
            .delivery
            .recall(&ana(), project, "1.2.x", "loses data", floor)
            .await
    };
    assert_eq!(recall("").await.unwrap(), ["1.2.0"]);
    let same = recall("").await.unwrap_err();
    assert_eq!(same.code, "recalled_already");
    assert_eq!(
        recall("1.0.0").await.unwrap(),
        ["1.2.0"],
        "the floor is named later"
    );
    world.turns(6).await;
    let plan = world.plan("site-7").await;
    assert!(plan[1].starts_with("health/clinic: 1.0.0"), "{plan:?}");

    let lift =
        async |range: &str, reason: &str| world.delivery.lift_recall(&ana(), project, range, reason).await;
    assert_eq!(lift("1.2.0", " ").await.unwrap_err().code, "reason_missing");
    assert_eq!(lift("3.0", "x").await.unwrap_err().status, 422);
    assert_eq!(lift("1.2.0", "it was the network").await.unwrap(), ["1.2.0"]);
    assert_eq!(lift("1.2.0", "again").await.unwrap_err().code, "not_recalled");
    let told = world.kinds("release.recall_lifted").await;
    assert_eq!(told, ["lifted the recall of 1.2.0: it was the network"]);
    world.turns(6).await;
    let plan = world.plan("site-7").await;
    assert!(plan[1].starts_with("health/clinic: 1.2.0"), "{plan:?}");
}

#[tokio::test]
async fn approvals_are_for_what_there_is() {
    let world = two_products().await;
    let approve = async |scope: &str| {
        world
            .delivery
            .approve(&ana(), world.project, "1.0.0", scope, "security")
            .await
    };
    let refused = approve("environment:nowhere").await.unwrap_err();
    assert_eq!(refused.code, "unknown_environment");
    let refused = approve("channel:nochan").await.unwrap_err();
    assert_eq!(refused.code, "unknown_channel");
    assert!(refused.next.contains("stable"), "{}", refused.next);
    approve("environment:staging").await.unwrap();
}
