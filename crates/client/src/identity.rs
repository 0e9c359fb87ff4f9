//! What a machine shows to the instance that it is enrolled in: a token, and a certificate for a key that never
//! leaves the machine. One file, mode 0600, replaced whole or not at all.

use crate::{Client, Method};
use bascule_core::{Digest, Problem, Result, Timestamp};
use bascule_wire::fleet::{Certified, MemberKind, Renew};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// An identity.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Agent or edge.
    pub kind: MemberKind,
    /// What it is called.
    pub name: String,
    /// The server's address for agents.
    pub server: String,
    /// Its token.
    pub token: String,
    /// The instance's authority, in PEM.
    pub authority: String,
    /// Its certificate, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
    /// When it got the certificate, by this machine's clock.
    pub received_at: Timestamp,
    /// How long the certificate is good from then on, in seconds.
    pub life_seconds: u64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Token and key stay out of logs.
        f.debug_struct("Identity")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// A fresh key, and a request for a certificate for it.
pub struct Request {
    /// The key, in PEM.
    pub key: String,
    /// The request, in PEM.
    pub csr: String,
}

impl Request {
    /// Makes an ECDSA key on P-256.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Self> {
        let made = || -> std::result::Result<Self, rcgen::Error> {
            let key = rcgen::KeyPair::generate()?;
            let mut params = rcgen::CertificateParams::default();
            // The server names the holder; what is asked for here counts for nothing.
            params.distinguished_name = rcgen::DistinguishedName::new();
            let csr = params.serialize_request(&key)?.pem()?;
            Ok(Self {
                key: key.serialize_pem(),
                csr,
            })
        };
        made().map_err(|error| Problem::new(500, "no_key", "No key can be made.").why(format!("{error}.")))
    }
}

impl Identity {
    /// Where it is kept in a data directory.
    #[must_use]
    pub fn file(data: &Path, kind: MemberKind) -> PathBuf {
        data.join(format!("{kind}.identity"))
    }

    /// The one kept, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn load(file: &Path) -> Result<Option<Self>> {
        let bad = |why: String| {
            Problem::new(500, "bad_identity", format!("{} cannot be used.", file.display()))
                .why(why)
                .next("Restore it, or remove it and enrol anew with a code.")
        };
        match std::fs::read(file) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| bad(format!("{error}."))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(bad(format!("{error}."))),
        }
    }

    /// Keeps it in place of the one before.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let folder = file.parent().ok_or(io::ErrorKind::NotFound)?;
        // Temporary files get mode 0600.
        let mut kept = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut kept, self)?;
        kept.flush()?;
        kept.as_file().sync_all()?;
        kept.persist(file)?;
        std::fs::File::open(folder)?.sync_all()
    }

    /// The digest by which the authority was pinned.
    #[must_use]
    pub fn authority_fingerprint(&self) -> Option<Digest> {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        let der = CertificateDer::from_pem_slice(self.authority.as_bytes()).ok()?;
        Some(Digest::of(&der))
    }

    /// When to ask for the next certificate: at two thirds of this one's life.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        self.received_at
            .plus(Duration::from_secs(self.life_seconds) * 2 / 3)
    }

    /// Asks for the next certificate with this one, keeps it, and lets the client show it. The one before stays
    /// in force where anything fails.
    ///
    /// # Errors
    /// The server's refusal, `unreachable`, or a disk that cannot be written.
    pub async fn renew(&mut self, client: &Client, file: &Path, now: Timestamp) -> Result<()> {
        let request = Request::new()?;
        let asked = Renew {
            kind: self.kind,
            csr: request.csr,
        };
        let certified: Certified = client
            .request(Method::POST, "/api/v1/agent/certificate")
            .json(&asked)?
            .send()
            .await?
            .json()
            .await?;
        let next = Self {
            certificate: certified.certificate,
            key: request.key,
            received_at: now,
            life_seconds: certified.life_seconds,
            ..self.clone()
        };
        next.save(file).map_err(|error| {
            Problem::new(
                507,
                "unwritable",
                format!("{} cannot be written.", file.display()),
            )
            .why(format!("{error}."))
            .next("Make room, or give this user the right to write there.")
        })?;
        client.show(&next)?;
        *self = next;
        Ok(())
    }

    /// Renews the certificate again and again, each in time, for as long as it is waited for.
    pub async fn keep_fresh(mut self, client: Client, file: PathBuf, now: impl Fn() -> Timestamp) {
        /// Least and longest pause between two looks: clocks may be set.
        const LEAST: Duration = Duration::from_millis(500);
        const MOST: Duration = Duration::from_secs(3600);
        loop {
            let left = self.renew_at().since(now());
            // More than a whole life is left where the clock was set back.
            if left > Duration::ZERO && left <= Duration::from_secs(self.life_seconds) {
                tokio::time::sleep(left.clamp(LEAST, MOST)).await;
                continue;
            }
            match self.renew(&client, &file, now()).await {
                Ok(()) => tracing::info!(name = self.name, "the certificate was renewed"),
                Err(problem) => {
                    let life = Duration::from_secs(self.life_seconds);
                    tracing::warn!(%problem, "the certificate cannot be renewed yet");
                    tokio::time::sleep((life / 100).clamp(LEAST, Duration::from_secs(60))).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_identity_is_kept_for_its_user_alone_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = Identity::file(folder.path(), MemberKind::Agent);
        assert!(Identity::load(&file).unwrap().is_none());
        let identity = Identity {
            kind: MemberKind::Agent,
            name: "site-7".into(),
            server: "https://127.0.0.1:1".into(),
            token: "bagt-1".into(),
            authority: String::new(),
            certificate: String::new(),
            key: Request::new().unwrap().key,
            received_at: Timestamp::from_seconds(1_000),
            life_seconds: 300,
        };
        identity.save(&file).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Identity::load(&file).unwrap().unwrap();
        assert_eq!(
            (again.token.as_str(), again.renew_at()),
            ("bagt-1", Timestamp::from_seconds(1_200))
        );
        assert!(!format!("{again:?}").contains("bagt-1"));
        std::fs::write(&file, "{").unwrap();
        assert_eq!(Identity::load(&file).unwrap_err().code, "bad_identity");
    }
}
