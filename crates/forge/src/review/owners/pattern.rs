//! Patterns of paths, as GitLab reads them in `CODEOWNERS`: `*` stays within one directory, `**` crosses them.

/// One pattern, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

/// What stands between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any directories, or none.
    Any,
    /// A name.
    Name(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `*`
    Many,
    /// `?`
    One,
    Just(char),
    /// `[a-z]`, or not of them.
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    /// Reads a pattern. `*` alone is every file; without a slash at its head it holds at any depth; with one
    /// at its end it means all that is below.
    pub(crate) fn new(text: &str) -> Self {
        let (rooted, rest) = match text.strip_prefix('/') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut parts = Vec::new();
        if !rooted {
            parts.push(Part::Any);
        }
        let mut below = false;
        for piece in split(rest) {
            below = piece.is_empty() || piece == "**";
            match piece {
                "" => {}
                "**" if parts.last() == Some(&Part::Any) => {}
                "**" => parts.push(Part::Any),
                name => parts.push(Part::Name(tokens(name))),
            }
        }
        if below {
            if parts.last() != Some(&Part::Any) {
                parts.push(Part::Any);
            }
            parts.push(Part::Name(vec![Token::Many]));
        }
        Self { parts }
    }

    /// Whether a path from the top of the repository matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let names: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        // `reached[n]`: the parts so far can stand for the first n names.
        let mut reached = vec![false; names.len() + 1];
        reached[0] = true;
        for part in &self.parts {
            let mut next = vec![false; names.len() + 1];
            match part {
                Part::Any => {
                    let mut any = false;
                    for (to, from) in next.iter_mut().zip(&reached) {
                        any |= *from;
                        *to = any;
                    }
                }
                Part::Name(tokens) => {
                    for ((to, from), name) in next.iter_mut().skip(1).zip(&reached).zip(&names) {
                        *to = *from && one_name(tokens, name);
                    }
                }
            }
            if !next.contains(&true) {
                return false;
            }
            reached = next;
        }
        reached.last() == Some(&true)
    }
}

/// Cuts at slashes that no backslash and no bracket hides.
fn split(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '/' => {
                pieces.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(text.get(start..).unwrap_or_default());
    pieces
}

fn tokens(name: &str) -> Vec<Token> {
    let chars: Vec<char> = name.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '*' => {
                if tokens.last() != Some(&Token::Many) {
                    tokens.push(Token::Many);
                }
            }
            '?' => tokens.push(Token::One),
            '\\' => {
                let literal = chars.get(at).copied();
                at += usize::from(literal.is_some());
                tokens.push(Token::Just(literal.unwrap_or('\\')));
            }
            '[' => match class(&chars, at) {
                Some((token, end)) => {
                    tokens.push(token);
                    at = end;
                }
                None => tokens.push(Token::Just('[')),
            },
            other => tokens.push(Token::Just(other)),
        }
    }
    tokens
}

/// Reads a class from after its bracket; `None` if it does not end.
fn class(chars: &[char], mut at: usize) -> Option<(Token, usize)> {
    let not = matches!(chars.get(at), Some('!' | '^'));
    at += usize::from(not);
    let mut ranges = Vec::new();
    loop {
        let mut low = *chars.get(at)?;
        at += 1;
        match low {
            ']' if !ranges.is_empty() => return Some((Token::Class { not, ranges }, at)),
            '\\' => {
                low = *chars.get(at)?;
                at += 1;
            }
            _ => {}
        }
        let mut high = low;
        if chars.get(at) == Some(&'-') && chars.get(at + 1).is_some_and(|c| *c != ']') {
            high = *chars.get(at + 1)?;
            at += 2;
            if high == '\\' {
                high = *chars.get(at)?;
                at += 1;
            }
        }
        ranges.push((low, high));
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Many | Self::One => true,
            Self::Just(own) => *own == c,
            Self::Class { not, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *not
            }
        }
    }
}

/// Whether tokens match a whole name. Only the last star is ever gone back to, so it takes no more than the
/// product of both lengths.
fn one_name(tokens: &[Token], name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = chars.get(at) {
        match tokens.get(token) {
            Some(Token::Many) => {
                star = Some((token, at));
                token += 1;
            }
            Some(one) if one.takes(c) => {
                token += 1;
                at += 1;
            }
            _ => match star {
                Some((back, from)) => {
                    token = back + 1;
                    at = from + 1;
                    star = Some((back, from + 1));
                }
                None => return false,
            },
        }
    }
    tokens.iter().skip(token).all(|left| *left == Token::Many)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).matches(path)
    }

    #[test]
    fn patterns_mean_what_gitlab_says() {
        for (pattern, yes, no) in [
            ("*", &["a", "a/b/.c"][..], &[][..]),
            (
                "README.md",
                &["README.md", "docs/README.md"],
                &["README.md/x", "xREADME.md"],
            ),
            ("/README.md", &["README.md"], &["docs/README.md"]),
            ("*.rb", &["a.rb", "x/y/.b.rb"], &["a.rbx"]),
            ("/docs/", &["docs/a", "docs/a/b"], &["docs", "x/docs/a"]),
            ("docs/", &["docs/a", "x/docs/a/b"], &["docs"]),
            ("/docs/*", &["docs/a"], &["docs/a/b", "docs"]),
            (
                "/docs/**/*.md",
                &["docs/a.md", "docs/x/y/a.md"],
                &["a.md", "docs/a.txt"],
            ),
            ("/docs/**", &["docs/a", "docs/a/b"], &["docs", "x"]),
            (
                "/db/**/index.md",
                &["db/index.md", "db/a/b/index.md"],
                &["index.md"],
            ),
            ("path\\ with\\ spaces/", &["path with spaces/a"], &["path/a"]),
            ("\\#file", &["#file"], &["file"]),
            ("/a[0-9]?.txt", &["a1x.txt"], &["ax1.txt", "a1.txt"]),
            ("/a[!0-9]", &["ab"], &["a1"]),
            ("/[x", &["[x"], &["x"]),
            ("/a\\*b", &["a*b"], &["axb"]),
            ("/docs", &["docs"], &["docs/a"]),
            ("/", &["a", "a/b"], &[]),
        ] {
            for path in yes {
                assert!(matches(pattern, path), "{pattern} ought to match {path}");
            }
            for path in no {
                assert!(!matches(pattern, path), "{pattern} ought not to match {path}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_long_time() {
        let pattern = Pattern::new(&"**/a*a*a*".repeat(200));
        assert!(!pattern.matches(&format!("{}b", "a/".repeat(500))));
        assert!(!Pattern::new(&format!("/{}b", "*a".repeat(500))).matches(&"a".repeat(5000)));
    }

    proptest! {
        #[test]
        fn an_escaped_path_matches_itself_alone(path in "[a-z*?\\[\\] !#]{1,8}(/[a-z*?\\[\\]\\\\]{1,6}){0,3}", other in "[a-z/]{1,9}") {
            let escaped: String = path.chars().flat_map(|c| if c == '/' { vec![c] } else { vec!['\\', c] }).collect();
            let pattern = Pattern::new(&format!("/{escaped}"));
            prop_assert!(pattern.matches(&path));
            prop_assert!(path == other || !pattern.matches(&other));
        }

        #[test]
        fn a_directory_owns_all_below_it(dir in "[a-z]{1,5}", file in "[a-z.]{1,5}(/[a-z.]{1,5}){0,3}") {
            let under = format!("{}/{}", dir, file);
            let rooted = format!("/{}/", dir);
            prop_assert!(matches(&rooted, &under));
            let deep = format!("{}/", dir);
            let path = format!("x/{}", under);
            prop_assert!(matches(&deep, &path));
        }

        #[test]
        fn no_pattern_panics(pattern in ".{0,40}", path in ".{0,40}") {
            let _ = matches(&pattern, &path);
        }
    }
}
