//! What a pipeline was made with and keeps, beyond its jobs.

use crate::{config::AutoCancel, ports::Person};
use bascule_core::{PipelineId, ProjectId};
use serde::{Deserialize, Serialize};

/// What a pipeline keeps. Fields are added with defaults, so that what older versions stored is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// What is canceled when.
    pub auto_cancel: AutoCancel,
    /// The merge request that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_request: Option<MergeRequest>,
    /// Who wrote the commit, as `name <address>`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit_author: String,
    /// When it was committed, as RFC 3339 has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit_time: String,
    /// What the tag says that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_message: Option<String>,
    /// Who started it, as they were then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starter: Option<Person>,
    /// The project of the pipeline whose bridge made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_project: Option<ProjectId>,
    /// Numbers of the requests that were open from its branch when it was made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open_requests: Vec<i64>,
    /// The schedule that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<i64>,
    /// What that schedule is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_description: Option<String>,
    /// The first letters of the trigger token that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The newer pipeline for whose sake it was canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_for: Option<PipelineId>,
}

/// The merge request that a pipeline is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeRequest {
    /// Its number within the project.
    pub iid: i64,
    /// Its identifier.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The branch that its commits come from.
    pub source_branch: String,
    /// The commit of that branch.
    pub source_sha: String,
    /// The branch that they go to.
    pub target_branch: String,
    /// Where that branch stands.
    pub target_sha: String,
    /// Where both parted.
    pub base_sha: String,
    /// The how manieth state of it this is, from one; zero where that is not known.
    pub version: i64,
    /// Whether the branch that its commits go to is protected.
    pub target_protected: bool,
    /// Whether the branch that they come from is.
    pub source_protected: bool,
    /// Its description.
    pub description: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// User names of those who work on it.
    pub assignees: Vec<String>,
    /// `detached` (the request's own commit), `merged_result` or `merge_train`.
    pub event: String,
}
