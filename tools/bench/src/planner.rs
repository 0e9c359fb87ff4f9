//! The planner on a made-up catalogue: a full replan, planning anew after one release, and memory.

use crate::{
    Result, machine,
    report::{Goal, goals},
    tell,
};
use bascule_planner::{
    Affected, Environment, Event, Release, plan,
    sample::{Shape, key, sample, version},
    search::WORK,
};
use std::time::{Duration, Instant};

const SHAPE: Shape = Shape {
    products: 5_000,
    versions: 100,
    dependencies: 25_000,
    monotone: true,
};
pub(crate) const ROUNDS: usize = 21;
/// Installs of an environment as they are met in life.
const USUAL: usize = 50;

pub fn measure() -> Result<String> {
    let before = resident_mib();
    let (mut catalogue, environment) = sample(1, SHAPE);
    let held = resident_mib() - before;
    tell("catalogue made");
    let full = median(|| drop(plan(&catalogue, &environment)));
    // Environments of some of the products: most of what those ask for does not belong there.
    let sites: Vec<Environment> = environment
        .installs
        .chunks(USUAL)
        .map(|part| Environment {
            installs: part.to_vec(),
            ..environment.clone()
        })
        .collect();
    let mut affected = Affected::new();
    for (number, site) in sites.iter().enumerate() {
        affected.put(number, site);
        affected.planned(number, &plan(&catalogue, site));
    }
    let torn = median(|| drop(sites.first().map(|site| plan(&catalogue, site))));
    let mut level = SHAPE.versions;
    let event = median(|| {
        level += 1;
        let product = catalogue.product(&key(0));
        catalogue.publish(product, Release::plain(version(level)));
        affected.note(Event::Product(product));
        for number in affected.at(environment.now) {
            if let Some(site) = sites.get(number) {
                affected.planned(number, &plan(&catalogue, site));
            }
        }
    });
    let usual = Shape {
        products: USUAL,
        dependencies: USUAL * 5,
        ..SHAPE
    };
    let (few, rising) = sample(2, usual);
    let one = median(|| drop(plan(&few, &rising)));
    let mut wrong = rising.clone();
    for install in wrong.installs.iter_mut().step_by(3) {
        install.current = Some(version(60));
    }
    let inconsistent = median(|| drop(plan(&few, &wrong)));
    let (few, falling) = sample(
        2,
        Shape {
            monotone: false,
            ..usual
        },
    );
    let searched = median(|| drop(plan(&few, &falling)));
    let Shape {
        products,
        versions,
        dependencies,
        ..
    } = SHAPE;
    let (many, some) = (sites.len(), USUAL * 5);
    let mut text = format!(
        "## Planner\n\n`bench planner`: {products} products of {versions} releases, {dependencies} dependencies between two \
         products, each with a range in every release (ranges rise), all installed in one environment in their oldest \
         release; one thread, medians of {ROUNDS}. That a target is the newest there is, and that every step in every \
         order keeps the environment consistent, is tested against a search of everything: \
         `BASCULE_INSTANCES=100000 cargo nextest run -p bascule-planner many_instances`. A search is ended after {WORK} \
         comparisons, so its time is bounded too; the plan then says so.\n\n\
         | | |\n|---|---|\n\
         | full replan, {products} installs | {} |\n\
         | one release published, and those planned anew that it bears on, of {many} environments with {USUAL} installs each | {} |\n\
         | one of these environments, most of what is needed not there | {} |\n\
         | one environment of {USUAL} installs, {some} dependencies | {} |\n\
         | the same, every third install far ahead: what runs is inconsistent | {} |\n\
         | the same size, ranges fall: the search meets its bound | {} |\n\
         | memory of catalogue and environment | {held:.0} MiB |\n\n",
        ms(full),
        ms(event),
        ms(torn),
        ms(one),
        ms(inconsistent),
        ms(searched),
    );
    text.push_str(&goals(&[
        Goal {
            goal: "planner: full replan of 5,000 products under 50 ms".to_owned(),
            measured: ms(full),
            met: full < Duration::from_millis(50),
        },
        Goal {
            goal: "planner: after one event under 5 ms, in environments of 50 installs".to_owned(),
            measured: ms(event),
            met: event < Duration::from_millis(5),
        },
        Goal {
            goal: "planner: memory at most 150 MiB".to_owned(),
            measured: format!("{held:.0} MiB"),
            met: held <= 150.0,
        },
    ]));
    Ok(text)
}

/// The middle of [`ROUNDS`] times.
pub(crate) fn median(mut what: impl FnMut()) -> Duration {
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

/// For people.
pub(crate) fn ms(time: Duration) -> String {
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
