//! Objectives, error budgets and burn rates. Pure; the queries are in `store`.
//!
//! The alert follows the SRE workbook (chapter 5, "Alerting on SLOs"): it fires when the budget burns at
//! least 14.4 times too fast over an hour *and* over the last five minutes, or 6 times over six hours and
//! over the last half hour. The long window keeps a short blip from paging; the short one lets the alert end
//! soon after the failing does. A demonstration scales all windows down.

pub(crate) mod service;
pub(crate) mod store;

use crate::Config;
use bascule_core::Timestamp;
use bascule_wire::telemetry::ErrorBudget;
use std::time::Duration;

/// The name of the one objective there is so far.
pub const AVAILABILITY: &str = "availability";

/// No window is shorter than two of the finest buckets: one whole, and the one that is being filled.
const SHORTEST: Duration = Duration::from_secs(20);

/// One rule of the alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRule {
    /// The burn rate at which it fires.
    pub threshold: f64,
    /// Over this long.
    pub long: Duration,
    /// And also over this long.
    pub short: Duration,
}

/// The two rules, their windows scaled.
#[must_use]
pub fn rules(scale: f64) -> [BurnRule; 2] {
    let scaled = |minutes: f64| {
        let seconds = (minutes * 60.0 * scale).clamp(SHORTEST.as_secs_f64(), 30.0 * 86_400.0);
        Duration::from_secs_f64(if seconds.is_finite() {
            seconds
        } else {
            minutes * 60.0
        })
    };
    [
        BurnRule {
            threshold: 14.4,
            long: scaled(60.0),
            short: scaled(5.0),
        },
        BurnRule {
            threshold: 6.0,
            long: scaled(360.0),
            short: scaled(30.0),
        },
    ]
}

/// What was answered in some window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Requests.
    pub requests: u64,
    /// Of these, errors.
    pub errors: u64,
}

/// The share of requests that an objective, in percent, lets fail.
#[must_use]
pub fn allowed_share(objective: f64) -> f64 {
    ((100.0 - objective) / 100.0).clamp(0.0, 1.0)
}

/// How long a service with this objective, in percent, may be down in a period.
#[must_use]
pub fn downtime_allowed(objective: f64, period: Duration) -> Duration {
    let seconds = period.as_secs_f64() * allowed_share(objective);
    // To the millisecond, so that 99.9 % of a year is 8h 45m 36s and not a billionth less.
    Duration::from_millis(whole((seconds * 1000.0).round()))
}

/// A duration with all its units and no rounding: `8h 45m 36s`, `4m 1.92s`, `24.192s`.
#[must_use]
pub fn exact(span: Duration) -> String {
    let seconds = span.as_secs();
    let mut parts = Vec::new();
    for (size, unit) in [(86_400, "d"), (3600, "h"), (60, "m")] {
        let count = match unit {
            "d" => seconds / size,
            "h" => seconds / size % 24,
            _ => seconds / size % 60,
        };
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    let millis = span.subsec_millis();
    let rest = seconds % 60;
    if millis > 0 {
        parts.push(format!(
            "{}s",
            format!("{rest}.{millis:03}").trim_end_matches('0')
        ));
    } else if rest > 0 || parts.is_empty() {
        parts.push(format!("{rest}s"));
    }
    parts.join(" ")
}

/// How fast the budget burns: 1 uses it up exactly in its time. Nothing burns where nothing is asked.
#[must_use]
pub fn burn_rate(objective: f64, window: Window) -> f64 {
    if window.requests == 0 || window.errors == 0 {
        return 0.0;
    }
    let share = ratio(window.errors, window.requests);
    // An objective of 100 % has no budget: any error burns it without end.
    let allowed = allowed_share(objective);
    if allowed > 0.0 { share / allowed } else { f64::MAX }
}

/// The error budget of a window in which `total` requests were answered, `errors` of them with an error.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn budget(objective: f64, window: Duration, total: u64, errors: u64) -> ErrorBudget {
    let allowed = total as f64 * allowed_share(objective);
    let left = allowed - errors as f64;
    let left_share = match () {
        () if errors == 0 => 1.0,
        () if allowed > 0.0 => left / allowed,
        () => -1.0,
    };
    let minutes = downtime_allowed(objective, window).as_secs_f64() / 60.0;
    ErrorBudget {
        allowed_requests: tidy(allowed),
        used_requests: errors,
        left_requests: tidy(left),
        left_share: tidy(left_share),
        allowed_minutes: tidy(minutes),
        left_minutes: tidy(minutes * left_share),
    }
}

/// What three weeks of error budget advise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Far less was used than was allowed, week after week: ship faster, try more.
    TakeMoreRisk,
    /// In between.
    Keep,
    /// The budget was used up, week after week: slow down and mend.
    InvestInResilience,
}

/// A week that uses no more than this share of its budget is a quiet one: 10 of 54 minutes are 18.5 %.
const QUIET: f64 = 0.2;

/// Advises from the share of its budget that each of the last weeks used. Fewer than three weeks advise
/// nothing.
#[must_use]
pub fn advise(used_shares: &[f64]) -> Advice {
    match used_shares {
        shares if shares.len() < 3 => Advice::Keep,
        shares if shares.iter().all(|used| *used <= QUIET) => Advice::TakeMoreRisk,
        shares if shares.iter().all(|used| *used >= 1.0) => Advice::InvestInResilience,
        _ => Advice::Keep,
    }
}

/// Whether a rule fires: both windows burn, and enough was asked and failed for that to mean something.
#[must_use]
pub fn fires(rule: BurnRule, objective: f64, long: Window, short: Window, config: &Config) -> bool {
    long.requests >= config.alert_min_requests
        && long.errors >= config.alert_min_errors
        && burn_rate(objective, long) >= rule.threshold
        && burn_rate(objective, short) >= rule.threshold
}

/// When the failing began: the first bucket of the last run of buckets that burn faster than the objective
/// allows. Pauses shorter than `gap` do not end a run. Buckets come oldest first.
#[must_use]
pub fn began(buckets: &[(Timestamp, Window)], objective: f64, gap: Duration) -> Option<Timestamp> {
    let mut began = None;
    for (at, _) in buckets
        .iter()
        .rev()
        .filter(|(_, window)| burn_rate(objective, *window) > 1.0)
    {
        if began.is_some_and(|later: Timestamp| later.since(*at) > gap) {
            break;
        }
        began = Some(*at);
    }
    began
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Without the noise of binary fractions, so that JSON reads `40.32` and not `40.31999999999`.
fn tidy(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration in ms, never negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn allowed(objective: f64, days: u64) -> String {
        exact(downtime_allowed(objective, Duration::from_secs(days * DAY)))
    }

    #[test]
    fn downtime_allowed_is_the_worked_table() {
        for (objective, year, quarter, month) in [
            (90.0, "36d 12h", "9d", "2d 19h 12m"),
            (95.0, "18d 6h", "4d 12h", "1d 9h 36m"),
            (99.0, "3d 15h 36m", "21h 36m", "6h 43m 12s"),
            (99.5, "1d 19h 48m", "10h 48m", "3h 21m 36s"),
            (99.9, "8h 45m 36s", "2h 9m 36s", "40m 19.2s"),
            (99.99, "52m 33.6s", "12m 57.6s", "4m 1.92s"),
            (99.999, "5m 15.36s", "1m 17.76s", "24.192s"),
        ] {
            let row = (
                allowed(objective, 365),
                allowed(objective, 90),
                allowed(objective, 28),
            );
            assert_eq!(
                (row.0.as_str(), row.1.as_str(), row.2.as_str()),
                (year, quarter, month),
                "{objective} %"
            );
        }
    }

    #[test]
    fn three_quiet_weeks_advise_risk_and_three_bad_ones_resilience() {
        assert_eq!(advise(&[10.0 / 54.0, 8.0 / 54.0, 0.0]), Advice::TakeMoreRisk);
        assert_eq!(advise(&[1.2, 1.0, 3.0]), Advice::InvestInResilience);
        assert_eq!(advise(&[0.1, 0.9, 0.1]), Advice::Keep);
        assert_eq!(advise(&[0.0, 0.0]), Advice::Keep);
    }

    #[test]
    fn a_budget_counts_requests_and_minutes() {
        let whole = budget(99.9, Duration::from_secs(28 * DAY), 100_000, 25);
        assert!((whole.allowed_requests - 100.0).abs() < 1e-6 && (whole.left_requests - 75.0).abs() < 1e-6);
        assert!((whole.left_share - 0.75).abs() < 1e-9);
        assert!((whole.allowed_minutes - 40.32).abs() < 1e-6 && (whole.left_minutes - 30.24).abs() < 1e-6);
        assert!(budget(99.9, Duration::from_secs(DAY), 1000, 5).left_share < 0.0);
        assert!((budget(99.9, Duration::from_secs(DAY), 0, 0).left_share - 1.0).abs() < 1e-9);
        assert!(budget(100.0, Duration::from_secs(DAY), 10, 1).left_share < 0.0);
    }

    #[test]
    fn the_burn_rate_is_the_share_of_errors_by_the_share_allowed() {
        assert!(
            (burn_rate(
                99.9,
                Window {
                    requests: 1000,
                    errors: 1
                }
            ) - 1.0)
                .abs()
                < 1e-9
        );
        assert!(
            (burn_rate(
                99.0,
                Window {
                    requests: 100,
                    errors: 8
                }
            ) - 8.0)
                .abs()
                < 1e-9
        );
        assert!(burn_rate(99.9, Window::default()).abs() < 1e-9);
        assert!(
            burn_rate(
                100.0,
                Window {
                    requests: 10,
                    errors: 1
                }
            ) > 1e9
        );
    }

    #[test]
    fn one_failed_request_of_two_pages_nobody() {
        let config = Config::default();
        let rule = rules(1.0)[0];
        assert_eq!(
            (rule.long, rule.short),
            (Duration::from_secs(3600), Duration::from_secs(300))
        );
        let half = Window {
            requests: 2,
            errors: 1,
        };
        assert!(!fires(rule, 99.9, half, half, &config));
        let much = Window {
            requests: 1000,
            errors: 80,
        };
        assert!(fires(rule, 99.9, much, much, &config));
        assert!(
            !fires(
                rule,
                99.9,
                much,
                Window {
                    requests: 100,
                    errors: 0
                },
                &config
            ),
            "it is over"
        );
    }

    #[test]
    fn a_demonstration_scales_the_windows_and_odd_scales_do_no_harm() {
        let [fast, slow] = rules(1.0 / 60.0);
        assert_eq!((fast.long.as_secs(), fast.short.as_secs()), (60, 20));
        assert_eq!((slow.long.as_secs(), slow.short.as_secs()), (360, 30));
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(rules(odd).iter().all(|rule| rule.long >= SHORTEST));
        }
    }

    #[test]
    fn failing_began_with_the_first_bad_bucket_of_the_last_run() {
        let at = |seconds| Timestamp::from_seconds(seconds);
        let (bad, good) = (
            Window {
                requests: 100,
                errors: 8,
            },
            Window {
                requests: 100,
                errors: 0,
            },
        );
        let buckets = [
            (at(0), bad),
            (at(10), good),
            (at(200), bad),
            (at(210), good),
            (at(220), bad),
            (at(230), bad),
        ];
        assert_eq!(began(&buckets, 99.0, Duration::from_secs(60)), Some(at(200)));
        assert_eq!(began(&buckets[1..2], 99.0, Duration::from_secs(60)), None);
    }
}
