//! To-dos: who is told, when it waits no longer.

use super::{World, waits};
use crate::{ports::Request, todo::Filter};
use bascule_core::{CommentId, PipelineId, ThreadId, UserId};
use bascule_ledger::facts::{
    ci::PipelineFinished,
    forge::{BranchUpdated, ProjectDeleted},
    merge_request::{
        MergeRequestChanged, MergeRequestMerged, MergeRequestOpened, MergeRequestUpdated, MergeUnqueued,
    },
    planning::{IssueAssigned, IssueClosed, IssueCommented, IssueOpened},
    review::{ApprovalGiven, CommentAdded, CommentEdited, ReviewSubmitted, ReviewersChanged, ThreadResolved},
};
use bascule_store::Query as _;

fn opened(request: &Request) -> MergeRequestOpened {
    MergeRequestOpened {
        project: request.project,
        merge_request: request.id,
        iid: request.number,
        source_project: request.project,
        source_branch: request.source_branch.clone(),
        target_branch: request.target_branch.clone(),
        head: request.head.clone(),
        draft: false,
        at: request.created_at,
    }
}

fn reviewers(request: &Request, requested: &[UserId], removed: &[UserId]) -> ReviewersChanged {
    ReviewersChanged {
        project: request.project,
        merge_request: request.id,
        iid: request.number,
        requested: requested.to_vec(),
        removed: removed.to_vec(),
    }
}

fn comment(
    request: &Request,
    thread: ThreadId,
    mentions: &[UserId],
    participants: &[UserId],
) -> CommentAdded {
    CommentAdded {
        project: request.project,
        merge_request: request.id,
        iid: request.number,
        thread,
        comment: CommentId::new(),
        author: None,
        mentions: mentions.to_vec(),
        participants: participants.to_vec(),
    }
}

#[tokio::test]
async fn who_is_asked_is_told_once_and_nobody_of_their_own_acts() {
    let world = World::new().await;
    let request = world.request(1);
    let (sre, security, developer) = (world.user("sre"), world.user("security"), world.user("developer"));
    {
        let mut things = world.fakes.things();
        things.mentioned = vec![sre, developer];
        things.awaited = vec![security];
    }
    world.fact("developer", &opened(&request)).await;
    assert_eq!(world.waiting("sre").await, waits(&[("mentioned", 1)]));
    assert_eq!(
        world.waiting("security").await,
        waits(&[("approval_required", 1)])
    );
    assert_eq!(world.waiting("developer").await, []);

    world.fact("developer", &reviewers(&request, &[sre], &[])).await;
    world.fact("developer", &reviewers(&request, &[sre], &[])).await;
    assert_eq!(
        world.waiting("sre").await,
        waits(&[("mentioned", 1), ("review_requested", 1)])
    );

    // Speaking answers a mention; a comment on one's request is told to its author.
    let thread = ThreadId::new();
    world.fact("sre", &comment(&request, thread, &[], &[])).await;
    assert_eq!(world.waiting("sre").await, waits(&[("review_requested", 1)]));
    assert_eq!(world.waiting("developer").await, waits(&[("commented", 1)]));
    world
        .fact("developer", &comment(&request, thread, &[], &[sre]))
        .await;
    assert_eq!(world.waiting("developer").await, [], "an answer answers");
    assert_eq!(
        world.waiting("sre").await,
        waits(&[("replied", 1), ("review_requested", 1)])
    );
    let resolved = ThreadResolved {
        project: request.project,
        merge_request: request.id,
        iid: 1,
        thread,
        resolved: true,
    };
    world.fact("developer", &resolved).await;
    assert_eq!(world.waiting("sre").await, waits(&[("review_requested", 1)]));

    // All facts come again: nothing is told twice, nothing that was done waits again.
    let rows = "SELECT COUNT(*) AS n FROM todo";
    let before = world.count(rows).await;
    world.all_again().await;
    assert_eq!(world.count(rows).await, before);
    assert_eq!(world.waiting("sre").await, waits(&[("review_requested", 1)]));
    assert_eq!(
        world
            .count("SELECT COUNT(*) AS n FROM todo WHERE number = 99")
            .await,
        0
    );
}

#[tokio::test]
async fn what_is_done_waits_no_longer() {
    let world = World::new().await;
    let request = world.request(2);
    let (sre, security, developer) = (world.user("sre"), world.user("security"), world.user("developer"));
    world.fakes.things().awaited = vec![security, sre];
    world.fact("developer", &opened(&request)).await;
    world.fact("developer", &reviewers(&request, &[sre], &[])).await;
    assert_eq!(
        world.waiting("sre").await,
        waits(&[("approval_required", 2), ("review_requested", 2)])
    );
    // One approval was enough: nobody else's is waited for.
    world.fakes.things().awaited.clear();
    let approved = ApprovalGiven {
        project: request.project,
        merge_request: request.id,
        iid: 2,
        user: sre,
        head: request.head.clone(),
    };
    world.fact("sre", &approved).await;
    assert_eq!(world.waiting("sre").await, []);
    assert_eq!(world.waiting("security").await, []);
    assert_eq!(
        world.waiting("developer").await,
        waits(&[("review_submitted", 2)])
    );

    let review = ReviewSubmitted {
        project: request.project,
        merge_request: request.id,
        iid: 2,
        reviewer: Some(security),
        verdict: "changes_requested".to_owned(),
        comments: 2,
        mentions: vec![sre],
        head: request.head.clone(),
    };
    world.fact("security", &review).await;
    world.fact("developer", &reviewers(&request, &[sre], &[])).await;
    world.fact("developer", &reviewers(&request, &[], &[sre])).await;
    assert_eq!(world.waiting("sre").await, waits(&[("mentioned", 2)]));
    let merged = MergeRequestMerged {
        project: request.project,
        merge_request: request.id,
        iid: 2,
        source_project: request.project,
        source_branch: "topic".to_owned(),
        target_branch: "main".to_owned(),
        head: request.head.clone(),
        before: "0".repeat(40),
        after: "1".repeat(40),
        strategy: "merge".to_owned(),
        queued: false,
        closes: Vec::new(),
        approvals: Vec::new(),
        opened_at: request.created_at,
        at: request.created_at,
    };
    world.fact("maintainer", &merged).await;
    assert_eq!(world.waiting("developer").await, []);
    assert_eq!(
        world.waiting("sre").await,
        waits(&[("mentioned", 2)]),
        "a question may be open all the same"
    );

    let issue = world.issue(3, false);
    let assigned = |added: &[UserId], removed: &[UserId]| IssueAssigned {
        project: issue.project,
        issue: issue.id,
        number: 3,
        assignees: added.to_vec(),
        added: added.to_vec(),
        removed: removed.to_vec(),
        names: Vec::new(),
    };
    world
        .fact("developer", &assigned(&[security, developer], &[]))
        .await;
    assert_eq!(world.waiting("security").await, waits(&[("assigned", 3)]));
    assert_eq!(world.waiting("developer").await, [], "they gave it to themselves");
    world.fact("developer", &assigned(&[], &[security])).await;
    assert_eq!(world.waiting("security").await, []);
    world.fact("developer", &assigned(&[security], &[])).await;
    let closed = IssueClosed {
        project: issue.project,
        issue: issue.id,
        number: 3,
        by: "person".to_owned(),
        reference: String::new(),
        opened_at: request.created_at,
        at: request.created_at,
    };
    world.fact("developer", &closed).await;
    assert_eq!(world.waiting("security").await, []);
}

#[tokio::test]
async fn what_the_platform_finds_is_told_to_whose_request_it_is_and_ends_with_it() {
    let world = World::new().await;
    let request = world.request(4);
    let pipeline = |status: &str| PipelineFinished {
        project: request.project,
        pipeline: PipelineId(7),
        reference: "topic".to_owned(),
        sha: request.head.clone(),
        status: status.to_owned(),
        duration_ms: 5,
    };
    world.fact("developer", &pipeline("failed")).await;
    assert_eq!(
        world.waiting("developer").await,
        waits(&[("build_failed", 4)]),
        "also who started it"
    );
    world.fact("developer", &pipeline("success")).await;
    assert_eq!(world.waiting("developer").await, []);

    let pushed = BranchUpdated {
        project: request.project,
        branch: "main".to_owned(),
        before: Some("0".repeat(40)),
        after: Some("1".repeat(40)),
        default: true,
        forced: false,
        commits: Vec::new(),
        commit_count: 1,
        at: request.created_at,
        ci_skip: false,
        ci_options: None,
    };
    world.fakes.things().conflict = true;
    world.fact("maintainer", &pushed).await;
    assert_eq!(world.waiting("developer").await, waits(&[("unmergeable", 4)]));
    let out = MergeUnqueued {
        project: request.project,
        merge_request: request.id,
        iid: 4,
        target_branch: "main".to_owned(),
        reason: "conflict".to_owned(),
        pipeline: None,
    };
    world.fact("system", &out).await;
    assert_eq!(
        world.waiting("developer").await,
        waits(&[("merge_train_removed", 4), ("unmergeable", 4)])
    );
    // A push mends it.
    world.fakes.things().conflict = false;
    let updated = MergeRequestUpdated {
        project: request.project,
        merge_request: request.id,
        iid: 4,
        version: 2,
        before: request.head.clone(),
        head: "2".repeat(40),
        forced: false,
        at: request.created_at,
    };
    world.fact("developer", &updated).await;
    assert_eq!(world.waiting("developer").await, []);
}

#[tokio::test]
async fn who_may_not_read_it_is_told_nothing_and_shown_nothing() {
    let world = World::new().await;
    let request = world.request(5);
    let (sre, outsider) = (world.user("sre"), world.user("outsider"));
    world.fakes.things().shut_out.insert(outsider);
    world
        .fact("developer", &reviewers(&request, &[sre, outsider], &[]))
        .await;
    assert_eq!(world.notices.waiting(outsider).await.unwrap(), 0);
    let hidden = world.issue(6, true);
    let said = IssueCommented {
        project: hidden.project,
        issue: hidden.id,
        number: 6,
        comment: 1,
        mentions: vec![sre],
    };
    world.fact("developer", &said).await;
    assert_eq!(world.waiting("sre").await, waits(&[("review_requested", 5)]));
    // Rights end: the list is empty, and the number goes with it.
    world.fakes.things().shut_out.insert(sre);
    assert_eq!(world.notices.waiting(sre).await.unwrap(), 1);
    assert_eq!(world.waiting("sre").await, []);
    assert_eq!(world.notices.waiting(sre).await.unwrap(), 0);
    // A project goes with everything.
    world.fakes.things().shut_out.clear();
    world.fact("developer", &reviewers(&request, &[sre], &[])).await;
    let gone = ProjectDeleted {
        project: request.project,
        path: "ward/app".to_owned(),
    };
    world.fact("developer", &gone).await;
    assert_eq!(world.count("SELECT COUNT(*) AS n FROM todo").await, 0);
}

#[tokio::test]
async fn an_edited_text_tells_only_whom_it_did_not_tell_before() {
    let world = World::new().await;
    let request = world.request(7);
    let (sre, security) = (world.user("sre"), world.user("security"));
    world.fakes.things().mentioned = vec![sre];
    world.fact("developer", &opened(&request)).await;
    world
        .notices
        .finish_todos(&world.fakes.caller("sre"), &Filter::default())
        .await
        .unwrap();
    world.fakes.things().mentioned = vec![sre, security];
    let edited = MergeRequestChanged {
        project: request.project,
        merge_request: request.id,
        iid: 7,
        field: "description".to_owned(),
        value: String::new(),
        person: None,
    };
    world.fact("developer", &edited).await;
    assert_eq!(world.waiting("sre").await, []);
    assert_eq!(world.waiting("security").await, waits(&[("mentioned", 7)]));

    let said = comment(&request, ThreadId::new(), &[sre], &[]);
    world.fact("developer", &said).await;
    assert_eq!(
        world.waiting("sre").await,
        waits(&[("mentioned", 7)]),
        "a comment is news"
    );
    world
        .notices
        .finish_todos(&world.fakes.caller("sre"), &Filter::default())
        .await
        .unwrap();
    let edited = CommentEdited {
        project: request.project,
        merge_request: request.id,
        iid: 7,
        thread: said.thread,
        comment: said.comment,
        mentions: vec![sre],
    };
    world.fact("developer", &edited).await;
    assert_eq!(world.waiting("sre").await, []);
}

#[tokio::test]
async fn lists_are_filtered_paged_and_done_by_hand() {
    let world = World::new().await;
    let sre = world.user("sre");
    for number in 1..=25 {
        let issue = world.issue(number, false);
        let fact = IssueOpened {
            project: issue.project,
            issue: issue.id,
            number,
            confidential: false,
            assignees: if number % 5 == 0 { vec![sre] } else { Vec::new() },
            labels: Vec::new(),
            mentions: vec![sre],
            at: world.notices.now(),
        };
        world.fact("developer", &fact).await;
    }
    let me = world.fakes.caller("sre");
    let first = world.notices.todos(&me, &Filter::default()).await.unwrap();
    assert_eq!((first.items.len(), first.waiting), (20, 25));
    assert_eq!(first.items[0].number, 25, "newest first");
    assert_eq!(first.items[0].href, "/ward/app/-/issues/25");
    let rest = Filter {
        before: first.next.unwrap().to_string(),
        ..Filter::default()
    };
    let rest = world.notices.todos(&me, &rest).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (5, None));
    let assigned = Filter {
        action: "assigned".to_owned(),
        target: "issue".to_owned(),
        project: "ward/app".to_owned(),
        ..Filter::default()
    };
    let found = world.notices.todos(&me, &assigned).await.unwrap();
    assert_eq!((found.items.len(), found.next), (5, None));
    world.notices.finish_todo(&me, found.items[0].id).await.unwrap();
    assert_eq!(world.notices.finish_todos(&me, &assigned).await.unwrap(), 4);
    assert_eq!(world.notices.waiting(sre).await.unwrap(), 20);
    let done = Filter {
        state: "done".to_owned(),
        ..Filter::default()
    };
    let done = world.notices.todos(&me, &done).await.unwrap();
    assert_eq!(done.items.len(), 5);
    assert!(
        done.items
            .iter()
            .all(|todo| todo.done_how.as_deref() == Some("by_hand"))
    );
    // Another's is not there, and a bad filter says what there is.
    let other = world.fakes.caller("security");
    let refused = world
        .notices
        .finish_todo(&other, rest.items[0].id)
        .await
        .unwrap_err();
    assert_eq!(refused.status, 404);
    let bad = Filter {
        action: "nonsense".to_owned(),
        ..Filter::default()
    };
    let refused = world.notices.todos(&me, &bad).await.unwrap_err();
    assert!(
        refused.status == 422 && refused.next.contains("review_requested"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_count_is_answered_by_an_index_alone() {
    let world = World::new().await;
    if world.db.engine() != bascule_store::Backend::Sqlite {
        return;
    }
    bascule_store::row! { struct Step { detail: String } }
    let plan: Vec<Step> = world
        .db
        .all(
            "EXPLAIN QUERY PLAN SELECT COUNT(*) AS n FROM todo WHERE user_id = 'x' AND done_at IS NULL",
            bascule_store::args![],
        )
        .await
        .unwrap();
    let plan: Vec<String> = plan.into_iter().map(|step| step.detail).collect();
    assert!(
        plan.iter()
            .all(|step| step.contains("COVERING INDEX todo_of_user")),
        "{plan:?}"
    );
}
