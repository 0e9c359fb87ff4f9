//! Signing in with a password, and the sessions that come of it.

mod pages;
pub(crate) mod service;
pub(crate) mod store;
mod throttle;

pub(crate) use pages::{Client, failure, routes};

/// Where to go after signing in: a path of ours, or the start page. Everything that a browser could read as
/// another host is refused: `//host`, `/\host`, and the tabs and newlines that browsers drop.
pub(crate) fn safe_next(next: &str) -> &str {
    let ours = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= 2000
        && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let path = next.split(['?', '#']).next().unwrap_or_default();
    if ours && path != "/sign-in" && path != "/sign-out" {
        next
    } else {
        "/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_paths_of_ours_are_followed() {
        for good in ["/", "/a/b?x=1&y=%2F#l3", "/a//b"] {
            assert_eq!(safe_next(good), good);
        }
        let bad = [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil",
            "https://evil.example",
            "/\t/evil.example",
            "/\n/evil",
            "javascript:alert(1)",
            "/sign-in?next=/x",
            "/sign-out",
            "/é",
        ];
        for next in bad {
            assert_eq!(safe_next(next), "/", "{next:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_followed_begins_with_one_slash(next in "[/\\\\a-z:.\\t\\n?#@]{0,12}") {
            let to = safe_next(&next);
            prop_assert!(to.starts_with('/') && !to[1..].starts_with(['/', '\\']));
        }
    }
}
