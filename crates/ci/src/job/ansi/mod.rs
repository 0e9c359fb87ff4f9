//! Terminal output as safe HTML: colours become classes, every line gets a number that can be linked to, sections
//! can be folded, everything else that a terminal would obey is dropped. Works on pieces, so that a live log can be
//! shown as it comes and taken up again anywhere.

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
            u8::from(self.at_start) + u8::from(self.fresh),
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
                '\r' if rest.starts_with('\n') => {}
                '\n' => {
                    writer.close_span();
                    writer.number(self);
                    if writer.summary {
                        writer.end_summary();
                    } else {
                        writer.out.push('\n');
                    }
                    self.line = self.line.saturating_add(1);
                    (self.at_start, self.fresh) = (true, true);
                }
                // A terminal would write over the line: what is written next stands below, without a number.
                '\r' if !self.at_start && !rest.is_empty() && !writer.summary => {
                    if !skip_escapes(rest).starts_with('\n') {
                        writer.close_span();
                        writer.out.push_str("\n<span class=\"line\"></span>");
                    }
                }
                '\r' => {}
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
        if cursor.at_start {
            cursor.at_start = false;
            let line = cursor.line;
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
        }
    }

    fn put(&mut self, cursor: &mut Cursor, text: &str) {
        self.number(cursor);
        if !self.open {
            let tag = cursor.style.tag();
            self.open = !tag.is_empty();
            self.out.push_str(&tag);
        }
        self.out.push_str(text);
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
    }

    fn end_summary(&mut self) {
        self.close_span();
        self.summary = false;
        self.begun.push(self.out.len());
        self.out.push_str("</summary>");
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
            let took = bascule_web::duration(std::time::Duration::from_secs(u64::from(took)));
            match self.begun.pop() {
                Some(place) => {
                    let said = format!("<span class=\"section-took\">{took}</span>");
                    self.out.insert_str(place, &said);
                    self.out.push_str("</details>");
                }
                None => {
                    let _ = write!(self.out, "<i data-took=\"{took}\"></i></details>");
                }
            }
        }
        true
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

/// A line as plain text: without escapes, time and markers, for searching.
#[must_use]
pub fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut rest = text.as_ref();
    if stamped(rest.as_bytes()) == Some(true) {
        rest = rest.get(STAMP..).unwrap_or_default();
    }
    let mut out = String::with_capacity(rest.len());
    while let Some(c) = rest.chars().next() {
        if c == '\u{1b}' {
            let length = escape_length(rest.as_bytes()).unwrap_or(rest.len());
            rest = rest.get(length..).unwrap_or_default();
        } else if let Some(marker) = (c == 's').then(|| Marker::read(rest)).flatten() {
            rest = rest.get(marker.length..).unwrap_or_default();
        } else {
            if !c.is_control() || c == '\t' {
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
    // Each may cut what the other looked at.
    loop {
        let cut = before_return(&bytes[..before_marker(&bytes[..end])]);
        if cut == end {
            break;
        }
        end = cut;
    }
    // A time, or half of one, and no word behind it yet.
    let line = bytes[..end]
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let written = &bytes[line..end];
    let held = match stamped(written) {
        None => true,
        Some(stamped) => {
            stamped && std::str::from_utf8(&written[STAMP..]).is_ok_and(|text| skip_escapes(text).is_empty())
        }
    };
    if held {
        end = line;
    }
    end
}

/// Where the bytes end before a carriage return at their end: it may be half of a line end, and what follows it, and
/// escapes behind it, decides what it means.
fn before_return(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    let tail = end.saturating_sub(64);
    if let Some(at) = bytes[tail..].iter().rposition(|b| *b == b'\r') {
        let behind = &bytes[tail + at + 1..];
        if std::str::from_utf8(behind).is_ok_and(|text| skip_escapes(text).is_empty()) {
            end = tail + at;
            while end > 0 && bytes[end - 1] == b'\r' {
                end -= 1;
            }
        }
    }
    end
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> String {
        Cursor::default().render(text.as_bytes(), true)
    }

    #[test]
    fn escapes_without_end_cost_no_more_than_others() {
        // Looking ahead from each to the end of the log would be some 10^11 steps, minutes.
        let shown = all(&"\u{1b}]".repeat(500_000));
        assert!(shown.len() < 1000, "{}", shown.len());
        assert!(all("\u{1b}]8;;https://example.org\u{1b}\\link\u{1b}]8;;\u{1b}\\ end").ends_with("link end"));
    }

    #[test]
    fn colours_lines_and_hostile_text() {
        assert_eq!(
            all("\u{1b}[32;1mok\u{1b}[0m <b>&\n"),
            "<a class=\"line\" id=\"L1\" href=\"#L1\">1</a><span class=\"ansi-green ansi-bold\">ok</span> &lt;b&gt;&amp;\n"
        );
        assert!(!all("<script>alert(1)</script>").contains("<script"));
        assert_eq!(all("a\r\nb").matches("class=\"line\"").count(), 2);
        assert!(all("\u{1b}]0;title\u{7}x\u{1b}[2Jy\u{1b}[?25lz").ends_with("</a>xyz"));
        assert!(all("a\u{202e}b").ends_with("ab"));
    }

    #[test]
    fn sections_fold_and_say_how_long_they_took() {
        let log = "\u{1b}[0Ksection_start:100:prepare[collapsed=true]\r\u{1b}[0K\u{1b}[36;1mPrepare\u{1b}[0;m\none\n\
                   section_start:101:inner\r\u{1b}[0KInner\ntwo\nsection_end:103:inner\r\u{1b}[0K\n\
                   section_end:165:prepare\r\u{1b}[0K\nafter\nsection_end:9:nothing\r\u{1b}[0Klast";
        let html = all(log);
        assert!(html.starts_with("<details class=\"section\"><summary><a class=\"line\" id=\"L1\" href=\"#L1\">1</a><span class=\"ansi-cyan ansi-bold\">Prepare</span><span class=\"section-took\">1m 5s</span></summary>"), "{html}");
        assert!(html.contains("<details class=\"section\" open><summary><a class=\"line\" id=\"L3\" href=\"#L3\">3</a>Inner<span class=\"section-took\">2.0 s</span></summary>"), "{html}");
        assert!(
            html.contains("</details></details><a class=\"line\" id=\"L7\" href=\"#L7\">7</a>after"),
            "{html}"
        );
        assert!(html.ends_with("8</a>last"), "{html}");
        // Cut in its middle: what was opened elsewhere says how long it took for the page to put in its place.
        let cut = log.find("two").unwrap();
        let mut cursor = Cursor::default();
        let first = cursor.render(&log.as_bytes()[..cut], false);
        assert_eq!((cursor.depth(), first.matches("</details>").count()), (2, 0));
        let mut cursor = Cursor::parse(&cursor.to_string());
        let second = cursor.render(&log.as_bytes()[cut..], true);
        assert!(
            second.contains("<i data-took=\"2.0 s\"></i></details><i data-took=\"1m 5s\"></i></details>"),
            "{second}"
        );
        // Markers without end, deeper than is told apart, and of hostile names.
        let deep: String = (0..20).map(|n| format!("section_start:1:<b>{n}\rx\n")).collect();
        let html = all(&deep);
        assert!(!html.contains("<b>") && html.matches("<details").count() == DEPTH);
        assert!(all("section_start:1:no end").contains("section_start:1:no end"));
    }

    #[test]
    fn times_before_lines_are_told_apart() {
        let html = all(
            "2026-05-30T12:43:46.962646Z 00O hello\n2026-05-30T12:43:47.000001Z 01E+\u{1b}[31mred\u{1b}[m\n2026-05-30 12:00\n",
        );
        assert_eq!(
            html,
            "<a class=\"line\" id=\"L1\" href=\"#L1\">1</a><time class=\"ts\" datetime=\"2026-05-30T12:43:46.962646Z\">12:43:46.962</time>hello\n\
            <a class=\"line\" id=\"L2\" href=\"#L2\">2</a><time class=\"ts\" datetime=\"2026-05-30T12:43:47.000001Z\">12:43:47.000</time><span class=\"ansi-red\">red</span>\n\
            <a class=\"line\" id=\"L3\" href=\"#L3\">3</a>2026-05-30 12:00\n"
        );
        let marked = all("2026-05-30T12:43:46.962646Z 00O \u{1b}[0Ksection_start:1:a\r\u{1b}[0KName\n");
        assert!(
            marked.starts_with("<details class=\"section\" open><summary><a class=\"line\"")
                && marked.contains("</time>Name"),
            "{marked}"
        );
    }

    #[test]
    fn what_a_terminal_would_write_over_stands_below() {
        let html = all("10 %\r20 %\r\u{1b}[K30 %\r\nnext");
        assert_eq!(html.matches("id=\"L").count(), 2, "{html}");
        assert!(
            html.contains("10 %\n<span class=\"line\"></span>20 %\n"),
            "{html}"
        );
    }

    #[test]
    fn searching_sees_plain_text() {
        assert_eq!(
            plain(b"2026-05-30T12:43:46.962646Z 00O \x1b[31merr\x1b[0mor\tx\x07"),
            "error\tx"
        );
        assert_eq!(plain(b"section_start:1:a\r\x1b[0KBuild"), "Build");
    }

    #[test]
    fn invalid_utf8_is_shown_as_replacement() {
        assert!(Cursor::default().render(b"a\xffb", true).ends_with("a\u{fffd}b"));
    }

    /// Each character with the tag it stands in, so that where tags are opened and closed does not matter; without the
    /// times that sections took, which stand elsewhere where a section is shown in pieces.
    fn styled(html: &str) -> Vec<(char, String)> {
        let took =
            regex::Regex::new("<span class=\"section-took\">[^<]*</span>|<i data-took=[^>]*></i>").unwrap();
        let html = took.replace_all(html, "");
        let html = html.as_ref();
        let (mut out, mut tag, mut rest) = (Vec::new(), String::new(), html);
        while let Some(c) = rest.chars().next() {
            if c == '<' {
                let end = rest.find('>').unwrap();
                tag = if rest.starts_with("</") {
                    String::new()
                } else {
                    rest[..end].to_owned()
                };
                rest = &rest[end + 1..];
            } else {
                out.push((c, tag.clone()));
                rest = &rest[c.len_utf8()..];
            }
        }
        out
    }

    proptest! {
        /// However a log is cut, and wherever one goes on from the written cursor, it reads the same.
        #[test]
        fn pieces_make_the_whole(
            parts in prop::collection::vec(prop::sample::select(vec![
                "text", "é€😀", "\u{1b}[31m", "\u{1b}[0m", "\u{1b}[1;38;5;99m", "\n", "\r\n", "<&>", "\u{1b}[K", " ", "\r", "s",
                "section_start:1:a\r\u{1b}[0KA\n", "section_start:2:b[collapsed=true]\rB", "section_end:5:a\r\u{1b}[0K\n",
                "section_end:9:b\r", "2026-05-30T12:43:46.962646Z 00O ", "2026-", "section_",
            ]), 0..30),
            cuts in prop::collection::vec(0_usize..200, 0..8),
        ) {
            let log = parts.concat();
            let bytes = log.as_bytes();
            let whole = styled(&Cursor::default().render(bytes, true));
            let mut cursor = Cursor::default();
            let mut pieces = String::new();
            let mut cuts = cuts;
            cuts.sort_unstable();
            for cut in cuts {
                let from = usize::try_from(cursor.offset).unwrap();
                if cut > from && cut <= bytes.len() {
                    pieces += &cursor.render(&bytes[from..cut], false);
                    cursor = Cursor::parse(&cursor.to_string());
                }
            }
            let from = usize::try_from(cursor.offset).unwrap();
            pieces += &cursor.render(&bytes[from..], true);
            prop_assert_eq!(styled(&pieces), whole);
        }

        /// Neither what a job writes nor the cursor that a browser sends back, in one piece or in many.
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(
                prop_oneof![
                    3 => any::<u8>(),
                    2 => prop::sample::select(b"\x1b[];0123456789m\x07\\\r\n<>&\"".to_vec()),
                ],
                0..200,
            ),
            piece in 1_usize..50,
            numbers in prop::array::uniform4(prop_oneof![0_u64..20, Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()]),
            end in any::<bool>(),
        ) {
            let [offset, line, start, style] = numbers;
            let mut cursor = Cursor::parse(&format!("{offset}.{line}.{start}.{style}"));
            for piece in bytes.chunks(piece) {
                let html = cursor.render(piece, end);
                prop_assert!(!html.contains("<script"));
                prop_assert_eq!(Cursor::parse(&cursor.to_string()), cursor);
            }
        }

        #[test]
        fn no_cursor_makes_it_panic(text in "[0-9.-]{0,90}|.{0,60}") {
            Cursor::parse(&text).render(b"one\ntwo", true);
        }
    }
}
