//! `bascule where`.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_core::Result;
use bascule_web::url_encode as segment;
use clap::Args;
use std::process::Command;

const PLACES: &[output::Column] = &[
    ("ENVIRONMENT", "environment"),
    ("HERE", "here"),
    ("RUNS", "runs"),
    ("SINCE", "since"),
    ("WHY NOT YET", "why"),
];
const RELEASES: &[output::Column] = &[
    ("RELEASE", "version"),
    ("CHANNELS", "channels"),
    ("SERVES IN", "runs_in"),
    ("RECALLED", "recalled"),
];

/// `bascule where …`
#[derive(Debug, Args)]
pub struct Where {
    /// The beginning of its identifier, a branch, a tag, or a release's version
    commit: String,
    /// group/project; left out in a clone: where its `origin` leads
    #[arg(long, short)]
    project: Option<String>,
}

impl Where {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let project = match self.project {
            Some(project) => project,
            None => of_clone()?,
        };
        output::project(&project)?;
        // What only the clone knows, such as HEAD~1, is put in words that the server knows.
        let commit = if self.commit.starts_with("HEAD") || self.commit.contains(['~', '^']) {
            git(&["rev-parse", "--verify", &self.commit]).ok_or_else(|| {
                output::usage(
                    &format!("`{}` is no commit here.", self.commit),
                    "Name one that is in this clone.",
                )
            })?
        } else {
            self.commit
        };
        let path = format!("/api/v1/projects/{project}/where?commit={}", segment(&commit));
        let found = context.get(&path).await?;
        if context.out.is_json() {
            context.out.record(&found, &[]);
        } else {
            context.out.say(found["sentence"].as_str().unwrap_or_default());
            context.out.say("");
            context.out.table(&found["releases"], RELEASES);
            context.out.say("");
            context.out.table(&found["environments"], PLACES);
        }
        let here = found["environments"]
            .as_array()
            .is_some_and(|places| places.iter().any(|place| place["here"] == true));
        Ok(if here { code::DONE } else { code::REFUSED })
    }
}

pub(super) fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The project that the present folder was cloned from.
pub(super) fn of_clone() -> Result<String> {
    git(&["remote", "get-url", "origin"])
        .and_then(|url| project_of(&url))
        .ok_or_else(|| {
            output::usage(
                "This folder is no clone of a project, and none is named.",
                "Name one: --project GROUP/PROJECT.",
            )
        })
}

/// The last two parts of an address, without `.git`.
fn project_of(url: &str) -> Option<String> {
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']);
    let (name, group) = (parts.next()?, parts.next()?);
    (!name.is_empty() && !group.is_empty()).then(|| format!("{group}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::project_of;

    #[test]
    fn a_clone_names_its_project() {
        for url in [
            "http://git:token@127.0.0.1:8080/health/clinic.git",
            "https://example.org/health/clinic/",
            "git@example.org:health/clinic.git",
        ] {
            assert_eq!(project_of(url).as_deref(), Some("health/clinic"), "{url}");
        }
        assert_eq!(project_of("clinic"), None);
    }
}
