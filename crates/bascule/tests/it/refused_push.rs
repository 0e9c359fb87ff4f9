//! A push to the environments project that cannot come into force: whoever pushes hears it at once, and whoever looks
//! later finds it where they look.

use crate::BIN;
use bascule_testkit::{Git, TestApp, until};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);
const GOOD: &str = "environment: site-7\ntier: staging\n";
const BAD: &str = "environment: bad\ntier: staging\nwindows: [{cron: \"0 22 * * SAT\", timezone: Europe/Pris, duration: 4h}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_is_told_to_the_pusher_and_to_whoever_looks_until_it_is_right() {
    let app = TestApp::start(BIN);
    drop(app.cli().run(&["group", "create", "platform"]));
    drop(app.cli().ok(&["project", "create", "platform/fleet"]));
    let git = Git::init();
    let remote = app.remote("platform/fleet", app.token());
    drop(git.ok(&["remote", "add", "origin", &remote]));
    git.write("environments/site-7.yaml", GOOD);
    git.commit("Declare");
    let said = git.run(&["push", "origin", "main"]);
    assert!(said.status.success());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.contains("warning:"), "{said}");
    let good = git.ok(&["rev-parse", "HEAD"]);

    git.write("environments/bad.yaml", BAD);
    git.commit("Another one");
    let said = git.run(&["push", "origin", "main"]);
    assert!(said.status.success(), "it refuses nothing");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    for part in [
        "remote: warning: environments/bad.yaml:3:11",
        "Europe/Pris",
        "The push is taken",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let bad = git.ok(&["rev-parse", "HEAD"]);
    let sentence = format!(
        "platform/fleet at {} is not in force: environments/bad.yaml:3:11",
        &bad[..8]
    );
    let plan = until("the refusal to be told", LIMIT, async || {
        let plan = app.cli().run(&["plan", "--json"]);
        let told = String::from_utf8_lossy(&plan.stderr).into_owned();
        told.contains(&sentence).then_some((plan, told))
    })
    .await;
    assert!(
        plan.1.contains(&format!("in force is {}", &good[..8])),
        "{}",
        plan.1
    );
    serde_json::from_slice::<serde_json::Value>(&plan.0.stdout).expect("the output is still JSON");
    for page in ["/plans", "/environments", "/platform/fleet"] {
        let source = app.page(page).await;
        assert!(source.source().contains(&sentence), "{page}: {}", source.source());
    }

    git.write("environments/bad.yaml", &BAD.replace("Pris", "Paris"));
    git.commit("The city");
    let said = git.run(&["push", "origin", "main"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.contains("warning:"), "{said}");
    until("it to be in force", LIMIT, async || {
        app.json("/api/v1/plans/refused").await.is_null().then_some(())
    })
    .await;
    let source = app.page("/platform/fleet").await;
    assert!(
        !source.source().contains("is not in force"),
        "{}",
        source.source()
    );
}
