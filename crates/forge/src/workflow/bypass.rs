//! Letting through what a rule refuses: by a maintainer, with a reason, for ever in the ledger.

use super::{Rule, secret};
use crate::{Forge, ProjectInfo};
use bascule_core::{Permission, Problem, Result, Role};
use bascule_store::row;

/// The option of `git push -o` that asks for it.
pub(crate) const OPTION: &str = "bascule.bypass";
/// Shortest and longest reason, in characters.
const SHORTEST: usize = 5;
const LONGEST: usize = 300;
/// Maintainers that are named to whoever may not.
const NAMED: usize = 5;

/// What was let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bypass {
    pub(crate) rules: Vec<Rule>,
    pub(crate) reason: String,
    /// The references that broke the rules.
    pub(crate) references: Vec<String>,
}

row! {
    /// Rules that a request was let by, at one head.
    #[derive(Clone, Debug)]
    pub(crate) struct Given {
        pub(crate) head: String,
        /// Names of rules, with commas between.
        pub(crate) rules: String,
        pub(crate) reason: String,
        pub(crate) actor_name: String,
    }
}

impl Given {
    pub(crate) fn covers(&self, rule: Rule) -> bool {
        self.rules.split(',').any(|key| key == rule.key())
    }
}

/// The reason that a push gives for it, if it asks.
pub(super) fn asked(options: &[String]) -> Option<&str> {
    options
        .iter()
        .find_map(|option| match option.trim().split_once('=') {
            Some((name, reason)) if name.trim() == OPTION => Some(reason.trim()),
            None if option.trim() == OPTION => Some(""),
            _ => None,
        })
}

/// Reads a reason. It is kept for ever, where everyone who may read the project's facts reads it.
pub(super) fn reason(text: &str) -> Result<String> {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if !(SHORTEST..=LONGEST).contains(&text.chars().count()) {
        return Err(Problem::invalid(
            "no_reason",
            format!("A reason has {SHORTEST} to {LONGEST} characters."),
        )
        .why("Whoever later finds what was let through has nothing else to go by.")
        .next("Say in one line why the rule does not fit here."));
    }
    let address = |word: &str| {
        word.split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
    };
    if secret::in_line(&text).is_some() || text.split(' ').any(address) {
        return Err(Problem::invalid(
            "bad_reason",
            "The reason holds what looks like a secret or an e-mail address.",
        )
        .why("It goes into the ledger, from which nothing is ever taken away.")
        .next("Write it without."));
    }
    Ok(text)
}

/// The permission that it takes: a maintainer's.
pub(super) const PERMISSION: Permission = Permission::ProtectedPush;

impl Forge {
    /// Who may let something through in a project, for whoever may not.
    pub(super) async fn who_may_bypass(&self, project: &ProjectInfo) -> Result<String> {
        let members = self.people()?.members(project).await?;
        let may = members.into_iter().filter(|(_, role)| *role >= Role::Maintainer);
        let mut names: Vec<String> = may.map(|(known, _)| known.username).collect();
        names.sort();
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        let path = project.path();
        Ok(match names.as_slice() {
            [] => format!("a maintainer of {path}"),
            names => format!("a maintainer of {path} ({})", names.join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_asked_for_and_holds_nothing_that_must_not_be_kept() {
        let options = ["ci.skip".to_owned(), "bascule.bypass= old  history ".to_owned()];
        assert_eq!(asked(&options), Some("old  history"));
        assert_eq!(asked(&["bascule.bypass".to_owned()]), Some(""));
        assert_eq!(asked(&["ci.skip".to_owned()]), None);
        assert_eq!(reason(" old \n history ").unwrap(), "old history");
        for bad in ["", "ok", "as sre@example.org said", &"x".repeat(301)] {
            assert!(reason(bad).is_err(), "{bad}");
        }
        assert!(reason(&["it is AKIA", "IOSFODNN7ABCDEFG"].concat()).is_err());
    }
}
