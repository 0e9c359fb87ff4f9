//! What runs the pods of jobs: the helper as it is, and the other containers as processes in sandboxes of their own, with
//! the pod's volume where the pod says.

use super::cluster::{Key, State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// Runs pods that are made, and ends those that are deleted.
pub async fn controllers(state: Arc<State>) {
    let folder = tempfile::tempdir().unwrap();
    let mut changes = state.changed.subscribe();
    let mut running: HashMap<Key, CancellationToken> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let pods: Vec<(Key, Value)> = {
            let inner = state.inner.lock().unwrap();
            let pods = inner.objects.iter().filter(|(key, _)| key.0 == "pods");
            pods.map(|(key, pod)| (key.clone(), pod.clone())).collect()
        };
        for (key, pod) in &pods {
            if !running.contains_key(key) {
                let end = CancellationToken::new();
                running.insert(key.clone(), end.clone());
                run(&state, key, pod, &folder.path().join(&key.2), &end);
            }
        }
        running.retain(|key, end| {
            let stands = pods.iter().any(|(one, _)| one == key);
            if !stands {
                end.cancel();
            }
            stands
        });
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn run(state: &Arc<State>, key: &Key, pod: &Value, folder: &Path, end: &CancellationToken) {
    let work = folder.join("work");
    fs::create_dir_all(&work).unwrap();
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let waiting = json!({ "waiting": { "reason": "ContainerCreating" } });
    let statuses: Vec<Value> = containers
        .iter()
        .map(|one| {
            json!({ "name": one["name"], "image": one["image"], "imageID": "", "ready": false, "restartCount": 0,
                "state": waiting })
        })
        .collect();
    set(state, key, &|pod| {
        pod["status"] = json!({ "phase": "Running", "containerStatuses": statuses });
    });
    // When the pod is deleted the helper may go on for a while; the others end with it.
    let helper_over = CancellationToken::new();
    for container in containers {
        let name = container["name"].as_str().unwrap().to_owned();
        let image = container["image"].as_str().unwrap();
        if image.contains("missing") {
            turn(
                state,
                key,
                &name,
                &json!({ "waiting": { "reason": "ImagePullBackOff", "message": format!("{image}: not found") } }),
            );
            continue;
        }
        turn(
            state,
            key,
            &name,
            &json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } }),
        );
        let (state, key, end) = (Arc::clone(state), key.clone(), end.clone());
        if name == "helper" {
            let errand = folder.join("errand.json");
            fs::write(&errand, secret(&state, &key, "errand.json")).unwrap();
            let (work, over) = (work.clone(), helper_over.clone());
            tokio::spawn(async move {
                let done = bascule_runner::run_in_pod(&errand, &work, end).await;
                over.cancel();
                let code = i32::from(done.is_err());
                turn(
                    &state,
                    &key,
                    &name,
                    &json!({ "terminated": { "exitCode": code, "reason": "Completed" } }),
                );
            });
            continue;
        }
        let mut child = command(&state, &key, container, &work).spawn().unwrap();
        let over = helper_over.clone();
        tokio::spawn(async move {
            let exit = tokio::select! {
                exit = child.wait() => exit.unwrap(),
                () = async { end.cancelled().await; over.cancelled().await } => {
                    child.kill().await.unwrap();
                    return;
                }
            };
            let code = exit.code().unwrap_or(137);
            turn(
                &state,
                &key,
                &name,
                &json!({ "terminated": { "exitCode": code, "reason": "Error" } }),
            );
        });
    }
}

fn secret(state: &State, key: &Key, item: &str) -> Vec<u8> {
    let inner = state.inner.lock().unwrap();
    let secret = &inner.objects[&("secrets".to_owned(), key.1.clone(), key.2.clone())];
    STANDARD.decode(secret["data"][item].as_str().unwrap()).unwrap()
}

fn command(state: &State, key: &Key, container: &Value, work: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("bwrap");
    command.args([
        "--unshare-pid",
        "--as-pid-1",
        "--die-with-parent",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
    ]);
    command.args(["--clearenv", "--setenv", "PATH", "/bin"]);
    if container["image"].as_str().unwrap().contains("plain") {
        // No bash, no more than one small program.
        command.args(["--ro-bind", "/usr/bin/busybox", "/bin/busybox"]);
        for name in [
            "sh", "sleep", "cat", "id", "echo", "mkdir", "ls", "httpd", "wget", "grep", "touch",
        ] {
            command.args(["--symlink", "busybox", &format!("/bin/{name}")]);
        }
    } else {
        command.args(["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]);
        for name in ["bin", "lib", "lib64"] {
            command.args(["--symlink", &format!("usr/{name}"), &format!("/{name}")]);
        }
    }
    for mount in container["volumeMounts"].as_array().unwrap() {
        let from: PathBuf = work.join(mount["subPath"].as_str().unwrap());
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&from)
            .unwrap();
        let how = if mount["readOnly"] == true {
            "--ro-bind"
        } else {
            "--bind"
        };
        command
            .arg(how)
            .arg(from)
            .arg(mount["mountPath"].as_str().unwrap());
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let from = &variable["valueFrom"]["secretKeyRef"];
        assert_eq!(from["name"], key.2);
        let value = String::from_utf8(secret(state, key, from["key"].as_str().unwrap())).unwrap();
        command.args(["--setenv", variable["name"].as_str().unwrap(), &value]);
    }
    for words in ["command", "args"] {
        command.args(
            container[words]
                .as_array()
                .into_iter()
                .flatten()
                .map(|word| word.as_str().unwrap()),
        );
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn set(state: &Arc<State>, key: &Key, change: &dyn Fn(&mut Value)) {
    let mut inner = state.inner.lock().unwrap();
    let Some(mut pod) = inner.objects.get(key).cloned() else {
        return;
    };
    change(&mut pod);
    inner.put(key, pod);
    drop(inner);
    state.tell();
}

fn turn(state: &Arc<State>, key: &Key, container: &str, now: &Value) {
    set(state, key, &|pod| {
        for status in pod["status"]["containerStatuses"].as_array_mut().unwrap() {
            if status["name"] == container {
                status["state"] = now.clone();
            }
        }
    });
}
