//! Secrets in lines that are added. A small set of forms that tell themselves apart from anything else (issuers mark
//! them so), and assignments of random-looking values to names that say "secret". There is no crate that does this
//! as a library under a permissive licence without a second regular-expression engine.

use super::{Change, Rule, broken};
use bascule_core::{Digest, Problem};
use regex::{Regex, RegexSet, bytes};
use std::sync::LazyLock;

/// A line with this says that what looks like a secret is none.
pub(crate) const ALLOW: &str = "bascule:allow-secret";
/// Longest line that is looked at; longer ones are generated.
const LINE: usize = 4_096;
/// Secrets that are told of.
const TOLD: usize = 10;
/// Bits of surprise in each character, on average, from which a value looks random (Shannon 1948).
const RANDOM: f64 = 3.5;

/// Where a secret stands. The secret itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it looks like.
    pub(crate) kind: &'static str,
    /// The file.
    pub(crate) path: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The commit that adds it.
    pub(crate) commit: String,
    /// Tells this secret from others, without saying it: the first 16 digits of its digest.
    pub(crate) fingerprint: String,
}

/// Kind and form. The first group, where there is one, is the secret.
const FORMS: &[(&str, &str)] = &[
    (
        "a private key",
        // The line that begins one, or all of it in one string; not where code only speaks of such lines.
        r"-----BEGIN (?:RSA |EC |DSA |OPENSSH |ENCRYPTED |PGP )?PRIVATE KEY(?: BLOCK)?-----(?:\s*$|\\n[0-9A-Za-z+/=]{20,})",
    ),
    (
        "a Bascule token",
        r"\b(bsc_[0-9A-Za-z]{32,}|b(?:agt|edg)-[0-9a-f]{64})\b",
    ),
    ("an AWS access key", r"\b((?:AKIA|ASIA)[0-9A-Z]{16})\b"),
    (
        "a GitLab token",
        r"\b(gl(?:pat|dt|rt|cbt|ptt|soat|imt|agent)-[0-9A-Za-z_\-]{20,})",
    ),
    (
        "a GitHub token",
        r"\b((?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{60,}))",
    ),
    ("a Slack token", r"\b(xox[abposr]-[0-9A-Za-z-]{20,})"),
    ("a Google API key", r"\b(AIza[0-9A-Za-z_\-]{35})\b"),
    ("a Stripe key", r"\b([sr]k_live_[0-9A-Za-z]{20,})"),
    ("an npm token", r"\b(npm_[0-9A-Za-z]{36})\b"),
    ("a PyPI token", r"\b(pypi-AgEIcHlwaS5vcmc[0-9A-Za-z_\-]{40,})"),
    (
        "a JSON web token",
        r"\b(eyJ[0-9A-Za-z_\-]{15,}\.eyJ[0-9A-Za-z_\-]{15,}\.[0-9A-Za-z_\-]{20,})",
    ),
    (
        "a password in an address",
        r"\b[a-z][a-z0-9+.\-]{1,20}://[^\s:/@'\x22]{1,60}:([^\s:/@'\x22$<{*]{6,100})@[\w.\-]+",
    ),
];

/// A name that says "secret" and a quoted value.
const ASSIGNED: &str = r#"(?i)(?:pass(?:wd|word|phrase)?|secret|token|api_?key|private_?key|credential)[\w\-.]{0,20}['"]?\s*(?::=|=>|[:=])\s*['"]([^'"\s]{12,200})['"]"#;

struct Forms {
    set: RegexSet,
    /// The same for whole texts, of whatever encoding.
    whole: bytes::Regex,
    each: Vec<(&'static str, Regex)>,
    assigned: Regex,
}

/// All forms; `None` only if one of them could not be compiled, which a test rules out.
static COMPILED: LazyLock<Option<Forms>> = LazyLock::new(|| {
    let each: Result<Vec<_>, regex::Error> = FORMS
        .iter()
        .map(|(kind, form)| Ok((*kind, Regex::new(form)?)))
        .collect();
    let forms: Vec<&str> = FORMS.iter().map(|(_, form)| *form).chain([ASSIGNED]).collect();
    Some(Forms {
        // Words end where those of ASCII do, which is quick in any language and only finds more.
        whole: bytes::Regex::new(&format!("(?m){}", forms.join("|").replace(r"\b", r"(?-u:\b)"))).ok()?,
        set: RegexSet::new(forms).ok()?,
        each: each.ok()?,
        assigned: Regex::new(ASSIGNED).ok()?,
    })
});

/// Whether a text might hold a secret in one of its lines: quick, and never wrong where it says no.
pub(crate) fn may_hold(text: &[u8]) -> bool {
    COMPILED.as_ref().is_none_or(|forms| forms.whole.is_match(text))
}

/// The secret in a line, if there is one: its kind and the secret itself.
pub(crate) fn in_line(text: &str) -> Option<(&'static str, &str)> {
    if text.len() > LINE || text.contains(ALLOW) {
        return None;
    }
    let forms = COMPILED.as_ref()?;
    if !forms.set.is_match(text) {
        return None;
    }
    for (kind, form) in &forms.each {
        if let Some(found) = form.captures(text) {
            let secret = found.get(1).or_else(|| found.get(0))?.as_str();
            if !is_example(secret) {
                return Some((kind, secret));
            }
        }
    }
    let value = forms.assigned.captures(text)?.get(1)?.as_str();
    (!is_example(value) && surprise(value) >= RANDOM && mixed(value))
        .then_some(("a secret in the code", value))
}

/// What documentation writes instead of a secret.
fn is_example(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let words = [
        "example",
        "changeme",
        "placeholder",
        "your",
        "xxxx",
        "****",
        "dummy",
        "sample",
        "test",
    ];
    let shouted = value.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    shouted || words.iter().any(|word| lower.contains(word)) || value.starts_with(['$', '<', '{', '%'])
}

/// Letters and digits together: words alone are no secrets.
fn mixed(value: &str) -> bool {
    value.chars().any(|c| c.is_ascii_digit()) && value.chars().any(|c| c.is_ascii_alphabetic())
}

/// Bits of surprise in each character, on average.
#[allow(clippy::cast_precision_loss, reason = "lines are short")]
fn surprise(value: &str) -> f64 {
    let mut counts = std::collections::HashMap::new();
    for c in value.chars() {
        *counts.entry(c).or_insert(0_usize) += 1;
    }
    let all = value.chars().count() as f64;
    counts
        .values()
        .map(|count| {
            let share = *count as f64 / all;
            -share * share.log2()
        })
        .sum()
}

/// Keeps where a secret stands, not the secret.
pub(crate) fn found(kind: &'static str, secret: &str, path: &str, line: usize, commit: &str) -> Found {
    Found {
        kind,
        path: path.to_owned(),
        line,
        commit: commit.to_owned(),
        fingerprint: Digest::of(secret.as_bytes()).hex().chars().take(16).collect(),
    }
}

pub(super) fn none(change: &Change) -> Option<Problem> {
    let first = change.secrets.first()?;
    let list: Vec<String> = change
        .secrets
        .iter()
        .take(TOLD)
        .map(|found| {
            let commit = found.commit.get(..8).unwrap_or(&found.commit);
            format!("{} in {} line {} ({commit})", found.kind, found.path, found.line)
        })
        .collect();
    let more = change.secrets.len().saturating_sub(list.len());
    let more = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    Some(broken(Rule::NoSecrets, format!("There seems to be {}{more}.", list.join("; "))).next(format!(
        "Take it out of the commits (git rebase -i), read it from the environment instead, and push again. If it is no secret, write `{ALLOW}` in a comment on that line, or name its fingerprint {} in .bascule/secrets-allowed.",
        first.fingerprint
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written apart, so that this file holds none itself.
    fn secret(parts: &[&str]) -> String {
        parts.concat()
    }

    #[test]
    fn every_form_is_found_and_what_only_looks_like_one_is_not() {
        assert!(COMPILED.is_some());
        for (line, kind) in [
            (
                secret(&["-----BEGIN OPENSSH ", "PRIVATE KEY-----"]),
                "a private key",
            ),
            (
                secret(&[
                    "key = \"-----BEGIN PRIVATE ",
                    "KEY-----\\nMIGHAgEAMBMGByqGSM49AgEG\"",
                ]),
                "a private key",
            ),
            (secret(&["key = AKIA", "IOSFODNN7ABCDEFG"]), "an AWS access key"),
            (secret(&["t: glpat", "-abcdefghij0123456789"]), "a GitLab token"),
            (
                secret(&["db: postgres://app:", "s3cr3tw0rd@db/app"]),
                "a password in an address",
            ),
            (
                secret(&["password = \"", "9fK2mXq7Lp0Zr4\""]),
                "a secret in the code",
            ),
        ] {
            assert_eq!(in_line(&line).map(|(kind, _)| kind), Some(kind), "{line}");
            assert!(in_line(&format!("{line} # {ALLOW}")).is_none());
            for text in [
                format!("é\n{line}\né"),
                line.replace("key =", "clé_key ="),
                format!("{line}\r\n"),
            ] {
                let mut text = text.into_bytes();
                text.extend_from_slice(b"\n\xff\n");
                assert!(may_hold(&text), "{line}");
            }
        }
        for line in [
            "password = \"changeme-please-1\"",
            "password = os.environ[\"PASSWORD_FOR_THE_DATABASE_1\"]",
            "token = \"aaaaaaaaaaaaaaaaaaaa\"",
            "postgres://app:$PASSWORD@db/app",
            "postgres://app:PASSWORD@db/app",
            "if text.contains(\"-----BEGIN PRIVATE KEY-----\") {",
            "let secretary = \"Ms Something\"",
            "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "password: \"correcthorsebatterystaple\"",
        ] {
            assert_eq!(in_line(line), None, "{line}");
        }
        assert!(!may_hold("Das Passwort heißt so.\nlet x = y;\n".as_bytes()));
    }

    #[test]
    fn the_answer_names_the_place_and_never_the_secret() {
        let line = secret(&["key = AKIA", "IOSFODNN7ABCDEFG"]);
        let (kind, text) = in_line(&line).unwrap();
        let change = Change {
            secrets: vec![found(kind, text, "config.py", 3, &"c".repeat(40))],
            ..Change::default()
        };
        let problem = none(&change).unwrap();
        let told = problem.to_string();
        assert!(
            told.contains("config.py line 3") && !told.contains(text),
            "{told}"
        );
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(text in ".{0,300}") {
            prop_assert!(in_line(&text).is_none() || may_hold(text.as_bytes()));
        }
    }
}
