//! The rollout's charts, as ECharts options.

use crate::{Delivery, judge, rollout::store};
use axum::{Json, extract::State};
use bascule_core::{Problem, RolloutId, Timestamp};
use bascule_web::{Answer, InProject, PathOf};
use serde_json::{Value, json};

/// Points of a chart, at most: a screen has no more pixels.
const POINTS: i64 = 1_000;
/// Slices that an error rate is taken over, so that a single error in a small slice does not fill the chart.
const SMOOTH: usize = 5;

pub(super) async fn chart(
    State(delivery): State<Delivery>,
    project: InProject,
    PathOf((_, _, id, kind)): PathOf<(String, String, RolloutId, String)>,
) -> Answer<Json<Value>> {
    let rollout = delivery.rollout_row(project.id, id).await?;
    let points = store::points(&delivery.db, id, POINTS).await?;
    let option = match kind.as_str() {
        "weight" => weight(&rollout, &points, delivery.now()),
        "errors" => errors(&rollout, &points),
        "evidence" => evidence(&points),
        _ => return Err(Problem::not_found("chart").into()),
    };
    Ok(Json(option))
}

fn frame(unit: &str, legend: &[&str], series: &[Value]) -> Value {
    json!({
        "grid": {"left": 52, "right": 16, "top": 36, "bottom": 28},
        "tooltip": {"trigger": "axis"},
        "legend": {"data": legend, "top": 0},
        "xAxis": {"type": "time", "axisLabel": {"hideOverlap": true}},
        "yAxis": {"type": "value", "min": 0, "axisLabel": {"formatter": format!("{{value}}{unit}")}},
        "series": series,
    })
}

fn milliseconds(at: Timestamp) -> i64 {
    at.micros() / 1_000
}

fn weight(rollout: &store::Rollout, points: &[store::Point], now: Timestamp) -> Value {
    let mut data: Vec<Value> = vec![json!([
        milliseconds(rollout.created_at),
        rollout.policy.0.steps.first()
    ])];
    data.extend(
        points
            .iter()
            .map(|point| json!([milliseconds(point.at), point.weight])),
    );
    data.push(json!([
        milliseconds(rollout.finished_at.unwrap_or(now)),
        rollout.weight
    ]));
    let name = format!("share of {}", rollout.version);
    let line = json!({
        "name": name, "type": "line", "step": "end", "showSymbol": false, "areaStyle": {"opacity": 0.15}, "data": data,
    });
    let mut option = frame(" %", &[&name], &[line]);
    option["yAxis"]["max"] = json!(100);
    option
}

fn errors(rollout: &store::Rollout, points: &[store::Point]) -> Value {
    let series = |name: &str, colour: &str, side: fn(&store::Point) -> (i64, i64)| {
        let data: Vec<Value> = points
            .iter()
            .enumerate()
            .map(|(at, point)| {
                let from = (at + 1).saturating_sub(SMOOTH);
                let window = points.get(from..=at).unwrap_or_default();
                let (bad, all) = window
                    .iter()
                    .map(side)
                    .fold((0, 0), |(b, a), (bad, all)| (b + bad, a + all));
                let rate = if all == 0 {
                    Value::Null
                } else {
                    json!(round(percent(bad, all)))
                };
                json!([milliseconds(point.at), rate])
            })
            .collect();
        json!({"name": name, "type": "line", "showSymbol": false, "itemStyle": {"color": colour}, "data": data})
    };
    let (new, old) = (
        format!("errors, new {}", rollout.version),
        format!("errors, old {}", rollout.baseline),
    );
    let lines = [
        series(&new, "#d63939", |point| (point.new_errors, point.new_requests)),
        series(&old, "#206bc4", |point| (point.old_errors, point.old_requests)),
    ];
    frame(" %", &[&new, &old], &lines)
}

fn evidence(points: &[store::Point]) -> Value {
    let series = |name: &str, colour: &str, value: fn(&store::Point) -> f64| {
        let data: Vec<Value> = points
            .iter()
            .map(|point| json!([milliseconds(point.at), round(value(point).max(0.001))]))
            .collect();
        json!({"name": name, "type": "line", "showSymbol": false, "itemStyle": {"color": colour}, "data": data})
    };
    let mut errors = series("it errs more", "#d63939", |point| point.error_evidence);
    errors["markLine"] = json!({
        "silent": true, "symbol": "none", "lineStyle": {"type": "dashed", "color": "#d63939"},
        "label": {"formatter": "undone", "position": "insideEndTop"}, "data": [{"yAxis": judge::THRESHOLD}],
    });
    let slow = series("it is slower", "#f59f00", |point| point.slow_evidence);
    let mut option = frame("", &["it errs more", "it is slower"], &[errors, slow]);
    option["yAxis"] = json!({"type": "log", "min": 0.01, "max": 1000});
    option
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn percent(part: i64, whole: i64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
