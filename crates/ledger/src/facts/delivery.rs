//! Facts about environments, deployments and rollouts.

use super::fact;
use bascule_core::{
    AgentId, DeploymentId, Digest, EnvironmentId, InstanceId, ProjectId, ReleaseId, RolloutId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// An environment was created, or its tier was declared to be another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnvironmentCreated {
    /// The project.
    pub project: ProjectId,
    /// The environment.
    pub environment: EnvironmentId,
    /// Its name.
    pub name: String,
    /// `staging` or `production`.
    pub tier: String,
}
fact!(
    EnvironmentCreated,
    "environment.created",
    |f| Some(f.project),
    |f| format!("environment:{}", f.environment),
    |f| { format!("created the environment {}", f.name) }
);

/// A project's `bascule.yaml` is wrong, so nothing can be deployed from it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProductRefused {
    /// The project.
    pub project: ProjectId,
    /// The release whose file is wrong.
    pub release: ReleaseId,
    /// Where and what.
    pub reason: String,
}
fact!(
    ProductRefused,
    "product.refused",
    |f| Some(f.project),
    |f| format!("release:{}", f.release),
    |f| format!("cannot be deployed: {}", f.reason)
);

/// A deployment was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeploymentCreated {
    /// The project.
    pub project: ProjectId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// `staging` or `production`.
    pub tier: String,
    /// The release.
    pub release: ReleaseId,
    /// The release's version.
    pub version: String,
    /// Digest of the artifact that will run.
    pub artifact: Digest,
    /// What asked for it: `release`, `promotion`, `api`, `rollback`.
    pub cause: String,
    /// The deployment that it follows there, if any.
    pub previous: Option<DeploymentId>,
}
fact!(
    DeploymentCreated,
    "deployment.created",
    |f| Some(f.project),
    |f| format!("deployment:{}", f.deployment),
    |f| { format!("deploys {} to {}", f.version, f.environment_name) }
);

/// A deployment ended: it serves all traffic, or it failed, or it was undone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeploymentFinished {
    /// The project.
    pub project: ProjectId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// `staging` or `production`.
    pub tier: String,
    /// The release.
    pub release: ReleaseId,
    /// The release's version.
    pub version: String,
    /// `succeeded`, `failed` (never took traffic), `rolled_back` (took traffic and was undone), `superseded`,
    /// `canceled` (taken back by a person before it took traffic).
    pub result: String,
    /// Why, in plain words.
    pub reason: String,
    /// Whether users met it: it had a share of traffic.
    pub exposed: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub at: Timestamp,
}
fact!(
    DeploymentFinished,
    "deployment.finished",
    |f| Some(f.project),
    |f| format!("deployment:{}", f.deployment),
    |f| {
        format!(
            "{} in {}: {}{}",
            f.version,
            f.environment_name,
            f.result.replace('_', " "),
            if f.reason.is_empty() {
                String::new()
            } else {
                format!(", {}", f.reason)
            }
        )
    }
);

/// An instance changed state for good or bad: `healthy`, `crashed`, `failed`, `stopped`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceChanged {
    /// The project.
    pub project: ProjectId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The instance.
    pub instance: InstanceId,
    /// The release's version.
    pub version: String,
    /// The state.
    pub state: String,
    /// Why, cut to 500 characters.
    pub message: String,
}
fact!(
    InstanceChanged,
    "instance.changed",
    |f| Some(f.project),
    |f| format!("deployment:{}", f.deployment),
    |f| format!(
        "instance of {} is {}{}",
        f.version,
        f.state,
        if f.message.is_empty() {
            String::new()
        } else {
            format!(": {}", f.message)
        }
    )
);

/// A rollout began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RolloutStarted {
    /// The project.
    pub project: ProjectId,
    /// The rollout.
    pub rollout: RolloutId,
    /// The deployment that it exposes.
    pub deployment: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The new version.
    pub version: String,
    /// The version that serves now.
    pub baseline: String,
    /// Shares of traffic, in percent.
    pub steps: Vec<u32>,
    /// Time a step lasts at least, in milliseconds.
    pub step_ms: i64,
    /// How the new version takes over: `blue_green`, `canary`, `rolling`, `recreate`; empty in facts of before it was recorded.
    #[serde(default)]
    pub strategy: String,
}
fact!(
    RolloutStarted,
    "rollout.started",
    |f| Some(f.project),
    |f| format!("rollout:{}", f.rollout),
    |f| format!("rolls out {} beside {}", f.version, f.baseline)
);

/// A rollout gave the new version another share of traffic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RolloutStepped {
    /// The project.
    pub project: ProjectId,
    /// The rollout.
    pub rollout: RolloutId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The new version.
    pub version: String,
    /// Its share of traffic, in percent.
    pub weight: u32,
}
fact!(
    RolloutStepped,
    "rollout.stepped",
    |f| Some(f.project),
    |f| format!("rollout:{}", f.rollout),
    |f| format!("gives {} {} % of traffic", f.version, f.weight)
);

/// The numbers on which a rollout was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgeNumbers {
    /// Requests the new version answered.
    pub new_requests: u64,
    /// Of these, errors.
    pub new_errors: u64,
    /// Of these, slow.
    pub new_slow: u64,
    /// Requests the old version answered in the same slices.
    pub old_requests: u64,
    /// Of these, errors.
    pub old_errors: u64,
    /// Of these, slow.
    pub old_slow: u64,
    /// Slices in which both answered.
    pub slices: u64,
    /// Evidence that the new version errs more: an e-value; 1 is none.
    pub error_evidence: f64,
    /// Evidence that the new version is slower: an e-value.
    pub slow_evidence: f64,
    /// The evidence at which the rollout is undone.
    pub threshold: f64,
}

/// The judge, or a person, decided on a rollout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RolloutJudged {
    /// The project.
    pub project: ProjectId,
    /// The rollout.
    pub rollout: RolloutId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The new version.
    pub version: String,
    /// `pass`, `fail`, `extend`.
    pub verdict: String,
    /// Why, in plain words.
    pub reason: String,
    /// The numbers.
    pub numbers: JudgeNumbers,
}
fact!(
    RolloutJudged,
    "rollout.judged",
    |f| Some(f.project),
    |f| format!("rollout:{}", f.rollout),
    |f| format!("judged {}: {}, {}", f.version, f.verdict, f.reason)
);

/// A rollout was paused or resumed by a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RolloutPaused {
    /// The project.
    pub project: ProjectId,
    /// The rollout.
    pub rollout: RolloutId,
    /// The new version.
    pub version: String,
    /// Whether it stands still now.
    pub paused: bool,
}
fact!(
    RolloutPaused,
    "rollout.paused",
    |f| Some(f.project),
    |f| format!("rollout:{}", f.rollout),
    |f| format!(
        "{} the rollout of {}",
        if f.paused { "paused" } else { "resumed" },
        f.version
    )
);

/// A rollout ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RolloutFinished {
    /// The project.
    pub project: ProjectId,
    /// The rollout.
    pub rollout: RolloutId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// The new version.
    pub version: String,
    /// The version that served before.
    pub baseline: String,
    /// `promoted`, `aborted`, `superseded`.
    pub result: String,
    /// What ended it: `judge`, `guardrail`, `person`, `restart`, `superseded`.
    pub cause: String,
    /// Why, in plain words.
    pub reason: String,
    /// When the new version first met users.
    pub exposed_at: Option<Timestamp>,
    /// When the first request failed on the new version, if any did.
    pub first_error_at: Option<Timestamp>,
    /// When it ended.
    pub at: Timestamp,
}
fact!(
    RolloutFinished,
    "rollout.finished",
    |f| Some(f.project),
    |f| format!("rollout:{}", f.rollout),
    |f| format!(
        "{} {}: {}",
        match f.result.as_str() {
            "promoted" => "promoted",
            "superseded" => "left",
            _ => "undid",
        },
        f.version,
        f.reason
    )
);

/// An agent came under this instance's care.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentEnrolled {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
}
fact!(
    AgentEnrolled,
    "agent.enrolled",
    |_| None,
    |f| format!("agent:{}", f.agent),
    |f| format!("enrolled the agent {}", f.name)
);

/// An agent stopped reporting, or reports again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentSeen {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Whether it reports.
    pub online: bool,
}
fact!(
    AgentSeen,
    "agent.seen",
    |_| None,
    |f| format!("agent:{}", f.agent),
    |f| format!(
        "agent {} {}",
        f.name,
        if f.online {
            "reports again"
        } else {
            "stopped reporting"
        }
    )
);

/// A code was made with which an agent or edge can enrol once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentInvited {
    /// What it will be called.
    pub name: String,
    /// `agent` or `edge`.
    pub kind: String,
    /// Until when the code is good.
    pub expires_at: Timestamp,
}
fact!(
    AgentInvited,
    "agent.invited",
    |_| None,
    |f| format!("{}:{}", f.kind, f.name),
    |f| format!("made an enrolment code for the {} {}", f.kind, f.name)
);

/// An agent or edge got a certificate, with which alone its token counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentCertified {
    /// Its name.
    pub name: String,
    /// `agent` or `edge`.
    pub kind: String,
    /// The certificate's digest.
    pub fingerprint: Digest,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Whether it follows one that it was asked for with.
    pub renewed: bool,
}
fact!(
    AgentCertified,
    "agent.certified",
    |_| None,
    |f| format!("{}:{}", f.kind, f.name),
    |f| {
        let what = if f.renewed {
            "renewed the certificate of"
        } else {
            "issued a certificate to"
        };
        format!("{what} the {} {}", f.kind, f.name)
    }
);

/// A traffic proxy came under this instance's care.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeEnrolled {
    /// Its name.
    pub name: String,
}
fact!(
    EdgeEnrolled,
    "edge.enrolled",
    |_| None,
    |f| format!("edge:{}", f.name),
    |f| format!("enrolled the edge {}", f.name)
);

/// An agent or edge was removed; its token counts no more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentRemoved {
    /// Its name.
    pub name: String,
    /// `agent` or `edge`.
    pub kind: String,
    /// Environments that it looked after.
    pub environments: i64,
    /// The agent that looks after them now, if there is one.
    pub moved_to: String,
}
fact!(
    AgentRemoved,
    "agent.removed",
    |_| None,
    |f| format!("{}:{}", f.kind, f.name),
    |f| {
        let moved = match (f.environments, f.moved_to.as_str()) {
            (0, _) => String::new(),
            (count, "") => format!("; {count} environments have no agent now"),
            (count, to) => format!("; {count} environments went to the agent {to}"),
        };
        format!("removed the {} {}{moved}", f.kind, f.name)
    }
);

/// An agent's clock differs too much from the server's, or is right again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentSkewed {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Whether it differs too much.
    pub skewed: bool,
    /// Its clock against the server's, in milliseconds; negative where it is behind.
    pub skew_ms: i64,
}
fact!(
    AgentSkewed,
    "agent.skewed",
    |_| None,
    |f| format!("agent:{}", f.agent),
    |f| if f.skewed {
        format!(
            "the clock of the agent {} is {} s {}",
            f.name,
            f.skew_ms.abs() / 1_000,
            if f.skew_ms < 0 { "behind" } else { "ahead" }
        )
    } else {
        format!("the clock of the agent {} is right again", f.name)
    }
);

/// The declaration of an environment came into force, or the environment was taken out of the project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteDeclared {
    /// The project that declares it.
    pub project: ProjectId,
    /// The environment's name.
    pub site: String,
    /// The commit.
    pub sha: String,
    /// How many products it installs; 0 where it was removed.
    pub installs: i64,
    /// Whether it was removed.
    pub removed: bool,
}
fact!(
    SiteDeclared,
    "site.declared",
    |f| Some(f.project),
    |f| format!("site:{}", f.site),
    |f| if f.removed {
        format!("no longer declares the environment {}", f.site)
    } else {
        format!(
            "declares the environment {} with {} installs at {}",
            f.site,
            f.installs,
            super::short(&f.sha)
        )
    }
);

/// A commit of the environments project is wrong, so what was in force before stays in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteRefused {
    /// The project.
    pub project: ProjectId,
    /// The commit.
    pub sha: String,
    /// Where and what.
    pub reason: String,
}
fact!(
    SiteRefused,
    "site.refused",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!(
        "environments at {} are not in force: {}",
        super::short(&f.sha),
        f.reason
    )
);

/// What is planned for a product in an environment is otherwise than before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanChanged {
    /// The product's project.
    pub project: ProjectId,
    /// The product in its environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub site: String,
    /// `up_to_date`, `moving`, `ready`, `held`, `blocked`, `coupled`, `drifted`.
    pub state: String,
    /// What runs; empty: nothing.
    pub current: String,
    /// What should.
    pub target: String,
    /// The next safe step; empty: none.
    pub step: String,
    /// Why, in plain words.
    pub why: String,
}
fact!(
    PlanChanged,
    "plan.changed",
    |f| Some(f.project),
    |f| format!("environment:{}", f.environment),
    |f| format!("plan in {}: {}", f.site, f.why)
);

/// A release entered a channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleasePromoted {
    /// The project.
    pub project: ProjectId,
    /// The release.
    pub release: ReleaseId,
    /// Its version.
    pub version: String,
    /// The channel.
    pub channel: String,
    /// By what it got there.
    pub reason: String,
}
fact!(
    ReleasePromoted,
    "release.promoted",
    |f| Some(f.project),
    |f| format!("release:{}", f.release),
    |f| format!("{} entered the channel {}: {}", f.version, f.channel, f.reason)
);

/// A release was called back: no environment takes it any more, and those that run it leave it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseRecalled {
    /// The project.
    pub project: ProjectId,
    /// The release.
    pub release: ReleaseId,
    /// Its version.
    pub version: String,
    /// Why.
    pub reason: String,
    /// The oldest version that may be gone back to; empty: only forward.
    pub floor: String,
}
fact!(
    ReleaseRecalled,
    "release.recalled",
    |f| Some(f.project),
    |f| format!("release:{}", f.release),
    |f| format!("recalled {}: {}", f.version, f.reason)
);

/// A team approved a version for an environment or a channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApprovalGiven {
    /// The project.
    pub project: ProjectId,
    /// The version.
    pub version: String,
    /// `environment:NAME` or `channel:NAME`.
    pub scope: String,
    /// The team.
    pub team: String,
}
fact!(
    ApprovalGiven,
    "release.approved",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!(
        "approved {} for {} in the name of {}",
        f.version,
        f.scope.replace(':', " "),
        f.team
    )
);

/// Changes in an environment are held, or no longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuppressionChanged {
    /// The environment; `*` for all.
    pub site: String,
    /// What opened it: `hand`, `incident`, `failures`.
    pub cause: String,
    /// Why.
    pub reason: String,
    /// Whether it is open.
    pub open: bool,
}
fact!(
    SuppressionChanged,
    "suppression.changed",
    |_| None,
    |f| format!("site:{}", f.site),
    |f| if f.open {
        format!("holds all changes in {}: {}", f.site, f.reason)
    } else {
        format!("lets changes in {} go on", f.site)
    }
);

/// An install that is no longer declared was taken away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnvironmentPruned {
    /// The product's project.
    pub project: ProjectId,
    /// The product in its environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub site: String,
    /// What served; empty: nothing.
    pub version: String,
}
fact!(
    EnvironmentPruned,
    "environment.pruned",
    |f| Some(f.project),
    |f| format!("environment:{}", f.environment),
    |f| if f.version.is_empty() {
        format!("is no longer declared in {}", f.site)
    } else {
        format!("takes {} out of {}: it is no longer declared", f.version, f.site)
    }
);

/// More is no longer declared in an environment than may be taken away at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PruneRefused {
    /// The project that declares it.
    pub project: ProjectId,
    /// The environment's name.
    pub site: String,
    /// How many installs would be taken away.
    pub installs: i64,
    /// Why not.
    pub reason: String,
}
fact!(
    PruneRefused,
    "prune.refused",
    |f| Some(f.project),
    |f| format!("site:{}", f.site),
    |f| format!("takes nothing out of {}: {}", f.site, f.reason)
);

/// A person said that what is no longer declared is to be taken away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PruneConfirmed {
    /// The project that declares it.
    pub project: ProjectId,
    /// The environment's name.
    pub site: String,
    /// How many installs are taken away.
    pub installs: i64,
}
fact!(
    PruneConfirmed,
    "prune.confirmed",
    |f| Some(f.project),
    |f| format!("site:{}", f.site),
    |f| format!(
        "confirmed that what {} no longer declares is taken away ({} {})",
        f.site,
        f.installs,
        if f.installs == 1 { "install" } else { "installs" }
    )
);

/// A secret of an environment was set or removed. Its value is in no fact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecretChanged {
    /// The environment's name; `*` for all.
    pub site: String,
    /// The secret's name.
    pub name: String,
    /// Whether it was removed.
    pub removed: bool,
}
fact!(
    SecretChanged,
    "secret.changed",
    |_| None,
    |f| format!("site:{}", f.site),
    |f| format!(
        "{} the secret {} of {}",
        if f.removed { "removed" } else { "set" },
        f.name,
        f.site
    )
);
