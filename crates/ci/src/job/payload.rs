//! What a runner is told of a job.

use super::Job;
use crate::{
    Ci,
    config::JobSpec,
    pipeline::{self, Pipeline},
    ports::ProjectInfo,
    runner::Runner,
    variables::{expand, resolve},
};
use bascule_core::{Problem, ProjectId, Result};
use bascule_wire::runner as wire;

/// Commits to fetch where the job does not say.
const DEPTH: i64 = 50;

impl Ci {
    /// A job's variables in the order in which they count, without its token.
    pub(crate) async fn job_variables(
        &self,
        job: &Job,
        pipeline: &Pipeline,
        project: &ProjectInfo,
    ) -> Result<Vec<wire::Variable>> {
        let mut list = pipeline::predefined_of_pipeline(pipeline, project, &self.options.base_url);
        list.extend(pipeline::predefined_of_job(job, project, &self.options.base_url));
        list.extend(job.variables.0.iter().cloned());
        list.extend(self.inherited(job).await?);
        // What a group requires is not to be turned to other ends by what a project or a person sets.
        let mut name = None;
        if !job.track().is_required() {
            let reaching = self.reaching(&project.group, job.project_id).await?;
            let mut given = pipeline.variables.0.clone();
            given.extend(crate::results::store::played(&self.db, job).await?);
            if let Some(environment) = &job.spec.0.environment {
                // What is set for one environment cannot say which that is.
                let mut known = list.clone();
                known.extend(reaching.for_jobs(pipeline.protected, None));
                known.extend(given.iter().cloned());
                name = Some(expand(&environment.name, &resolve(&known)));
            }
            list.extend(reaching.for_jobs(pipeline.protected, name.as_deref()));
            list.extend(given);
        }
        if let Some(environment) = &job.spec.0.environment {
            let values = resolve(&list);
            let name = name.unwrap_or_else(|| expand(&environment.name, &values));
            list.push(wire::Variable::public(
                "CI_ENVIRONMENT_SLUG",
                pipeline::slug(&name),
            ));
            list.push(wire::Variable::public(
                "CI_ENVIRONMENT_TIER",
                environment.tier(&name).to_owned(),
            ));
            list.push(wire::Variable::public("CI_ENVIRONMENT_NAME", name));
            list.push(wire::Variable::public(
                "CI_ENVIRONMENT_ACTION",
                environment.action.clone(),
            ));
            if let Some(url) = &environment.url {
                list.push(wire::Variable::public("CI_ENVIRONMENT_URL", expand(url, &values)));
            }
        }
        Ok(list)
    }

    /// What the job's `secrets` name in our own store, as variables that hold files unless the job says otherwise.
    async fn secrets(
        &self,
        job: &Job,
        pipeline: &Pipeline,
        project: &ProjectInfo,
        variables: &[wire::Variable],
    ) -> Result<Vec<wire::Variable>> {
        let wanted = &job.spec.0.secrets;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let values = resolve(variables);
        let environment = values.get("CI_ENVIRONMENT_NAME").map(ToString::to_string);
        let reaching = self.reaching(&project.group, job.project_id).await?;
        let mut list = Vec::with_capacity(wanted.len());
        for (key, secret) in wanted {
            if secret.provider != OWN_SECRETS {
                return Err(Problem::invalid(
                    "secret_provider_not_found",
                    format!("The secret {key} is to come from `{}`, which is not served here.", secret.provider),
                )
                .why(format!("Secrets come from this server's own store, `{OWN_SECRETS}`."))
                .next("Set it with `bascule variable set --secret`, or fetch it in the script with an `id_tokens` token."));
            }
            let name = secret.settings["name"].as_str().unwrap_or_default();
            let name = expand(name, &values);
            let found = reaching.secret(
                &name,
                pipeline.protected,
                environment.as_deref(),
                job.required.is_some(),
            );
            let Some(found) = found else {
                return Err(Problem::invalid(
                    "secret_not_found",
                    format!("There is no secret `{name}` for this job."),
                )
                .why("It is not set, or only for protected branches and tags, or for another environment.")
                .next(format!(
                    "Set it: bascule variable set {name} --secret -p {}.",
                    project.path()
                )));
            };
            list.push(wire::Variable {
                key: key.clone(),
                file: secret.file,
                ..found
            });
        }
        Ok(list)
    }

    /// The whole of what a runner needs to run a job that was just given to it. `reports` is the token with which it
    /// reports; all else gets the script's.
    pub(crate) async fn payload(&self, job: &Job, runner: &Runner, reports: &str) -> Result<wire::Job> {
        let token = crate::token::for_script(reports);
        let token = token.as_str();
        let pipeline = pipeline::store::find(&self.db, job.pipeline_id)
            .await?
            .ok_or_else(Problem::internal)?;
        let project = self
            .code
            .project(job.project_id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let mut variables = vec![
            secret("CI_JOB_TOKEN", token),
            secret("CI_REPOSITORY_URL", &with_token(&project.clone_url, token)),
            wire::Variable::public("CI_RUNNER_ID", runner.number.to_string()),
            wire::Variable::public("CI_RUNNER_DESCRIPTION", runner.description.clone()),
            wire::Variable::public("CI_RUNNER_TAGS", serde_json::json!(runner.tags.0).to_string()),
            wire::Variable::public("CI_RUNNER_VERSION", runner.version.clone()),
            wire::Variable::public("CI_RUNNER_EXECUTABLE_ARCH", runner.platform.replace(' ', "/")),
            wire::Variable::public("CI_REGISTRY_USER", wire::GIT_USER),
            secret("CI_REGISTRY_PASSWORD", token),
        ];
        let listed = self.job_variables(job, &pipeline, &project).await?;
        variables.extend(listed.into_iter().filter(|v| v.key != "CI_REPOSITORY_URL"));
        let values = resolve(&variables);
        let depth = values
            .get("GIT_DEPTH")
            .and_then(|text| text.parse().ok())
            .unwrap_or(DEPTH);
        variables.extend(
            self.id_tokens(job, &pipeline, &project, runner, &variables)
                .await?,
        );
        variables.extend(self.secrets(job, &pipeline, &project, &variables).await?);
        let mut spec = job.spec.0.clone();
        if !spec.inputs.is_empty() {
            spec.fill_inputs(&crate::results::store::inputs(&self.db, job).await?);
        }
        let mut dependencies = self.dependencies(job, &pipeline, &variables).await?;
        for dependency in &mut dependencies {
            token.clone_into(&mut dependency.token);
        }
        Ok(wire::Job {
            id: job.id,
            token: reports.to_owned(),
            allow_git_fetch: true,
            job_info: wire::JobInfo {
                name: job.name.clone(),
                stage: job.stage.clone(),
                pipeline_id: pipeline.id.0,
                project_id: project_number(job.project_id),
                project_name: project.name.clone(),
                project_full_path: project.path(),
                time_in_queue_seconds: match (job.queued_at, job.started_at) {
                    (Some(queued), Some(started)) => {
                        i64::try_from(started.since(queued).as_secs()).unwrap_or_default()
                    }
                    _ => 0,
                },
            },
            git_info: git_info(&pipeline, with_token(&project.clone_url, token), depth),
            runner_info: wire::JobRunnerInfo {
                timeout: job.timeout,
                uuid: runner.id.to_string(),
            },
            variables,
            policy_options: job.required.as_ref().map(|name| wire::PolicyOptions {
                policy_job: true,
                name: name.clone(),
                override_allowed: Some(false),
            }),
            steps: steps(&spec, job.timeout),
            hooks: hooks(&spec),
            image: spec.image,
            services: spec.services,
            artifacts: spec.artifacts,
            cache: spec.cache,
            credentials: vec![wire::Credentials {
                kind: "registry".to_owned(),
                url: registry(&self.options.base_url).to_owned(),
                username: wire::GIT_USER.to_owned(),
                password: token.to_owned(),
            }],
            dependencies,
            features: wire::JobFeatures {
                trace_sections: true,
                server_cache: true,
                token_mask_prefixes: vec![crate::token::RUNNER.to_owned(), crate::token::JOB.to_owned()],
                failure_reasons: FAILURE_REASONS
                    .iter()
                    .map(|reason| (*reason).to_owned())
                    .collect(),
            },
        })
    }
}

/// The provider of `secrets` that is this server itself, by GitLab's name.
const OWN_SECRETS: &str = "gitlab_secrets_manager";

/// Failure reasons that we tell apart.
const FAILURE_REASONS: &[&str] = &[
    "script_failure",
    "runner_system_failure",
    "job_execution_timeout",
    "runner_unsupported",
    "configuration_error",
    "image_pull_failure",
    "job_canceled",
    "unknown_failure",
];

fn secret(key: &str, value: &str) -> wire::Variable {
    wire::Variable {
        raw: true,
        ..wire::Variable::masked(key, value)
    }
}

/// Where our registry answers: host and port.
fn registry(base_url: &str) -> &str {
    let host = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    host.split('/').next().unwrap_or(host)
}

/// `http://host/path` with user and password.
fn with_token(url: &str, token: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}:{token}@{rest}", wire::GIT_USER),
        None => url.to_owned(),
    }
}

fn git_info(pipeline: &Pipeline, repo_url: String, depth: i64) -> wire::GitInfo {
    let reference = &pipeline.reference;
    // By commit, so that a branch that moved on or went away does not fail the job.
    let mut refspecs = Vec::new();
    if pipeline.tag {
        refspecs.push(format!("+{}:refs/pipelines/{}", pipeline.sha, pipeline.id));
        refspecs.push(format!("+refs/tags/{reference}:refs/tags/{reference}"));
    } else {
        refspecs.push(format!("+{}:refs/remotes/origin/{reference}", pipeline.sha));
    }
    wire::GitInfo {
        repo_url,
        repo_object_format: if pipeline.sha.len() == 64 {
            "sha256"
        } else {
            "sha1"
        }
        .to_owned(),
        reference: reference.clone(),
        sha: pipeline.sha.clone(),
        before_sha: pipeline
            .before_sha
            .clone()
            .unwrap_or_else(|| pipeline::ZERO.to_owned()),
        ref_type: if pipeline.tag {
            wire::RefType::Tag
        } else {
            wire::RefType::Branch
        },
        refspecs,
        depth,
        protected: pipeline.protected,
    }
}

fn steps(spec: &JobSpec, timeout: i64) -> Vec<wire::Step> {
    let mut script = spec.before_script.clone();
    script.extend(spec.script.iter().cloned());
    let mut steps = vec![wire::Step {
        name: wire::STEP_SCRIPT.to_owned(),
        script,
        timeout,
        when: wire::When::OnSuccess,
        allow_failure: false,
    }];
    if !spec.after_script.is_empty() {
        steps.push(wire::Step {
            name: wire::STEP_AFTER_SCRIPT.to_owned(),
            script: spec.after_script.clone(),
            timeout,
            when: wire::When::Always,
            allow_failure: true,
        });
    }
    steps
}

fn hooks(spec: &JobSpec) -> Vec<wire::Hook> {
    let script = &spec.hooks.pre_get_sources_script;
    if script.is_empty() {
        return Vec::new();
    }
    vec![wire::Hook {
        name: wire::HOOK_PRE_GET_SOURCES.to_owned(),
        script: script.clone(),
    }]
}

/// The protocol wants a number for a project; ours have none, so this is one that stays the same.
fn project_number(project: ProjectId) -> i64 {
    let digest = crate::token::hash(&project.to_string());
    i64::from_str_radix(digest.get(..13).unwrap_or("0"), 16).unwrap_or_default()
}
