//! Path patterns as `changes` and `exists` use them: `*` and `?` stay within a folder, `**/` crosses
//! folders, `{a,b}` and `[a-z]` choose. As in Ruby's `fnmatch`, whose rules GitLab's documentation names, two stars
//! without a slash behind them are one. Where files are included, they cross folders.

use regex::{Regex, RegexBuilder};

/// A pattern for paths.
#[derive(Clone, Debug)]
pub struct Glob(Regex);

impl Glob {
    /// Reads a pattern. It runs in time linear in the path, whatever the pattern.
    ///
    /// # Errors
    /// Says why it is none.
    pub fn new(pattern: &str) -> Result<Self, String> {
        Self::read(pattern, false)
    }

    /// Reads a pattern in which two stars cross folders wherever they stand, as in `include:local`.
    ///
    /// # Errors
    /// Says why it is none.
    pub fn crossing(pattern: &str) -> Result<Self, String> {
        Self::read(pattern, true)
    }

    fn read(pattern: &str, crossing: bool) -> Result<Self, String> {
        if pattern.len() > 1024 {
            return Err("at most 1024 characters are allowed".to_owned());
        }
        let chars: Vec<char> = pattern.chars().collect();
        let mut regex = String::from("^");
        let (mut at, mut braces) = (0, 0_u32);
        while let Some(&c) = chars.get(at) {
            at += 1;
            match c {
                '*' if chars.get(at) == Some(&'*') => {
                    let begins = at < 2 || matches!(chars.get(at - 2), Some('/' | '{' | ','));
                    while chars.get(at) == Some(&'*') {
                        at += 1;
                    }
                    if chars.get(at) == Some(&'/') && begins {
                        at += 1;
                        regex.push_str("(?:.*/)?");
                    } else {
                        regex.push_str(if crossing { ".*" } else { "[^/]*" });
                    }
                }
                '*' => regex.push_str("[^/]*"),
                '?' => regex.push_str("[^/]"),
                '{' => {
                    braces += 1;
                    regex.push_str("(?:");
                }
                '}' if braces > 0 => {
                    braces -= 1;
                    regex.push(')');
                }
                ',' if braces > 0 => regex.push('|'),
                '[' => at = class(&chars, at, &mut regex)?,
                '\\' => {
                    let escaped = chars.get(at).ok_or("it ends in a lone backslash")?;
                    at += 1;
                    regex.push_str(&regex::escape(&escaped.to_string()));
                }
                _ => regex.push_str(&regex::escape(&c.to_string())),
            }
        }
        if braces > 0 {
            return Err("a `{` is not closed".to_owned());
        }
        regex.push('$');
        RegexBuilder::new(&regex)
            .size_limit(256 * 1024)
            .dot_matches_new_line(true)
            .build()
            .map(Self)
            .map_err(|_| "it is too large, or a range in it is wrong".to_owned())
    }

    /// Whether a path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// `[a-z]`, `[!a-z]`; `at` is behind the bracket, the result behind its end.
fn class(chars: &[char], at: usize, regex: &mut String) -> Result<usize, String> {
    let end = chars
        .iter()
        .skip(at + 1)
        .position(|c| *c == ']')
        .map(|offset| at + 1 + offset)
        .ok_or("a `[` is not closed")?;
    let mut inner = &chars[at..end];
    regex.push('[');
    if let Some('!' | '^') = inner.first() {
        regex.push('^');
        inner = &inner[1..];
    }
    for c in inner {
        if !c.is_alphanumeric() && *c != '-' {
            regex.push('\\');
        }
        regex.push(*c);
    }
    regex.push(']');
    Ok(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gitlab_documents_them() {
        for (pattern, path, expected) in [
            ("Dockerfile", "Dockerfile", true),
            ("Dockerfile", "a/Dockerfile", false),
            ("docker/scripts/*", "docker/scripts/run.sh", true),
            ("docker/scripts/*", "docker/scripts/a/run.sh", false),
            ("docker/scripts/**/*", "docker/scripts/a/b/run.sh", true),
            ("docker/scripts/**/*", "docker/scripts/run.sh", true),
            ("**/*.md", "README.md", true),
            ("**/*.md", "a/b.md", true),
            ("*.md", "a/b.md", false),
            ("more_scripts/*.{rb,py,sh}", "more_scripts/x.py", true),
            ("more_scripts/*.{rb,py,sh}", "more_scripts/x.c", false),
            ("**/.hidden", "a/.hidden", true),
            ("file[0-9].txt", "file7.txt", true),
            ("file[!0-9].txt", "file7.txt", false),
            ("a+b(c).txt", "a+b(c).txt", true),
            ("src/**", "src/a", true),
            ("src/**", "src/a/b", false),
            ("src/**/**", "src/a/b", true),
            ("a**/c", "ab/c", true),
            ("a**/c", "ab/b/c", false),
            ("?.c", "a.c", true),
        ] {
            assert_eq!(
                Glob::new(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        }
        for (path, expected) in [("ci/a.yml", true), ("ci/deep/a.yml", true), ("a.yml", false)] {
            assert_eq!(
                Glob::crossing("ci/**.yml").unwrap().matches(path),
                expected,
                "{path}"
            );
        }
        for bad in ["{a", "[a", "a\\", "[z-a]"] {
            assert!(Glob::new(bad).is_err(), "{bad}");
        }
    }
}
