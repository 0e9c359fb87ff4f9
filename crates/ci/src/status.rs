//! How jobs and pipelines stand.

use bascule_store::{Column, Row, ToSql, Value};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* } else $default:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The word, as stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads the word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Column for $name {
            fn read_opt(row: &Row, name: &str) -> bascule_store::Result<Option<Self>> {
                Ok(String::read_opt(row, name)?.map(|word| Self::parse(&word).unwrap_or(Self::$default)))
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> Value {
                self.as_str().to_sql()
            }
        }
    )*};
}

statuses! {
    /// How a job stands.
    JobStatus {
        /// It waits for others.
        Created = "created",
        /// It waits for a runner.
        Pending = "pending",
        /// A runner has it.
        Running = "running",
        /// Someone stopped it, and its runner still lets `after_script` run.
        Canceling = "canceling",
        /// It ended well.
        Success = "success",
        /// It ended badly.
        Failed = "failed",
        /// Someone stopped it.
        Canceled = "canceled",
        /// It was not needed, or what it needs did not succeed.
        Skipped = "skipped",
        /// It waits for a person.
        Manual = "manual",
        /// It starts when its time has come (`when: delayed`).
        Scheduled = "scheduled",
        /// It waits until its resource group is free.
        WaitingForResource = "waiting_for_resource",
    } else Failed;
    /// How a pipeline stands.
    PipelineStatus {
        /// Nothing has begun.
        Created = "created",
        /// Its first jobs wait for a runner.
        Pending = "pending",
        /// Jobs run, or will.
        Running = "running",
        /// All ended well.
        Success = "success",
        /// All that counts ended well, but a job whose failure is allowed failed.
        Warning = "warning",
        /// A job failed.
        Failed = "failed",
        /// Someone stopped it.
        Canceled = "canceled",
        /// No job ran.
        Skipped = "skipped",
        /// It waits for a person.
        Manual = "manual",
        /// It waits for a delayed job's time.
        Scheduled = "scheduled",
    } else Failed;
}

impl JobStatus {
    /// Those that can be canceled: nothing final.
    pub const OPEN: [Self; 7] = [
        Self::Created,
        Self::Pending,
        Self::Running,
        Self::Canceling,
        Self::Manual,
        Self::Scheduled,
        Self::WaitingForResource,
    ];

    /// Whether the job ended, so that only a person can bring it back.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Failed | Self::Canceled | Self::Skipped
        )
    }

    /// Whether the job waits for a runner or has one.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Canceling)
    }
}

impl PipelineStatus {
    /// Whether nothing will happen any more by itself or by a waiting person.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Warning | Self::Failed | Self::Canceled | Self::Skipped
        )
    }
}
