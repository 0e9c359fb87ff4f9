//! What all rooms of this crate keep.

use bascule_store::{Query, Result, Tx, args};

/// Notes that a subscriber heard a fact; `false` where it had heard it before, and nothing is to be done. On
/// PostgreSQL another replica that hears the same fact waits here for the end of this transaction.
pub(crate) async fn hear(tx: &Tx, name: &str, seq: i64) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE notice_heard SET seq = $2 WHERE name = $1 AND seq < $2",
            args![name, seq],
        )
        .await?;
    Ok(changed > 0)
}

/// The number of the last fact that a subscriber heard.
pub(crate) async fn heard(on: &impl Query, name: &str) -> Result<i64> {
    on.count("SELECT seq AS n FROM notice_heard WHERE name = $1", args![name])
        .await
}
