//! Migrations: forward only, immutable once applied, one list per crate, applied in the order given.

use crate::{Db, Error, Query, Result, args, row};
use bascule_core::Digest;

/// One change of the schema. The SQL must mean the same on SQLite and PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// `crate-0001`; never reused.
    pub id: &'static str,
    /// Statements, each ended by a semicolon.
    pub sql: &'static str,
}

row! { struct Applied { id: String, digest: String } }

impl Db {
    /// Applies what was not applied yet, each migration in a transaction of its own.
    ///
    /// # Errors
    /// A migration fails, or one that was applied has changed since.
    pub async fn migrate(&self, lists: &[&[Migration]]) -> Result<()> {
        let tx = self.begin().await?;
        tx.script("CREATE TABLE IF NOT EXISTS migration (id TEXT PRIMARY KEY, digest TEXT NOT NULL)")
            .await?;
        tx.commit().await?;
        let applied: Vec<Applied> = self.all("SELECT id, digest FROM migration", args![]).await?;
        for migration in lists.iter().copied().flatten() {
            let digest = Digest::of(migration.sql.as_bytes()).to_string();
            if let Some(before) = applied.iter().find(|a| a.id == migration.id) {
                if before.digest != digest {
                    return Err(Error::MigrationChanged(migration.id.to_owned()));
                }
                continue;
            }
            let tx = self.begin().await?;
            for statement in migration.sql.split(';').map(str::trim).filter(|s| !s.is_empty()) {
                tx.script(statement).await?;
            }
            tx.run(
                "INSERT INTO migration (id, digest) VALUES ($1, $2)",
                args![migration.id, digest],
            )
            .await?;
            tx.commit().await?;
            tracing::info!(migration = migration.id, "applied");
        }
        Ok(())
    }
}
