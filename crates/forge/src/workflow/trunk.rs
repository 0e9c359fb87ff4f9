//! The trunk is not merged into a branch that is for a task.

use super::{Change, Rule, broken, issue};
use bascule_core::Problem;

pub(super) fn merged_in(change: &Change) -> Option<Problem> {
    if !issue::is_task(change) {
        return None;
    }
    // A merge's first parent is the branch itself; what it brings in comes after.
    let merge = change.commits.iter().find(|commit| {
        commit
            .parents
            .iter()
            .skip(1)
            .any(|parent| change.on_trunk.contains(parent))
    })?;
    let (branch, trunk) = (&change.branch, &change.trunk);
    Some(
        broken(
            Rule::NoTrunkMerge,
            format!("{} merges `{trunk}` into `{branch}`.", merge.shown()),
        )
        .next(format!(
            "Rebase instead: git fetch, git rebase origin/{trunk} (it leaves such merges out), git push --force-with-lease."
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::Commit;

    #[test]
    fn a_merge_of_the_trunk_is_found_and_one_of_a_colleagues_branch_is_not() {
        let mut change = Change {
            branch: "12-x".into(),
            trunk: "main".into(),
            commits: vec![Commit {
                sha: "m".repeat(40),
                parents: vec!["own".into(), "other".into()],
                ..Commit::default()
            }],
            ..Change::default()
        };
        assert!(merged_in(&change).is_none());
        change.on_trunk = ["other".to_owned()].into();
        assert!(merged_in(&change).unwrap().next.contains("rebase"));
        change.branch = "main".into();
        assert!(merged_in(&change).is_none());
    }
}
