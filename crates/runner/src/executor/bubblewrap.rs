//! Jobs in a sandbox of the machine's own programs.

use super::{Executor, Process};
use crate::{
    job::{Failure, Ground, Reach},
    open_way::{self, OpenWay},
    script,
    way_out::{Allowed, WayOut},
    workspace,
};
use async_trait::async_trait;
use bascule_core::{Problem, Result};
use bascule_sandbox::{Exit, Network, Running, Sandbox, Spec};
use std::{path::Path, time::Duration};
use tokio::io::AsyncRead;

/// Where rendered scripts lie inside the sandbox.
const SCRIPTS: &str = "/run/bascule";

/// Who answers for names, where the network is open.
const NAMES: &str = "resolv.conf";
/// How names are looked up.
const NAME_SWITCH: &str = "/etc/nsswitch.conf";

/// Runs scripts under bubblewrap.
#[derive(Debug, Default)]
pub(super) struct Bubblewrap {
    scripts: u32,
}

#[async_trait]
impl Executor for Bubblewrap {
    fn title(&self) -> &'static str {
        "bubblewrap"
    }

    async fn prepare(&mut self, on: &Ground<'_>) -> Result<(), Failure> {
        if on.reach() != Reach::Open {
            return Ok(());
        }
        if on.by_proxy() {
            on.trace.line(
                "The network is a proxy (http_proxy, https_proxy): the runner's machine has no slirp4netns, which gives a \
                 whole one.",
            );
        }
        let names = on.space.scripts().join(NAMES);
        let server = format!("nameserver {}\n", open_way::NAME_SERVER);
        workspace::write_readable(&names, server.as_bytes())
            .map_err(|e| workspace::unwritable(&names, &e))?;
        Ok(())
    }

    async fn start(&mut self, on: &Ground<'_>, script: &[String]) -> Result<Box<dyn Process>, Failure> {
        self.scripts += 1;
        let bash = Path::new("/usr/bin/bash").exists() || Path::new("/bin/bash").exists();
        let name = format!("{}-{}", self.scripts, if bash { "bash" } else { "sh" });
        let file = on.space.scripts().join(&name);
        let config = &on.shared.config;
        let proxy = match on.reach() {
            Reach::Mirrors => Some(Allowed::new(config)),
            Reach::Open if on.by_proxy() => Some(Allowed::beyond(config)),
            Reach::Open | Reach::Nothing => None,
        };
        let apart = on.reach() == Reach::Open && !config.host_network && proxy.is_none();
        let mut text = script::render(bash, on.debug(), &on.project_dir, script);
        let open = format!("way-out-{}", self.scripts);
        if apart || proxy.is_some() {
            // The sandbox's network comes to be with the sandbox, and the way out of it a moment later.
            text.insert_str(
                0,
                &format!("until [ -e {SCRIPTS}/{open} ]; do sleep 0.01; done\n"),
            );
        }
        workspace::write_private(&file, text.as_bytes()).map_err(|e| workspace::unwritable(&file, &e))?;
        let running = spec(on, bash, &format!("{SCRIPTS}/{name}")).spawn().await?;
        let (mut way_out, mut open_way) = (None, None);
        if (apart || proxy.is_some())
            && let Some(pid) = first_process(&running).await
        {
            match proxy {
                Some(allowed) => way_out = Some(WayOut::open(allowed, pid).await?),
                None => open_way = Some(OpenWay::open(config, pid).await?),
            }
            let open = on.space.scripts().join(open);
            workspace::write_readable(&open, b"").map_err(|e| workspace::unwritable(&open, &e))?;
        }
        Ok(Box::new(Script {
            running,
            _way_out: way_out,
            _open_way: open_way,
        }))
    }
}

fn spec(on: &Ground<'_>, bash: bool, script: &str) -> Spec {
    let config = &on.shared.config;
    let limits = &config.limits;
    let mut spec = Sandbox::command(if bash { "bash" } else { "sh" })
        .arg(script)
        .merge_stderr()
        .hostname("runner")
        .bind(on.space.build(), &on.project_dir)
        .bind(on.space.files(), format!("{}.tmp", on.project_dir))
        .bind(on.space.home(), "/home/job")
        .bind(on.space.tmp(), "/tmp")
        .ro_bind(on.space.scripts(), SCRIPTS)
        .directory(&on.project_dir)
        .network(match on.reach() {
            Reach::Open if config.host_network => Network::Host,
            Reach::Open | Reach::Nothing | Reach::Mirrors => Network::None,
        })
        .memory_bytes(limits.memory_bytes)
        .pids(limits.pids)
        .open_files(limits.open_files)
        .file_bytes(limits.file_bytes);
    if let Some(cpus) = limits.cpus {
        spec = spec.cpus(cpus);
    }
    if on.reach() == Reach::Open && !config.host_network {
        spec = spec.ro_bind(on.space.scripts().join(NAMES), "/etc/resolv.conf");
        if Path::new(NAME_SWITCH).is_file() {
            spec = spec.ro_bind(NAME_SWITCH, NAME_SWITCH);
        }
    }
    for bind in &config.binds {
        spec = if bind.writable {
            spec.bind(&bind.from, &bind.to)
        } else {
            spec.ro_bind(&bind.from, &bind.to)
        };
    }
    spec.envs(on.vars.environment())
}

/// The first process in a sandbox, once there is one.
async fn first_process(running: &Running) -> Option<i32> {
    for _ in 0..1000 {
        if let Some(pid) = running.first_process() {
            return Some(pid);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    None
}

/// A script in its sandbox.
struct Script {
    running: Running,
    _way_out: Option<WayOut>,
    _open_way: Option<OpenWay>,
}

#[async_trait]
impl Process for Script {
    fn output(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        let stdout = self.running.stdout.take()?;
        Some(Box::new(stdout))
    }

    async fn wait(&mut self) -> Result<Exit> {
        let exit = self.running.wait().await?;
        if exit.started {
            return Ok(exit);
        }
        Err(
            Problem::new(503, "sandbox_failed", "The sandbox could not be set up.")
                .why("bubblewrap's own message is above.")
                .next("Run `bascule doctor` on the runner's machine."),
        )
    }

    async fn terminate(&mut self, grace: Duration) -> Result<Exit> {
        self.running.terminate(grace).await
    }
}
