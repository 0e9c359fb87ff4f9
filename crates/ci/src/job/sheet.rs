//! A long log in parts: pages that begin at a line, and searching. Neither holds more than a part in memory, however
//! long the log is.

use super::{
    Job,
    ansi::{Cursor, plain},
    log,
};
use crate::Ci;
use bascule_core::{JobId, Problem, Result};
use bascule_wire::ci_results::{LogHit, LogHits};
use regex::{Regex, RegexBuilder};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Bytes of a page, but for what its last line needs.
pub(crate) const PAGE: u64 = 512 * 1024;
/// Bytes looked at in one go.
const PIECE: usize = 256 * 1024;
/// How far a line's end is looked for at a page's place, in bytes.
const NEAR: usize = 64 * 1024;
/// Longest line that is kept whole, in bytes.
const LINE: usize = 1024 * 1024;
/// Lines told of one search.
const HITS: usize = 200;
/// Bytes looked through in one request; the next goes on.
const LOOKED: u64 = 256 * 1024 * 1024;
/// Page starts whose line number is remembered.
const REMEMBERED: usize = 2_000;
/// Characters shown around what was found.
const AROUND: usize = 160;

/// A page of a log.
#[derive(Debug)]
pub(crate) struct Sheet {
    /// Its number, from zero.
    pub number: u64,
    /// How many there are.
    pub count: u64,
    /// Where it begins.
    pub cursor: Cursor,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Where pages begin: the byte, and the number of the line there. What was written of a log does not change.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<(JobId, u64), (u64, u64)>>);

impl Lines {
    fn get(&self, job: JobId, page: u64) -> Option<(u64, u64)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(job, page)).copied()
    }

    fn set(&self, job: JobId, page: u64, begins: (u64, u64)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert((job, page), begins);
    }
}

fn breaks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl Ci {
    /// Where a page begins: behind the first line end at or after its place. And whether that stays so: while a log
    /// grows, the line end may not be there yet.
    async fn page_start(&self, job: JobId, number: u64) -> Result<(u64, bool)> {
        let place = number.saturating_mul(PAGE);
        if place == 0 {
            return Ok((0, true));
        }
        // The byte before belongs to it: a line end there lets the page begin right at its place.
        let bytes = log::read(&self.db, &self.blobs, job, place - 1, NEAR).await?;
        let end = bytes.iter().take(NEAR).position(|byte| *byte == b'\n');
        Ok((
            end.map_or(place, |end| place + end as u64),
            end.is_some() || bytes.len() >= NEAR,
        ))
    }

    /// Where a page begins, and the number of the line there. Counted from the nearest page before it that is known.
    async fn page_at(&self, job: JobId, number: u64) -> Result<(u64, u64)> {
        let mut base = number;
        let (mut at, mut line) = loop {
            match self.lines.get(job, base) {
                Some(known) => break known,
                None if base == 0 => break (0, 1),
                None => base -= 1,
            }
        };
        for page in base + 1..=number {
            let (start, stays) = self.page_start(job, page).await?;
            line += self.breaks_between(job, at, start).await?;
            at = start;
            if stays {
                self.lines.set(job, page, (at, line));
            }
        }
        Ok((at, line))
    }

    async fn breaks_between(&self, job: JobId, from: u64, to: u64) -> Result<u64> {
        let (mut at, mut count) = (from, 0);
        while at < to {
            let mut bytes = log::read(&self.db, &self.blobs, job, at, PIECE).await?;
            if bytes.is_empty() {
                break;
            }
            bytes.truncate(usize::try_from(to - at).unwrap_or(usize::MAX));
            at += bytes.len() as u64;
            count += breaks(&bytes);
        }
        Ok(count)
    }

    /// A page of a log: the one asked for by number, or that holds a line; else the last.
    pub(crate) async fn sheet(&self, job: &Job, page: Option<u64>, line: Option<u64>) -> Result<Sheet> {
        let total = u64::try_from(job.trace_bytes).unwrap_or_default();
        let count = total.div_ceil(PAGE).max(1);
        let number = match (page, line) {
            (Some(page), _) => page.min(count - 1),
            (None, Some(line)) => {
                let mut number = 0;
                while number + 1 < count && self.page_at(job.id, number + 1).await?.1 <= line {
                    number += 1;
                }
                number
            }
            (None, None) => count - 1,
        };
        let (start, first) = self.page_at(job.id, number).await?;
        let end = if number + 1 < count {
            self.page_start(job.id, number + 1).await?.0
        } else {
            u64::MAX
        };
        let most = usize::try_from((end - start).min(PAGE + PIECE as u64)).unwrap_or(usize::MAX);
        let mut bytes = log::read(&self.db, &self.blobs, job.id, start, most).await?;
        bytes.truncate(most);
        Ok(Sheet {
            number,
            count,
            cursor: Cursor::at_line(start, first),
            bytes,
        })
    }

    /// Looks for a text in a log, small and capital letters alike, from where an earlier answer left off.
    ///
    /// # Errors
    /// The text is empty or too long, or where to go on is not what an answer said.
    pub async fn search_log(&self, job: JobId, text: &str, from: Option<&str>) -> Result<LogHits> {
        let text = text.trim();
        if text.is_empty() || text.len() > 500 {
            return Err(Problem::invalid("bad_search", "There is nothing to look for.")
                .next("Write from 1 to 500 characters."));
        }
        let pattern = RegexBuilder::new(&regex::escape(text))
            .case_insensitive(true)
            .build()
            .map_err(|_| Problem::internal())?;
        let (mut at, mut line) = match from {
            None => (0, 1),
            Some(from) => from
                .split_once('-')
                .and_then(|(at, line)| Some((at.parse().ok()?, line.parse().ok()?)))
                .ok_or_else(|| {
                    Problem::bad_request("bad_place", "Where to go on is not known.")
                        .next("Give `from` as `next` was told.")
                })?,
        };
        let start: u64 = at;
        let mut found = LogHits {
            hits: Vec::new(),
            next: None,
        };
        let mut kept: Vec<u8> = Vec::new();
        loop {
            let bytes = log::read(&self.db, &self.blobs, job, at + kept.len() as u64, PIECE).await?;
            let last = bytes.is_empty();
            kept.extend_from_slice(&bytes);
            // Whole lines alone; the rest waits for its end.
            let whole = match kept.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None if last || kept.len() >= LINE => kept.len(),
                None => 0,
            };
            let whole = if last { kept.len() } else { whole };
            let mut done = 0;
            for part in kept[..whole].split_inclusive(|byte| *byte == b'\n') {
                if found.hits.len() == HITS {
                    found.next = Some(format!("{}-{line}", at + done));
                    return Ok(found);
                }
                found.hits.extend(hit(part, line, &pattern));
                done += part.len() as u64;
                line += u64::from(part.ends_with(b"\n"));
            }
            at += done;
            kept.drain(..whole);
            if last {
                return Ok(found);
            }
            if at - start >= LOOKED {
                found.next = Some(format!("{at}-{line}"));
                return Ok(found);
            }
        }
    }
}

fn hit(bytes: &[u8], line: u64, pattern: &Regex) -> Option<LogHit> {
    // Most lines have no escapes, and most do not hold the text.
    let text = if bytes.contains(&b'\x1b') || bytes.contains(&b'\r') {
        plain(bytes)
    } else {
        let text = String::from_utf8_lossy(bytes);
        pattern.find(&text)?;
        plain(bytes)
    };
    let place = pattern.find(&text)?;
    let begin = text[..place.start()]
        .char_indices()
        .rev()
        .nth(AROUND)
        .map(|(at, _)| at);
    let end = text[place.end()..]
        .char_indices()
        .nth(AROUND)
        .map(|(at, _)| place.end() + at);
    let mut shown = String::new();
    if begin.is_some() {
        shown.push('…');
    }
    shown.push_str(&text[begin.unwrap_or_default()..end.unwrap_or(text.len())]);
    if end.is_some() {
        shown.push('…');
    }
    Some(LogHit { line, text: shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_cut_around_the_place() {
        let pattern = RegexBuilder::new("needle")
            .case_insensitive(true)
            .build()
            .unwrap();
        let long = format!("{}NEEDLE{}", "é".repeat(500), "x".repeat(500));
        let found = hit(long.as_bytes(), 7, &pattern).unwrap();
        assert!(found.text.starts_with('…') && found.text.ends_with('…') && found.text.contains("NEEDLE"));
        assert!(found.text.chars().count() < 340);
        let coloured = hit(b"\x1b[31mnee\x1b[0mdle\n", 1, &pattern).unwrap();
        assert_eq!(coloured.text, "needle");
        assert!(hit(b"nothing\n", 1, &pattern).is_none());
    }
}
