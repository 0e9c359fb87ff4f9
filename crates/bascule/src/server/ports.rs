//! What one capability asks of another, answered here, where all are known.

use async_trait::async_trait;
use bascule_ci::Ci;
use bascule_core::{
    Actor, Caller, Digest, EnvironmentId, GroupScope, JobId, Permission, Problem, ProjectId, ReleaseId,
    Result, Role, UserId,
};
use bascule_delivery::Delivery;
use bascule_forge::{FileToCommit, Forge, Signature, Visible as SeenProjects};
use bascule_identity::Identity;
use bascule_insights::ports::Wait;
use bascule_ledger::facts::forge::CommitStamp;
use bascule_notices::{Notices, todo::Filter};
use bascule_store::{Blobs, Error as StoreError};
use bascule_supplychain::Releases;
use bascule_telemetry::Telemetry;
use bascule_wire::edge::Slice;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use std::sync::{Arc, OnceLock};

/// Something that is built later than those who ask it, because each asks the other.
#[derive(Clone)]
pub struct Late<T>(Arc<OnceLock<T>>);

impl<T: Clone> Late<T> {
    pub fn new() -> Self {
        Self(Arc::new(OnceLock::new()))
    }

    pub fn set(&self, value: T) {
        // Set once, while the server is put together.
        drop(self.0.set(value));
    }

    fn get(&self) -> Result<T> {
        self.0.get().cloned().ok_or_else(Problem::internal)
    }
}

fn gone(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

/// Who sees which projects.
#[derive(Clone)]
pub struct Sight(pub Identity);

#[async_trait]
impl bascule_forge::ports::Sight for Sight {
    async fn visible(&self, caller: &Caller) -> Result<SeenProjects> {
        let reach = self.0.reach(caller).await?;
        if reach.everywhere.is_some() {
            return Ok(SeenProjects::All);
        }
        Ok(SeenProjects::Some {
            groups: reach.groups.into_keys().collect(),
            projects: reach.projects.into_keys().collect(),
            internal: reach.internal,
        })
    }

    async fn role(&self, caller: &Caller, project: &bascule_forge::ProjectInfo) -> Result<Option<Role>> {
        self.0
            .role_in_project(caller, project.id, project.group_id, project.visibility)
            .await
    }

    async fn home(&self, caller: &Caller, group: Option<&str>) -> Result<GroupScope> {
        let name = group.unwrap_or(&caller.actor.name);
        if let Some(found) = self.0.find_group(name).await? {
            let role = self
                .0
                .role_in_group(caller, found.id, found.visibility)
                .await?
                .ok_or_else(|| Problem::not_found("group"))?;
            if !role.holds(Permission::ProjectCreate) {
                return Err(Problem::forbidden(Permission::ProjectCreate)
                    .next("Name a group in which you may create projects."));
            }
            return Ok(GroupScope {
                id: found.id,
                name: found.name.to_string(),
                role,
            });
        }
        let own = match caller.user {
            Some(user) => self
                .0
                .user_by_id(user)
                .await?
                .is_some_and(|account| account.username == name),
            None => false,
        };
        if !own {
            return Err(Problem::not_found("group"));
        }
        let new = bascule_wire::identity::NewGroup {
            name: bascule_core::Name::new(name).map_err(|error| {
                Problem::from(error).next("Name another group: `--group` on the command line.")
            })?,
            description: format!("Forks of {name}"),
            visibility: bascule_core::Visibility::Private,
        };
        let made = self.0.create_group(caller, &new).await?;
        Ok(GroupScope {
            id: made.id,
            name: made.name.to_string(),
            role: Role::Owner,
        })
    }

    async fn person(&self, user: UserId) -> Result<Option<bascule_forge::ports::Person>> {
        let found = self.0.open_user_by_id(user).await?;
        Ok(found.map(|account| bascule_forge::ports::Person {
            username: account.username,
            display_name: account.display_name,
            email: account.email,
            instance_role: account.instance_role,
        }))
    }
}

/// What delivery has to say of files that declare environments.
pub struct Keeper(pub Delivery);

#[async_trait]
impl bascule_forge::ports::Keeper for Keeper {
    async fn folder(&self, project: ProjectId) -> Result<Option<String>> {
        Ok(self.0.declares(project).await?.map(str::to_owned))
    }

    async fn judge(&self, _: ProjectId, files: Vec<(String, Vec<u8>)>) -> Result<Option<String>> {
        self.0.try_files(&files).await
    }

    async fn notice(&self, project: ProjectId) -> Result<Option<String>> {
        Ok(self.0.refused_in(project).await?.map(|refused| refused.sentence))
    }
}

/// Findings of jobs' reports, for CI: the forge shows them on their lines.
pub struct Findings(pub Forge);

#[async_trait]
impl bascule_ci::ports::Findings for Findings {
    async fn take(
        &self,
        project: ProjectId,
        sha: &str,
        report: Vec<u8>,
        tool: &str,
        actor: &Actor,
    ) -> Result<usize> {
        let taken = self
            .0
            .take_findings(actor, project, sha, report, Some(tool.to_owned()))
            .await?;
        Ok(taken.taken)
    }
}

/// Code, for supply chain and delivery.
#[derive(Clone)]
pub struct Code(pub Forge);

#[async_trait]
impl bascule_supplychain::ports::Tree for Code {
    async fn list_files(&self, project: ProjectId, sha: &str) -> Result<Vec<String>> {
        self.0.list_paths(project, sha).await
    }

    async fn tag_commit(&self, project: ProjectId, tag: &str) -> Result<Option<String>> {
        self.0.resolve_tag(project, tag).await
    }

    async fn read(&self, project: ProjectId, sha: &str, path: &str, limit: usize) -> Result<Option<Bytes>> {
        Ok(self
            .0
            .read_file_up_to(project, sha, path, limit as u64)
            .await?
            .map(Bytes::from))
    }

    async fn commits_between(
        &self,
        project: ProjectId,
        old: Option<&str>,
        new: &str,
    ) -> Result<(Vec<CommitStamp>, i64)> {
        self.0.commits_between(project, old, new).await
    }
}

#[async_trait]
impl bascule_delivery::ProjectFiles for Code {
    async fn read(&self, project: ProjectId, sha: &str, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        self.0.read_file_up_to(project, sha, path, limit as u64).await
    }

    async fn read_some(
        &self,
        project: ProjectId,
        sha: &str,
        paths: &[String],
        limit: usize,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        self.0.read_files_up_to(project, sha, paths, limit as u64).await
    }

    async fn list(&self, project: ProjectId, sha: &str) -> Result<Vec<String>> {
        self.0.list_paths(project, sha).await
    }
}

#[async_trait]
impl bascule_delivery::History for Code {
    async fn find(&self, project: ProjectId, text: &str) -> Result<Option<bascule_delivery::CommitFound>> {
        let found = self.0.find_commit(project, text).await?;
        Ok(found.map(|(sha, title)| bascule_delivery::CommitFound { sha, title }))
    }

    async fn containing(&self, project: ProjectId, commit: &str, tips: &[String]) -> Result<Vec<bool>> {
        self.0.containing(project, commit, tips).await
    }
}

/// Teams, for delivery: a group is a team, and its developers and above act in its name.
#[derive(Clone)]
pub struct Teams(pub Identity);

#[async_trait]
impl bascule_delivery::Teams for Teams {
    async fn belongs(&self, caller: &Caller, team: &str) -> Result<Option<bool>> {
        let Some(group) = self.0.find_group(team).await? else {
            return Ok(None);
        };
        let reach = self.0.reach(caller).await?;
        let role = reach.groups.get(&group.id);
        Ok(Some(role.is_some_and(|role| *role >= Role::Developer)))
    }

    async fn exists(&self, team: &str) -> Result<bool> {
        Ok(self.0.find_group(team).await?.is_some())
    }
}

/// Error budgets, for delivery. Telemetry is built after it, and asks it what was promised.
#[derive(Clone)]
pub struct Budgets(pub Late<Telemetry>, pub Late<Delivery>);

#[async_trait]
impl bascule_delivery::Budgets for Budgets {
    async fn left(&self, environment: EnvironmentId) -> Result<Option<f64>> {
        let promises = Promises(self.1.get()?);
        let known = bascule_telemetry::ports::Objectives::for_environment(&promises, environment).await?;
        let Some(known) = known else { return Ok(None) };
        let status = self.0.get()?.slo_status(&known).await?;
        Ok(status.map(|status| status.budget.left_share))
    }
}

/// Job artifacts, for releases.
#[derive(Clone)]
pub struct JobArtifacts {
    pub ci: Ci,
    pub blobs: Blobs,
}

#[async_trait]
impl bascule_supplychain::ports::Artifacts for JobArtifacts {
    async fn open(&self, job: JobId) -> Result<Option<bascule_supplychain::ports::OpenArtifact>> {
        let artifact = match self.ci.artifact(job, "archive").await {
            Ok(artifact) => artifact,
            Err(problem) if problem.status == 404 => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let Some(bytes) = self.blobs.open(&artifact.digest).await? else {
            return Ok(None);
        };
        Ok(Some(bascule_supplychain::ports::OpenArtifact {
            file_name: artifact.file_name,
            size: u64::try_from(artifact.size).unwrap_or(0),
            digest: artifact.digest,
            bytes: bytes.map_err(gone).boxed(),
        }))
    }
}

/// Releases, for delivery.
#[derive(Clone)]
pub struct Published(pub Releases);

fn release_info(release: bascule_supplychain::Release) -> bascule_delivery::ReleaseInfo {
    bascule_delivery::ReleaseInfo {
        id: release.id,
        project: release.project,
        version: release.version,
        sha: release.sha,
    }
}

#[async_trait]
impl bascule_delivery::Releases for Published {
    async fn get(&self, release: ReleaseId) -> Result<Option<bascule_delivery::ReleaseInfo>> {
        Ok(self.0.release(release).await?.map(release_info))
    }

    async fn by_version(
        &self,
        project: ProjectId,
        version: &str,
    ) -> Result<Option<bascule_delivery::ReleaseInfo>> {
        Ok(self
            .0
            .release_by_version(project, version)
            .await?
            .map(release_info))
    }

    async fn newest(&self, project: ProjectId, limit: usize) -> Result<Vec<bascule_delivery::ReleaseInfo>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(self
            .0
            .list(project, None, limit)
            .await?
            .into_iter()
            .map(release_info)
            .collect())
    }

    async fn find_part(
        &self,
        release: ReleaseId,
        path: &str,
    ) -> Result<Option<bascule_delivery::ReleasePart>> {
        let part = self.0.file(release, path).await?;
        Ok(part.map(|part| bascule_delivery::ReleasePart {
            file_name: path.rsplit('/').next().unwrap_or(path).to_owned(),
            digest: part.digest,
            size: part.size,
        }))
    }

    async fn open(&self, digest: &Digest) -> Result<Option<bascule_delivery::ByteStream>> {
        let bytes = self.0.open_part(digest).await?;
        Ok(bytes.map(|bytes| bytes.map_err(|error: StoreError| gone(error)).boxed()))
    }
}

/// Projects by name and by who sees them.
#[derive(Clone)]
pub struct Projects {
    pub forge: Forge,
    pub identity: Identity,
}

/// Most projects that a caller's own list may name before it is cut.
const PROJECTS: i64 = 100_000;

impl Projects {
    /// The projects whose facts a caller may read, `None` for all of them. To see that a project exists, as a
    /// guest does, is not enough.
    async fn readable(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>> {
        let reach = self.identity.reach(caller).await?;
        if reach.everywhere.is_some_and(reads) {
            return Ok(None);
        }
        let visible = SeenProjects::Some {
            groups: reach
                .groups
                .into_iter()
                .filter(|(_, role)| reads(*role))
                .map(|(id, _)| id)
                .collect(),
            projects: reach
                .projects
                .into_iter()
                .filter(|(_, role)| reads(*role))
                .map(|(id, _)| id)
                .collect(),
            internal: reach.internal,
        };
        let projects = self.forge.list(&visible, "", 0, PROJECTS).await?;
        Ok(Some(projects.into_iter().map(|project| project.id).collect()))
    }
}

/// Whether a role reads facts, incidents, environments and measures: all four need the same one.
fn reads(role: Role) -> bool {
    [
        Permission::LedgerRead,
        Permission::IncidentRead,
        Permission::EnvironmentRead,
        Permission::InsightsRead,
    ]
    .into_iter()
    .all(|permission| role.holds(permission))
}

#[async_trait]
impl bascule_delivery::ProjectInfo for Projects {
    async fn find(&self, path: &str) -> Result<Option<ProjectId>> {
        let Some((group, name)) = path.split_once('/') else {
            return Ok(None);
        };
        Ok(self.forge.find(group, name).await?.map(|project| project.id))
    }

    async fn path(&self, project: ProjectId) -> Result<Option<String>> {
        Ok(self
            .forge
            .project_by_id(project)
            .await?
            .map(|project| project.path()))
    }

    async fn visible(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>> {
        self.readable(caller).await
    }

    async fn holds(&self, caller: &Caller, project: ProjectId, permission: Permission) -> Result<bool> {
        let Some(project) = self.forge.project_by_id(project).await? else {
            return Ok(false);
        };
        let role = self
            .identity
            .role_in_project(caller, project.id, project.group_id, project.visibility)
            .await?;
        Ok(role.is_some_and(|role| role.holds(permission)) && caller.scope_allows(permission))
    }
}

/// What the edge counted goes to telemetry, which is built after delivery.
#[derive(Clone)]
pub struct Counts(pub Late<Telemetry>);

#[async_trait]
impl bascule_delivery::TrafficSink for Counts {
    async fn record(&self, slices: &[Slice]) -> Result<()> {
        self.0.get()?.record(slices).await
    }
}

/// What environments promise, for telemetry.
#[derive(Clone)]
pub struct Promises(pub Delivery);

impl Promises {
    async fn tell(
        &self,
        environment: bascule_delivery::environment::Environment,
    ) -> Result<bascule_telemetry::ports::Environment> {
        let slo = self.0.slo(environment.id).await?;
        Ok(bascule_telemetry::ports::Environment {
            id: environment.id,
            name: environment.name,
            tier: environment.tier,
            project: environment.project_id,
            objective: slo.map(|slo| bascule_telemetry::ports::Objective {
                availability: slo.availability,
                window_seconds: slo.window_seconds,
                latency_ms: slo.latency_ms,
            }),
        })
    }
}

#[async_trait]
impl bascule_telemetry::ports::Objectives for Promises {
    async fn environments(&self, project: ProjectId) -> Result<Vec<bascule_telemetry::ports::Environment>> {
        let mut all = Vec::new();
        for environment in self.0.environments(project).await? {
            all.push(self.tell(environment).await?);
        }
        Ok(all)
    }

    async fn for_environment(
        &self,
        environment: EnvironmentId,
    ) -> Result<Option<bascule_telemetry::ports::Environment>> {
        match self.0.environment(environment).await? {
            Some(environment) => Ok(Some(self.tell(environment).await?)),
            None => Ok(None),
        }
    }
}

/// The git project that keeps post-mortems; made when the first is written.
#[derive(Clone)]
pub struct Home {
    pub forge: Forge,
    pub identity: Identity,
    /// `group/project`.
    pub path: String,
}

impl Home {
    async fn project(&self) -> Result<ProjectId> {
        if !self.path.contains('/') {
            return Err(
                Problem::invalid("bad_setting", "The setting `postmortems` names no project.")
                    .next("Write group/project."),
            );
        }
        let visibility = bascule_core::Visibility::Internal;
        ensure_project(
            &self.forge,
            &self.identity,
            &self.path,
            "Post-mortems, one file an incident",
            visibility,
        )
        .await
    }
}

/// The project at `group/project`; made, with its group, where it is missing.
pub async fn ensure_project(
    forge: &Forge,
    identity: &Identity,
    path: &str,
    description: &str,
    visibility: bascule_core::Visibility,
) -> Result<ProjectId> {
    let (group, name) = path.split_once('/').ok_or_else(|| {
        Problem::invalid("bad_project", format!("`{path}` names no project.")).next("Write group/project.")
    })?;
    if let Some(project) = forge.find(group, name).await? {
        return Ok(project.id);
    }
    let id = match identity.find_group(group).await? {
        Some(group) => group.id,
        None => identity.found_group(group, "Kept by the platform itself").await?,
    };
    let scope = GroupScope {
        id,
        name: group.to_owned(),
        role: Role::Owner,
    };
    let new = bascule_wire::forge::NewProject {
        name: name.to_owned(),
        description: description.to_owned(),
        visibility: Some(visibility),
        default_branch: None,
    };
    Ok(forge.create(&Actor::system(), &scope, &new).await?.id)
}

#[async_trait]
impl bascule_incidents::ports::PostmortemHome for Home {
    async fn commit(
        &self,
        _project: ProjectId,
        path: &str,
        bytes: &[u8],
        message: &str,
    ) -> Result<bascule_incidents::ports::Committed> {
        let project = self.project().await?;
        let author = Signature {
            name: "Bascule".to_owned(),
            email: "bascule@localhost".to_owned(),
        };
        let files = vec![FileToCommit {
            path: path.to_owned(),
            bytes: bytes.to_vec(),
        }];
        let sha = self
            .forge
            .commit_files(project, "main", files, message, &author, &Actor::system())
            .await?;
        Ok(bascule_incidents::ports::Committed {
            home: self.path.clone(),
            sha,
        })
    }
}

#[async_trait]
impl bascule_incidents::ports::Visible for Projects {
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>> {
        self.readable(caller).await
    }
}

#[async_trait]
impl bascule_insights::ports::Visible for Projects {
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>> {
        bascule_incidents::ports::Visible::projects(self, caller).await
    }
}

#[async_trait]
impl bascule_supplychain::ports::Sight for Projects {
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>> {
        self.readable(caller).await
    }
}

/// What waits for people in deliveries, and how much was given them to do, for the first page.
pub struct Waits {
    pub delivery: Delivery,
    pub notices: Notices,
}

/// To-dos that the first page names.
const TODOS: i64 = 5;

#[async_trait]
impl bascule_insights::ports::Waits for Waits {
    async fn waits(&self, caller: &Caller) -> Result<Vec<Wait>> {
        let mut all: Vec<Wait> = Vec::new();
        if let Some(refused) = self.delivery.refused_commit(caller).await? {
            all.push(Wait {
                icon: "alert-triangle",
                text: refused.sentence,
                href: format!("/{}/-/commit/{}", refused.project, refused.commit),
                project: refused.project,
                since: refused.at,
            });
        }
        let waiting = self.delivery.waiting(caller).await?.into_iter();
        all.extend(waiting.map(|wait| Wait {
            icon: "rocket",
            text: format!("In {}, {}", wait.environment, wait.rollout.why),
            href: format!("/{}/-/rollouts/{}", wait.product, wait.rollout.id),
            project: wait.product,
            since: wait.rollout.since,
        }));
        if caller.user.is_some() {
            let filter = Filter {
                limit: Some(TODOS),
                ..Filter::default()
            };
            let todos = self.notices.todos(caller, &filter).await?;
            let more = todos.waiting - i64::try_from(todos.items.len()).unwrap_or(TODOS);
            let oldest = todos.items.last().map(|todo| todo.at);
            all.extend(todos.items.into_iter().map(|todo| Wait {
                icon: "bell",
                text: format!("{} {}: {}", todo.actor, todo.told, todo.title),
                href: todo.href,
                project: todo.project,
                since: todo.at,
            }));
            if let (1.., Some(since)) = (more, oldest) {
                all.push(Wait {
                    icon: "bell",
                    text: format!("{more} more to-dos"),
                    href: "/-/todos".to_owned(),
                    project: String::new(),
                    since,
                });
            }
        }
        Ok(all)
    }
}

/// Where releases run, for findings.
#[derive(Clone)]
pub struct Running(pub Delivery);

#[async_trait]
impl bascule_supplychain::ports::Places for Running {
    async fn running(&self, releases: &[ReleaseId]) -> Result<Vec<(ReleaseId, String)>> {
        self.0.running(releases).await
    }
}

/// What agents run.
pub struct Pullers(pub Delivery);

#[async_trait]
impl bascule_supplychain::ports::Pulls for Pullers {
    async fn agent_runs(&self, agent: &str, archive: &Digest) -> Result<bool> {
        match agent.parse() {
            Ok(agent) => self.0.agent_runs(agent, archive).await,
            Err(_) => Ok(false),
        }
    }
}
