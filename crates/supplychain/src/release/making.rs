//! Making a release: everything is prepared outside of any transaction, then written in one.

use super::{
    JobFolders, Release, ReleasePart,
    archive::{self, Budget, ExtractError},
    previous_of, store, version_of,
};
use crate::{
    attestation::{self, Build, ResourceDescriptor, Statement, digest_set},
    bundle::{self, CYCLONEDX_PART, Manifest, PROVENANCE_PART, Part, PartKind, SPDX_PART},
    ports::{Artifacts, Tree},
    sbom::{Inventory, Lockfile, cyclonedx, spdx},
};
use bascule_core::{Actor, FactId, PipelineId, Problem, ProjectId, ReleaseId, Result, Timestamp, limits};
use bascule_ledger::{
    Ledger,
    facts::{
        ci::{ArtifactRef, ReleaseRequested},
        forge::CommitStamp,
        supplychain::{ReleasePublished, ReleaseRefused},
    },
};
use bascule_store::{Blobs, Db, StoredBlob};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Most lockfiles read for one release.
const LOCKFILES: usize = 500;
/// How often a release is tried that fails for no fault of its own, before it stands in the way of others no
/// longer. With the pauses between, about a quarter of an hour.
pub(super) const ATTEMPTS: u32 = 20;
const OCTETS: &str = "application/octet-stream";

/// What releases are made with.
pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(super) blobs: Blobs,
    pub(crate) ledger: Ledger,
    pub(super) tree: Arc<dyn Tree>,
    pub(super) artifacts: Arc<dyn Artifacts>,
    pub(crate) public_url: String,
    /// Requests that failed, and how often.
    pub(super) failures: Mutex<HashMap<FactId, u32>>,
}

/// Why a release was not made.
pub(super) enum Stop {
    /// It must not be: the rule and what to tell.
    Refuse(Problem),
    /// It could not be, this time.
    Fail(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        // What others refuse (no such project, no such commit) will be refused again; what failed may not.
        if problem.is_server_fault() || problem.status == 429 {
            Self::Fail(problem)
        } else {
            Self::Refuse(problem)
        }
    }
}

impl From<bascule_store::Error> for Stop {
    fn from(error: bascule_store::Error) -> Self {
        let too_large = matches!(error, bascule_store::Error::TooLarge { .. });
        let problem = error.into();
        if too_large {
            Self::Refuse(problem)
        } else {
            Self::Fail(problem)
        }
    }
}

/// Everything of a release but its place in history.
pub(super) struct Made {
    release: Release,
    parts: Vec<ReleasePart>,
    inventory: Inventory,
    commits: Vec<CommitStamp>,
}

/// What is signed together: parts, and the manifest over them.
pub(super) struct Assembled {
    pub(super) parts: Vec<ReleasePart>,
    pub(super) inventory: Inventory,
    pub(super) notes: Vec<String>,
    pub(super) manifest: StoredBlob,
}

impl Inner {
    /// Counts a failure; the problem to refuse with once there were too many.
    pub(super) fn failed(&self, fact: FactId, tag: &str) -> Option<Problem> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(fact).or_insert(0);
        *count += 1;
        (*count >= ATTEMPTS).then(|| {
            failures.remove(&fact);
            Problem::new(
                500,
                "failed",
                format!("The release `{tag}` could not be made in {ATTEMPTS} attempts."),
            )
            .why("Something failed inside the platform each time; its log says what.")
            .next("Ask an administrator to look, then tag a new version.")
        })
    }

    pub(super) async fn make(&self, request: &ReleaseRequested) -> Result<Box<Made>, Stop> {
        let version = version_of(&request.tag)?;
        let text = version.to_string();
        match self.tree.tag_commit(request.project, &request.tag).await? {
            Some(sha) if sha == request.sha => {}
            found => return Err(Stop::Refuse(not_the_tag(&request.tag, &request.sha, found))),
        }
        let known = store::versions(&self.db, request.project).await?;
        if known
            .iter()
            .any(|known| known.tag == request.tag || known.version == text)
        {
            return Err(Stop::Refuse(exists(&request.tag)));
        }
        let previous = previous_of(
            &version,
            known
                .iter()
                .map(|known| (known.version.as_str(), known.sha.as_str())),
        );
        let before = previous.as_ref().map(|(_, sha)| *sha);
        let (commits, commit_count) = self
            .tree
            .commits_between(request.project, before, &request.sha)
            .await?;
        let at = self.ledger.clock().now();
        let reference = format!("refs/tags/{}", request.tag);
        let Assembled {
            parts,
            inventory,
            notes,
            manifest: signed,
        } = self.assemble(request, &text, &reference, at).await?;
        let key = self.ledger.key();
        let release = Release {
            id: ReleaseId::new(),
            project: request.project,
            project_path: request.project_path.clone(),
            tag: request.tag.clone(),
            version: text,
            sha: request.sha.clone(),
            name: if request.name.trim().is_empty() {
                request.tag.clone()
            } else {
                request.name.clone()
            },
            description: request.description.clone(),
            pipeline: Some(request.pipeline),
            job: Some(request.job),
            origin: None,
            manifest: signed.digest,
            manifest_size: signed.size,
            key_id: key.id().to_owned(),
            components: i64::try_from(inventory.len()).unwrap_or(i64::MAX),
            previous: previous.map(|(version, _)| version.to_string()),
            commit_count,
            lockfiles: inventory.lockfiles.iter().cloned().collect(),
            notes,
            started_at: request.started_at,
            finished_at: request.finished_at,
            at,
        };
        Ok(Box::new(Made {
            release,
            parts,
            inventory,
            commits,
        }))
    }

    /// Collects what is signed together, and signs it. Nothing is entered anywhere yet.
    pub(super) async fn assemble(
        &self,
        request: &ReleaseRequested,
        version: &str,
        reference: &str,
        at: Timestamp,
    ) -> Result<Assembled, Stop> {
        let inventory = self.inventory(request.project, &request.sha).await?;
        let (mut parts, mut notes) = self.take_artifacts(&request.artifacts).await?;
        notes.extend(
            inventory
                .notes
                .iter()
                .map(|note| format!("{}:{}: {}", note.file, note.line, note.text)),
        );
        if request.artifacts.is_empty() {
            notes.push("the pipeline's jobs kept no artifacts".to_owned());
        }
        let documents = self.documents(request, version, reference, &inventory, &parts, at);
        parts.extend(documents.await?);
        parts.sort_by(|one, other| one.name.cmp(&other.name));
        let manifest = Manifest {
            format: bundle::FORMAT.to_owned(),
            project: request.project_path.clone(),
            tag: request.tag.clone(),
            version: version.to_owned(),
            commit: request.sha.clone(),
            created: at,
            parts: parts.iter().map(Part::from).collect(),
        };
        let signed = manifest.sign(self.ledger.key()).to_json();
        Ok(Assembled {
            manifest: self.blobs.put_bytes(signed).await?,
            parts,
            inventory,
            notes,
        })
    }

    /// What the lockfiles of the tree say, one after the other so that one at a time is in memory.
    async fn inventory(&self, project: ProjectId, sha: &str) -> Result<Inventory, Stop> {
        let files = self.tree.list_files(project, sha).await?;
        let mut lockfiles: Vec<(String, Lockfile)> = files
            .into_iter()
            .filter_map(|path| Lockfile::at(&path).map(|kind| (path, kind)))
            .collect();
        lockfiles.sort();
        if lockfiles.len() > LOCKFILES {
            let what = format!(
                "The tree holds {} lockfiles; a release reads at most {LOCKFILES}.",
                lockfiles.len()
            );
            return Err(Stop::Refuse(
                Problem::invalid("too_many_lockfiles", what)
                    .why("Every lockfile is read for the SBOM, and none may be left out silently.")
                    .next(
                        "Move generated and vendored packages out of the tree, or into `vendor` or `target`.",
                    ),
            ));
        }
        let mut all = Inventory::default();
        for (path, kind) in lockfiles {
            let Some(bytes) = self
                .tree
                .read(project, sha, &path, limits::LOCKFILE_BYTES + 1)
                .await?
            else {
                continue;
            };
            // Parsing megabytes takes long enough to hold up other requests.
            let read = tokio::task::spawn_blocking(move || kind.read(&path, &bytes))
                .await
                .map_err(|error| {
                    tracing::error!(%error, "reading a lockfile failed");
                    Stop::Fail(Problem::internal())
                })?;
            all.merge(read.map_err(|error| {
                Stop::Refuse(
                    Problem::invalid("bad_lockfile", format!("{error}."))
                        .why("The SBOM lists what the lockfiles name; from one that cannot be read it would be wrong.")
                        .next("Correct that line, or let the package manager write the file anew, and tag again."),
                )
            })?);
        }
        Ok(all)
    }

    /// Takes over the jobs' archives and the files in them.
    async fn take_artifacts(
        &self,
        artifacts: &[ArtifactRef],
    ) -> Result<(Vec<ReleasePart>, Vec<String>), Stop> {
        let mut folders = JobFolders::default();
        let mut budget = Budget {
            files: archive::FILES,
            bytes: archive::BYTES,
        };
        let (mut parts, mut notes) = (Vec::new(), Vec::new());
        for artifact in artifacts {
            let folder = folders.name(&artifact.job_name);
            let stored = self.take_archive(artifact).await?;
            let file_name = Some(artifact.file_name.as_str())
                .filter(|name| bundle::is_safe_path(name) && !name.contains('/'))
                .unwrap_or("artifacts.zip");
            let media_type = if file_name.ends_with(".zip") {
                "application/zip"
            } else {
                OCTETS
            };
            let job = Some(artifact.job_name.clone());
            parts.push(part(
                PartKind::Archive,
                format!("archives/{folder}/{file_name}"),
                media_type,
                &stored,
                job.clone(),
                None,
            ));
            let outcome = archive::extract(&self.blobs, &stored, budget).await.map_err(|error| match error {
                ExtractError::Store(error) => Stop::Fail(error.into()),
                ExtractError::Broken(why) => Stop::Refuse(
                    Problem::invalid("bad_artifact", format!("The artifact archive of the job `{}` cannot be read: {why}.", artifact.job_name))
                        .why("A release offers the archive's files one by one, and never an archive that cannot be opened.")
                        .next("Run the pipeline again; if it stays, look at the job's log for a failed upload."),
                ),
            })?;
            for file in outcome.files {
                budget.files = budget.files.saturating_sub(1);
                budget.bytes = budget.bytes.saturating_sub(file.blob.size);
                let name = format!("files/{folder}/{}", file.path);
                parts.push(part(
                    PartKind::File,
                    name,
                    OCTETS,
                    &file.blob,
                    job.clone(),
                    Some(file.path),
                ));
            }
            notes.extend(
                outcome
                    .notes
                    .into_iter()
                    .map(|note| format!("archive of the job `{}`: {note}", artifact.job_name)),
            );
        }
        Ok((parts, notes))
    }

    async fn take_archive(&self, artifact: &ArtifactRef) -> Result<StoredBlob, Stop> {
        let gone = || {
            Stop::Refuse(
                Problem::invalid(
                    "no_artifacts",
                    format!("The artifacts of the job `{}` are gone.", artifact.job_name),
                )
                .why("They expired or were deleted before the release was made.")
                .next("Run the pipeline of the tag again, with a later `expire_in`."),
            )
        };
        let open = self.artifacts.open(artifact.job).await?.ok_or_else(gone)?;
        let stored = self.blobs.put(open.bytes, limits::ARTIFACT_BYTES).await?;
        if stored.digest != artifact.digest {
            return Err(Stop::Refuse(
                Problem::invalid(
                    "artifact_changed",
                    format!(
                        "The artifact archive of the job `{}` is not the one that the job made.",
                        artifact.job_name
                    ),
                )
                .why(format!(
                    "It was {}, and is now {}.",
                    artifact.digest, stored.digest
                ))
                .next("Find out who can write to the blob store, and run the pipeline again."),
            ));
        }
        Ok(stored)
    }

    /// The SBOMs and the provenance.
    async fn documents(
        &self,
        request: &ReleaseRequested,
        version: &str,
        reference: &str,
        inventory: &Inventory,
        artifacts: &[ReleasePart],
        at: Timestamp,
    ) -> Result<Vec<ReleasePart>, Stop> {
        let subject = cyclonedx::Subject {
            project: &request.project_path,
            version,
            commit: &request.sha,
            at,
        };
        let cdx = self
            .blobs
            .put_bytes(cyclonedx::Bom::new(inventory, &subject).to_json())
            .await?;
        let spdx = self
            .blobs
            .put_bytes(spdx::Document::new(inventory, &subject).to_json())
            .await?;
        let mut parts = vec![
            part(
                PartKind::Sbom,
                CYCLONEDX_PART.to_owned(),
                cyclonedx::MEDIA_TYPE,
                &cdx,
                None,
                None,
            ),
            part(
                PartKind::Sbom,
                SPDX_PART.to_owned(),
                spdx::MEDIA_TYPE,
                &spdx,
                None,
                None,
            ),
        ];
        let key = self.ledger.key();
        let build = Build {
            project: &request.project_path,
            reference,
            commit: &request.sha,
            source: &format!("{}/{}.git", self.public_url, request.project_path),
            ci_file: request.ci_file_digest.as_ref(),
            pipeline: request.pipeline.0,
            job: request.job.0,
            runner: request.runner.map(|runner| runner.to_string()),
            key_id: key.id(),
            started_at: request.started_at,
            finished_at: request.finished_at,
        };
        let statement = Statement::provenance(&build, describe(artifacts), describe(&parts));
        let provenance = self.blobs.put_bytes(statement.sign(key).to_json()).await?;
        let name = PROVENANCE_PART.to_owned();
        parts.push(part(
            PartKind::Provenance,
            name,
            attestation::MEDIA_TYPE,
            &provenance,
            None,
            None,
        ));
        Ok(parts)
    }

    pub(super) async fn publish(&self, fact: FactId, actor: &Actor, made: Made) -> Result<(), Stop> {
        let Made {
            release,
            parts,
            inventory,
            commits,
        } = made;
        let tx = self.db.begin().await?;
        if !store::answer(&tx, fact, &release.id.to_string()).await? {
            return Ok(());
        }
        if let Err(error) = store::insert(&tx, &release).await {
            // Another request for the same tag was faster; the rules are the indexes' own.
            let taken = error.is_unique_violation();
            return Err(if taken {
                Stop::Refuse(exists(&release.tag))
            } else {
                error.into()
            });
        }
        store::insert_parts(&tx, release.id, &parts).await?;
        store::insert_components(&tx, release.id, inventory.components()).await?;
        let published = ReleasePublished {
            project: release.project,
            release: release.id,
            tag: release.tag,
            version: release.version,
            sha: release.sha,
            pipeline: release.pipeline.unwrap_or(PipelineId(0)),
            manifest: release.manifest,
            components: release.components,
            previous: release.previous,
            commits,
            commit_count: release.commit_count,
            at: release.at,
        };
        self.ledger.append(&tx, actor, &published).await?;
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn refuse(
        &self,
        fact: FactId,
        actor: &Actor,
        request: &ReleaseRequested,
        problem: &Problem,
    ) -> Result<()> {
        let reason: Vec<&str> = [&problem.what, &problem.why, &problem.next]
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(String::as_str)
            .collect();
        let refused = ReleaseRefused {
            project: request.project,
            tag: request.tag.clone(),
            rule: problem.code.clone(),
            reason: reason.join(" "),
        };
        let tx = self.db.begin().await?;
        if store::answer(&tx, fact, &problem.code).await? {
            self.ledger.append(&tx, actor, &refused).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

fn not_the_tag(tag: &str, sha: &str, found: Option<String>) -> Problem {
    let stands = found.map_or("there is no such tag".to_owned(), |at| {
        format!("the tag stands at {at}")
    });
    Problem::conflict(
        "not_the_tag",
        format!("A release `{tag}` of the commit {sha} was asked for, and {stands}."),
    )
    .why("What is signed as a version must be what its tag shows everyone.")
    .next("Push the tag, and let its own pipeline make the release.")
}

fn exists(tag: &str) -> Problem {
    Problem::conflict("exists", format!("There is a release for `{tag}` already."))
        .why("A release never changes: what was tested, signed and deployed under its name must stay what it is.")
        .next("Tag a new version.")
}

fn part(
    kind: PartKind,
    name: String,
    media_type: &str,
    blob: &StoredBlob,
    job: Option<String>,
    path: Option<String>,
) -> ReleasePart {
    ReleasePart {
        name,
        kind,
        media_type: media_type.to_owned(),
        digest: blob.digest.clone(),
        size: blob.size,
        job,
        path,
    }
}

fn describe(parts: &[ReleasePart]) -> Vec<ResourceDescriptor> {
    let one = |part: &ReleasePart| ResourceDescriptor {
        name: part.name.clone(),
        digest: digest_set(&part.digest),
        media_type: part.media_type.clone(),
        ..ResourceDescriptor::default()
    };
    parts.iter().map(one).collect()
}

impl From<&ReleasePart> for Part {
    fn from(part: &ReleasePart) -> Self {
        Self {
            name: part.name.clone(),
            kind: part.kind,
            media_type: part.media_type.clone(),
            digest: part.digest.clone(),
            size: part.size,
            job: part.job.clone(),
            path: part.path.clone(),
        }
    }
}
