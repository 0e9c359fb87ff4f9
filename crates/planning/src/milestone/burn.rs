//! Burn-up: for each day of a milestone, how much there was and how much was done. Pure.

use super::store::Span;
use bascule_core::Timestamp;
use bascule_wire::planning::BurnUpDay;
use jiff::{ToSpan as _, civil::Date};

/// Most days that are drawn; of a longer milestone, the last ones.
const DAYS: i64 = 366;

fn day(at: Timestamp) -> Date {
    at.to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// The days from a milestone's beginning to its end; what lies ahead is left out.
pub(super) fn up(
    spans: &[Span],
    starts_on: Option<&str>,
    created_at: Timestamp,
    ended: Option<Timestamp>,
    now: Timestamp,
) -> Vec<BurnUpDay> {
    let lives: Vec<(Date, Option<Date>)> = spans
        .iter()
        .map(|span| {
            let began = day(span.planned_at.unwrap_or(span.created_at));
            // What was closed before it was planned came in done.
            (began, span.closed_at.map(|at| day(at).max(began)))
        })
        .collect();
    let last = ended.map_or_else(|| day(now), day);
    let stated = starts_on.and_then(|text| text.parse::<Date>().ok());
    let first = stated
        .into_iter()
        .chain(lives.iter().map(|(began, _)| *began))
        .min()
        .unwrap_or_else(|| day(created_at))
        .min(last);
    let long = first.until(last).map_or(0, |span| i64::from(span.get_days()));
    let mut at = if long >= DAYS {
        last.saturating_sub((DAYS - 1).days())
    } else {
        first
    };
    let mut days = Vec::new();
    while at <= last {
        days.push(BurnUpDay {
            day: at.to_string(),
            scope: count(&lives, |(began, _)| *began <= at),
            done: count(&lives, |(began, closed)| {
                *began <= at && closed.is_some_and(|closed| closed <= at)
            }),
        });
        let Ok(next) = at.tomorrow() else { break };
        at = next;
    }
    days
}

fn count(lives: &[(Date, Option<Date>)], of: impl Fn(&(Date, Option<Date>)) -> bool) -> i64 {
    i64::try_from(lives.iter().filter(|life| of(life)).count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("{text}T12:00:00Z").parse().unwrap()
    }

    fn span(planned: &str, closed: Option<&str>) -> Span {
        Span {
            planned_at: Some(at(planned)),
            created_at: at("2024-01-01"),
            closed_at: closed.map(at),
        }
    }

    #[test]
    fn each_day_counts_what_there_was_and_what_was_done() {
        let spans = [
            span("2024-03-01", Some("2024-03-03")),
            span("2024-03-02", None),
            span("2024-03-03", Some("2024-02-01")),
        ];
        let days = up(
            &spans,
            Some("2024-02-29"),
            at("2024-02-01"),
            None,
            at("2024-03-04"),
        );
        let told: Vec<(String, i64, i64)> = days
            .into_iter()
            .map(|day| (day.day, day.scope, day.done))
            .collect();
        let expected = [
            ("2024-02-29", 0, 0),
            ("2024-03-01", 1, 0),
            ("2024-03-02", 2, 0),
            ("2024-03-03", 3, 2),
            ("2024-03-04", 3, 2),
        ];
        assert_eq!(
            told,
            expected.map(|(day, scope, done)| (day.to_owned(), scope, done))
        );
    }

    #[test]
    fn a_milestone_of_years_keeps_to_its_last_year() {
        let days = up(
            &[span("2010-01-01", None)],
            None,
            at("2010-01-01"),
            None,
            at("2024-03-04"),
        );
        assert_eq!((days.len(), days.last().unwrap().scope), (366, 1));
        let empty = up(&[], Some("2030-01-01"), at("2024-03-04"), None, at("2024-03-04"));
        assert_eq!(empty.len(), 1);
    }
}
