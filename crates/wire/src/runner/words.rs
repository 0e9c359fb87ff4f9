//! Words of the protocol. Unknown ones read as the default.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ToSchema)]
        #[schema(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads a word; `None` if it is unknown.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = Option::<String>::deserialize(deserializer)?;
                Ok(word.as_deref().and_then(Self::parse).unwrap_or_default())
            }
        }
    )*};
}

words! {
    /// When a step runs or artifacts are kept, by how the script ended.
    When {
        /// Only if it succeeded.
        #[default]
        OnSuccess = "on_success",
        /// Only if it failed.
        OnFailure = "on_failure",
        /// In either case.
        Always = "always",
    }
    /// What a job update says of the job.
    JobState {
        /// Taken, not started (two-phase commit keep-alive).
        Pending = "pending",
        /// It runs.
        #[default]
        Running = "running",
        /// It ended well.
        Success = "success",
        /// It ended badly; see the failure reason.
        Failed = "failed",
    }
    /// Why a job failed.
    FailureReason {
        /// The script ended with a code other than zero.
        ScriptFailure = "script_failure",
        /// The runner could not do its part.
        #[default]
        RunnerSystemFailure = "runner_system_failure",
        /// It took longer than allowed.
        JobExecutionTimeout = "job_execution_timeout",
        /// The runner does not support what the job asks for.
        RunnerUnsupported = "runner_unsupported",
        /// The job asked for something that cannot be, such as no script at all.
        ConfigurationError = "configuration_error",
        /// An image could not be pulled.
        ImagePullFailure = "image_pull_failure",
        /// Canceled.
        JobCanceled = "job_canceled",
        /// Unknown to the runner itself.
        UnknownFailure = "unknown_failure",
    }
    /// How an artifact file is packed.
    ArtifactFormat {
        /// A zip archive.
        #[default]
        Zip = "zip",
        /// One file or several, gzipped one after the other.
        Gzip = "gzip",
        /// One file as it is.
        Raw = "raw",
    }
    /// Whether a job runs for a branch or a tag.
    RefType {
        /// A branch.
        #[default]
        Branch = "branch",
        /// A tag.
        Tag = "tag",
    }
    /// What a job does with a cache.
    CachePolicy {
        /// Takes it before and stores it after.
        #[default]
        PullPush = "pull-push",
        /// Only takes it.
        Pull = "pull",
        /// Only stores it.
        Push = "push",
    }
}
