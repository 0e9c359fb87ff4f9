//! Path patterns of artifacts and caches, and the files of a workspace that they name.

use regex::Regex;
use std::{fs, io, path::Path};

/// Most files looked at in a workspace.
const FILES: usize = 500_000;

/// One pattern: `*`, `?`, `[…]`, `{a,b}` within a name, `**` over any number of directories.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Reads a pattern relative to the workspace; `None` if it leads out of it or is none.
    pub(crate) fn new(pattern: &str, project_dir: &str) -> Option<Self> {
        let pattern = pattern.trim();
        let pattern = match pattern.strip_prefix(project_dir) {
            Some("" | "/") => ".",
            Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
            _ => pattern,
        };
        if pattern.is_empty() || pattern.starts_with('/') {
            return None;
        }
        let parts: Vec<&str> = pattern
            .split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .collect();
        if parts.contains(&"..") {
            return None;
        }
        let text = if parts.is_empty() {
            "**".to_owned()
        } else {
            parts.join("/")
        };
        Regex::new(&format!("^{}$", translate(&text)))
            .ok()
            .map(|regex| Self { regex })
    }

    /// Whether the path itself matches.
    pub(crate) fn is_match(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    /// Whether the path or a directory it lies in matches.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.is_match(path)
            || path
                .match_indices('/')
                .any(|(at, _)| path.get(..at).is_some_and(|p| self.is_match(p)))
    }
}

fn translate(glob: &str) -> String {
    let mut out = String::new();
    let mut chars = glob.chars().peekable();
    let mut braces = 0;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                    out.push_str("(?:.*/)?");
                } else {
                    out.push_str(".*");
                }
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => {
                let rest: String = chars.clone().collect();
                match rest.char_indices().skip(1).find(|(_, c)| *c == ']') {
                    Some((end, _)) => {
                        let inside = rest.get(..end).unwrap_or_default();
                        let (not, set) = match inside.strip_prefix(['!', '^']) {
                            Some(set) => ("^", set),
                            None => ("", inside),
                        };
                        let set = set
                            .replace('\\', r"\\")
                            .replace('[', r"\[")
                            .replace("&&", r"\&\&")
                            .replace('~', r"\~");
                        out.push_str(&format!("[{not}{set}]"));
                        for _ in inside.chars().chain(std::iter::once(']')) {
                            chars.next();
                        }
                    }
                    None => out.push_str(r"\["),
                }
            }
            '{' if glob.contains('}') => {
                braces += 1;
                out.push_str("(?:");
            }
            '}' if braces > 0 => {
                braces -= 1;
                out.push(')');
            }
            ',' if braces > 0 => out.push('|'),
            '\\' => out.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out.push_str(&")".repeat(braces));
    out
}

/// All files and links below `root`, as paths with `/`, sorted. Links are not followed. Names that are no
/// UTF-8 are left out, `.git` too.
pub(crate) fn walk(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(root.join(&dir)) {
            Ok(entries) => entries,
            // A job may shut its own directories.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let path = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if path != ".git" {
                    open.push(path);
                }
            } else if kind.is_file() || kind.is_symlink() {
                found.push(path);
            }
            if found.len() > FILES {
                return Err(io::Error::other(format!("there are more than {FILES} files")));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern, "/builds/g/p").is_some_and(|p| p.covers(path))
    }

    #[test]
    fn patterns_as_people_write_them() {
        assert!(covers("dist/", "dist/a/b.js") && covers("./dist", "dist/a"));
        assert!(covers("*.txt", "a.txt") && !covers("*.txt", "d/a.txt"));
        assert!(covers("**/*.txt", "a.txt") && covers("**/*.txt", "d/e/a.txt"));
        assert!(covers("d/**/x", "d/x") && covers("d/**/x", "d/e/f/x") && !covers("d/**/x", "e/x"));
        assert!(covers("{a,b}/c?.[ch]", "b/c1.h") && !covers("{a,b}/c?.[!ch]", "b/c1.h"));
        assert!(covers("/builds/g/p/out", "out/1") && covers(".", "any/thing"));
        assert!(covers("a+b(c)", "a+b(c)") && covers("[x", "[x") && !covers("a.b", "axb"));
    }

    #[test]
    fn patterns_that_lead_out_are_none() {
        for pattern in ["/etc/passwd", "../x", "a/../../x", "", "/builds/g/p2/x"] {
            assert!(Pattern::new(pattern, "/builds/g/p").is_none(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in ".{0,30}", path in ".{0,20}") {
            let _ = covers(&pattern, &path);
        }
    }
}
