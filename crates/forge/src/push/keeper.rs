//! What a push brings is shown to who will act on it, while its objects are in quarantine: so the person who pushes
//! hears at once what will not be followed. It refuses nothing, and nothing that fails here does.

use super::{Session, Update};
use crate::{Forge, workflow::ask::Place};
use bascule_core::Problem;
use std::{path::Path, time::Duration};

/// Most files that are looked at.
const FILES: usize = 5_000;
/// How long a push waits for it.
const WAIT: Duration = Duration::from_secs(10);

impl Forge {
    /// What to tell the person who pushes, besides that it was taken; empty: nothing. `trunk` is the project's
    /// default branch.
    pub(super) async fn remarks(
        &self,
        session: &Session,
        trunk: &str,
        updates: &[Update],
        quarantine: Option<&Path>,
    ) -> String {
        let looked = self.look(session, trunk, updates, quarantine);
        match tokio::time::timeout(WAIT, looked).await {
            Ok(Ok(remark)) => remark.map(|remark| told(&remark)).unwrap_or_default(),
            Ok(Err(problem)) => {
                tracing::warn!(%problem, "what a push brings could not be looked at");
                String::new()
            }
            Err(_) => String::new(),
        }
    }

    async fn look(
        &self,
        session: &Session,
        trunk: &str,
        updates: &[Update],
        quarantine: Option<&Path>,
    ) -> Result<Option<String>, Problem> {
        // Most pushes are to other branches.
        let tip = updates
            .iter()
            .find(|update| update.branch() == Some(trunk))
            .and_then(|update| update.new.as_deref());
        let (Some(tip), Some(keeper)) = (tip, self.keeper()) else {
            return Ok(None);
        };
        let Some(folder) = keeper.folder(session.project.id).await? else {
            return Ok(None);
        };
        let place = Place::new(self, session.project.id, quarantine);
        let files = place.files_in(tip, &folder, FILES).await?;
        keeper.judge(session.project.id, files).await
    }
}

/// What is shown on the terminal, with nothing in it that would steer one.
fn told(remark: &str) -> String {
    let clean: String = remark.chars().filter(|c| !c.is_control()).collect();
    format!(
        "\nwarning: {clean}\n  The push is taken; what was in force before stays in force until a commit without this fault.\n\n"
    )
}
