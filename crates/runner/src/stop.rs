//! Why a job should end before its script does.

use std::sync::Arc;
use tokio::{sync::watch, time::Instant};

/// What ends a job early. The order is that of weight: a later one counts over an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Its time is up.
    Timeout,
    /// Someone canceled it; its `after_script` may still run.
    Canceling,
    /// Someone canceled it.
    Canceled,
    /// This runner ends.
    Shutdown,
    /// The server no longer knows it.
    Gone,
}

/// Tells everyone who works on a job when to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    send: Arc<watch::Sender<Option<Reason>>>,
    deadline: Instant,
}

impl Stop {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self {
            send: Arc::new(watch::Sender::new(None)),
            deadline,
        }
    }

    /// Ends the job, unless a weightier reason already does.
    pub(crate) fn set(&self, reason: Reason) {
        self.send.send_if_modified(|now| {
            let more = now.is_none_or(|now| now < reason);
            if more {
                *now = Some(reason);
            }
            more
        });
    }

    /// The reason, if there is one by now.
    pub(crate) fn reason(&self) -> Option<Reason> {
        *self.send.borrow()
    }

    /// Waits for a reason that is at least as weighty as `least`.
    pub(crate) async fn at_least(&self, least: Reason) -> Reason {
        let mut watch = self.send.subscribe();
        let wanted = watch.wait_for(|now| now.is_some_and(|now| now >= least));
        let told = async {
            match wanted.await.map(|now| *now) {
                Ok(Some(reason)) => reason,
                // We hold the sender, so this does not happen.
                _ => std::future::pending().await,
            }
        };
        if least > Reason::Timeout {
            return told.await;
        }
        tokio::select! {
            biased;
            reason = told => reason,
            () = tokio::time::sleep_until(self.deadline) => Reason::Timeout,
        }
    }
}
