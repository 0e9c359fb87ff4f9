//! The view of those who keep environments running: all of them with their health, the plans that wait and why, and
//! when windows open.

use super::{
    Ask, STATES, Sight, chart, in_order, many,
    reported::Told,
    say::{cause, span},
    sign, store, tone,
    waits::{self, Waits},
    words,
};
use crate::{
    Delivery,
    site::{UNKNOWN_PRODUCT, service::BY_HAND, store as sites},
};
use askama::Template;
use axum::{extract::State, routing::get};
use bascule_core::{Caller, Permission, Result, Timestamp};
use bascule_web::{Access, Answer, Markup, Params, Routes, Section, Ui, commas, icon, url_encode, when};
use bascule_wire::{
    environments::RefusedCommit,
    views::{EnvironmentPage, EnvironmentTile, StateCount},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(super) fn routes() -> Routes<Delivery> {
    Routes::new().page("GET", "/environments", Access::Insider, get(map))
}

/// Environments on one page.
const TILES: i64 = 60;
/// Plans that are looked at for what they wait for, and of these the ones that are shown.
const WAITING: (i64, usize) = (400, 8);
/// Lines of the calendar.
const LINES: usize = 24;
/// How far the calendar looks, in days, and openings of one environment within it.
const AHEAD: (u64, usize) = (7, 60);

/// What rollouts that wait for a person are counted as.
const KIND: &str = "a person, for a rollout";

/// What the form and the API ask.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
pub(super) struct MapQuery {
    /// Words, each of which stands in the environment's name.
    #[serde(default)]
    pub q: String,
    /// With a product in this state.
    #[serde(default)]
    pub state: String,
    /// The last environment of the page before.
    #[serde(default)]
    pub from: String,
}

/// An environment on the map.
struct Tile {
    bar: Markup,
    installs: String,
    tile: EnvironmentTile,
}

#[derive(Template)]
#[template(path = "views/tiles.html")]
struct Tiles {
    q: String,
    state: String,
    tiles: Vec<Tile>,
    next: Option<String>,
    /// Why nothing changes anywhere, and whether a person said so.
    stop: Option<String>,
    by_hand: bool,
}

struct Wait {
    environment: String,
    product: String,
    state: String,
    why: String,
    since: Timestamp,
    at: Markup,
    /// Where it is decided, and by which command; empty where it lifts by itself.
    href: String,
    next: String,
}

/// A kind of constraint and how many plans it holds.
struct Kind {
    label: String,
    count: String,
    bar: Markup,
}

#[derive(Template)]
#[template(path = "views/map.html")]
struct Page {
    q: String,
    state: String,
    states: [&'static str; 9],
    empty: bool,
    /// A commit of the environments project that is not in force.
    refused: Option<RefusedCommit>,
    tiles: Tiles,
    bar: Markup,
    counts: Vec<StateCount>,
    kinds: Vec<Kind>,
    waits: Vec<Wait>,
    may_manage: bool,
    /// Whether a person holds changes everywhere.
    stopped: bool,
    waiting: i64,
    /// When windows open, and the time zone of its days.
    calendar: Option<(Markup, String)>,
    openings: Vec<Coming>,
}

/// An opening that comes next, in words.
struct Coming {
    environment: String,
    label: String,
    at: Markup,
}

fn tile(row: store::Tile, held: bool, told: Told, missing: i64) -> EnvironmentTile {
    let counts = in_order(|state| match state {
        "up_to_date" => row.up_to_date,
        "moving" => row.moving,
        waits::STATE => row.waiting,
        "ready" => row.ready,
        "held" => row.held,
        "blocked" => row.blocked,
        "coupled" => row.coupled,
        "drifted" => row.drifted,
        UNKNOWN_PRODUCT => missing,
        _ => 0,
    });
    let serving = row.serving + told.serving;
    let ill = serving - row.healthy - told.healthy;
    let health = match () {
        () if row.silent > 0 => "silent",
        () if ill > 0 => "unhealthy",
        () if serving == 0 => "empty",
        () => "healthy",
    };
    EnvironmentTile {
        environment: row.name,
        health: health.to_owned(),
        production: row.production > 0,
        declared: row.declared > 0,
        installs: row.installs + missing,
        first: row.first,
        ill,
        silent: row.silent,
        counts,
        held,
        reported: told.report,
    }
}

/// Where an environment stands among those that need a look: the lower, the sooner.
fn trouble(tile: &EnvironmentTile) -> u8 {
    let some = |states: &[&str]| {
        tile.counts
            .iter()
            .any(|counted| states.contains(&counted.state.as_str()))
    };
    match () {
        () if tile.ill > 0 || tile.silent > 0 => 0,
        () if some(&[waits::STATE]) => 1,
        () if tile.held || some(&["held", "coupled", "drifted"]) => 2,
        () if some(&["blocked", UNKNOWN_PRODUCT]) => 3,
        () if some(&["moving", "ready"]) => 4,
        () => 5,
    }
}

impl Delivery {
    /// A page of the map, of what the caller may read.
    pub(super) async fn board(
        &self,
        caller: &Caller,
        sight: &Sight,
        query: &MapQuery,
    ) -> Result<EnvironmentPage> {
        let ask = Ask::new(&query.q, &query.state, "");
        let mut missing: BTreeMap<String, i64> = BTreeMap::new();
        for entry in self.unknown_entries(caller, None).await? {
            *missing.entry(entry.environment).or_default() += 1;
        }
        let without: Vec<String> = missing.keys().cloned().collect();
        let mut rows = store::tiles(&self.db, sight, &ask, &without, &query.from, TILES + 1).await?;
        let most = usize::try_from(TILES).unwrap_or(0);
        let more = rows.len() > most;
        rows.truncate(most);
        let suppressed = sites::suppressed(&self.db, self.now()).await?;
        let names = rows.iter().filter(|row| row.declared > 0);
        let told = self
            .told_of(sight, names.map(|row| row.name.clone()).collect())
            .await?;
        Ok(EnvironmentPage {
            next: rows.last().filter(|_| more).map(|last| last.name.clone()),
            items: rows
                .into_iter()
                .map(|row| {
                    let held = suppressed.iter().any(|open| open.site == row.name);
                    let told = told.get(&row.name).copied().unwrap_or_default();
                    let missing = missing.get(&row.name).copied().unwrap_or(0);
                    tile(row, held, told, missing)
                })
                .collect(),
        })
    }

    async fn tiles(&self, caller: &Caller, sight: &Sight, query: &MapQuery) -> Result<Tiles> {
        let page = self.board(caller, sight, query).await?;
        let suppressed = sites::suppressed(&self.db, self.now()).await?;
        let mut items = page.items;
        items.sort_by_cached_key(|tile| (trouble(tile), tile.environment.clone()));
        Ok(Tiles {
            next: page.next,
            tiles: items
                .into_iter()
                .map(|tile| Tile {
                    bar: chart::bar(&tile.environment, &chart::parts(&tile.counts)),
                    installs: commas(tile.installs),
                    tile,
                })
                .collect(),
            by_hand: suppressed
                .iter()
                .any(|open| open.site == "*" && open.cause == BY_HAND),
            stop: suppressed
                .iter()
                .find(|open| open.site == "*")
                .map(|open| open.reason.clone()),
            q: query.q.clone(),
            state: query.state.clone(),
        })
    }

    /// When windows open within days, of environments that have any.
    async fn calendar(&self, names: &[String]) -> Result<(Option<(Markup, String)>, Vec<Coming>)> {
        let (days, most) = AHEAD;
        let now = self.now();
        let to = now.plus(Duration::from_secs(days * 86_400));
        let suppressed = sites::suppressed(&self.db, now).await?;
        let mut zones: BTreeSet<String> = BTreeSet::new();
        let mut rows = Vec::new();
        let mut coming: Vec<(Timestamp, Coming)> = Vec::new();
        for store::Body { name, body } in store::bodies(&self.db, names).await? {
            let Some(calendar) = body.0.calendar().filter(|calendar| !calendar.is_always()) else {
                continue;
            };
            if rows.len() == LINES {
                break;
            }
            zones.extend(body.0.windows.iter().map(|window| window.timezone.clone()));
            let openings = calendar.openings_between(now, to, most);
            if let Some(next) = openings.first() {
                coming.push((
                    next.from,
                    Coming {
                        environment: name.clone(),
                        label: next.label.clone(),
                        at: when(next.from),
                    },
                ));
            }
            rows.push(chart::Row {
                spans: spans(&openings, &suppressed, &name, to),
                href: format!("/plans/{}", url_encode(&name)),
                label: name,
            });
        }
        coming.sort_by_key(|(at, _)| *at);
        let title = format!("When windows open within {days} days; the list holds the next of each");
        // Where they keep several zones, none of them is everyone's.
        let mut zones = zones.into_iter();
        let zone = match (zones.next(), zones.next()) {
            (Some(zone), None) => zone,
            _ => "UTC".to_owned(),
        };
        let frame = chart::Frame::ahead(now, to, &zone);
        let calendar = (!rows.is_empty()).then(|| chart::timeline(&title, &rows, &frame));
        Ok((
            calendar.map(|calendar| (calendar, zone)),
            coming.into_iter().map(|(_, coming)| coming).take(LINES).collect(),
        ))
    }
}

/// Openings, and the stretches in which they count nothing because changes are held.
pub(super) fn spans(
    openings: &[bascule_planner::calendar::Opening],
    suppressed: &[crate::site::Suppressed],
    name: &str,
    to: Timestamp,
) -> Vec<chart::Span> {
    let windows = openings.iter().map(|opening| chart::Span {
        from: opening.from,
        to: opening.to,
        class: "window",
        label: format!(
            "window {}, open for {}",
            opening.label,
            span(opening.to.since(opening.from))
        ),
    });
    let holds = suppressed
        .iter()
        .filter(|open| open.site == name || open.site == "*")
        .map(|open| chart::Span {
            from: open.opened_at,
            to: open.until_at.unwrap_or(to),
            class: "suppressed",
            label: format!("changes are held: {}", open.reason),
        });
    windows.chain(holds).collect()
}

/// How many plans each kind of constraint holds.
fn kinds(rows: &[store::Waiting], rollouts: &Waits) -> Vec<Kind> {
    let mut all: BTreeMap<String, i64> = BTreeMap::new();
    if rollouts.count() > 0 {
        all.insert(KIND.to_owned(), rollouts.count());
    }
    for row in rows {
        let held = row.verdicts.0.iter().filter(|verdict| !verdict.allows());
        let mut some = false;
        for verdict in held {
            some = true;
            *all.entry(verdict.kind.clone()).or_default() += 1;
        }
        if !some {
            *all.entry(row.state.clone()).or_default() += 1;
        }
    }
    let most = all.values().copied().max().unwrap_or(1);
    let mut all: Vec<(String, i64)> = all.into_iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all.into_iter()
        .take(8)
        .map(|(kind, count)| {
            let part = |class: &str, label: &str, count| chart::Part {
                class: class.to_owned(),
                label: label.to_owned(),
                count,
            };
            let label = cause(&kind);
            Kind {
                bar: chart::bar(
                    &label,
                    &[
                        part("fill s-held", "plans held", count),
                        part("fill-none", "of the others", most - count),
                    ],
                ),
                count: commas(count),
                label,
            }
        })
        .collect()
}

/// Plans and rollouts that have waited longest.
fn longest(plans: Vec<store::Waiting>, rollouts: &Waits, most: usize) -> Vec<Wait> {
    let plans = plans.into_iter().take(most).map(|row| Wait {
        since: row.at,
        at: when(row.at),
        environment: row.name,
        product: row.project_path,
        state: row.state,
        why: row.why,
        href: String::new(),
        next: String::new(),
    });
    let rollouts = rollouts.all().into_iter().take(most);
    let rollouts = rollouts.map(|(environment, product, wait)| Wait {
        since: wait.since,
        at: when(wait.since),
        href: format!("/{product}/-/rollouts/{}", wait.id),
        next: wait.next.clone(),
        environment: environment.to_owned(),
        product: product.to_owned(),
        state: waits::STATE.to_owned(),
        why: wait.why.clone(),
    });
    let mut all: Vec<Wait> = plans.chain(rollouts).collect();
    all.sort_by_key(|wait| wait.since);
    all.truncate(most);
    all
}

async fn map(State(delivery): State<Delivery>, Params(query): Params<MapQuery>, ui: Ui) -> Answer {
    let sight = delivery.sight(ui.caller()).await?;
    let tiles = delivery.tiles(ui.caller(), &sight, &query).await?;
    if ui.is_fragment() {
        return ui.fragment(&tiles);
    }
    let (most, shown) = WAITING;
    let (counted, waiting) = tokio::try_join!(
        store::counts(&delivery.db, &sight, &[]),
        store::waiting(&delivery.db, &sight, most),
    )
    .map_err(bascule_core::Problem::from)?;
    let missing = delivery.unknown_entries(ui.caller(), None).await?.len();
    let counts = in_order(|state| match state {
        UNKNOWN_PRODUCT => i64::try_from(missing).unwrap_or(0),
        state => counted.iter().find(|c| c.state == state).map_or(0, |c| c.n),
    });
    let rollouts = delivery.waits(&sight).await?;
    let kinds = kinds(&waiting, &rollouts);
    let mut waits = longest(waiting, &rollouts, shown);
    delivery
        .unname(&sight, waits.iter_mut().map(|wait| &mut wait.why).collect())
        .await?;
    let names: Vec<String> = tiles
        .tiles
        .iter()
        .map(|tile| tile.tile.environment.clone())
        .collect();
    let (calendar, openings) = delivery.calendar(&names).await?;
    let page = Page {
        empty: tiles.tiles.is_empty() && query.q.is_empty() && query.state.is_empty(),
        bar: chart::bar("Installs by state", &chart::parts(&counts)),
        waiting: counts
            .iter()
            .filter(|c| matches!(c.state.as_str(), "held" | "blocked" | "coupled" | "drifted"))
            .map(|c| c.count)
            .sum::<i64>()
            + rollouts.count(),
        counts,
        kinds,
        waits,
        may_manage: ui.caller().holds(Permission::InstanceManage),
        stopped: tiles.by_hand,
        refused: delivery.refused_commit(ui.caller()).await?,
        calendar,
        openings,
        q: query.q,
        state: query.state,
        states: STATES,
        tiles,
    };
    ui.page(Section::Environments, "Environments", &[], &page)
}
