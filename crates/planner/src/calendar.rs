//! When changes may happen: windows that open as a cron expression says, in a time zone, for a time, but not on
//! holidays.
//!
//! A window's length is real time: one of four hours lasts four hours also in the night in which clocks change.
//! An opening at a local time that does not exist that day (clocks go forward) opens at the first moment after.

use bascule_core::Timestamp;
use cronexpr::Crontab;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A window as written: what is stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSpec {
    /// Five cron fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// A time zone of the IANA database, such as `Europe/Paris`.
    pub timezone: String,
    /// How long it stays open, in milliseconds.
    pub duration_ms: u64,
}

/// Why a window is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWindow {
    /// The cron expression.
    #[error(
        "`{0}` is no cron expression: write minute, hour, day of month, month and day of week, such as `0 22 * * SAT`"
    )]
    Cron(String),
    /// The time zone.
    #[error("`{0}` is no time zone: write one such as Europe/Paris or UTC")]
    Timezone(String),
    /// How long it stays open.
    #[error("a window stays open from one minute to 28 days")]
    Duration,
    /// A holiday.
    #[error("`{0}` is no date: write one such as 2026-12-25")]
    Holiday(String),
}

/// A stretch of time in which changes may happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// From.
    pub from: Timestamp,
    /// To, not included.
    pub to: Timestamp,
    /// For people: `Saturday 22:00 (Europe/Paris)`.
    pub label: String,
}

#[derive(Clone, Debug)]
struct Window {
    crontab: Crontab,
    timezone: String,
    open: Duration,
}

/// All maintenance windows of an environment.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    windows: Vec<Window>,
    holidays: Vec<jiff::civil::Date>,
}

/// Longest time that a window may stay open.
const LONGEST: Duration = Duration::from_secs(28 * 86_400);
/// How far ahead an opening is looked for: the next 29 February is never farther, save around 2100.
const AHEAD: Duration = Duration::from_secs(4 * 366 * 86_400);
/// Openings looked at in a row before it is given up: a window on holidays only.
const TRIES: usize = 2_000;

impl Calendar {
    /// Reads windows and holidays.
    ///
    /// # Errors
    /// Names what is wrong and what would be right.
    pub fn new(windows: &[WindowSpec], holidays: &[String]) -> Result<Self, BadWindow> {
        let mut calendar = Self::default();
        for spec in windows {
            let open = Duration::from_millis(spec.duration_ms);
            if open < Duration::from_secs(60) || open > LONGEST {
                return Err(BadWindow::Duration);
            }
            let timezone = spec.timezone.trim();
            if timezone.contains(char::is_whitespace) || jiff::tz::TimeZone::get(timezone).is_err() {
                return Err(BadWindow::Timezone(short(timezone)));
            }
            if spec.cron.split_whitespace().count() != 5 {
                return Err(BadWindow::Cron(short(&spec.cron)));
            }
            let crontab = cronexpr::parse_crontab(&format!("{} {timezone}", spec.cron.trim()))
                .map_err(|_| BadWindow::Cron(short(&spec.cron)))?;
            calendar.windows.push(Window {
                crontab,
                timezone: timezone.to_owned(),
                open,
            });
        }
        for text in holidays {
            let date = text.trim().parse().map_err(|_| BadWindow::Holiday(short(text)))?;
            calendar.holidays.push(date);
        }
        Ok(calendar)
    }

    /// Whether there are no windows, so that changes may happen at any time.
    #[must_use]
    pub const fn is_always(&self) -> bool {
        self.windows.is_empty()
    }

    /// Whether a window is open.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.windows.iter().any(|window| {
            let mut at = now.minus(window.open);
            for _ in 0..TRIES {
                match self.opening_after(window, at) {
                    Some(opening) if opening.from > now => return false,
                    Some(opening) if now < opening.to => return true,
                    Some(opening) => at = opening.from,
                    None => return false,
                }
            }
            false
        })
    }

    /// The next window that opens after `now`.
    #[must_use]
    pub fn next_opening(&self, now: Timestamp) -> Option<Opening> {
        self.windows
            .iter()
            .filter_map(|window| self.opening_after(window, now))
            .min_by_key(|opening| opening.from)
    }

    /// The windows that are open at some time between, in order, at most `most`: for a calendar page.
    #[must_use]
    pub fn openings_between(&self, from: Timestamp, to: Timestamp, most: usize) -> Vec<Opening> {
        let mut all = Vec::new();
        for window in &self.windows {
            let mut at = from.minus(window.open);
            while let Some(opening) = self.opening_after(window, at).filter(|o| o.from < to) {
                at = opening.from;
                if opening.to > from {
                    all.push(opening);
                }
                if all.len() > most.saturating_mul(2) {
                    break;
                }
            }
        }
        all.sort_by_key(|opening| opening.from);
        all.truncate(most);
        all
    }

    fn opening_after(&self, window: &Window, after: Timestamp) -> Option<Opening> {
        let end = after.plus(AHEAD).to_jiff();
        let mut at = after.to_jiff();
        for _ in 0..TRIES {
            let next = window.crontab.find_next(at).ok()?;
            at = next.timestamp();
            if at > end {
                return None;
            }
            if self.holidays.contains(&next.date()) {
                continue;
            }
            let from = Timestamp::from_micros(at.as_microsecond());
            return Some(Opening {
                from,
                to: from.plus(window.open),
                label: format!("{} ({})", next.strftime("%A %H:%M"), window.timezone),
            });
        }
        None
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn calendar(cron: &str, hours: u64, holidays: &[&str]) -> Calendar {
        let spec = WindowSpec {
            cron: cron.into(),
            timezone: "Europe/Paris".into(),
            duration_ms: hours * 3_600_000,
        };
        let holidays: Vec<String> = holidays.iter().map(|h| (*h).to_owned()).collect();
        Calendar::new(&[spec], &holidays).unwrap()
    }

    #[test]
    fn a_window_opens_on_saturday_night_in_its_own_time_zone() {
        let calendar = calendar("0 22 * * SAT", 4, &[]);
        assert!(!calendar.is_open(at("2026-11-28T20:59:59Z")));
        assert!(
            calendar.is_open(at("2026-11-28T21:00:00Z")),
            "22:00 in Paris, in winter"
        );
        assert!(calendar.is_open(at("2026-11-29T00:59:59Z")));
        assert!(!calendar.is_open(at("2026-11-29T01:00:00Z")));
        let next = calendar.next_opening(at("2026-11-25T12:00:00Z")).unwrap();
        assert_eq!(next.label, "Saturday 22:00 (Europe/Paris)");
        assert_eq!(
            (next.from, next.to),
            (at("2026-11-28T21:00:00Z"), at("2026-11-29T01:00:00Z"))
        );
        let summer = calendar.next_opening(at("2026-07-01T00:00:00Z")).unwrap();
        assert_eq!(
            summer.from,
            at("2026-07-04T20:00:00Z"),
            "22:00 in Paris, in summer"
        );
    }

    #[test]
    fn no_window_opens_on_a_holiday_and_one_that_never_opens_says_so() {
        let calendar = calendar("0 22 * * FRI", 2, &["2026-12-25", "2027-01-01"]);
        let next = calendar.next_opening(at("2026-12-19T00:00:00Z")).unwrap();
        assert_eq!(next.from, at("2027-01-08T21:00:00Z"));
        assert!(!calendar.is_open(at("2026-12-25T21:30:00Z")));
        let never = super::tests::calendar("0 0 30 2 *", 1, &[]);
        assert!(never.next_opening(at("2026-01-01T00:00:00Z")).is_none());
        assert!(!never.is_open(at("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn the_nights_in_which_clocks_change() {
        // 29 March 2026: 02:00 becomes 03:00. 25 October 2026: 03:00 becomes 02:00.
        let daily = calendar("30 2 * * *", 1, &[]);
        let spring = daily.next_opening(at("2026-03-28T12:00:00Z")).unwrap();
        assert!(spring.from >= at("2026-03-29T00:59:00Z") && spring.from <= at("2026-03-30T00:30:00Z"));
        let autumn = daily.next_opening(at("2026-10-24T12:00:00Z")).unwrap();
        assert_eq!(
            autumn.from,
            at("2026-10-25T00:30:00Z"),
            "the first 02:30 of that night"
        );
        assert_eq!(autumn.to.since(autumn.from), Duration::from_secs(3_600));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let spec = |cron: &str, timezone: &str, ms| WindowSpec {
            cron: cron.into(),
            timezone: timezone.into(),
            duration_ms: ms,
        };
        for (bad, word) in [
            (spec("at night", "UTC", 3_600_000), "cron"),
            (spec("0 22 * * * *", "UTC", 3_600_000), "cron"),
            (spec("0 25 * * *", "UTC", 3_600_000), "cron"),
            (spec("0 22 * * *", "Mars/Base", 3_600_000), "time zone"),
            (spec("0 22 * * *", "UTC", 1), "one minute"),
        ] {
            let error = Calendar::new(std::slice::from_ref(&bad), &[])
                .unwrap_err()
                .to_string();
            assert!(error.contains(word), "{error}");
        }
        let error = Calendar::new(&[], &["soon".into()]).unwrap_err().to_string();
        assert!(error.contains("2026-12-25"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Around every change of clocks: the next opening is open, and no moment before it is.
        #[test]
        fn the_next_opening_is_the_next(day in 0_i64..730, minute in 0_i64..1_440, hour in 0_u8..24, length in 1_u64..30) {
            let calendar = calendar(&format!("{} {hour} * * *", day % 60), length, &[]);
            let now = at("2026-01-01T00:00:00Z").plus(Duration::from_secs(u64::try_from(day * 86_400 + minute * 60).unwrap()));
            let next = calendar.next_opening(now).unwrap();
            prop_assert!(next.from > now && next.to > next.from);
            prop_assert!(calendar.is_open(next.from));
            prop_assert!(calendar.is_open(next.to.minus(Duration::from_micros(1))));
            let open = calendar.is_open(now);
            let spans = calendar.openings_between(now, now.plus(Duration::from_secs(1)), 10);
            prop_assert_eq!(open, spans.iter().any(|o| o.from <= now && now < o.to));
        }

        #[test]
        fn no_text_panics(cron in ".{0,30}", zone in ".{0,20}", holiday in ".{0,12}", ms in any::<u64>()) {
            let spec = WindowSpec { cron, timezone: zone, duration_ms: ms };
            let _ = Calendar::new(&[spec], &[holiday]);
        }
    }
}
