//! Incidents: what opens one, how bad it is, and the states it goes through. Pure; the queries are in
//! `store`.
//!
//! **Severity** of what the platform opens itself: *critical* if an alert burns in production, because the
//! failing goes on until someone acts; *major* if a rollout in production was undone, because users were
//! harmed but the harm has stopped; *minor* below production. A person may set another.
//!
//! **One open incident per environment**: whatever else fires there joins it. An alert whose failing began
//! before an incident there was over, and that fires within ten minutes of its resolution, is the same
//! failing seen late, and joins too.

pub(crate) mod api;
pub(crate) mod pages;
mod service;
pub(crate) mod store;

use bascule_core::{Problem, Timestamp};
use bascule_ledger::facts::delivery::RolloutFinished;
use bascule_wire::incidents::Severity;
use std::time::Duration;

pub(crate) use service::Noticed;
pub use store::Incident;

/// Longest title, in characters.
pub const TITLE_CHARS: usize = 200;
/// Longest comment or cause, in bytes.
pub const COMMENT_BYTES: usize = 64 * 1024;
/// How long after an incident's resolution an alert may still belong to it.
pub const AFTERGLOW: Duration = Duration::from_secs(600);

/// What opened an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An undone rollout.
    Rollout,
    /// A fast-burn alert.
    Alert,
    /// A person.
    Person,
}

impl Cause {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Alert => "alert",
            Self::Person => "person",
        }
    }
}

/// How bad what the platform noticed is.
#[must_use]
pub fn severity(cause: Cause, tier: &str) -> Severity {
    match (cause, tier) {
        (Cause::Alert, "production") => Severity::Critical,
        (Cause::Rollout | Cause::Person, "production") => Severity::Major,
        _ => Severity::Minor,
    }
}

/// Whether the end of a rollout is an incident: it was undone, and not merely by a person who changed their
/// mind (or a restart) before any user met an error.
#[must_use]
pub fn is_incident(rollout: &RolloutFinished) -> bool {
    rollout.result == "aborted"
        && (matches!(rollout.cause.as_str(), "judge" | "guardrail") || rollout.first_error_at.is_some())
}

/// A title from outside: one line, not empty, not endless.
///
/// # Errors
/// Nothing is left of it.
pub fn title(text: &str) -> Result<String, Problem> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return Err(Problem::invalid("title_missing", "An incident needs a title.")
            .why("The title is what people see first, in lists and messages.")
            .next("Say in a few words what users cannot do."));
    }
    Ok(cut(&line, TITLE_CHARS))
}

/// A text from outside.
///
/// # Errors
/// It is empty or too long.
pub fn text(body: &str, noun: &str) -> Result<String, Problem> {
    let body = body.trim();
    if body.is_empty() {
        return Err(Problem::invalid("text_missing", format!("The {noun} is empty."))
            .next("Write something, then send it."));
    }
    if body.len() > COMMENT_BYTES {
        return Err(
            Problem::too_large(format!("The {noun} is longer than {COMMENT_BYTES} bytes."))
                .next("Put long output into a file of the project, and link to it."),
        );
    }
    Ok(body.to_owned())
}

/// When service was back: as given, else as known, else now.
///
/// # Errors
/// What was given lies before the beginning or in the future.
pub fn restored(
    given: Option<Timestamp>,
    known: Option<Timestamp>,
    began: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, Problem> {
    let Some(given) = given else {
        return Ok(known.unwrap_or(now));
    };
    if given < began || given > now {
        return Err(
            Problem::invalid("bad_time", format!("Service cannot have been back at {given}."))
                .why(format!("The failing began at {began}, and it is {now} now."))
                .next("Give a time between the two, or leave it out."),
        );
    }
    Ok(given)
}

/// The first characters of a text.
#[must_use]
pub fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_follows_harm() {
        assert_eq!(severity(Cause::Alert, "production"), Severity::Critical);
        assert_eq!(severity(Cause::Rollout, "production"), Severity::Major);
        assert_eq!(severity(Cause::Alert, "staging"), Severity::Minor);
    }

    #[test]
    fn restored_is_as_given_else_known_else_now() {
        let at = Timestamp::from_seconds;
        assert_eq!(restored(Some(at(5)), Some(at(7)), at(1), at(9)).unwrap(), at(5));
        assert_eq!(restored(None, Some(at(7)), at(1), at(9)).unwrap(), at(7));
        assert_eq!(restored(None, None, at(1), at(9)).unwrap(), at(9));
        assert!(restored(Some(at(0)), None, at(1), at(9)).is_err());
        assert!(restored(Some(at(10)), None, at(1), at(9)).is_err());
    }

    #[test]
    fn titles_are_one_line() {
        assert_eq!(title(" a\n b\t c ").unwrap(), "a b c");
        assert!(title(" \n ").is_err());
        assert_eq!(title(&"é".repeat(500)).unwrap().chars().count(), TITLE_CHARS + 1);
    }
}
