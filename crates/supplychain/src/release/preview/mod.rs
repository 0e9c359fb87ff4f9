//! Builds for previews: what a merge request's pipeline made, kept as a release is (parts by digest, SBOMs,
//! provenance, a signed manifest) and apart from releases: in no list, no channel and no bundle, matched with no
//! advisory, and forgotten when the preview ends.

pub(super) mod store;

use super::{
    Releases,
    making::{Assembled, Inner, Stop},
};
use bascule_core::{Digest, Problem, ProjectId, ReleaseId, Result, Timestamp};
use bascule_ledger::facts::ci::ReleaseRequested;
use bascule_store::row;

row! {
    /// A build that previews run.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PreviewBuild {
        /// The build, named as a release is.
        pub id: ReleaseId,
        /// The project that shows the preview.
        pub project_id: ProjectId,
        /// The merge request's number.
        pub iid: i64,
        /// Its version, before every release: `0.0.0-review.7.g0123abcd`.
        pub version: String,
        /// The commit.
        pub sha: String,
        /// Digest of the signed manifest.
        pub manifest: Digest,
        /// When it was made.
        pub at: Timestamp,
    }
}

/// What is to be built from a pipeline that passed.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The merge request's number.
    pub iid: i64,
    /// The rest, as a release is asked for; the tag is the version.
    pub request: ReleaseRequested,
}

fn said(stop: Stop) -> Problem {
    match stop {
        Stop::Refuse(problem) | Stop::Fail(problem) => problem,
    }
}

impl Inner {
    async fn build(&self, wanted: &Candidate) -> Result<PreviewBuild, Stop> {
        let request = &wanted.request;
        let at = self.ledger.clock().now();
        // Where the commit stands in the project that was asked, a fork's too.
        let reference = format!("refs/merge-requests/{}/head", wanted.iid);
        let Assembled { parts, manifest, .. } = self.assemble(request, &request.tag, &reference, at).await?;
        let build = PreviewBuild {
            id: ReleaseId::new(),
            project_id: request.project,
            iid: wanted.iid,
            version: request.tag.clone(),
            sha: request.sha.clone(),
            manifest: manifest.digest,
            at,
        };
        let tx = self.db.begin().await?;
        if !store::insert(&tx, &build).await? {
            // Another server was faster.
            drop(tx);
            let made = store::by_version(&self.db, request.project, &request.tag).await?;
            return made.ok_or_else(|| Stop::Fail(Problem::internal()));
        }
        store::insert_parts(&tx, build.id, &parts).await?;
        tx.commit().await?;
        Ok(build)
    }
}

impl Releases {
    /// The build of a commit for a preview: made once, and the same however often it is asked for.
    ///
    /// # Errors
    /// What the pipeline left cannot be taken (status 4xx: asking again changes nothing), or something failed.
    pub async fn build_for_preview(&self, wanted: &Candidate) -> Result<PreviewBuild> {
        let request = &wanted.request;
        if let Some(made) = store::by_version(&self.inner.db, request.project, &request.tag).await? {
            return Ok(made);
        }
        self.inner.build(wanted).await.map_err(said)
    }

    /// A build for a preview.
    ///
    /// # Errors
    /// The database refused.
    pub async fn preview_build(&self, id: ReleaseId) -> Result<Option<PreviewBuild>> {
        Ok(store::get(&self.inner.db, id).await?)
    }

    /// Forgets the builds of a merge request, save one. What they held cannot be fetched any more.
    ///
    /// # Errors
    /// The database refused.
    pub async fn forget_preview_builds(
        &self,
        project: ProjectId,
        iid: i64,
        save: Option<ReleaseId>,
    ) -> Result<()> {
        let tx = self.inner.db.begin().await?;
        store::forget(&tx, project, iid, save).await?;
        tx.commit().await?;
        Ok(())
    }
}
