//! The policy as conditions of a merge.
//!
//! What a branch of the project itself brings was judged when it was pushed. What a fork brings was judged by the
//! fork's rules alone, so it is judged here by those of the project.

use super::{
    Change, Commit, Finding, Level, Policy, Rule,
    ask::{Place, Range},
    bypass::{self, Given},
    gather, judge,
    push::{merged_from, too_many},
    secret, store,
};
use crate::{
    Forge, ProjectInfo,
    merge_request::{Check, CheckState, MergeRequest, checks::Looked, held},
};
use bascule_core::{Caller, MergeRequestId, Problem, ProjectScope, Result};
use bascule_ledger::facts::workflow::WorkflowBypassed;
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

/// Rules about a change as a whole, asked of every request.
const ALWAYS: &[Rule] = &[
    Rule::OneBranchOneIssue,
    Rule::ChangeSize,
    Rule::ReviewAge,
    Rule::MergeTarget,
];
/// Rules that are asked of requests from forks besides.
const OF_FORKS: &[Rule] = &[
    Rule::IssueInCommit,
    Rule::IssueInBranch,
    Rule::NoTrunkMerge,
    Rule::BranchName,
    Rule::SignedCommits,
    Rule::NoSecrets,
];
/// Seconds of a day.
const DAY: u64 = 86_400;

/// What a request brings; it depends on commits alone, so it is read once.
#[derive(Debug)]
pub(crate) struct Brought {
    commits: Vec<Commit>,
    on_trunk: HashSet<String>,
    lines: usize,
    secrets: Vec<secret::Found>,
    /// Whether these are all commits and all lines.
    whole: bool,
}

/// Request, base, head, and whether it was read as a fork's.
pub(crate) type Key = (MergeRequestId, String, String, bool);

impl Brought {
    /// Bytes that it takes, about.
    fn weight(&self) -> usize {
        let commits = self.commits.iter().map(|commit| 200 + commit.message.len());
        commits.sum::<usize>() + 60 * self.on_trunk.len() + 200 * self.secrets.len()
    }
}

impl Forge {
    /// What the policy says to a merge: a condition for each rule that is broken.
    pub(crate) async fn workflow_checks(&self, looked: &Looked<'_>) -> Result<Vec<Check>> {
        let (project, request) = (looked.project, looked.request);
        let policy = self.policy_of(project.group_id, project.id).await?;
        let of_fork = if request.is_fork() { OF_FORKS } else { &[] };
        let rules: Vec<Rule> = ALWAYS
            .iter()
            .chain(of_fork)
            .copied()
            .filter(|rule| policy.level(*rule) != Level::Off)
            .collect();
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        let (change, whole) = self.change_of(&policy, &rules, project, request).await?;
        let mut findings = judge(&policy, &change);
        findings.retain(|finding| rules.contains(&finding.rule));
        if !whole && request.is_fork() {
            findings.extend(too_many(&policy));
        }
        if findings.is_empty() {
            let what = format!("It keeps the rules of the {}.", called(&policy));
            return Ok(vec![Check::passed("workflow", what)]);
        }
        let refuses = |finding: &&Finding| finding.level == Level::Refuse;
        let given = match findings.iter().find(refuses) {
            Some(_) => store::given(self.db(), request.id).await?,
            None => None,
        };
        let given = given.filter(|given| given.head == request.head);
        let mut held = findings.iter().filter(refuses);
        let who = if held.any(|finding| !given.as_ref().is_some_and(|given| given.covers(finding.rule))) {
            self.who_may_bypass(project).await?
        } else {
            String::new()
        };
        Ok(findings
            .into_iter()
            .map(|finding| check(finding, given.as_ref(), &who))
            .collect())
    }

    async fn change_of(
        &self,
        policy: &Policy,
        rules: &[Rule],
        project: &ProjectInfo,
        request: &MergeRequest,
    ) -> Result<(Change, bool)> {
        let reads = [
            Rule::OneBranchOneIssue,
            Rule::ChangeSize,
            Rule::IssueInCommit,
            Rule::NoTrunkMerge,
            Rule::SignedCommits,
            Rule::NoSecrets,
        ];
        let mut change = Change {
            branch: request.source_branch.clone(),
            trunk: project.default_branch.clone(),
            target: Some(request.target_branch.clone()),
            age_days: u32::try_from(self.now().since(request.created_at).as_secs() / DAY).ok(),
            ..Change::default()
        };
        if !reads.iter().any(|rule| rules.contains(rule)) {
            return Ok((change, true));
        }
        let brought = self.brought_by(project, request).await?;
        change.commits.clone_from(&brought.commits);
        change.on_trunk.clone_from(&brought.on_trunk);
        change.secrets.clone_from(&brought.secrets);
        change.lines = Some(brought.lines);
        if request.is_fork() {
            let place = Place::new(self, project.id, None);
            // What the fork says is no secret is the fork's word; the project's counts.
            let list = format!("refs/heads/{}:{}", project.default_branch, gather::ALLOWED);
            change.secrets = place.not_allowed(&[list], change.secrets).await?;
            if policy.asks(&[Rule::SignedCommits]) {
                // Keys come and go, so this is asked each time.
                self.verify_commits(&place, &mut change.commits).await?;
            }
            if policy.asks(&[Rule::IssueInCommit]) {
                change.open_issues = self.open_issues(project.id, &change.commits).await?;
            }
        }
        Ok((change, brought.whole))
    }

    async fn brought_by(&self, project: &ProjectInfo, request: &MergeRequest) -> Result<Arc<Brought>> {
        let key = (
            request.id,
            request.base.clone(),
            request.head.clone(),
            request.is_fork(),
        );
        if let Some(known) = self.cache().brought.get(&key) {
            return Ok(known);
        }
        let place = Place::new(self, project.id, None);
        let range = Range {
            tips: vec![request.head.clone(), format!("^{}", request.base)],
            fresh: false,
        };
        let ((commits, mut whole), lines) = tokio::try_join!(
            place.commits(&range),
            place.lines_between(&request.base, &request.head)
        )?;
        let (mut secrets, mut on_trunk) = (Vec::new(), HashSet::new());
        if request.is_fork() {
            let (gathered, all) = place.patches(&range).await?;
            whole = whole && all;
            secrets = gathered.secrets;
            let trunk = self.resolve_branch(project.id, &project.default_branch).await?;
            on_trunk = merged_from(&place, &commits, trunk.as_deref()).await?;
        }
        let brought = Arc::new(Brought {
            commits,
            on_trunk,
            lines,
            secrets,
            whole,
        });
        self.cache().brought.put(key, brought.clone(), brought.weight());
        Ok(brought)
    }

    /// Lets a request by the rules that hold it at its present head, and records it; whether there was anything to
    /// let by. `checks` are the request's conditions.
    pub(crate) async fn bypass_at_merge(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        checks: &[Check],
        waits: bool,
        reason: &str,
    ) -> Result<bool> {
        let open = checks.iter().filter(|check| check.state.holds());
        let (broken, others): (Vec<&Check>, Vec<&Check>) = open.partition(|check| may_be_let_by(check));
        if broken.is_empty() {
            return Ok(false);
        }
        if !scope.holds(bypass::PERMISSION) {
            let project = self.project_of(scope).await?;
            let who = self.who_may_bypass(&project).await?;
            return Err(Problem::new(
                403,
                "may_not_bypass",
                "You may not merge around the workflow policy.",
            )
            .why("A rule is let by only where somebody answers for it.")
            .next(format!("Ask {who}, or do what the rule asks.")));
        }
        let reason = bypass::reason(reason)?;
        if !others.is_empty() && !waits {
            let others: Vec<Check> = others.into_iter().cloned().collect();
            return Err(held(request, &others));
        }
        let mut rules: BTreeSet<String> = broken.iter().map(|check| check.name.to_owned()).collect();
        let before = store::given(self.db(), request.id).await?;
        if let Some(before) = before.filter(|before| before.head == request.head) {
            rules.extend(before.rules.split(',').map(str::to_owned));
        }
        let rules: Vec<String> = rules.into_iter().collect();
        let given = Given {
            head: request.head.clone(),
            rules: rules.join(","),
            reason: reason.clone(),
            actor_name: caller.actor.name.clone(),
        };
        let fact = WorkflowBypassed {
            project: request.project_id,
            references: vec![format!("refs/heads/{}", request.target_branch)],
            rules,
            reason,
            merge_request: Some(request.id),
            iid: Some(request.iid),
            head: Some(request.head.clone()),
        };
        let tx = self.db().begin().await?;
        store::give(&tx, request.id, request.project_id, &given, self.now()).await?;
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Whether a condition is a rule's that a maintainer may let by.
pub(crate) fn may_be_let_by(check: &Check) -> bool {
    check.state.holds() && Rule::parse(check.name).is_some()
}

/// What people call the policy.
fn called(policy: &Policy) -> String {
    match policy.flow {
        super::Flow::TrunkBased => "trunk-based flow".to_owned(),
        flow => flow.title().to_owned(),
    }
}

fn check(finding: Finding, given: Option<&Given>, who: &str) -> Check {
    let Finding { rule, level, problem } = finding;
    if level == Level::Warn {
        return Check::holds(
            rule.key(),
            CheckState::Warned,
            problem.what,
            problem.why,
            problem.next,
        );
    }
    if let Some(given) = given.filter(|given| given.covers(rule)) {
        let what = format!(
            "{} {} let it by: {}",
            problem.what, given.actor_name, given.reason
        );
        return Check::passed(rule.key(), what);
    }
    let next = format!(
        "{} Where the rule does not fit, {who} may merge all the same, with a reason.",
        problem.next
    );
    Check::holds(rule.key(), CheckState::Failed, problem.what, problem.why, next)
}
