use super::*;
use bascule_wire::agent::{DesiredInstance, Driver};

const BOTH: &str = "image: {archive: dist/app.oci.tar, command: exec /app}\n";
const SITE: &str = "environment: site-7\ntier: staging\nchannel: dev\ninstall: [{product: health/clinic}]\n";

impl World {
    async fn desired_instances(&self) -> Vec<DesiredInstance> {
        let agent = self.delivery.agent_of(&self.agent).await.unwrap();
        let state = self
            .delivery
            .sync_agent(&agent, &self.report(&[]), -1, Duration::ZERO)
            .await
            .unwrap();
        state.instances
    }

    async fn desired_in(&self, environment: &str) -> DesiredInstance {
        let all = self.desired_instances().await;
        let found = all
            .into_iter()
            .rev()
            .find(|one| one.environment_name == environment && one.drain_ms.is_none());
        found.unwrap()
    }
}

#[tokio::test]
async fn one_product_runs_by_the_driver_that_each_environment_names() {
    let mut world = World::new().await;
    let project = world.project;
    world
        .fakes
        .projects
        .lock()
        .unwrap()
        .insert("health/clinic".into(), project);
    world.publish_of("health/clinic", "1.0.0", BOTH).await;
    let staging = world.desired_in("staging").await;
    assert_eq!(
        (
            staging.driver,
            staging.command.as_str(),
            staging.artifact.file_name.as_str()
        ),
        (Driver::Process, "./app", "app.tar.gz")
    );

    world
        .declare("c1", &[("site-7", &format!("{SITE}driver: podman\n"))])
        .await;
    let site = world.desired_in("site-7").await;
    assert_eq!(
        (
            site.driver,
            site.command.as_str(),
            site.artifact.file_name.as_str()
        ),
        (Driver::Podman, "exec /app", "app.oci.tar")
    );
    assert!(site.variables.is_empty(), "the driver is no variable");
    // What an instance needs may be fetched, and nothing else.
    let agent = world.delivery.agent_of(&world.agent).await.unwrap();
    for wanted in [&staging, &site] {
        assert!(
            world
                .delivery
                .artifact_for(&agent, &wanted.artifact.digest)
                .await
                .is_ok()
        );
    }
    let other = world.delivery.artifact_for(&agent, &Digest::of(b"other")).await;
    assert_eq!(other.err().unwrap().status, 404);

    // Another driver is a change like another variable: it is shown, and put right.
    world
        .declare("c2", &[("site-7", &format!("{SITE}driver: process\n"))])
        .await;
    let told = world.kinds("plan.changed").await;
    assert!(
        told.iter()
            .any(|line| line.contains("the driver is `podman`, and should be `process`")),
        "{told:?}"
    );
    world.turns(6).await;
    assert_eq!(world.desired_in("site-7").await.driver, Driver::Process);
    let rows = world.delivery.environments(project).await.unwrap();
    let views = world.delivery.environment_views(&rows).await.unwrap();
    let site = views.iter().find(|view| view.name == "site-7").unwrap();
    assert_eq!(site.serving.as_ref().unwrap().driver, "process");
}

#[tokio::test]
async fn what_a_driver_needs_is_missed_when_the_release_is_published() {
    let mut world = World::new().await;
    world
        .publish_of("health/other", "1.0.0", "image: dist/other.oci.tar\n")
        .await;
    let refused = world.facts("product.refused").await;
    assert!(
        refused[0]
            .body
            .contains("no file `dist/other.oci.tar`, which bascule.yaml names as its image"),
        "{:?}",
        refused[0]
    );
}
