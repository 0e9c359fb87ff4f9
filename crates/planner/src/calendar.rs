//! When changes may happen: windows that open as a cron expression says, in a time zone, for a time, but not on
//! holidays.
//!
//! A window's length is real time: one of four hours lasts four hours also in the night in which clocks change.
//! An opening at a local time that does not exist that day (clocks go forward) opens at the first moment after; one
//! at a local time that comes twice (clocks go back) opens once, the first time.

use bascule_core::Timestamp;
use croner::{Cron, parser::CronParser};
use jiff::{Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

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
    /// For people: `Saturday 28 November 22:00 (Europe/Paris)`, with the year where it is not this year.
    pub label: String,
}

/// A holiday on which a window would have opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// When the first window of that day would have opened.
    pub at: Timestamp,
    /// For people: `Saturday 26 December`, with the year where it is not this year.
    pub day: String,
}

/// A day as people read it: with its year where that is not the year of another moment, which is mostly the present.
fn day(at: &Zoned, now: Timestamp) -> String {
    let this = now.to_jiff().to_zoned(at.time_zone().clone()).year();
    let format = if at.year() == this {
        "%A %-d %B"
    } else {
        "%A %-d %B %Y"
    };
    at.strftime(format).to_string()
}

/// A moment as people read it: `Friday 27 November 10:00 (UTC)`.
#[must_use]
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    let zoned = at.to_jiff().to_zoned(TimeZone::UTC);
    format!("{} {} (UTC)", day(&zoned, now), zoned.strftime("%H:%M"))
}

#[derive(Clone, Debug)]
struct Window {
    /// `None`: it never opens, as on 30 February.
    cron: Option<Box<Cron>>,
    timezone: TimeZone,
    name: String,
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
/// How far ahead an opening is looked for: the next 29 February is never farther, around 2100 neither.
const AHEAD: Duration = Duration::from_secs(9 * 366 * 86_400);

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
            let name = spec.timezone.trim();
            let timezone = match TimeZone::get(name) {
                Ok(timezone) if !name.contains(char::is_whitespace) => timezone,
                _ => return Err(BadWindow::Timezone(short(name))),
            };
            if spec.cron.split_whitespace().count() != 5 {
                return Err(BadWindow::Cron(short(&spec.cron)));
            }
            let cron = CronParser::new()
                .parse(spec.cron.trim())
                .map_err(|_| BadWindow::Cron(short(&spec.cron)))?;
            // What never matches is looked for through thousands of years: once, not at each question.
            let opens = next(&cron, &jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC), true).is_some();
            calendar.windows.push(Window {
                cron: opens.then(|| Box::new(cron)),
                timezone,
                name: name.to_owned(),
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
            self.opening_after(window, now.minus(window.open), now)
                .is_some_and(|opening| opening.from <= now && now < opening.to)
        })
    }

    /// The next window that opens after `now`.
    #[must_use]
    pub fn next_opening(&self, now: Timestamp) -> Option<Opening> {
        self.windows
            .iter()
            .filter_map(|window| self.opening_after(window, now, now))
            .min_by_key(|opening| opening.from)
    }

    /// The windows that are open at some time between, in order, at most `most`: for a calendar page.
    #[must_use]
    pub fn openings_between(&self, from: Timestamp, to: Timestamp, most: usize) -> Vec<Opening> {
        let mut all = Vec::new();
        for window in &self.windows {
            let mut at = from.minus(window.open);
            while let Some(opening) = self.opening_after(window, at, from).filter(|o| o.from < to) {
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

    /// The holidays between on which a window would have opened, in order, at most `most`: so that a calendar page
    /// shows what is missing in it.
    #[must_use]
    pub fn skipped_between(&self, from: Timestamp, to: Timestamp, most: usize) -> Vec<Skipped> {
        let mut all: BTreeMap<jiff::civil::Date, Skipped> = BTreeMap::new();
        for window in &self.windows {
            let Some(cron) = window.cron.as_deref() else {
                continue;
            };
            for holiday in &self.holidays {
                let Ok(start) = holiday.to_zoned(window.timezone.clone()) else {
                    continue;
                };
                let Some(found) = next(cron, &start, true).filter(|found| found.date() == *holiday) else {
                    continue;
                };
                let at = Timestamp::from_micros(found.timestamp().as_microsecond());
                // The day is passed over as long as its last window would have been open.
                if at >= to || at.plus(window.open) <= from {
                    continue;
                }
                let skipped = Skipped {
                    at,
                    day: day(&found, from),
                };
                let known = all.entry(*holiday).or_insert_with(|| skipped.clone());
                known.at = known.at.min(at);
            }
        }
        all.into_values().take(most).collect()
    }

    /// The next opening after a moment; `now` is the present, by which its label is written.
    fn opening_after(&self, window: &Window, after: Timestamp, now: Timestamp) -> Option<Opening> {
        let cron = window.cron.as_deref()?;
        let end = after.plus(AHEAD);
        let mut at = jiff::Timestamp::from_microsecond(after.micros())
            .ok()?
            .to_zoned(window.timezone.clone());
        let mut inclusive = false;
        loop {
            let found = next(cron, &at, inclusive)?;
            let from = Timestamp::from_micros(found.timestamp().as_microsecond());
            if from <= after || from > end {
                return None;
            }
            if self.holidays.contains(&found.date()) {
                // Each holiday is met once.
                at = found.tomorrow().and_then(|day| day.start_of_day()).ok()?;
                inclusive = true;
                continue;
            }
            return Some(Opening {
                from,
                to: from.plus(window.open),
                label: format!(
                    "{} {} ({})",
                    day(&found, now),
                    found.strftime("%H:%M"),
                    window.name
                ),
            });
        }
    }
}

fn next(cron: &Cron, at: &Zoned, inclusive: bool) -> Option<Zoned> {
    cron.find_next_occurrence(at, inclusive).ok()
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
        assert_eq!(next.label, "Saturday 28 November 22:00 (Europe/Paris)");
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
    fn a_window_is_read_with_its_day_and_with_a_year_that_is_not_this_one() {
        let calendar = calendar("0 22 * * SAT,TUE", 4, &["2026-12-26", "2026-12-27", "2027-01-02"]);
        let now = at("2026-11-25T12:00:00Z");
        let label = |after: &str| {
            calendar
                .opening_after(&calendar.windows[0], at(after), now)
                .unwrap()
                .label
        };
        assert_eq!(
            label("2026-11-29T00:00:00Z"),
            "Tuesday 1 December 22:00 (Europe/Paris)"
        );
        assert_eq!(
            label("2026-12-30T00:00:00Z"),
            "Tuesday 5 January 2027 22:00 (Europe/Paris)"
        );
        let skipped: Vec<_> = calendar
            .skipped_between(now, at("2027-02-01T00:00:00Z"), 8)
            .into_iter()
            .map(|skipped| (skipped.day, skipped.at))
            .collect();
        assert_eq!(
            skipped,
            [
                ("Saturday 26 December".to_owned(), at("2026-12-26T21:00:00Z")),
                ("Saturday 2 January 2027".to_owned(), at("2027-01-02T21:00:00Z"))
            ],
            "no window opens on the 27th anyway"
        );
        assert!(
            calendar
                .skipped_between(now, at("2026-12-26T12:00:00Z"), 8)
                .is_empty()
        );
        assert_eq!(
            moment(at("2026-11-27T10:00:00Z"), now),
            "Friday 27 November 10:00 (UTC)"
        );
    }

    #[test]
    fn the_nights_in_which_clocks_change() {
        // 29 March 2026: 02:00 becomes 03:00. 25 October 2026: 03:00 becomes 02:00.
        let daily = calendar("30 2 * * *", 1, &[]);
        let spring = daily.next_opening(at("2026-03-28T12:00:00Z")).unwrap();
        assert_eq!(
            spring.from,
            at("2026-03-29T01:00:00Z"),
            "02:30 is not there: the first moment after"
        );
        let after = daily.next_opening(spring.from).unwrap();
        assert_eq!(after.from, at("2026-03-30T00:30:00Z"), "once that night");
        let autumn = daily.next_opening(at("2026-10-24T12:00:00Z")).unwrap();
        assert_eq!(
            autumn.from,
            at("2026-10-25T00:30:00Z"),
            "the first 02:30 of that night"
        );
        assert_eq!(autumn.to.since(autumn.from), Duration::from_secs(3_600));
        let after = daily.next_opening(autumn.from).unwrap();
        assert_eq!(after.from, at("2026-10-26T01:30:00Z"), "not at the second 02:30");
        for (minute, open) in [
            ("00:29", false),
            ("00:30", true),
            ("01:29", true),
            ("01:30", false),
        ] {
            assert_eq!(
                daily.is_open(at(&format!("2026-10-25T{minute}:00Z"))),
                open,
                "{minute}"
            );
        }
    }

    #[test]
    fn the_last_day_and_the_last_friday_of_december_are_days_too() {
        let last = calendar("0 22 L * *", 2, &[]);
        let next = last.next_opening(at("2026-12-01T00:00:00Z")).unwrap();
        assert_eq!(next.from, at("2026-12-31T21:00:00Z"));
        let friday = calendar("0 22 * * 5L", 2, &[]);
        let next = friday.next_opening(at("2026-12-01T00:00:00Z")).unwrap();
        assert_eq!(next.from, at("2026-12-25T21:00:00Z"));
        assert!(friday.is_open(at("2026-12-25T22:59:59Z")) && !friday.is_open(at("2026-12-18T21:30:00Z")));
    }

    #[test]
    fn a_leap_day_is_found_over_2100_and_a_minutely_window_over_holidays() {
        let leap = calendar("0 0 29 2 *", 1, &[]);
        let next = leap.next_opening(at("2096-03-01T00:00:00Z")).unwrap();
        assert_eq!(next.from, at("2104-02-28T23:00:00Z"));
        let busy = calendar("* * * * *", 1, &["2026-12-25", "2026-12-26", "2026-12-27"]);
        let next = busy.next_opening(at("2026-12-25T12:00:00Z")).unwrap();
        assert_eq!(
            next.from,
            at("2026-12-27T23:00:00Z"),
            "midnight of the 28th in Paris"
        );
        assert!(!busy.is_open(at("2026-12-26T12:00:00Z")));
    }

    #[test]
    fn the_ends_of_time_are_survived() {
        for cron in ["0 22 L * *", "* * * * *", "0 0 30 2 *", "0 0 29 2 MON#5"] {
            let calendar = calendar(cron, 24 * 28, &["9999-12-31"]);
            for micros in [
                i64::MIN,
                -377_705_023_201_000_000,
                0,
                253_402_207_100_000_000,
                253_402_300_799_000_000,
                i64::MAX,
            ] {
                let now = Timestamp::from_micros(micros);
                let _ = calendar.is_open(now);
                assert!(
                    calendar
                        .next_opening(now)
                        .is_none_or(|opening| opening.from > now)
                );
                let _ = calendar.openings_between(now, now.plus(Duration::from_secs(1)), 3);
            }
        }
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

        /// Against a calendar that looks at each day: the last day, the last and the n-th weekday, lists and steps.
        #[test]
        fn days_are_those_of_the_calendar(year in 2024_i16..2040, month in 1_i8..13, kind in 0_usize..6, weekday in 0_u8..7, nth in 1_i8..6) {
            let name = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"][usize::from(weekday)];
            let cron = match kind {
                0 => "0 12 L * *".to_owned(),
                1 => format!("0 12 * * {weekday}L"),
                2 => format!("0 12 * * {name}#{nth}"),
                3 => format!("0 12 * * {name}"),
                4 => format!("0 12 1,15 * {name}"),
                _ => format!("0 12 */10 {month} *"),
            };
            let spec = WindowSpec { cron: cron.clone(), timezone: "UTC".into(), duration_ms: 3_600_000 };
            let calendar = Calendar::new(&[spec], &[]).unwrap();
            let first = jiff::civil::date(year, month, 1);
            let last = first.days_in_month();
            for day in 1..=last {
                let date = jiff::civil::date(year, month, day);
                let of_week = date.weekday().to_sunday_zero_offset() == i8::try_from(weekday).unwrap();
                let should = match kind {
                    0 => day == last,
                    1 => of_week && day + 7 > last,
                    2 => of_week && (day - 1) / 7 + 1 == nth,
                    3 => of_week,
                    4 => of_week || day == 1 || day == 15,
                    _ => (day - 1) % 10 == 0,
                };
                let noon = at(&format!("{date}T12:30:00Z"));
                prop_assert_eq!(calendar.is_open(noon), should, "{} on {}", cron, date);
            }
        }

        /// In the weeks around both changes of clocks, minute by minute: open exactly where the local time of some
        /// opening says so.
        #[test]
        fn windows_keep_local_time_around_a_change_of_clocks(autumn in any::<bool>(), hour in 0_i8..24, minute in 0_i8..60, length in 1_u64..5) {
            let calendar = calendar(&format!("{minute} {hour} * * *"), length, &[]);
            let begin = at(if autumn { "2026-10-23T00:00:00Z" } else { "2026-03-27T00:00:00Z" });
            let zone = TimeZone::get("Europe/Paris").unwrap();
            // By the zone's own rules: a time that comes twice is the first, one that is missing the end of the gap.
            let openings: Vec<Timestamp> = (0..6_i64).filter_map(|day| {
                let date = begin.to_jiff().to_zoned(zone.clone()).date().checked_add(jiff::Span::new().days(day - 1)).ok()?;
                let local = date.at(hour, minute, 0, 0);
                let found = zone.to_ambiguous_zoned(local);
                let zoned = match found.offset() {
                    jiff::tz::AmbiguousOffset::Gap { .. } => date.at(3, 0, 0, 0).to_zoned(zone.clone()).ok()?,
                    _ => found.earlier().ok()?,
                };
                Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
            }).collect();
            let open = Duration::from_secs(length * 3_600);
            for step in 0..(4 * 24 * 4_u64) {
                let now = begin.plus(Duration::from_secs(step * 900 + 7));
                let should = openings.iter().any(|from| *from <= now && now < from.plus(open));
                prop_assert_eq!(calendar.is_open(now), should, "{}", now);
            }
        }

        #[test]
        fn no_text_panics(cron in ".{0,30}", zone in ".{0,20}", holiday in ".{0,12}", ms in any::<u64>()) {
            let spec = WindowSpec { cron, timezone: zone, duration_ms: ms };
            let _ = Calendar::new(&[spec], &[holiday]);
        }

        /// Whatever looks like an expression and is taken can be asked at any time.
        #[test]
        fn no_time_panics(fields in prop::collection::vec("[0-9]{1,2}|\\*|\\*/[0-9]{1,2}|L|[0-7]L|[0-9]{1,2}W|LW|[0-7]#[0-6]|MON-FRI|JAN,DEC|\\?|[0-9]-[0-9]{1,2}/[0-9]", 5), micros in any::<i64>(), near in -253_402_300_000_i64..253_402_300_000) {
            let spec = WindowSpec { cron: fields.join(" "), timezone: "America/New_York".into(), duration_ms: 3_600_000 };
            if let Ok(calendar) = Calendar::new(&[spec], &["2026-12-25".to_owned()]) {
                for now in [Timestamp::from_micros(micros), Timestamp::from_seconds(near)] {
                    let _ = calendar.is_open(now);
                    prop_assert!(calendar.next_opening(now).is_none_or(|opening| opening.from > now));
                }
            }
        }
    }
}
