use crate::testing::World;
use bascule_core::{Actor, ActorKind, Caller, UserId};
use bascule_ledger::{Filter, Page};
use bascule_wire::drill::NewDrill;
use std::time::Duration;

fn sre() -> Caller {
    Caller {
        actor: Actor::new(ActorKind::User, UserId::new(), "sre"),
        ..Caller::system()
    }
}

fn drill(environment: &str, reason: &str, minutes: Option<u32>) -> NewDrill {
    NewDrill {
        environment: environment.to_owned(),
        reason: reason.to_owned(),
        minutes,
    }
}

async fn facts(world: &World) -> Vec<String> {
    let own = Filter {
        kinds: vec!["drill.*".to_owned()],
        ..Filter::default()
    };
    let page = Page::After { after: 0, limit: 100 };
    let entries = world.ledger.read(&own, page).await.unwrap();
    entries.into_iter().map(|entry| entry.summary).collect()
}

#[tokio::test]
async fn a_drill_ends_by_itself_at_its_time_and_once() {
    let world = World::new().await;
    let incidents = &world.incidents;
    let started = incidents
        .start_drill(&sre(), &drill("staging", "the database is away", Some(20)))
        .await
        .unwrap();
    assert_eq!((started.number, started.state.as_str()), (1, "running"));
    assert_eq!(
        incidents.end_due().await.unwrap(),
        Some(Duration::from_secs(20 * 60))
    );
    // The server was away for an hour; the time stood in the database.
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(incidents.end_due().await.unwrap(), None);
    assert_eq!(incidents.end_due().await.unwrap(), None);
    assert_eq!(
        facts(&world).await,
        [
            "started drill 1 in staging: the database is away",
            "ended drill 1 in staging, its time being over"
        ]
    );
    let page = incidents.list_drills(None, 10).await.unwrap();
    assert_eq!(page.items[0].ended_by.as_deref(), Some("its time was over"));
}

#[tokio::test]
async fn one_at_a_time_in_one_place_with_a_reason_and_an_end() {
    let world = World::new().await;
    let incidents = &world.incidents;
    let refused = async |new: NewDrill| incidents.start_drill(&sre(), &new).await.unwrap_err().code;
    assert_eq!(refused(drill("staging", " ", None)).await, "reason_missing");
    assert_eq!(refused(drill("staging", "x", Some(0))).await, "bad_minutes");
    assert_eq!(refused(drill("staging", "x", Some(1_441))).await, "bad_minutes");
    assert_eq!(refused(drill("moon", "x", None)).await, "unknown_environment");
    let new = drill("staging", "x", None);
    incidents.start_drill(&sre(), &new).await.unwrap();
    assert_eq!(refused(new.clone()).await, "drill_running");
    incidents
        .start_drill(&sre(), &drill("production", "y", None))
        .await
        .unwrap();
    let over = incidents.end_drill(&sre(), 1).await.unwrap();
    assert_eq!(
        (over.state.as_str(), over.ended_by.as_deref()),
        ("over", Some("sre"))
    );
    assert_eq!(
        incidents.end_drill(&sre(), 1).await.unwrap_err().code,
        "drill_over"
    );
    assert_eq!(incidents.end_drill(&sre(), 9).await.unwrap_err().status, 404);
    assert_eq!(incidents.start_drill(&sre(), &new).await.unwrap().number, 3);
    let page = incidents.list_drills(None, 2).await.unwrap();
    assert_eq!((page.items[0].number, page.next), (3, Some(2)));
}
