use super::*;
use bascule_core::Clock as _;
use bascule_core::InstanceRole;
use bascule_wire::{
    agent::MachineFacts,
    fleet::{Enrol, MemberKind, NewMember},
};

fn new(name: &str, kind: MemberKind) -> NewMember {
    NewMember {
        name: name.into(),
        kind,
    }
}

fn admin() -> Caller {
    Caller {
        instance_role: InstanceRole::Admin,
        ..ana()
    }
}

fn with(code: &str, kind: MemberKind) -> Enrol {
    Enrol {
        code: code.into(),
        kind,
        version: "1.2.3".into(),
        machine: MachineFacts {
            host_name: "site-7".into(),
            ..MachineFacts::default()
        },
        csr: String::new(),
    }
}

#[tokio::test]
async fn a_code_is_good_once_for_its_kind_and_for_a_quarter_of_an_hour() {
    let world = World::new().await;
    let delivery = &world.delivery;
    let code = delivery
        .invite(&admin(), &new("site-7", MemberKind::Agent))
        .await
        .unwrap();
    let members = delivery.members().await.unwrap();
    let waiting = members.iter().find(|m| m.name == "site-7").unwrap();
    assert!(!waiting.enrolled && waiting.code_expires_at.is_some());

    let refused = delivery
        .enrol(&with("benr-1234", MemberKind::Agent))
        .await
        .unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (403, "code_unknown"));
    let refused = delivery
        .enrol(&with(&code.code, MemberKind::Edge))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "code_of_other_kind");
    let enrolled = delivery
        .enrol(&with(&code.code, MemberKind::Agent))
        .await
        .unwrap();
    let agent = delivery.agent_of(&enrolled.token).await.unwrap();
    assert_eq!((agent.name.as_str(), agent.version.as_str()), ("site-7", "1.2.3"));
    let refused = delivery
        .enrol(&with(&code.code, MemberKind::Agent))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "code_used");

    let code = delivery
        .invite(&admin(), &new("front", MemberKind::Edge))
        .await
        .unwrap();
    world.clock.advance(fleet::CODE_LIFE + Duration::from_secs(1));
    let refused = delivery
        .enrol(&with(&code.code, MemberKind::Edge))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "code_expired");
    let old = delivery
        .invite(&admin(), &new("front", MemberKind::Edge))
        .await
        .unwrap();
    let code = delivery
        .invite(&admin(), &new("front", MemberKind::Edge))
        .await
        .unwrap();
    let refused = delivery
        .enrol(&with(&old.code, MemberKind::Edge))
        .await
        .unwrap_err();
    assert_eq!(refused.code, "code_unknown", "a newer code voids the older");
    let enrolled = delivery.enrol(&with(&code.code, MemberKind::Edge)).await.unwrap();
    assert_eq!(delivery.edge_of(&enrolled.token).await.unwrap().name, "front");
    assert_eq!(world.kinds("agent.invited").await.len(), 4);
    assert_eq!(world.kinds("edge.enrolled").await, ["enrolled the edge front"]);
    let refused = delivery
        .invite(&admin(), &new("../x", MemberKind::Edge))
        .await
        .unwrap_err();
    assert_eq!(refused.status, 422);
}

#[tokio::test]
async fn a_machine_that_enrols_anew_replaces_the_one_before() {
    let world = World::new().await;
    let delivery = &world.delivery;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let code = delivery
            .invite(&admin(), &new("site-7", MemberKind::Agent))
            .await
            .unwrap();
        tokens.push(
            delivery
                .enrol(&with(&code.code, MemberKind::Agent))
                .await
                .unwrap()
                .token,
        );
    }
    assert_eq!(delivery.agent_of(&tokens[0]).await.unwrap_err().status, 401);
    assert_eq!(delivery.agent_of(&tokens[1]).await.unwrap().name, "site-7");
}

#[tokio::test]
async fn a_removed_agent_is_out_at_once_and_another_takes_over() {
    let mut world = World::new().await;
    world.publish("1.0.0").await;
    let delivery = world.delivery.clone();
    let local = delivery
        .members()
        .await
        .unwrap()
        .into_iter()
        .find(|m| m.name == "local" && m.environments == 2)
        .unwrap();
    assert_eq!((local.instances, local.memory_total_bytes), (1, 1 << 33));
    let code = delivery
        .invite(&admin(), &new("spare", MemberKind::Agent))
        .await
        .unwrap();
    let spare = delivery
        .enrol(&with(&code.code, MemberKind::Agent))
        .await
        .unwrap();

    let refused = delivery
        .remove_member(&admin(), MemberKind::Agent, "local", false)
        .await
        .unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (409, "agent_in_use"));
    delivery
        .remove_member(&admin(), MemberKind::Agent, "local", true)
        .await
        .unwrap();
    assert_eq!(delivery.agent_of(&world.agent).await.unwrap_err().status, 401);
    assert_eq!(
        world.kinds("agent.removed").await,
        ["removed the agent local; 2 environments went to the agent spare"]
    );
    assert!(
        world.weights("staging").await.is_empty(),
        "nobody can say whether it still answers"
    );
    world.agent = spare.token;
    world.turns(2).await;
    assert_eq!(world.weights("staging").await, [("1.0.0".to_owned(), 100)]);

    delivery
        .remove_member(&admin(), MemberKind::Edge, "local", false)
        .await
        .unwrap();
    assert_eq!(delivery.edge_of(&world.edge).await.unwrap_err().status, 401);
    let missing = delivery
        .remove_member(&admin(), MemberKind::Edge, "local", false)
        .await
        .unwrap_err();
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn a_wrong_clock_is_told_once_and_once_when_it_is_right_again() {
    let world = World::new().await;
    let say = async |skew: Duration| {
        let agent = world.delivery.agent_of(&world.agent).await.unwrap();
        let mut report = world.report(&[]);
        report.at = report.at.plus(skew);
        world
            .delivery
            .sync_agent(&agent, &report, -1, Duration::ZERO)
            .await
            .unwrap();
        world.clock.advance(Duration::from_secs(9));
    };
    say(Duration::from_secs(2)).await;
    assert!(world.kinds("agent.skewed").await.is_empty());
    for _ in 0..3 {
        say(Duration::from_secs(3600)).await;
    }
    assert_eq!(
        world.kinds("agent.skewed").await,
        ["the clock of the agent local is 3600 s ahead"]
    );
    let agent = world
        .delivery
        .members()
        .await
        .unwrap()
        .into_iter()
        .find(|m| m.skewed)
        .unwrap();
    assert_eq!(agent.skew_ms, 3_600_000);
    say(Duration::ZERO).await;
    say(Duration::ZERO).await;
    assert_eq!(
        world.kinds("agent.skewed").await[1..],
        ["the clock of the agent local is right again"]
    );
}

/// A world whose agents have a door of their own.
async fn with_door() -> (World, Delivery) {
    let world = World::new().await;
    let life = Duration::from_secs(30 * 86_400);
    let authority = fleet::authority::Authority::generate(life, world.clock.now()).unwrap();
    let door = crate::Door {
        authority,
        url: "https://agents.example.org:8443".into(),
    };
    let delivery = world.delivery.clone().with_door(std::sync::Arc::new(door));
    (world, delivery)
}

fn request() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::default();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

fn call(token: &str, certificate: &str) -> fleet::certificates::Call {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let body: String = certificate
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    fleet::certificates::Call {
        token: token.into(),
        door: Some(bascule_web::AgentsDoor {
            certificate: Some(Digest::of(&STANDARD.decode(body).unwrap())),
        }),
    }
}

#[tokio::test]
async fn a_certificate_lives_a_month_and_the_next_one_voids_it() {
    let (world, delivery) = with_door().await;
    let code = delivery
        .invite(&admin(), &new("site-7", MemberKind::Agent))
        .await
        .unwrap();
    assert_eq!(code.server, "https://agents.example.org:8443");
    let asked = Enrol {
        csr: request(),
        ..with(&code.code, MemberKind::Agent)
    };
    let bad = Enrol {
        csr: "rubbish".into(),
        ..asked.clone()
    };
    let refused = delivery.enrol(&bad).await.unwrap_err();
    assert_eq!(refused.code, "bad_certificate_request");
    // The code was not used up by that.
    let enrolled = delivery.enrol(&asked).await.unwrap();
    let (token, first) = (enrolled.token, enrolled.certificate.unwrap());
    assert_eq!(first.life_seconds, 30 * 86_400);
    let old = call(&token, &first.certificate);
    assert_eq!(delivery.who_calls(&old).await.unwrap().name, "site-7");

    world.clock.advance(Duration::from_secs(20 * 86_400));
    let renew = bascule_wire::fleet::Renew {
        kind: MemberKind::Agent,
        csr: request(),
    };
    let next = delivery.renew_certificate(&old, &renew).await.unwrap();
    let next = call(&token, &next.certificate);
    // An answer that was lost locks nobody out: the old one counts until the new one is shown.
    assert!(delivery.who_calls(&old).await.is_ok());
    assert!(delivery.who_calls(&next).await.is_ok());
    assert_eq!(
        delivery.who_calls(&old).await.unwrap_err().code,
        "certificate_void"
    );
    world.clock.advance(Duration::from_secs(31 * 86_400));
    let refused = delivery.who_calls(&next).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (403, "certificate_void"));
    assert!(refused.why.contains("renewed in time"));

    // Without a listener of their own no certificates are issued, and codes name no authority.
    let code = world
        .delivery
        .invite(&admin(), &new("site-8", MemberKind::Agent))
        .await
        .unwrap();
    assert!(code.server.is_empty() && !code.code.contains('.'));
    let asked = Enrol {
        csr: request(),
        ..with(&code.code, MemberKind::Agent)
    };
    assert_eq!(
        world.delivery.enrol(&asked).await.unwrap_err().code,
        "no_authority"
    );
    assert_eq!(world.kinds("agent.certified").await.len(), 2);
}
