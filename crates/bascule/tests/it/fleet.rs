//! What the tests of agents share: a product that runs by either driver, a site of its own with an agent in a
//! process of its own, and users who count what they lose.

use crate::{BIN, product::rows};
use bascule_testkit::{Git, TestApp, until};
use serde_json::Value;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub const PROJECT: &str = "demo/hello";
pub const SITE: &str = "site-7";

const SERVER: &str = r#"import http.server, os, time

class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/cgi-bin/smoke":
            time.sleep(float(os.environ["SMOKE_DELAY"]))
        while self.path == "/healthz" and os.environ.get("HANG"):
            time.sleep(60)
        body = b"hello VERSION"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

print("product VERSION begins", flush=True)
time.sleep(float(os.environ["START_DELAY"]))
if os.environ.get("CRASH"):
    raise SystemExit("no database to be found")
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Hello).serve_forever()
"#;

/// The same in an image that holds busybox alone.
const SERVICE: &str = r#"#!/bin/sh
mkdir -p /tmp/www/cgi-bin
printf 'hello VERSION' > /tmp/www/index.html
echo ok > /tmp/www/healthz
printf '#!/bin/sh\necho; sleep %s; echo smoked' "$SMOKE_DELAY" > /tmp/www/cgi-bin/smoke
chmod +x /tmp/www/cgi-bin/smoke
echo "product VERSION begins"
trap 'kill $!; exit 0' TERM
sleep "$START_DELAY"
httpd -f -p "$PORT" -h /tmp/www &
wait $!
"#;

const CI: &str = r#"stages: [build, release]
package:
  stage: build
  rules: [{ if: $CI_COMMIT_TAG }]
  script:
    - if [ -e pad ]; then head -c "$(cat pad)" /dev/urandom > src/pad; fi
    - tar -czf app.tar.gz src
  artifacts: { paths: [app.tar.gz, hello.oci.tar] }
publish:
  stage: release
  rules: [{ if: $CI_COMMIT_TAG }]
  script: [ "echo release" ]
  release: { tag_name: $CI_COMMIT_TAG, description: "A release" }
"#;

/// A line for who reads a test's output: what it counted is what it shows.
#[allow(clippy::print_stdout, reason = "standard output is where a test's notes go")]
pub fn note(line: &str) {
    println!("{line}");
}

pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// How a version of the product is.
#[derive(Clone, Debug)]
pub struct Version<'a> {
    pub number: &'a str,
    /// Whether it has an image besides its files.
    pub image: bool,
    /// `rollout:` of its file.
    pub rollout: &'a str,
    /// More lines of its file.
    pub more: &'a str,
    pub start_delay: &'a str,
    pub smoke_delay: &'a str,
    /// Bytes that its files are made larger by.
    pub pad: usize,
}

impl<'a> Version<'a> {
    pub const fn new(number: &'a str) -> Self {
        Self {
            number,
            image: false,
            rollout: "{ steps: [25, 50, 100], step: 2s, slice: 1s, max: 8s, inconclusive: promote }",
            more: "",
            start_delay: "0",
            smoke_delay: "0",
            pad: 0,
        }
    }

    /// Writes and commits it.
    pub fn write(&self, git: &Git) {
        git.write("src/server.py", &SERVER.replace("VERSION", self.number));
        git.write(".gitlab-ci.yml", CI);
        if self.pad > 0 {
            git.write("pad", &self.pad.to_string());
        } else {
            drop(std::fs::remove_file(git.path().join("pad")));
        }
        if self.image {
            self.make_image(&git.path());
        }
        let image = if self.image { "image: hello.oci.tar\n" } else { "" };
        git.write(
            "bascule.yaml",
            &format!(
                "product: hello\nartifact: app.tar.gz\ncommand: exec python3 src/server.py\n{image}\
                 health: {{ path: /healthz, interval: 200ms, timeout: 1s, start: 20s }}\n\
                 smoke: [{{ path: /cgi-bin/smoke }}]\n\
                 environment: {{ START_DELAY: \"{}\", SMOKE_DELAY: \"{}\" }}\n\
                 rollout: {}\ndrain: 3s\n{}",
                self.start_delay, self.smoke_delay, self.rollout, self.more
            ),
        );
        git.commit(&format!("Version {}", self.number));
    }

    /// An OCI archive, made by buildah of nothing but busybox. `scripts/setup` installs what it takes.
    fn make_image(&self, folder: &Path) {
        let path = folder.display();
        let made = tempfile::tempdir().unwrap();
        std::fs::write(
            made.path().join("service"),
            SERVICE.replace("VERSION", self.number),
        )
        .unwrap();
        let service = made.path().join("service");
        let service = service.display();
        sh(&format!(
            "c=$(buildah from scratch); m=$(buildah mount $c)
             mkdir -p $m/bin $m/tmp $m/proc
             cp /bin/busybox $m/bin/
             for name in sh httpd mkdir echo printf sleep chmod kill cat ls env; do ln -s busybox $m/bin/$name; done
             cp {service} $m/service; chmod 755 $m/service
             buildah umount $c >/dev/null
             buildah config --entrypoint '[\"/service\"]' --env PATH=/bin $c
             rm -f {path}/hello.oci.tar
             buildah commit -q --rm $c oci-archive:{path}/hello.oci.tar >/dev/null"
        ));
    }

    /// Tags and pushes it, and waits until staging serves it.
    pub async fn release(&self, app: &TestApp, git: &Git) {
        self.write(git);
        crate::product::release(app, git, self.number).await;
    }
}

/// Group and project; nothing is pushed yet.
pub fn create(app: &TestApp) -> Git {
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", PROJECT]));
    let git = Git::init();
    drop(git.ok(&["remote", "add", "origin", &app.remote(PROJECT, app.token())]));
    git
}

/// The environments project.
pub struct Fleet(Git);

impl Fleet {
    pub fn create(app: &TestApp) -> Self {
        drop(app.cli().run(&["group", "create", "platform"]));
        drop(app.cli().ok(&["project", "create", "platform/fleet"]));
        let git = Git::init();
        drop(git.ok(&[
            "remote",
            "add",
            "origin",
            &app.remote("platform/fleet", app.token()),
        ]));
        Self(git)
    }

    /// Declares an environment, with more lines than its name and what is installed.
    pub fn declare(&self, name: &str, more: &str) {
        self.declare_of(name, PROJECT, more);
    }

    /// The same, with another product.
    pub fn declare_of(&self, name: &str, product: &str, more: &str) {
        self.0.write(
            &format!("environments/{name}.yaml"),
            &format!("environment: {name}\nchannel: dev\ninstall: [{{ product: {product} }}]\n{more}"),
        );
        self.0.commit("Declare");
        drop(self.0.ok(&["push", "-q", "origin", "main"]));
    }
}

/// A part of the platform in a process of its own, until it is dropped.
pub struct Part(Child);

impl Part {
    /// Starts a command of ours in front of which another may stand, such as one that changes the network.
    pub fn spawn(before: &[&str], url: &str, role: &str, data: &Path, code: Option<&str>) -> Self {
        let mut command = match before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(BIN);
                command
            }
            None => Command::new(BIN),
        };
        command.args([role, "--server", url, "--data"]).arg(data);
        if let Some(code) = code {
            command.args(["--code", code]);
        }
        let log = data.with_extension("log");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        let pid = self.0.id().to_string();
        drop(Command::new("kill").args(["-TERM", &pid]).status());
        drop(self.0.wait());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// A code with which an agent or edge enrols.
pub fn code(app: &TestApp, kind: &str, name: &str) -> String {
    let made = app.cli().json(&[kind, "create", name]);
    made["code"].as_str().unwrap().to_owned()
}

/// An environment as the API shows it.
pub async fn environment(app: &TestApp, name: &str) -> Option<Value> {
    let path = format!("/api/v1/projects/{PROJECT}/environments/{name}");
    let answer = app.request("GET", &path).send().await.ok()?;
    answer.json().await.ok()
}

/// Waits until an environment serves a version to its users alone; gives its address.
pub async fn serves(app: &TestApp, name: &str, version: &str) -> String {
    let what = format!("{name} to serve {version}");
    until(&what, Duration::from_secs(120), async || {
        let found = environment(app, name).await?;
        let alone = found["active"].is_null() && found["serving"]["version"] == version;
        let url = found["url"].as_str().filter(|_| alone)?;
        Some(url.to_owned())
    })
    .await
}

/// The newest rollout, as the API shows it.
pub async fn rollout(app: &TestApp) -> Option<Value> {
    let path = format!("/api/v1/projects/{PROJECT}/rollouts");
    let answer = app.request("GET", &path).send().await.ok()?;
    let all: Value = answer.json().await.ok()?;
    all.as_array()?.first().cloned()
}

/// Facts of a kind, oldest first, as sentences.
pub fn facts(app: &TestApp, kind: &str) -> Vec<String> {
    let all = rows(&app.cli().json(&["ledger", "list", "--kind", kind]));
    let mut all: Vec<(i64, String)> = all
        .iter()
        .map(|fact| {
            let text = fact["summary"].as_str().unwrap_or_default();
            (fact["seq"].as_i64().unwrap_or_default(), text.to_owned())
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, text)| text).collect()
}

/// Users at a steady rate, each with a connection that is kept or new as it comes, who count.
pub struct Users {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    lost: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

/// What users counted.
#[derive(Debug)]
pub struct Counted {
    pub asked: u64,
    /// What went wrong with those that were lost: no answer, or one of the edge's own.
    pub lost: Vec<String>,
}

impl Users {
    /// Users of an address, from when it first answers: an edge hears of a first version a moment after the
    /// hub holds it for served.
    pub async fn of(url: &str) -> Self {
        until("the address to answer", Duration::from_secs(30), async || {
            reqwest::get(url).await.ok()?.status().is_success().then_some(())
        })
        .await;
        let begun = std::time::Instant::now();
        let (stop, asked, lost) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let (url, stopped, counted, losses) = (url.to_owned(), stop.clone(), asked.clone(), lost.clone());
        let task = tokio::spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut beat = tokio::time::interval(Duration::from_millis(20));
            let mut flights = tokio::task::JoinSet::new();
            while !stopped.load(Ordering::Relaxed) {
                beat.tick().await;
                let (client, url, losses) = (client.clone(), url.clone(), losses.clone());
                counted.fetch_add(1, Ordering::Relaxed);
                flights.spawn(async move {
                    let why = match client.get(url).send().await {
                        Err(error) => format!("{error:?}"),
                        Ok(answer) if answer.status() != 200 => answer.status().to_string(),
                        Ok(answer) => match answer.text().await {
                            Ok(text) if text.starts_with("hello ") => return,
                            other => format!("{other:?}"),
                        },
                    };
                    let after = begun.elapsed().as_millis();
                    losses.lock().unwrap().push(format!("after {after} ms: {why}"));
                });
                while flights.try_join_next().is_some() {}
            }
            while flights.join_next().await.is_some() {}
        });
        Self {
            stop,
            asked,
            lost,
            task,
        }
    }

    pub async fn stop(self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        Counted {
            asked: self.asked.load(Ordering::Relaxed),
            lost: std::mem::take(&mut self.lost.lock().unwrap()),
        }
    }
}

impl Counted {
    /// Nothing was lost of a number that says something.
    pub fn nothing_lost(&self, of_at_least: u64) {
        assert!(self.asked >= of_at_least, "only {} requests", self.asked);
        let (asked, count) = (self.asked, self.lost.len());
        assert!(count == 0, "{count} of {asked} lost: {:?}", self.lost);
        note(&format!("{asked} requests, none lost"));
    }
}

/// Removes what podman keeps of a data directory's agent, also after a test that failed.
pub struct Swept<'a>(pub &'a Path);

impl Drop for Swept<'_> {
    fn drop(&mut self) {
        let Ok(conf) = self.0.join("containers.conf").canonicalize() else {
            return;
        };
        let Ok(path) = self.0.canonicalize() else { return };
        let mark = bascule_core::Digest::of(path.to_string_lossy().as_bytes());
        let mark = mark.hex().get(..16).unwrap_or_default().to_owned();
        let script = format!(
            "export CONTAINERS_CONF={}
             for c in $(podman ps -aq --filter label=bascule.agent={mark}); do podman rm -f -t 0 $c; done
             for i in $(podman images -q --filter 'reference=localhost/bascule-{mark}'); do podman rmi -f $i; done",
            conf.display()
        );
        drop(Command::new("sh").args(["-c", &script]).output());
    }
}
