//! Jobs in a sandbox of the machine's own programs.

use super::{Executor, Process};
use crate::{
    job::{Failure, Ground, Reach},
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

    async fn prepare(&mut self, _on: &Ground<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn start(&mut self, on: &Ground<'_>, script: &[String]) -> Result<Box<dyn Process>, Failure> {
        self.scripts += 1;
        let bash = Path::new("/usr/bin/bash").exists() || Path::new("/bin/bash").exists();
        let name = format!("{}-{}", self.scripts, if bash { "bash" } else { "sh" });
        let file = on.space.scripts().join(&name);
        let mirrors = on.reach() == Reach::Mirrors;
        let mut text = script::render(bash, on.debug(), &on.project_dir, script);
        let open = format!("way-out-{}", self.scripts);
        if mirrors {
            // The sandbox's network comes to be with the sandbox, and the way out of it a moment later.
            text.insert_str(
                0,
                &format!("until [ -e {SCRIPTS}/{open} ]; do sleep 0.01; done\n"),
            );
        }
        workspace::write_private(&file, text.as_bytes()).map_err(|e| workspace::unwritable(&file, &e))?;
        let running = spec(on, bash, &format!("{SCRIPTS}/{name}")).spawn().await?;
        let mut way_out = None;
        if mirrors && let Some(pid) = first_process(&running).await {
            way_out = Some(WayOut::open(Allowed::new(&on.shared.config), pid).await?);
            let open = on.space.scripts().join(open);
            workspace::write_readable(&open, b"").map_err(|e| workspace::unwritable(&open, &e))?;
        }
        Ok(Box::new(Script {
            running,
            _way_out: way_out,
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
            Reach::Open => Network::Host,
            Reach::Nothing | Reach::Mirrors => Network::None,
        })
        .memory_bytes(limits.memory_bytes)
        .pids(limits.pids)
        .open_files(limits.open_files)
        .file_bytes(limits.file_bytes);
    if let Some(cpus) = limits.cpus {
        spec = spec.cpus(cpus);
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
