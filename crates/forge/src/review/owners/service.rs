//! Finding the file, and telling who owns a path and why.

use super::{CodeOwners, OWNERS_BYTES, OWNERS_FILES};
use crate::{Forge, ProjectInfo, review::rules::APPROVER};
use bascule_core::{Problem, ProjectId, Result};
use bascule_wire::review as wire;

impl Forge {
    /// The `CODEOWNERS` of a commit, with its path; `None` if it has none.
    ///
    /// # Errors
    /// It is too large, or the repository cannot be read.
    pub(crate) async fn code_owners(
        &self,
        project: ProjectId,
        sha: &str,
    ) -> Result<Option<(&'static str, CodeOwners)>> {
        for path in OWNERS_FILES {
            if let Some(bytes) = self.read_file_up_to(project, sha, path, OWNERS_BYTES).await? {
                let owners =
                    tokio::task::spawn_blocking(move || CodeOwners::parse(&String::from_utf8_lossy(&bytes)));
                let owners = owners.await.map_err(|_| Problem::internal())?;
                return Ok(Some((path, owners)));
            }
        }
        Ok(None)
    }

    /// Who owns a path at a branch, tag or commit, and why.
    ///
    /// # Errors
    /// There is no such commit, the file is too large, or repository or database cannot be read.
    pub(crate) async fn path_owners(
        &self,
        project: &ProjectInfo,
        reference: Option<&str>,
        path: &str,
    ) -> Result<wire::PathOwners> {
        let name = reference
            .filter(|name| !name.is_empty())
            .unwrap_or(&project.default_branch);
        let found = self
            .resolve(project.id, name)
            .await?
            .ok_or_else(|| Problem::not_found("branch, tag or commit"))?;
        let path = path.trim().trim_start_matches('/').to_owned();
        let mut answer = wire::PathOwners {
            path: path.clone(),
            commit: found.sha.clone(),
            ..wire::PathOwners::default()
        };
        let Some((file, owners)) = self.code_owners(project.id, &found.sha).await? else {
            return Ok(answer);
        };
        file.clone_into(&mut answer.file);
        answer.complaints = owners
            .complaints
            .iter()
            .map(|complaint| wire::OwnersComplaint {
                line: complaint.line,
                what: complaint.what.clone(),
            })
            .collect();
        if path.is_empty() {
            return Ok(answer);
        }
        let people = self.people_of(project, &[]).await?;
        let tied = self.tied(project).await?;
        for owned in owners.owners_of(&path) {
            let mut names = Vec::new();
            let mut unknown = Vec::new();
            for owner in &owned.entry.owners {
                let ids = self.accounts_of(owner, &tied, &people).await?;
                let able = ids
                    .iter()
                    .filter_map(|id| people.get(id))
                    .filter(|person| person.role.is_some_and(|role| role >= APPROVER));
                let before = names.len();
                names.extend(able.map(|person| person.name.clone()));
                if names.len() == before {
                    unknown.push(owner.to_string());
                }
            }
            names.sort();
            names.dedup();
            answer.owners.push(wire::PathOwner {
                section: owned.section.name.clone(),
                optional: owned.section.optional,
                approvals: owned.section.approvals,
                line: owned.entry.line,
                pattern: owned.entry.text.clone(),
                owners: owned.entry.owners.iter().map(ToString::to_string).collect(),
                people: names,
                unknown,
                why: why(&owned),
            });
        }
        for section in &owners.sections {
            if let Some(entry) = owners.excluded_by(&section.name, &path) {
                answer.owners.push(wire::PathOwner {
                    section: section.name.clone(),
                    optional: true,
                    approvals: 0,
                    line: entry.line,
                    pattern: entry.text.clone(),
                    owners: Vec::new(),
                    people: Vec::new(),
                    unknown: Vec::new(),
                    why: format!("Line {} excludes it from this section.", entry.line),
                });
            }
        }
        Ok(answer)
    }
}

fn why(owned: &super::Owned<'_>) -> String {
    let whose = if owned.entry.by_default {
        "the section's owners"
    } else {
        "its own owners"
    };
    format!(
        "Line {} is the last of the section whose pattern matches; it has {whose}.",
        owned.entry.line
    )
}
