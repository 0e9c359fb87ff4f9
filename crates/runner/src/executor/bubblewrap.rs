//! Jobs in a sandbox of the machine's own programs.

use super::{Executor, Process};
use crate::{
    job::{Failure, Ground, Reach},
    script, workspace,
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
        let text = script::render(bash, &on.project_dir, script);
        workspace::write_private(&file, text.as_bytes()).map_err(|e| workspace::unwritable(&file, &e))?;
        let running = spec(on, bash, &format!("{SCRIPTS}/{name}")).spawn().await?;
        Ok(Box::new(Script(running)))
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
            Reach::Nothing => Network::None,
        })
        .memory_bytes(limits.memory_bytes)
        .pids(limits.pids)
        .open_files(limits.open_files)
        .file_bytes(limits.file_bytes);
    for bind in &config.binds {
        spec = if bind.writable {
            spec.bind(&bind.from, &bind.to)
        } else {
            spec.ro_bind(&bind.from, &bind.to)
        };
    }
    spec.envs(on.vars.environment())
}

/// A script in its sandbox.
struct Script(Running);

#[async_trait]
impl Process for Script {
    fn output(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        let stdout = self.0.stdout.take()?;
        Some(Box::new(stdout))
    }

    async fn wait(&mut self) -> Result<Exit> {
        let exit = self.0.wait().await?;
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
        self.0.terminate(grace).await
    }
}
