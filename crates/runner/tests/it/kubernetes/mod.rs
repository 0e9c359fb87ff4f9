//! Jobs as pods, against an API server of our own making: none runs here. It is the one that the agent's tests have, with
//! another kubelet behind it.

#[allow(dead_code, reason = "the agent's tests use more of it")]
#[path = "../../../../agent/tests/it/kubernetes/api.rs"]
mod api;
#[allow(dead_code, reason = "the agent's tests use more of it")]
#[path = "../../../../agent/tests/it/kubernetes/apply.rs"]
mod apply;
#[allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "the agent's tests use more of it, and values made in place"
)]
#[path = "../../../../agent/tests/it/kubernetes/cluster.rs"]
mod cluster;
mod kubelet;

use crate::{Bench, fake::until, job, plain, podman::sh, repository};
use bascule_runner::{Config, ExecutorKind};
use bascule_wire::runner::FailureReason;
use cluster::Cluster;
use serde_json::{Value, json};
use std::time::Duration;

const IMAGE: &str = "registry.example.org/whole:1";
/// An image with one small program and no bash.
const PLAIN: &str = "registry.example.org/plain:1";

fn in_cluster(config: &mut Config, cluster: &Cluster) {
    config.executor = ExecutorKind::Kubernetes;
    config.kubernetes.kubeconfig = Some(cluster.kubeconfig());
    config.kubernetes.namespace = cluster::NAMESPACE.into();
    config.kubernetes.helper_image = "registry.example.org/helper:1".into();
}

async fn start(cluster: &Cluster) -> Bench {
    let mut bench = Bench::new();
    bench.start(|config| in_cluster(config, cluster)).await;
    bench
}

/// All that is left in the namespace.
fn left(cluster: &Cluster) -> Vec<Value> {
    let kinds = ["pods", "secrets", "networkpolicies"];
    kinds.iter().flat_map(|kind| cluster.all(kind)).collect()
}

/// Waits until no process has such words.
async fn gone(words: &str) {
    until(&format!("the end of {words}"), || {
        sh(&format!("pgrep -fx '{words}' || true")).is_empty()
    })
    .await;
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = pod["spec"]["containers"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_as_a_pod_with_its_files_its_services_and_the_exit_code() {
    let cluster = Cluster::start().await;
    let mut bench = Bench::new();
    let work = bench.dir.path().join("work");
    let sha = repository(&work);
    bench
        .start(|config| {
            in_cluster(config, &cluster);
            config.limits.cpus = Some(1.5);
            config.limits.memory_bytes = 64 << 20;
            config
                .kubernetes
                .node_selector
                .insert("disk".into(), "fast".into());
            config
                .kubernetes
                .node_tolerations
                .insert("ci=only".into(), "NoSchedule".into());
            config.kubernetes.image_pull_secrets = vec!["regcred".into()];
            config.kubernetes.service_account = "jobs".into();
        })
        .await;
    let port = 18_733;
    let script = [
        "echo \"in $PWD with $PLAIN\"; printf '%s\\n' \"$LINES_\" | wc -l; cat \"$FILE\"",
        "cat file; mkdir out; echo made > out/made; touch /tmp/installed; ls /work /etc/bascule 2>&1 || true",
        "sleep 6262.5 & echo $SECRET; echo err >&2; (echo > /run/bascule/x) 2>/dev/null || echo kept; (exit 3)",
    ];
    bench.push(job(1, &script, json!({
        "image": {"name": "registry.example.org/$NAME:1", "pull_policy": ["always", "if-not-present"]},
        "git_info": {"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "depth": 1},
        "variables": [
            {"key": "NAME", "value": "whole", "public": true},
            {"key": "PLAIN", "value": "it's \"$$ plain\"", "public": true},
            {"key": "LINES_", "value": "one\ntwo", "public": true},
            {"key": "SECRET", "value": "s3cret-value!", "masked": true},
            {"key": "FILE", "value": "content\n", "file": true},
        ],
        "services": [{"name": PLAIN, "alias": "db, d_b", "command": ["sh", "-c", format!("mkdir /tmp/w; echo served $WHO > /tmp/w/index.html; exec httpd -f -p {port} -h /tmp/w")],
            "variables": [{"key": "HEALTHCHECK_TCP_PORT", "value": port.to_string()}, {"key": "WHO", "value": "by $NAME"}]}],
        "artifacts": [{"paths": ["out"], "when": "always", "artifact_type": "archive", "artifact_format": "zip"}],
        "steps": [
            {"name": "script", "script": script, "timeout": 60, "when": "on_success", "allow_failure": false},
            {"name": "after_script", "script": ["ls /tmp/installed; echo after $CI_JOB_STATUS", format!("python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/').read().decode())\"")], "timeout": 60, "when": "always", "allow_failure": true},
        ],
    })));
    cluster
        .until("a pod", |cluster| !cluster.all("pods").is_empty())
        .await;
    let (pod, policy) = (cluster.only("pods"), cluster.only("networkpolicies"));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(
        (result.state.as_str(), result.exit_code),
        ("failed", Some(3)),
        "{log}"
    );
    for piece in [
        "in /builds/g/p with it's \"$ plain\"\n2\ncontent\n",
        "\ntwo\n",
        "[MASKED]\nerr\nkept\n",
        "listens on 18733",
        "/tmp/installed\nafter failed\n",
        "served by whole\n",
        "ERROR: Job failed: exit code 3\n",
    ] {
        assert!(log.contains(piece), "{piece} is missing in\n{log}");
    }
    assert!(
        !log.contains("errand.json"),
        "what the helper knows is not the job's: {log}"
    );
    assert_eq!(bench.fake.data().uploads.len(), 1, "kept on failure too: {log}");

    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(
        (&spec["serviceAccountName"], &spec["nodeSelector"]["disk"]),
        (&json!("jobs"), &json!("fast"))
    );
    assert_eq!(spec["tolerations"][0]["value"], "only");
    assert_eq!(spec["imagePullSecrets"][1]["name"], "regcred");
    assert_eq!(
        spec["hostAliases"][0]["hostnames"],
        json!(["registry.example.org-plain", "db"])
    );
    let build = container(&pod, "build");
    assert_eq!(build["resources"]["limits"]["cpu"], "1500m");
    assert_eq!(build["resources"]["limits"]["memory"], (64 << 20).to_string());
    assert_eq!(build["imagePullPolicy"], "Always");
    assert_eq!(build["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(policy["spec"]["ingress"], json!([]));
    let text = pod.to_string();
    assert!(
        !text.contains("job-token") && !text.contains("s3cret") && !text.contains("by whole"),
        "secrets are in secrets: {text}"
    );
    bench.stop().await;
    assert!(left(&cluster).is_empty(), "{:#?}", left(&cluster));
    gone("sleep 6262.5").await;
    // Least rights: what it asked for is what the documented role allows.
    for asked in cluster.asked() {
        let allowed = [
            "GET pods",
            "PATCH pods",
            "DELETE pods",
            "PATCH secrets",
            "DELETE secrets",
            "PATCH networkpolicies",
            "DELETE networkpolicies",
        ];
        assert!(allowed.contains(&asked.as_str()), "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_up_a_cancel_and_a_drain_end_a_job_and_its_pod() {
    let cluster = Cluster::start().await;
    let mut bench = Bench::new();
    bench
        .start(|config| {
            in_cluster(config, &cluster);
            config.drain_grace = Duration::from_millis(300);
        })
        .await;
    let stubborn = "echo begun; trap '' TERM; while :; do sleep 6363.5; done";
    bench.push(job(1, &[stubborn], json!({
        "image": {"name": PLAIN}, "runner_info": {"timeout": 3},
        "steps": [
            {"name": "script", "script": [stubborn], "timeout": 3, "when": "on_success", "allow_failure": false},
            {"name": "after_script", "script": ["echo cleaning up"], "timeout": 60, "when": "always", "allow_failure": true},
        ],
    })));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(
        result.failure_reason,
        Some(FailureReason::JobExecutionTimeout),
        "{log}"
    );
    assert!(log.contains("\ncleaning up\n"), "{log}");

    bench.push(job(2, &[stubborn], json!({"image": {"name": IMAGE}})));
    until("the job's start", || bench.fake.log(2).contains("\nbegun")).await;
    bench.fake.data().status.insert(2, "canceled".into());
    let result = bench.fake.result(2).await;
    assert_eq!(result.failure_reason, Some(FailureReason::JobCanceled));
    cluster
        .until("an empty namespace", |cluster| left(cluster).is_empty())
        .await;

    // One that a draining runner gives up is the platform's failure; one that ends in time is not.
    bench.push(job(3, &[stubborn], json!({"image": {"name": IMAGE}})));
    until("the job's start", || bench.fake.log(3).contains("\nbegun")).await;
    bench.stop().await;
    let result = bench.fake.result(3).await;
    assert_eq!(result.failure_reason, Some(FailureReason::RunnerSystemFailure));
    assert!(
        plain(&bench.fake.log(3)).contains("the runner was stopped before the job ended"),
        "{}",
        bench.fake.log(3)
    );
    assert!(left(&cluster).is_empty(), "{:#?}", left(&cluster));
    gone("sleep 6363.5").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_cannot_run_is_told_in_words_that_help() {
    let cluster = Cluster::start().await;
    let bench = start(&cluster).await;
    bench.push(job(
        1,
        &["true"],
        json!({"image": {"name": "registry.example.org/missing:1"}}),
    ));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(
        result.failure_reason,
        Some(FailureReason::ImagePullFailure),
        "{log}"
    );
    assert!(
        log.contains("missing:1 cannot be had: registry.example.org/missing:1: not found"),
        "{log}"
    );

    bench.push(job(2, &["true"], json!({})));
    assert_eq!(
        bench.fake.result(2).await.failure_reason,
        Some(FailureReason::ConfigurationError)
    );
    assert!(plain(&bench.fake.log(2)).contains("has no default image"));

    cluster.forbid(Some("pods"));
    bench.push(job(3, &["true"], json!({"image": {"name": IMAGE}})));
    let result = bench.fake.result(3).await;
    let log = plain(&bench.fake.log(3));
    assert_eq!(
        result.failure_reason,
        Some(FailureReason::RunnerSystemFailure),
        "{log}"
    );
    assert!(
        log.contains("lacks a right in the cluster: pods is forbidden"),
        "{log}"
    );
    cluster.forbid(None);

    // The kernel ends all of a container that takes too much.
    bench.push(job(
        4,
        &["echo begun; sleep 60"],
        json!({"image": {"name": IMAGE}}),
    ));
    until("the job's start", || bench.fake.log(4).contains("\nbegun")).await;
    let pod = cluster.only("pods");
    let mut status = pod["status"].clone();
    for one in status["containerStatuses"].as_array_mut().unwrap() {
        if one["name"] == "build" {
            one["state"] = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
        }
    }
    cluster.set_pod(&pod, &status);
    let result = bench.fake.result(4).await;
    let log = plain(&bench.fake.log(4));
    assert_eq!(result.failure_reason, Some(FailureReason::ScriptFailure), "{log}");
    assert!(
        log.contains("used more memory than it may (limit `memory_bytes`)"),
        "{log}"
    );

    // Someone deletes the pod.
    bench.push(job(
        5,
        &["echo begun; sleep 60"],
        json!({"image": {"name": IMAGE}}),
    ));
    until("the job's start", || bench.fake.log(5).contains("\nbegun")).await;
    cluster.delete("pods");
    let result = bench.fake.result(5).await;
    assert_eq!(
        result.failure_reason,
        Some(FailureReason::RunnerSystemFailure),
        "{}",
        bench.fake.log(5)
    );
    cluster
        .until("an empty namespace", |cluster| left(cluster).is_empty())
        .await;
    let mut bench = bench;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_outlasts_the_cluster_s_api_and_a_killed_runner_s_pods_go() {
    let cluster = Cluster::start().await;
    let mut bench = start(&cluster).await;
    bench.push(job(
        1,
        &["echo begun; sleep 1.5; echo over"],
        json!({"image": {"name": IMAGE}}),
    ));
    until("the job's start", || bench.fake.log(1).contains("\nbegun")).await;
    cluster.cut().await;
    let result = bench.fake.result(1).await;
    assert_eq!(result.state.as_str(), "success", "{}", bench.fake.log(1));
    cluster.back().await;
    cluster
        .until("an empty namespace", |cluster| left(cluster).is_empty())
        .await;

    bench.push(job(
        2,
        &["echo begun; sleep 6464.5"],
        json!({"image": {"name": IMAGE}}),
    ));
    until("the job's start", || bench.fake.log(2).contains("\nbegun")).await;
    // As by SIGKILL: nothing of it goes on.
    let runner = bench.runner.take().unwrap();
    runner.abort();
    drop(runner.await);
    assert_eq!(cluster.all("pods").len(), 1, "the pod goes on");
    bench.start(|config| in_cluster(config, &cluster)).await;
    let result = bench.fake.result(2).await;
    assert_eq!(result.failure_reason, Some(FailureReason::RunnerSystemFailure));
    cluster
        .until("an empty namespace", |cluster| left(cluster).is_empty())
        .await;
    bench.stop().await;
    gone("sleep 6464.5").await;
}
