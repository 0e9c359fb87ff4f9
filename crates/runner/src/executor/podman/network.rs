//! A job's own network. One without a way out has no address of the machine on it; one that is open leads out, but not
//! to the machine itself nor to link-local addresses, where clouds tell secrets.

use super::{Host, JOB, RUNNER, SOON};
use crate::job::Failure;
use bascule_core::Problem;
use std::{
    process::Stdio,
    sync::atomic::{AtomicU8, Ordering},
};
use tokio::process::Command;

/// Networks of jobs: `10.211.0.0/24` and on; the upper half is open.
const POOL: &str = "10.211";
/// Chains of the machine's firewall.
const IN: &str = "BASCULE_JOBS_IN";
const OUT: &str = "BASCULE_JOBS_OUT";
/// Tries to find a range that nobody uses.
const TRIES: u8 = 120;
/// First address of a container; the first of all may be the machine's.
const FIRST: usize = 2;

/// A network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) name: String,
    third: u8,
    open: bool,
}

impl Network {
    /// Makes the network of a job; `open` leads out. `server` is where the server listens, should it be on this machine.
    pub(super) async fn create(
        host: &Host,
        key: &str,
        open: bool,
        server: Option<u16>,
    ) -> Result<Self, Failure> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        if open {
            guard(server).await?;
        }
        let name = format!("bascule-{}-{key}", host.mark);
        let mut failed = None;
        for _ in 0..TRIES {
            // Runners of one machine begin at different places.
            let number = NEXT
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(std::process::id().to_le_bytes()[0]);
            let third = (number & 127) | if open { 128 } else { 0 };
            let subnet = format!("{POOL}.{third}.0/24");
            let labels = [format!("{RUNNER}={}", host.mark), format!("{JOB}={key}")];
            // Apart from other jobs' networks, between which the machine would else carry packets.
            let mut words = vec![
                "network",
                "create",
                "--disable-dns",
                "--opt",
                "isolate=true",
                "--subnet",
                &subnet,
            ];
            if !open {
                words.push("--internal");
            }
            words.extend(["--label", &labels[0], "--label", &labels[1], &name]);
            match host.podman.run(&words, SOON).await {
                Ok(_) => return Ok(Self { name, third, open }),
                Err(other)
                    if other.said().contains("already used")
                        || other.said().contains("already being used") =>
                {
                    failed = Some(other);
                }
                Err(other) => {
                    failed = Some(other);
                    break;
                }
            }
        }
        let problem = failed.map_or_else(Problem::internal, |failed| {
            failed.problem("A network for the job and its services cannot be made.")
        });
        Err(Failure::System(problem))
    }

    /// The address of the `number`th container.
    pub(super) fn address(&self, number: usize) -> String {
        format!("{POOL}.{}.{}", self.third, FIRST + number)
    }

    /// How the `number`th container joins.
    pub(super) fn joins(&self, number: usize) -> Vec<String> {
        let mut words = vec![
            "--network".to_owned(),
            self.name.clone(),
            "--ip".to_owned(),
            self.address(number),
        ];
        if !self.open {
            // The machine has an address of version 6 on every network.
            words.extend([
                "--sysctl".to_owned(),
                "net.ipv6.conf.all.disable_ipv6=1".to_owned(),
            ]);
        }
        words
    }
}

/// Keeps jobs on open networks away from the machine itself, but for the server where it is here, and from link-local
/// addresses.
async fn guard(server_port: Option<u16>) -> Result<(), Failure> {
    let open = format!("{POOL}.128.0/17");
    let port = server_port.map(|port| port.to_string());
    let mut rules = vec![
        (
            true,
            vec![
                IN,
                "-s",
                &open,
                "-m",
                "conntrack",
                "--ctstate",
                "RELATED,ESTABLISHED",
                "-j",
                "RETURN",
            ],
        ),
        (false, vec![IN, "-s", &open, "-j", "REJECT"]),
        (
            false,
            vec![OUT, "-s", &open, "-d", "169.254.0.0/16", "-j", "REJECT"],
        ),
        (true, vec!["INPUT", "-j", IN]),
        (true, vec!["FORWARD", "-j", OUT]),
    ];
    if let Some(port) = &port {
        rules.push((
            true,
            vec![IN, "-s", &open, "-p", "tcp", "--dport", port, "-j", "RETURN"],
        ));
    }
    for chain in [IN, OUT] {
        // Fails where it is there already.
        let _ = iptables(&["-N", chain]).await;
    }
    for (first, rule) in rules {
        let mut words = vec!["-C"];
        words.extend(&rule);
        if iptables(&words).await.is_ok() {
            continue;
        }
        words.clear();
        words.push(if first { "-I" } else { "-A" });
        words.extend(&rule);
        iptables(&words).await.map_err(|why| {
            Failure::System(
                Problem::new(503, "no_firewall", "A job's open network cannot be kept off this machine.")
                    .why(why)
                    .next(
                        "Install iptables (`apt install iptables`) and run the runner as root, or keep jobs off the \
                         network.",
                    ),
            )
        })?;
    }
    Ok(())
}

async fn iptables(words: &[&str]) -> Result<(), String> {
    let output = Command::new("iptables")
        .arg("-w")
        .args(words)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("iptables cannot be called: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "iptables: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
