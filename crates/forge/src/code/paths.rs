//! File names are bytes. They are shown so that nothing in them can mislead, and put into addresses so that
//! nothing of them is lost.

use bascule_web::url_path;
use percent_encoding::percent_decode_str;
use std::fmt::Write as _;

/// A name as shown: control characters, direction marks and broken bytes are spelt out.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_misleading(c) {
                // Writing to a String cannot fail.
                let _ = write!(text, "{}", c.escape_unicode());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Characters that change how others are read (Unicode TR 36), or cannot be seen.
pub(crate) fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A path within an address. Addresses are read as UTF-8 before a handler sees them, so bytes that are none
/// are written as `%XX` within the text, and a `%` itself as `%25`.
pub(crate) fn to_url(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    url_path(&text)
}

/// The path that an address names, after the address itself was decoded.
pub(crate) fn from_url(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// The last part of a path.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_are_spelt_out() {
        assert_eq!(shown(b"a\nb"), "a\\u{a}b");
        assert_eq!(shown(b"\xff.txt"), "\\xff.txt");
        assert_eq!(shown("exe\u{202e}gpj".as_bytes()), "exe\\u{202e}gpj");
        assert_eq!(shown("grün.md".as_bytes()), "grün.md");
    }

    proptest! {
        #[test]
        fn no_name_is_lost_on_its_way_through_an_address(name in proptest::collection::vec(any::<u8>(), 0..60)) {
            let url = to_url(&name);
            prop_assert!(url.is_ascii());
            let decoded = percent_decode_str(&url).decode_utf8().unwrap().into_owned();
            prop_assert_eq!(from_url(&decoded), name);
        }
    }
}
