//! Static sites that jobs make (`pages`), served from the newest such job's archive.
//!
//! What a job made must never act in the forge's name. A site is therefore served under `/-/site/TOKEN/`, where
//! `Content-Security-Policy: sandbox` gives each of its pages an origin of its own that is nobody's: scripts run, but
//! see no cookie, no storage and no other page of this server, may load what lies beside them and nothing else, and
//! send no forms. Since such a page sends no cookies either, the token in the address says that its visitor was let in;
//! whoever comes by the address that stays, `/group/project/-/pages/`, is asked who they are and gets one.

pub(crate) mod api;
mod serve;
pub(crate) mod store;

use crate::{
    Ci,
    job::{self, Job, artifact},
    pipeline::{self, Pipeline, slug},
    status::JobStatus,
    variables::{expand, resolve},
};
use async_trait::async_trait;
use bascule_core::{Actor, Problem, ProjectId, Result, Timestamp};
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{ci::JobFinished, pipelines::SiteChanged},
};
use bascule_wire::runner::ARTIFACT_ARCHIVE;
use std::time::Duration;
use store::Site;

/// Most sites of one project: the main one, and those under prefixes.
const MOST: usize = 100;
/// How long a site under a prefix stays where its job does not say (GitLab's usual).
const PREFIXED: Duration = Duration::from_secs(86_400);
/// How long a visitor is let in without being asked again.
const VISIT: Duration = Duration::from_secs(3600);
/// What visitors' tokens are sealed for.
const PURPOSE: &str = "site";

/// Makes sites of what jobs with `pages` left.
pub(crate) struct Sites(pub(crate) Ci);

#[async_trait]
impl Subscriber for Sites {
    fn name(&self) -> &'static str {
        "ci.sites"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![JobFinished::KIND]
    }

    async fn handle(&self, entry: &Entry) -> std::result::Result<(), BoxError> {
        let fact: JobFinished = decode(entry)?;
        if fact.status != JobStatus::Success.as_str() {
            return Ok(());
        }
        let Some(job) = job::store::find(&self.0.db, fact.job).await? else {
            return Ok(());
        };
        let Some(pipeline) = pipeline::store::find(&self.0.db, job.pipeline_id).await? else {
            return Ok(());
        };
        if job.spec.0.pages.is_some() {
            self.0.make_site(&job, &pipeline).await?;
        }
        Ok(())
    }
}

impl Ci {
    /// Puts what a job left in the place of the site that its project had before.
    async fn make_site(&self, job: &Job, pipeline: &Pipeline) -> Result<()> {
        let Some(pages) = &job.spec.0.pages else {
            return Ok(());
        };
        let Some(info) = self.code.project(job.project_id).await? else {
            return Ok(());
        };
        let archive = artifact::of_job(&self.db, job.id)
            .await?
            .into_iter()
            .find(|artifact| artifact.kind == ARTIFACT_ARCHIVE);
        let Some(archive) = archive else {
            return Ok(());
        };
        let now = self.clock.now();
        let values = resolve(&self.job_variables(job, pipeline, &info).await?);
        let prefix = pages
            .path_prefix
            .as_deref()
            .map(|text| slug(&expand(text, &values)))
            .unwrap_or_default();
        let folder = expand(&pages.publish, &values);
        let folder = folder.trim_start_matches("./").trim_matches('/').to_owned();
        let expires_at = match pages
            .expire_in
            .as_deref()
            .map(|text| (text, crate::config::seconds(text)))
        {
            Some((_, Some(seconds))) => Some(now.plus(Duration::from_secs(seconds))),
            None if !prefix.is_empty() => Some(now.plus(PREFIXED)),
            _ => None,
        };
        let tx = self.db.begin().await?;
        let sites = store::list(&tx, job.project_id).await?;
        let before = sites.iter().find(|site| site.prefix == prefix);
        // A job of an older pipeline that ended late does not take a newer one's place.
        if before.is_some_and(|site| site.pipeline_id > pipeline.id.0 || site.job_id == job.id) {
            return Ok(());
        }
        let live = sites.iter().filter(|site| site.is_live(now)).count();
        if before.is_none() && live >= MOST {
            tracing::info!(project = %job.project_id, "a project has no room for one more site");
            return Ok(());
        }
        for gone in sites
            .iter()
            .filter(|site| site.prefix == prefix || !site.is_live(now))
        {
            store::delete(&tx, gone).await?;
        }
        let site = Site {
            project_id: job.project_id,
            prefix,
            job_id: job.id,
            pipeline_id: pipeline.id.0,
            folder,
            kept_until: archive.expires_at,
            expires_at,
            deployed_at: now,
        };
        store::insert(&tx, &site).await?;
        self.tell_site(&tx, &site, "deployed", &Actor::system()).await?;
        Ok(tx.commit().await?)
    }

    async fn tell_site(
        &self,
        tx: &bascule_store::Tx,
        site: &Site,
        change: &str,
        actor: &Actor,
    ) -> Result<()> {
        let fact = SiteChanged {
            project: site.project_id,
            job: site.job_id,
            prefix: site.prefix.clone(),
            change: change.to_owned(),
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    /// The project's sites that are served, the main one first.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn sites(&self, project: ProjectId) -> Result<Vec<Site>> {
        let now = self.clock.now();
        let mut sites = store::list(&self.db, project).await?;
        sites.retain(|site| site.is_live(now));
        Ok(sites)
    }

    /// Serves a site no more; what its job left stays as long as its file said.
    ///
    /// # Errors
    /// There is no such site.
    pub async fn remove_site(&self, project: ProjectId, prefix: &str, actor: &Actor) -> Result<()> {
        let tx = self.db.begin().await?;
        let sites = store::list(&tx, project).await?;
        let Some(site) = sites.iter().find(|site| site.prefix == prefix) else {
            return Err(Problem::not_found("site"));
        };
        store::delete(&tx, site).await?;
        self.tell_site(&tx, site, "removed", actor).await?;
        Ok(tx.commit().await?)
    }

    /// A token that lets its bearer see the sites of a project for a while.
    fn visit(&self, project: ProjectId) -> Result<String> {
        let until = self.clock.now().plus(VISIT).micros().to_string();
        let sealed = self
            .ledger
            .key()
            .seal(PURPOSE, project.to_string().as_bytes(), &until)?;
        let sealed = sealed.replace('+', "-").replace('/', "_").replace('=', "");
        Ok(format!("{project}.{sealed}"))
    }

    /// The project of a visitor's token, and whether it still holds.
    fn visited(&self, token: &str) -> Option<(ProjectId, bool)> {
        let (project, sealed) = token.split_once('.')?;
        let mut sealed = sealed.replace('-', "+").replace('_', "/");
        while sealed.len() % 4 != 0 {
            sealed.push('=');
        }
        let until = self
            .ledger
            .key()
            .open(PURPOSE, project.as_bytes(), &sealed)?
            .parse()
            .ok()?;
        let holds = Timestamp::from_micros(until) > self.clock.now();
        Some((project.parse().ok()?, holds))
    }
}

impl Site {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}
