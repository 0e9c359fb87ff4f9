//! The queries about outside partners.

use crate::user::{Account, store::COLUMNS};
use bascule_core::{ProjectId, Role, Timestamp, UserId};
use bascule_store::{Query, Result, Tx, args, bind, bind_all, row};

row! {
    /// A role of a partner in a project.
    #[derive(Clone)]
    pub(crate) struct Given {
        pub(crate) user_id: UserId,
        pub(crate) project_id: ProjectId,
        pub(crate) role: Role,
        pub(crate) ends_at: Option<Timestamp>,
    }
}

/// Partners by user name, the open ones and the others; of a project those who have a role in it.
pub(crate) async fn list(
    db: &impl Query,
    within: Option<ProjectId>,
    after: &str,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Account>> {
    let mut values = args![after, limit];
    let here = match within {
        Some(project) => {
            let (project, now) = (bind(&mut values, &project), bind(&mut values, &now));
            format!(
                " AND id IN (SELECT user_id FROM project_member
                             WHERE project_id = {project} AND (ends_at IS NULL OR ends_at > {now}))"
            )
        }
        None => String::new(),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM account WHERE instance_role = 'external' AND username > $1{here}
         ORDER BY username LIMIT $2"
    );
    db.all(&sql, values).await
}

/// What some people were given in projects, as far as it has not ended.
pub(crate) async fn given(db: &impl Query, users: &[UserId], now: Timestamp) -> Result<Vec<Given>> {
    let mut found = Vec::new();
    for some in users.chunks(200) {
        let mut values = args![now];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "SELECT user_id, project_id, role, ends_at FROM project_member
             WHERE (ends_at IS NULL OR ends_at > $1) AND user_id IN ({places})"
        );
        found.extend(db.all::<Given>(&sql, values).await?);
    }
    Ok(found)
}

pub(crate) async fn set_end(tx: &Tx, user: UserId, ends_at: Timestamp) -> Result<()> {
    let sql = "UPDATE account SET ends_at = $2 WHERE id = $1";
    tx.run(sql, args![user, ends_at]).await.map(drop)
}

/// Open accounts that have reached their end, those that did so first before the others.
pub(crate) async fn over(db: &impl Query, now: Timestamp, limit: i64) -> Result<Vec<Account>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM account WHERE ends_at <= $1 AND active = TRUE ORDER BY ends_at LIMIT $2"
    );
    db.all(&sql, args![now, limit]).await
}

/// Holds an account still that has reached its end; `false` where another replica was first, or the end was moved.
pub(crate) async fn hold_over(tx: &Tx, user: UserId, now: Timestamp) -> Result<bool> {
    let sql = "UPDATE account SET active = TRUE WHERE id = $1 AND active = TRUE AND ends_at <= $2";
    Ok(tx.run(sql, args![user, now]).await? == 1)
}

/// The nearest end of an account that is open, or of a role.
pub(crate) async fn next_end(db: &impl Query) -> Result<Option<Timestamp>> {
    let account = "SELECT MIN(ends_at) AS at FROM account WHERE active = TRUE AND ends_at IS NOT NULL";
    let role = "SELECT MIN(ends_at) AS at FROM project_member WHERE ends_at IS NOT NULL";
    let mut ends = Vec::new();
    for sql in [account, role] {
        ends.extend(db.one::<End>(sql, args![]).await?.and_then(|end| end.at));
    }
    Ok(ends.into_iter().min())
}

row! {
    /// When something ends.
    struct End {
        at: Option<Timestamp>,
    }
}

row! {
    /// A role that has reached its end.
    pub(crate) struct RoleOver {
        pub(crate) user_id: UserId,
        pub(crate) project_id: ProjectId,
    }
}

/// Roles in projects that have reached their end.
pub(crate) async fn roles_over(db: &impl Query, now: Timestamp, limit: i64) -> Result<Vec<RoleOver>> {
    let sql = "SELECT user_id, project_id FROM project_member WHERE ends_at <= $1 ORDER BY ends_at, user_id LIMIT $2";
    db.all(sql, args![now, limit]).await
}

/// Holds such a role still; `false` where another replica was first, or the end was moved.
pub(crate) async fn hold_role_over(tx: &Tx, over: &RoleOver, now: Timestamp) -> Result<bool> {
    let sql =
        "UPDATE project_member SET role = role WHERE user_id = $1 AND project_id = $2 AND ends_at <= $3";
    Ok(tx.run(sql, args![over.user_id, over.project_id, now]).await? == 1)
}
