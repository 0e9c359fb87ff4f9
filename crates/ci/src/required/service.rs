//! What a group requires: named, followed commit by commit, and put into pipelines.

use super::{
    Entry, FILE, JOBS, PlacedPlan, Template, WITHOUT, place, read, refused,
    store::{self, Required},
};
use crate::{
    Ci,
    config::{Answer, Assembly, Config, Inputs, Tree, Wanted},
    fault::{Fault, Faults, Pos, shown},
    job::Job,
    pipeline::{Ask, Pipeline, Start, Text, predefined_of_pipeline},
    plan::Plan,
    ports::{Neighbour, ProjectInfo},
    variables::{expand, resolve},
};
use bascule_core::{Actor, Caller, GroupScope, Permission, Problem, ProjectId, Result};
use bascule_ledger::facts::pipelines::{
    RequiredPipelinesChanged, RequiredPipelinesRefused, RequiredPipelinesSet,
};
use bascule_store::Json;
use bascule_wire::pipelines as wire;

/// A policy as one commit has it, or what is wrong with it.
pub(super) type Loaded = std::result::Result<Vec<Template>, Faults>;

impl Ci {
    /// What the project's group requires of a pipeline that is to be made.
    pub(crate) async fn required_for(&self, start: &Start, info: &ProjectInfo) -> Result<Vec<Template>> {
        if start.source == WITHOUT {
            return Ok(Vec::new());
        }
        let Some(here) = self.reach().get(start.project).await? else {
            return Ok(Vec::new());
        };
        let found = store::of_group(&self.db, here.group).await?;
        Ok(found.map_or_else(Vec::new, |required| {
            let mut templates = required.templates.0;
            templates.retain(|template| template.entry.is_for(&info.name));
            templates
        }))
    }

    /// The project's plan with what is required beside it. What cannot be planned is a fault of the pipeline, which
    /// then fails: a rule that holds nowhere would be worse than one that stops work.
    pub(crate) async fn with_required(
        &self,
        pipeline: &Pipeline,
        info: &ProjectInfo,
        own: Plan,
        required: Vec<Template>,
        faults: &mut Faults,
    ) -> Result<PlacedPlan> {
        let (mut plans, mut jobs) = (Vec::new(), 0);
        for template in required {
            match self.plan_required(pipeline, info, &template).await? {
                Ok(plan) => {
                    jobs += plan.jobs.len();
                    plans.push((template.entry, plan));
                }
                Err(found) => faults.0.extend(found.0),
            }
        }
        if jobs > JOBS {
            faults.0.push(Fault::new(
                Pos::default(),
                format!("the group's required pipelines add {jobs} jobs"),
                format!("at most {JOBS} are allowed"),
            ));
            plans.clear();
        }
        let mut placed = place(own, plans);
        let base = predefined_of_pipeline(pipeline, info, &self.options.base_url);
        for placed in &mut placed.jobs {
            placed.resource_group = placed.job.spec.resource_group.as_ref().map(|name| {
                let mut all = base.clone();
                all.extend(placed.job.variables.iter().cloned());
                expand(name, &resolve(&all))
            });
        }
        Ok(placed)
    }

    /// Plans one required pipeline for a commit. Neither the project's variables nor those of who starts the pipeline
    /// count: they could switch it off.
    pub(super) async fn plan_required(
        &self,
        pipeline: &Pipeline,
        info: &ProjectInfo,
        template: &Template,
    ) -> Result<std::result::Result<Plan, Faults>> {
        let config = match template.config() {
            Ok(config) => config,
            Err(faults) => return Ok(Err(faults)),
        };
        // A push must not hide what the one before it brought: what differs counts from where the branch began.
        let topic = !pipeline.tag && !pipeline.protected && pipeline.reference != info.default_branch;
        let since = match topic && pipeline.settings.0.merge_request.is_none() {
            true => {
                self.code
                    .version(pipeline.project_id, &info.default_branch)
                    .await?
            }
            false => None,
        };
        let ask = Ask {
            info,
            text: Text::File(&[]),
            // Nobody's right counts: a policy asks nothing of other projects.
            actor: &Actor::system(),
            secrets: false,
            inputs: &Inputs::default(),
            input_texts: false,
            since: since.as_deref(),
        };
        let predefined = predefined_of_pipeline(pipeline, info, &self.options.base_url);
        let plan = self
            .plan_config(pipeline, &ask, &config, predefined, Vec::new())
            .await?;
        Ok(plan.map_err(|faults| template.named(faults)).map(|mut plan| {
            if plan.none.is_some() {
                plan.jobs.clear();
            }
            plan
        }))
    }

    /// Refuses to erase what a required job left, save to who owns the policy: it is the proof that the job ran, and not
    /// the project's.
    pub(crate) async fn may_erase_required(&self, job: &Job, required: &str, actor: &Actor) -> Result<()> {
        let Some(here) = self.reach().get(job.project_id).await? else {
            return Ok(());
        };
        let held = store::of_group(&self.db, here.group).await?;
        // Where nothing is required any more, who could change the policy is the group's owner, as who took it back.
        let (place, right) = match &held {
            Some(held) => (held.project_id, Permission::ProtectedPush),
            None => (job.project_id, Permission::ProjectDelete),
        };
        if self.reach().may(actor, place, right).await? {
            return Ok(());
        }
        Err(Problem::new(
            403,
            "required_job",
            format!("`{}` belongs to the required pipeline `{required}`; you may not erase it.", job.name),
        )
        .why("What it left proves that it ran, to those who require it in all projects of the group.")
        .next("Ask a maintainer of the policy project, who may erase it; with a secret in its log, also revoke that secret."))
    }

    /// The policy of a project at a commit.
    pub(super) async fn load_policy(&self, policy: ProjectId, sha: &str) -> Result<Loaded> {
        let Some(list) = self.policy_file(policy, sha, FILE).await? else {
            let mut faults = Faults::one(
                Pos::default(),
                format!("there is no {FILE} at this commit"),
                "add it; `pipelines: []` requires nothing",
            );
            faults
                .0
                .iter_mut()
                .for_each(|fault| FILE.clone_into(&mut fault.file));
            return Ok(Err(faults));
        };
        let entries = match read(&list) {
            Ok(entries) => entries,
            Err(faults) => return Ok(Err(faults)),
        };
        let (mut templates, mut faults, mut bytes) = (Vec::new(), Vec::new(), 0);
        for entry in entries {
            let template = self.gather_template(policy, sha, entry).await?;
            bytes += template.files.iter().map(|(_, text)| text.len()).sum::<usize>();
            if let Err(found) = template.config() {
                faults.extend(found.0);
            }
            templates.push(template);
        }
        if bytes > super::BYTES {
            faults.push(Fault::new(
                Pos::default(),
                format!("the policy's files together have {bytes} bytes"),
                format!("at most {} are allowed", super::BYTES),
            ));
        }
        Ok(if faults.is_empty() {
            Ok(templates)
        } else {
            Err(Faults(faults))
        })
    }

    /// Reads all files of one required pipeline; what is wrong with them shows when they are put together.
    async fn gather_template(&self, policy: ProjectId, sha: &str, entry: Entry) -> Result<Template> {
        let mut template = Template {
            entry,
            files: Vec::new(),
        };
        let root = template.entry.file.clone();
        let Some(text) = self.policy_file(policy, sha, &root).await? else {
            return Ok(template);
        };
        let assembly = Assembly::new(&text);
        template.files.push((root, text));
        let Ok(mut assembly) = assembly else {
            return Ok(template);
        };
        while let Ok(Some(wanted)) = assembly.wanted() {
            let answer = match &wanted {
                Wanted::File {
                    tree: Tree::Own,
                    paths,
                } => self.first_of(policy, sha, paths, &mut template.files).await?,
                Wanted::Paths(Tree::Own) => Answer::Paths(Some(self.code.list_paths(policy, sha).await?)),
                other => refused(other),
            };
            assembly.supply(wanted, answer);
        }
        Ok(template)
    }

    /// The first of these files that there is, which is kept.
    async fn first_of(
        &self,
        policy: ProjectId,
        sha: &str,
        paths: &[String],
        files: &mut Vec<(String, String)>,
    ) -> Result<Answer> {
        for path in paths {
            if let Some(text) = self.policy_file(policy, sha, path).await? {
                files.push((path.clone(), text.clone()));
                return Ok(Answer::Text(text));
            }
        }
        Ok(Answer::missing(&paths.join("` or `")))
    }

    async fn policy_file(&self, policy: ProjectId, sha: &str, path: &str) -> Result<Option<String>> {
        let bytes = self.code.read_file(policy, sha, path).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A policy project's default branch moved: what it says holds from now on, if it is good.
    pub(crate) async fn follow_policy(&self, policy: ProjectId, actor: &Actor) -> Result<()> {
        let following = store::by_policy(&self.db, policy).await?;
        if following.is_empty() {
            return Ok(());
        }
        let Some(here) = self.reach().get(policy).await? else {
            return Ok(());
        };
        // Where it stands now, not where the fact says: facts may come twice.
        let Some(commit) = self.code.resolve(policy, &here.default_branch).await? else {
            return Ok(());
        };
        let loaded = self.load_policy(policy, &commit.sha).await?;
        for required in following {
            self.take_policy(required, &commit.sha, loaded.clone(), actor)
                .await?;
        }
        Ok(())
    }

    async fn take_policy(&self, mut held: Required, sha: &str, loaded: Loaded, actor: &Actor) -> Result<()> {
        if held.sha.as_deref() == Some(sha) || held.refused_sha.as_deref() == Some(sha) {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        match loaded {
            Ok(templates) => {
                let fact = RequiredPipelinesChanged {
                    group: held.group_id,
                    group_name: held.group_name.clone(),
                    policy: held.project_id,
                    sha: sha.to_owned(),
                    pipelines: templates.iter().map(|one| one.entry.name.clone()).collect(),
                };
                held.sha = Some(sha.to_owned());
                held.templates = Json(templates);
                (held.refused_sha, held.refused_why) = (None, None);
                held.changed_at = self.clock.now();
                store::set(&tx, &held).await?;
                self.ledger.append(&tx, actor, &fact).await?;
            }
            Err(faults) => {
                let reason: String = faults.first().to_string().chars().take(500).collect();
                let fact = RequiredPipelinesRefused {
                    group: held.group_id,
                    group_name: held.group_name.clone(),
                    policy: held.project_id,
                    sha: sha.to_owned(),
                    reason: reason.clone(),
                };
                held.refused_sha = Some(sha.to_owned());
                held.refused_why = Some(reason);
                store::set(&tx, &held).await?;
                self.ledger.append(&tx, actor, &fact).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// What a group requires, as the API tells it.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn required_pipelines(&self, group: &GroupScope) -> Result<wire::RequiredPipelines> {
        let Some(held) = store::of_group(&self.db, group.id).await? else {
            return Ok(wire::RequiredPipelines::default());
        };
        let policy = self.reach().get(held.project_id).await?;
        Ok(wire::RequiredPipelines {
            policy: Some(policy.map_or_else(|| "a deleted project".to_owned(), |policy| policy.path)),
            sha: held.sha,
            pipelines: held.templates.0.iter().map(told).collect(),
            refused_sha: held.refused_sha,
            refused_why: held.refused_why,
            set_by: Some(held.set_by),
            changed_at: Some(held.changed_at),
        })
    }

    /// Names the policy project of a group, or takes it back.
    ///
    /// # Errors
    /// The caller is no person, may not read that project, or its policy is faulty.
    pub async fn set_required_pipelines(
        &self,
        caller: &Caller,
        group: &GroupScope,
        request: &wire::SetRequiredPipelines,
    ) -> Result<wire::RequiredPipelines> {
        if caller.person().is_none() {
            return Err(Problem::new(
                403,
                "not_a_person",
                "Only a person sets which pipelines a group requires.",
            )
            .why("It holds for every project of the group, and somebody answers for it.")
            .next("Do it with your own account."));
        }
        let (now, by) = (self.clock.now(), caller.actor.name.clone());
        let path = request
            .policy
            .as_deref()
            .map(str::trim)
            .filter(|path| !path.is_empty());
        let Some(path) = path else {
            let tx = self.db.begin().await?;
            if store::remove(&tx, group.id).await? {
                let fact = RequiredPipelinesSet {
                    group: group.id,
                    group_name: group.name.clone(),
                    policy: None,
                    policy_path: String::new(),
                };
                self.ledger.append(&tx, &caller.actor, &fact).await?;
            }
            tx.commit().await?;
            return self.required_pipelines(group).await;
        };
        let (policy, sha) = self.policy_at(caller, path, None).await?;
        let templates = self.load_policy(policy.id, &sha).await?.map_err(|faults| {
            Problem::invalid("bad_policy", faults.first().to_string())
                .why("A group cannot require what cannot be read.")
                .next(format!("Correct it on the default branch of {}.", policy.path))
        })?;
        let changed = RequiredPipelinesChanged {
            group: group.id,
            group_name: group.name.clone(),
            policy: policy.id,
            sha: sha.clone(),
            pipelines: templates.iter().map(|one| one.entry.name.clone()).collect(),
        };
        let held = Required {
            group_id: group.id,
            group_name: group.name.clone(),
            project_id: policy.id,
            sha: Some(sha),
            templates: Json(templates),
            refused_sha: None,
            refused_why: None,
            set_by: by,
            changed_at: now,
        };
        let fact = RequiredPipelinesSet {
            group: group.id,
            group_name: group.name.clone(),
            policy: Some(policy.id),
            policy_path: policy.path,
        };
        let tx = self.db.begin().await?;
        store::set(&tx, &held).await?;
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.ledger.append(&tx, &caller.actor, &changed).await?;
        tx.commit().await?;
        self.required_pipelines(group).await
    }

    /// A policy project that the caller may read, and a commit of it.
    pub(super) async fn policy_at(
        &self,
        caller: &Caller,
        path: &str,
        reference: Option<&str>,
    ) -> Result<(Neighbour, String)> {
        let unknown = || {
            Problem::invalid(
                "no_such_project",
                format!("There is no project `{}`.", shown(path)),
            )
            .next("Name one that you may read, as group/project.")
        };
        let policy = self.reach().find(path).await?.ok_or_else(unknown)?;
        let may = self
            .reach()
            .may(&caller.actor, policy.id, Permission::CodeRead)
            .await?;
        if !may {
            return Err(unknown());
        }
        let wanted = reference.unwrap_or(&policy.default_branch);
        let commit = self.code.resolve(policy.id, wanted).await?.ok_or_else(|| {
            Problem::invalid(
                "no_such_ref",
                format!(
                    "{} has no branch, tag or commit `{}`.",
                    policy.path,
                    shown(wanted)
                ),
            )
            .next("Push it first, or name another.")
        })?;
        Ok((policy, commit.sha))
    }
}

fn told(template: &Template) -> wire::RequiredPipeline {
    let jobs = |config: Config| config.jobs.into_iter().map(|job| job.name).collect();
    wire::RequiredPipeline {
        name: template.entry.name.clone(),
        file: template.entry.file.clone(),
        gate: template.entry.gate,
        projects: template.entry.projects.clone(),
        except: template.entry.except.clone(),
        jobs: template.config().map(jobs).unwrap_or_default(),
    }
}
