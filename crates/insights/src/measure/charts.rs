//! Charts as ECharts options.

use super::{Period, store};
use crate::{Insights, Scope};
use bascule_store::Result;
use bascule_wire::insights::Insights as Dto;
use serde_json::{Value, json};

/// Charts, as they stand in the address, and as people read them.
pub(crate) const NAMES: [(&str, &str); 5] = [
    ("deployments", "Deployments to production"),
    ("lead-time", "Lead time for changes"),
    ("availability", "Availability"),
    ("mttx", "Mean times by month"),
    ("rci", "Resilient collaboration index"),
];

const DAY_MS: i64 = 86_400_000;

/// One chart; `None` for a name that is none.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts and durations stay far below 2^52"
)]
pub(crate) async fn chart(
    insights: &Insights,
    name: &str,
    scope: &Scope,
    period: Period,
    all: &Dto,
) -> Result<Option<Value>> {
    let db = &insights.db;
    Ok(Some(match name {
        "deployments" => {
            let days = store::deployments_by_day(db, scope, period).await?;
            let good: Vec<Value> = days.iter().map(|p| json!([p.day * DAY_MS, p.a])).collect();
            let bad: Vec<Value> = days.iter().map(|p| json!([p.day * DAY_MS, p.b])).collect();
            let series = json!([bars("succeeded", &good), bars("failed", &bad)]);
            by_time(period, "a day", &series)
        }
        "lead-time" => {
            let days = store::lead_by_day(db, scope, period).await?;
            let points: Vec<Value> = days
                .iter()
                .map(|p| json!([p.day * DAY_MS, hours(p.b as f64 / 1e6)]))
                .collect();
            let series = json!([{ "name": "mean lead time", "type": "line", "data": points }]);
            by_time(period, "hours", &series)
        }
        "availability" => {
            let days = store::traffic_by_day(db, scope, period).await?;
            let share = |p: &store::Point| {
                if p.a == 0 {
                    100.0
                } else {
                    100.0 * p.b as f64 / p.a as f64
                }
            };
            let points: Vec<Value> = days
                .iter()
                .map(|p| json!([p.day * DAY_MS, (share(p) * 1000.0).round() / 1000.0]))
                .collect();
            let mut option = by_time(
                period,
                "%",
                &json!([{ "name": "availability", "type": "line", "data": points }]),
            );
            option["yAxis"] = json!({ "type": "value", "name": "%", "max": 100, "scale": true });
            option
        }
        "mttx" => {
            let months: Vec<&str> = all.mttx.iter().rev().map(|month| month.month.as_str()).collect();
            let line = |label: &str, pick: fn(&bascule_wire::insights::MttxMonth) -> Option<f64>| {
                let data: Vec<Value> = all
                    .mttx
                    .iter()
                    .rev()
                    .map(|month| json!(pick(month).map(|s| (s / 6.0).round() / 10.0)))
                    .collect();
                json!({ "name": label, "type": "bar", "data": data })
            };
            let series = [
                line("detect", |m| m.detect.mean_seconds),
                line("acknowledge", |m| m.acknowledge.mean_seconds),
                line("identify", |m| m.identify.mean_seconds),
                line("repair", |m| m.repair.mean_seconds),
            ];
            by_name(&months, "minutes", &json!(series))
        }
        "rci" => {
            let quarters: Vec<&str> = all.rci.iter().rev().map(|rci| rci.quarter.as_str()).collect();
            let data: Vec<Option<f64>> = all
                .rci
                .iter()
                .rev()
                .map(|rci| rci.value.map(f64::round))
                .collect();
            by_name(
                &quarters,
                "",
                &json!([{ "name": "RCI", "type": "bar", "data": data }]),
            )
        }
        _ => return Ok(None),
    }))
}

fn hours(seconds: f64) -> f64 {
    (seconds / 36.0).round() / 100.0
}

fn bars(name: &str, data: &[Value]) -> Value {
    json!({ "name": name, "type": "bar", "stack": "all", "barMaxWidth": 24, "data": data })
}

fn by_time(period: Period, unit: &str, series: &Value) -> Value {
    json!({
        "tooltip": { "trigger": "axis" },
        "legend": { "bottom": 0 },
        "grid": { "left": 56, "right": 16, "top": 32, "bottom": 48 },
        "xAxis": { "type": "time", "min": period.from.micros() / 1000, "max": period.to.micros() / 1000 },
        "yAxis": { "type": "value", "name": unit, "min": 0 },
        "series": series,
    })
}

fn by_name(names: &[&str], unit: &str, series: &Value) -> Value {
    json!({
        "tooltip": { "trigger": "axis" },
        "legend": { "bottom": 0 },
        "grid": { "left": 72, "right": 16, "top": 32, "bottom": 48 },
        "xAxis": { "type": "category", "data": names },
        "yAxis": { "type": "value", "name": unit, "min": 0 },
        "series": series,
    })
}
