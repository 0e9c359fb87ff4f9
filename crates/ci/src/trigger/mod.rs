//! Pipelines that pipelines make: `trigger`. The job that makes one is a *bridge*; no runner sees it. What it makes
//! is a *child* (`trigger:include`, of the same project and commit) or a pipeline of another project
//! (`trigger:project`).
//!
//! A bridge that begins is stored as running without a downstream pipeline; [the engine](crate::engine) finds it and
//! makes that pipeline, once per bridge whatever happens. How that ends comes back through the ledger.

mod child;
mod follow;
mod service;

use crate::config::{Include, Source};
pub(crate) use follow::depends;

/// Most child pipelines within each other (GitLab's limit).
pub const NESTED: i64 = 2;
/// Most bridges in a row, also over projects: a loop of projects ends here.
pub const DEPTH: i64 = 10;
/// Most pipelines that one pipeline leads to, directly or not (GitLab's limit).
pub const FAMILY: i64 = 1_000;
/// Largest configuration that a job makes for a child pipeline, in bytes.
pub const GENERATED: u64 = 1024 * 1024;

/// GitLab's words for why a bridge fails.
pub mod reason {
    /// Too many bridges in a row or child pipelines within each other.
    pub const DEPTH: &str = "reached_max_descendant_pipelines_depth";
    /// Too many pipelines came of one.
    pub const FAMILY: &str = "reached_max_pipeline_hierarchy_size";
    /// There is no such project.
    pub const PROJECT: &str = "downstream_bridge_project_not_found";
    /// Who started this may not run pipelines there.
    pub const RIGHT: &str = "insufficient_bridge_permissions";
    /// The other pipeline could not be made.
    pub const CREATION: &str = "downstream_pipeline_creation_failed";
    /// The trigger cannot be understood.
    pub const INVALID: &str = "invalid_bridge_trigger";
    /// The project whose pipeline is mirrored does not exist, or has none.
    pub const UPSTREAM: &str = "upstream_bridge_project_not_found";
    /// Who started this may not read pipelines there.
    pub const UPSTREAM_RIGHT: &str = "insufficient_upstream_permissions";
    /// The pipeline that it made, and waited for, failed. GitLab has no word of its own for this.
    pub const FAILED: &str = "downstream_pipeline_failed";
}

/// Why a bridge cannot be crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Obstacle {
    /// One of [`reason`].
    reason: &'static str,
    /// For people, in the bridge's log.
    words: String,
}

impl Obstacle {
    fn new(reason: &'static str, words: impl Into<String>) -> Self {
        Self {
            reason,
            words: words.into(),
        }
    }
}

/// What a child's configuration is called where its faults are told.
fn name_of(includes: &[Include]) -> String {
    let one = |include: &Include| match &include.source {
        Source::Local(path) => path.clone(),
        Source::Project { project, file, .. } => format!("{project}: {file}"),
        Source::Remote { url, .. } => url.clone(),
        Source::Template(name) | Source::Component(name) => name.clone(),
        Source::Artifact { job, file } => format!("{file} of {job}"),
    };
    includes.iter().map(one).collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Inputs;

    #[test]
    fn faults_of_a_child_name_its_files() {
        let include = |source| Include {
            source,
            inputs: Inputs::default(),
        };
        let list = [
            include(Source::Local("ci/a.yml".into())),
            include(Source::Project {
                project: "tools/ci".into(),
                reference: None,
                file: "b.yml".into(),
            }),
        ];
        assert_eq!(name_of(&list), "ci/a.yml + tools/ci: b.yml");
    }
}
