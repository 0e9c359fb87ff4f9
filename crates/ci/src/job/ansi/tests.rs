//! Logs as they are shown.

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
    assert!(html.contains("<details class=\"section\" open><summary><a class=\"line\" id=\"L3\" href=\"#L3\">3</a>Inner<span class=\"section-took\">2 s</span></summary>"), "{html}");
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
        second.contains("<i data-took=\"2 s\"></i></details><i data-took=\"1m 5s\"></i></details>"),
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
fn of_a_progress_bar_the_last_state_is_shown() {
    let html = all("\r10 %\r\u{1b}[31m20 %\u{1b}[m\r\u{1b}[K30 %\r\nnext\r");
    assert_eq!(
        html,
        "<a class=\"line\" id=\"L1\" href=\"#L1\">1</a>30 %\n<a class=\"line\" id=\"L2\" href=\"#L2\">2</a>next"
    );
    let html = all("2026-05-30T12:43:46.962646Z 00O 1 of 2\r2 of 2\n");
    assert!(html.ends_with("</time>2 of 2\n"), "{html}");
    assert_eq!(plain(b"10 %\r20 %\r\x1b[K30 %\r"), "30 %");
    // While it is followed, the page is told to take back what it shows.
    let mut cursor = Cursor::default();
    assert!(cursor.render(b"10 %\r", false).ends_with("10 %"));
    let mut cursor = Cursor::parse(&cursor.to_string());
    assert_eq!(cursor.render(b"20 %", false), "<i data-return></i>20 %");
}

#[test]
fn addresses_are_links_and_nothing_else_is() {
    let html = all("see https://example.org/a?b=1&c=2. (http://x.example/y) \u{1b}[32mhttps://z\u{1b}[m");
    for (address, shown) in [
        ("https://example.org/a?b=1&amp;c=2", "</a>. ("),
        ("http://x.example/y", "</a>) "),
        ("https://z", "</a></span>"),
    ] {
        let link = format!("href=\"{address}\" rel=\"noopener noreferrer nofollow\">{address}{shown}");
        assert!(html.contains(&link), "{link} in {html}");
    }
    for text in [
        "https://",
        "http:// x",
        "https://\"onclick=x",
        "javascript:alert(1)",
        "xhttp",
    ] {
        assert!(!all(text).contains("class=\"url\""), "{text}");
    }
    let html = all("https://a.example/<script>\"x");
    assert!(
        html.contains("href=\"https://a.example/\"") && html.contains("</a>&lt;script&gt;&quot;x"),
        "{html}"
    );
    // Cut in its middle it is shown once it is whole.
    let mut cursor = Cursor::default();
    assert!(cursor.render(b"go to https://exam", false).ends_with("go to "));
    assert_eq!(cursor.offset, 6);
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
    let mut html = took.replace_all(html, "").into_owned();
    // As the page does it.
    while let Some(at) = html.find("<i data-return></i>") {
        let from = ["</a>", "</time>", "</summary>", "</details>", "<summary>"]
            .iter()
            .filter_map(|end| html[..at].rfind(end).map(|found| found + end.len()))
            .max()
            .unwrap_or_default();
        html.replace_range(from..at + "<i data-return></i>".len(), "");
    }
    let html = html.as_str();
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
