//! Names and patterns of branches.

use bascule_core::Problem;

/// Whether a pattern, in which `*` stands for any text, covers a branch.
pub(crate) fn covers(pattern: &str, branch: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = branch.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

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
    fn patterns_cover_what_they_say() {
        for (pattern, branch, expected) in [
            ("main", "main", true),
            ("main", "maintenance", false),
            ("release/*", "release/1.0", true),
            ("release/*", "release", false),
            ("*-stable", "1-2-stable", true),
            ("*-stable", "1-2-stable-x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*a", "a", false),
            ("*", "anything/at-all", true),
        ] {
            assert_eq!(covers(pattern, branch), expected, "{pattern} {branch}");
        }
    }

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
