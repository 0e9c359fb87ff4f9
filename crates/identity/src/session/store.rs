//! The queries about sessions.

use bascule_core::{InstanceRole, SessionId, Timestamp, UserId};
use bascule_store::{Query, Result, Tx, args, row};

row! {
    /// A session and its account, as the gate reads them in one query.
    pub(crate) struct Live {
        pub(crate) id: SessionId,
        pub(crate) user_id: UserId,
        pub(crate) last_used_at: Timestamp,
        pub(crate) username: String,
        pub(crate) instance_role: InstanceRole,
    }
}

row! {
    /// A session in its holder's list.
    pub(crate) struct Session {
        pub(crate) id: SessionId,
        pub(crate) secret_hash: String,
        pub(crate) created_at: Timestamp,
        pub(crate) last_used_at: Timestamp,
        pub(crate) address: String,
        pub(crate) user_agent: String,
    }
}

/// The session of this secret, if it was used since `oldest` and its account is open.
pub(crate) async fn live(
    db: &impl Query,
    secret_hash: &str,
    oldest: Timestamp,
    now: Timestamp,
) -> Result<Option<Live>> {
    db.one(
        "SELECT s.id AS id, s.user_id AS user_id, s.last_used_at AS last_used_at,
                a.username AS username, a.instance_role AS instance_role
         FROM session s JOIN account a ON a.id = s.user_id
         WHERE s.secret_hash = $1 AND s.last_used_at >= $2 AND a.active = TRUE
           AND (a.ends_at IS NULL OR a.ends_at > $3)",
        args![secret_hash, oldest, now],
    )
    .await
}

pub(crate) async fn insert(tx: &Tx, user: UserId, session: &Session) -> Result<()> {
    tx.run(
        "INSERT INTO session (id, secret_hash, user_id, created_at, last_used_at, address, user_agent)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        args![
            session.id,
            session.secret_hash,
            user,
            session.created_at,
            session.last_used_at,
            session.address,
            session.user_agent
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn of_user(db: &impl Query, user: UserId, oldest: Timestamp) -> Result<Vec<Session>> {
    db.all(
        "SELECT id, secret_hash, created_at, last_used_at, address, user_agent FROM session
         WHERE user_id = $1 AND last_used_at >= $2 ORDER BY last_used_at DESC LIMIT 100",
        args![user, oldest],
    )
    .await
}

/// Notes the use of a session, unless another request has just done so.
pub(crate) async fn touch(tx: &Tx, id: SessionId, now: Timestamp, unless_since: Timestamp) -> Result<()> {
    let sql = "UPDATE session SET last_used_at = $2 WHERE id = $1 AND last_used_at < $3";
    tx.run(sql, args![id, now, unless_since]).await.map(drop)
}

/// Gives a session a new secret.
pub(crate) async fn rotate(tx: &Tx, old_hash: &str, new_hash: &str) -> Result<bool> {
    let sql = "UPDATE session SET secret_hash = $2 WHERE secret_hash = $1";
    Ok(tx.run(sql, args![old_hash, new_hash]).await? == 1)
}

/// Ends one session of an account.
pub(crate) async fn end(tx: &Tx, user: UserId, id: SessionId) -> Result<bool> {
    Ok(tx
        .run(
            "DELETE FROM session WHERE id = $1 AND user_id = $2",
            args![id, user],
        )
        .await?
        == 1)
}

/// Ends all sessions of an account but the one whose secret has this hash.
pub(crate) async fn end_all(tx: &Tx, user: UserId, except_hash: &str) -> Result<u64> {
    tx.run(
        "DELETE FROM session WHERE user_id = $1 AND secret_hash <> $2",
        args![user, except_hash],
    )
    .await
}

/// Removes what nobody can use any more.
pub(crate) async fn prune(tx: &Tx, oldest: Timestamp) -> Result<()> {
    tx.run("DELETE FROM session WHERE last_used_at < $1", args![oldest])
        .await
        .map(drop)
}
