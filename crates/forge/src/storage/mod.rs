//! How much a project may hold: its size, the largest file and push, and the quotas of projects and groups.

pub(crate) mod api;
pub(crate) mod pack;
pub(crate) mod pages;
mod service;
pub(crate) mod store;

pub(crate) use api::routes as api_routes;
pub(crate) use pages::routes as page_routes;

use bascule_core::Problem;
use bascule_wire::forge::StorageLimits;

/// Largest file in a push where nothing else is set, in bytes.
pub(crate) const FILE_BYTES: u64 = 100 << 20;
/// Largest push where nothing else is set, in bytes.
pub(crate) const PUSH_BYTES: u64 = 2 << 30;

/// What somebody set for a group or project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) limits: StorageLimits,
    /// Whether an administrator did, who may also give more.
    pub(crate) by_admin: bool,
}

/// What holds for a project, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) file: u64,
    pub(crate) push: u64,
    /// Of the project.
    pub(crate) quota: Option<u64>,
    /// Of all projects of its group together.
    pub(crate) group_quota: Option<u64>,
}

/// A push, measured while it is in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// What it adds on disk, in bytes.
    pub(crate) bytes: u64,
    /// Its largest file: object and size.
    pub(crate) largest: Option<(String, u64)>,
    /// The files that it brings; `None` where it brings nothing that was not there.
    pub(crate) files: Option<Files>,
}

/// Files of a push with their sizes, those in packs in the order in which they lie there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) ids: Vec<(gix::ObjectId, u64)>,
    /// Whether there are more.
    pub(crate) cut: bool,
    /// What was seen in them, where they were looked through before they were asked about.
    pub(crate) look: Option<crate::workflow::look::Look>,
}

/// The nearer setting counts; who is no administrator can only lower what holds already.
pub(crate) fn applied(group: Set, project: Set) -> Applied {
    let nearer = |before: u64, set: Set, value: Option<i64>| match value.and_then(|v| u64::try_from(v).ok()) {
        Some(value) if set.by_admin => value,
        Some(value) => value.min(before),
        None => before,
    };
    let bytes = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    Applied {
        file: nearer(
            nearer(FILE_BYTES, group, group.limits.file_bytes),
            project,
            project.limits.file_bytes,
        ),
        push: nearer(
            nearer(PUSH_BYTES, group, group.limits.push_bytes),
            project,
            project.limits.push_bytes,
        ),
        quota: bytes(project.limits.quota_bytes),
        group_quota: bytes(group.limits.quota_bytes),
    }
}

/// Whether a setting asks for more than holds without it, which only administrators may.
pub(crate) fn gives_more(wanted: &StorageLimits, without: &Applied, quota: Option<u64>) -> bool {
    let over = |value: Option<i64>, bound: u64| value.is_some_and(|v| u64::try_from(v).unwrap_or(0) > bound);
    over(wanted.file_bytes, without.file)
        || over(wanted.push_bytes, without.push)
        || quota.is_some_and(|bound| wanted.quota_bytes.is_none() || over(wanted.quota_bytes, bound))
}

/// Where a project and its group stand, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) project: u64,
    pub(crate) group: u64,
}

/// The rule that a push breaks, if any, and what to tell.
pub(crate) fn judge(
    push: &Measured,
    limits: &Applied,
    held: Held,
    path: &str,
    largest_name: &str,
) -> Option<(&'static str, Problem)> {
    let group = path.split('/').next().unwrap_or_default();
    if let Some((sha, size)) = push.largest.as_ref().filter(|(_, size)| *size > limits.file) {
        let name = if largest_name.is_empty() {
            sha
        } else {
            largest_name
        };
        let problem = Problem::too_large(format!(
            "`{name}` has {}; files of up to {} may be pushed here.",
            human(*size),
            human(limits.file)
        ))
        .why("git keeps every version of a file for ever, in every clone; large ones make all of them slow.")
        .next(format!("Take it out of the history (`git rm --cached`, then `git commit --amend`, or `git rebase -i`), and keep it as a release artifact or outside. A maintainer sees the limit at {path}/-/settings/storage; administrators can raise it."));
        return Some(("file_too_large", problem));
    }
    if push.bytes > limits.push {
        return Some(("push_too_large", too_large_a_push(limits.push, path)));
    }
    let after = held.project.saturating_add(push.bytes);
    if let Some(quota) = limits.quota.filter(|quota| after > *quota) {
        let problem = Problem::new(
            507,
            "quota_exceeded",
            format!(
                "The project would hold {}; its quota is {}.",
                human(after),
                human(quota)
            ),
        )
        .why("Quotas keep one project from filling the disk that all share.")
        .next(format!("Push less, or have the quota raised: {path}/-/settings/storage. Deleted branches free space with the next upkeep."));
        return Some(("project_quota", problem));
    }
    let after = held.group.saturating_add(push.bytes);
    let quota = limits.group_quota.filter(|quota| after > *quota)?;
    let problem = Problem::new(
        507,
        "quota_exceeded",
        format!(
            "The projects of {group} would hold {} together; the group's quota is {}.",
            human(after),
            human(quota)
        ),
    )
    .why("Quotas keep one group from filling the disk that all share.")
    .next(format!(
        "Push less, delete what is no longer needed, or have the quota raised: {group}/-/storage."
    ));
    Some(("group_quota", problem))
}

/// A push that is larger than may be; also told when git itself has cut it off.
pub(crate) fn too_large_a_push(limit: u64, path: &str) -> Problem {
    Problem::too_large(format!("The push is larger than {}, the most that is taken at once.", human(limit)))
        .why("A push is taken whole or not at all, so it needs its room twice for a while.")
        .next(format!("Push in parts: `git push origin COMMIT:refs/heads/BRANCH`, from older commits to newer ones. The limit stands at {path}/-/settings/storage."))
}

/// Bytes for people.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}").replace(".0 ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(file: Option<i64>, by_admin: bool) -> Set {
        Set {
            limits: StorageLimits {
                file_bytes: file,
                ..StorageLimits::default()
            },
            by_admin,
        }
    }

    #[test]
    fn the_nearer_setting_counts_and_only_administrators_give_more() {
        let file = |group, project| applied(group, project).file;
        assert_eq!(file(Set::default(), Set::default()), FILE_BYTES);
        assert_eq!(file(set(Some(10), false), Set::default()), 10);
        assert_eq!(file(set(Some(10), true), set(Some(20), false)), 10);
        assert_eq!(file(set(Some(10), true), set(Some(20), true)), 20);
        assert_eq!(file(set(Some(i64::MAX), false), Set::default()), FILE_BYTES);
        assert_eq!(file(set(Some(i64::MAX), true), Set::default()), i64::MAX as u64);
    }

    #[test]
    fn each_limit_is_told_with_rule_reason_and_next_step() {
        let limits = Applied {
            file: 10,
            push: 100,
            quota: Some(1_000),
            group_quota: Some(2_000),
        };
        let push = |bytes, largest| Measured {
            bytes,
            largest: Some(("aa".to_owned(), largest)),
            files: None,
        };
        let rule = |push: &Measured, project, group| {
            let (rule, problem) = judge(push, &limits, Held { project, group }, "g/p", "x.bin")?;
            assert!(!problem.why.is_empty() && !problem.next.is_empty());
            Some(rule)
        };
        assert_eq!(rule(&push(50, 10), 0, 0), None);
        assert_eq!(rule(&push(50, 11), 0, 0), Some("file_too_large"));
        assert_eq!(rule(&push(101, 1), 0, 0), Some("push_too_large"));
        assert_eq!(rule(&push(50, 1), 951, 0), Some("project_quota"));
        assert_eq!(rule(&push(50, 1), 950, 1_951), Some("group_quota"));
        assert_eq!(rule(&push(50, 1), 950, 1_950), None);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(human(5), "5 bytes");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(100 << 20), "100 MiB");
        assert_eq!(human(3 << 40), "3 TiB");
    }

    proptest! {
        #[test]
        fn nobody_but_administrators_ever_gets_more(
            group in prop::option::of(any::<i64>()), project in prop::option::of(any::<i64>())
        ) {
            prop_assert!(applied(set(group, false), set(project, false)).file <= FILE_BYTES);
        }
    }
}
