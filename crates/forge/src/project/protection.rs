//! Names and patterns of branches.

use bascule_core::Problem;

/// Reads a branch's name by git's rules (git-check-ref-format), and refuses what would confuse people.
pub(crate) fn branch_name(name: &str) -> Result<String, Problem> {
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let bad = name.is_empty()
        || name.len() > 200
        || name.starts_with('-')
        || name == "HEAD"
        || name.ends_with('.')
        || name.contains("..")
        || name.contains("@{")
        || name == "@"
        || name
            .chars()
            .any(|c| c.is_control() || c == ' ' || "~^:?*[\\".contains(c))
        || name.split('/').any(bad_part);
    if bad {
        let shown: String = name.chars().take(80).filter(|c| !c.is_control()).collect();
        return Err(Problem::invalid("bad_branch_name", format!("`{shown}` cannot be a branch's name."))
            .why("git allows no spaces, control characters, `..`, `~^:?*[\\`, nor parts that begin with `.` or end with `.lock`.")
            .next("Choose a plain name, such as `main` or `feature/login`."));
    }
    unmistakable(name)?;
    Ok(name.to_owned())
}

/// Refuses the name of a branch or tag that would be taken for something else.
pub(crate) fn unmistakable(name: &str) -> Result<(), Problem> {
    let is_commit = matches!(name.len(), 40 | 64) && name.bytes().all(|b| b.is_ascii_hexdigit());
    if is_commit {
        return Err(Problem::invalid(
            "name_of_a_commit",
            format!("`{name}` reads as the name of a commit."),
        )
        .why("Whoever names that commit, to be sure of what they get, would get this instead.")
        .next("Choose a name that is not 40 or 64 hexadecimal digits."));
    }
    if name.starts_with("refs/") {
        let shown: String = name.chars().take(80).filter(|c| !c.is_control()).collect();
        return Err(Problem::invalid(
            "name_of_a_reference",
            format!("`{shown}` reads as a reference's full name."),
        )
        .why("git would not know which of the two is meant, in everybody's clone.")
        .next("Leave out `refs/` and what kind it is, as in `git push origin my-change`."));
    }
    Ok(())
}

/// Reads a branch's name in which `*` may stand for any text.
pub(crate) fn pattern_name(pattern: &str) -> Result<String, Problem> {
    branch_name(&pattern.replace('*', "x")).map(|_| pattern.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_or_people_would_stumble_over_are_refused() {
        for bad in [
            "",
            "-x",
            "a b",
            "a..b",
            "HEAD",
            "a/.b",
            "a.lock",
            "a//b",
            "a\nb",
            "@",
            "x@{1}",
            "a:b",
            "/a",
            "a/",
            "refs/heads/main",
            "0123456789abcdef0123456789abcdef01234567",
            "0123456789abcdef0123456789abcdef0123456789ABCDEF0123456789abcdef",
        ] {
            assert!(branch_name(bad).is_err(), "{bad:?}");
        }
        for good in ["main", "feature/login", "v1", "ünïcode", "0123456789abcdef"] {
            assert!(branch_name(good).is_ok(), "{good:?}");
        }
        assert!(pattern_name("release/*").is_ok());
    }
}
