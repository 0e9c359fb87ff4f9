//! What a command may see and use, and how that is said to bubblewrap.

use crate::Host;
use bascule_core::{Problem, Result};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest single argument or variable that the kernel takes, in bytes, less some room.
const ARGUMENT_BYTES: usize = 128 * 1024 - 64;
/// Most variables; bubblewrap takes 9,000 words in all and a variable is three.
const VARIABLES: usize = 2_500;
/// Size of `/tmp` where no memory limit is set, in bytes.
const TMP_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// User and group number inside.
const UID: &str = "1000";
/// Home directory inside, unless `HOME` is set.
const HOME: &str = "/home/job";
/// Files and directories of `/etc` that programs need and that tell nothing secret.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "protocols",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];
/// Those needed only with a network.
const ETC_NETWORK: &[&str] = &["gai.conf", "host.conf", "hosts", "nsswitch.conf", "resolv.conf"];
/// Parts of `/proc` that root's number could write even without capabilities.
const PROC_READ_ONLY: &[&str] = &[
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/fs",
    "/proc/irq",
    "/proc/bus",
];
/// Parts of `/proc` that tell about the machine's memory or keys; shown empty.
const PROC_HIDDEN_FILES: &[&str] = &[
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kallsyms",
    "/proc/latency_stats",
    "/proc/mtrr",
    "/proc/sched_debug",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/vmallocinfo",
];
const PROC_HIDDEN_DIRS: &[&str] = &["/proc/acpi", "/proc/asound", "/proc/scsi"];

/// Which network a command has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A loopback of its own and nothing else.
    #[default]
    None,
    /// The machine's own network, its loopback included.
    Host,
}

#[derive(Clone, Debug)]
pub(crate) enum Mount {
    Bind {
        from: PathBuf,
        to: String,
        writable: bool,
    },
    Tmpfs {
        to: String,
    },
    Data {
        to: String,
        link: String,
    },
}

/// A command, what it may see and what it may use. Build it, then [`Spec::spawn`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Spec {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    env: BTreeMap<String, String>,
    mounts: Vec<Mount>,
    directory: String,
    hostname: String,
    network: Network,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) pids: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) merge_stderr: bool,
}

impl Spec {
    pub(crate) fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            mounts: Vec::new(),
            directory: "/".to_owned(),
            hostname: "sandbox".to_owned(),
            network: Network::None,
            memory_bytes: None,
            pids: None,
            cpus: None,
            open_files: None,
            file_bytes: None,
            timeout: None,
            grace: Duration::from_secs(2),
            merge_stderr: false,
        }
    }

    /// Adds an argument. Arguments show in the machine's process list: nothing secret.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. Values do not show in the machine's process list.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets environment variables.
    pub fn envs<N: Into<String>, V: Into<String>>(mut self, vars: impl IntoIterator<Item = (N, V)>) -> Self {
        self.env
            .extend(vars.into_iter().map(|(n, v)| (n.into(), v.into())));
        self
    }

    /// Shows a file or directory of the machine, writable.
    pub fn bind(mut self, from: impl Into<PathBuf>, to: impl Into<String>) -> Self {
        self.mounts.push(Mount::Bind {
            from: from.into(),
            to: to.into(),
            writable: true,
        });
        self
    }

    /// Shows a file or directory of the machine, read-only.
    pub fn ro_bind(mut self, from: impl Into<PathBuf>, to: impl Into<String>) -> Self {
        self.mounts.push(Mount::Bind {
            from: from.into(),
            to: to.into(),
            writable: false,
        });
        self
    }

    /// Puts an empty writable directory, kept in memory.
    pub fn tmpfs(mut self, to: impl Into<String>) -> Self {
        self.mounts.push(Mount::Tmpfs { to: to.into() });
        self
    }

    /// Puts a symbolic link `to` that leads to `link`.
    pub fn symlink(mut self, link: impl Into<String>, to: impl Into<String>) -> Self {
        self.mounts.push(Mount::Data {
            to: to.into(),
            link: link.into(),
        });
        self
    }

    /// The directory inside in which the command starts.
    pub fn directory(mut self, directory: impl Into<String>) -> Self {
        self.directory = directory.into();
        self
    }

    /// The host name inside.
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = hostname.into();
        self
    }

    /// Which network it has.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Memory, in bytes; above it the kernel kills.
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// Processes and threads.
    pub fn pids(mut self, pids: u64) -> Self {
        self.pids = Some(pids);
        self
    }

    /// Processors, in parts of one. Only where control groups can be made: it slows, and keeps nobody safe.
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.cpus = Some(cpus);
        self
    }

    /// Open files of each process.
    pub fn open_files(mut self, files: u64) -> Self {
        self.open_files = Some(files);
        self
    }

    /// Size of each file written, in bytes.
    pub fn file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes = Some(bytes);
        self
    }

    /// Time after which [`crate::Running::wait`] ends it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Time between SIGTERM and SIGKILL when time is up.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sends standard error where standard output goes, so that their order is kept.
    pub fn merge_stderr(mut self) -> Self {
        self.merge_stderr = true;
        self
    }

    fn home(&self) -> &str {
        self.env.get("HOME").map_or(HOME, String::as_str)
    }

    /// Home directory as far as it can stand in a passwd line.
    pub(crate) fn passwd_home(&self) -> &str {
        if self.home().contains([':', '\n']) {
            HOME
        } else {
            self.home()
        }
    }

    pub(crate) fn hostname_word(&self) -> &str {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if !self.hostname.is_empty() && self.hostname.len() <= 63 && self.hostname.chars().all(plain) {
            &self.hostname
        } else {
            "sandbox"
        }
    }

    pub(crate) fn has_network(&self) -> bool {
        self.network == Network::Host
    }

    /// Bubblewrap's words, NUL separated, for `--args`. File descriptors 4, 5 and 6 hold passwd, group and
    /// hosts.
    pub(crate) fn bwrap_args(&self, host: &Host) -> Result<Vec<u8>> {
        self.check()?;
        let mut w = Words::default();
        w.add(&[
            "--unshare-user",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]);
        if host.disable_userns {
            w.add(&["--disable-userns"]);
        }
        if !self.has_network() {
            w.add(&["--unshare-net"]);
        }
        w.add(&[
            "--die-with-parent",
            "--new-session",
            "--cap-drop",
            "ALL",
            "--uid",
            UID,
            "--gid",
            UID,
        ]);
        w.add(&["--hostname", self.hostname_word()]);
        system_mounts(&mut w);
        w.add(&["--perms", "0755", "--dir", "/etc"]);
        w.add(&["--perms", "0644", "--ro-bind-data", "4", "/etc/passwd"]);
        w.add(&["--perms", "0644", "--ro-bind-data", "5", "/etc/group"]);
        etc_mounts(&mut w, ETC);
        if self.has_network() {
            etc_mounts(&mut w, ETC_NETWORK);
        } else {
            w.add(&["--perms", "0644", "--ro-bind-data", "6", "/etc/hosts"]);
        }
        w.add(&["--proc", "/proc"]);
        for path in PROC_READ_ONLY {
            w.add(&["--ro-bind-try", path, path]);
        }
        for path in PROC_HIDDEN_FILES.iter().filter(|p| Path::new(p).exists()) {
            w.add(&["--ro-bind", "/dev/null", path]);
        }
        for path in PROC_HIDDEN_DIRS.iter().filter(|p| Path::new(p).exists()) {
            w.add(&["--tmpfs", path, "--remount-ro", path]);
        }
        w.add(&["--dev", "/dev"]);
        let size = self.memory_bytes.unwrap_or(TMP_BYTES).to_string();
        w.add(&["--perms", "1777", "--size", &size, "--tmpfs", "/tmp"]);
        w.add(&[
            "--perms",
            "0755",
            "--dir",
            "/var",
            "--symlink",
            "/tmp",
            "/var/tmp",
            "--dir",
            "/run",
        ]);
        if self.home() == HOME {
            w.add(&["--perms", "0755", "--size", &size, "--tmpfs", HOME]);
        }
        for mount in &self.mounts {
            match mount {
                Mount::Bind { from, to, writable } => {
                    let flag = if *writable { "--bind" } else { "--ro-bind" };
                    w.add(&[flag, path_text(from)?, to]);
                }
                Mount::Tmpfs { to } => w.add(&["--perms", "0755", "--size", &size, "--tmpfs", to]),
                Mount::Data { to, link } => w.add(&["--symlink", link, to]),
            }
        }
        w.add(&["--remount-ro", "/", "--chdir", &self.directory, "--clearenv"]);
        let defaults = [
            ("HOME", HOME),
            ("LANG", "C.UTF-8"),
            ("LOGNAME", "job"),
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("SHELL", "/bin/sh"),
            ("TMPDIR", "/tmp"),
            ("USER", "job"),
        ];
        for (name, value) in defaults.iter().filter(|(name, _)| !self.env.contains_key(*name)) {
            w.add(&["--setenv", name, value]);
        }
        for (name, value) in &self.env {
            w.add(&["--setenv", name, value]);
        }
        Ok(w.0)
    }

    /// Refuses what bubblewrap would refuse in words that help nobody.
    fn check(&self) -> Result<()> {
        let refuse = |what: String, why: &str| Err(Problem::invalid("bad_command", what).why(why));
        if self.program.is_empty() {
            return refuse("There is no command to run.".to_owned(), "The command is empty.");
        }
        if self.env.len() > VARIABLES {
            return refuse(
                format!("{} variables are too many.", self.env.len()),
                "2,500 can be passed on.",
            );
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return refuse(
                    format!("The variable `{}` cannot be set.", name.escape_debug()),
                    "A name must not be empty or hold `=`, and neither name nor value may hold a NUL byte.",
                );
            }
            if name.len() + value.len() > ARGUMENT_BYTES {
                return refuse(
                    format!("The variable `{name}` is too long."),
                    "The kernel takes 128 KiB for one variable; put longer ones in a file.",
                );
            }
        }
        for arg in std::iter::once(&self.program).chain(&self.args) {
            if arg.contains('\0') || arg.len() > ARGUMENT_BYTES {
                return refuse(
                    "An argument of the command cannot be passed on.".to_owned(),
                    "Arguments must not hold NUL bytes nor be longer than 128 KiB.",
                );
            }
        }
        for mount in &self.mounts {
            let to = match mount {
                Mount::Bind { to, .. } | Mount::Tmpfs { to } | Mount::Data { to, .. } => to,
            };
            if !to.starts_with('/') || to.contains('\0') {
                return refuse(
                    format!("`{to}` is no place inside."),
                    "Places inside are absolute paths.",
                );
            }
            if let Mount::Bind { from, .. } = mount
                && !from.exists()
            {
                return refuse(
                    format!("{} is not there, so it cannot be shown inside.", from.display()),
                    "What is bound must exist before the command starts.",
                );
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn add(&mut self, words: &[&str]) {
        for word in words {
            self.0.extend_from_slice(word.as_bytes());
            self.0.push(0);
        }
    }
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Problem::invalid("bad_path", format!("{} cannot be shown inside.", path.display()))
            .why("Its name is not UTF-8.")
    })
}

/// `/usr` and the directories beside it, as links where the machine has links.
fn system_mounts(w: &mut Words) {
    w.add(&["--ro-bind", "/usr", "/usr"]);
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store"] {
        let path = format!("/{name}");
        match std::fs::read_link(&path) {
            Ok(link) => {
                if let Some(link) = link.to_str() {
                    w.add(&["--symlink", link, &path]);
                }
            }
            Err(_) => w.add(&["--ro-bind-try", &path, &path]),
        }
    }
}

fn etc_mounts(w: &mut Words, names: &[&str]) {
    for name in names {
        let path = format!("/etc/{name}");
        // Followed by hand: `resolv.conf` often leads into a place that is not shown inside.
        if let Ok(real) = std::fs::canonicalize(&path)
            && let Some(real) = real.to_str()
        {
            w.add(&["--ro-bind-try", real, &path]);
        }
    }
}
