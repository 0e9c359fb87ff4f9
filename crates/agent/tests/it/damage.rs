//! What disks do to an agent: files altered after they were checked, and no space left.

use crate::support::{Running, SERVER, Server, archive, ask, desired};
use bascule_wire::agent::InstanceState::{Crashed, Fetching, Healthy, Unhealthy};
use std::{path::Path, process::Command, sync::atomic::Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_altered_on_disk_is_never_started() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let artifact = archive(&[("server.py", SERVER)]);
    let wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let address = server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    let unpacked = data
        .path()
        .join("instances")
        .join(wanted.instance.to_string())
        .join("root/server.py");
    std::fs::write(&unpacked, SERVER.replace("version ", "evil ")).unwrap();
    ask(&address, "/crash").await;
    let again = server
        .until(wanted.instance, |one| one.state == Healthy && one.restarts == 1)
        .await;
    let address = again.address.unwrap();
    let body = ask(&address, "/").await.unwrap();
    assert!(body.contains("version 1.0.0") && !body.contains("evil"), "{body}");

    // The archive itself, too; and nobody there who could give it anew.
    server.away.store(true, Ordering::Relaxed);
    let kept = data.path().join("artifacts").join(wanted.artifact.digest.hex());
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    ask(&address, "/crash").await;
    // The damaged file is thrown away, and then there is nothing to start from.
    while kept.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&address, "/").await, None);
    server.away.store(false, Ordering::Relaxed);
    let back = server
        .until(wanted.instance, |one| one.state == Healthy && one.restarts == 2)
        .await;
    assert!(
        ask(&back.address.unwrap(), "/")
            .await
            .unwrap()
            .contains("version 1.0.0")
    );
    agent.stop().await;
}

/// A small disk of its own, gone when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mounted() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(done.success(), "this test mounts a small disk and must be root");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_when_there_is_space_again_it_goes_on() {
    let (server, disk) = (Server::start().await, Small::mounted());
    let artifact = archive(&[("server.py", SERVER)]);
    let wanted = desired(&artifact);
    server.hold(&artifact, &wanted.artifact.digest);
    std::fs::create_dir(disk.path().join("agent")).unwrap();
    let ballast = disk.path().join("ballast");
    let agent = Running::start(&server, &disk.path().join("agent"));
    server.until_report(|report| report.disk_free_bytes > 0).await;
    let _ = std::fs::write(&ballast, vec![1_u8; 4 * 1024 * 1024]);
    server.desire(vec![wanted.clone()]);
    let report = server
        .until(wanted.instance, |one| {
            one.state == Fetching && !one.message.is_empty()
        })
        .await;
    assert!(
        report.message.contains("Trying again") && report.message.to_lowercase().contains("no space left"),
        "{}",
        report.message
    );
    assert_eq!(
        server
            .until_report(|report| report.disk_free_bytes == 0)
            .await
            .disk_free_bytes,
        0
    );
    std::fs::remove_file(&ballast).unwrap();
    let address = server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    // Full again: what runs goes on to run, also when it writes.
    let _ = std::fs::write(&ballast, vec![1_u8; 4 * 1024 * 1024]);
    for _ in 0..3 {
        assert!(ask(&address, "/health").await.is_some());
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_that_hangs_counts_as_failed() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let source = SERVER.replace(
        r#"(500, "sick") if sick"#,
        r#"(__import__("time").sleep(600), "") if sick"#,
    );
    let artifact = archive(&[("server.py", &source)]);
    let mut wanted = desired(&artifact);
    wanted.health.timeout_ms = 200;
    server.hold(&artifact, &wanted.artifact.digest);
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let address = server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    ask(&address, "/sicken").await;
    let report = server.until_state(wanted.instance, Unhealthy).await;
    assert!(
        report.message.contains("no answer within 200 ms"),
        "{}",
        report.message
    );
    assert!(!server.history(wanted.instance).contains(&Crashed));
    agent.stop().await;
}
