//! Where state lives: one database (SQLite or PostgreSQL, the same SQL on both), migrations, numbers,
//! leases, and blobs. Knows nothing of what is stored.
//!
//! ```ignore
//! row! { struct Project { id: ProjectId, name: String, archived: bool } }
//! let project: Option<Project> = db.one("SELECT id, name, archived FROM project WHERE id = $1", args![id]).await?;
//!
//! let tx = db.begin().await?;
//! tx.run("UPDATE project SET name = $2 WHERE id = $1", args![id, name]).await?;
//! ledger.append(&tx, &actor, &fact).await?;
//! tx.commit().await?;
//! ```

mod blobs;
mod db;
mod error;
mod lease;
mod migrate;
mod row;

pub use blobs::{Aside, BlobWriter, Blobs, Space, StoredBlob};
pub use db::{Backend, Db, DbOptions, Query, Tx};
pub use error::{Error, Result};
pub use lease::Lease;
pub use migrate::Migration;
pub use row::{Column, FromRow, Json, Row, ToSql, bind, bind_all, places};
pub use sea_orm::Value;

/// Tables of this crate itself.
pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "store-0001",
    sql: "
        CREATE TABLE number (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
        CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until BIGINT NOT NULL);
    ",
}];
