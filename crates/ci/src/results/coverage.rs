//! Coverage: read from a log, written as percent, compared.

use crate::rules;
use regex::Regex;
use std::fmt;

/// A share in hundredths of a percent, from 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub i64);

impl Share {
    /// So many of so many; nothing of nothing is `None`.
    #[must_use]
    pub fn of(covered: i64, lines: i64) -> Option<Self> {
        let share = i128::from(covered.max(0)) * 10_000 / i128::from(lines.max(0)).max(1);
        (lines > 0).then(|| Self(i64::try_from(share.clamp(0, 10_000)).unwrap_or_default()))
    }

    /// Reads `83`, `83.1` or `83.12 %`; `None` for what is no percentage.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('%').trim();
        let (whole, part) = text.split_once(['.', ',']).unwrap_or((text, ""));
        if whole.is_empty()
            || whole.len() > 3
            || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let hundredths: String = part.chars().chain("00".chars()).take(2).collect();
        let share = whole.parse::<i64>().ok()? * 100 + hundredths.parse::<i64>().ok()?;
        (share <= 10_000).then_some(Self(share))
    }

    /// The difference to another, with its sign: `+1.20`.
    #[must_use]
    pub fn change_from(self, other: Self) -> String {
        let change = self.0 - other.0;
        let sign = match change {
            0 => "±",
            c if c < 0 => "−",
            _ => "+",
        };
        format!("{sign}{}.{:02}", change.abs() / 100, change.abs() % 100)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// Longest line that is looked at, in bytes.
const LINE: usize = 16 * 1024;

/// Looks for the coverage in a log that comes in pieces: the last line that the pattern fits decides.
pub(crate) struct InLog {
    pattern: Regex,
    number: Regex,
    escapes: Regex,
    line: Vec<u8>,
    found: Option<Share>,
}

impl InLog {
    /// `coverage:` as it is written; `None` if it is no pattern.
    pub(crate) fn new(written: &str) -> Option<Self> {
        Some(Self {
            pattern: rules::pattern(written).ok()?,
            number: Regex::new(r"\d{1,3}(?:[.,]\d+)?").ok()?,
            escapes: Regex::new(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
                .ok()?,
            line: Vec::new(),
            found: None,
        })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE.saturating_sub(self.line.len());
            self.line
                .extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            if part.ends_with(b"\n") {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let plain = self.escapes.replace_all(&text, "");
        for found in self.pattern.captures_iter(plain.trim_end()) {
            let group = (1..found.len())
                .find_map(|at| found.get(at))
                .or_else(|| found.get(0));
            let share = group
                .and_then(|group| self.number.find_iter(group.as_str()).last())
                .and_then(|number| Share::parse(number.as_str()));
            if share.is_some() {
                self.found = share;
            }
        }
        self.line = line;
        self.line.clear();
    }

    pub(crate) fn finish(mut self) -> Option<Share> {
        if !self.line.is_empty() {
            self.look();
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(pattern: &str, log: &str) -> Option<String> {
        let mut look = InLog::new(pattern).unwrap();
        for piece in log.as_bytes().chunks(3) {
            look.push(piece);
        }
        look.finish().map(|share| share.to_string())
    }

    #[test]
    fn the_last_line_that_fits_decides() {
        let log = "TOTAL 10 2 80%\n\x1b[32mTOTAL\x1b[0m   100   17    83.5%\r\nok";
        assert_eq!(
            found(r"/TOTAL.*?\s+(\d+(?:\.\d+)?%)$/", log).as_deref(),
            Some("83.50")
        );
        assert_eq!(
            found(r"/Coverage: \d+\.\d+/", "Coverage: 91.234\n").as_deref(),
            Some("91.23")
        );
        assert_eq!(
            found(r"/^  lines: +\d+\.\d+% \(\d+\/\d+\)/", "  lines: 40.0% (2/5)").as_deref(),
            Some("5.00"),
            "the last number of a pattern without a group"
        );
        assert_eq!(found("/nothing (\\d+)/", log), None);
        assert_eq!(found("/(\\d+)/", "999\n"), None);
    }

    #[test]
    fn shares_read_and_compare() {
        assert_eq!(Share::parse("100%"), Some(Share(10_000)));
        assert_eq!(Share::parse("7,5"), Some(Share(750)));
        for bad in ["", "100.01", "-1", "x", "1.2.3", "%"] {
            assert_eq!(Share::parse(bad), None, "{bad}");
        }
        assert_eq!(Share(8_310).change_from(Share(8_000)), "+3.10");
        assert_eq!(Share(7_950).change_from(Share(8_000)), "−0.50");
        assert_eq!(Share::of(5, 6), Some(Share(8_333)));
        assert_eq!(Share::of(0, 0), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(share in 0_i64..=10_000) {
            prop_assert_eq!(Share::parse(&Share(share).to_string()), Some(Share(share)));
        }
    }
}
