use askama::FastWritable as _;

/// Escapes text for HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    // Writing to a String cannot fail.
    drop(
        askama::filters::escape(text, askama::filters::Html)
            .map(|safe| safe.write_into(&mut out, askama::NO_VALUES)),
    );
    out
}
