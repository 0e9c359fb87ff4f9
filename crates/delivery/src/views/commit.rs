//! "Where is my commit": which releases contain it, and where it runs by now.

use super::{Sight, products, store};
use crate::{Delivery, ports::CommitFound};
use bascule_core::{Caller, Problem, ProjectId, ReleaseId, Result};
use bascule_planner::Version;
use bascule_wire::views::{ProductRelease, WhereIs, WherePlace};
use std::collections::HashSet;

/// Environments that are looked at: as many as may be declared.
const PLACES: i64 = 5_000;
/// Names of environments in the sentence.
const NAMED: usize = 5;

impl Delivery {
    /// Where a commit is, named by the beginning of its identifier, a branch, a tag or a release's version.
    ///
    /// # Errors
    /// There is no such commit, or more than one.
    pub async fn where_is(
        &self,
        caller: &Caller,
        project: ProjectId,
        path: &str,
        asked: &str,
    ) -> Result<WhereIs> {
        let asked = asked.trim();
        if asked.is_empty() {
            return Err(Problem::invalid("no_commit", "No commit is named.")
                .next("Give the beginning of its identifier."));
        }
        let rows = store::releases(&self.db, project).await?;
        let version = asked.trim_start_matches('v');
        let released = rows.iter().find(|row| row.version == version);
        let found = match released {
            Some(row) => self
                .ports
                .history
                .find(project, &row.sha)
                .await?
                .unwrap_or(CommitFound {
                    sha: row.sha.clone(),
                    title: String::new(),
                }),
            None => self
                .ports
                .history
                .find(project, asked)
                .await?
                .ok_or_else(|| unknown(path, asked))?,
        };
        let tips: Vec<String> = rows.iter().map(|row| row.sha.clone()).collect();
        let inside: HashSet<ReleaseId> = match self.ports.history.containing(project, &found.sha, &tips).await
        {
            Ok(inside) => rows
                .iter()
                .zip(inside)
                .filter(|(_, inside)| *inside)
                .map(|(row, _)| row.release_id)
                .collect(),
            // A released commit may have left the repository since; its release still contains it.
            Err(problem) if problem.status == 404 && released.is_some() => rows
                .iter()
                .filter(|row| row.sha == found.sha)
                .map(|row| row.release_id)
                .collect(),
            Err(problem) => return Err(problem),
        };
        let mut places = store::of_project(&self.db, project, PLACES).await?;
        self.overlay(&mut places).await?;
        let waits = self.waits(&Sight::All).await?;
        let mut releases: Vec<ProductRelease> = products::releases(
            &rows
                .iter()
                .filter(|row| inside.contains(&row.release_id))
                .cloned()
                .collect::<Vec<_>>(),
            store::channels(&self.db, project).await?,
            &places,
        );
        releases.reverse();
        let versions: HashSet<&str> = releases.iter().map(|release| release.version.as_str()).collect();
        let mut environments: Vec<WherePlace> = places
            .into_iter()
            .map(|place| WherePlace {
                reported: place.reported(),
                here: place.runs.as_deref().is_some_and(|runs| versions.contains(runs)),
                runs: place.runs.unwrap_or_default(),
                since: place.since,
                moving: place.moving.unwrap_or_default(),
                why: match waits.of(&place.name, &place.project_path) {
                    Some(wait) => wait.why.clone(),
                    None => place.why.unwrap_or_default(),
                },
                environment: place.name,
            })
            .collect();
        environments.sort_by(|a, b| (!a.here, &a.environment).cmp(&(!b.here, &b.environment)));
        let sight = self.sight(caller).await?;
        self.unname(
            &sight,
            environments.iter_mut().map(|place| &mut place.why).collect(),
        )
        .await?;
        Ok(WhereIs {
            project: path.to_owned(),
            sentence: sentence(&found.sha, &releases, &environments),
            commit: found.sha,
            title: found.title,
            releases,
            environments,
        })
    }
}

fn unknown(path: &str, asked: &str) -> Problem {
    Problem::new(404, "unknown_commit", format!("{path} has no commit `{asked}`."))
        .why("A commit is named by at least four of its first digits, by a branch, a tag, or a release's version.")
        .next("`git log --oneline` lists them; was it pushed?")
}

/// All of it for people who read one line.
fn sentence(sha: &str, releases: &[ProductRelease], places: &[WherePlace]) -> String {
    let short: String = sha.chars().take(8).collect();
    let Some(first) = releases.first() else {
        return format!("{short} is in no release yet");
    };
    let within = match releases.len() {
        1 => format!("is in the release {}", first.version),
        more => format!("is in {more} releases, first in {}", first.version),
    };
    let here: Vec<&str> = places
        .iter()
        .filter(|place| place.here)
        .map(|place| place.environment.as_str())
        .collect();
    let runs = match here.len() {
        0 => "runs nowhere yet".to_owned(),
        count => {
            let more = count.saturating_sub(NAMED);
            let named: Vec<&str> = here.into_iter().take(NAMED).collect();
            let rest = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!(
                "runs in {count} of {} environments: {}{rest}",
                places.len(),
                named.join(", ")
            )
        }
    };
    format!("{short} {within}; it {runs}")
}

/// Versions in their order, newest first; what is no version comes last.
pub(super) fn newest_first(a: &str, b: &str) -> std::cmp::Ordering {
    match (a.parse::<Version>(), b.parse::<Version>()) {
        (Ok(a), Ok(b)) => b.cmp(&a),
        (Ok(_), Err(_)) => std::cmp::Ordering::Less,
        (Err(_), Ok(_)) => std::cmp::Ordering::Greater,
        (Err(_), Err(_)) => b.cmp(a),
    }
}
