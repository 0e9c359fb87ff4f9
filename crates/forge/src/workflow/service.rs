//! What groups and projects ask for, read and changed.

use super::{Flow, Level, Own, Policy, Rule, store};
use crate::{Forge, ProjectInfo, project, storage::store::Scope};
use bascule_core::{Caller, GroupId, Problem, ProjectId, Result};
use bascule_ledger::facts::workflow::GroupWorkflowChanged;
use bascule_wire::workflow as wire;

/// Most lines, days and patterns that can be set.
const LINES: u32 = 1_000_000;
const DAYS: u32 = 3_650;
const PATTERNS: usize = 50;
/// What stands for "as further up".
const INHERIT: &str = "inherit";

impl Forge {
    /// What a group, and a project of it, have set.
    async fn own(&self, group: GroupId, project: Option<ProjectId>) -> Result<(Own, Own)> {
        let mut scopes = vec![Scope::Group(group)];
        scopes.extend(project.map(Scope::Project));
        let mut found = store::own(self.db(), &scopes).await?.into_iter();
        Ok((found.next().unwrap_or_default(), found.next().unwrap_or_default()))
    }

    /// What holds for a project.
    pub(crate) async fn policy_of(&self, group: GroupId, project: ProjectId) -> Result<Policy> {
        let (group, project) = self.own(group, Some(project)).await?;
        Ok(Policy::of(&group, &project))
    }

    /// A project's policy, as the API tells it.
    pub(crate) async fn project_workflow(&self, project: &ProjectInfo) -> Result<wire::Workflow> {
        let (group, own) = self.own(project.group_id, Some(project.id)).await?;
        Ok(told(&group, &own, group.locked))
    }

    /// A group's policy, as the API tells it.
    pub(crate) async fn group_workflow(&self, group: GroupId) -> Result<wire::Workflow> {
        let (own, _) = self.own(group, None).await?;
        Ok(told(&Own::default(), &own, own.locked))
    }

    /// Changes what a project has set.
    pub(crate) async fn change_project_workflow(
        &self,
        caller: &Caller,
        project: &ProjectInfo,
        change: &wire::WorkflowChange,
    ) -> Result<()> {
        caller.must_be_person("changes a project's workflow")?;
        let (group, before) = self.own(project.group_id, Some(project.id)).await?;
        if group.locked {
            return Err(Problem::new(
                403,
                "workflow_locked",
                format!(
                    "The group {} sets the workflow for all its projects.",
                    project.group
                ),
            )
            .why("Its owners decided that every project there works alike.")
            .next(format!(
                "Ask an owner of the group: {}/-/workflow.",
                project.group
            )));
        }
        if change.locked.is_some() {
            return Err(
                Problem::invalid("no_group", "Only a group's policy can be locked.")
                    .next("Leave `locked` out."),
            );
        }
        let after = changed(&before, change)?;
        if after == before {
            return Ok(());
        }
        let tx = self.db().begin().await?;
        store::set(&tx, Scope::Project(project.id), &after).await?;
        self.tell_changes(&tx, &caller.actor, project.id, [("workflow", summary(&after))])
            .await?;
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }

    /// Changes what a group has set.
    pub(crate) async fn change_group_workflow(
        &self,
        caller: &Caller,
        group: GroupId,
        change: &wire::WorkflowChange,
    ) -> Result<()> {
        caller.must_be_person("changes a group's workflow")?;
        let (before, _) = self.own(group, None).await?;
        let after = changed(&before, change)?;
        if after == before {
            return Ok(());
        }
        let fact = GroupWorkflowChanged {
            group,
            value: summary(&after),
        };
        let tx = self.db().begin().await?;
        store::set(&tx, Scope::Group(group), &after).await?;
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }
}

/// What holds where `above` and `own` are set, and where each of it comes from.
fn told(above: &Own, own: &Own, locked: bool) -> wire::Workflow {
    let policy = Policy::of(above, own);
    let without = Own {
        levels: Default::default(),
        ..own.clone()
    };
    let without = Policy::of(above, &without);
    wire::Workflow {
        flow: policy.flow.key().to_owned(),
        flow_title: policy.flow.title().to_owned(),
        rules: Rule::ALL
            .iter()
            .map(|rule| wire::WorkflowRule {
                rule: rule.key().to_owned(),
                title: rule.title().to_owned(),
                why: rule.why().to_owned(),
                level: policy.level(*rule).key().to_owned(),
                inherited: without.level(*rule).key().to_owned(),
            })
            .collect(),
        most_lines: policy.most_lines,
        review_days: policy.days(),
        branch_patterns: policy.branch_patterns,
        locked,
        own: wire::WorkflowOwn {
            flow: own.flow.map(|flow| flow.key().to_owned()),
            levels: own
                .levels
                .iter()
                .map(|(rule, level)| (rule.key().to_owned(), level.key().to_owned()))
                .collect(),
            most_lines: own.most_lines,
            review_days: own.review_days,
            branch_patterns: own.branch_patterns.clone(),
            locked: own.locked,
        },
    }
}

/// What is set after a change.
fn changed(before: &Own, change: &wire::WorkflowChange) -> Result<Own> {
    let mut after = before.clone();
    match change.flow.as_deref() {
        None => {}
        Some(INHERIT) => after.flow = None,
        Some(name) => after.flow = Some(flow(name)?),
    }
    for (name, level) in &change.levels {
        let rule = Rule::parse(name).ok_or_else(|| {
            let all: Vec<&str> = Rule::ALL.iter().map(|rule| rule.key()).collect();
            Problem::invalid("no_such_rule", format!("There is no rule `{}`.", shown(name)))
                .next(format!("Use one of {}.", all.join(", ")))
        })?;
        if level == INHERIT {
            after.levels.remove(&rule);
            continue;
        }
        let level = Level::parse(level).ok_or_else(|| {
            Problem::invalid(
                "bad_level",
                format!("`{}` is nothing that a rule does.", shown(level)),
            )
            .next("Use off, warn, refuse or inherit.")
        })?;
        after.levels.insert(rule, level);
    }
    if let Some(lines) = change.most_lines {
        after.most_lines = bounded(lines, LINES, "lines of a change")?;
    }
    if let Some(days) = change.review_days {
        after.review_days = bounded(days, DAYS, "days of a review")?;
    }
    if let Some(patterns) = &change.branch_patterns {
        if patterns.len() > PATTERNS {
            return Err(
                Problem::invalid("too_many", format!("At most {PATTERNS} patterns can be set."))
                    .next("Let `*` stand for what differs."),
            );
        }
        after.branch_patterns = patterns
            .iter()
            .map(|pattern| project::pattern_name(pattern.trim()))
            .collect::<Result<_>>()?;
    }
    after.locked = change.locked.unwrap_or(after.locked);
    Ok(after)
}

fn flow(name: &str) -> Result<Flow> {
    Flow::parse(name).ok_or_else(|| {
        let all: Vec<&str> = Flow::ALL.iter().map(|flow| flow.key()).collect();
        Problem::invalid("no_such_flow", format!("There is no flow `{}`.", shown(name)))
            .next(format!("Use one of {}, or {INHERIT}.", all.join(", ")))
    })
}

fn bounded(number: u32, most: u32, what: &str) -> Result<Option<u32>> {
    match number {
        0 => Ok(None),
        number if number <= most => Ok(Some(number)),
        _ => Err(Problem::invalid(
            "bad_limit",
            format!("The most {what} that can be set is {most}."),
        )),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// What is set, for people who read the ledger.
fn summary(own: &Own) -> String {
    let mut parts = Vec::new();
    parts.extend(own.flow.map(|flow| flow.title().to_owned()));
    for (rule, level) in &own.levels {
        parts.push(format!("{}: {}", rule.key(), level.key()));
    }
    parts.extend(own.most_lines.map(|lines| format!("at most {lines} lines")));
    parts.extend(
        own.review_days
            .map(|days| format!("reviews of at most {days} days")),
    );
    if !own.branch_patterns.is_empty() {
        parts.push(format!("branches {}", own.branch_patterns.join(" ")));
    }
    if own.locked {
        parts.push("locked".to_owned());
    }
    if parts.is_empty() {
        return "nothing of its own".to_owned();
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_the_rest_as_it_was_and_can_be_taken_back() {
        let change = wire::WorkflowChange {
            flow: Some("gitflow".to_owned()),
            levels: [("issue_in_commit".to_owned(), "refuse".to_owned())].into(),
            most_lines: Some(300),
            ..wire::WorkflowChange::default()
        };
        let first = changed(&Own::default(), &change).unwrap();
        assert_eq!(
            summary(&first),
            "Gitflow, issue_in_commit: refuse, at most 300 lines"
        );
        let change = wire::WorkflowChange {
            levels: [("issue_in_commit".to_owned(), "inherit".to_owned())].into(),
            most_lines: Some(0),
            branch_patterns: Some(vec!["task/*".to_owned()]),
            ..wire::WorkflowChange::default()
        };
        let second = changed(&first, &change).unwrap();
        assert_eq!(summary(&second), "Gitflow, branches task/*");
        let read: Own = serde_json::from_str(&serde_json::to_string(&second).unwrap()).unwrap();
        assert_eq!(read, second);
    }

    #[test]
    fn what_means_nothing_is_refused_with_what_does() {
        let levels = |rule: &str, level: &str| wire::WorkflowChange {
            levels: [(rule.to_owned(), level.to_owned())].into(),
            ..wire::WorkflowChange::default()
        };
        let mut bad = vec![levels("no_such", "warn"), levels("no_secrets", "loud")];
        bad.push(wire::WorkflowChange {
            flow: Some("waterfall".to_owned()),
            ..wire::WorkflowChange::default()
        });
        for change in bad {
            let problem = changed(&Own::default(), &change).unwrap_err();
            assert!(problem.next.starts_with("Use "), "{problem}");
        }
        let patterns = wire::WorkflowChange {
            branch_patterns: Some(vec!["a b".to_owned()]),
            ..wire::WorkflowChange::default()
        };
        assert!(changed(&Own::default(), &patterns).is_err());
    }
}
