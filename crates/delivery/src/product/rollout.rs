//! The section `rollout:` of a product file.

use super::parse::choice;
use super::values::{Fields, duration, list, text, whole};
use super::yaml::{Node, Value, error};
use super::{Burn, Inconclusive, ProductError, REPLICAS, RolloutPolicy, Slo, Strategy};

type Read<T> = Result<T, ProductError>;

const MINUTE: u64 = 60_000;
const STEPS: &str = "rising percentages such as [10, 25, 50, 100]";
const CANARY: &str =
    "shares with a time, and pauses: [{weight: 5, time: 2m}, {pause: true}, {weight: 25, time: 10m}]";
const KEYS: &[&str] = &[
    "replicas",
    "strategy",
    "steps",
    "step",
    "slice",
    "max",
    "inconclusive",
    "burn",
    "baseline",
    "max_surge",
    "max_unavailable",
];
/// Keys of the outer section alone.
const TIERS: [&str; 2] = ["staging", "production"];
/// Least time between two batches of a rolling replacement, where the file sets none.
const ROLLING_STEP: u64 = MINUTE;

/// The section, which production follows, with what `staging:` and `production:` in it change.
pub(super) fn rollout(node: Option<Node>, slo: &Slo) -> Read<RolloutPolicy> {
    let mut policy = RolloutPolicy::default();
    let Some(node) = node else { return Ok(policy) };
    let keys: Vec<&str> = KEYS.iter().copied().chain(TIERS).collect();
    let mut fields = Fields::of(node, "rollout", &keys)?;
    let tiers = TIERS.map(|tier| (tier, fields.take(tier)));
    settings(&mut fields, "rollout", &mut policy, slo)?;
    let base = policy.clone();
    for (tier, node) in tiers {
        let Some(node) = node else { continue };
        let name = format!("rollout.{tier}");
        let staging = tier == "staging";
        let mut own = if staging {
            base.clone().at_once()
        } else {
            base.clone()
        };
        settings(&mut Fields::of(node, &name, KEYS)?, &name, &mut own, slo)?;
        if staging {
            policy.staging = Some(Box::new(own));
        } else {
            policy = RolloutPolicy {
                staging: policy.staging,
                ..own
            };
        }
    }
    Ok(policy)
}

fn settings(fields: &mut Fields, name: &str, policy: &mut RolloutPolicy, slo: &Slo) -> Read<()> {
    if let Some(node) = fields.take("replicas") {
        policy.replicas = number(&node, &format!("{name}.replicas"), 1)?;
    }
    if let Some(node) = fields.take("strategy") {
        let choices = [
            ("blue_green", Strategy::BlueGreen),
            ("canary", Strategy::Canary),
            ("rolling", Strategy::Rolling),
            ("recreate", Strategy::Recreate),
        ];
        let before = policy.strategy;
        policy.strategy = choice(&node, &format!("{name}.strategy"), &choices)?;
        if policy.strategy != before {
            begin_anew(policy);
        }
    }
    let mut shortest = None;
    if let Some(node) = fields.take("step") {
        policy.step_ms = duration(&node, &format!("{name}.step"), "1s", "7d")?;
        shortest = Some(policy.step_ms);
    }
    if let Some(node) = fields.take("steps") {
        if !policy.strategy.in_shares() {
            return Err(error(
                node.at,
                format!("{name}.steps has no meaning with {}", policy.strategy.as_str()),
                "steps with blue_green and canary; a rolling replacement goes by instances",
            ));
        }
        steps(node, policy, name)?;
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
        policy.slice_ms = choice(&node, &format!("{name}.slice"), &[("1s", 1_000), ("1m", MINUTE)])?;
    }
    if let Some(node) = fields.take("max") {
        let at = node.at;
        policy.max_ms = duration(&node, &format!("{name}.max"), "1s", "28d")?;
        if policy.max_ms < longest {
            return Err(error(
                at,
                format!("{name}.max is shorter than {name}.step"),
                "at least as long as a step",
            ));
        }
    }
    if let Some(node) = fields.take("inconclusive") {
        let choices = [
            ("ask", Inconclusive::Ask),
            ("abort", Inconclusive::Abort),
            ("promote", Inconclusive::Promote),
            ("quiet", Inconclusive::Quiet),
        ];
        policy.inconclusive = Some(choice(&node, &format!("{name}.inconclusive"), &choices)?);
    }
    if let Some(node) = fields.take("burn") {
        let rate = whole(&node, &format!("{name}.burn"), 2, 10_000)?;
        policy.burn = Some(Burn {
            rate: u32::try_from(rate).unwrap_or(u32::MAX),
            budget_ppm: budget_ppm(slo),
        });
    }
    if let Some(node) = fields.take("baseline") {
        let at = node.at;
        let choices = [("serving", false), ("fresh", true)];
        policy.fresh = choice(&node, &format!("{name}.baseline"), &choices)?;
        if policy.fresh && !policy.strategy.in_shares() {
            return Err(error(
                at,
                format!(
                    "{name}.baseline cannot be `fresh` with {}",
                    policy.strategy.as_str()
                ),
                "fresh with blue_green and canary",
            ));
        }
    }
    surge(fields, name, policy)
}

/// Another strategy than the outer section's takes nothing over that only that one knows.
fn begin_anew(policy: &mut RolloutPolicy) {
    let usual = RolloutPolicy::default();
    policy.pauses.clear();
    policy.times.clear();
    policy.steps = usual.steps;
    policy.fresh = false;
    (policy.step_ms, policy.slice_ms, policy.max_ms) = if policy.strategy == Strategy::Rolling {
        (ROLLING_STEP, 1_000, 3 * ROLLING_STEP)
    } else {
        (usual.step_ms, usual.slice_ms, usual.max_ms)
    };
}

fn surge(fields: &mut Fields, name: &str, policy: &mut RolloutPolicy) -> Read<()> {
    let rolling = policy.strategy == Strategy::Rolling;
    let mut last = None;
    for key in ["max_surge", "max_unavailable"] {
        let Some(node) = fields.take(key) else { continue };
        if !rolling {
            return Err(error(
                node.at,
                format!("{name}.{key} has no meaning with {}", policy.strategy.as_str()),
                "max_surge and max_unavailable with strategy: rolling",
            ));
        }
        let count = number(&node, &format!("{name}.{key}"), 0)?;
        if key == "max_surge" {
            policy.max_surge = count;
        } else {
            policy.max_unavailable = count;
        }
        last = Some(node.at);
    }
    match last {
        Some(at) if policy.max_surge == 0 && policy.max_unavailable == 0 => Err(error(
            at,
            format!("{name}: nothing could ever be replaced"),
            "max_surge or max_unavailable above 0",
        )),
        Some(at) if policy.max_unavailable >= policy.replicas && policy.replicas > 1 => Err(error(
            at,
            format!("{name}.max_unavailable leaves no instance in service"),
            "less than replicas; or strategy: recreate",
        )),
        _ => Ok(()),
    }
}

fn number(node: &Node, what: &str, least: u64) -> Read<u32> {
    let number = whole(node, what, least, u64::from(REPLICAS))?;
    Ok(u32::try_from(number).unwrap_or(REPLICAS))
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
fn steps(node: Node, policy: &mut RolloutPolicy, name: &str) -> Read<()> {
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
        None => return Err(error(at, format!("{name}.steps is empty"), allowed)),
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
