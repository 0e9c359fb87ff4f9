//! Whether a new version does worse than the one it would replace, asked again after every slice of time
//! without ever losing the bound on false alarms.
//!
//! # Why not compare rates
//! Looking again and again at a difference of rates, and undoing when it is "significant", rolls back
//! healthy versions in 11 to 24 % of rollouts: every look is another chance to be unlucky. This judge may
//! look after every slice, for as long as it likes, and rolls back a healthy version in less than
//! [`ALPHA`] of all rollouts.
//!
//! # The test
//! The unit of observation is the *instance-slice*: what one instance did in one second or one minute.
//! Errors come in bursts, so requests are not independent, but which of two equal instances a burst hits is
//! a coin toss. For a slice in which both answered:
//!
//! 1. The larger side is thinned to the smaller's number of requests *m* by a draw without replacement.
//!    If the versions are equal, the pair of error counts (a, b) may now be swapped without changing its
//!    distribution, however bursty the errors are and however unequal the weights.
//! 2. The margin is forgiven: g errors, a Poisson draw with mean margin·m, are added to the old side's, so
//!    that a version worse by just the margin looks equal. t = (a − b − g) / √(a + b + g + 1). For g = 0 the
//!    swap changes the sign of t and nothing else, so every odd function of t has mean zero; t falls as g
//!    grows, so with a margin the mean is less.
//! 3. The slice's score is x = E\[tanh(c·t)\], between −1 and 1, the mean taken over all draws of steps 1 and 2
//!    instead of over one (a mean of fair bets is a fair bet, it wastes no data, and the result does not hang on
//!    chance). With c = 3 it is nearly a sign: one slice, however terrible, is one observation.
//! 4. A gambler stakes a share k of what he holds: the slice's factor is 1 + k·x, so E\[factor | past\] ≤ 1 when
//!    the new version is no worse. He begins with 1, split over three shares k and over all slices at which the
//!    trouble might begin (share 1/(s(s+1)) for slice s, the rest unspent): per k
//!    R ← (R + share)·(1 + k·x), evidence = weighted mean of R + unspent share. A product of such factors, and every
//!    fixed mixture of such products, is a nonnegative supermartingale that starts at 1, so by Ville's inequality
//!    P(evidence ever ≥ 1/α) ≤ α. The split over beginnings costs 2·ln s at worst, and keeps a long quiet
//!    time before from hiding what comes after.
//!
//! The shares are the answer to bursts: whoever stakes all (k = 1) learns fastest from steady errors, and is ruined
//! by one burst on the old side; whoever stakes 0.4 loses less than half in it and goes on. Measured at 200 requests
//! a minute with bursts in 5 % of the minutes of either side: 99 % of rises from 0.5 to 2.5 % caught, where staking
//! all caught 56 %.
//!
//! # Before a pass
//! Undoing needs proof; going on needs that nothing points the other way. So a step is extended where the evidence
//! has risen, or where the scores *lean*: their sum since it was last zero, divided by the root of the sum of their
//! squares. The squares are the spread that was seen, so bursts widen it by themselves and no rate or distribution
//! is supposed. An extension costs time and never undoes anything, so this need not be (and is not) valid at any
//! time of looking: at 200 requests a minute one healthy rollout of a hundred waits for a person.
//!
//! Errors and slow requests are tested apart with α/2 each, hence [`THRESHOLD`].
//!
//! # What it assumes
//! That the edge sends requests to instances without regard to what they ask, and that within a slice the
//! weights stand still (slices are aligned to the steps of the rollout, and the slice in which the weight
//! changed is left out). A single instance that fails for many slices on end is taken for a failing version.

pub mod simulate;
mod stats;
#[cfg(test)]
mod tests;

use crate::product::Burn;
use bascule_ledger::facts::delivery::JudgeNumbers;
use serde::{Deserialize, Serialize};

/// Share of healthy versions that may be rolled back.
pub const ALPHA: f64 = 0.01;
/// Evidence at which a version is undone: half of [`ALPHA`] for errors, half for slow requests.
pub const THRESHOLD: f64 = 2.0 / ALPHA;
/// Evidence above which a step is not passed but extended: four times is worth another look.
pub const SUSPICION: f64 = 4.0;
/// Lean above which a step is not passed but extended, in standard deviations as they were seen.
pub const LEAN: f64 = 1.5;
/// A rise of the error rate that is tolerated.
pub const ERROR_MARGIN: f64 = 0.002;
/// A rise of the share of slow requests that is tolerated.
pub const SLOW_MARGIN: f64 = 0.05;
/// Slices at the beginning whose slow requests do not count: caches and compilers warm up.
pub const WARM_UP_SLICES: u64 = 3;
/// Slices that a step must have seen before it is passed.
pub const STEP_SLICES: u64 = 3;
/// Requests that the new version must have answered in a step before it is passed.
pub const STEP_REQUESTS: u64 = 20;

/// How sharply a slice's score tells the sides apart: nearly a sign, so that a burst counts as one observation.
const SHARPNESS: f64 = 3.0;
/// What share of his money the gambler stakes on each slice: careful where errors come in bursts, bold where they
/// are steady.
const STAKES: [f64; 3] = [0.4, 0.7, 0.95];
/// What of the money is played at each of these.
const PURSES: [f64; 3] = [0.3, 0.3, 0.4];

/// What one side did in one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests answered.
    pub requests: u64,
    /// Of these, errors.
    pub errors: u64,
    /// Of these, slow.
    pub slow: u64,
}

impl Counts {
    /// Adds another count to this one.
    pub const fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.slow = self.slow.saturating_add(other.slow);
    }

    /// Share of errors.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        ratio(self.errors, self.requests)
    }

    /// Share of slow requests.
    #[must_use]
    pub fn slow_rate(&self) -> f64 {
        ratio(self.slow, self.requests)
    }

    /// The same with parts no larger than the whole, whatever an edge may send.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            requests: self.requests,
            errors: self.errors.min(self.requests),
            slow: self.slow.min(self.requests),
        }
    }
}

/// What both sides did in the same slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The new version.
    pub new: Counts,
    /// The version that served before.
    pub old: Counts,
}

/// Evidence on one question, as gambled so far. What an older version of the platform had gambled under the name
/// `held` is not read: the game begins anew with what it left unspent, which can only be too careful.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Evidence {
    staked: [f64; 3],
    slices: u64,
    lean: f64,
    spread: f64,
}

impl Evidence {
    /// One more slice: `bad` of `requests` on each side.
    fn fold(&mut self, new: (u64, u64), old: (u64, u64), margin: f64) {
        self.slices = self.slices.saturating_add(1);
        let share = 1.0 / (float(self.slices) * float(self.slices + 1));
        let [score] = stats::mean_bets(new, old, margin, [SHARPNESS]);
        for (staked, stake) in self.staked.iter_mut().zip(STAKES) {
            // Beyond any threshold nothing more need be known, so no number grows past reading.
            *staked = ((*staked + share) * stake.mul_add(score, 1.0).max(0.0)).min(1e12);
        }
        self.lean += score;
        self.spread += score * score;
        if self.lean <= 0.0 {
            (self.lean, self.spread) = (0.0, 0.0);
        }
    }

    fn value(&self) -> f64 {
        let staked: f64 = self
            .staked
            .iter()
            .zip(PURSES)
            .map(|(staked, purse)| staked * purse)
            .sum();
        staked + 1.0 / float(self.slices + 1)
    }

    /// How far the scores lean against the new version, in standard deviations. Half an observation is added to
    /// the spread, so that one bad slice alone is no lean.
    fn lean(&self) -> f64 {
        self.lean / (self.spread + 0.5).sqrt()
    }
}

/// The judge of one rollout. Small and serialisable: it goes through a restart of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    errors: Evidence,
    slow: Evidence,
    total: Pair,
    slices: u64,
    step_slices: u64,
    step_requests: u64,
}

/// What the judge finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough was seen and little speaks against the new version.
    Pass(String),
    /// The new version is worse.
    Fail(String),
    /// Not enough was seen, or something is suspicious.
    Extend(String),
}

impl Judge {
    /// Takes in one slice. Slices in which one side answered nothing say nothing and are left out.
    pub fn fold(&mut self, pair: &Pair) {
        let (new, old) = (pair.new.bounded(), pair.old.bounded());
        self.step_requests = self.step_requests.saturating_add(new.requests);
        if new.requests == 0 || old.requests == 0 {
            return;
        }
        self.slices += 1;
        self.step_slices += 1;
        self.total.new.add(new);
        self.total.old.add(old);
        self.errors.fold(
            (new.requests, new.errors),
            (old.requests, old.errors),
            ERROR_MARGIN,
        );
        if self.slices > WARM_UP_SLICES {
            self.slow
                .fold((new.requests, new.slow), (old.requests, old.slow), SLOW_MARGIN);
        }
    }

    /// A new step begins: the least amount seen is asked of it anew. Evidence stays.
    pub const fn next_step(&mut self) {
        self.step_slices = 0;
        self.step_requests = 0;
    }

    /// Evidence that the new version errs more.
    #[must_use]
    pub fn error_evidence(&self) -> f64 {
        self.errors.value()
    }

    /// Evidence that the new version is slower.
    #[must_use]
    pub fn slow_evidence(&self) -> f64 {
        self.slow.value()
    }

    /// What both sides did in all slices that were judged.
    #[must_use]
    pub const fn total(&self) -> Pair {
        self.total
    }

    /// The numbers behind a verdict.
    #[must_use]
    pub fn numbers(&self) -> JudgeNumbers {
        JudgeNumbers {
            new_requests: self.total.new.requests,
            new_errors: self.total.new.errors,
            new_slow: self.total.new.slow,
            old_requests: self.total.old.requests,
            old_errors: self.total.old.errors,
            old_slow: self.total.old.slow,
            slices: self.slices,
            error_evidence: self.error_evidence(),
            slow_evidence: self.slow_evidence(),
            threshold: THRESHOLD,
        }
    }

    /// Whether the new version must be undone now; may be asked after every slice.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        let (new, old) = (&self.total.new, &self.total.old);
        if self.error_evidence() >= THRESHOLD {
            return Some(format!(
                "{} of {} requests failed on the new version ({}), {} of {} on the old ({}) in the same {} slices",
                new.errors,
                new.requests,
                percent(new.error_rate()),
                old.errors,
                old.requests,
                percent(old.error_rate()),
                self.slices,
            ));
        }
        (self.slow_evidence() >= THRESHOLD).then(|| {
            format!(
                "{} of the requests were slow on the new version, {} on the old in the same {} slices",
                percent(new.slow_rate()),
                percent(old.slow_rate()),
                self.slices,
            )
        })
    }

    /// What points to the new version being worse, without being proof.
    #[must_use]
    pub fn suspicion(&self) -> Option<String> {
        let told = |what: &str, game: &Evidence| {
            let (evidence, lean) = (game.value(), game.lean());
            (evidence >= SUSPICION || lean >= LEAN).then(|| {
                format!(
                    "something suggests that the new version {what} (evidence {evidence:.1}, undone at {THRESHOLD:.0}; \
                     lean {lean:.1}, passed below {LEAN}); more must be seen"
                )
            })
        };
        told("errs more", &self.errors).or_else(|| told("is slower", &self.slow))
    }

    /// The verdict at the end of a step.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if let Some(reason) = self.failed() {
            return Verdict::Fail(reason);
        }
        if self.step_slices < STEP_SLICES || self.step_requests < STEP_REQUESTS {
            return Verdict::Extend(format!(
                "too little traffic to judge: {} requests in {} slices, at least {STEP_REQUESTS} in {STEP_SLICES} \
                 are needed",
                self.step_requests, self.step_slices
            ));
        }
        if let Some(reason) = self.suspicion() {
            return Verdict::Extend(reason);
        }
        let (new, old) = (&self.total.new, &self.total.old);
        Verdict::Pass(format!(
            "{} of {} requests failed on the new version ({}), {} of {} on the old ({})",
            new.errors,
            new.requests,
            percent(new.error_rate()),
            old.errors,
            old.requests,
            percent(old.error_rate()),
        ))
    }
}

/// Requests on the new version before the guardrail may speak.
pub const GUARD_REQUESTS: u64 = 20;
/// Seconds with errors before the guardrail may speak, so that one hiccup is none.
pub const GUARD_SECONDS: usize = 3;
/// Seconds that the guardrail looks back.
pub const GUARD_WINDOW_SECONDS: u64 = 10;

/// The hard limit beside the test: half of all requests fail on the new version, over several seconds, and
/// not on the old as well. `recent` holds the last [`GUARD_WINDOW_SECONDS`] seconds.
#[must_use]
pub fn guardrail(recent: &[Pair]) -> Option<String> {
    let mut sum = Pair::default();
    for pair in recent {
        sum.new.add(pair.new.bounded());
        sum.old.add(pair.old.bounded());
    }
    let bad_seconds = recent.iter().filter(|pair| pair.new.errors > 0).count();
    let broken = sum.new.requests >= GUARD_REQUESTS
        && bad_seconds >= GUARD_SECONDS
        && sum.new.error_rate() >= 0.5
        && sum.old.error_rate() < sum.new.error_rate() / 2.0;
    broken.then(|| {
        format!(
            "{} of {} requests failed on the new version within {GUARD_WINDOW_SECONDS} seconds",
            sum.new.errors, sum.new.requests
        )
    })
}

/// Seconds that the error budget's hard limit looks back.
pub const BURN_WINDOW_SECONDS: u64 = 60;
/// Errors on the new version before the error budget's hard limit may speak, so that chance does not.
pub const BURN_ERRORS: u64 = 10;

/// The absolute limit beside the test: the new version by itself uses the product's error budget up faster than
/// the policy allows, whatever the old one does. `minute` holds the last [`BURN_WINDOW_SECONDS`] seconds.
#[must_use]
pub fn burns(minute: &[Pair], limit: Burn) -> Option<String> {
    let mut new = Counts::default();
    for pair in minute {
        new.add(pair.new.bounded());
    }
    let bad_seconds = minute.iter().filter(|pair| pair.new.errors > 0).count();
    if new.errors < BURN_ERRORS || bad_seconds < GUARD_SECONDS {
        return None;
    }
    let budget = f64::from(limit.budget_ppm.max(1)) / 1e6;
    let rate = new.error_rate() / budget;
    (rate >= f64::from(limit.rate)).then(|| {
        format!(
            "{} of {} requests failed on the new version within {BURN_WINDOW_SECONDS} seconds ({}): {rate:.0} times \
             what the error budget allows ({}), the limit is {} times",
            new.errors,
            new.requests,
            percent(new.error_rate()),
            percent(budget),
            limit.rate,
        )
    })
}

/// A share as people read it.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 10.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.1} %")
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        float(part) / float(whole)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
const fn float(number: u64) -> f64 {
    number as f64
}
