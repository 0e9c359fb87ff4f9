//! A rollout: how one deployment meets its users in steps, beside the version that served before. Pure: what
//! is known now goes in, the next decision comes out. Service and controller carry it out.

pub(crate) mod roll;
pub(crate) mod service;
pub(crate) mod sides;
pub(crate) mod store;
#[cfg(test)]
mod tests;

use crate::judge::{self, Judge, Pair, Verdict};
use crate::product::{Inconclusive, RolloutPolicy};
use bascule_core::Timestamp;
use bascule_wire::agent::InstanceState;
use std::time::Duration;

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It goes on by itself.
    Running,
    /// A person said to stay at this step. It is judged all the same.
    Paused,
    /// It could not be judged in time and waits for a person, or for traffic.
    Waiting,
    /// A person said to go on without the judge: instances are replaced as fast as they prove healthy.
    Promoting,
    /// It goes back, instance by instance.
    Undoing,
    /// The new version serves all traffic.
    Promoted,
    /// The old version serves all traffic again.
    Aborted,
    /// A newer release came before it was done.
    Superseded,
}

impl Status {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Promoting => "promoting",
            Self::Undoing => "undoing",
            Self::Promoted => "promoted",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
        }
    }

    /// Reads a stored status; what is unknown has ended.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        [
            Self::Running,
            Self::Paused,
            Self::Waiting,
            Self::Promoting,
            Self::Undoing,
            Self::Promoted,
            Self::Superseded,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .unwrap_or(Self::Aborted)
    }

    /// Whether it is over.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Promoted | Self::Aborted | Self::Superseded)
    }
}

/// What ended a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The sequential test.
    Judge,
    /// A hard limit beside it.
    Guardrail,
    /// A person.
    Person,
    /// The server was restarted and an instance did not come back.
    Restart,
    /// A newer release.
    Superseded,
}

impl Cause {
    /// As facts carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Judge => "judge",
            Self::Guardrail => "guardrail",
            Self::Person => "person",
            Self::Restart => "restart",
            Self::Superseded => "superseded",
        }
    }

    /// Reads a stored cause; what is unknown was a hard limit.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        [Self::Judge, Self::Person, Self::Restart, Self::Superseded]
            .into_iter()
            .find(|cause| cause.as_str() == text)
            .unwrap_or(Self::Guardrail)
    }
}

/// What of a rollout's state bears on the next decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Where it stands.
    pub status: Status,
    /// Index of the present step.
    pub step: usize,
    /// When the present step began.
    pub step_at: Timestamp,
    /// Whether it was said that this step is extended.
    pub extended: bool,
    /// Set after a restart of the server until both instances were seen healthy again.
    pub recovering_at: Option<Timestamp>,
    /// The new instances' restarts when it was exposed, or when it came back after a restart of the server.
    pub base_restarts: u32,
    /// Whether the policy's pause at this step was begun; only a person goes on from it.
    pub held: bool,
}

/// What agents last said of a side's instances, taken together: the worst of them speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its state.
    pub state: InstanceState,
    /// Since when.
    pub since: Timestamp,
    /// Its restarts.
    pub restarts: u32,
    /// When the agent said so.
    pub reported_at: Option<Timestamp>,
    /// Why, in its words.
    pub message: String,
}

impl Seen {
    /// Whether all are healthy by word that came since.
    #[must_use]
    pub fn back(&self, since: Timestamp) -> bool {
        self.state == InstanceState::Healthy && self.reported_at.is_some_and(|reported| reported >= since)
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Stay,
    /// Both instances are back after a restart of the server; go on.
    Recovered,
    /// Take the next step.
    Step(String),
    /// Stay longer at this step, and say why once.
    Extend(String),
    /// Wait for a person, and say why once.
    Ask(String),
    /// The step passed, and the policy waits for a person here.
    Hold(String),
    /// All traffic to the new version.
    Promote(String),
    /// All traffic back to the old version.
    Undo(Cause, String),
}

/// Time that instances get to come back after a restart of the server.
pub const RECOVERY_GRACE: Duration = Duration::from_secs(30);
/// Time that a new instance may fail its health check before it is undone.
pub const UNHEALTHY_GRACE: Duration = Duration::from_secs(5);
/// Time after a slice's end until its counts have arrived.
pub const SLICE_LAG: Duration = Duration::from_millis(1_500);
/// How far the guardrail looks back.
pub const GUARD_LOOK_BACK: Duration = Duration::from_secs(judge::GUARD_WINDOW_SECONDS);
/// How far the error budget's hard limit looks back.
pub const BURN_LOOK_BACK: Duration = Duration::from_secs(judge::BURN_WINDOW_SECONDS);
const SECOND: i64 = 1_000_000;

/// What to do next with a rollout that has not ended. `recent` holds the last seconds for the
/// guardrail, and those for the error budget's hard limit.
#[must_use]
pub fn decide(
    now: Timestamp,
    policy: &RolloutPolicy,
    progress: &Progress,
    (new, old): (&Seen, &Seen),
    judge: &Judge,
    (recent, minute): (&[Pair], &[Pair]),
) -> Decision {
    if let Some(since) = progress.recovering_at {
        return recover(now, since, new, old);
    }
    if let Some((cause, reason)) = condemned(now, policy, progress, new, judge, (recent, minute)) {
        return Decision::Undo(cause, reason);
    }
    if progress.status == Status::Paused
        || now.since(progress.step_at) < Duration::from_millis(policy.time_at(progress.step))
    {
        return Decision::Stay;
    }
    match judge.verdict() {
        Verdict::Fail(reason) => Decision::Undo(Cause::Judge, reason),
        Verdict::Pass(reason) => onward(policy, progress, reason),
        Verdict::Extend(reason) => extend(now, policy, progress, (new, judge), reason),
    }
}

/// Why a version must be undone at once, if it must.
pub(crate) fn condemned(
    now: Timestamp,
    policy: &RolloutPolicy,
    progress: &Progress,
    new: &Seen,
    judge: &Judge,
    (recent, minute): (&[Pair], &[Pair]),
) -> Option<(Cause, String)> {
    let hard = broken(now, progress, new)
        .or_else(|| judge::guardrail(recent))
        .or_else(|| policy.burn.and_then(|burn| judge::burns(minute, burn)));
    match hard {
        Some(reason) => Some((Cause::Guardrail, reason)),
        None => judge.failed().map(|reason| (Cause::Judge, reason)),
    }
}

/// The share of traffic at a step; beyond the last it is all.
#[must_use]
pub fn weight_at(policy: &RolloutPolicy, step: usize) -> u32 {
    policy.steps.get(step).copied().unwrap_or(100).min(100)
}

fn onward(policy: &RolloutPolicy, progress: &Progress, reason: String) -> Decision {
    if policy.pauses.contains(&progress.step) && !progress.held {
        return Decision::Hold(reason);
    }
    if weight_at(policy, progress.step + 1) >= 100 {
        Decision::Promote(reason)
    } else {
        Decision::Step(reason)
    }
}

fn extend(
    now: Timestamp,
    policy: &RolloutPolicy,
    progress: &Progress,
    (new, judge): (&Seen, &Judge),
    reason: String,
) -> Decision {
    if now.since(progress.step_at) < Duration::from_millis(policy.max_ms) {
        return if progress.extended {
            Decision::Stay
        } else {
            Decision::Extend(reason)
        };
    }
    let quiet = new.state == InstanceState::Healthy && judge.suspicion().is_none();
    match policy.inconclusive.unwrap_or(Inconclusive::Ask) {
        _ if progress.status == Status::Waiting => Decision::Stay,
        Inconclusive::Quiet if quiet => onward(
            policy,
            progress,
            format!("healthy, and the smoke test passed; {reason}"),
        ),
        Inconclusive::Ask | Inconclusive::Quiet => Decision::Ask(reason),
        Inconclusive::Abort => Decision::Undo(Cause::Judge, format!("not judged in time: {reason}")),
        Inconclusive::Promote => onward(
            policy,
            progress,
            format!("taken on although not judged: {reason}"),
        ),
    }
}

fn recover(now: Timestamp, since: Timestamp, new: &Seen, old: &Seen) -> Decision {
    let back = |seen: &Seen| seen.back(since);
    if back(new) && back(old) {
        return Decision::Recovered;
    }
    if now.since(since) < RECOVERY_GRACE {
        return Decision::Stay;
    }
    let who = if back(new) { "old" } else { "new" };
    Decision::Undo(
        Cause::Restart,
        format!(
            "the server was restarted and the {who} instance was not healthy again within {} seconds",
            RECOVERY_GRACE.as_secs()
        ),
    )
}

pub(crate) fn broken(now: Timestamp, progress: &Progress, new: &Seen) -> Option<String> {
    let with = |what: &str| {
        let line = new.message.lines().next().unwrap_or_default();
        if line.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {line}")
        }
    };
    match new.state {
        InstanceState::Crashed => Some(with("the new instance crashed")),
        InstanceState::Failed => Some(with("the new instance failed")),
        InstanceState::Stopped => Some(with("the new instance stopped")),
        _ if new.restarts > progress.base_restarts => {
            Some(with("the new instance crashed and was started again"))
        }
        InstanceState::Unhealthy if now.since(new.since) >= UNHEALTHY_GRACE => {
            Some(with("the new instance fails its health check"))
        }
        _ => None,
    }
}

/// Where the slices of a step begin: at the second full second after the step, so that the second in which
/// the weight changed, and the way to the edge, are left out.
#[must_use]
pub fn first_slice(step_at: Timestamp) -> Timestamp {
    Timestamp::from_micros((step_at.micros().div_euclid(SECOND) + 2) * SECOND)
}

/// What one side did in one second, as an edge counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// The second's beginning.
    pub at: Timestamp,
    /// Whether it is the new version's.
    pub new: bool,
    /// What it did.
    pub counts: judge::Counts,
}

/// A finished slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedSlice {
    /// Its beginning.
    pub at: Timestamp,
    /// Its end: what is before this has been judged.
    pub end: Timestamp,
    /// What both sides did.
    pub pair: Pair,
}

/// Puts seconds together into the slices that have ended, from `from` (a slice's beginning) on. Empty slices
/// between are given too, so that the chart shows the gap; the judge leaves them out by itself.
#[must_use]
pub fn closed_slices(seconds: &[Second], from: Timestamp, slice_ms: u64, now: Timestamp) -> Vec<ClosedSlice> {
    /// A server that slept through more than this judges the rest of it next time.
    const MOST: i64 = 600;
    let length = i64::try_from(slice_ms.max(1)).unwrap_or(1).saturating_mul(1_000);
    let ready = now.minus(SLICE_LAG).micros().saturating_sub(from.micros());
    let count = ready.div_euclid(length).clamp(0, MOST);
    let mut slices: Vec<ClosedSlice> = (0..count)
        .map(|n| ClosedSlice {
            at: Timestamp::from_micros(from.micros() + n * length),
            end: Timestamp::from_micros(from.micros() + (n + 1) * length),
            pair: Pair::default(),
        })
        .collect();
    for second in seconds {
        let index = (second.at.micros() - from.micros()).div_euclid(length);
        let Some(slice) = usize::try_from(index)
            .ok()
            .and_then(|index| slices.get_mut(index))
        else {
            continue;
        };
        let side = if second.new {
            &mut slice.pair.new
        } else {
            &mut slice.pair.old
        };
        side.add(second.counts);
    }
    slices
}

/// The seconds as pairs, for the guardrail: those since `from`.
#[must_use]
pub fn recent_pairs(seconds: &[Second], from: Timestamp) -> Vec<Pair> {
    let mut pairs = std::collections::BTreeMap::<Timestamp, Pair>::new();
    for second in seconds.iter().filter(|second| second.at >= from) {
        let pair = pairs.entry(second.at).or_default();
        let side = if second.new { &mut pair.new } else { &mut pair.old };
        side.add(second.counts);
    }
    pairs.into_values().collect()
}
