//! The planner on a made-up catalogue: a full replan, planning anew after one release, and memory.

use crate::{
    Result, machine,
    report::{Goal, goals},
    tell,
};
use bascule_planner::{
    Release, plan,
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
/// Installs of an environment as they are met in life.
const USUAL: usize = 50;

pub fn measure() -> Result<String> {
    let before = resident_mib();
    let (mut catalogue, environment) = sample(1, SHAPE);
    let held = resident_mib() - before;
    tell("catalogue made");
    let full = median(|| drop(plan(&catalogue, &environment)));
    let mut torn = environment.clone();
    torn.installs.truncate(USUAL);
    let inconsistent = median(|| drop(plan(&catalogue, &torn)));
    let (few, usual) = sample(
        2,
        Shape {
            products: USUAL,
            dependencies: USUAL * 5,
            ..SHAPE
        },
    );
    let one = median(|| drop(plan(&few, &usual)));
    let mut level = SHAPE.versions;
    let publish = median(|| {
        level += 1;
        let product = catalogue.product(&key(0));
        catalogue.publish(product, Release::plain(version(level)));
    });
    let Shape {
        products,
        versions,
        dependencies,
        ..
    } = SHAPE;
    let mut text = format!(
        "## Planner\n\n`bench planner`: {products} products of {versions} releases, {dependencies} dependencies between two \
         products, each with a range in every release (ranges rise), all installed in one environment in their oldest \
         release; one thread, medians of {ROUNDS}. That a target is the newest there is, and that every step in every \
         order keeps the environment consistent, is tested against exhaustive search: \
         `BASCULE_INSTANCES=100000 cargo nextest run -p bascule-planner many_instances`.\n\n\
         | | |\n|---|---|\n| full replan, {products} installs | {} |\n| one environment of {USUAL} installs, {} dependencies | {} |\n| the same size, but most of what is needed is not there: the bounded search gives up | {} |\n\
         | one release published into the catalogue | {} |\n| memory of catalogue and environment | {held:.0} MiB |\n\n",
        ms(full),
        USUAL * 5,
        ms(one),
        ms(inconsistent),
        ms(publish)
    );
    text.push_str(&goals(&[
        Goal {
            goal: "planner: full replan of 5,000 products under 50 ms".to_owned(),
            measured: ms(full),
            met: full < Duration::from_millis(50),
        },
        Goal {
            goal: "planner: after one event under 5 ms, in an environment of 50 installs".to_owned(),
            measured: ms(publish + one),
            met: publish + one < Duration::from_millis(5),
        },
    ]));
    Ok(text)
}

fn median(mut what: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            what();
            began.elapsed()
        })
        .collect();
    times.sort();
    times.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1_000.0)
}

fn resident_mib() -> f64 {
    let text = machine::field("/proc/self/status", "VmRSS");
    let kib: f64 = text
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0.0);
    kib / 1024.0
}
