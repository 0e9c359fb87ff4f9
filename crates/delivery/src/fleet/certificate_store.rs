//! The queries about certificates of agents and edges.

use bascule_core::{Digest, Timestamp};
use bascule_store::{Query, Result, Tx, args, row};
use bascule_wire::fleet::MemberKind;

row! {
    /// A certificate that was issued and counts.
    #[derive(Clone, Debug)]
    pub(crate) struct Row {
        pub kind: String,
        pub member: String,
        pub issued_at: Timestamp,
        pub expires_at: Timestamp,
        pub seen: bool,
    }
}

pub(crate) async fn insert(
    tx: &Tx,
    fingerprint: &Digest,
    (kind, member): (MemberKind, &str),
    (issued_at, expires_at): (Timestamp, Timestamp),
) -> Result<()> {
    let sql = "INSERT INTO member_certificate (fingerprint, kind, member, issued_at, expires_at, seen)
               VALUES ($1, $2, $3, $4, $5, $6)";
    tx.run(
        sql,
        args![
            fingerprint.hex(),
            kind.as_str(),
            member,
            issued_at,
            expires_at,
            false
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn get(db: &impl Query, fingerprint: &Digest) -> Result<Option<Row>> {
    let sql =
        "SELECT kind, member, issued_at, expires_at, seen FROM member_certificate WHERE fingerprint = $1";
    db.one(sql, args![fingerprint.hex()]).await
}

/// How many certificates a member has, those that are too old included.
pub(crate) async fn count(db: &impl Query, kind: MemberKind, member: &str) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM member_certificate WHERE kind = $1 AND member = $2";
    db.count(sql, args![kind.as_str(), member]).await
}

/// The member has shown this one: those before it are void.
pub(crate) async fn follow(tx: &Tx, fingerprint: &Digest, row: &Row) -> Result<()> {
    let sql = "UPDATE member_certificate SET seen = $2 WHERE fingerprint = $1";
    tx.run(sql, args![fingerprint.hex(), true]).await?;
    let sql = "DELETE FROM member_certificate
               WHERE kind = $1 AND member = $2 AND fingerprint <> $3 AND issued_at <= $4";
    let args = args![
        row.kind.as_str(),
        row.member.as_str(),
        fingerprint.hex(),
        row.issued_at
    ];
    tx.run(sql, args).await.map(drop)
}

/// All of a member's are void.
pub(crate) async fn forget(tx: &Tx, kind: MemberKind, member: &str) -> Result<()> {
    let sql = "DELETE FROM member_certificate WHERE kind = $1 AND member = $2";
    tx.run(sql, args![kind.as_str(), member]).await.map(drop)
}
