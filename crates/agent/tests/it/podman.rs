//! The podman driver with real containers: an image of busybox, built here.

use crate::support::{Running, Server, ask, desired};
use bascule_wire::agent::{
    DesiredInstance, Driver,
    InstanceState::{Crashed, Draining, Failed, Healthy, Stopped, Unhealthy},
};
use std::{process::Command, sync::OnceLock, time::Duration};

/// The service: pages of files that can be made sick, crash, and hang by asking.
const SERVICE: &str = r#"#!/bin/sh
mkdir -p /tmp/www/cgi-bin
echo "version $VERSION in $BASCULE_ENVIRONMENT" > /tmp/www/index.html
echo ok > /tmp/www/health
echo '#!/bin/sh
echo; rm /tmp/www/health' > /tmp/www/cgi-bin/sicken
echo '#!/bin/sh
echo; echo; echo about to crash > /proc/1/fd/1; kill $(cat /tmp/pid)' > /tmp/www/cgi-bin/crash
echo '#!/bin/sh
[ -e /tmp/hang ] && sleep 60
echo; echo' > /tmp/www/cgi-bin/health
echo '#!/bin/sh
echo; touch /tmp/hang' > /tmp/www/cgi-bin/hang
echo '#!/bin/sh
echo; echo; touch /here 2>&1; grep -E "CapEff|NoNewPrivs" /proc/self/status; ls /proc/self/fd | wc -l' > /tmp/www/cgi-bin/rights
chmod +x /tmp/www/cgi-bin/*
httpd -f -p "$PORT" -h /tmp/www &
echo $! > /tmp/pid
trap 'echo ended politely; exit 0' TERM
echo listening
wait $(cat /tmp/pid)
exit 3
"#;

pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// An OCI archive of the service; made once a test process. `scripts/setup` installs what it takes.
fn image() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        std::fs::write(folder.path().join("service"), SERVICE).unwrap();
        sh(&format!(
            "c=$(buildah from scratch); m=$(buildah mount $c)
             mkdir -p $m/bin $m/tmp $m/proc
             cp /bin/busybox $m/bin/
             for name in sh httpd mkdir echo rm cat kill sleep touch grep ls wc chmod; do ln -s busybox $m/bin/$name; done
             cp {path}/service $m/service; chmod 755 $m/service
             buildah umount $c >/dev/null
             buildah config --entrypoint '[\"/service\"]' --env PATH=/bin $c
             buildah commit -q --rm $c oci-archive:{path}/app.oci.tar >/dev/null"
        ));
        std::fs::read(folder.path().join("app.oci.tar")).unwrap()
    })
}

pub(crate) fn wanted(server: &Server) -> DesiredInstance {
    let mut wanted = desired(image());
    wanted.driver = Driver::Podman;
    wanted.artifact.file_name = "app.oci.tar".to_owned();
    wanted.command = String::new();
    wanted.limits.memory_bytes = 64 * 1024 * 1024;
    server.hold(image(), &wanted.artifact.digest);
    wanted
}

/// Leaves no image behind.
pub(crate) struct Clean(pub(crate) DesiredInstance);

impl Drop for Clean {
    fn drop(&mut self) {
        let tag = self.0.artifact.digest.hex();
        let _ = Command::new("sh")
            .args(["-c", &format!("podman rmi -f $(podman images -q --filter 'reference=localhost/bascule-*:{tag}') >/dev/null 2>&1")])
            .status();
    }
}

/// Containers of an instance.
fn containers(wanted: &DesiredInstance) -> String {
    sh(&format!(
        "podman ps -a -q --filter label=bascule.instance={} 2>/dev/null",
        wanted.instance
    ))
    .trim()
    .to_owned()
}

/// Waits until an instance has no container any more.
async fn until_removed(wanted: &DesiredInstance) {
    let removed = async {
        while !containers(wanted).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), removed)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_starts_is_healthy_has_few_rights_drains_and_goes_without_a_trace() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let wanted = wanted(&server);
    let _clean = Clean(wanted.clone());
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let report = server.until(wanted.instance, |one| one.smoke.is_some()).await;
    assert_eq!(report.state, Healthy);
    assert!(report.smoke.as_ref().unwrap().passed, "{report:?}");
    assert!(server.last().drivers.contains(&Driver::Podman));
    let address = report.address.unwrap();
    assert!(
        ask(&address, "/")
            .await
            .unwrap()
            .contains("version 1.0.0 in staging")
    );
    let rights = ask(&address, "/cgi-bin/rights").await.unwrap();
    assert!(
        rights.contains("Read-only file system") && rights.contains("CapEff:\t0000000000000000"),
        "{rights}"
    );
    assert!(rights.contains("NoNewPrivs:\t1"), "{rights}");

    let mut draining = wanted.clone();
    draining.drain_ms = Some(1_000);
    server.desire(vec![draining]);
    server.until_state(wanted.instance, Draining).await;
    assert!(ask(&address, "/").await.is_some(), "it serves while it drains");
    server.until_state(wanted.instance, Stopped).await;
    assert_eq!(ask(&address, "/").await, None);
    let log = data
        .path()
        .join("instances")
        .join(wanted.instance.to_string())
        .join("output.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("listening") && log.contains("ended politely"),
        "{log}"
    );
    server.desire(Vec::new());
    server.until_gone(wanted.instance).await;
    assert_eq!(containers(&wanted), "");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_crashes_is_told_and_started_again_and_a_sick_one_is_told() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let wanted = wanted(&server);
    let _clean = Clean(wanted.clone());
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let address = server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    ask(&address, "/cgi-bin/crash").await;
    let report = server.until_state(wanted.instance, Crashed).await;
    assert!(
        report.message.contains("exit code 3") && report.message.contains("about to crash"),
        "{}",
        report.message
    );
    let again = server
        .until(wanted.instance, |one| one.state == Healthy && one.restarts == 1)
        .await;
    let address = again.address.unwrap();
    ask(&address, "/cgi-bin/sicken").await;
    let report = server.until_state(wanted.instance, Unhealthy).await;
    assert!(report.message.contains("answered 404"), "{}", report.message);
    agent.stop().await;
    assert_eq!(containers(&wanted), "", "an agent that stops ends what it runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_that_hangs_and_a_crash_loop_are_told() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let mut hangs = wanted(&server);
    hangs.health.path = "/cgi-bin/health".to_owned();
    hangs.health.timeout_ms = 300;
    let mut loops = wanted(&server);
    loops.command = "echo cannot go on; exit 9".to_owned();
    let mut missing = wanted(&server);
    missing.command = "exec /no-such-program".to_owned();
    let _clean = Clean(hangs.clone());
    let agent = Running::start(&server, data.path());
    server.desire(vec![hangs.clone(), loops.clone(), missing.clone()]);
    let address = server.until_state(hangs.instance, Healthy).await.address.unwrap();
    ask(&address, "/cgi-bin/hang").await;
    let report = server.until_state(hangs.instance, Unhealthy).await;
    assert!(
        report.message.contains("no answer within 300 ms"),
        "{}",
        report.message
    );
    let report = server
        .until(loops.instance, |one| one.state == Crashed && one.restarts >= 2)
        .await;
    assert!(
        report.message.contains("exit code 9") && report.message.contains("cannot go on"),
        "{}",
        report.message
    );
    let report = server.until_state(missing.instance, Failed).await;
    assert!(
        report.message.contains("missing or not executable"),
        "{}",
        report.message
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_killed_goes_on_with_its_own_containers_and_removes_what_is_not_wanted() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let (stays, goes) = (wanted(&server), wanted(&server));
    let foreign = format!("foreign-{}", stays.instance);
    let _clean = Clean(stays.clone());
    let agent = Running::start(&server, data.path());
    server.desire(vec![stays.clone(), goes.clone()]);
    let first = server.until_state(stays.instance, Healthy).await;
    server.until_state(goes.instance, Healthy).await;
    let image = sh(&format!(
        "podman inspect -f '{{{{.Image}}}}' bascule-{} 2>/dev/null",
        stays.instance
    ));
    let conf = data.path().join("containers.conf");
    let conf = if conf.exists() {
        format!("CONTAINERS_CONF={} ", conf.display())
    } else {
        String::new()
    };
    sh(&format!(
        "{conf}podman run -d --name {foreign} --entrypoint /bin/sh {} -c 'sleep 600' 2>&1",
        image.trim()
    ));
    agent.kill().await;
    let address = first.address.clone().unwrap();
    assert!(ask(&address, "/").await.is_some(), "it serves without the agent");
    let before = server.history(stays.instance).len();

    // What is wanted no more was told while the agent was down.
    server.desire(vec![stays.clone()]);
    let agent = Running::start(&server, data.path());
    server.until_gone(goes.instance).await;
    let again = server.until(stays.instance, |one| one.state == Healthy).await;
    assert_eq!(
        (again.pid, again.address),
        (first.pid, first.address),
        "the same container"
    );
    let states = server.history(stays.instance);
    assert_eq!(
        states.len(),
        before,
        "never told as anything but healthy, or it would get no traffic: {states:?}"
    );
    until_removed(&goes).await;
    ask(&address, "/cgi-bin/crash").await;
    let report = server.until_state(stays.instance, Crashed).await;
    assert!(report.message.contains("about to crash"), "{}", report.message);
    agent.stop().await;
    assert_eq!(containers(&stays), "");
    let left = sh(&format!(
        "podman ps -q --filter name={foreign} 2>/dev/null; podman rm -f -t 0 {foreign} >/dev/null 2>&1"
    ));
    assert_ne!(left.trim(), "", "a container of others is left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_altered_on_disk_is_never_started() {
    let (server, data) = (Server::start().await, tempfile::tempdir().unwrap());
    let wanted = wanted(&server);
    let _clean = Clean(wanted.clone());
    let agent = Running::start(&server, data.path());
    server.desire(vec![wanted.clone()]);
    let address = server
        .until_state(wanted.instance, Healthy)
        .await
        .address
        .unwrap();
    let layers = sh(&format!(
        "podman image inspect -f '{{{{.GraphDriver.Data.UpperDir}}}}' $(podman inspect -f '{{{{.Image}}}}' bascule-{}) 2>/dev/null",
        wanted.instance
    ));
    let service = std::path::Path::new(layers.trim()).join("service");
    let altered = SERVICE.replace("version $VERSION", "evil");
    std::fs::write(&service, altered).unwrap();
    ask(&address, "/cgi-bin/crash").await;
    let again = server
        .until(wanted.instance, |one| one.state == Healthy && one.restarts >= 1)
        .await;
    let body = ask(&again.address.unwrap(), "/").await.unwrap();
    assert!(body.contains("version 1.0.0") && !body.contains("evil"), "{body}");

    let nonsense = {
        let mut other = desired(b"no image");
        other.driver = Driver::Podman;
        server.hold(b"no image", &other.artifact.digest);
        other
    };
    server.desire(vec![nonsense.clone()]);
    let report = server.until_state(nonsense.instance, Failed).await;
    assert!(
        report.message.contains("cannot read an image"),
        "{}",
        report.message
    );

    agent.stop().await;
}
