//! Clone, fetch and push over HTTP against `git http-backend` behind nginx; over SSH beside it.

use crate::{
    Result, git_ssh, history,
    platform::{Platform, git},
    process::{Server, free_address, nginx_user},
    report::{Goal, goals},
    size,
    stats::median,
    tell,
};
use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

const ROUNDS: usize = 5;
/// Files in the tree.
const TREE: usize = 2000;

/// `git http-backend` by fcgiwrap behind nginx, as its manual page shows it.
struct Baseline {
    folder: PathBuf,
    address: SocketAddr,
    _nginx: Server,
    _fcgi: Server,
}

impl Baseline {
    fn start(folder: &Path) -> Result<Self> {
        let repositories = folder.join("repositories");
        std::fs::create_dir_all(&repositories)?;
        let address = free_address()?;
        let socket = folder.join("fcgi.sock");
        let fcgi = Server::start(
            Command::new("fcgiwrap")
                .args(["-c", "2", "-s"])
                .arg(format!("unix:{}", socket.display())),
            &folder.join("fcgiwrap.log"),
        )?;
        let config = folder.join("nginx.conf");
        std::fs::write(&config, nginx(folder, &repositories, &socket, address)?)?;
        let nginx = Server::start(
            Command::new("nginx")
                .arg("-e")
                .arg(folder.join("error.log"))
                .arg("-c")
                .arg(&config),
            &folder.join("nginx.log"),
        )?
        .at(address)?;
        Ok(Self {
            folder: repositories,
            address,
            _nginx: nginx,
            _fcgi: fcgi,
        })
    }

    /// An empty repository that may be pushed to; with `checked`, objects are checked as Bascule checks them.
    fn create(&self, name: &str, checked: bool) -> Result<String> {
        let folder = self.folder.join(format!("{name}.git"));
        std::fs::create_dir_all(&folder)?;
        git(&folder, &["init", "-q", "--bare"])?;
        git(&folder, &["config", "http.receivepack", "true"])?;
        git(&folder, &["config", "receive.autogc", "false"])?;
        git(
            &folder,
            &[
                "config",
                "receive.fsckObjects",
                if checked { "true" } else { "false" },
            ],
        )?;
        Ok(format!("http://{}/{name}.git", self.address))
    }
}

fn nginx(folder: &Path, repositories: &Path, socket: &Path, address: SocketAddr) -> Result<String> {
    let exec = git(folder, &["--exec-path"])?;
    let (folder, repositories, socket) = (folder.display(), repositories.display(), socket.display());
    Ok(format!(
        "daemon off; {} worker_processes 2; pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 0; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/fastcgi; proxy_temp_path {folder}/proxy;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {address};
    location / {{
      fastcgi_pass unix:{socket};
      fastcgi_buffering off; fastcgi_request_buffering off; fastcgi_read_timeout 600;
      fastcgi_param SCRIPT_FILENAME {exec}/git-http-backend;
      fastcgi_param GIT_PROJECT_ROOT {repositories};
      fastcgi_param GIT_HTTP_EXPORT_ALL \"\";
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param REMOTE_USER bench;
      fastcgi_param REMOTE_ADDR $remote_addr;
    }}
  }}
}}
",
        nginx_user()
    ))
}

/// What two sides took, in seconds.
#[derive(Default)]
pub struct Times {
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
}

/// Fetches what is new since an older copy into a fresh copy of that; `with` goes before the verb.
pub fn fetch(folder: &Path, old: &Path, with: &[&str], url: &str) -> Result<f64> {
    let copy = folder.join("fetch.git");
    let copied = Command::new("cp").arg("-r").arg(old).arg(&copy).status()?;
    if !copied.success() {
        return Err("the older copy could not be copied".into());
    }
    let took = timed(
        &copy,
        &[with, &["fetch", "-q", url, "main:refs/heads/main"]].concat(),
    )?;
    std::fs::remove_dir_all(&copy)?;
    Ok(took)
}

/// Medians and all values of two sides, as rows of a table; the second side is left out where it has no name.
pub fn table(rows: &[(&str, &Times)], ours: &str, theirs: &str) -> String {
    let mut text = String::from("| | Median (s) | All (s) |\n|---|---|---|\n");
    for (name, times) in rows {
        for (side, values) in [(ours, &times.ours), (theirs, &times.theirs)] {
            if !side.is_empty() {
                let all: Vec<String> = values.iter().map(|time| format!("{time:.2}")).collect();
                let _ = writeln!(
                    text,
                    "| {name}, {side} | {:.2} | {} |",
                    median(values),
                    all.join(", ")
                );
            }
        }
    }
    text
}

/// The seconds that a git command takes.
pub fn timed(folder: &Path, arguments: &[&str]) -> Result<f64> {
    let begun = Instant::now();
    git(folder, arguments)?;
    Ok(begun.elapsed().as_secs_f64())
}

fn clone(folder: &Path, url: &str) -> Result<f64> {
    let took = timed(folder, &["clone", "-q", "--bare", url, "clone.git"])?;
    std::fs::remove_dir_all(folder.join("clone.git"))?;
    Ok(took)
}

/// Measures the section.
pub async fn measure() -> Result<String> {
    let commits = size("BENCH_COMMITS", 50_000);
    let dir = tempfile::Builder::new().prefix("bascule-bench-git-").tempdir()?;
    let source = dir.path().join("source.git");
    tell(&format!("generating a repository of {commits} commits"));
    history::generate(&source, commits, TREE)?;
    let objects = git(&source, &["count-objects", "-v"])?;
    let (in_pack, kib) = (count(&objects, "in-pack"), count(&objects, "size-pack"));

    let baseline = Baseline::start(&dir.path().join("baseline"))?;
    let platform = Platform::up_with_ssh(&dir.path().join("data"))?;
    platform.create_group("bench").await?;

    let (mut push_ours, mut push_checked, mut push_plain) = (Vec::new(), Vec::new(), Vec::new());
    let push = |url: &str| timed(&source, &["push", "-q", url, "main", "--tags"]);
    for round in 0..=ROUNDS {
        let checked = baseline.create(&format!("checked{round}"), true)?;
        let plain = baseline.create(&format!("plain{round}"), false)?;
        platform.create_project("bench", &format!("push{round}")).await?;
        let ours = platform.git_url(&format!("bench/push{round}"));
        let mut turns = [
            (&mut push_ours, ours),
            (&mut push_checked, checked),
            (&mut push_plain, plain),
        ];
        turns.rotate_left(round % 3);
        for (times, url) in turns {
            let took = push(&url)?;
            // The first round only warms the caches.
            if round > 0 {
                times.push(took);
            }
        }
        tell(&format!("push round {round} of {ROUNDS} done"));
    }

    let (mut clone_ours, mut clone_baseline) = (Vec::new(), Vec::new());
    let baseline_url = format!("http://{}/checked1.git", baseline.address);
    let our_url = platform.git_url("bench/push1");
    for round in 0..=ROUNDS {
        let mut turns = [(&mut clone_ours, &our_url), (&mut clone_baseline, &baseline_url)];
        turns.rotate_left(round % 2);
        for (times, url) in turns {
            let took = clone(dir.path(), url)?;
            if round > 0 {
                times.push(took);
            }
        }
        tell(&format!("clone round {round} of {ROUNDS} done"));
    }
    // As somebody has it who fetched 1,000 commits ago.
    let back = 1_000.min(commits / 2);
    git(&source, &["branch", "-f", "old", &format!("main~{back}")])?;
    let from = format!("file://{}", source.display());
    let single = [
        "clone",
        "-q",
        "--bare",
        "--single-branch",
        "--no-tags",
        "--branch",
        "old",
    ];
    git(dir.path(), &[&single[..], &[from.as_str(), "old.git"]].concat())?;
    let old = dir.path().join("old.git");
    let mut fetched = Times::default();
    for round in 0..=ROUNDS {
        let mut turns = [(true, &our_url), (false, &baseline_url)];
        turns.rotate_left(round % 2);
        for (ours, url) in turns {
            fetched.add(round, ours, fetch(dir.path(), &old, &[], url)?);
        }
    }
    let (over_ssh, ssh_goals) = git_ssh::measure(dir.path(), &source, &old, &platform).await?;
    platform.stop();

    let push_ratio = median(&push_ours) / median(&push_checked);
    let push_plain_ratio = median(&push_ours) / median(&push_plain);
    let clone_ratio = median(&clone_ours) / median(&clone_baseline);
    let mut text = format!(
        "## Clone, fetch and push\n\n`bench git`: {commits} commits over {TREE} files, {in_pack} objects, {:.1} MiB packed, made by \
         `git fast-import` from a fixed seed. {ROUNDS} rounds after one to warm up, the sides in turn, each push into an \
         empty repository. Commands: `git push -q URL main --tags`, `git clone -q --bare URL`. The baseline is \
         `git http-backend` by fcgiwrap behind nginx (request and response buffering off), once with \
         `receive.fsckObjects`, which Bascule always has on, and once without.\n\n\
         | | Median (s) | All (s) |\n|---|---|---|\n",
        kib / 1024.0
    );
    for (name, times) in [
        ("push, bascule", &push_ours),
        ("push, http-backend, objects checked", &push_checked),
        ("push, http-backend, objects not checked", &push_plain),
        ("clone, bascule", &clone_ours),
        ("clone, http-backend", &clone_baseline),
    ] {
        let all: Vec<String> = times.iter().map(|time| format!("{time:.2}")).collect();
        let _ = writeln!(text, "| {name} | {:.2} | {} |", median(times), all.join(", "));
    }
    let _ = write!(
        text,
        "\nAgainst a baseline that checks no objects, a push takes {push_plain_ratio:.2} times as long.\n\n"
    );
    text.push_str(&table(
        &[("fetch of 1,000 commits", &fetched)],
        "bascule",
        "http-backend",
    ));
    text.push('\n');
    let fetch_ratio = fetched.ratio();
    let mut all_goals = vec![
        Goal {
            goal: "clone within 1.1 of `git http-backend` behind nginx".to_owned(),
            measured: format!("{clone_ratio:.2}"),
            met: clone_ratio <= 1.1,
        },
        Goal {
            goal: "push within 1.1 of `git http-backend` behind nginx, both checking objects".to_owned(),
            measured: format!("{push_ratio:.2}"),
            met: push_ratio <= 1.1,
        },
        Goal {
            goal: "fetch within 1.1 of `git http-backend` behind nginx".to_owned(),
            measured: format!("{fetch_ratio:.2}"),
            met: fetch_ratio <= 1.1,
        },
    ];
    all_goals.extend(ssh_goals);
    text.push_str(&goals(&all_goals));
    text.push_str(&over_ssh);
    Ok(text)
}

fn count(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.and_then(|value| value.parse().ok()).unwrap_or_default()
}
