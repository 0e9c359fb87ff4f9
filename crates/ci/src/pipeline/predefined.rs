//! The variables that every job finds, by GitLab's names.

use super::{MergeRequest, Pipeline};
use crate::{
    config::When,
    job::Job,
    ports::{Person, ProjectInfo},
};
use bascule_wire::runner::Variable;
use serde_json::json;

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
        p("CI_SERVER_FQDN", host),
        p("CI_TEMPLATE_REGISTRY_HOST", host),
        p("CI_SERVER_VERSION_MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        p("CI_SERVER_VERSION_MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        p("CI_SERVER_VERSION_PATCH", env!("CARGO_PKG_VERSION_PATCH")),
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
        p("CI_PROJECT_NAMESPACE_ID", &project.group_id),
        p("CI_PROJECT_VISIBILITY", &project.visibility),
        p("CI_PROJECT_DESCRIPTION", &project.description),
        p("CI_PROJECT_URL", &project_url),
        p("CI_PROJECT_NAMESPACE_SLUG", &self::slug(&project.group)),
        p("CI_PROJECT_ROOT_NAMESPACE_SLUG", &self::slug(&project.group)),
        p("CI_DEFAULT_BRANCH", &project.default_branch),
        p("CI_DEFAULT_BRANCH_SLUG", &self::slug(&project.default_branch)),
        p("GITLAB_USER_LOGIN", &pipeline.actor_name),
        p("CI_REPOSITORY_URL", &project.clone_url),
        p("CI_REGISTRY", host),
        p("CI_REGISTRY_IMAGE", &format!("{host}/{path}")),
        p("CI_PAGES_DOMAIN", name),
        p("CI_PAGES_HOSTNAME", name),
        p("CI_PAGES_URL", &format!("{project_url}/-/pages")),
        p("CI_CONFIG_PATH", crate::fault::CI_FILE),
        p("CI_CONFIG_REF_URI", &config_uri(pipeline, &path, base_url)),
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
        p(
            "CI_COMMIT_MESSAGE_IS_TRUNCATED",
            if pipeline.message.chars().count() >= super::MESSAGE {
                "true"
            } else {
                "false"
            },
        ),
        p("CI_COMMIT_TITLE", title),
        p("CI_COMMIT_AUTHOR", &pipeline.settings.0.commit_author),
        p("CI_COMMIT_TIMESTAMP", &pipeline.settings.0.commit_time),
        p(
            "CI_COMMIT_DESCRIPTION",
            pipeline
                .message
                .split_once('\n')
                .map(|(_, rest)| rest.trim_start())
                .unwrap_or_default(),
        ),
    ];
    match &pipeline.settings.0.merge_request {
        // There is no branch: the pipeline is for what would become of one.
        Some(request) => of_request(&mut list, request, pipeline, &path, &project_url),
        None if pipeline.tag => {
            list.push(p("CI_COMMIT_TAG", &pipeline.reference));
            let message = pipeline.settings.0.tag_message.as_deref();
            list.push(p("CI_COMMIT_TAG_MESSAGE", message.unwrap_or_default()));
        }
        None => list.push(p("CI_COMMIT_BRANCH", &pipeline.reference)),
    }
    match &pipeline.settings.0.starter {
        Some(person) => list.extend(of_person(person)),
        None => list.push(p("GITLAB_USER_NAME", &pipeline.actor_name)),
    }
    if let Some((host, port)) = ssh_address(&project.ssh_url) {
        list.push(p("CI_SERVER_SHELL_SSH_HOST", host));
        list.push(p("CI_SERVER_SHELL_SSH_PORT", port));
    }
    if let Some(upstream) = pipeline.settings.0.upstream_project {
        list.push(p("CI_UPSTREAM_PROJECT_ID", &upstream.to_string()));
    }
    let open: Vec<String> = pipeline
        .settings
        .0
        .open_requests
        .iter()
        .map(|iid| format!("{path}!{iid}"))
        .collect();
    if !open.is_empty() {
        list.push(p("CI_OPEN_MERGE_REQUESTS", &open.join(",")));
    }
    if pipeline.source == crate::trigger_token::SOURCE {
        list.push(p("CI_PIPELINE_TRIGGERED", "true"));
    }
    if let Some(hint) = &pipeline.settings.0.trigger {
        list.push(p("CI_TRIGGER_SHORT_TOKEN", hint));
    }
    if let Some(description) = &pipeline.settings.0.schedule_description {
        list.push(p("CI_PIPELINE_SCHEDULE_DESCRIPTION", description));
    }
    if let Some(parent) = pipeline.parent_id {
        list.push(p("CI_UPSTREAM_PIPELINE_ID", &parent.to_string()));
    }
    if let Some(job) = pipeline.parent_job_id {
        list.push(p("CI_UPSTREAM_JOB_ID", &job.to_string()));
    }
    if pipeline.id.0 > 0 {
        list.push(p("CI_PIPELINE_ID", &id));
        list.push(p("CI_PIPELINE_IID", &id));
        list.push(p("CI_PIPELINE_URL", &format!("{project_url}/-/pipelines/{id}")));
    }
    list
}

/// Who a job runs for.
pub(crate) fn of_person(person: &Person) -> Vec<Variable> {
    let name = match person.name.as_str() {
        "" => &person.login,
        _ => &person.name,
    };
    [
        ("GITLAB_USER_ID", &person.id),
        ("GITLAB_USER_LOGIN", &person.login),
        ("GITLAB_USER_NAME", name),
        ("GITLAB_USER_EMAIL", &person.email),
    ]
    .into_iter()
    .map(|(key, value)| Variable {
        raw: true,
        ..Variable::public(key, value.as_str())
    })
    .collect()
}

/// The file that a pipeline is made of, with where it lies and what of it was taken.
pub(crate) fn config_uri(pipeline: &Pipeline, path: &str, base_url: &str) -> String {
    let host = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let kind = if pipeline.tag { "tags" } else { "heads" };
    format!(
        "{host}/{path}//{}@refs/{kind}/{}",
        crate::fault::CI_FILE,
        pipeline.reference
    )
}

/// Host and port of `ssh://git@host:port/path` or `git@host:path`.
fn ssh_address(url: &str) -> Option<(&str, &str)> {
    let host = |text: &'_ str| -> Option<usize> { text.rfind('@').map(|at| at + 1) };
    if let Some(rest) = url.strip_prefix("ssh://") {
        let address = rest.split('/').next()?;
        let address = address.get(host(address).unwrap_or_default()..)?;
        return Some(match address.rsplit_once(':') {
            Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => (name, port),
            _ => (address, "22"),
        });
    }
    let (address, _) = url.split_once(':')?;
    Some((address.get(host(address).unwrap_or_default()..)?, "22"))
}

/// Longest description that jobs are told, in characters (GitLab's limit).
const DESCRIPTION: usize = 2700;

/// What is told of the merge request that a pipeline is for.
fn of_request(
    list: &mut Vec<Variable>,
    request: &MergeRequest,
    pipeline: &Pipeline,
    path: &str,
    project_url: &str,
) {
    let merged = request.event != "detached";
    let reference = format!(
        "refs/merge-requests/{}/{}",
        request.iid,
        if merged { "merge" } else { "head" }
    );
    let project = pipeline.project_id.to_string();
    let iid = request.iid.to_string();
    // As GitLab has it: the two commits are told of a merged result alone.
    let of_merge = |sha: &'_ str| if merged { sha.to_owned() } else { String::new() };
    for (key, value) in [
        ("CI_MERGE_REQUEST_ID", request.id.clone()),
        ("CI_MERGE_REQUEST_IID", iid),
        ("CI_MERGE_REQUEST_REF_PATH", reference),
        ("CI_MERGE_REQUEST_PROJECT_ID", project.clone()),
        ("CI_MERGE_REQUEST_PROJECT_PATH", path.to_owned()),
        ("CI_MERGE_REQUEST_PROJECT_URL", project_url.to_owned()),
        ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", project),
        ("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", path.to_owned()),
        ("CI_MERGE_REQUEST_SOURCE_PROJECT_URL", project_url.to_owned()),
        (
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
            request.source_branch.clone(),
        ),
        (
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA",
            of_merge(&request.source_sha),
        ),
        (
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
            request.target_branch.clone(),
        ),
        (
            "CI_MERGE_REQUEST_TARGET_BRANCH_SHA",
            of_merge(&request.target_sha),
        ),
        ("CI_MERGE_REQUEST_DIFF_BASE_SHA", request.base_sha.clone()),
        (
            "CI_MERGE_REQUEST_DIFF_ID",
            match request.version {
                0 => String::new(),
                version => version.to_string(),
            },
        ),
        ("CI_MERGE_REQUEST_TITLE", request.title.clone()),
        ("CI_MERGE_REQUEST_DRAFT", request.draft.to_string()),
        (
            "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED",
            request.target_protected.to_string(),
        ),
        (
            "CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED",
            request.source_protected.to_string(),
        ),
        (
            "CI_MERGE_REQUEST_DESCRIPTION",
            request.description.chars().take(DESCRIPTION).collect(),
        ),
        (
            "CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED",
            (request.description.chars().count() > DESCRIPTION).to_string(),
        ),
        ("CI_MERGE_REQUEST_LABELS", request.labels.join(",")),
        ("CI_MERGE_REQUEST_ASSIGNEES", request.assignees.join(", ")),
        ("CI_MERGE_REQUEST_EVENT_TYPE", request.event.clone()),
    ] {
        // Empty is as good as absent, and GitLab leaves such variables out.
        if !value.is_empty() {
            list.push(Variable {
                raw: true,
                ..Variable::public(key, value)
            });
        }
    }
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
        p("CI_JOB_GROUP_NAME", group_name(&job.name)),
        p("CI_JOB_RETRY_COUNT", &(job.attempt - 1).to_string()),
        p("CI_JOB_TAGS", &json!(job.tags.0).to_string()),
        p("CI_NODE_TOTAL", "1"),
    ];
    if job.run_when.0 == When::Manual {
        list.push(p("CI_JOB_MANUAL", "true"));
    }
    if let Some(started) = job.started_at {
        let started = started.to_string();
        list.push(p("CI_JOB_STARTED_AT", &started));
        list.push(p("CI_JOB_STARTED_AT_SLUG", &slug(&started)));
    }
    if let Some(image) = &job.spec.0.image {
        list.push(Variable::public("CI_JOB_IMAGE", image.name.clone()));
    }
    list
}

/// What the copies of a `parallel` have in common: the name without its number (`test 1/3`) or values (`test: [a, b]`).
fn group_name(name: &str) -> &str {
    if let Some((group, _)) = name.split_once(": [").filter(|_| name.ends_with(']')) {
        return group;
    }
    let numbered = |text: &str| {
        text.split_once(['/', ' ', ':'])
            .is_some_and(|(a, b)| a.parse::<u32>().is_ok() && b.parse::<u32>().is_ok())
    };
    match name.rsplit_once(' ') {
        Some((group, last)) if numbered(last) => group,
        _ => name,
    }
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
    fn copies_have_their_job_s_name_in_common() {
        for (name, group) in [
            ("test 1/3", "test"),
            ("unit tests: [a, b]", "unit tests"),
            ("deploy now", "deploy now"),
            ("a/b", "a/b"),
        ] {
            assert_eq!(group_name(name), group, "{name}");
        }
    }

    #[test]
    fn addresses_of_ssh_have_a_host_and_a_port() {
        for (url, found) in [
            (
                "ssh://git@code.example.org:2222/a/b.git",
                Some(("code.example.org", "2222")),
            ),
            (
                "ssh://git@code.example.org/a/b.git",
                Some(("code.example.org", "22")),
            ),
            ("ssh://git@[::1]:2222/a/b.git", Some(("[::1]", "2222"))),
            ("git@code.example.org:a/b.git", Some(("code.example.org", "22"))),
            ("", None),
        ] {
            assert_eq!(ssh_address(url), found, "{url}");
        }
    }

    #[test]
    fn slugs_fit_host_names() {
        assert_eq!(slug("Feature/ÄB_1"), "feature--b-1");
        assert_eq!(slug(&"x".repeat(100)).len(), 63);
    }
}
