//! Jobs as pods of a Kubernetes cluster, one for each.
//!
//! The runner makes the pod and looks after it; what happens in the pod is done by a helper beside the job: it fetches
//! the sources, hands scripts to the job's container, sends the log, keeps artifacts and caches, and reports. So neither
//! log nor files pass through the cluster's API, a job outlasts both a restart of that API and one of the runner's
//! connection to it, and the runner needs no right to execute anything in a pod.

mod inside;
mod look;
mod network;
mod pod;

pub use inside::run_in_pod;
pub(crate) use inside::{Inside, JOB};

use crate::{
    Config, KubernetesConfig, Shared, api::JobRef, context, job::Failure, last_words, workspace::Workspace,
};
use bascule_core::{Digest, Problem, Result};
use bascule_wire::runner::{FailureReason, Job, JobState, JobUpdate};
use k8s_openapi::api::{
    core::v1::{Pod, Secret},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use look::Look;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Who applies objects.
const MANAGER: &str = "bascule-runner";
/// Label: which runner made it.
const RUNNER: &str = "bascule/runner";
/// Label: which job it was made for.
const JOB_LABEL: &str = "bascule/job";
/// Time for one call.
const CALL: Duration = Duration::from_secs(15);
/// A connection on which nothing came for this long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// How long one watch lasts, in seconds; then the pod is looked at again in any case.
const WATCH: u32 = 20;
/// Tries to make an object while the cluster is busy or away.
const TRIES: u32 = 6;
/// How often the server is asked whether it still wants the job.
const ASK: Duration = Duration::from_secs(10);
/// Time for the helper to end a job that is not wanted any more, before its pod is taken away.
const HELPER_ENDS: Duration = Duration::from_secs(45);
/// Time that a pod has to end once it is to go; in it the helper reports.
const GRACE_SECONDS: u32 = 15;
/// Time beyond the job's own after which the cluster itself ends a pod, should the runner be gone.
const BEYOND: Duration = Duration::from_secs(600);

/// Why a job came to nothing, as the server and its log are told.
type Sorry = (FailureReason, String);

/// The cluster that jobs run in.
pub(crate) struct Cluster {
    client: Client,
    settings: KubernetesConfig,
    /// Marks what this runner made.
    mark: String,
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads how to reach it, and whether it is there.
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let settings = config.kubernetes.clone();
        let bad = |why: String| {
            Problem::invalid("bad_cluster", "Jobs cannot run in the cluster.")
                .why(why)
                .next("See the book, chapter Runners in a cluster.")
        };
        if settings.helper_image.is_empty() {
            return Err(bad(
                "No image of the helper is named: set `helper_image` in `[kubernetes]`.".to_owned(),
            ));
        }
        let mut access = match &settings.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file)
                    .map_err(|error| bad(format!("{}: {error}.", file.display())))?;
                kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| bad(format!("{error}.")))?
            }
            None => kube::Config::incluster().map_err(|error| bad(format!("{error}.")))?,
        };
        access.connect_timeout = Some(CALL);
        access.write_timeout = Some(CALL);
        access.read_timeout = Some(SILENCE);
        let client = Client::try_from(access).map_err(|error| bad(format!("{error}.")))?;
        // Several runners may share a namespace.
        let who = format!("{}\0{}\0{}", config.url, config.token, config.name);
        let mark = Digest::of(who.as_bytes()).hex().chars().take(16).collect();
        Ok(Self {
            client,
            settings,
            mark,
        })
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    /// Makes an object; tries again while the cluster is away or busy.
    async fn apply<K>(&self, object: &Value) -> std::result::Result<(), String>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let params = PatchParams::apply(MANAGER).force();
        let api = self.api::<K>();
        let mut pause = Duration::from_millis(200);
        let mut why = String::new();
        for _ in 0..TRIES {
            match timeout(CALL, api.patch(name, &params, &Patch::Apply(object))).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    why = look::in_words(&error);
                    // The request itself is wrong, or not allowed; the same one will be so again.
                    if matches!(&error, kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 413 | 422))
                    {
                        break;
                    }
                }
                Err(_) => why = format!("the cluster does not answer within {} s", CALL.as_secs()),
            }
            sleep(pause).await;
            pause *= 2;
        }
        Err(why)
    }

    /// Deletes an object; one that is gone is gone.
    async fn delete<K>(&self, name: &str, grace: u32)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let params = DeleteParams::background().grace_period(grace);
        let api = self.api::<K>();
        for _ in 0..TRIES {
            match timeout(CALL, api.delete(name, &params)).await {
                Ok(Ok(_)) => return,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return,
                Ok(Err(error)) => {
                    tracing::warn!(
                        name,
                        why = look::in_words(&error),
                        "an object of a job cannot be deleted"
                    );
                }
                Err(_) => tracing::warn!(name, "the cluster does not answer"),
            }
            sleep(Duration::from_secs(1)).await;
        }
        tracing::warn!(name, "gave up deleting it; the runner's next start tries again");
    }

    /// Deletes all that a job consists of.
    async fn remove(&self, name: &str, grace: u32) {
        self.delete::<Pod>(name, grace).await;
        self.delete::<Secret>(name, 0).await;
        self.delete::<Secret>(&pod::pull_name(name), 0).await;
        if self.settings.network_policy {
            self.delete::<NetworkPolicy>(name, 0).await;
        }
    }

    /// Removes what a runner before this one left. Helpers that still run report before they end.
    pub(crate) async fn sweep(&self) {
        let mine = ListParams::default().labels(&format!("{RUNNER}={}", self.mark));
        match timeout(CALL, self.api::<Pod>().list(&mine)).await {
            Ok(Ok(pods)) => {
                for pod in pods {
                    tracing::info!(
                        pod = pod.name_any(),
                        "removing a pod that a runner before this one left"
                    );
                    self.remove(&pod.name_any(), GRACE_SECONDS).await;
                }
            }
            Ok(Err(error)) => tracing::warn!(why = look::in_words(&error), "pods of jobs cannot be listed"),
            Err(_) => tracing::warn!("pods of jobs cannot be listed: the cluster does not answer"),
        }
    }

    /// How the pod of a job stands, and the version that says so.
    async fn look(&self, name: &str) -> std::result::Result<(Look, String), String> {
        match timeout(CALL, self.api::<Pod>().get_opt(name)).await {
            Ok(Ok(Some(pod))) => Ok((look::at(&pod), pod.resource_version().unwrap_or_default())),
            Ok(Ok(None)) => Ok((Look::Gone, String::new())),
            Ok(Err(error)) => Err(look::in_words(&error)),
            Err(_) => Err("the cluster does not answer".to_owned()),
        }
    }

    /// Waits until something happened to a job's pod since `version`, or some seconds.
    async fn changed(&self, key: &str, version: &str) {
        use futures::StreamExt as _;
        let params = WatchParams::default()
            .labels(&format!("{JOB_LABEL}={key}"))
            .timeout(WATCH)
            .disable_bookmarks();
        let pods = self.api::<Pod>();
        let event = async {
            match pods.watch(&params, version).await {
                Ok(stream) => Box::pin(stream).next().await.is_some_and(|event| event.is_ok()),
                Err(_) => false,
            }
        };
        if !event.await {
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Runs a job as a pod. `halt` ends it because the runner ends.
pub(crate) async fn run(shared: &Arc<Shared>, job: Job, halt: CancellationToken) {
    let Some(cluster) = &shared.cluster else { return };
    let project_dir = context::project_dir(&job);
    let vars = context::variables(shared, &job, &project_dir);
    let job_ref = JobRef {
        id: job.id,
        token: job.token.clone(),
        debug: vars.is_on("CI_DEBUG_TRACE"),
    };
    // A mark of the job, by which the runner's next start tells of it should this one be killed.
    let space = match Workspace::create(&shared.config.builds_dir, &job_ref) {
        Ok(space) => space,
        Err(problem) => {
            let words = format!(" (system failure): {problem}");
            return last_words::say(&shared.api, &job_ref, &words, FailureReason::RunnerSystemFailure).await;
        }
    };
    let key = space.name();
    tracing::info!(job = %job.id, name = job.job_info.name, pod = pod::name(&key), "job starts");
    let plan = pod::Plan::new(&shared.config, &cluster.mark, &key, &job, &vars, &project_dir).await;
    let ended = match &plan {
        Ok(plan) => Box::pin(attend(shared, cluster, plan, &job_ref, &halt)).await,
        Err(failure) => Err(sorry(failure)),
    };
    // Before the helper could say something of its own, for it does not know why it ends.
    let mut said = ended.is_ok();
    if let Err((reason, words)) = &ended {
        said = timeout(CALL, last_words::say(&shared.api, &job_ref, words, *reason))
            .await
            .is_ok();
    }
    if let Ok(plan) = &plan {
        take_away(cluster, plan).await;
    }
    if let Err((reason, words)) = ended
        && !said
    {
        last_words::say(&shared.api, &job_ref, &words, reason).await;
    }
    tracing::info!(job = %job.id, "job ends");
    space.wipe().await;
}

fn sorry(failure: &Failure) -> Sorry {
    match failure {
        Failure::Refused(reason, what) => (*reason, format!(": {what}")),
        Failure::System(problem) => system(&problem.to_string()),
        other => system(&format!("{other:?}")),
    }
}

fn system(words: &str) -> Sorry {
    (
        FailureReason::RunnerSystemFailure,
        format!(" (system failure): {words}"),
    )
}

/// Makes a pod and looks after it until its helper has reported, or never will.
async fn attend(
    shared: &Shared,
    cluster: &Cluster,
    plan: &pod::Plan,
    job: &JobRef,
    halt: &CancellationToken,
) -> std::result::Result<(), Sorry> {
    match make(cluster, plan).await {
        Ok(()) => Box::pin(watch(shared, cluster, plan, job, halt)).await,
        Err(why) => Err(system(&format!("its pod cannot be made: {why}"))),
    }
}

/// Deletes all of a job and waits until its pod is gone.
async fn take_away(cluster: &Cluster, plan: &pod::Plan) {
    cluster.remove(&plan.name, GRACE_SECONDS).await;
    let until = Instant::now() + Duration::from_secs(u64::from(GRACE_SECONDS)) + CALL;
    while Instant::now() < until {
        match cluster.look(&plan.name).await {
            Ok((Look::Gone, _)) => break,
            Ok((_, version)) => {
                drop(timeout(Duration::from_secs(2), cluster.changed(&plan.key, &version)).await);
            }
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
}

async fn make(cluster: &Cluster, plan: &pod::Plan) -> std::result::Result<(), String> {
    // What the pod needs is there before it; what it may reach is bounded before it runs.
    if let Some(policy) = &plan.policy {
        cluster.apply::<NetworkPolicy>(policy).await?;
    }
    for secret in &plan.secrets {
        cluster.apply::<Secret>(secret).await?;
    }
    cluster.apply::<Pod>(&plan.pod).await
}

async fn watch(
    shared: &Shared,
    cluster: &Cluster,
    plan: &pod::Plan,
    job: &JobRef,
    halt: &CancellationToken,
) -> std::result::Result<(), Sorry> {
    let patience = Duration::from_secs(cluster.settings.poll_timeout.max(1));
    let begun = Instant::now();
    let mut asked = Instant::now();
    let mut unwanted: Option<Instant> = None;
    let mut runs = false;
    loop {
        let (look, version) = match cluster.look(&plan.name).await {
            Ok(found) => found,
            Err(why) => {
                // The helper goes on without us.
                tracing::debug!(
                    pod = plan.name,
                    why,
                    "how a job's pod stands is not known just now"
                );
                (Look::Unknown, String::new())
            }
        };
        let mut halted = false;
        match look {
            Look::Done => return Ok(()),
            Look::Gone => return Err(system("its pod was taken away by someone else than the runner")),
            Look::Failed(reason, words) => return Err((reason, words)),
            Look::Runs => runs = true,
            Look::Waits(why) if begun.elapsed() > patience && !runs => {
                return Err(system(&format!(
                    "its pod does not run after {} s (`poll_timeout`): {why}",
                    patience.as_secs()
                )));
            }
            Look::Waits(_) | Look::Unknown => {}
        }
        if begun.elapsed() > plan.longest {
            return Err((
                FailureReason::JobExecutionTimeout,
                ": it took longer than it may".to_owned(),
            ));
        }
        if unwanted.is_some_and(|since| since.elapsed() > HELPER_ENDS) || (unwanted.is_some() && !runs) {
            return Err((FailureReason::JobCanceled, ": it was canceled".to_owned()));
        }
        tokio::select! {
            biased;
            () = halt.cancelled() => halted = true,
            () = pause(cluster, plan, &version) => {}
            () = tokio::time::sleep_until(asked + ASK) => {}
        }
        if halted {
            return Err(system("the runner was stopped before the job ended"));
        }
        if asked.elapsed() >= ASK && unwanted.is_none() {
            asked = Instant::now();
            let update = JobUpdate {
                state: JobState::Running,
                ..JobUpdate::default()
            };
            if let Ok(answer) = shared.api.update(job, update).await
                && (matches!(answer.status, 403 | 404)
                    || matches!(answer.job_status.as_str(), "canceled" | "failed"))
            {
                unwanted = Some(Instant::now());
            }
        }
    }
}

/// Until something happened to the pod.
async fn pause(cluster: &Cluster, plan: &pod::Plan, version: &str) {
    if version.is_empty() {
        sleep(Duration::from_secs(1)).await;
    } else {
        cluster.changed(&plan.key, version).await;
    }
}
