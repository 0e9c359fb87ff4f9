//! Error budgets as plans see them: asked for where something could move, and kept for a moment.

use crate::Delivery;
use bascule_core::{EnvironmentId, Result, Timestamp};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long an answer is good.
const GOOD: Duration = Duration::from_secs(20);

/// Answers that were given lately.
#[derive(Debug, Default)]
pub(crate) struct Budgets(Mutex<HashMap<EnvironmentId, (Timestamp, Option<f64>)>>);

impl Delivery {
    /// Share of the error budget left in an environment; `None` where it is not known.
    pub(crate) async fn budget_left(&self, environment: EnvironmentId) -> Result<Option<f64>> {
        let now = self.now();
        let kept = &self.signals.budgets.0;
        let known = kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&environment)
            .copied();
        if let Some((at, left)) = known
            && now.since(at) < GOOD
        {
            return Ok(left);
        }
        let left = self.ports.budgets.left(environment).await?;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (at, _)| now.since(*at) < GOOD);
        kept.insert(environment, (now, left));
        Ok(left)
    }
}
