//! Files that go from job to job: dependencies' artifacts, own artifacts, caches.

use crate::{
    archive,
    glob::{self, Pattern},
    job::{Ground, applies},
    remote::Remote,
};
use bascule_core::{Problem, Result, limits};
use bascule_wire::runner::{ARTIFACT_ARCHIVE, Artifact, ArtifactFormat, Cache, CachePolicy};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// Runs work on files off the executor's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work on a job's files broke down");
        Err(Problem::internal())
    })
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> Problem {
    move |error| {
        Problem::new(503, "files_failed", format!("{what} failed."))
            .why(error.to_string())
            .next("Check free space and permissions of the runner's directories.")
    }
}

/// Brings in what the job's dependencies made.
pub(crate) async fn download_dependencies(e: &Ground<'_>) -> Result<()> {
    for (number, dependency) in e.job.dependencies.iter().enumerate() {
        if dependency.artifacts_file.is_none() {
            continue;
        }
        let file = e.space.meta().join(format!("dependency-{number}.zip"));
        let size = e
            .shared
            .api
            .download(dependency, &file, limits::ARTIFACT_BYTES)
            .await
            .map_err(|mut problem| {
                problem.what = format!(
                    "The artifacts of {} ({}) cannot be had: {}",
                    dependency.name, dependency.id, problem.what
                );
                problem
            })?;
        let (archive, root, bounds) = (file.clone(), e.space.build(), e.bounds());
        let count = blocking(move || archive::unpack(&archive, &root, bounds)).await?;
        e.trace.line(&format!(
            "{} ({}): {count} files, {size} bytes",
            dependency.name, dependency.id
        ));
        let _ = tokio::fs::remove_file(file).await;
    }
    Ok(())
}

/// The job's own fault, not the platform's.
fn too_many(error: std::io::Error) -> Problem {
    if error.kind() != std::io::ErrorKind::Other {
        return io("Looking through the workspace")(error);
    }
    Problem::too_large(format!("The job's files cannot be looked through: {error}."))
        .why("A pattern that begins with `*` looks at every file of the workspace.")
        .next("Name the folder first, as in `dist/**/*.js`, or make fewer files.")
}

/// What is to be taken of the workspace.
struct Wanted {
    paths: Vec<(String, Option<Pattern>)>,
    exclude: Vec<Pattern>,
    untracked: bool,
}

impl Wanted {
    fn new(e: &Ground<'_>, paths: &[String], exclude: &[String], untracked: bool) -> Self {
        let read = |p: &String| {
            let text = e.vars.expand(p);
            let pattern = Pattern::new(&text, &e.project_dir);
            (text, pattern)
        };
        Self {
            paths: paths.iter().map(read).collect(),
            exclude: exclude.iter().filter_map(|p| read(p).1).collect(),
            untracked,
        }
    }

    /// The files, and a remark for each pattern.
    async fn find(
        self,
        root: PathBuf,
        tracked: HashSet<String>,
    ) -> Result<(Vec<String>, Vec<Result<String, String>>)> {
        blocking(move || {
            let patterns = self.paths.iter().filter_map(|(_, pattern)| pattern.as_ref());
            let places: Vec<&str> = if self.untracked {
                vec![""]
            } else {
                patterns.map(Pattern::below).collect()
            };
            let all = glob::walk_below(&root, &places).map_err(too_many)?;
            let mut taken = vec![false; all.len()];
            let mut remarks = Vec::new();
            for (text, pattern) in &self.paths {
                let Some(pattern) = pattern else {
                    remarks.push(Err(format!(
                        "{text}: leads out of the project's directory, so it is left out"
                    )));
                    continue;
                };
                let mut count = 0;
                for (path, taken) in all.iter().zip(&mut taken) {
                    if pattern.covers(path) {
                        *taken = true;
                        count += 1;
                    }
                }
                remarks.push(if count == 0 {
                    Err(format!("{text}: no matching files"))
                } else {
                    Ok(format!("{text}: found {count} matching files"))
                });
            }
            if self.untracked {
                let mut count = 0;
                for (path, taken) in all
                    .iter()
                    .zip(&mut taken)
                    .filter(|(path, _)| !tracked.contains(*path))
                {
                    let _ = path;
                    *taken = true;
                    count += 1;
                }
                remarks.push(Ok(format!("untracked: found {count} files")));
            }
            let files = all
                .into_iter()
                .zip(taken)
                .filter(|(_, taken)| *taken)
                .map(|(path, _)| path);
            let files = files
                .filter(|path| !self.exclude.iter().any(|p| p.is_match(path)))
                .collect();
            Ok((files, remarks))
        })
        .await
    }
}

fn tell(e: &Ground<'_>, remarks: Vec<Result<String, String>>) {
    for remark in remarks {
        match remark {
            Ok(text) => e.trace.line(&text),
            Err(text) => e.trace.warn(&text),
        }
    }
}

/// Sends what the job is to keep.
pub(crate) async fn upload_artifacts(e: &Ground<'_>, success: bool) -> Result<()> {
    for (number, artifact) in e
        .job
        .artifacts
        .iter()
        .enumerate()
        .filter(|(_, a)| applies(a.when, success))
    {
        let wanted = Wanted::new(e, &artifact.paths, &artifact.exclude, artifact.untracked);
        let (files, remarks) = wanted.find(e.space.build(), e.tracked.clone()).await?;
        tell(e, remarks);
        let kind = if artifact.artifact_type.is_empty() {
            ARTIFACT_ARCHIVE
        } else {
            &artifact.artifact_type
        };
        if files.is_empty() {
            e.trace.warn(&format!("No files to upload as {kind}."));
            continue;
        }
        upload(
            e,
            artifact,
            kind,
            files,
            e.space.meta().join(format!("artifact-{number}")),
        )
        .await?;
    }
    Ok(())
}

async fn upload(
    e: &Ground<'_>,
    artifact: &Artifact,
    kind: &str,
    files: Vec<String>,
    to: PathBuf,
) -> Result<()> {
    let count = files.len();
    let format = artifact.artifact_format;
    let name = e
        .vars
        .expand(&artifact.name)
        .replace(['/', '\\', '\0', '\n'], "-");
    let name = if name.is_empty() {
        "artifacts".to_owned()
    } else {
        name
    };
    let first = files
        .first()
        .map(|f| f.rsplit('/').next().unwrap_or(f).to_owned())
        .unwrap_or_default();
    let file_name = match format {
        ArtifactFormat::Zip => format!("{name}.zip"),
        ArtifactFormat::Gzip => format!("{name}.gz"),
        ArtifactFormat::Raw => first,
    };
    let (root, target) = (e.space.build(), to.clone());
    let size = blocking(move || {
        match format {
            ArtifactFormat::Zip => archive::pack(&root, &files, &target),
            ArtifactFormat::Gzip => archive::gzip(&root, &files, &target),
            ArtifactFormat::Raw => match files.as_slice() {
                // A link could lead to a file that is none of the job's.
                [one] if std::fs::symlink_metadata(root.join(one)).is_ok_and(|m| m.is_file()) => {
                    std::fs::copy(root.join(one), &target)
                }
                _ => Err(std::io::Error::other(
                    "exactly one plain file can be sent as it is",
                )),
            },
        }
        .map_err(io("Packing artifacts"))
    })
    .await?;
    if size > limits::ARTIFACT_BYTES {
        return Err(Problem::too_large(format!(
            "The {kind} is {size} bytes; {} are allowed.",
            limits::ARTIFACT_BYTES
        ))
        .next("Keep fewer files with `artifacts:paths` and `artifacts:exclude`."));
    }
    let expire_in = artifact.expire_in.as_deref().filter(|t| !t.is_empty());
    e.shared
        .api
        .upload(e.job_ref, &to, &file_name, kind, format, expire_in)
        .await
        .map_err(|mut problem| {
            problem.what = format!("Uploading {file_name} as {kind} failed: {}", problem.what);
            problem
        })?;
    e.trace.line(&format!(
        "Uploaded {file_name} as {kind}: {count} files, {size} bytes"
    ));
    let _ = tokio::fs::remove_file(to).await;
    Ok(())
}

fn key(e: &Ground<'_>, key: &str) -> String {
    let key = e.vars.expand(key);
    if key.is_empty() { "default".to_owned() } else { key }
}

/// Brings back caches. A cache that cannot be had is no failure.
pub(crate) async fn restore_caches(e: &Ground<'_>) {
    for cache in e.job.cache.iter().filter(|c| c.policy != CachePolicy::Push) {
        let keys: Vec<String> = std::iter::once(&cache.key)
            .chain(&cache.fallback_keys)
            .map(|k| key(e, k))
            .collect();
        let shown = keys.first().cloned().unwrap_or_default();
        let restored = match Away::of(e) {
            Some(away) => from_store(e, away, &keys).await,
            None => {
                let (caches, root, bounds) = (e.caches(), e.space.build(), e.bounds());
                blocking(move || caches.restore(&keys, &root, bounds)).await
            }
        };
        match restored {
            Ok(Some(key)) => e.trace.line(&format!("Restored the cache {key}")),
            Ok(None) => e.trace.line(&format!("There is no cache {shown} yet")),
            Err(problem) => e
                .trace
                .warn(&format!("The cache {shown} could not be restored: {problem}")),
        }
    }
}

/// Where caches are kept that outlive this machine.
#[derive(Clone, Copy)]
enum Away<'a> {
    /// An object store.
    Store(&'a Remote),
    /// The server itself.
    Server,
}

impl<'a> Away<'a> {
    /// Where this job's are; `None` for a folder of the machine.
    fn of(e: &Ground<'a>) -> Option<Self> {
        match &e.shared.remote {
            Some(remote) => Some(Self::Store(remote)),
            None if e.shared.config.cache_at_server && e.job.features.server_cache => Some(Self::Server),
            None => None,
        }
    }

    async fn fetch(self, e: &Ground<'_>, key: &str, to: &Path) -> Result<Option<u64>> {
        let limit = e.bounds().bytes;
        match self {
            Self::Store(remote) => remote.fetch(&e.caches().name(key), to, limit).await,
            Self::Server => e.shared.api.fetch_cache(e.job_ref, key, to, limit).await,
        }
    }

    async fn store(self, e: &Ground<'_>, key: &str, from: &Path, size: u64) -> Result<()> {
        match self {
            Self::Store(remote) => remote.store(&e.caches().name(key), from, size).await,
            Self::Server => e.shared.api.store_cache(e.job_ref, key, from).await,
        }
    }
}

/// Brings back the first of `keys` that there is; tells which.
async fn from_store(e: &Ground<'_>, away: Away<'_>, keys: &[String]) -> Result<Option<String>> {
    let file = e.space.meta().join("cache.zip");
    for key in keys {
        if away.fetch(e, key, &file).await?.is_none() {
            continue;
        }
        let (archive, root, bounds) = (file.clone(), e.space.build(), e.bounds());
        let unpacked = blocking(move || archive::unpack(&archive, &root, bounds)).await;
        let _ = tokio::fs::remove_file(&file).await;
        unpacked?;
        return Ok(Some(key.clone()));
    }
    Ok(None)
}

/// Packs files and sends them to where caches are kept.
async fn into_store(e: &Ground<'_>, away: Away<'_>, key: &str, files: Vec<String>) -> Result<u64> {
    let file = e.space.meta().join("cache.zip");
    let (root, to) = (e.space.build(), file.clone());
    let size = blocking(move || archive::pack(&root, &files, &to).map_err(io("Packing a cache"))).await?;
    let stored = away.store(e, key, &file, size).await;
    let _ = tokio::fs::remove_file(&file).await;
    stored.map(|()| size)
}

/// Stores caches. One that cannot be stored is no failure.
pub(crate) async fn store_caches(e: &Ground<'_>, success: bool) {
    let due = |c: &&Cache| c.policy != CachePolicy::Pull && applies(c.when, success);
    for cache in e.job.cache.iter().filter(due) {
        let key = key(e, &cache.key);
        let wanted = Wanted::new(e, &cache.paths, &[], cache.untracked);
        let stored = match wanted.find(e.space.build(), e.tracked.clone()).await {
            Ok((files, remarks)) => {
                tell(e, remarks);
                if files.is_empty() {
                    continue;
                }
                let (caches, root, key) = (e.caches(), e.space.build(), key.clone());
                match Away::of(e) {
                    Some(away) => into_store(e, away, &key, files).await,
                    None => {
                        blocking(move || caches.store(&key, &root, &files).map_err(io("Storing a cache")))
                            .await
                    }
                }
            }
            Err(problem) => Err(problem),
        };
        match stored {
            Ok(size) => e.trace.line(&format!("Stored the cache {key}: {size} bytes")),
            Err(problem) => e
                .trace
                .warn(&format!("The cache {key} was not stored: {problem}")),
        }
    }
}
