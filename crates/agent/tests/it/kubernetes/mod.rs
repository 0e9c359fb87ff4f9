//! The driver kubernetes against an API server of our own making: none runs here.

#![allow(clippy::needless_pass_by_value, reason = "values made in place read better")]

mod api;
mod apply;
mod cluster;
mod kubelet;

use crate::support::{Running, Server, ask, desired};
use bascule_core::TaskId;
use bascule_wire::{
    agent::{
        DesiredInstance, Driver,
        InstanceState::{Crashed, Draining, Failed, Fetching, Healthy, Starting, Stopped, Unhealthy},
    },
    task::{DesiredTask, TaskState},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::{Cluster, ended, pod_status, running, waiting};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

fn wanted() -> DesiredInstance {
    let mut wanted = desired(b"an image");
    wanted.driver = Driver::Kubernetes;
    wanted.artifact.file_name = "app.oci.tar".to_owned();
    wanted.command = String::new();
    wanted.smoke.truncate(1);
    wanted
}

struct Bed {
    cluster: Cluster,
    server: Server,
    data: tempfile::TempDir,
    agent: Running,
}

impl Bed {
    async fn new() -> Self {
        Self::of(Cluster::start().await).await
    }

    async fn of(cluster: Cluster) -> Self {
        let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
        let agent = Running::start_in(&server, data.path(), Some(cluster.kubeconfig()));
        Self {
            cluster,
            server,
            data,
            agent,
        }
    }

    /// One that is healthy.
    async fn healthy() -> (Self, DesiredInstance) {
        let (bed, wanted) = (Self::new().await, wanted());
        bed.server.desire(vec![wanted.clone()]);
        bed.server.until(wanted.instance, |one| one.smoke.is_some()).await;
        (bed, wanted)
    }

    /// Waits until nothing is left of an instance but the pull secret.
    async fn until_empty(&self) {
        let empty = |cluster: &Cluster| {
            ["deployments", "services", "pods", "jobs"]
                .iter()
                .all(|kind| cluster.all(kind).is_empty())
                && cluster.all("secrets").len() == 1
        };
        self.cluster.until("an empty namespace", empty).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_runs_as_a_pod_is_healthy_drains_and_goes_without_a_trace() {
    let (bed, mut wanted) = Bed::healthy().await;
    let report = bed.server.until_state(wanted.instance, Healthy).await;
    assert!(report.smoke.as_ref().unwrap().passed, "{report:?}");
    assert_eq!(report.message, "");
    let address = report.address.unwrap();
    assert!(
        address.starts_with("127.") && address.ends_with(":8080"),
        "{address}"
    );
    assert!(
        ask(&address, "/")
            .await
            .unwrap()
            .contains("version 1.0.0 in staging")
    );
    assert!(bed.server.last().drivers.contains(&Driver::Kubernetes));

    let deployment = bed.cluster.only("deployments");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap();
    assert!(
        image.starts_with("registry.example:5000/demo/clinic@sha256:"),
        "{image}"
    );
    assert!(container["envFrom"][0]["secretRef"]["name"].is_string());
    let pull = bed
        .cluster
        .all("secrets")
        .into_iter()
        .find(|one| one["metadata"]["name"] == "bascule-pull")
        .unwrap();
    let config = STANDARD
        .decode(pull["data"][".dockerconfigjson"].as_str().unwrap())
        .unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["auths"]["registry.example:5000"]["password"], "bpul-1");
    assert_eq!(
        bed.server.fetched.load(Ordering::Relaxed),
        0,
        "the cluster pulls, not the agent"
    );

    wanted.drain_ms = Some(600);
    bed.server.desire(vec![wanted.clone()]);
    bed.server.until_state(wanted.instance, Draining).await;
    assert!(ask(&address, "/").await.is_some(), "it goes on serving");
    bed.server.until_state(wanted.instance, Stopped).await;
    bed.until_empty().await;
    assert_eq!(ask(&address, "/").await, None);
    bed.server.desire(Vec::new());
    bed.server.until_gone(wanted.instance).await;
    // Least rights: what it asked for is what the documented Role allows.
    for asked in bed.cluster.asked() {
        let allowed = [
            "GET deployments",
            "PATCH deployments",
            "DELETE deployments",
            "GET services",
            "PATCH services",
            "DELETE services",
            "GET pods",
            "GET jobs",
            "PATCH secrets",
            "DELETE secrets",
        ];
        assert!(allowed.contains(&asked.as_str()), "{asked}");
    }
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_taken_back_and_health_that_fails_and_returns_is_told() {
    let (bed, mut wanted) = Bed::healthy().await;
    wanted.drain_ms = Some(60_000);
    bed.server.desire(vec![wanted.clone()]);
    bed.server.until_state(wanted.instance, Draining).await;
    wanted.drain_ms = None;
    bed.server.desire(vec![wanted.clone()]);
    bed.server.until_state(wanted.instance, Healthy).await;
    let mut sick = pod_status("Running", running(), json!({}), false, 0);
    sick["containerStatuses"][0]["started"] = json!(true);
    bed.cluster.set_pods(&sick);
    let report = bed.server.until_state(wanted.instance, Unhealthy).await;
    assert!(report.message.contains("GET /health"), "{}", report.message);
    bed.cluster
        .set_pods(&pod_status("Running", running(), json!({}), true, 0));
    let report = bed.server.until_state(wanted.instance, Healthy).await;
    assert_eq!(report.message, "");
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled_and_no_node_that_has_room_are_told_until_they_are_mended() {
    let (bed, wanted) = (Bed::new().await, wanted());
    bed.cluster.begins(Some(
        json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled",
        "status": "False", "message": "0/3 nodes are available: 3 Insufficient memory." }] }),
    ));
    bed.server.desire(vec![wanted.clone()]);
    let report = bed
        .server
        .until(wanted.instance, |one| one.message.contains("No node"))
        .await;
    assert_eq!(report.state, Fetching);
    assert!(
        report.message.contains("3 Insufficient memory"),
        "{}",
        report.message
    );
    let pull = waiting("ImagePullBackOff", "Back-off pulling image: 401 Unauthorized");
    bed.cluster
        .set_pods(&pod_status("Pending", pull, json!({}), false, 0));
    let report = bed
        .server
        .until(wanted.instance, |one| one.message.contains("pull"))
        .await;
    assert_eq!(report.state, Fetching);
    assert!(report.message.contains("401 Unauthorized"), "{}", report.message);
    bed.cluster
        .set_pods(&pod_status("Running", running(), json!({}), false, 0));
    bed.server.until_state(wanted.instance, Starting).await;
    bed.cluster
        .set_pods(&pod_status("Running", running(), json!({}), true, 0));
    bed.server.until_state(wanted.instance, Healthy).await;
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_is_told_with_the_last_output_and_memory_that_ran_out_as_such() {
    let (bed, wanted) = Bed::healthy().await;
    bed.cluster.wrote("about to crash\n");
    let back_off = waiting("CrashLoopBackOff", "back-off 10s restarting failed container");
    bed.cluster.set_pods(&pod_status(
        "Running",
        back_off.clone(),
        ended(3, "Error"),
        false,
        2,
    ));
    let report = bed.server.until_state(wanted.instance, Crashed).await;
    assert_eq!(report.restarts, 2);
    assert_eq!(
        report.message,
        "It ended with exit code 3. Its last output:\nabout to crash"
    );
    assert_eq!(report.address, None);
    bed.cluster.set_pods(&pod_status(
        "Running",
        back_off,
        ended(137, "OOMKilled"),
        false,
        3,
    ));
    let report = bed.server.until(wanted.instance, |one| one.restarts == 3).await;
    assert!(
        report
            .message
            .starts_with("It used more than the 512 MiB of memory"),
        "{}",
        report.message
    );
    bed.cluster.set_pods(&pod_status(
        "Running",
        running(),
        ended(137, "OOMKilled"),
        true,
        3,
    ));
    let report = bed.server.until_state(wanted.instance, Healthy).await;
    assert!(
        report.message.is_empty() && report.address.is_some(),
        "{report:?}"
    );
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_cannot_be_run_fails_and_is_not_tried_again() {
    let (bed, wanted) = (Bed::new().await, wanted());
    let bad = waiting(
        "RunContainerError",
        "exec: \"/app\": stat /app: no such file or directory",
    );
    bed.cluster
        .begins(Some(pod_status("Pending", bad, json!({}), false, 0)));
    bed.server.desire(vec![wanted.clone()]);
    let report = bed.server.until_state(wanted.instance, Failed).await;
    assert!(
        report.message.starts_with("The command cannot be run"),
        "{}",
        report.message
    );
    bed.until_empty().await;
    bed.server.desire(Vec::new());
    bed.server.until_gone(wanted.instance).await;
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn products_outlive_their_agent_which_goes_on_with_them_and_removes_what_nobody_wants() {
    let (bed, wanted) = Bed::healthy().await;
    let (deployment, pod) = (bed.cluster.only("deployments"), bed.cluster.only("pods"));
    let address = bed
        .server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    let Bed {
        cluster,
        server,
        data,
        agent,
    } = bed;
    agent.stop().await;
    assert!(ask(&address, "/").await.is_some(), "it serves without an agent");
    let reports = server.history(wanted.instance).len();
    let again = Running::start_in(&server, data.path(), Some(cluster.kubeconfig()));
    server
        .until_report(|report| {
            report
                .instances
                .iter()
                .any(|one| one.state == Healthy && one.smoke.is_some())
        })
        .await;
    assert_eq!(
        server.history(wanted.instance).len(),
        reports,
        "never told as anything but healthy"
    );
    assert_eq!(cluster.only("pods")["metadata"]["uid"], pod["metadata"]["uid"]);
    assert_eq!(
        cluster.only("deployments")["metadata"]["resourceVersion"],
        deployment["metadata"]["resourceVersion"]
    );
    again.kill().await;

    // Also where the server is away, and with a disk that was lost.
    let before = cluster
        .asked()
        .iter()
        .filter(|asked| *asked == "PATCH deployments")
        .count();
    server.away.store(true, Ordering::Relaxed);
    let again = Running::start_in(&server, data.path(), Some(cluster.kubeconfig()));
    let applied = |cluster: &Cluster| {
        cluster
            .asked()
            .iter()
            .filter(|asked| *asked == "PATCH deployments")
            .count()
    };
    cluster.until("a look", |cluster| applied(cluster) > before).await;
    assert_eq!(cluster.only("pods")["metadata"]["uid"], pod["metadata"]["uid"]);
    again.kill().await;
    server.away.store(false, Ordering::Relaxed);
    server.desire(Vec::new());
    let empty = tempfile::tempdir().unwrap();
    let mut other = wanted.clone();
    other.instance = bascule_core::InstanceId::new();
    let again = Running::start_in(&server, empty.path(), Some(cluster.kubeconfig()));
    server.desire(vec![other.clone()]);
    server.until_state(other.instance, Healthy).await;
    let gone = |cluster: &Cluster| {
        cluster
            .all("pods")
            .iter()
            .all(|one| one["metadata"]["uid"] != pod["metadata"]["uid"])
    };
    cluster.until("the old pod to go", gone).await;
    assert_eq!(cluster.all("deployments").len(), 1);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_to_drain_while_no_agent_ran_drains_then() {
    let (bed, mut wanted) = Bed::healthy().await;
    let address = bed
        .server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    let Bed {
        cluster,
        server,
        data,
        agent,
    } = bed;
    agent.kill().await;
    wanted.drain_ms = Some(500);
    server.desire(vec![wanted.clone()]);
    let agent = Running::start_in(&server, data.path(), Some(cluster.kubeconfig()));
    server.until_state(wanted.instance, Draining).await;
    assert!(ask(&address, "/").await.is_some());
    server.until_state(wanted.instance, Stopped).await;
    cluster
        .until("its end", |cluster| cluster.all("pods").is_empty())
        .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_for_a_while_is_told_and_what_happened_meanwhile_is_seen() {
    let (bed, wanted) = Bed::healthy().await;
    let address = bed
        .server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    bed.cluster.cut().await;
    let report = bed
        .server
        .until(wanted.instance, |one| one.message.contains("not known just now"))
        .await;
    assert_eq!(
        (report.state, report.address.as_deref()),
        (Healthy, Some(address.as_str()))
    );
    assert!(
        report.message.contains("the cluster does not answer"),
        "{}",
        report.message
    );
    assert!(ask(&address, "/").await.is_some(), "it serves on");
    // What watches ask for when they begin anew is forgotten: 410 Gone.
    let back_off = waiting("CrashLoopBackOff", "back-off");
    bed.cluster
        .set_pods(&pod_status("Running", back_off, ended(1, "Error"), false, 1));
    bed.cluster.compact();
    bed.cluster.back().await;
    bed.server.until_state(wanted.instance, Crashed).await;
    bed.cluster
        .set_pods(&pod_status("Running", running(), json!({}), true, 1));
    let report = bed.server.until_state(wanted.instance, Healthy).await;
    assert_eq!(report.message, "");
    // Away while it is to go: it goes once the cluster is back.
    bed.cluster.cut().await;
    bed.server.desire(Vec::new());
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    bed.cluster.back().await;
    bed.server.until_gone(wanted.instance).await;
    bed.until_empty().await;
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_are_told_410_and_a_busy_and_slow_cluster_lose_nothing() {
    let bed = Bed::new().await;
    bed.cluster.busy(6);
    bed.cluster.slow(150);
    let wanted = wanted();
    bed.server.desire(vec![wanted.clone()]);
    bed.server.until_state(wanted.instance, Healthy).await;
    for restarts in 1..4 {
        bed.cluster.compact();
        let back_off = waiting("CrashLoopBackOff", "back-off");
        bed.cluster.set_pods(&pod_status(
            "Running",
            back_off,
            ended(1, "Error"),
            false,
            restarts,
        ));
        let report = bed.server.until_state(wanted.instance, Crashed).await;
        assert_eq!(report.restarts, restarts);
        bed.cluster
            .set_pods(&pod_status("Running", running(), json!({}), true, restarts));
        bed.server.until_state(wanted.instance, Healthy).await;
    }
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_or_deleted_by_hand_is_put_right_and_told() {
    let (bed, wanted) = Bed::healthy().await;
    let before = bed.cluster.only("deployments")["spec"].clone();
    bed.cluster.edit("deployments", |found| {
        found["spec"]["replicas"] = json!(5);
        found["spec"]["paused"] = json!(true);
    });
    let report = bed
        .server
        .until(wanted.instance, |one| !one.message.is_empty())
        .await;
    assert_eq!(
        (report.state, report.message.as_str()),
        (
            Healthy,
            "It was changed by hand (by kubectl-edit), and was put back."
        )
    );
    assert_eq!(
        bed.cluster.only("deployments")["spec"],
        before,
        "also what was added beside our fields"
    );
    bed.cluster.delete("deployments");
    let report = bed
        .server
        .until(wanted.instance, |one| {
            one.message.contains("deleted") && one.state == Healthy
        })
        .await;
    assert_eq!(report.message, "It was deleted by hand, and was made again.");
    bed.cluster.delete("services");
    bed.server
        .until(wanted.instance, |one| {
            one.message.contains("Its Service was deleted")
        })
        .await;
    // An annotation of someone's is none of ours.
    bed.cluster.edit("deployments", |found| {
        found["metadata"]["annotations"]["team"] = json!("blue");
    });
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(
        bed.cluster.only("deployments")["metadata"]["annotations"]["team"],
        "blue"
    );
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lacking_right_is_named_and_taken_up_once_it_is_given() {
    let (bed, wanted) = (Bed::new().await, wanted());
    bed.cluster.forbid(Some("services"));
    bed.server.desire(vec![wanted.clone()]);
    let report = bed
        .server
        .until(wanted.instance, |one| !one.message.is_empty())
        .await;
    assert!(
        report
            .message
            .contains("lacks a right in the cluster: services is forbidden"),
        "{}",
        report.message
    );
    bed.cluster.forbid(None);
    bed.server.until_state(wanted.instance, Healthy).await;
    bed.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_checked_against_the_authority_that_the_kubeconfig_names() {
    let bed = Bed::of(Cluster::start_with_tls().await).await;
    let wanted = wanted();
    bed.server.desire(vec![wanted.clone()]);
    bed.server.until_state(wanted.instance, Healthy).await;
    bed.agent.stop().await;
    let refused = tempfile::tempdir().unwrap();
    let path = refused.path().join("kubeconfig");
    std::fs::write(&path, "clusters: [").unwrap();
    let config_error = Running::start_in(&bed.server, &refused.path().join("data"), Some(path))
        .failure()
        .await;
    assert_eq!(config_error.code, "bad_cluster");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_as_a_job_once_and_its_output_and_exit_code_come_back() {
    let (bed, instance) = Bed::healthy().await;
    let task = DesiredTask {
        task: TaskId::new(),
        project: instance.project.clone(),
        environment_name: instance.environment_name.clone(),
        version: instance.version.clone(),
        driver: Driver::Kubernetes,
        artifact: instance.artifact.clone(),
        command: vec!["migrate".to_owned(), "--all".to_owned()],
        variables: instance.variables.clone(),
        limits: instance.limits.clone(),
        timeout_ms: 60_000,
        may_start: true,
        begun: false,
        cancelled: false,
    };
    bed.cluster
        .begins(Some(pod_status("Running", running(), json!({}), false, 0)));
    bed.server.desire_tasks(vec![task.clone()]);
    bed.cluster
        .until("the task's pod", |cluster| cluster.all("pods").len() == 2)
        .await;
    assert_eq!(
        bed.cluster.only("jobs")["spec"]["template"]["spec"]["containers"][0]["command"],
        json!(["migrate", "--all"])
    );
    bed.server.until_task(task.task, TaskState::Running).await;
    bed.cluster.wrote("moved 3 rows\n");
    bed.server.until_wrote(task.task, "moved 3 rows").await;
    let pod = bed.cluster.all("pods").into_iter().find(|pod| {
        pod["metadata"]["labels"]["bascule/instance"]
            .as_str()
            .unwrap()
            .starts_with("task-")
    });
    bed.cluster.set_pod(
        &pod.unwrap(),
        &pod_status("Failed", ended(4, "Error"), json!({}), false, 0),
    );
    let report = bed.server.until_task(task.task, TaskState::Ended).await;
    assert_eq!(report.exit_code, Some(4));
    assert_eq!(bed.server.wrote(task.task), "moved 3 rows\n");
    bed.cluster
        .until("its Job to go", |cluster| {
            cluster.all("jobs").is_empty() && cluster.all("pods").len() == 1
        })
        .await;
    bed.agent.stop().await;
}
