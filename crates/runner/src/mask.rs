//! Keeps secrets out of logs, also when a secret comes in pieces, or encoded as programs encode what they print.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands in a secret's place.
pub(crate) const MASK: &[u8] = b"[MASKED]";
/// Shorter values are no secrets, and replacing them would garble the log.
const LEAST_BYTES: usize = 4;
/// Shorter pieces of base64 stand in too many words.
const LEAST_BASE64: usize = 6;
/// Longest line of base64 as `base64` writes it.
const BASE64_LINE: usize = 76;
/// What stays as it is in an address.
const ADDRESS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

#[derive(Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// Whether the pattern only begins the secret, which goes on to the end of the word.
    beginning: bool,
}

/// Replaces secrets in a stream of bytes. What might become a secret is held back until it is clear.
#[derive(Debug)]
pub(crate) struct Masker {
    patterns: Vec<Pattern>,
    /// By first byte, the patterns that start so, longest first.
    starts: Vec<Vec<usize>>,
    /// By the first two bytes, whether any pattern starts so.
    pairs: Vec<bool>,
    held: Vec<u8>,
    /// Inside a word that began with a secret's beginning.
    in_word: bool,
}

impl Masker {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>, beginnings: &[String]) -> Self {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            // Programs often print one line of a longer secret, or put it in an address.
            for part in std::iter::once(secret).chain(secret.lines()).map(str::trim) {
                if part.len() >= LEAST_BYTES {
                    all.extend(forms(part));
                }
            }
        }
        all.retain(|s| s.len() >= LEAST_BYTES);
        let mut patterns: Vec<Pattern> = all
            .into_iter()
            .map(|bytes| Pattern {
                bytes,
                beginning: false,
            })
            .collect();
        let beginnings = beginnings.iter().filter(|b| b.len() >= LEAST_BYTES);
        patterns.extend(beginnings.map(|b| Pattern {
            bytes: b.as_bytes().to_vec(),
            beginning: true,
        }));
        // Longest first, so that the first match is the longest.
        patterns.sort_by(|a, b| {
            b.bytes
                .len()
                .cmp(&a.bytes.len())
                .then_with(|| a.bytes.cmp(&b.bytes))
        });
        patterns.dedup_by(|a, b| a.bytes == b.bytes && a.beginning == b.beginning);
        let mut starts = vec![Vec::new(); 256];
        let mut pairs = vec![false; 1 << 16];
        for (number, pattern) in patterns.iter().enumerate() {
            if let [first, second, ..] = pattern.bytes.as_slice() {
                if let Some(list) = starts.get_mut(usize::from(*first)) {
                    list.push(number);
                }
                if let Some(pair) = pairs.get_mut(pair(*first, *second)) {
                    *pair = true;
                }
            }
        }
        Self {
            patterns,
            starts,
            pairs,
            held: Vec::new(),
            in_word: false,
        }
    }

    /// Takes more bytes and adds what is clear to `out`.
    pub(crate) fn push(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if self.held.is_empty() {
            let kept = self.scan(data, out, false);
            self.held = data.get(kept..).unwrap_or_default().to_vec();
        } else {
            let mut all = std::mem::take(&mut self.held);
            all.extend_from_slice(data);
            let kept = self.scan(&all, out, false);
            all.drain(..kept);
            self.held = all;
        }
    }

    /// Gives out what is held back; nothing follows it.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        let rest = std::mem::take(&mut self.held);
        self.scan(&rest, out, true);
    }

    /// Whether a pattern may start where `rest` does.
    fn may_start(&self, rest: &[u8]) -> bool {
        match rest {
            [] => false,
            [one] => self
                .starts
                .get(usize::from(*one))
                .is_some_and(|list| !list.is_empty()),
            [first, second, ..] => self.pairs.get(pair(*first, *second)).is_some_and(|pair| *pair),
        }
    }

    /// Returns up to where `data` was dealt with.
    fn scan(&mut self, data: &[u8], out: &mut Vec<u8>, last: bool) -> usize {
        let mut at = 0;
        while let Some(byte) = data.get(at) {
            if self.in_word {
                if byte.is_ascii_alphanumeric() || b"_-.=".contains(byte) {
                    at += 1;
                    continue;
                }
                self.in_word = false;
            }
            // All that no pattern starts in goes at once.
            let rest = data.get(at..).unwrap_or_default();
            let clear = (0..rest.len())
                .find(|from| self.may_start(rest.get(*from..).unwrap_or_default()))
                .unwrap_or(rest.len());
            out.extend_from_slice(rest.get(..clear).unwrap_or_default());
            at += clear;
            let rest = rest.get(clear..).unwrap_or_default();
            let Some(first) = rest.first() else { break };
            let candidates = self
                .starts
                .get(usize::from(*first))
                .map_or(&[][..], Vec::as_slice);
            let candidates = candidates.iter().filter_map(|number| self.patterns.get(*number));
            let unclear = |p: &Pattern| rest.len() < p.bytes.len() && p.bytes.starts_with(rest);
            if !last && candidates.clone().any(unclear) {
                return at;
            }
            if let Some(found) = candidates.clone().find(|p| rest.starts_with(&p.bytes)) {
                if found.beginning {
                    out.extend_from_slice(&found.bytes);
                    self.in_word = true;
                }
                out.extend_from_slice(MASK);
                at += found.bytes.len();
            } else {
                out.push(*first);
                at += 1;
            }
        }
        at
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// A secret as it stands, and as it looks in addresses, in JSON and in base64.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut all = vec![secret.as_bytes().to_vec()];
    for set in [NON_ALPHANUMERIC, ADDRESS] {
        let encoded = utf8_percent_encode(secret, set).to_string();
        all.push(lower_escapes(&encoded).into_bytes());
        all.push(encoded.replace("%20", "+").into_bytes());
        all.push(encoded.into_bytes());
    }
    if let Ok(quoted) = serde_json::to_string(secret) {
        all.push(quoted.trim_matches('"').as_bytes().to_vec());
    }
    for encoded in base64_forms(secret.as_bytes()) {
        let other = encoded.replace('+', "-").replace('/', "_");
        all.push(encoded.into_bytes());
        all.push(other.into_bytes());
    }
    all
}

/// `%2F` as `%2f`.
fn lower_escapes(encoded: &str) -> String {
    let mut left = 0;
    encoded
        .chars()
        .map(|c| {
            if c == '%' {
                left = 2;
            } else if left > 0 {
                left -= 1;
                return c.to_ascii_lowercase();
            }
            c
        })
        .collect()
}

/// Base64 of a secret alone, with and without a line break behind it, and of a secret in the midst of something longer:
/// there it begins at one of three places in a group, and the characters at its ends are shared with its neighbours.
fn base64_forms(secret: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    for end in [&b""[..], b"\n"] {
        let whole = STANDARD.encode([secret, end].concat());
        all.push(whole.trim_end_matches('=').to_owned());
        if whole.len() > BASE64_LINE {
            let lines: Vec<String> = whole
                .as_bytes()
                .chunks(BASE64_LINE)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            all.push(lines.join("\n"));
        }
        all.push(whole);
    }
    for before in 0..3 {
        let shifted = [&[0; 2][..before], secret].concat();
        let encoded = STANDARD.encode(&shifted);
        let shared = (before * 8).div_ceil(6);
        let own = shifted.len() * 8 / 6;
        if let Some(inner) = encoded.get(shared..own) {
            all.push(inner.to_owned());
        }
    }
    all.retain(|encoded| encoded.len() >= LEAST_BASE64);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(masker: &mut Masker, pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        for piece in pieces {
            masker.push(piece, &mut out);
        }
        masker.flush(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn secrets_vanish_whole_in_pieces_and_in_addresses() {
        let new = || Masker::new(["s3cret/!", "s3cret/!longer"], &[]);
        assert_eq!(masked(&mut new(), &[b"a s3cret/! b"]), "a [MASKED] b");
        assert_eq!(
            masked(&mut new(), &[b"a s3", b"cre", b"t/!", b" b"]),
            "a [MASKED] b"
        );
        assert_eq!(masked(&mut new(), &[b"s3cret/!", b"longer."]), "[MASKED].");
        assert_eq!(masked(&mut new(), &[b"u:s3cret%2F%21@h"]), "u:[MASKED]@h");
        assert_eq!(masked(&mut new(), &[b"s3cre"]), "s3cre");
    }

    #[test]
    fn words_with_a_known_beginning_vanish_to_their_end() {
        let mut masker = Masker::new([], &["glpat-".to_owned()]);
        assert_eq!(
            masked(&mut masker, &[b"x glp", b"at-abc", b"DEF_9 y"]),
            "x glpat-[MASKED] y"
        );
    }

    #[test]
    fn each_line_of_a_long_secret_and_no_short_words() {
        let mut masker = Masker::new(["-----BEGIN\nabcdefgh\n--", "on"], &[]);
        assert_eq!(masked(&mut masker, &[b"on: abcdefgh"]), "on: [MASKED]");
    }

    #[test]
    fn secrets_vanish_in_base64_wherever_they_stand_in_it() {
        let secret = "s3cret/value?";
        let new = || Masker::new([secret], &[]);
        for text in [
            secret.to_owned(),
            format!("{secret}\n"),
            format!("user:{secret}@host"),
            format!("ab{secret}"),
            format!("x{secret}yz"),
        ] {
            for engine in [&STANDARD, &base64::engine::general_purpose::URL_SAFE] {
                let encoded = engine.encode(&text);
                let out = masked(&mut new(), &[b"<", encoded.as_bytes(), b">"]);
                assert!(out.contains("[MASKED]"), "{text}: {out}");
                // What is left of it tells less than two characters at each end.
                let left = out.replace("[MASKED]", "");
                assert!(left.len() <= text.len() - secret.len() + 12, "{text}: {out}");
            }
        }
        let long = "k".repeat(100);
        let wrapped: Vec<String> = STANDARD
            .encode(&long)
            .as_bytes()
            .chunks(76)
            .map(|l| String::from_utf8_lossy(l).into_owned())
            .collect();
        let out = masked(
            &mut Masker::new([long.as_str()], &[]),
            &[wrapped.join("\n").as_bytes()],
        );
        assert_eq!(out, "[MASKED]");
        assert_eq!(masked(&mut new(), &[b"s3cret%2fvalue%3f"]), "[MASKED]");
        assert_eq!(
            masked(
                &mut Masker::new(["a \"b\" c"], &[]),
                &[br#"{"x":"a \"b\" c"} a+%22b%22+c"#]
            ),
            "{\"x\":\"[MASKED]\"} [MASKED]"
        );
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_result_is_the_same(text in "[ab]{0,40}", cuts in prop::collection::vec(0_usize..40, 0..6)) {
            let new = || Masker::new(["abab", "babba", "aaaaa"], &["bbab".to_owned()]);
            let whole = masked(&mut new(), &[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&text.as_bytes()[from..]);
            prop_assert_eq!(masked(&mut new(), &pieces), whole);
        }
    }
}
