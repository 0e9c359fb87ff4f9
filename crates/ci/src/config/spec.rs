//! What is kept with a job: what the runner is told, and what the server does before, with and after it.
//! Stored as JSON, so every field that is new has a value for jobs that were stored without it.

use super::{Include, When};
use bascule_wire::runner::{Artifact, Cache, Image};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most text, in bytes, that all jobs of a pipeline hold together. What a file holds after `extends` is bounded, but each
/// job has its copy of `default` and of the file's variables, and each copy of `parallel` has all of its job's lists.
pub const PIPELINE_BYTES: usize = 32 * 1024 * 1024;

/// What the runner is told of a job, and what the server does with its result. Kept with the job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobSpec {
    /// Lines before the script.
    pub before_script: Vec<String>,
    /// The script; empty for jobs that only start another pipeline or mirror one.
    pub script: Vec<String>,
    /// Lines that run in any case.
    pub after_script: Vec<String>,
    /// Container image.
    pub image: Option<Image>,
    /// Containers beside it.
    pub services: Vec<Image>,
    /// What to keep, archive and reports.
    pub artifacts: Vec<Artifact>,
    /// Who may fetch the artifacts, besides the pipeline's own jobs.
    #[serde(skip_serializing_if = "usual")]
    pub artifacts_access: ArtifactAccess,
    /// Under which words the merge request shows the artifacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts_expose_as: Option<String>,
    /// What to carry from job to job.
    pub cache: Vec<Cache>,
    /// What of each cache is known only when the pipeline is planned; as many as `cache` while planning.
    #[serde(skip)]
    pub cache_rules: Vec<CacheRule>,
    /// What a runner must offer.
    pub tags: Vec<String>,
    /// Longest run, in seconds; `None` is the platform's default.
    pub timeout: Option<u64>,
    /// Trying again.
    pub retry: Retry,
    /// Whether a newer pipeline may cancel it.
    pub interruptible: bool,
    /// Jobs of one resource group run one at a time. With variables.
    pub resource_group: Option<String>,
    /// Pattern of the coverage in the log.
    pub coverage: Option<String>,
    /// Where it deploys to.
    pub environment: Option<Environment>,
    /// The release it makes when it succeeds.
    pub release: Option<Release>,
    /// With `when: delayed`: how many seconds after its turn came it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_in: Option<u64>,
    /// What a person is asked before a manual job starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual_confirmation: Option<String>,
    /// The pipeline that it starts, instead of running a script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Jobs and pipelines outside this pipeline whose artifacts or status it takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outside_needs: Vec<OutsideNeed>,
    /// Tokens that prove to others who the job is, by the name of the variable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub id_tokens: BTreeMap<String, IdToken>,
    /// Secrets that the runner fetches from a vault, by the name of the variable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// Lines at other moments than the script.
    #[serde(skip_serializing_if = "usual")]
    pub hooks: Hooks,
    /// The static site that it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
    /// Values that who starts or retries the job may give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<JobInput>,
}

/// One of a job's `inputs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobInput {
    /// Its name.
    pub name: String,
    /// `string`, `number`, `boolean`, `array`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value where nobody gives one.
    pub default: serde_json::Value,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The values to choose from; empty is any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<serde_json::Value>,
    /// What a text must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

fn usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Who may fetch a job's artifacts (`artifacts:access`; `public: false` is `developer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactAccess {
    /// Who may see the pipeline.
    #[default]
    All,
    /// Developers and above.
    Developer,
    /// Maintainers and above.
    Maintainer,
    /// Nobody.
    None,
}

/// What of a cache only planning can settle: its key from files, its policy from a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRule {
    /// The key is made of these files' content; at most two.
    pub files: Vec<String>,
    /// It is made of the last commits that changed them instead.
    pub commits: bool,
    /// Put before such a key, with variables.
    pub prefix: String,
    /// A policy that a variable names.
    pub policy: Option<String>,
    /// Whether protected and other branches share it.
    pub unprotect: bool,
}

/// `retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// How often, at most twice.
    pub max: u32,
    /// For which failure reasons; empty or `always` is for all.
    pub when: Vec<String>,
    /// For which exit codes; empty is for all.
    pub exit_codes: Vec<i64>,
}

impl Retry {
    /// Whether a failure is one to try again for.
    #[must_use]
    pub fn covers(&self, reason: &str, exit_code: Option<i64>) -> bool {
        let any = self.when.is_empty() && self.exit_codes.is_empty();
        any || self.when.iter().any(|when| when == "always" || when == reason)
            || exit_code.is_some_and(|code| self.exit_codes.contains(&code))
    }
}

/// `environment`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Its name, with variables.
    pub name: String,
    /// Where it answers, with variables.
    pub url: Option<String>,
    /// `start`, `prepare`, `stop`, `verify`, `access`.
    pub action: String,
    /// The job that takes it down.
    pub on_stop: Option<String>,
    /// After how long it is taken down by itself: a duration, `never`, or with variables.
    pub auto_stop_in: Option<String>,
    /// `production`, `staging`, `testing`, `development`, `other`; `None` is told from the name.
    pub deployment_tier: Option<String>,
    /// The namespace in a cluster, where one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_namespace: Option<String>,
}

impl Environment {
    /// The tier as written, or as the (expanded) name tells it.
    #[must_use]
    pub fn tier(&self, name: &str) -> &str {
        self.deployment_tier.as_deref().unwrap_or_else(|| tier_of(name))
    }
}

/// The tier that an environment's name tells, as GitLab guesses it.
#[must_use]
pub fn tier_of(name: &str) -> &'static str {
    const WORDS: &[(&str, &[&str])] = &[
        ("development", &["dev", "review", "trunk"]),
        (
            "testing",
            &[
                "test", "tst", "int", "acpt", "accept", "qa", "qc", "control", "quality",
            ],
        ),
        ("staging", &["stg", "stag", "modl", "model", "pre", "demo", "non"]),
        ("production", &["prd", "prod", "live"]),
    ];
    let name = name.to_ascii_lowercase();
    WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| name.contains(word)))
        .map_or("other", |(tier, _)| tier)
}

/// `release`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Release {
    /// The tag, with variables.
    pub tag_name: String,
    /// The message of a tag that the release makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_message: Option<String>,
    /// Its name, with variables; empty is the tag.
    pub name: String,
    /// Its description, Markdown, with variables; or the path of a file that holds it.
    pub description: String,
    /// What a tag that does not exist yet is made of.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Milestones it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<String>,
    /// The date it counts from, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
    /// Links to show, as name and address.
    pub links: BTreeMap<String, String>,
    /// The same links with their paths and kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<ReleaseLink>,
}

/// A link of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseLink {
    /// What it is called.
    pub name: String,
    /// Where it leads, with variables.
    pub url: String,
    /// A lasting path of it.
    pub filepath: Option<String>,
    /// `other`, `runbook`, `image`, `package`.
    pub link_type: Option<String>,
}

/// `trigger`: another pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trigger {
    /// `group/project` with variables, for a pipeline of another project; `None` is a child pipeline.
    pub project: Option<String>,
    /// That project's branch, with variables; `None` is its default branch.
    pub branch: Option<String>,
    /// What a child pipeline's configuration is made of.
    pub include: Vec<Include>,
    /// Inputs of the other project's pipeline.
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// Whether this job waits for that pipeline.
    pub strategy: Strategy,
    /// Which variables that pipeline gets.
    pub forward: Forward,
}

/// How a job follows the pipeline it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// It succeeds once the pipeline is made.
    #[default]
    None,
    /// It runs as long as the pipeline and ends like it.
    Depend,
    /// It shows the pipeline's status, whatever that is.
    Mirror,
}

/// `trigger:forward`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Forward {
    /// The variables that the file gives the job.
    pub yaml_variables: bool,
    /// The variables given by who started this pipeline.
    pub pipeline_variables: bool,
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            yaml_variables: true,
            pipeline_variables: false,
        }
    }
}

/// `needs` of another pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutsideNeed {
    /// `group/project` with variables: the newest successful job of that name at `reference`. Does not wait.
    pub project: Option<String>,
    /// Branch or tag in that project, with variables.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// With a `job`: the number of a pipeline of this project's family, with variables, such as
    /// `$PARENT_PIPELINE_ID`. Without: `group/project`, whose newest pipeline's status this job mirrors.
    pub pipeline: Option<String>,
    /// The job whose artifacts are taken.
    pub job: Option<String>,
    /// Whether its artifacts are taken.
    pub artifacts: bool,
}

/// `id_tokens:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdToken {
    /// Whom the token is for, with variables.
    pub aud: Vec<String>,
}

/// `secrets:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// `vault`, `gcp_secret_manager`, `azure_key_vault`, `aws_secrets_manager`, `akeyless`,
    /// `gitlab_secrets_manager`.
    pub provider: String,
    /// What the provider is asked, in the runner protocol's form: for `vault` always `engine`, `path`, `field`.
    pub settings: serde_json::Value,
    /// Whether the variable holds the path of a file with the value.
    pub file: bool,
    /// The token to show the provider, as `$NAME_OF_ID_TOKEN`; `None` is the only one there is.
    pub token: Option<String>,
}

/// `hooks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// Lines before the code is fetched.
    pub pre_get_sources_script: Vec<String>,
}

/// `pages`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pages {
    /// The folder that is the site, with variables.
    pub publish: String,
    /// A path before all of the site, with variables.
    pub path_prefix: Option<String>,
    /// How long it stays, as written.
    pub expire_in: Option<String>,
}

/// Cancelling what is no longer wanted (`workflow:auto_cancel`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoCancel {
    /// What a newer pipeline of the same branch cancels.
    pub on_new_commit: OnNewCommit,
    /// What a job's failure cancels.
    pub on_job_failure: OnJobFailure,
}

/// What a newer pipeline of the same branch cancels of an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNewCommit {
    /// All, as long as no job that is not interruptible has started.
    #[default]
    Conservative,
    /// The interruptible jobs.
    Interruptible,
    /// Nothing.
    None,
}

/// What a job's failure cancels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnJobFailure {
    /// Nothing.
    #[default]
    None,
    /// All other jobs of the pipeline.
    All,
}

impl JobSpec {
    /// How much it holds, in bytes, as it is kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        struct Counted(usize);
        impl std::io::Write for Counted {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut counted = Counted(0);
        match serde_json::to_writer(&mut counted, self) {
            Ok(()) => counted.0,
            Err(_) => PIPELINE_BYTES,
        }
    }

    /// Whether the job runs no script: it starts another pipeline or mirrors one.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.trigger.is_some() || self.mirrored().is_some()
    }

    /// `group/project` whose newest pipeline's status the job mirrors (`needs:pipeline` without a script).
    #[must_use]
    pub fn mirrored(&self) -> Option<&str> {
        self.outside_needs
            .iter()
            .find(|need| need.job.is_none())
            .and_then(|need| need.pipeline.as_deref())
    }
}

impl When {
    /// All words.
    pub const ALL: &'static [Self] = &[
        Self::OnSuccess,
        Self::OnFailure,
        Self::Always,
        Self::Manual,
        Self::Delayed,
        Self::Never,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_stored_by_earlier_versions_are_read() {
        let old = r#"{"script":["make"],"environment":{"name":"production","action":"start"},
            "release":{"tag_name":"v1","name":"","description":"d","links":{"a":"https://a"}}}"#;
        let spec: JobSpec = serde_json::from_str(old).unwrap();
        assert_eq!(spec.script, ["make"]);
        assert_eq!(spec.trigger, None);
        assert_eq!(spec.release.unwrap().links.len(), 1);
        let trigger: Trigger = serde_json::from_str("{}").unwrap();
        assert!(trigger.forward.yaml_variables && !trigger.forward.pipeline_variables);
    }

    #[test]
    fn names_tell_the_tier() {
        for (name, tier) in [
            ("production", "production"),
            ("prod-eu", "production"),
            ("live", "production"),
            ("staging", "staging"),
            ("pre-prod", "staging"),
            ("review/branch", "development"),
            ("dev", "development"),
            ("qa", "testing"),
            ("test", "testing"),
            ("elsewhere", "other"),
        ] {
            assert_eq!(tier_of(name), tier, "{name}");
        }
    }
}
