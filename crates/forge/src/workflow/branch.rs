//! Names of branches, and where they are merged.

use super::{Change, Flow, Policy, Rule, broken, issue};
use bascule_core::Problem;
use bascule_core::any_covers;

/// What a flow's branches are called beside the trunk; empty: anything.
fn patterns(flow: Flow) -> &'static [&'static str] {
    match flow {
        Flow::Gitflow => &[
            "develop",
            "feature/*",
            "bugfix/*",
            "release/*",
            "hotfix/*",
            "support/*",
        ],
        _ => &[],
    }
}

pub(super) fn named(change: &Change, policy: &Policy) -> Option<Problem> {
    let own: Vec<&str> = policy.branch_patterns.iter().map(String::as_str).collect();
    let allowed = if own.is_empty() {
        patterns(policy.flow)
    } else {
        own.as_slice()
    };
    let branch = &change.branch;
    let fits = allowed.is_empty() || *branch == change.trunk || any_covers(allowed, branch);
    if fits {
        return None;
    }
    Some(
        broken(
            Rule::BranchName,
            format!("The branch `{branch}` fits none of {}.", allowed.join(", ")),
        )
        .next("Push it under another name: git push origin HEAD:NAME."),
    )
}

pub(super) fn target(change: &Change, flow: Flow) -> Option<Problem> {
    let target = change.target.as_deref()?;
    let (branch, trunk) = (change.branch.as_str(), change.trunk.as_str());
    let begins = |prefix: &str| branch.starts_with(prefix);
    let right: &[&str] = match flow {
        Flow::Gitflow if begins("release/") || begins("hotfix/") => &[trunk, "develop"],
        // The trunk holds what is released; only releases and hotfixes come there.
        Flow::Gitflow if branch == "develop" && target != trunk => return None,
        Flow::Gitflow if issue::is_task(change) => &["develop"],
        Flow::Gitflow => return None,
        // What is downstream takes from upstream alone: the trunk, then environment by environment.
        Flow::Gitlab if issue::is_task(change) => &[trunk],
        _ => return None,
    };
    let ok = right.contains(&target)
        || (flow == Flow::Gitflow && target.starts_with("release/") && begins("bugfix/"));
    if ok {
        return None;
    }
    Some(
        broken(
            Rule::MergeTarget,
            format!("In {} `{branch}` is not merged into `{target}`.", flow.title()),
        )
        .next(format!(
            "Change the request's target to `{}`.",
            right.join("` or `")
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(branch: &str, target: &str) -> Change {
        Change {
            branch: branch.into(),
            trunk: "main".into(),
            target: Some(target.into()),
            ..Change::default()
        }
    }

    #[test]
    fn each_flow_sends_branches_where_they_belong() {
        for (flow, branch, to, fits) in [
            (Flow::Gitflow, "feature/12-x", "develop", true),
            (Flow::Gitflow, "feature/12-x", "main", false),
            (Flow::Gitflow, "hotfix/1.0.1", "main", true),
            (Flow::Gitflow, "bugfix/3", "release/1.0", true),
            (Flow::Gitflow, "release/1.0", "develop", true),
            (Flow::Gitlab, "12-x", "main", true),
            (Flow::Gitlab, "12-x", "production", false),
            (Flow::Gitlab, "staging", "production", true),
            (Flow::Flexible, "12-x", "other", true),
        ] {
            assert_eq!(
                target(&change(branch, to), flow).is_none(),
                fits,
                "{flow:?} {branch} {to}"
            );
        }
    }

    #[test]
    fn patterns_are_the_flows_or_ones_own() {
        let mut policy = Policy {
            flow: Flow::Gitflow,
            ..Policy::default()
        };
        assert!(named(&change("topic", ""), &policy).is_some());
        assert!(
            named(&change("feature/x", ""), &policy).is_none()
                && named(&change("main", ""), &policy).is_none()
        );
        policy.branch_patterns = vec!["t*".into()];
        assert!(named(&change("topic", ""), &policy).is_none());
    }
}
