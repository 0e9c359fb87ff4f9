//! What changed, so that the plans that it bears on are made anew, and no others. Each change is a row, written in
//! the transaction that makes it; of a change that nobody wrote down, everything is planned.

use bascule_core::{AgentId, ProjectId};
use std::fmt;

/// Something that plans are made of has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// Something that may bear on any plan.
    Everything,
    /// A product's releases: published, promoted, recalled.
    Product(ProjectId),
    /// What stands against a product wherever it is: an incident.
    Project(ProjectId),
    /// Something in the environments of one name: what runs there, what is declared, an approval, a window.
    Site(&'a str),
    /// What an agent says of itself, or of what it runs.
    Agent(AgentId),
}

impl Change<'_> {
    /// Whether releases may be others than before.
    pub const fn of_releases(&self) -> bool {
        matches!(self, Self::Everything | Self::Product(_))
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Product(id) => write!(f, "product:{id}"),
            Self::Project(id) => write!(f, "project:{id}"),
            Self::Site(name) => write!(f, "site:{name}"),
            Self::Agent(id) => write!(f, "agent:{id}"),
        }
    }
}

impl<'a> Change<'a> {
    /// What was written down; what cannot be read may bear on everything.
    pub fn read(text: &'a str) -> Self {
        let found = match text.split_once(':') {
            Some(("product", id)) => id.parse().ok().map(Self::Product),
            Some(("project", id)) => id.parse().ok().map(Self::Project),
            Some(("site", name)) => Some(Self::Site(name)),
            Some(("agent", id)) => id.parse().ok().map(Self::Agent),
            _ => None,
        };
        found.unwrap_or(Self::Everything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_rest_is_everything() {
        for change in [
            Change::Everything,
            Change::Product(ProjectId::new()),
            Change::Project(ProjectId::new()),
            Change::Site("a:b"),
            Change::Agent(AgentId::new()),
        ] {
            assert_eq!(Change::read(&change.to_string()), change);
        }
        for odd in ["", "product:x", "moon:full"] {
            assert_eq!(Change::read(odd), Change::Everything);
        }
    }
}
