//! The queries about accounts.

use bascule_core::{InstanceRole, Timestamp, UserId};
use bascule_store::{Query, Result, Tx, args, bind_all, row};

row! {
    /// An account.
    #[derive(Clone, Debug)]
    pub struct Account {
        /// The account.
        pub id: UserId,
        /// The name one signs in with.
        pub username: String,
        /// What people call them.
        pub display_name: String,
        /// Where to write to; may be empty.
        pub email: String,
        /// Standing on the instance.
        pub instance_role: InstanceRole,
        /// Whether the account is open.
        pub active: bool,
        /// When it was created.
        pub created_at: Timestamp,
        /// When its holder last signed in with the password.
        pub last_sign_in_at: Option<Timestamp>,
        /// When an outside partner's account ends by itself.
        pub ends_at: Option<Timestamp>,
    }
}

impl Account {
    /// Whether it is open at this instant.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.active && self.ends_at.is_none_or(|end| end > now)
    }

    /// Whether it is an outside partner's.
    #[must_use]
    pub fn is_partner(&self) -> bool {
        self.instance_role == InstanceRole::External
    }
}

row! {
    /// What sign-in needs.
    pub(crate) struct Lock {
        pub(crate) id: UserId,
        pub(crate) username: String,
        pub(crate) password_hash: String,
        pub(crate) active: bool,
    }
}

pub(crate) const COLUMNS: &str =
    "id, username, display_name, email, instance_role, active, created_at, last_sign_in_at, ends_at";

pub(crate) async fn by_id(db: &impl Query, id: UserId) -> Result<Option<Account>> {
    db.one(&format!("SELECT {COLUMNS} FROM account WHERE id = $1"), args![id])
        .await
}

pub(crate) async fn by_name(db: &impl Query, username: &str) -> Result<Option<Account>> {
    db.one(
        &format!("SELECT {COLUMNS} FROM account WHERE username = $1"),
        args![username],
    )
    .await
}

/// Open accounts that have one of these addresses, given in lower case.
pub(crate) async fn by_emails(db: &impl Query, addresses: &[String]) -> Result<Vec<Account>> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, addresses);
    let sql = format!(
        "SELECT {COLUMNS} FROM account WHERE active = TRUE AND LOWER(email) IN ({places}) ORDER BY id LIMIT 2000"
    );
    db.all(&sql, values).await
}

/// The open account that alone has this address, given in lower case, if it did not choose the address by itself.
pub(crate) async fn by_given_email(db: &impl Query, address: &str) -> Result<Option<Account>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM account WHERE active = TRUE AND LOWER(email) = $1 AND email_own = FALSE
         AND NOT EXISTS (SELECT 1 FROM account other WHERE other.id <> account.id AND LOWER(other.email) = $1
                         AND other.active = TRUE AND other.email_own = FALSE)"
    );
    db.one(&sql, args![address]).await
}

pub(crate) async fn lock_of(db: &impl Query, username: &str) -> Result<Option<Lock>> {
    let sql = "SELECT id, username, password_hash, active FROM account WHERE username = $1";
    db.one(sql, args![username]).await
}

pub(crate) async fn list(db: &impl Query, after: &str, limit: i64) -> Result<Vec<Account>> {
    let sql = format!("SELECT {COLUMNS} FROM account WHERE username > $1 ORDER BY username LIMIT $2");
    db.all(&sql, args![after, limit]).await
}

pub(crate) async fn count(db: &impl Query) -> Result<i64> {
    db.count("SELECT COUNT(*) AS n FROM account", args![]).await
}

pub(crate) async fn insert(tx: &Tx, account: &Account, password_hash: &str) -> Result<()> {
    tx.run(
        "INSERT INTO account
             (id, username, display_name, email, password_hash, instance_role, active, created_at, ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        args![
            account.id,
            account.username,
            account.display_name,
            account.email,
            password_hash,
            account.instance_role,
            account.active,
            account.created_at,
            account.ends_at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn set_profile(tx: &Tx, id: UserId, display_name: &str, email: &str) -> Result<bool> {
    let sql = "UPDATE account SET display_name = $2, email_own = CASE WHEN email = $3 THEN email_own ELSE TRUE END, email = $3
         WHERE id = $1 AND active = TRUE";
    Ok(tx.run(sql, args![id, display_name, email]).await? == 1)
}

pub(crate) async fn set_password(tx: &Tx, id: UserId, password_hash: &str) -> Result<()> {
    tx.run(
        "UPDATE account SET password_hash = $2 WHERE id = $1",
        args![id, password_hash],
    )
    .await
    .map(drop)
}

pub(crate) async fn set_role(
    tx: &Tx,
    id: UserId,
    role: InstanceRole,
    ends_at: Option<Timestamp>,
) -> Result<()> {
    tx.run(
        "UPDATE account SET instance_role = $2, ends_at = $3 WHERE id = $1",
        args![id, role, ends_at],
    )
    .await
    .map(drop)
}

pub(crate) async fn set_active(tx: &Tx, id: UserId, active: bool) -> Result<()> {
    tx.run("UPDATE account SET active = $2 WHERE id = $1", args![id, active])
        .await
        .map(drop)
}

/// Holds the account still until the end of the transaction; `false` where it is closed. What is given to an
/// account is given under this, so that nothing is given to one that is being closed.
pub(crate) async fn hold_open(tx: &Tx, id: UserId) -> Result<bool> {
    Ok(tx
        .run(
            "UPDATE account SET active = TRUE WHERE id = $1 AND active = TRUE",
            args![id],
        )
        .await?
        == 1)
}

/// Marks a sign-in, if the account is open and its password still the one that was checked.
pub(crate) async fn mark_sign_in(tx: &Tx, id: UserId, checked_hash: &str, at: Timestamp) -> Result<bool> {
    let sql = "UPDATE account SET last_sign_in_at = $3
               WHERE id = $1 AND password_hash = $2 AND active = TRUE AND (ends_at IS NULL OR ends_at > $3)";
    Ok(tx.run(sql, args![id, checked_hash, at]).await? == 1)
}

/// Open administrators' accounts, held still until the end of the transaction, so that two cannot close each
/// other.
pub(crate) async fn hold_administrators(tx: &Tx) -> Result<u64> {
    let sql = "UPDATE account SET active = TRUE WHERE instance_role = 'admin' AND active = TRUE";
    tx.run(sql, args![]).await
}
