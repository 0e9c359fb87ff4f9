//! Blue/green of a real container image, and of a process, under load: a switch and an abort lose no request.

use crate::{
    BIN,
    fleet::{self, Fleet, PROJECT, Swept, Users, Version, environment, facts, rollout, serves, sh},
};
use bascule_testkit::{TestApp, until};
use std::time::Duration;

/// One container in a list.
fn containers(instance: &str) -> String {
    sh(&format!(
        "podman ps -aq --filter label=bascule.instance={instance} 2>/dev/null"
    ))
}

async fn blue_green(app: &TestApp, driver: &str) {
    let git = fleet::create(app);
    let image = driver == "podman";
    let more = format!("driver: {driver}\n");
    let version = |number| Version {
        image,
        more: &more,
        ..Version::new(number)
    };
    let production = async |number: &str| {
        drop(app.cli().ok(&["deploy", PROJECT, number, "--to", "production"]));
    };
    version("1.0.0").release(app, &git).await;
    production("1.0.0").await;
    let url = serves(app, "production", "1.0.0").await;
    let before = environment(app, "production").await.unwrap();
    assert_eq!(before["serving"]["driver"], driver);

    // The switch.
    let users = Users::of(&url).await;
    version("1.1.0").release(app, &git).await;
    production("1.1.0").await;
    serves(app, "production", "1.1.0").await;
    let old = before["instances"][0]["id"].as_str().unwrap().to_owned();
    until("the old instance to go", Duration::from_secs(60), async || {
        let all = environment(app, "production").await?["instances"]
            .as_array()?
            .clone();
        all.iter().all(|one| one["id"] != old.as_str()).then_some(())
    })
    .await;
    let switched = users.stop().await;
    switched.nothing_lost(200);
    if image {
        assert_eq!(containers(&old), "", "its container is gone");
    }

    // The abort, in the middle of the next one.
    let users = Users::of(&url).await;
    version("1.2.0").release(app, &git).await;
    production("1.2.0").await;
    let begun = until(
        "the rollout to give traffic",
        Duration::from_secs(60),
        async || {
            rollout(app)
                .await
                .filter(|r| r["version"] == "1.2.0" && r["weight"].as_i64() > Some(0))
        },
    )
    .await;
    let id = begun["id"].as_str().unwrap();
    drop(
        app.cli()
            .ok(&["rollout", "abort", PROJECT, id, "--reason", "on a hunch"]),
    );
    serves(app, "production", "1.1.0").await;
    until("the new instance to go", Duration::from_secs(60), async || {
        let all = environment(app, "production").await?["instances"]
            .as_array()?
            .clone();
        (all.len() == 1).then_some(())
    })
    .await;
    let aborted = users.stop().await;
    aborted.nothing_lost(100);
    let told = facts(app, "rollout.finished");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("promoted 1.1.0") && told[1].contains("on a hunch"),
        "{told:?}"
    );

    // One definition serves both drivers: the other one, where an environment says so.
    if image {
        Fleet::create(app).declare("ward", "tier: staging\ndriver: process\n");
        let url = serves(app, "ward", "1.2.0").await;
        let ward = environment(app, "ward").await.unwrap();
        assert_eq!(ward["serving"]["driver"], "process");
        let answer = reqwest::get(&url).await.unwrap().text().await.unwrap();
        assert_eq!(answer, "hello 1.2.0");
    }
    fleet::note(&format!(
        "{driver}: {} requests over a switch, {} over an abort, none lost",
        switched.asked, aborted.asked
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_image_is_switched_and_aborted_under_load_without_a_lost_request() {
    let app = TestApp::start(BIN);
    let agent = app.data().join("agent");
    let _swept = Swept(&agent);
    blue_green(&app, "podman").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_switched_and_aborted_under_load_without_a_lost_request() {
    blue_green(&TestApp::start(BIN), "process").await;
}
