//! Volumes that a runner's administrator gives to every container of a job, in the words of GitLab's runner.

use crate::{Config, ground::Ground};
use bascule_core::{Digest, Problem, Result};

/// What a word may say after the path, as podman reads it.
const MODES: &[&str] = &[
    "ro", "rw", "z", "Z", "U", "O", "shared", "rshared", "slave", "rslave", "private", "rprivate",
];

/// What stands before the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source<'a> {
    /// A path of the machine, or the name of a volume.
    Given(&'a str),
    /// Nothing: a volume of the project's own.
    Project,
}

fn parse(text: &str) -> Option<(Source<'_>, &str, &str)> {
    let mut parts = text.split(':');
    let (first, second, third) = (parts.next()?, parts.next(), parts.next());
    if parts.next().is_some() {
        return None;
    }
    let (source, path, modes) = match (first, second, third) {
        (path, None, None) => (Source::Project, path, ""),
        (source, Some(path), modes) => (Source::Given(source), path, modes.unwrap_or("")),
        (_, None, Some(_)) => return None,
    };
    let absolute =
        |path: &str| path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == "..");
    let named = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let good = match source {
        Source::Project => true,
        Source::Given(source) => absolute(source) || named(source),
    };
    let modes_known = modes.is_empty() || modes.split(',').all(|mode| MODES.contains(&mode));
    (good && absolute(path) && modes_known).then_some((source, path, modes))
}

/// Whether this is a volume as a runner's configuration takes it.
///
/// # Errors
/// It is none.
pub fn check_volume(text: &str) -> Result<()> {
    parse(text).map(drop).ok_or_else(|| {
        Problem::new(400, "bad_volume", format!("`{}` is no volume.", text.escape_debug())).next(
            "Write `/on/the/machine:/in/the/job:ro`, `name:/in/the/job`, or `/in/the/job` alone for a volume that each project \
             keeps from job to job.",
        )
    })
}

/// The volumes of a job's containers, as options of podman.
pub(super) fn options(on: &Ground<'_>) -> Vec<String> {
    let config: &Config = &on.shared.config;
    let mut words = Vec::new();
    for (source, path, modes) in config.podman.volumes.iter().filter_map(|text| parse(text)) {
        let from = match source {
            Source::Given(source) => source.to_owned(),
            Source::Project => {
                // Protected branches have volumes of their own, as they have caches.
                let git = &on.job.git_info;
                let project = on.job.job_info.project_id;
                let whose = format!("{}\0{project}\0{}\0{path}", config.url, git.protected);
                let hash: String = Digest::of(whose.as_bytes()).hex().chars().take(24).collect();
                format!("bascule-cache-{hash}")
            }
        };
        let mut word = format!("{from}:{path}");
        if !modes.is_empty() {
            word.push(':');
            word.push_str(modes);
        }
        words.extend(["--volume".to_owned(), word]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read_as_the_runner_s_administrator_means_them() {
        assert_eq!(parse("/cache"), Some((Source::Project, "/cache", "")));
        assert_eq!(
            parse("m2:/root/.m2:ro"),
            Some((Source::Given("m2"), "/root/.m2", "ro"))
        );
        assert_eq!(
            parse("/opt/t:/opt/t:ro,z"),
            Some((Source::Given("/opt/t"), "/opt/t", "ro,z"))
        );
        for bad in [
            "",
            "cache",
            "/",
            "a:b",
            "-v:/x",
            "/a:/b:exec",
            "/a/../b:/c",
            "a:/b:ro:x",
            "name:/a/..",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
            assert!(check_volume(bad).is_err(), "{bad}");
        }
    }
}
