//! Issues: every commit names one, a branch carries its number, and is for one alone.

use super::{Change, Commit, Rule, broken};
use bascule_core::{
    Problem,
    reference::{issues_in, of_branch},
};
use std::collections::BTreeSet;

/// Commits that are named one by one in an answer.
const NAMED: usize = 5;

/// Numbers of issues of this project that the commits of a change name.
pub(crate) fn numbers(change: &[Commit]) -> BTreeSet<i64> {
    let own = change.iter().filter(|commit| !commit.is_merge());
    own.flat_map(|commit| issues_in(&commit.message))
        .filter(|reference| reference.project.is_none())
        .map(|reference| reference.number)
        .collect()
}

/// Commits that people wrote: merges bring what was judged where it was written.
fn written(change: &Change) -> impl Iterator<Item = &Commit> {
    change.commits.iter().filter(|commit| !commit.is_merge())
}

pub(super) fn in_commits(change: &Change) -> Option<Problem> {
    let nothing: Vec<String> = written(change)
        .filter(|commit| issues_in(&commit.message).is_empty())
        .map(Commit::shown)
        .collect();
    if let Some(first) = nothing.first() {
        let more = match nothing.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let how = if nothing.len() == 1 && change.commits.first().map(Commit::shown).as_ref() == Some(first) {
            "`git commit --amend` and add its number, such as `#12`, then push again."
        } else {
            "`git rebase -i`, `reword` each of them and add its number, such as `#12`, then push again."
        };
        let names = nothing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let names = if nothing.len() > NAMED {
            format!("{first}{more}")
        } else {
            names
        };
        return Some(
            broken(Rule::IssueInCommit, format!("No issue is named in {names}."))
                .next(format!("Open an issue if there is none. {how}")),
        );
    }
    let open = change.open_issues.as_ref()?;
    let strange = written(change).find_map(|commit| {
        let all = issues_in(&commit.message);
        // Of other projects' issues nothing is known here.
        let none = all
            .iter()
            .all(|issue| issue.project.is_none() && !open.contains(&issue.number));
        none.then(|| (commit.shown(), all))
    });
    let (commit, all) = strange?;
    let numbers: Vec<String> = all
        .iter()
        .take(NAMED)
        .map(|issue| format!("#{}", issue.number))
        .collect();
    Some(
        broken(
            Rule::IssueInCommit,
            format!(
                "{commit} names {}, and there is no such open issue here.",
                numbers.join(", ")
            ),
        )
        .next("Name an issue that is open, or open this one again."),
    )
}

/// Whether a branch is one that people work on for a task: not the trunk, and none that a flow keeps for ever.
pub(super) fn is_task(change: &Change) -> bool {
    let kept = ["develop", "staging", "production", "pre-production"];
    let prefixes = ["release/", "releases/", "hotfix/", "environment/", "env/"];
    change.branch != change.trunk
        && !kept.contains(&change.branch.as_str())
        && !prefixes.iter().any(|prefix| change.branch.starts_with(prefix))
}

pub(super) fn in_branch(change: &Change) -> Option<Problem> {
    if !is_task(change) || of_branch(&change.branch).is_some() {
        return None;
    }
    let branch = &change.branch;
    Some(
        broken(
            Rule::IssueInBranch,
            format!("The branch `{branch}` carries no issue's number."),
        )
        .next(format!(
            "Push it under another name: git push origin HEAD:12-{}.",
            branch.rsplit('/').next().unwrap_or(branch)
        )),
    )
}

pub(super) fn one(change: &Change) -> Option<Problem> {
    if !is_task(change) {
        return None;
    }
    let mut all: BTreeSet<i64> = written(change)
        .flat_map(|commit| first(&commit.message))
        .collect();
    all.extend(of_branch(&change.branch));
    if all.len() < 2 {
        return None;
    }
    let numbers: Vec<String> = all
        .iter()
        .take(NAMED)
        .map(|number| format!("#{number}"))
        .collect();
    Some(
        broken(
            Rule::OneBranchOneIssue,
            format!("The branch `{}` is for more than one issue: {}.", change.branch, numbers.join(", ")),
        )
        .next("Move the commits of each issue to a branch of its own (git cherry-pick), and open a merge request for each."),
    )
}

/// The issue that a message is for: the first it names. Others may be mentioned beside it.
fn first(message: &str) -> Option<i64> {
    let issue = issues_in(message).into_iter().next()?;
    issue.project.is_none().then_some(issue.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(branch: &str, messages: &[&str]) -> Change {
        Change {
            branch: branch.to_owned(),
            trunk: "main".to_owned(),
            commits: messages
                .iter()
                .map(|message| Commit {
                    sha: "a".repeat(40),
                    message: (*message).to_owned(),
                    parents: vec![String::new()],
                    ..Commit::default()
                })
                .collect(),
            ..Change::default()
        }
    }

    #[test]
    fn a_commit_without_an_issue_is_named_with_the_way_out() {
        let problem = in_commits(&change("x", &["Mend it"])).unwrap();
        assert!(
            problem.what.contains("Mend it") && problem.next.contains("--amend"),
            "{problem}"
        );
        let problem = in_commits(&change("x", &["One #1", "Two", "Three"])).unwrap();
        assert!(problem.next.contains("rebase"), "{problem}");
        assert!(in_commits(&change("x", &["One #1"])).is_none());
        let mut known = change("x", &["One #1", "Two #2"]);
        known.open_issues = Some([1].into());
        assert!(in_commits(&known).unwrap().what.contains("#2"));
        let mut elsewhere = change("x", &["One of acme/web#9"]);
        elsewhere.open_issues = Some([1].into());
        assert!(
            in_commits(&elsewhere).is_none(),
            "other projects' issues are not asked for"
        );
        let mut merge = change("x", &["Merge"]);
        merge.commits[0].parents.push(String::new());
        assert!(in_commits(&merge).is_none());
    }

    #[test]
    fn a_branch_is_for_one_issue_but_may_mention_others() {
        assert!(one(&change("12-x", &["Do #12, see #3", "More (#12)"])).is_none());
        assert!(
            one(&change("12-x", &["Do #13"]))
                .unwrap()
                .what
                .contains("#12, #13")
        );
        assert!(one(&change("main", &["Do #1", "Do #2"])).is_none());
        assert!(in_branch(&change("topic", &[])).is_some() && in_branch(&change("release/1", &[])).is_none());
    }
}
