//! Markdown from projects and people: no script, no handler, no frame comes through.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let html = bascule_web::markdown::render(text, Some("/a/b/-/blob/main/")).to_string().to_lowercase();
    for tag in tags(&html) {
        for bad in ["script", "iframe", "object", "embed", "style", "form", "meta", "base"] {
            assert!(!tag.strip_prefix(bad).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric())), "{html}");
        }
        assert!(!tag.contains("=\"javascript:"), "{html}");
        assert!(!outside_quotes(tag).contains(" on"), "{html}");
    }
});

/// What stands between `<` and `>`. In text `<` is always written `&lt;`, so each one begins a tag; within
/// quotes `>` ends none.
fn tags(html: &str) -> impl Iterator<Item = &str> {
    html.split('<').skip(1).map(|rest| {
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        &rest[..end.unwrap_or(rest.len())]
    })
}

fn outside_quotes(tag: &str) -> String {
    tag.split('"').step_by(2).collect()
}
