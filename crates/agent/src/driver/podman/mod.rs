//! Instances as containers under podman, from an archive that holds an image.
//!
//! Podman keeps a container when the agent that started it is killed. So each carries the agent's mark and its
//! instance's name: the next agent finds its own, goes on with those that are still wanted, removes the others,
//! and touches nothing that it did not make.

mod container;
mod log;

use super::{Driver, Job, Process, Seal, TASK, bad_artifact};
use crate::artifacts::Missing;
use async_trait::async_trait;
use bascule_core::{Digest, Problem};
use bascule_sandbox::podman::{Failed, Podman, write_settings};
use container::Container;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Which agent made it.
const AGENT: &str = "bascule.agent";
/// Which instance it is.
const INSTANCE: &str = "bascule.instance";
/// What it was made from.
const SPEC: &str = "bascule.spec";
/// Where it listens.
const PORT: &str = "bascule.port";
/// Time for podman to take in an image.
const LOAD: Duration = Duration::from_secs(600);
/// Time for podman to do anything else.
const SOON: Duration = Duration::from_secs(60);
/// How much podman keeps of what an instance writes.
const LOG: &str = "max-size=1mb";
/// The same of a task, whose output is read from its beginning after a restart of the agent.
const TASK_LOG: &str = "max-size=16mb";
/// Space for temporary files in a container: it comes out of the container's memory.
const TEMPORARY: &str = "/tmp:rw,nosuid,nodev,mode=1777,size=64m";

/// An image that was taken in from a verified archive.
#[derive(Clone, Debug)]
struct Image {
    id: String,
    /// Its layers on disk as they were then.
    seal: Arc<Seal>,
}

/// The driver.
#[derive(Debug)]
pub(crate) struct Containers {
    podman: Podman,
    /// Marks what this agent made.
    mark: String,
    /// One image at a time is taken in.
    images: tokio::sync::Mutex<HashMap<Digest, Image>>,
}

/// A container as `podman ps` lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "State", default)]
    state: String,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Listed {
    /// Whether there is something to go on with: it runs, or is a task whose end is to be told.
    fn goes_on(&self, task: bool) -> bool {
        self.state == "running" || (task && self.state == "exited")
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name).map(String::as_str)
    }
}

#[derive(Debug, Deserialize)]
struct Inspected {
    #[serde(rename = "GraphDriver")]
    graph: Graph,
}

#[derive(Debug, Deserialize)]
struct Graph {
    #[serde(rename = "Data", default)]
    data: Option<BTreeMap<String, serde_json::Value>>,
}

impl Containers {
    /// Sets the driver up for an agent's data directory; `settings` is given to podman as its configuration,
    /// else one is written where the machine's own would not work.
    pub(crate) fn new(data_dir: &Path, settings: Option<PathBuf>) -> io::Result<Self> {
        let settings = match settings {
            Some(settings) => Some(settings),
            None => write_settings(data_dir)?,
        };
        let path = data_dir.canonicalize()?;
        let mark = Digest::of(path.to_string_lossy().as_bytes())
            .hex()
            .chars()
            .take(16)
            .collect();
        Ok(Self {
            podman: Podman {
                settings,
                ..Podman::default()
            },
            mark,
            images: tokio::sync::Mutex::default(),
        })
    }

    /// Whether podman is there.
    pub(crate) async fn works(&self) -> bool {
        self.podman.run(&["--version"], SOON).await.is_ok()
    }

    async fn listed(&self) -> Result<Vec<Listed>, Failed> {
        let label = format!("label={AGENT}={}", self.mark);
        let text = self
            .podman
            .run(&["ps", "--all", "--filter", &label, "--format", "json"], SOON)
            .await?;
        serde_json::from_str(&text)
            .map_err(|error| Failed::other(format!("podman's list cannot be read: {error}")))
    }

    /// Removes containers that this agent made, or one before it in the same data directory, except running
    /// ones of these names; of tasks also those that ended.
    pub(crate) async fn sweep(&self, keep: &BTreeSet<String>) {
        let listed = match self.listed().await {
            Ok(listed) => listed,
            Err(failed) => {
                tracing::debug!(%failed, "containers of earlier instances cannot be listed");
                return;
            }
        };
        for container in listed {
            let name = container.label(INSTANCE).unwrap_or_default();
            if keep.contains(name) && container.goes_on(name.starts_with(TASK)) {
                continue;
            }
            tracing::info!(
                container = container.id,
                "removing the container of an earlier instance"
            );
            if let Err(failed) = self
                .podman
                .run(&["rm", "--force", "--time", "2", &container.id], SOON)
                .await
            {
                tracing::warn!(%failed, "a container of an earlier instance cannot be removed");
            }
        }
    }

    /// Removes images that this agent took in, also in an earlier life, and needs no more.
    pub(crate) async fn collect_garbage(&self, used: &BTreeSet<Digest>) {
        let used: BTreeSet<&str> = used.iter().map(Digest::hex).collect();
        let mut images = self.images.lock().await;
        let filter = format!("reference=localhost/bascule-{}", self.mark);
        let arguments = ["images", "--filter", &filter, "--format", "{{.Tag}}"];
        let Ok(tags) = self.podman.run(&arguments, SOON).await else {
            return;
        };
        for tag in tags
            .lines()
            .map(str::trim)
            .filter(|tag| tag.len() == 64 && !used.contains(tag))
        {
            // Where another has the same image under a name of its own, only our name for it goes.
            let name = format!("localhost/bascule-{}:{tag}", self.mark);
            match self.podman.run(&["rmi", &name], SOON).await {
                Ok(_) => images.retain(|digest, _| digest.hex() != tag),
                Err(failed) => tracing::debug!(%failed, "an old image is still in use"),
            }
        }
    }

    /// Our name for an image.
    fn tag(&self, digest: &Digest) -> String {
        format!("localhost/bascule-{}:{}", self.mark, digest.hex())
    }

    fn name(job: &Job) -> String {
        format!("bascule-{}", job.name)
    }

    /// Changes whenever the container would be another.
    fn spec(job: &Job) -> String {
        let all = (
            job.artifact.digest.hex(),
            &job.command,
            &job.words,
            &job.variables,
            job.limits.memory_bytes,
            job.limits.pids,
        );
        let text = serde_json::to_vec(&all).unwrap_or_default();
        Digest::of(&text).hex().to_owned()
    }

    /// Takes the image in, once for each digest; again where its layers were altered on disk since.
    async fn image(&self, job: &Job, artifact: &Path) -> Result<Image, Missing> {
        let digest = &job.artifact.digest;
        let mut images = self.images.lock().await;
        if let Some(image) = images.get(digest).cloned() {
            let seal = Arc::clone(&image.seal);
            match tokio::task::spawn_blocking(move || seal.broken(true)).await {
                Ok(Ok(None)) => return Ok(image),
                Ok(Ok(Some(changed))) => {
                    tracing::warn!(%digest, file = %changed.display(), "an image was changed on disk; it is taken in anew");
                    images.remove(digest);
                    // Without its layers gone, podman would take the altered ones for the archive's.
                    let forced = self.podman.run(&["rmi", "--force", &image.id], SOON).await;
                    forced.map_err(|failed| {
                        Missing::ForNow(failed.problem("An altered image cannot be removed."))
                    })?;
                    // A layer that another image shares stays, altered as it is: nothing is made from it.
                    if changed.exists() {
                        let why = format!("{} was altered, and another image holds it", changed.display());
                        return Err(Missing::ForNow(
                            Problem::new(500, "image_altered", "An altered layer cannot be removed.")
                                .why(why)
                                .next("Remove the images and containers that use it: `podman images`, `podman ps --all`."),
                        ));
                    }
                }
                other => {
                    let why = format!("{other:?}");
                    return Err(Missing::ForNow(
                        Problem::new(500, "image_unreadable", "The image cannot be checked.").why(why),
                    ));
                }
            }
        }
        // What an earlier agent left may have been altered since: where nothing runs from it, it is made anew.
        drop(self.podman.run(&["rmi", &self.tag(digest)], SOON).await);
        let image = self.load(job, artifact).await?;
        images.insert(digest.clone(), image.clone());
        Ok(image)
    }

    async fn load(&self, job: &Job, artifact: &Path) -> Result<Image, Missing> {
        let path = artifact.display();
        let mut failures = Vec::new();
        for kind in ["oci-archive", "docker-archive"] {
            let source = format!("{kind}:{path}");
            match self.podman.run(&["pull", "--quiet", &source], LOAD).await {
                Ok(said) => {
                    let id = said.lines().last().unwrap_or_default().trim().to_owned();
                    return self.taken_in(job, id).await;
                }
                Err(failed) if failed.machine() => {
                    return Err(Missing::ForNow(failed.problem("The image cannot be taken in.")));
                }
                Err(failed) => failures.push(format!("as {kind}: {failed}")),
            }
        }
        Err(bad_artifact(
            &job.artifact.file_name,
            &format!("podman cannot read an image from it; {}", failures.join("; ")),
            "Save the image with `podman save --format oci-archive` or `docker save`, and release again.",
        ))
    }

    async fn taken_in(&self, job: &Job, id: String) -> Result<Image, Missing> {
        let problem = |failed: Failed| Missing::ForNow(failed.problem("The image cannot be taken in."));
        self.podman
            .run(&["tag", &id, &self.tag(&job.artifact.digest)], SOON)
            .await
            .map_err(problem)?;
        let text = self
            .podman
            .run(&["image", "inspect", &id], SOON)
            .await
            .map_err(problem)?;
        let inspected: Vec<Inspected> = serde_json::from_str(&text)
            .map_err(|error| problem(Failed::other(format!("podman's answer cannot be read: {error}"))))?;
        let layers = inspected
            .first()
            .map(|image| layers(&image.graph))
            .unwrap_or_default();
        let sealed = tokio::task::spawn_blocking(move || Seal::of(layers)).await;
        match sealed {
            Ok(Ok(seal)) => Ok(Image {
                id,
                seal: Arc::new(seal),
            }),
            other => Err(problem(Failed::other(format!(
                "its layers cannot be read: {:?}",
                other.map(Result::err)
            )))),
        }
    }

    /// What runs of this job, if it is just what is wanted.
    async fn found(&self, job: &Job) -> Result<Option<(u16, Container)>, Failed> {
        let spec = Self::spec(job);
        for listed in self.listed().await? {
            if listed.label(INSTANCE) != Some(&job.name) {
                continue;
            }
            let port = listed.label(PORT).and_then(|port| port.parse().ok());
            if let Some(port) = port
                && listed.goes_on(job.is_task())
                && listed.label(SPEC) == Some(&spec)
            {
                return Ok(Some((
                    port,
                    Container::attach(self.podman.clone(), listed.id).await?,
                )));
            }
            self.podman
                .run(&["rm", "--force", "--time", "2", &listed.id], SOON)
                .await?;
        }
        Ok(None)
    }

    fn arguments(&self, job: &Job, image: &Image, variables: &Path, port: Option<u16>) -> Vec<String> {
        let memory = job.limits.memory_bytes.to_string();
        let mut arguments: Vec<String> = ["run", "--detach", "--replace", "--pull", "never", "--name"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(Self::name(job));
        for (name, value) in [
            (AGENT, self.mark.clone()),
            (INSTANCE, job.name.clone()),
            (SPEC, Self::spec(job)),
            (PORT, port.unwrap_or(0).to_string()),
        ] {
            arguments.extend(["--label".to_owned(), format!("{name}={value}")]);
        }
        if let Some(port) = port {
            arguments.extend(["--publish".to_owned(), format!("127.0.0.1:{port}:{port}")]);
        }
        arguments.push("--env-file".to_owned());
        arguments.push(variables.display().to_string());
        // A file of variables knows no line breaks.
        for (name, value) in job.variables.iter().filter(|(_, value)| value.contains('\n')) {
            arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        let fixed = [
            "--memory",
            &memory,
            "--memory-swap",
            &memory,
            "--pids-limit",
            &job.limits.pids.to_string(),
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
            "--read-only",
            "--read-only-tmpfs=false",
            "--tmpfs",
            TEMPORARY,
            "--log-driver",
            "k8s-file",
            "--log-opt",
            if job.is_task() { TASK_LOG } else { LOG },
            "--restart",
            "no",
            "--no-healthcheck",
            "--http-proxy=false",
        ];
        arguments.extend(fixed.map(str::to_owned));
        if let Some((program, words)) = job.words.split_first() {
            // A list, as a program's name alone would be taken for one where it looks like it.
            let program = serde_json::json!([program]).to_string();
            arguments.extend(["--entrypoint".to_owned(), program, image.id.clone()]);
            arguments.extend(words.iter().cloned());
        } else if job.command.is_empty() {
            arguments.push(image.id.clone());
        } else {
            arguments.extend(["--entrypoint".to_owned(), "/bin/sh".to_owned(), image.id.clone()]);
            arguments.extend(["-c".to_owned(), job.command.clone()]);
        }
        arguments
    }
}

/// The folders that an image's layers lie in.
fn layers(graph: &Graph) -> Vec<PathBuf> {
    let data = graph.data.iter().flatten();
    data.filter(|(name, _)| ["UpperDir", "LowerDir", "dir"].contains(&name.as_str()))
        .filter_map(|(_, value)| value.as_str())
        .flat_map(|value| value.split(':'))
        .map(PathBuf::from)
        .collect()
}

/// Variables as podman's `--env-file` reads them.
fn variables_file(job: &Job, port: Option<u16>) -> io::Result<PathBuf> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    std::fs::create_dir_all(&job.folder)?;
    let path = job.folder.join("variables");
    let mut text = String::from("HOST=0.0.0.0\n");
    for (name, value) in job.variables.iter().filter(|(_, value)| !value.contains('\n')) {
        text.push_str(&format!("{name}={value}\n"));
    }
    if let Some(port) = port {
        text.push_str(&format!("PORT={port}\n"));
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

#[async_trait]
impl Driver for Containers {
    async fn adopt(&self, job: &Job) -> Option<(u16, Box<dyn Process>)> {
        match self.found(job).await {
            Ok(found) => found.map(|(port, container)| (port, Box::new(container) as Box<dyn Process>)),
            Err(failed) => {
                tracing::debug!(%failed, "no container to go on with");
                None
            }
        }
    }

    async fn prepare(&self, job: &Job, artifact: &Path, _: &mut Option<Seal>) -> Result<(), Missing> {
        self.image(job, artifact).await.map(drop)
    }

    async fn start(&self, job: &Job, port: Option<u16>) -> Result<Box<dyn Process>, Problem> {
        let image = self.images.lock().await.get(&job.artifact.digest).cloned();
        let image = image.ok_or_else(|| Problem::new(503, "no_image", "The image is not ready."))?;
        let variables = variables_file(job, port).map_err(|error| {
            Problem::new(507, "unwritable", "The variables cannot be written down.").why(error.to_string())
        })?;
        let arguments = self.arguments(job, &image, &variables, port);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let id = self.podman.run(&arguments, SOON).await.map_err(|failed| {
            if failed.bad_command() {
                let what = "The command cannot be run: it is missing or not executable.";
                return Problem::invalid("bad_command", what).why(failed.to_string());
            }
            failed.problem("The container cannot be started.")
        })?;
        let id = id.lines().last().unwrap_or_default().trim().to_owned();
        let container = Container::attach(self.podman.clone(), id).await;
        Ok(Box::new(container.map_err(|failed| {
            failed.problem("The container cannot be watched.")
        })?))
    }
}
