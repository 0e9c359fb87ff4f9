//! The last desired state, kept on disk so that an agent started while the server is away knows what to run.

use bascule_wire::agent::DesiredState;
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Where it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept(PathBuf);

impl Kept {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self(data_dir.join("desired.json"))
    }

    /// What was kept, if it can be read. A damaged file is as good as none: the server tells it again.
    pub(crate) fn read(&self) -> Option<DesiredState> {
        let text = fs::read(&self.0).ok()?;
        match serde_json::from_slice(&text) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(file = %self.0.display(), %error, "the kept state cannot be read");
                None
            }
        }
    }

    /// Keeps a state: whole or not at all. Only for this user, as variables may hold secrets.
    ///
    /// Tasks are not kept: they are begun at the server's present word, never at an old one.
    pub(crate) fn write(&self, state: &DesiredState) -> io::Result<()> {
        let state = DesiredState {
            tasks: Vec::new(),
            ..state.clone()
        };
        let folder = self.0.parent().ok_or(io::ErrorKind::NotFound)?;
        // Temporary files get mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, &state)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::desired;

    #[test]
    fn what_was_kept_reads_back_and_damage_reads_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path());
        assert!(kept.read().is_none());
        let state = DesiredState {
            revision: 7,
            instances: vec![desired()],
            ..DesiredState::default()
        };
        kept.write(&state).unwrap();
        assert_eq!(kept.read().unwrap().instances, state.instances);
        fs::write(folder.path().join("desired.json"), "{\"revision\":").unwrap();
        assert!(kept.read().is_none());
    }
}
