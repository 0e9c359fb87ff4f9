//! `issue`, `board`, `label` and `milestone`.

mod board;
mod issue;
mod label;
mod milestone;

pub use board::Board;
pub use issue::Issue;
pub use label::Label;
pub use milestone::Milestone;

use super::output;
use bascule_core::Result;
use url::form_urlencoded;

/// The API's address of a project, or of a group where the text names no project.
pub(super) fn place(text: &str) -> Result<String> {
    if !text.contains('/') && !text.is_empty() {
        return Ok(format!("/api/v1/groups/{text}"));
    }
    project(text)
}

fn project(text: &str) -> Result<String> {
    output::project(text)?;
    Ok(format!("/api/v1/projects/{text}"))
}

/// A segment of an address.
pub(super) fn segment(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// A query of what is given.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(key, value);
    }
    match query.finish() {
        text if text.is_empty() => text,
        text => format!("?{text}"),
    }
}
