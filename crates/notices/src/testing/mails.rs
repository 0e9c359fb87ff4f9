//! Mail: who gets it, and that none is lost.

use super::World;
use crate::mail::{Security, Settings};
use bascule_core::CommentId;
use bascule_ledger::facts::{
    planning::{IssueClosed, IssueCommented},
    review::{CommentAdded, ReviewersChanged},
};
use bascule_testkit::Smtp;
use bascule_wire::notices::MailChoice;
use std::{net::SocketAddr, time::Duration};

fn settings(address: SocketAddr) -> Settings {
    Settings {
        host: address.ip().to_string(),
        port: address.port(),
        security: Security::None,
        user: String::new(),
        password: String::new(),
        from: "Forge <forge@example.org>".to_owned(),
        ca: Vec::new(),
    }
}

fn choice(of: &str) -> MailChoice {
    MailChoice {
        issues: of.to_owned(),
        merge_requests: of.to_owned(),
        pipelines: of.to_owned(),
    }
}

#[tokio::test]
async fn who_is_spoken_to_gets_a_mail_with_what_was_said_and_others_as_they_chose() {
    let smtp = Smtp::start();
    let world = World::with(Some(settings(smtp.address())), &[]).await;
    let request = world.request(1);
    let comment = CommentId::new();
    let text = "Look here @sre,\n.\nit is slow.";
    world
        .fakes
        .things()
        .comments
        .insert(comment.to_string(), text.to_owned());
    let said = |mentions| CommentAdded {
        project: request.project,
        merge_request: request.id,
        iid: 1,
        thread: bascule_core::ThreadId::new(),
        comment,
        author: None,
        mentions,
        participants: Vec::new(),
    };
    let none = world.fakes.caller("security");
    world.notices.choose_mail(&none, &choice("none")).await.unwrap();
    let people = vec![
        world.user("sre"),
        world.user("security"),
        world.user("maintainer"),
    ];
    world.fact("maintainer", &said(people)).await;
    world.notices.mail_due().await;
    let mut got = smtp.received();
    got.sort_by_key(|mail| mail.to.clone());
    let to: Vec<&str> = got.iter().map(|mail| mail.to[0].as_str()).collect();
    // Its author is told of comments; whoever wrote it, and whoever wants none, are not.
    assert_eq!(to, ["developer@example.org", "sre@example.org"]);
    let mail = &got[1];
    assert_eq!(mail.from, "forge@example.org");
    assert!(
        mail.body().contains("Look here @sre,\n.\nit is slow."),
        "{}",
        mail.body()
    );
    assert!(mail.body().contains(&format!(
        "http://forge.test/ward/app/-/merge-requests/1#comment-{comment}"
    )));
    assert_eq!(mail.header("Subject"), "Re: [ward/app] Request 1 (!1)");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert_eq!(mail.header("X-Bascule-Reason"), "mentioned");
    assert_eq!(mail.header("References"), got[0].header("References"));
    assert!(mail.header("References").starts_with("<merge-request-"));
    assert!(
        mail.header("From").contains("maintainer via Forge"),
        "{}",
        mail.header("From")
    );

    // The same fact again sends nothing again.
    world.all_again().await;
    world.notices.mail_due().await;
    assert_eq!(smtp.received().len(), 2);

    // Whoever wants everything hears of what makes no to-do.
    let issue = world.issue(2, false);
    let all = world.fakes.caller("sre");
    world.notices.choose_mail(&all, &choice("all")).await.unwrap();
    let mention = IssueCommented {
        project: issue.project,
        issue: issue.id,
        number: 2,
        comment: 1,
        mentions: vec![world.user("sre"), world.user("outsider")],
    };
    world.fact("developer", &mention).await;
    let closed = IssueClosed {
        project: issue.project,
        issue: issue.id,
        number: 2,
        by: "person".to_owned(),
        reference: String::new(),
        opened_at: request.created_at,
        at: request.created_at,
    };
    world.fact("developer", &closed).await;
    world.notices.mail_due().await;
    let of = |address: &str| {
        let mails = smtp.received().into_iter();
        mails.filter(|mail| mail.to == [address]).count()
    };
    assert_eq!((of("sre@example.org"), of("outsider@example.org")), (3, 1));
    let bad = world
        .notices
        .choose_mail(&all, &choice("some"))
        .await
        .unwrap_err();
    assert_eq!(bad.status, 422);
}

#[tokio::test]
async fn no_mail_is_lost_while_the_server_is_away_and_none_goes_to_who_lost_the_right() {
    let smtp = Smtp::start();
    let address = smtp.address();
    drop(smtp);
    let world = World::with(Some(settings(address)), &[]).await;
    let request = world.request(1);
    let asked = |name: &str| ReviewersChanged {
        project: request.project,
        merge_request: request.id,
        iid: 1,
        requested: vec![world.user(name)],
        removed: Vec::new(),
    };
    for name in ["sre", "security", "maintainer"] {
        world.fact("developer", &asked(name)).await;
    }
    world.notices.mail_due().await;
    let status = world.notices.mail_status().await.unwrap();
    let (counts, troubled) = (status.counts, status.troubled);
    assert_eq!(counts["waiting"], 3);
    assert_eq!(troubled.len(), 1, "one was tried, the others wait with it");
    assert!(!troubled[0].error.is_empty());

    // Back, but busy: it says so for each.
    let smtp = Smtp::start_on(address);
    smtp.refuse_with(451);
    world.clock.advance(Duration::from_secs(60));
    world.notices.mail_due().await;
    assert_eq!(world.notices.mail_status().await.unwrap().counts["waiting"], 3);
    smtp.refuse_with(0);
    world.fakes.things().shut_out.insert(world.user("security"));
    world.clock.advance(Duration::from_secs(120));
    world.notices.mail_due().await;
    let mut to: Vec<String> = smtp.received().into_iter().flat_map(|mail| mail.to).collect();
    to.sort();
    assert_eq!(to, ["maintainer@example.org", "sre@example.org"]);
    let counts = world.notices.mail_status().await.unwrap().counts;
    assert_eq!((counts["sent"], counts["dropped"]), (2, 1));

    // What the server wants none of, and what could not be sent for days, is given up and shown.
    smtp.refuse_with(550);
    world
        .fact(
            "developer",
            &ReviewersChanged {
                requested: vec![],
                removed: vec![world.user("sre")],
                ..asked("sre")
            },
        )
        .await;
    world.fact("developer", &asked("sre")).await;
    world.notices.mail_due().await;
    assert_eq!(world.notices.mail_status().await.unwrap().counts["failed"], 1);
    smtp.refuse_with(0);
    assert_eq!(world.notices.retry_mail().await.unwrap(), 1);
    world.notices.mail_due().await;
    assert_eq!(
        world.notices.mail_status().await.unwrap().counts.get("failed"),
        None
    );
    assert_eq!(smtp.received().len(), 3);
    smtp.refuse_with(421);
    world
        .fact(
            "developer",
            &ReviewersChanged {
                requested: vec![],
                removed: vec![world.user("sre")],
                ..asked("sre")
            },
        )
        .await;
    world.fact("developer", &asked("sre")).await;
    for _ in 0..30 {
        world.notices.mail_due().await;
        world.clock.advance(Duration::from_secs(4 * 3600));
    }
    assert_eq!(world.notices.mail_status().await.unwrap().counts["failed"], 1);
}

#[tokio::test]
async fn a_mail_goes_by_starttls_to_a_server_that_is_trusted_and_to_no_other() {
    let (smtp, authority) = Smtp::start_with_tls();
    let secured = |ca: &str| Settings {
        host: "localhost".to_owned(),
        security: Security::StartTls,
        user: "forge".to_owned(),
        password: "hunter2".to_owned(),
        ca: ca.as_bytes().to_vec(),
        ..settings(smtp.address())
    };
    for ca in ["", authority.as_str()] {
        let world = World::with(Some(secured(ca)), &[]).await;
        let request = world.request(1);
        let asked = ReviewersChanged {
            project: request.project,
            merge_request: request.id,
            iid: 1,
            requested: vec![world.user("sre")],
            removed: Vec::new(),
        };
        world.fact("developer", &asked).await;
        world.notices.mail_due().await;
        assert_eq!(smtp.received().len(), usize::from(!ca.is_empty()));
        let status = world.notices.mail_status().await.unwrap();
        let (counts, troubled) = (status.counts, status.troubled);
        if ca.is_empty() {
            assert_eq!(counts["waiting"], 1);
            assert!(
                troubled[0].error.to_lowercase().contains("certificate"),
                "{}",
                troubled[0].error
            );
        }
    }
    let mail = &smtp.received()[0];
    assert!(mail.secured);
    assert_eq!(
        mail.login, "AGZvcmdlAGh1bnRlcjI=",
        "user and password, as RFC 4616 has it"
    );
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let good = settings(([127, 0, 0, 1], 25).into());
    assert_eq!(good.check(), Ok(()));
    let with = |change: fn(&mut Settings)| {
        let mut settings = settings(([127, 0, 0, 1], 25).into());
        change(&mut settings);
        settings.check().unwrap_err()
    };
    assert!(with(|s| "nobody".clone_into(&mut s.from)).contains("`nobody` is no sender"));
    assert!(with(|s| "x".clone_into(&mut s.user)).contains("a user needs a password"));
    let open = with(|s| {
        "x".clone_into(&mut s.user);
        "y".clone_into(&mut s.password);
    });
    assert!(open.contains("not secured"), "{open}");
}
