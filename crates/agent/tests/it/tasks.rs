//! One-off tasks with real processes and containers: run once, their output whole, whatever is killed meanwhile.

use crate::{
    podman,
    support::{Running, Server, desired},
};
use bascule_core::TaskId;
use bascule_wire::{
    agent::DesiredInstance,
    task::{DesiredTask, OUTPUT_BYTES, TaskState},
};
use std::{sync::atomic::Ordering, time::Duration};

fn task(of: &DesiredInstance, script: &str) -> DesiredTask {
    DesiredTask {
        task: TaskId::new(),
        project: of.project.clone(),
        environment_name: of.environment_name.clone(),
        version: of.version.clone(),
        driver: of.driver,
        artifact: of.artifact.clone(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        variables: of.variables.clone(),
        limits: of.limits.clone(),
        timeout_ms: 60_000,
        may_start: true,
        begun: false,
        cancelled: false,
    }
}

/// The same task as the server tells it once it is reported as begun.
fn begun(task: &DesiredTask) -> DesiredTask {
    DesiredTask {
        may_start: false,
        begun: true,
        ..task.clone()
    }
}

fn processes(server: &Server) -> DesiredInstance {
    let artifact = crate::product();
    let wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    wanted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_in_its_release_with_its_variables_and_hands_its_exit_code_through() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let product = processes(&server);
    let agent = Running::start(&server, data.path());
    let asked = task(
        &product,
        "ls; echo $VERSION in $BASCULE_ENVIRONMENT; echo oops >&2; echo port ${PORT:-none}; exit 7",
    );
    server.desire_tasks(vec![asked.clone()]);
    let report = server.until_task(asked.task, TaskState::Ended).await;
    assert_eq!((report.exit_code, report.message.as_str()), (Some(7), ""));
    let wrote = server.wrote(asked.task);
    assert_eq!(wrote, "server.py\n1.0.0 in staging\noops\nport none\n");

    let mut missing = task(&product, "");
    missing.command = vec!["./no-such-program".to_owned(), "a b".to_owned()];
    let mut endless = task(&product, "echo begins; sleep 60");
    endless.timeout_ms = 1_500;
    let mut late = task(&product, "echo never");
    late.may_start = false;
    server.desire_tasks(vec![missing.clone(), endless.clone(), late.clone()]);
    assert_eq!(
        server.until_task(missing.task, TaskState::Ended).await.exit_code,
        Some(127)
    );
    let refused = server.until_task(late.task, TaskState::Refused).await;
    assert!(
        refused.message.contains("did not report in time"),
        "{}",
        refused.message
    );
    let ended = server.until_task(endless.task, TaskState::Ended).await;
    assert!(
        ended.exit_code.is_none() && ended.message.contains("its time was up"),
        "{ended:?}"
    );
    assert_eq!(server.wrote(endless.task), "begins\n");
    assert_eq!(server.wrote(late.task), "");

    let cancelled = task(&product, "echo begins; sleep 60");
    server.desire_tasks(vec![cancelled.clone()]);
    server.until_wrote(cancelled.task, "begins").await;
    let mut ending = begun(&cancelled);
    ending.cancelled = true;
    server.desire_tasks(vec![ending]);
    let ended = server.until_task(cancelled.task, TaskState::Ended).await;
    assert_eq!(
        (ended.exit_code, ended.message.as_str()),
        (None, "It was cancelled.")
    );

    let much = task(&product, "yes much | head -c 9000000; echo; exit 4");
    server.desire_tasks(vec![much.clone()]);
    let ended = server.until_task(much.task, TaskState::Ended).await;
    assert_eq!(ended.exit_code, Some(4), "it is not held up by what is not kept");
    let wrote = server.wrote(much.task);
    assert_eq!(wrote.len() as u64, OUTPUT_BYTES);
    assert!(wrote.ends_with("is not kept]\n"));
    server.desire_tasks(Vec::new());
    let gone = |report: &bascule_wire::agent::AgentReport| report.tasks.is_empty();
    server.until_report(gone).await;
    assert!(!data.path().join("tasks").join(much.task.to_string()).exists());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_agent_was_killed_is_told_as_lost_and_never_run_again() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let product = processes(&server);
    let asked = task(&product, "echo begins; sleep 60");
    let agent = Running::start(&server, data.path());
    server.desire_tasks(vec![asked.clone()]);
    server.until_wrote(asked.task, "begins").await;
    agent.kill().await;
    // Even a server that does not know yet that it was begun.
    let agent = Running::start(&server, data.path());
    let lost = server.until_task(asked.task, TaskState::Lost).await;
    assert!(lost.message.contains("not run again"), "{}", lost.message);
    assert_eq!(server.wrote(asked.task), "begins\n");
    agent.stop().await;
    let agent = Running::start(&server, data.path());
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.until_task(asked.task, TaskState::Lost).await;
    assert_eq!(server.wrote(asked.task), "begins\n");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ends_while_the_server_is_away_is_told_whole_when_it_is_back() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let product = processes(&server);
    let asked = task(&product, "echo begins; sleep 1; echo ends; exit 5");
    let agent = Running::start(&server, data.path());
    server.desire_tasks(vec![asked.clone()]);
    server.until_wrote(asked.task, "begins").await;
    server.away.store(true, Ordering::Relaxed);
    let marker = data.path().join("tasks").join(format!("{}.json", asked.task));
    let over = async {
        while !std::fs::read_to_string(&marker).is_ok_and(|text| text.contains("Over")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), over).await.unwrap();
    agent.kill().await;
    server.desire_tasks(vec![begun(&asked)]);
    let agent = Running::start(&server, data.path());
    server.away.store(false, Ordering::Relaxed);
    let report = server.until_task(asked.task, TaskState::Ended).await;
    assert_eq!(report.exit_code, Some(5));
    assert_eq!(server.wrote(asked.task), "begins\nends\n");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_a_task_in_a_container_goes_on_while_its_agent_is_killed() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let product = podman::wanted(&server);
    let _clean = podman::Clean(product.clone());
    let asked = task(
        &product,
        "echo begins in $BASCULE_ENVIRONMENT; sleep 4; echo ends; exit 6",
    );
    let short = task(&product, "echo begins; sleep 1; echo ends");
    let agent = Running::start(&server, data.path());
    server.desire_tasks(vec![asked.clone(), short.clone()]);
    server.until_wrote(asked.task, "begins").await;
    server.until_wrote(short.task, "begins").await;
    agent.kill().await;
    // One ends while no agent is there.
    let name = format!("bascule-task-{}", short.task);
    podman::sh(&format!("podman wait {name} 2>/dev/null"));
    server.desire_tasks(vec![begun(&asked), begun(&short)]);
    let agent = Running::start(&server, data.path());
    assert_eq!(
        server.until_task(short.task, TaskState::Ended).await.exit_code,
        Some(0)
    );
    assert_eq!(server.wrote(short.task), "begins\nends\n");
    assert_eq!(
        server.until_task(asked.task, TaskState::Ended).await.exit_code,
        Some(6)
    );
    assert_eq!(server.wrote(asked.task), "begins in staging\nends\n");
    let left = podman::sh("podman ps -aq --filter name=bascule-task-  2>/dev/null");
    assert_eq!(left.trim(), "", "nothing is left of them");
    agent.stop().await;
}
