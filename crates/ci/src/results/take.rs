//! Reading the reports of a job that has ended. What is wrong with a report is kept beside it and shown; only a
//! database that cannot be reached is an error, so that the fact is looked at again.

use super::{
    coverage::{InLog, Share},
    read::{self, Document, SENT_BYTES, cobertura, codequality, dotenv, junit},
    store::{self, NewCoverage},
};
use crate::{
    Ci,
    job::{self, Artifact, Job},
    pipeline::{self, Pipeline},
    status::JobStatus,
};
use async_trait::async_trait;
use bascule_core::{Actor, ActorKind, JobId, Result};
use bascule_ledger::{BoxError, Entry, Fact as _, Subscriber, decode, facts::ci::JobFinished};
use std::collections::{BTreeMap, HashSet};

/// Longest list of lines not reached that is kept for one job, in bytes of JSON.
const MISSED: usize = 2 * 1024 * 1024;
/// Bytes of a log looked at in one go.
const PIECE: usize = 256 * 1024;
/// Earlier reports of one commit that are read again to see what passed then.
const EARLIER: usize = 3;

/// Reads what jobs reported once they have ended.
pub struct Results(pub(crate) Ci);

#[async_trait]
impl Subscriber for Results {
    fn name(&self) -> &'static str {
        "ci.results"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![JobFinished::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let fact: JobFinished = decode(entry)?;
        let Some(job) = job::store::find(&self.0.db, fact.job).await? else {
            return Ok(());
        };
        let Some(pipeline) = pipeline::store::find(&self.0.db, job.pipeline_id).await? else {
            return Ok(());
        };
        if matches!(job.status, JobStatus::Success | JobStatus::Failed) {
            match self.0.take_results(&job, &pipeline).await {
                Err(problem) if self.0.stuck.again(self.name(), entry.seq) => return Err(problem.into()),
                Err(problem) => {
                    tracing::error!(job = %job.id, %problem, "what the job reported cannot be read");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

impl Ci {
    async fn take_results(&self, job: &Job, pipeline: &Pipeline) -> Result<()> {
        let mut any = false;
        for artifact in job::artifact::of_job(&self.db, job.id).await? {
            any = true;
            let taken = match artifact.kind.as_str() {
                "junit" => self.take_tests(job, pipeline, &artifact).await?,
                // Runners know such a report by its format.
                "cobertura" | "jacoco" | "coverage_report" => self.take_coverage(job, &artifact).await?,
                "codequality" => self.take_quality(job, pipeline, &artifact).await?,
                "sarif" => self.take_sarif(job, pipeline, &artifact).await?,
                "cyclonedx" => self.count_components(&artifact).await?,
                _ => continue,
            };
            let (found, fault) = match taken {
                Ok(found) => (i64::try_from(found).unwrap_or(i64::MAX), None),
                Err(why) => (0, Some(read::one_line(&why, 500))),
            };
            let tx = self.db.begin().await?;
            store::put_report(&tx, job, &artifact.kind, found, fault.as_deref()).await?;
            tx.commit().await?;
        }
        if let Some(mut look) = job.spec.0.coverage.as_deref().and_then(InLog::new) {
            any = true;
            let mut at = 0;
            loop {
                let bytes = job::log::read(&self.db, &self.blobs, job.id, at, PIECE).await?;
                if bytes.is_empty() {
                    break;
                }
                at += bytes.len() as u64;
                look.push(&bytes);
            }
            if let Some(Share(share)) = look.finish() {
                let coverage = NewCoverage {
                    source: "log",
                    share,
                    covered: None,
                    lines: None,
                    missed: None,
                };
                self.keep_coverage(job, &coverage).await?;
            }
        }
        if any {
            // Who looks at the pipeline sees what was found without asking again.
            self.signals.changed(crate::Change::Pipeline(job.pipeline_id));
        }
        Ok(())
    }

    /// The files of a report, or why they cannot be read.
    async fn documents(&self, artifact: &Artifact) -> Result<Result<Vec<Document>, String>> {
        if u64::try_from(artifact.size).unwrap_or(u64::MAX) > SENT_BYTES {
            return Ok(Err(format!("it is larger than {} MiB", SENT_BYTES / 1024 / 1024)));
        }
        let Some(bytes) = self.blobs.read(&artifact.digest, SENT_BYTES).await? else {
            return Ok(Err("it is no longer kept".to_owned()));
        };
        Ok(worked(move || read::unpack(bytes.to_vec())).await)
    }

    /// What a report says, or why it cannot be read.
    async fn parsed<T: Send + 'static>(
        &self,
        artifact: &Artifact,
        read: impl FnOnce(&[Document]) -> Result<T, String> + Send + 'static,
    ) -> Result<Result<T, String>> {
        Ok(match self.documents(artifact).await? {
            Ok(documents) => worked(move || read(&documents)).await,
            Err(why) => Err(why),
        })
    }

    /// The tests of a job, read from its report as long as it is kept.
    pub(crate) async fn read_tests(&self, job: JobId) -> Result<Option<junit::Tests>> {
        let found = job::artifact::of_job(&self.db, job).await?;
        let Some(artifact) = found.into_iter().find(|artifact| artifact.kind == "junit") else {
            return Ok(None);
        };
        Ok(self.parsed(&artifact, junit::read).await?.ok())
    }

    async fn take_tests(
        &self,
        job: &Job,
        pipeline: &Pipeline,
        artifact: &Artifact,
    ) -> Result<Result<usize, String>> {
        let tests = match self.parsed(artifact, junit::read).await? {
            Ok(tests) => tests,
            Err(why) => return Ok(Err(why)),
        };
        let flaky = self.flaky_in(job, &pipeline.sha, &tests).await?;
        let tx = self.db.begin().await?;
        store::put_tests(&tx, job, &pipeline.sha, &tests).await?;
        let now = self.clock.now();
        for case in flaky {
            store::put_flaky(&tx, job, &pipeline.sha, case, now).await?;
        }
        tx.commit().await?;
        Ok(Ok(tests.cases.len() + tests.more))
    }

    /// Tests that both failed and passed on this commit: in this run, or in this one and an earlier one of the same
    /// job.
    async fn flaky_in<'a>(
        &self,
        job: &Job,
        sha: &str,
        tests: &'a junit::Tests,
    ) -> Result<Vec<&'a junit::Case>> {
        let mut found: BTreeMap<String, &junit::Case> = tests
            .cases
            .iter()
            .filter(|case| case.flaky)
            .map(|case| (case.key(), case))
            .collect();
        let earlier = store::runs_of_commit(&self.db, job, sha).await?;
        let jobs: Vec<JobId> = earlier.iter().map(|run| run.job_id).collect();
        let failed_before: HashSet<String> = store::failed_keys(&self.db, &jobs).await?.into_iter().collect();
        if !failed_before.is_empty() {
            for case in &tests.cases {
                let key = (case.status == junit::Status::Passed).then(|| case.key());
                if let Some(key) = key.filter(|key| failed_before.contains(key)) {
                    found.insert(key, case);
                }
            }
        }
        let failed: BTreeMap<String, &junit::Case> = tests
            .cases
            .iter()
            .filter(|case| case.status.is_failure())
            .map(|case| (case.key(), case))
            .collect();
        for run in earlier.iter().take(EARLIER) {
            if failed.is_empty() {
                break;
            }
            let Some(then) = self.read_tests(run.job_id).await? else {
                continue;
            };
            for case in then
                .cases
                .iter()
                .filter(|case| case.status == junit::Status::Passed)
            {
                let key = case.key();
                if let Some(now) = failed.get(&key) {
                    found.insert(key, now);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    async fn take_coverage(&self, job: &Job, artifact: &Artifact) -> Result<Result<usize, String>> {
        let project = self.code.project(job.project_id).await?;
        let path = project.map(|project| project.path()).unwrap_or_default();
        let read = move |documents: &[Document]| {
            let reached = cobertura::read(documents, &path)?;
            let mut missed: BTreeMap<&String, Vec<(u32, u32)>> = reached
                .files
                .iter()
                .map(|(file, lines)| (file, cobertura::missed(lines)))
                .collect();
            // A file that is reached as a whole is named too: what another job misses in it is reached by this one.
            let text = serde_json::to_string(&missed)
                .ok()
                .filter(|text| text.len() <= MISSED)
                .or_else(|| {
                    missed.retain(|_, lines| !lines.is_empty());
                    serde_json::to_string(&missed).ok()
                })
                .filter(|text| text.len() <= MISSED);
            Ok((reached.covered, reached.lines, text))
        };
        let (covered, lines, missed) = match self.parsed(artifact, read).await? {
            Ok(outcome) => outcome,
            Err(why) => return Ok(Err(why)),
        };
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let Some(Share(share)) = Share::of(whole(covered), whole(lines)) else {
            return Ok(Err("it tells of no line".to_owned()));
        };
        let coverage = NewCoverage {
            source: "report",
            share,
            covered: Some(whole(covered)),
            lines: Some(whole(lines)),
            missed,
        };
        self.keep_coverage(job, &coverage).await?;
        Ok(Ok(usize::try_from(lines).unwrap_or(usize::MAX)))
    }

    async fn keep_coverage(&self, job: &Job, coverage: &NewCoverage) -> Result<()> {
        let tx = self.db.begin().await?;
        store::put_coverage(&tx, job, coverage).await?;
        Ok(tx.commit().await?)
    }

    async fn take_quality(
        &self,
        job: &Job,
        pipeline: &Pipeline,
        artifact: &Artifact,
    ) -> Result<Result<usize, String>> {
        let tool = job.name.clone();
        let read = move |documents: &[Document]| codequality::to_sarif(documents, &tool);
        match self.parsed(artifact, read).await? {
            Err(why) => Ok(Err(why)),
            Ok((sarif, _)) => self.hand_on(job, pipeline, sarif).await,
        }
    }

    async fn take_sarif(
        &self,
        job: &Job,
        pipeline: &Pipeline,
        artifact: &Artifact,
    ) -> Result<Result<usize, String>> {
        let documents = match self.documents(artifact).await? {
            Ok(documents) => documents,
            Err(why) => return Ok(Err(why)),
        };
        let mut found = 0;
        for document in documents {
            match self.hand_on(job, pipeline, document.bytes).await? {
                Ok(more) => found += more,
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(found))
    }

    /// Gives a report to whoever shows findings on their lines.
    async fn hand_on(&self, job: &Job, pipeline: &Pipeline, sarif: Vec<u8>) -> Result<Result<usize, String>> {
        let Some(findings) = self.findings.get() else {
            return Ok(Err("nobody here shows findings".to_owned()));
        };
        // What is shown on a merge request is about its own commit, not about the one that comes of merging it.
        let sha = pipeline.head_sha.as_deref().unwrap_or(&pipeline.sha);
        let actor = Actor::new(ActorKind::Runner, job.id, format!("job:{}", job.name));
        match findings.take(job.project_id, sha, sarif, &job.name, &actor).await {
            Ok(found) => Ok(Ok(found)),
            // It is the report that is refused, and stays so.
            Err(problem) if problem.status < 500 => Ok(Err(problem.to_string())),
            Err(problem) => Err(problem),
        }
    }

    async fn count_components(&self, artifact: &Artifact) -> Result<Result<usize, String>> {
        #[derive(serde::Deserialize)]
        struct Bom {
            #[serde(rename = "bomFormat")]
            format: String,
            #[serde(default)]
            components: Vec<serde::de::IgnoredAny>,
        }
        self.parsed(artifact, |documents| {
            let mut found = 0;
            for document in documents {
                let bom: Bom = serde_json::from_slice(&document.bytes)
                    .map_err(|error| format!("it is no CycloneDX document: {error}"))?;
                if bom.format != "CycloneDX" {
                    return Err("it is no CycloneDX document".to_owned());
                }
                found += bom.components.len();
            }
            Ok(found)
        })
        .await
    }

    /// Reads the variables that a job made. Refused at once if they cannot be read, so that the job fails and not one
    /// behind it.
    pub(crate) async fn read_dotenv(
        &self,
        artifact: &Artifact,
    ) -> Result<Result<Vec<(String, String)>, String>> {
        Ok(match self.documents(artifact).await? {
            Ok(documents) => dotenv::read(&documents),
            Err(why) => Err(why),
        })
    }
}

/// Does what takes processor time where it holds nobody up.
async fn worked<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err("it could not be read".to_owned()))
}
