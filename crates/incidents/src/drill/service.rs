//! Starting and ending drills.

use super::{Kept, store};
use crate::Incidents;
use bascule_core::{Actor, Caller, Problem, Result};
use bascule_ledger::facts::drills::{DrillEnded, DrillStarted};
use bascule_wire::drill::{Drill, DrillPage, NewDrill};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How many minutes a drill lasts unless it says, and at most.
const MINUTES: (u32, u32) = (30, 1_440);
/// Longest reason, in characters.
const REASON: usize = 500;
/// Drills that run at once.
const RUNNING: i64 = 1_000;
/// How often it is looked whether a drill's time is over that another server started.
const LOOK_EVERY: Duration = Duration::from_secs(15);

impl Incidents {
    /// Starts a drill in an environment.
    ///
    /// # Errors
    /// There is no such environment, one runs there, or no reason is given.
    pub async fn start_drill(&self, caller: &Caller, new: &NewDrill) -> Result<Drill> {
        let reason: String = new
            .reason
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(REASON)
            .collect();
        if reason.is_empty() {
            return Err(Problem::invalid("reason_missing", "A drill needs a reason.")
                .why("Whoever waits for it reads in the plan what is practised.")
                .next("Say in one sentence what is made to fail."));
        }
        let (usual, most) = MINUTES;
        let minutes = new.minutes.unwrap_or(usual);
        if minutes == 0 || minutes > most {
            return Err(
                Problem::invalid("bad_minutes", format!("A drill cannot last {minutes} minutes."))
                    .why("It holds all changes in the environment, so it ends by itself.")
                    .next(format!("Choose 1 to {most} minutes.")),
            );
        }
        let environment = new.environment.trim();
        if !store::is_environment(&self.db, environment).await? {
            return Err(Problem::new(
                404,
                "unknown_environment",
                format!("There is no environment `{environment}`."),
            )
            .why("A drill holds what is installed in an environment, and nothing is in this one.")
            .next("`bascule plan` lists them."));
        }
        let now = self.clock.now();
        let tx = self.db.begin().await?;
        if let Some(running) = store::running_in(&tx, environment).await? {
            return Err(already(&running));
        }
        let drill = Kept {
            number: tx.next_number("drill").await?,
            environment: environment.to_owned(),
            reason,
            started_by: caller.actor.name.clone(),
            started_at: now,
            until_at: now.plus(Duration::from_secs(u64::from(minutes) * 60)),
            ended_at: None,
            ended_by: None,
        };
        if let Err(error) = store::start(&tx, &drill).await {
            return Err(if error.is_unique_violation() {
                already(&drill)
            } else {
                error.into()
            });
        }
        let fact = DrillStarted {
            number: drill.number,
            environment: drill.environment.clone(),
            reason: drill.reason.clone(),
            until: drill.until_at,
            at: now,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        let wake = self.drills.clone();
        tx.after_commit(move || wake.notify_one());
        tx.commit().await?;
        Ok(drill.into())
    }

    /// Ends a drill before its time.
    ///
    /// # Errors
    /// There is none of that number, or it is over.
    pub async fn end_drill(&self, caller: &Caller, number: i64) -> Result<Drill> {
        let drill = store::get(&self.db, number)
            .await?
            .ok_or_else(|| Problem::not_found("drill"))?;
        if !self.finish(&caller.actor, &drill, false).await? {
            return Err(
                Problem::conflict("drill_over", format!("Drill {number} is over."))
                    .next("`bascule drill list` shows those that run."),
            );
        }
        let drill = store::get(&self.db, number)
            .await?
            .ok_or_else(|| Problem::not_found("drill"))?;
        Ok(drill.into())
    }

    /// Drills, newest first, those before a number.
    ///
    /// # Errors
    /// The database refused.
    pub async fn list_drills(&self, before: Option<i64>, limit: i64) -> Result<DrillPage> {
        let mut items = store::list(&self.db, before.unwrap_or(i64::MAX), limit + 1).await?;
        let more = i64::try_from(items.len()).is_ok_and(|count| count > limit);
        items.truncate(usize::try_from(limit).unwrap_or(0));
        let next = more.then(|| items.last().map(|last| last.number)).flatten();
        Ok(DrillPage {
            items: items.into_iter().map(Drill::from).collect(),
            next,
        })
    }

    /// Ends drills whose time is over, until `stop`.
    pub async fn run_drills(self, stop: CancellationToken) {
        loop {
            let next = self.end_due().await.unwrap_or_else(|problem| {
                tracing::error!(%problem, "drills could not be ended; tried again");
                None
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.drills.notified() => {}
                () = tokio::time::sleep(next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)) => {}
            }
        }
    }

    /// Ends drills whose time is over; how long until the next one's is.
    pub(crate) async fn end_due(&self) -> Result<Option<Duration>> {
        let now = self.clock.now();
        for drill in store::running(&self.db, RUNNING).await? {
            if drill.until_at > now {
                return Ok(Some(drill.until_at.since(now)));
            }
            self.finish(&Actor::system(), &drill, true).await?;
        }
        Ok(None)
    }

    async fn finish(&self, actor: &Actor, drill: &Kept, by_itself: bool) -> Result<bool> {
        let now = self.clock.now();
        let by = if by_itself {
            "its time was over"
        } else {
            &actor.name
        };
        let tx = self.db.begin().await?;
        if !store::end(&tx, drill.number, now, by).await? {
            return Ok(false);
        }
        let fact = DrillEnded {
            number: drill.number,
            environment: drill.environment.clone(),
            by_itself,
            at: now,
        };
        self.ledger.append(&tx, actor, &fact).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn already(running: &Kept) -> Problem {
    Problem::conflict(
        "drill_running",
        format!("A drill runs in {} already.", running.environment),
    )
    .why("Two at once in one place teach nothing: nobody could tell their effects apart.")
    .next("Wait for its end, or end it: `bascule drill end`.")
}
