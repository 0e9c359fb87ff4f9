//! The section `rollout:` of a product file.

use super::parse::choice;
use super::values::{Fields, duration, list, text, whole};
use super::yaml::{Node, Value, error};
use super::{Burn, Inconclusive, ProductError, RolloutPolicy, Slo, Strategy};

type Read<T> = Result<T, ProductError>;

const MINUTE: u64 = 60_000;
const STEPS: &str = "rising percentages such as [10, 25, 50, 100]";
const CANARY: &str =
    "shares with a time, and pauses: [{weight: 5, time: 2m}, {pause: true}, {weight: 25, time: 10m}]";
const KEYS: &[&str] = &[
    "strategy",
    "steps",
    "step",
    "slice",
    "max",
    "inconclusive",
    "burn",
];

pub(super) fn rollout(node: Option<Node>, slo: &Slo) -> Read<RolloutPolicy> {
    let mut policy = RolloutPolicy::default();
    let Some(node) = node else { return Ok(policy) };
    let mut fields = Fields::of(node, "rollout", KEYS)?;
    if let Some(node) = fields.take("strategy") {
        let choices = [("blue_green", Strategy::BlueGreen), ("canary", Strategy::Canary)];
        policy.strategy = choice(&node, "rollout.strategy", &choices)?;
    }
    let mut shortest = None;
    if let Some(node) = fields.take("step") {
        policy.step_ms = duration(&node, "rollout.step", "1s", "7d")?;
        shortest = Some(policy.step_ms);
    }
    if let Some(node) = fields.take("steps") {
        steps(node, &mut policy)?;
        let own = policy.times.iter().copied().min();
        shortest = shortest.into_iter().chain(own).min();
    }
    let longest = policy.times.iter().copied().fold(policy.step_ms, u64::max);
    if let Some(shortest) = shortest {
        policy.max_ms = longest.saturating_mul(3);
        // A step too short to hold some minutes is judged by the second.
        policy.slice_ms = if shortest < 5 * MINUTE { 1_000 } else { MINUTE };
    }
    if let Some(node) = fields.take("slice") {
        policy.slice_ms = choice(&node, "rollout.slice", &[("1s", 1_000), ("1m", MINUTE)])?;
    }
    if let Some(node) = fields.take("max") {
        let at = node.at;
        policy.max_ms = duration(&node, "rollout.max", "1s", "28d")?;
        if policy.max_ms < longest {
            return Err(error(
                at,
                "rollout.max is shorter than rollout.step",
                "at least as long as a step",
            ));
        }
    }
    if let Some(node) = fields.take("inconclusive") {
        let choices = [
            ("ask", Inconclusive::Ask),
            ("abort", Inconclusive::Abort),
            ("promote", Inconclusive::Promote),
        ];
        policy.inconclusive = choice(&node, "rollout.inconclusive", &choices)?;
    }
    if let Some(node) = fields.take("burn") {
        let rate = whole(&node, "rollout.burn", 2, 10_000)?;
        policy.burn = Some(Burn {
            rate: u32::try_from(rate).unwrap_or(u32::MAX),
            budget_ppm: budget_ppm(slo),
        });
    }
    Ok(policy)
}

/// The errors that a promise allows, in a million requests; at least one.
fn budget_ppm(slo: &Slo) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a million"
    )]
    let ppm = ((100.0 - slo.availability) * 10_000.0).round().clamp(1.0, 1e6) as u32;
    ppm
}

/// Plain numbers, or for a canary mappings with `weight` and `time`, or `pause: true` after one of them.
fn steps(node: Node, policy: &mut RolloutPolicy) -> Read<()> {
    let at = node.at;
    let canary = policy.strategy == Strategy::Canary;
    let allowed = if canary { CANARY } else { STEPS };
    let usual = policy.step_ms;
    let (mut shares, mut times): (Vec<u32>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut own_times = false;
    policy.pauses.clear();
    for node in list(node, "rollout.steps", allowed, 20)? {
        let at = node.at;
        let (share, time) = match node.value {
            Value::Map(_) if !canary => {
                return Err(error(
                    at,
                    "only a canary's step is a mapping",
                    "strategy: canary, or a percentage",
                ));
            }
            Value::Map(_) => {
                let mut fields = Fields::of(node, "a step", &["weight", "time", "pause"])?;
                if let Some(pause) = fields.take("pause") {
                    pause_after(&pause, &mut fields, shares.len(), policy)?;
                    continue;
                }
                let weight = fields.need("weight", CANARY)?;
                let time = fields.take("time");
                own_times |= time.is_some();
                let time = time.map_or(Ok(usual), |n| duration(&n, "time", "1s", "7d"))?;
                (whole(&weight, "weight", 1, 100)?, time)
            }
            _ => (whole(&node, "a step", 1, 100)?, usual),
        };
        let share = u32::try_from(share).unwrap_or(100);
        if shares.last().is_some_and(|last| *last >= share) {
            return Err(error(at, format!("the step {share} does not rise"), allowed));
        }
        shares.push(share);
        times.push(time);
    }
    match shares.last() {
        None => return Err(error(at, "rollout.steps is empty", allowed)),
        Some(100) => {}
        Some(_) => shares.push(100),
    }
    policy.steps = shares;
    policy.times = if own_times { times } else { Vec::new() };
    Ok(())
}

fn pause_after(pause: &Node, fields: &mut Fields, steps: usize, policy: &mut RolloutPolicy) -> Read<()> {
    let alone = fields.take("weight").is_none() && fields.take("time").is_none();
    if text(pause, "pause", 10)? != "true" || !alone {
        return Err(error(pause.at, "a pause stands alone", "{pause: true}"));
    }
    let Some(step) = steps.checked_sub(1) else {
        return Err(error(pause.at, "a pause comes after a share of traffic", CANARY));
    };
    if policy.pauses.last() != Some(&step) {
        policy.pauses.push(step);
    }
    Ok(())
}
