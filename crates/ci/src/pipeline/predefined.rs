//! The variables that every job finds, by GitLab's names.

use super::Pipeline;
use crate::{job::Job, ports::ProjectInfo};
use bascule_wire::runner::Variable;

/// What a pipeline's jobs have in common.
pub(crate) fn of_pipeline(pipeline: &Pipeline, project: &ProjectInfo, base_url: &str) -> Vec<Variable> {
    let p = |key: &str, value: &str| Variable {
        raw: true,
        ..Variable::public(key, value)
    };
    let slug = slug(&pipeline.reference);
    let path = project.path();
    let title = pipeline.title();
    let project_url = format!("{base_url}/{path}");
    let id = pipeline.id.to_string();
    let host = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let (name, port) = host.split_once(':').unwrap_or((
        host,
        if base_url.starts_with("https") {
            "443"
        } else {
            "80"
        },
    ));
    let mut list = vec![
        p("CI", "true"),
        p("GITLAB_CI", "true"),
        p("BASCULE", "true"),
        p("CI_SERVER", "yes"),
        p("CI_SERVER_NAME", "Bascule"),
        p("CI_SERVER_VERSION", env!("CARGO_PKG_VERSION")),
        p("CI_SERVER_URL", base_url),
        p("CI_SERVER_HOST", name),
        p("CI_SERVER_PORT", port),
        p(
            "CI_SERVER_PROTOCOL",
            if base_url.starts_with("https") {
                "https"
            } else {
                "http"
            },
        ),
        p("CI_API_V4_URL", &format!("{base_url}/api/v4")),
        p("CI_PIPELINE_SOURCE", &pipeline.source),
        p("CI_PIPELINE_NAME", pipeline.name.as_deref().unwrap_or_default()),
        p("CI_PIPELINE_CREATED_AT", &pipeline.created_at.to_string()),
        p("CI_PROJECT_ID", &pipeline.project_id.to_string()),
        p("CI_PROJECT_NAME", &project.name),
        p("CI_PROJECT_TITLE", &project.name),
        p("CI_PROJECT_PATH", &path),
        p("CI_PROJECT_PATH_SLUG", &self::slug(&path)),
        p("CI_PROJECT_NAMESPACE", &project.group),
        p("CI_PROJECT_ROOT_NAMESPACE", &project.group),
        p("CI_PROJECT_URL", &project_url),
        p("CI_DEFAULT_BRANCH", &project.default_branch),
        p("CI_REPOSITORY_URL", &project.clone_url),
        p("CI_REGISTRY", host),
        p("CI_REGISTRY_IMAGE", &format!("{host}/{path}")),
        p("CI_CONFIG_PATH", crate::fault::CI_FILE),
        p("CI_COMMIT_SHA", &pipeline.sha),
        p(
            "CI_COMMIT_SHORT_SHA",
            pipeline.sha.get(..8).unwrap_or(&pipeline.sha),
        ),
        p(
            "CI_COMMIT_BEFORE_SHA",
            pipeline.before_sha.as_deref().unwrap_or(ZERO),
        ),
        p("CI_COMMIT_REF_NAME", &pipeline.reference),
        p("CI_COMMIT_REF_SLUG", &slug),
        p(
            "CI_COMMIT_REF_PROTECTED",
            if pipeline.protected { "true" } else { "false" },
        ),
        p("CI_COMMIT_MESSAGE", &pipeline.message),
        p("CI_COMMIT_TITLE", title),
        p(
            "CI_COMMIT_DESCRIPTION",
            pipeline
                .message
                .split_once('\n')
                .map(|(_, rest)| rest.trim_start())
                .unwrap_or_default(),
        ),
        p(
            if pipeline.tag {
                "CI_COMMIT_TAG"
            } else {
                "CI_COMMIT_BRANCH"
            },
            &pipeline.reference,
        ),
    ];
    if pipeline.id.0 > 0 {
        list.push(p("CI_PIPELINE_ID", &id));
        list.push(p("CI_PIPELINE_IID", &id));
        list.push(p("CI_PIPELINE_URL", &format!("{project_url}/-/pipelines/{id}")));
    }
    list
}

/// What is a job's own, beyond its pipeline's.
pub(crate) fn of_job(job: &Job, project: &ProjectInfo, base_url: &str) -> Vec<Variable> {
    let p = |key: &str, value: &str| Variable {
        raw: true,
        ..Variable::public(key, value)
    };
    let id = job.id.to_string();
    let mut list = vec![
        p("CI_JOB_ID", &id),
        p("CI_JOB_NAME", &job.name),
        p("CI_JOB_NAME_SLUG", &slug(&job.name)),
        p("CI_JOB_STAGE", &job.stage),
        p(
            "CI_JOB_URL",
            &format!("{base_url}/{}/-/jobs/{id}", project.path()),
        ),
        p("CI_JOB_STATUS", "running"),
        p("CI_JOB_TIMEOUT", &job.timeout.to_string()),
        p("CI_NODE_TOTAL", "1"),
    ];
    if let Some(started) = job.started_at {
        list.push(p("CI_JOB_STARTED_AT", &started.to_string()));
    }
    if let Some(image) = &job.spec.0.image {
        list.push(Variable::public("CI_JOB_IMAGE", image.name.clone()));
    }
    list
}

/// The commit that stands for none.
pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000";

/// Lower case, at most 63 characters, everything but letters and digits as `-`: fit for a host name.
pub(crate) fn slug(text: &str) -> String {
    let mapped: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    mapped.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_fit_host_names() {
        assert_eq!(slug("Feature/ÄB_1"), "feature--b-1");
        assert_eq!(slug(&"x".repeat(100)).len(), 63);
    }
}
