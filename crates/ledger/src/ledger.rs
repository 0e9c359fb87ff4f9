use crate::{Entry, Fact, InstanceKey, chain};
use bascule_core::{Actor, Clock, FactId, Timestamp};
use bascule_store::{Backend, Db, Query as _, Result, Tx, args, row};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

row! { struct Head { seq: i64, hash: String } }

/// The ledger, cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: InstanceKey,
    pub(crate) head: watch::Sender<i64>,
    /// The newest fact of each kind that this process appended.
    newest: Arc<Mutex<HashMap<&'static str, i64>>>,
}

/// Facts between two checkpoints, at most.
const CHECKPOINT_EVERY: i64 = 1000;

impl Ledger {
    /// The ledger of a database, whose checkpoints `key` signs.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, key: InstanceKey) -> Self {
        Self {
            db,
            clock,
            key,
            head: watch::Sender::new(0),
            newest: Arc::default(),
        }
    }

    /// The key that signs checkpoints and evidence.
    #[must_use]
    pub fn key(&self) -> &InstanceKey {
        &self.key
    }

    /// The clock by which facts are dated.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Appends a fact in the transaction of the change that it tells of. Subscribers learn of it once the
    /// transaction is durable.
    ///
    /// # Errors
    /// The database refused; the transaction should be dropped.
    pub async fn append<F: Fact>(&self, tx: &Tx, actor: &Actor, fact: &F) -> Result<FactId> {
        // One head row orders all writers; on PostgreSQL it is locked, SQLite has one writer anyway.
        let lock = match tx.engine() {
            Backend::Sqlite => "SELECT seq, hash FROM ledger_head WHERE one = 1",
            Backend::Postgres => "SELECT seq, hash FROM ledger_head WHERE one = 1 FOR UPDATE",
        };
        let head = tx.one::<Head>(lock, args![]).await?.unwrap_or(Head {
            seq: 0,
            hash: String::new(),
        });
        let mut entry = Entry {
            seq: head.seq + 1,
            id: FactId::new(),
            at: self.clock.now(),
            actor: actor.clone(),
            kind: F::KIND.to_owned(),
            project: fact.project(),
            subject: fact.subject(),
            summary: fact.summary(),
            body: serde_json::to_string(fact)?,
            hash: String::new(),
        };
        entry.hash = chain::hash(&head.hash, &entry);
        tx.run(
            "INSERT INTO fact (seq, id, at, actor_kind, actor_id, actor_name, kind, project_id, subject, summary, body, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            args![
                entry.seq, entry.id, entry.at, entry.actor.kind.as_str(), entry.actor.id, entry.actor.name,
                entry.kind, entry.project, entry.subject, entry.summary, entry.body, entry.hash
            ],
        )
        .await?;
        tx.run(
            "UPDATE ledger_head SET seq = $1, hash = $2 WHERE one = 1",
            args![entry.seq, entry.hash],
        )
        .await?;
        if entry.seq % CHECKPOINT_EVERY == 0 {
            self.checkpoint(tx, entry.seq, &entry.hash, entry.at).await?;
        }
        let ledger = self.clone();
        let seq = entry.seq;
        tx.after_commit(move || {
            ledger.note(F::KIND, seq);
            ledger.heard(seq);
        });
        Ok(entry.id)
    }

    /// Signs the present head, so that not even the holder of the database can cut what came before.
    /// Called at start, at stop and by a timer; a head already signed is left alone.
    ///
    /// # Errors
    /// The database refused.
    pub async fn checkpoint_now(&self) -> Result<()> {
        let tx = self.db.begin().await?;
        let head = tx
            .one::<Head>("SELECT seq, hash FROM ledger_head WHERE one = 1", args![])
            .await?;
        if let Some(head) = head.filter(|head| head.seq > 0) {
            self.checkpoint(&tx, head.seq, &head.hash, self.clock.now())
                .await?;
        }
        tx.commit().await
    }

    async fn checkpoint(&self, tx: &Tx, seq: i64, hash: &str, at: Timestamp) -> Result<()> {
        let signature = self.key.sign(&chain::checkpoint_message(seq, hash, at.micros()));
        tx.run(
            "INSERT INTO ledger_checkpoint (seq, hash, at, key_id, signature) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (seq) DO NOTHING",
            args![seq, hash, at, self.key.id(), signature],
        )
        .await?;
        Ok(())
    }

    fn note(&self, kind: &'static str, seq: i64) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.entry(kind).or_insert(seq);
        *known = seq.max(*known);
    }

    /// The newest fact of some kinds that this process appended; zero where it appended none.
    pub(crate) fn newest(&self, kinds: &[&'static str]) -> i64 {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        kinds
            .iter()
            .filter_map(|kind| newest.get(kind))
            .copied()
            .max()
            .unwrap_or(0)
    }

    /// Tells those who hear of new facts that all up to this one are durable.
    pub(crate) fn heard(&self, seq: i64) {
        self.head.send_if_modified(|known| {
            let newer = seq > *known;
            *known = seq.max(*known);
            newer
        });
    }

    /// Hears of new facts: the number of the newest durable one that is known of. Those of this process are known at
    /// once, other replicas' within a second where a [`crate::Hub`] runs.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }
}
