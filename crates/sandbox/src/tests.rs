//! These run the real bubblewrap.

use super::*;
use std::{path::Path, time::Instant};
use tokio::io::AsyncReadExt;

fn sh(script: &str) -> Spec {
    Sandbox::command("/bin/sh")
        .args(["-c", script])
        .merge_stderr()
        .timeout(Duration::from_secs(60))
}

async fn run(spec: Spec) -> (Exit, String) {
    let mut running = spec.spawn().await.unwrap();
    let mut out = String::new();
    let mut stdout = running.stdout.take().unwrap();
    let (exit, read) = tokio::join!(running.wait(), stdout.read_to_string(&mut out));
    read.unwrap();
    (exit.unwrap(), out)
}

#[tokio::test]
async fn available_here() {
    Sandbox::available().await.unwrap();
}

#[tokio::test]
async fn the_machine_is_out_of_sight() {
    let secret = tempfile::Builder::new().prefix("host-secret").tempdir().unwrap();
    assert!(secret.path().starts_with(std::env::temp_dir()));
    let (exit, out) = run(sh(
        "ls -A /tmp; ls /root /home/other /sys 2>/dev/null; cat /etc/shadow 2>/dev/null; \
         ls /etc/ssl/private 2>/dev/null; ls -d /proc/[0-9]* | wc -l; hostname; id -un; ls ~",
    ))
    .await;
    assert!(exit.success(), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    // bwrap, sh, ls, wc.
    assert!(lines[0].parse::<u32>().unwrap() <= 4, "{out}");
    assert_eq!(&lines[1..], ["sandbox", "job"]);
}

#[tokio::test]
async fn nothing_of_the_machine_can_be_written() {
    let (exit, out) = run(sh(
        "for f in /x /usr/x /etc/x /proc/sys/vm/drop_caches /proc/sys/kernel/core_pattern \
         /proc/sys/kernel/hostname /proc/sysrq-trigger; do (echo 0 > $f) 2>/dev/null && echo wrote $f; done; \
         unshare -Ur true 2>/dev/null && echo nested; mount -t tmpfs none /tmp 2>/dev/null && echo mounted; \
         grep -v 0000000000000000 /proc/self/status | grep Cap; head -c1 /proc/kcore 2>/dev/null; true",
    ))
    .await;
    assert_eq!((exit.code, out.as_str()), (0, ""));
}

#[tokio::test]
async fn no_network_reaches_out_unless_asked() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let try_it = format!(
        "python3 -I -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 3); print('through')\" 2>&1 | tail -1; \
         grep -c : /proc/net/dev"
    );
    let (_, out) = run(sh(&try_it)).await;
    assert!(out.contains("refused") && out.ends_with("\n1\n"), "{out}");
    let (_, out) = run(sh(&try_it).network(Network::Host)).await;
    assert!(out.starts_with("through"), "{out}");
}

#[tokio::test]
async fn the_environment_is_only_what_was_given() {
    let (_, out) = run(sh("env | LC_ALL=C sort")
        .env("A", "x y\nB$z")
        .env("HOME", "/w")
        .directory("/tmp"))
    .await;
    assert_eq!(
        out,
        "A=x y\nB$z\nHOME=/w\nLANG=C.UTF-8\nLOGNAME=job\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/tmp\nSHELL=/bin/sh\n\
         TMPDIR=/tmp\nUSER=job\n"
    );
}

#[tokio::test]
async fn a_hostile_variable_works_inside_only() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let (exit, _) = run(sh("true")
        .env("LD_PRELOAD", "/nonexistent.so")
        .env("BASH_ENV", "/nonexistent")
        .env("LD_DEBUG", "files")
        .env("LD_DEBUG_OUTPUT", trace.to_str().unwrap()))
    .await;
    assert_eq!(exit.code, 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let refused = sh("true").env("A", "a\0b").spawn().await.unwrap_err();
    assert_eq!(refused.code, "bad_command");
    assert_eq!(
        sh("true")
            .env("A", "a".repeat(200_000))
            .spawn()
            .await
            .unwrap_err()
            .code,
        "bad_command"
    );
    assert_eq!(
        sh("true")
            .bind("/nowhere/at/all", "/x")
            .spawn()
            .await
            .unwrap_err()
            .code,
        "bad_command"
    );
}

#[tokio::test]
async fn binds_are_writable_or_not_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo hi > /work/out; (echo x > /ro/f) 2>/dev/null || echo refused; cat /ro/out";
    let spec = sh(script)
        .bind(dir.path(), "/work")
        .ro_bind(dir.path(), "/ro")
        .directory("/work");
    let (_, out) = run(spec).await;
    assert_eq!(out, "refused\nhi\n");
    assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap(), "hi\n");
}

#[tokio::test]
async fn exit_codes_and_signals_come_through() {
    assert_eq!(run(sh("exit 7")).await.0.code, 7);
    assert_eq!(run(sh("kill -9 $$")).await.0.code, 137);
    assert!(run(sh("exit 1")).await.0.started);
    let dir = tempfile::tempdir().unwrap();
    let (exit, out) = run(sh("exit 0").bind(dir.path(), "/usr/no/place")).await;
    assert!(
        !exit.started && exit.code != 0 && out.contains("bwrap"),
        "{exit:?} {out}"
    );
    let (exit, out) = run(Sandbox::command("/no/such/program").merge_stderr()).await;
    assert!(exit.code != 0 && out.contains("/no/such/program"), "{out}");
}

#[tokio::test]
async fn a_memory_hog_is_killed_and_says_so() {
    let hog = "python3 -I -c 'x = bytearray(400 << 20); print(len(x))'";
    let (exit, out) = run(sh(hog).memory_bytes(96 << 20)).await;
    assert!(exit.code != 0 && !out.contains("419430400"), "{exit:?} {out}");
    // Node reserves far more address space than it uses and must still start.
    let node = "command -v node >/dev/null || { echo 2; exit; }; node -e 'console.log(1+1)'";
    let (exit, out) = run(sh(node).memory_bytes(512 << 20).pids(64)).await;
    assert_eq!((exit.code, out.as_str()), (0, "2\n"));
}

#[tokio::test]
async fn a_fork_bomb_is_bounded() {
    let script = "i=0; while [ $i -lt 200 ]; do sleep 20 & i=$((i+1)); done; echo all";
    let started = Instant::now();
    let (exit, out) = run(sh(script).pids(20)).await;
    assert!(exit.code != 0 && !out.contains("all"), "{out}");
    assert!(started.elapsed() < Duration::from_secs(15));
}

/// Whether a process with `mark` in its command line is on the machine, other than zombies.
fn alive(mark: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|text| String::from_utf8_lossy(&text).contains(mark))
    })
}

async fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < end, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn time_up_takes_grandchildren_along() {
    let script = "trap '' TERM; (setsid sh -c \"trap '' TERM; while :; do sleep 4718.25; done\" &) ; echo started; sleep 4718.25";
    let started = Instant::now();
    let spec = sh(script)
        .timeout(Duration::from_secs(2))
        .grace(Duration::from_millis(200));
    let (exit, out) = run(spec).await;
    assert_eq!(out, "started\n");
    assert!(exit.timed_out && !exit.success());
    assert!(started.elapsed() < Duration::from_secs(15));
    assert!(!alive("4718.25"));
}

#[tokio::test]
async fn terminate_lets_a_program_clean_up() {
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut running = sh(script).spawn().await.unwrap();
    let mut stdout = running.stdout.take().unwrap();
    let mut buffer = [0; 6];
    stdout.read_exact(&mut buffer).await.unwrap();
    let exit = running.terminate(Duration::from_secs(10)).await.unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!((exit.code, rest.contains("bye")), (3, true));
    assert_eq!(running.wait().await.unwrap(), exit);
}

#[tokio::test]
async fn dropping_ends_it() {
    let mut running = sh("echo up; sleep 5829.5")
        .memory_bytes(64 << 20)
        .spawn()
        .await
        .unwrap();
    let mut buffer = [0; 3];
    running
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut buffer)
        .await
        .unwrap();
    until(|| alive("5829.5")).await;
    drop(running);
    until(|| !alive("5829.5")).await;
}

#[tokio::test]
async fn nothing_outlives_the_main_process() {
    let (exit, _) = run(sh("(setsid sleep 6930.5 >/dev/null 2>&1 &); sleep 0.1; exit 0")).await;
    assert!(exit.success());
    assert!(!alive("6930.5"));
}

#[test]
fn it_outlives_the_thread_that_asked() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut running = runtime.block_on(async {
        tokio::task::spawn_blocking(|| {
            tokio::runtime::Handle::current()
                .block_on(async { sh("sleep 0.3; exit 5").spawn().await.unwrap() })
        })
        .await
        .unwrap()
    });
    assert_eq!(runtime.block_on(running.wait()).unwrap().code, 5);
    runtime.shutdown_background();
}

#[tokio::test]
async fn groups_are_removed_afterwards() {
    let own = format!("bascule-{}-", std::process::id());
    run(sh("true").memory_bytes(64 << 20).pids(10)).await;
    let left = |top: &str| {
        Path::new(top).is_dir()
            && std::fs::read_dir(top)
                .unwrap()
                .flatten()
                .any(|e| e.file_name().to_string_lossy().starts_with(&own))
    };
    until(|| !left("/sys/fs/cgroup/pids") && !left("/sys/fs/cgroup")).await;
}

#[tokio::test]
async fn processors_are_shared_out_where_groups_can_be_made() {
    if !Path::new("/sys/fs/cgroup/cpu/cgroup.procs").exists() || !rustix::process::geteuid().is_root() {
        return;
    }
    let began = Instant::now();
    let used = {
        let (_, out) = run(sh("i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; times").cpus(0.2)).await;
        let own = out
            .lines()
            .next()
            .unwrap_or_default()
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let (minutes, seconds) = own.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    let took = began.elapsed().as_secs_f64();
    assert!(used < 0.2 * took + 0.15, "{used} s of processor in {took} s");
}
