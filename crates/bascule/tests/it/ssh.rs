//! git over SSH with the whole product: keys of people and of projects, what ends with them, and kill -9.

use crate::BIN;
use bascule_testkit::{Git, TestApp, until};
use serde_json::json;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

struct Ssh {
    app: TestApp,
    port: u16,
    folder: tempfile::TempDir,
}

impl Ssh {
    fn start() -> Self {
        // Free a moment ago; a restart has to come back on the same port.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let app = TestApp::start_with(BIN, &[("BASCULE_SSH_LISTEN", &format!("127.0.0.1:{port}"))]);
        drop(app.cli().ok(&["group", "create", "demo"]));
        drop(app.cli().ok(&["project", "create", "demo/web"]));
        Self {
            app,
            port,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn key(&self, name: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&file)
            .status()
            .unwrap();
        assert!(made.success());
        file
    }

    fn with(&self, key: &Path) -> String {
        format!(
            "core.sshCommand=ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={}",
            key.display(),
            self.folder.path().join("known_hosts").display()
        )
    }

    fn url(&self, project: &str) -> String {
        format!("ssh://git@127.0.0.1:{}/{project}.git", self.port)
    }

    fn greet(&self, key: &Path) -> Output {
        Command::new("ssh")
            .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"])
            .args(["-o", "StrictHostKeyChecking=accept-new", "-T", "-i"])
            .arg(key)
            .arg("-o")
            .arg(format!(
                "UserKnownHostsFile={}",
                self.folder.path().join("known_hosts").display()
            ))
            .args(["-p", &self.port.to_string(), "git@127.0.0.1"])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn public(key: &Path) -> String {
    format!("{}.pub", key.display())
}

#[tokio::test]
async fn keys_of_people_and_projects_open_what_they_should_until_they_are_removed() {
    let ssh = Ssh::start();
    let cli = ssh.app.cli();
    let shown = cli.json(&["project", "show", "demo/web"]);
    assert_eq!(shown["ssh_url"], ssh.url("demo/web"));
    let own = ssh.key("own");
    let added = cli.json(&["key", "add", &public(&own)]);
    let git = Git::init();
    git.write("README.md", "# Hello\n");
    git.commit("Begin");
    let (with, url) = (ssh.with(&own), ssh.url("demo/web"));
    drop(git.ok(&["-c", &with, "push", "-q", &url, "main"]));
    assert!(text(&ssh.greet(&own).stdout).contains("Hello admin!"));

    // A deploy key that reads, and one that pushes to what is not protected.
    let (reads, writes) = (ssh.key("reads"), ssh.key("writes"));
    drop(cli.ok(&["key", "add", &public(&reads), "--project", "demo/web"]));
    let pushing = cli.json(&[
        "key",
        "add",
        &public(&writes),
        "--project",
        "demo/web",
        "--writes",
    ]);
    drop(cli.ok(&["project", "create", "demo/other"]));
    let with = ssh.with(&reads);
    drop(git.ok(&["-c", &with, "ls-remote", &url]));
    let told = git.refused(&["-c", &with, "push", &url, "HEAD:refs/heads/x"]);
    assert!(told.contains("You may not push to this project."), "{told}");
    let told = git.refused(&["-c", &with, "ls-remote", &ssh.url("demo/other")]);
    assert!(told.contains("There is no such project"), "{told}");
    let with = ssh.with(&writes);
    drop(git.ok(&["-c", &with, "push", "-q", &url, "HEAD:refs/heads/by-machine"]));
    git.write("more", "more\n");
    git.commit("More");
    let told = git.refused(&["-c", &with, "push", &url, "main"]);
    assert!(
        told.contains("`main` is protected; you may not push to it."),
        "{told}"
    );
    // A key has one holder.
    let (code, told) = cli.refused(&["key", "add", &public(&writes)]);
    assert!(code == 3 && told.contains("deploy key"), "{code} {told}");
    let listed = cli.json(&["key", "list", "--project", "demo/web"]);
    let used = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| !key["last_used_at"].is_null());
    assert_eq!(used.count(), 2, "{listed}");

    // Removed: gone at once.
    let id = pushing["id"].as_str().unwrap();
    drop(cli.ok(&["key", "remove", id, "--project", "demo/web"]));
    let told = git.refused(&["-c", &with, "ls-remote", &url]);
    assert!(told.contains("Permission denied"), "{told}");
    drop(cli.ok(&["key", "remove", added["id"].as_str().unwrap()]));
    assert!(!ssh.greet(&own).status.success());
}

#[tokio::test]
async fn a_closed_account_loses_its_open_connection_within_a_second() {
    let ssh = Ssh::start();
    let cli = ssh.app.cli();
    let user = json!({ "username": "developer", "password": "correct horse battery" });
    let answer = ssh
        .app
        .request("POST", "/api/v1/users")
        .json(&user)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    drop(cli.ok(&["group", "set-member", "demo", "developer", "--role", "developer"]));
    let key = ssh.key("developer");
    let page = sign_in_and_add(&ssh, &public(&key)).await;
    assert!(page, "the key could not be added");
    let git = Git::init();
    git.write("a", "a\n");
    git.commit("Begin");
    let (with, url) = (ssh.with(&key), ssh.url("demo/web"));
    drop(git.ok(&["-c", &with, "push", "-q", &url, "HEAD:refs/heads/topic"]));
    // A fetch that waits for its client.
    let mut open = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-i",
        ])
        .arg(&key)
        .arg("-o")
        .arg(format!(
            "UserKnownHostsFile={}",
            ssh.folder.path().join("known_hosts").display()
        ))
        .args([
            "-p",
            &ssh.port.to_string(),
            "git@127.0.0.1",
            "git-upload-pack '/demo/web.git'",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(open.try_wait().unwrap().is_none());
    drop(cli.ok(&["user", "deactivate", "developer"]));
    let begun = Instant::now();
    until("the connection's end", Duration::from_secs(5), async || {
        open.try_wait().unwrap().map(drop)
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_millis(1_300),
        "{:?}",
        begun.elapsed()
    );
    assert!(!ssh.greet(&key).status.success());
}

/// A person adds a key, signed in with their own password.
async fn sign_in_and_add(ssh: &Ssh, file: &str) -> bool {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = ssh.app.url();
    let answer = http
        .post(format!("{url}/sign-in"))
        .form(&[("username", "developer"), ("password", "correct horse battery")])
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let key = std::fs::read_to_string(file).unwrap();
    let answer = http
        .post(format!("{url}/settings/keys"))
        .header("cookie", cookie)
        .form(&[("key", key.as_str()), ("title", "")])
        .send()
        .await
        .unwrap();
    answer.status().is_redirection()
}

/// The branch of each fact that says that one moved.
fn branches(cli: &bascule_testkit::Cli) -> Vec<String> {
    let mut all = Vec::new();
    let mut before = String::new();
    loop {
        let mut arguments = vec!["ledger", "list", "--kind", "branch.updated"];
        if !before.is_empty() {
            arguments.extend(["--before", &before]);
        }
        let answer = cli.json(&arguments);
        let list = answer
            .as_array()
            .or_else(|| answer.as_object()?.values().find_map(|value| value.as_array()));
        let page = list.cloned().unwrap_or_default();
        let Some(last) = page.last() else { return all };
        before = last["seq"].to_string();
        for entry in page {
            let body = match &entry["body"] {
                serde_json::Value::String(text) => serde_json::from_str(text).unwrap(),
                body => body.clone(),
            };
            all.push(body["branch"].as_str().unwrap().to_owned());
        }
    }
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_pushes_over_ssh_loses_none_that_was_taken() {
    let mut ssh = Ssh::start();
    let key = ssh.key("own");
    drop(ssh.app.cli().ok(&["key", "add", &public(&key)]));
    let git = Git::init();
    git.write("a", "a\n");
    git.commit("Begin");
    let (with, url) = (ssh.with(&key), ssh.url("demo/web"));
    drop(git.ok(&["-c", &with, "push", "-q", &url, "main"]));
    let mut taken = Vec::new();
    for round in 0..4_u64 {
        let folder = git.path();
        let (with, url) = (with.clone(), url.clone());
        let pushing = std::thread::spawn(move || {
            let mut taken = Vec::new();
            for n in 0..40 {
                let name = format!("r{round}-{n}");
                let push = Command::new("git")
                    .current_dir(&folder)
                    .args([
                        "-c",
                        &with,
                        "push",
                        "-q",
                        &url,
                        &format!("HEAD:refs/heads/{name}"),
                    ])
                    .stderr(Stdio::null())
                    .status()
                    .unwrap();
                if !push.success() {
                    break;
                }
                taken.push(name);
            }
            taken
        });
        tokio::time::sleep(Duration::from_millis(900 + 170 * round)).await;
        ssh.app.kill();
        taken.extend(pushing.join().unwrap());
        ssh.app.resume();
    }
    assert!(!taken.is_empty());
    let listed = git.ok(&["-c", &with, "ls-remote", &url]);
    for name in &taken {
        assert!(listed.contains(&format!("refs/heads/{name}\n")), "{name} is lost");
    }
    // Each has its fact, once; and nothing moved without one.
    let cli = ssh.app.cli();
    until("the facts of all branches", Duration::from_secs(30), async || {
        let told = branches(&cli);
        let mut moved = listed
            .lines()
            .filter_map(|line| line.split_once("refs/heads/").map(|(_, name)| name));
        moved
            .all(|name| told.iter().filter(|told| *told == name).count() == 1)
            .then_some(())
    })
    .await;
    drop(cli.ok(&["project", "fsck", "demo/web"]));
}
