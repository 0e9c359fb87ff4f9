//! Two years of an institution's facts: a realistic mix over all projects, appended as the platform appends
//! them, each dated by a clock that is moved by hand.

use crate::{Result, history::Numbers, tell};
use bascule_core::{
    Actor, ActorKind, Clock, DeploymentId, Digest, EnvironmentId, FakeClock, IncidentId, JobId, PipelineId,
    ProjectId, ReleaseId, RolloutId, RunnerId, SystemClock, Timestamp,
};
use bascule_ledger::{
    Fact, InstanceKey, Ledger,
    facts::{
        ci::{JobFinished, JobStarted, PipelineCreated, PipelineFinished},
        delivery::{DeploymentCreated, DeploymentFinished, EnvironmentCreated, RolloutFinished},
        forge::{BranchUpdated, CommitStamp, TagUpdated},
        incidents::{IncidentAcknowledged, IncidentOpened, IncidentResolved},
        supplychain::ReleasePublished,
        telemetry::TrafficSummarised,
    },
};
use bascule_store::{Db, DbOptions, Tx};
use std::{path::Path, sync::Arc, time::Duration};

const SPAN: Duration = Duration::from_secs(2 * 365 * 86_400);
/// Facts in one transaction.
const BATCH: usize = 10_000;

struct Project {
    id: ProjectId,
    staging: EnvironmentId,
    production: EnvironmentId,
    head: String,
    releases: u64,
    waiting: Vec<CommitStamp>,
}

struct Writer {
    ledger: Ledger,
    db: Db,
    clock: FakeClock,
    tx: Option<Tx>,
    written: usize,
    people: Vec<Actor>,
    system: Actor,
    runner: RunnerId,
    numbers: Numbers,
}

/// Appends about that many facts to a stopped platform's database; how many it were.
pub async fn append(data: &Path, projects: &[ProjectId], facts: usize) -> Result<usize> {
    let db = Db::open(&DbOptions::Sqlite(data.join("bascule.db"))).await?;
    let key = InstanceKey::load_or_create(&data.join("instance.key"))?;
    let end = SystemClock.now();
    let clock = FakeClock::at(end.minus(SPAN));
    let mut numbers = Numbers::new(2);
    let mut writer = Writer {
        ledger: Ledger::new(db.clone(), Arc::new(clock.clone()), key),
        db: db.clone(),
        clock,
        tx: None,
        written: 0,
        people: (0..200)
            .map(|n| Actor::new(ActorKind::User, format!("person-{n}"), format!("person{n}")))
            .collect(),
        system: Actor::system(),
        runner: RunnerId::new(),
        numbers: Numbers::new(3),
    };
    let mut projects: Vec<Project> = projects
        .iter()
        .map(|id| Project {
            id: *id,
            staging: EnvironmentId::new(),
            production: EnvironmentId::new(),
            head: sha(&mut numbers),
            releases: 0,
            waiting: Vec::new(),
        })
        .collect();
    // Room is left at the end, so that nothing lies in the future.
    let begun = writer.clock.now();
    let step = (SPAN - Duration::from_secs(86_400)) / u32::try_from(facts.max(1))?;
    for project in &projects {
        writer.environments(project).await?;
    }
    while writer.written < facts {
        // A tenth of the projects sees half of the work.
        let busy = projects.len().div_ceil(10);
        let which = if numbers.below(2) == 0 {
            numbers.below(busy)
        } else {
            numbers.below(projects.len())
        };
        writer.change(&mut projects[which]).await?;
        let due = begun.plus(step * u32::try_from(writer.written)?);
        writer.clock.advance(due.since(writer.clock.now()));
    }
    if let Some(tx) = writer.tx.take() {
        tx.commit().await?;
    }
    db.close().await;
    Ok(writer.written)
}

fn sha(numbers: &mut Numbers) -> String {
    format!(
        "{:016x}{:016x}{:08x}",
        numbers.next(),
        numbers.next(),
        numbers.next() >> 32
    )
}

impl Writer {
    async fn put<F: Fact>(&mut self, actor: &Actor, fact: &F) -> Result<()> {
        let tx = match self.tx.take() {
            Some(tx) => tx,
            None => self.db.begin().await?,
        };
        self.ledger.append(&tx, actor, fact).await?;
        self.written += 1;
        if self.written.is_multiple_of(BATCH) {
            tx.commit().await?;
            if self.written.is_multiple_of(BATCH * 10) {
                tell(&format!("{} facts appended", self.written));
            }
        } else {
            self.tx = Some(tx);
        }
        Ok(())
    }

    fn later(&mut self, seconds: u64) -> Timestamp {
        self.clock.advance(Duration::from_secs(seconds));
        self.clock.now()
    }

    async fn environments(&mut self, project: &Project) -> Result<()> {
        let system = self.system.clone();
        for (environment, tier) in [(project.staging, "staging"), (project.production, "production")] {
            let (name, tier) = (tier.to_owned(), tier.to_owned());
            self.put(
                &system,
                &EnvironmentCreated {
                    project: project.id,
                    environment,
                    name,
                    tier,
                },
            )
            .await?;
        }
        Ok(())
    }

    /// One push and what comes of it.
    async fn change(&mut self, project: &mut Project) -> Result<()> {
        let who = self.numbers.below(self.people.len());
        let person = self.people[who].clone();
        let author = Digest::of(person.name.as_bytes()).hex()[..16].to_owned();
        let at = self.clock.now();
        let before = project.head.clone();
        let commits: Vec<CommitStamp> = (0..=self.numbers.below(3))
            .map(|n| CommitStamp {
                sha: sha(&mut self.numbers),
                at: at.minus(Duration::from_secs(600 * (n as u64 + 1))),
                author: author.clone(),
            })
            .collect();
        project.head = commits
            .first()
            .map(|commit| commit.sha.clone())
            .unwrap_or_default();
        project.waiting.splice(0..0, commits.iter().cloned());
        project.waiting.truncate(50);
        let push = BranchUpdated {
            project: project.id,
            branch: "main".to_owned(),
            before: Some(before),
            after: Some(project.head.clone()),
            default: true,
            forced: false,
            commit_count: i64::try_from(commits.len())?,
            commits,
            at,
            ci_skip: false,
            ci_options: None,
        };
        self.put(&person, &push).await?;
        let good = self.numbers.below(8) > 0;
        self.pipeline(project, "main", false, good).await?;
        if self.numbers.below(4) == 0 {
            self.traffic(project).await?;
        }
        if good && self.numbers.below(12) == 0 {
            self.release(project, &person).await?;
        }
        Ok(())
    }

    async fn pipeline(
        &mut self,
        project: &Project,
        reference: &str,
        tag: bool,
        good: bool,
    ) -> Result<PipelineId> {
        let (pipeline, system) = (PipelineId(i64::try_from(self.written)?), self.system.clone());
        let runner = Actor::new(ActorKind::Runner, self.runner, "runner");
        let created = PipelineCreated {
            project: project.id,
            pipeline,
            reference: reference.to_owned(),
            tag,
            sha: project.head.clone(),
            source: "push".to_owned(),
            jobs: 2,
        };
        self.put(&system, &created).await?;
        let mut duration_ms = 0;
        for (name, ends_well) in [("build", true), ("test", good)] {
            let job = JobId(i64::try_from(self.written)?);
            let started = JobStarted {
                project: project.id,
                pipeline,
                job,
                name: name.to_owned(),
                runner: self.runner,
                queued_ms: 40 + i64::try_from(self.numbers.below(400))?,
            };
            self.put(&runner, &started).await?;
            let seconds = 5 + self.numbers.below(20) as u64;
            self.later(seconds);
            let lasted = i64::try_from(seconds)? * 1000;
            duration_ms += lasted;
            let finished = JobFinished {
                project: project.id,
                pipeline,
                job,
                name: name.to_owned(),
                status: if ends_well { "success" } else { "failed" }.to_owned(),
                failure_reason: (!ends_well).then(|| "script_failure".to_owned()),
                duration_ms: lasted,
            };
            self.put(&runner, &finished).await?;
        }
        let finished = PipelineFinished {
            project: project.id,
            pipeline,
            reference: reference.to_owned(),
            sha: project.head.clone(),
            status: if good { "success" } else { "failed" }.to_owned(),
            duration_ms,
        };
        self.put(&system, &finished).await?;
        Ok(pipeline)
    }

    async fn traffic(&mut self, project: &Project) -> Result<()> {
        let to = self.clock.now();
        let total = 1000 + self.numbers.next() % 50_000;
        let summary = TrafficSummarised {
            project: project.id,
            environment: project.production,
            environment_name: "production".to_owned(),
            tier: "production".to_owned(),
            from: to.minus(Duration::from_secs(300)),
            to,
            total,
            good: total - self.numbers.next() % (total / 200 + 1),
            objective: Some(99.5),
        };
        let system = self.system.clone();
        self.put(&system, &summary).await
    }

    async fn release(&mut self, project: &mut Project, person: &Actor) -> Result<()> {
        let system = self.system.clone();
        let previous = (project.releases > 0).then(|| format!("1.{}.0", project.releases - 1));
        let version = format!("1.{}.0", project.releases);
        let tag = format!("v{version}");
        project.releases += 1;
        let at = self.clock.now();
        let pushed = TagUpdated {
            project: project.id,
            tag: tag.clone(),
            before: None,
            after: Some(project.head.clone()),
            at,
            ci_skip: false,
            ci_options: None,
        };
        self.put(person, &pushed).await?;
        let pipeline = self.pipeline(project, &tag, true, true).await?;
        let commits = std::mem::take(&mut project.waiting);
        let release = ReleaseId::new();
        let published = ReleasePublished {
            project: project.id,
            release,
            tag,
            version: version.clone(),
            sha: project.head.clone(),
            pipeline,
            manifest: Digest::of(project.head.as_bytes()),
            components: 120,
            previous: previous.clone(),
            commit_count: i64::try_from(commits.len())?,
            commits,
            at: self.clock.now(),
        };
        self.put(&system, &published).await?;
        for tier in ["staging", "production"] {
            let fails = tier == "production" && previous.is_some() && self.numbers.below(12) == 0;
            self.deploy(
                project,
                person,
                tier,
                release,
                &version,
                previous.as_deref(),
                fails,
            )
            .await?;
        }
        Ok(())
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one deployment's facts, told in one place"
    )]
    async fn deploy(
        &mut self,
        project: &Project,
        person: &Actor,
        tier: &str,
        release: ReleaseId,
        version: &str,
        previous: Option<&str>,
        fails: bool,
    ) -> Result<()> {
        let system = self.system.clone();
        let environment = if tier == "production" {
            project.production
        } else {
            project.staging
        };
        let deployment = DeploymentId::new();
        let created_at = self.clock.now();
        let created = DeploymentCreated {
            project: project.id,
            deployment,
            environment,
            environment_name: tier.to_owned(),
            tier: tier.to_owned(),
            release,
            version: version.to_owned(),
            artifact: Digest::of(version.as_bytes()),
            cause: if tier == "production" {
                "promotion"
            } else {
                "release"
            }
            .to_owned(),
            previous: None,
        };
        self.put(person, &created).await?;
        let exposed_at = self.later(20);
        let at = self.later(300);
        if let (Some(baseline), "production") = (previous, tier) {
            let finished = RolloutFinished {
                project: project.id,
                rollout: RolloutId::new(),
                deployment,
                environment,
                environment_name: tier.to_owned(),
                version: version.to_owned(),
                baseline: baseline.to_owned(),
                result: if fails { "aborted" } else { "promoted" }.to_owned(),
                cause: "judge".to_owned(),
                reason: if fails {
                    "it errs more than the old version"
                } else {
                    "every step passed"
                }
                .to_owned(),
                exposed_at: Some(exposed_at),
                first_error_at: fails.then_some(exposed_at),
                at,
            };
            self.put(&system, &finished).await?;
        }
        let finished = DeploymentFinished {
            project: project.id,
            deployment,
            environment,
            environment_name: tier.to_owned(),
            tier: tier.to_owned(),
            release,
            version: version.to_owned(),
            result: if fails { "rolled_back" } else { "succeeded" }.to_owned(),
            reason: String::new(),
            exposed: true,
            created_at,
            at,
        };
        self.put(&system, &finished).await?;
        if fails {
            self.incident(project, person, deployment, exposed_at, at).await?;
        }
        Ok(())
    }

    async fn incident(
        &mut self,
        project: &Project,
        person: &Actor,
        deployment: DeploymentId,
        began_at: Timestamp,
        detected_at: Timestamp,
    ) -> Result<()> {
        let (system, incident, number) = (
            self.system.clone(),
            IncidentId::new(),
            i64::try_from(self.written)?,
        );
        let opened = IncidentOpened {
            project: project.id,
            incident,
            number,
            title: "The rollout was undone".to_owned(),
            severity: "major".to_owned(),
            cause: "rollout".to_owned(),
            deployment: Some(deployment.to_string()),
            environment: Some("production".to_owned()),
            drill: false,
            began_at,
            detected_at,
        };
        self.put(&system, &opened).await?;
        let at = self.later(120);
        self.put(
            person,
            &IncidentAcknowledged {
                project: project.id,
                incident,
                number,
                at,
            },
        )
        .await?;
        let at = self.later(1800);
        let resolved = IncidentResolved {
            project: project.id,
            incident,
            number,
            restored_at: detected_at,
            at,
        };
        self.put(person, &resolved).await
    }
}
