//! Addresses within a log.

/// Longest address that is made a link, in bytes.
const LONGEST: usize = 2_000;
const BEGINNINGS: [&str; 2] = ["https://", "http://"];

/// Characters of RFC 3986 without the quotes, which end an attribute or a text that quotes the address.
fn may_be_in(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&()*+,;=%".contains(&byte)
}

/// Length of the address that the text begins with. What ends a sentence, or closes a parenthesis, is not part of it.
pub(super) fn length(text: &str) -> Option<usize> {
    let beginning = BEGINNINGS.iter().find(|word| text.starts_with(**word))?;
    let all = text
        .as_bytes()
        .iter()
        .take(LONGEST)
        .take_while(|b| may_be_in(**b))
        .count();
    let address = text
        .get(..all)?
        .trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '*']);
    let host = address.as_bytes().get(beginning.len())?;
    (host.is_ascii_alphanumeric() || *host == b'[').then_some(address.len())
}

/// How many bytes at the end are an address that may go on.
pub(super) fn unfinished(bytes: &[u8]) -> usize {
    let open = bytes
        .iter()
        .rev()
        .take(LONGEST)
        .take_while(|b| may_be_in(**b))
        .count();
    if open == LONGEST {
        return 0;
    }
    let tail = &bytes[bytes.len() - open..];
    BEGINNINGS
        .iter()
        .filter_map(|word| tail.windows(word.len()).position(|part| part == word.as_bytes()))
        .min()
        .map_or(0, |at| open - at)
}
