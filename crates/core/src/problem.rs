//! The one shape of every refusal and failure: RFC 9457 problem details, extended so that errors teach.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A refusal or failure told to a person: what happened, why the rule exists, what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// A stable word for programs, such as `branch_protected`.
    pub code: String,
    /// What happened, one sentence (RFC 9457 `title`).
    #[serde(rename = "title")]
    pub what: String,
    /// Why: the rule and its reason (RFC 9457 `detail`).
    #[serde(rename = "detail", default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The next step.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
    /// The operation's identifier, which the log carries too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// A result whose error can be shown to a person.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    /// A problem with a status, a code and what happened.
    #[must_use]
    pub fn new(status: u16, code: &str, what: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            what: what.into(),
            why: String::new(),
            next: String::new(),
            operation: None,
        }
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Adds the next step.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// 400: what was sent cannot be read.
    #[must_use]
    pub fn bad_request(code: &str, what: impl Into<String>) -> Self {
        Self::new(400, code, what)
    }

    /// 401: nobody known is asking.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(401, "unauthenticated", "You are not signed in.")
            .why("This address is not open to anonymous callers.")
            .next("Sign in, or send an access token: `Authorization: Bearer …`, or as the password of HTTP Basic.")
    }

    /// 403: known, but not allowed.
    #[must_use]
    pub fn forbidden(permission: crate::Permission) -> Self {
        Self::new(
            403,
            "forbidden",
            format!("You may not {}.", permission.describe()),
        )
        .why(format!(
            "It needs at least the role `{}`, or a token with a matching scope.",
            permission.least_role()
        ))
        .next("Ask a maintainer or owner of the group or project for that role.")
    }

    /// 404: not there, or not for this caller to see; the two look alike on purpose.
    #[must_use]
    pub fn not_found(noun: &str) -> Self {
        Self::new(
            404,
            "not_found",
            format!("There is no such {noun}, or you may not see it."),
        )
        .next("Check the address; if it is right, ask an owner for access.")
    }

    /// 409: the present state does not allow it.
    #[must_use]
    pub fn conflict(code: &str, what: impl Into<String>) -> Self {
        Self::new(409, code, what)
    }

    /// 413: over a limit.
    #[must_use]
    pub fn too_large(what: impl Into<String>) -> Self {
        Self::new(413, "too_large", what)
    }

    /// 422: readable, but breaks a rule.
    #[must_use]
    pub fn invalid(code: &str, what: impl Into<String>) -> Self {
        Self::new(422, code, what)
    }

    /// 500: our fault. The details go to the log, not to the caller.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(500, "internal", "Something failed inside Bascule.")
            .why("This is a fault of the platform, not of your request.")
            .next("Try again; if it stays, give an administrator the operation number.")
    }

    /// Logs an internal failure once and returns what the caller is told.
    #[must_use]
    pub fn is_server_fault(&self) -> bool {
        self.status >= 500
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.why.is_empty() {
            write!(f, "\n  why:  {}", self.why)?;
        }
        if !self.next.is_empty() {
            write!(f, "\n  next: {}", self.next)?;
        }
        if let Some(operation) = &self.operation {
            write!(f, "\n  operation: {operation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl From<crate::NameError> for Problem {
    fn from(error: crate::NameError) -> Self {
        Self::invalid("bad_name", error.to_string())
            .why("Names appear in addresses, paths and host names, so they are kept plain.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Permission;

    #[test]
    fn a_refusal_says_rule_reason_and_next_step() {
        let problem = Problem::forbidden(Permission::DeployProduction);
        let json = serde_json::to_value(&problem).unwrap_or_default();
        assert_eq!(json["title"], "You may not deploy to production.");
        assert!(json["detail"].as_str().is_some_and(|d| d.contains("maintainer")));
        assert!(json["next"].as_str().is_some_and(|n| !n.is_empty()));
    }
}
