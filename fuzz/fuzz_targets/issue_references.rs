//! What people write in commits, descriptions and comments: read for issues and names, and linked once rendered.
#![no_main]

use bascule_planning::references;
use bascule_web::markdown;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for reference in references::closes(text) {
        assert!(reference.number > 0);
        let written = match &reference.project {
            None => format!("#{}", reference.number),
            Some(project) => format!("{project}#{}", reference.number),
        };
        assert_eq!(references::parse(&written).as_ref(), Some(&reference));
    }
    for name in references::mentions(text) {
        assert!(!name.is_empty() && name.len() <= 63);
    }
    let plain = markdown::render(text, None);
    let linked = references::link(&plain, "a/b").to_string();
    // Tags may be added, text stays.
    assert_eq!(text_of(plain.as_str()), text_of(&linked));
});

/// What stands outside tags; within quotes `>` ends none.
fn text_of(html: &str) -> String {
    let mut out = String::new();
    let (mut tag, mut quoted) = (false, false);
    for c in html.chars() {
        match c {
            '<' if !tag => tag = true,
            '"' if tag => quoted = !quoted,
            '>' if tag && !quoted => tag = false,
            c if !tag => out.push(c),
            _ => {}
        }
    }
    out
}
