use super::*;
use bascule_planner::{
    Recall, State,
    calendar::{Calendar, WindowSpec},
    constraint::{Agent, Approval, Channel, ErrorBudget, Health, Maintenance, Pin, Suppression},
    plan,
    strand::{falling, strands},
};

fn saturday() -> Maintenance {
    let spec = WindowSpec {
        cron: "0 22 * * SAT".into(),
        timezone: "Europe/Paris".into(),
        duration_ms: 4 * 3_600_000,
    };
    Maintenance {
        calendar: Arc::new(Calendar::new(&[spec], &[]).unwrap()),
    }
}

/// foo 1.1.0 needs bar 1.1.0.
fn foo_and_bar() -> World {
    World::new()
        .publish("bar", &[release("1.0.9", &[]), release("1.1.0", &[])])
        .publish(
            "foo",
            &[release("1.0.4", &[]), release("1.1.0", &[("bar", "1.1.0", "")])],
        )
        .install("bar", "1.0.9")
        .install("foo", "1.0.4")
}

#[test]
fn a_dependency_goes_first_and_the_other_follows() {
    let mut world = foo_and_bar();
    assert_eq!(
        world.lines(),
        [
            "bar 1.0.9 → 1.1.0 of 1.1.0: Ready",
            "foo 1.0.4 → - of 1.1.0: Blocked"
        ]
    );
    assert_eq!(
        world.why("foo", "1.1.0"),
        "foo stays at 1.0.4: 1.1.0 needs bar ≥ 1.1.0; bar 1.1.0 can be put there now"
    );
    world.at("bar").moving = Some(v("1.1.0"));
    assert_eq!(
        world.lines()[1],
        "foo 1.0.4 → - of 1.1.0: Blocked",
        "not before bar is there"
    );
    assert!(
        world
            .why("foo", "1.1.0")
            .ends_with("bar 1.1.0 is being put there now")
    );
    world.at("bar").moving = None;
    world.at("bar").current = Some(v("1.1.0"));
    assert_eq!(
        world.lines(),
        [
            "bar 1.1.0 → - of 1.1.0: UpToDate",
            "foo 1.0.4 → 1.1.0 of 1.1.0: Ready"
        ]
    );
}

#[test]
fn the_chain_of_reasons_reads_as_a_sentence() {
    let world = foo_and_bar().hold("bar", saturday()).hold(
        "bar",
        Approval {
            by: "security".into(),
            given: Vec::new(),
            nobody: false,
        },
    );
    assert_eq!(
        world.why("foo", "1.1.0"),
        "foo stays at 1.0.4: 1.1.0 needs bar ≥ 1.1.0; bar 1.1.0 waits for the window Saturday 28 November 22:00 (Europe/Paris) \
         and for approval by security"
    );
    assert_eq!(
        world.lines(),
        [
            "bar 1.0.9 → 1.1.0 of 1.1.0: Held",
            "foo 1.0.4 → - of 1.1.0: Blocked"
        ]
    );
}

#[test]
fn windows_open_and_suppression_wins_over_them() {
    let mut world = foo_and_bar().hold("bar", saturday());
    assert!(world.lines()[0].ends_with("Held"));
    world.environment.now = "2026-11-28T21:30:00Z".parse().unwrap();
    assert!(world.lines()[0].ends_with("Ready"));
    let world = world.hold(
        "bar",
        Suppression {
            reason: "incident 12".into(),
            until: None,
        },
    );
    assert!(world.lines()[0].ends_with("Held"));
    assert!(
        world
            .why("bar", "1.1.0")
            .contains("changes are suppressed (incident 12)")
    );
}

#[test]
fn a_clock_that_is_off_makes_windows_refuse() {
    let mut world = foo_and_bar().hold("bar", saturday()).hold(
        "bar",
        Agent {
            name: Some("site-7".into()),
            asked: String::new(),
            online: true,
            skew_ms: 3_600_000,
            skew_limit_ms: Some(60_000),
        },
    );
    world.environment.now = "2026-11-28T21:30:00Z".parse().unwrap();
    assert!(world.lines()[0].ends_with("Held"));
    assert!(world.why("bar", "1.1.0").contains("is off by more than 60 s"));
}

#[test]
fn channels_pins_and_prereleases_bound_the_target() {
    let mut stable = release("1.2.0", &[]);
    stable.channels = vec!["stable".into()];
    let world = World::new()
        .publish(
            "foo",
            &[
                release("1.0.0", &[]),
                stable,
                release("1.3.0", &[]),
                release("2.0.0-rc.1", &[]),
            ],
        )
        .install("foo", "1.0.0");
    assert_eq!(
        world.lines(),
        ["foo 1.0.0 → 1.3.0 of 1.3.0: Ready"],
        "no pre-release by itself"
    );
    assert!(world.why("foo", "2.0.0-rc.1").contains("is a pre-release"));
    let world = world.hold("foo", Channel::new("stable"));
    assert_eq!(world.lines(), ["foo 1.0.0 → 1.2.0 of 1.2.0: Ready"]);
    assert_eq!(
        world.why("foo", "1.3.0"),
        "foo stays at 1.0.0: 1.3.0 is not in the channel stable, which is followed here"
    );
    let world = world.hold(
        "foo",
        Pin {
            versions: "1.0.x".parse().unwrap(),
            reason: "waits for the audit".into(),
        },
    );
    assert_eq!(world.lines(), ["foo 1.0.0 → - of 1.0.0: UpToDate"]);
    assert!(
        world
            .why("foo", "1.2.0")
            .contains("pin to 1.0.x: waits for the audit")
    );
}

#[test]
fn unhealthy_dependencies_and_a_spent_budget_hold_the_moment_only() {
    let world = foo_and_bar().hold(
        "bar",
        ErrorBudget {
            left: 0.05,
            least: 0.2,
        },
    );
    assert_eq!(world.lines()[0], "bar 1.0.9 → 1.1.0 of 1.1.0: Held");
    assert!(
        world
            .why("bar", "1.1.0")
            .contains("less of the error budget is left than the 20 %")
    );
    let mut world = foo_and_bar().hold(
        "foo",
        Health {
            unhealthy: vec![("bar".into(), "crashed".into())],
        },
    );
    world.at("bar").current = Some(v("1.1.0"));
    assert!(
        world
            .why("foo", "1.1.0")
            .ends_with("it depends on others, and bar is crashed")
    );
}

#[test]
fn a_recalled_version_is_left_forward_or_back_to_its_floor_or_explained() {
    let recalled = |version: &str, floor: Option<&str>| {
        let mut release = release(version, &[]);
        release.recalled = Some(Recall {
            reason: "loses data".into(),
            floor: floor.map(v),
        });
        release
    };
    let forward = World::new()
        .publish(
            "foo",
            &[
                release("1.0.0", &[]),
                recalled("1.1.0", Some("1.0.0")),
                release("1.1.1", &[]),
            ],
        )
        .install("foo", "1.1.0");
    assert_eq!(forward.lines(), ["foo 1.1.0 → 1.1.1 of 1.1.1: Ready"]);
    let back = World::new()
        .publish(
            "foo",
            &[
                release("0.9.0", &[]),
                release("1.0.0", &[]),
                recalled("1.1.0", Some("1.0.0")),
            ],
        )
        .install("foo", "1.1.0");
    assert_eq!(back.lines(), ["foo 1.1.0 → 1.0.0 of 1.0.0: Ready"]);
    let stuck = World::new()
        .publish("foo", &[release("1.0.0", &[]), recalled("1.1.0", None)])
        .install("foo", "1.1.0");
    assert_eq!(
        stuck.lines(),
        ["foo 1.1.0 → - of 1.1.0: Blocked"],
        "back only to a stated floor"
    );
    assert_eq!(
        stuck.stays("foo"),
        "1.1.0 was recalled (loses data) and still runs: nothing newer was released, and no floor was named to go back to"
    );
    let fresh = World::new()
        .publish("foo", &[release("1.0.0", &[]), recalled("1.1.0", None)])
        .install("foo", "1.0.0");
    assert_eq!(
        fresh.why("foo", "1.1.0"),
        "foo stays at 1.0.0: 1.1.0 was recalled: loses data"
    );
    // A dependent that needs the recalled version holds the way back.
    let held = back
        .publish("bar", &[release("1.0.0", &[("foo", "1.1.0", "")])])
        .install("bar", "1.0.0");
    assert!(held.lines()[0].contains("→ -"), "{:?}", held.lines());
    assert_eq!(
        held.stays("foo"),
        "1.1.0 was recalled (loses data) and still runs: bar 1.0.0 does not take 1.0.0; no newer release of bar that may be taken does"
    );
}

#[test]
fn a_schema_moves_one_by_one() {
    let mut world = World::new()
        .publish(
            "db",
            &[
                release("1.0.0", &[]),
                release("2.0.0", &[]),
                release("3.0.0", &[]),
            ],
        )
        .publish(
            "foo",
            &[
                release("1.0.0", &[("db", "1.0.0", "2.x.x")]),
                release("2.0.0", &[("db", "2.0.0", "3.x.x")]),
            ],
        )
        .install("db", "1.0.0")
        .install("foo", "1.0.0");
    let db = world.catalogue.find("db").unwrap();
    world.catalogue.one_by_one(db, true);
    let mut seen = Vec::new();
    for _ in 0..6 {
        let plan = plan(&world.catalogue, &world.environment);
        let Some(planned) = plan.installs.iter().find(|planned| planned.state == State::Ready) else {
            break;
        };
        let (key, to) = (
            world.catalogue.key(planned.product).to_owned(),
            planned.step.clone().unwrap().to,
        );
        seen.push(format!("{key} {to}"));
        world.at(&key).current = Some(to);
    }
    assert_eq!(
        seen,
        ["db 2.0.0", "foo 2.0.0", "db 3.0.0"],
        "the database is never ahead of what reads it"
    );
    let fresh = world;
    assert!(fresh.why("db", "3.0.0").ends_with("runs in site-7"));
}

#[test]
fn products_that_can_only_switch_together_are_named_and_never_moved() {
    let world = World::new()
        .publish(
            "a",
            &[
                release("1.0.0", &[("b", "1.0.0", "1.x.x")]),
                release("2.0.0", &[("b", "2.0.0", "2.x.x")]),
            ],
        )
        .publish("b", &[release("1.0.0", &[]), release("2.0.0", &[])])
        .publish(
            "c",
            &[release("1.0.0", &[]), release("2.0.0", &[("a", "2.0.0", "")])],
        )
        .install("a", "1.0.0")
        .install("b", "1.0.0")
        .install("c", "1.0.0");
    assert_eq!(
        world.lines(),
        [
            "a 1.0.0 → - of 2.0.0: Coupled",
            "b 1.0.0 → - of 2.0.0: Coupled",
            "c 1.0.0 → - of 2.0.0: Coupled"
        ]
    );
    let plan = plan(&world.catalogue, &world.environment);
    assert_eq!(plan.coupled.len(), 1, "{:?}", plan.coupled);
    assert_eq!(plan.coupled[0].members.len(), 2);
    assert_eq!(plan.coupled[0].downtime_seconds, 20);
    assert!(
        world.why("a", "2.0.0").contains("they can only switch together"),
        "{}",
        world.why("a", "2.0.0")
    );
}

#[test]
fn an_inconsistent_environment_is_mended_and_never_made_worse() {
    // foo 1.1.0 runs although bar is too old for it.
    let world = World::new()
        .publish("bar", &[release("1.0.0", &[]), release("1.1.0", &[])])
        .publish(
            "foo",
            &[
                release("1.1.0", &[("bar", "1.1.0", "")]),
                release("1.2.0", &[("bar", "1.1.0", "")]),
            ],
        )
        .install("bar", "1.0.0")
        .install("foo", "1.1.0");
    assert_eq!(world.lines()[0], "bar 1.0.0 → 1.1.0 of 1.1.0: Ready");
}

#[test]
fn ranges_that_fall_are_searched() {
    // a 2.0.0 drops its need of b 2.0.0, which b can only reach while a is at 1.0.0 or 2.0.0.
    let world = World::new()
        .publish(
            "a",
            &[
                release("1.0.0", &[]),
                release("2.0.0", &[("b", "", "1.x.x")]),
                release("3.0.0", &[]),
            ],
        )
        .publish("b", &[release("1.0.0", &[]), release("2.0.0", &[])])
        .install("a", "1.0.0")
        .install("b", "1.0.0");
    let lines = world.lines();
    assert!(lines.iter().any(|line| line.contains("Ready")), "{lines:?}");
    assert!(
        lines[0].contains("of 3.0.0") && lines[1].contains("of 2.0.0"),
        "{lines:?}"
    );
    assert!(
        falling(&world.catalogue, "a", &v("2.0.0"))
            .unwrap()
            .contains("asks for less of b")
    );
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let world = foo_and_bar();
    assert_eq!(
        world.why("foo", "9.9.9"),
        "there is no release 9.9.9 of foo; the newest are 1.1.0, 1.0.4"
    );
    assert_eq!(world.why("nobody", "1.0.0"), "there is no product nobody");
    assert_eq!(world.why("foo", "1.0.4"), "foo 1.0.4 runs in site-7");
    let lonely = World::new()
        .publish(
            "foo",
            &[release("1.0.0", &[]), release("1.1.0", &[("bar", "1.0.0", "")])],
        )
        .install("foo", "1.0.0");
    assert!(
        lonely
            .why("foo", "1.1.0")
            .contains("needs bar, which does not belong in site-7")
    );
    assert_eq!(lonely.lines(), ["foo 1.0.0 → - of 1.0.0: UpToDate"]);
}

#[test]
fn a_release_that_would_strand_an_environment_is_named_before_it_is_published() {
    let world = World::new()
        .publish("auth", &[release("1.0.0", &[]), release("2.0.0", &[])])
        .publish("billing", &[release("3.1.0", &[("auth", "1.0.0", "1.x.x")])])
        .publish("web", &[release("3.0.0", &[("auth", "1.0.0", "")])])
        .install("auth", "1.0.0")
        .install("billing", "3.1.0")
        .install("web", "3.0.0");
    let next = release("4.0.0", &[("auth", "2.0.0", "")]);
    let stranded = strands(
        &world.catalogue,
        std::slice::from_ref(&world.environment),
        "web",
        &next,
    );
    assert_eq!(stranded.len(), 1);
    assert_eq!(
        stranded[0].why,
        "publishing 4.0.0 strands site-7: web stays at 3.0.0: 4.0.0 needs auth ≥ 2.0.0; billing 3.1.0 does not take \
         auth 2.0.0; no newer release of billing that may be taken does"
    );
    let fine = release("4.0.0", &[("auth", "1.0.0", "")]);
    assert!(strands(&world.catalogue, &[world.environment], "web", &fine).is_empty());
}

#[test]
fn a_strand_and_its_reason_agree_where_others_keep_the_release_away() {
    // Nothing is there yet: clinic is planned, and takes an old auth only.
    let world = World::new()
        .publish("auth", &[release("1.0.0", &[])])
        .publish("clinic", &[release("1.0.0", &[("auth", "1.0.0", "1.x.x")])])
        .install("auth", "")
        .install("clinic", "");
    let stranded = strands(
        &world.catalogue,
        std::slice::from_ref(&world.environment),
        "auth",
        &release("3.0.0", &[]),
    );
    assert_eq!(
        stranded[0].why,
        "publishing 3.0.0 strands site-7: the plan takes auth to 1.0.0 instead: clinic 1.0.0, which is planned there, \
         needs auth ≥ 1.0.0 and ≤ 1.x.x"
    );
    let world = world.publish("auth", &[release("3.0.0", &[])]);
    assert_eq!(
        world.why("auth", "3.0.0"),
        "auth 3.0.0 could be put in site-7 now, but the plan takes auth to 1.0.0 instead: clinic 1.0.0, which is \
         planned there, needs auth ≥ 1.0.0 and ≤ 1.x.x"
    );
}

#[test]
fn a_range_is_told_as_it_is_written() {
    let world = World::new()
        .publish("auth", &[release("1.0.0", &[]), release("1.4.0", &[])])
        .publish(
            "clinic",
            &[
                release("1.0.0", &[]),
                release("1.1.0", &[("auth", "0.1.0", "0.x.x")]),
                release("1.2.0", &[("auth", "", "1.0.x")]),
                release("1.3.0", &[("auth", "2.0.0", "")]),
                release("1.4.0", &[("auth", "1.2.0", "1.x.x")]),
                release("1.5.0", &[("mail", "1.0.0", "")]),
            ],
        )
        .publish("mail", &[])
        .install("auth", "1.4.0")
        .install("mail", "")
        .install("clinic", "1.0.0");
    let told = |version: &str| world.why("clinic", version);
    assert_eq!(
        told("1.1.0"),
        "clinic stays at 1.0.0: 1.1.0 needs auth ≥ 0.1.0 and ≤ 0.x.x, and auth is at 1.4.0"
    );
    assert_eq!(
        told("1.2.0"),
        "clinic stays at 1.0.0: 1.2.0 needs auth ≤ 1.0.x, and auth is at 1.4.0"
    );
    assert_eq!(
        told("1.3.0"),
        "clinic stays at 1.0.0: 1.3.0 needs auth ≥ 2.0.0, and the newest that was released is 1.4.0"
    );
    assert_eq!(
        told("1.5.0"),
        "clinic stays at 1.0.0: 1.5.0 needs mail ≥ 1.0.0, of which there is no release yet"
    );
    let mut older = World { ..world };
    older.at("auth").current = Some(v("1.0.0"));
    assert_eq!(
        older.why("clinic", "1.4.0"),
        "clinic stays at 1.0.0: 1.4.0 needs auth ≥ 1.2.0 and ≤ 1.x.x; auth 1.4.0 can be put there now"
    );
    older.at("auth").current = None;
    assert_eq!(
        older.why("clinic", "1.1.0"),
        "clinic stays at 1.0.0: 1.1.0 needs auth ≥ 0.1.0 and ≤ 0.x.x, and nothing that was released is in that range"
    );
}

#[test]
fn what_holds_at_once_is_one_sentence_and_each_part_keeps_its_end() {
    let mut bad = release("1.1.0", &[]);
    bad.recalled = Some(Recall {
        reason: "loses tokens".into(),
        floor: None,
    });
    let pin = || Pin {
        versions: "1.0.x".parse().unwrap(),
        reason: String::new(),
    };
    let world = World::new()
        .publish("foo", &[release("1.0.0", &[]), bad, release("1.2.0", &[])])
        .install("foo", "1.0.0")
        .hold("foo", Channel::new("stable"))
        .hold("foo", pin());
    assert_eq!(
        world.why("foo", "1.1.0"),
        "foo stays at 1.0.0: 1.1.0 was recalled: loses tokens; it is also not in the channel stable, which is followed \
         here; it is also kept out by the pin to 1.0.x"
    );
    let approval = |by: &str| Approval {
        by: by.into(),
        given: Vec::new(),
        nobody: false,
    };
    let world = foo_and_bar()
        .hold("bar", approval("security"))
        .hold("bar", saturday())
        .hold("bar", approval("ward"));
    let why = bascule_planner::explain(&world.catalogue, &world.environment, "bar", &v("1.1.0"));
    assert_eq!(
        why.sentence,
        "bar stays at 1.0.9: 1.1.0 waits for approval by security and for the window Saturday 28 November 22:00 \
         (Europe/Paris) and for approval by ward"
    );
    let each: Vec<String> = why.links[0]
        .holds
        .iter()
        .map(|hold| format!("{}: {:?}", hold.kind, hold.lifts))
        .collect();
    assert_eq!(
        each,
        [
            "approval: When(\"approval by security\")",
            "maintenance_window: At(Timestamp(1795899600000000))",
            "approval: When(\"approval by ward\")"
        ]
    );
}

#[test]
fn a_recalled_version_that_runs_says_so_and_where_it_goes() {
    let recalled = |floor: Option<&str>| {
        let mut release = release("1.1.0", &[]);
        release.recalled = Some(Recall {
            reason: "loses tokens".into(),
            floor: floor.map(v),
        });
        release
    };
    let own = "auth 1.1.0 runs in site-7 and was recalled: loses tokens; ";
    let stays = World::new()
        .publish("auth", &[release("1.0.0", &[]), recalled(None)])
        .install("auth", "1.1.0");
    assert_eq!(
        stays.why("auth", "1.1.0"),
        format!("{own}it stays for now: nothing newer was released, and no floor was named to go back to")
    );
    let mut goes = stays.publish("auth", &[release("1.1.1", &[])]);
    assert_eq!(
        goes.why("auth", "1.1.0"),
        format!("{own}it goes to 1.1.1, which can be put there now")
    );
    goes.at("auth").moving = Some(v("1.1.1"));
    assert_eq!(goes.why("auth", "1.1.0"), format!("{own}it goes to 1.1.1 now"));
    goes.at("auth").moving = None;
    let goes = goes.hold("auth", saturday());
    let why = bascule_planner::explain(&goes.catalogue, &goes.environment, "auth", &v("1.1.0"));
    assert_eq!(
        why.sentence,
        format!(
            "{own}it goes to 1.1.1: 1.1.1 waits for the window Saturday 28 November 22:00 (Europe/Paris)"
        )
    );
    assert!(!why.clear);
    assert_eq!((why.links[0].kind.as_str(), why.links.len()), ("recall", 2));
    let back = World::new()
        .publish("auth", &[release("1.0.0", &[]), recalled(Some("1.0.0"))])
        .install("auth", "1.1.0");
    assert_eq!(
        back.why("auth", "1.1.0"),
        format!("{own}it goes to 1.0.0, which can be put there now")
    );
}

#[test]
fn what_is_on_its_way_says_so_and_contradicts_nothing() {
    let mut world = foo_and_bar();
    world.at("bar").moving = Some(v("1.1.0"));
    assert_eq!(world.why("bar", "1.1.0"), "bar 1.1.0 is being put in site-7 now");
    let mut world = world
        .hold("bar", bascule_planner::constraint::Carried)
        .publish("bar", &[release("1.2.0", &[])]);
    assert_eq!(
        world.why("bar", "1.1.0"),
        "bar 1.1.0 is on its way to site-7: no network reaches it, so a bundle is carried"
    );
    assert_eq!(
        world.why("bar", "1.2.0"),
        "bar goes to 1.1.0 now; 1.2.0 waits: no network reaches this environment"
    );
    world.at("bar").constraints.clear();
    assert_eq!(
        world.why("bar", "1.2.0"),
        "bar goes to 1.1.0 now; 1.2.0 can be put in site-7 after that"
    );
}
