//! Charts as ECharts options.

use super::Range;
use bascule_core::Timestamp;
use bascule_wire::telemetry::{EnvironmentSignals, Signals};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Names of the charts, as they stand in the address.
pub(crate) const NAMES: [(&str, &str); 4] = [
    ("latency", "Latency"),
    ("traffic", "Traffic"),
    ("errors", "Errors"),
    ("saturation", "Saturation"),
];

/// One chart; `None` for a name that is none.
pub(crate) fn chart(
    name: &str,
    seen: &EnvironmentSignals,
    range: Range,
    span: (Timestamp, Timestamp),
) -> Option<Value> {
    let mut series = Vec::new();
    let unit = match name {
        "latency" => {
            for version in &seen.versions {
                let points: HashMap<Timestamp, &Signals> =
                    version.points.iter().map(|p| (p.at, &p.signals)).collect();
                for (quantile, pick) in QUANTILES {
                    let label = format!("{} {quantile}", version.version);
                    series.push(line(&label, range, span, |at| {
                        points.get(&at).and_then(|s| pick(s))
                    }));
                }
            }
            "ms"
        }
        "traffic" => {
            per_version(&mut series, seen, range, span, |s| {
                s.map_or(0.0, |s| s.per_second)
            });
            "requests/s"
        }
        "errors" => {
            per_version(&mut series, seen, range, span, |s| {
                s.map_or(0.0, |s| s.error_share * 100.0)
            });
            "% failed"
        }
        "saturation" => {
            #[allow(clippy::cast_precision_loss, reason = "requests in flight are few")]
            per_version(&mut series, seen, range, span, |s| {
                s.map_or(0.0, |s| s.in_flight as f64)
            });
            "in flight"
        }
        _ => return None,
    };
    Some(json!({
        "tooltip": { "trigger": "axis" },
        "legend": { "type": "scroll", "bottom": 0 },
        "grid": { "left": 56, "right": 16, "top": 32, "bottom": 48 },
        "xAxis": { "type": "time", "min": milliseconds(span.0), "max": milliseconds(span.1) },
        "yAxis": { "type": "value", "name": unit, "min": 0 },
        "series": series,
    }))
}

type Pick = fn(&Signals) -> Option<f64>;
const QUANTILES: [(&str, Pick); 3] = [
    ("p50", |s| s.p50_ms),
    ("p95", |s| s.p95_ms),
    ("p99", |s| s.p99_ms),
];

fn per_version(
    series: &mut Vec<Value>,
    seen: &EnvironmentSignals,
    range: Range,
    span: (Timestamp, Timestamp),
    pick: impl Fn(Option<&Signals>) -> f64,
) {
    for version in &seen.versions {
        let points: HashMap<Timestamp, &Signals> =
            version.points.iter().map(|p| (p.at, &p.signals)).collect();
        series.push(line(&version.version, range, span, |at| {
            Some(pick(points.get(&at).copied()))
        }));
    }
}

fn line(
    name: &str,
    range: Range,
    (from, to): (Timestamp, Timestamp),
    value: impl Fn(Timestamp) -> Option<f64>,
) -> Value {
    let mut data = Vec::new();
    let mut at = super::floor(from, range.step);
    while at < to {
        let value = value(at).map(|v| (v * 1000.0).round() / 1000.0);
        data.push(json!([milliseconds(at), value]));
        at = Timestamp::from_seconds(at.seconds() + range.step);
    }
    json!({ "name": name, "type": "line", "showSymbol": false, "data": data })
}

fn milliseconds(at: Timestamp) -> i64 {
    at.micros() / 1000
}
