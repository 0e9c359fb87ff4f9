//! The queue: what waits, who may have it, and why it waits.

pub mod api;
mod pages;
pub(crate) mod store;

use super::{
    Reach, Runner,
    fair::{Demand, Held, Member, Waiting, Why, why},
    store as runners,
};
use crate::{Ci, job::Job};
use bascule_core::{JobId, PipelineId, ProjectId, Result, RunnerId, Timestamp};
use bascule_store::Query;
use bascule_wire::ci as wire;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use store::Only;

/// Jobs on one page of the queue.
pub(crate) const PAGE: i64 = 50;
/// The pace of the queue is that of so long.
const PACE: Duration = Duration::from_secs(900);
/// Longest waiting jobs looked at besides, where there are more kinds of jobs than are looked at in one go.
const OLDEST: i64 = 100;
/// How long the name of a project is taken for granted.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Most names kept.
const NAMES: usize = 20_000;

/// Names of projects: asked for with every job that is handed out, and changed hardly ever.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<ProjectId, (Instant, Name)>>);

/// A project's group and path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub group: String,
    pub path: String,
}

impl Ci {
    /// A project's group and path; empty for one that is gone.
    pub(crate) async fn name_of(&self, project: ProjectId) -> Result<Name> {
        let lock = || self.names.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, name)) = lock().get(&project)
            && at.elapsed() < KNOWN_FOR
        {
            return Ok(name.clone());
        }
        let name = self
            .code
            .project(project)
            .await?
            .map(|info| Name {
                path: info.path(),
                group: info.group,
            })
            .unwrap_or_default();
        let mut names = lock();
        if names.len() >= NAMES {
            names.clear();
        }
        names.insert(project, (Instant::now(), name.clone()));
        Ok(name)
    }

    /// What waits, as the first job of each kind, from a place of the queue on; and the place where the next look goes on,
    /// where there are more kinds than are looked at in one go. The longest waiting are always among them then.
    pub(crate) async fn waiting_kinds(&self, from: &str) -> Result<(Vec<Waiting>, Option<String>)> {
        let mut rows = store::firsts(&self.db, from).await?;
        let last = rows.iter().map(|row| row.queue_key.clone()).max();
        let next = last
            .filter(|_| rows.len() >= store::KINDS)
            .map(|key| key + "\u{1}");
        if next.is_some() || !from.is_empty() {
            let seen: HashSet<_> = rows.iter().map(|row| row.id).collect();
            let oldest = store::longest(&self.db, OLDEST).await?;
            rows.extend(oldest.into_iter().filter(|row| !seen.contains(&row.id)));
        }
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(demand) = Demand::parse(&row.queue_key) else {
                continue;
            };
            list.push(Waiting {
                job: row.id,
                since: row.queued_at,
                group: self.name_of(demand.project).await?.group,
                demand,
            });
        }
        Ok((list, next))
    }

    /// What runners have, and what groups may have.
    pub(crate) async fn held(&self, on: &impl Query) -> Result<Held> {
        let mut held = Held {
            limits: store::limits(on).await?.into_iter().collect(),
            ..Held::default()
        };
        for row in store::held(on).await? {
            *held.by_project.entry(row.project_id).or_default() += row.n;
            *held.by_runner.entry(row.runner_id).or_default() += row.n;
            let heard = held.heard.entry(row.runner_id).or_default();
            *heard = (*heard).max(row.heard_at);
            if let Some(name) = row.resource_group.filter(|name| !name.is_empty()) {
                held.resources.insert((row.project_id, name), row.job);
            }
        }
        if !held.limits.is_empty() {
            for (project, n) in held.by_project.clone() {
                let group = self.name_of(project).await?.group;
                *held.by_group.entry(group).or_default() += n;
            }
        }
        Ok(held)
    }

    async fn members(&self, held: &Held) -> Result<Vec<Member>> {
        let mut served = runners::served(&self.db).await?;
        Ok(runners::all(&self.db)
            .await?
            .into_iter()
            .map(|runner| Member {
                reach: match (runner.scope.as_str(), &runner.group_name) {
                    ("project", _) => Reach::Projects(served.remove(&runner.id).unwrap_or_default()),
                    ("group", Some(group)) => Reach::Group(group.clone()),
                    _ => Reach::Instance,
                },
                runner: held.heard_with(runner),
            })
            .collect())
    }

    /// A part of the queue, with the reason why each job waits.
    pub(crate) async fn queue(&self, only: &Only, offset: i64, limit: i64) -> Result<wire::Queue> {
        let now = self.clock.now();
        let mut rows = store::placed(&self.db, only, offset, limit + 1).await?;
        let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let held = self.held(&self.db).await?;
        let members = self.members(&held).await?;
        let pace = store::started_since(&self.db, now.minus(PACE)).await?;
        let mut jobs = Vec::with_capacity(rows.len());
        for row in rows {
            let name = self.name_of(row.project_id).await?;
            let demand = row
                .queue_key
                .as_deref()
                .and_then(Demand::parse)
                .unwrap_or(Demand {
                    project: row.project_id,
                    protected: false,
                    tags: Vec::new(),
                    resource_group: None,
                    required: false,
                });
            let why = why(&demand, &name.group, &held, &members, now);
            jobs.push(wire::QueuedJob {
                id: row.id,
                pipeline: row.pipeline_id,
                project: name.path,
                name: row.name,
                stage: row.stage,
                reference: row.reference,
                tags: demand.tags,
                protected: demand.protected,
                queued_at: row.queued_at,
                place: row.place,
                why: why.code().to_owned(),
                reason: why.text(),
                estimate: estimate(&why, row.place, pace),
            });
        }
        Ok(wire::Queue {
            next: more.then(|| offset + i64::try_from(jobs.len()).unwrap_or_default()),
            jobs,
            waiting: store::waiting(&self.db, only).await?,
            held: held.by_runner.values().sum(),
            runners_online: i64::try_from(
                members
                    .iter()
                    .filter(|m| m.runner.is_online(now) && !m.runner.paused)
                    .count(),
            )
            .unwrap_or_default(),
        })
    }

    /// The waiting jobs of a group's projects.
    pub(crate) async fn of_group(&self, group: &str) -> Result<Only> {
        let mut list = Vec::new();
        for project in store::projects(&self.db).await? {
            if self.name_of(project).await?.group == group {
                list.push(project);
            }
        }
        // What one statement may bind is bounded.
        list.truncate(500);
        Ok(Only::Projects(list))
    }

    /// Why a job that waits for a runner has none yet, with its place and what is known of how long; `None` for a job
    /// that does not wait for one.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn why_job_waits(&self, job: &Job) -> Result<Option<wire::QueuedJob>> {
        let queue = self.queue(&Only::Job(job.id), 0, 1).await?;
        Ok(queue.jobs.into_iter().next())
    }

    /// Which jobs of a pipeline wait for what their turn alone does not bring: a tag that no runner has, runners that
    /// are paused or not heard of. Each with the reason.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub(crate) async fn stuck_jobs(
        &self,
        project: ProjectId,
        pipeline: PipelineId,
    ) -> Result<HashMap<JobId, String>> {
        let rows = store::demands(&self.db, pipeline).await?;
        if rows.is_empty() {
            return Ok(HashMap::new());
        }
        let name = self.name_of(project).await?;
        let held = self.held(&self.db).await?;
        let members = self.members(&held).await?;
        let now = self.clock.now();
        let mut known: HashMap<String, Option<String>> = HashMap::new();
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let stuck = known.entry(row.queue_key).or_insert_with_key(|key| {
                    let why = why(&Demand::parse(key)?, &name.group, &held, &members, now);
                    why.is_stuck().then(|| why.text())
                });
                Some((row.id, stuck.clone()?))
            })
            .collect())
    }

    /// Runners as the API tells them, each with what it has; jobs only of those projects that `sees` lets through.
    pub(crate) async fn runners_told(
        &self,
        list: Vec<Runner>,
        sees: impl Fn(ProjectId) -> bool,
    ) -> Result<Vec<wire::Runner>> {
        let now = self.clock.now();
        let held = self.held(&self.db).await?;
        let mut jobs: HashMap<RunnerId, Vec<wire::HeldJob>> = HashMap::new();
        for row in store::held_jobs(&self.db).await? {
            if sees(row.project_id) {
                jobs.entry(row.runner_id).or_default().push(wire::HeldJob {
                    id: row.id,
                    project: self.name_of(row.project_id).await?.path,
                    name: row.name,
                    status: row.status.to_string(),
                    started_at: row.started_at,
                });
            }
        }
        Ok(list
            .into_iter()
            .map(|runner| wire::Runner {
                held: held.by_runner.get(&runner.id).copied().unwrap_or_default(),
                jobs: jobs.remove(&runner.id).unwrap_or_default(),
                ..held.heard_with(runner).to_wire(now)
            })
            .collect())
    }

    /// Runners that a project may use.
    pub(crate) async fn runners_of_project(&self, project: ProjectId, group: &str) -> Result<Vec<Runner>> {
        Ok(self
            .members(&Held::default())
            .await?
            .into_iter()
            .filter(|m| m.reach.covers(project, group))
            .map(|m| m.runner)
            .collect())
    }
}

/// Seconds until the job starts, if the queue goes on at its pace: so many jobs started in the last [`PACE`].
fn estimate(why: &Why, place: i64, started: i64) -> Option<i64> {
    (why.is_turn() && started > 0).then(|| {
        let seconds = i64::try_from(PACE.as_secs()).unwrap_or_default();
        place.saturating_mul(seconds) / started
    })
}

/// In words: `about 3 minutes`.
pub(crate) fn in_words(estimate: Option<i64>) -> String {
    match estimate {
        None => String::new(),
        Some(..=59) => "under a minute".to_owned(),
        Some(seconds @ ..=5_399) => format!("about {} min", (seconds + 30) / 60),
        Some(seconds) => format!("about {} h", (seconds + 1_800) / 3_600),
    }
}

/// Since when a job waits, as told in a list.
pub(crate) fn waited(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(String::new, |at| bascule_web::duration(now.since(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_goes_by_place_and_pace() {
        let busy = Why::Busy { runners: 2, jobs: 2 };
        assert_eq!(estimate(&busy, 10, 90), Some(100));
        assert_eq!(
            estimate(&busy, 10, 0),
            None,
            "nothing started lately: nobody knows"
        );
        assert_eq!(estimate(&Why::NoRunner, 1, 90), None);
        assert_eq!(in_words(Some(5)), "under a minute");
        assert_eq!(in_words(Some(100)), "about 2 min");
        assert_eq!(in_words(Some(7_200)), "about 2 h");
    }
}
