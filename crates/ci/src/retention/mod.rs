//! What jobs leave does not stay for ever: files expire, logs and pipelines go after the time that the instance keeps
//! them, and then the bytes that nothing names any more.
//!
//! Rows go first, and what they named is noted as unnamed in the same transaction. A day later the bytes are taken out
//! of the way, and deleted if still no row names them and nobody stored them again meanwhile. The blobs are this crate's
//! own (see [`bascule_store::Blobs::apart`]), so its tables are all that may name them: a release has its own copy.

pub(crate) mod store;

use crate::Ci;
use bascule_core::{Digest, Result, Timestamp};
use std::time::Duration;

/// How often to look.
const EVERY: Duration = Duration::from_secs(60);
/// How long bytes stay that nothing names, so that no upload under way loses what it just stored.
pub(crate) const GRACE: Duration = Duration::from_secs(24 * 3600);
/// Most steps of one kind in one turn; the next turn goes on.
const STEPS: usize = 20;

/// How long things are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Logs of ended jobs; `None` for as long as their pipeline.
    pub logs: Option<Duration>,
    /// Ended pipelines with all of their jobs; `None` for ever.
    pub pipelines: Option<Duration>,
}

/// What one turn removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files of jobs.
    pub files: u64,
    /// Logs.
    pub logs: u64,
    /// Pipelines.
    pub pipelines: u64,
    /// Blobs.
    pub blobs: u64,
}

impl Ci {
    /// Looks now and then, until the server stops.
    pub(crate) async fn retain_on(&self) {
        loop {
            tokio::select! {
                () = self.options.stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            match self.retain().await {
                Ok(removed) if removed != Removed::default() => {
                    tracing::info!(?removed, "what is no longer kept was removed");
                }
                Ok(_) => {}
                Err(problem) => {
                    tracing::warn!(%problem, "removing what is no longer kept failed; tried again soon");
                }
            }
        }
    }

    /// Removes what is no longer kept, some at a time. Called by a timer.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn retain(&self) -> Result<Removed> {
        let now = self.clock.now();
        let mut removed = Removed::default();
        if let Some(kept) = self.options.keep.pipelines {
            removed.pipelines = self
                .each_step(|| self.drop_pipelines(now, now.minus(kept)))
                .await?;
        }
        if let Some(kept) = self.options.keep.logs {
            removed.logs = self.each_step(|| self.drop_logs(now, now.minus(kept))).await?;
        }
        removed.files = self.each_step(|| self.drop_expired(now)).await?;
        removed.blobs = self.drop_unnamed(now).await?;
        Ok(removed)
    }

    /// Repeats a step until it finds nothing.
    async fn each_step<F: Future<Output = Result<u64>>>(&self, step: impl Fn() -> F) -> Result<u64> {
        let mut all = 0;
        for _ in 0..STEPS {
            match step().await? {
                0 => break,
                some => all += some,
            }
        }
        Ok(all)
    }

    async fn drop_expired(&self, now: Timestamp) -> Result<u64> {
        let tx = self.db.begin().await?;
        let gone = store::drop_expired(&tx, now).await?;
        tx.commit().await?;
        Ok(gone)
    }

    async fn drop_logs(&self, now: Timestamp, before: Timestamp) -> Result<u64> {
        let tx = self.db.begin().await?;
        let jobs = store::with_old_logs(&tx, before).await?;
        store::drop_logs(&tx, &jobs, now).await?;
        tx.commit().await?;
        Ok(jobs.len() as u64)
    }

    async fn drop_pipelines(&self, now: Timestamp, before: Timestamp) -> Result<u64> {
        let tx = self.db.begin().await?;
        let old = store::old_pipelines(&tx, before).await?;
        store::drop_pipelines(&tx, &old, now).await?;
        tx.commit().await?;
        Ok(old.len() as u64)
    }

    async fn drop_unnamed(&self, now: Timestamp) -> Result<u64> {
        let mut gone = 0;
        for _ in 0..STEPS {
            let unnamed = store::unnamed(&self.db, now.minus(GRACE)).await?;
            if unnamed.is_empty() {
                break;
            }
            for digest in &unnamed {
                gone += u64::from(self.drop_blob(digest, now).await?);
            }
        }
        Ok(gone)
    }

    /// Deletes a blob if nothing names it; whether it did.
    async fn drop_blob(&self, digest: &Digest, now: Timestamp) -> Result<bool> {
        let aside = match store::is_named(&self.db, digest).await? {
            true => None,
            false => self.blobs.set_aside(digest).await?,
        };
        let Some(aside) = aside else {
            store::settled(&self.db, digest).await?;
            return Ok(false);
        };
        // Asked once more, because what is stored from here on is stored anew.
        match store::is_named(&self.db, digest).await {
            Ok(false) if aside.stored_at < now.minus(GRACE) => {
                aside.delete().await?;
                store::settled(&self.db, digest).await?;
                Ok(true)
            }
            Ok(false) => {
                aside.restore().await?;
                store::unnamed_since(&self.db, digest, now).await?;
                Ok(false)
            }
            Ok(true) => {
                aside.restore().await?;
                store::settled(&self.db, digest).await?;
                Ok(false)
            }
            Err(problem) => {
                aside.restore().await?;
                Err(problem.into())
            }
        }
    }
}
