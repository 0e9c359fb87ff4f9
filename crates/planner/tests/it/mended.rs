//! What a search of everything found wrong once, as somebody would meet it.

use super::*;
use bascule_planner::{
    Affected, Event, State,
    constraint::{Approval, Pin},
    plan,
    sample::{Shape, key, sample},
    search::WORK,
};

fn approval(given: &[&str]) -> Approval {
    Approval {
        by: "security".into(),
        given: given.iter().map(|version| v(version)).collect(),
        nobody: false,
    }
}

fn optional(version: &str, product: &str, minimum: &str) -> Release {
    let mut release = release(version, &[(product, minimum, "")]);
    release.dependencies[0].optional = true;
    release
}

#[test]
fn the_newest_that_is_approved_is_taken_while_a_newer_one_waits() {
    let world = World::new()
        .publish(
            "foo",
            &[
                release("1.0.0", &[]),
                release("1.1.0", &[]),
                release("1.2.0", &[]),
                release("1.3.0", &[]),
            ],
        )
        .install("foo", "1.0.0")
        .hold("foo", approval(&["1.1.0", "1.2.0"]));
    assert_eq!(world.lines(), ["foo 1.0.0 → 1.2.0 of 1.3.0: Ready"]);
    assert!(
        world
            .why("foo", "1.3.0")
            .contains("waits for approval by security")
    );
    let mut world = world;
    world.at("foo").current = Some(v("1.2.0"));
    assert_eq!(
        world.lines(),
        ["foo 1.2.0 → 1.3.0 of 1.3.0: Held"],
        "and the newest is shown, so that somebody approves it"
    );
}

#[test]
fn a_dependency_that_nobody_approved_holds_back_nothing_that_can_do_without() {
    let world = World::new()
        .publish("bar", &[release("1.0.0", &[]), release("2.0.0", &[])])
        .publish(
            "foo",
            &[
                release("1.0.0", &[("bar", "1.0.0", "")]),
                release("1.1.0", &[("bar", "1.0.0", "")]),
                release("2.0.0", &[("bar", "2.0.0", "")]),
            ],
        )
        .install("bar", "1.0.0")
        .install("foo", "1.0.0")
        .hold("bar", approval(&[]));
    assert_eq!(
        world.lines(),
        [
            "bar 1.0.0 → 2.0.0 of 2.0.0: Held",
            "foo 1.0.0 → 1.1.0 of 2.0.0: Ready"
        ]
    );
}

#[test]
fn a_first_install_that_cannot_be_bounds_nobody() {
    // a takes bar 1.x only, but needs a product that has no release that fits: bar goes on.
    let world = World::new()
        .publish("bar", &[release("1.0.0", &[]), release("2.0.0", &[])])
        .publish("c", &[release("1.0.0", &[])])
        .publish(
            "a",
            &[release("1.0.0", &[("bar", "1.0.0", "1.x.x"), ("c", "5.0.0", "")])],
        )
        .install("a", "")
        .install("bar", "1.0.0")
        .install("c", "1.0.0");
    let lines = world.lines();
    assert_eq!(lines[1], "bar 1.0.0 → 2.0.0 of 2.0.0: Ready");
    assert_eq!(lines[0], "a - → - of 1.0.0: Blocked");
    assert_eq!(
        world.why("a", "1.0.0"),
        "a is not there yet: 1.0.0 needs c ≥ 5.0.0, and the newest that was released is 1.0.0"
    );
}

#[test]
fn a_first_install_that_can_be_comes_before_a_newer_version_of_another() {
    let world = World::new()
        .publish("bar", &[release("1.0.0", &[]), release("2.0.0", &[])])
        .publish("a", &[release("1.0.0", &[("bar", "1.0.0", "1.x.x")])])
        .install("a", "")
        .install("bar", "1.0.0");
    assert_eq!(
        world.lines(),
        ["a - → 1.0.0 of 1.0.0: Ready", "bar 1.0.0 → - of 1.0.0: UpToDate"]
    );
}

#[test]
fn an_optional_need_of_what_is_not_there_yet_is_met_before_or_after() {
    // a 2.0.0 takes bar from 2.0.0 on or not at all; bar can only be at 1.0.0 here.
    let world = World::new()
        .publish("bar", &[release("1.0.0", &[]), release("2.0.0", &[])])
        .publish("a", &[release("1.0.0", &[]), optional("2.0.0", "bar", "2.0.0")])
        .install("a", "1.0.0")
        .install("bar", "");
    assert_eq!(
        world.lines(),
        ["a 1.0.0 → 2.0.0 of 2.0.0: Ready", "bar - → 2.0.0 of 2.0.0: Ready"]
    );
    let pinned = world.hold(
        "bar",
        Pin {
            versions: "1.x.x".parse().unwrap(),
            reason: String::new(),
        },
    );
    assert_eq!(
        pinned.lines(),
        ["a 1.0.0 → - of 1.0.0: UpToDate", "bar - → 1.0.0 of 1.0.0: Ready"],
        "what is declared is there before others get newer"
    );
}

#[test]
fn a_schema_whose_next_version_does_not_fit_alone_is_offered_as_a_group() {
    let mut world = World::new()
        .publish(
            "db",
            &[
                release("1.0.0", &[]),
                release("2.0.0-rc.1", &[]),
                release("2.0.0", &[]),
                release("3.0.0", &[]),
            ],
        )
        .publish(
            "foo",
            &[
                release("1.0.0", &[("db", "1.0.0", "1.x.x")]),
                release("2.0.0", &[("db", "2.0.0", "2.x.x")]),
                release("3.0.0", &[("db", "2.0.0", "3.x.x")]),
            ],
        )
        .install("db", "1.0.0")
        .install("foo", "1.0.0");
    let db = world.catalogue.find("db").unwrap();
    world.catalogue.one_by_one(db, true);
    assert_eq!(
        world.lines(),
        [
            "db 1.0.0 → - of 3.0.0: Coupled",
            "foo 1.0.0 → - of 3.0.0: Coupled"
        ]
    );
    let found = plan(&world.catalogue, &world.environment);
    let members: Vec<String> = found.coupled[0]
        .members
        .iter()
        .map(|(product, _, to)| format!("{} {to}", world.catalogue.key(*product)))
        .collect();
    assert_eq!(
        members,
        ["db 2.0.0", "foo 2.0.0"],
        "no version of the schema is skipped"
    );
    world.at("db").current = Some(v("2.0.0"));
    world.at("foo").current = Some(v("2.0.0"));
    assert_eq!(world.lines()[1], "foo 2.0.0 → 3.0.0 of 3.0.0: Ready");
}

#[test]
fn a_schema_passes_over_pre_releases_that_are_not_taken_here() {
    let mut world = World::new()
        .publish(
            "db",
            &[
                release("1.0.0", &[]),
                release("2.0.0-rc.1", &[]),
                release("2.0.0", &[]),
                release("3.0.0", &[]),
            ],
        )
        .install("db", "1.0.0");
    let db = world.catalogue.find("db").unwrap();
    world.catalogue.one_by_one(db, true);
    assert_eq!(world.lines(), ["db 1.0.0 → 2.0.0 of 3.0.0: Ready"]);
    assert_eq!(
        world.why("db", "3.0.0"),
        "db stays at 1.0.0: 3.0.0 comes after 2.0.0: its versions are taken one after the other; 2.0.0 can be put \
         there now"
    );
    world.at("db").prereleases = true;
    assert_eq!(world.lines(), ["db 1.0.0 → 2.0.0-rc.1 of 3.0.0: Ready"]);
}

#[test]
fn a_group_goes_past_a_version_whose_need_cannot_be_met() {
    // a 2.0.0 needs a b that is pinned away; a 3.0.0 and b 2.0.0 can switch together.
    let world = World::new()
        .publish(
            "b",
            &[
                release("1.0.0", &[]),
                release("2.0.0", &[]),
                release("3.0.0", &[]),
            ],
        )
        .publish(
            "a",
            &[
                release("1.0.0", &[("b", "1.0.0", "1.x.x")]),
                release("2.0.0", &[("b", "3.0.0", "3.x.x")]),
                release("3.0.0", &[("b", "2.0.0", "2.x.x")]),
            ],
        )
        .install("a", "1.0.0")
        .install("b", "1.0.0")
        .hold(
            "b",
            Pin {
                versions: "2.x.x".parse().unwrap(),
                reason: String::new(),
            },
        );
    let found = plan(&world.catalogue, &world.environment);
    assert_eq!(found.coupled.len(), 1, "{:?}", world.lines());
    let members: Vec<String> = found.coupled[0]
        .members
        .iter()
        .map(|(product, _, to)| format!("{} {to}", world.catalogue.key(*product)))
        .collect();
    assert_eq!(members, ["a 3.0.0", "b 2.0.0"]);
}

#[test]
fn what_is_not_there_says_what_it_waits_for() {
    let world = World::new()
        .publish("foo", &[release("1.0.0", &[("bar", "1.0.0", "")])])
        .publish("bar", &[release("1.0.0", &[])])
        .install("foo", "");
    let found = plan(&world.catalogue, &world.environment);
    let foo = &found.installs[0];
    assert_eq!(
        (foo.state, foo.target.clone()),
        (State::Blocked, Some(v("1.0.0")))
    );
    let told: Vec<&str> = foo
        .verdicts
        .iter()
        .filter(|verdict| verdict.kind == "missing")
        .map(|verdict| verdict.why.as_str())
        .collect();
    assert_eq!(told, ["needs bar, which does not belong in site-7"]);
    assert_eq!(
        world.why("foo", "1.0.0"),
        "foo is not there yet: 1.0.0 needs bar, which does not belong in site-7"
    );
    // Declared, but without a release, and with one that is held.
    let empty = World::new()
        .publish("foo", &[release("1.0.0", &[("bar", "", "")])])
        .install("bar", "")
        .install("foo", "");
    assert_eq!(
        empty.why("foo", "1.0.0"),
        "foo is not there yet: 1.0.0 needs bar, of which there is no release yet"
    );
    let held = empty
        .publish("bar", &[release("1.0.0", &[])])
        .hold("bar", approval(&[]));
    assert_eq!(
        held.lines(),
        ["bar - → 1.0.0 of 1.0.0: Held", "foo - → - of 1.0.0: Blocked"]
    );
    assert_eq!(
        held.why("foo", "1.0.0"),
        "foo is not there yet: 1.0.0 needs bar, which is not there yet; bar 1.0.0 waits for approval by security"
    );
}

#[test]
fn what_another_waits_for_is_the_version_that_is_planned_or_that_can_come_now() {
    let world = || {
        World::new()
            .publish("bar", &[release("1.0.0", &[]), release("1.1.0", &[])])
            .publish("foo", &[release("1.0.0", &[("bar", "1.0.0", "")])])
            .install("bar", "")
            .install("foo", "")
    };
    let needs = "foo is not there yet: 1.0.0 needs bar ≥ 1.0.0";
    assert_eq!(
        world().hold("bar", approval(&[])).why("foo", "1.0.0"),
        format!("{needs}; bar 1.1.0 waits for approval by security")
    );
    assert_eq!(
        world().hold("bar", approval(&["1.0.0"])).why("foo", "1.0.0"),
        format!("{needs}; bar 1.0.0 can be put there now")
    );
}

#[test]
fn minima_that_fall_are_planned_without_a_search() {
    // The newest asks for less: no warning, and the target is the newest.
    let world = World::new()
        .publish("b", &[release("1.0.0", &[]), release("2.0.0", &[])])
        .publish(
            "a",
            &[
                release("1.0.0", &[("b", "1.0.0", "")]),
                release("2.0.0", &[("b", "2.0.0", "")]),
                release("3.0.0", &[]),
            ],
        )
        .install("a", "1.0.0")
        .install("b", "1.0.0");
    assert_eq!(world.lines()[0], "a 1.0.0 → 3.0.0 of 3.0.0: Ready");
    assert!(bascule_planner::strand::falling(&world.catalogue, "a", &v("3.0.0")).is_none());
}

#[test]
fn a_search_that_meets_its_bound_says_so_and_plans_the_same_twice() {
    let shape = Shape {
        products: 60,
        versions: 40,
        dependencies: 400,
        monotone: false,
    };
    let (catalogue, environment) = sample(3, shape);
    let found = plan(&catalogue, &environment);
    assert_eq!(found, plan(&catalogue, &environment));
    assert!(!found.newest);
    let bound = found.bound.unwrap();
    assert!(
        bound.contains(&format!(
            "was ended after {WORK} comparisons; what is planned is safe"
        )),
        "{bound}"
    );
    assert!(bound.contains(" more "), "not sixty names: {bound}");
    let told = found.installs.iter().any(|planned| {
        let verdict = planned.verdicts.iter().find(|verdict| verdict.kind == "search");
        verdict.is_some_and(|verdict| verdict.allows() && verdict.why.contains("a newer target may exist"))
    });
    assert!(told);
}

#[test]
fn only_the_environments_that_an_event_bears_on_are_planned_anew() {
    let (catalogue, environment) = sample(
        1,
        Shape {
            products: 6,
            versions: 3,
            dependencies: 0,
            monotone: true,
        },
    );
    let mut affected = Affected::new();
    let some = |from: usize, to: usize| {
        let mut part = environment.clone();
        part.installs = part.installs[from..to].to_vec();
        part
    };
    let parts = [some(0, 3), some(2, 5), some(5, 6)];
    for (number, part) in parts.iter().enumerate() {
        affected.put(number, part);
    }
    let now = environment.now;
    assert_eq!(affected.at(now), [0, 1, 2], "each once");
    for (number, part) in parts.iter().enumerate() {
        affected.planned(number, &plan(&catalogue, part));
    }
    assert!(affected.at(now).is_empty());
    affected.note(Event::Product(catalogue.find(&key(2)).unwrap()));
    assert_eq!(affected.at(now), [0, 1]);
    affected.planned(0, &plan(&catalogue, &parts[0]));
    affected.note(Event::Environment(2));
    affected.note(Event::Environment(7));
    assert_eq!(affected.at(now), [1, 2]);
    affected.forget(1);
    affected.planned(2, &plan(&catalogue, &parts[2]));
    assert!(affected.at(now).is_empty());
    affected.note(Event::Everything);
    assert_eq!(affected.at(now), [0, 2]);
}

#[test]
fn an_environment_is_planned_anew_when_time_lifts_a_hold() {
    let until: Timestamp = "2026-11-25T13:00:00Z".parse().unwrap();
    let world = World::new()
        .publish("foo", &[release("1.0.0", &[]), release("1.1.0", &[])])
        .install("foo", "1.0.0")
        .hold(
            "foo",
            bascule_planner::constraint::Suppression {
                reason: "incident 12".into(),
                until: Some(until),
            },
        );
    let mut affected = Affected::new();
    affected.put(4, &world.environment);
    affected.planned(4, &plan(&world.catalogue, &world.environment));
    assert_eq!(
        (affected.due(), affected.at(world.environment.now)),
        (Some(until), vec![])
    );
    assert_eq!(affected.at(until), [4]);
    affected.forget(4);
    assert_eq!(affected.due(), None);
}

#[test]
fn publishing_one_by_one_and_all_at_once_is_the_same() {
    for seed in 0..20 {
        let shape = Shape {
            products: 5,
            versions: 6,
            dependencies: 12,
            monotone: seed % 2 == 0,
        };
        let (at_once, environment) = sample(seed, shape);
        let mut slowly = Catalogue::new();
        for product in 0..shape.products {
            slowly.product(&key(product));
        }
        let mut releases: Vec<(usize, Release)> = Vec::new();
        for product in 0..shape.products {
            for (level, known) in (1..).zip(at_once.releases(at_once.find(&key(product)).unwrap())) {
                let mut release = Release::plain(known.version.clone());
                release.dependencies = at_once.dependencies(at_once.find(&key(product)).unwrap(), level);
                releases.push((product, release));
            }
        }
        // In an order of its own.
        releases.sort_by_key(|(product, release)| {
            (release.version.to_string().len() * 7
                + product * 5
                + usize::from(release.version.is_prerelease()))
                % 11
        });
        for (product, release) in releases {
            let index = slowly.product(&key(product));
            slowly.publish(index, release);
        }
        let mut other = environment.clone();
        for (install, product) in other.installs.iter_mut().zip(0..) {
            install.product = slowly.find(&key(product)).unwrap();
        }
        let told = |catalogue: &Catalogue, found: &bascule_planner::Plan| -> Vec<String> {
            found
                .installs
                .iter()
                .map(|p| {
                    format!(
                        "{} {:?} {:?} {:?}",
                        catalogue.key(p.product),
                        p.target,
                        p.step,
                        p.state
                    )
                })
                .collect()
        };
        assert_eq!(
            told(&at_once, &plan(&at_once, &environment)),
            told(&slowly, &plan(&slowly, &other)),
            "seed {seed}"
        );
    }
}
