//! The life of one instance in a cluster: applied, watched, put right, drained, deleted.

use super::{Cluster, faults::Fault, mirror::Mirror, objects, view};
use crate::{Machine, backoff::Backoff, instance::GRACE, plan::Told, probe};
use bascule_core::InstanceId;
use bascule_wire::agent::{DesiredInstance, InstanceState};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{Api, ResourceExt as _, api::LogParams};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

/// Lines of output in a message.
const LINES: i64 = 10;
/// Time for the cluster to tell what was just made.
pub(super) const LAG: Duration = Duration::from_millis(500);
/// Time beyond their grace for pods to go.
const GOING: Duration = Duration::from_secs(30);
/// Time for the cluster to tell what it holds, before something is applied unseen.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How often what lasts is looked at again.
const LOOK: Duration = Duration::from_secs(5);

/// How it ended.
enum End {
    /// Nothing of it runs any more.
    Done(&'static str),
    /// It cannot run.
    Failed(String),
}

/// One instance, looked after by one task.
pub(crate) struct Life {
    machine: Arc<Machine>,
    pub(super) cluster: Arc<Cluster>,
    spec: DesiredInstance,
    told: watch::Receiver<Told>,
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) mirror: Arc<Mirror>,
    pub(super) applied: Option<(Deployment, Service)>,
    /// What was put right last, for people.
    pub(super) notice: String,
    ever: bool,
    smoked: bool,
    /// The crash whose last output was read, and that output.
    crash: Option<(String, String)>,
    /// Pods before this one, and their restarts.
    pods: (Option<String>, u32, u32),
    /// When something was first seen to be not as it should, and when something was put right last.
    pub(super) suspect: Option<Instant>,
    pub(super) put_right: Option<Instant>,
    settling: Option<mpsc::Sender<()>>,
}

impl Life {
    pub(crate) fn new(
        machine: Arc<Machine>,
        cluster: Arc<Cluster>,
        spec: DesiredInstance,
        told: watch::Receiver<Told>,
    ) -> Self {
        let namespace = cluster.namespace(&spec.environment_name);
        let id = spec.instance.to_string();
        cluster.lives().insert(id.clone());
        Self {
            mirror: cluster.mirror(&namespace),
            settling: machine.settling(),
            id,
            machine,
            cluster,
            spec,
            told,
            namespace,
            applied: None,
            notice: String::new(),
            ever: false,
            smoked: false,
            crash: None,
            pods: (None, 0, 0),
            suspect: None,
            put_right: None,
        }
    }

    /// Lives until told to end. A failed one waits to be told.
    pub(crate) async fn live(mut self) -> InstanceId {
        self.machine.board.put(&self.spec, InstanceState::Fetching, "");
        let end = Box::pin(self.work()).await;
        self.settling = None;
        match end {
            End::Failed(message) => {
                self.say(InstanceState::Failed, &message);
                self.remove().await;
                self.until(|told| told == Told::Stop).await;
            }
            End::Done(message) => {
                self.say(InstanceState::Stopped, message);
                // A drained one is reported until nobody asks any more.
                self.until(|told| !matches!(told, Told::Drain(_))).await;
            }
        }
        self.cluster.lives().remove(&self.id);
        self.spec.instance
    }

    async fn work(&mut self) -> End {
        let mut changes = self.mirror.changes();
        let first = async { while !self.mirror.known() && changes.changed().await.is_ok() {} };
        let seen = timeout(FIRST_LOOK, first).await.is_ok();
        if matches!(*self.told.borrow(), Told::Drain(_)) {
            if seen && !self.is_there() {
                return End::Done("It was not running when it was to drain.");
            }
        } else if let Some(end) = self.begin().await {
            return end;
        }
        Box::pin(self.watch()).await
    }

    fn is_there(&self) -> bool {
        let held = self.mirror.held();
        held.deployments.all.contains_key(&objects::name_of(&self.id))
    }

    /// Applies all there is to it, however long that takes.
    async fn begin(&mut self) -> Option<End> {
        let mut away = Backoff::new(Duration::from_millis(300), Duration::from_secs(30));
        let mut told = self.told.clone();
        loop {
            let applied = tokio::select! {
                applied = Box::pin(self.apply()) => applied,
                () = ended(&mut told) => return self.leave().await,
            };
            match applied {
                Ok(()) => return None,
                Err(fault) if fault.for_now => {
                    self.settling = None;
                    self.say(InstanceState::Fetching, &format!("Trying again: {}", fault.words));
                    tokio::select! {
                        () = sleep(away.pause()) => {}
                        () = ended(&mut told) => return self.leave().await,
                    }
                }
                Err(fault) => return Some(End::Failed(fault.words)),
            }
        }
    }

    /// Told to end before it was known to be as it should. What is to drain and runs is not cut off for that.
    async fn leave(&mut self) -> Option<End> {
        if *self.told.borrow() != Told::Stop && self.is_there() {
            return None;
        }
        self.remove().await;
        Some(End::Done(""))
    }

    /// Applies it. What runs already as it should stays as it is.
    pub(super) async fn apply(&mut self) -> Result<(), Fault> {
        let image = match self.cluster.image(&self.spec.project, &self.spec.artifact).await {
            Ok(image) => image,
            // The server is away: what the cluster was told to run before is still what is wanted.
            Err(fault) => self.image_before().filter(|_| fault.for_now).ok_or(fault)?,
        };
        if let Err(fault) = self.cluster.place_secret(&self.namespace).await {
            // It may be there from before.
            if self.image_before().is_none() {
                return Err(fault);
            }
        }
        let name = objects::name_of(&self.id);
        let labels = objects::labels(
            &self.id,
            &self.cluster.server,
            &self.spec.project,
            &self.spec.version,
        );
        let own = [
            ("BASCULE_PROJECT", self.spec.project.as_str()),
            ("BASCULE_ENVIRONMENT", self.spec.environment_name.as_str()),
            ("BASCULE_VERSION", self.spec.version.as_str()),
            ("BASCULE_INSTANCE", self.id.as_str()),
        ];
        let given = self
            .spec
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let secret = objects::variables(&name, &labels, own.into_iter().chain(given));
        self.cluster
            .apply::<k8s_openapi::api::core::v1::Secret>(
                &self.namespace,
                "Its variables cannot be placed",
                &secret,
            )
            .await?;
        let service = objects::service(&name, &self.id, &labels);
        let (service, _) = self
            .cluster
            .apply(&self.namespace, "Its Service cannot be made", &service)
            .await?;
        let object = objects::deployment(&self.spec, &self.cluster.server, &image);
        let (deployment, rival) = self
            .cluster
            .apply(&self.namespace, "Its Deployment cannot be made", &object)
            .await?;
        if let Some(who) = rival {
            self.notice = format!("It was changed by hand (by {who}), and was put back.");
        }
        self.applied = Some((deployment, service));
        Ok(())
    }

    /// The image that its Deployment runs, if it was made from the very same.
    fn image_before(&self) -> Option<String> {
        let held = self.mirror.held();
        let found = held.deployments.all.get(&objects::name_of(&self.id))?;
        let same = found.annotations().get(objects::SPEC) == Some(&objects::spec_of(&self.spec));
        found.annotations().get(objects::IMAGE).filter(|_| same).cloned()
    }

    /// Looks after what was applied.
    async fn watch(&mut self) -> End {
        let mut changes = self.mirror.changes();
        let mut drain_until: Option<Instant> = None;
        loop {
            changes.mark_unchanged();
            let told = *self.told.borrow_and_update();
            match told {
                Told::Stop => {
                    self.remove().await;
                    return End::Done("");
                }
                Told::Drain(most) => {
                    if drain_until.is_none() {
                        drain_until = Some(Instant::now() + most);
                        self.settling = None;
                        self.say(InstanceState::Draining, "");
                    }
                }
                Told::Run => drain_until = None,
            }
            if drain_until.is_some_and(|until| Instant::now() >= until) {
                self.remove().await;
                return End::Done("");
            }
            if drain_until.is_none() {
                if self.applied.is_none()
                    && let Some(end) = self.begin().await
                {
                    return end;
                }
                self.put_right().await;
                if let Some(end) = self.look().await {
                    return end;
                }
            }
            let pause = if self.suspect.is_some() { LAG } else { LOOK };
            let wake = drain_until.unwrap_or_else(|| Instant::now() + pause);
            tokio::select! {
                _ = changes.changed() => {}
                changed = self.told.changed() => {
                    if changed.is_err() {
                        // The agent stops; the cluster goes on.
                        return std::future::pending().await;
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Says how it stands.
    async fn look(&mut self) -> Option<End> {
        let (seen, trouble) = {
            let held = self.mirror.held();
            let deployment = held.deployments.all.get(&objects::name_of(&self.id)).cloned();
            let pods: Vec<&Pod> = held.pods_of(&self.id);
            let seen = deployment.filter(|_| held.known());
            let seen = seen.map(|deployment| view::look(&self.spec, &deployment, &pods, self.ever));
            (seen, held.trouble())
        };
        if let Some(why) = trouble {
            // It is known no better than before, and runs on as far as anybody knows.
            self.settling = None;
            let why = format!("How it stands is not known just now: {why}.");
            let known = self.machine.board.reports();
            if let Some(report) = known.iter().find(|one| one.instance == self.spec.instance) {
                self.say(report.state, &why);
            }
            return None;
        }
        let mut seen = seen?;
        let restarts = self.restarts(&seen);
        if seen.hopeless {
            return Some(End::Failed(self.with_output(&seen, restarts).await));
        }
        match seen.state {
            InstanceState::Crashed => seen.message = self.with_output(&seen, restarts).await,
            InstanceState::Starting if !seen.message.is_empty() => {
                seen.message = self.with_output(&seen, restarts).await;
            }
            InstanceState::Healthy => {
                self.ever = true;
                seen.message.clone_from(&self.notice);
            }
            _ => {}
        }
        if !matches!(seen.state, InstanceState::Fetching | InstanceState::Starting)
            || !seen.message.is_empty()
        {
            self.settling = None;
        }
        let address = self
            .address()
            .filter(|_| self.ever && seen.state != InstanceState::Crashed);
        self.show(&seen, restarts, address.as_deref());
        if seen.state == InstanceState::Healthy
            && let Some(address) = address
        {
            self.smoke(&address).await;
        }
        None
    }

    /// Puts it up, where it is news.
    fn show(&self, seen: &view::View, restarts: u32, address: Option<&str>) {
        let known = self.machine.board.reports();
        let news = known
            .iter()
            .find(|one| one.instance == self.spec.instance)
            .is_none_or(|one| {
                one.state != seen.state
                    || one.message != seen.message
                    || one.restarts != restarts
                    || one.address.as_deref() != address
                    || (seen.started_at.is_some() && one.started_at != seen.started_at)
            });
        if news {
            self.machine.board.update(self.spec.instance, |report| {
                report.state = seen.state;
                report.message.clone_from(&seen.message);
                report.restarts = restarts;
                report.address = address.map(str::to_owned);
                report.started_at = seen.started_at.or(report.started_at);
            });
        }
    }

    /// Restarts over all pods that this instance had: a pod that was replaced was one too.
    fn restarts(&mut self, seen: &view::View) -> u32 {
        let (known, before, last) = &mut self.pods;
        if let Some((_, uid)) = &seen.pod {
            if known.as_ref().is_some_and(|known| known != uid) {
                *before = before.saturating_add(*last).saturating_add(1);
            }
            *known = Some(uid.clone());
            *last = seen.restarts;
        }
        before.saturating_add(*last)
    }

    /// A crash with the last that was written before it, which is read once.
    async fn with_output(&mut self, seen: &view::View, restarts: u32) -> String {
        let Some((pod, uid)) = &seen.pod else {
            return seen.message.clone();
        };
        let crash = format!("{uid} {restarts} {}", seen.message);
        if self.crash.as_ref().is_none_or(|(known, _)| *known != crash) {
            let pods: Api<Pod> = self.cluster.api(&self.namespace);
            let mut text = String::new();
            // Of the container before, or of the present one where there is none before.
            for previous in [true, false] {
                let asked = LogParams {
                    container: Some(objects::CONTAINER.to_owned()),
                    previous,
                    tail_lines: Some(LINES),
                    limit_bytes: Some(2_048),
                    ..LogParams::default()
                };
                if let Ok(Ok(found)) = timeout(Duration::from_secs(3), pods.logs(pod, &asked)).await
                    && !found.trim().is_empty()
                {
                    text = found.trim_end().to_owned();
                    break;
                }
            }
            self.crash = Some((crash, text));
        }
        match &self.crash {
            Some((_, text)) if !text.is_empty() => format!("{} Its last output:\n{text}", seen.message),
            _ => format!("{} It wrote nothing.", seen.message),
        }
    }

    /// Where it answers.
    fn address(&self) -> Option<String> {
        let (_, service) = self.applied.as_ref()?;
        let held = self.mirror.held();
        let service = held
            .services
            .all
            .get(&objects::name_of(&self.id))
            .unwrap_or(service);
        let spec = service.spec.as_ref()?;
        let ip = spec.cluster_ip.as_deref()?.parse().ok()?;
        let port = spec.ports.as_ref()?.first()?.port;
        Some(SocketAddr::new(ip, u16::try_from(port).ok()?).to_string())
    }

    /// Runs the smoke test, once in an instance's life.
    async fn smoke(&mut self, address: &str) {
        if std::mem::replace(&mut self.smoked, true) {
            return;
        }
        let result = tokio::select! {
            result = probe::smoke(address, &self.spec.smoke) => result,
            () = ended(&mut self.told) => {
                self.smoked = false;
                return;
            }
        };
        self.machine
            .board
            .update(self.spec.instance, |report| report.smoke = Some(result));
    }

    /// Deletes it, and waits until its pods are gone. A cluster that is away is waited for.
    async fn remove(&mut self) {
        let mut away = Backoff::new(Duration::from_millis(300), Duration::from_secs(30));
        while let Err(fault) = Box::pin(self.cluster.remove(&self.namespace, &self.id)).await {
            tracing::warn!(
                instance = self.id,
                why = fault.words,
                "an instance cannot be removed yet"
            );
            sleep(away.pause()).await;
        }
        self.applied = None;
        let mut changes = self.mirror.changes();
        let gone = async {
            loop {
                let left = {
                    let held = self.mirror.held();
                    !held.pods_of(&self.id).is_empty()
                        || held.deployments.all.contains_key(&objects::name_of(&self.id))
                };
                if !left || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout(GRACE + GOING, gone).await.is_err() {
            tracing::warn!(
                instance = self.id,
                "pods of an instance that was deleted are still there"
            );
        }
    }

    fn say(&self, state: InstanceState, message: &str) {
        self.machine.board.say(self.spec.instance, state, message);
    }

    async fn until(&mut self, what: impl Fn(Told) -> bool) {
        if self.told.wait_for(|told| what(*told)).await.is_err() {
            // The agent stops; the cluster goes on.
            std::future::pending::<()>().await;
        }
    }
}

/// Waits to be told to end, or to drain.
async fn ended(told: &mut watch::Receiver<Told>) {
    if told.wait_for(|told| *told != Told::Run).await.is_err() {
        std::future::pending::<()>().await;
    }
}
