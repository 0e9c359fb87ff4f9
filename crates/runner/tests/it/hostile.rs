//! Jobs that mean harm, each in the real sandbox and in real containers: what happened to them, and to others.

use crate::{
    Bench,
    fake::{job_token, until},
    job, plain,
    podman::{self, IMAGE, sh},
    zip,
};
use bascule_runner::Limits;
use bascule_wire::runner::FailureReason;
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

/// Both ways to run a job; containers where podman is.
fn ways() -> Vec<(&'static str, Value)> {
    let mut all = vec![("bubblewrap", json!({}))];
    if podman::podman() {
        all.push(("podman", json!({"image": {"name": IMAGE}})));
    }
    all
}

fn with(way: &Value, more: &Value) -> Value {
    let mut all = way.clone();
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    all
}

/// Where the machine has no `nc`, busybox has.
const NC: &str = "command -v nc >/dev/null || nc() { busybox nc \"$@\"; }";

/// Runs one job under limits; how it ended, its log, and the time it took.
async fn run(
    way: &Value,
    limits: impl FnOnce(&mut Limits),
    script: &[&str],
    more: &Value,
) -> (bascule_wire::runner::JobUpdate, String, Duration) {
    let mut bench = Bench::new();
    bench.start(|c| limits(&mut c.limits)).await;
    let began = Instant::now();
    bench.push(job(1, script, with(way, more)));
    let result = bench.fake.result(1).await;
    let took = began.elapsed();
    // Whatever it did, the next one runs.
    bench.push(job(2, &["echo the next one runs"], way.clone()));
    let next = bench.fake.result(2).await;
    assert_eq!(next.state.as_str(), "success", "{}", bench.fake.log(2));
    let log = plain(&bench.fake.log(1));
    bench.stop().await;
    (result, log, took)
}

fn processes() -> String {
    sh("ps axo args")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_endless_output_is_cut_and_the_job_goes_on() {
    for (name, way) in ways() {
        // Two hundred times the limit; without one it would be ten gigabytes.
        let script = ["head -c 200000000 /dev/zero | tr '\\0' 'a'; echo at the end; exit 4"];
        let (result, log, _) = run(&way, |l| l.log_bytes = 1_000_000, &script, &json!({})).await;
        assert_eq!(result.exit_code, Some(4), "{name}");
        assert!(
            log.len() < 1_100_000 && log.contains("reached its limit of 1000000 bytes"),
            "{name}: {}",
            log.len()
        );
        assert!(log.ends_with("ERROR: Job failed: exit code 4\n"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_forks_are_bounded_and_none_is_left() {
    for (name, way) in ways() {
        let script = ["bomb() { sleep 4141.5 & bomb | bomb & }; set +e; bomb; sleep 3; echo here; exit 6"];
        let began = Instant::now();
        let (_, log, _) = run(
            &way,
            |l| l.pids = 64,
            &script,
            &json!({"runner_info": {"timeout": 10}}),
        )
        .await;
        assert!(began.elapsed() < Duration::from_secs(40), "{name}: {log}");
        assert!(!processes().contains("sleep 4141.5"), "{name}: {log}");
        let bounded = ["esource temporarily unavailable", "an't fork", "annot fork"];
        assert!(bounded.iter().any(|words| log.contains(words)), "{name}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_writing_ends_by_the_limit_of_disk() {
    for (name, way) in ways() {
        for place in ["big", "/tmp/big"] {
            let script = [format!(
                "while :; do dd if=/dev/zero bs=1M count=8 >> {place} 2>/dev/null; done"
            )];
            let script: Vec<&str> = script.iter().map(String::as_str).collect();
            let (result, log, _) = run(&way, |l| l.disk_bytes = 64 << 20, &script, &json!({})).await;
            assert_eq!(
                result.failure_reason,
                Some(FailureReason::ScriptFailure),
                "{name} {place}: {log}"
            );
            assert!(log.contains("limit `disk_bytes`"), "{name} {place}: {log}");
        }
        // One file alone, by the kernel.
        let script = ["dd if=/dev/zero of=one bs=1M count=8; echo ended with $?"];
        let (_, log, _) = run(&way, |l| l.file_bytes = 1 << 20, &script, &json!({})).await;
        assert!(!log.contains("ended with 0"), "{name}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_numbers_of_files_end_by_the_limit_of_entries() {
    for (name, way) in ways() {
        let script = ["i=0; while :; do i=$((i+1)); : > f$i; done"];
        let (result, log, _) = run(&way, |l| l.disk_entries = 3000, &script, &json!({})).await;
        assert_eq!(
            result.failure_reason,
            Some(FailureReason::ScriptFailure),
            "{name}: {log}"
        );
        assert!(
            log.contains("a job is allowed 3000 (limit `disk_entries`)"),
            "{name}: {log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_deafness_to_sigterm_ends_with_sigkill() {
    for (name, way) in ways() {
        let script = ["trap '' TERM; sleep 4242.5 & while :; do sleep 0.2; done"];
        let (result, log, took) = run(&way, |_| {}, &script, &json!({"runner_info": {"timeout": 2}})).await;
        assert_eq!(
            result.failure_reason,
            Some(FailureReason::JobExecutionTimeout),
            "{name}: {log}"
        );
        assert!(took < Duration::from_secs(15), "{name}: {took:?}");
        assert!(!processes().contains("sleep 4242.5"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_memory_is_bounded() {
    for (name, way) in ways() {
        let script = ["head -c 400000000 /dev/zero | tail; echo survived"];
        let (result, log, _) = run(&way, |l| l.memory_bytes = 64 << 20, &script, &json!({})).await;
        assert_eq!(
            result.failure_reason,
            Some(FailureReason::ScriptFailure),
            "{name}: {log}"
        );
        assert!(!log.contains("\nsurvived"), "{name}: {log}");
        assert!(log.contains("used more memory than the 64 MiB"), "{name}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bytes_in_the_log_arrive_as_they_are() {
    for (_, way) in ways() {
        let mut bench = Bench::new();
        bench.start(|_| {}).await;
        // Invalid UTF-8, a title, a cleared screen, a forged section, a NUL, and half a character at the end.
        let script = [r"printf 'a\377\376b\033]0;title\007\033[2J\033[Hsection_end:1:step_script\r\000\303'"];
        bench.push(job(1, &script, way));
        let result = bench.fake.result(1).await;
        assert_eq!(result.state.as_str(), "success");
        let log = bench.fake.data().logs[&1].clone();
        let wanted = b"a\xff\xfeb\x1b]0;title\x07\x1b[2J\x1b[Hsection_end:1:step_script\r\0\xc3";
        assert!(log.windows(wanted.len()).any(|part| part == wanted));
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_archives_with_devices_or_expanding_a_thousandfold_are_not_unpacked() {
    let mut bench = Bench::new();
    bench.start(|c| c.limits.unpacked_bytes = 1 << 20).await;
    let bomb = {
        use std::io::Write as _;
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("zeros", zip::write::SimpleFileOptions::default())
            .unwrap();
        for _ in 0..20 {
            zip.write_all(&vec![0; 1 << 20]).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    assert!(
        bomb.len() * 500 < 20 << 20,
        "it expands a thousandfold: {}",
        bomb.len()
    );
    // A device: its mode says so, the name is harmless.
    let mut device = zip(&[("null", "")]);
    let central = device.windows(4).rposition(|part| part == b"PK\x01\x02").unwrap();
    device[central + 5] = 3;
    device[central + 38..central + 42].copy_from_slice(&(0o020_666_u32 << 16).to_le_bytes());
    for (id, archive, words) in [
        (1, bomb, "unpacks to more than is allowed"),
        (2, device, "holds `null`"),
        (3, zip(&[("../../evil", "x")]), "holds `../../evil`"),
    ] {
        bench.fake.data().downloads.insert(id + 10, archive);
        bench.push(job(id, &["echo ran"], json!({
            "dependencies": [{"id": id + 10, "token": job_token(id + 10), "name": "b", "artifacts_file": {"filename": "a.zip", "size": 1}}],
        })));
        let result = bench.fake.result(id).await;
        let log = plain(&bench.fake.log(id));
        // Whoever packed it is at fault, not the platform: it is not tried again.
        assert_eq!(result.failure_reason, Some(FailureReason::ScriptFailure), "{log}");
        assert!(log.contains(words) && !log.contains("\nran"), "{words}: {log}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_looking_around_finds_no_database_no_other_job_no_token_and_no_process() {
    for (name, way) in ways() {
        let mut bench = Bench::new();
        let dir = bench.dir.path().to_owned();
        std::fs::write(dir.join("bascule.db"), "the database of the server").unwrap();
        let database = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = database.local_addr().unwrap().port();
        bench.start(|_| {}).await;
        let neighbour =
            ["echo neighbour-secret > mine; echo ready; while [ ! -e /tmp/never ]; do sleep 0.1; done"];
        bench.push(job(1, &neighbour, way.clone()));
        until("the neighbour", || bench.fake.log(1).contains("\nready")).await;
        let runner = std::process::id();
        let script = [
            format!("set +e; {NC}; cat {0}/bascule.db; ls {0} {0}/builds", dir.display()),
            "grep -rsl -e neighbour-secret -e the.database.of /builds /home /tmp /run /root /var /srv /opt /mnt | grep -v step".to_owned(),
            "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -e 'runner-toke[n]' -e job-token-[1]".to_owned(),
            format!("kill -9 {runner} && echo killed; kill -9 -1; ls -d /proc/[0-9]* | wc -l"),
            // Every address of the machine that a job might know.
            format!(
                "for at in 127.0.0.1:{port} $(hostname -i 2>/dev/null | cut -d' ' -f1):{port} 10.211.0.1:{port} 10.88.0.1:{port} \
                 169.254.169.254:80; do nc -w 2 ${{at%:*}} ${{at##*:}} </dev/null >/dev/null 2>&1 && echo reached $at; done"
            ),
            "mount -t tmpfs none /mnt && echo mounted; unshare -r true && echo unshared; cat /dev/sda /dev/vda /dev/kmsg /proc/kcore 2>/dev/null | head -c 1 | wc -c".to_owned(),
            "echo looked around".to_owned(),
        ];
        let script: Vec<&str> = script.iter().map(String::as_str).collect();
        bench.push(job(
            2,
            &script,
            with(&way, &json!({"runner_info": {"timeout": 50}})),
        ));
        bench.fake.result(2).await;
        let log = plain(&bench.fake.log(2));
        let told: Vec<&str> = log.lines().filter(|line| !line.starts_with("$ ")).collect();
        let told = told.join("\n");
        for bad in [
            "the database of the server",
            "neighbour-secret",
            "runner-token",
            "job-token-1",
            "killed",
            "reached",
            "mounted",
            "unshared",
            "registries.conf",
        ] {
            // In a container one may be root of nothing more, as builds of images need it.
            if !(name == "podman" && bad == "unshared") {
                assert!(!told.contains(bad), "{name}: {bad}: {log}");
            }
        }
        // `kill -1` may have ended the script itself; the runner and the neighbour it did not.
        assert!(!bench.fake.data().results.contains_key(&1), "{name}");
        bench.fake.data().status.insert(1, "canceled".into());
        bench.fake.result(1).await;
        assert!(Path::new("/proc").join(runner.to_string()).exists());
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_job_on_an_open_podman_network_reaches_neither_metadata_nor_the_machine() {
    if !podman::podman() {
        return;
    }
    let machine = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = machine.local_addr().unwrap().port();
    // The machine's own address on the network that leads out.
    let own = sh("ip -4 -o route get 192.0.2.1 2>/dev/null | grep -o 'src [0-9.]*' | cut -d' ' -f2");
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    let script = [
        "set +e; ip route | grep -c default".to_owned(),
        format!(
            "gate=$(ip route | grep default | cut -d' ' -f3); for at in 169.254.169.254:80 $gate:{port} {}:{port}; do \
             nc -w 3 ${{at%:*}} ${{at##*:}} </dev/null >/dev/null 2>&1 && echo reached $at; done; echo tried",
            own.trim()
        ),
        // The server is the one thing of the machine that a job may call.
        format!(
            "nc -w 3 $gate {} </dev/null && echo server",
            bench.up.as_ref().unwrap().address.port()
        ),
    ];
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    bench.push(job(
        1,
        &script,
        json!({
            "image": {"name": IMAGE},
            "variables": [{"key": "BASCULE_NETWORK", "value": "on", "public": true}],
        }),
    ));
    bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert!(
        log.contains("\n1\n") && log.contains("\ntried\n") && !log.contains("\nreached"),
        "{log}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_end_of_the_runner_leaves_containers_that_the_next_start_removes() {
    if !podman::podman() {
        return;
    }
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    bench.push(job(
        1,
        &["echo begun; sleep 4343.5"],
        json!({
            "image": {"name": IMAGE},
            "services": [{"name": IMAGE, "alias": "s", "command": ["httpd", "-f", "-p", "5000"]}],
        }),
    ));
    until("the job's start", || bench.fake.log(1).contains("\nbegun")).await;
    // As after kill -9: nothing is cleaned up, the lock is free.
    bench.runner.take().unwrap().abort();
    assert_ne!(podman::left(&bench), "");
    until("the lock", || {
        std::fs::File::open(bench.dir.path().join("builds/lock"))
            .unwrap()
            .try_lock()
            .is_ok()
    })
    .await;
    bench.start(|_| {}).await;
    let result = bench.fake.result(1).await;
    assert_eq!(result.failure_reason, Some(FailureReason::RunnerSystemFailure));
    until("the containers to go", || podman::left(&bench).is_empty()).await;
    assert!(!processes().contains("sleep 4343.5"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_job_whose_network_is_mirrors_reaches_those_and_nothing_else() {
    let mirror = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        format!("mirror says {}", request.uri().path())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, mirror).await });
    let other = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for (name, way) in ways() {
        let mut bench = Bench::new();
        bench
            .start(|c| {
                c.network_policy = bascule_runner::NetworkPolicy::Mirrors;
                c.network_mirrors = vec![format!("127.0.0.1:{port}")];
            })
            .await;
        // Busybox's wget and curl both heed the proxy; one of them is there. Their own exceptions would name loopback.
        let get = "get() { no_proxy= NO_PROXY= wget -qO- $1 2>&1 || no_proxy= NO_PROXY= curl -s $1; }";
        let script = [
            format!("set +e; {NC}"),
            get.to_owned(),
            format!(
                "get http://127.0.0.1:{port}/package; get http://127.0.0.1:{other}/; get http://169.254.169.254/latest/"
            ),
            // Through the proxy by hand, as TLS goes, and past it.
            format!(
                "(printf 'CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\nGET /tunnel HTTP/1.0\\r\\n\\r\\n'; sleep 1) | nc -w 2 127.0.0.1 3128"
            ),
            "printf 'CONNECT 169.254.169.254:80 HTTP/1.1\\r\\n\\r\\n' | nc -w 2 127.0.0.1 3128 | head -1"
                .to_owned(),
            format!("nc -w 1 127.0.0.1 {port} </dev/null >/dev/null 2>&1 && echo direct; echo over"),
        ];
        let script: Vec<&str> = script.iter().map(String::as_str).collect();
        bench.push(job(1, &script, way));
        let result = bench.fake.result(1).await;
        let log = plain(&bench.fake.log(1));
        assert_eq!(result.state.as_str(), "success", "{name}: {log}");
        assert!(log.contains("mirror says /package"), "{name}: {log}");
        assert!(log.contains("mirror says /tunnel"), "{name}: {log}");
        assert!(log.contains("HTTP/1.1 403 Forbidden"), "{name}: {log}");
        assert!(
            !log.contains("\ndirect\n") && log.contains("\nover\n"),
            "{name}: {log}"
        );
        bench.stop().await;
    }
}

/// Lines that plant what git obeys into the folder in which the sources will lie.
fn planted(marker: &Path) -> Vec<String> {
    let run = format!("touch {}", marker.display());
    [
        // A program for each file that is written out, a folder elsewhere, and settings from elsewhere.
        "mkdir -p .git/info .git/objects .git/refs .git/hooks".to_owned(),
        "echo 'ref: refs/heads/main' > .git/HEAD".to_owned(),
        "echo '* filter=evil' > .git/info/attributes".to_owned(),
        format!("printf '[filter \"evil\"]\\n\\tsmudge = \"{run}; cat\"\\n\\trequired\\n' > .git/config"),
        format!("printf '[core]\\n\\tfsmonitor = \"{run}\"\\n\\tsshCommand = \"{run}\"\\n' >> .git/config"),
        format!(
            "printf '#!/bin/sh\\n{run}\\n' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout"
        ),
        "ln -s / file".to_owned(),
    ]
    .to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_hook_before_the_sources_runs_nothing_outside_of_its_sandbox() {
    for (name, way) in ways() {
        let mut bench = Bench::new();
        let work = bench.dir.path().join("work");
        let sha = crate::repository(&work);
        let marker = bench.dir.path().join("outside");
        bench.start(|_| {}).await;
        let source =
            json!({"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "depth": 1});
        let more = json!({
            "git_info": source,
            "hooks": [{"name": "pre_get_sources_script", "script": planted(&marker)}],
        });
        bench.push(job(
            1,
            &["cat file", "test -d .git && cat .git/config"],
            with(&way, &more),
        ));
        let result = bench.fake.result(1).await;
        let log = plain(&bench.fake.log(1));
        assert_eq!(result.state.as_str(), "success", "{name}: {log}");
        let (_, config) = log.split_once("cat .git/config").unwrap();
        assert!(
            log.contains("\ntwo\n") && !config.contains("evil"),
            "{name}: {log}"
        );
        assert!(!marker.exists(), "{name}");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_service_beside_the_sources_runs_nothing_outside_of_its_container() {
    if !podman::podman() {
        return;
    }
    let mut bench = Bench::new();
    let work = bench.dir.path().join("work");
    let sha = crate::repository(&work);
    let marker = bench.dir.path().join("outside");
    bench
        .start(|c| c.podman.service_wait = Duration::from_secs(1))
        .await;
    let source =
        json!({"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "depth": 1});
    let endless = format!(
        "cd \"$CI_PROJECT_DIR\"; while true; do {}; done 2>/dev/null",
        planted(&marker).join("; ")
    );
    bench.push(job(
        1,
        &["true"],
        json!({
            "image": {"name": IMAGE},
            "services": [{"name": IMAGE, "alias": "evil", "command": ["sh", "-c", endless]}],
            "git_info": source,
            "variables": [{"key": "CI_PROJECT_DIR", "value": "/builds/group/project", "public": true}],
        }),
    ));
    let result = bench.fake.result(1).await;
    // It may spoil its own job's files; the runner's machine it does not reach.
    assert!(!marker.exists(), "{}", plain(&bench.fake.log(1)));
    assert!(result.state.as_str() == "success" || result.state.as_str() == "failed");
    bench.stop().await;
}

/// A commit of a few kilobytes whose tree holds ten files to the power of `levels`.
fn bomb(dir: &Path, levels: u32) -> String {
    crate::repository(dir);
    let mut object = crate::git(dir, &["rev-parse", "HEAD:file"]);
    let mut kind = "100644 blob";
    for _ in 0..levels {
        let entries: String = (0..10).map(|n| format!("{kind} {object}\tentry-{n}\n")).collect();
        let list = dir.join("list");
        std::fs::write(&list, entries).unwrap();
        object = sh(&format!("cd {} && git mktree < list", dir.display()))
            .trim()
            .to_owned();
        kind = "040000 tree";
    }
    let commit = crate::git(dir, &["commit-tree", "-m", "small", &object]);
    crate::git(dir, &["update-ref", "refs/heads/main", &commit]);
    commit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_commit_of_endless_files_ends_by_a_limit_that_is_named() {
    for (levels, words) in [(8, "ran out of memory"), (5, "limit `disk_entries`")] {
        let mut bench = Bench::new();
        let work = bench.dir.path().join("work");
        let sha = bomb(&work, levels);
        bench
            .start(|c| {
                c.limits.memory_bytes = 256 << 20;
                c.limits.disk_entries = 2000;
            })
            .await;
        let source =
            json!({"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "depth": 1});
        bench.push(job(1, &["true"], json!({"git_info": source})));
        let result = bench.fake.result(1).await;
        let log = plain(&bench.fake.log(1));
        assert!(log.contains(words), "{levels}: {log}");
        assert_eq!(result.failure_reason, Some(FailureReason::ScriptFailure), "{log}");
        bench.push(job(2, &["true"], json!({})));
        assert_eq!(bench.fake.result(2).await.state.as_str(), "success");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_submodule_sends_git_nowhere_that_the_job_may_not_go() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let inner = axum::Router::new().fallback(|| async {
        ASKED.fetch_add(1, Ordering::Relaxed);
        "a page inside"
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, inner).await });
    let mut bench = Bench::new();
    let work = bench.dir.path().join("work");
    let sha = crate::repository(&work);
    let list = format!("[submodule \"x\"]\n\tpath = x\n\turl = http://127.0.0.1:{port}/metadata/x.git\n");
    std::fs::write(work.join(".gitmodules"), list).unwrap();
    crate::git(
        &work,
        &["update-index", "--add", "--cacheinfo", &format!("160000,{sha},x")],
    );
    crate::git(&work, &["add", ".gitmodules"]);
    crate::git(&work, &["commit", "-qm", "elsewhere"]);
    let sha = crate::git(&work, &["rev-parse", "HEAD"]);
    bench
        .start(|c| c.git_protocols = "file:http:https".to_owned())
        .await;
    bench.push(job(
        1,
        &["true"],
        json!({
            "git_info": {"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "depth": 1},
            "variables": [{"key": "GIT_SUBMODULE_STRATEGY", "value": "normal", "public": true}],
        }),
    ));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(result.state.as_str(), "failed", "{log}");
    assert!(log.contains("403"), "{log}");
    assert_eq!(ASKED.load(Ordering::Relaxed), 0, "{log}");
    bench.stop().await;
}

/// A network beyond this machine, with a web server in it; gone with this value.
struct Beyond(&'static str);

impl Beyond {
    fn new(name: &'static str, range: &str) -> Self {
        sh(&format!(
            "ip netns del {name} 2>/dev/null || true; ip link del {name} 2>/dev/null || true
             ip netns add {name}; ip link add {name} type veth peer name inner netns {name}
             ip addr add {range}.1/24 dev {name}; ip link set {name} up
             ip -n {name} addr add {range}.2/24 dev inner; ip -n {name} link set inner up; ip -n {name} link set lo up
             mkdir -p /tmp/{name}; echo beyond > /tmp/{name}/index.html
             ip netns exec {name} busybox httpd -p 80 -h /tmp/{name}"
        ));
        Self(name)
    }
}

impl Drop for Beyond {
    fn drop(&mut self) {
        let name = self.0;
        sh(&format!(
            "ip netns pids {name} | xargs -r kill; ip netns del {name}; ip link del {name} 2>/dev/null || true; rm -rf /tmp/{name}"
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_job_on_an_open_network_reaches_beyond_the_machine_and_not_the_machine() {
    let (loopback, all) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("0.0.0.0:0").unwrap(),
    );
    let (loopback, all) = (
        loopback.local_addr().unwrap().port(),
        all.local_addr().unwrap().port(),
    );
    let _beyond = Beyond::new("bascule-beyond", "198.51.100");
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    let server = bench.up.as_ref().unwrap().address.port();
    let script = [
        format!("set +e; {NC}"),
        "get() { busybox wget -qO- $1 2>&1 || curl -s $1; }; get http://198.51.100.2/".to_owned(),
        // By the network itself, and by a proxy where that is the way out.
        format!(
            "for at in 127.0.0.1:{loopback} 10.0.2.2:{loopback} 127.0.0.1:{all} 198.51.100.1:{all} 169.254.169.254:80; do nc -w 2 \
             ${{at%:*}} ${{at##*:}} </dev/null >/dev/null 2>&1 && echo reached $at; done; echo tried"
        ),
        format!(
            "for at in 127.0.0.1:{loopback} localhost:{loopback} 198.51.100.1:{all} 169.254.169.254:80; do (printf \"CONNECT $at \
             HTTP/1.1\\r\\n\\r\\n\"; sleep 0.5) | nc -w 2 127.0.0.1 3128 | head -1; done; echo tried too"
        ),
        // The server is the one thing of the machine that a job may call.
        format!(
            "if [ -n \"$http_proxy\" ]; then (printf 'CONNECT 127.0.0.1:{server} HTTP/1.1\\r\\n\\r\\n'; sleep 1) | nc -w 2 127.0.0.1 3128 | grep -q \
             '1 200 ' && echo server; else (exec 3<>/dev/tcp/127.0.0.1/{server}) && echo server; fi"
        ),
    ];
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    bench.push(job(
        1,
        &script,
        json!({"variables": [{"key": "BASCULE_NETWORK", "value": "on", "public": true}]}),
    ));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(result.state.as_str(), "success", "{log}");
    assert!(log.contains("\nbeyond\n"), "{log}");
    assert!(
        log.contains("\ntried\n") && log.contains("\ntried too\n"),
        "{log}"
    );
    assert!(
        !log.contains("\nreached") && !log.contains("HTTP/1.1 200"),
        "{log}"
    );
    assert!(log.contains("\nserver\n"), "{log}");
    bench.stop().await;
    crate::fake::until("the end of the way out", || {
        sh("ps axo comm,stat | grep '^slirp4netns' | grep -v Z || true").is_empty()
    })
    .await;
}
