//! Charts as SVG in the page itself: they need no script, follow the theme by their classes, and print.

use super::many;
use bascule_core::Timestamp;
use bascule_web::Markup;
use bascule_wire::views::StateCount;
use std::fmt::Write as _;

/// One part of a bar.
pub(super) struct Part {
    /// Class that gives its colour.
    pub class: String,
    /// What it is called.
    pub label: String,
    /// How much it is.
    pub count: i64,
}

/// Counts of states as parts of a bar.
pub(super) fn parts(counts: &[StateCount]) -> Vec<Part> {
    counts
        .iter()
        .map(|counted| Part {
            class: format!("fill s-{}", counted.state),
            label: many(&counted.state, counted.count),
            count: counted.count,
        })
        .collect()
}

/// A bar of parts, as wide as it may be.
pub(super) fn bar(title: &str, parts: &[Part]) -> Markup {
    let all: i64 = parts.iter().map(|part| part.count).sum();
    let told: Vec<String> = parts
        .iter()
        .map(|part| format!("{} {}", part.count, part.label))
        .collect();
    let label = if told.is_empty() {
        format!("{title}: none")
    } else {
        format!("{title}: {}", told.join(", "))
    };
    let mut svg = format!(
        "<svg class=\"statebar\" role=\"img\" aria-label=\"{}\" preserveAspectRatio=\"none\">",
        Markup::text(&label)
    );
    let mut at = 0.0;
    for part in parts {
        let wide = percent(part.count, all);
        let _ = write!(
            svg,
            "<rect class=\"{}\" x=\"{at:.3}%\" y=\"0\" width=\"{wide:.3}%\" height=\"100%\"><title>{} {}</title></rect>",
            Markup::text(&part.class),
            part.count,
            Markup::text(&part.label)
        );
        at += wide;
    }
    svg.push_str("</svg>");
    Markup::trusted(svg)
}

/// A stretch of time on a line.
pub(super) struct Span {
    /// From.
    pub from: Timestamp,
    /// To.
    pub to: Timestamp,
    /// Class that gives its colour.
    pub class: &'static str,
    /// What it is.
    pub label: String,
}

/// A line of a calendar.
pub(super) struct Row {
    /// Whose it is.
    pub label: String,
    /// Where it leads; empty: nowhere.
    pub href: String,
    /// What is on it.
    pub spans: Vec<Span>,
}

/// Heights in pixels: of the days' names, of a row.
const HEAD: usize = 22;
const HIGH: usize = 26;
/// Where the lines begin, in percent of the width; the names stand before.
const LEFT: f64 = 18.0;

/// What a calendar shows.
pub(super) struct Frame<'a> {
    /// From.
    pub from: Timestamp,
    /// To.
    pub to: Timestamp,
    /// The present, within it.
    pub now: Timestamp,
    /// The time zone of its days.
    pub zone: &'a str,
}

impl<'a> Frame<'a> {
    /// The days ahead, with a little of what was, so that the present is seen.
    pub fn ahead(now: Timestamp, to: Timestamp, zone: &'a str) -> Self {
        Self {
            from: now.minus(to.since(now) / 28),
            to,
            now,
            zone,
        }
    }
}

/// When the days between two moments begin in a time zone, and what they are called; in UTC where there is no such zone.
fn midnights(frame: &Frame<'_>) -> Vec<(Timestamp, String)> {
    let from = frame.from.to_jiff();
    let mut all = Vec::new();
    let Ok(mut day) = from.in_tz(frame.zone).or_else(|_| from.in_tz("UTC")) else {
        return all;
    };
    while let Ok(next) = day.tomorrow().and_then(|next| next.start_of_day()) {
        let at = Timestamp::from_seconds(next.timestamp().as_second());
        if at >= frame.to {
            break;
        }
        all.push((at, next.strftime("%a %-d").to_string()));
        day = next;
    }
    all
}

/// Rows of stretches of time between two moments, with a mark for each day and for the present.
pub(super) fn timeline(title: &str, rows: &[Row], frame: &Frame<'_>) -> Markup {
    let height = HEAD + HIGH * rows.len();
    let Frame { from, to, now, .. } = *frame;
    let x = |at: Timestamp| {
        let share = percent(at.micros() - from.micros(), to.micros() - from.micros());
        LEFT + share.clamp(0.0, 100.0) * (100.0 - LEFT) / 100.0
    };
    let mut svg = format!(
        "<svg class=\"timeline\" role=\"img\" aria-label=\"{}\" height=\"{height}\">",
        Markup::text(title)
    );
    let midnights = midnights(frame);
    // Names of days that would stand on each other are left out, on a phone more of them.
    let every = if midnights.len() > 10 { 2 } else { 1 };
    for (day, (at, name)) in midnights.iter().enumerate() {
        let left = x(*at);
        let _ = write!(
            svg,
            "<line class=\"tick\" x1=\"{left:.3}%\" x2=\"{left:.3}%\" y1=\"0\" y2=\"100%\"/>"
        );
        if day.is_multiple_of(every) && left < 95.0 {
            let sparse = if day.is_multiple_of(every * 3) {
                ""
            } else {
                " hide-phone"
            };
            let _ = write!(
                svg,
                "<text class=\"day{sparse}\" x=\"{left:.3}%\" dx=\"4\" y=\"14\">{name}</text>"
            );
        }
    }
    for (index, row) in rows.iter().enumerate() {
        let top = HEAD + HIGH * index;
        let name = Markup::text(&row.label);
        let middle = top + HIGH / 2 + 5;
        let _ = write!(
            svg,
            "<line class=\"base\" x1=\"{LEFT}%\" x2=\"100%\" y1=\"{0}\" y2=\"{0}\"/>",
            top + HIGH / 2
        );
        let text = format!("<text class=\"name\" x=\"0\" y=\"{middle}\">{name}</text>");
        if row.href.is_empty() {
            svg.push_str(&text);
        } else {
            let _ = write!(svg, "<a href=\"{}\">{text}</a>", Markup::text(&row.href));
        }
        for span in row.spans.iter().filter(|span| span.to > from && span.from < to) {
            let (left, right) = (x(span.from), x(span.to));
            let _ = write!(
                svg,
                "<rect class=\"{}\" x=\"{left:.3}%\" y=\"{}\" width=\"{:.3}%\" height=\"{}\" rx=\"3\"><title>{}</title></rect>",
                span.class,
                top + 5,
                (right - left).max(0.4),
                HIGH - 10,
                Markup::text(&span.label)
            );
        }
    }
    let left = x(now);
    let _ = write!(
        svg,
        "<line class=\"now\" x1=\"{left:.3}%\" x2=\"{left:.3}%\" y1=\"0\" y2=\"100%\"><title>now</title></line></svg>"
    );
    Markup::trusted(svg)
}

#[allow(clippy::cast_precision_loss, reason = "shown, not counted with")]
fn percent(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_its_counts_and_fills_its_width() {
        let part = |class: &str, count| Part {
            class: class.into(),
            label: class.into(),
            count,
        };
        let bar = bar("Installs", &[part("a", 3), part("<b>", 1)]).to_string();
        assert!(
            bar.contains("aria-label=\"Installs: 3 a, 1 &#60;b&#62;\""),
            "{bar}"
        );
        assert!(
            bar.contains("width=\"75.000%\"") && bar.contains("x=\"75.000%\""),
            "{bar}"
        );
    }

    #[test]
    fn a_timeline_keeps_what_is_within_it_and_marks_each_day() {
        let at = |hours: i64| Timestamp::from_seconds(hours * 3_600);
        let span = |from, to| Span {
            from: at(from),
            to: at(to),
            class: "window",
            label: format!("{from} to {to}"),
        };
        let row = Row {
            label: "site-7".into(),
            href: "/plans/site-7".into(),
            spans: vec![span(-10, -5), span(10, 20), span(90, 100)],
        };
        let frame = Frame {
            from: at(0),
            to: at(72),
            now: at(36),
            zone: "UTC",
        };
        let svg = timeline("Windows", &[row], &frame).to_string();
        assert!(
            svg.contains("10 to 20") && !svg.contains("-10 to") && !svg.contains("90 to"),
            "{svg}"
        );
        assert_eq!(svg.matches("class=\"tick\"").count(), 2, "{svg}");
        // Half-way between the names' end and the right edge.
        assert!(svg.contains("class=\"now\" x1=\"59.000%\""), "{svg}");
        // A day of Paris begins an hour before one of UTC.
        let paris = Frame {
            zone: "Europe/Paris",
            ..frame
        };
        assert_eq!(midnights(&frame)[0], (at(24), "Fri 2".to_owned()));
        assert_eq!(midnights(&paris)[0], (at(23), "Fri 2".to_owned()));
    }
}
