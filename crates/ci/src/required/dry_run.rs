//! What a policy would do to all projects of a group, before it is enforced.

use super::Template;
use crate::{
    Ci,
    config::Inputs,
    fault::CI_FILE,
    pipeline::{Ask, Start, Text, wire_faults},
    ports::{Commit, Neighbour},
    runner::Runner,
};
use bascule_core::{Actor, Caller, GroupScope, Problem, Result};
use bascule_wire::pipelines::{DryRunFailure, RequiredDryRun, RequiredDryRunRequest};

/// Projects asked for at once.
const PAGE: i64 = 100;
/// Most projects looked at.
const PROJECTS: i64 = 10_000;
/// Most failures named.
const NAMED: usize = 500;
/// Failures named in the summary.
const IN_SUMMARY: usize = 3;

/// What a policy would do to one project.
enum Found {
    /// It has no commit.
    Empty,
    /// The policy is not for it, or chooses no job in it.
    Untouched,
    /// Required jobs would run.
    Runs,
    /// Its next pipeline would fail, or wait without end: kind and reason.
    Fails(&'static str, String),
}

impl Ci {
    /// Tries a policy on the default branch of every project of a group. Nothing is kept and no job runs.
    ///
    /// # Errors
    /// There is no such policy, or the caller may not read it.
    pub async fn dry_run_required(
        &self,
        caller: &Caller,
        group: &GroupScope,
        request: &RequiredDryRunRequest,
    ) -> Result<RequiredDryRun> {
        let path = match request
            .policy
            .as_deref()
            .map(str::trim)
            .filter(|path| !path.is_empty())
        {
            Some(path) => path.to_owned(),
            None => self.required_pipelines(group).await?.policy.ok_or_else(|| {
                Problem::invalid("no_policy", format!("{} requires no pipelines.", group.name))
                    .next("Name the policy project to try, as group/project.")
            })?,
        };
        let reference = request
            .reference
            .as_deref()
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let (policy, sha) = self.policy_at(caller, &path, reference).await?;
        let mut answer = RequiredDryRun {
            policy: policy.path,
            sha: sha.clone(),
            ..RequiredDryRun::default()
        };
        let templates = match self.load_policy(policy.id, &sha).await? {
            Ok(templates) => templates,
            Err(faults) => {
                answer.faults = wire_faults(&faults.0);
                answer.summary = format!("the policy is faulty: {}", faults.first());
                return Ok(answer);
            }
        };
        let runners = self.runners().await?;
        let mut after = String::new();
        loop {
            let page = self.reach().of_group(group.id, &after, PAGE).await?;
            for project in &page {
                answer.projects += 1;
                let found = self.try_required(caller, project, &templates, &runners).await?;
                answer.count(project, found);
            }
            match page.last() {
                Some(last) if page.len() as i64 == PAGE => after.clone_from(&last.path),
                _ => break,
            }
            if answer.projects >= PROJECTS {
                answer.cut = true;
                break;
            }
        }
        answer.summary = summary(&answer);
        Ok(answer)
    }

    async fn try_required(
        &self,
        caller: &Caller,
        project: &Neighbour,
        templates: &[Template],
        runners: &[Runner],
    ) -> Result<Found> {
        let Some(info) = self.code.project(project.id).await? else {
            return Ok(Found::Empty);
        };
        let Some(commit) = self.code.resolve(project.id, &info.default_branch).await? else {
            return Ok(Found::Empty);
        };
        let mine: Vec<&Template> = templates
            .iter()
            .filter(|template| template.entry.is_for(&info.name))
            .collect();
        if mine.is_empty() {
            return Ok(Found::Untouched);
        }
        let tip = Commit {
            reference: info.default_branch.clone(),
            tag: false,
            sha: commit.sha,
        };
        let start = Start::of(project.id, tip, "push", Actor::system());
        let message = self.code.commit_message(project.id, &start.sha).await?;
        let mut draft = self.draft(&start, message.unwrap_or_default()).await?;
        let (mut jobs, mut tags) = (0, Vec::new());
        for template in mine {
            match self.plan_required(&draft, &info, template).await? {
                Err(faults) => return Ok(Found::Fails("required_config", faults.first().to_string())),
                Ok(plan) => {
                    jobs += plan.jobs.len();
                    tags.extend(plan.jobs.into_iter().map(|job| (job.name, job.spec.tags)));
                }
            }
        }
        if jobs == 0 {
            return Ok(Found::Untouched);
        }
        if jobs > super::JOBS {
            let reason = format!("{jobs} required jobs; at most {} are allowed", super::JOBS);
            return Ok(Found::Fails("required_config", reason));
        }
        if let Some(bytes) = self.code.read_file(project.id, &start.sha, CI_FILE).await?
            && let Err(faults) = self
                .prepare(
                    &mut draft,
                    &Ask {
                        info: &info,
                        text: Text::File(&bytes),
                        actor: &caller.actor,
                        secrets: true,
                        inputs: &Inputs::default(),
                        input_texts: false,
                        since: None,
                    },
                )
                .await?
        {
            return Ok(Found::Fails("own_config", faults.first().to_string()));
        }
        // Runners of the project itself take no required jobs.
        let serves = |runner: &Runner| match runner.scope.as_str() {
            "project" => false,
            "group" => runner.group_name.as_deref() == Some(info.group.as_str()),
            _ => true,
        };
        let takes = |tags: &Vec<String>| {
            runners
                .iter()
                .any(|runner| !runner.paused && serves(runner) && runner.matches(tags))
        };
        if let Some((name, wanted)) = tags.iter().find(|(_, tags)| !takes(tags)) {
            let what = match wanted.as_slice() {
                [] => "jobs without tags".to_owned(),
                tags => format!("the tags {}", tags.join(", ")),
            };
            return Ok(Found::Fails(
                "no_runner",
                format!("no runner takes {what}, as `{name}` needs"),
            ));
        }
        Ok(Found::Runs)
    }
}

/// The counting side of the answer.
trait Count {
    fn count(&mut self, project: &Neighbour, found: Found);
}

impl Count for RequiredDryRun {
    fn count(&mut self, project: &Neighbour, found: Found) {
        match found {
            Found::Empty => self.empty += 1,
            Found::Untouched => self.untouched += 1,
            Found::Runs => self.would_run += 1,
            Found::Fails(kind, reason) => {
                self.would_fail += 1;
                if self.failures.len() < NAMED {
                    self.failures.push(DryRunFailure {
                        project: project.path.clone(),
                        kind: kind.to_owned(),
                        reason,
                    });
                } else {
                    self.left_off += 1;
                }
            }
        }
    }
}

/// `would fail 12 of 300: a/b (…), a/c (…) and 10 more`.
fn summary(answer: &RequiredDryRun) -> String {
    if answer.would_fail == 0 {
        return format!("would fail none of {}", answer.projects);
    }
    let mut parts: Vec<String> = answer
        .failures
        .iter()
        .take(IN_SUMMARY)
        .map(|failure| format!("{} ({})", failure.project, failure.reason))
        .collect();
    let more = answer.would_fail - i64::try_from(parts.len()).unwrap_or_default();
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    format!(
        "would fail {} of {}: {}",
        answer.would_fail,
        answer.projects,
        parts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::{GroupId, ProjectId};

    #[test]
    fn the_summary_names_a_few_and_counts_the_rest() {
        let mut answer = RequiredDryRun {
            projects: 300,
            ..RequiredDryRun::default()
        };
        assert_eq!(summary(&answer), "would fail none of 300");
        for number in 0..5 {
            let project = Neighbour {
                id: ProjectId::new(),
                group: GroupId::new(),
                path: format!("clinic/p{number}"),
                default_branch: "main".into(),
            };
            answer.count(&project, Found::Fails("own_config", "line 3".into()));
        }
        assert_eq!(
            summary(&answer),
            "would fail 5 of 300: clinic/p0 (line 3), clinic/p1 (line 3), clinic/p2 (line 3), and 2 more"
        );
    }
}
