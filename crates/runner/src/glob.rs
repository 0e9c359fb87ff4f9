//! Path patterns of artifacts and caches, and the files of a workspace that they name.

use regex::Regex;
use std::{fs, io, path::Path};

/// Most files looked at in a workspace: as many as a job may have where nothing else is said.
const FILES: usize = 1_000_000;

/// One pattern: `*`, `?`, `[…]`, `{a,b}` within a name, `**` over any number of directories.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// The folders that all it names lies in, without a pattern; empty for the workspace itself.
    below: String,
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
        let below = text
            .split('/')
            .take_while(|part| !part.contains(['*', '?', '[', '{', '\\']))
            .collect::<Vec<_>>()
            .join("/");
        Regex::new(&format!("^{}$", translate(&text)))
            .ok()
            .map(|regex| Self { regex, below })
    }

    /// The file or folder below which all lies that it names.
    pub(crate) fn below(&self) -> &str {
        &self.below
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
    walk_below(root, &[""])
}

/// The same of some files and folders in it alone: what nobody asks for, such as a large `node_modules`, is not looked at.
pub(crate) fn walk_below(root: &Path, places: &[&str]) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = Vec::new();
    for place in places {
        let inside = |outer: &&str| {
            place
                .strip_prefix(*outer)
                .is_some_and(|rest| outer.is_empty() || rest.starts_with('/'))
        };
        // Each once, also where one place lies in another; and none that a link leads to.
        if open.contains(&(*place).to_owned()) || places.iter().any(|outer| outer != place && inside(outer)) {
            continue;
        }
        if place.is_empty() {
            open.push(String::new());
        } else if let Some(kind) = plain_way(root, place)? {
            if kind.is_dir() {
                open.push((*place).to_owned());
            } else if kind.is_file() || kind.is_symlink() {
                found.push((*place).to_owned());
            }
        }
    }
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
    found.dedup();
    Ok(found)
}

/// What lies at `place`, if the folders on the way to it are folders and no links, and it is none of git's.
fn plain_way(root: &Path, place: &str) -> io::Result<Option<fs::FileType>> {
    let mut at = root.to_owned();
    let mut kind = None;
    for (number, part) in place.split('/').enumerate() {
        if number == 0 && part == ".git" || kind.is_some_and(|kind: fs::FileType| !kind.is_dir()) {
            return Ok(None);
        }
        at.push(part);
        kind = match fs::symlink_metadata(&at) {
            Ok(meta) => Some(meta.file_type()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
    }
    Ok(kind)
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
    fn only_what_is_asked_for_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "dist/a/b.js",
            "dist/c.js",
            "node_modules/x/y.js",
            ".git/config",
            "top.txt",
        ] {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink("node_modules", dir.path().join("link")).unwrap();
        let below = |pattern: &str| Pattern::new(pattern, "/builds/g/p").unwrap().below().to_owned();
        assert_eq!(below("dist/a/*.js"), "dist/a");
        assert_eq!(below("**/*.js"), "");
        assert_eq!(below("dist/c.js"), "dist/c.js");
        let found = |places: &[&str]| walk_below(dir.path(), places).unwrap();
        assert_eq!(
            found(&["dist", "dist/a", "dist/c.js"]),
            ["dist/a/b.js", "dist/c.js"]
        );
        assert_eq!(found(&["dist/c.js", "dist/c.js"]), ["dist/c.js"]);
        assert_eq!(found(&["top.txt", "link", "absent"]), ["link", "top.txt"]);
        assert!(found(&["link/x", ".git", ".git/config"]).is_empty());
        assert_eq!(found(&["", "dist"]), walk(dir.path()).unwrap());
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
