//! What people do with previews, and what they are shown of them.

use super::{
    Policy, Preview, state,
    store::{self, Touched},
};
use crate::{Delivery, RequestNow, environment};
use bascule_core::{Caller, Permission, Problem, ProjectId, Result, limits};
use bascule_ledger::facts::preview::PreviewAllowed;
use bascule_wire::preview as dto;

impl Delivery {
    async fn open_request(&self, project: ProjectId, iid: i64) -> Result<RequestNow> {
        let found = self.ports.requests.get(project, iid).await?;
        let request = found.ok_or_else(|| Problem::not_found("merge request"))?;
        if request.open {
            return Ok(request);
        }
        Err(
            Problem::conflict("request_ended", format!("!{iid} is not open any more."))
                .why("A preview lives as long as its merge request.")
                .next("Open the merge request again; its preview then starts by itself."),
        )
    }

    /// Starts a preview, or lets it live on. A fork's commit needs someone who may change the project's settings,
    /// and who says which commit they looked at.
    ///
    /// # Errors
    /// The request has ended, the project has no previews, the caller may not, or the commit is not the newest.
    pub async fn start_preview(
        &self,
        caller: &Caller,
        project: ProjectId,
        holds: impl Fn(Permission) -> bool + Send + Sync,
        iid: i64,
        new: &dto::StartPreview,
    ) -> Result<()> {
        let request = self.open_request(project, iid).await?;
        match self.preview_policy(project, &request).await? {
            Policy::On(_) => {}
            Policy::Wrong(fault) => {
                return Err(Problem::conflict(
                    "bad_policy",
                    format!("bascule.yaml cannot be read: {fault}."),
                )
                .why("The file on the target branch says whether there are previews.")
                .next("Correct the file on the target branch."));
            }
            Policy::Missing | Policy::Off => {
                return Err(Problem::conflict("previews_off", "The project has no previews.")
                    .why("bascule.yaml on the target branch turns them on, so that no branch can by itself.")
                    .next("Add `preview: true` to that file."));
            }
        }
        let sha = new.sha.trim();
        if !sha.is_empty() && sha != request.head {
            return Err(
                Problem::conflict("moved_on", format!("!{iid} has another commit by now."))
                    .why("What runs should be what was looked at.")
                    .next("Look at the new changes, and start it again."),
            );
        }
        let row = store::get(&self.db, project, iid).await?;
        let lets = !request.trusted
            && row.and_then(|row| row.allowed_head).as_deref() != Some(request.head.as_str());
        if lets && !holds(Permission::ProjectManage) {
            return Err(Problem::forbidden(Permission::ProjectManage)
                .why("The commit comes from a fork, from someone who may not push here; its code would run on the project's machines.")
                .next("Ask a maintainer to look at the changes and to start the preview."));
        }
        if lets && caller.user.is_none() {
            return Err(
                Problem::new(403, "not_a_person", "A program cannot look at a fork's changes.")
                    .why("Someone answers for what runs on the project's machines.")
                    .next("Ask a maintainer to start the preview."),
            );
        }
        if lets && sha.is_empty() {
            return Err(Problem::invalid("sha_missing", "Say which commit you looked at.")
                .why("A fork's code runs only as it was looked at; each further push is asked for anew.")
                .next("Give the commit as `sha`."));
        }
        let tx = self.db.begin().await?;
        store::touch(&tx, project, iid, Touched::Afresh, self.now()).await?;
        if lets {
            store::allow(&tx, project, iid, &request.head, &caller.actor.name).await?;
            let fact = PreviewAllowed {
                project,
                iid,
                sha: request.head,
                at: self.now(),
            };
            self.ledger.append(&tx, &caller.actor, &fact).await?;
        }
        self.wake_previews(&tx);
        tx.commit().await?;
        Ok(())
    }

    /// Stops a preview until its request changes, or someone starts it.
    ///
    /// # Errors
    /// The request has ended.
    pub async fn stop_preview(&self, caller: &Caller, project: ProjectId, iid: i64) -> Result<()> {
        let request = self.open_request(project, iid).await?;
        let tx = self.db.begin().await?;
        store::touch(&tx, project, iid, Touched::Anyhow, self.now()).await?;
        let Some(mut row) = store::get(&tx, project, iid).await? else {
            return Err(Problem::internal());
        };
        row.head = request.head;
        store::stop(&tx, &row, "stopped", &caller.actor.name).await?;
        self.wake_previews(&tx);
        tx.commit().await?;
        Ok(())
    }

    /// The previews of a project's open requests, newest first.
    ///
    /// # Errors
    /// The database refused.
    pub async fn previews(&self, project: ProjectId) -> Result<Vec<dto::Preview>> {
        let rows = store::list(&self.db, project, limits::API_PAGE_ENTRIES).await?;
        let places = store::routed_environments(&self.db).await?;
        Ok(rows
            .into_iter()
            .filter(|row| row.state != state::OFF)
            .map(|row| {
                let place = places.iter().find(|place| Some(place.id) == row.environment_id);
                shown(row, place)
            })
            .collect())
    }

    /// A request's preview.
    ///
    /// # Errors
    /// There is no such request, or it is older than previews.
    pub async fn preview(&self, project: ProjectId, iid: i64) -> Result<dto::Preview> {
        let found = store::get(&self.db, project, iid).await?;
        let row = found.ok_or_else(|| Problem::not_found("preview"))?;
        let place = match row.environment_id.filter(|_| row.routed) {
            Some(id) => environment::store::get(&self.db, id).await?,
            None => None,
        };
        Ok(shown(row, place.as_ref()))
    }
}

fn shown(row: Preview, place: Option<&environment::Environment>) -> dto::Preview {
    dto::Preview {
        iid: row.iid,
        url: place.and_then(|place| place.url.clone()),
        host: place.map(environment::Environment::host),
        state: row.state,
        version: row.version,
        sha: row.sha,
        build: row.build_id,
        allowed_by: row
            .allowed_by
            .filter(|_| row.allowed_head.as_deref() == Some(row.head.as_str())),
        head: row.head,
        rule: row.rule,
        why: row.why,
        next: row.next,
        changed_at: row.changed_at,
        ends_at: row.ends_at,
    }
}
