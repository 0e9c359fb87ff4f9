//! Sends a job's log while it grows and its result at the end, through restarts of the server.

use crate::{
    api::{Answer, Api, JobRef},
    stop::{Reason, Stop},
    trace::Trace,
};
use bascule_client::Retry;
use bascule_core::Result;
use bascule_wire::runner::{JobOutput, JobState, JobUpdate, log_checksum};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Largest piece of log in one patch, in bytes.
const PATCH_BYTES: usize = 512 * 1024;
/// Time before the first patch: a short job's log goes as a whole, at its end.
const FIRST: Duration = Duration::from_millis(100);
/// Pause between patches while someone watches.
const WATCHED: Duration = Duration::from_millis(250);
/// A server that asks for no longer interval than this has someone watching.
const SHORT: Duration = Duration::from_secs(3);
/// Times the whole log is sent again because the server finds it wrong.
const RESENDS: u32 = 3;

/// The one who reports on one job.
#[derive(Debug)]
pub(crate) struct Reporter {
    api: Arc<Api>,
    job: JobRef,
    trace: Trace,
    stop: Stop,
    sent: u64,
    asked: Duration,
    gone: bool,
}

impl Reporter {
    pub(crate) fn new(api: Arc<Api>, job: JobRef, trace: Trace, stop: Stop) -> Self {
        Self {
            api,
            job,
            trace,
            stop,
            sent: 0,
            asked: SHORT,
            gone: false,
        }
    }

    /// Sends what is written, until `done`.
    pub(crate) async fn follow(&mut self, done: &CancellationToken) {
        let retry = pauses();
        let mut failures = 0_u32;
        let mut next = Instant::now() + FIRST;
        let mut contact = Instant::now();
        while !self.gone {
            if self.trace.len() <= self.sent {
                let keep_alive = contact + self.asked.max(Duration::from_secs(1));
                tokio::select! {
                    () = done.cancelled() => return,
                    () = self.trace.changed() => {}
                    () = tokio::time::sleep_until(keep_alive) => {
                        contact = Instant::now();
                        // Also how a job that writes nothing learns that it was canceled.
                        let update = JobUpdate { state: JobState::Running, ..JobUpdate::default() };
                        if let Ok(answer) = self.api.update(&self.job, update).await {
                            self.heed(&answer);
                        }
                    }
                }
                continue;
            }
            tokio::select! {
                () = done.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            contact = Instant::now();
            match self.patch().await {
                Ok(()) => {
                    failures = 0;
                    next = Instant::now() + if self.asked <= SHORT { WATCHED } else { self.asked };
                }
                Err(problem) => {
                    tracing::debug!(job = %self.job.id, %problem, "the log waits for the server");
                    next = Instant::now() + retry.pause(failures);
                    failures += 1;
                }
            }
        }
        done.cancelled().await;
    }

    /// Sends the rest of the log and the result; gives up after `patience`. Whether the server took it.
    pub(crate) async fn finish(&mut self, mut update: JobUpdate, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let (crc, bytesize) = self.trace.checksum();
        update.output = Some(JobOutput {
            checksum: log_checksum(crc),
            bytesize,
        });
        let retry = pauses();
        let (mut failures, mut waits, mut resends) = (0_u32, 0_u32, 0_u32);
        while !self.gone {
            let result = if self.trace.len() > self.sent {
                match self.patch().await {
                    Ok(()) => continue,
                    Err(problem) => Err(problem),
                }
            } else {
                self.api.update(&self.job, update.clone()).await
            };
            let pause = match result {
                Ok(answer) => match answer.status {
                    200 => return true,
                    202 => {
                        waits += 1;
                        retry.pause(waits)
                    }
                    412 if resends < RESENDS => {
                        resends += 1;
                        self.sent = 0;
                        retry.pause(resends)
                    }
                    408 | 429 | 500..=599 => {
                        failures += 1;
                        retry.pause(failures)
                    }
                    status => {
                        tracing::warn!(job = %self.job.id, status, "the server does not take the job's result");
                        return false;
                    }
                },
                Err(problem) => {
                    tracing::debug!(job = %self.job.id, %problem, "the result waits for the server");
                    failures += 1;
                    retry.pause(failures)
                }
            };
            if Instant::now() + pause > until {
                tracing::warn!(job = %self.job.id, "gave up telling the server of a job's result");
                return false;
            }
            tokio::time::sleep(pause).await;
        }
        false
    }

    /// Sends one piece. An error means: later again.
    async fn patch(&mut self) -> Result<()> {
        let body = self.trace.slice(self.sent, PATCH_BYTES);
        let length = body.len() as u64;
        let answer = self.api.patch_trace(&self.job, self.sent, body).await?;
        let whole = self.trace.len();
        match answer.status {
            200..=299 => {
                // The server's word counts, as long as it speaks of bytes we sent.
                let stored = answer.stored.filter(|s| (1..=whole).contains(s));
                self.sent = stored.unwrap_or(self.sent + length);
            }
            416 => {
                let stored = answer.stored.unwrap_or(0).min(whole);
                if stored == self.sent {
                    return Err(bascule_core::Problem::conflict(
                        "trace_refused",
                        "The server refuses the log.",
                    ));
                }
                self.sent = stored;
            }
            401 | 403 | 404 | 410 => {
                self.gone = true;
                self.stop.set(Reason::Gone);
            }
            status => {
                let what = format!("The server answered a piece of the log with {status}.");
                return Err(bascule_core::Problem::new(status, "trace_refused", what));
            }
        }
        self.heed(&answer);
        Ok(())
    }

    fn heed(&mut self, answer: &Answer) {
        if let Some(interval) = answer.interval {
            self.asked = interval.min(Duration::from_secs(15 * 60));
        }
        match answer.job_status.as_str() {
            "canceled" | "failed" => self.stop.set(Reason::Canceled),
            "canceling" => self.stop.set(Reason::Canceling),
            _ if matches!(answer.status, 403 | 404) => self.stop.set(Reason::Gone),
            _ => {}
        }
    }
}

fn pauses() -> Retry {
    Retry {
        attempts: u32::MAX,
        first: Duration::from_millis(100),
        most: Duration::from_secs(5),
    }
}
