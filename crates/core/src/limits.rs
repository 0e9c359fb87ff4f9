//! Limits on everything from outside, named in one place so that a refusal can quote them.

use std::time::Duration;

/// Largest JSON or form body, in bytes.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Largest job artifact archive, in bytes.
pub const ARTIFACT_BYTES: u64 = 1024 * 1024 * 1024;
/// Most that one job may upload over all its files, also those that it replaces, in bytes.
pub const JOB_UPLOADS_BYTES: u64 = 2 * ARTIFACT_BYTES;
/// Largest job log that our runner writes, in bytes.
pub const JOB_LOG_BYTES: u64 = 16 * 1024 * 1024;
/// Largest job log that the server takes, in bytes; our own runner ends a log at [`JOB_LOG_BYTES`].
pub const TRACE_BYTES: u64 = 100 * 1024 * 1024;
/// Most bytes of logs that the server holds in memory at once, over all jobs.
pub const TRACE_MEMORY: usize = 64 * 1024 * 1024;
/// Largest `.gitlab-ci.yml`, in bytes.
pub const CI_FILE_BYTES: usize = 1024 * 1024;
/// Most jobs in one pipeline.
pub const PIPELINE_JOBS: usize = 2_000;
/// Most jobs that one CI configuration may describe, of which each pipeline has some.
pub const CI_FILE_JOBS: usize = 5_000;
/// Most nodes a YAML document may hold after aliases are expanded.
pub const YAML_NODES: usize = 200_000;
/// Deepest nesting of a YAML document.
pub const YAML_DEPTH: usize = 64;
/// Largest file shown on a page, in bytes; larger ones are offered as a download.
pub const SHOWN_FILE_BYTES: u64 = 1024 * 1024;
/// Most changed lines of a commit shown on one page.
pub const SHOWN_DIFF_LINES: usize = 5_000;
/// Entries on one page of a list.
pub const PAGE_ENTRIES: i64 = 50;
/// Most entries an API client may ask for at once.
pub const API_PAGE_ENTRIES: i64 = 200;
/// Largest lockfile read for an SBOM, in bytes.
pub const LOCKFILE_BYTES: usize = 32 * 1024 * 1024;
/// How long a runner's request for a job may hang before it is answered with none.
pub const LONG_POLL: Duration = Duration::from_secs(25);
/// How long a session lives without use.
pub const SESSION_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Default job timeout.
pub const JOB_TIMEOUT: Duration = Duration::from_secs(3600);
