//! The measures. Pure; the queries are in `store`. Definitions, in short (`docs/src/insights.md` has them whole):
//!
//! - **Deployment frequency**: deployments to production that succeeded, rollbacks left out.
//! - **Lead time for changes**: from a commit's time to the end of the production deployment that first
//!   brought it to users; median and 90th percentile over commits.
//! - **Change failure rate**: of the production deployments that users met, those that were undone, failed, or
//!   caused an incident.
//! - **Time to restore**: from the failing's beginning to its end, for failures that a change caused.
//! - **Reliability**: share of production requests answered without error, against the objective.
//! - **MTTx**: means over one calendar month (UTC) of detection, with median, 90th percentile and count.
//! - **RCI**: days since creation × contributors since creation × successful deployments in the quarter ×
//!   availability in the quarter.

pub(crate) mod api;
mod charts;
pub(crate) mod pages;
pub(crate) mod service;
pub(crate) mod store;

use bascule_core::{Problem, Timestamp};
use bascule_wire::insights::Spread;
use std::time::Duration;

/// The edition of the classes below.
pub const EDITION: &str = "DORA 2022";

/// Days of a month: a year of 365.25 days by twelve.
pub const MONTH_DAYS: f64 = 365.25 / 12.0;
const DAY_SECONDS: f64 = 86_400.0;

/// A class of DORA's 2022 report. The published classes leave gaps; what falls into one shows between its
/// neighbours and is never rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The best.
    High,
    /// Between the two.
    BetweenMediumAndHigh,
    /// The middle.
    Medium,
    /// Between the two.
    BetweenLowAndMedium,
    /// The lowest that the report names.
    Low,
    /// Worse than the report names.
    BelowLow,
}

impl Class {
    /// As people read it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::BetweenMediumAndHigh => "between medium and high",
            Self::Medium => "medium",
            Self::BetweenLowAndMedium => "between low and medium",
            Self::Low => "low",
            Self::BelowLow => "below low",
        }
    }
}

/// Deployments a month: high is several a day (more than one), medium 1 to 4 a month, low 1 to 6 in six
/// months.
#[must_use]
pub fn frequency_class(per_month: f64) -> Class {
    match per_month {
        n if n > MONTH_DAYS => Class::High,
        n if n > 4.0 => Class::BetweenMediumAndHigh,
        n if n >= 1.0 => Class::Medium,
        n if n >= 1.0 / 6.0 => Class::Low,
        _ => Class::BelowLow,
    }
}

/// Lead time: high is under a week, medium under a month, low under six months.
#[must_use]
pub fn lead_time_class(seconds: f64) -> Class {
    match seconds / DAY_SECONDS {
        days if days < 7.0 => Class::High,
        days if days < MONTH_DAYS => Class::Medium,
        days if days < 6.0 * MONTH_DAYS => Class::Low,
        _ => Class::BelowLow,
    }
}

/// Time to restore: high is under a day, medium under a week, low under a month.
#[must_use]
pub fn restore_class(seconds: f64) -> Class {
    match seconds / DAY_SECONDS {
        days if days < 1.0 => Class::High,
        days if days < 7.0 => Class::Medium,
        days if days < MONTH_DAYS => Class::Low,
        _ => Class::BelowLow,
    }
}

/// Change failure rate, as a share: high is 0–15 %, medium 16–30 %, low 46–60 %.
#[must_use]
pub fn failure_class(share: f64) -> Class {
    match share * 100.0 {
        percent if percent <= 15.0 => Class::High,
        percent if percent < 16.0 => Class::BetweenMediumAndHigh,
        percent if percent <= 30.0 => Class::Medium,
        percent if percent < 46.0 => Class::BetweenLowAndMedium,
        percent if percent <= 60.0 => Class::Low,
        _ => Class::BelowLow,
    }
}

/// The resilient collaboration index.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn rci(days: i64, contributors: i64, deployments: i64, availability: f64) -> f64 {
    days as f64 * contributors as f64 * deployments as f64 * availability
}

/// Growth against the earlier value, as a share of that.
#[must_use]
pub fn trend(earlier: f64, later: f64) -> Option<f64> {
    (earlier > 0.0).then(|| later / earlier - 1.0)
}

/// Mean, median, 90th percentile (nearest rank) and the points themselves.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn spread(mut seconds: Vec<f64>) -> Spread {
    const POINTS: usize = 200;
    seconds.sort_by(f64::total_cmp);
    let count = seconds.len();
    if count == 0 {
        return Spread::default();
    }
    let median = match (seconds.get((count - 1) / 2), seconds.get(count / 2)) {
        (Some(low), Some(high)) => Some((low + high) / 2.0),
        _ => None,
    };
    let p90 = seconds.get(rank(count, 0.9)).copied();
    let mean = Some(seconds.iter().sum::<f64>() / count as f64);
    seconds.truncate(POINTS);
    Spread {
        count: i64::try_from(count).unwrap_or(i64::MAX),
        mean_seconds: mean,
        median_seconds: median,
        p90_seconds: p90,
        points: seconds,
    }
}

/// The index of the value at a quantile, by nearest rank, among `count` values in order.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small counts"
)]
pub fn rank(count: usize, quantile: f64) -> usize {
    ((quantile * count as f64).ceil() as usize).clamp(1, count.max(1)) - 1
}

/// A span of time, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Period {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// Longest period, in days.
const LONGEST_DAYS: u64 = 5 * 366;
/// The period shown if none is chosen, in days.
const DEFAULT_DAYS: u64 = 90;

impl Period {
    /// A period as chosen in an address: dates (`2024-07-04`, the last day counts in full) or instants
    /// (RFC 3339, the end excluded). Without a choice, the last 90 days up to the end of today (UTC).
    ///
    /// # Errors
    /// What was chosen is no date, ends before it begins, or is longer than five years.
    pub fn choose(from: &str, to: &str, now: Timestamp) -> Result<Self, Problem> {
        const DAY: Duration = Duration::from_secs(86_400);
        let to = match to.trim() {
            "" => Timestamp::from_seconds((now.seconds().div_euclid(86_400) + 1) * 86_400),
            text => instant(text, true)?,
        };
        let from = match from.trim() {
            "" => to.minus(DAY * u32::try_from(DEFAULT_DAYS).unwrap_or(90)),
            text => instant(text, false)?,
        };
        if from >= to || to.since(from) > DAY * u32::try_from(LONGEST_DAYS).unwrap_or(1830) {
            return Err(
                Problem::bad_request("bad_period", "That period cannot be measured.")
                    .why("A period begins before it ends, and is no longer than five years.")
                    .next("Choose another beginning or end."),
            );
        }
        Ok(Self { from, to })
    }

    /// Its length in days.
    #[must_use]
    pub fn days(&self) -> f64 {
        self.to.since(self.from).as_secs_f64() / DAY_SECONDS
    }

    /// The first day counted since 1970.
    #[must_use]
    pub fn first_day(&self) -> i64 {
        self.from.micros().div_euclid(crate::projection::DAY)
    }

    /// The day after the last one that the period touches, counted since 1970.
    #[must_use]
    pub fn end_day(&self) -> i64 {
        (self.to.micros() - 1).div_euclid(crate::projection::DAY) + 1
    }

    /// The calendar months (UTC) that the period touches, newest first, each as `2024-07` and its span.
    #[must_use]
    pub fn months(&self) -> Vec<(String, Self)> {
        let mut months = Vec::new();
        let mut month = Month::of(self.from);
        while month.start() < self.to {
            months.push((format!("{:04}-{:02}", month.year, month.month), month.span(1)));
            month = month.plus(1);
        }
        months.reverse();
        months
    }

    /// The calendar quarter in which the period ends, and as many before it, newest first, each as
    /// `2022-Q4` and its span.
    #[must_use]
    pub fn quarters(&self, count: usize) -> Vec<(String, Self)> {
        let last = Month::of(Timestamp::from_micros(self.to.micros() - 1));
        let mut month = Month {
            year: last.year,
            month: (last.month - 1) / 3 * 3 + 1,
        };
        let mut quarters = Vec::new();
        for _ in 0..count {
            quarters.push((
                format!("{:04}-Q{}", month.year, (month.month - 1) / 3 + 1),
                month.span(3),
            ));
            month = month.plus(-3);
        }
        quarters
    }
}

/// A date or an instant from an address; a date's end is the next midnight.
pub(crate) fn instant(text: &str, end: bool) -> Result<Timestamp, Problem> {
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let date = if end {
            date.tomorrow().unwrap_or(date)
        } else {
            date
        };
        let midnight = date
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map(|zoned| zoned.timestamp().as_microsecond());
        return midnight.map(Timestamp::from_micros).map_err(|_| not_a_date(text));
    }
    text.parse().map_err(|_| not_a_date(text))
}

fn not_a_date(text: &str) -> Problem {
    let shown: String = text.chars().take(40).collect();
    Problem::bad_request("bad_date", format!("`{shown}` is no date."))
        .next("Write 2024-07-04, or an instant such as 2024-07-04T16:45:00Z.")
}

/// A calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Month {
    year: i16,
    month: i8,
}

impl Month {
    fn of(at: Timestamp) -> Self {
        let date = at.to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date();
        Self {
            year: date.year(),
            month: date.month(),
        }
    }

    fn plus(self, months: i16) -> Self {
        let all = self.year * 12 + i16::from(self.month) - 1 + months;
        Self {
            year: all.div_euclid(12),
            month: i8::try_from(all.rem_euclid(12)).unwrap_or(0) + 1,
        }
    }

    fn start(self) -> Timestamp {
        let zoned = jiff::civil::Date::new(self.year, self.month, 1)
            .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|zoned| zoned.timestamp().as_microsecond());
        Timestamp::from_micros(zoned.unwrap_or(i64::MAX))
    }

    fn span(self, months: i16) -> Period {
        Period {
            from: self.start(),
            to: self.plus(months).start(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    #[test]
    fn the_rci_of_the_worked_example() {
        let q4 = rci(4102, 2474, 20, 0.9995);
        assert_eq!(format!("{q4:.0}"), "202865477");
        let percent = |earlier, later| format!("{:+.1} %", trend(earlier, later).unwrap() * 100.0);
        assert_eq!(percent(155_711_413.0, 188_809_628.0), "+21.3 %");
        assert_eq!(percent(188_809_628.0, 202_865_477.0), "+7.4 %");
        assert_eq!(trend(0.0, 5.0), None);
    }

    #[test]
    fn the_classes_of_2022_and_their_gaps() {
        assert_eq!(frequency_class(90.0), Class::High);
        assert_eq!(
            frequency_class(30.0),
            Class::BetweenMediumAndHigh,
            "daily is not several a day"
        );
        assert_eq!(frequency_class(5.0), Class::BetweenMediumAndHigh);
        assert_eq!(frequency_class(4.0), Class::Medium);
        assert_eq!(frequency_class(1.0), Class::Medium);
        assert_eq!(frequency_class(0.5), Class::Low);
        assert_eq!(frequency_class(0.1), Class::BelowLow);
        assert_eq!(lead_time_class(6.9 * DAY), Class::High);
        assert_eq!(lead_time_class(7.0 * DAY), Class::Medium);
        assert_eq!(lead_time_class(31.0 * DAY), Class::Low);
        assert_eq!(lead_time_class(200.0 * DAY), Class::BelowLow);
        assert_eq!(restore_class(0.9 * DAY), Class::High);
        assert_eq!(restore_class(2.0 * DAY), Class::Medium);
        assert_eq!(restore_class(8.0 * DAY), Class::Low);
        assert_eq!(failure_class(0.0), Class::High);
        assert_eq!(failure_class(0.15), Class::High);
        assert_eq!(failure_class(0.16), Class::Medium);
        assert_eq!(failure_class(0.30), Class::Medium);
        for gap in [0.31, 0.38, 0.45] {
            assert_eq!(failure_class(gap), Class::BetweenLowAndMedium, "{gap}");
        }
        assert_eq!(failure_class(0.46), Class::Low);
        assert_eq!(failure_class(0.60), Class::Low);
        assert_eq!(failure_class(0.61), Class::BelowLow);
    }

    #[test]
    fn durations_show_their_spread() {
        let spread = spread(vec![10.0, 1.0, 2.0, 100.0]);
        assert_eq!(
            (spread.count, spread.mean_seconds, spread.median_seconds),
            (4, Some(28.25), Some(6.0))
        );
        assert_eq!(
            (spread.p90_seconds, spread.points),
            (Some(100.0), vec![1.0, 2.0, 10.0, 100.0])
        );
        assert_eq!(super::spread(vec![]).mean_seconds, None);
        assert_eq!((rank(10, 0.9), rank(1, 0.9), rank(11, 0.9)), (8, 0, 9));
    }

    #[test]
    fn periods_are_chosen_by_date_and_fall_into_months_and_quarters() {
        let now: Timestamp = "2024-07-04T16:45:00Z".parse().unwrap();
        let default = Period::choose("", "", now).unwrap();
        assert_eq!(
            (default.to.to_string().as_str(), default.days()),
            ("2024-07-05T00:00:00Z", 90.0)
        );
        let chosen = Period::choose("2024-06-02", "2024-07-04", now).unwrap();
        assert_eq!(chosen.to.to_string(), "2024-07-05T00:00:00Z");
        let months: Vec<String> = chosen.months().into_iter().map(|(name, _)| name).collect();
        assert_eq!(months, ["2024-07", "2024-06"]);
        let quarters = Period::choose("2022-10-01", "2022-12-31", now)
            .unwrap()
            .quarters(3);
        assert_eq!(
            quarters.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["2022-Q4", "2022-Q3", "2022-Q2"]
        );
        assert_eq!(quarters[0].1.from.to_string(), "2022-10-01T00:00:00Z");
        assert_eq!(quarters[0].1.to.to_string(), "2023-01-01T00:00:00Z");
        for (from, to) in [
            ("x", ""),
            ("2024-07-05", "2024-07-03"),
            ("1970-01-01", "2024-01-01"),
            ("", "'; DROP TABLE"),
        ] {
            assert!(Period::choose(from, to, now).is_err(), "{from} {to}");
        }
    }
}
