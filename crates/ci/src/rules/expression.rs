//! The language of `rules:if`: comparison, pattern match, `&&`, `||`, parentheses.
//!
//! ```text
//! or      := and ("||" and)*
//! and     := compare ("&&" compare)*
//! compare := operand (("==" | "!=" | "=~" | "!~") operand)?
//! operand := "(" or ")" | $VARIABLE | "text" | 'text' | /pattern/flags | null
//! ```

use crate::variables::Lookup;
use regex::{Regex, RegexBuilder};
use std::{borrow::Cow, cell::RefCell, collections::HashMap};

/// Deepest nesting of parentheses.
const DEPTH: usize = 32;
/// Longest condition, in bytes.
const LENGTH: usize = 16 * 1024;

/// A condition.
#[derive(Clone, Debug)]
pub struct Expression {
    tree: Tree,
    text: String,
}

#[derive(Clone, Debug)]
enum Tree {
    Or(Vec<Tree>),
    And(Vec<Tree>),
    Compare(Box<Tree>, Compare, Box<Tree>),
    Variable(String),
    Text(String),
    Pattern(Regex),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Match,
    NotMatch,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// How many characters from the left.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// What is allowed there.
    pub allowed: String,
}

#[derive(Clone, Debug)]
enum Token {
    Compare(Compare),
    And,
    Or,
    Open,
    Close,
    Operand(Tree),
}

const OPERAND: &str = "a `$VARIABLE`, \"text\", 'text', /pattern/, null, or `(`";

fn error<T>(at: usize, what: impl Into<String>, allowed: impl Into<String>) -> Result<T, ExpressionError> {
    Err(ExpressionError {
        at,
        what: what.into(),
        allowed: allowed.into(),
    })
}

/// Reads a pattern with its slashes and flags, as `/^v\d+/i`. It runs in linear time.
///
/// # Errors
/// Says why it is none.
pub fn pattern(text: &str) -> Result<Regex, String> {
    pattern_up_to(text, 1024 * 1024)
}

fn pattern_up_to(text: &str, size: usize) -> Result<Regex, String> {
    let inner = text.strip_prefix('/').ok_or("it does not begin with `/`")?;
    let end = inner.rfind('/').ok_or("its closing `/` is missing")?;
    let (body, flags) = (&inner[..end], &inner[end + 1..]);
    let mut builder = RegexBuilder::new(&body.replace("\\/", "/"));
    builder.size_limit(size).multi_line(true);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            // In Ruby `m` lets the dot match line ends, and `^` always works by line.
            'm' | 's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            'U' => builder.swap_greed(true),
            _ => {
                return Err(format!(
                    "the flag `{flag}` is unknown; i, m, s, x and U are allowed"
                ));
            }
        };
    }
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        other => other
            .to_string()
            .lines()
            .last()
            .unwrap_or_default()
            .trim()
            .to_owned(),
    })
}

impl Expression {
    /// Reads a condition.
    ///
    /// # Errors
    /// The place and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > LENGTH {
            return error(
                0,
                "the condition is too long",
                format!("at most {LENGTH} bytes are allowed"),
            );
        }
        let tokens = lex(text)?;
        let mut parser = Parser {
            tokens,
            next: 0,
            end: text.chars().count(),
        };
        let tree = parser.or(0)?;
        match parser.peek() {
            None => Ok(Self {
                tree,
                text: text.to_owned(),
            }),
            Some((at, _)) => error(
                *at,
                "the condition goes on where it should end",
                "`&&`, `||`, or nothing",
            ),
        }
    }

    /// Whether the condition holds, given the variables' values.
    #[must_use]
    pub fn holds(&self, variables: &dyn Lookup) -> bool {
        self.tree.truth(variables)
    }

    /// The condition as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Tree {
    fn truth(&self, variables: &dyn Lookup) -> bool {
        match self {
            Self::Or(list) => list.iter().any(|tree| tree.truth(variables)),
            Self::And(list) => list.iter().all(|tree| tree.truth(variables)),
            Self::Compare(left, Compare::Equal, right) => left.value(variables) == right.value(variables),
            Self::Compare(left, Compare::NotEqual, right) => left.value(variables) != right.value(variables),
            Self::Compare(left, Compare::Match, right) => left.matches(right, variables),
            Self::Compare(left, Compare::NotMatch, right) => !left.matches(right, variables),
            // A variable alone holds if it is set and not empty.
            Self::Variable(_) | Self::Text(_) => self.value(variables).is_some_and(|value| !value.is_empty()),
            Self::Pattern(_) => true,
            Self::Null => false,
        }
    }

    fn value<'a>(&'a self, variables: &'a dyn Lookup) -> Option<Cow<'a, str>> {
        match self {
            Self::Variable(name) => variables.value(name),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Pattern(regex) => Some(Cow::Borrowed(regex.as_str())),
            Self::Null => None,
            tree => Some(Cow::Borrowed(if tree.truth(variables) {
                "true"
            } else {
                "false"
            })),
        }
    }

    /// The pattern may come from a variable; one that is none matches nothing.
    fn matches(&self, right: &Self, variables: &dyn Lookup) -> bool {
        let text = self.value(variables).unwrap_or_default();
        match right {
            Self::Pattern(regex) => regex.is_match(&text),
            other => other
                .value(variables)
                .is_some_and(|value| matches_written(&value, &text)),
        }
    }
}

/// Most patterns that are kept compiled, for each thread.
const KEPT: usize = 64;
/// Largest pattern of a variable when compiled, in bytes: it is compiled while a pipeline is planned.
const WRITTEN: usize = 256 * 1024;

/// Whether a text matches a pattern that a variable holds. Thousands of jobs may ask by the same variable.
fn matches_written(written: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() >= KEPT && !compiled.contains_key(written) {
            compiled.clear();
        }
        compiled
            .entry(written.to_owned())
            .or_insert_with(|| pattern_up_to(written, WRITTEN).ok())
            .as_ref()
            .is_some_and(|regex| regex.is_match(text))
    })
}

fn lex(text: &str) -> Result<Vec<(usize, Token)>, ExpressionError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let start = at;
        let next = chars.get(at + 1).copied();
        let token = match (c, next) {
            (c, _) if c.is_whitespace() => {
                at += 1;
                continue;
            }
            ('=', Some('=')) => Token::Compare(Compare::Equal),
            ('!', Some('=')) => Token::Compare(Compare::NotEqual),
            ('=', Some('~')) => Token::Compare(Compare::Match),
            ('!', Some('~')) => Token::Compare(Compare::NotMatch),
            ('&', Some('&')) => Token::And,
            ('|', Some('|')) => Token::Or,
            ('(', _) => Token::Open,
            (')', _) => Token::Close,
            ('$', Some('{')) => {
                return error(
                    at,
                    "`${…}` is not part of conditions",
                    "write `$NAME` without braces",
                );
            }
            ('$', _) => {
                let name: String = chars[at + 1..]
                    .iter()
                    .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
                    .collect();
                if name.is_empty() {
                    return error(at, "a lone `$` stands here", OPERAND);
                }
                at += 1 + name.len();
                tokens.push((start, Token::Operand(Tree::Variable(name))));
                continue;
            }
            ('"' | '\'', _) => {
                let Some(length) = chars[at + 1..].iter().position(|x| *x == c) else {
                    return error(at, "this text is not closed", format!("end it with {c}"));
                };
                let inner: String = chars[at + 1..at + 1 + length].iter().collect();
                at += length + 2;
                tokens.push((start, Token::Operand(Tree::Text(inner))));
                continue;
            }
            ('/', _) => {
                let end = pattern_end(&chars, at).ok_or_else(|| ExpressionError {
                    at,
                    what: "this pattern is not closed".to_owned(),
                    allowed: "end it with `/`".to_owned(),
                })?;
                let written: String = chars[at..end].iter().collect();
                match pattern(&written) {
                    Ok(regex) => tokens.push((start, Token::Operand(Tree::Pattern(regex)))),
                    Err(why) => return error(at, format!("`{written}` is no pattern: {why}"), ""),
                }
                at = end;
                continue;
            }
            (c, _) if c.is_ascii_alphabetic() => {
                let word: String = chars[at..]
                    .iter()
                    .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
                    .collect();
                if word != "null" {
                    return error(at, format!("`{word}` stands here without quotes or `$`"), OPERAND);
                }
                at += 4;
                tokens.push((start, Token::Operand(Tree::Null)));
                continue;
            }
            _ => {
                let hint = if matches!(c, '=' | '&' | '|' | '!') {
                    "operators are ==, !=, =~, !~, && and ||"
                } else {
                    OPERAND
                };
                return error(at, format!("`{c}` means nothing here"), hint);
            }
        };
        at += if matches!(token, Token::Open | Token::Close) {
            1
        } else {
            2
        };
        tokens.push((start, token));
    }
    Ok(tokens)
}

/// The end, behind the flags, of the pattern that begins at `at`.
fn pattern_end(chars: &[char], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        match chars.get(end)? {
            '\\' => end += 2,
            '/' => break,
            _ => end += 1,
        }
    }
    end += 1;
    while chars.get(end).is_some_and(char::is_ascii_alphabetic) {
        end += 1;
    }
    Some(end)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&(usize, Token)> {
        self.tokens.get(self.next)
    }

    fn or(&mut self, depth: usize) -> Result<Tree, ExpressionError> {
        let mut list = vec![self.and(depth)?];
        while matches!(self.peek(), Some((_, Token::Or))) {
            self.next += 1;
            list.push(self.and(depth)?);
        }
        Ok(if list.len() == 1 {
            list.remove(0)
        } else {
            Tree::Or(list)
        })
    }

    fn and(&mut self, depth: usize) -> Result<Tree, ExpressionError> {
        let mut list = vec![self.compare(depth)?];
        while matches!(self.peek(), Some((_, Token::And))) {
            self.next += 1;
            list.push(self.compare(depth)?);
        }
        Ok(if list.len() == 1 {
            list.remove(0)
        } else {
            Tree::And(list)
        })
    }

    fn compare(&mut self, depth: usize) -> Result<Tree, ExpressionError> {
        let left = self.operand(depth)?;
        let Some((_, Token::Compare(operator))) = self.peek() else {
            return Ok(left);
        };
        let operator = *operator;
        self.next += 1;
        let at = self.peek().map_or(self.end, |(at, _)| *at);
        let right = self.operand(depth)?;
        let needs_pattern = matches!(operator, Compare::Match | Compare::NotMatch);
        if needs_pattern && !matches!(right, Tree::Pattern(_) | Tree::Variable(_) | Tree::Text(_)) {
            return error(
                at,
                "`=~` and `!~` compare with a pattern",
                "write /pattern/, or a variable that holds one",
            );
        }
        Ok(Tree::Compare(Box::new(left), operator, Box::new(right)))
    }

    fn operand(&mut self, depth: usize) -> Result<Tree, ExpressionError> {
        let Some((at, token)) = self.peek().cloned() else {
            return error(self.end, "the condition ends too early", OPERAND);
        };
        self.next += 1;
        match token {
            Token::Operand(tree) => Ok(tree),
            Token::Open if depth >= DEPTH => error(
                at,
                "parentheses are nested too deeply",
                format!("at most {DEPTH} levels are allowed"),
            ),
            Token::Open => {
                let tree = self.or(depth + 1)?;
                match self.peek() {
                    Some((_, Token::Close)) => {
                        self.next += 1;
                        Ok(tree)
                    }
                    other => {
                        let at = other.map_or(self.end, |(at, _)| *at);
                        error(at, "a `(` is not closed", "`)`, `&&` or `||`")
                    }
                }
            }
            _ => error(at, "an operator or `)` stands where a value should", OPERAND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn holds(text: &str) -> bool {
        let variables: BTreeMap<String, String> = [
            ("BRANCH", "main"),
            ("EMPTY", ""),
            ("TAG", "v1.2.3"),
            ("PATTERN", "/^ma/"),
            ("PLAIN", "main"),
            ("A", "1"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        Expression::parse(text)
            .unwrap_or_else(|e| panic!("{text}: {e:?}"))
            .holds(&variables)
    }

    #[test]
    fn conditions_hold_as_documented() {
        for (text, expected) in [
            ("$BRANCH == \"main\"", true),
            ("$BRANCH == 'main'", true),
            ("$BRANCH != \"main\"", false),
            ("$BRANCH", true),
            ("$EMPTY", false),
            ("$UNSET", false),
            ("$UNSET == null", true),
            ("$EMPTY == null", false),
            ("$EMPTY == \"\"", true),
            ("$UNSET == \"\"", false),
            ("$UNSET != null", false),
            ("$TAG =~ /^v\\d+/", true),
            ("$TAG !~ /^v\\d+/", false),
            ("$TAG =~ /^V/i", true),
            ("$TAG =~ /^V/", false),
            ("$BRANCH =~ $PATTERN", true),
            ("$BRANCH =~ $PLAIN", false),
            ("$UNSET =~ /x/", false),
            ("$UNSET !~ /x/", true),
            ("$BRANCH == $PLAIN", true),
            ("$A == \"1\" && $BRANCH == \"x\" || $TAG", true),
            ("$TAG || $A == \"1\" && $BRANCH == \"x\"", true),
            ("($TAG || $A == \"1\") && $BRANCH == \"x\"", false),
            ("$BRANCH=~/a\\/b|main/", true),
            ("\"main\" == $BRANCH", true),
            ("null", false),
            ("(($A))", true),
        ] {
            assert_eq!(holds(text), expected, "{text}");
        }
    }

    #[test]
    fn faults_name_the_place() {
        for (text, at, part) in [
            ("$A = 1", 3, "means nothing"),
            ("$A == main", 6, "without quotes"),
            ("$A == \"x", 6, "not closed"),
            ("($A", 3, "not closed"),
            ("$A $B", 3, "goes on"),
            ("$A =~ /(/", 6, "no pattern"),
            ("$A =~ null", 6, "compare with a pattern"),
            ("", 0, "ends too early"),
            ("${A}", 0, "not part"),
            ("&& $A", 0, "operator"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error:?}");
            assert!(error.what.contains(part), "{text}: {error:?}");
        }
        assert!(Expression::parse(&"(".repeat(5000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[$a-zA\"'/&|=~!() \\\\{}é]{0,40}") {
            if let Ok(expression) = Expression::parse(&text) {
                let _ = expression.holds(&BTreeMap::<String, String>::new());
            }
        }
    }
}
