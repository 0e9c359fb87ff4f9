//! The two views: environments, for those who keep them running, and products, for those who change them; and the
//! fleet, which is both. They read what the other rooms store and decide nothing.
//!
//! Nobody sees the name of a product that they may not read: rows are chosen by [`Sight`], and reasons, which may
//! name what an install waits for, are veiled.

mod api;
mod chart;
mod commit;
mod environment;
mod fleet;
mod map;
mod products;
mod store;

use crate::Delivery;
use bascule_core::{Caller, ProjectId, Result};
use bascule_planner::{Lift, Verdict};
use bascule_web::{Markup, Routes, icon};
use bascule_wire::{
    agent::Tier,
    delivery::{PlanEntry, PlanVerdict, WhyNot},
    views::StateCount,
};
use std::collections::{BTreeSet, HashSet};

pub(crate) fn routes() -> Routes<Delivery> {
    api::routes()
        .merge(fleet::routes())
        .merge(map::routes())
        .merge(environment::routes())
        .merge(products::routes())
}

/// The states of a plan, as stored and shown.
const STATES: [&str; 7] = [
    "up_to_date",
    "moving",
    "ready",
    "held",
    "blocked",
    "coupled",
    "drifted",
];
/// Most projects that a caller's sight is made of: every engine bounds what may be bound.
const SEEN: usize = 30_000;
/// Words of a search that count, and letters of a word.
const WORDS: (usize, usize) = (8, 100);

/// What a caller may read.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    /// Everything.
    All,
    /// These projects' installs alone.
    Some(HashSet<ProjectId>),
}

/// What is asked of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// Each stands somewhere in a row.
    pub words: Vec<String>,
    /// In this state alone; empty: in any.
    pub state: String,
    /// After this environment and product.
    pub after: Option<(String, String)>,
}

impl Ask {
    /// Reads what a form or an address says; what is no state asks for none.
    pub fn new(q: &str, state: &str, after: &str) -> Self {
        let (most, letters) = WORDS;
        Self {
            words: q
                .split_whitespace()
                .take(most)
                .map(|word| word.chars().take(letters).collect())
                .collect(),
            state: STATES
                .into_iter()
                .find(|known| *known == state)
                .unwrap_or_default()
                .to_owned(),
            after: after
                .split_once(':')
                .map(|(name, path)| (name.to_owned(), path.to_owned())),
        }
    }
}

/// The colour of a plan's state; icon and word stand beside it.
fn tone(state: &str) -> &'static str {
    match state {
        "up_to_date" | "healthy" => "bg-green-lt",
        "moving" | "ready" | "starting" | "fetching" => "bg-blue-lt",
        "held" | "blocked" | "draining" => "bg-yellow-lt",
        "drifted" => "bg-orange-lt",
        "coupled" | "crashed" | "failed" | "unhealthy" => "bg-red-lt",
        _ => "bg-secondary-lt",
    }
}

/// Its icon, so that colour alone never tells.
fn sign(state: &str) -> Markup {
    icon(match state {
        "up_to_date" | "healthy" => "circle-check",
        "moving" | "starting" | "fetching" => "loader",
        "ready" => "player-play",
        "held" => "clock",
        "blocked" | "draining" => "player-pause",
        "crashed" | "failed" | "unhealthy" => "circle-x",
        "coupled" | "drifted" => "alert-triangle",
        _ => "circle-minus",
    })
}

/// A state or kind for people.
fn words(state: &str) -> String {
    match state {
        "" => "not planned yet".to_owned(),
        state => state.replace('_', " "),
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

fn tier(stored: &str) -> Tier {
    if stored == "production" {
        Tier::Production
    } else {
        Tier::Staging
    }
}

fn told(verdict: Verdict) -> PlanVerdict {
    let lifts = match verdict.lifts {
        Some(Lift::At(at)) => at.to_string(),
        Some(Lift::When(event)) => event,
        None => String::new(),
    };
    PlanVerdict {
        kind: verdict.kind,
        why: verdict.why,
        lifts,
    }
}

/// Counts in the order of the states, those that are none left out.
fn in_order(count: impl Fn(&str) -> i64) -> Vec<StateCount> {
    STATES
        .into_iter()
        .map(|state| StateCount {
            state: state.to_owned(),
            count: count(state),
        })
        .filter(|counted| counted.count > 0)
        .collect()
}

/// A letter of `group/project`.
const fn of_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.')
}

/// What reads like `group/project` in a text.
fn paths_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !of_path(c))
        .map(|token| token.trim_matches('.'))
        .filter(|token| token.split('/').count() == 2)
}

/// The text with some products' names taken out.
fn veiled(text: &str, hidden: &HashSet<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let inside = rest.starts_with(of_path);
        let end = rest.find(|c: char| of_path(c) != inside).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        let name = token.trim_matches('.');
        if inside && hidden.contains(name) {
            out.push_str(&token.replacen(name, "[another product]", 1));
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out
}

impl Delivery {
    /// What a caller may read, of the projects that have an environment.
    pub(crate) async fn sight(&self, caller: &Caller) -> Result<Sight> {
        let Some(visible) = self.ports.projects.visible(caller).await? else {
            return Ok(Sight::All);
        };
        let visible: HashSet<ProjectId> = visible.into_iter().collect();
        let all = store::projects(&self.db).await?;
        Ok(Sight::Some(
            all.into_iter()
                .filter(|project| visible.contains(project))
                .take(SEEN)
                .collect(),
        ))
    }

    /// The same as [`Delivery::why_not`], with products that the caller may not read left unnamed.
    pub(crate) async fn why_not_seen(
        &self,
        caller: &Caller,
        environment: &str,
        product: &str,
        version: &str,
    ) -> Result<WhyNot> {
        let mut why = self.why_not(caller, environment, product, version).await?;
        let sight = self.sight(caller).await?;
        let mut texts = vec![&mut why.sentence];
        for link in &mut why.links {
            texts.extend([&mut link.text, &mut link.product, &mut link.lifts]);
        }
        self.veil(&sight, texts).await?;
        Ok(why)
    }

    /// Takes the names of products that a caller may not read out of what plans say.
    pub(crate) async fn veil_plans(&self, caller: &Caller, plans: &mut [PlanEntry]) -> Result<()> {
        let sight = self.sight(caller).await?;
        let mut texts: Vec<&mut String> = Vec::new();
        for plan in plans {
            texts.push(&mut plan.why);
            for verdict in &mut plan.verdicts {
                texts.extend([&mut verdict.why, &mut verdict.lifts]);
            }
        }
        self.veil(&sight, texts).await
    }

    /// Takes the names of products that are not seen out of texts.
    pub(crate) async fn veil(&self, sight: &Sight, texts: Vec<&mut String>) -> Result<()> {
        let Sight::Some(seen) = sight else {
            return Ok(());
        };
        let named: BTreeSet<String> = texts
            .iter()
            .flat_map(|text| paths_in(text))
            .map(str::to_owned)
            .collect();
        let named: Vec<String> = named.into_iter().collect();
        let hidden: HashSet<String> = store::named(&self.db, &named)
            .await?
            .into_iter()
            .filter(|row| !seen.contains(&row.project_id))
            .map(|row| row.project_path)
            .collect();
        if hidden.is_empty() {
            return Ok(());
        }
        for text in texts {
            *text = veiled(text, &hidden);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_seen_leave_a_text_and_nothing_else_does() {
        let hidden: HashSet<String> = ["health/auth".to_owned()].into();
        let text = "1.1.0 needs health/auth ≥ 2.0.0; it waits for Saturday 22:00 (Europe/Paris). So does health/auth.";
        assert_eq!(
            veiled(text, &hidden),
            "1.1.0 needs [another product] ≥ 2.0.0; it waits for Saturday 22:00 (Europe/Paris). So does [another product]."
        );
        assert_eq!(
            veiled("health/authority waits", &hidden),
            "health/authority waits"
        );
        let found: Vec<&str> = paths_in(text).collect();
        assert_eq!(found, ["health/auth", "Europe/Paris", "health/auth"]);
    }

    #[test]
    fn what_is_no_state_asks_for_none() {
        assert_eq!(Ask::new(" a  b ", "held", "site-7:health/auth").words, ["a", "b"]);
        assert_eq!(Ask::new("", "held' OR 1=1", "").state, "");
        assert_eq!(
            Ask::new("", "", "site-7:health/auth").after,
            Some(("site-7".to_owned(), "health/auth".to_owned()))
        );
    }
}
