//! The workflow policy of groups and projects, as the JSON API speaks of it; shared with the command line.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The policy that holds for a project or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workflow {
    /// `flexible`, `github`, `gitlab`, `trunk_based` or `gitflow`.
    pub flow: String,
    /// What people call it.
    pub flow_title: String,
    /// Every rule, and what it does here.
    pub rules: Vec<WorkflowRule>,
    /// Most lines that a change should add and remove.
    pub most_lines: u32,
    /// Days after which a review has grown old.
    pub review_days: u32,
    /// Patterns for names of branches; empty where the flow's own hold.
    pub branch_patterns: Vec<String>,
    /// A project's: whether its group keeps it from setting anything otherwise.
    pub locked: bool,
    /// What is set here, and not further up.
    pub own: WorkflowOwn,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowRule {
    /// Its name, such as `issue_in_commit`.
    pub rule: String,
    /// What it demands.
    pub title: String,
    /// Why it exists.
    pub why: String,
    /// What it does: `off`, `warn` or `refuse`.
    pub level: String,
    /// What it would do if nothing were set for it here.
    pub inherited: String,
}

/// What a group or project has set itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowOwn {
    /// The flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Levels of single rules, by the rule's name.
    #[serde(default)]
    pub levels: BTreeMap<String, String>,
    /// Most lines that a change should add and remove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_lines: Option<u32>,
    /// Days after which a review has grown old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_days: Option<u32>,
    /// Patterns for names of branches.
    #[serde(default)]
    pub branch_patterns: Vec<String>,
    /// A group's: whether its projects may not set it otherwise.
    #[serde(default)]
    pub locked: bool,
}

/// A change of what is set; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowChange {
    /// The flow; `inherit` for what comes from further up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Levels by the rule's name: `off`, `warn`, `refuse`, or `inherit`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub levels: BTreeMap<String, String>,
    /// Most lines that a change should add and remove; 0 for what comes from further up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_lines: Option<u32>,
    /// Days after which a review has grown old; 0 for what comes from further up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_days: Option<u32>,
    /// Patterns for names of branches, in which `*` stands for any text; none for what comes from further up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_patterns: Option<Vec<String>>,
    /// A group's: whether its projects may not set it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
}
