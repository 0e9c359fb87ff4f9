//! The fleet: every product in every environment, filtered while one types.

use super::{Ask, STATES, chart, in_order, or_dash, sign, store, tier, tone, words};
use crate::Delivery;
use askama::Template;
use axum::{extract::State, routing::get};
use bascule_core::{Caller, Result};
use bascule_web::{Access, Answer, Crumb, Markup, Params, Routes, Section, Ui, commas, icon, url_encode};
use bascule_wire::environments::RefusedCommit;
use bascule_wire::views::{FleetLine, FleetPage, StateCount};
use serde::Deserialize;

pub(super) fn routes() -> Routes<Delivery> {
    Routes::new().page("GET", "/plans", Access::Insider, get(fleet))
}

/// Rows on one page.
const ROWS: i64 = 100;
/// Most products that do not exist on the first page.
const MISSING: usize = 100;

/// What the form and the API ask.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
pub(super) struct FleetQuery {
    /// Words, each of which stands in product, environment, version or reason.
    #[serde(default)]
    pub q: String,
    /// In this state alone.
    #[serde(default)]
    pub state: String,
    /// The last page's `next`.
    #[serde(default)]
    pub after: String,
}

impl Delivery {
    /// A page of the fleet, of what the caller may read.
    pub(super) async fn fleet(&self, caller: &Caller, query: &FleetQuery) -> Result<FleetPage> {
        let sight = self.sight(caller).await?;
        let ask = Ask::new(&query.q, &query.state, &query.after);
        let (rows, counted) = tokio::try_join!(
            store::fleet(&self.db, &sight, &ask, ROWS + 1),
            store::counts(&self.db, &sight, &ask.words),
        )?;
        let missing = self.missing(caller, &ask).await?;
        let more = rows.len() > usize::try_from(ROWS).unwrap_or(0);
        let mut items: Vec<FleetLine> = rows
            .into_iter()
            .take(usize::try_from(ROWS).unwrap_or(0))
            .map(line)
            .collect();
        let waits = self.waits(&sight).await?;
        for line in items.iter_mut().filter(|line| line.state == "moving") {
            if let Some(wait) = waits.of(&line.environment, &line.product) {
                line.why.clone_from(&wait.why);
                line.rollout = Some(wait.clone());
            }
        }
        self.unname(&sight, items.iter_mut().map(|line| &mut line.why).collect())
            .await?;
        let counts = in_order(|state| {
            let known = counted.iter().find(|c| c.state == state).map_or(0, |c| c.n);
            let missing = missing.iter().filter(|line| line.state == state).count();
            known + i64::try_from(missing).unwrap_or(0)
        });
        let next = items
            .last()
            .filter(|_| more)
            .map(|last| format!("{}:{}", last.environment, last.product));
        if ask.after.is_none() {
            // What does not exist comes first: it has no place among environments and products that are there.
            let asked = |line: &FleetLine| ask.state.is_empty() || line.state == ask.state;
            items.splice(0..0, missing.into_iter().filter(asked));
        }
        Ok(FleetPage {
            refused: self.refused_commit(caller).await?,
            found: counts
                .iter()
                .filter(|counted| ask.state.is_empty() || counted.state == ask.state)
                .map(|counted| counted.count)
                .sum(),
            next,
            counts,
            items,
        })
    }
}

impl Delivery {
    /// Products that files name and that do not exist, for who may read the files.
    async fn missing(&self, caller: &Caller, ask: &Ask) -> Result<Vec<FleetLine>> {
        let all = self.unknown_entries(caller, None).await?;
        let matches = |text: &str| ask.words.iter().all(|word| text.contains(&word.to_lowercase()));
        Ok(all
            .into_iter()
            .filter(|entry| {
                matches(&format!("{} {} {}", entry.product, entry.environment, entry.why).to_lowercase())
            })
            .take(MISSING)
            .map(|entry| FleetLine {
                environment: entry.environment,
                tier: entry.tier,
                product: entry.product,
                declared: true,
                state: entry.state,
                current: String::new(),
                target: String::new(),
                step: String::new(),
                why: entry.why,
                at: entry.at,
                rollout: None,
            })
            .collect())
    }
}

fn line(row: store::Line) -> FleetLine {
    FleetLine {
        environment: row.name,
        tier: tier(&row.tier),
        product: row.project_path,
        declared: row.declared,
        state: row.state,
        current: row.current,
        target: row.target,
        step: row.step,
        why: row.why,
        at: row.at,
        rollout: None,
    }
}

#[derive(Template)]
#[template(path = "views/fleet_table.html")]
struct Table {
    q: String,
    state: String,
    after: String,
    bar: Markup,
    counts: Vec<StateCount>,
    found: String,
    lines: Vec<FleetLine>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "views/fleet.html")]
struct Page {
    q: String,
    state: String,
    states: [&'static str; 9],
    /// A commit of the environments project that is not in force.
    refused: Option<RefusedCommit>,
    table: Table,
    /// Nothing is planned anywhere.
    empty: bool,
}

async fn fleet(State(delivery): State<Delivery>, Params(query): Params<FleetQuery>, ui: Ui) -> Answer {
    let page = delivery.fleet(ui.caller(), &query).await?;
    let table = Table {
        bar: chart::bar("Installs by state", &chart::parts(&page.counts)),
        counts: page.counts,
        found: commas(page.found),
        lines: page.items,
        next: page.next,
        q: query.q.clone(),
        state: query.state.clone(),
        after: query.after,
    };
    if ui.is_fragment() {
        return ui.fragment(&table);
    }
    let page = Page {
        empty: table.counts.is_empty() && query.q.is_empty() && query.state.is_empty(),
        refused: page.refused,
        q: query.q,
        state: query.state,
        states: STATES,
        table,
    };
    let crumbs = [Crumb::to("Environments", "/environments"), Crumb::here("Fleet")];
    ui.page(Section::Environments, "Fleet", &crumbs, &page)
}
