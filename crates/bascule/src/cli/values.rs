//! Values that options take where the set is fixed or the form is: what is wrong ends with clap's exit code, 2.

/// Roles in a project or group.
pub const ROLES: [&str; 5] = ["guest", "reporter", "developer", "maintainer", "owner"];
/// Who reads a group or project.
pub const VISIBILITIES: [&str; 2] = ["private", "internal"];
/// What a token may be used for.
pub const SCOPES: [&str; 5] = [
    "api",
    "read_api",
    "read_repository",
    "write_repository",
    "read_registry",
];
/// What webhooks tell of.
pub const EVENTS: [&str; 10] = [
    "push",
    "tag_push",
    "merge_request",
    "note",
    "issue",
    "confidential_issue",
    "pipeline",
    "job",
    "release",
    "deployment",
];

/// A day as year-month-day, or nothing.
pub fn day(text: &str) -> Result<String, String> {
    let read = text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
    if text.is_empty() || read {
        return Ok(text.to_owned());
    }
    Err("it is no day; write it as 2026-03-31".to_owned())
}

#[cfg(test)]
mod tests {
    use super::day;

    #[test]
    fn days_are_days_of_the_calendar_or_left_empty() {
        assert!(day("2026-03-31").is_ok() && day("").is_ok());
        assert!(day("tomorrow").is_err() && day("2026-02-31").is_err() && day("31.3.2026").is_err());
    }
}
