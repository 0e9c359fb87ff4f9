//! Facts about the workflow policy.

use super::fact;
use bascule_core::{GroupId, MergeRequestId, ProjectId};
use serde::{Deserialize, Serialize};

/// What a rule refuses was let through, by somebody who may and who said why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkflowBypassed {
    /// The project.
    pub project: ProjectId,
    /// The references that were pushed, or the branch that a request goes to.
    pub references: Vec<String>,
    /// The rules that were broken, such as `issue_in_commit`.
    pub rules: Vec<String>,
    /// Why.
    pub reason: String,
    /// The merge request, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_request: Option<MergeRequestId>,
    /// Its number within the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iid: Option<i64>,
    /// The commit that it holds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}
fact!(
    WorkflowBypassed,
    "workflow.bypassed",
    |f| Some(f.project),
    |f| match f.merge_request {
        Some(request) => format!("merge_request:{request}"),
        None => format!("project:{}", f.project),
    },
    |f| {
        let what = match f.iid {
            Some(iid) => format!("!{iid}"),
            None => format!("a push to {}", f.references.join(", ")),
        };
        format!("let {what} by {}: {}", f.rules.join(", "), f.reason)
    }
);

/// A group's workflow policy changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupWorkflowChanged {
    /// The group.
    pub group: GroupId,
    /// What is set now, for people.
    pub value: String,
}
fact!(
    GroupWorkflowChanged,
    "group.workflow_changed",
    |_| None,
    |f| format!("group:{}", f.group),
    |f| format!("set the group's workflow policy to {}", f.value)
);
