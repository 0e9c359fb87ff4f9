//! How what a group requires stands at a commit that is to be merged.
//!
//! What counts is each required job by its name, in the newest pipeline of the commit that has it: so neither a pipeline
//! of less (one for the merge request, of a schedule, run by hand) nor a newer policy stands for what has not run. Which
//! jobs there must be says the policy as it is now, planned for this very commit.

use super::{Template, store};
use crate::{
    Ci,
    fault::Faults,
    job::{self, store::RequiredJob},
    pipeline::{self, MergeRequest, More, Standing, Start},
    plan::Plan,
    ports::{Commit, ProjectInfo},
    request,
    status::{JobStatus, PipelineStatus},
};
use bascule_core::{Actor, PipelineId, ProjectId, Result};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// Answers that are kept: a page of a merge request, the queue and "merge when met" ask again and again.
const KEPT: usize = 1_000;

/// What is to be merged.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The project that it is to be merged into.
    pub project: ProjectId,
    /// Whether its commits come from another project, where nothing of this group's runs.
    pub fork: bool,
    /// The branch and the commit, and where they are to go.
    pub request: &'a MergeRequest,
}

/// What a group requires of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The group's name.
    pub group: String,
    /// Names of the required pipelines that have jobs for this commit.
    pub names: Vec<String>,
    /// How they stand.
    pub stands: Stands,
}

/// How required jobs stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// All that must succeed did.
    Passed,
    /// These have not run for the commit.
    Missing(Vec<String>),
    /// They cannot be planned for it, and why.
    Faulty(String),
    /// These hold it: they failed, were canceled, wait for a person, or have not ended.
    Open {
        /// The pipeline that the first of them belongs to.
        pipeline: PipelineId,
        /// How all of them stand together.
        status: PipelineStatus,
        /// Their names.
        jobs: Vec<String>,
    },
}

/// Names of the jobs that a policy has for a commit, or why it cannot be planned.
type Names = std::result::Result<BTreeSet<String>, String>;

/// What was planned lately, by all that it depends on.
#[derive(Debug, Default)]
pub(crate) struct Expected(Mutex<HashMap<String, Arc<Names>>>);

impl Expected {
    fn get(&self, key: &str) -> Option<Arc<Names>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).cloned()
    }

    fn put(&self, key: String, names: Arc<Names>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, names);
    }
}

impl Ci {
    /// How what the group requires stands at a commit that is to be merged; `None` where it requires nothing of it.
    ///
    /// # Errors
    /// The store or the code cannot be reached.
    pub async fn required_standing(&self, asked: &Asked<'_>) -> Result<Option<Demand>> {
        let (here, info) = (
            self.reach().get(asked.project).await?,
            self.code.project(asked.project).await?,
        );
        let (Some(here), Some(info)) = (here, info) else {
            return Ok(None);
        };
        let Some(held) = store::of_group(&self.db, here.group).await? else {
            return Ok(None);
        };
        let mut templates = held.templates.0;
        templates.retain(|template| template.entry.is_for(&info.name));
        if templates.is_empty() {
            return Ok(None);
        }
        let entries: Vec<String> = templates.iter().map(|one| one.entry.name.clone()).collect();
        let policy = held.sha.unwrap_or_default();
        let expected = self.expected(asked, &info, &policy, templates).await?;
        let demand = |names, stands| {
            Ok(Some(Demand {
                group: held.group_name.clone(),
                names,
                stands,
            }))
        };
        let expected = match expected.as_ref() {
            Err(why) => return demand(entries, Stands::Faulty(why.clone())),
            Ok(expected) if expected.is_empty() => return Ok(None),
            Ok(expected) => expected,
        };
        let names = entries
            .into_iter()
            .filter(|entry| {
                let jobs = format!("{entry}/");
                expected.iter().any(|name| name.starts_with(&jobs))
            })
            .collect();
        let branch = (!asked.fork).then_some(asked.request.source_branch.as_str());
        let rows = job::store::required_of_commit(&self.db, asked.project, branch, &asked.request.source_sha);
        demand(names, weigh(expected, rows.await?))
    }

    /// The jobs that the policy has for the branch's commit and for its merge request.
    async fn expected(
        &self,
        asked: &Asked<'_>,
        info: &ProjectInfo,
        policy: &str,
        templates: Vec<Template>,
    ) -> Result<Arc<Names>> {
        let MergeRequest {
            iid,
            source_branch,
            source_sha,
            target_branch,
            base_sha,
            title,
            ..
        } = asked.request;
        let (project, default) = (asked.project, &info.default_branch);
        let before = pipeline::store::of_push(&self.db, project, source_branch, source_sha)
            .await?
            .and_then(|pushed| pushed.before_sha);
        let key = format!(
            "{project} {policy} {source_sha} {source_branch} {target_branch} {default} {base_sha} {before:?} {iid} {} {title}",
            info.name
        );
        if let Some(known) = self.expected.get(&key) {
            return Ok(known);
        }
        let mut names = BTreeSet::new();
        let mut faults = Faults(Vec::new());
        for start in [
            push_of(project, source_branch, source_sha, before),
            Start {
                source: request::SOURCE,
                more: More {
                    merge_request: Some(MergeRequest {
                        event: request::DETACHED.to_owned(),
                        ..asked.request.clone()
                    }),
                    ..More::default()
                },
                ..push_of(
                    project,
                    source_branch,
                    source_sha,
                    Some(base_sha.clone()).filter(|sha| !sha.is_empty()),
                )
            },
        ] {
            names.extend(self.required_names(&start, info, &templates, &mut faults).await?);
        }
        let found = if faults.0.is_empty() {
            Ok(names)
        } else {
            Err(faults.first().to_string())
        };
        let found = Arc::new(found);
        self.expected.put(key, Arc::clone(&found));
        Ok(found)
    }

    /// Names of the jobs that the policy has for what is to be made.
    async fn required_names(
        &self,
        start: &Start,
        info: &ProjectInfo,
        templates: &[Template],
        faults: &mut Faults,
    ) -> Result<BTreeSet<String>> {
        let message = self.code.commit_message(start.project, &start.sha).await?;
        let draft = self.draft(start, message.unwrap_or_default()).await?;
        let placed = self
            .with_required(&draft, info, Plan::default(), templates.to_vec(), faults)
            .await?;
        Ok(placed.jobs.iter().map(|placed| plain(&placed.job.name)).collect())
    }

    /// Whether the push of a request's commit runs all of these required jobs, so that its request need not run them too.
    pub(crate) async fn runs_at_push(
        &self,
        start: &Start,
        info: &ProjectInfo,
        templates: &[Template],
        jobs: &[super::Placed],
    ) -> Result<bool> {
        let sha = start.more.head_sha.as_ref().unwrap_or(&start.sha);
        let before = pipeline::store::of_push(&self.db, start.project, &start.reference, sha)
            .await?
            .and_then(|pushed| pushed.before_sha);
        let push = push_of(start.project, &start.reference, sha, before);
        let mut faults = Faults(Vec::new());
        let names = self.required_names(&push, info, templates, &mut faults).await?;
        Ok(jobs.iter().all(|placed| names.contains(&plain(&placed.job.name))))
    }
}

/// A push of a commit to a branch.
fn push_of(project: ProjectId, branch: &str, sha: &str, before: Option<String>) -> Start {
    let commit = Commit {
        reference: branch.to_owned(),
        tag: false,
        sha: sha.to_owned(),
    };
    Start {
        before,
        ..Start::of(project, commit, "push", Actor::system())
    }
}

/// A required job's name without what it got because a job of the project is called the same.
fn plain(name: &str) -> String {
    let mut name = name;
    while let Some(short) = name.strip_suffix(super::TWICE) {
        name = short;
    }
    name.to_owned()
}

/// How these jobs stand; `rows` are what ran of them, the newest pipeline first.
fn weigh(expected: &BTreeSet<String>, rows: Vec<RequiredJob>) -> Stands {
    let mut newest: BTreeMap<String, RequiredJob> = BTreeMap::new();
    for row in rows {
        let name = plain(&row.name);
        if expected.contains(&name) {
            newest.entry(name).or_insert(row);
        }
    }
    let standings: Vec<Standing> = newest.values().map(RequiredJob::standing).collect();
    let status = pipeline::summarize(&standings);
    let missing: Vec<String> = expected
        .iter()
        .filter(|name| !newest.contains_key(*name))
        .cloned()
        .collect();
    let lost = matches!(status, PipelineStatus::Failed | PipelineStatus::Canceled);
    if !lost && !missing.is_empty() {
        return Stands::Missing(missing);
    }
    let holds = |row: &RequiredJob| {
        let Standing {
            status: job,
            allow_failure,
        } = row.standing();
        match status {
            PipelineStatus::Failed => job == JobStatus::Failed && !allow_failure,
            PipelineStatus::Canceled => job == JobStatus::Canceled && !allow_failure,
            PipelineStatus::Manual => job == JobStatus::Manual && !allow_failure,
            PipelineStatus::Success | PipelineStatus::Warning | PipelineStatus::Skipped => false,
            _ => !job.is_final(),
        }
    };
    let holding: Vec<(&String, &RequiredJob)> = newest.iter().filter(|(_, row)| holds(row)).collect();
    match holding.first() {
        None => Stands::Passed,
        Some((_, first)) => Stands::Open {
            pipeline: first.pipeline_id,
            status,
            jobs: holding.iter().map(|(name, _)| (*name).clone()).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AllowFailure;
    use bascule_store::Json;

    fn row(pipeline: i64, name: &str, status: JobStatus) -> RequiredJob {
        RequiredJob {
            name: name.to_owned(),
            status,
            allow_failure: Json(AllowFailure::default()),
            exit_code: None,
            pipeline_id: PipelineId(pipeline),
        }
    }

    fn expected(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_newer_pipeline_of_less_does_not_stand_for_what_failed() {
        let all = expected(&["s/note", "s/scan"]);
        let rows = vec![
            row(9, "s/note", JobStatus::Success),
            row(8, "s/note", JobStatus::Success),
            row(8, "s/scan", JobStatus::Failed),
        ];
        let Stands::Open {
            pipeline,
            status,
            jobs,
        } = weigh(&all, rows)
        else {
            panic!("it holds");
        };
        assert_eq!(
            (pipeline.0, status, jobs),
            (8, PipelineStatus::Failed, vec!["s/scan".to_owned()])
        );
        let again = vec![
            row(9, "s/scan (required)", JobStatus::Success),
            row(8, "s/scan", JobStatus::Failed),
        ];
        assert_eq!(
            weigh(&expected(&["s/scan"]), again),
            Stands::Passed,
            "the newest run counts"
        );
    }

    #[test]
    fn what_did_not_run_is_missing_and_what_waits_is_said() {
        let all = expected(&["s/note", "s/scan"]);
        let rows = vec![row(9, "s/note", JobStatus::Running)];
        assert_eq!(weigh(&all, rows), Stands::Missing(vec!["s/scan".to_owned()]));
        for (status, whole) in [
            (JobStatus::Canceled, PipelineStatus::Canceled),
            (JobStatus::Manual, PipelineStatus::Manual),
            (JobStatus::Running, PipelineStatus::Running),
            (JobStatus::Pending, PipelineStatus::Running),
        ] {
            let rows = vec![row(9, "s/note", JobStatus::Success), row(9, "s/scan", status)];
            let Stands::Open { status, jobs, .. } = weigh(&all, rows) else {
                panic!("{status} holds");
            };
            assert_eq!((status, jobs), (whole, vec!["s/scan".to_owned()]));
        }
        // A job for failures alone, say, is skipped where all is well.
        let rows = vec![
            row(9, "s/note", JobStatus::Skipped),
            row(9, "s/scan", JobStatus::Success),
        ];
        assert_eq!(weigh(&all, rows), Stands::Passed);
    }
}
