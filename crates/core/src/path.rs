//! Names of files that come from outside.

/// Whether a name is a plain relative path: what may be written below a folder without ever leaving it,
/// on any system.
#[must_use]
pub fn is_safe_path(name: &str) -> bool {
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.len() <= 255
            && !segment.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
    };
    name.len() <= 1024 && name.split('/').all(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_safe() {
        for good in ["a", "files/build/dist/app.tar.gz", "a b/ü", "..a", "a.."] {
            assert!(is_safe_path(good), "{good:?}");
        }
        for bad in [
            "", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\\b", "c:", "a\0", "a\nb",
        ] {
            assert!(!is_safe_path(bad), "{bad:?}");
        }
        assert!(!is_safe_path(&"a".repeat(256)));
        assert!(!is_safe_path(&"a/".repeat(600)));
    }
}
