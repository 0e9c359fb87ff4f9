//! Environments in git: dry runs, products that do not exist yet, what is no longer declared, waves.

use super::*;
use bascule_ledger::facts::forge::ProjectCreated;
use bascule_wire::environments as env;
use plans::{SITE, two_products, two_products_in};

impl World {
    async fn told(&self, caller: &Caller, new: &env::NewDryRun) -> Vec<String> {
        let told = self.delivery.dry_run(caller, new).await.unwrap();
        let mut lines: Vec<String> = told
            .changes
            .into_iter()
            .map(|c| format!("{}: {}", c.kind, c.text))
            .collect();
        lines.extend(
            told.plans
                .into_iter()
                .map(|p| format!("plan {} {}: {}", p.product, p.state, p.why)),
        );
        if told.hidden > 0 {
            lines.push(format!("{} hidden", told.hidden));
        }
        if !told.refused.is_empty() {
            lines.push(format!("refused: {}", told.refused));
        }
        lines
    }

    /// A project comes into being.
    async fn create(&mut self, path: &str) {
        let project = self.know(path);
        let fact = ProjectCreated {
            project,
            group: bascule_core::GroupId::new(),
            path: path.into(),
        };
        let tx = self.delivery.db.begin().await.unwrap();
        self.ledger.append(&tx, &Actor::system(), &fact).await.unwrap();
        tx.commit().await.unwrap();
        self.settle().await;
        self.turns(3).await;
    }

    async fn order(&self) -> Vec<String> {
        let all = self.facts("deployment.created").await;
        let mut order = Vec::new();
        for entry in all {
            let fact: bascule_ledger::facts::delivery::DeploymentCreated =
                bascule_ledger::decode(&entry).unwrap();
            if fact.environment_name == "site-7" {
                let path = self.fakes.path(fact.project).await.unwrap().unwrap();
                order.push(format!("{path} {}", fact.version));
            }
        }
        order
    }
}

fn file(text: &str) -> env::NewDryRun {
    env::NewDryRun {
        files: vec![env::DryRunFile {
            path: "environments/site-7.yaml".into(),
            text: text.into(),
        }],
        ..env::NewDryRun::default()
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_a_commit_changes_and_what_would_be_done_and_changes_nothing() {
    let mut world = two_products().await;
    world.know(plans::HOME);
    let first = world.told(&ana(), &file(SITE)).await;
    assert_eq!(
        first,
        [
            "environment_added: site-7 is a new environment (staging, follows dev)",
            "install_added: health/auth is installed in site-7",
            "install_added: health/clinic is installed in site-7",
            "plan health/auth ready: 2.0.0 is put here now",
            "plan health/clinic ready: 1.0.0 is put here now",
        ]
    );
    assert!(world.plan("site-7").await.is_empty(), "nothing was written");
    world.declare("c1", &[("site-7", SITE)]).await;
    assert_eq!(world.told(&ana(), &file(SITE)).await, Vec::<String>::new());

    // The same by a commit that is not in force.
    let other = SITE.replace("north", "south").replace(
        "  - product: health/auth\n",
        "  - {product: health/auth, pin: 1.x.x}\n  - product: health/mail\n",
    );
    world
        .fakes
        .files
        .lock()
        .unwrap()
        .insert("c2:environments/site-7.yaml".into(), other.clone());
    let commit = env::NewDryRun {
        revision: "c2".into(),
        ..env::NewDryRun::default()
    };
    assert_eq!(
        world.told(&ana(), &commit).await,
        [
            "install_changed: pin of health/auth in site-7 changes from none to 1.x.x",
            "unknown_product: health/mail is to be installed in site-7, and is no project that you may read",
            "install_changed: the variable WARD of health/clinic in site-7 changes from `north` to `south`",
            "plan health/clinic drifted: the variable WARD is `north`, and should be `south`; it is put right",
        ]
    );
    let bad = world
        .told(&ana(), &file("environment: site-7\ntier: moon\n"))
        .await;
    assert!(
        bad[0].starts_with("refused: environments/site-7.yaml:2:7: tier cannot be `moon`"),
        "{bad:?}"
    );
    let nothing = world
        .delivery
        .dry_run(&ana(), &env::NewDryRun::default())
        .await
        .unwrap_err();
    assert_eq!(nothing.code, "nothing_given");
    // All files that there are: what they leave out is gone.
    let none = env::NewDryRun {
        complete: true,
        ..env::NewDryRun::default()
    };
    let gone = world.told(&ana(), &none).await;
    assert_eq!(gone[0], "environment_removed: site-7 is no longer declared");
}

#[tokio::test]
async fn a_dry_run_names_only_what_the_caller_may_read() {
    let mut world = two_products().await;
    let home = world.know(plans::HOME);
    world.declare("c1", &[("site-7", SITE)]).await;
    let auth = world.know("health/auth");
    *world.fakes.visible.lock().unwrap() = Some(vec![auth]);
    let refused = world.delivery.dry_run(&ben(), &file(SITE)).await.unwrap_err();
    assert_eq!(refused.code, "no_environments_project");
    *world.fakes.visible.lock().unwrap() = Some(vec![auth, home]);
    let south = SITE
        .replace("north", "south")
        .replace("channel: dev", "channel: beta");
    assert_eq!(
        world.told(&ben(), &file(&south)).await,
        [
            "environment_changed: channel of site-7 changes from dev to beta",
            "unknown_name: channel `beta` is not one of health/auth's: dev, stable. Follow one of these in \
             environments/site-7.yaml, or let health/auth's bascule.yaml name `beta`.",
            "plan health/auth up_to_date: 2.0.0 is the newest that may be here; channel `beta` is not one of \
             health/auth's: dev, stable",
            "1 hidden"
        ]
    );
}

#[tokio::test]
async fn a_product_that_does_not_exist_is_said_and_installed_once_it_does() {
    let mut world = two_products().await;
    let with = format!("{SITE}  - product: health/mail\n");
    world.declare("c1", &[("site-7", &with)]).await;
    assert_eq!(
        world.kinds("site.incomplete").await,
        ["site-7 declares what does not exist, and is installed once it does: health/mail"]
    );
    let plan = world.plan("site-7").await;
    assert_eq!(
        plan[0],
        "health/mail:  → , unknown_product: there is no project health/mail; it is installed once there is, \
         without another push"
    );
    // Who may not read the file does not hear of it.
    let auth = world.know("health/auth");
    *world.fakes.visible.lock().unwrap() = Some(vec![auth]);
    assert_eq!(
        world.delivery.plans(&ben(), Some("site-7")).await.unwrap().len(),
        1
    );

    world.create("health/mail").await;
    assert_eq!(
        world.kinds("site.incomplete").await[1],
        "every product that site-7 declares exists now"
    );
    world.publish_of("health/mail", "0.3.0", "").await;
    world.turns(4).await;
    let plan = world.plan("site-7").await;
    assert!(
        plan.iter()
            .any(|line| line.starts_with("health/mail: 0.3.0 → 0.3.0, up_to_date")),
        "{plan:?}"
    );
    // The same commit again says nothing new.
    world.declare("c1", &[("site-7", &with)]).await;
    assert_eq!(world.kinds("site.incomplete").await.len(), 2);
}

const CLINIC: &str = "  - product: health/clinic\n    variables: {WARD: north}\n";

#[tokio::test]
async fn what_is_no_longer_declared_is_taken_away_within_the_limit_or_on_a_persons_word() {
    let mut world = two_products().await;
    let prune = format!("{SITE}prune: true\n");
    world.declare("c1", &[("site-7", &prune)]).await;
    let serving = |wanted: Vec<crate::deployment::instances::Wanted>| {
        wanted
            .into_iter()
            .filter(|w| w.environment == "site-7" && w.desired == "run")
            .map(|w| w.project_path)
            .collect::<Vec<_>>()
    };
    assert_eq!(serving(world.wanted().await).len(), 2);
    let view = world.delivery.prune_view(&ana(), "site-7").await.unwrap();
    assert_eq!(view.state, "none");
    assert_eq!(
        world
            .delivery
            .confirm_prune(&ana(), "site-7")
            .await
            .unwrap_err()
            .code,
        "nothing_to_prune"
    );

    // One of two is more than 30 %: refused, and said once.
    world
        .declare("c2", &[("site-7", &prune.replace(CLINIC, ""))])
        .await;
    world.turns(3).await;
    assert_eq!(serving(world.wanted().await).len(), 2);
    let refused = world.kinds("prune.refused").await;
    assert_eq!(
        refused,
        [
            "takes nothing out of site-7: 1 of 2 installs (50 %) are no longer declared, and at most 30 % are taken \
          away at once; a person has to confirm it"
        ]
    );
    let view = world.delivery.prune_view(&ana(), "site-7").await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.installs[0].product.as_str()),
        ("refused", "health/clinic")
    );
    world.delivery.confirm_prune(&ana(), "site-7").await.unwrap();
    world.turns(4).await;
    world.clock.advance(Duration::from_secs(10));
    world.turns(4).await;
    assert_eq!(serving(world.wanted().await), ["health/auth"]);
    assert_eq!(
        world.kinds("environment.pruned").await,
        ["takes 1.0.0 out of site-7: it is no longer declared"]
    );
    assert_eq!(world.plan("site-7").await.len(), 1, "it is in no plan any more");
    let config = world.edge_config().await;
    assert_eq!(config.routes.iter().filter(|r| !r.backends.is_empty()).count(), 3);

    // Declared again, it comes back.
    world.declare("c3", &[("site-7", &prune)]).await;
    world.turns(4).await;
    let mut all = serving(world.wanted().await);
    all.sort();
    assert_eq!(all, ["health/auth", "health/clinic"]);
}

#[tokio::test]
async fn nothing_is_taken_away_that_others_need_or_outside_a_window() {
    let mut world = two_products().await;
    world.publish_of("health/auth", "2.1.0", "").await;
    let needs = "dependencies: [{product: health/auth, minimum: 2.1.0}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    let prune = format!("{SITE}prune: true\nprune_limit: 60\n");
    world.declare("c1", &[("site-7", &prune)]).await;
    world
        .declare(
            "c2",
            &[("site-7", &prune.replace("  - product: health/auth\n", ""))],
        )
        .await;
    world.turns(4).await;
    assert!(world.kinds("environment.pruned").await.is_empty());
    let view = world.delivery.prune_view(&ana(), "site-7").await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.installs[0].held.as_str()),
        ("due", "waits: health/clinic 1.1.0 needs it")
    );
    // The other way round it goes, but only while a window is open. The clock stands at a Monday, 13:46 UTC.
    let window = "windows: [{cron: \"0 22 * * SAT\", timezone: UTC, duration: 4h}]\n";
    world
        .declare(
            "c3",
            &[("site-7", &format!("{}{window}", prune.replace(CLINIC, "")))],
        )
        .await;
    let view = world.delivery.prune_view(&ana(), "site-7").await.unwrap();
    assert_eq!(
        (view.state.as_str(), view.reason.as_str()),
        ("held", "waits for the window Saturday 17 January 22:00 (UTC)")
    );
    world.clock.advance(Duration::from_secs(5 * 86_400 + 9 * 3_600));
    world.turns(4).await;
    assert_eq!(world.kinds("environment.pruned").await.len(), 1);
}

#[tokio::test]
async fn without_prune_and_where_never_declared_nothing_is_taken_away() {
    let mut world = two_products().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    world
        .declare("c2", &[("site-7", &SITE.replace(CLINIC, ""))])
        .await;
    let view = world.delivery.prune_view(&ana(), "site-7").await.unwrap();
    assert_eq!(view.state, "left");
    // A file for `staging` must not take away what every project has there without being declared.
    let staging = "environment: staging\ntier: staging\nchannel: dev\nprune: true\nprune_limit: 100\n";
    world.declare("c3", &[("staging", staging)]).await;
    world.turns(6).await;
    assert!(world.kinds("environment.pruned").await.is_empty());
}

#[tokio::test]
async fn a_later_wave_moves_only_after_the_earlier_ones_are_up_to_date_and_healthy() {
    let mut world = two_products().await;
    world.publish_of("health/mail", "3.0.0", "").await;
    let waves = "environment: site-7\ntier: staging\nchannel: dev\ninstall:
  - {product: health/clinic, wave: 2}\n  - {product: health/auth, wave: 1}\n  - product: health/mail\n";
    world.declare("c1", &[("site-7", waves)]).await;
    world.turns(8).await;
    assert_eq!(
        world.order().await,
        ["health/mail 3.0.0", "health/auth 2.0.0", "health/clinic 1.0.0"]
    );
    // One that is not healthy holds those after it.
    world.fates.insert(
        "3.0.0".into(),
        Fate {
            state: InstanceState::Unhealthy,
            smoke: true,
            restarts: 0,
        },
    );
    world.turns(2).await;
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(3).await;
    assert_eq!(
        world.why("site-7", "clinic", "1.1.0").await,
        "health/clinic stays at 1.0.0: 1.1.0 waits for the waves before 2: health/mail is not healthy"
    );
    world.fates.clear();
    world.turns(4).await;
    assert!(world.order().await.contains(&"health/clinic 1.1.0".to_owned()));
}

#[tokio::test]
async fn a_later_wave_that_an_earlier_one_needs_goes_first() {
    let mut world = two_products().await;
    let waves = "environment: site-7\ntier: staging\nchannel: dev\ninstall:
  - {product: health/clinic, wave: 0}\n  - {product: health/auth, wave: 1}\n";
    world.declare("c1", &[("site-7", waves)]).await;
    let needs = "dependencies: [{product: health/auth, minimum: 2.1.0}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    world.publish_of("health/auth", "2.1.0", "").await;
    world.turns(6).await;
    assert_eq!(
        world.order().await,
        [
            "health/clinic 1.0.0",
            "health/auth 2.0.0",
            "health/auth 2.1.0",
            "health/clinic 1.1.0"
        ]
    );
}

#[tokio::test]
async fn a_dry_run_says_when_too_much_would_be_taken_away() {
    let mut world = two_products().await;
    let prune = format!("{SITE}prune: true\n");
    world.declare("c1", &[("site-7", &prune)]).await;
    let told = world.told(&ana(), &file(&prune.replace(CLINIC, ""))).await;
    assert_eq!(
        told,
        [
            "install_removed: health/clinic is no longer declared in site-7; it is drained and taken away, within \
             the limit of what may go at once",
            "prune_refused: nothing would be taken out of site-7: 1 of 2 installs (50 %) are no longer declared, and \
             at most 30 % are taken away at once; a person has to confirm it",
        ]
    );
}

#[tokio::test]
async fn a_release_strands_nobody_where_it_does_not_run_and_strangers_ranges_do_not_count() {
    let mut world = two_products().await;
    let needs = "dependencies: [{product: health/auth, minimum: 2.0.0, maximum: 2.0.x}]\n";
    world.publish_of("health/clinic", "1.1.0", needs).await;
    let auth = world.know("health/auth");
    let new = dto::NewPublishCheck {
        version: "3.0.0".into(),
        file: "product: auth\nartifact: a\ncommand: ./a\n".into(),
    };
    let check = |world: &World| {
        let delivery = world.delivery.clone();
        let new = new.clone();
        async move {
            delivery
                .publish_check(&ana(), auth, "health/auth", &new)
                .await
                .unwrap()
                .stranded
        }
    };
    assert_eq!(
        check(&world).await,
        Vec::<String>::new(),
        "in staging nobody declared the two"
    );
    world.declare("c1", &[("site-7", SITE)]).await;
    let stranded = check(&world).await;
    assert_eq!(stranded.len(), 1, "{stranded:?}");
    assert!(
        stranded[0].starts_with("publishing 3.0.0 strands site-7:"),
        "{stranded:?}"
    );
}

#[tokio::test]
async fn all_of_it_is_the_same_on_postgresql() {
    let server = bascule_testkit::Postgres::start();
    let options = DbOptions::Postgres(server.url().to_owned());
    let world = World::over(tempfile::tempdir().unwrap(), &options).await;
    let mut world = two_products_in(world).await;
    let text = SITE.replace("{WARD: north}", "{WARD: north, DB: \"secret:DB\"}");
    let text = format!("{text}  - {{product: health/mail, wave: 1}}\nprune: true\nprune_limit: 60\n");
    world.declare("c1", &[("site-7", &text)]).await;
    world
        .delivery
        .set_secret(&ana(), "*", "DB", "quiet")
        .await
        .unwrap();
    world.create("health/mail").await;
    world.publish_of("health/mail", "1.0.0", "").await;
    world.turns(6).await;
    assert_eq!(
        world.order().await,
        ["health/auth 2.0.0", "health/clinic 1.0.0", "health/mail 1.0.0"]
    );
    let ramp = "channels: [{name: dev, ramp: 7d}]\nrecall: {rolled_back: 2}\n";
    world.publish_of("health/auth", "2.1.0", ramp).await;
    let why = world.why("site-7", "auth", "2.1.0").await;
    assert!(
        why.ends_with("waits for its turn in the ramp of the channel dev"),
        "{why}"
    );
    let parity = world
        .delivery
        .parity(&ana(), Some("health/clinic"), "")
        .await
        .unwrap();
    assert!(
        parity.items[0]
            .lines
            .iter()
            .any(|line| line.cells.contains(&"secret".to_owned()))
    );
    let lock = "product: x\nartifact: a\ncommand: ./a\ndependencies: [{product: health/auth}]\n";
    let lock = world.delivery.product_lock(&ana(), lock).await.unwrap();
    assert_eq!(lock.dependencies[0].newest, "2.1.0");
    let only_auth = "environment: site-7\ntier: staging\nchannel: dev\nprune: true\nprune_limit: 70\ninstall:
  - product: health/auth\n";
    assert!(world.told(&ana(), &file(only_auth)).await.len() >= 2);
    world.declare("c2", &[("site-7", only_auth)]).await;
    world.turns(4).await;
    assert_eq!(world.kinds("environment.pruned").await.len(), 2);
    assert_eq!(
        world.delivery.prune_view(&ana(), "site-7").await.unwrap().state,
        "none"
    );
}

#[tokio::test]
async fn hooks_run_in_the_release_that_comes_before_it_starts_and_after_it_serves() {
    use bascule_wire::task::{TaskReport, TaskState};
    let mut world = two_products().await;
    let hooks = SITE.replace(
        "    variables: {WARD: north}\n",
        "    variables: {WARD: north}\n    hooks: {before: [./manage check, ./manage migrate], after: [./manage warm]}\n",
    );
    world.declare("c1", &[("site-7", &hooks)]).await;
    let clinic = |state: &bascule_wire::agent::DesiredState| {
        let here = state
            .instances
            .iter()
            .filter(|i| i.environment_name == "site-7" && i.project == "health/clinic");
        here.map(|i| i.version.clone()).collect::<Vec<_>>()
    };
    let state = world.desired().await;
    assert!(
        clinic(&state).is_empty(),
        "nothing is started before the hook ended"
    );
    let [before] = state.tasks.as_slice() else {
        panic!("{:?}", state.tasks)
    };
    assert_eq!(
        before.command,
        ["/bin/sh", "-ec", "./manage check\n./manage migrate"]
    );
    assert_eq!(before.variables.get("WARD").map(String::as_str), Some("north"));
    let ends = async |world: &mut World, task, exit_code| {
        let agent = world.delivery.agent_of(&world.agent).await.unwrap();
        let report = TaskReport {
            task,
            state: TaskState::Ended,
            exit_code: Some(exit_code),
            message: String::new(),
        };
        world.delivery.take_task_reports(&agent, &[report]).await.unwrap();
        world.turns(4).await;
    };
    ends(&mut world, before.task, 0).await;
    let state = world.desired().await;
    assert_eq!(clinic(&state), ["1.0.0"]);
    assert_eq!(state.tasks[0].command, ["/bin/sh", "-ec", "./manage warm"]);
    ends(&mut world, state.tasks[0].task, 1).await;
    assert!(
        world.plan("site-7").await[1].starts_with("health/clinic: 1.0.0"),
        "what runs after decides nothing"
    );

    // A hook that fails keeps the release out, and is not tried again.
    world.publish_of("health/clinic", "1.1.0", "").await;
    world.turns(3).await;
    let state = world.desired().await;
    assert_eq!((state.tasks.len(), state.tasks[0].version.as_str()), (1, "1.1.0"));
    ends(&mut world, state.tasks[0].task, 3).await;
    let state = world.desired().await;
    assert_eq!((clinic(&state), state.tasks.len()), (vec!["1.0.0".to_owned()], 0));
    let why = world.why("site-7", "clinic", "1.1.0").await;
    assert!(
        why.contains("the hook before it failed: it ended with exit code 3"),
        "{why}"
    );
}
