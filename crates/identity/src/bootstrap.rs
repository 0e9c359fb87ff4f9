//! The first administrator, without whom nobody could create anyone.

use crate::{
    Identity, secret, token,
    user::{self, Account, service::created},
};
use bascule_core::{Actor, InstanceRole, Problem, Result, Scope, TokenId, UserId};
use bascule_store::Json;
use std::{
    io::{ErrorKind, Write as _},
    path::Path,
};

/// The first administrator's user name. No account can be created by this name later: it is reserved.
const FIRST: &str = "admin";
/// Holds the first administrator's token.
pub const TOKEN_FILE: &str = "admin.token";
/// Holds the first administrator's first password.
pub const PASSWORD_FILE: &str = "admin.password";

impl Identity {
    /// Creates the account `admin` on an instance that has no account yet, and leaves its token and its
    /// first password in two files of `dir` that only the server's own account can read. Calling it again
    /// changes nothing.
    ///
    /// # Errors
    /// The files cannot be written, or the database refuses.
    pub async fn bootstrap(&self, dir: &Path) -> Result<()> {
        if user::store::count(self.db()).await? > 0 {
            return Ok(());
        }
        // The files first: after a crash between the two, the secrets in them are taken up again.
        let dir_of = dir.to_owned();
        let written = tokio::task::spawn_blocking(move || -> std::io::Result<(String, String)> {
            let token = keep(
                &dir_of.join(TOKEN_FILE),
                |text| text.starts_with(secret::TOKEN_PREFIX),
                secret::token,
            )?;
            let password = keep(
                &dir_of.join(PASSWORD_FILE),
                |text| text.len() >= 20,
                secret::password,
            )?;
            Ok((token, password))
        });
        let (token, password) = match written.await {
            Ok(Ok(secrets)) => secrets,
            Ok(Err(error)) => {
                return Err(Problem::new(
                    500,
                    "data_dir",
                    format!("The data directory cannot be written: {error}."),
                )
                .why("The first administrator's token and password are left there.")
                .next(format!(
                    "Make {} writable for this account, with space left.",
                    dir.display()
                )));
            }
            Err(_) => return Err(Problem::internal()),
        };
        let hash = self.hasher().hash(&password).await?;
        let account = Account {
            id: UserId::new(),
            username: FIRST.to_owned(),
            display_name: "Administrator".to_owned(),
            email: String::new(),
            instance_role: InstanceRole::Admin,
            active: true,
            created_at: self.now(),
            last_sign_in_at: None,
            ends_at: None,
        };
        let first = token::Token {
            id: TokenId::new(),
            name: TOKEN_FILE.to_owned(),
            scopes: Json(vec![Scope::Api]),
            role: None,
            created_by: FIRST.to_owned(),
            created_at: self.now(),
            expires_at: None,
            last_used_at: None,
        };
        let tx = self.db().begin().await?;
        if user::store::count(&tx).await? > 0 {
            return Ok(());
        }
        match user::store::insert(&tx, &account, &hash).await {
            Ok(()) => {}
            // Another replica was first.
            Err(error) if error.is_unique_violation() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let actor = Actor::system();
        self.ledger().append(&tx, &actor, &created(&account)).await?;
        let owner = token::store::Owner::Person(account.id);
        self.insert_token(&tx, &actor, &first, &token, owner, account.id)
            .await?;
        tx.commit().await?;
        tracing::info!(
            dir = %dir.display(),
            "created the first administrator, `{FIRST}`; its password is in {PASSWORD_FILE}, its token in {TOKEN_FILE}"
        );
        Ok(())
    }
}

/// The secret in a file, or a new one put there.
fn keep(path: &Path, good: impl Fn(&str) -> bool, make: impl Fn() -> String) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) if good(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = make();
    // Beside it first, so that nobody ever reads half a secret.
    let draft = path.with_extension("new");
    drop(std::fs::remove_file(&draft));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(format!("{secret}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(secret)
}
