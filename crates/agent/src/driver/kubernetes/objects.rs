//! What an instance is in a cluster: a Deployment of one pod, a Service in front of it, and a Secret with its
//! variables. Made from the same specification as processes and podman's containers. Pure.

use bascule_core::Digest;
use bascule_wire::agent::{DesiredInstance, HealthCheck, Limits};
use serde_json::{Value, json};

/// Who applies: the field manager of everything that is made here.
pub(super) const MANAGER: &str = "bascule";
/// Which server's agent made it.
pub(super) const SERVER: &str = "bascule/server";
/// Which instance, or task, it is.
pub(super) const INSTANCE: &str = "bascule/instance";
/// What it was made from.
pub(super) const SPEC: &str = "bascule/spec";
/// The image that its pod runs.
pub(super) const IMAGE: &str = "bascule/image";
/// Where the product listens in its pod, and its Service with it.
pub(super) const PORT: u16 = 8080;
/// The pod's one container.
pub(super) const CONTAINER: &str = "product";
/// The Secret by which nodes pull.
pub(super) const PULL: &str = "bascule-pull";
/// Time between SIGTERM and SIGKILL, in seconds.
pub(super) const GRACE_SECONDS: u64 = 10;
/// Failures in a row by which a running container no longer gets requests; the same as under other drivers.
const FAILURES: u64 = 3;
/// One that is unhealthy for this long hangs, and is started again.
const HANGS_MS: u64 = 30_000;

/// How everything of an instance, or a task, is called.
pub(super) fn name_of(id: &str) -> String {
    format!("bascule-{id}")
}

/// Changes whenever what runs would be another.
pub(super) fn spec_of(spec: &DesiredInstance) -> String {
    let all = (
        spec.artifact.digest.hex(),
        &spec.command,
        &spec.variables,
        (
            &spec.health.path,
            spec.health.interval_ms,
            spec.health.timeout_ms,
            spec.health.start_ms,
        ),
        (spec.limits.memory_bytes, spec.limits.pids),
    );
    let text = serde_json::to_vec(&all).unwrap_or_default();
    Digest::of(&text).hex().chars().take(32).collect()
}

/// A label's value of at most 63 characters, of those that are allowed.
fn label(text: &str) -> String {
    let plain: String = text
        .chars()
        .take(63)
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '-'
            }
        })
        .collect();
    plain
        .trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

/// Labels of all that belongs to one thing.
pub(super) fn labels(id: &str, server: &str, project: &str, version: &str) -> Value {
    json!({
        SERVER: server,
        INSTANCE: id,
        "app.kubernetes.io/managed-by": "bascule",
        "app.kubernetes.io/name": label(project.rsplit('/').next().unwrap_or(project)),
        "app.kubernetes.io/part-of": label(project),
        "app.kubernetes.io/version": label(version),
    })
}

/// Its variables; all of them, as it is not known here which of them are secret.
pub(super) fn variables<'a>(
    name: &str,
    labels: &Value,
    variables: impl Iterator<Item = (&'a str, &'a str)>,
) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let data: serde_json::Map<String, Value> = variables
        .map(|(name, value)| (name.to_owned(), json!(STANDARD.encode(value))))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": name, "labels": labels },
        "type": "Opaque", "data": data,
    })
}

/// By what nodes pull from a registry.
pub(super) fn pull_secret(registry: &str, username: &str, password: &str, server: &str) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let auth = STANDARD.encode(format!("{username}:{password}"));
    let config =
        json!({ "auths": { registry: { "username": username, "password": password, "auth": auth } } });
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": PULL, "labels": { SERVER: server, "app.kubernetes.io/managed-by": "bascule" } },
        "type": "kubernetes.io/dockerconfigjson",
        "data": { ".dockerconfigjson": STANDARD.encode(config.to_string()) },
    })
}

/// The address by which what listens in the pods is reached.
pub(super) fn service(name: &str, id: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "type": "ClusterIP",
            "selector": { INSTANCE: id },
            "ports": [{ "name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP" }],
        },
    })
}

/// One pod, kept running by the cluster also where the agent is away or a node goes.
pub(super) fn deployment(spec: &DesiredInstance, server: &str, image: &str) -> Value {
    let id = spec.instance.to_string();
    let name = name_of(&id);
    let labels = labels(&id, server, &spec.project, &spec.version);
    let mut container = container(image, &name, &spec.limits);
    if !spec.command.is_empty() {
        container["command"] = json!(["/bin/sh"]);
        container["args"] = json!(["-c", spec.command]);
    }
    container["ports"] = json!([{ "name": "http", "containerPort": PORT, "protocol": "TCP" }]);
    container["env"] = json!([
        { "name": "HOST", "value": "0.0.0.0" },
        { "name": "PORT", "value": PORT.to_string() },
    ]);
    for (kind, probe) in probes(&spec.health) {
        container[kind] = probe;
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": name, "labels": labels,
            "annotations": { SPEC: spec_of(spec), IMAGE: image },
        },
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 0,
            "strategy": { "type": "Recreate" },
            "selector": { "matchLabels": { INSTANCE: id } },
            "template": {
                "metadata": { "labels": labels },
                "spec": pod(&container, "Always"),
            },
        },
    })
}

/// A task: run once, never again whatever comes of it.
pub(super) fn job(
    name: &str,
    id: &str,
    labels: &Value,
    container: &Value,
    words: (&str, &[String]),
) -> Value {
    let (command, words) = words;
    let mut container = container.clone();
    if words.is_empty() {
        container["command"] = json!(["/bin/sh"]);
        container["args"] = json!(["-c", command]);
    } else {
        container["command"] = json!(words);
    }
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "backoffLimit": 0, "completions": 1, "parallelism": 1,
            // The pod's failure is not to be made up for by another pod.
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": { "labels": { SERVER: labels[SERVER], INSTANCE: id, "app.kubernetes.io/managed-by": "bascule" } },
                "spec": pod(&container, "Never"),
            },
        },
    })
}

/// A container with no more rights than under podman.
pub(super) fn container(image: &str, variables: &str, limits: &Limits) -> Value {
    let memory = limits.memory_bytes.to_string();
    json!({
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "envFrom": [{ "secretRef": { "name": variables } }],
        "resources": { "requests": { "memory": memory }, "limits": { "memory": memory } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [{ "name": "tmp", "mountPath": "/tmp" }],
    })
}

fn pod(container: &Value, restart: &str) -> Value {
    json!({
        "restartPolicy": restart,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "imagePullSecrets": [{ "name": PULL }],
        "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [container],
        // As under podman, it comes out of the container's memory.
        "volumes": [{ "name": "tmp", "emptyDir": { "medium": "Memory", "sizeLimit": "64Mi" } }],
    })
}

/// The cluster checks in whole seconds, and begins to give requests only once it is ready.
fn probes(health: &HealthCheck) -> [(&'static str, Value); 3] {
    let seconds = |ms: u64| ms.div_ceil(1_000).max(1);
    let every = seconds(health.interval_ms);
    let check = |period: u64, failures: u64| {
        json!({
            "httpGet": { "path": health.path, "port": PORT, "scheme": "HTTP" },
            "periodSeconds": period,
            "timeoutSeconds": seconds(health.timeout_ms),
            "failureThreshold": failures.max(1),
            "successThreshold": 1,
        })
    };
    let patience = HANGS_MS.max(health.start_ms);
    [
        // Asked more often while it starts, so that it takes traffic as soon as it can.
        ("startupProbe", check(1, seconds(health.start_ms))),
        ("readinessProbe", check(every, FAILURES)),
        (
            "livenessProbe",
            check(every, FAILURES + seconds(patience).div_ceil(every)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::desired;

    #[test]
    fn an_instance_becomes_one_pod_with_few_rights_and_its_limits() {
        let spec = desired();
        let made = deployment(&spec, "abc", "registry/demo/clinic@sha256:1");
        let pod = &made["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["args"], json!(["-c", "python3 server.py"]));
        assert_eq!(container["resources"]["limits"]["memory"], "268435456");
        assert_eq!(
            container["securityContext"]["capabilities"]["drop"],
            json!(["ALL"])
        );
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(container["startupProbe"]["failureThreshold"], 5);
        assert_eq!(container["readinessProbe"]["periodSeconds"], 1);
        assert_eq!(
            made["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"],
            "demo-clinic"
        );
        let own = deployment(
            &DesiredInstance {
                command: String::new(),
                ..spec.clone()
            },
            "abc",
            "i",
        );
        assert!(
            own["spec"]["template"]["spec"]["containers"][0]
                .get("command")
                .is_none(),
            "the image's own"
        );
        let other = DesiredInstance {
            drain_ms: Some(1),
            ..spec.clone()
        };
        assert_eq!(spec_of(&spec), spec_of(&other), "draining is the same pod");
    }

    #[test]
    fn the_pull_secret_is_what_kubectl_would_make() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let made = pull_secret("bascule.example", "agent", "bpul-1", "abc");
        let text = STANDARD
            .decode(made["data"][".dockerconfigjson"].as_str().unwrap())
            .unwrap();
        let config: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            config["auths"]["bascule.example"]["auth"],
            STANDARD.encode("agent:bpul-1")
        );
    }
}
