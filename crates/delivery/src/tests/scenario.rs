//! Twelve environments and thirty products with ranges between them, one of them a schema whose versions go up one
//! by one. Three environments are reached now and then only, one of them a month late. Played to its end twice:
//! the same steps, each explained by the ledger before it was taken, and no state on the way breaks a range.

use super::*;
use bascule_ledger::facts::{delivery::PlanChanged, forge::BranchUpdated};
use std::fmt::Write as _;

const SITES: usize = 12;
const PRODUCTS: usize = 30;
const DAYS: u64 = 34;

fn path(product: usize) -> String {
    format!("suite/p{product:02}")
}

/// What a product's version asks of others, as (product, least, most) of the second number.
fn needs(product: usize, minor: u64) -> Vec<(usize, u64, u64)> {
    let mut all = Vec::new();
    if product == 0 {
        return all;
    }
    // Its predecessor, of this version or the one before.
    if product > 1 {
        all.push((product - 1, minor.saturating_sub(1), u64::MAX));
    }
    // Every third one reads the schema, and takes two of its versions.
    if product.is_multiple_of(3) {
        all.push((0, minor.saturating_sub(1), minor));
    }
    all
}

fn yaml(product: usize, minor: u64) -> String {
    let mut text = format!(
        "product: p{product:02}\nartifact: dist/app.tar.gz\ncommand: ./app\nchannels: [{{name: stable}}]\n"
    );
    if product == 0 {
        text.push_str("versions: one_by_one\n");
    }
    let needs = needs(product, minor);
    if !needs.is_empty() {
        text.push_str("dependencies:\n");
    }
    for (other, least, most) in needs {
        write!(text, "  - {{product: {}, minimum: 1.{least}.0", path(other)).unwrap();
        if most < u64::MAX {
            write!(text, ", maximum: 1.{most}.x").unwrap();
        }
        text.push_str("}\n");
    }
    text
}

/// The agent of a site that is reached now and then, by its number.
fn agent(site: usize) -> Option<String> {
    (site >= 9).then(|| format!("far-{site}"))
}

/// Whether a site is reached on a day.
fn reached(site: usize, day: u64) -> bool {
    match site {
        9 => day.is_multiple_of(7) || day > 31,
        10 => day.is_multiple_of(14) || day > 31,
        11 => day == 0 || day > 31,
        _ => true,
    }
}

fn site(number: usize) -> String {
    let mut text = format!("environment: site-{number:02}\ntier: staging\n");
    if let Some(agent) = agent(number) {
        writeln!(text, "agent: {agent}").unwrap();
    }
    text.push_str("install:\n");
    for product in 0..PRODUCTS {
        writeln!(text, "  - product: {}", path(product)).unwrap();
    }
    text
}

struct Play {
    world: World,
    far: BTreeMap<usize, String>,
}

impl Play {
    async fn release(&self, product: usize, minor: u64) {
        let project = {
            let mut projects = self.world.fakes.projects.lock().unwrap();
            *projects.entry(path(product)).or_insert_with(ProjectId::new)
        };
        let version = format!("1.{minor}.0");
        let release = ReleaseInfo {
            id: ReleaseId::new(),
            project,
            version: version.clone(),
            sha: format!("{:0>40}", format!("{product}f{minor}")),
        };
        self.world
            .fakes
            .files
            .lock()
            .unwrap()
            .insert(release.sha.clone(), yaml(product, minor));
        self.world.fakes.releases.lock().unwrap().push(release.clone());
        let fact = ReleasePublished {
            project,
            release: release.id,
            tag: format!("v{version}"),
            version,
            sha: release.sha,
            pipeline: PipelineId(1),
            manifest: Digest::of(b"manifest"),
            components: 1,
            previous: None,
            commits: Vec::new(),
            commit_count: 0,
            at: self.world.delivery.now(),
        };
        let tx = self.world.delivery.db.begin().await.unwrap();
        self.world
            .ledger
            .append(&tx, &Actor::system(), &fact)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    async fn declare(&self) {
        let home = ProjectId::new();
        let fakes = &self.world.fakes;
        fakes
            .projects
            .lock()
            .unwrap()
            .insert("platform/fleet".into(), home);
        for number in 0..SITES {
            let key = format!("c1:environments/site-{number:02}.yaml");
            fakes.files.lock().unwrap().insert(key, site(number));
        }
        let fact = BranchUpdated {
            project: home,
            branch: "main".into(),
            before: None,
            after: Some("c1".into()),
            default: true,
            forced: false,
            commits: Vec::new(),
            commit_count: 1,
            at: self.world.delivery.now(),
        };
        let tx = self.world.delivery.db.begin().await.unwrap();
        self.world
            .ledger
            .append(&tx, &Actor::system(), &fact)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// What runs where, as the second number of each version; no range is broken anywhere.
    async fn look(&self, day: u64) -> Vec<(String, BTreeMap<usize, u64>)> {
        let mut runs: BTreeMap<String, BTreeMap<usize, u64>> = BTreeMap::new();
        for place in crate::plan::store::places(&self.world.delivery.db).await.unwrap() {
            let product: usize = place.project_path.trim_start_matches("suite/p").parse().unwrap();
            let minor = place
                .serving_version
                .map(|version| version.split('.').nth(1).unwrap().parse().unwrap());
            if let (true, Some(minor)) = (place.declared, minor) {
                runs.entry(place.name).or_default().insert(product, minor);
            }
        }
        for (site, there) in &runs {
            for (product, minor) in there {
                for (other, least, most) in needs(*product, *minor) {
                    let is = there.get(&other);
                    assert!(
                        is.is_some_and(|is| (least..=most).contains(is)),
                        "day {day}, {site}: {product} 1.{minor} needs {other} 1.{least}, and there is {is:?}"
                    );
                }
            }
        }
        runs.into_iter().collect()
    }
}

/// Plays to the end; every step and every plan that was told, without what differs between two plays.
async fn play() -> Vec<String> {
    let world = World::new().await;
    let mut far = BTreeMap::new();
    for number in 0..SITES {
        if let Some(name) = agent(number) {
            far.insert(number, world.delivery.enrol_agent(&name).await.unwrap());
        }
    }
    let mut play = Play { world, far };
    for product in 0..PRODUCTS {
        play.release(product, 0).await;
    }
    play.declare().await;
    play.world.settle().await;
    let mut minor = 0;
    for day in 0..DAYS {
        // Now and then all products release, not in the order in which they need each other.
        if day.is_multiple_of(16) && day > 0 {
            minor += 1;
            for product in 0..PRODUCTS {
                play.release((product * 7) % PRODUCTS, minor).await;
            }
            play.world.settle().await;
        }
        for _ in 0..120 {
            for (number, token) in &play.far {
                if reached(*number, day) {
                    play.world.agent_turn_of(token).await;
                }
            }
            play.world.turns(1).await;
            play.look(day).await;
            let db = &play.world.delivery.db;
            let places = crate::plan::store::places(db).await.unwrap();
            let declared: Vec<_> = places.iter().filter(|place| place.declared).collect();
            let names: Vec<String> = places.iter().map(|place| place.name.clone()).collect();
            let plans = crate::plan::store::plans_of(db, &names).await.unwrap();
            let ready = plans
                .iter()
                .filter(|plan| plan.state == "ready" || plan.state == "moving")
                .any(|plan| declared.iter().any(|place| place.id == plan.environment_id));
            if !ready && declared.iter().all(|place| place.moving_version.is_none()) {
                break;
            }
        }
        play.world.clock.advance(Duration::from_secs(86_400));
        // The silence of those that are not reached shows.
        play.world.turns(1).await;
    }
    for (site, runs) in play.look(DAYS).await {
        assert!(
            runs.len() == PRODUCTS && runs.values().all(|is| *is == minor),
            "{site} did not come to the end: {runs:?}"
        );
    }
    explained(&play.world).await
}

/// The ledger's own account: each step to a site stands after a plan that told of it.
async fn explained(world: &World) -> Vec<String> {
    let filter = Filter {
        kinds: vec!["plan.changed".into(), "deployment.created".into()],
        ..Filter::default()
    };
    let (mut after, mut told, mut ready) = (0, Vec::new(), BTreeMap::new());
    loop {
        let page = Page::After { after, limit: 500 };
        let entries = world.ledger.read(&filter, page).await.unwrap();
        let Some(last) = entries.last() else { return told };
        after = last.seq;
        for entry in entries {
            if entry.kind == PlanChanged::KIND {
                let fact: PlanChanged = bascule_ledger::decode(&entry).unwrap();
                let product = world.delivery.ports.projects.path(fact.project).await.unwrap();
                told.push(format!("{} {product:?} {}: {}", fact.site, fact.state, fact.why));
                ready.insert(fact.environment, fact.step);
                continue;
            }
            let made: bascule_ledger::facts::delivery::DeploymentCreated =
                bascule_ledger::decode(&entry).unwrap();
            if made.environment_name.starts_with("site-") {
                assert_eq!(
                    ready.get(&made.environment),
                    Some(&made.version),
                    "a step that no plan told of: {}",
                    entry.summary
                );
                told.push(format!("{} {}", made.environment_name, entry.summary));
            }
        }
    }
}

#[tokio::test]
async fn twelve_environments_and_thirty_products_play_out_the_same_twice() {
    let (one, two) = tokio::join!(play(), play());
    assert!(one.len() > 2_000, "{}", one.len());
    for (first, second) in one.iter().zip(&two) {
        assert_eq!(first, second);
    }
    assert_eq!(one.len(), two.len());
}
