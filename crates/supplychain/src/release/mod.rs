//! Releases: an immutable tag with its artifacts, SBOMs and provenance, listed in a signed manifest.

mod api;
mod archive;
mod import;
mod making;
mod pages;
mod preview;
pub(crate) mod range;
mod service;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod tests;

pub use api::routes;
pub(crate) use api::{more, unsatisfiable};
pub use import::{CarriedRelease, Checked};
pub use preview::{Candidate, PreviewBuild};
pub use service::{PartStream, Releases};
pub use store::MIGRATIONS;

use crate::bundle::PartKind;
use bascule_core::{Digest, JobId, PipelineId, Problem, ProjectId, ReleaseId, Timestamp};
use semver::Version;
use std::collections::HashMap;

/// A published release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The release.
    pub id: ReleaseId,
    /// The project.
    pub project: ProjectId,
    /// `group/project`, when it was published; the manifest says the same.
    pub project_path: String,
    /// The tag.
    pub tag: String,
    /// The version: the tag without a leading `v`.
    pub version: String,
    /// The commit.
    pub sha: String,
    /// Its name, for people.
    pub name: String,
    /// Its description, Markdown.
    pub description: String,
    /// The pipeline that made it; none of a release that another instance made.
    pub pipeline: Option<PipelineId>,
    /// The release job.
    pub job: Option<JobId>,
    /// The key of the instance that made it, if that is another one.
    pub origin: Option<String>,
    /// Digest of the signed manifest.
    pub manifest: Digest,
    /// Size of the signed manifest.
    pub manifest_size: u64,
    /// The key that signed it.
    pub key_id: String,
    /// Components in its SBOM.
    pub components: i64,
    /// The release before it, by version.
    pub previous: Option<String>,
    /// Commits since that one.
    pub commit_count: i64,
    /// The lockfiles that the SBOM was read from.
    pub lockfiles: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// When the pipeline was created.
    pub started_at: Timestamp,
    /// When the release job ended.
    pub finished_at: Timestamp,
    /// When it was published.
    pub at: Timestamp,
}

/// One part of a published release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasePart {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The job it came from.
    pub job: Option<String>,
    /// Its path in the job's archive, for a file.
    pub path: Option<String>,
}

/// Reads the version out of a tag: a semantic version, with or without a leading `v`.
///
/// # Errors
/// Says why the tag is none.
pub fn version_of(tag: &str) -> Result<Version, Problem> {
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).map_err(|error| {
        Problem::invalid(
            "not_a_version",
            format!("The tag `{tag}` is not a version: {error}."),
        )
        .why("Releases are ordered by version, and environments move from one to the next in that order.")
        .next("Tag the commit with a semantic version such as `1.4.0` or `v1.4.0-rc.1`.")
    })
}

/// Of the releases there are, the newest that comes before `version`.
#[must_use]
pub fn previous_of<'a, T>(
    version: &Version,
    all: impl IntoIterator<Item = (&'a str, T)>,
) -> Option<(Version, T)> {
    all.into_iter()
        .filter_map(|(text, with)| Version::parse(text).ok().map(|known| (known, with)))
        .filter(|(known, _)| known.cmp_precedence(version).is_lt())
        .max_by(|(one, _), (other, _)| one.cmp(other))
}

/// Names for jobs that are safe as one folder, each its own even where two jobs' names differ only in
/// characters that a folder cannot have.
#[derive(Debug, Default)]
struct JobFolders {
    taken: HashMap<String, usize>,
}

impl JobFolders {
    fn name(&mut self, job: &str) -> String {
        let plain: String = job
            .chars()
            .take(100)
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let plain = if plain.is_empty() { "job".to_owned() } else { plain };
        let mut name = plain.clone();
        let mut number = 1;
        while self.taken.contains_key(&name) {
            number += 1;
            name = format!("{plain}.{number}");
        }
        self.taken.insert(name.clone(), number);
        name
    }
}

#[cfg(test)]
mod rules {
    use super::*;

    #[test]
    fn tags_are_versions_with_or_without_a_v() {
        assert_eq!(version_of("v1.2.3").unwrap(), Version::new(1, 2, 3));
        assert_eq!(version_of("1.2.3-rc.1+b").unwrap().to_string(), "1.2.3-rc.1+b");
        for bad in ["1.2", "latest", "vv1.0.0", "", "release/1.0.0", "01.0.0"] {
            let problem = version_of(bad).unwrap_err();
            assert_eq!(problem.code, "not_a_version");
            assert!(!problem.why.is_empty() && !problem.next.is_empty());
        }
    }

    #[test]
    fn the_previous_release_is_found_by_version_not_by_text_or_time() {
        let all = [
            ("1.9.0", 'a'),
            ("1.10.0", 'b'),
            ("2.0.0-rc.1", 'c'),
            ("2.0.0", 'd'),
            ("nonsense", 'e'),
        ];
        let before = |text: &str| previous_of(&Version::parse(text).unwrap(), all).map(|(_, with)| with);
        assert_eq!(before("1.10.1"), Some('b'));
        assert_eq!(before("1.10.0"), Some('a'));
        assert_eq!(before("2.0.0"), Some('c'));
        assert_eq!(before("1.0.0"), None);
        // Metadata after `+` does not make a version newer.
        assert_eq!(before("1.10.0+b2"), Some('a'));
    }

    #[test]
    fn job_folders_are_plain_and_distinct() {
        let mut folders = JobFolders::default();
        assert_eq!(folders.name("build"), "build");
        assert_eq!(folders.name("test: [a/b]"), "test---a-b-");
        assert_eq!(folders.name("test: (a/b)"), "test---a-b-.2");
        assert_eq!(folders.name(""), "job");
        assert_eq!(folders.name("../.."), "-----");
    }
}
