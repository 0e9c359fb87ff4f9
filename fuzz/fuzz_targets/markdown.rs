//! Markdown from projects and people: no script, no handler, no frame comes through.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let html = bascule_web::markdown::render(text, Some("/a/b/-/blob/main/")).to_string().to_lowercase();
    for tag in ["<script", "<iframe", "<object", "<embed", "<style", "<form", "<meta", "<base"] {
        assert!(!html.contains(tag), "{tag} came through: {html}");
    }
    assert!(!html.contains("href=\"javascript:") && !html.contains("src=\"javascript:"));
});
