//! What is said of a job by one who did not write its log: how long the log is by now, only the server knows.

use crate::api::{Api, JobRef};
use bascule_client::Retry;
use bascule_wire::runner::{FailureReason, JobState, JobUpdate};
use std::time::Duration;

/// Adds a line to a job's log and says that the job failed. A job that has ended by then stays as it is.
pub(crate) async fn say(api: &Api, job: &JobRef, words: &str, reason: FailureReason) {
    let words = format!("\n\x1b[31;1mERROR: Job failed{words}\x1b[0;m\n");
    let update = JobUpdate {
        state: JobState::Failed,
        failure_reason: Some(reason),
        ..JobUpdate::default()
    };
    let retry = Retry {
        attempts: 30,
        first: Duration::from_millis(200),
        most: Duration::from_secs(5),
    };
    let mut start = 0;
    let mut said = false;
    for attempt in 0..retry.attempts {
        let answer = if said {
            api.update(job, update.clone()).await
        } else {
            api.patch_trace(job, start, words.clone().into()).await
        };
        match answer {
            Ok(answer) if !said => match (answer.status, answer.stored) {
                (416, Some(stored)) if stored != start => {
                    start = stored;
                    continue;
                }
                (500..=599, _) => {}
                _ => {
                    said = true;
                    continue;
                }
            },
            Ok(answer) if !matches!(answer.status, 202 | 408 | 429 | 500..=599) => break,
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(retry.pause(attempt)).await;
    }
}
