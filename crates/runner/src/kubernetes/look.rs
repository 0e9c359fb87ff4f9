//! What the status of a job's pod means. Pure.

use bascule_wire::runner::FailureReason;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// Name of the container that fetches, reports and keeps.
pub(super) const HELPER: &str = "helper";
/// Name of the container that runs scripts.
pub(super) const BUILD: &str = "build";

/// How a pod stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Something is yet to start, and why.
    Waits(String),
    /// All runs.
    Runs,
    /// The helper ended well: it has reported.
    Done,
    /// It will not report, and what is to be said in its place.
    Failed(FailureReason, String),
    /// There is none.
    Gone,
    /// The cluster does not tell.
    Unknown,
}

/// Looks at a pod.
pub(super) fn at(pod: &Pod) -> Look {
    let Some(status) = &pod.status else {
        return Look::Waits("the cluster has not taken it yet".to_owned());
    };
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let of = |name: &str| containers.iter().find(|one| one.name == name);
    let helper = of(HELPER).and_then(ended);
    if helper.is_some_and(|ended| ended.exit_code == 0) {
        return Look::Done;
    }
    let message = status.message.as_deref().unwrap_or("no more is known");
    match status.reason.as_deref() {
        Some("DeadlineExceeded") => {
            return Look::Failed(
                FailureReason::JobExecutionTimeout,
                ": it took longer than it may, and the cluster ended its pod".to_owned(),
            );
        }
        Some("Evicted") if message.contains("ephemeral") || message.contains("emptyDir") => {
            return Look::Failed(
                FailureReason::ScriptFailure,
                format!(
                    ": it used more disk than it may (limit `disk_bytes`), and the cluster ended its pod: {message}"
                ),
            );
        }
        Some(reason) if status.phase.as_deref() == Some("Failed") => {
            return system(&format!("the cluster ended its pod ({reason}): {message}"));
        }
        _ => {}
    }
    if let Some(ended) = of(BUILD).and_then(ended)
        && let Some(look) = build_ended(ended)
    {
        return look;
    }
    if let Some(ended) = helper {
        let said = ended.message.as_deref().unwrap_or_default().trim();
        let reason = ended.reason.as_deref().unwrap_or_default();
        return system(&format!(
            "the helper ended with code {} {reason}: {said}",
            ended.exit_code
        ));
    }
    for one in containers {
        let waiting = one.state.as_ref().and_then(|state| state.waiting.as_ref());
        let Some(waiting) = waiting else { continue };
        let said = waiting.message.as_deref().unwrap_or("no more is known");
        match waiting.reason.as_deref().unwrap_or_default() {
            "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                let what = format!(
                    ": the image {} cannot be had: {said}. Check its name and its registry, and the runner's \
                     `image_pull_secrets`",
                    one.image
                );
                let reason = if one.name == HELPER {
                    FailureReason::RunnerSystemFailure
                } else {
                    FailureReason::ImagePullFailure
                };
                return Look::Failed(reason, what);
            }
            reason @ ("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
                return system(&format!(
                    "the container `{}` cannot be started ({reason}): {said}",
                    one.name
                ));
            }
            _ => {}
        }
    }
    if status.phase.as_deref() == Some("Failed") {
        return system(&format!("its pod failed: {message}"));
    }
    waits(pod, containers)
}

/// What it means that the job's container ended before the helper did.
fn build_ended(ended: &ContainerStateTerminated) -> Option<Look> {
    let said = ended.message.as_deref().unwrap_or_default().trim();
    let reason = ended.reason.as_deref().unwrap_or_default();
    match (ended.exit_code, reason) {
        (_, "OOMKilled") => Some(Look::Failed(
            FailureReason::ScriptFailure,
            ": it used more memory than it may (limit `memory_bytes`), and was killed".to_owned(),
        )),
        // It ends so when it is told that all is over.
        (0, _) => None,
        (126 | 127, _) | (_, "StartError" | "ContainerCannotRun") => Some(Look::Failed(
            FailureReason::ConfigurationError,
            format!(
                ": its image cannot run a script: {said}. It needs a shell (`sh`); where its entry point is something \
                 else, set `image: {{name: …, entrypoint: [\"\"]}}`"
            ),
        )),
        (code, _) => Some(system(&format!(
            "its container ended with code {code} {reason} {said}"
        ))),
    }
}

fn system(words: &str) -> Look {
    Look::Failed(
        FailureReason::RunnerSystemFailure,
        format!(" (system failure): {}", words.trim()),
    )
}

fn ended(one: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    one.state.as_ref()?.terminated.as_ref()
}

fn waits(pod: &Pod, containers: &[ContainerStatus]) -> Look {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let unscheduled = conditions
        .iter()
        .find(|one| one.type_ == "PodScheduled" && one.status == "False");
    if let Some(condition) = unscheduled {
        let why = condition.message.as_deref().unwrap_or("no more is known");
        return Look::Waits(format!("no node of the cluster takes it: {why}"));
    }
    let wanted = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
    let begun = |one: &&ContainerStatus| {
        let state = one.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    if wanted > 0 && containers.iter().filter(begun).count() >= wanted {
        return Look::Runs;
    }
    let why = containers.iter().filter(|one| !begun(one)).find_map(|one| {
        let waiting = one.state.as_ref()?.waiting.as_ref()?;
        let said = waiting.message.as_deref().or(waiting.reason.as_deref())?;
        Some(format!("the container `{}` waits: {said}", one.name))
    });
    Look::Waits(why.unwrap_or_else(|| "its containers are not made yet".to_owned()))
}

/// Why a call came to nothing, without the noise.
pub(super) fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => "the cluster does not know the runner's credentials".to_owned(),
            403 => format!(
                "the runner lacks a right in the cluster: {}",
                status.message.trim()
            ),
            code => format!("the cluster answered {code}: {}", status.message.trim()),
        },
        other => {
            let mut words = other.to_string();
            let mut next = std::error::Error::source(other);
            while let Some(error) = next {
                let text = error.to_string();
                if !words.contains(&text) {
                    words = format!("{words}: {text}");
                }
                next = error.source();
            }
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[allow(clippy::needless_pass_by_value, reason = "values made in place read better")]
    fn look(status: Value) -> Look {
        let pod = json!({ "metadata": {}, "status": status,
            "spec": { "containers": [{ "name": HELPER }, { "name": BUILD }] } });
        at(&serde_json::from_value(pod).unwrap())
    }

    fn container(name: &str, state: &Value) -> Value {
        json!({ "name": name, "image": "img:1", "imageID": "", "ready": true, "restartCount": 0, "state": state })
    }

    #[allow(clippy::needless_pass_by_value, reason = "values made in place read better")]
    fn two(helper: Value, build: Value) -> Value {
        json!({ "phase": "Running", "containerStatuses": [container(HELPER, &helper), container(BUILD, &build)] })
    }

    #[test]
    fn what_a_pod_waits_for_and_why_it_will_not_report() {
        let running = json!({ "running": {} });
        let ended = |code: i32, reason: &str| json!({ "terminated": { "exitCode": code, "reason": reason, "message": "last" } });
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason, "message": "said so" } });
        assert_eq!(look(two(running.clone(), running.clone())), Look::Runs);
        assert_eq!(look(two(ended(0, "Completed"), running.clone())), Look::Done);
        let waits = look(two(running.clone(), waiting("ContainerCreating")));
        assert_eq!(
            waits,
            Look::Waits("the container `build` waits: said so".to_owned())
        );
        let pending = json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available" }] });
        assert!(matches!(look(pending), Look::Waits(why) if why.contains("0/3 nodes")));
        for (status, reason, piece) in [
            (
                two(running.clone(), waiting("ImagePullBackOff")),
                FailureReason::ImagePullFailure,
                "img:1 cannot be had: said so",
            ),
            (
                two(waiting("ErrImageNeverPull"), running.clone()),
                FailureReason::RunnerSystemFailure,
                "img:1 cannot be had",
            ),
            (
                two(running.clone(), ended(137, "OOMKilled")),
                FailureReason::ScriptFailure,
                "memory_bytes",
            ),
            (
                two(running.clone(), ended(128, "StartError")),
                FailureReason::ConfigurationError,
                "needs a shell",
            ),
            (
                two(running.clone(), ended(9, "Error")),
                FailureReason::RunnerSystemFailure,
                "code 9",
            ),
            (
                two(ended(1, "Error"), running.clone()),
                FailureReason::RunnerSystemFailure,
                "code 1 Error: last",
            ),
            (
                json!({ "phase": "Failed", "reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds" }),
                FailureReason::ScriptFailure,
                "disk_bytes",
            ),
            (
                json!({ "phase": "Failed", "reason": "NodeLost", "message": "gone" }),
                FailureReason::RunnerSystemFailure,
                "NodeLost",
            ),
            (
                json!({ "phase": "Failed", "reason": "DeadlineExceeded" }),
                FailureReason::JobExecutionTimeout,
                "longer",
            ),
        ] {
            match look(status) {
                Look::Failed(found, words) => {
                    assert!(found == reason && words.contains(piece), "{found}: {words}");
                }
                other => panic!("{piece}: {other:?}"),
            }
        }
    }
}
