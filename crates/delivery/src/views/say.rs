//! How kinds of constraints, ends and spans are said on pages.

use bascule_core::Timestamp;
use bascule_web::{Markup, duration, url_path, when};
use bascule_wire::delivery::PlanVerdict;
use std::time::Duration;

/// What a plan waits for, by the kind of constraint or the state, for people who know neither.
pub(super) fn cause(kind: &str) -> String {
    match kind {
        "agent" => "an agent that reports",
        "air_gap" => "a bundle that is carried there",
        "approval" => "an approval",
        "blocked" => "another product",
        "capacity" => "free disk",
        "channel" => "its promotion to the channel",
        "coupled" => "a switch of several products together",
        "dependency" => "a version of another product",
        "drifted" => "someone to put drift right",
        "drill" => "the end of a drill",
        "error_budget" => "the error budget",
        "failed" => "a version that did not fail there",
        "health" => "a dependency to be healthy",
        "incident" => "the end of an incident",
        "incompatible" => "an incompatible product to go",
        "maintenance_window" => "a maintenance window",
        "missing" => "a product that is not there yet",
        "pin" => "a version that the pin lets in",
        "policy" => "findings to be dealt with",
        "prerelease" => "a release that is no pre-release",
        "ramp" => "its turn in the ramp",
        "recall" => "a release in place of a recalled one",
        "rolled_back" => "a version that was not undone there",
        "secret" => "a secret to be set",
        "suppression_window" => "changes to be let go on",
        "wave" => "an earlier wave",
        other => return super::words(other),
    }
    .to_owned()
}

/// Until when or what something holds, where its reason has not said so already.
pub(super) fn until(why: &str, lifts: &str) -> Option<Markup> {
    let ends: Vec<String> = lifts
        .split(" and ")
        .filter(|end| !end.is_empty() && !why.contains(end))
        .map(|end| match end.parse::<Timestamp>() {
            Ok(at) => when(at).to_string(),
            Err(_) => Markup::text(end).to_string(),
        })
        .collect();
    (!ends.is_empty()).then(|| Markup::trusted(ends.join(" and ")))
}

/// A reason; where an incident of the product holds it, that one is a link.
pub(super) fn reason(product: &str, why: &str, own: &[PlanVerdict]) -> Markup {
    let text = Markup::text(why).to_string();
    let incident = own
        .iter()
        .filter(|verdict| verdict.kind == "incident")
        .find_map(|verdict| number(&verdict.why));
    let Some(number) = incident else {
        return Markup::trusted(text);
    };
    let said = format!("incident {number} is open");
    // Told of twice, one of them may be another product's of the same number.
    if text.matches(&said).count() != 1 {
        return Markup::trusted(text);
    }
    let link = format!(
        "<a href=\"/{}/-/incidents/{number}\">incident {number}</a> is open",
        url_path(product)
    );
    Markup::trusted(text.replace(&said, &link))
}

/// The number in "waits: incident 7 is open".
fn number(why: &str) -> Option<u64> {
    let (_, rest) = why.split_once("incident ")?;
    rest.split_once(" is open")?.0.parse().ok()
}

/// A span as people say it where it is round: `4 h`, not `4h 0m`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        _ if span.subsec_millis() > 0 || seconds == 0 => duration(span),
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3_600 == 0 => format!("{} h", s / 3_600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s if s < 60 => format!("{s} s"),
        _ => duration(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_the_reason_names_is_not_said_again() {
        assert_eq!(
            until("waits for approval by security", "approval by security"),
            None
        );
        let end = until(
            "waits for the window Saturday 22:00 (UTC)",
            "2026-11-28T21:00:00Z",
        )
        .unwrap();
        assert!(end.as_str().starts_with("<time "), "{end}");
        assert_eq!(
            until("waits", "the end of <it>").unwrap().as_str(),
            "the end of &#60;it&#62;"
        );
        assert_eq!(until("waits", ""), None);
    }

    #[test]
    fn an_incident_of_the_product_is_a_link() {
        let own = [PlanVerdict {
            kind: "incident".into(),
            why: "waits: incident 7 is open".into(),
            lifts: "the incident's end".into(),
        }];
        let text = reason("health/clinic", "1.1.0 waits: incident 7 is open", &own);
        assert_eq!(
            text.as_str(),
            "1.1.0 waits: <a href=\"/health/clinic/-/incidents/7\">incident 7</a> is open"
        );
        assert_eq!(reason("health/clinic", "a < b", &own).as_str(), "a &#60; b");
        let others = reason(
            "health/auth",
            "needs health/clinic, which waits: incident 7 is open",
            &[],
        );
        assert!(!others.as_str().contains("<a"), "{others}");
    }

    #[test]
    fn round_spans_are_short() {
        let said = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(
            [said(8), said(60), said(4 * 3_600), said(2 * 86_400)],
            ["8 s", "1 min", "4 h", "2 d"]
        );
        assert_eq!(said(5_400), "90 min");
        assert_eq!(said(3_725), "1h 2m");
    }
}
