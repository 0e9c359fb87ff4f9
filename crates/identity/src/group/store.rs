//! The queries about groups and members.

use super::{GroupInfo, Place};
use bascule_core::{GroupId, Name, ProjectId, Role, Timestamp, UserId, Visibility};
use bascule_store::{Query, Result, Tx, args, row};

row! {
    /// A group with the role that a person was given in it.
    pub(crate) struct GroupRow {
        pub(crate) id: GroupId,
        pub(crate) name: Name,
        pub(crate) description: String,
        pub(crate) visibility: String,
        pub(crate) created_at: Timestamp,
        pub(crate) role: Option<Role>,
    }
}

row! {
    /// Someone's role in a group or project.
    #[derive(Clone, Debug)]
    pub struct Member {
        /// The account.
        pub user_id: UserId,
        /// Its user name.
        pub username: String,
        /// What people call them.
        pub display_name: String,
        /// The role.
        pub role: Role,
        /// Whether the account is open.
        pub active: bool,
        /// Whether the role comes from the project's group.
        pub inherited: bool,
        /// Since when.
        pub created_at: Timestamp,
        /// Whether it is an outside partner.
        pub partner: bool,
        /// When the role ends by itself: its own end, or the account's if that is sooner.
        pub ends_at: Option<Timestamp>,
    }
}

row! {
    /// One membership of a person.
    pub(crate) struct Membership {
        pub(crate) group_id: Option<GroupId>,
        pub(crate) project_id: Option<ProjectId>,
        pub(crate) role: Role,
    }
}

row! { struct Held { role: Role } }

impl Member {
    /// Whether someone with the role `own` may change this one.
    pub(crate) fn within(&self, own: &Role) -> bool {
        !self.inherited && self.role <= *own
    }
}

impl GroupRow {
    pub(crate) fn visibility(&self) -> Visibility {
        Visibility::parse(&self.visibility)
    }
}

impl From<GroupRow> for GroupInfo {
    fn from(row: GroupRow) -> Self {
        let visibility = row.visibility();
        Self {
            id: row.id,
            name: row.name,
            description: row.description,
            visibility,
        }
    }
}

pub(crate) async fn by_name(db: &impl Query, name: &str) -> Result<Option<GroupRow>> {
    let sql = "SELECT id, name, description, visibility, created_at, NULL AS role FROM account_group WHERE name = $1";
    db.one(sql, args![name]).await
}

pub(crate) async fn by_id(db: &impl Query, id: GroupId) -> Result<Option<GroupRow>> {
    let sql =
        "SELECT id, name, description, visibility, created_at, NULL AS role FROM account_group WHERE id = $1";
    db.one(sql, args![id]).await
}

/// Groups that a person may see, by name: their own, the internal ones if `internal`, all if `all`.
pub(crate) async fn visible(
    db: &impl Query,
    user: Option<UserId>,
    internal: bool,
    all: bool,
    after: &str,
    limit: i64,
) -> Result<Vec<GroupRow>> {
    db.all(
        "SELECT g.id AS id, g.name AS name, g.description AS description, g.visibility AS visibility,
                g.created_at AS created_at, m.role AS role
         FROM account_group g LEFT JOIN group_member m ON m.group_id = g.id AND m.user_id = $1
         WHERE g.name > $2 AND (m.role IS NOT NULL OR $3 = TRUE OR ($4 = TRUE AND g.visibility = 'internal'))
         ORDER BY g.name LIMIT $5",
        args![user, after, all, internal, limit],
    )
    .await
}

pub(crate) async fn insert(tx: &Tx, group: &GroupInfo, now: Timestamp) -> Result<()> {
    let sql = "INSERT INTO account_group (id, name, description, visibility, created_at) VALUES ($1, $2, $3, $4, $5)";
    tx.run(
        sql,
        args![
            group.id,
            group.name,
            group.description,
            group.visibility.as_str(),
            now
        ],
    )
    .await
    .map(drop)
}

/// Holds the group still until the end of the transaction, so that two owners cannot remove each other.
pub(crate) async fn hold(tx: &Tx, id: GroupId) -> Result<bool> {
    Ok(tx
        .run("UPDATE account_group SET name = name WHERE id = $1", args![id])
        .await?
        == 1)
}

/// Owners of a group whose accounts are open.
pub(crate) async fn owners(db: &impl Query, id: GroupId) -> Result<i64> {
    db.count(
        "SELECT COUNT(*) AS n FROM group_member m JOIN account a ON a.id = m.user_id
         WHERE m.group_id = $1 AND m.role = 'owner' AND a.active = TRUE",
        args![id],
    )
    .await
}

pub(crate) async fn memberships(db: &impl Query, user: UserId, now: Timestamp) -> Result<Vec<Membership>> {
    db.all(
        "SELECT group_id, NULL AS project_id, role FROM group_member WHERE user_id = $1
         UNION ALL
         SELECT NULL AS group_id, project_id, role FROM project_member
          WHERE user_id = $1 AND (ends_at IS NULL OR ends_at > $2)",
        args![user, now],
    )
    .await
}

pub(crate) async fn role_in_group(db: &impl Query, user: UserId, group: GroupId) -> Result<Option<Role>> {
    let sql = "SELECT role FROM group_member WHERE group_id = $1 AND user_id = $2";
    Ok(db
        .one::<Held>(sql, args![group, user])
        .await?
        .map(|held| held.role))
}

row! { pub(crate) struct HeldIn { pub(crate) role: Role, pub(crate) of_group: bool } }

/// A person's roles in the project and in its group, as far as they have not ended.
pub(crate) async fn roles_in_project(
    db: &impl Query,
    user: UserId,
    project: ProjectId,
    group: GroupId,
    now: Timestamp,
) -> Result<Vec<HeldIn>> {
    db.all(
        "SELECT role, FALSE AS of_group FROM project_member
          WHERE project_id = $1 AND user_id = $3 AND (ends_at IS NULL OR ends_at > $4)
         UNION ALL
         SELECT role, TRUE AS of_group FROM group_member WHERE group_id = $2 AND user_id = $3",
        args![project, group, user, now],
    )
    .await
}

/// Whether someone holds a role that an outside partner cannot have.
pub(crate) async fn above_partner(db: &impl Query, user: UserId) -> Result<bool> {
    let sql = "SELECT (SELECT COUNT(*) FROM group_member WHERE user_id = $1)
                    + (SELECT COUNT(*) FROM project_member WHERE user_id = $1 AND role IN ('maintainer', 'owner')) AS n";
    Ok(db.count(sql, args![user]).await? > 0)
}

row! { struct HeldUntil { role: Role, ends_at: Option<Timestamp> } }

/// Someone's own role in a place and its end, also where it has ended.
pub(crate) async fn member_role(
    db: &impl Query,
    place: Place,
    user: UserId,
) -> Result<Option<(Role, Option<Timestamp>)>> {
    match place {
        Place::Group(group) => Ok(role_in_group(db, user, group).await?.map(|role| (role, None))),
        Place::Project(project, _) => {
            let sql = "SELECT role, ends_at FROM project_member WHERE project_id = $1 AND user_id = $2";
            Ok(db
                .one::<HeldUntil>(sql, args![project, user])
                .await?
                .map(|held| (held.role, held.ends_at)))
        }
    }
}

pub(crate) async fn set_member(
    tx: &Tx,
    place: Place,
    user: UserId,
    role: Role,
    ends_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    match place {
        Place::Group(group) => {
            let sql = "INSERT INTO group_member (group_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)
                       ON CONFLICT (group_id, user_id) DO UPDATE SET role = $3";
            tx.run(sql, args![group, user, role, now]).await.map(drop)
        }
        Place::Project(project, _) => {
            let sql =
                "INSERT INTO project_member (project_id, user_id, role, created_at, ends_at) VALUES ($1, $2, $3, $4, $5)
                       ON CONFLICT (project_id, user_id) DO UPDATE SET role = $3, ends_at = $5";
            tx.run(sql, args![project, user, role, now, ends_at])
                .await
                .map(drop)
        }
    }
}

pub(crate) async fn remove_member(tx: &Tx, place: Place, user: UserId) -> Result<()> {
    match place {
        Place::Group(group) => tx
            .run(
                "DELETE FROM group_member WHERE group_id = $1 AND user_id = $2",
                args![group, user],
            )
            .await
            .map(drop),
        Place::Project(project, _) => {
            let sql = "DELETE FROM project_member WHERE project_id = $1 AND user_id = $2";
            tx.run(sql, args![project, user]).await.map(drop)
        }
    }
}

/// Members by user name, those of a project's group included.
pub(crate) async fn members(db: &impl Query, place: Place, after: &str, limit: i64) -> Result<Vec<Member>> {
    match place {
        Place::Group(group) => {
            db.all(
                "SELECT a.id AS user_id, a.username AS username, a.display_name AS display_name, m.role AS role,
                        a.active AS active, FALSE AS inherited, m.created_at AS created_at,
                        FALSE AS partner, NULL AS ends_at
                 FROM group_member m JOIN account a ON a.id = m.user_id
                 WHERE m.group_id = $1 AND a.username > $2 ORDER BY a.username LIMIT $3",
                args![group, after, limit],
            )
            .await
        }
        Place::Project(project, group) => {
            // One line per person: their own role in the project, else the one from the group.
            db.all(
                "SELECT a.id AS user_id, a.username AS username, a.display_name AS display_name,
                        COALESCE(p.role, g.role) AS role, a.active AS active,
                        CASE WHEN p.role IS NULL THEN TRUE ELSE FALSE END AS inherited,
                        COALESCE(p.created_at, g.created_at) AS created_at,
                        CASE WHEN a.instance_role = 'external' THEN TRUE ELSE FALSE END AS partner,
                        CASE WHEN p.role IS NULL OR p.ends_at IS NULL OR p.ends_at > a.ends_at THEN a.ends_at
                             ELSE p.ends_at END AS ends_at
                 FROM account a
                 LEFT JOIN project_member p ON p.user_id = a.id AND p.project_id = $1
                 LEFT JOIN group_member g ON g.user_id = a.id AND g.group_id = $2
                 WHERE a.username > $3 AND (p.role IS NOT NULL OR g.role IS NOT NULL)
                 ORDER BY a.username LIMIT $4",
                args![project, group, after, limit],
            )
            .await
        }
    }
}
