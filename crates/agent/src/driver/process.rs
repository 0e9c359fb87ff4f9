//! Instances as processes under bubblewrap, from an archive of files.

use super::{Driver, Ended, Job, Process, Seal, bad_artifact, only, unwritable};
use crate::{
    artifacts::Missing,
    instance::wipe,
    unpack::{self, Failure},
};
use async_trait::async_trait;
use bascule_core::Problem;
use bascule_sandbox::{Network, Running, Sandbox};
use std::{net::IpAddr, path::Path, time::Duration};
use tokio::io::AsyncRead;

/// Where the artifact lies inside the sandbox.
const INSIDE: &str = "/app";

/// The driver.
#[derive(Debug)]
pub(crate) struct Sandboxed {
    /// Where products listen.
    pub(crate) host: IpAddr,
}

#[async_trait]
impl Driver for Sandboxed {
    async fn adopt(&self, _: &Job) -> Option<(u16, Box<dyn Process>)> {
        // What ran for an agent before this one died with it.
        None
    }

    async fn prepare(&self, job: &Job, artifact: &Path, seal: &mut Option<Seal>) -> Result<(), Missing> {
        // Not broken off half way: what unpacks would go on in a folder that is being wiped.
        let (root, name) = (job.folder.join("root"), job.artifact.file_name.clone());
        let (artifact, known, instance) = (artifact.to_owned(), seal.take(), job.name.clone());
        let made = tokio::task::spawn_blocking(move || -> Result<Seal, Failure> {
            if let Some(seal) = known {
                match seal.broken(false)? {
                    None => return Ok(seal),
                    Some(changed) => tracing::warn!(
                        %instance, file = %changed.display(),
                        "a file of the artifact was changed on disk; it is unpacked anew"
                    ),
                }
            }
            wipe(&root)?;
            std::fs::create_dir_all(&root)?;
            unpack::unpack(&artifact, &name, &root)?;
            Ok(Seal::of(vec![root])?)
        });
        match made.await {
            Ok(Ok(made)) => {
                *seal = Some(made);
                Ok(())
            }
            Ok(Err(Failure::Refused(why))) => Err(bad_artifact(
                &job.artifact.file_name,
                &why,
                "Build an archive of plain files, folders and links among them, and release again.",
            )),
            Ok(Err(Failure::Io(error))) => Err(unwritable(&job.folder, &error.to_string())),
            Err(error) => Err(unwritable(&job.folder, &error.to_string())),
        }
    }

    async fn start(&self, job: &Job, port: Option<u16>) -> Result<Box<dyn Process>, Problem> {
        let mut words = vec!["-c".to_owned()];
        if job.words.is_empty() {
            words.push(job.command.clone());
        } else {
            // The shell looks the program up and becomes it.
            words.extend(["exec \"$@\"".to_owned(), "sh".to_owned()]);
            words.extend(job.words.iter().cloned());
        }
        let mut listens = Vec::new();
        if let Some(port) = port {
            listens.push(("PORT".to_owned(), port.to_string()));
        }
        let running = Sandbox::command("/bin/sh")
            .args(words)
            .env("HOST", self.host.to_string())
            .envs(job.variables.iter().cloned())
            .envs(listens)
            .bind(job.folder.join("root"), INSIDE)
            .directory(INSIDE)
            .network(Network::Host)
            .memory_bytes(job.limits.memory_bytes)
            .pids(job.limits.pids)
            .merge_stderr()
            .spawn()
            .await?;
        Ok(Box::new(running))
    }
}

#[async_trait]
impl Process for Running {
    fn pid(&self) -> u32 {
        Self::pid(self)
    }

    fn part(&self) -> Option<bascule_sandbox::handover::Part> {
        Self::part(self)
    }

    fn outputs(&mut self) -> Vec<Box<dyn AsyncRead + Send + Unpin>> {
        only(self.stdout.take())
    }

    async fn wait(&mut self) -> Result<Ended, Problem> {
        let exit = Self::wait(self).await?;
        Ok(Ended {
            code: exit.code,
            oom_killed: exit.oom_killed,
        })
    }

    async fn end(&mut self, grace: Duration) -> Result<(), Problem> {
        self.terminate(grace).await.map(drop)
    }
}
