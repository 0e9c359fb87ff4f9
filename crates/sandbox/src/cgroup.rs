//! Control groups, version 1 or 2, wherever this process may create one. The group is a leaf of our own, made
//! for one command and removed after it.

use crate::process::{parent_of, signal};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const PREFIX: &str = "bascule-";

/// The next group's number in this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    One,
    Two,
}

/// The directories of one command's group; version 1 has one for each controller.
#[derive(Debug, Default)]
pub(crate) struct Group {
    dirs: Vec<PathBuf>,
    memory: Option<(PathBuf, Version)>,
    pids: bool,
}

/// A group as it is handed over to the next program of this process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct HandedGroup {
    dirs: Vec<PathBuf>,
    memory: Option<(PathBuf, Version)>,
    pids: bool,
}

impl Group {
    pub(crate) fn handed(&self) -> HandedGroup {
        HandedGroup {
            dirs: self.dirs.clone(),
            memory: self.memory.clone(),
            pids: self.pids,
        }
    }

    /// Goes on with a group of the program before. The groups made from now on get other numbers.
    pub(crate) fn adopt(handed: &HandedGroup) -> Self {
        let numbers = handed.dirs.iter().filter_map(|dir| {
            let name = dir.file_name()?.to_str()?;
            name.rsplit_once('-')?.1.parse::<u64>().ok()
        });
        if let Some(most) = numbers.max() {
            NEXT.fetch_max(most.saturating_add(1), Ordering::Relaxed);
        }
        Self {
            dirs: handed.dirs.clone(),
            memory: handed.memory.clone(),
            pids: handed.pids,
        }
    }

    /// Makes a group with the limits given. What cannot be limited is left out; ask [`Group::limits_memory`].
    pub(crate) fn create(memory_bytes: Option<u64>, pids: Option<u64>, cpus: Option<f64>) -> Self {
        let mut group = Self::default();
        if memory_bytes.is_none() && pids.is_none() && cpus.is_none() {
            return group;
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        if let Some(bytes) = memory_bytes {
            group.add("memory", &mounts, &own, &name, |dir, version| {
                limit_memory(dir, version, bytes)
            });
        }
        if let Some(pids) = pids {
            // Bubblewrap's own two processes count too.
            let most = pids.saturating_add(2).to_string();
            group.add("pids", &mounts, &own, &name, |dir, _| {
                fs::write(dir.join("pids.max"), &most)
            });
        }
        if let Some(cpus) = cpus {
            group.add("cpu", &mounts, &own, &name, |dir, version| {
                limit_cpus(dir, version, cpus)
            });
        }
        group
    }

    fn add(
        &mut self,
        controller: &str,
        mounts: &str,
        own: &str,
        name: &str,
        limit: impl Fn(&Path, Version) -> std::io::Result<()>,
    ) {
        for (parent, version) in parents(controller, mounts, own) {
            let dir = parent.join(name);
            let made = !self.dirs.contains(&dir);
            if made {
                remove_stale(&parent);
                if fs::create_dir(&dir).is_err() {
                    continue;
                }
            }
            match limit(&dir, version) {
                Ok(()) => {
                    match controller {
                        "memory" => self.memory = Some((dir.clone(), version)),
                        "pids" => self.pids = true,
                        _ => {}
                    }
                    if made {
                        self.dirs.push(dir);
                    }
                    return;
                }
                Err(error) => {
                    tracing::debug!(dir = %dir.display(), %error, "cannot limit by this control group");
                    if made {
                        let _ = fs::remove_dir(&dir);
                    }
                }
            }
        }
    }

    /// Whether the group limits memory.
    pub(crate) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether the group limits processes.
    pub(crate) fn limits_pids(&self) -> bool {
        self.pids
    }

    /// The files into which a process writes itself to join.
    pub(crate) fn join_files(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs")).collect()
    }

    /// Whether the kernel killed something in here for want of memory.
    pub(crate) fn oom_killed(&self) -> bool {
        let Some((dir, version)) = &self.memory else {
            return false;
        };
        let file = match version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .any(|(k, v)| k == "oom_kill" && v.trim() != "0")
    }

    /// The processes in here.
    pub(crate) fn members(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self
            .join_files()
            .iter()
            .flat_map(|file| members_of(file))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Removes the group; `false` while something is still in it.
    pub(crate) fn try_remove(&mut self) -> bool {
        self.dirs
            .retain(|dir| fs::remove_dir(dir).is_err() && dir.exists());
        self.dirs.is_empty()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.try_remove() {
            return;
        }
        // The last processes are still being reaped. What remains even so, a later run removes.
        let mut rest = std::mem::take(self);
        let patient = move || {
            for _ in 0..100 {
                if rest.try_remove() {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
            rest.dirs.clear();
        };
        let _ = std::thread::Builder::new()
            .name("cgroup-removal".to_owned())
            .spawn(patient);
    }
}

/// Time of processors, by the tenth of a second.
fn limit_cpus(dir: &Path, version: Version, cpus: f64) -> std::io::Result<()> {
    const PERIOD: u32 = 100_000;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds; out of range is brought to the nearest that there is"
    )]
    let quota = ((cpus * f64::from(PERIOD)) as u64).max(1000);
    match version {
        Version::One => {
            fs::write(dir.join("cpu.cfs_period_us"), PERIOD.to_string())?;
            fs::write(dir.join("cpu.cfs_quota_us"), quota.to_string())
        }
        Version::Two => fs::write(dir.join("cpu.max"), format!("{quota} {PERIOD}")),
    }
}

fn limit_memory(dir: &Path, version: Version, bytes: u64) -> std::io::Result<()> {
    let bytes = bytes.to_string();
    match version {
        Version::One => {
            fs::write(dir.join("memory.limit_in_bytes"), &bytes)?;
            // Swap accounting is often off; then memory alone is limited.
            let _ = fs::write(dir.join("memory.memsw.limit_in_bytes"), &bytes);
        }
        Version::Two => {
            fs::write(dir.join("memory.max"), &bytes)?;
            let _ = fs::write(dir.join("memory.swap.max"), "0");
        }
    }
    Ok(())
}

/// Where a group for `controller` might be made, best first: beside or below our own, then at the top.
fn parents(controller: &str, mounts: &str, own: &str) -> Vec<(PathBuf, Version)> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (_, Some(at), Some(kind), Some(options)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let at = Path::new(at);
        if kind == "cgroup" && options.split(',').any(|o| o == controller) {
            if let Some(path) = own_path(own, |c| c.split(',').any(|c| c == controller)) {
                found.push((at.join(path), Version::One));
            }
            found.push((at.to_owned(), Version::One));
        } else if kind == "cgroup2" {
            let mut candidates = Vec::new();
            if let Some(path) = own_path(own, str::is_empty) {
                let dir = at.join(path);
                // A group with processes in it may not have limited children: go beside our own.
                if dir != at
                    && let Some(parent) = dir.parent()
                {
                    candidates.push(parent.to_owned());
                }
            }
            candidates.push(at.to_owned());
            for dir in candidates {
                if hands_down(&dir, controller) {
                    found.push((dir, Version::Two));
                }
            }
        }
    }
    found.retain(|(dir, _)| dir.is_dir());
    found.dedup();
    found
}

/// Our own group's path in the hierarchy whose controllers satisfy `wanted`.
fn own_path(own: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
    })
}

/// Whether children of a version 2 group have `controller`, asking for it where that is allowed.
fn hands_down(dir: &Path, controller: &str) -> bool {
    let has = |file: &str| {
        fs::read_to_string(dir.join(file)).is_ok_and(|text| text.split_whitespace().any(|c| c == controller))
    };
    if !has("cgroup.controllers") {
        return false;
    }
    has("cgroup.subtree_control")
        || (fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")).is_ok()
            && has("cgroup.subtree_control"))
}

/// Removes groups of processes that are gone, such as after a crash.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name
            .to_str()
            .and_then(|n| n.strip_prefix(PREFIX))
            .and_then(|n| n.split('-').next())
        else {
            continue;
        };
        if owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists() {
            end_orphans(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Bubblewrap asks the kernel to end it with its parent, and its child with it. A parent that is killed in the moment
/// before that leaves the child behind, with nobody to end it.
fn end_orphans(dir: &Path) {
    let members = members_of(&dir.join("cgroup.procs"));
    // A group of a program in another process namespace names a process that is not seen here; its parent is.
    let own = std::env::current_exe().ok();
    let name = own.as_deref().and_then(Path::file_name);
    let looked_after = members.iter().filter_map(|pid| parent_of(*pid)).any(|parent| {
        let program = fs::read_link(format!("/proc/{parent}/exe")).ok();
        program.as_deref().and_then(Path::file_name) == name
    });
    if looked_after {
        return;
    }
    for pid in members {
        tracing::warn!(pid, dir = %dir.display(), "ending what a program that was killed left behind");
        signal(pid, Signal::KILL);
    }
}

/// Ends what programs that were killed left behind, and removes their groups.
pub(crate) fn sweep() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for controller in ["memory", "pids", "cpu"] {
        for (parent, _) in parents(controller, &mounts, &own) {
            remove_stale(&parent);
        }
    }
}

fn members_of(file: &Path) -> Vec<i32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_is_ended_and_what_someone_looks_after_is_not() {
        let group = tempfile::tempdir().unwrap();
        let procs = group.path().join("cgroup.procs");
        let left = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 60 >/dev/null 2>&1 & echo $!"])
            .output()
            .unwrap();
        let left: i32 = String::from_utf8(left.stdout).unwrap().trim().parse().unwrap();
        let mut own = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(&procs, format!("{}\n", own.id())).unwrap();
        end_orphans(group.path());
        assert!(own.try_wait().unwrap().is_none(), "its parent lives");
        fs::write(&procs, format!("{left}\n")).unwrap();
        end_orphans(group.path());
        let ended = (0..500).any(|_| {
            let gone =
                fs::read_to_string(format!("/proc/{left}/stat")).map_or(true, |stat| stat.contains(") Z "));
            if !gone {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            gone
        });
        own.kill().unwrap();
        own.wait().unwrap();
        assert!(ended, "its parent is gone");
    }

    #[test]
    fn version_1_prefers_our_own_group_and_falls_back_to_the_top() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("memory");
        fs::create_dir_all(top.join("a/b")).unwrap();
        let mounts = format!("cgroup {} cgroup rw,relatime,memory 0 0\n", top.display());
        let found = parents("memory", &mounts, "4:memory:/a/b\n0::/\n");
        assert_eq!(
            found,
            [(top.join("a/b"), Version::One), (top.clone(), Version::One)]
        );
        assert_eq!(parents("pids", &mounts, "4:memory:/a/b\n"), []);
    }

    #[test]
    fn version_2_goes_beside_our_own_group_where_controllers_are_handed_down() {
        let dir = tempfile::tempdir().unwrap();
        let slice = dir.path().join("app.slice");
        fs::create_dir_all(slice.join("me.service")).unwrap();
        for (place, text) in [(dir.path(), "cpu"), (slice.as_path(), "memory pids")] {
            fs::write(place.join("cgroup.controllers"), text).unwrap();
            fs::write(place.join("cgroup.subtree_control"), text).unwrap();
        }
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", dir.path().display());
        let found = parents("pids", &mounts, "0::/app.slice/me.service\n");
        assert_eq!(found, [(slice, Version::Two)]);
    }
}
