//! Workflow policy: the rules by which a project's people work, each explained where it refuses.
//!
//! A *flow* is a set of levels for all rules, written in one table ([`Flow::level`]). A group or a project chooses a
//! flow and may set single rules otherwise. The rules themselves are pure: one file each, told of commits and
//! changes, asking nothing. [`push`] gathers what is pushed and asks them, [`merge`] what a request brings.

pub(crate) mod api;
pub(crate) mod ask;
mod author;
mod branch;
mod bypass;
mod gather;
mod issue;
pub(crate) mod look;
mod merge;
pub(crate) mod pages;
mod push;
mod release;
mod secret;
mod service;
mod sign;
mod size;
pub(crate) mod store;
mod trunk;

pub(crate) use bypass::Bypass;
pub(crate) use merge::{Brought, Key, may_be_let_by};
pub(crate) use push::Weighed;

use bascule_core::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a rule does when it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Nothing.
    Off,
    /// Says so, and lets it through.
    Warn,
    /// Lets nothing through.
    Refuse,
}

macro_rules! rules {
    ($($name:ident => $key:literal, $title:literal, $why:literal;)*) => {
        /// One rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum Rule { $(#[doc = $title] $name,)* }

        impl Rule {
            /// All rules, in the order in which they are shown.
            pub(crate) const ALL: &'static [Rule] = &[$(Rule::$name,)*];

            /// Its name in settings, facts and answers.
            pub(crate) const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// What it demands.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Why it exists.
            pub(crate) const fn why(self) -> &'static str {
                match self { $(Self::$name => $why,)* }
            }
        }
    };
}

rules! {
    IssueInCommit => "issue_in_commit", "every commit names its issue",
        "An issue says what a change is for; whoever finds the commit later finds the reason with it.";
    IssueInBranch => "issue_in_branch", "a branch carries its issue's number",
        "A branch's name tells everyone which task it is for, before anything of it is merged.";
    OneBranchOneIssue => "one_branch_one_issue", "one branch is for one issue",
        "Small changes are reviewed sooner, and can be taken back one by one.";
    NoTrunkMerge => "no_trunk_merge", "the trunk is not merged into a branch",
        "Such merges mix others' work into the review; a rebase keeps the branch to its own changes.";
    ChangeSize => "change_size", "a change is small",
        "Reviewers find fewer faults in large changes, and large changes wait longer.";
    ReviewAge => "review_age", "a review does not grow old",
        "The longer a branch lives, the more of it conflicts with what others merged.";
    ReleaseFromTrunk => "release_from_trunk", "a release comes from the trunk, with its version lifted",
        "What users get must be what everyone reviewed, and must say which version it is.";
    BranchName => "branch_name", "a branch is named by the flow's pattern",
        "Names that follow a pattern tell people and pipelines what a branch is for.";
    MergeTarget => "merge_target", "a branch is merged where the flow says",
        "The flow keeps unfinished work away from what is released.";
    SignedCommits => "signed_commits", "every commit is signed",
        "A name in a commit can be written by anyone; a signature cannot.";
    AuthorIsPusher => "author_is_pusher", "the author of a commit is who pushes it",
        "What is recorded under a person's name should come from that person.";
    NoSecrets => "no_secrets", "no secret is pushed",
        "What was pushed once is in every clone; a secret there has to be replaced.";
}

impl Level {
    /// Its name in settings and answers.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }

    /// All levels.
    pub(crate) const ALL: [Self; 3] = [Self::Off, Self::Warn, Self::Refuse];

    /// The level of a name.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.key() == key)
    }
}

impl Rule {
    /// The rule of a name.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.key() == key)
    }
}

/// A way of working with branches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flow {
    /// Short branches off one trunk, each for one issue; releases are tags on the trunk.
    #[default]
    Flexible,
    /// Short branches off one trunk, which can be deployed at any time.
    Github,
    /// A trunk, and branches for environments or releases downstream of it.
    Gitlab,
    /// Everything on the trunk, branches of a day or two at most.
    TrunkBased,
    /// `develop` beside the trunk, with feature, release and hotfix branches.
    Gitflow,
}

impl Flow {
    /// All flows.
    pub(crate) const ALL: &'static [Flow] = &[
        Self::Flexible,
        Self::Github,
        Self::Gitlab,
        Self::TrunkBased,
        Self::Gitflow,
    ];

    /// Its name in settings.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Flexible => "flexible",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::TrunkBased => "trunk_based",
            Self::Gitflow => "gitflow",
        }
    }

    /// Its name for people.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Flexible => "Flexible flow",
            Self::Github => "GitHub flow",
            Self::Gitlab => "GitLab flow",
            Self::TrunkBased => "trunk-based",
            Self::Gitflow => "Gitflow",
        }
    }

    /// The flow of a name.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|flow| flow.key() == key)
    }

    /// What each rule does in each flow: the one table.
    pub(crate) const fn level(self, rule: Rule) -> Level {
        use Level::{Off, Refuse, Warn};
        //                                 Flexible GitHub  GitLab  Trunk   Gitflow
        let row = match rule {
            Rule::IssueInCommit => [/*  */ Warn, Off, Off, Off, Off],
            Rule::IssueInBranch => [/*  */ Off, Off, Warn, Off, Off],
            Rule::OneBranchOneIssue => [/**/ Warn, Off, Off, Off, Off],
            Rule::NoTrunkMerge => [/*   */ Warn, Off, Off, Warn, Off],
            Rule::ChangeSize => [/*     */ Warn, Off, Off, Warn, Off],
            Rule::ReviewAge => [/*      */ Warn, Warn, Warn, Warn, Warn],
            Rule::ReleaseFromTrunk => [/**/ Warn, Off, Off, Off, Off],
            Rule::BranchName => [/*     */ Off, Off, Off, Off, Warn],
            Rule::MergeTarget => [/*    */ Off, Off, Warn, Off, Refuse],
            Rule::SignedCommits => [/*  */ Off, Off, Off, Off, Off],
            Rule::AuthorIsPusher => [/* */ Off, Off, Off, Off, Off],
            Rule::NoSecrets => [/*      */ Refuse, Refuse, Refuse, Refuse, Refuse],
        };
        row[self as usize]
    }

    /// Days after which a review has grown old.
    const fn days(self) -> u32 {
        match self {
            Self::TrunkBased => 2,
            Self::Flexible | Self::Github => 7,
            Self::Gitlab | Self::Gitflow => 14,
        }
    }
}

/// What a group or project has set itself; what it left out comes from further up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Own {
    /// The flow.
    pub(crate) flow: Option<Flow>,
    /// Rules set otherwise than the flow does.
    pub(crate) levels: BTreeMap<Rule, Level>,
    /// Most lines that a change should add and remove.
    pub(crate) most_lines: Option<u32>,
    /// Days after which a review has grown old.
    pub(crate) review_days: Option<u32>,
    /// Patterns for names of branches, in which `*` stands for any text.
    pub(crate) branch_patterns: Vec<String>,
    /// A group's: whether its projects may not set it otherwise.
    pub(crate) locked: bool,
}

/// What holds for a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The flow.
    pub(crate) flow: Flow,
    /// Rules set otherwise than the flow does.
    pub(crate) levels: BTreeMap<Rule, Level>,
    /// Most lines that a change should add and remove.
    pub(crate) most_lines: u32,
    /// Days after which a review has grown old; the flow's own where it is left out.
    pub(crate) review_days: Option<u32>,
    /// Patterns for names of branches, in which `*` stands for any text; the flow's own where there are none.
    pub(crate) branch_patterns: Vec<String>,
}

/// Lines that a change should add and remove at most, where nothing else is set.
const MOST_LINES: u32 = 600;

impl Default for Policy {
    fn default() -> Self {
        Self::of(&Own::default(), &Own::default())
    }
}

impl Policy {
    /// What holds where a group and its project have set this. The nearer setting counts, but what was set for a
    /// single rule counts more than a flow: whoever chooses another flow does not undo what the group asks for by name.
    pub(crate) fn of(group: &Own, project: &Own) -> Self {
        let nothing = Own::default();
        let project = if group.locked { &nothing } else { project };
        let mut levels = group.levels.clone();
        levels.extend(&project.levels);
        let patterns = if project.branch_patterns.is_empty() {
            &group.branch_patterns
        } else {
            &project.branch_patterns
        };
        Self {
            flow: project.flow.or(group.flow).unwrap_or_default(),
            levels,
            most_lines: project.most_lines.or(group.most_lines).unwrap_or(MOST_LINES),
            review_days: project.review_days.or(group.review_days),
            branch_patterns: patterns.clone(),
        }
    }

    /// The same as settings of a project, for one that is to hold to it elsewhere.
    pub(crate) fn as_own(&self) -> Own {
        Own {
            flow: Some(self.flow),
            levels: self.levels.clone(),
            most_lines: Some(self.most_lines),
            review_days: self.review_days,
            branch_patterns: self.branch_patterns.clone(),
            locked: false,
        }
    }

    /// What a rule does here.
    pub(crate) fn level(&self, rule: Rule) -> Level {
        self.levels
            .get(&rule)
            .copied()
            .unwrap_or_else(|| self.flow.level(rule))
    }

    /// Days after which a review has grown old.
    pub(crate) fn days(&self) -> u32 {
        self.review_days.unwrap_or_else(|| self.flow.days())
    }

    /// Whether any of these rules is on.
    pub(crate) fn asks(&self, rules: &[Rule]) -> bool {
        rules.iter().any(|rule| self.level(*rule) != Level::Off)
    }
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Which.
    pub(crate) rule: Rule,
    /// What it does here.
    pub(crate) level: Level,
    /// What breaks it, and what to do.
    pub(crate) problem: Problem,
}

impl Finding {
    /// Names the rule and its reason.
    fn new(rule: Rule, level: Level, mut problem: Problem) -> Self {
        problem.what = format!("{} Rule: {}.", problem.what, rule.title());
        Self {
            rule,
            level,
            problem: problem.why(rule.why()),
        }
    }
}

/// One commit that comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) message: String,
    pub(crate) parents: Vec<String>,
    pub(crate) author_email: String,
    /// The verdict on its signature, by git's letters (git-log, `%G?`): `G` where an account's key signed it.
    pub(crate) signature: char,
}

impl Commit {
    /// How people read of it.
    fn shown(&self) -> String {
        let title: String = self
            .message
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            // It is shown on terminals.
            .filter(|c| !c.is_control())
            .take(60)
            .collect();
        format!("{} “{title}”", self.sha.get(..8).unwrap_or(&self.sha))
    }

    /// Whether it has several parents: what it brings was judged where it was written.
    fn is_merge(&self) -> bool {
        self.parents.len() > 1
    }
}

/// What is known of issues that commits name: those that are open.
pub(crate) type OpenIssues = std::collections::HashSet<i64>;

/// A branch that is pushed or merged, with what it brings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// The branch.
    pub(crate) branch: String,
    /// The project's trunk.
    pub(crate) trunk: String,
    /// Where it is merged; `None` for a push.
    pub(crate) target: Option<String>,
    /// Commits that come, newest first.
    pub(crate) commits: Vec<Commit>,
    /// Commits that stand on the trunk already, of those that the change merges.
    pub(crate) on_trunk: std::collections::HashSet<String>,
    /// Lines added and removed; `None` where they were not counted.
    pub(crate) lines: Option<usize>,
    /// Secrets that were found in added lines.
    pub(crate) secrets: Vec<secret::Found>,
    /// Issues that are open; `None` where there is no tracker to ask.
    pub(crate) open_issues: Option<OpenIssues>,
    /// Addresses of the account that pushes; empty where that is no person.
    pub(crate) pusher: Vec<String>,
    /// Since when it is being reviewed, in days.
    pub(crate) age_days: Option<u32>,
}

/// All that a change breaks, worst first.
pub(crate) fn judge(policy: &Policy, change: &Change) -> Vec<Finding> {
    let on = |rule: Rule| Some(policy.level(rule)).filter(|level| *level != Level::Off);
    let mut findings = Vec::new();
    for rule in Rule::ALL {
        let Some(level) = on(*rule) else { continue };
        let problems = match rule {
            Rule::IssueInCommit => issue::in_commits(change),
            Rule::IssueInBranch => issue::in_branch(change),
            Rule::OneBranchOneIssue => issue::one(change),
            Rule::NoTrunkMerge => trunk::merged_in(change),
            Rule::ChangeSize => size::large(change, policy.most_lines),
            Rule::ReviewAge => size::old(change, policy.days()),
            Rule::BranchName => branch::named(change, policy),
            Rule::MergeTarget => branch::target(change, policy.flow),
            Rule::SignedCommits => author::signed(change),
            Rule::AuthorIsPusher => author::same(change),
            Rule::NoSecrets => secret::none(change),
            // Judged where a tag is pushed.
            Rule::ReleaseFromTrunk => None,
        };
        findings.extend(problems.map(|problem| Finding::new(*rule, level, problem)));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings
}

/// What a version tag breaks.
pub(crate) fn judge_tag(policy: &Policy, tag: &release::Tag) -> Option<Finding> {
    let level = policy.level(Rule::ReleaseFromTrunk);
    if level == Level::Off {
        return None;
    }
    let problem = release::from_trunk(tag)?;
    Some(Finding::new(Rule::ReleaseFromTrunk, level, problem))
}

/// Reads hostile bytes with every reader of this room.
pub(crate) fn hostile(data: &[u8]) {
    gather::commits(data);
    let mut patches = gather::Patches::new();
    for line in data.split(|byte| *byte == b'\n') {
        patches.line(line);
    }
    patches.end();
    sign::hostile(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    gather::allowed(text);
    for file in release::MANIFESTS {
        release::version_in(file, text);
    }
    drop(bypass::reason(text));
    drop(serde_json::from_str::<Own>(text));
}

/// A refusal by a rule.
fn broken(rule: Rule, what: impl Into<String>) -> Problem {
    Problem::new(403, rule.key(), what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_says_what_every_rule_does_and_a_setting_wins() {
        for flow in Flow::ALL {
            assert_eq!(Flow::parse(flow.key()), Some(*flow));
            for rule in Rule::ALL {
                let mut policy = Policy {
                    flow: *flow,
                    ..Policy::default()
                };
                assert_eq!(policy.level(*rule), flow.level(*rule));
                policy.levels.insert(*rule, Level::Refuse);
                assert_eq!(policy.level(*rule), Level::Refuse);
                assert_eq!(Rule::parse(rule.key()), Some(*rule));
                assert!(!rule.title().is_empty() && !rule.why().is_empty());
            }
        }
    }

    #[test]
    fn the_nearer_setting_counts_a_single_rule_more_than_a_flow_and_a_lock_most() {
        let mut group = Own {
            flow: Some(Flow::Gitlab),
            levels: [
                (Rule::IssueInCommit, Level::Refuse),
                (Rule::ChangeSize, Level::Off),
            ]
            .into(),
            most_lines: Some(100),
            ..Own::default()
        };
        let project = Own {
            flow: Some(Flow::Gitflow),
            levels: [(Rule::ChangeSize, Level::Warn)].into(),
            review_days: Some(3),
            ..Own::default()
        };
        let policy = Policy::of(&group, &project);
        assert_eq!(
            (policy.flow, policy.most_lines, policy.days()),
            (Flow::Gitflow, 100, 3)
        );
        assert_eq!(policy.level(Rule::IssueInCommit), Level::Refuse);
        assert_eq!(policy.level(Rule::ChangeSize), Level::Warn);
        assert_eq!(policy.level(Rule::MergeTarget), Level::Refuse);
        group.locked = true;
        let policy = Policy::of(&group, &project);
        assert_eq!((policy.flow, policy.days()), (Flow::Gitlab, 14));
        assert_eq!(policy.level(Rule::ChangeSize), Level::Off);
        assert_eq!(Policy::of(&Own::default(), &Own::default()).flow, Flow::Flexible);
    }

    #[test]
    fn all_broken_rules_are_told_at_once_the_worst_first() {
        let mut policy = Policy::default();
        policy.levels.insert(Rule::IssueInBranch, Level::Refuse);
        let change = Change {
            branch: "topic".to_owned(),
            trunk: "main".to_owned(),
            commits: vec![Commit {
                sha: "a".repeat(40),
                message: "Mend it".to_owned(),
                parents: vec!["b".repeat(40)],
                ..Commit::default()
            }],
            lines: Some(5_000),
            ..Change::default()
        };
        let findings = judge(&policy, &change);
        let told: Vec<_> = findings.iter().map(|found| (found.rule, found.level)).collect();
        assert_eq!(
            told,
            [
                (Rule::IssueInBranch, Level::Refuse),
                (Rule::IssueInCommit, Level::Warn),
                (Rule::ChangeSize, Level::Warn)
            ]
        );
        assert!(
            findings
                .iter()
                .all(|found| !found.problem.why.is_empty() && !found.problem.next.is_empty())
        );
    }
}
