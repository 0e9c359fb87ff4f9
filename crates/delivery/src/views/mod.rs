//! The two views: environments, for those who keep them running, and products, for those who change them; and the
//! fleet, which is both. They read what the other rooms store and decide nothing.
//!
//! Nobody sees the name of a product that they may not read: rows are chosen by [`Sight`], and reasons, which may
//! name what an install waits for, are veiled.

mod api;
mod board;
mod chart;
mod commit;
mod environment;
mod fleet;
mod forms;
mod leaving;
mod map;
mod products;
mod reported;
pub(crate) mod say;
mod store;
mod waits;

use crate::{Delivery, plan::words::verdict as told};
use bascule_core::{Caller, ProjectId, Result};
use bascule_web::{Markup, Routes, icon};
use bascule_wire::{agent::Tier, views::StateCount};
use std::collections::HashSet;

pub(crate) fn routes() -> Routes<Delivery> {
    api::routes()
        .merge(board::routes())
        .merge(forms::routes())
        .merge(fleet::routes())
        .merge(map::routes())
        .merge(environment::routes())
        .merge(products::routes())
}

/// The states of a plan, as stored and shown; of those that move, the ones that wait for a person apart.
const STATES: [&str; 9] = [
    "up_to_date",
    "moving",
    waits::STATE,
    "ready",
    "held",
    "blocked",
    "coupled",
    "drifted",
    "unknown_product",
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
    /// Some projects alone.
    Some {
        /// Those of them that have an environment: what rows are chosen by.
        shown: HashSet<ProjectId>,
        /// All of them: whose names may be read.
        readable: HashSet<ProjectId>,
    },
}

/// What is asked of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// Each stands somewhere in a row.
    pub words: Vec<String>,
    /// In this state alone, one of [`STATES`]; empty: in any.
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

/// The classes of a state: its colour is defined once, in the stylesheet. Icon and word stand beside it.
pub(crate) fn tone(state: &str) -> String {
    format!("state s-{state}")
}

/// Its icon, so that colour alone never tells.
fn sign(state: &str) -> Markup {
    icon(match state {
        "up_to_date" | "healthy" => "circle-check",
        "moving" | "starting" | "fetching" => "loader",
        "ready" => "player-play",
        "held" => "clock",
        waits::STATE => "users",
        "blocked" | "draining" => "player-pause",
        "crashed" | "failed" | "unhealthy" => "circle-x",
        "coupled" | "drifted" | "unknown_product" => "alert-triangle",
        _ => "circle-minus",
    })
}

/// A state or kind for people.
fn words(state: &str) -> String {
    match state {
        "" => "not planned yet".to_owned(),
        waits::STATE => "waits for a person".to_owned(),
        state => state.replace('_', " "),
    }
}

/// The state of so many, for people.
fn many(state: &str, count: i64) -> String {
    if state == waits::STATE && count != 1 {
        return "wait for a person".to_owned();
    }
    words(state)
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

impl Delivery {
    /// What a caller may read.
    pub(crate) async fn sight(&self, caller: &Caller) -> Result<Sight> {
        let Some(readable) = self.visible(caller).await? else {
            return Ok(Sight::All);
        };
        let all = store::projects(&self.db).await?;
        Ok(Sight::Some {
            shown: all
                .into_iter()
                .filter(|project| readable.contains(project))
                .take(SEEN)
                .collect(),
            readable,
        })
    }

    /// Takes the names of products that are not seen out of texts.
    async fn unname(&self, sight: &Sight, texts: Vec<&mut String>) -> Result<()> {
        let Sight::Some { readable, .. } = sight else {
            return Ok(());
        };
        self.veil_texts(Some(readable), texts).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
