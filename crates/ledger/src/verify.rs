//! Proving that history is what was written: recompute every hash, check every checkpoint.

use crate::{
    Entry, Ledger, PublicKey, chain,
    entry::{COLUMNS, EntryRow},
};
use bascule_store::{Query as _, Result, args, row};
use serde::Serialize;

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Entries whose hashes were recomputed.
    pub entries: i64,
    /// Checkpoints whose signatures were checked.
    pub checkpoints: i64,
    /// The first thing that is wrong, if any.
    pub fault: Option<Fault>,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The entry's number.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

row! { struct Checkpoint { seq: i64, hash: String, at: i64, key_id: String, signature: String } }
row! { struct HeadRow { seq: i64, hash: String } }

const BATCH: i64 = 2000;

impl Ledger {
    /// Verifies all entries and checkpoints, a batch at a time.
    ///
    /// # Errors
    /// The database refused. A broken chain is no error but a [`Fault`].
    pub async fn verify(&self, key: &PublicKey) -> Result<Verification> {
        let mut found = Verification {
            entries: 0,
            checkpoints: 0,
            fault: None,
        };
        let checkpoints: Vec<Checkpoint> = self
            .db
            .all(
                "SELECT seq, hash, at, key_id, signature FROM ledger_checkpoint ORDER BY seq",
                args![],
            )
            .await?;
        // The head as it stood when the verification began: facts may be appended meanwhile.
        let head = self
            .db
            .one::<HeadRow>("SELECT seq, hash FROM ledger_head WHERE one = 1", args![])
            .await?;
        let mut head = head.filter(|head| head.seq > 0);
        let mut checkpoints = checkpoints.into_iter().peekable();
        let mut previous = String::new();
        let mut expected = 1;
        loop {
            let sql = format!("SELECT {COLUMNS} FROM fact WHERE seq >= $1 ORDER BY seq LIMIT $2");
            let rows = match self.db.all::<EntryRow>(&sql, args![expected, BATCH]).await {
                Ok(rows) => rows,
                Err(bascule_store::Error::Column { column, reason }) => {
                    let seq = self.first_unreadable(expected).await?;
                    found.fault = Some(Fault {
                        seq,
                        reason: format!("column {column} cannot be read: {reason}"),
                    });
                    return Ok(found);
                }
                Err(error) => return Err(error),
            };
            if rows.is_empty() {
                break;
            }
            for entry in rows.into_iter().map(Entry::from) {
                if let Some(fault) = check(&entry, expected, &previous) {
                    found.fault = Some(fault);
                    return Ok(found);
                }
                if let Some(checkpoint) = checkpoints.next_if(|c| c.seq == entry.seq) {
                    if let Some(fault) = check_signature(&checkpoint, &entry.hash, key) {
                        found.fault = Some(fault);
                        return Ok(found);
                    }
                    found.checkpoints += 1;
                }
                if let Some(head) = head.take_if(|head| head.seq == entry.seq)
                    && head.hash != entry.hash
                {
                    let reason = "the head names another hash: the newest entries were rewritten".to_owned();
                    found.fault = Some(Fault {
                        seq: entry.seq,
                        reason,
                    });
                    return Ok(found);
                }
                found.entries += 1;
                expected = entry.seq + 1;
                previous = entry.hash;
            }
        }
        if let Some(checkpoint) = checkpoints.next() {
            let reason = "a signed checkpoint stands here, but the entry is gone: history was cut".to_owned();
            found.fault = Some(Fault {
                seq: checkpoint.seq,
                reason,
            });
        } else if let Some(head) = head {
            let reason = format!(
                "the head says {} entries, {} are there: the newest were cut",
                head.seq,
                expected - 1
            );
            found.fault = Some(Fault {
                seq: expected,
                reason,
            });
        }
        let now = self.head().await?;
        if found.fault.is_none() && now < expected - 1 {
            let reason = format!("the head says {now} entries: this one was slipped in");
            found.fault = Some(Fault { seq: now + 1, reason });
        }
        Ok(found)
    }

    async fn first_unreadable(&self, from: i64) -> Result<i64> {
        let mut seq = from;
        loop {
            let sql = format!("SELECT {COLUMNS} FROM fact WHERE seq = $1");
            match self.db.one::<EntryRow>(&sql, args![seq]).await {
                Ok(Some(_)) => seq += 1,
                Ok(None) | Err(bascule_store::Error::Column { .. }) => return Ok(seq),
                Err(error) => return Err(error),
            }
        }
    }
}

fn check(entry: &Entry, expected: i64, previous: &str) -> Option<Fault> {
    if entry.seq != expected {
        let reason = format!("entry {expected} is missing; the next one there is {}", entry.seq);
        return Some(Fault {
            seq: expected,
            reason,
        });
    }
    if chain::hash(previous, entry) != entry.hash {
        let reason = format!(
            "its content ({}, \"{}\") does not match its hash",
            entry.kind, entry.summary
        );
        return Some(Fault {
            seq: entry.seq,
            reason,
        });
    }
    None
}

fn check_signature(checkpoint: &Checkpoint, hash: &str, key: &PublicKey) -> Option<Fault> {
    let fault = |reason: String| {
        Some(Fault {
            seq: checkpoint.seq,
            reason,
        })
    };
    if checkpoint.hash != hash {
        return fault("the chain was rewritten: its hash differs from the signed checkpoint".to_owned());
    }
    if checkpoint.key_id != key.id() {
        return fault(format!(
            "the checkpoint is signed by the key {}, not {}",
            checkpoint.key_id,
            key.id()
        ));
    }
    if !key.verify(
        &chain::checkpoint_message(checkpoint.seq, hash, checkpoint.at),
        &checkpoint.signature,
    ) {
        return fault("the checkpoint's signature is not valid".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Filter, Hub, InstanceKey, Page, Subscriber, facts::identity::GroupCreated};
    use bascule_core::{Actor, FakeClock, GroupId, Timestamp};
    use bascule_store::{Db, DbOptions};
    use std::sync::{Arc, Mutex};

    async fn ledger(dir: &std::path::Path) -> Ledger {
        let db = Db::open(&DbOptions::Sqlite(dir.join("test.db"))).await.unwrap();
        db.migrate(&[bascule_store::MIGRATIONS, crate::MIGRATIONS])
            .await
            .unwrap();
        Ledger::new(
            db,
            Arc::new(FakeClock::at(Timestamp::from_seconds(1_700_000_000))),
            InstanceKey::generate(),
        )
    }

    async fn append(ledger: &Ledger, name: &str) {
        let tx = ledger.db.begin().await.unwrap();
        let fact = GroupCreated {
            group: GroupId::new(),
            name: name.to_owned(),
        };
        ledger.append(&tx, &Actor::system(), &fact).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn tamper(ledger: &Ledger, sql: &str) {
        let tx = ledger.db.begin().await.unwrap();
        tx.run(sql, args![]).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn clean_until_a_byte_changes_and_then_names_the_row() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path()).await;
        for name in ["a", "b", "c", "d"] {
            append(&ledger, name).await;
        }
        ledger.checkpoint_now().await.unwrap();
        let key = ledger.key().public();
        let clean = ledger.verify(&key).await.unwrap();
        assert_eq!((clean.entries, clean.checkpoints, clean.fault), (4, 1, None));

        tamper(
            &ledger,
            "UPDATE fact SET body = REPLACE(body, '\"c\"', '\"x\"') WHERE seq = 3",
        )
        .await;
        assert_eq!(ledger.verify(&key).await.unwrap().fault.unwrap().seq, 3);
    }

    #[tokio::test]
    async fn rewriting_the_whole_chain_breaks_the_signature_and_cutting_shows() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path()).await;
        for name in ["a", "b", "c"] {
            append(&ledger, name).await;
        }
        ledger.checkpoint_now().await.unwrap();
        let other = InstanceKey::generate().public();
        assert_eq!(ledger.verify(&other).await.unwrap().fault.unwrap().seq, 3);
        tamper(
            &ledger,
            "UPDATE ledger_head SET seq = 2, hash = (SELECT hash FROM fact WHERE seq = 2)",
        )
        .await;
        assert_eq!(
            ledger
                .verify(&ledger.key().public())
                .await
                .unwrap()
                .fault
                .unwrap()
                .seq,
            3
        );
        tamper(
            &ledger,
            "UPDATE ledger_head SET seq = 3, hash = (SELECT hash FROM fact WHERE seq = 3)",
        )
        .await;
        tamper(&ledger, "DELETE FROM fact WHERE seq = 3").await;
        assert_eq!(
            ledger
                .verify(&ledger.key().public())
                .await
                .unwrap()
                .fault
                .unwrap()
                .seq,
            3
        );
        tamper(&ledger, "DELETE FROM fact WHERE seq = 1").await;
        assert_eq!(
            ledger
                .verify(&ledger.key().public())
                .await
                .unwrap()
                .fault
                .unwrap()
                .seq,
            1
        );
    }

    #[tokio::test]
    async fn filters_narrow_and_pages_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path()).await;
        for name in ["ward", "100%_real", "lab"] {
            append(&ledger, name).await;
        }
        let newest = ledger
            .read(
                &Filter::default(),
                Page::Newest {
                    before: None,
                    limit: 2,
                },
            )
            .await
            .unwrap();
        assert_eq!(newest.iter().map(|e| e.seq).collect::<Vec<_>>(), [3, 2]);
        let older = ledger
            .read(
                &Filter::default(),
                Page::Newest {
                    before: Some(2),
                    limit: 2,
                },
            )
            .await
            .unwrap();
        assert_eq!(older.len(), 1);
        let literal = Filter {
            text: Some("100%_".to_owned()),
            ..Filter::default()
        };
        assert_eq!(
            ledger
                .read(&literal, Page::After { after: 0, limit: 9 })
                .await
                .unwrap()
                .len(),
            1
        );
        let noun = Filter {
            kinds: vec!["group.*".to_owned()],
            ..Filter::default()
        };
        assert_eq!(
            ledger
                .read(&noun, Page::After { after: 0, limit: 9 })
                .await
                .unwrap()
                .len(),
            3
        );
        let none = Filter {
            kinds: vec!["user.*".to_owned()],
            ..Filter::default()
        };
        assert!(
            ledger
                .read(&none, Page::After { after: 0, limit: 9 })
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[derive(Default)]
    struct Names(Mutex<Vec<String>>, Mutex<bool>);

    #[async_trait::async_trait]
    impl Subscriber for Names {
        fn name(&self) -> &'static str {
            "names"
        }
        fn kinds(&self) -> Vec<&'static str> {
            vec!["group.created"]
        }
        async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
            if std::mem::take(&mut *self.1.lock().unwrap()) {
                return Err("once".into());
            }
            self.0
                .lock()
                .unwrap()
                .push(crate::decode::<GroupCreated>(entry)?.name);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_subscriber_sees_each_fact_in_order_and_again_after_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path()).await;
        let names = Arc::new(Names::default());
        let hub = Hub::default().with(names.clone());
        append(&ledger, "a").await;
        append(&ledger, "b").await;
        *names.1.lock().unwrap() = true;
        assert!(hub.settle(&ledger).await.is_err());
        hub.settle(&ledger).await.unwrap();
        append(&ledger, "c").await;
        hub.settle(&ledger).await.unwrap();
        hub.settle(&ledger).await.unwrap();
        assert_eq!(*names.0.lock().unwrap(), ["a", "b", "c"]);
    }
}
