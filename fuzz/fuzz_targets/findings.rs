//! Reports of bots (SARIF, rdjson, rdjsonl): what is believed names a place in the repository and links to the web.
#![no_main]

use bascule_core::is_safe_path;
use bascule_forge::Report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(report) = Report::read(bytes, Some("tool")) else { return };
    assert!(!report.tools.is_empty() && report.found.len() <= 1_000);
    for found in &report.found {
        assert!(is_safe_path(&found.path));
        assert!(found.start <= found.end && !found.message.is_empty() && !found.tool.is_empty());
        assert!(found.url.as_deref().is_none_or(|url| url.starts_with("http")));
    }
});
