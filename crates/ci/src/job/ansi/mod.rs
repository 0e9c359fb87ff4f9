//! Terminal output as safe HTML: colours become classes, every line gets a number that can be linked to, sections
//! can be folded, everything else that a terminal would obey is dropped. Works on pieces, so that a live log can be
//! shown as it comes and taken up again anywhere.

mod link;
mod style;

use std::fmt::Write as _;
use style::{Colour, Style};

/// Most sections within one another; deeper ones are not told apart.
const DEPTH: usize = 8;
/// Longest marker of a section, in bytes.
const MARKER: usize = 300;
/// Longest line that a section's name is taken from, in bytes.
const HEADER: usize = 4_096;
/// Length of what a runner writes before a line that it gives a time: `2026-05-30T12:00:00.000000Z 00O `.
const STAMP: usize = 32;

/// A section that was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Section {
    /// CRC-32 of its name.
    name: u32,
    /// When it began, in seconds.
    from: u32,
}

/// Where a piece of a log left off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Bytes shown so far.
    pub offset: u64,
    /// Number of the line that is being written, from one: line ends before it, and one.
    pub line: u64,
    /// Whether that line's number was not written yet.
    pub at_start: bool,
    /// Whether nothing of that line was read yet, so that a time may stand there.
    fresh: bool,
    /// Whether a carriage return stands behind what was written of that line, so that what comes next takes its place.
    returned: bool,
    style: Style,
    sections: [Section; DEPTH],
    depth: usize,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            offset: 0,
            line: 1,
            at_start: true,
            fresh: true,
            returned: false,
            style: Style::default(),
            sections: [Section::default(); DEPTH],
            depth: 0,
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}.{}.{}.{}.{}.{}",
            self.offset,
            self.line,
            if self.returned {
                3
            } else {
                u8::from(self.at_start) + u8::from(self.fresh)
            },
            self.style.marks,
            self.style.fore.code(),
            self.style.back.code()
        )?;
        for section in &self.sections[..self.depth] {
            write!(f, ".{}-{}", section.name, section.from)?;
        }
        Ok(())
    }
}

impl Cursor {
    /// A cursor at the beginning of a line.
    #[must_use]
    pub fn at_line(offset: u64, line: u64) -> Self {
        Self {
            offset,
            line: line.max(1),
            ..Self::default()
        }
    }

    /// Reads a cursor as displayed; anything else is the beginning.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let read = || -> Option<Self> {
            let mut parts = text.split('.').take(6 + DEPTH);
            let mut number = || parts.next()?.parse::<u64>().ok();
            let (offset, line, at_start) = (number()?, number()?, number()?);
            let (marks, fore, back) = (number()?, number()?, number()?);
            let mut cursor = Self {
                offset,
                line: line.max(1),
                at_start: at_start == 1 || at_start == 2,
                fresh: at_start == 2,
                returned: at_start == 3,
                style: Style {
                    marks: u8::try_from(marks).ok().filter(|marks| *marks < 128)?,
                    fore: Colour::from_code(u32::try_from(fore).ok()?),
                    back: Colour::from_code(u32::try_from(back).ok()?),
                },
                ..Self::default()
            };
            for part in parts {
                let (name, from) = part.split_once('-')?;
                cursor.push(Section {
                    name: name.parse().ok()?,
                    from: from.parse().ok()?,
                });
            }
            Some(cursor)
        };
        read().unwrap_or_default()
    }

    /// How many sections are open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    fn push(&mut self, section: Section) -> bool {
        let Some(place) = self.sections.get_mut(self.depth) else {
            return false;
        };
        *place = section;
        self.depth += 1;
        true
    }

    /// Renders the bytes that follow. What is cut off in its middle (a letter, an escape sequence, a section's
    /// marker) is left for the next time, unless this is the `end`.
    ///
    /// A section is `<details>` with its first line as `<summary>`. Those that begin or end in another piece are
    /// left open, or closed without having been opened; one that was opened in another piece is closed with
    /// `<i data-took="…"></i>` before, which says how long it took.
    ///
    /// Of what a carriage return writes over the last state is shown, as on a terminal: a progress bar is one line.
    /// `<i data-return></i>` says that what earlier pieces showed of the line is to go.
    pub fn render(&mut self, bytes: &[u8], end: bool) -> String {
        let usable = if end { bytes.len() } else { complete(bytes) };
        let text = String::from_utf8_lossy(&bytes[..usable]);
        // A cursor comes from the reader's browser and may be any number.
        self.offset = self.offset.saturating_add(usable as u64);
        let mut writer = Writer {
            out: String::with_capacity(text.len() + 64),
            open: false,
            summary: false,
            stamp: None,
            line_from: None,
            begun: Vec::new(),
        };
        let mut rest = text.as_ref();
        while let Some(c) = rest.chars().next() {
            if std::mem::take(&mut self.fresh)
                && c.is_ascii_digit()
                && stamped(rest.as_bytes()) == Some(true)
                && let Some(after) = rest.get(STAMP..)
            {
                writer.stamp = rest.get(..STAMP).map(str::to_owned);
                rest = after;
                // A time alone is no line; its end, a marker or a letter follows.
                if rest.is_empty() {
                    writer.number(self);
                }
                continue;
            }
            let at = c.len_utf8();
            if c == '\u{1b}' {
                let length = escape_length(rest.as_bytes()).unwrap_or(rest.len());
                let sequence = &rest[..length];
                if let Some(parameters) = sequence.strip_prefix("\u{1b}[").and_then(|s| s.strip_suffix('m')) {
                    self.style.obey(parameters);
                    writer.close_span();
                }
                rest = &rest[length..];
                continue;
            }
            if c == 'h'
                && let Some(length) = link::length(rest)
            {
                writer.link(self, &rest[..length]);
                rest = &rest[length..];
                continue;
            }
            if c == 's'
                && let Some(marker) = Marker::read(rest)
            {
                rest = &rest[marker.length..];
                if marker.begins {
                    writer.begin(self, &marker);
                } else if writer.end(self, &marker) && self.at_start {
                    // The marker's line is empty to the eye.
                    let blank = skip_escapes(rest);
                    if let Some(after) = blank.strip_prefix('\n') {
                        rest = after;
                        writer.stamp = None;
                        self.line = self.line.saturating_add(1);
                        self.fresh = true;
                    }
                }
                continue;
            }
            rest = &rest[at..];
            match c {
                '\n' => {
                    writer.close_span();
                    writer.number(self);
                    if writer.summary {
                        writer.end_summary();
                    } else {
                        writer.out.push('\n');
                    }
                    self.line = self.line.saturating_add(1);
                    (self.at_start, self.fresh, self.returned) = (true, true, false);
                    writer.line_from = None;
                }
                '\r' => self.returned = !self.at_start,
                '\t' => writer.put(self, "\t"),
                '<' => writer.put(self, "&lt;"),
                '>' => writer.put(self, "&gt;"),
                '&' => writer.put(self, "&amp;"),
                '"' => writer.put(self, "&quot;"),
                // Other control characters, and those that turn the direction of writing around.
                c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {}
                c => writer.put(self, c.encode_utf8(&mut [0; 4])),
            }
        }
        writer.close_span();
        if writer.summary {
            writer.end_summary();
        }
        writer.out
    }
}

/// What was written in one go.
struct Writer {
    out: String,
    /// Whether a coloured span is open.
    open: bool,
    /// Whether a section's first line is being written.
    summary: bool,
    /// The time of the line whose number was not written yet.
    stamp: Option<String>,
    /// Where the text of the line that is being written begins, if in this piece.
    line_from: Option<usize>,
    /// For each section begun in this piece and still open: where its summary ends.
    begun: Vec<usize>,
}

impl Writer {
    fn close_span(&mut self) {
        if self.open {
            self.out.push_str("</span>");
            self.open = false;
        }
    }

    fn number(&mut self, cursor: &mut Cursor) {
        let mut begins = false;
        if cursor.at_start {
            begins = true;
            cursor.at_start = false;
            let line = cursor.line;
            cursor.returned = false;
            // Writing to a String cannot fail.
            let _ = write!(
                self.out,
                "<a class=\"line\" id=\"L{line}\" href=\"#L{line}\">{line}</a>"
            );
        }
        if let Some(stamp) = self.stamp.take() {
            // Digits and punctuation alone, as was looked at.
            let (whole, short) = (stamp.get(..27), stamp.get(11..23));
            if let (Some(whole), Some(short)) = (whole, short) {
                let _ = write!(self.out, "<time class=\"ts\" datetime=\"{whole}\">{short}</time>");
            }
            begins = true;
        }
        if begins {
            self.line_from = Some(self.out.len());
        }
    }

    /// Takes back what is written of the line, if a carriage return asks for it.
    fn write_over(&mut self, cursor: &mut Cursor) {
        if !std::mem::take(&mut cursor.returned) {
            return;
        }
        self.close_span();
        match self.line_from {
            Some(from) => self.out.truncate(from),
            None => self.out.push_str("<i data-return></i>"),
        }
    }

    fn put(&mut self, cursor: &mut Cursor, text: &str) {
        self.number(cursor);
        self.write_over(cursor);
        if !self.open {
            let tag = cursor.style.tag();
            self.open = !tag.is_empty();
            self.out.push_str(&tag);
        }
        self.out.push_str(text);
    }

    /// An address as a link. It was looked at to hold nothing but what an address may.
    fn link(&mut self, cursor: &mut Cursor, address: &str) {
        let address = address.replace('&', "&amp;");
        self.put(
            cursor,
            &format!(
                "<a class=\"url\" href=\"{address}\" rel=\"noopener noreferrer nofollow\">{address}</a>"
            ),
        );
    }

    fn begin(&mut self, cursor: &mut Cursor, marker: &Marker) {
        self.close_span();
        if self.summary {
            self.end_summary();
        } else if !cursor.at_start {
            // It begins in the middle of a line.
            self.out.push('\n');
        }
        if !cursor.push(Section {
            name: marker.name,
            from: marker.at,
        }) {
            return;
        }
        self.out.push_str(if marker.collapsed {
            "<details class=\"section\"><summary>"
        } else {
            "<details class=\"section\" open><summary>"
        });
        self.summary = true;
        self.begins_anew(cursor);
    }

    /// What follows stands in a place of its own: a carriage return writes over nothing before it.
    fn begins_anew(&mut self, cursor: &mut Cursor) {
        self.line_from = Some(self.out.len());
        cursor.returned = false;
    }

    fn end_summary(&mut self) {
        self.close_span();
        self.summary = false;
        self.begun.push(self.out.len());
        self.out.push_str("</summary>");
        self.line_from = Some(self.out.len());
    }

    /// Closes a section and those left open within it. Whether there was one of that name.
    fn end(&mut self, cursor: &mut Cursor, marker: &Marker) -> bool {
        let open = &cursor.sections[..cursor.depth];
        let Some(at) = open.iter().rposition(|section| section.name == marker.name) else {
            return false;
        };
        self.close_span();
        if self.summary {
            self.end_summary();
        }
        while cursor.depth > at {
            cursor.depth -= 1;
            let took = marker.at.saturating_sub(cursor.sections[cursor.depth].from);
            let took = took_words(took);
            match self.begun.pop() {
                Some(place) if !took.is_empty() => {
                    let said = format!("<span class=\"section-took\">{took}</span>");
                    self.out.insert_str(place, &said);
                    self.out.push_str("</details>");
                }
                None if !took.is_empty() => {
                    let _ = write!(self.out, "<i data-took=\"{took}\"></i></details>");
                }
                _ => self.out.push_str("</details>"),
            }
        }
        self.begins_anew(cursor);
        true
    }
}

/// How long a section took; nothing below a second, which its whole seconds cannot tell.
fn took_words(seconds: u32) -> String {
    match seconds {
        0 => String::new(),
        1..60 => format!("{seconds} s"),
        more => bascule_web::duration(std::time::Duration::from_secs(u64::from(more))),
    }
}

/// `section_start:1560896352:name[collapsed=true]\r`, or `section_end:…`.
struct Marker {
    begins: bool,
    at: u32,
    name: u32,
    collapsed: bool,
    length: usize,
}

impl Marker {
    fn read(text: &str) -> Option<Self> {
        let (begins, rest) = match text.strip_prefix("section_start:") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("section_end:")?),
        };
        let end = rest.as_bytes().iter().take(MARKER).position(|b| *b == b'\r')?;
        let (at, name) = rest.get(..end)?.split_once(':')?;
        if name.contains('\n') {
            return None;
        }
        let (name, options) = name.split_once('[').unwrap_or((name, ""));
        Some(Self {
            begins,
            at: at
                .parse::<u64>()
                .map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX)),
            name: crc32fast::hash(name.as_bytes()),
            collapsed: options.contains("collapsed=true"),
            length: text.len() - rest.len() + end + 1,
        })
    }
}

fn skip_escapes(mut text: &str) -> &str {
    while text.starts_with('\u{1b}') {
        match escape_length(text.as_bytes()).and_then(|length| text.get(length..)) {
            Some(rest) => text = rest,
            None => break,
        }
    }
    text
}

/// Whether a line begins with a runner's time; `None` while that cannot be said.
fn stamped(line: &[u8]) -> Option<bool> {
    const FORM: &[u8; STAMP] = b"0000-00-00T00:00:00.000000Z xxO+";
    for (at, form) in FORM.iter().enumerate() {
        let byte = line.get(at)?;
        let fits = match form {
            b'0' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_hexdigit(),
            b'O' => matches!(byte, b'O' | b'E'),
            b'+' => matches!(byte, b' ' | b'+'),
            other => byte == other,
        };
        if !fits {
            return Some(false);
        }
    }
    Some(true)
}

/// A line as it is shown, as plain text: without escapes, time and markers, for searching.
#[must_use]
pub fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut rest = text.as_ref();
    if stamped(rest.as_bytes()) == Some(true) {
        rest = rest.get(STAMP..).unwrap_or_default();
    }
    let mut out = String::with_capacity(rest.len());
    let mut returned = false;
    while let Some(c) = rest.chars().next() {
        if c == '\u{1b}' {
            let length = escape_length(rest.as_bytes()).unwrap_or(rest.len());
            rest = rest.get(length..).unwrap_or_default();
        } else if let Some(marker) = (c == 's').then(|| Marker::read(rest)).flatten() {
            rest = rest.get(marker.length..).unwrap_or_default();
        } else if c == '\r' {
            rest = rest.get(1..).unwrap_or_default();
            returned = true;
        } else {
            if !c.is_control() || c == '\t' {
                if std::mem::take(&mut returned) {
                    out.clear();
                }
                out.push(c);
            }
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

/// Bytes up to the last one that does not begin something cut off.
fn complete(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    // An unfinished letter has at most three bytes.
    for back in 1..=3.min(end) {
        let byte = bytes[end - back];
        if byte & 0xC0 == 0xC0 {
            let needs = match byte {
                0xF0.. => 4,
                0xE0.. => 3,
                _ => 2,
            };
            if needs > back {
                end -= back;
            }
            break;
        }
        if byte & 0x80 == 0 {
            break;
        }
    }
    let tail = end.saturating_sub(64);
    if let Some(at) = bytes[tail..end].iter().rposition(|b| *b == 0x1b)
        && escape_length(&bytes[tail + at..end]).is_none()
    {
        end = tail + at;
    }
    end = before_marker(&bytes[..end]);
    end -= link::unfinished(&bytes[..end]);
    // A time, or half of one, and no word behind it yet.
    let line = bytes[..end]
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let written = &bytes[line..end];
    let held = match stamped(written) {
        None => true,
        Some(stamped) => stamped && std::str::from_utf8(&written[STAMP..]).is_ok_and(is_empty_to_the_eye),
    };
    if held {
        end = line;
    }
    end
}

/// Whether there is nothing but escapes, carriage returns and ends of sections.
fn is_empty_to_the_eye(mut text: &str) -> bool {
    loop {
        let mut rest = skip_escapes(text).trim_start_matches('\r');
        if let Some(marker) = Marker::read(rest).filter(|marker| !marker.begins) {
            rest = &rest[marker.length..];
        }
        if rest.len() == text.len() {
            return rest.is_empty();
        }
        text = rest;
    }
}

/// Where the bytes end before a section's marker, or its line, that is not whole.
fn before_marker(bytes: &[u8]) -> usize {
    const WORDS: [&[u8]; 2] = [b"section_start:", b"section_end:"];
    let from = bytes.len().saturating_sub(HEADER);
    let tail = &bytes[from..];
    let (mut at, mut hold) = (tail.len(), tail.len());
    while let Some(place) = tail[..at].iter().rposition(|b| *b == b's') {
        at = place;
        let rest = &tail[place..hold];
        let begun = WORDS.iter().position(|word| rest.starts_with(word));
        let whole = match begun {
            None => !WORDS.iter().any(|word| word.starts_with(rest)),
            Some(which) => match rest.iter().take(MARKER).position(|b| *b == b'\r') {
                None => rest.len() >= MARKER || rest.contains(&b'\n'),
                // A section's first line is its name; what follows an end decides whether its line is shown.
                Some(end) if which == 0 => rest[end..].contains(&b'\n'),
                Some(end) => rest.len() > end + 8,
            },
        };
        if !whole {
            hold = place;
        }
    }
    from + hold
}

/// Length of the escape sequence at the beginning; `None` while its end is missing.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'[' => {
            let end = bytes[2..]
                .iter()
                .position(|b| (0x40..=0x7e).contains(b) || *b < 0x20);
            match end {
                Some(end) => Some(2 + end + usize::from(bytes[2 + end] >= 0x40)),
                None if bytes.len() > 62 => Some(2),
                None => None,
            }
        }
        // A title and the like, up to BEL or ESC \. Any other escape ends it without effect: so that no byte is looked at
        // for more than one of them.
        b']' => match bytes[2..].iter().position(|b| matches!(b, 0x07 | 0x1b)) {
            Some(end) if bytes[2 + end] == 0x07 => Some(2 + end + 1),
            Some(end) => match bytes.get(2 + end + 1) {
                Some(b'\\') => Some(2 + end + 2),
                Some(_) => Some(2),
                None => (bytes.len() > 62).then_some(2),
            },
            None => (bytes.len() > 62).then_some(2),
        },
        b if b.is_ascii() => Some(2),
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests;
