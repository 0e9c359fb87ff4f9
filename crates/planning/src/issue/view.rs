//! What pages have in common when they show issues.

use crate::label::LabelRow;

/// A label as drawn.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) colour: String,
}

/// Labels as drawn, in their order.
pub(crate) fn tags(labels: &[LabelRow]) -> Vec<Tag> {
    labels
        .iter()
        .map(|label| Tag {
            name: label.name.clone(),
            colour: label.colour.clone(),
        })
        .collect()
}
