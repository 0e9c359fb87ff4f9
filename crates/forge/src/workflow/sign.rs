//! Signatures of commits: SSH signatures, verified here and not by a process for each commit. Whose key it is,
//! identity says.

use super::{Commit, ask::Place};
use crate::Forge;
use bascule_core::{Problem, Result};
use russh::keys::ssh_key::{HashAlg, PublicKey, SshSig};
use std::collections::HashSet;

/// What git signs under (PROTOCOL.sshsig; git's `gpg.format=ssh`).
const NAMESPACE: &str = "git";

/// What a commit says of its signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    /// By git's letters; `U` until it is known whose key it is.
    verdict: char,
    /// The key's fingerprint, where the signature is good.
    key: String,
    committer: String,
}

/// A commit as it is stored, split into what was signed and the signature.
fn split(raw: &[u8]) -> (Vec<u8>, Vec<u8>, String) {
    let (mut signed, mut signature, mut committer) =
        (Vec::with_capacity(raw.len()), Vec::new(), String::new());
    let (mut within, mut rest) = (false, raw);
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        if line == b"\n" {
            break;
        }
        rest = after;
        let first = line.strip_prefix(b"gpgsig ");
        within = first.is_some() || (within && line.first() == Some(&b' '));
        if within {
            signature.extend_from_slice(first.unwrap_or_else(|| line.get(1..).unwrap_or_default()));
            continue;
        }
        if let Some(who) = line.strip_prefix(b"committer ") {
            let text = String::from_utf8_lossy(who);
            let address = text.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>'));
            committer = address
                .map(|(address, _)| address.trim().to_owned())
                .unwrap_or_default();
        }
        signed.extend_from_slice(line);
    }
    signed.extend_from_slice(rest);
    (signed, signature, committer)
}

fn read(raw: &[u8]) -> Read {
    let (signed, signature, committer) = split(raw);
    let told = |verdict, key| Read {
        verdict,
        key,
        committer,
    };
    if signature.is_empty() {
        return told('N', String::new());
    }
    if !signature.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        // Accounts have SSH keys alone, so nobody's key signed it.
        return told('E', String::new());
    }
    let Ok(signature) = SshSig::from_pem(&signature) else {
        return told('B', String::new());
    };
    let key = PublicKey::from(signature.public_key().clone());
    match key.verify(NAMESPACE, &signed, &signature) {
        Ok(()) => told('U', key.fingerprint(HashAlg::Sha256).to_string()),
        Err(_) => told('B', String::new()),
    }
}

/// Reads hostile bytes.
pub(super) fn hostile(data: &[u8]) {
    read(data);
}

impl Forge {
    /// Notes of each commit how its signature stands.
    pub(super) async fn verify_commits(&self, place: &Place<'_>, commits: &mut [Commit]) -> Result<()> {
        let names: Vec<String> = commits.iter().map(|commit| commit.sha.clone()).collect();
        let objects = place.objects(&names).await?;
        let all = tokio::task::spawn_blocking(move || {
            let read = |object: Option<Vec<u8>>| object.map(|raw| read(&raw));
            objects.into_iter().map(read).collect::<Vec<_>>()
        })
        .await
        .map_err(|_| Problem::internal())?;
        let keys: HashSet<String> = all.iter().flatten().map(|read| read.key.clone()).collect();
        let keys: Vec<String> = keys.into_iter().filter(|key| !key.is_empty()).collect();
        let owners = match self.signers() {
            Some(signers) if !keys.is_empty() => signers.addresses(&keys).await?,
            _ => Vec::new(),
        };
        for (commit, read) in commits.iter_mut().zip(all) {
            // What was not read was not verified.
            let read = read.unwrap_or(Read {
                verdict: 'E',
                ..Read::default()
            });
            let owner = owners.iter().find(|(key, _)| *key == read.key);
            commit.signature = match owner {
                Some((_, address)) if address.eq_ignore_ascii_case(&read.committer) => 'G',
                Some(_) => 'M',
                None => read.verdict,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use russh::keys::ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};

    const HEAD: &str =
        "tree 1\nauthor A <a@example.org> 1 +0000\ncommitter B <developer@example.org> 1 +0000\n";

    fn commit(key: &PrivateKey, said: &str, signed: &str) -> Vec<u8> {
        let signature = key
            .sign(NAMESPACE, HashAlg::Sha512, format!("{HEAD}\n{signed}").as_bytes())
            .unwrap();
        let pem = signature.to_pem(LineEnding::LF).unwrap();
        let lines: Vec<&str> = pem.trim_end().lines().collect();
        format!("{HEAD}gpgsig {}\n\n{said}", lines.join("\n ")).into_bytes()
    }

    #[test]
    fn a_signature_is_good_for_what_was_signed_and_nothing_else() {
        let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
        let good = read(&commit(&key, "Mend #3\n", "Mend #3\n"));
        assert_eq!(
            (good.verdict, good.committer.as_str()),
            ('U', "developer@example.org")
        );
        assert_eq!(good.key, key.fingerprint(HashAlg::Sha256).to_string());
        assert_eq!(read(&commit(&key, "Mend #4\n", "Mend #3\n")).verdict, 'B');
        assert_eq!(read(format!("{HEAD}\nMend").as_bytes()).verdict, 'N');
        let other = format!("{HEAD}gpgsig -----BEGIN PGP SIGNATURE-----\n x\n\nMend");
        assert_eq!(read(other.as_bytes()).verdict, 'E');
    }

    proptest! {
        #[test]
        fn no_commit_is_too_odd(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&raw);
            read(&[b"gpgsig -----BEGIN SSH SIGNATURE-----\n".as_slice(), &raw].concat());
        }
    }
}
