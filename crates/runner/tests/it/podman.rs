//! Jobs in real containers: images made here of busybox, services beside them, and nothing left afterwards.

use crate::{Bench, fake::until, job, plain, repository};
use bascule_runner::ExecutorKind;
use bascule_wire::runner::FailureReason;
use serde_json::json;
use std::{process::Command, sync::OnceLock, time::Duration};

/// The image that jobs and services of these tests run in.
pub(crate) const IMAGE: &str = "localhost/bascule-runner-test:1";

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

/// Whether podman is here; says so where it is not. Makes the image once a test process.
pub(crate) fn podman() -> bool {
    static MADE: OnceLock<bool> = OnceLock::new();
    *MADE.get_or_init(|| {
        let found = Command::new("podman")
            .arg("--version")
            .output()
            .is_ok_and(|out| out.status.success());
        if !found {
            #[allow(clippy::print_stderr, reason = "the one who runs the tests is to read it")]
            {
                eprintln!(
                    "skipped: podman is not installed here (`apt install podman buildah runc netavark`)"
                );
            }
            return false;
        }
        sh(&format!(
            "podman image exists {IMAGE} && exit 0
             c=$(buildah from scratch); m=$(buildah mount $c)
             mkdir -p $m/bin $m/tmp $m/proc $m/etc $m/root
             chmod 1777 $m/tmp
             cp /bin/busybox $m/bin/
             for name in $(/bin/busybox --list); do [ $name = busybox ] || ln -s busybox $m/bin/$name; done
             printf 'root:x:0:0::/root:/bin/sh\\nother:x:1234:1234::/tmp:/bin/sh\\n' > $m/etc/passwd
             buildah umount $c >/dev/null
             buildah config --env PATH=/bin --port 5000 $c
             buildah commit -q --rm $c {IMAGE} >/dev/null"
        ));
        true
    })
}

/// Containers and networks of this bench's runner.
pub(crate) fn left(bench: &Bench) -> String {
    let builds = bench.dir.path().join("builds");
    let path = builds.canonicalize().unwrap();
    let mark: String = bascule_core::Digest::of(path.to_string_lossy().as_bytes())
        .hex()
        .chars()
        .take(16)
        .collect();
    sh(&format!(
        "podman ps -aq --filter label=bascule.runner={mark} 2>/dev/null; podman network ls -q --filter label=bascule.runner={mark} 2>/dev/null"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_runs_a_job_in_its_image_with_its_files_and_the_exit_code() {
    if !podman() {
        return;
    }
    let mut bench = Bench::new();
    let work = bench.dir.path().join("work");
    let sha = repository(&work);
    bench.start(|_| {}).await;
    let source =
        json!({"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "depth": 1});
    let script = [
        "echo \"in $PWD as $(id -un) $PLAIN\"; printf '%s\\n' \"$LINES_\" | wc -l; cat \"$FILE\"",
        "cat file; touch /bin/installed; mkdir out; echo made > out/made; grep -c : /proc/net/dev",
        "echo $SECRET; echo err >&2; (exit 3)",
    ];
    bench.push(job(1, &script, json!({
        "image": {"name": "$NAME:1"},
        "git_info": source,
        "variables": [
            {"key": "NAME", "value": "localhost/bascule-runner-test", "public": true},
            {"key": "PLAIN", "value": "it's \"$$ plain\"", "public": true},
            {"key": "LINES_", "value": "one\ntwo", "public": true},
            {"key": "SECRET", "value": "s3cret-value!", "masked": true},
            {"key": "FILE", "value": "content\n", "file": true},
        ],
        "artifacts": [{"paths": ["out"], "when": "always", "artifact_type": "archive", "artifact_format": "zip"}],
        "steps": [
            {"name": "script", "script": script, "timeout": 60, "when": "on_success", "allow_failure": false},
            {"name": "after_script", "script": ["ls /bin/installed; echo after $CI_JOB_STATUS"], "timeout": 60, "when": "always", "allow_failure": true},
        ],
    })));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(
        (result.state.as_str(), result.exit_code),
        ("failed", Some(3)),
        "{log}"
    );
    for piece in [
        "in /builds/g/p as root it's \"$ plain\"\n2\ncontent\n",
        "\ntwo\n1\n",
        "[MASKED]\nerr\n",
        "/bin/installed\nafter failed\n",
        "ERROR: Job failed: exit code 3\n",
    ] {
        assert!(log.contains(piece), "{piece} is missing in\n{log}");
    }
    assert_eq!(bench.fake.data().uploads.len(), 1, "kept on failure too: {log}");
    bench.stop().await;
    assert_eq!(left(&bench), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_services_are_found_by_their_names_and_waited_for() {
    if !podman() {
        return;
    }
    let mut bench = Bench::new();
    bench
        .start(|c| c.podman.service_wait = Duration::from_secs(20))
        .await;
    let serve = |text: &str| {
        json!([
            "sh",
            "-c",
            format!(
                "sleep 1; mkdir /tmp/w; echo {text} $WHO $TOP > /tmp/w/index.html; exec httpd -f -p 5000 -h /tmp/w"
            )
        ])
    };
    bench.push(job(1, &["wget -qO- http://db:5000/; wget -qO- http://localhost__bascule-runner-test:5000/; cat /etc/hosts | grep -c db"], json!({
        "image": {"name": IMAGE},
        "variables": [{"key": "TOP", "value": "top", "public": true}, {"key": "HIDDEN", "value": "hidden", "masked": true}],
        "services": [
            {"name": IMAGE, "alias": "first", "command": serve("one")},
            {"name": IMAGE, "alias": "db, database", "command": serve("two"), "variables": [{"key": "WHO", "value": "me-$TOP"}]},
        ],
    })));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(result.state.as_str(), "success", "{log}");
    assert!(log.contains("two me-top top\none top\n"), "{log}");
    assert!(log.contains("listens on 5000: db, database"), "{log}");
    // One that dies is told of with its log; the job goes on.
    bench.push(job(2, &["echo ran"], json!({
        "image": {"name": IMAGE},
        "services": [{"name": IMAGE, "alias": "broken", "command": ["sh", "-c", "echo cannot start; exit 9"]}],
    })));
    let result = bench.fake.result(2).await;
    let log = plain(&bench.fake.log(2));
    assert_eq!(result.state.as_str(), "success", "{log}");
    assert!(
        log.contains("may not work: it ended with code 9") && log.contains("\ncannot start\n"),
        "{log}"
    );
    bench.stop().await;
    assert_eq!(left(&bench), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_refuses_what_it_cannot_run_in_words_that_help() {
    if !podman() {
        return;
    }
    let mut bench = Bench::new();
    bench
        .start(|c| c.podman.allowed_images = vec!["localhost/bascule-*:*".into(), "127.0.0.1:1/*".into()])
        .await;
    for (id, image, reason, words) in [
        (
            1,
            json!({"name": "dir:/etc"}),
            FailureReason::ConfigurationError,
            "is no name of an image",
        ),
        (
            2,
            json!({"name": "elsewhere/x:1"}),
            FailureReason::ConfigurationError,
            "does not allow the image elsewhere/x:1",
        ),
        (
            3,
            json!({"name": "127.0.0.1:1/x:1"}),
            FailureReason::ImagePullFailure,
            "cannot be had",
        ),
        (
            4,
            json!({"name": "localhost/bascule-none:1", "pull_policy": ["never"]}),
            FailureReason::ImagePullFailure,
            "`pull_policy` is `never`",
        ),
        (
            5,
            json!({"name": IMAGE, "entrypoint": ["/none"]}),
            FailureReason::ConfigurationError,
            "needs a shell",
        ),
    ] {
        bench.push(job(id, &["echo ran"], json!({ "image": image })));
        let result = bench.fake.result(id).await;
        let log = plain(&bench.fake.log(id));
        assert_eq!(result.failure_reason, Some(reason), "{log}");
        assert!(log.contains(words) && !log.contains("\nran\n"), "{log}");
    }
    bench.stop().await;
    assert_eq!(left(&bench), "");
    // A runner without containers says so.
    let mut bench = Bench::new();
    bench.start(|c| c.executor = ExecutorKind::Bubblewrap).await;
    bench.push(job(6, &["echo ran"], json!({"image": {"name": IMAGE}})));
    let result = bench.fake.result(6).await;
    assert_eq!(result.failure_reason, Some(FailureReason::RunnerUnsupported));
    assert!(bench.fake.log(6).contains("runs no containers"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_runs_as_another_user_who_may_write_and_a_canceled_job_leaves_nothing() {
    if !podman() {
        return;
    }
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    bench.push(job(
        1,
        &["id -u; echo x > mine; cat mine; cat \"$FILE\""],
        json!({
            "image": {"name": IMAGE, "executor_opts": {"docker": {"user": "other"}}},
            "variables": [{"key": "FILE", "value": "content\n", "file": true}],
        }),
    ));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(result.state.as_str(), "success", "{log}");
    assert!(log.contains("\n1234\nx\ncontent\n"), "{log}");
    bench.push(job(
        2,
        &["sleep 6161.5 & echo begun; trap '' TERM; while :; do sleep 6161.5; done"],
        json!({
            "image": {"name": IMAGE},
            "services": [{"name": IMAGE, "alias": "s", "command": ["httpd", "-f", "-p", "5000"]}],
        }),
    ));
    until("the job's start", || bench.fake.log(2).contains("\nbegun")).await;
    assert_ne!(left(&bench), "");
    bench.fake.data().status.insert(2, "canceled".into());
    let result = bench.fake.result(2).await;
    assert_eq!(result.failure_reason, Some(FailureReason::JobCanceled));
    let processes = sh("ps axo args");
    assert!(!processes.contains("sleep 6161.5"), "{processes}");
    bench.stop().await;
    assert_eq!(left(&bench), "");
}

/// Prints what a trivial job takes, one after the other, by either executor. For people: `--run-ignored only --no-capture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it is for people")]
async fn podman_and_bubblewrap_take_this_long_for_a_trivial_job() {
    const JOBS: u32 = 20;
    for (name, more) in [
        ("bubblewrap", json!({})),
        ("podman", json!({"image": {"name": IMAGE}})),
    ] {
        if name == "podman" && !podman() {
            continue;
        }
        let mut bench = Bench::new();
        bench.start(|c| c.concurrency = 1).await;
        let began = std::time::Instant::now();
        for id in 1..=i64::from(JOBS) {
            bench.push(job(id, &["true"], more.clone()));
        }
        for id in 1..=i64::from(JOBS) {
            bench.fake.result(id).await;
        }
        println!("{name}: {:?} a job", began.elapsed() / JOBS);
        bench.stop().await;
    }
}
