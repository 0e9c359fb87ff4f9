//! Labels. Those of a family (`type::bug`) shut each other out on an issue. Each project begins with five families:
//! what kind of work it is, which part it concerns, what it is worth, how hard it is, how urgent it is.

pub(crate) mod api;
pub(crate) mod pages;
mod service;
pub(crate) mod store;

use bascule_core::{Problem, Result};

pub(crate) use service::not_a_person;
pub(crate) use store::LabelRow;

/// Colours that labels may have: those of the pages, which are readable in light and dark.
pub const PALETTE: [&str; 12] = [
    "blue", "azure", "indigo", "purple", "pink", "red", "orange", "yellow", "lime", "green", "teal", "cyan",
];

/// A label that each project begins with: name, colour, what it means.
pub(crate) type Seed = (&'static str, &'static str, &'static str);

/// The five families, in the order in which they are shown; within `priority` the order is the urgency.
pub(crate) const SEEDS: &[Seed] = &[
    ("type::bug", "red", "Something does not do what it should"),
    ("type::feature", "blue", "Something new for users"),
    ("type::iteration", "azure", "A step on from what is there"),
    ("type::refactor", "indigo", "Better inside, the same outside"),
    ("type::documentation", "teal", "Words, not code"),
    ("type::discussion", "purple", "To be talked over first"),
    ("area::backend", "indigo", "What runs on servers"),
    ("area::frontend", "cyan", "What users see"),
    ("area::documentation", "teal", "What users and colleagues read"),
    ("area::cloud", "azure", "Containers, clusters, pipelines"),
    (
        "area::infrastructure",
        "purple",
        "Machines, networks and their configuration",
    ),
    ("business-value::p1", "red", "Worth most to the institution"),
    ("business-value::p2", "orange", "Worth much"),
    ("business-value::p3", "yellow", "Worth something"),
    ("business-value::p4", "lime", "Good to have"),
    ("complexity::1", "green", "Simple, done soon"),
    ("complexity::2", "lime", "Some thought, some days"),
    ("complexity::3", "yellow", "Hard, or long"),
    (
        "complexity::4",
        "orange",
        "Very hard or very long: better split it",
    ),
    ("priority::critical", "red", "Before everything else"),
    ("priority::high", "orange", "Soon"),
    ("priority::medium", "yellow", "In its turn"),
    ("priority::low", "lime", "When there is time"),
];

/// A colour by name.
///
/// # Errors
/// There is none.
pub(crate) fn colour(name: &str) -> Result<String> {
    let name = name.trim();
    if PALETTE.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(Problem::invalid(
        "bad_colour",
        format!("`{}` is no colour.", crate::text::cut(name, 20)),
    )
    .why("Labels keep to colours that can be read in light and dark.")
    .next(format!("Use one of: {}.", PALETTE.join(", "))))
}

/// A colour for a new label: the one that fewest labels of its owner have.
pub(crate) fn free_colour(labels: &[LabelRow]) -> &'static str {
    PALETTE
        .into_iter()
        .min_by_key(|colour| labels.iter().filter(|label| label.colour == *colour).count())
        .unwrap_or("blue")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_five_families_of_good_labels() {
        let mut families: Vec<&str> = Vec::new();
        for (name, tone, _) in SEEDS {
            assert_eq!(crate::text::label(name).unwrap(), *name);
            assert!(colour(tone).is_ok());
            let family = crate::text::family(name);
            if families.last() != Some(&family) {
                families.push(family);
            }
        }
        assert_eq!(
            families,
            ["type", "area", "business-value", "complexity", "priority"]
        );
    }
}
