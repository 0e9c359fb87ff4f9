//! One environment: what runs in it down to the instance, its plan with each constraint's verdict, its windows, its
//! drift, its plan log, and the answer to "why not?".

use super::{
    Sight, chart, in_order,
    leaving::{self, Leaving},
    map, or_dash,
    products::health,
    say::{reason, span, until},
    sign, store, told, tone, waits, words,
};
use crate::{
    Delivery,
    deployment::{self, desired, instances},
    fleet::{EDGE_SILENCE, store as fleet},
    plan,
    site::{self, store as sites},
};
use askama::Template;
use axum::{extract::State, response::Response, routing::get};
use bascule_core::{Caller, DeploymentId, EnvironmentId, Permission, Result, Timestamp};
use bascule_planner::calendar::{Calendar, Opening};
use bascule_web::{
    Access, Answer, Crumb, Markup, Params, PathOf, Routes, Section, Ui, commas, icon, url_encode, when,
};
use bascule_wire::{
    bundle::ObservedSite,
    delivery::{GroupStep, PlanVerdict, WhyNot},
    environments::{Prune, RefusedCommit},
    views::{StateCount, TreeInstance, TreeMachine, TreeProduct, WaitingRollout},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

pub(super) fn routes() -> Routes<Delivery> {
    Routes::new().page("GET", "/plans/{environment}", Access::Insider, get(environment))
}

/// Products shown of one environment; the fleet has all of them.
const ROWS: i64 = 200;
/// How far the calendar looks, in days, and openings within it.
const AHEAD: (u64, usize) = (14, 60);
/// Openings listed.
const LISTED: usize = 8;
/// Entries of the plan log.
const LOGGED: i64 = 40;

/// A plan as it stood before, with what each constraint said.
struct LoggedPlan {
    product: String,
    state: String,
    current: String,
    target: String,
    step: String,
    why: String,
    verdicts: Vec<PlanVerdict>,
    at: bascule_core::Timestamp,
}

impl Delivery {
    /// What was planned in an environment before, newest first, of what the caller may read.
    async fn logged(&self, caller: &Caller, name: &str, limit: i64) -> Result<Vec<LoggedPlan>> {
        let sight = self.sight(caller).await?;
        let mut all: Vec<LoggedPlan> = store::log(&self.db, &sight, name, limit)
            .await?
            .into_iter()
            .map(|row| LoggedPlan {
                product: row.project_path,
                state: row.state,
                current: row.current,
                target: row.target,
                step: row.step,
                why: row.why,
                verdicts: row.verdicts.0.into_iter().map(told).collect(),
                at: row.at,
            })
            .collect();
        let mut texts: Vec<&mut String> = Vec::new();
        for entry in &mut all {
            texts.push(&mut entry.why);
            for verdict in &mut entry.verdicts {
                texts.extend([&mut verdict.why, &mut verdict.lifts]);
            }
        }
        self.unname(&sight, texts).await?;
        Ok(all)
    }
}

#[derive(Template)]
#[template(path = "views/tree.html")]
struct Tree {
    name: String,
    bar: Markup,
    counts: Vec<StateCount>,
    installs: i64,
    hidden: i64,
    /// Whether no network reaches it, so that no edge of ours does.
    apart: bool,
    edges: i64,
    behind: i64,
    machines: Vec<TreeMachine>,
    /// Products that its file names and that do not exist.
    missing: Vec<String>,
}

/// A product that differs from its declaration, and the version that would be put there anew.
struct Drift {
    product: String,
    why: String,
    runs: String,
}

struct Line {
    id: EnvironmentId,
    rollout: Option<WaitingRollout>,
    product: String,
    runs: String,
    target: String,
    state: String,
    why: String,
    verdicts: Vec<PlanVerdict>,
}

struct Entry {
    at: Markup,
    plan: LoggedPlan,
}

struct Next {
    label: String,
    from: Markup,
    span: String,
}

#[derive(Deserialize)]
struct WhyQuery {
    #[serde(default)]
    product: String,
    #[serde(default)]
    version: String,
}

#[derive(Template)]
#[template(path = "views/environment.html")]
struct Page {
    name: String,
    declared: bool,
    channel: String,
    /// A commit of the environments project that is not in force.
    refused: Option<RefusedCommit>,
    /// What its file names that is not there, and what to do.
    misnamed: Vec<String>,
    always: bool,
    open: bool,
    held: Vec<String>,
    tree: Tree,
    lines: Vec<Line>,
    drifted: Vec<Drift>,
    /// What is no longer declared, and what becomes of it, where there is any.
    prune: Option<Prune>,
    /// Changes that are held here or everywhere, and whether a person holds them here.
    by_hand: bool,
    may_manage: bool,
    /// Whether no network reaches it, and what it told last.
    disconnected: bool,
    observed: Option<ObservedSite>,
    calendar: Option<Markup>,
    zone: String,
    /// Its tier, and what its file asks of changes.
    rules: String,
    openings: Vec<Next>,
    /// What can only switch together.
    groups: Vec<GroupStep>,
    log: Vec<Entry>,
    product: String,
    version: String,
    why: Option<WhyNot>,
    problem: Option<String>,
}

/// What an instance is to the traffic of its product.
fn part(instance: &deployment::Instance, place: Option<&store::Place>) -> &'static str {
    let moving = place.and_then(|place| place.moving_id);
    if instance.desired == desired::DRAIN || instance.retired_at.is_some() {
        "leaves"
    } else if moving == Some(instance.deployment_id) {
        "comes"
    } else {
        "serves"
    }
}

/// What runs, by the agent that looks after it.
pub(super) async fn machines(
    delivery: &Delivery,
    places: &[store::Place],
    apart: bool,
) -> Result<Vec<TreeMachine>> {
    let ids: Vec<EnvironmentId> = places.iter().map(|place| place.id).collect();
    let running = instances::in_environments(&delivery.db, &ids).await?;
    let deployments: HashSet<DeploymentId> = running.iter().map(|instance| instance.deployment_id).collect();
    let deployments: Vec<DeploymentId> = deployments.into_iter().collect();
    let versions: HashMap<DeploymentId, String> = store::versions(&delivery.db, &deployments)
        .await?
        .into_iter()
        .map(|row| (row.id, row.version))
        .collect();
    let by_id: HashMap<EnvironmentId, &store::Place> = places.iter().map(|place| (place.id, place)).collect();
    let mut leaves: HashMap<EnvironmentId, Vec<TreeInstance>> = HashMap::new();
    for instance in running {
        let part = part(&instance, by_id.get(&instance.environment_id).copied());
        leaves
            .entry(instance.environment_id)
            .or_default()
            .push(TreeInstance {
                version: versions.get(&instance.deployment_id).cloned().unwrap_or_default(),
                deployment: instance.deployment_id,
                part: part.to_owned(),
                weight: instance.weight,
                restarts: instance.restarts,
                address: instance.address.unwrap_or_default(),
                message: instance
                    .message
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(160)
                    .collect(),
                state: instance.state,
            });
    }
    let mut machines: BTreeMap<String, TreeMachine> = BTreeMap::new();
    for place in places {
        let agent = place.agent.clone().unwrap_or_default();
        let machine = machines.entry(agent.clone()).or_insert_with(|| TreeMachine {
            apart: apart && agent.is_empty(),
            reported: place.reported(),
            agent,
            online: place.agent_online.unwrap_or(false),
            products: Vec::new(),
        });
        machine.products.push(TreeProduct {
            product: place.project_path.clone(),
            health: health(place).to_owned(),
            runs: place.runs.clone().unwrap_or_default(),
            deployment: place.serving_id,
            since: place.since,
            moving: place.moving.clone().unwrap_or_default(),
            moving_status: place.moving_status.clone().unwrap_or_default(),
            moving_deployment: place.moving_id,
            url: place.url.clone().filter(|_| !machine.apart).unwrap_or_default(),
            instances: leaves.remove(&place.id).unwrap_or_default(),
        });
    }
    Ok(machines.into_values().collect())
}

async fn tree(
    delivery: &Delivery,
    name: &str,
    places: &[store::Place],
    counted: &[store::Counted],
    apart: bool,
    missing: Vec<String>,
) -> Result<Tree> {
    let since = delivery.now().minus(EDGE_SILENCE);
    let revision = fleet::revision(&delivery.db, crate::fleet::Channel::Edge).await?;
    let absent = i64::try_from(missing.len()).unwrap_or(0);
    let counts = in_order(|state| match state {
        site::UNKNOWN_PRODUCT => absent,
        state => counted.iter().find(|c| c.state == state).map_or(0, |c| c.n),
    });
    let known: i64 = counted.iter().map(|c| c.n).sum();
    Ok(Tree {
        name: name.to_owned(),
        bar: chart::bar("Products by state", &chart::parts(&counts)),
        counts,
        hidden: known - i64::try_from(places.len()).unwrap_or(0),
        installs: known + absent,
        missing,
        apart,
        edges: store::edges(&delivery.db, since).await?,
        behind: fleet::edges_behind(&delivery.db, revision, since).await?,
        machines: machines(delivery, places, apart).await?,
    })
}

/// The products of an environment that the caller may read, as it stands, and how many there are by state.
pub(super) async fn places(
    delivery: &Delivery,
    sight: &Sight,
    name: &str,
) -> Result<(Vec<store::Place>, Vec<store::Counted>)> {
    let (mut places, counted) = tokio::try_join!(
        store::of_site(&delivery.db, sight, name, ROWS),
        store::site_counts(&delivery.db, sight, name),
    )
    .map_err(bascule_core::Problem::from)?;
    if places.is_empty() {
        return Err(site::service::unknown_site(name));
    }
    delivery.overlay(&mut places).await?;
    places.sort_by(|a, b| a.project_path.cmp(&b.project_path));
    Ok((places, counted))
}

async fn environment(
    State(delivery): State<Delivery>,
    PathOf(name): PathOf<String>,
    Params(query): Params<WhyQuery>,
    ui: Ui,
) -> Answer<Response> {
    let sight = delivery.sight(ui.caller()).await?;
    let (places, counted) = places(&delivery, &sight, &name).await?;
    let site = delivery.site(&name).await?;
    let disconnected = site.as_ref().is_some_and(|site| site.disconnected);
    let unknown = delivery.unknown_entries(ui.caller(), Some(&name)).await?;
    let missing = unknown.iter().map(|entry| entry.product.clone()).collect();
    let tree = tree(&delivery, &name, &places, &counted, disconnected, missing).await?;
    if ui.is_fragment() {
        return ui.fragment(&tree);
    }
    let tier = places.first().map(|place| place.tier.clone()).unwrap_or_default();
    let ids: Vec<EnvironmentId> = places.iter().map(|place| place.id).collect();
    let mut verdicts: HashMap<EnvironmentId, Vec<PlanVerdict>> = store::verdicts(&delivery.db, &ids)
        .await?
        .into_iter()
        .map(|row| (row.environment_id, row.verdicts.0.into_iter().map(told).collect()))
        .collect();
    let waits = delivery.waits(&sight).await?;
    let leaving = delivery.leaving(Some(&name)).await?;
    let mut lines: Vec<Line> = places
        .into_iter()
        .map(|place| line(place, &mut verdicts, &waits, &leaving))
        .collect();
    lines.extend(unknown.into_iter().map(|entry| Line {
        id: EnvironmentId::new(),
        rollout: None,
        product: entry.product,
        runs: String::new(),
        target: String::new(),
        state: entry.state,
        why: entry.why,
        verdicts: Vec::new(),
    }));
    let mut texts: Vec<&mut String> = Vec::new();
    for line in &mut lines {
        texts.push(&mut line.why);
        for verdict in &mut line.verdicts {
            texts.extend([&mut verdict.why, &mut verdict.lifts]);
        }
    }
    let misnamed = delivery.misnamed(ui.caller(), &name).await?.into_iter();
    let mut misnamed: Vec<String> = misnamed.map(|m| format!("{}. {}", m.text, m.next)).collect();
    texts.extend(&mut misnamed);
    delivery.unname(&sight, texts).await?;

    let (mut why, mut problem) = (None, None);
    if !query.product.is_empty() && !query.version.trim().is_empty() {
        match delivery
            .why_not(ui.caller(), &name, &query.product, query.version.trim())
            .await
        {
            Ok(found) => why = Some(found),
            Err(refused) if refused.status < 500 => {
                problem = Some(format!("{} {}", refused.what, refused.next));
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    let windows = windows(&delivery, &name).await?;
    // What went back before is no longer told of by the plan, and a person may let it switch all the same.
    let failed = || plan::store::failures_in(&delivery.db, std::slice::from_ref(&name));
    let groups = if lines.iter().any(|line| line.state == "coupled") || !failed().await?.is_empty() {
        delivery.group_steps(ui.caller(), &name).await?
    } else {
        Vec::new()
    };
    let log = delivery.logged(ui.caller(), &name, LOGGED).await?;
    let page = Page {
        groups,
        declared: windows.declared,
        channel: windows.channel,
        always: windows.always,
        open: windows.open,
        held: windows.held,
        calendar: windows.calendar,
        zone: windows.zone,
        rules: windows.rules.unwrap_or(tier),
        openings: windows.openings,
        refused: delivery.refused_commit(ui.caller()).await?,
        misnamed,
        disconnected,
        observed: delivery.reported_site(&name).await?,
        drifted: lines
            .iter()
            .filter(|line| line.state == "drifted")
            .map(|line| Drift {
                product: line.product.clone(),
                why: line.why.clone(),
                runs: line.runs.clone(),
            })
            .collect(),
        prune: if leaving.is_empty() {
            None
        } else {
            Some(delivery.prune_view(ui.caller(), &name).await?)
        },
        by_hand: windows.by_hand,
        may_manage: ui.caller().holds(Permission::InstanceManage),
        log: log
            .into_iter()
            .map(|plan| Entry {
                at: when(plan.at),
                plan,
            })
            .collect(),
        tree,
        lines,
        product: query.product,
        version: query.version,
        why,
        problem,
        name: name.clone(),
    };
    let crumbs = [
        Crumb::to("Environments", "/environments"),
        Crumb::to("Fleet", "/plans"),
        Crumb::here(name.as_str()),
    ];
    ui.page(
        Section::Environments,
        &format!("Environment {name}"),
        &crumbs,
        &page,
    )
}

/// An install's line; where its rollout waits for a person, that is what is said of it.
fn line(
    place: store::Place,
    verdicts: &mut HashMap<EnvironmentId, Vec<PlanVerdict>>,
    waits: &waits::Waits,
    leaving: &Leaving,
) -> Line {
    let rollout = waits.of(&place.name, &place.project_path).cloned();
    let leaves = leaving.of(&place.name, &place.project_path);
    let (state, why) = match (&rollout, leaves) {
        (Some(wait), _) => (waits::STATE.to_owned(), wait.why.clone()),
        (None, Some(why)) => (leaving::STATE.to_owned(), why.clone()),
        (None, None) => (place.state.unwrap_or_default(), place.why.unwrap_or_default()),
    };
    Line {
        verdicts: verdicts.remove(&place.id).unwrap_or_default(),
        id: place.id,
        rollout,
        product: place.project_path,
        runs: place.runs.unwrap_or_default(),
        target: place.target.filter(|_| leaves.is_none()).unwrap_or_default(),
        state,
        why,
    }
}

struct Windows {
    declared: bool,
    channel: String,
    always: bool,
    open: bool,
    held: Vec<String>,
    by_hand: bool,
    calendar: Option<Markup>,
    /// The time zone of its days.
    zone: String,
    /// What the file asks of changes.
    rules: Option<String>,
    openings: Vec<Next>,
}

/// What a file asks of changes, in a line.
fn rules(site: &site::Site) -> String {
    let mut all = vec![site.tier.clone(), format!("follows the channel {}", site.channel)];
    if !site.approvals.is_empty() {
        all.push(format!(
            "changes are approved by {}",
            site.approvals.join(" and ")
        ));
    }
    if site.budget_percent > 0 {
        all.push(format!(
            "a change needs {} % of the error budget to be left",
            site.budget_percent
        ));
    }
    if let Some(severity) = site.findings {
        all.push(format!("no release with findings from {} on", severity.as_str()));
    }
    if !site.heal {
        all.push("drift is shown, not put right".to_owned());
    }
    all.join("; ")
}

/// The next windows, and between them the holidays on which one would have opened.
fn next_windows(calendar: &Calendar, now: Timestamp, to: Timestamp) -> Vec<Next> {
    let openings = calendar.openings_between(now, to, LISTED);
    let full = openings.len() == LISTED;
    let last = openings.last().map(|opening| opening.from).filter(|_| full);
    let mut all: Vec<(Timestamp, Next)> = calendar
        .skipped_between(now, last.unwrap_or(to), LISTED)
        .into_iter()
        .map(|skipped| {
            let next = Next {
                label: format!("{}: no changes (holiday)", skipped.day),
                from: when(skipped.at),
                span: String::new(),
            };
            (skipped.at, next)
        })
        .collect();
    all.extend(openings.into_iter().map(|opening| {
        let next = Next {
            label: opening.label,
            from: when(opening.from),
            span: span(opening.to.since(opening.from)),
        };
        (opening.from, next)
    }));
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, next)| next).collect()
}

async fn windows(delivery: &Delivery, name: &str) -> Result<Windows> {
    let (days, most) = AHEAD;
    let now = delivery.now();
    let to = now.plus(Duration::from_secs(days * 86_400));
    let declared = delivery.site(name).await?;
    let calendar = declared
        .as_ref()
        .and_then(site::Site::calendar)
        .unwrap_or_default();
    let suppressed = sites::suppressed(&delivery.db, now).await?;
    let openings: Vec<Opening> = calendar.openings_between(now, to, most);
    let zone = declared
        .as_ref()
        .and_then(|site| site.windows.first())
        .map_or("UTC", |window| window.timezone.as_str());
    let spans = map::spans(&openings, &suppressed, name, to);
    let row = chart::Row {
        label: "windows".to_owned(),
        href: String::new(),
        spans,
    };
    let title = format!("Windows of {name} within {days} days; the list holds the next ones");
    let month = now.plus(Duration::from_secs(62 * 86_400));
    Ok(Windows {
        declared: declared.is_some(),
        channel: declared
            .as_ref()
            .map(|site| site.channel.clone())
            .unwrap_or_default(),
        always: calendar.is_always(),
        open: calendar.is_open(now),
        by_hand: suppressed
            .iter()
            .any(|open| open.site == name && open.cause == site::service::BY_HAND),
        held: suppressed
            .iter()
            .filter(|open| open.site == name || open.site == "*")
            .map(|open| open.reason.clone())
            .collect(),
        calendar: (!calendar.is_always() || !row.spans.is_empty())
            .then(|| chart::timeline(&title, &[row], &chart::Frame::ahead(now, to, zone))),
        zone: zone.to_owned(),
        rules: declared.as_ref().map(rules),
        openings: next_windows(&calendar, now, month),
    })
}
