//! Measuring pushes and projects, and setting what they may hold.

use super::{
    Applied, Held, Set, applied, gives_more, judge, pack,
    store::{self, Scope},
};
use crate::{
    Forge, ProjectInfo,
    code::ReadError,
    push::{Refusal, Session, Update},
};
use bascule_core::{Caller, GroupId, GroupScope, Permission, Problem, ProjectId, Result};
use bascule_ledger::facts::forge::GroupLimitsChanged;
use bascule_wire::forge::{GroupStorage, Storage, StorageLimits};
use std::path::Path;

impl Forge {
    /// What holds for a project.
    pub(crate) async fn limits_of(&self, group: GroupId, project: ProjectId) -> Result<Applied> {
        let group = store::set_of(self.db(), Scope::Group(group)).await?;
        let project = store::set_of(self.db(), Scope::Project(project)).await?;
        Ok(applied(group, project))
    }

    /// Measures a push that lies in quarantine, and notes its size in the session.
    pub(crate) async fn measure_push(
        &self,
        session: &Session,
        quarantine: Option<&Path>,
    ) -> Result<super::Measured> {
        let Some(quarantine) = quarantine else {
            return Ok(super::Measured::default());
        };
        if let Some(measured) = self.pushes().ahead().take(quarantine).await {
            session.set_bytes(measured.bytes);
            return Ok(measured);
        }
        let place = quarantine.to_owned();
        let measured = tokio::task::spawn_blocking(move || pack::measure(&place))
            .await
            .map_err(|_| Problem::internal())?
            .map_err(|error| match error {
                ReadError::Problem(problem) => problem,
                ReadError::Git(error) => {
                    tracing::error!(%error, "a push could not be measured");
                    Problem::internal()
                }
            })?;
        session.set_bytes(measured.bytes);
        Ok(measured)
    }

    /// Judges the size of a push.
    pub(crate) async fn weigh_size(
        &self,
        measured: &super::Measured,
        project: &ProjectInfo,
        updates: &[Update],
        quarantine: Option<&Path>,
    ) -> Result<Option<Refusal>> {
        let (Some(quarantine), Some(update)) = (quarantine, updates.first()) else {
            return Ok(None);
        };
        let limits = self.limits_of(project.group_id, project.id).await?;
        let held = Held {
            project: if limits.quota.is_some() {
                self.size_of(project.id).await?
            } else {
                0
            },
            group: if limits.group_quota.is_some() {
                self.size_of_group(project.group_id).await?
            } else {
                0
            },
        };
        let name = match &measured.largest {
            Some((sha, size)) if *size > limits.file => {
                self.name_in_push(project.id, sha, updates, quarantine).await
            }
            _ => String::new(),
        };
        let refusal = judge(measured, &limits, held, &project.path(), &name);
        Ok(refusal.map(|(rule, problem)| Refusal {
            reference: update.reference.clone(),
            rule,
            problem,
        }))
    }

    /// What a pushed object is called: asked of git, since it is still in quarantine. Only for a refusal.
    async fn name_in_push(&self, id: ProjectId, sha: &str, updates: &[Update], quarantine: &Path) -> String {
        let repository = self.repositories().path(id);
        let mut command = self.git().within_push(&repository, Some(quarantine));
        command
            .args(["rev-list", "--objects", "--filter=object:type=blob"])
            .args(
                updates
                    .iter()
                    .filter_map(|update| update.new.as_deref())
                    .take(100),
            )
            .args(["--not", "--all"])
            .kill_on_drop(true);
        let Ok(answer) = command.output().await else {
            return String::new();
        };
        let text = String::from_utf8_lossy(&answer.stdout);
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix(sha)?.strip_prefix(' '))
            .unwrap_or_default();
        name.chars().filter(|c| !c.is_control()).take(200).collect()
    }

    /// Notes that a push has made the project larger.
    pub(crate) async fn grow(&self, id: ProjectId, bytes: u64) -> bascule_store::Result<()> {
        let tx = self.db().begin().await?;
        store::grown(&tx, id, signed(bytes)).await?;
        tx.commit().await
    }

    /// What a project takes on disk: as last measured, with what was pushed since. Measured when it never was.
    pub(crate) async fn size_of(&self, id: ProjectId) -> Result<u64> {
        match store::size(self.db(), id).await? {
            Some(size) => Ok(unsigned(size.bytes)),
            None => self.measure(id).await,
        }
    }

    /// What all projects of a group take on disk together.
    pub(crate) async fn size_of_group(&self, group: GroupId) -> Result<u64> {
        for id in store::unmeasured(self.db(), group).await? {
            self.measure(id).await?;
        }
        Ok(unsigned(store::size_of_group(self.db(), group).await?))
    }

    /// Measures a project anew: asks the file system for sizes, opens nothing.
    pub(crate) async fn measure(&self, id: ProjectId) -> Result<u64> {
        let repository = self.repositories().path(id);
        let bytes = tokio::task::spawn_blocking(move || pack::on_disk(&repository))
            .await
            .map_err(|_| Problem::internal())?;
        let tx = self.db().begin().await?;
        store::measured(&tx, id, signed(bytes), self.now()).await?;
        tx.commit().await?;
        Ok(bytes)
    }

    /// Size, limits and what was set, of a project.
    pub(crate) async fn storage(&self, project: &ProjectInfo) -> Result<Storage> {
        let limits = self.limits_of(project.group_id, project.id).await?;
        let set = store::set_of(self.db(), Scope::Project(project.id)).await?;
        Ok(Storage {
            bytes: signed(self.size_of(project.id).await?),
            file_bytes: signed(limits.file),
            push_bytes: signed(limits.push),
            quota_bytes: limits.quota.map(signed),
            group_quota_bytes: limits.group_quota.map(signed),
            set: set.limits,
        })
    }

    /// The same, of a group.
    pub(crate) async fn group_storage(&self, group: GroupId) -> Result<GroupStorage> {
        let set = store::set_of(self.db(), Scope::Group(group)).await?;
        let limits = applied(set, Set::default());
        Ok(GroupStorage {
            bytes: signed(self.size_of_group(group).await?),
            file_bytes: signed(limits.file),
            push_bytes: signed(limits.push),
            quota_bytes: limits.group_quota.map(signed),
            set: set.limits,
        })
    }

    /// Sets a project's limits.
    pub(crate) async fn set_project_limits(
        &self,
        caller: &Caller,
        project: &ProjectInfo,
        wanted: StorageLimits,
    ) -> Result<()> {
        let group = store::set_of(self.db(), Scope::Group(project.group_id)).await?;
        let before = store::set_of(self.db(), Scope::Project(project.id)).await?;
        let set = checked(caller, wanted, &applied(group, Set::default()), before)?;
        let tx = self.db().begin().await?;
        store::set(&tx, Scope::Project(project.id), &set).await?;
        self.tell_changes(
            &tx,
            &caller.actor,
            project.id,
            [("storage_limits", told(&wanted))],
        )
        .await?;
        Ok(tx.commit().await?)
    }

    /// Sets a group's limits.
    pub(crate) async fn set_group_limits(
        &self,
        caller: &Caller,
        group: &GroupScope,
        wanted: StorageLimits,
    ) -> Result<()> {
        let before = store::set_of(self.db(), Scope::Group(group.id)).await?;
        let without = applied(Set::default(), Set::default());
        let set = checked(caller, wanted, &without, before)?;
        let tx = self.db().begin().await?;
        store::set(&tx, Scope::Group(group.id), &set).await?;
        let fact = GroupLimitsChanged {
            group: group.id,
            value: told(&wanted),
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        Ok(tx.commit().await?)
    }
}

/// Whether the caller may set this. What an administrator has set, only administrators loosen.
fn checked(caller: &Caller, wanted: StorageLimits, without: &Applied, before: Set) -> Result<Set> {
    for value in [wanted.file_bytes, wanted.push_bytes, wanted.quota_bytes] {
        if value.is_some_and(|value| value < 1) {
            return Err(
                Problem::invalid("bad_limit", "A limit is a number of bytes above zero.")
                    .next("Leave it out for what holds by itself."),
            );
        }
    }
    let by_admin = caller.holds(Permission::InstanceManage);
    if by_admin {
        return Ok(Set {
            limits: wanted,
            by_admin,
        });
    }
    let quota = before
        .limits
        .quota_bytes
        .filter(|_| before.by_admin)
        .and_then(|value| u64::try_from(value).ok());
    let bound = if before.by_admin {
        Applied {
            file: before.limits.file_bytes.map_or(without.file, unsigned),
            push: before.limits.push_bytes.map_or(without.push, unsigned),
            ..*without
        }
    } else {
        *without
    };
    let loosens = before.by_admin
        && ((before.limits.file_bytes.is_some() && wanted.file_bytes.is_none())
            || (before.limits.push_bytes.is_some() && wanted.push_bytes.is_none()));
    if loosens || gives_more(&wanted, &bound, quota) {
        return Err(Problem::new(
            403,
            "limit_above_own",
            "Only administrators give more than holds already.",
        )
        .why("The disk is shared by all; limits are of use only if those that they hold cannot lift them.")
        .next("Set a lower value, or ask an administrator of this instance."));
    }
    // An administrator's exception stays one when it is only lowered.
    Ok(Set {
        limits: wanted,
        by_admin: before.by_admin,
    })
}

fn told(limits: &StorageLimits) -> String {
    let one = |name: &str, value: Option<i64>| {
        value.map(|value| format!("{name} {}", super::human(unsigned(value))))
    };
    let all: Vec<String> = [
        one("file", limits.file_bytes),
        one("push", limits.push_bytes),
        one("quota", limits.quota_bytes),
    ]
    .into_iter()
    .flatten()
    .collect();
    if all.is_empty() {
        "as usual".to_owned()
    } else {
        all.join(", ")
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn unsigned(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::{InstanceRole, UserId};

    fn caller(role: InstanceRole) -> Caller {
        Caller {
            user: Some(UserId::new()),
            instance_role: role,
            ..Caller::anonymous()
        }
    }

    #[test]
    fn a_maintainer_lowers_and_an_administrator_sets_anything() {
        let without = applied(Set::default(), Set::default());
        let file = |value| StorageLimits {
            file_bytes: value,
            ..StorageLimits::default()
        };
        let member = caller(InstanceRole::Member);
        let admin = caller(InstanceRole::Admin);
        assert!(checked(&member, file(Some(5)), &without, Set::default()).is_ok());
        let more = checked(&member, file(Some(i64::MAX)), &without, Set::default());
        assert_eq!(more.unwrap_err().code, "limit_above_own");
        let exception = checked(&admin, file(Some(i64::MAX)), &without, Set::default()).unwrap();
        assert!(exception.by_admin);
        assert!(
            checked(&member, file(Some(i64::MAX - 1)), &without, exception)
                .unwrap()
                .by_admin
        );
        assert!(checked(&member, file(Some(0)), &without, Set::default()).is_err());
        let quota = Set {
            limits: StorageLimits {
                quota_bytes: Some(10),
                ..StorageLimits::default()
            },
            by_admin: true,
        };
        assert!(checked(&member, StorageLimits::default(), &without, quota).is_err());
        assert!(checked(&admin, StorageLimits::default(), &without, quota).is_ok());
    }
}
