//! Twelve environments, thirty products with ranges between them, one of them a schema that moves one by one;
//! three environments hear of releases only now and then, as by hand-carry, one of them a month late. Played to
//! its end twice: the same steps, each of them safe.

use super::*;
use bascule_planner::{State, plan};

const SITES: usize = 12;
const PRODUCTS: usize = 30;
const DAYS: u64 = 60;

fn name(product: usize) -> String {
    format!("suite/p{product:02}")
}

/// Product 0 is the schema. Each other needs its two predecessors, in ranges that rise; every third one reads
/// the schema, and takes two of its versions at a time.
fn publish(catalogue: &mut Catalogue, product: usize, number: u64) {
    let mut next = release(&format!("1.{number}.0"), &[]);
    let mut need = |product: usize, least: u64, most: String| {
        next.dependencies.push(Dependency {
            product: name(product),
            minimum: Some(Version::new(1, least, 0)),
            maximum: most.parse().unwrap(),
            optional: false,
        });
    };
    for before in [1, 2]
        .into_iter()
        .filter_map(|n| product.checked_sub(n))
        .filter(|p| *p > 0)
    {
        need(before, number.saturating_sub(1), "*".into());
    }
    if product > 0 && product.is_multiple_of(3) {
        need(0, number.saturating_sub(1), format!("1.{number}.x"));
    }
    let index = catalogue.product(&name(product));
    catalogue.one_by_one(index, product == 0);
    catalogue.publish(index, next);
}

/// Whether a site hears of releases on a day.
fn hears(site: usize, day: u64) -> bool {
    match site {
        9 => day.is_multiple_of(7),
        10 => day.is_multiple_of(14),
        // A month without a word, then all at once.
        11 => day == 0 || day > 30,
        _ => true,
    }
}

fn play() -> Vec<String> {
    let mut hub = Catalogue::new();
    let mut known: Vec<Catalogue> = vec![Catalogue::new(); SITES];
    let mut log = Vec::new();
    for product in 0..PRODUCTS {
        publish(&mut hub, product, 0);
    }
    let mut sites: Vec<Environment> = (0..SITES)
        .map(|site| Environment {
            name: format!("site-{site}"),
            installs: (0..PRODUCTS)
                .map(|product| Install::new(hub.find(&name(product)).unwrap(), None))
                .collect(),
            now: Timestamp::from_seconds(0),
        })
        .collect();
    for day in 0..DAYS {
        // A few products release each day, not in the order in which they need each other.
        for product in 0..PRODUCTS {
            let number = day / 6;
            if day > 0 && day.is_multiple_of(6) {
                publish(&mut hub, (product * 7) % PRODUCTS, number);
            }
        }
        for site in 0..SITES {
            if hears(site, day) {
                known[site] = hub.clone();
            }
            // At most so many steps a day; what is begun is done by the next look.
            for _ in 0..4 {
                let found = plan(&known[site], &sites[site]);
                assert!(found.newest && found.coupled.is_empty(), "{:?}", found.coupled);
                for (install, planned) in sites[site].installs.iter_mut().zip(&found.installs) {
                    if planned.state == State::Ready {
                        let to = planned.step.clone().unwrap().to;
                        log.push(format!(
                            "{day} site-{site} {} {to}",
                            known[site].key(planned.product)
                        ));
                        install.current = Some(to);
                    }
                }
                consistent(&known[site], &sites[site]);
            }
        }
    }
    for site in 0..SITES {
        known[site] = hub.clone();
        for _ in 0..2_000 {
            let found = plan(&known[site], &sites[site]);
            let mut moved = false;
            for (install, planned) in sites[site].installs.iter_mut().zip(&found.installs) {
                if planned.state == State::Ready {
                    install.current = planned.step.clone().map(|step| step.to);
                    moved = true;
                }
            }
            consistent(&known[site], &sites[site]);
            if !moved {
                break;
            }
        }
    }
    for site in &sites {
        let there: Vec<String> = site
            .installs
            .iter()
            .map(|i| i.current.as_ref().unwrap().to_string())
            .collect();
        assert!(
            there
                .iter()
                .all(|version| *version == format!("1.{}.0", (DAYS - 1) / 6)),
            "{}: {there:?}",
            site.name
        );
    }
    log
}

fn consistent(catalogue: &Catalogue, site: &Environment) {
    for install in &site.installs {
        let Some(current) = &install.current else { continue };
        let level = catalogue.level(install.product, current).unwrap();
        for dependency in &catalogue.dependencies(install.product, level) {
            let other = catalogue.find(&dependency.product).unwrap();
            let there = site
                .installs
                .iter()
                .find(|i| i.product == other)
                .unwrap()
                .current
                .as_ref();
            let there = there.unwrap_or_else(|| panic!("{} runs without {}", site.name, dependency.product));
            assert!(
                dependency.minimum.as_ref().is_none_or(|m| m <= there)
                    && dependency.maximum.admits_up_to(there),
                "{}: {current} asks for {}, and {there} is there",
                site.name,
                dependency.product
            );
        }
    }
}

#[test]
fn twelve_environments_and_thirty_products_played_twice() {
    let log = play();
    assert_eq!(log, play(), "the same input, the same plan");
    // The schema takes each version in turn, everywhere, also where a month was missed.
    for site in 0..SITES {
        let schema: Vec<&str> = log
            .iter()
            .filter(|line| line.contains(&format!(" site-{site} suite/p00 ")))
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect();
        for (number, version) in schema.iter().enumerate() {
            assert_eq!(*version, format!("1.{number}.0"), "site-{site}: {schema:?}");
        }
    }
}
