//! Terminal output as safe HTML: colours become classes, every line gets a number that can be linked to,
//! everything else that a terminal would obey is dropped. Works on pieces, so that a live log can be shown
//! as it comes and taken up again anywhere.

use std::fmt::Write as _;

/// Where a piece of a log left off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Bytes shown so far.
    pub offset: u64,
    /// Number of the line that is being written, from one.
    pub line: u64,
    /// Whether that line's number was not written yet.
    pub at_start: bool,
    style: Style,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    bold: bool,
    color: u8,
}

/// Classes by code: none, then as the pages' stylesheet names them.
const COLORS: [&str; 9] = [
    "", "gray", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
];

impl Default for Cursor {
    fn default() -> Self {
        Self {
            offset: 0,
            line: 1,
            at_start: true,
            style: Style::default(),
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let style = self.style.color * 2 + u8::from(self.style.bold);
        write!(
            f,
            "{}.{}.{}.{style}",
            self.offset,
            self.line,
            u8::from(self.at_start)
        )
    }
}

impl Cursor {
    /// Reads a cursor as displayed; anything else is the beginning.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let read = || -> Option<Self> {
            let mut parts = text.splitn(4, '.').map(|part| part.parse::<u64>().ok());
            let (offset, line, at_start, style) =
                (parts.next()??, parts.next()??, parts.next()??, parts.next()??);
            let style = u8::try_from(style)
                .ok()
                .filter(|s| usize::from(s / 2) < COLORS.len())?;
            Some(Self {
                offset,
                line: line.max(1),
                at_start: at_start == 1,
                style: Style {
                    bold: style % 2 == 1,
                    color: style / 2,
                },
            })
        };
        read().unwrap_or_default()
    }

    /// Renders the bytes that follow. What is cut off in its middle (a letter, an escape sequence) is left
    /// for the next time, unless this is the `end`.
    pub fn render(&mut self, bytes: &[u8], end: bool) -> String {
        let usable = if end { bytes.len() } else { complete(bytes) };
        let text = String::from_utf8_lossy(&bytes[..usable]);
        // A cursor comes from the reader's browser and may be any number.
        self.offset = self.offset.saturating_add(usable as u64);
        let mut out = String::with_capacity(text.len() + 64);
        let mut open = false;
        let mut rest = text.as_ref();
        while let Some(c) = rest.chars().next() {
            let at = c.len_utf8();
            if c == '\u{1b}' {
                let length = escape_length(rest.as_bytes()).unwrap_or(rest.len());
                self.obey(&rest[..length]);
                close(&mut out, &mut open);
                rest = &rest[length..];
                continue;
            }
            if (rest.starts_with("section_start:") || rest.starts_with("section_end:"))
                && let Some(length) = rest.find('\r').filter(|length| *length < 300)
            {
                rest = &rest[length + 1..];
                continue;
            }
            rest = &rest[at..];
            match c {
                '\r' if rest.starts_with('\n') => {}
                '\n' | '\r' => {
                    close(&mut out, &mut open);
                    self.number(&mut out);
                    out.push('\n');
                    self.line = self.line.saturating_add(1);
                    self.at_start = true;
                }
                '\t' => self.put(&mut out, &mut open, "\t"),
                '<' => self.put(&mut out, &mut open, "&lt;"),
                '>' => self.put(&mut out, &mut open, "&gt;"),
                '&' => self.put(&mut out, &mut open, "&amp;"),
                '"' => self.put(&mut out, &mut open, "&quot;"),
                // Other control characters, and those that turn the direction of writing around.
                c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {}
                c => self.put(&mut out, &mut open, c.encode_utf8(&mut [0; 4])),
            }
        }
        close(&mut out, &mut open);
        out
    }

    fn number(&mut self, out: &mut String) {
        if self.at_start {
            self.at_start = false;
            let line = self.line;
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "<a class=\"line\" id=\"L{line}\" href=\"#L{line}\">{line}</a>"
            );
        }
    }

    fn put(&mut self, out: &mut String, open: &mut bool, text: &str) {
        self.number(out);
        if !*open && self.style != Style::default() {
            let color = COLORS
                .get(usize::from(self.style.color))
                .copied()
                .unwrap_or_default();
            let bold = if self.style.bold { " ansi-bold" } else { "" };
            let color = if color.is_empty() {
                String::new()
            } else {
                format!("ansi-{color}")
            };
            let class = format!("{color}{bold}");
            let _ = write!(out, "<span class=\"{}\">", class.trim());
            *open = true;
        }
        out.push_str(text);
    }

    /// Colours and bold (SGR); every other sequence is dropped.
    fn obey(&mut self, sequence: &str) {
        let Some(codes) = sequence.strip_prefix("\u{1b}[").and_then(|s| s.strip_suffix('m')) else {
            return;
        };
        let mut codes = codes.split(';');
        while let Some(code) = codes.next() {
            match code.parse::<u8>().unwrap_or(0) {
                0 => self.style = Style::default(),
                1 => self.style.bold = true,
                22 => self.style.bold = false,
                30 | 90 => self.style.color = 1,
                code @ (31..=36 | 91..=96) => self.style.color = code % 10 + 1,
                37 | 97 => self.style.color = 8,
                39 => self.style.color = 0,
                // 256 colours and true colours: their parameters are not codes.
                38 | 48 => match codes.next() {
                    Some("5") => drop(codes.next()),
                    Some("2") => drop((codes.next(), codes.next(), codes.next())),
                    _ => {}
                },
                _ => {}
            }
        }
    }
}

fn close(out: &mut String, open: &mut bool) {
    if *open {
        out.push_str("</span>");
        *open = false;
    }
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
    // A carriage return may be half of a line end.
    if bytes[..end].last() == Some(&b'\r') {
        end -= 1;
    }
    end
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
        // A title and the like, up to BEL or ESC \.
        b']' => match bytes.iter().position(|b| *b == 0x07) {
            Some(end) => Some(end + 1),
            None => bytes
                .windows(2)
                .skip(1)
                .position(|w| w == b"\x1b\\")
                .map(|at| at + 3)
                .or((bytes.len() > 62).then_some(2)),
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
    fn colours_lines_and_hostile_text() {
        assert_eq!(
            all("\u{1b}[32;1mok\u{1b}[0m <b>&\n"),
            "<a class=\"line\" id=\"L1\" href=\"#L1\">1</a><span class=\"ansi-green ansi-bold\">ok</span> &lt;b&gt;&amp;\n"
        );
        assert!(!all("<script>alert(1)</script>").contains("<script"));
        assert_eq!(all("a\r\nb").matches("class=\"line\"").count(), 2);
        assert!(all("section_start:1:step[collapsed=true]\r\u{1b}[0KHello").ends_with("</a>Hello"));
        assert!(all("\u{1b}]0;title\u{7}x\u{1b}[2Jy\u{1b}[38;5;31mz").ends_with("</a>xyz"));
        assert!(all("a\u{202e}b").ends_with("ab"));
    }

    #[test]
    fn invalid_utf8_is_shown_as_replacement() {
        assert!(Cursor::default().render(b"a\xffb", true).ends_with("a\u{fffd}b"));
    }

    /// Each character with the tag it stands in, so that where tags are opened and closed does not matter.
    fn styled(html: &str) -> Vec<(char, String)> {
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
                "text", "é€😀", "\u{1b}[31m", "\u{1b}[0m", "\u{1b}[1;32m", "\n", "\r\n", "<&>", "\u{1b}[K", " ",
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
