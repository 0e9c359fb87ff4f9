//! Schedules: pipelines that start by themselves, again and again, in the name of the person who owns them.

pub(crate) mod api;
pub(crate) mod form;
pub(crate) mod pages;
mod service;
pub(crate) mod store;

use bascule_core::{Problem, Result, Timestamp};
use croner::{Cron, parser::CronParser};
use jiff::tz::TimeZone;

/// Most schedules of a project.
pub const MOST: i64 = 100;
/// Most variables of a schedule.
pub const VARIABLES: usize = 100;
/// Least time between two runs, in seconds: one that runs each minute would leave no room for others.
pub const LEAST: u64 = 300;
/// Runs looked at when the time between them is judged.
const JUDGED: usize = 40;

/// When something runs: five cron fields in a time zone.
#[derive(Clone, Debug)]
pub struct Times {
    cron: Cron,
    timezone: TimeZone,
}

impl Times {
    /// Reads a cron expression and the name of a time zone.
    ///
    /// # Errors
    /// Names what is wrong and what would be right.
    pub fn new(cron: &str, timezone: &str) -> Result<Self> {
        let shown = |text: &str| {
            text.chars()
                .filter(|c| !c.is_control())
                .take(60)
                .collect::<String>()
        };
        let bad = |what: String| Problem::invalid("bad_cron", what);
        let name = match timezone.trim() {
            "" => "UTC",
            name => name,
        };
        let timezone = match TimeZone::get(name) {
            Ok(timezone) if !name.contains(char::is_whitespace) => timezone,
            _ => {
                return Err(
                    Problem::invalid("bad_timezone", format!("`{}` is no time zone.", shown(name)))
                        .next("Write one such as Europe/Paris or UTC."),
                );
            }
        };
        let teach = "Write minute, hour, day of month, month and day of week, such as `0 3 * * MON-FRI`.";
        if cron.split_whitespace().count() != 5 {
            return Err(bad(format!("`{}` is no cron expression of five fields.", shown(cron))).next(teach));
        }
        let cron_read = CronParser::new()
            .parse(cron.trim())
            .map_err(|error| bad(format!("`{}` is no cron expression: {error}.", shown(cron))).next(teach))?;
        let times = Self {
            cron: cron_read,
            timezone,
        };
        // Far from any change of clocks, whichever zone it is.
        let mut at = Timestamp::from_seconds(1_750_000_000);
        let mut before = None;
        for _ in 0..JUDGED {
            let Some(next) = times.next(at) else { break };
            if before.is_some_and(|before| next.since(before).as_secs() < LEAST) {
                return Err(bad(format!(
                    "`{}` runs more often than every {} minutes.",
                    shown(cron),
                    LEAST / 60
                ))
                .why("That is the least time between two runs of a schedule.")
                .next("Let it run less often, such as `*/5 * * * *`."));
            }
            before = Some(next);
            at = next;
        }
        if before.is_none() {
            return Err(bad(format!("`{}` never comes, as on 30 February.", shown(cron))).next(teach));
        }
        Ok(times)
    }

    /// The first time after a moment. A local time that does not exist on a day (clocks go forward) counts as the
    /// first moment after; one that comes twice counts once.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let at = after.to_jiff().to_zoned(self.timezone.clone());
        let found = self.cron.find_next_occurrence(&at, false).ok()?;
        Some(Timestamp::from_micros(found.timestamp().as_microsecond())).filter(|next| *next > after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_follow_their_zone_over_changes_of_clocks() {
        let nightly = Times::new("30 2 * * *", "Europe/Paris").unwrap();
        assert_eq!(
            nightly.next(at("2026-01-10T00:00:00Z")),
            Some(at("2026-01-10T01:30:00Z"))
        );
        assert_eq!(
            nightly.next(at("2026-07-10T00:00:00Z")),
            Some(at("2026-07-10T00:30:00Z"))
        );
        // 02:30 does not exist on 29 March 2026 in Paris: the first moment after is 03:00.
        let spring = nightly.next(at("2026-03-28T12:00:00Z")).unwrap();
        assert!(
            spring >= at("2026-03-29T01:00:00Z") && spring <= at("2026-03-29T01:30:00Z"),
            "{spring}"
        );
        // It comes twice on 25 October: it runs once.
        let first = nightly.next(at("2026-10-24T12:00:00Z")).unwrap();
        let second = nightly.next(first).unwrap();
        assert!(second.since(first).as_secs() > 20 * 3600, "{first} {second}");
        assert_eq!(
            Times::new("0 0 * * *", "")
                .unwrap()
                .next(at("2026-01-10T00:00:00Z")),
            Some(at("2026-01-11T00:00:00Z"))
        );
    }

    #[test]
    fn what_cannot_run_is_refused_with_what_could() {
        for (cron, zone, says) in [
            ("* * * * *", "UTC", "more often than every 5 minutes"),
            ("0,1 3 * * *", "UTC", "more often"),
            ("0 3 * *", "UTC", "five fields"),
            ("0 3 * * * *", "UTC", "five fields"),
            ("0 25 * * *", "UTC", "no cron expression"),
            ("0 0 30 2 *", "UTC", "never comes"),
            ("0 0 * * *", "Mars/Olympus", "no time zone"),
        ] {
            let problem = Times::new(cron, zone).unwrap_err();
            assert!(problem.what.contains(says), "{cron} {zone}: {problem}");
            assert!(!problem.next.is_empty());
        }
        assert!(Times::new("*/5 * * * *", "UTC").is_ok());
    }

    proptest! {
        /// Whatever is accepted, time goes on: each next time is later, and no two are nearer than allowed.
        #[test]
        fn the_next_time_is_later(minute in 0_u8..60, hour in 0_u8..24, start in 1_600_000_000_i64..2_000_000_000) {
            let times = Times::new(&format!("{minute} {hour} * * *"), "America/New_York").unwrap();
            let mut now = Timestamp::from_seconds(start);
            for _ in 0..5 {
                let next = times.next(now).unwrap();
                prop_assert!(next > now);
                now = next;
            }
        }

        /// No text makes it panic.
        #[test]
        fn any_text_is_read_or_refused(cron in "[0-9*/,A-Z\\- ]{0,30}", zone in "[A-Za-z/_+]{0,20}") {
            drop(Times::new(&cron, &zone));
        }
    }
}
