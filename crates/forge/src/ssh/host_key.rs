//! The server's own key: made at the first start, kept beside the data, never shown but for its public half.

use crate::OpenError;
use russh::keys::{
    HashAlg, PrivateKey,
    ssh_key::{LineEnding, private::Ed25519Keypair},
};
use std::{
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Its file in the data directory.
pub const HOST_KEY_FILE: &str = "ssh_host_ed25519_key";

/// The server's key.
#[derive(Clone)]
pub(crate) struct HostKey {
    key: PrivateKey,
    /// As `ssh-keygen -l` and `ssh` print it.
    pub(crate) fingerprint: String,
    /// `ssh-ed25519 …`, for a known_hosts file.
    pub(crate) public: String,
}

impl HostKey {
    /// Reads it, or makes it.
    pub(crate) fn load_or_create(data: &Path) -> Result<Self, OpenError> {
        let path = data.join(HOST_KEY_FILE);
        let read = read(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => create(&path),
            _ => Err(error),
        });
        let key = read.map_err(|error| OpenError::Io { path, error })?;
        let public = key.public_key().to_openssh().unwrap_or_default();
        Ok(Self {
            fingerprint: fingerprint(&key),
            public: public.split(' ').take(2).collect::<Vec<_>>().join(" "),
            key,
        })
    }

    pub(crate) fn private(&self) -> PrivateKey {
        self.key.clone()
    }
}

/// The fingerprint of the host key in a data directory, if there is one: for `bascule doctor`.
#[must_use]
pub fn fingerprint_of(data: &Path) -> Option<String> {
    read(&data.join(HOST_KEY_FILE)).ok().map(|key| fingerprint(&key))
}

fn fingerprint(key: &PrivateKey) -> String {
    key.public_key().fingerprint(HashAlg::Sha256).to_string()
}

fn read(path: &Path) -> io::Result<PrivateKey> {
    let text = std::fs::read_to_string(path)?;
    PrivateKey::from_openssh(text).map_err(io::Error::other)
}

fn create(path: &Path) -> io::Result<PrivateKey> {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()));
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    // Whole or not at all: a half key would lock everybody out.
    let fresh = path.with_extension("new");
    drop(std::fs::remove_file(&fresh));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_made_once_and_is_for_the_server_alone() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(fingerprint_of(data.path()), None);
        let first = HostKey::load_or_create(data.path()).unwrap();
        let again = HostKey::load_or_create(data.path()).unwrap();
        assert_eq!(first.fingerprint, again.fingerprint);
        assert_eq!(fingerprint_of(data.path()), Some(first.fingerprint));
        assert!(first.public.starts_with("ssh-ed25519 AAAA"), "{}", first.public);
        let mode = std::fs::metadata(data.path().join(HOST_KEY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(data.path().join(HOST_KEY_FILE), "rubbish").unwrap();
        assert!(HostKey::load_or_create(data.path()).is_err(), "never replaced");
    }
}
