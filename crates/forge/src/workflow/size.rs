//! A change is small, and is not reviewed for ever.

use super::{Change, Rule, broken, issue};
use bascule_core::Problem;

pub(super) fn large(change: &Change, most: u32) -> Option<Problem> {
    let lines = change.lines?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if lines <= most || !(issue::is_task(change) || change.target.is_some()) {
        return None;
    }
    Some(
        broken(
            Rule::ChangeSize,
            if lines == usize::MAX {
                format!("The change is too large for its lines to be counted; {most} is the most here.")
            } else {
                format!("The change adds and removes {lines} lines; {most} is the most here.")
            },
        )
        .next("Split it: what can be merged by itself goes first, in a branch of its own."),
    )
}

pub(super) fn old(change: &Change, days: u32) -> Option<Problem> {
    let age = change.age_days.filter(|age| *age > days)?;
    Some(
        broken(
            Rule::ReviewAge,
            format!("It has been open for {age} days; {days} is the most here."),
        )
        .next("Merge what is agreed on, and open an issue for the rest; or close it and say why."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_trunk_itself_is_not_measured() {
        let mut change = Change {
            branch: "12-x".into(),
            trunk: "main".into(),
            lines: Some(600),
            age_days: Some(7),
            ..Change::default()
        };
        assert!(large(&change, 600).is_none() && old(&change, 7).is_none());
        assert!(large(&change, 599).is_some() && old(&change, 6).is_some());
        change.branch = "main".into();
        assert!(large(&change, 1).is_none());
    }
}
