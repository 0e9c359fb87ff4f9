//! What findings and drills do to plans.

use super::{
    plans::{SITE, two_products},
    *,
};
use bascule_ledger::{
    Fact,
    facts::{
        advisories::{FindingClosed, FindingOpened, FindingReopened, FindingWaived},
        drills::{DrillEnded, DrillStarted},
    },
};

impl World {
    async fn tell(&mut self, fact: &impl Fact) {
        let tx = self.delivery.db.begin().await.unwrap();
        self.ledger.append(&tx, &Actor::system(), fact).await.unwrap();
        tx.commit().await.unwrap();
        self.settle().await;
        self.turns(6).await;
    }

    fn release_id(&self, version: &str) -> ReleaseId {
        let releases = self.fakes.releases.lock().unwrap();
        let found = releases
            .iter()
            .find(|r| r.project == self.project && r.version == version);
        found.unwrap().id
    }

    fn finding(&self, version: &str, severity: &str, fixed: &[&str]) -> FindingOpened {
        FindingOpened {
            project: self.project,
            release: self.release_id(version),
            version: version.into(),
            key: "k1".into(),
            advisory: "CVE-1".into(),
            severity: severity.into(),
            purl: "pkg:cargo/dep@0.3.1".into(),
            package: "cargo:dep".into(),
            component_version: "0.3.1".into(),
            fixed: fixed.iter().map(|f| (*f).to_owned()).collect(),
            development: false,
            set_aside: false,
            at: self.delivery.now(),
        }
    }

    fn waived(&self) -> FindingWaived {
        FindingWaived {
            project: self.project,
            key: "k1".into(),
            advisory: "CVE-1".into(),
            package: "cargo:dep".into(),
            verdict: "waived".into(),
            justification: String::new(),
            reason: "known".into(),
            until: None,
            at: self.delivery.now(),
        }
    }
}

#[tokio::test]
async fn a_critical_finding_recalls_what_serves_stays_and_what_is_newer_takes_over() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let fact = world.finding("1.0.0", "critical", &[]);
    world.tell(&fact).await;
    assert_eq!(
        world.kinds("release.recalled").await,
        [
            "recalled 1.0.0: CVE-1 (critical) in cargo:dep 0.3.1, no version of it is known to mend it; \
          what runs it stays until something newer may be there"
        ]
    );
    let plan = world.plan("site-7").await;
    assert!(
        plan[1].starts_with("health/clinic: 1.0.0"),
        "what serves is not taken down: {plan:?}"
    );
    // No environment takes it anew.
    world
        .declare(
            "c2",
            &[("site-7", SITE), ("site-8", &SITE.replace("site-7", "site-8"))],
        )
        .await;
    let plan = world.plan("site-8").await;
    assert!(
        plan[1].contains("CVE-1 (critical) in cargo:dep 0.3.1"),
        "{plan:?}"
    );
    // The same fact again is no second recall.
    world.tell(&fact).await;
    assert_eq!(world.kinds("release.recalled").await.len(), 1);
    world.publish_of("health/clinic", "1.0.1", "").await;
    world.turns(8).await;
    for site in ["site-7", "site-8"] {
        let plan = world.plan(site).await;
        assert!(plan[1].starts_with("health/clinic: 1.0.1"), "{site}: {plan:?}");
    }
}

#[tokio::test]
async fn a_recall_for_a_finding_goes_with_it_and_a_persons_recall_stays() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.tell(&world.finding("1.0.0", "critical", &["0.4.0"])).await;
    world.tell(&world.waived()).await;
    assert_eq!(world.kinds("release.recall_lifted").await.len(), 1);
    let again = FindingReopened {
        project: world.project,
        key: "k1".into(),
        advisory: "CVE-1".into(),
        package: "cargo:dep".into(),
        reason: "its time has passed".into(),
        at: world.delivery.now(),
    };
    world.tell(&again).await;
    assert_eq!(world.kinds("release.recalled").await.len(), 2);
    let closed = FindingClosed {
        project: world.project,
        release: world.release_id("1.0.0"),
        version: "1.0.0".into(),
        key: "k1".into(),
        advisory: "CVE-1".into(),
        purl: "pkg:cargo/dep@0.3.1".into(),
        reason: "its advisory was withdrawn".into(),
        at: world.delivery.now(),
    };
    world.tell(&closed).await;
    assert_eq!(world.kinds("release.recall_lifted").await.len(), 2);

    world.tell(&world.finding("1.0.0", "critical", &["0.4.0"])).await;
    let recalled = world
        .delivery
        .recall(&ana(), world.project, "1.0.0", "loses appointments", "")
        .await
        .unwrap();
    assert_eq!(recalled, ["1.0.0"], "a person's word takes its place");
    world.tell(&world.waived()).await;
    assert_eq!(world.kinds("release.recall_lifted").await.len(), 2);
}

#[tokio::test]
async fn the_level_is_the_products_own_and_tools_of_development_do_not_count() {
    let mut world = two_products().await;
    world.tell(&world.finding("1.0.0", "high", &[])).await;
    assert!(
        world.kinds("release.recalled").await.is_empty(),
        "critical, unless it says"
    );
    world
        .publish_of("health/clinic", "1.1.0", "recall: {advisory: high}\n")
        .await;
    world
        .publish_of("health/clinic", "1.2.0", "recall: {advisory: never}\n")
        .await;
    let mut tool = world.finding("1.1.0", "critical", &[]);
    tool.development = true;
    world.tell(&tool).await;
    world.tell(&world.finding("1.2.0", "critical", &[])).await;
    assert!(world.kinds("release.recalled").await.is_empty());
    world.tell(&world.finding("1.1.0", "high", &["0.4.0"])).await;
    assert_eq!(
        world.kinds("release.recalled").await,
        ["recalled 1.1.0: CVE-1 (high) in cargo:dep 0.3.1, fixed in 0.4.0"]
    );
}

#[tokio::test]
async fn an_environment_keeps_findings_out_as_its_file_says() {
    let mut world = two_products().await;
    let strict = format!("{SITE}findings: medium\n");
    world.declare("c1", &[("site-7", &strict)]).await;
    world.publish_of("health/clinic", "1.1.0", "").await;
    // It serves by now; a finding takes nothing down.
    world.turns(6).await;
    world.tell(&world.finding("1.1.0", "medium", &[])).await;
    let plan = world.plan("site-7").await;
    assert!(plan[1].starts_with("health/clinic: 1.1.0"), "{plan:?}");
    world
        .announce(
            "1.2.0",
            Some("product: clinic\nartifact: dist/app.tar.gz\ncommand: ./app\n"),
        )
        .await;
    let late = world.finding("1.2.0", "medium", &["0.4.0"]);
    world.tell(&late).await;
    let why = world.why("site-7", "clinic", "1.2.0").await;
    assert!(
        why.contains("the policy findings (CVE-1 (medium) in cargo:dep 0.3.1, fixed in 0.4.0)"),
        "{why}"
    );
    world.tell(&world.waived()).await;
    world.turns(6).await;
    let plan = world.plan("site-7").await;
    assert!(plan[1].starts_with("health/clinic: 1.2.0"), "{plan:?}");
}

#[tokio::test]
async fn while_a_drill_runs_nothing_else_changes() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let started = DrillStarted {
        number: 3,
        environment: "site-7".into(),
        reason: "the database is away".into(),
        until: world.delivery.now(),
        at: world.delivery.now(),
    };
    world.tell(&started).await;
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(4).await;
    let why = world.why("site-7", "clinic", "1.1.0").await;
    assert!(
        why.contains("waits: the drill 3 (the database is away) runs"),
        "{why}"
    );
    assert!(world.plan("site-7").await[1].starts_with("health/clinic: 1.0.0 → 1.1.0"));
    let ended = DrillEnded {
        number: 3,
        environment: "site-7".into(),
        by_itself: true,
        at: world.delivery.now(),
    };
    world.tell(&ended).await;
    assert!(world.plan("site-7").await[1].starts_with("health/clinic: 1.1.0"));
}
