//! Which version of the agent is to run, on disk: replaced whole or not at all, so that a machine that dies at any
//! step finds its way back.

use bascule_core::{Digest, InstanceId};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

/// A version that was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// What it was unpacked from.
    pub(crate) artifact: Digest,
    /// Its program.
    pub(crate) program: PathBuf,
    /// The program's digest, checked before each start.
    pub(crate) digest: Digest,
    /// Its release's version.
    pub(crate) version: String,
}

/// A version that has not proven itself yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) what: Installed,
    /// The instance that it was installed for.
    pub(crate) instance: InstanceId,
    /// Time that it has, in milliseconds.
    pub(crate) within_ms: u64,
}

/// An installation that came to nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) instance: InstanceId,
    pub(crate) reason: String,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// The program that was there before any was installed; it is run where no other can be.
    pub(crate) base: PathBuf,
    /// The version that proved itself last.
    pub(crate) good: Option<Installed>,
    pub(crate) trial: Option<Trial>,
    /// The last that failed, to be told to the hub.
    pub(crate) failed: Option<Failed>,
}

impl State {
    fn file(data: &Path) -> PathBuf {
        data.join("upgrade.json")
    }

    /// What is kept; nothing where it is damaged, which leaves the program that was there first.
    pub(crate) fn load(data: &Path) -> Self {
        match fs::read(Self::file(data)) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!(%error, "what is known of installed versions cannot be read");
                Self::default()
            }),
            Err(_) => Self::default(),
        }
    }

    pub(crate) fn save(&self, data: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(data)?;
        serde_json::to_writer(&mut file, self)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(Self::file(data))?;
        fs::File::open(data)?.sync_all()
    }

    /// The trial is over, without good.
    pub(crate) fn fail(&mut self, reason: impl Into<String>) {
        if let Some(trial) = self.trial.take() {
            self.failed = Some(Failed {
                instance: trial.instance,
                reason: reason.into(),
            });
        }
    }

    /// The program to go back to.
    pub(crate) fn back(&self) -> PathBuf {
        self.good
            .as_ref()
            .map_or_else(|| self.base.clone(), |good| good.program.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_ends_well_or_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let instance = InstanceId::new();
        let digest = Digest::of(b"program");
        let mut state = State {
            base: "/usr/local/bin/bascule".into(),
            trial: Some(Trial {
                what: Installed {
                    artifact: digest.clone(),
                    program: "/var/lib/agent/versions/1/bascule".into(),
                    digest,
                    version: "1.1.0".into(),
                },
                instance,
                within_ms: 30_000,
            }),
            ..State::default()
        };
        state.fail("It hung.");
        state.save(folder.path()).unwrap();
        let read = State::load(folder.path());
        assert!(read.trial.is_none() && read.back() == Path::new("/usr/local/bin/bascule"));
        let failed = read.failed.unwrap();
        assert_eq!((failed.instance, failed.reason.as_str()), (instance, "It hung."));
        fs::write(folder.path().join("upgrade.json"), "{").unwrap();
        assert!(State::load(folder.path()).failed.is_none());
    }
}
