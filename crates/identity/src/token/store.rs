//! The queries about access tokens.

use bascule_core::{GroupId, InstanceRole, ProjectId, Role, Scope, Timestamp, TokenId, UserId};
use bascule_store::{Json, Query, Result, Tx, args, row};

row! {
    /// A token and its account, as the gate reads them in one query.
    pub(crate) struct Found {
        pub(crate) id: TokenId,
        pub(crate) name: String,
        pub(crate) user_id: Option<UserId>,
        pub(crate) project_id: Option<ProjectId>,
        pub(crate) role: Option<Role>,
        pub(crate) scopes: Json<Vec<Scope>>,
        pub(crate) expires_at: Option<Timestamp>,
        pub(crate) last_used_at: Option<Timestamp>,
        pub(crate) revoked_at: Option<Timestamp>,
        pub(crate) username: Option<String>,
        pub(crate) instance_role: Option<InstanceRole>,
        pub(crate) active: Option<bool>,
        pub(crate) account_ends_at: Option<Timestamp>,
    }
}

row! {
    /// A token in a list.
    pub(crate) struct Token {
        pub(crate) id: TokenId,
        pub(crate) name: String,
        pub(crate) scopes: Json<Vec<Scope>>,
        pub(crate) role: Option<Role>,
        pub(crate) created_by: String,
        pub(crate) created_at: Timestamp,
        pub(crate) expires_at: Option<Timestamp>,
        pub(crate) last_used_at: Option<Timestamp>,
    }
}

impl Token {
    /// Whether its time is over.
    pub(crate) fn ended(&self, now: &Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= *now)
    }
}

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It acts as this person.
    Person(UserId),
    /// It acts for a program in this project, with this role.
    Project(ProjectId, GroupId, Role),
}

const LISTED: &str =
    "t.id AS id, t.name AS name, t.scopes AS scopes, t.role AS role, c.username AS created_by,
    t.created_at AS created_at, t.expires_at AS expires_at, t.last_used_at AS last_used_at
    FROM access_token t JOIN account c ON c.id = t.created_by";

pub(crate) async fn by_hash(db: &impl Query, hash: &str) -> Result<Option<Found>> {
    db.one(
        "SELECT t.id AS id, t.name AS name, t.user_id AS user_id, t.project_id AS project_id, t.role AS role,
                t.scopes AS scopes, t.expires_at AS expires_at, t.last_used_at AS last_used_at,
                t.revoked_at AS revoked_at, a.username AS username, a.instance_role AS instance_role,
                a.active AS active, a.ends_at AS account_ends_at
         FROM access_token t LEFT JOIN account a ON a.id = t.user_id WHERE t.secret_hash = $1",
        args![hash],
    )
    .await
}

pub(crate) async fn insert(tx: &Tx, token: &Token, hash: &str, owner: Owner, creator: UserId) -> Result<()> {
    let (user, project, group) = match owner {
        Owner::Person(user) => (Some(user), None, None),
        Owner::Project(project, group, _) => (None, Some(project), Some(group)),
    };
    tx.run(
        "INSERT INTO access_token
             (id, secret_hash, name, user_id, project_id, group_id, role, scopes, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        args![
            token.id,
            hash,
            token.name,
            user,
            project,
            group,
            token.role,
            token.scopes,
            creator,
            token.created_at,
            token.expires_at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn of_user(db: &impl Query, user: UserId) -> Result<Vec<Token>> {
    let sql = format!(
        "SELECT {LISTED} WHERE t.user_id = $1 AND t.revoked_at IS NULL ORDER BY t.created_at DESC LIMIT 100"
    );
    db.all(&sql, args![user]).await
}

pub(crate) async fn of_project(db: &impl Query, project: ProjectId) -> Result<Vec<Token>> {
    let sql = format!(
        "SELECT {LISTED} WHERE t.project_id = $1 AND t.revoked_at IS NULL ORDER BY t.created_at DESC LIMIT 100"
    );
    db.all(&sql, args![project]).await
}

/// Live tokens of an account or project.
pub(crate) async fn count(db: &impl Query, owner: Owner) -> Result<i64> {
    match owner {
        Owner::Person(user) => {
            let sql = "SELECT COUNT(*) AS n FROM access_token WHERE user_id = $1 AND revoked_at IS NULL";
            db.count(sql, args![user]).await
        }
        Owner::Project(project, ..) => {
            let sql = "SELECT COUNT(*) AS n FROM access_token WHERE project_id = $1 AND revoked_at IS NULL";
            db.count(sql, args![project]).await
        }
    }
}

row! { pub(crate) struct Named { pub(crate) name: String } }

/// Revokes a token of an account or project; its name, or `None` where there is no such live one.
pub(crate) async fn revoke(
    tx: &Tx,
    id: TokenId,
    user: Option<UserId>,
    project: Option<ProjectId>,
    now: Timestamp,
) -> Result<Option<String>> {
    let named: Option<Named> = tx
        .one(
            "UPDATE access_token SET revoked_at = $4
             WHERE id = $1 AND (user_id = $2 OR project_id = $3) AND revoked_at IS NULL RETURNING name",
            args![id, user, project, now],
        )
        .await?;
    Ok(named.map(|named| named.name))
}

/// Revokes every token that acts as this person or was created by them.
pub(crate) async fn revoke_all(tx: &Tx, user: UserId, now: Timestamp) -> Result<u64> {
    let sql = "UPDATE access_token SET revoked_at = $2 WHERE (user_id = $1 OR created_by = $1) AND revoked_at IS NULL";
    tx.run(sql, args![user, now]).await
}

row! { pub(crate) struct Revoked { pub(crate) id: TokenId, pub(crate) name: String, pub(crate) project_id: Option<ProjectId> } }

/// Revokes the project tokens that this person created in a project or in a group's projects.
pub(crate) async fn revoke_created(
    tx: &Tx,
    user: UserId,
    group: Option<GroupId>,
    project: Option<ProjectId>,
    now: Timestamp,
) -> Result<Vec<Revoked>> {
    tx.all(
        "UPDATE access_token SET revoked_at = $4
         WHERE created_by = $1 AND (group_id = $2 OR project_id = $3) AND revoked_at IS NULL
         RETURNING id, name, project_id",
        args![user, group, project, now],
    )
    .await
}

/// Notes the use of a token, unless another request has just done so.
pub(crate) async fn touch(tx: &Tx, id: TokenId, now: Timestamp, unless_since: Timestamp) -> Result<()> {
    let sql = "UPDATE access_token SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)";
    tx.run(sql, args![id, now, unless_since]).await.map(drop)
}

row! { pub(crate) struct Ends { pub(crate) expires_at: Option<Timestamp> } }

/// When a token ends.
pub(crate) async fn end_of(db: &impl Query, id: TokenId) -> Result<Option<Timestamp>> {
    let ends: Option<Ends> = db
        .one("SELECT expires_at FROM access_token WHERE id = $1", args![id])
        .await?;
    Ok(ends.and_then(|ends| ends.expires_at))
}
