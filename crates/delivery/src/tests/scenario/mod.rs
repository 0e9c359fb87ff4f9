//! Twelve environments and thirty products with ranges between them, one of them a schema whose versions go up one
//! by one. Three environments are reached by no network: each has a hub of its own, to which bundles are carried now
//! and then, to one of them a month late. Played to its end twice: the same plans and steps, each explained by the
//! ledger before it was taken, and no state on the way breaks a range.

mod far;

use super::*;
use crate::carry::Carry;
use bascule_ledger::facts::{
    delivery::{DeploymentCreated, PlanChanged},
    forge::BranchUpdated,
};
use far::Far;
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

/// The sites that no network reaches, with what fits on the medium that is carried there, in bytes.
const FAR: [(usize, Option<u64>); 3] = [(9, None), (10, Some(96 * 1024)), (11, None)];

/// Whether a bundle is carried to one of them on a day.
fn visited(site: usize, day: u64) -> bool {
    day > 31
        || match site {
            9 => day.is_multiple_of(7),
            10 => day.is_multiple_of(14),
            _ => day == 0,
        }
}

fn name(site: usize) -> String {
    format!("site-{site:02}")
}

fn site(number: usize) -> String {
    let mut text = format!("environment: {}\ntier: staging\n", name(number));
    if FAR.iter().any(|(far, _)| *far == number) {
        text.push_str("network: none\n");
    }
    text.push_str("install:\n");
    for product in 0..PRODUCTS {
        writeln!(text, "  - product: {}", path(product)).unwrap();
    }
    text
}

struct Play {
    world: World,
    carry: Carry,
    far: BTreeMap<usize, Far>,
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
        let commit = "c1".repeat(20);
        let fakes = &self.world.fakes;
        fakes
            .projects
            .lock()
            .unwrap()
            .insert("platform/fleet".into(), home);
        for number in 0..SITES {
            let key = format!("{commit}:environments/{}.yaml", name(number));
            fakes.files.lock().unwrap().insert(key, site(number));
        }
        let fact = BranchUpdated {
            project: home,
            branch: "main".into(),
            before: None,
            after: Some(commit),
            default: true,
            forced: false,
            commits: Vec::new(),
            commit_count: 1,
            at: self.world.delivery.now(),
            ci_skip: false,
            ci_options: None,
        };
        let tx = self.world.delivery.db.begin().await.unwrap();
        self.world
            .ledger
            .append(&tx, &Actor::system(), &fact)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// The hub's own environments are moved for as long as there is anything to do.
    async fn move_here(&mut self, day: u64) {
        until_still(&mut self.world, day, "the hub").await;
    }

    /// What the hub has is carried to a site, which does what there is to do; what it tells then is carried back.
    async fn visit(&mut self, number: usize, day: u64) {
        let far = self.far.get_mut(&number).unwrap();
        let kind = far.bring(&self.carry).await;
        assert_eq!(kind == "snapshot", day == 0, "{} on day {day}: {kind}", far.name);
        until_still(&mut far.world, day, &far.name).await;
        far.tell(&self.carry).await;
        self.world.turns(1).await;
        look(&self.world, day, "the hub").await;
    }

    /// What the hub says of a site, to who asks: versions, states and reasons, each once.
    async fn says(&self, site: &str) -> BTreeSet<(String, String, String)> {
        let plans = self.world.delivery.plans(&ana(), Some(site)).await.unwrap();
        assert_eq!(plans.len(), PRODUCTS, "{site}");
        let all = plans.into_iter().map(|plan| (plan.current, plan.state, plan.why));
        all.collect()
    }
}

/// What runs where, as the second number of each version. No range is broken anywhere.
async fn look(world: &World, day: u64, whose: &str) -> BTreeMap<String, BTreeMap<usize, u64>> {
    let mut runs: BTreeMap<String, BTreeMap<usize, u64>> = BTreeMap::new();
    let mut places = crate::plan::store::places(&world.delivery.db).await.unwrap();
    world.delivery.overlay_reports(&mut places).await.unwrap();
    for place in places {
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
                    "day {day}, {site} as {whose} sees it: {product} 1.{minor} needs {other} 1.{least}, \
                     and there is {is:?}"
                );
            }
        }
    }
    runs
}

/// Turns until nothing declared moves or is about to.
async fn until_still(world: &mut World, day: u64, whose: &str) {
    for _ in 0..120 {
        world.turns(1).await;
        look(world, day, whose).await;
        let db = &world.delivery.db;
        let places = crate::plan::store::places(db).await.unwrap();
        let declared: Vec<_> = places.iter().filter(|place| place.declared).collect();
        let names: BTreeSet<&String> = declared.iter().map(|place| &place.name).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let plans = crate::plan::store::plans_of(db, &names).await.unwrap();
        let ready = plans
            .iter()
            .filter(|plan| plan.state == "ready" || plan.state == "moving")
            .any(|plan| declared.iter().any(|place| place.id == plan.environment_id));
        if !ready && declared.iter().all(|place| place.moving_version.is_none()) {
            return;
        }
    }
    panic!("day {day}: {whose} does not come to rest");
}

/// Plays to the end; by hub, every step and every plan that was told, without what differs between two plays.
async fn play() -> BTreeMap<String, Vec<String>> {
    let world = World::new().await;
    let carry = far::carry(&world);
    let mut far = BTreeMap::new();
    for (number, medium) in FAR {
        far.insert(number, Far::new(name(number), medium, &world, &carry).await);
    }
    let mut play = Play { world, carry, far };
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
        play.move_here(day).await;
        for (number, _) in FAR {
            if visited(number, day) {
                play.visit(number, day).await;
            }
        }
        if day == 31 {
            a_month_behind(&play).await;
        }
        let day = Duration::from_secs(86_400);
        play.world.clock.advance(day);
        play.world.turns(1).await;
        // Nobody comes, and a site goes on by itself.
        for far in play.far.values_mut() {
            far.world.clock.advance(day);
            far.world.turns(1).await;
        }
    }
    let mut told = BTreeMap::from([("the hub".to_owned(), explained(&play.world).await)]);
    let end = format!("1.{minor}.0");
    for number in 0..SITES {
        let site = name(number);
        let why = format!("{end} is the newest that may be here");
        let should = BTreeSet::from([(end.clone(), "up_to_date".to_owned(), why)]);
        assert_eq!(play.says(&site).await, should, "{site} did not come to the end");
    }
    for far in play.far.values() {
        let there = look(&far.world, DAYS, &far.name).await;
        let all: Vec<_> = there.values().flat_map(BTreeMap::values).collect();
        assert!(
            all.len() == PRODUCTS && all.iter().all(|is| **is == minor),
            "{there:?}"
        );
        told.insert(far.name.clone(), explained(&far.world).await);
    }
    told
}

/// On day 31: one site was told of nothing since the first day, and the hub says so; the others have moved on.
async fn a_month_behind(play: &Play) {
    let seen = look(&play.world, 31, "the hub").await;
    for (site, runs) in &seen {
        let should = u64::from(*site != name(11));
        assert!(runs.values().all(|minor| *minor == should), "{site}: {runs:?}");
    }
    assert_eq!(seen.len(), SITES);
    let says = play.says(&name(11)).await;
    assert!(
        says.iter().any(|(current, state, why)| current == "1.0.0"
            && state == "held"
            && why.contains("no network reaches this environment")),
        "{says:?}"
    );
}

/// The ledger's own account: each step to a site stands after a plan that told of it.
async fn explained(world: &World) -> Vec<String> {
    let filter = Filter {
        kinds: vec![PlanChanged::KIND.into(), DeploymentCreated::KIND.into()],
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
                let (product, site) = (product.unwrap(), fact.site);
                told.push(format!("{product} in {site} {}: {}", fact.state, fact.why));
                ready.insert(fact.environment, fact.step);
                continue;
            }
            let made: DeploymentCreated = bascule_ledger::decode(&entry).unwrap();
            if made.environment_name.starts_with("site-") {
                assert_eq!(
                    ready.get(&made.environment),
                    Some(&made.version),
                    "a step that no plan told of: {}",
                    entry.summary
                );
                let product = world.delivery.ports.projects.path(made.project).await.unwrap();
                told.push(format!("{} {}", product.unwrap(), entry.summary));
            }
        }
    }
}

#[tokio::test]
async fn twelve_environments_and_thirty_products_play_out_the_same_twice() {
    let (one, two) = tokio::join!(Box::pin(play()), Box::pin(play()));
    let steps = |told: &[String]| told.iter().filter(|line| line.contains(" deploys ")).count();
    for (whose, told) in &one {
        let sites = if whose == "the hub" { SITES - FAR.len() } else { 1 };
        let (steps, all) = (steps(told), sites * PRODUCTS * 3);
        // Whoever hears of two versions at once may pass over one of them.
        let late = *whose == name(11);
        assert!(steps == all || (late && steps < all), "{whose}: {steps}");
        assert!(told.len() > 2 * steps, "{whose}");
        for (first, second) in told.iter().zip(&two[whose]) {
            assert_eq!(first, second, "{whose}");
        }
    }
    // The schema passes over none, whatever is heard of at once.
    let schema = |line: &&String| line.starts_with(&format!("{} deploys ", path(0)));
    let late: Vec<&String> = one[&name(11)].iter().filter(schema).collect();
    let each =
        ["1.0.0", "1.1.0", "1.2.0"].map(|version| format!("{} deploys {version} to {}", path(0), name(11)));
    assert_eq!(late, each.iter().collect::<Vec<_>>());
    let counts = |told: &BTreeMap<String, Vec<String>>| -> Vec<(String, usize)> {
        told.iter()
            .map(|(whose, told)| (whose.clone(), told.len()))
            .collect()
    };
    assert_eq!(counts(&one), counts(&two));
    for (far, _) in FAR {
        let put = format!(" to {}", name(far));
        let deploys = |line: &String| line.contains(" deploys ") && line.ends_with(&put);
        assert!(
            !one["the hub"].iter().any(deploys),
            "nothing is put in {} from the hub",
            name(far)
        );
    }
}
