//! Measures, from facts to pages.

use super::World;
use bascule_ledger::{
    Hub,
    facts::incidents::{IncidentAcknowledged, IncidentIdentified, IncidentResolved},
};
use http::StatusCode;

fn minutes(seconds: Option<f64>) -> f64 {
    seconds.unwrap() / 60.0
}

#[tokio::test]
async fn mean_times_are_the_worked_example() {
    let world = World::at("2024-06-01T00:00:00Z").await;
    let (project, number) = (world.project, 1);
    world.go_to("2024-06-02T13:34:00Z");
    world
        .incident(1, "2024-06-02T13:30:00Z", "2024-06-02T13:34:00Z", None)
        .await;
    world.go_to("2024-07-04T16:50:00Z");
    let incident = world
        .incident(2, "2024-07-04T16:45:00Z", "2024-07-04T16:50:00Z", None)
        .await;
    let at = world.go_to("2024-07-04T17:00:00Z");
    world
        .tell(&IncidentAcknowledged {
            project,
            incident,
            number,
            at,
        })
        .await;
    let at = world.go_to("2024-07-04T17:20:00Z");
    world
        .tell(&IncidentIdentified {
            project,
            incident,
            number,
            at,
        })
        .await;
    let at = world.go_to("2024-07-04T18:30:00Z");
    world
        .tell(&IncidentResolved {
            project,
            incident,
            number,
            restored_at: at,
            at,
        })
        .await;

    let all = world.measures("from=2024-06-01&to=2024-07-31").await;
    let (july, june) = (&all.mttx[0], &all.mttx[1]);
    assert_eq!((july.month.as_str(), june.month.as_str()), ("2024-07", "2024-06"));
    assert_eq!(minutes(july.detect.mean_seconds), 5.0);
    assert_eq!(minutes(july.acknowledge.mean_seconds), 10.0);
    assert_eq!(minutes(july.identify.mean_seconds), 20.0);
    assert_eq!(minutes(july.repair.mean_seconds), 90.0);
    assert_eq!(minutes(june.detect.mean_seconds), 4.0);
    assert_eq!(
        (
            june.detect.count,
            june.acknowledge.count,
            june.repair.mean_seconds
        ),
        (1, 0, None)
    );
    assert_eq!(july.between.count, 1);
    assert_eq!((july.facts.count, june.facts.count), (4, 1));
}

#[tokio::test]
async fn dora_follows_changes_to_production_and_back() {
    let world = World::at("2024-07-01T00:00:00Z").await;
    world.go_to("2024-07-01T10:00:00Z");
    let first = world
        .publish(
            "1.0.0",
            None,
            &[("ann", "2024-07-01T08:00:00Z"), ("bob", "2024-07-01T06:00:00Z")],
        )
        .await;
    world
        .deploy(first, "1.0.0", "release", "staging", "succeeded")
        .await;
    let (_, home) = world.get("reporter", "/").await;
    assert!(
        home.contains("1.0.0 runs in staging and not yet in production"),
        "{home}"
    );
    world
        .deploy(first, "1.0.0", "promotion", "production", "succeeded")
        .await;
    let (_, home) = world.get("reporter", "/").await;
    assert!(!home.contains("not yet in production"));

    // 1.1.0 fails in production; its change arrives with 1.2.0.
    world.go_to("2024-07-02T10:00:00Z");
    let second = world
        .publish("1.1.0", Some("1.0.0"), &[("ann", "2024-07-02T09:00:00Z")])
        .await;
    let undone = world
        .deploy(second, "1.1.0", "promotion", "production", "rolled_back")
        .await;
    let incident = world
        .incident(1, "2024-07-02T10:00:00Z", "2024-07-02T10:01:00Z", Some(undone))
        .await;
    let at = world.go_to("2024-07-02T10:30:00Z");
    let (project, restored_at) = (world.project, "2024-07-02T10:10:00Z".parse().unwrap());
    world
        .tell(&IncidentResolved {
            project,
            incident,
            number: 1,
            restored_at,
            at,
        })
        .await;
    world.go_to("2024-07-03T09:00:00Z");
    let third = world
        .publish("1.2.0", Some("1.1.0"), &[("eve", "2024-07-03T08:00:00Z")])
        .await;
    world
        .deploy(third, "1.2.0", "promotion", "production", "succeeded")
        .await;
    world
        .deploy(third, "1.2.0", "rollback", "production", "succeeded")
        .await;
    world.serve(10_000, 9_995).await;
    world.serve(10_000, 9_985).await;

    let all = world.measures("from=2024-07-01&to=2024-07-03").await;
    let dora = &all.dora;
    assert_eq!(dora.edition, "DORA 2022");
    assert_eq!(
        dora.deployment_frequency.deployments, 2,
        "a rollback is no delivery"
    );
    assert_eq!(dora.deployment_frequency.facts.count, 2);
    // 2 h, 4 h; 24 h by way of 1.2.0; 1 h.
    assert_eq!(
        (dora.lead_time.changes, minutes(dora.lead_time.median_seconds)),
        (4, 180.0)
    );
    assert_eq!(minutes(dora.lead_time.p90_seconds), 24.0 * 60.0);
    assert_eq!(dora.lead_time.class.as_deref(), Some("high"));
    assert_eq!(
        (dora.change_failure_rate.failed, dora.change_failure_rate.exposed),
        (1, 3)
    );
    assert_eq!(
        dora.change_failure_rate.class.as_deref(),
        Some("between low and medium")
    );
    assert_eq!(
        (
            dora.time_to_restore.failures,
            minutes(dora.time_to_restore.median_seconds)
        ),
        (1, 10.0)
    );
    assert!((dora.reliability.availability.unwrap() - 0.999).abs() < 1e-9);
    assert_eq!((dora.reliability.environments, dora.reliability.met), (1, 1));

    // What is behind a number is listed, and exactly that.
    for facts in [
        &dora.lead_time.facts,
        &dora.change_failure_rate.facts,
        &dora.reliability.facts,
        &all.rci[0].facts,
    ] {
        let (status, html) = world.get("reporter", &facts.href).await;
        assert_eq!(status, StatusCode::OK, "{html}");
        let shown = html.matches("<li data-seq").count();
        assert_eq!(
            (shown, facts.seqs.len()),
            (usize::try_from(facts.count).unwrap(), shown),
            "{}",
            facts.href
        );
        assert!(
            facts
                .seqs
                .iter()
                .all(|seq| html.contains(&format!("data-seq=\"{seq}\"")))
        );
    }
    let rci = &all.rci[0];
    assert_eq!(
        (rci.quarter.as_str(), rci.days, rci.contributors, rci.deployments),
        ("2024-Q3", 2, 3, 2)
    );
    assert!((rci.value.unwrap() - 2.0 * 3.0 * 2.0 * 0.999).abs() < 1e-9);

    // Dropped and built again, the tables say the same.
    let before = world.measures("from=2024-07-01&to=2024-07-03").await;
    world.insights.rebuild().await.unwrap();
    let hub = world.insights.subscribe(Hub::default());
    hub.settle(&world.ledger).await.unwrap();
    assert_eq!(world.measures("from=2024-07-01&to=2024-07-03").await, before);

    let (_, html) = world
        .get("reporter", "/ward/app/-/insights?from=2024-07-01&to=2024-07-03")
        .await;
    for text in [
        "between low and medium",
        "DORA 2022",
        "1 of 3 deployments that users met",
        "data-chart=",
    ] {
        assert!(html.contains(text), "{text} is missing");
    }
    for chart in ["deployments", "lead-time", "availability", "mttx", "rci"] {
        let (status, json) = world
            .get("reporter", &format!("/ward/app/-/insights/charts/{chart}"))
            .await;
        assert_eq!(status, StatusCode::OK, "{json}");
        let (status, _) = world.get("reporter", &format!("/insights/charts/{chart}")).await;
        assert_eq!(status, StatusCode::OK);
    }
    assert_eq!(
        world.get("reporter", "/insights/facts?measure=nope").await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        world.get("guest", "/ward/app/-/insights").await.0,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn an_empty_instance_has_pages_too() {
    let world = World::at("2024-07-01T00:00:00Z").await;
    for path in [
        "/",
        "/insights",
        "/ledger",
        "/ward/app/-/insights",
        "/ward/app/-/activity",
    ] {
        let (status, html) = world.get("reporter", path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {html}");
    }
    let all = world.measures("").await;
    assert_eq!(
        (
            all.dora.deployment_frequency.class,
            all.dora.change_failure_rate.share
        ),
        (None, None)
    );
    assert_eq!((all.rci[0].value, all.mttx.len()), (None, 0));
    let (status, html) = world.get("stranger", "/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(html.contains("Create a group and a project"));
}
