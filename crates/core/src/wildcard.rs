//! Patterns of names in which `*` stands for any text.

/// Whether a pattern, in which `*` stands for any text, covers a name.
///
/// ```
/// use bascule_core::covers;
/// assert!(covers("release/*", "release/1.0") && !covers("release/*", "release"));
/// ```
#[must_use]
pub fn covers(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
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
    rest.ends_with(last)
}

/// Whether one of the patterns covers a name.
#[must_use]
pub fn any_covers(patterns: &[impl AsRef<str>], name: &str) -> bool {
    patterns.iter().any(|pattern| covers(pattern.as_ref(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, name, expected) in [
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
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }
}
