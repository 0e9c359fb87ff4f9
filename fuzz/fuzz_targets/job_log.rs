//! Job logs as HTML: hostile bytes cannot open a tag of their own, and a log shown in pieces is the log shown
//! whole.
#![no_main]

use arbitrary::Arbitrary;
use bascule_ci::job::ansi::{Cursor, plain};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// As it comes in an address.
    cursor: &'a str,
    log: &'a [u8],
    cut: usize,
}

const TAGS: [&str; 12] = [
    "<span", "</span", "<a ", "</a>", "<details class=\"section\"", "</details>", "<summary>", "</summary>", "<time ",
    "</time>", "<i data-took=\"", "</i>",
];

fuzz_target!(|input: Input<'_>| {
    let html = Cursor::parse(input.cursor).render(input.log, true);
    for (at, _) in html.match_indices('<') {
        let rest = &html[at..];
        assert!(TAGS.iter().any(|tag| rest.starts_with(tag)), "a tag came through: {html}");
    }
    assert!(plain(input.log).chars().all(|c| !c.is_control() || c == '\t'));
    // Taken up again at any byte that the first part has fully shown.
    let cut = input.cut.checked_rem(input.log.len() + 1).unwrap_or_default();
    let mut cursor = Cursor::default();
    let _ = cursor.render(&input.log[..cut], false);
    let shown = usize::try_from(cursor.offset).expect("no more than was given");
    assert!(shown <= cut);
    let mut again = Cursor::parse(&cursor.to_string());
    assert_eq!(again, cursor);
    let _ = again.render(&input.log[shown..], true);
    assert_eq!(again.offset, input.log.len() as u64);
});
