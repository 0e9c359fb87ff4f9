use super::*;
use bascule_ledger::facts::forge::BranchUpdated;

pub(super) const HOME: &str = "platform/fleet";

impl World {
    pub(super) fn know(&mut self, path: &str) -> ProjectId {
        let mut projects = self.fakes.projects.lock().unwrap();
        *projects.entry(path.to_owned()).or_insert_with(ProjectId::new)
    }

    /// Publishes a release of another project than the usual one.
    pub(super) async fn publish_of(&mut self, path: &str, version: &str, more: &str) {
        let project = self.know(path);
        let name = path.rsplit('/').next().unwrap();
        let yaml = format!("product: {name}\nartifact: dist/app.tar.gz\ncommand: ./app\n{more}");
        let usual = std::mem::replace(&mut self.project, project);
        self.announce(version, Some(&yaml)).await;
        self.settle().await;
        self.project = usual;
        self.turns(3).await;
    }

    /// Pushes declarations to the environments project.
    pub(super) async fn declare(&mut self, sha: &str, files: &[(&str, &str)]) {
        let project = self.know(HOME);
        for (name, text) in files {
            let key = format!("{sha}:environments/{name}.yaml");
            self.fakes.files.lock().unwrap().insert(key, (*text).to_owned());
        }
        let fact = BranchUpdated {
            project,
            branch: "main".into(),
            before: None,
            after: Some(sha.into()),
            default: true,
            forced: false,
            commits: Vec::new(),
            commit_count: 1,
            at: self.delivery.now(),
            ci_skip: false,
            ci_options: None,
        };
        let tx = self.delivery.db.begin().await.unwrap();
        self.ledger.append(&tx, &Actor::system(), &fact).await.unwrap();
        tx.commit().await.unwrap();
        self.settle().await;
        self.turns(4).await;
    }

    /// `product: runs → should, state: why`, of one environment.
    pub(super) async fn plan(&self, site: &str) -> Vec<String> {
        let plans = self.delivery.plans(&ana(), Some(site)).await.unwrap();
        plans
            .into_iter()
            .map(|p| {
                format!(
                    "{}: {} → {}, {}: {}",
                    p.product, p.current, p.target, p.state, p.why
                )
            })
            .collect()
    }

    pub(super) async fn why(&self, site: &str, product: &str, version: &str) -> String {
        let why = self.delivery.why_not(&ana(), site, product, version).await;
        why.map_or_else(|problem| problem.what, |why| why.sentence)
    }
}

pub(super) const SITE: &str = "\
environment: site-7
tier: staging
channel: dev
install:
  - product: health/auth
  - product: health/clinic
    variables: {WARD: north}
";

/// clinic 1.1.0 needs auth 2.1.0.
pub(super) async fn two_products() -> World {
    two_products_in(World::new().await).await
}

pub(super) async fn two_products_in(mut world: World) -> World {
    let project = world.project;
    world
        .fakes
        .projects
        .lock()
        .unwrap()
        .insert("health/clinic".into(), project);
    world.publish_of("health/auth", "2.0.0", "").await;
    world.publish_of("health/clinic", "1.0.0", "").await;
    world
}

#[tokio::test]
async fn a_declared_environment_is_filled_and_kept_up_to_date_in_a_safe_order() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    assert_eq!(
        world.plan("site-7").await,
        [
            "health/auth: 2.0.0 → 2.0.0, up_to_date: 2.0.0 is the newest that may be here",
            "health/clinic: 1.0.0 → 1.0.0, up_to_date: 1.0.0 is the newest that may be here"
        ]
    );
    // clinic is published first; it waits for what it needs, and follows by itself.
    let needs = "dependencies: [{product: health/auth, minimum: 2.1.0, maximum: 2.x.x}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    assert_eq!(
        world.why("site-7", "clinic", "1.1.0").await,
        "health/clinic stays at 1.0.0: 1.1.0 needs health/auth ≥ 2.1.0 and ≤ 2.x.x, and the newest that was released is 2.0.0"
    );
    world.publish_of("health/auth", "2.1.0", "").await;
    world.turns(6).await;
    let plan = world.plan("site-7").await;
    assert!(
        plan[0].starts_with("health/auth: 2.1.0") && plan[1].starts_with("health/clinic: 1.1.0"),
        "{plan:?}"
    );
    let order: Vec<String> = world
        .kinds("deployment.created")
        .await
        .into_iter()
        .filter(|line| line.ends_with("to site-7"))
        .collect();
    assert_eq!(
        order,
        [
            "deploys 2.0.0 to site-7",
            "deploys 1.0.0 to site-7",
            "deploys 2.1.0 to site-7",
            "deploys 1.1.0 to site-7"
        ]
    );
    let told = world.kinds("plan.changed").await;
    assert!(
        told.iter()
            .any(|line| line.contains("needs health/auth ≥ 2.1.0 and ≤ 2.x.x")),
        "{told:?}"
    );
    // The declaration's variables reach the instance; the artifact is the same everywhere.
    let wanted = world.wanted().await;
    let clinic = wanted
        .iter()
        .find(|w| w.environment == "site-7" && w.version == "1.1.0")
        .unwrap();
    assert_eq!(
        clinic
            .product
            .0
            .variables_in("site-7")
            .get("WARD")
            .map(String::as_str),
        Some("north")
    );
}

#[tokio::test]
async fn what_is_older_than_recommended_is_remarked_on_and_holds_nothing() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let needs =
        "dependencies: [{product: health/auth, minimum: 2.0.0, maximum: 2.x.x, recommended: 2.3.1}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    world.turns(4).await;
    assert_eq!(
        world.plan("site-7").await[1],
        "health/clinic: 1.1.0 → 1.1.0, up_to_date: 1.1.0 is the newest that may be here; \
         runs with health/auth 2.0.0; 2.3.1 is recommended"
    );
    assert_eq!(
        world.why("site-7", "clinic", "1.1.0").await,
        "health/clinic 1.1.0 runs in site-7; runs with health/auth 2.0.0; 2.3.1 is recommended"
    );
    // Whoever may not read the other product does not hear its name.
    let clinic = world.know("health/clinic");
    *world.fakes.visible.lock().unwrap() = Some(vec![clinic]);
    let plans = world.delivery.plans(&ben(), Some("site-7")).await.unwrap();
    assert!(
        plans.len() == 1 && plans[0].why.contains("is recommended") && !plans[0].why.contains("health/auth"),
        "{plans:?}"
    );
    world.publish_of("health/auth", "2.3.1", "").await;
    world.turns(4).await;
    assert_eq!(
        world.plan("site-7").await[1],
        "health/clinic: 1.1.0 → 1.1.0, up_to_date: 1.1.0 is the newest that may be here"
    );
}

#[tokio::test]
async fn drift_is_shown_field_by_field_and_put_right_where_it_should_be() {
    let mut world = two_products().await;
    world
        .declare("c1", &[("site-7", &format!("{SITE}drift: show\n"))])
        .await;
    let south = SITE.replace("north", "south");
    world
        .declare("c2", &[("site-7", &format!("{south}drift: show\n"))])
        .await;
    let plan = world.plan("site-7").await;
    assert!(
        plan[1].ends_with(
            "drifted: the variable WARD is `north`, and should be `south`; it is shown, not put right"
        ),
        "{plan:?}"
    );
    world.declare("c3", &[("site-7", &south)]).await;
    world.turns(4).await;
    let made = world.kinds("deployment.created").await;
    let again = made
        .iter()
        .filter(|line| *line == "deploys 1.0.0 to site-7")
        .count();
    assert_eq!(again, 2, "put there, and once anew: {made:?}");
    let plan = world.plan("site-7").await;
    assert!(plan[1].contains("up_to_date"), "{plan:?}");
    let wanted = world.wanted().await;
    let clinic = wanted
        .iter()
        .find(|w| w.environment == "site-7" && w.version == "1.0.0")
        .unwrap();
    assert_eq!(
        clinic
            .product
            .0
            .variables_in("site-7")
            .get("WARD")
            .map(String::as_str),
        Some("south")
    );
}

#[tokio::test]
async fn windows_approvals_and_suppression_hold_a_step_and_say_until_when() {
    let mut world = two_products().await;
    // The clock stands at Monday 1970-01-12 13:46:40 UTC.
    let held = format!(
        "{SITE}windows: [{{cron: \"0 22 * * SAT\", timezone: UTC, duration: 4h}}]\napprovals: [security]\n"
    );
    world.declare("c1", &[("site-7", &held)]).await;
    assert_eq!(
        world.why("site-7", "auth", "2.0.0").await,
        "health/auth is not there yet: 2.0.0 waits for approval by security and for the window Saturday 17 January 22:00 (UTC)"
    );
    let auth = world.know("health/auth");
    let refused = world
        .delivery
        .approve(&ben(), auth, "2.0.0", "environment:site-7", "security")
        .await
        .unwrap_err();
    assert_eq!(refused.code, "not_in_team");
    let reads = Caller {
        scopes: Some([bascule_core::Scope::ReadApi].into_iter().collect()),
        ..ana()
    };
    let refused = world
        .delivery
        .approve(&reads, auth, "2.0.0", "environment:site-7", "security")
        .await
        .unwrap_err();
    assert_eq!(
        refused.code, "scope_missing",
        "a token that only reads approves nothing"
    );
    world
        .delivery
        .approve(&ana(), auth, "2.0.0", "environment:site-7", "security")
        .await
        .unwrap();
    world
        .delivery
        .suppress(&ana(), "site-7", "the auditors are here", None)
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(5 * 86_400 + 9 * 3_600));
    world.turns(3).await;
    let why = world.why("site-7", "auth", "2.0.0").await;
    assert!(
        why.ends_with("changes are suppressed (the auditors are here)"),
        "suppression wins: {why}"
    );
    world.delivery.unsuppress(&ana(), "site-7").await.unwrap();
    world.turns(4).await;
    assert!(world.plan("site-7").await[0].starts_with("health/auth: 2.0.0"));
    assert!(
        world.plan("site-7").await[1].contains("held"),
        "clinic is approved by nobody"
    );
    let again = world.delivery.unsuppress(&ana(), "site-7").await.unwrap_err();
    assert_eq!(again.code, "not_suppressed");
}

#[tokio::test]
async fn a_release_enters_stable_once_it_served_in_staging_and_a_recall_moves_it_out() {
    let mut world = two_products().await;
    let stable = SITE
        .replace("channel: dev\n", "")
        .replace("  - product: health/auth\n", "");
    world.declare("c1", &[("site-7", &stable)]).await;
    assert!(
        world.plan("site-7").await[0].starts_with("health/clinic: 1.0.0"),
        "{:?}",
        world.plan("site-7").await
    );
    world.fates.insert(
        "1.1.0".into(),
        Fate {
            state: InstanceState::Failed,
            smoke: true,
            restarts: 0,
        },
    );
    world.publish_of("health/clinic", "1.1.0", "").await;
    assert_eq!(
        world.why("site-7", "clinic", "1.1.0").await,
        "health/clinic stays at 1.0.0: 1.1.0 is not in the channel stable, which is followed here: its promotion waits \
         for its soak in staging, where it does not serve in good health yet"
    );
    world.publish_of("health/clinic", "1.2.0", "").await;
    world.turns(6).await;
    assert!(
        world.plan("site-7").await[0].starts_with("health/clinic: 1.2.0"),
        "{:?}",
        world.plan("site-7").await
    );

    let project = world.project;
    let bad = world
        .delivery
        .recall(&ana(), project, "1.2.x", "", "")
        .await
        .unwrap_err();
    assert_eq!(bad.code, "reason_missing");
    let bad = world
        .delivery
        .recall(&ana(), project, "1.2.0", "loses data", "1.2.0")
        .await
        .unwrap_err();
    assert_eq!(bad.code, "bad_floor");
    let recalled = world
        .delivery
        .recall(&ana(), project, "1.2.0", "loses data", "1.0.0")
        .await
        .unwrap();
    assert_eq!(recalled, ["1.2.0"]);
    world.turns(6).await;
    assert!(
        world.plan("site-7").await[0].starts_with("health/clinic: 1.0.0"),
        "{:?}",
        world.plan("site-7").await
    );
    assert_eq!(
        world.why("site-7", "clinic", "1.2.0").await,
        "health/clinic stays at 1.0.0: 1.2.0 was recalled: loses data"
    );
    // Nobody puts it there by hand either, save by force.
    let refused = world.deploy("1.2.0", "staging").await.unwrap_err();
    assert!(
        refused.code == "held" || refused.code == "already_serving",
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_version_that_failed_is_not_tried_again_and_a_newer_one_is() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.fates.insert(
        "1.1.0".into(),
        Fate {
            state: InstanceState::Failed,
            smoke: true,
            restarts: 0,
        },
    );
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(6).await;
    let count = |lines: Vec<String>| {
        lines
            .iter()
            .filter(|line| *line == "deploys 1.1.0 to site-7")
            .count()
    };
    assert_eq!(count(world.kinds("deployment.created").await), 1, "tried once");
    assert!(
        world
            .why("site-7", "clinic", "1.1.0")
            .await
            .contains("it failed here")
    );
    world.publish_of("health/clinic", "1.1.1", "").await;
    world.turns(6).await;
    assert!(world.plan("site-7").await[1].starts_with("health/clinic: 1.1.1"));
}

#[tokio::test]
async fn a_wrong_declaration_changes_nothing_and_says_where_it_is_wrong() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let before = world.plan("site-7").await;
    world
        .declare("c2", &[("site-7", "environment: site-7\ntier: moon\n")])
        .await;
    let refused = world.kinds("site.refused").await;
    assert!(
        refused[0].contains("environments/site-7.yaml:2:7: tier cannot be `moon`"),
        "{refused:?}"
    );
    assert_eq!(world.plan("site-7").await, before);
    // A revert is a push like any other; what is gone from git is no longer moved by itself.
    world.declare("c3", &[]).await;
    let told = world.kinds("site.declared").await;
    assert_eq!(told.last().unwrap(), "no longer declares the environment site-7");
    let before = world.kinds("deployment.created").await.len();
    world.publish_of("health/clinic", "1.1.0-rc.1", "").await;
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(6).await;
    let after = world.kinds("deployment.created").await;
    assert!(
        after.iter().skip(before).all(|line| line.ends_with("to staging")),
        "{after:?}"
    );
}

#[tokio::test]
async fn a_deployment_by_hand_keeps_to_ranges_both_ways_and_to_the_files_variables() {
    let mut world = two_products().await;
    world.publish_of("health/auth", "2.1.0", "").await;
    let needs = "dependencies: [{product: health/auth, minimum: 2.1.0}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let auth = world.know("health/auth");
    let usual = std::mem::replace(&mut world.project, auth);
    let refused = world.deploy("2.0.0", "site-7").await.unwrap_err();
    assert_eq!(refused.code, "held");
    assert!(
        refused.what.contains("health/clinic 1.1.0 does not take"),
        "{}",
        refused.what
    );
    // In staging, which no file declares, another project's range holds nobody up.
    world.deploy("2.0.0", "staging").await.unwrap();
    world.project = usual;
    world
        .deploy_as(&ana(), "1.0.0", "site-7", Some("to look at it"))
        .await
        .unwrap();
    let wanted = world.wanted().await;
    let clinic = wanted
        .iter()
        .find(|w| w.environment == "site-7" && w.version == "1.0.0")
        .unwrap();
    assert_eq!(
        clinic
            .product
            .0
            .variables_in("site-7")
            .get("WARD")
            .map(String::as_str),
        Some("north")
    );
}

#[tokio::test]
async fn a_product_that_is_taken_out_of_the_file_is_left_as_it_is() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    let only_auth = SITE.replace("  - product: health/clinic\n    variables: {WARD: north}\n", "");
    world.declare("c2", &[("site-7", &only_auth)]).await;
    let before = world.kinds("deployment.created").await.len();
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(6).await;
    let after = world.kinds("deployment.created").await;
    assert!(
        after.iter().skip(before).all(|line| line.ends_with("to staging")),
        "{after:?}"
    );
    let wanted = world.wanted().await;
    let clinic = wanted
        .iter()
        .find(|w| w.environment == "site-7" && w.version == "1.0.0")
        .unwrap();
    assert_eq!(
        clinic
            .product
            .0
            .variables_in("site-7")
            .get("WARD")
            .map(String::as_str),
        Some("north")
    );
}

#[tokio::test]
async fn a_site_waits_for_the_agent_that_it_names() {
    let mut world = two_products().await;
    world
        .declare("c1", &[("site-7", &format!("{SITE}agent: site-7\n"))])
        .await;
    let why = world.why("site-7", "auth", "2.0.0").await;
    assert!(
        why.ends_with("waits: the agent site-7, which is to run this environment, is not enrolled"),
        "{why}"
    );
    let plan = world.plan("site-7").await;
    assert!(
        plan[0].contains("held"),
        "nothing runs on another machine: {plan:?}"
    );
    drop(world.delivery.enrol_agent("elsewhere").await.unwrap());
    world.turns(3).await;
    assert!(
        world
            .why("site-7", "auth", "2.0.0")
            .await
            .ends_with("is not enrolled")
    );
    drop(world.delivery.enrol_agent("site-7").await.unwrap());
    assert!(
        world
            .why("site-7", "auth", "2.0.0")
            .await
            .ends_with("the agent site-7 does not report")
    );
}

#[tokio::test]
async fn a_restart_between_plan_and_report_takes_no_step_twice() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.announce("1.3.0", Some(YAML)).await;
    world.settle().await;
    // The plan is made and its step begun; then the server dies, again and again.
    for _ in 0..4 {
        world.driver.turn().await.unwrap();
        world.planner.turn().await.unwrap();
        world.restart();
    }
    world.turns(6).await;
    let made = world.kinds("deployment.created").await;
    assert_eq!(
        made.iter()
            .filter(|line| *line == "deploys 1.3.0 to site-7")
            .count(),
        1,
        "{made:?}"
    );
    assert!(world.plan("site-7").await[1].starts_with("health/clinic: 1.3.0"));
}

#[tokio::test]
async fn publishing_is_checked_against_every_environment() {
    let mut world = two_products().await;
    let needs = "dependencies: [{product: health/auth, minimum: 2.0.0, maximum: 2.0.x}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world.publish_of("health/auth", "3.0.0", "").await;
    let auth = world.know("health/auth");
    let new = dto::NewPublishCheck {
        version: "3.1.0".into(),
        file: "product: auth\nartifact: a\ncommand: ./a\n".into(),
    };
    let check = world
        .delivery
        .publish_check(&ana(), auth, "health/auth", &new)
        .await
        .unwrap();
    assert!(
        check
            .stranded
            .iter()
            .any(|why| why.starts_with("publishing 3.1.0 strands site-7:")
                && why.contains("health/clinic 1.1.0 does not take")),
        "{check:?}"
    );
}

#[tokio::test]
async fn what_a_channel_waits_for_and_each_end_of_several_holds_are_told() {
    let mut world = two_products().await;
    world.fakes.teams.lock().unwrap().push("ward".into());
    let stable = SITE
        .replace("channel: dev\n", "channel: stable\n")
        .replace("  - product: health/auth\n", "");
    let held = format!(
        "{stable}windows: [{{cron: \"0 22 * * SAT\", timezone: UTC, duration: 4h}}]\napprovals: [security, ward]\n"
    );
    let soaks = "channels: [{name: dev}, {name: stable, in: [staging], soak: 24h, approval: security}]\n";
    world.publish_of("health/clinic", "1.1.0", soaks).await;
    world.declare("c1", &[("site-7", &held)]).await;
    world.turns(3).await;
    // Staging took it on Monday; the day after its soak ends.
    let sentence = world.why("site-7", "clinic", "1.1.0").await;
    let own = "1.1.0 is not in the channel stable, which is followed here: its promotion waits for its soak in staging \
               until Tuesday 13 January ";
    assert!(sentence.contains(own), "{sentence}");
    assert!(
        sentence.ends_with("(UTC) and for approval by security"),
        "{sentence}"
    );
    let why = world
        .delivery
        .why_not(&ana(), "site-7", "clinic", "1.0.0")
        .await
        .unwrap();
    let link = why.links.first().unwrap();
    let each: Vec<(&str, &str, bool)> = link
        .holds
        .iter()
        .map(|hold| (hold.kind.as_str(), hold.lifts.as_str(), hold.until.is_some()))
        .collect();
    assert_eq!(
        each,
        [
            ("approval", "approval by security", false),
            ("approval", "approval by ward", false),
            ("maintenance_window", "1970-01-17T22:00:00Z", true)
        ],
        "{why:?}"
    );
    assert_eq!(
        link.lifts,
        "approval by security and approval by ward and 1970-01-17T22:00:00Z"
    );
}
