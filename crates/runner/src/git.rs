//! Gets the sources with stock git, outside the sandbox and with nothing of the job's in its environment.

use crate::{stop::Stop, trace::Trace};
use bascule_client::Retry;
use bascule_core::{Problem, Result};
use bascule_wire::runner::{GitInfo, RefType};
use base64::Engine;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::process::Command;
use url::Url;

/// How often a fetch is tried; long enough to outlast a restart of the server.
const ATTEMPTS: u32 = 8;
/// Code of the problem that passes by itself.
const AWAY: &str = "git_server_away";
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

/// Checks out the job's commit into `dir`. The credentials go to git through its environment, so they are in
/// no process list and stay behind in no file.
pub(crate) async fn checkout(
    git: &GitInfo,
    dir: &Path,
    home: &Path,
    protocols: &str,
    trace: &Trace,
    stop: &Stop,
) -> Result<()> {
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
        dir,
        home,
        protocols,
        url: url.clone(),
        header,
    };

    let format = if git.repo_object_format == "sha256" {
        "sha256"
    } else {
        "sha1"
    };
    runner
        .run(
            &[
                "init",
                "--quiet",
                "--template=",
                &format!("--object-format={format}"),
            ],
            trace,
        )
        .await?;
    runner
        .run(&["remote", "add", "origin", url.as_str()], trace)
        .await?;
    if git.depth > 0 {
        trace.line(&format!("Fetching with depth {} …", git.depth));
    } else {
        trace.line("Fetching the whole history …");
    }
    let depth = format!("--depth={}", git.depth);
    let mut fetch = vec!["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
    if git.depth > 0 {
        fetch.push(&depth);
    }
    fetch.extend(["--", "origin"]);
    fetch.extend(refspecs.iter().map(String::as_str));
    let retry = Retry {
        attempts: ATTEMPTS,
        first: Duration::from_millis(300),
        most: Duration::from_secs(8),
    };
    let mut attempt = 0;
    loop {
        match runner.run(&fetch, trace).await {
            Ok(()) => break,
            Err(problem) if attempt + 1 >= ATTEMPTS || problem.code != AWAY => return Err(problem),
            Err(_) => {
                let pause = retry.pause(attempt);
                attempt += 1;
                trace.warn(&format!(
                    "Fetching failed; trying again ({attempt} of {}).",
                    ATTEMPTS - 1
                ));
                tokio::time::sleep(pause).await;
            }
        }
        if stop.reason().is_some() {
            break;
        }
    }
    if runner
        .run(&["cat-file", "-e", &format!("{}^{{commit}}", git.sha)], trace)
        .await
        .is_err()
    {
        // The branch has moved on, further than the depth goes back.
        trace.line("The commit is not among what was fetched; asking for it by its number …");
        let mut fetch = vec!["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
        if git.depth > 0 {
            fetch.push(&depth);
        }
        fetch.extend(["--", "origin", &git.sha]);
        runner.run(&fetch, trace).await?;
    }
    let short = git.sha.get(..8).unwrap_or(&git.sha);
    trace.line(&format!(
        "Checking out {short} as detached HEAD (ref is {}) …",
        git.reference
    ));
    runner
        .run(&["checkout", "--quiet", "--force", "--detach", &git.sha], trace)
        .await
}

/// Paths that git tracks, NUL separated. To be asked before the job could change git's configuration.
pub(crate) async fn tracked(dir: &Path, home: &Path) -> Result<Vec<String>> {
    let url = Url::parse("file:///").map_err(|e| Problem::internal().why(e.to_string()))?;
    let git = Git {
        dir,
        home,
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
    dir: &'a Path,
    home: &'a Path,
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
        ];
        if let Some(header) = &self.header {
            settings.push((format!("http.{}.extraHeader", self.url), header));
        }
        let mut command = Command::new("git");
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
            if let Some(value) = std::env::var_os(name) {
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

    async fn run(&self, args: &[&str], trace: &Trace) -> Result<()> {
        let out = self.command(args).output().await.map_err(|e| no_git(&e))?;
        let said = String::from_utf8_lossy(&out.stderr);
        if args.first() != Some(&"cat-file") {
            for line in said.lines().take(SHOWN_LINES) {
                trace.line(line);
            }
        }
        if out.status.success() {
            return Ok(());
        }
        let what = args.first().copied().unwrap_or_default();
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

fn no_git(error: &std::io::Error) -> Problem {
    Problem::new(503, "git_missing", "git cannot be run on the runner's machine.")
        .why(error.to_string())
        .next("Install it: `apt install git`.")
}
