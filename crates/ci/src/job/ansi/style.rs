//! How terminal output looks: SGR, "select graphic rendition" (ECMA-48, 8.3.117; 256 and true colours as xterm has
//! them).

use std::fmt::Write as _;

/// A colour as the log asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Colour {
    /// As the page has it.
    #[default]
    Usual,
    /// One of the palette: 0 to 15 have names, up to 231 a cube, then greys.
    Palette(u8),
    /// Red, green, blue.
    True(u8, u8, u8),
}

/// The look that is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub marks: u8,
    pub fore: Colour,
    pub back: Colour,
}

pub(super) const BOLD: u8 = 1;
const DIM: u8 = 2;
const ITALIC: u8 = 4;
const UNDERLINE: u8 = 8;
const REVERSE: u8 = 16;
const STRIKE: u8 = 32;
const OVERLINE: u8 = 64;

/// Classes of marks, as the pages' stylesheet names them.
const MARKS: [(u8, &str); 6] = [
    (BOLD, "ansi-bold"),
    (DIM, "ansi-dim"),
    (ITALIC, "ansi-italic"),
    (UNDERLINE, "ansi-underline"),
    (STRIKE, "ansi-strike"),
    (OVERLINE, "ansi-overline"),
];

/// Classes of the first eight colours, which the bright ones share: a page is no terminal with a background of the
/// reader's choice, so that all are bright enough to be read.
const NAMES: [&str; 8] = [
    "gray", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
];

impl Colour {
    /// As a number, to be carried in an address.
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Usual => 0,
            Self::Palette(number) => u32::from(number) + 1,
            Self::True(r, g, b) => 0x0100_0000 | u32::from_be_bytes([0, r, g, b]),
        }
    }

    /// Reads the number; what is none is the usual colour.
    pub(super) fn from_code(code: u32) -> Self {
        match (code, u8::try_from(code.wrapping_sub(1))) {
            (0, _) => Self::Usual,
            (_, Ok(number)) if code <= 256 => Self::Palette(number),
            (0x0100_0000..=0x01ff_ffff, _) => {
                let [_, r, g, b] = code.to_be_bytes();
                Self::True(r, g, b)
            }
            _ => Self::Usual,
        }
    }

    fn rgb(self) -> Option<(u8, u8, u8)> {
        match self {
            Self::Usual | Self::Palette(0..=15) => None,
            Self::True(r, g, b) => Some((r, g, b)),
            Self::Palette(number @ 16..=231) => {
                let step = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
                let n = number - 16;
                Some((step(n / 36), step(n / 6 % 6), step(n % 6)))
            }
            Self::Palette(number) => {
                let grey = 8 + 10 * (number - 232);
                Some((grey, grey, grey))
            }
        }
    }

    /// Class or declaration of the text's colour.
    fn fore(self, on_usual: bool, classes: &mut String, styles: &mut String) {
        if let Self::Palette(number @ 0..=15) = self {
            add(classes, "ansi-", NAMES[usize::from(number % 8)]);
        } else if let Some(rgb) = self.rgb() {
            let (r, g, b) = if on_usual { readable(rgb) } else { rgb };
            // Writing to a String cannot fail.
            let _ = write!(styles, "color:#{r:02x}{g:02x}{b:02x};");
        }
    }

    fn back(self, classes: &mut String, styles: &mut String) {
        if let Self::Palette(number @ 0..=15) = self {
            add(classes, "ansi-on-", NAMES[usize::from(number % 8)]);
        } else if let Some((r, g, b)) = self.rgb() {
            let _ = write!(styles, "background:#{r:02x}{g:02x}{b:02x};");
        }
    }
}

/// On the log's dark ground a dark colour is lightened until it can be read.
fn readable((r, g, b): (u8, u8, u8)) -> (u8, u8, u8) {
    let light = (u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114) / 1000;
    if light >= 110 {
        return (r, g, b);
    }
    // Half way, and more the darker it is, towards the usual text.
    let mix = |c: u8| {
        let part = 110 - light.min(110) + 60;
        u8::try_from((u32::from(c) * (170 - part) + 219 * part) / 170).unwrap_or(219)
    };
    (mix(r), mix(g), mix(b))
}

fn add(classes: &mut String, prefix: &str, name: &str) {
    if !classes.is_empty() {
        classes.push(' ');
    }
    classes.push_str(prefix);
    classes.push_str(name);
}

impl Style {
    /// The tag that opens the look; empty where nothing is on.
    pub(super) fn tag(self) -> String {
        let (mut classes, mut styles) = (String::new(), String::new());
        if self.marks & REVERSE == 0 {
            self.fore
                .fore(self.back == Colour::Usual, &mut classes, &mut styles);
            self.back.back(&mut classes, &mut styles);
        } else {
            match self.back {
                Colour::Usual => add(&mut classes, "ansi-", "ground"),
                back => back.fore(false, &mut classes, &mut styles),
            }
            match self.fore {
                Colour::Usual => add(&mut classes, "ansi-on-", "text"),
                fore => fore.back(&mut classes, &mut styles),
            }
        }
        for (mark, class) in MARKS {
            if self.marks & mark != 0 {
                add(&mut classes, "", class);
            }
        }
        match (classes.is_empty(), styles.is_empty()) {
            (true, true) => String::new(),
            (false, true) => format!("<span class=\"{classes}\">"),
            (true, false) => format!("<span style=\"{styles}\">"),
            (false, false) => format!("<span class=\"{classes}\" style=\"{styles}\">"),
        }
    }

    /// Obeys the parameters between `ESC [` and `m`.
    pub(super) fn obey(&mut self, parameters: &str) {
        let mut list = parameters.split(';');
        while let Some(one) = list.next() {
            // Parts with colons belong together and need no others: `38:2::1:2:3`, `4:3`.
            if let Some((code, rest)) = one.split_once(':') {
                self.obey_parts(code, rest);
                continue;
            }
            let code = one
                .parse::<u8>()
                .unwrap_or(if one.is_empty() { 0 } else { u8::MAX });
            match code {
                38 | 48 | 58 => {
                    let colour = match list.next() {
                        Some("5") => list.next().and_then(number).map(Colour::Palette),
                        Some("2") => true_colour(&[list.next(), list.next(), list.next()]),
                        _ => None,
                    };
                    self.paint(code, colour);
                }
                code => self.obey_one(code),
            }
        }
    }

    fn obey_parts(&mut self, code: &str, rest: &str) {
        let parts: Vec<&str> = rest.split(':').take(8).collect();
        match (code, parts.as_slice()) {
            ("4", ["0"]) => self.marks &= !UNDERLINE,
            ("4", _) => self.marks |= UNDERLINE,
            ("38" | "48" | "58", ["5", number_of, ..]) => {
                self.paint(
                    code.parse().unwrap_or_default(),
                    number(number_of).map(Colour::Palette),
                );
            }
            // With or without a place for the colour space.
            ("38" | "48" | "58", ["2", rgb @ ..]) => {
                let rgb = rgb.get(rgb.len().saturating_sub(3)..).unwrap_or_default();
                let part = |at: usize| rgb.get(at).copied();
                let colour = true_colour(&[part(0), part(1), part(2)]);
                self.paint(code.parse().unwrap_or_default(), colour);
            }
            _ => {}
        }
    }

    fn paint(&mut self, code: u8, colour: Option<Colour>) {
        match (code, colour) {
            (38, Some(colour)) => self.fore = colour,
            (48, Some(colour)) => self.back = colour,
            _ => {}
        }
    }

    fn obey_one(&mut self, code: u8) {
        match code {
            0 => *self = Self::default(),
            1 => self.marks |= BOLD,
            2 => self.marks |= DIM,
            3 => self.marks |= ITALIC,
            4 | 21 => self.marks |= UNDERLINE,
            7 => self.marks |= REVERSE,
            9 => self.marks |= STRIKE,
            22 => self.marks &= !(BOLD | DIM),
            23 => self.marks &= !ITALIC,
            24 => self.marks &= !UNDERLINE,
            27 => self.marks &= !REVERSE,
            29 => self.marks &= !STRIKE,
            53 => self.marks |= OVERLINE,
            55 => self.marks &= !OVERLINE,
            30..=37 => self.fore = Colour::Palette(code - 30),
            39 => self.fore = Colour::Usual,
            40..=47 => self.back = Colour::Palette(code - 40),
            49 => self.back = Colour::Usual,
            90..=97 => self.fore = Colour::Palette(code - 82),
            100..=107 => self.back = Colour::Palette(code - 92),
            // Blinking, hiding text and other fonts do a reader no good.
            _ => {}
        }
    }
}

fn number(text: &str) -> Option<u8> {
    text.parse().ok()
}

fn true_colour(parts: &[Option<&str>; 3]) -> Option<Colour> {
    let part = |at: usize| parts[at].and_then(number);
    Some(Colour::True(part(0)?, part(1)?, part(2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(parameters: &[&str]) -> String {
        let mut style = Style::default();
        for one in parameters {
            style.obey(one);
        }
        style.tag()
    }

    #[test]
    fn every_way_to_name_a_look() {
        for (parameters, expected) in [
            ("1;32", "<span class=\"ansi-green ansi-bold\">"),
            ("97;41", "<span class=\"ansi-white ansi-on-red\">"),
            ("38;5;9", "<span class=\"ansi-red\">"),
            ("38;5;208", "<span style=\"color:#ff8700;\">"),
            (
                "38;5;250;4",
                "<span class=\"ansi-underline\" style=\"color:#bcbcbc;\">",
            ),
            ("38;2;250;200;1", "<span style=\"color:#fac801;\">"),
            ("38:2::250:200:1", "<span style=\"color:#fac801;\">"),
            ("38:2:250:200:1", "<span style=\"color:#fac801;\">"),
            (
                "48;2;1;2;3;38;2;1;2;3",
                "<span style=\"color:#010203;background:#010203;\">",
            ),
            ("4:3", "<span class=\"ansi-underline\">"),
            ("7", "<span class=\"ansi-ground ansi-on-text\">"),
            ("7;31", "<span class=\"ansi-ground ansi-on-red\">"),
            (
                "2;3;9;53",
                "<span class=\"ansi-dim ansi-italic ansi-strike ansi-overline\">",
            ),
            ("", ""),
            ("8", ""),
            ("38;5", ""),
            ("38;2;1;2", ""),
            ("999;-1;x", ""),
            ("1;0", ""),
            ("58;5;3;1", "<span class=\"ansi-bold\">"),
        ] {
            assert_eq!(tag(&[parameters]), expected, "{parameters}");
        }
        assert_eq!(tag(&["1;2;3;4;7;9;31;42;53", "22;23;24;27;29;39;49;55"]), "");
    }

    #[test]
    fn dark_text_is_made_readable() {
        for dark in [(0, 0, 0), (0, 0, 120), (40, 0, 0), (60, 60, 60)] {
            let (r, g, b) = readable(dark);
            let light = (u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114) / 1000;
            assert!(light >= 105, "{dark:?} became {:?}", (r, g, b));
        }
        assert_eq!(
            readable((250, 10, 250)),
            (250, 10, 250).min(readable((250, 10, 250)))
        );
    }

    #[test]
    fn colours_are_read_back() {
        for colour in [
            Colour::Usual,
            Colour::Palette(0),
            Colour::Palette(255),
            Colour::True(0, 0, 0),
            Colour::True(255, 254, 253),
        ] {
            assert_eq!(Colour::from_code(colour.code()), colour);
        }
        assert_eq!(Colour::from_code(u32::MAX), Colour::Usual);
    }
}
