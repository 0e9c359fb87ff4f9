//! The first thing that an agent does: find out which version is to run, and become it.

use super::state::{Installed, State};
use crate::artifacts::digest_of;
use bascule_core::Problem;
use rustix::process::{Pid, Signal};
use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Set by the version before, when it became this one: the process that it was.
pub(crate) const STAGE: &str = "BASCULE_AGENT_STAGE";
/// Set with it: the program that was executed. It may have executed another in turn.
const PROGRAM: &str = "BASCULE_AGENT_PROGRAM";
/// Set for the process that watches a trial from outside: the process to watch, and the time that it has.
pub(crate) const WATCH: &str = "BASCULE_AGENT_WATCH";

/// Time beyond its own that a version has before it is ended from outside.
const BEYOND: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Time in which whoever looks after services may start the agent again by itself.
const OTHERS_FIRST: Duration = Duration::from_secs(2);

/// What runs.
#[derive(Clone, Debug)]
pub struct Booted {
    pub(crate) running: Option<Installed>,
    /// Whether it has yet to prove itself.
    pub(crate) trial: bool,
}

impl Booted {
    /// The version that runs, where it was installed as a release.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.running.as_ref().map(|running| running.version.as_str())
    }
}

/// Becomes the version that is to run, if that is another. `None` if there is nothing to do any more.
///
/// # Errors
/// The data directory cannot be used.
pub async fn boot(data: &Path) -> Result<Option<Booted>, Problem> {
    let unusable = |error: io::Error| {
        Problem::new(
            500,
            "data_dir",
            format!("The agent cannot use {}.", data.display()),
        )
        .why(format!("{error}."))
        .next("Check that it exists and is writable, or choose another with --data.")
    };
    fs::create_dir_all(data).map_err(unusable)?;
    if let Ok(watched) = std::env::var(WATCH) {
        return watch(data, &watched).await.map_err(unusable);
    }
    let me = std::env::current_exe().map_err(unusable)?;
    let mut state = State::load(data);
    if std::env::var(STAGE).is_ok_and(|stage| Some(stage) == stage_of_this()) {
        let me = std::env::var_os(PROGRAM).map_or(me, PathBuf::from);
        let trial = state.trial.as_ref().filter(|trial| trial.what.program == me);
        let is_trial = trial.is_some();
        let running = trial.map(|trial| trial.what.clone()).or(state.good);
        return Ok(Some(Booted {
            running: running.filter(|running| running.program == me),
            trial: is_trial,
        }));
    }
    // A start from nothing.
    let versions = data.join("versions");
    if !me.starts_with(&versions) && state.base != me {
        state.base.clone_from(&me);
        state.save(data).map_err(unusable)?;
    }
    if state.trial.is_some() {
        state.fail("It ended before it had proven itself healthy; the version before it runs again.");
        state.save(data).map_err(unusable)?;
    }
    if let Some(good) = state.good.clone().filter(|good| good.program != me) {
        let why = match digest_of(&good.program) {
            Ok(found) if found == good.digest => become_now(&good.program).to_string(),
            Ok(_) => "the file was changed".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            version = good.version,
            why,
            "the installed version cannot be run; going on with this one"
        );
    }
    let running = state.good.filter(|good| good.program == me);
    Ok(Some(Booted {
        running,
        trial: false,
    }))
}

/// Number and start of this process, which stay the same when it becomes another program.
pub(crate) fn stage_of_this() -> Option<String> {
    stage_of(std::process::id())
}

fn stage_of(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything, so search from the end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| format!("{process}-{start}"))
}

/// A program called as this one was.
pub(crate) fn as_called(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env_remove(WATCH);
    command
}

/// The same, as a start in place.
pub(crate) fn in_place(program: &Path) -> Command {
    let mut command = as_called(program);
    command
        .env(STAGE, stage_of_this().unwrap_or_default())
        .env(PROGRAM, program);
    command
}

fn become_now(program: &Path) -> io::Error {
    in_place(program).exec()
}

/// Lets the version that is left look from outside at the one that comes, for as long as that is on trial. It is no
/// child of this process, whose children the next version would have to wait for.
pub(crate) fn post_watch(within: Duration) -> io::Result<()> {
    let me = std::env::current_exe()?;
    let stage = stage_of_this().ok_or(io::ErrorKind::NotFound)?;
    let mut words: Vec<std::ffi::OsString> = vec![me.into_os_string()];
    words.extend(std::env::args_os().skip(1));
    let status = Command::new("/bin/sh")
        .args(["-c", "\"$@\" </dev/null &", "sh"])
        .args(words)
        .env(WATCH, format!("{stage}-{}", within.as_millis()))
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("the shell failed"))
    }
}

/// Waits until the trial is over. Where the version on trial ended or hangs, starts the one before it.
async fn watch(data: &Path, watched: &str) -> io::Result<Option<Booted>> {
    let bad = || io::Error::from(io::ErrorKind::InvalidInput);
    let (stage, within) = watched.rsplit_once('-').ok_or_else(bad)?;
    let process: u32 = stage
        .split('-')
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or_else(bad)?;
    let most = Duration::from_millis(within.parse().map_err(|_| bad())?).saturating_add(BEYOND);
    let begun = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        if State::load(data).trial.is_none() {
            return Ok(None);
        }
        if stage_of(process).as_deref() != Some(stage) {
            break;
        }
        if begun.elapsed() > most {
            tracing::error!("the version on trial hangs and is ended");
            if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                rustix::process::kill_process(pid, Signal::KILL)?;
            }
            break;
        }
    }
    let until = Instant::now() + OTHERS_FIRST;
    while Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        if State::load(data).trial.is_none() {
            return Ok(None);
        }
    }
    let held = File::options()
        .create(true)
        .append(true)
        .open(data.join("agent.lock"))?
        .try_lock()
        .is_err();
    if held {
        return Ok(None);
    }
    Err(as_called(&std::env::current_exe()?).env_remove(STAGE).exec())
}

/// Where a version is unpacked.
pub(crate) fn folder_of(data: &Path, artifact: &bascule_core::Digest) -> PathBuf {
    data.join("versions").join(artifact.hex())
}
