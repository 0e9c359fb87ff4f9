//! Signs of life of agents. A report that brings nothing new is no reason to write: such signs are kept for a
//! moment and written together, in one statement for many. A kill loses some seconds of them, and nothing else.

use super::{AGENT_SILENCE, store};
use crate::Delivery;
use bascule_core::{AgentId, Result, Timestamp};
use bascule_store::{Backend, Query as _};
use bascule_wire::agent::Resources;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often signs of life are written down.
const WRITE: Duration = Duration::from_secs(3);

/// What a report that brings nothing new says all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub at: Timestamp,
    pub said_at: Timestamp,
    pub skew_ms: i64,
    pub disk_free: i64,
    pub resources: Resources,
}

/// What is to be written of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sign {
    pub seen: Option<Seen>,
    /// When the agent counts as silent unless it is heard again.
    pub silent_at: Timestamp,
    /// Also where that is sooner than what was written before: its call ended.
    pub sooner: bool,
}

#[derive(Debug, Default)]
struct Kept {
    signs: HashMap<AgentId, Sign>,
    /// The calls of each agent that hang, and when it counts as silent while they do.
    held: HashMap<AgentId, (usize, Timestamp)>,
}

/// Signs that were not written yet.
#[derive(Debug, Default)]
pub(crate) struct Signs(Mutex<Kept>);

impl Signs {
    /// An agent was heard.
    pub fn heard(&self, agent: AgentId, seen: Option<Seen>, silent_at: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = kept.held.get(&agent).map(|(_, until)| *until);
        let silent_at = held.map_or(silent_at, |until| until.max(silent_at));
        kept.put(
            agent,
            Sign {
                seen,
                silent_at,
                sooner: false,
            },
        );
    }

    /// A call of an agent hangs from now on.
    fn hold(&self, agent: AgentId, silent_at: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = kept.held.entry(agent).or_insert((0, silent_at));
        *held = (held.0 + 1, held.1.max(silent_at));
        let silent_at = held.1;
        kept.put(
            agent,
            Sign {
                seen: None,
                silent_at,
                sooner: false,
            },
        );
    }

    /// A call of an agent hangs no more: it was answered, or the agent went away.
    fn let_go(&self, agent: AgentId, silent_at: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut held) = kept.held.entry(agent) else {
            return;
        };
        held.get_mut().0 -= 1;
        if held.get().0 > 0 {
            return;
        }
        held.remove();
        kept.put(
            agent,
            Sign {
                seen: None,
                silent_at,
                sooner: true,
            },
        );
    }

    /// All calls that hang are to be written again.
    fn again(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held: Vec<_> = kept.held.iter().map(|(id, held)| (*id, held.1)).collect();
        for (agent, silent_at) in held {
            kept.put(
                agent,
                Sign {
                    seen: None,
                    silent_at,
                    sooner: false,
                },
            );
        }
    }

    fn take(&self) -> HashMap<AgentId, Sign> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).signs)
    }

    /// They could not be written; what came since is newer.
    fn put_back(&self, signs: HashMap<AgentId, Sign>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (agent, sign) in signs {
            kept.signs.entry(agent).or_insert(sign);
        }
    }
}

impl Kept {
    fn put(&mut self, agent: AgentId, new: Sign) {
        match self.signs.entry(agent) {
            Entry::Vacant(entry) => {
                entry.insert(new);
            }
            Entry::Occupied(mut entry) => {
                let sign = entry.get_mut();
                sign.seen = new.seen.or(sign.seen.take());
                sign.silent_at = if new.sooner {
                    new.silent_at
                } else {
                    sign.silent_at.max(new.silent_at)
                };
                sign.sooner |= new.sooner;
            }
        }
    }
}

/// A call that hangs, until it is dropped.
pub(crate) struct Held {
    delivery: Delivery,
    agent: AgentId,
}

impl Held {
    /// An agent's call hangs for at most `wait`.
    pub fn new(delivery: &Delivery, agent: AgentId, wait: Duration) -> Self {
        let silent_at = delivery.now().plus(silence(wait));
        delivery.signals.signs.hold(agent, silent_at);
        Self {
            delivery: delivery.clone(),
            agent,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let silent_at = self.delivery.now().plus(AGENT_SILENCE);
        self.delivery.signals.signs.let_go(self.agent, silent_at);
    }
}

/// Silence after which an agent counts as offline whose call may hang so long.
const fn silence(wait: Duration) -> Duration {
    if wait.as_millis() <= super::AGENT_WAIT.as_millis() {
        AGENT_SILENCE
    } else {
        wait.saturating_add(AGENT_SILENCE)
    }
}

impl Delivery {
    async fn begin_anew(&self) -> Result<()> {
        let tx = self.db.begin().await?;
        store::none_hangs(&tx, self.started.plus(AGENT_SILENCE)).await?;
        tx.commit().await?;
        // Those that came before this are written again.
        self.signals.signs.again();
        Ok(())
    }

    /// Writes down the signs of life that were heard.
    pub(crate) async fn write_signs(&self) -> Result<()> {
        let signs = self.signals.signs.take();
        if signs.is_empty() {
            return Ok(());
        }
        let written = async {
            let tx = self.db.begin().await?;
            store::put_signs(&tx, &signs).await?;
            tx.commit().await
        }
        .await;
        if let Err(error) = written {
            self.signals.signs.put_back(signs);
            return Err(error.into());
        }
        Ok(())
    }
}

/// Writes signs of life until `stop`.
pub(crate) async fn run(delivery: Delivery, stop: CancellationToken) {
    // Of several servers another may hold calls; alone, this one does, and holds none yet.
    if delivery.db.engine() == Backend::Sqlite
        && let Err(error) = delivery.begin_anew().await
    {
        tracing::warn!(%error, "agents that went away meanwhile are noticed later");
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(WRITE) => {}
        }
        if let Err(error) = delivery.write_signs().await {
            tracing::warn!(%error, "signs of life could not be written; they are written later");
        }
    }
    if let Err(error) = delivery.write_signs().await {
        tracing::warn!(%error, "the last signs of life could not be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_call_that_hangs_counts_until_it_ends_and_a_short_one_beside_it_takes_nothing_away() {
        let (signs, agent) = (Signs::default(), AgentId::new());
        signs.hold(agent, at(75));
        signs.heard(agent, None, at(20));
        assert_eq!(signs.take()[&agent].silent_at, at(75));
        signs.heard(agent, None, at(40));
        assert_eq!(signs.take()[&agent].silent_at, at(75), "it hangs still");
        signs.let_go(agent, at(45));
        let sign = signs.take().remove(&agent).unwrap();
        assert_eq!((sign.silent_at, sign.sooner), (at(45), true));
        signs.let_go(agent, at(50));
        assert!(signs.take().is_empty(), "no call hung");
    }

    #[test]
    fn of_two_calls_that_hang_the_last_to_end_counts() {
        let (signs, agent) = (Signs::default(), AgentId::new());
        signs.hold(agent, at(75));
        signs.hold(agent, at(80));
        signs.let_go(agent, at(30));
        assert_eq!(signs.take()[&agent].silent_at, at(80));
        signs.let_go(agent, at(31));
        assert_eq!(signs.take()[&agent].silent_at, at(31));
    }

    #[test]
    fn what_could_not_be_written_does_not_hide_what_came_since() {
        let (signs, agent) = (Signs::default(), AgentId::new());
        signs.heard(agent, None, at(20));
        let old = signs.take();
        signs.heard(agent, None, at(30));
        signs.put_back(old);
        assert_eq!(signs.take()[&agent].silent_at, at(30));
    }
}
