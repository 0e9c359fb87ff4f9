//! What is written down of a task, so that no restart runs it a second time: that it is about to be begun, then how
//! it ended.

use bascule_core::TaskId;
use bascule_wire::task::{DesiredTask, TaskReport};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long it is remembered that a task ended.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

/// What stands in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Marker {
    /// It is about to be begun, or was.
    Begun(Box<DesiredTask>),
    /// It ended so, or was not begun.
    Over(TaskReport),
}

/// The folder of all of them.
#[derive(Clone, Debug)]
pub(super) struct Markers(PathBuf);

impl Markers {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    pub(super) fn folder(&self, task: TaskId) -> PathBuf {
        self.0.join(task.to_string())
    }

    /// Where a task's output waits until the server has it.
    pub(super) fn output(&self, task: TaskId) -> PathBuf {
        self.0.join(format!("{task}.out"))
    }

    fn file(&self, task: TaskId) -> PathBuf {
        self.0.join(format!("{task}.json"))
    }

    /// Writes it durably: whole or not at all. Only for this user, as variables may hold secrets.
    pub(super) fn write(&self, task: TaskId, marker: &Marker) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        serde_json::to_writer(&mut file, marker)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(self.file(task))?;
        fs::File::open(&self.0)?.sync_all()
    }

    /// All that are remembered; those of long ago are forgotten.
    pub(super) fn all(&self) -> io::Result<Vec<(TaskId, Marker)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let named = path.extension().is_some_and(|ending| ending == "json");
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(task) = stem.filter(|_| named).and_then(|stem| stem.parse().ok()) else {
                continue;
            };
            match read(&path) {
                Ok(Marker::Over(_)) if old(&path) => fs::remove_file(&path)?,
                Ok(marker) => all.push((task, marker)),
                Err(error) => tracing::error!(%task, %error, "what was kept of a task cannot be read"),
            }
        }
        Ok(all)
    }
}

fn read(path: &Path) -> io::Result<Marker> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn old(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|found| found.modified());
    age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > REMEMBERED))
}
