//! Several instances behind a real edge, under load: a rolling replacement, its abort half-way, and a canary with
//! a fresh baseline lose no request, and there are never fewer instances in service than promised.

use crate::{
    BIN,
    fleet::{self, PROJECT, Users, Version, environment, facts, rollout, serves},
};
use bascule_testkit::{TestApp, until};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

const ROLLING: &str = "{ strategy: rolling, replicas: 3, max_surge: 1, step: 1s, slice: 1s, max: 4s, inconclusive: promote, staging: { replicas: 1 } }";
const CANARY: &str = "{ strategy: canary, replicas: 3, baseline: fresh, steps: [25, 50, 100], step: 2s, slice: 1s, max: 8s, inconclusive: promote, staging: { replicas: 1 } }";

fn healthy(environment: &Value) -> usize {
    let all = environment["instances"].as_array();
    let serve = all.into_iter().flatten().filter(|one| one["state"] == "healthy");
    serve.count()
}

/// Waits until as many instances are left, all healthy.
async fn settled(app: &TestApp, count: usize) {
    until(
        "the instances to be as many as asked",
        Duration::from_secs(60),
        async || {
            let now = environment(app, "production").await?;
            let all = now["instances"].as_array()?.len();
            (all == count && healthy(&now) == count).then_some(())
        },
    )
    .await;
}

/// Looks on, and keeps the least number of healthy instances that it saw.
struct Watch {
    stop: Arc<AtomicBool>,
    least: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    fn of(app: &TestApp) -> Self {
        let (stop, least) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(u64::MAX)),
        );
        let path = format!("/api/v1/projects/{PROJECT}/environments/production");
        let request = app.request("GET", &path);
        let (stopped, lowest) = (stop.clone(), least.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let Some(again) = request.try_clone() else { return };
                if let Ok(answer) = again.send().await
                    && let Ok(now) = answer.json::<Value>().await
                {
                    lowest.fetch_min(healthy(&now) as u64, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { stop, least, task }
    }

    async fn least(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.least.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_instances_are_replaced_and_put_back_under_load_without_a_lost_request() {
    let app = TestApp::start(BIN);
    let git = fleet::create(&app);
    let version = |number, rollout| Version {
        rollout,
        ..Version::new(number)
    };
    let production = async |number: &str| {
        drop(app.cli().ok(&["deploy", PROJECT, number, "--to", "production"]));
    };
    version("1.0.0", ROLLING).release(&app, &git).await;
    production("1.0.0").await;
    let url = serves(&app, "production", "1.0.0").await;
    settled(&app, 3).await;

    // All the way.
    let (users, watch) = (Users::of(&url).await, Watch::of(&app));
    version("1.1.0", ROLLING).release(&app, &git).await;
    production("1.1.0").await;
    serves(&app, "production", "1.1.0").await;
    settled(&app, 3).await;
    let rolled = users.stop().await;
    rolled.nothing_lost(200);
    assert!(
        watch.least().await >= 3,
        "a surge of one, and none may be missing"
    );

    // Half of the way, and back.
    let (users, watch) = (Users::of(&url).await, Watch::of(&app));
    version("1.2.0", ROLLING).release(&app, &git).await;
    production("1.2.0").await;
    let begun = until("a first batch to serve", Duration::from_secs(60), async || {
        let found = rollout(&app).await?;
        (found["version"] == "1.2.0" && found["weight"].as_i64() > Some(30)).then_some(found)
    })
    .await;
    let id = begun["id"].as_str().unwrap();
    drop(
        app.cli()
            .ok(&["rollout", "abort", PROJECT, id, "--reason", "on a hunch"]),
    );
    serves(&app, "production", "1.1.0").await;
    settled(&app, 3).await;
    let aborted = users.stop().await;
    aborted.nothing_lost(100);
    assert!(watch.least().await >= 3, "also on the way back");

    // A canary beside a fresh baseline.
    let users = Users::of(&url).await;
    version("1.3.0", CANARY).release(&app, &git).await;
    production("1.3.0").await;
    let most = until("the canary to take over", Duration::from_secs(120), {
        let most = AtomicU64::new(0);
        let app = &app;
        async move || {
            let now = environment(app, "production").await?;
            most.fetch_max(healthy(&now) as u64, Ordering::Relaxed);
            let alone = now["active"].is_null() && now["serving"]["version"] == "1.3.0";
            alone.then(|| most.load(Ordering::Relaxed))
        }
    })
    .await;
    assert!(most >= 7, "three old, three new and a fresh one; saw {most}");
    settled(&app, 3).await;
    let judged = users.stop().await;
    judged.nothing_lost(200);
    let told = facts(&app, "rollout.finished");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].contains("on a hunch"), "{told:?}");
    fleet::note(&format!(
        "three instances: {} requests over a rolling replacement, {} over its abort, {} over a canary with a fresh baseline, none lost",
        rolled.asked, aborted.asked, judged.asked
    ));
}
