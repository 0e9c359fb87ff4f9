//! How a project merges.

use super::store;
use crate::Forge;
use bascule_core::{Caller, Problem, ProjectId, Result};
use bascule_store::{Column, Row, ToSql, Value, row};
use bascule_wire::merge_request as wire;

/// How commits come into the target branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// A merge commit, always.
    Merge,
    /// One commit with all changes.
    Squash,
    /// The commits anew, on top of the target.
    Rebase,
    /// The commits as they are; only where the target has nothing that they do not build on.
    FastForward,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Merge, Self::Squash, Self::Rebase, Self::FastForward];

    /// As stored and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Squash => "squash",
            Self::Rebase => "rebase",
            Self::FastForward => "fast_forward",
        }
    }

    /// What people choose from.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Merge => "Merge commit",
            Self::Squash => "Squash into one commit",
            Self::Rebase => "Rebase, commits stay apart",
            Self::FastForward => "Fast-forward only",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.as_str() == text)
            .ok_or_else(|| {
                Problem::invalid("bad_strategy", "There is no such way to merge.")
                    .next("Use merge, squash, rebase or fast_forward.")
            })
    }
}

impl Column for Strategy {
    fn read_opt(row: &Row, name: &str) -> bascule_store::Result<Option<Self>> {
        Ok(String::read_opt(row, name)?.map(|text| Self::parse(&text).unwrap_or(Self::Merge)))
    }
}

impl ToSql for Strategy {
    fn to_sql(&self) -> Value {
        self.as_str().to_sql()
    }
}

row! {
    /// How a project merges.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Settings {
        /// How commits come into the target branch.
        pub strategy: Strategy,
        /// Whether protected branches move by merge requests alone, for everybody.
        pub require_request: bool,
        /// Whether a green pipeline of the commit is needed.
        pub require_pipeline: bool,
        /// Whether developers merge into protected branches; else maintainers do.
        pub developers_merge: bool,
        /// Whether new requests delete their source branch with the merge.
        pub delete_source: bool,
        /// Whether merges go through the queue.
        pub queue: bool,
        /// How many merges of the queue are tried at once.
        pub queue_parallel: i64,
        /// The message of merge commits; empty for the usual one.
        pub merge_message: String,
        /// The message of squashed commits; empty for the usual one.
        pub squash_message: String,
    }
}

/// Merges of a queue tried at once, unless a project says otherwise; and at most.
const PARALLEL: i64 = 5;
const PARALLEL_MOST: i64 = 20;
/// Longest template of a message, in characters.
const TEMPLATE: usize = 2_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Merge,
            require_request: false,
            require_pipeline: false,
            developers_merge: false,
            delete_source: true,
            queue: false,
            queue_parallel: PARALLEL,
            merge_message: String::new(),
            squash_message: String::new(),
        }
    }
}

impl From<Settings> for wire::MergeSettings {
    fn from(settings: Settings) -> Self {
        Self {
            strategy: settings.strategy.as_str().to_owned(),
            require_request: settings.require_request,
            require_pipeline: settings.require_pipeline,
            developers_merge: settings.developers_merge,
            delete_source_branch: settings.delete_source,
            queue: settings.queue,
            queue_parallel: settings.queue_parallel,
            merge_message: settings.merge_message,
            squash_message: settings.squash_message,
        }
    }
}

impl Forge {
    /// How a project merges.
    ///
    /// # Errors
    /// The database refused.
    pub async fn merge_settings(&self, project: ProjectId) -> Result<Settings> {
        Ok(store::settings(self.db(), project).await?.unwrap_or_default())
    }

    /// Changes how a project merges.
    ///
    /// # Errors
    /// The caller is a program, a value is bad, or the database refused.
    pub async fn change_merge_settings(
        &self,
        caller: &Caller,
        project: ProjectId,
        change: &wire::MergeSettingsChange,
    ) -> Result<Settings> {
        caller.must_be_person("changes how a project merges")?;
        let before = self.merge_settings(project).await?;
        let mut after = before.clone();
        if let Some(strategy) = &change.strategy {
            after.strategy = Strategy::parse(strategy)?;
        }
        after.require_request = change.require_request.unwrap_or(after.require_request);
        after.require_pipeline = change.require_pipeline.unwrap_or(after.require_pipeline);
        after.developers_merge = change.developers_merge.unwrap_or(after.developers_merge);
        after.delete_source = change.delete_source_branch.unwrap_or(after.delete_source);
        after.queue = change.queue.unwrap_or(after.queue);
        if let Some(parallel) = change.queue_parallel {
            if !(1..=PARALLEL_MOST).contains(&parallel) {
                return Err(Problem::invalid(
                    "bad_parallel",
                    format!("A queue tries 1 to {PARALLEL_MOST} merges at once."),
                )
                .why("Each of them takes runners from everybody else."));
            }
            after.queue_parallel = parallel;
        }
        for (text, to) in [
            (&change.merge_message, &mut after.merge_message),
            (&change.squash_message, &mut after.squash_message),
        ] {
            if let Some(text) = text {
                *to = template(text)?;
            }
        }
        let flag = |on: bool| if on { "on" } else { "off" }.to_owned();
        let changes: Vec<(&str, String)> = [
            (
                "merge_strategy",
                before.strategy != after.strategy,
                after.strategy.as_str().to_owned(),
            ),
            (
                "require_merge_request",
                before.require_request != after.require_request,
                flag(after.require_request),
            ),
            (
                "require_pipeline",
                before.require_pipeline != after.require_pipeline,
                flag(after.require_pipeline),
            ),
            (
                "developers_merge",
                before.developers_merge != after.developers_merge,
                flag(after.developers_merge),
            ),
            (
                "delete_source_branch",
                before.delete_source != after.delete_source,
                flag(after.delete_source),
            ),
            ("merge_queue", before.queue != after.queue, flag(after.queue)),
            (
                "merge_queue_parallel",
                before.queue_parallel != after.queue_parallel,
                after.queue_parallel.to_string(),
            ),
            (
                "merge_message",
                before.merge_message != after.merge_message || before.squash_message != after.squash_message,
                "changed".to_owned(),
            ),
        ]
        .into_iter()
        .filter(|(_, changed, _)| *changed)
        .map(|(setting, _, value)| (setting, value))
        .collect();
        let tx = self.db().begin().await?;
        store::set_settings(&tx, project, &after).await?;
        self.tell_changes(&tx, &caller.actor, project, changes).await?;
        tx.commit().await?;
        Ok(after)
    }
}

fn template(text: &str) -> Result<String> {
    let text = text.replace("\r\n", "\n").trim().to_owned();
    if text.chars().count() > TEMPLATE {
        return Err(Problem::invalid(
            "too_long",
            format!("A message's template has at most {TEMPLATE} characters."),
        )
        .next("Make it shorter."));
    }
    super::text::check_template(&text)?;
    Ok(text)
}
