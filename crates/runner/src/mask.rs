//! Keeps secrets out of logs, also when a secret comes in pieces.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands in a secret's place.
pub(crate) const MASK: &[u8] = b"[MASKED]";
/// Shorter values are no secrets, and replacing them would garble the log.
const LEAST_BYTES: usize = 4;

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
    /// By first byte, whether any pattern may start there.
    starts: Box<[bool; 256]>,
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
                all.push(part.as_bytes().to_vec());
                all.push(
                    utf8_percent_encode(part, NON_ALPHANUMERIC)
                        .to_string()
                        .into_bytes(),
                );
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
        let mut starts = Box::new([false; 256]);
        for first in patterns.iter().filter_map(|p| p.bytes.first()) {
            if let Some(start) = starts.get_mut(usize::from(*first)) {
                *start = true;
            }
        }
        Self {
            patterns,
            starts,
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
            if !self.starts.get(usize::from(*byte)).is_some_and(|s| *s) {
                out.push(*byte);
                at += 1;
                continue;
            }
            let rest = data.get(at..).unwrap_or_default();
            let unclear = |p: &&Pattern| rest.len() < p.bytes.len() && p.bytes.starts_with(rest);
            if !last && self.patterns.iter().any(|p| unclear(&p)) {
                return at;
            }
            if let Some(found) = self.patterns.iter().find(|p| rest.starts_with(&p.bytes)) {
                if found.beginning {
                    out.extend_from_slice(&found.bytes);
                    self.in_word = true;
                }
                out.extend_from_slice(MASK);
                at += found.bytes.len();
            } else {
                out.push(*byte);
                at += 1;
            }
        }
        at
    }
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
