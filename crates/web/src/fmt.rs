//! How numbers, times and icons are shown, the same on every page.

use crate::convert::escape;
use bascule_core::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{fmt, time::Duration};

/// HTML that is safe as it is; templates do not escape it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markup(String);

impl Markup {
    /// Wraps HTML that the caller vouches for.
    #[must_use]
    pub fn trusted(html: impl Into<String>) -> Self {
        Self(html.into())
    }

    /// Escapes plain text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self(escape(text))
    }

    /// Escapes a sentence in which names stand between backticks; they are shown as code.
    #[must_use]
    pub fn prose(text: &str) -> Self {
        let parts: Vec<&str> = text.split('`').collect();
        // A backtick without its other half stands for itself.
        let whole = parts.len() - (parts.len() + 1) % 2;
        let mut html = String::with_capacity(text.len() + 32);
        for (at, part) in parts.iter().enumerate() {
            match (at >= whole, at % 2) {
                (true, _) => {
                    html.push('`');
                    html.push_str(&escape(part));
                }
                (_, 0) => html.push_str(&escape(part)),
                _ => {
                    html.push_str("<code>");
                    html.push_str(&escape(part));
                    html.push_str("</code>");
                }
            }
        }
        Self(html)
    }

    /// The HTML.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Markup {}

const ICONS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/icons.rs"));

/// One of Tabler's outline icons, by name; which ones there are stands in `build.rs`. Decorative: give the
/// link or button beside it a text of its own.
#[must_use]
pub fn icon(name: &str) -> Markup {
    let inner = ICONS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("<circle cx=\"12\" cy=\"12\" r=\"3\"/>", |(_, svg)| svg);
    Markup(format!(
        "<svg class=\"icon\" viewBox=\"0 0 24 24\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\" \
         stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\">{inner}</svg>"
    ))
}

/// An instant, shown relative ("3 minutes ago") with the exact one on hover, and exact without script.
#[must_use]
pub fn when(at: Timestamp) -> Markup {
    let exact = at.to_jiff().strftime("%Y-%m-%d %H:%M:%S UTC");
    Markup(format!(
        "<time datetime=\"{at}\" title=\"{exact}\" data-relative>{exact}</time>"
    ))
}

/// A duration in its two largest units: `1d 4h`, `3m 20s`, `340 ms`.
#[must_use]
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match () {
        () if days > 0 => format!("{days}d {hours}h"),
        () if hours > 0 => format!("{hours}h {minutes}m"),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () if seconds >= 10 => format!("{seconds} s"),
        () if seconds >= 1 => format!("{:.1} s", span.as_secs_f64()),
        () => format!("{} ms", span.as_millis()),
    }
}

/// A size: `1.4 MiB`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A whole number with thin spaces between thousands.
#[must_use]
pub fn commas(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if number < 0 { format!("-{out}") } else { out }
}

/// A share of one as percent, with as many digits as tell it apart from 0 and 100.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value == 0.0 || value == 100.0 || (0.1..=99.9).contains(&value) {
        format!("{value:.1} %").replace(".0 %", " %")
    } else {
        format!("{value:.3} %")
    }
}

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// One segment of an address.
#[must_use]
pub fn url_encode(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

/// A path within an address; slashes stay.
#[must_use]
pub fn url_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_between_backticks_are_code() {
        for (text, html) in [
            ("", ""),
            ("plain <b>", "plain &#60;b&#62;"),
            ("`a` and `<b>`", "<code>a</code> and <code>&#60;b&#62;</code>"),
            ("a ` alone", "a ` alone"),
            ("`a` then ` alone", "<code>a</code> then ` alone"),
        ] {
            assert_eq!(Markup::prose(text).as_str(), html, "{text}");
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_500_000), "1.4 MiB");
        assert_eq!(commas(202_865_477), "202\u{202f}865\u{202f}477");
        assert_eq!(percent(0.9995), "99.950 %");
        assert_eq!(percent(0.5), "50 %");
        assert_eq!(duration(Duration::from_millis(340)), "340 ms");
        assert_eq!(duration(Duration::from_secs(200)), "3m 20s");
    }

    #[test]
    fn hostile_text_is_escaped() {
        assert!(!Markup::text("<script>").as_str().contains('<'));
        assert_eq!(url_path("a b/../c?#"), "a%20b/../c%3F%23");
    }

    #[test]
    fn unknown_icons_fall_back() {
        assert!(icon("rocket").as_str().contains("<svg"));
        assert!(icon("no-such-icon").as_str().contains("<svg"));
    }
}
