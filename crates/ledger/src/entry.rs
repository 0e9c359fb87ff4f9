use bascule_core::{Actor, ActorKind, FactId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, from 1 without gaps.
    pub seq: i64,
    /// Its identifier.
    pub id: FactId,
    /// When it was appended.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// What kind of fact, such as `branch.updated`.
    pub kind: String,
    /// The project, if it belongs to one.
    pub project: Option<ProjectId>,
    /// What it is about, as `noun:id`.
    pub subject: String,
    /// One plain sentence, to be read after the actor's name.
    pub summary: String,
    /// The fact's own JSON, byte for byte as it was hashed.
    pub body: String,
    /// Hash over this entry and the one before it.
    pub hash: String,
}

bascule_store::row! {
    pub(crate) struct EntryRow {
        seq: i64,
        id: FactId,
        at: Timestamp,
        actor_kind: String,
        actor_id: String,
        actor_name: String,
        kind: String,
        project_id: Option<ProjectId>,
        subject: String,
        summary: String,
        body: String,
        hash: String,
    }
}

pub(crate) const COLUMNS: &str =
    "seq, id, at, actor_kind, actor_id, actor_name, kind, project_id, subject, summary, body, hash";

impl From<EntryRow> for Entry {
    fn from(row: EntryRow) -> Self {
        Self {
            seq: row.seq,
            id: row.id,
            at: row.at,
            actor: Actor::new(ActorKind::parse(&row.actor_kind), row.actor_id, row.actor_name),
            kind: row.kind,
            project: row.project_id,
            subject: row.subject,
            summary: row.summary,
            body: row.body,
            hash: row.hash,
        }
    }
}

impl Entry {
    /// The fact, if it is of type `F`.
    #[must_use]
    pub fn fact<F: crate::Fact>(&self) -> Option<F> {
        if self.kind == F::KIND {
            serde_json::from_str(&self.body).ok()
        } else {
            None
        }
    }
}
