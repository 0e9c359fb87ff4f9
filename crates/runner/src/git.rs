//! Gets the sources with stock git, outside the sandbox and with nothing of the job's in its environment.

use crate::{
    ready::{self, Ready},
    stop::Stop,
    trace::Trace,
    way_out::{Allowed, WayOut},
};
use bascule_client::Retry;
use bascule_core::{Problem, Result};
use bascule_wire::runner::{GitInfo, RefType};
use base64::Engine;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::LazyLock,
    time::Duration,
};
use tokio::process::{Child, Command};
use url::Url;

/// How often a fetch is tried; long enough to outlast a restart of the server.
const ATTEMPTS: u32 = 8;
/// Code of the problem that passes by itself.
const AWAY: &str = "git_server_away";
/// What git says when it gets no more memory.
const MEMORY_WORDS: &[&str] = &["Out of memory", "out of memory", "mmap failed"];
/// What git says when the server cannot be reached or breaks off.
const AWAY_WORDS: &[&str] = &[
    "Could not resolve",
    "Failed to connect",
    "Couldn't connect",
    "Connection",
    "Empty reply",
    "returned error: 429",
    "returned error: 50",
    "early EOF",
    "hung up",
    "RPC failed",
    "timed out",
];
/// Most lines of git's own words shown.
const SHOWN_LINES: usize = 40;

/// What a job says of its sources.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// `GIT_CHECKOUT`: whether files are written.
    pub(crate) checkout: bool,
    /// `GIT_FETCH_EXTRA_FLAGS`, as far as they are harmless.
    pub(crate) flags: Vec<String>,
    /// `GIT_SUBMODULE_STRATEGY`.
    pub(crate) submodules: Submodules,
    /// `GIT_SUBMODULE_DEPTH`; 0 is all.
    pub(crate) submodule_depth: i64,
    /// `GIT_SUBMODULE_PATHS`: these alone.
    pub(crate) submodule_paths: Vec<String>,
}

/// Which submodules are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Submodules {
    /// None.
    #[default]
    None,
    /// The repository's own.
    Normal,
    /// Those of submodules too.
    Recursive,
}

/// Flags that a job may add to a fetch. Others could run programs here, outside of the sandbox.
const FLAGS: &[&str] = &[
    "--tags",
    "--no-tags",
    "--prune",
    "--prune-tags",
    "--force",
    "--progress",
    "--verbose",
    "--quiet",
];

impl Wishes {
    /// Reads a job's variables.
    pub(crate) fn read(vars: &crate::vars::Vars, trace: &Trace) -> Self {
        let words = |name: &str| -> Vec<String> {
            let text = vars.get(name).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        };
        let flags = words("GIT_FETCH_EXTRA_FLAGS");
        let (flags, others): (Vec<_>, Vec<_>) =
            flags.into_iter().partition(|flag| FLAGS.contains(&flag.as_str()));
        if !others.is_empty() {
            trace.warn(&format!(
                "GIT_FETCH_EXTRA_FLAGS: left out {}. This runner takes {}.",
                others.join(" "),
                FLAGS.join(" ")
            ));
        }
        let strategy = vars.get("GIT_SUBMODULE_STRATEGY").unwrap_or_default();
        Self {
            checkout: !matches!(vars.get("GIT_CHECKOUT").as_deref(), Some("false" | "0")),
            flags,
            submodules: match strategy.as_str() {
                "normal" => Submodules::Normal,
                "recursive" => Submodules::Recursive,
                _ => Submodules::None,
            },
            submodule_depth: vars
                .get("GIT_SUBMODULE_DEPTH")
                .and_then(|depth| depth.trim().parse().ok())
                .unwrap_or(0),
            submodule_paths: words("GIT_SUBMODULE_PATHS"),
        }
    }
}

/// Where sources come from and go to.
pub(crate) struct Checkout<'a> {
    pub(crate) git: &'a GitInfo,
    pub(crate) dir: &'a Path,
    pub(crate) home: &'a Path,
    /// Memory that git may take, in bytes: a commit of a few kilobytes may hold more paths than any machine.
    pub(crate) memory: u64,
    pub(crate) protocols: &'a str,
    /// Where all jobs of the project on this machine keep what they fetched; none fetches from the server each time.
    pub(crate) cache: Option<PathBuf>,
    pub(crate) wishes: Wishes,
    /// Where submodules may come from; anywhere if it is not said.
    pub(crate) beyond: Option<Allowed>,
    pub(crate) trace: &'a Trace,
    pub(crate) stop: &'a Stop,
}

impl Checkout<'_> {
    /// Checks out the job's commit. The credentials go to git through its environment, so they are in no process list and
    /// stay behind in no file.
    pub(crate) async fn run(self) -> Result<()> {
        let (git, trace) = (self.git, self.trace);
        let bad =
            |what: &str| Problem::invalid("bad_job", format!("The job's sources cannot be fetched: {what}."));
        if git.sha.len() < 40 || !git.sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("its commit is not a whole commit number"));
        }
        let refspecs = refspecs(git);
        if refspecs
            .iter()
            .any(|r| r.starts_with('-') || r.contains(char::is_whitespace))
        {
            return Err(bad("a refspec is none"));
        }
        let mut url = Url::parse(&git.repo_url).map_err(|e| bad(&format!("the address is none ({e})")))?;
        let header = authorization(&url);
        let _ = url.set_password(None);
        let _ = url.set_username("");
        let runner = Git {
            proxy: None,
            dir: self.dir,
            home: self.home,
            memory: self.memory,
            protocols: self.protocols,
            url: url.clone(),
            header,
        };
        let format = if git.repo_object_format == "sha256" {
            "sha256"
        } else {
            "sha1"
        };
        let format = format!("--object-format={format}");
        if git.depth > 0 {
            trace.line(&format!("Fetching with depth {} …", git.depth));
        } else {
            trace.line("Fetching the whole history …");
        }
        if !self.out_of_cache(&runner, &format, &refspecs).await? {
            runner.begin(&format, trace).await?;
            self.fetch(&runner, "origin", &refspecs, git.depth).await?;
            if !runner.has(&git.sha).await {
                // The branch has moved on, further than the depth goes back.
                trace.line("The commit is not among what was fetched; asking for it by its number …");
                self.fetch(&runner, "origin", std::slice::from_ref(&git.sha), git.depth)
                    .await?;
            }
        }
        if !self.wishes.checkout {
            trace.line("Writing no files (GIT_CHECKOUT is false)");
            return runner
                .run(&["update-ref", "--no-deref", "HEAD", &git.sha], trace)
                .await;
        }
        let short = git.sha.get(..8).unwrap_or(&git.sha);
        trace.line(&format!(
            "Checking out {short} as detached HEAD (ref is {}) …",
            git.reference
        ));
        runner
            .run(&["checkout", "--quiet", "--force", "--detach", &git.sha], trace)
            .await?;
        self.submodules(&runner).await
    }

    /// Takes the repository from what this machine keeps of the project; `false` if it keeps nothing or cannot.
    async fn out_of_cache(&self, runner: &Git<'_>, format: &str, refspecs: &[String]) -> Result<bool> {
        let Some(cache) = &self.cache else {
            return Ok(false);
        };
        // What a job asks for beyond its refs is not kept.
        if self.wishes.flags.iter().any(|flag| flag == "--tags") {
            return Ok(false);
        }
        let depth = self.git.depth.to_string();
        let mut wish = vec![runner.url.as_str(), &self.git.sha, &depth, format];
        wish.extend(refspecs.iter().map(String::as_str));
        let ready = Ready::of(cache, &wish);
        let here = self.dir.join(".git");
        let taken = match ready.copy(&here).await {
            Ok(true) => return Ok(true),
            Ok(false) => self.through_cache(runner, cache, &ready, format, refspecs).await,
            Err(error) => Err(unusable(&error)),
        };
        match taken {
            Ok(()) => Ok(true),
            Err(problem) if self.stop.reason().is_some() => Err(problem),
            Err(problem) => {
                tracing::warn!(%problem, cache = %cache.display(), "an object cache cannot be used");
                self.trace
                    .line("The runner's object cache cannot be used; fetching from the server …");
                match tokio::fs::remove_dir_all(&here).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unusable(&error)),
                    _ => Ok(false),
                }
            }
        }
    }

    /// Fetches into the project's cache what is not there yet, and from there into the job's repository. Nothing of the
    /// cache is shared with the job: neither by links nor by reference, for a job may write what is its own.
    async fn through_cache(
        &self,
        runner: &Git<'_>,
        cache: &Path,
        ready: &Ready,
        format: &str,
        refspecs: &[String],
    ) -> Result<()> {
        let held = lock(cache).await.map_err(|e| unusable(&e))?;
        let own = self.dir.join(".git");
        // The job that held the lock before may have wanted the same.
        if ready.copy_locked(&own).await.map_err(|e| unusable(&e))? {
            return Ok(());
        }
        runner.begin(format, self.trace).await?;
        let kept = Git {
            proxy: None,
            dir: cache,
            home: self.home,
            memory: self.memory,
            protocols: self.protocols,
            url: runner.url.clone(),
            header: runner.header.clone(),
        };
        if !cache.join("HEAD").exists() {
            kept.run(&["init", "--quiet", "--bare", "--template=", format], self.trace)
                .await?;
        }
        if !kept.has(&self.git.sha).await {
            let wanted: Vec<String> = refspecs
                .iter()
                .map(|refspec| format!("+{}:{}", parts(refspec).0, kept_as(refspec)))
                .collect();
            self.fetch(&kept, kept.url.as_str(), &wanted, 0).await?;
            if !kept.has(&self.git.sha).await {
                // The branch has moved on meanwhile, or was forced elsewhere.
                let wanted = [format!("+{}:refs/kept/other", self.git.sha)];
                self.fetch(&kept, kept.url.as_str(), &wanted, 0).await?;
            }
        }
        let mut local = vec![self.git.sha.clone()];
        for refspec in refspecs {
            let (from, to) = parts(refspec);
            let from = if from.len() >= 40 && from.bytes().all(|b| b.is_ascii_hexdigit()) {
                from.to_owned()
            } else if kept.has(&kept_as(refspec)).await {
                kept_as(refspec)
            } else {
                self.git.sha.clone()
            };
            if !to.is_empty() {
                local.push(format!("+{from}:{to}"));
            }
        }
        let here = Git {
            proxy: None,
            dir: self.dir,
            home: self.home,
            memory: self.memory,
            protocols: "file",
            url: runner.url.clone(),
            header: None,
        };
        let from = format!("file://{}", cache.display());
        let fetched = self.fetch(&here, &from, &local, self.git.depth).await;
        if fetched.is_ok()
            && let Err(error) = ready.keep(&own).await
        {
            tracing::debug!(%error, "a repository cannot be kept for the pipeline's other jobs");
        }
        drop(held);
        if fetched.is_err() && self.stop.reason().is_none() {
            // Broken, such as by a full disk: the next job begins it anew.
            let broken = cache.to_owned();
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(broken)).await;
            tracing::debug!(?removed, "removed an object cache that cannot be read");
        }
        fetched
    }

    async fn fetch(&self, runner: &Git<'_>, from: &str, refspecs: &[String], depth: i64) -> Result<()> {
        let depth_flag = format!("--depth={depth}");
        let mut fetch = vec![
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--update-shallow",
        ];
        if depth > 0 {
            fetch.push(&depth_flag);
        }
        if from == "origin" {
            fetch.extend(self.wishes.flags.iter().map(String::as_str));
        }
        fetch.extend(["--", from]);
        fetch.extend(refspecs.iter().map(String::as_str));
        let retry = Retry {
            attempts: ATTEMPTS,
            first: Duration::from_millis(300),
            most: Duration::from_secs(8),
        };
        let mut attempt = 0;
        loop {
            match runner.run(&fetch, self.trace).await {
                Ok(()) => return Ok(()),
                Err(problem) if attempt + 1 >= ATTEMPTS || problem.code != AWAY => return Err(problem),
                Err(problem) if self.stop.reason().is_some() => return Err(problem),
                Err(_) => {
                    let pause = retry.pause(attempt);
                    attempt += 1;
                    self.trace.warn(&format!(
                        "Fetching failed; trying again ({attempt} of {}).",
                        ATTEMPTS - 1
                    ));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn submodules(&self, runner: &Git<'_>) -> Result<()> {
        if self.wishes.submodules == Submodules::None {
            return Ok(());
        }
        let recursive = self.wishes.submodules == Submodules::Recursive;
        self.trace.line(if recursive {
            "Updating submodules, theirs too …"
        } else {
            "Updating submodules …"
        });
        let depth = format!("--depth={}", self.wishes.submodule_depth);
        let mut update = vec!["submodule", "--quiet", "update", "--init"];
        if recursive {
            update.push("--recursive");
        }
        if self.wishes.submodule_depth > 0 {
            update.push(&depth);
        }
        update.push("--");
        update.extend(self.wishes.submodule_paths.iter().map(String::as_str));
        // Those of the same server are opened by the same token.
        let mut all = runner.url.clone();
        all.set_path("/");
        // `.gitmodules` is the commit's: git must not take what it names from where the job itself may not go.
        let way = match &self.beyond {
            Some(allowed) => Some(
                WayOut::beside(allowed.clone())
                    .await
                    .map_err(|error| Problem::internal().why(error.to_string()))?,
            ),
            None => None,
        };
        let wider = Git {
            proxy: way.as_ref().map(|(_, address)| format!("http://{address}")),
            dir: self.dir,
            home: self.home,
            memory: self.memory,
            protocols: self.protocols,
            url: all,
            header: runner.header.clone(),
        };
        wider.run(&update, self.trace).await
    }
}

/// Source and destination of a refspec.
fn parts(refspec: &str) -> (&str, &str) {
    let plain = refspec.trim_start_matches('+');
    plain.split_once(':').unwrap_or((plain, ""))
}

/// The name that the cache keeps a refspec's commit under: one for each branch and tag, so that they do not pile up.
fn kept_as(refspec: &str) -> String {
    let (from, to) = parts(refspec);
    let named = if to.is_empty() || to.starts_with("refs/pipelines/") {
        "other"
    } else {
        to
    };
    let named = if named == "other" && !from.bytes().all(|b| b.is_ascii_hexdigit()) {
        from
    } else {
        named
    };
    let plain: String = named
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("refs/kept/{plain}")
}

/// Removes the object caches used longest ago until all fit.
pub(crate) fn make_room(dir: &Path, most_bytes: u64) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    let mut all = Vec::new();
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        let used = std::fs::metadata(path.with_extension("lock")).and_then(|meta| meta.modified());
        let bytes: u64 = crate::glob::walk(&path)
            .unwrap_or_default()
            .iter()
            .filter_map(|file| std::fs::symlink_metadata(path.join(file)).ok())
            .map(|meta| meta.len())
            .sum();
        all.push((used.ok(), bytes, path));
    }
    all.sort();
    let mut total: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in all {
        if total <= most_bytes {
            return;
        }
        let lock = std::fs::File::options()
            .write(true)
            .open(path.with_extension("lock"));
        // One that a job uses stays.
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) && std::fs::remove_dir_all(&path).is_ok() {
            total = total.saturating_sub(bytes);
        }
    }
}

/// Waits for the lock of a project's cache; it ends with the file.
async fn lock(cache: &Path) -> std::io::Result<std::fs::File> {
    let cache = cache.to_owned();
    let locked = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&cache)?;
        let file = ready::lock_file(&cache)?;
        file.lock()?;
        // For whoever makes room: this one was used.
        std::io::Write::write_all(&mut &file, b"\n")?;
        Ok(file)
    });
    locked.await.map_err(std::io::Error::other)?
}

/// Paths that git tracks, NUL separated. To be asked before the job could change git's configuration.
pub(crate) async fn tracked(dir: &Path, home: &Path) -> Result<Vec<String>> {
    let url = Url::parse("file:///").map_err(|e| Problem::internal().why(e.to_string()))?;
    let git = Git {
        proxy: None,
        dir,
        home,
        memory: u64::MAX,
        protocols: "",
        url,
        header: None,
    };
    let out = git
        .command(&["ls-files", "-z"])
        .output()
        .await
        .map_err(|e| no_git(&e))?;
    Ok(String::from_utf8_lossy(&out.stdout)
        .split('\0')
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect())
}

fn refspecs(git: &GitInfo) -> Vec<String> {
    if !git.refspecs.is_empty() {
        return git.refspecs.clone();
    }
    let reference = &git.reference;
    match git.ref_type {
        RefType::Tag => vec![format!("+refs/tags/{reference}:refs/tags/{reference}")],
        RefType::Branch => vec![format!("+refs/heads/{reference}:refs/remotes/origin/{reference}")],
    }
}

/// User and password of an address as a header.
fn authorization(url: &Url) -> Option<String> {
    let password = url.password()?;
    let plain = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let pair = format!("{}:{}", plain(url.username()), plain(password));
    Some(format!(
        "Authorization: Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    ))
}

struct Git<'a> {
    /// The proxy through which alone it goes.
    proxy: Option<String>,
    dir: &'a Path,
    home: &'a Path,
    memory: u64,
    protocols: &'a str,
    url: Url,
    header: Option<String>,
}

impl Git<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut settings = vec![
            ("core.hooksPath".to_owned(), "/dev/null"),
            ("core.fsmonitor".to_owned(), "false"),
            ("gc.auto".to_owned(), "0"),
            ("maintenance.auto".to_owned(), "false"),
            ("http.followRedirects".to_owned(), "false"),
            ("submodule.recurse".to_owned(), "false"),
            ("advice.detachedHead".to_owned(), "false"),
            ("init.defaultBranch".to_owned(), "main"),
            // All of it is made anew when the machine fails; and a pack is copied at once, many small files are not.
            ("core.fsync".to_owned(), "none"),
            ("fetch.unpackLimit".to_owned(), "1"),
        ];
        if let Some(proxy) = &self.proxy {
            settings.push(("http.proxy".to_owned(), proxy));
        }
        if let Some(header) = &self.header {
            settings.push((format!("http.{}.extraHeader", self.url), header));
        }
        // By its path, for which nothing of this process is copied: see `which` in the workspace's manifest.
        static GIT: LazyLock<PathBuf> =
            LazyLock::new(|| which::which("git").unwrap_or_else(|_| PathBuf::from("git")));
        let mut command = Command::new(&*GIT);
        command.env_clear();
        for name in [
            "PATH",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "NO_PROXY",
            "no_proxy",
            "HTTPS_PROXY",
            "https_proxy",
        ] {
            // No exceptions and no other way where there is to be one alone.
            if let Some(value) = std::env::var_os(name)
                && (self.proxy.is_none() || !name.to_ascii_lowercase().ends_with("_proxy"))
            {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.home)
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_ALLOW_PROTOCOL", self.protocols)
            .env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (n, (key, value)) in settings.iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{n}"), key)
                .env(format!("GIT_CONFIG_VALUE_{n}"), value);
        }
        command
            .arg("-C")
            .arg(self.dir)
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Makes the job's empty repository.
    async fn begin(&self, format: &str, trace: &Trace) -> Result<()> {
        self.run(&["init", "--quiet", "--template=", format], trace)
            .await?;
        self.run(&["remote", "add", "origin", self.url.as_str()], trace)
            .await
    }

    /// Whether a commit is there.
    async fn has(&self, commit: &str) -> bool {
        let args = ["cat-file", "-e", &format!("{commit}^{{commit}}")];
        let output = self.command(&args).output().await;
        output.is_ok_and(|output| output.status.success())
    }

    async fn run(&self, args: &[&str], trace: &Trace) -> Result<()> {
        let mut command = self.command(args);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A group of its own, so that git's helpers end with it.
            .process_group(0);
        let child = command.spawn().map_err(|e| no_git(&e))?;
        let group = Group::of(&child);
        group.bound(self.memory);
        let out = child.wait_with_output().await.map_err(|e| no_git(&e))?;
        group.ended();
        let said = String::from_utf8_lossy(&out.stderr);
        for line in said.lines().take(SHOWN_LINES) {
            trace.line(line);
        }
        if out.status.success() {
            return Ok(());
        }
        let what = args.first().copied().unwrap_or_default();
        if MEMORY_WORDS.iter().any(|w| said.contains(w)) {
            return Err(
                Problem::too_large(format!("`git {what}` ran out of memory.")).why(format!(
                    "It may take {} MiB, as much as the job; the commit holds more files than that is for.",
                    self.memory >> 20
                )),
            );
        }
        let code = if AWAY_WORDS.iter().any(|w| said.contains(w)) {
            AWAY
        } else {
            "git_failed"
        };
        Err(Problem::new(502, code, format!("`git {what}` failed: {}.", out.status))
            .why("Without its sources the job cannot run.")
            .next("See the lines above; check that the commit still exists and that the server can be reached."))
    }
}

/// A git that runs, with its helpers. Dropping it ends them.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    /// Bounds the memory of each process of it. Files that are only looked into do not count (`RLIMIT_DATA`).
    fn bound(&self, bytes: u64) {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        // Without a process it would be this one's own; and one that has ended already needs none.
        if self.0.is_some() {
            let _ = rustix::process::prlimit(self.0, Resource::Data, limit);
        }
    }

    /// It ended by itself.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn unusable(error: &std::io::Error) -> Problem {
    Problem::new(503, "no_git_cache", "The object cache cannot be used.").why(error.to_string())
}

fn no_git(error: &std::io::Error) -> Problem {
    Problem::new(503, "git_missing", "git cannot be run on the runner's machine.")
        .why(error.to_string())
        .next("Install it: `apt install git`.")
}
