//! Who wrote a commit: signed, and by the person who pushes it.

use super::{Change, Commit, Rule, broken};
use bascule_core::Problem;

/// Verdicts on a signature in words: git's letters (git-log, `%G?`), and `M` of ours.
fn verdict(signature: char) -> &'static str {
    match signature {
        'B' => "has a signature that does not fit it",
        'U' | 'E' => "is signed by a key that no account here has",
        'M' => "is signed by a key of somebody else than its committer",
        'X' | 'Y' => "is signed by a key that has ended",
        'R' => "is signed by a key that was revoked",
        _ => "is not signed",
    }
}

pub(super) fn signed(change: &Change) -> Option<Problem> {
    let bad: Vec<&Commit> = change
        .commits
        .iter()
        .filter(|commit| commit.signature != 'G')
        .collect();
    let first = bad.first()?;
    let more = match bad.len() {
        1 => String::new(),
        count => format!(", and {} more like it", count - 1),
    };
    Some(
        broken(
            Rule::SignedCommits,
            format!("{} {}{more}.", first.shown(), verdict(first.signature)),
        )
        .next(
            "Add your SSH key in Settings, then: git config gpg.format ssh; git config user.signingkey ~/.ssh/id_ed25519.pub; git rebase --exec 'git commit --amend --no-edit -S' over these commits; push again.",
        ),
    )
}

pub(super) fn same(change: &Change) -> Option<Problem> {
    if change.pusher.is_empty() {
        return None;
    }
    let mine = |commit: &Commit| {
        let wrote = commit.author_email.trim();
        change.pusher.iter().any(|own| own.eq_ignore_ascii_case(wrote))
    };
    let other = change
        .commits
        .iter()
        .find(|commit| !commit.is_merge() && !mine(commit))?;
    Some(
        broken(
            Rule::AuthorIsPusher,
            format!("{} was written by <{}>, which is not your address here.", other.shown(), other.author_email.trim()),
        )
        .next(format!(
            "If it is yours: git config user.email {}, then git rebase --exec 'git commit --amend --no-edit --reset-author'. If not, let its author push it.",
            change.pusher.first().map(String::as_str).unwrap_or_default()
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_bad_signatures_are_named() {
        let commit = |email: &str, signature| Commit {
            sha: "a".repeat(40),
            author_email: email.into(),
            signature,
            parents: vec![String::new()],
            ..Commit::default()
        };
        let mut change = Change {
            commits: vec![
                commit("Developer@Example.org", 'G'),
                commit("sre@example.org", 'B'),
            ],
            pusher: vec!["developer@example.org".into()],
            ..Change::default()
        };
        assert!(same(&change).unwrap().what.contains("sre@example.org"));
        assert!(signed(&change).unwrap().what.contains("does not fit"));
        change.commits.truncate(1);
        assert!(same(&change).is_none() && signed(&change).is_none());
        change.pusher.clear();
        assert!(same(&change).is_none(), "a program pushes for others");
    }
}
