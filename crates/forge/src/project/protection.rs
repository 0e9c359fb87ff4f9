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
    Ok(name.to_owned())
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
            "", "-x", "a b", "a..b", "HEAD", "a/.b", "a.lock", "a//b", "a\nb", "@", "x@{1}", "a:b", "/a",
            "a/",
        ] {
            assert!(branch_name(bad).is_err(), "{bad:?}");
        }
        for good in ["main", "feature/login", "v1", "ünïcode"] {
            assert!(branch_name(good).is_ok(), "{good:?}");
        }
        assert!(pattern_name("release/*").is_ok());
    }
}
