//! Servers that run beside the measurement and end with it.

use crate::Result;
use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A child process, ended by SIGTERM, or by SIGKILL if it does not listen, when dropped.
pub struct Server {
    child: Child,
    /// Whether it leads a process group, whose members end with it: fcgiwrap leaves its workers behind.
    leads: bool,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    /// Starts a command; what it says goes to a file.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        let child = command
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
        Ok(Self { child, leads: true })
    }

    /// Takes a child that was started elsewhere.
    pub fn of(child: Child) -> Self {
        Self { child, leads: false }
    }

    /// Waits until something answers at its address.
    pub fn at(mut self, address: SocketAddr) -> Result<Self> {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server for {address} ended at once: {status}").into());
            }
            if Instant::now() > end {
                return Err(format!("nothing answers at {address}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(self)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits.
    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may have ended in this very moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                drop(self.child.kill());
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.leads {
            // Nobody may be left, which is no fault.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::TERM);
        }
        drop(self.child.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address on loopback that is free at this moment.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Seconds of processor time that a process and those it started have used so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    let of_one = |pid: u32| -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
        let fields = text
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
        let ticks = |at: usize| {
            fields
                .as_ref()
                .and_then(|f| f.get(at)?.parse::<f64>().ok())
                .unwrap_or_default()
        };
        (ticks(11) + ticks(12)) / 100.0
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    of_one(pid)
        + children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .map(cpu_seconds)
            .sum::<f64>()
}

/// Resident memory of a process, in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    let text = crate::machine::field(&format!("/proc/{pid}/status"), "VmRSS");
    text.trim_end_matches(" kB")
        .trim()
        .parse::<f64>()
        .unwrap_or(f64::NAN)
        / 1024.0
}

/// A line for nginx's configuration: as root it would drop to an account that cannot read our folders.
pub fn nginx_user() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    }
}
