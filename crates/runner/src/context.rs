//! What a job knows of itself: its directory, its variables, its secrets.

use crate::{Shared, mask::Masker, vars::Vars};
use bascule_wire::runner::{Job, Variable};

/// Where projects lie inside the sandbox.
const BUILDS: &str = "/builds";

/// `/builds/group/project`, of plain words only.
pub(crate) fn project_dir(job: &Job) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let parts = job.job_info.project_full_path.split('/');
    let parts: Vec<&str> = parts
        .filter(|p| !p.is_empty() && !p.starts_with('.') && p.chars().all(plain))
        .take(20)
        .collect();
    if parts.is_empty() {
        format!("{BUILDS}/project")
    } else {
        format!("{BUILDS}/{}", parts.join("/"))
    }
}

pub(crate) fn variables(shared: &Shared, job: &Job, project_dir: &str) -> Vars {
    let config = &shared.config;
    let public = |key: &str, value: &str| Variable {
        raw: true,
        ..Variable::public(key, value)
    };
    let mut all: Vec<Variable> = config.job_variables.iter().map(|(k, v)| public(k, v)).collect();
    all.push(public("CI_JOB_ID", &job.id.to_string()));
    all.push(public("CI_JOB_NAME", &job.job_info.name));
    all.push(public("CI_JOB_STAGE", &job.job_info.stage));
    all.push(public("CI_COMMIT_SHA", &job.git_info.sha));
    all.push(public("CI_COMMIT_REF_NAME", &job.git_info.reference));
    all.push(public("CI_PROJECT_PATH", &job.job_info.project_full_path));
    all.extend(job.variables.iter().cloned());
    // What only the runner knows stands above all.
    for (key, value) in [
        ("CI", "true"),
        ("GITLAB_CI", "true"),
        ("CI_SERVER", "yes"),
        ("CI_DISPOSABLE_ENVIRONMENT", "true"),
        ("CI_BUILDS_DIR", BUILDS),
        ("CI_PROJECT_DIR", project_dir),
        ("CI_RUNNER_DESCRIPTION", &config.name),
        ("CI_RUNNER_VERSION", env!("CARGO_PKG_VERSION")),
    ] {
        all.push(public(key, value));
    }
    all.push(public(
        "CI_RUNNER_EXECUTABLE_ARCH",
        &format!("linux/{}", std::env::consts::ARCH),
    ));
    Vars::new(&format!("{project_dir}.tmp"), all)
}

pub(crate) fn masker(job: &Job, vars: &Vars) -> Masker {
    let mut secrets = vars.secrets();
    secrets.push(job.token.clone());
    secrets.extend(job.dependencies.iter().map(|d| d.token.clone()));
    secrets.extend(job.credentials.iter().map(|c| c.password.clone()));
    if let Some(password) = url::Url::parse(&job.git_info.repo_url)
        .ok()
        .as_ref()
        .and_then(url::Url::password)
    {
        secrets.push(password.to_owned());
    }
    Masker::new(
        secrets.iter().map(String::as_str),
        &job.features.token_mask_prefixes,
    )
}
