//! Reading what jobs report. Jobs are not trusted: whatever they send, reading it takes bounded memory and time, and
//! ends in numbers or in a sentence that says what is wrong. XML entities that a document declares are never resolved
//! and nothing is ever fetched.

pub mod cobertura;
pub mod codequality;
pub mod dotenv;
pub mod junit;
mod unpack;
mod xml;

pub use unpack::{Document, unpack};

/// Largest report as it is sent, in bytes.
pub const SENT_BYTES: u64 = 32 * 1024 * 1024;
/// Largest report once it is unpacked, all its files together, in bytes.
pub const UNPACKED_BYTES: usize = 64 * 1024 * 1024;
/// Most files in one report.
pub const FILES: usize = 1_000;
/// Deepest nesting of elements.
pub const DEPTH: usize = 100;

/// A text cut to so many characters, without control characters other than line ends and tabs.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().filter(|c| visible(*c)).enumerate() {
        if count == most {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

/// A text in one line, cut.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if out.len() > 4 * most {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    cut(&out, most)
}

/// Neither a control character nor one that turns the direction of writing around.
fn visible(c: char) -> bool {
    (!c.is_control() || matches!(c, '\n' | '\t'))
        && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
