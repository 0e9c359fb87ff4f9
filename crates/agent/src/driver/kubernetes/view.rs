//! How an instance stands, from what a cluster says of its pods, in plain words. Pure.

use super::objects::CONTAINER;
use bascule_core::Timestamp;
use bascule_wire::agent::{DesiredInstance, InstanceState};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ContainerStateTerminated, ContainerStatus, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

/// How an instance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) state: InstanceState,
    /// Why, if that needs a word.
    pub(super) message: String,
    /// Times that the cluster started its container again.
    pub(super) restarts: u32,
    pub(super) started_at: Option<Timestamp>,
    /// The pod that this is about, and its unique identifier.
    pub(super) pod: Option<(String, String)>,
    /// Set where trying again will not help.
    pub(super) hopeless: bool,
}

impl View {
    fn of(state: InstanceState, message: impl Into<String>) -> Self {
        Self {
            state,
            message: message.into(),
            restarts: 0,
            started_at: None,
            pod: None,
            hopeless: false,
        }
    }
}

/// Looks at an instance's Deployment and pods. `ever` tells whether it was healthy before.
pub(super) fn look(spec: &DesiredInstance, deployment: &Deployment, pods: &[&Pod], ever: bool) -> View {
    // One that is being deleted is on its way out; of others the newest counts.
    let newest = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .max_by_key(|pod| pod.metadata.creation_timestamp.clone());
    let Some(pod) = newest else {
        return View::of(InstanceState::Fetching, refusal(deployment).unwrap_or_default());
    };
    let mut view = of_pod(spec, pod, ever);
    view.pod = pod.metadata.name.clone().zip(pod.metadata.uid.clone());
    view
}

/// Why the cluster makes no pod: a quota, an admission rule.
fn refusal(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    let why = found.message.as_deref().unwrap_or("it does not say why");
    Some(format!("The cluster refuses its pod: {why}."))
}

fn of_pod(spec: &DesiredInstance, pod: &Pod, ever: bool) -> View {
    let status = pod.status.clone().unwrap_or_default();
    let container = status
        .container_statuses
        .iter()
        .flatten()
        .find(|container| container.name == CONTAINER);
    if status.phase.as_deref() == Some("Failed") && container.is_none_or(|found| !died(found)) {
        let reason = status.reason.as_deref().unwrap_or("it does not say why");
        let what = status.message.as_deref().unwrap_or_default();
        let gone = format!("Its pod was ended by the cluster ({reason}). {what}");
        return View::of(InstanceState::Crashed, gone.trim_end().to_owned());
    }
    let Some(container) = container else {
        let waits = status
            .conditions
            .iter()
            .flatten()
            .find(|one| one.type_ == "PodScheduled" && one.status == "False");
        let message = waits.and_then(|one| one.message.as_deref()).map(|why| {
            format!(
                "No node of the cluster takes it yet: {}.",
                why.trim_end_matches('.')
            )
        });
        return View::of(InstanceState::Fetching, message.unwrap_or_default());
    };
    let mut view = of_container(spec, container, ever);
    view.restarts = u32::try_from(container.restart_count).unwrap_or(0);
    view.started_at = container
        .state
        .as_ref()
        .and_then(|state| state.running.as_ref())
        .and_then(|running| running.started_at.as_ref())
        .map(timestamp);
    view
}

fn died(container: &ContainerStatus) -> bool {
    container
        .state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some())
}

fn of_container(spec: &DesiredInstance, container: &ContainerStatus, ever: bool) -> View {
    let state = container.state.clone().unwrap_or_default();
    let last = container.last_state.clone().unwrap_or_default().terminated;
    if let Some(ended) = &state.terminated {
        return View {
            hopeless: is_bad_command(ended.reason.as_deref(), ended.message.as_deref()),
            ..View::of(InstanceState::Crashed, words(spec, ended, ever))
        };
    }
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let said = waiting
            .message
            .as_deref()
            .unwrap_or_default()
            .trim_end_matches('.');
        return match reason {
            "CrashLoopBackOff" => {
                let ended = last.map_or_else(
                    || "It ended by itself.".to_owned(),
                    |ended| words(spec, &ended, ever),
                );
                View::of(InstanceState::Crashed, ended)
            }
            "ImagePullBackOff" | "ErrImagePull" | "RegistryUnavailable" | "ImageInspectError" => View::of(
                InstanceState::Fetching,
                format!("Trying again: the cluster cannot pull its image: {said}."),
            ),
            "InvalidImageName" | "ErrImageNeverPull" => View {
                hopeless: true,
                ..View::of(
                    InstanceState::Crashed,
                    format!("The cluster cannot pull its image ({reason}): {said}."),
                )
            },
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                if is_bad_command(Some(reason), Some(said)) {
                    let what = "The command cannot be run: it is missing or not executable.";
                    return View {
                        hopeless: true,
                        ..View::of(InstanceState::Crashed, format!("{what} {said}"))
                    };
                }
                View::of(
                    InstanceState::Crashed,
                    format!("The cluster cannot start its container ({reason}): {said}."),
                )
            }
            _ => View::of(InstanceState::Fetching, ""),
        };
    }
    if container.ready {
        return View::of(InstanceState::Healthy, "");
    }
    if state.running.is_none() {
        return View::of(InstanceState::Fetching, "");
    }
    let check = &spec.health.path;
    match last {
        // Why it had to be started again is told until it is healthy.
        Some(ended) if !container.started.unwrap_or(false) => {
            View::of(InstanceState::Starting, words(spec, &ended, ever))
        }
        _ if ever && container.started.unwrap_or(true) => View::of(
            InstanceState::Unhealthy,
            format!("Its health checks fail: GET {check} does not answer 200 to 399 in time."),
        ),
        _ => View::of(InstanceState::Starting, ""),
    }
}

fn is_bad_command(reason: Option<&str>, message: Option<&str>) -> bool {
    let message = message.unwrap_or_default();
    matches!(
        reason,
        Some("StartError" | "ContainerCannotRun" | "RunContainerError" | "CreateContainerError")
    ) && [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "exec format error",
    ]
    .iter()
    .any(|sign| message.contains(sign))
}

/// How a container ended, as other drivers say it.
pub(super) fn words(spec: &DesiredInstance, ended: &ContainerStateTerminated, ever: bool) -> String {
    let megabytes = spec.limits.memory_bytes / (1024 * 1024);
    let reason = ended.reason.as_deref().unwrap_or_default();
    if reason == "OOMKilled" {
        return format!("It used more than the {megabytes} MiB of memory it may, and was ended.");
    }
    if is_bad_command(ended.reason.as_deref(), ended.message.as_deref()) {
        let said = ended.message.as_deref().unwrap_or_default();
        return format!("The command cannot be run: it is missing or not executable. {said}");
    }
    let ran = ended
        .finished_at
        .as_ref()
        .zip(ended.started_at.as_ref())
        .map(|(end, start)| timestamp(end).since(timestamp(start)));
    // The cluster ends what does not become healthy in time by signals, and says no more than that.
    let start = std::time::Duration::from_millis(spec.health.start_ms);
    let signalled = matches!(ended.exit_code, 137 | 143);
    if !ever && signalled && ran.is_some_and(|ran| ran + std::time::Duration::from_secs(2) >= start) {
        return format!(
            "It was not healthy within {} ms of its start.",
            spec.health.start_ms
        );
    }
    match ended.exit_code {
        0 => "It ended by itself, without an error.".to_owned(),
        126 | 127 => "The command cannot be run: it is missing or not executable.".to_owned(),
        code if code > 128 => format!("It was ended by signal {}.", code - 128),
        code => format!("It ended with exit code {code}."),
    }
}

pub(super) fn timestamp(time: &Time) -> Timestamp {
    Timestamp::from_micros(time.0.as_microsecond())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::needless_pass_by_value,
        reason = "values made in place read better in a table"
    )]

    use super::*;
    use crate::test_support::desired;
    use serde_json::{Value, json};

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "status": status,
        }))
        .unwrap()
    }

    fn container(state: Value, last: Value, ready: bool, started: bool, restarts: u32) -> Value {
        json!({ "phase": "Running", "containerStatuses": [{
            "name": "product", "image": "i", "imageID": "", "ready": ready, "started": started,
            "restartCount": restarts, "state": state, "lastState": last,
        }]})
    }

    fn seen(status: Value, ever: bool) -> (InstanceState, String, bool) {
        let pod = pod(status);
        let view = look(&desired(), &Deployment::default(), &[&pod], ever);
        (view.state, view.message, view.hopeless)
    }

    #[test]
    fn what_a_cluster_says_is_told_in_plain_words() {
        use InstanceState::{Crashed, Fetching, Healthy, Starting, Unhealthy};
        let running = json!({ "running": { "startedAt": "2026-01-01T00:00:05Z" } });
        let waiting =
            |reason: &str, message: &str| json!({ "waiting": { "reason": reason, "message": message } });
        let ended = |code: i32, reason: &str, seconds: u32| {
            json!({ "terminated": { "exitCode": code, "reason": reason,
                "startedAt": "2026-01-01T00:00:00Z", "finishedAt": format!("2026-01-01T00:00:{seconds:02}Z") } })
        };
        let none = json!({});
        for (status, ever, state, says) in [
            (
                json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory." }] }),
                false,
                Fetching,
                "No node of the cluster takes it yet: 0/3 nodes are available: 3 Insufficient memory.",
            ),
            (
                container(
                    waiting("ImagePullBackOff", "manifest unknown"),
                    none.clone(),
                    false,
                    false,
                    0,
                ),
                false,
                Fetching,
                "cannot pull its image: manifest unknown.",
            ),
            (
                container(waiting("ContainerCreating", ""), none.clone(), false, false, 0),
                false,
                Fetching,
                "",
            ),
            (
                container(running.clone(), none.clone(), false, false, 0),
                false,
                Starting,
                "",
            ),
            (
                container(running.clone(), none.clone(), true, true, 0),
                false,
                Healthy,
                "",
            ),
            (
                container(running.clone(), none.clone(), false, true, 0),
                true,
                Unhealthy,
                "GET /health does not answer",
            ),
            (
                container(ended(3, "Error", 2), none.clone(), false, false, 0),
                true,
                Crashed,
                "It ended with exit code 3.",
            ),
            (
                container(
                    waiting("CrashLoopBackOff", "back-off"),
                    ended(137, "OOMKilled", 2),
                    false,
                    false,
                    4,
                ),
                true,
                Crashed,
                "more than the 256 MiB of memory",
            ),
            (
                container(running, ended(143, "Error", 6), false, false, 1),
                false,
                Starting,
                "not healthy within 5000 ms",
            ),
            (
                json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory." }),
                true,
                Crashed,
                "ended by the cluster (Evicted). The node was low on resource: memory.",
            ),
        ] {
            let (seen, message, hopeless) = seen(status, ever);
            assert_eq!(seen, state, "{message}");
            assert!(message.contains(says) && !hopeless, "{message:?} has no {says:?}");
        }
        let (state, message, hopeless) = seen(
            container(
                waiting("RunContainerError", "exec: \"/app\": no such file or directory"),
                none,
                false,
                false,
                0,
            ),
            false,
        );
        assert!(
            state == Crashed && hopeless && message.starts_with("The command cannot be run"),
            "{message}"
        );
    }

    #[test]
    fn a_refused_pod_and_no_pod_yet_are_told_apart() {
        let refused: Deployment =
            serde_json::from_value(json!({ "metadata": {}, "status": { "conditions": [{
            "type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small" }] } }))
            .unwrap();
        let view = look(&desired(), &refused, &[], false);
        assert_eq!(
            view.message,
            "The cluster refuses its pod: exceeded quota: small."
        );
        assert_eq!(look(&desired(), &Deployment::default(), &[], false).message, "");
    }
}
