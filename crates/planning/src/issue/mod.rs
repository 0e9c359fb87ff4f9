//! Issues: what they are, in what order they stand, and how lists of them are asked for. Pure; the queries are in
//! `store`.

pub(crate) mod api;
mod change;
pub(crate) mod close;
mod history;
pub(crate) mod list;
mod notice;
pub(crate) mod pages;
pub(crate) mod rank;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod view;

use crate::label::LabelRow;
use bascule_core::{IssueId, Problem, Result, UserId};
use bascule_wire::planning::{Column, IssueSummary};

pub(crate) use close::By;
pub use notice::IssueFacts;
pub(crate) use service::Draft;
pub use service::IssueState;
pub(crate) use store::IssueRow;

/// An issue with its labels and the people who have it.
#[derive(Clone, Debug)]
pub(crate) struct Issue {
    pub(crate) row: IssueRow,
    pub(crate) labels: Vec<LabelRow>,
    pub(crate) assignees: Vec<Assignee>,
}

bascule_store::row! {
    /// Someone who has an issue.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Assignee {
        pub(crate) issue_id: IssueId,
        pub(crate) user_id: UserId,
        pub(crate) username: String,
    }
}

impl Issue {
    pub(crate) fn column(&self) -> Column {
        self.row.column()
    }

    pub(crate) fn users(&self) -> Vec<UserId> {
        self.assignees.iter().map(|someone| someone.user_id).collect()
    }

    /// As the API carries it in a list; `path` is `group/project`.
    pub(crate) fn summary(&self, path: &str) -> IssueSummary {
        let column = self.column();
        IssueSummary {
            id: self.row.id,
            project: path.to_owned(),
            number: self.row.number,
            title: self.row.title.clone(),
            state: state(column).to_owned(),
            column,
            confidential: self.row.confidential,
            author: self.row.author.clone(),
            assignees: self
                .assignees
                .iter()
                .map(|someone| someone.username.clone())
                .collect(),
            labels: self.labels.iter().map(|label| label.name.clone()).collect(),
            milestone: self.row.milestone.clone(),
            due_on: self.row.due_on.clone(),
            comments: self.row.comments,
            created_at: self.row.created_at,
            updated_at: self.row.updated_at,
            closed_at: self.row.closed_at,
        }
    }
}

/// `open` or `closed`.
pub(crate) const fn state(column: Column) -> &'static str {
    match column {
        Column::Done => "closed",
        _ => "open",
    }
}

/// Where an issue stands after people were given it or it was taken from them: what nobody had goes to *To do* once
/// someone has it, and what nobody has any more is not being done.
pub(crate) fn settled(column: Column, had: bool, has: bool) -> Column {
    match column {
        Column::Open if !had && has => Column::Todo,
        Column::Doing if !has => Column::Todo,
        other => other,
    }
}

/// Where a closed issue goes when it is opened again.
pub(crate) const fn reopened(assigned: bool) -> Column {
    if assigned { Column::Todo } else { Column::Open }
}

/// The labels of an issue after a change, or why not: one of a family, and setting another replaces it.
///
/// # Errors
/// Two of one family are asked for at once.
pub(crate) fn relabelled(
    before: &[LabelRow],
    exactly: Option<&[LabelRow]>,
    add: &[LabelRow],
    remove: &[LabelRow],
) -> Result<Vec<LabelRow>> {
    let mut asked: Vec<&LabelRow> = exactly.unwrap_or_default().iter().collect();
    asked.extend(add);
    for (at, label) in asked.iter().enumerate() {
        let twin = asked
            .iter()
            .take(at)
            .find(|other| !label.family.is_empty() && other.family == label.family && other.id != label.id);
        if let Some(twin) = twin {
            return Err(Problem::invalid(
                "one_of_a_family",
                format!("`{}` and `{}` cannot stand together.", twin.name, label.name),
            )
            .why(format!(
                "Labels of the family `{}` shut each other out, so that each issue has one answer to it.",
                label.family
            ))
            .next("Choose one of them."));
        }
    }
    let mut after: Vec<LabelRow> = exactly.unwrap_or(before).to_vec();
    after.retain(|label| !remove.iter().any(|gone| gone.id == label.id));
    for label in add {
        after.retain(|other| {
            other.id != label.id && (label.family.is_empty() || other.family != label.family)
        });
        after.push(label.clone());
    }
    let mut unique: Vec<LabelRow> = Vec::new();
    for label in after {
        if !unique.iter().any(|known| known.id == label.id) {
            unique.push(label);
        }
    }
    Ok(unique)
}

/// How urgent the labels make an issue: the place of its `priority` label, smallest first.
pub(crate) fn urgency(labels: &[LabelRow]) -> Option<i64> {
    labels
        .iter()
        .find(|label| label.family == "priority")
        .map(|label| label.place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::LabelId;

    fn label(name: &str, place: i64) -> LabelRow {
        LabelRow {
            id: LabelId::new(),
            name: name.to_owned(),
            family: crate::text::family(name).to_owned(),
            description: String::new(),
            colour: "blue".to_owned(),
            place,
            of_group: false,
        }
    }

    #[test]
    fn a_label_replaces_the_other_of_its_family() {
        let (bug, feature, free) = (label("type::bug", 0), label("type::feature", 1), label("free", 2));
        let after = relabelled(
            &[bug.clone(), free.clone()],
            None,
            std::slice::from_ref(&feature),
            &[],
        )
        .unwrap();
        assert_eq!(after, [free.clone(), feature.clone()]);
        let after = relabelled(
            &[bug.clone(), free.clone()],
            None,
            &[],
            std::slice::from_ref(&bug),
        )
        .unwrap();
        assert_eq!(after, std::slice::from_ref(&free));
        let both = [bug.clone(), feature];
        assert!(relabelled(&[], Some(&both), &[], &[]).is_err());
        let same = [bug.clone(), bug.clone()];
        assert_eq!(relabelled(&[], Some(&same), &[], &[]).unwrap(), [bug]);
    }

    #[test]
    fn who_has_it_decides_where_it_stands() {
        assert_eq!(settled(Column::Open, false, true), Column::Todo);
        assert_eq!(settled(Column::Open, true, true), Column::Open);
        assert_eq!(settled(Column::Doing, true, false), Column::Todo);
        assert_eq!(settled(Column::Doing, true, true), Column::Doing);
        assert_eq!(settled(Column::Done, true, false), Column::Done);
    }

    #[test]
    fn urgency_is_the_place_of_the_priority_label() {
        assert_eq!(
            urgency(&[label("type::bug", 9), label("priority::high", 1)]),
            Some(1)
        );
        assert_eq!(urgency(&[label("type::bug", 9)]), None);
    }
}
