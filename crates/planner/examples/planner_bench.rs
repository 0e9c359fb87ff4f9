//! How long plans take, and how much memory a catalogue: 5,000 products of 100 releases, 25,000 dependencies with a
//! range in each release. `tools/bench` writes the same down.

#![allow(clippy::print_stdout, reason = "a measuring program prints what it measured")]

use bascule_planner::{
    Affected, Environment, Event, Release, plan,
    sample::{Shape, key, sample, version},
};
use std::time::{Duration, Instant};

const SHAPE: Shape = Shape {
    products: 5_000,
    versions: 100,
    dependencies: 25_000,
    monotone: true,
};
const ROUNDS: usize = 21;
const USUAL: usize = 50;

fn main() {
    let before = resident_mib();
    let began = Instant::now();
    let (mut catalogue, environment) = sample(1, SHAPE);
    println!("catalogue made in {:?}", began.elapsed());
    println!("memory: {:.0} MiB", resident_mib() - before);
    tell("full replan of 5,000 installs", || {
        drop(plan(&catalogue, &environment));
    });
    // 100 environments of 50 of the products: most of what those ask for does not belong there.
    let sites: Vec<Environment> = environment
        .installs
        .chunks(USUAL)
        .enumerate()
        .map(|(n, part)| Environment {
            name: format!("site-{n}"),
            installs: part.to_vec(),
            now: environment.now,
        })
        .collect();
    tell("50 installs, most needs missing", || {
        drop(plan(&catalogue, &sites[0]));
    });
    let mut affected = Affected::new();
    for (number, site) in sites.iter().enumerate() {
        affected.put(number, site);
        affected.planned(number, &plan(&catalogue, site));
    }
    let mut level = SHAPE.versions;
    let mut planned = 0;
    tell(
        "one release published, and all that it bears on of 100 environments",
        || {
            level += 1;
            let product = catalogue.product(&key(0));
            catalogue.publish(product, Release::plain(version(level)));
            affected.note(Event::Product(product));
            for number in affected.at(environment.now) {
                affected.planned(number, &plan(&catalogue, &sites[number]));
                planned += 1;
            }
        },
    );
    println!("environments planned in {ROUNDS} events: {planned}");
    for (what, monotone) in [("ranges rise", true), ("ranges fall", false)] {
        let shape = Shape {
            products: USUAL,
            dependencies: USUAL * 5,
            monotone,
            ..SHAPE
        };
        let (mut few, mut usual) = sample(2, shape);
        tell(&format!("50 installs, 250 dependencies, {what}"), || {
            drop(plan(&few, &usual));
        });
        let mut level = SHAPE.versions;
        tell(&format!("  after one release, {what}"), || {
            level += 1;
            let product = few.product(&key(0));
            few.publish(product, Release::plain(version(level)));
            drop(plan(&few, &usual));
        });
        // What runs is inconsistent: every third install is far ahead.
        for (n, install) in usual.installs.iter_mut().enumerate() {
            if n % 3 == 0 {
                install.current = Some(version(60));
            }
        }
        let found = plan(&few, &usual);
        tell(
            &format!("  inconsistent, {what} (whole: {})", found.newest),
            || {
                drop(plan(&few, &usual));
            },
        );
    }
}

fn tell(what: &str, mut run: impl FnMut()) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{what}: median {:?}, longest {:?}",
        times[ROUNDS / 2],
        times[ROUNDS - 1]
    );
}

fn resident_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
