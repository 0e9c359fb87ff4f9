//! Settings for podman, where its own do not work on this machine.
//!
//! Podman as root asks for more open files and processes than a machine may allow that gave this process no
//! right to raise its limits; it asks systemd for control groups where there may be none; and crun wants
//! control groups of version 2. Each of these is looked for, and only what is missing is set.

use rustix::process::{Resource, geteuid, getrlimit};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Open files that podman gives a container by itself.
const FILES: u64 = 1_048_576;
/// Processes that podman gives a container by itself.
const PROCESSES: u64 = 4_194_304;
/// Processes that podman leaves itself, and so its containers, where it may not have as many as it wants.
const LEFT: u64 = 32_768;
/// The capability to raise limits: CAP_SYS_RESOURCE.
const MAY_RAISE: u64 = 1 << 24;

/// What matters of a machine.
#[derive(Clone, Copy, Debug)]
struct Found {
    systemd: bool,
    cgroup_two: bool,
    runc: bool,
    may_raise: bool,
    files: u64,
    processes: u64,
}

impl Found {
    fn here() -> Self {
        let most = |resource| getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let held = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .unwrap_or(0);
        Self {
            systemd: Path::new("/run/systemd/system").exists(),
            cgroup_two: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            runc: ["/usr/bin/runc", "/usr/sbin/runc", "/usr/local/bin/runc"]
                .iter()
                .any(|p| Path::new(p).exists()),
            // Podman without root takes the limits as they are.
            may_raise: held & MAY_RAISE != 0 || !geteuid().is_root(),
            files: most(Resource::Nofile),
            processes: most(Resource::Nproc),
        }
    }

    fn settings(self) -> Option<String> {
        let (mut containers, mut engine) = (Vec::new(), Vec::new());
        if !self.may_raise && (self.files < FILES || self.processes < PROCESSES) {
            containers.push(format!(
                "default_ulimits = [\"nofile={0}:{0}\", \"nproc={1}:{1}\"]",
                self.files.min(FILES),
                self.processes.min(LEFT)
            ));
        }
        if !self.systemd {
            engine.push("cgroup_manager = \"cgroupfs\"".to_owned());
            engine.push("events_logger = \"file\"".to_owned());
        }
        if !self.cgroup_two && self.runc {
            engine.push("runtime = \"runc\"".to_owned());
        }
        if containers.is_empty() && engine.is_empty() {
            return None;
        }
        Some(format!(
            "# Written at each start, as podman's own settings do not work on this machine.\n\
             [containers]\n{}\n[engine]\n{}\n",
            containers.join("\n"),
            engine.join("\n")
        ))
    }
}

/// Writes the file that podman is to be given as `CONTAINERS_CONF` into `data_dir`; `None` where podman's own settings
/// work.
///
/// # Errors
/// The file cannot be written.
pub fn write(data_dir: &Path) -> io::Result<Option<PathBuf>> {
    let Some(settings) = Found::here().settings() else {
        return Ok(None);
    };
    let path = data_dir.join("containers.conf");
    fs::write(&path, settings)?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_work_is_set() {
        let usual = Found {
            systemd: true,
            cgroup_two: true,
            runc: false,
            may_raise: true,
            files: 1024,
            processes: 1024,
        };
        assert_eq!(usual.settings(), None);
        let bare = Found {
            systemd: false,
            cgroup_two: false,
            runc: true,
            may_raise: false,
            files: 20_000,
            processes: u64::MAX,
        };
        let text = bare.settings().unwrap();
        assert!(
            text.contains("nofile=20000:20000\", \"nproc=32768:32768"),
            "{text}"
        );
        assert!(
            text.contains("runtime = \"runc\"") && text.contains("cgroupfs"),
            "{text}"
        );
    }
}
