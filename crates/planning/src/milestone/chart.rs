//! The burn-up as SVG in the page itself: it needs no script, follows the theme by its classes, and prints.

use bascule_web::Markup;
use bascule_wire::planning::BurnUpDay;
use std::fmt::Write as _;

const WIDE: f64 = 640.0;
const HIGH: f64 = 220.0;
const LEFT: f64 = 36.0;
const FOOT: f64 = 24.0;

/// Two lines over the days: how much there was, and how much was done. `due` is drawn where it lies within. The first
/// day alone is drawn as it goes from nothing to what there is.
#[allow(clippy::cast_precision_loss, reason = "counts of issues and days")]
pub(super) fn burn_up(days: &[BurnUpDay], due: Option<&str>) -> Markup {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Markup::default();
    };
    let most = days.iter().map(|day| day.scope).max().unwrap_or(0).max(1);
    let x = |at: usize| {
        let share = if days.len() > 1 {
            at as f64 / (days.len() - 1) as f64
        } else {
            1.0
        };
        LEFT + share * (WIDE - LEFT - 8.0)
    };
    let y = |count: i64| 8.0 + (1.0 - count as f64 / most as f64) * (HIGH - FOOT - 8.0);
    let line = |of: fn(&BurnUpDay) -> i64| {
        if days.len() == 1 {
            return format!("M{LEFT:.1} {:.1}L{:.1} {:.1}", y(0), x(0), y(of(first)));
        }
        let mut path = String::new();
        for (at, day) in days.iter().enumerate() {
            // Steps: a count holds for the whole day.
            if at > 0 {
                let _ = write!(path, "H{:.1}", x(at));
            }
            let _ = write!(
                path,
                "{}{:.1}",
                if at == 0 {
                    format!("M{:.1} ", x(at))
                } else {
                    "V".to_owned()
                },
                y(of(day))
            );
        }
        path
    };
    let told = format!(
        "Burn-up from {} to {}: {} of {} issues done",
        first.day, last.day, last.done, last.scope
    );
    let mut svg = format!(
        "<svg class=\"burnup\" viewBox=\"0 0 {WIDE} {HIGH}\" role=\"img\" aria-label=\"{}\">",
        Markup::text(&told)
    );
    for count in [0, most / 2, most] {
        let at = y(count);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDE}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{count}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    if let Some(at) = due.and_then(|due| days.iter().position(|day| day.day == due)) {
        let _ = write!(
            svg,
            "<line class=\"due\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"8\" y2=\"{:.1}\"><title>due</title></line>",
            x(at),
            x(at),
            HIGH - FOOT
        );
    }
    let _ = write!(
        svg,
        "<path class=\"scope\" d=\"{}\"/><path class=\"done\" d=\"{}\"/><text x=\"{LEFT}\" y=\"{:.1}\">{}</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text></svg>",
        line(|day| day.scope),
        line(|day| day.done),
        HIGH - 6.0,
        Markup::text(&first.day),
        WIDE - 8.0,
        HIGH - 6.0,
        if days.len() > 1 {
            Markup::text(&last.day)
        } else {
            Markup::default()
        }
    );
    Markup::trusted(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_day_is_a_line_too() {
        let day = BurnUpDay {
            day: "2024-03-01".to_owned(),
            scope: 4,
            done: 1,
        };
        let svg = burn_up(&[day], Some("2024-03-01")).to_string();
        let drawn = |class: &str| {
            let (_, rest) = svg.split_once(&format!("class=\"{class}\" d=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        assert_eq!(drawn("scope"), "M36.0 196.0L632.0 8.0");
        assert_eq!(drawn("done"), "M36.0 196.0L632.0 149.0");
    }
}
