//! What a plan says names other products, and its reader may not know of all of them. Their names are veiled when it
//! is read; the reason itself is still told.

use crate::Delivery;
use bascule_core::{Name, ProjectId, Result};
use std::collections::{BTreeSet, HashSet};

/// What stands for a name.
const VEILED: &str = "a product that you may not read";
/// Most different names that are looked up for one answer; text with more is veiled whole.
const NAMES: usize = 2_000;

/// The names that one reader does not see.
#[derive(Debug, Default)]
pub(crate) struct Veil {
    hidden: HashSet<String>,
    all: bool,
}

impl Delivery {
    /// What of `texts` must be veiled from someone who may read `visible`; `None`: they may read everything.
    pub(crate) async fn veil(&self, visible: Option<&HashSet<ProjectId>>, texts: &[&str]) -> Result<Veil> {
        let mut veil = Veil::default();
        let Some(visible) = visible else { return Ok(veil) };
        let mut all = BTreeSet::new();
        for text in texts {
            all.extend(names(text).map(|(_, name)| name.to_owned()));
        }
        let names: Vec<String> = all.into_iter().collect();
        if names.len() > NAMES {
            veil.all = true;
            return Ok(veil);
        }
        for name in names {
            if let Some(project) = self.ports.projects.find(&name).await?
                && !visible.contains(&project)
            {
                veil.hidden.insert(name);
            }
        }
        Ok(veil)
    }

    /// Takes the names that are not to be read out of texts, with one look at all of them.
    pub(crate) async fn veil_texts(
        &self,
        visible: Option<&HashSet<ProjectId>>,
        texts: Vec<&mut String>,
    ) -> Result<()> {
        let read: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
        let veil = self.veil(visible, &read).await?;
        for text in texts {
            *text = veil.over(text);
        }
        Ok(())
    }
}

impl Veil {
    /// Whether a product's name is hidden.
    pub fn hides(&self, product: &str) -> bool {
        self.all || self.hidden.contains(product)
    }

    /// A text as the reader sees it.
    pub fn over(&self, text: &str) -> String {
        if self.hidden.is_empty() && !self.all {
            return text.to_owned();
        }
        let mut shown = String::with_capacity(text.len());
        let mut done = 0;
        for (at, name) in names(text) {
            if self.hides(name) {
                shown.push_str(text.get(done..at).unwrap_or_default());
                shown.push_str(VEILED);
                done = at + name.len();
            }
        }
        shown.push_str(text.get(done..).unwrap_or_default());
        shown
    }
}

/// Whatever in a text could be `group/project`, with its place.
fn names(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    text.split(move |c| !part(c)).filter_map(move |word| {
        let at = (word.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        let word = word.trim_end_matches(['.', '-', '_']);
        let (group, project) = word.split_once('/')?;
        let is_name = |text: &str| text.parse::<Name>().is_ok();
        (is_name(group) && is_name(project)).then_some((at, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_veiled_wherever_it_stands_and_nothing_else_is() {
        let veil = Veil {
            hidden: ["secret/base".to_owned()].into(),
            all: false,
        };
        for (text, shown) in [
            (
                "1.1.0 needs secret/base ≥ 1.1.0; secret/base 1.1.0 waits (Europe/Paris).",
                "1.1.0 needs a product that you may not read ≥ 1.1.0; a product that you may not read 1.1.0 waits (Europe/Paris).",
            ),
            ("needs `secret/base`.", "needs `a product that you may not read`."),
            (
                "ends with secret/base.",
                "ends with a product that you may not read.",
            ),
            ("secret/base-two and health/foo", "secret/base-two and health/foo"),
            ("é secret/base é", "é a product that you may not read é"),
        ] {
            assert_eq!(veil.over(text), shown);
        }
    }
}
