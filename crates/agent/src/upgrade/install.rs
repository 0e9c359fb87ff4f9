//! The life of an instance whose driver is `agent`: fetched, tried, become.

use super::{
    Upgrade, boot,
    state::{Installed, State, Trial},
};
use crate::{
    Machine,
    artifacts::{Missing, digest_of},
    backoff::Backoff,
    handover,
    instance::{in_words, wipe},
    plan::Told,
    unpack::{self, Failure},
};
use bascule_core::InstanceId;
use bascule_wire::agent::{DesiredInstance, InstanceState};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{process::Command, sync::watch, time::sleep};

/// Time for a new program to say its version.
const SAY: Duration = Duration::from_secs(20);
/// Time for it to look at this machine and to reach the hub.
const CHECK: Duration = Duration::from_secs(60);
/// Most of a program's words in a message, in bytes.
const WORDS: usize = 1_000;

/// Lives until told to end. What it installed runs on; only another version takes its place.
pub(crate) async fn live(
    machine: Arc<Machine>,
    spec: DesiredInstance,
    mut told: watch::Receiver<Told>,
) -> InstanceId {
    let id = spec.instance;
    machine.board.put(&spec, InstanceState::Fetching, "");
    let ready = tokio::select! {
        ready = ready(&machine, &spec) => Some(ready),
        _ = told.wait_for(|told| *told != Told::Run) => None,
    };
    // From here on it is not given up half way.
    let outcome = match ready {
        Some(Ok(Some(ready))) => become_it(&machine, &spec, ready).await,
        Some(Ok(None)) => Ok(()),
        Some(Err(reason)) => Err(reason),
        None => Ok(()),
    };
    match outcome {
        Err(reason) => {
            machine.board.say(id, InstanceState::Failed, &reason);
            drop(told.wait_for(|told| *told == Told::Stop).await);
        }
        Ok(()) => {
            if *told.borrow() == Told::Run {
                let now = machine.clock.now();
                machine.board.update(id, |report| {
                    report.pid = Some(std::process::id());
                    report.started_at = Some(now);
                });
                machine.board.say(id, InstanceState::Healthy, "");
                drop(told.wait_for(|told| *told != Told::Run).await);
            }
            machine.board.say(id, InstanceState::Stopped, "");
            drop(told.wait_for(|told| *told == Told::Stop).await);
        }
    }
    if let Some(upgrade) = &machine.upgrade {
        upgrade.let_go(id);
    }
    id
}

/// Makes a version ready to be become; `None` where it runs already and has proven itself.
async fn ready(machine: &Machine, spec: &DesiredInstance) -> Result<Option<Installed>, String> {
    let Some(upgrade) = &machine.upgrade else {
        return Err("This agent is part of another program and does not install itself.".to_owned());
    };
    let failed = State::load(&upgrade.data).failed;
    if let Some(failed) = failed.filter(|failed| failed.instance == spec.instance) {
        return Err(failed.reason);
    }
    if let Some(other) = upgrade.claim(spec.instance, &spec.artifact.digest) {
        return Err(format!(
            "The instance {other} asks this agent for another version, and a machine has one agent."
        ));
    }
    if !upgrade.is_proven() {
        machine
            .board
            .say(spec.instance, InstanceState::Starting, "It is to prove itself.");
        upgrade.until_proven().await;
    }
    if upgrade
        .running
        .as_ref()
        .is_some_and(|running| running.artifact == spec.artifact.digest)
    {
        return Ok(None);
    }
    let artifact = fetched(machine, spec).await?;
    let installed = unpacked(upgrade, spec, artifact).await?;
    machine
        .board
        .say(spec.instance, InstanceState::Starting, "It is tried.");
    tried(&installed.program).await?;
    Ok(Some(installed))
}

async fn fetched(machine: &Machine, spec: &DesiredInstance) -> Result<PathBuf, String> {
    let mut away = Backoff::new(Duration::from_millis(300), Duration::from_secs(30));
    loop {
        match machine.artifacts.get(&spec.artifact).await {
            Ok(artifact) => return Ok(artifact),
            Err(Missing::Forever(problem)) => return Err(in_words(&problem)),
            Err(Missing::ForNow(problem)) => {
                let why = format!("Trying again: {}", in_words(&problem));
                machine.board.say(spec.instance, InstanceState::Fetching, &why);
                sleep(away.pause()).await;
            }
        }
    }
}

async fn unpacked(upgrade: &Upgrade, spec: &DesiredInstance, artifact: PathBuf) -> Result<Installed, String> {
    let folder = boot::folder_of(&upgrade.data, &spec.artifact.digest);
    let (name, command) = (spec.artifact.file_name.clone(), spec.command.clone());
    let made = tokio::task::spawn_blocking(move || -> Result<(PathBuf, bascule_core::Digest), String> {
        let part = folder.with_extension("part");
        let io = |error: std::io::Error| format!("It cannot be put to {}: {error}.", folder.display());
        wipe(&part).map_err(io)?;
        fs::create_dir_all(&part).map_err(io)?;
        unpack::unpack(&artifact, &name, &part).map_err(|failure| match failure {
            Failure::Refused(why) => format!("The artifact cannot be unpacked: {why}."),
            Failure::Io(error) => io(error),
        })?;
        let inside = program_in(&part, &command)?;
        let program = part.join(&inside);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(io)?;
        fs::File::open(&program)
            .and_then(|file| file.sync_all())
            .map_err(io)?;
        let digest = digest_of(&program).map_err(io)?;
        wipe(&folder).map_err(io)?;
        fs::rename(&part, &folder).map_err(io)?;
        Ok((folder.join(inside), digest))
    });
    let (program, digest) = made.await.map_err(|error| error.to_string())??;
    Ok(Installed {
        artifact: spec.artifact.digest.clone(),
        program,
        digest,
        version: spec.version.clone(),
    })
}

/// The program in an unpacked artifact: the one that is named, else the only file, else `bascule`.
fn program_in(folder: &Path, named: &str) -> Result<PathBuf, String> {
    let files = || {
        let all = fs::read_dir(folder).into_iter().flatten().flatten();
        all.map(|entry| PathBuf::from(entry.file_name()))
            .collect::<Vec<_>>()
    };
    let program = match (named.trim().trim_start_matches("./"), files().as_slice()) {
        ("", [only]) => only.clone(),
        ("", _) => PathBuf::from("bascule"),
        (named, _) => PathBuf::from(named),
    };
    let inside = program
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let is_file = fs::symlink_metadata(folder.join(&program)).is_ok_and(|found| found.is_file());
    if inside && is_file {
        return Ok(program);
    }
    Err(format!(
        "The artifact holds no program `{}`; `command` in bascule.yaml names it.",
        program.display()
    ))
}

/// Whether a program runs here, is an agent, can take over from this one, and reaches the hub.
async fn tried(program: &Path) -> Result<(), String> {
    let mut say = Command::new(program);
    say.arg("--version");
    let version = said(say, SAY, "--version").await?;
    if !version.starts_with("bascule ") {
        return Err(format!("It says that it is `{}`, not bascule.", version.trim()));
    }
    let mut check = Command::new(program);
    check
        .args(std::env::args_os().skip(1))
        .args(["check", "--handover", &handover::FORMAT.to_string()]);
    said(check, CHECK, "agent check").await.map(drop)
}

/// What a program wrote, if it ended well in time.
async fn said(mut command: Command, within: Duration, what: &str) -> Result<String, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    command.env_remove(boot::STAGE).env_remove(boot::WATCH);
    let ended = tokio::time::timeout(within, command.output())
        .await
        .map_err(|_| format!("`{what}` of it did not end within {} s.", within.as_secs()))?;
    let output = ended.map_err(|error| format!("It cannot be run on this machine: {error}."))?;
    let text = |bytes: &[u8]| {
        let bytes = bytes.get(bytes.len().saturating_sub(WORDS)..).unwrap_or_default();
        String::from_utf8_lossy(bytes).trim().to_owned()
    };
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    Err(format!("`{what}` of it failed ({}): {err} {out}", output.status))
}

/// Becomes it. Comes back only where that failed, with the reason.
async fn become_it(machine: &Machine, spec: &DesiredInstance, installed: Installed) -> Result<(), String> {
    let Some(upgrade) = &machine.upgrade else {
        return Ok(());
    };
    let waits = "It waits until no task runs.";
    machine.board.say(spec.instance, InstanceState::Starting, waits);
    // A task would be lost with the version that began it.
    let _quiet = machine.tasks.write().await;
    machine
        .board
        .say(spec.instance, InstanceState::Starting, "It is to prove itself.");
    let program = installed.program.clone();
    let within_ms = spec.health.start_ms;
    let mut state = State::load(&upgrade.data);
    state.failed = None;
    state.trial = Some(Trial {
        what: installed,
        instance: spec.instance,
        within_ms,
    });
    let io = |error: std::io::Error| format!("The step to it cannot be written down: {error}.");
    state.save(&upgrade.data).map_err(io)?;
    tracing::info!(version = spec.version, "becoming another version");
    let error = match boot::post_watch(Duration::from_millis(within_ms)) {
        Ok(()) => handover::become_program(machine, &program).await,
        Err(error) => error,
    };
    let reason = format!("It cannot be become: {error}.");
    state.fail(&reason);
    state.save(&upgrade.data).map_err(io)?;
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_and_never_outside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("agent-1.1"), "x").unwrap();
        assert_eq!(program_in(root, "").unwrap(), Path::new("agent-1.1"));
        fs::create_dir(root.join("bin")).unwrap();
        fs::write(root.join("bin/bascule"), "x").unwrap();
        assert!(program_in(root, "").unwrap_err().contains("no program `bascule`"));
        assert_eq!(
            program_in(root, "./bin/bascule").unwrap(),
            Path::new("bin/bascule")
        );
        for bad in ["../bascule", "/bin/sh", "bin", "bin/../../x", "nothing"] {
            assert!(program_in(root, bad).is_err(), "{bad}");
        }
        std::os::unix::fs::symlink("/bin/sh", root.join("link")).unwrap();
        assert!(program_in(root, "link").is_err());
    }

    #[tokio::test]
    async fn what_does_not_run_or_is_something_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("bascule");
        let write = |text: &str| {
            fs::write(&program, text).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("no program at all");
        assert!(tried(&program).await.is_err());
        write("#!/bin/sh\necho busybox\n");
        assert!(tried(&program).await.unwrap_err().contains("not bascule"));
        write("#!/bin/sh\n[ \"$1\" = --version ] && echo bascule 9 && exit\necho no hub >&2\nexit 4\n");
        let why = tried(&program).await.unwrap_err();
        assert!(why.contains("no hub") && why.contains("agent check"), "{why}");
    }
}
