//! Doing it.

use super::{Due, due, look, store};
use crate::Forge;
use bascule_core::{Actor, Problem, ProjectId, Result};
use bascule_ledger::facts::forge::RepositoryChecked;
use bascule_wire::forge::UpkeepRun;
use std::{process::Output, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long upkeep waits for more pushes.
const CALM: Duration = Duration::from_secs(30);
/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// What is kept of what git said, in bytes.
const TOLD: usize = 4_000;

/// Settings under which repositories are packed. Bitmaps over all packs let clones be counted at once;
/// reachability of deleted branches is kept for two weeks, so that they can be restored.
const PACKING: &[&str] = &[
    "gc.autoDetach=false",
    "gc.pruneExpire=2.weeks.ago",
    "gc.writeCommitGraph=false",
    "repack.writeBitmaps=true",
    "pack.writeBitmapHashCache=true",
    "pack.threads=1",
    "pack.windowMemory=256m",
];

/// Faults of old tools that are no damage, as on receipt.
const HARMLESS: &[&str] = &[
    "fsck.badTimezone=ignore",
    "fsck.missingSpaceBeforeDate=ignore",
    "fsck.zeroPaddedFilemode=ignore",
];

impl Forge {
    /// Asks for a whole upkeep of a project.
    pub(crate) async fn request_upkeep(&self, actor: &Actor, id: ProjectId) -> Result<()> {
        self.request(actor, id, "upkeep").await
    }

    /// Asks for a check of all objects of a project.
    pub(crate) async fn request_fsck(&self, actor: &Actor, id: ProjectId) -> Result<()> {
        self.request(actor, id, "fsck").await
    }

    async fn request(&self, actor: &Actor, id: ProjectId, kind: &str) -> Result<()> {
        let waits = store::of_project(self.db(), id)
            .await?
            .iter()
            .any(|run| run.kind == kind && run.ended_at.is_none());
        if waits {
            return Err(
                Problem::conflict("running", "It is asked for already, and not done yet.")
                    .why(
                        "Repositories are looked after one at a time, so that people's own work stays quick.",
                    )
                    .next("Look again in a moment."),
            );
        }
        let tx = self.db().begin().await?;
        store::request(&tx, id, kind, &actor.name, self.now()).await?;
        tx.commit().await?;
        self.pushes().wake();
        Ok(())
    }

    /// What was done last, and what is asked for.
    pub(crate) async fn upkeep_of(&self, id: ProjectId) -> Result<Vec<UpkeepRun>> {
        let runs = store::of_project(self.db(), id).await?;
        Ok(runs
            .into_iter()
            .map(|run| UpkeepRun {
                kind: run.kind,
                requested_at: run.requested_at,
                requested_by: run.requested_by,
                started_at: run.started_at,
                ended_at: run.ended_at,
                good: run.good,
                told: run.told,
            })
            .collect())
    }

    /// Looks after repositories until `stop`: those asked for at once, those pushed to when they are calm.
    pub(crate) async fn look_after(&self, stop: CancellationToken) {
        let mut calm = None;
        loop {
            if let Err(problem) = self.do_requested(&stop).await {
                tracing::error!(%problem, "asked-for upkeep could not be read or noted");
            }
            let pause = async {
                match calm {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.pushes().wait_soiled() => {
                    calm.get_or_insert_with(|| tokio::time::Instant::now() + CALM);
                    continue;
                }
                () = pause => {}
            }
            calm = None;
            for id in self.pushes().take_soiled() {
                if stop.is_cancelled() {
                    return;
                }
                self.light(id, &stop).await;
                if let Err(problem) = self.do_requested(&stop).await {
                    tracing::error!(%problem, "asked-for upkeep could not be read or noted");
                }
            }
        }
    }

    async fn do_requested(&self, stop: &CancellationToken) -> Result<()> {
        while let Some(waiting) = store::next(self.db()).await? {
            let (id, kind) = (waiting.project_id, waiting.kind.as_str());
            let tx = self.db().begin().await?;
            store::begin(&tx, id, kind, self.now()).await?;
            tx.commit().await?;
            let done = if kind == "fsck" {
                self.fsck(id, stop).await
            } else {
                self.whole(id, stop).await
            };
            // Cut off by the end of the server: begun again at the next start.
            let Some((good, told)) = done else {
                return Ok(());
            };
            let tx = self.db().begin().await?;
            store::end(&tx, id, kind, self.now(), good, &told).await?;
            if kind == "fsck" {
                let fact = RepositoryChecked { project: id, good };
                self.ledger().append(&tx, &Actor::system(), &fact).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// What is worth while after pushes.
    async fn light(&self, id: ProjectId, stop: &CancellationToken) {
        let repository = self.repositories().path(id);
        let Due {
            pack,
            references,
            graph,
        } = tokio::task::spawn_blocking(move || due(look(&repository)))
            .await
            .unwrap_or_default();
        let mut steps: Vec<&[&str]> = Vec::new();
        if references {
            steps.push(&["pack-refs", "--all"]);
        }
        if pack {
            steps.push(&[
                "repack",
                "--geometric=2",
                "-d",
                "-l",
                "--quiet",
                "--write-midx",
                "--write-bitmap-index",
            ]);
        }
        if graph {
            steps.push(GRAPH);
        }
        if steps.is_empty() {
            return;
        }
        let at = self.now();
        let done = self.steps(id, &steps, stop).await;
        let noted = async {
            // One that was asked for meanwhile is still to be done.
            let asked = store::of_project(self.db(), id).await?;
            let waits = asked
                .iter()
                .any(|run| run.kind == "upkeep" && run.ended_at.is_none());
            if let Some((good, told)) = done.filter(|_| !waits) {
                let tx = self.db().begin().await?;
                store::request(&tx, id, "upkeep", "bascule", at).await?;
                store::begin(&tx, id, "upkeep", at).await?;
                store::end(&tx, id, "upkeep", self.now(), good, &told).await?;
                tx.commit().await?;
            }
            Ok::<(), Problem>(())
        };
        if let Err(problem) = noted.await {
            tracing::warn!(%problem, "upkeep could not be noted");
        }
    }

    /// All of it, as asked for by hand.
    async fn whole(&self, id: ProjectId, stop: &CancellationToken) -> Option<(bool, String)> {
        self.steps(id, &[&["pack-refs", "--all"], &["gc", "--quiet"], GRAPH], stop)
            .await
    }

    async fn fsck(&self, id: ProjectId, stop: &CancellationToken) -> Option<(bool, String)> {
        let output = self
            .run_git(
                id,
                HARMLESS,
                &["fsck", "--full", "--strict", "--no-dangling", "--no-progress"],
                stop,
            )
            .await?;
        Some(match output {
            Ok(output) if output.status.success() => (true, "All objects are whole.".to_owned()),
            Ok(output) => (false, said(&output)),
            Err(error) => (false, error),
        })
    }

    /// Runs git step by step; the first failure ends it. Nothing when the server stops.
    async fn steps(
        &self,
        id: ProjectId,
        steps: &[&[&str]],
        stop: &CancellationToken,
    ) -> Option<(bool, String)> {
        let before = self.measure(id).await.unwrap_or_default();
        for step in steps {
            let done = self.run_git(id, PACKING, step, stop).await?;
            let told = match done {
                Ok(done) if done.status.success() => continue,
                Ok(done) => said(&done),
                Err(error) => error,
            };
            tracing::warn!(project = %id, step = step.first(), told, "upkeep failed");
            self.repositories().evict(id);
            return Some((false, told));
        }
        self.repositories().evict(id);
        let after = self.measure(id).await.unwrap_or_default();
        let human = crate::storage::human;
        Some((true, format!("{} before, {} after.", human(before), human(after))))
    }

    async fn run_git(
        &self,
        id: ProjectId,
        settings: &[&str],
        arguments: &[&str],
        stop: &CancellationToken,
    ) -> Option<Result<Output, String>> {
        let mut command = self.git().command();
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        command
            .arg("--git-dir")
            .arg(self.repositories().path(id))
            .args(arguments)
            .kill_on_drop(true);
        tokio::select! {
            () = stop.cancelled() => None,
            done = tokio::time::timeout(PATIENCE, command.output()) => Some(match done {
                Ok(Ok(output)) => Ok(output),
                Ok(Err(error)) => Err(format!("git could not be started: {error}")),
                Err(_) => Err("It took too long and was ended.".to_owned()),
            }),
        }
    }
}

const GRAPH: &[&str] = &[
    "commit-graph",
    "write",
    "--reachable",
    "--changed-paths",
    "--split",
    "--no-progress",
];

fn said(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let mut end = text.len().min(TOLD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.retain(|c| c == '\n' || !c.is_control());
    if text.trim().is_empty() {
        return format!("git ended with {}.", output.status);
    }
    text
}
