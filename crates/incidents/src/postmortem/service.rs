//! Committing the draft.

use super::{draft, path};
use crate::{Incidents, incident::store, timeline};
use bascule_core::{Actor, IncidentId, Permission, Problem, ProjectScope, Result};
use bascule_ledger::{Filter, Page, facts::incidents::PostmortemCommitted};
use bascule_wire::incidents::Postmortem;

impl Incidents {
    /// Writes and commits the draft of a resolved incident's post-mortem, unless that was done before. The
    /// text depends on recorded facts alone, so doing it over commits the same bytes.
    ///
    /// # Errors
    /// The home cannot take it now; to be tried again. A home that refuses is noted on the incident.
    pub async fn write_postmortem(&self, id: IncidentId) -> Result<()> {
        let Some(incident) = store::get(&self.db, id).await? else {
            return Ok(());
        };
        if incident.postmortem_sha.is_some() || incident.resolved_at.is_none() {
            return Ok(());
        }
        let resolved = Filter {
            kinds: vec!["incident.resolved".to_owned()],
            subject: Some(format!("incident:{id}")),
            ..Filter::default()
        };
        let newest = self
            .ledger
            .read(
                &resolved,
                Page::Newest {
                    before: None,
                    limit: 1,
                },
            )
            .await?;
        let until = newest.first().map(|entry| entry.seq);
        let facts = timeline::facts(self, &incident, until).await?;
        let lines = timeline::read(self, &incident, until).await?;
        let (path, text) = (path(&incident), draft(&incident, &lines, &facts));
        let message = format!(
            "Post-mortem of incident {}: draft\n\n{}\n",
            incident.number, incident.title
        );
        let committed = match self
            .home
            .commit(incident.project_id, &path, text.as_bytes(), &message)
            .await
        {
            Ok(committed) => committed,
            Err(problem) if problem.is_server_fault() => return Err(problem),
            Err(problem) => {
                let tx = self.db.begin().await?;
                store::set_postmortem_error(&tx, id, &problem.to_string()).await?;
                return Ok(tx.commit().await?);
            }
        };
        let tx = self.db.begin().await?;
        let stands = Postmortem {
            home: committed.home,
            path,
            sha: committed.sha,
        };
        if store::set_postmortem(&tx, id, &stands).await? {
            let fact = PostmortemCommitted {
                project: incident.project_id,
                incident: id,
                number: incident.number,
                home: stands.home,
                path: stands.path,
                sha: stands.sha,
            };
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
        }
        Ok(tx.commit().await?)
    }

    /// A person asks again for a post-mortem that could not be committed.
    ///
    /// # Errors
    /// Not allowed, not resolved, or the home refuses again.
    pub async fn retry_postmortem(&self, project: &ProjectScope, number: i64) -> Result<()> {
        if !project.holds(Permission::IncidentWrite) {
            return Err(Problem::forbidden(Permission::IncidentWrite));
        }
        let incident = self.get(project, number).await?;
        if incident.resolved_at.is_none() {
            return Err(
                Problem::conflict("not_resolved", "The incident is not resolved yet.")
                    .next("Resolve it first; the draft is written then."),
            );
        }
        self.write_postmortem(incident.id).await
    }
}
