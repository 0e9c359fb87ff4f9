//! A network for jobs under bubblewrap that leads out and not to the machine: its own, with `slirp4netns` as the way out of
//! it, which needs nothing of the machine's network and no right in it.
//!
//! The machine's loopback is not in it, and neither are the machine's other addresses nor link-local ones, where clouds
//! tell machines their secrets: the job's network has no way there, and a job cannot change it. Where the server is on
//! this machine, its port alone is let through.

use crate::{Config, job::Failure, way_out::WayOut};
use bascule_core::Problem;
use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::lookup_host,
    process::{Child, ChildStdin, Command},
    time::{sleep, timeout},
};
use url::Url;

/// Who answers for names in it.
pub(crate) const NAME_SERVER: &str = "10.0.2.3";
/// What slirp4netns calls its end.
const DEVICE: &str = "tap0";
/// Where clouds tell machines their secrets.
const LINK_LOCAL: &str = "169.254.0.0/16";
/// Time for the way to open.
const OPENS: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// An open way; it ends with this value, and with the runner.
#[derive(Debug)]
pub(crate) struct OpenWay {
    _slirp: Child,
    /// Its closing ends slirp4netns, should the runner be killed.
    _held: Option<ChildStdin>,
    _server: Vec<WayOut>,
}

/// Whether this machine has what it takes.
pub(crate) fn is_here() -> bool {
    rustix::process::geteuid().is_root()
        && Path::new("/dev/net/tun").exists()
        && ["slirp4netns", "nsenter", "ip"]
            .iter()
            .all(|program| find(program).is_some())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    which::which_in(program, Some(path), "/").ok()
}

fn broken(why: String) -> Failure {
    Failure::System(
        Problem::new(503, "no_open_network", "The job's open network cannot be made.")
            .why(why)
            .next(
                "See whether `slirp4netns` works on the runner's machine, or give jobs mirrors alone \
                 (`job_network = \"mirrors\"`).",
            ),
    )
}

impl OpenWay {
    /// Opens a way for the network that a process is in.
    pub(crate) async fn open(config: &Config, pid: i32) -> Result<Self, Failure> {
        let own = own_addresses().map_err(|error| broken(error.to_string()))?;
        let server = servers_here(config, &own).await;
        close_ways(pid, &own, &server).await.map_err(broken)?;
        let mut slirp = Command::new(find("slirp4netns").unwrap_or_default())
            .args([
                "--configure",
                "--mtu=65520",
                "--disable-host-loopback",
                "--exit-fd=0",
            ])
            .arg("--netns-type=path")
            .arg(format!("/proc/{pid}/ns/net"))
            .arg(DEVICE)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| broken(format!("slirp4netns cannot be called: {error}")))?;
        let held = slirp.stdin.take();
        let opens = async {
            while !leads_out(pid) {
                if let Ok(Some(status)) = slirp.try_wait() {
                    return Err(broken(format!("slirp4netns ended: {status}")));
                }
                sleep(LOOK).await;
            }
            Ok(())
        };
        timeout(OPENS, opens)
            .await
            .unwrap_or_else(|_| Err(broken("slirp4netns does not open it in time".to_owned())))?;
        let mut ways = Vec::new();
        for address in server {
            ways.push(WayOut::to(address, pid).await?);
        }
        Ok(Self {
            _slirp: slirp,
            _held: held,
            _server: ways,
        })
    }
}

/// Whether a process's network has a way out.
fn leads_out(pid: i32) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap_or_default();
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(DEVICE) && fields.next() == Some("00000000")
    })
}

/// The machine's own addresses but those of its loopback.
fn own_addresses() -> io::Result<BTreeSet<Ipv4Addr>> {
    Ok(local_of(&fs::read_to_string("/proc/net/fib_trie")?))
}

/// Local addresses in the kernel's table of routes.
fn local_of(table: &str) -> BTreeSet<Ipv4Addr> {
    let mut all = BTreeSet::new();
    let mut last = None;
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            all.extend(last.filter(|address| !address.is_loopback()));
        }
    }
    all
}

/// Where the server listens, should it be on this machine.
async fn servers_here(config: &Config, own: &BTreeSet<Ipv4Addr>) -> Vec<SocketAddr> {
    let Ok(url) = Url::parse(&config.url) else {
        return Vec::new();
    };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Vec::new();
    };
    let Ok(found) = lookup_host((host.trim_matches(['[', ']']), port)).await else {
        return Vec::new();
    };
    found
        .filter(|address| match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback() || own.contains(&ip),
            IpAddr::V6(_) => false,
        })
        .collect()
}

/// Takes away what must not be reached. The server's address becomes one of the job's own network, where its port is let
/// through.
async fn close_ways(pid: i32, own: &BTreeSet<Ipv4Addr>, server: &[SocketAddr]) -> Result<(), String> {
    let mut batch = format!("route add blackhole {LINK_LOCAL}\n");
    for address in own {
        let is_server = server.iter().any(|server| server.ip() == IpAddr::V4(*address));
        batch.push_str(&if is_server {
            format!("addr add {address}/32 dev lo\n")
        } else {
            format!("route add blackhole {address}/32\n")
        });
    }
    let mut child = Command::new(find("nsenter").unwrap_or_default())
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .arg("--")
        .arg(find("ip").unwrap_or_default())
        .args(["-batch", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("nsenter cannot be called: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let written = stdin.write_all(batch.as_bytes()).await;
        written.map_err(|error| format!("ip cannot be told: {error}"))?;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| format!("ip did not end: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_addresses_are_read() {
        let table = "Local:\n  +-- 10.0.0.0/8 2 0 2\n     |-- 10.0.0.0\n        /8 link UNICAST\n     |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.255.255.255\n        /32 link BROADCAST\n  |-- 127.0.0.1\n     /32 host LOCAL\n";
        assert_eq!(local_of(table), BTreeSet::from([Ipv4Addr::new(10, 0, 0, 7)]));
        assert!(own_addresses().is_ok());
    }
}
