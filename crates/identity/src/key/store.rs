//! The queries about SSH keys.

use bascule_core::{InstanceRole, KeyId, Timestamp, UserId};
use bascule_store::{Query, Result, Tx, args, bind_all, row};

row! {
    /// A key in its holder's list.
    pub(crate) struct Key {
        pub(crate) id: KeyId,
        pub(crate) title: String,
        pub(crate) algorithm: String,
        pub(crate) fingerprint: String,
        pub(crate) created_at: Timestamp,
        pub(crate) last_used_at: Option<Timestamp>,
    }
}

row! {
    /// A key and its account, as the gate of SSH reads them in one query.
    pub(crate) struct Found {
        pub(crate) id: KeyId,
        pub(crate) last_used_at: Option<Timestamp>,
        pub(crate) user_id: UserId,
        pub(crate) username: String,
        pub(crate) instance_role: InstanceRole,
    }
}

pub(crate) async fn by_fingerprint(
    db: &impl Query,
    fingerprint: &str,
    now: Timestamp,
) -> Result<Option<Found>> {
    db.one(
        "SELECT k.id AS id, k.last_used_at AS last_used_at, a.id AS user_id, a.username AS username,
                a.instance_role AS instance_role
         FROM ssh_key k JOIN account a ON a.id = k.user_id WHERE k.fingerprint = $1 AND a.active = TRUE
           AND (a.ends_at IS NULL OR a.ends_at > $2)",
        args![fingerprint, now],
    )
    .await
}

/// Whether the key is some person's, also where it opens nothing at present.
pub(crate) async fn is_taken(db: &impl Query, fingerprint: &str) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM ssh_key WHERE fingerprint = $1";
    Ok(db.count(sql, args![fingerprint]).await? > 0)
}

row! { struct Alive { fingerprint: String } }

/// Those of the keys that still open something.
pub(crate) async fn alive(db: &impl Query, fingerprints: &[String], now: Timestamp) -> Result<Vec<String>> {
    let mut alive = Vec::new();
    for some in fingerprints.chunks(200) {
        let mut values = args![now];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "SELECT k.fingerprint AS fingerprint FROM ssh_key k JOIN account a ON a.id = k.user_id
             WHERE a.active = TRUE AND (a.ends_at IS NULL OR a.ends_at > $1) AND k.fingerprint IN ({places})
             UNION ALL SELECT fingerprint FROM deploy_key WHERE fingerprint IN ({places})"
        );
        let rows: Vec<Alive> = db.all(&sql, values).await?;
        alive.extend(rows.into_iter().map(|row| row.fingerprint));
    }
    Ok(alive)
}

row! { struct Address { fingerprint: String, email: String } }

/// Those of the keys that belong to open accounts, with the account's address.
pub(crate) async fn addresses(db: &impl Query, fingerprints: &[String]) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for some in fingerprints.chunks(500) {
        let mut values = args![];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "SELECT k.fingerprint AS fingerprint, a.email AS email FROM ssh_key k JOIN account a ON a.id = k.user_id
             WHERE a.active = TRUE AND k.fingerprint IN ({places})"
        );
        let rows: Vec<Address> = db.all(&sql, values).await?;
        found.extend(rows.into_iter().map(|row| (row.fingerprint, row.email)));
    }
    Ok(found)
}

pub(crate) async fn of_user(db: &impl Query, user: UserId) -> Result<Vec<Key>> {
    db.all(
        "SELECT id, title, algorithm, fingerprint, created_at, last_used_at FROM ssh_key
         WHERE user_id = $1 ORDER BY created_at DESC LIMIT 100",
        args![user],
    )
    .await
}

pub(crate) async fn count(db: &impl Query, user: UserId) -> Result<i64> {
    db.count(
        "SELECT COUNT(*) AS n FROM ssh_key WHERE user_id = $1",
        args![user],
    )
    .await
}

pub(crate) async fn insert(tx: &Tx, user: UserId, key: &Key, line: &str) -> Result<()> {
    tx.run(
        "INSERT INTO ssh_key (id, user_id, title, algorithm, public_key, fingerprint, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        args![
            key.id,
            user,
            key.title,
            key.algorithm,
            line,
            key.fingerprint,
            key.created_at
        ],
    )
    .await
    .map(drop)
}

row! { struct Gone { fingerprint: String } }

/// Removes a key of an account; its fingerprint, or `None` where there is no such one.
pub(crate) async fn remove(tx: &Tx, user: UserId, id: KeyId) -> Result<Option<String>> {
    let sql = "DELETE FROM ssh_key WHERE id = $1 AND user_id = $2 RETURNING fingerprint";
    Ok(tx
        .one::<Gone>(sql, args![id, user])
        .await?
        .map(|gone| gone.fingerprint))
}

/// Removes all keys of an account.
pub(crate) async fn remove_all(tx: &Tx, user: UserId) -> Result<u64> {
    tx.run("DELETE FROM ssh_key WHERE user_id = $1", args![user])
        .await
}

/// Notes the use of a key, unless another connection has just done so.
pub(crate) async fn touch(tx: &Tx, id: KeyId, now: Timestamp, unless_since: Timestamp) -> Result<()> {
    let sql =
        "UPDATE ssh_key SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)";
    tx.run(sql, args![id, now, unless_since]).await.map(drop)
}
