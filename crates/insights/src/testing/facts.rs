//! The ledger's pages and the home page: who sees what.

use super::World;
use bascule_core::{Actor, ActorKind, GroupId, InstanceRole, PipelineId, ProjectId};
use bascule_ledger::facts::{
    ci::{PipelineCreated, PipelineFinished},
    forge::ProjectCreated,
    identity::UserCreated,
};
use bascule_wire::insights::{FactPage, LedgerVerification};
use http::StatusCode;

#[tokio::test]
async fn the_ledger_shows_what_one_may_see_and_no_script_runs() {
    let world = World::at("2024-07-01T00:00:00Z").await;
    let (project, hostile) = (ProjectId::new(), "<img src=x onerror=alert(1)>".to_owned());
    world
        .tell(&ProjectCreated {
            project,
            group: GroupId::new(),
            path: "other/secret".to_owned(),
        })
        .await;
    let named = Actor::new(ActorKind::User, world.user, &hostile);
    world
        .tell_as(
            &named,
            &UserCreated {
                user: world.user,
                username: hostile.clone(),
                role: InstanceRole::Member,
            },
        )
        .await;
    world
        .incident(1, "2024-07-01T00:00:00Z", "2024-07-01T00:00:00Z", None)
        .await;

    let list = async |role: &str, query: &str| {
        let (status, json) = world.get(role, &format!("/api/v1/ledger?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{json}");
        serde_json::from_str::<FactPage>(&json).unwrap()
    };
    assert_eq!(list("auditor", "").await.items.len(), 5);
    let mine = list("reporter", "").await.items;
    assert_eq!(
        mine.iter().map(|fact| fact.kind.as_str()).collect::<Vec<_>>(),
        ["incident.opened", "environment.created", "project.created"]
    );
    assert!(list("stranger", "").await.items.is_empty());
    assert_eq!(
        list("reporter", "kind=incident.*&project=ward/app")
            .await
            .items
            .len(),
        1
    );
    assert_eq!(
        list("auditor", "text=SECRET").await.items[0].project.as_deref(),
        Some("other/secret")
    );
    assert_eq!(
        world
            .get("reporter", "/api/v1/ledger?project=other/secret")
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(world.get("reporter", "/ledger/3").await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        world.get("reporter", "/ledger/abc").await.0,
        StatusCode::NOT_FOUND
    );
    let paged = list("auditor", "limit=2").await;
    assert_eq!(paged.next, Some(4));
    assert_eq!(list("auditor", "limit=2&before=4").await.items[0].seq, 3);
    let onward = list("auditor", "after=3&limit=1").await;
    assert_eq!((onward.items[0].seq, onward.next), (4, Some(4)));

    for path in [
        "/ledger",
        "/ledger/4",
        "/ledger/5",
        "/ledger/newer?after=0",
        "/?",
        "/insights",
    ] {
        let (status, html) = world.get("auditor", path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {html}");
        assert!(
            !html.contains("<img src=x") && !html.contains("<script>alert"),
            "{path}: {html}"
        );
    }
    let (_, html) = world
        .get("auditor", "/ledger/newer?after=3&kind=incident.*")
        .await;
    assert!(
        html.contains("after=5") && html.matches("<li data-seq").count() == 1,
        "{html}"
    );
    let (_, html) = world.get("reporter", "/ward/app/-/activity?actor=bascule").await;
    assert_eq!(html.matches("<li data-seq").count(), 3);

    assert_eq!(
        world.get("reporter", "/api/v1/ledger/verify").await.0,
        StatusCode::FORBIDDEN
    );
    let (_, json) = world.get("auditor", "/api/v1/ledger/verify").await;
    let found: LedgerVerification = serde_json::from_str(&json).unwrap();
    assert_eq!((found.entries, found.clean), (5, true));
}

#[tokio::test]
async fn what_waits_is_mine_and_ends() {
    let world = World::at("2024-07-01T00:00:00Z").await;
    let me = Actor::new(ActorKind::User, world.user, "reporter");
    let pipeline = async |id: i64, status: &str| {
        let (project, reference, sha) = (world.project, "main".to_owned(), "abc".to_owned());
        let pipeline = PipelineId(id);
        let created = PipelineCreated {
            project,
            pipeline,
            reference: reference.clone(),
            tag: false,
            sha: sha.clone(),
            source: "push".to_owned(),
            jobs: 1,
        };
        world.tell_as(&me, &created).await;
        let status = status.to_owned();
        world
            .tell(&PipelineFinished {
                project,
                pipeline,
                reference,
                sha,
                status,
                duration_ms: 5,
            })
            .await;
    };
    pipeline(1, "failed").await;
    let (_, html) = world.get("reporter", "/").await;
    assert!(
        html.contains("Your pipeline 1 for main failed") && html.contains("/ward/app/-/pipelines/1"),
        "{html}"
    );
    assert!(!world.get("stranger", "/").await.1.contains("Your pipeline 1"));
    pipeline(2, "success").await;
    assert!(!world.get("reporter", "/").await.1.contains("Your pipeline 1"));
    world
        .incident(7, "2024-07-01T00:00:00Z", "2024-07-01T00:00:00Z", None)
        .await;
    let (_, html) = world.get("reporter", "/").await;
    assert!(html.contains("Incident 7 (major, nobody has it yet)"), "{html}");
}
