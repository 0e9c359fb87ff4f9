//! One-off tasks as Jobs: one pod, started once.

use super::{Cluster, faults, mirror::Mirror, objects, view};
use crate::{
    artifacts::Missing,
    driver::{Driver, Ended, Job, Process, Seal, only},
};
use async_trait::async_trait;
use bascule_core::Problem;
use k8s_openapi::api::{
    batch::v1::Job as KubeJob,
    core::v1::{Pod, Secret},
};
use kube::{Api, api::LogParams};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    task::JoinSet,
    time::sleep,
};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

/// Time between two looks for what a pod wrote.
const LOOK: Duration = Duration::from_millis(500);

impl Cluster {
    fn variable<'a>(job: &'a Job, name: &str) -> &'a str {
        let found = job.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn attach(self: &Arc<Self>, job: &Job) -> JobRun {
        let namespace = self.namespace(Self::variable(job, "BASCULE_ENVIRONMENT"));
        let mirror = self.mirror(&namespace);
        let (output, following) = self.follow(&namespace, &job.name, &mirror);
        JobRun {
            output: Some(output),
            _following: following,
            cluster: Arc::clone(self),
            mirror,
            namespace,
            id: job.name.clone(),
            ended: None,
        }
    }

    /// Follows what a task's pod writes, from its beginning to its end.
    fn follow(
        self: &Arc<Self>,
        namespace: &str,
        id: &str,
        mirror: &Arc<Mirror>,
    ) -> (DuplexStream, JoinSet<()>) {
        let (reader, mut writer) = tokio::io::duplex(64 * 1024);
        let pods: Api<Pod> = self.api(namespace);
        let (id, mirror) = (id.to_owned(), Arc::clone(mirror));
        let mut following = JoinSet::new();
        following.spawn(async move {
            let mut taken = 0_u64;
            loop {
                let found = mirror
                    .held()
                    .pods_of(&id)
                    .first()
                    .map(|pod| ((*pod).clone(), ended(pod)));
                if let Some((pod, over)) = found
                    && let Some(name) = &pod.metadata.name
                {
                    let asked = LogParams {
                        container: Some(objects::CONTAINER.to_owned()),
                        follow: true,
                        ..LogParams::default()
                    };
                    if let Ok(stream) = pods.log_stream(name, &asked).await {
                        match copy(Box::pin(stream).compat(), &mut writer, &mut taken).await {
                            // Nobody reads any more.
                            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return,
                            _ if over.is_some() => return,
                            _ => {}
                        }
                    }
                }
                sleep(LOOK).await;
            }
        });
        (reader, following)
    }
}

/// Copies what was not copied before: a stream that broke off is begun anew, from the beginning.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    to: &mut DuplexStream,
    taken: &mut u64,
) -> std::io::Result<()> {
    let (mut at, mut buffer) = (0_u64, vec![0_u8; 16 * 1024]);
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => read,
        };
        let known = usize::try_from(taken.saturating_sub(at))
            .unwrap_or(usize::MAX)
            .min(read);
        at += read as u64;
        let fresh = buffer.get(known..read).unwrap_or_default();
        to.write_all(fresh).await?;
        *taken = (*taken).max(at);
    }
}

/// How a task's pod ended, if it did.
fn ended(pod: &Pod) -> Option<Ended> {
    let status = pod.status.as_ref()?;
    let container = status
        .container_statuses
        .iter()
        .flatten()
        .find(|container| container.name == objects::CONTAINER)?;
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    Some(Ended {
        code: ended.exit_code,
        oom_killed: ended.reason.as_deref() == Some("OOMKilled"),
    })
}

/// A task that runs.
struct JobRun {
    cluster: Arc<Cluster>,
    mirror: Arc<Mirror>,
    namespace: String,
    id: String,
    output: Option<DuplexStream>,
    /// Ends with this.
    _following: JoinSet<()>,
    ended: Option<Ended>,
}

/// The driver of tasks; instances have lives of their own.
#[derive(Debug)]
pub(crate) struct Jobs(pub(crate) Arc<Cluster>);

#[async_trait]
impl Driver for Jobs {
    fn fetches(&self) -> bool {
        false
    }

    async fn adopt(&self, job: &Job) -> Option<(u16, Box<dyn Process>)> {
        let namespace = self.0.namespace(Cluster::variable(job, "BASCULE_ENVIRONMENT"));
        let api: Api<KubeJob> = self.0.api(&namespace);
        let name = objects::name_of(&job.name);
        loop {
            match api.get_opt(&name).await {
                Ok(found) => return found.map(|_| (0, Box::new(self.0.attach(job)) as Box<dyn Process>)),
                // Whether it runs cannot be known, and it is not to be told as lost for that.
                Err(error) => {
                    tracing::debug!(
                        task = job.name,
                        why = faults::reason(&error),
                        "a task cannot be looked for"
                    );
                    sleep(Duration::from_secs(2)).await;
                }
            }
        }
    }

    async fn prepare(&self, job: &Job, _: &Path, _: &mut Option<Seal>) -> Result<(), Missing> {
        let missing = |fault: faults::Fault| {
            if fault.for_now {
                Missing::ForNow(fault.problem())
            } else {
                Missing::Forever(fault.problem())
            }
        };
        let project = Cluster::variable(job, "BASCULE_PROJECT");
        self.0.image(project, &job.artifact).await.map_err(missing)?;
        let namespace = self.0.namespace(Cluster::variable(job, "BASCULE_ENVIRONMENT"));
        self.0.place_secret(&namespace).await.map_err(missing)
    }

    async fn start(&self, job: &Job, _: Option<u16>) -> Result<Box<dyn Process>, Problem> {
        let problem = |fault: faults::Fault| fault.problem();
        let cluster = &self.0;
        let project = Cluster::variable(job, "BASCULE_PROJECT");
        let namespace = cluster.namespace(Cluster::variable(job, "BASCULE_ENVIRONMENT"));
        let image = cluster.image(project, &job.artifact).await.map_err(problem)?;
        let name = objects::name_of(&job.name);
        let labels = objects::labels(
            &job.name,
            &cluster.server,
            project,
            Cluster::variable(job, "BASCULE_VERSION"),
        );
        let variables = job
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let secret = objects::variables(&name, &labels, variables);
        cluster
            .apply::<Secret>(&namespace, "The task's variables cannot be placed", &secret)
            .await
            .map_err(problem)?;
        let container = objects::container(&image, &name, &job.limits);
        let object = objects::job(
            &name,
            &job.name,
            &labels,
            &container,
            (job.command.as_str(), job.words.as_slice()),
        );
        cluster
            .apply::<KubeJob>(&namespace, "The task's Job cannot be made", &object)
            .await
            .map_err(problem)?;
        Ok(Box::new(cluster.attach(job)))
    }
}

#[async_trait]
impl Process for JobRun {
    fn pid(&self) -> u32 {
        0
    }

    fn outputs(&mut self) -> Vec<Box<dyn AsyncRead + Send + Unpin>> {
        only(self.output.take())
    }

    async fn wait(&mut self) -> Result<Ended, Problem> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let mut changes = self.mirror.changes();
        loop {
            changes.mark_unchanged();
            let (found, job) = {
                let held = self.mirror.held();
                let found = held.pods_of(&self.id).into_iter().find_map(ended);
                (found, held.jobs.all.get(&objects::name_of(&self.id)).cloned())
            };
            if let Some(ended) = found {
                self.ended = Some(ended);
                return Ok(ended);
            }
            // A Job that failed without a container's end: its node went, or the cluster refuses its pod.
            if let Some(why) = job.as_ref().and_then(failed) {
                return Err(Problem::new(500, "task_lost", "The cluster ended the task.").why(why));
            }
            if changes.changed().await.is_err() {
                return Err(Problem::internal());
            }
        }
    }

    async fn end(&mut self, grace: Duration) -> Result<(), Problem> {
        self.cluster
            .remove(&self.namespace, &self.id)
            .await
            .map_err(|fault| fault.problem())?;
        let mut changes = self.mirror.changes();
        let gone = async { while self.mirror.has_pods(&self.id) && changes.changed().await.is_ok() {} };
        drop(tokio::time::timeout(grace, gone).await);
        Ok(())
    }
}

fn failed(job: &KubeJob) -> Option<String> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|one| one.type_ == "Failed" && one.status == "True")?;
    let said = found.message.clone().or_else(|| found.reason.clone());
    let at = found.last_transition_time.as_ref().map(view::timestamp);
    Some(match at {
        Some(at) => format!("{} ({at}).", said.unwrap_or_default()),
        None => said.unwrap_or_default(),
    })
}
