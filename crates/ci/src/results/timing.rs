//! Where a pipeline's time went: the slowest jobs, and the chain of jobs that its end waited for. Pure.

use bascule_core::{JobId, Timestamp};
use std::{collections::HashMap, time::Duration};

/// A job that ended, as far as its time is looked at.
#[derive(Clone, Debug)]
pub struct Timed {
    /// The job.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Index of its stage.
    pub stage: i64,
    /// What it waited for; `None` is all of the earlier stages.
    pub needs: Option<Vec<String>>,
    /// When it began to wait for a runner.
    pub queued: Option<Timestamp>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

/// A step of the critical path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index of the job.
    pub job: usize,
    /// From what it waited for until it could run: the wait for a person, for its time, for a resource group.
    pub held: Duration,
    /// From then until it started: the wait for a runner.
    pub waited: Duration,
    /// From start to end.
    pub ran: Duration,
}

/// The chain of jobs that ends with the one that ended last; each waited for the one before, which of all that it
/// waited for ended last. To be faster, a pipeline must shorten one of these.
#[must_use]
pub fn critical_path(jobs: &[Timed]) -> Vec<Step> {
    let by_name: HashMap<&str, usize> = jobs
        .iter()
        .enumerate()
        .map(|(at, job)| (job.name.as_str(), at))
        .collect();
    let ended = |at: &usize| jobs[*at].finished.filter(|_| jobs[*at].started.is_some());
    let Some(mut at) = (0..jobs.len())
        .filter(|at| ended(at).is_some())
        .max_by_key(|at| ended(at))
    else {
        return Vec::new();
    };
    let mut path = Vec::new();
    loop {
        let job = &jobs[at];
        let (Some(started), Some(finished)) = (job.started, job.finished) else {
            break;
        };
        let before = match &job.needs {
            Some(needs) => needs
                .iter()
                .filter_map(|name| by_name.get(name.as_str()).copied())
                .filter(|other| ended(other).is_some_and(|end| end <= started))
                .max_by_key(ended),
            None => (0..jobs.len())
                .filter(|other| jobs[*other].stage < job.stage)
                .filter(|other| ended(other).is_some_and(|end| end <= started))
                .max_by_key(ended),
        };
        let from = before
            .and_then(|other| jobs[other].finished)
            .or(job.queued)
            .unwrap_or(started);
        let ready = job.queued.unwrap_or(from).max(from).min(started);
        path.push(Step {
            job: at,
            held: ready.since(from),
            waited: started.since(ready),
            ran: finished.since(started),
        });
        match before {
            // Each step ended before the one behind it began, so that there is an end to it.
            Some(other) if other != at && path.len() <= jobs.len() => at = other,
            _ => break,
        }
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, stage: i64, needs: Option<&[&str]>, from: i64, to: i64) -> Timed {
        Timed {
            id: JobId(1),
            name: name.to_owned(),
            stage,
            needs: needs.map(|list| list.iter().map(|name| (*name).to_owned()).collect()),
            queued: Some(Timestamp::from_seconds(from - 1)),
            started: Some(Timestamp::from_seconds(from)),
            finished: Some(Timestamp::from_seconds(to)),
        }
    }

    #[test]
    fn the_chain_that_the_end_waited_for() {
        let jobs = [
            job("build", 0, None, 1, 10),
            job("quick", 0, None, 1, 2),
            job("test", 1, Some(&["build"]), 12, 30),
            job("lint", 1, Some(&["quick"]), 3, 50),
            job("deploy", 2, None, 51, 60),
        ];
        let path: Vec<(&str, u64, u64)> = critical_path(&jobs)
            .into_iter()
            .map(|step| {
                (
                    jobs[step.job].name.as_str(),
                    (step.held + step.waited).as_secs(),
                    step.ran.as_secs(),
                )
            })
            .collect();
        assert_eq!(path, [("quick", 1, 1), ("lint", 1, 47), ("deploy", 1, 9)]);
        assert_eq!(critical_path(&[]), []);
        // Someone started it 40 seconds later; a runner was there at once.
        let by_hand = [job("build", 0, None, 1, 10), job("deploy", 1, None, 51, 60)];
        let last = critical_path(&by_hand).pop().unwrap();
        assert_eq!((last.held.as_secs(), last.waited.as_secs()), (40, 1));
        let odd = [
            job("a", 0, Some(&["a", "b"]), 5, 5),
            job("b", 0, Some(&["a"]), 5, 5),
        ];
        assert!(critical_path(&odd).len() <= 3, "clocks that stand still end too");
    }
}
