//! Keeping the tables in step with the ledger. Each batch of facts and the cursor move in one transaction, so
//! every fact is applied exactly once, also those that only add up, like traffic.

use crate::{Insights, schema::TABLES};
use async_trait::async_trait;
use bascule_core::{ProjectId, ReleaseId, Result, Timestamp};
use bascule_ledger::{
    BoxError, Entry, Fact, Filter, Page, Subscriber,
    facts::{
        ci::{PipelineCreated, PipelineFinished},
        delivery::{DeploymentCreated, DeploymentFinished, EnvironmentCreated, RolloutFinished},
        forge::{BranchUpdated, CommitStamp, ProjectCreated, ProjectDeleted},
        incidents::{
            IncidentAcknowledged, IncidentChanged, IncidentIdentified, IncidentOpened, IncidentResolved,
        },
        supplychain::ReleasePublished,
        telemetry::TrafficSummarised,
    },
};
use bascule_store::{Query as _, Result as StoreResult, Tx, Value, args, row};
use std::{collections::HashMap, sync::atomic::Ordering};

/// Facts read at once. All kinds are read and most left alone: going along the ledger's own order is far
/// faster than asking for two dozen kinds.
const BATCH: i64 = 1000;
/// Batches that a page may catch up on before it is shown as it stands.
const SOME: usize = 3;
/// A day in microseconds.
pub(crate) const DAY: i64 = 86_400_000_000;
/// Rows of one INSERT.
const ROWS: usize = 200;
/// Releases that one deployment brings to production at most.
const CHAIN: usize = 500;

/// Applies facts to the tables.
pub struct Project(pub Insights);

#[async_trait]
impl Subscriber for Project {
    fn name(&self) -> &'static str {
        "insights.project"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            ProjectCreated::KIND,
            ProjectDeleted::KIND,
            BranchUpdated::KIND,
            EnvironmentCreated::KIND,
            ReleasePublished::KIND,
            DeploymentCreated::KIND,
            DeploymentFinished::KIND,
            RolloutFinished::KIND,
            IncidentOpened::KIND,
            IncidentChanged::KIND,
            IncidentAcknowledged::KIND,
            IncidentIdentified::KIND,
            IncidentResolved::KIND,
            TrafficSummarised::KIND,
            PipelineCreated::KIND,
            PipelineFinished::KIND,
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        // A batch reaches further than this fact; `ahead` says how far.
        while self.0.cursor().await? < entry.seq {
            self.0.batch().await?;
        }
        Ok(())
    }

    fn ahead(&self) -> i64 {
        self.0.applied.load(Ordering::SeqCst)
    }
}

impl Insights {
    /// The number of the newest fact that was applied.
    pub(crate) async fn cursor(&self) -> StoreResult<i64> {
        self.db
            .count("SELECT seq AS n FROM insight_cursor WHERE one = 1", args![])
            .await
    }

    /// Applies the newest facts before a page is shown; a long backlog is left to the subscriber.
    pub(crate) async fn catch_up(&self) -> StoreResult<()> {
        for _ in 0..SOME {
            if !self.batch().await? {
                break;
            }
        }
        Ok(())
    }

    /// Applies the next facts; `false` when there were none.
    async fn batch(&self) -> StoreResult<bool> {
        if self.ledger.head().await? <= self.cursor().await? {
            return Ok(false);
        }
        let _alone = self.projecting.lock().await;
        let after = self.cursor().await?;
        let entries = self
            .ledger
            .read(&Filter::default(), Page::After { after, limit: BATCH })
            .await?;
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            return Ok(false);
        };
        let tx = self.db.begin().await?;
        let moved = tx
            .run(
                "UPDATE insight_cursor SET seq = $1 WHERE one = 1 AND seq = $2",
                args![last, after],
            )
            .await?;
        if moved == 0 {
            // Another replica applied them.
            return Ok(true);
        }
        for entry in &entries {
            apply(&tx, entry).await?;
        }
        tx.commit().await?;
        self.applied.fetch_max(last, Ordering::SeqCst);
        Ok(true)
    }

    /// Empties the tables and builds them again from the ledger.
    ///
    /// # Errors
    /// The database refused.
    pub async fn rebuild(&self) -> Result<()> {
        let tx = self.db.begin().await?;
        for table in TABLES {
            tx.run(&format!("DELETE FROM {table}"), args![]).await?;
        }
        tx.run("INSERT INTO insight_cursor (one, seq) VALUES (1, 0)", args![])
            .await?;
        tx.commit().await?;
        self.applied.store(0, Ordering::SeqCst);
        while self.batch().await? {}
        self.cache.clear();
        Ok(())
    }
}

async fn apply(tx: &Tx, entry: &Entry) -> StoreResult<()> {
    match entry.kind.as_str() {
        ProjectCreated::KIND => match entry.fact::<ProjectCreated>() {
            Some(fact) => project_created(tx, entry, &fact).await,
            None => unreadable(entry),
        },
        ProjectDeleted::KIND => {
            let sql = "UPDATE insight_project SET deleted = TRUE WHERE project_id = $1";
            tx.run(sql, args![entry.project]).await.map(drop)
        }
        BranchUpdated::KIND => match entry.fact::<BranchUpdated>() {
            Some(fact) => contributors(tx, entry.seq, fact.project, &fact.commits).await,
            None => unreadable(entry),
        },
        EnvironmentCreated::KIND => match entry.fact::<EnvironmentCreated>() {
            Some(fact) => {
                let sql = "INSERT INTO insight_environment (environment_id, name, tier) VALUES ($1, $2, $3)
                           ON CONFLICT (environment_id) DO UPDATE SET name = $2, tier = $3";
                tx.run(sql, args![fact.environment, fact.name, fact.tier])
                    .await
                    .map(drop)
            }
            None => unreadable(entry),
        },
        ReleasePublished::KIND => match entry.fact::<ReleasePublished>() {
            Some(fact) => release_published(tx, entry.seq, &fact).await,
            None => unreadable(entry),
        },
        DeploymentCreated::KIND => match entry.fact::<DeploymentCreated>() {
            Some(fact) => deployment_created(tx, entry.seq, &fact).await,
            None => unreadable(entry),
        },
        DeploymentFinished::KIND => match entry.fact::<DeploymentFinished>() {
            Some(fact) => deployment_finished(tx, entry.seq, &fact).await,
            None => unreadable(entry),
        },
        RolloutFinished::KIND => match entry.fact::<RolloutFinished>() {
            // An alert may have opened the incident before the rollout was undone.
            Some(fact) if fact.result == "aborted" => {
                let sql = "UPDATE insight_incident SET deployment_id = COALESCE(deployment_id, $2)
                           WHERE environment_id = $1 AND resolved_at IS NULL";
                tx.run(sql, args![fact.environment, fact.deployment])
                    .await
                    .map(drop)
            }
            Some(_) => Ok(()),
            None => unreadable(entry),
        },
        IncidentOpened::KIND => match entry.fact::<IncidentOpened>() {
            Some(fact) => incident_opened(tx, entry.seq, &fact).await,
            None => unreadable(entry),
        },
        kind if kind.starts_with("incident.") => incident_went_on(tx, entry).await,
        TrafficSummarised::KIND => match entry.fact::<TrafficSummarised>() {
            Some(fact) => traffic(tx, entry.seq, &fact).await,
            None => unreadable(entry),
        },
        PipelineCreated::KIND => match entry.fact::<PipelineCreated>() {
            Some(fact) => {
                let sql = "INSERT INTO insight_pipeline (pipeline_id, project_id, reference, actor_id, at)
                           VALUES ($1, $2, $3, $4, $5) ON CONFLICT (pipeline_id) DO NOTHING";
                let row = args![
                    fact.pipeline,
                    fact.project,
                    fact.reference,
                    entry.actor.id,
                    entry.at
                ];
                tx.run(sql, row).await.map(drop)
            }
            None => unreadable(entry),
        },
        PipelineFinished::KIND => match entry.fact::<PipelineFinished>() {
            Some(fact) => {
                let sql = "UPDATE insight_pipeline SET status = $2, at = $3 WHERE pipeline_id = $1";
                tx.run(sql, args![fact.pipeline, fact.status, entry.at])
                    .await
                    .map(drop)
            }
            None => unreadable(entry),
        },
        _ => Ok(()),
    }
}

/// One fact that cannot be read must not keep all later ones from being counted.
#[allow(clippy::unnecessary_wraps, reason = "stands where applying stands")]
fn unreadable(entry: &Entry) -> StoreResult<()> {
    tracing::error!(
        seq = entry.seq,
        kind = entry.kind,
        "this fact cannot be read and is not measured"
    );
    Ok(())
}

async fn project_created(tx: &Tx, entry: &Entry, fact: &ProjectCreated) -> StoreResult<()> {
    let sql = "INSERT INTO insight_project (project_id, path, created_at, seq, deleted) VALUES ($1, $2, $3, $4, FALSE)
               ON CONFLICT (project_id) DO UPDATE SET path = $2";
    tx.run(sql, args![fact.project, fact.path, entry.at, entry.seq])
        .await
        .map(drop)
}

async fn contributors(tx: &Tx, seq: i64, project: ProjectId, commits: &[CommitStamp]) -> StoreResult<()> {
    let mut first: HashMap<&str, Timestamp> = HashMap::new();
    for commit in commits {
        let at = first.entry(commit.author.as_str()).or_insert(commit.at);
        *at = commit.at.min(*at);
    }
    for (author, at) in first {
        let sql =
            "INSERT INTO insight_contributor (project_id, author, first_at, seq) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (project_id, author) DO UPDATE SET first_at = $3, seq = $4
                   WHERE insight_contributor.first_at > $3";
        tx.run(sql, args![project, author, at, seq]).await?;
    }
    Ok(())
}

async fn release_published(tx: &Tx, seq: i64, fact: &ReleasePublished) -> StoreResult<()> {
    let sql = "INSERT INTO insight_release (release_id, project_id, version, previous, seq) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (release_id) DO NOTHING";
    tx.run(
        sql,
        args![fact.release, fact.project, fact.version, fact.previous, seq],
    )
    .await?;
    for chunk in fact.commits.chunks(ROWS) {
        let mut values: Vec<Value> = args![fact.release, fact.project, seq];
        let mut rows = Vec::new();
        for commit in chunk {
            values.extend(args![commit.sha, commit.at]);
            rows.push(format!("($1, ${}, $2, ${}, $3)", values.len() - 1, values.len()));
        }
        let sql = format!(
            "INSERT INTO insight_change (release_id, sha, project_id, committed_at, release_seq) VALUES {}
             ON CONFLICT (release_id, sha) DO NOTHING",
            rows.join(", ")
        );
        tx.run(&sql, values).await?;
    }
    contributors(tx, seq, fact.project, &fact.commits).await
}

async fn deployment_created(tx: &Tx, seq: i64, fact: &DeploymentCreated) -> StoreResult<()> {
    tx.run(
        "INSERT INTO insight_deployment (deployment_id, project_id, environment_id, tier, release_id, version, cause,
             exposed, created_seq) VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE, $8)
         ON CONFLICT (deployment_id) DO NOTHING",
        args![
            fact.deployment,
            fact.project,
            fact.environment,
            fact.tier,
            fact.release,
            fact.version,
            fact.cause,
            seq
        ],
    )
    .await?;
    if fact.tier == "production" {
        let sql = "DELETE FROM insight_waiting WHERE project_id = $1 AND release_id = $2";
        tx.run(sql, args![fact.project, fact.release]).await?;
    }
    Ok(())
}

async fn deployment_finished(tx: &Tx, seq: i64, fact: &DeploymentFinished) -> StoreResult<()> {
    tx.run(
        "INSERT INTO insight_deployment (deployment_id, project_id, environment_id, tier, release_id, version, cause,
             exposed, created_seq, result, finished_seq, finished_at)
         VALUES ($1, $2, $3, $4, $5, $6, '', $7, $8, $9, $8, $10)
         ON CONFLICT (deployment_id) DO UPDATE SET exposed = $7, result = $9, finished_seq = $8, finished_at = $10",
        args![
            fact.deployment,
            fact.project,
            fact.environment,
            fact.tier,
            fact.release,
            fact.version,
            fact.exposed,
            seq,
            fact.result,
            fact.at
        ],
    )
    .await?;
    if fact.result != "succeeded" {
        return Ok(());
    }
    if fact.tier == "production" {
        return reached_production(tx, seq, fact).await;
    }
    let sql = "INSERT INTO insight_waiting (project_id, release_id, version, seq, at)
               SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM insight_deployment
                   WHERE project_id = $1 AND tier = 'production' AND release_id = $2)
               ON CONFLICT (project_id) DO UPDATE SET release_id = $2, version = $3, seq = $4, at = $5";
    tx.run(sql, args![fact.project, fact.release, fact.version, seq, fact.at])
        .await
        .map(drop)
}

row! { struct Earlier { release_id: ReleaseId } }

/// A release brings its own commits to production, and those of releases before it that never got there.
async fn reached_production(tx: &Tx, seq: i64, fact: &DeploymentFinished) -> StoreResult<()> {
    let mut release = fact.release;
    for _ in 0..CHAIN {
        let first =
            "UPDATE insight_release SET deployed_seq = $2 WHERE release_id = $1 AND deployed_seq IS NULL";
        if tx.run(first, args![release, seq]).await? == 0 {
            break;
        }
        // A commit dated in the future (a wrong clock) took no time, rather than a negative one.
        tx.run(
            "UPDATE insight_change SET deployed_at = $2, deployed_seq = $3,
                 lead = CASE WHEN committed_at < $2 THEN $2 - committed_at ELSE 0 END
             WHERE release_id = $1 AND deployed_at IS NULL",
            args![release, fact.at, seq],
        )
        .await?;
        let before = "SELECT earlier.release_id FROM insight_release AS newer JOIN insight_release AS earlier
                      ON earlier.project_id = newer.project_id AND earlier.version = newer.previous
                      WHERE newer.release_id = $1";
        match tx.one::<Earlier>(before, args![release]).await? {
            Some(earlier) => release = earlier.release_id,
            None => break,
        }
    }
    Ok(())
}

row! { struct Tier { tier: String } }

async fn incident_opened(tx: &Tx, seq: i64, fact: &IncidentOpened) -> StoreResult<()> {
    let tier = match &fact.environment {
        Some(environment) => {
            let sql = "SELECT tier FROM insight_environment WHERE environment_id = $1";
            tx.one::<Tier>(sql, args![environment])
                .await?
                .map_or_else(|| "production".to_owned(), |row| row.tier)
        }
        // Declared for no one environment: it concerns users.
        None => "production".to_owned(),
    };
    tx.run(
        "INSERT INTO insight_incident (incident_id, number, project_id, title, severity, tier, environment_id,
             deployment_id, drill, began_at, detected_at, opened_seq)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (incident_id) DO NOTHING",
        args![
            fact.incident,
            fact.number,
            fact.project,
            fact.title,
            fact.severity,
            tier,
            fact.environment,
            fact.deployment,
            fact.drill,
            fact.began_at,
            fact.detected_at,
            seq
        ],
    )
    .await?;
    if let (Some(deployment), false) = (&fact.deployment, fact.drill) {
        let sql = "UPDATE insight_deployment SET incident_seq = $2 WHERE deployment_id = $1 AND incident_seq IS NULL";
        tx.run(sql, args![deployment, seq]).await?;
    }
    Ok(())
}

async fn incident_went_on(tx: &Tx, entry: &Entry) -> StoreResult<()> {
    if let Some(fact) = entry.fact::<IncidentAcknowledged>() {
        let sql =
            "UPDATE insight_incident SET acknowledged_at = $2, acknowledged_seq = $3 WHERE incident_id = $1";
        tx.run(sql, args![fact.incident, fact.at, entry.seq]).await?;
    } else if let Some(fact) = entry.fact::<IncidentIdentified>() {
        // The first naming counts; later ones correct the text.
        let sql = "UPDATE insight_incident SET identified_at = $2, identified_seq = $3
                   WHERE incident_id = $1 AND identified_at IS NULL";
        tx.run(sql, args![fact.incident, fact.at, entry.seq]).await?;
    } else if let Some(fact) = entry.fact::<IncidentResolved>() {
        let sql = "UPDATE insight_incident SET restored_at = $2, resolved_at = $3, resolved_seq = $4
                   WHERE incident_id = $1";
        tx.run(sql, args![fact.incident, fact.restored_at, fact.at, entry.seq])
            .await?;
    } else if let Some(fact) = entry.fact::<IncidentChanged>()
        && fact.setting == "severity"
    {
        let sql = "UPDATE insight_incident SET severity = $2 WHERE incident_id = $1";
        tx.run(sql, args![fact.incident, fact.value]).await?;
    }
    Ok(())
}

async fn traffic(tx: &Tx, seq: i64, fact: &TrafficSummarised) -> StoreResult<()> {
    let day = fact.from.micros().div_euclid(DAY);
    let (total, good) = (whole(fact.total), whole(fact.good.min(fact.total)));
    tx.run(
        "INSERT INTO insight_traffic (environment_id, day, project_id, tier, total, good, objective)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (environment_id, day) DO UPDATE SET
             total = insight_traffic.total + $5, good = insight_traffic.good + $6,
             objective = COALESCE($7, insight_traffic.objective)",
        args![
            fact.environment,
            day,
            fact.project,
            fact.tier,
            total,
            good,
            fact.objective
        ],
    )
    .await?;
    let sql = "INSERT INTO insight_traffic_fact (seq, project_id, tier, day) VALUES ($1, $2, $3, $4)
               ON CONFLICT (seq) DO NOTHING";
    tx.run(sql, args![seq, fact.project, fact.tier, day])
        .await
        .map(drop)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
