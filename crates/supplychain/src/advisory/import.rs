//! Taking advisories in: read as they come, kept in their newest state, matched at once.

use super::{
    Advisories,
    osv::{Advisory, RECORD_BYTES},
    split::{Cut, Splitter, Stray},
    store,
};
use bascule_core::{Actor, Problem, Result};
use bascule_ledger::facts::advisories::AdvisoryImported;
use bascule_wire::advisory::{AdvisoryError, AdvisoryImport};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use std::{io, pin::pin, time::Duration};

/// Most bytes of one import.
const IMPORT_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Records, and bytes of them, that are written at once.
const BATCH: (usize, usize) = (500, 8 * 1024 * 1024);
/// Records that could not be read and are named.
const ERRORS: usize = 100;
/// Ecosystems that are named as matched with nothing.
const ECOSYSTEMS: usize = 100;
/// Advisories that one fact names.
const NAMED: usize = 50;
/// Longest time without a byte.
const SILENCE: Duration = Duration::from_secs(60);

/// A record that waits to be written.
struct Read {
    advisory: Advisory,
    body: String,
}

#[derive(Default)]
struct Batch {
    records: Vec<Read>,
    bytes: usize,
    refused: i64,
    read: i64,
}

impl Advisories {
    /// Imports records of the OSV schema: JSON objects, one after the other, in lines or in an array. A record that
    /// cannot be read is named and stands in no other's way.
    ///
    /// # Errors
    /// It holds no record at all, is too large, or breaks off.
    pub async fn import(
        &self,
        actor: &Actor,
        body: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<AdvisoryImport> {
        let _turn = self.turn.lock().await;
        let mut body = pin!(body);
        let (mut done, mut batch, mut splitter) =
            (AdvisoryImport::default(), Batch::default(), Splitter::default());
        let mut size = 0_u64;
        let mut stray = None;
        loop {
            let next = tokio::time::timeout(SILENCE, body.next())
                .await
                .map_err(|_| broken_off("nothing came for a minute"))?;
            let Some(bytes) = next else { break };
            let bytes = bytes.map_err(|error| broken_off(&error.to_string()))?;
            size = size.saturating_add(bytes.len() as u64);
            if size > IMPORT_BYTES {
                return Err(
                    Problem::too_large(format!("An import has at most {IMPORT_BYTES} bytes."))
                        .next("Import the ecosystems one after the other."),
                );
            }
            let mut cuts = Vec::new();
            let taken = splitter.take(&bytes, |cut| cuts.push(cut));
            for cut in cuts {
                read(cut, &mut done, &mut batch);
                if batch.records.len() >= BATCH.0 || batch.bytes >= BATCH.1 {
                    self.write(actor, std::mem::take(&mut batch), &mut done).await?;
                }
            }
            if let Err(found) = taken {
                stray = Some(found);
                break;
            }
        }
        if let Some(Stray(found)) = stray {
            if done.read == 0 {
                return Err(no_records());
            }
            let reason = format!("`{found}` stands after it, so that nothing after it was read");
            refuse(&mut done, &mut batch, String::new(), reason);
        } else if !splitter.is_between() {
            done.read += 1;
            batch.read += 1;
            refuse(
                &mut done,
                &mut batch,
                String::new(),
                "it ends before its end".to_owned(),
            );
        }
        if done.read == 0 {
            return Err(no_records());
        }
        self.write(actor, batch, &mut done).await?;
        Ok(done)
    }

    /// Imports records that are here, such as those of a bundle.
    ///
    /// # Errors
    /// The database refused.
    pub async fn import_all(&self, actor: &Actor, records: &[serde_json::Value]) -> Result<AdvisoryImport> {
        let texts: Vec<io::Result<Bytes>> = records
            .iter()
            .map(|record| Ok(Bytes::from(record.to_string())))
            .collect();
        if texts.is_empty() {
            return Ok(AdvisoryImport::default());
        }
        self.import(actor, futures::stream::iter(texts)).await
    }

    async fn write(&self, actor: &Actor, batch: Batch, done: &mut AdvisoryImport) -> Result<()> {
        let now = self.now();
        let (mut named, mut changed_ids) = (Vec::new(), Vec::new());
        let mut fact = AdvisoryImported {
            read: batch.read,
            added: 0,
            changed: 0,
            withdrawn: 0,
            refused: batch.refused,
            advisories: Vec::new(),
            at: now,
        };
        let tx = self.db.begin().await?;
        for Read { advisory, body } in &batch.records {
            match store::modified(&tx, &advisory.id).await? {
                Some(known) if known >= advisory.modified => {
                    done.unchanged += 1;
                    continue;
                }
                Some(_) => fact.changed += 1,
                None => fact.added += 1,
            }
            store::put(&tx, advisory, body, now).await?;
            fact.withdrawn += i64::from(advisory.withdrawn.is_some());
            if advisory.packages.is_empty() && !advisory.unmatched.is_empty() {
                done.unmatched += 1;
                for ecosystem in &advisory.unmatched {
                    let known = done.unmatched_ecosystems.contains(ecosystem);
                    if !known && done.unmatched_ecosystems.len() < ECOSYSTEMS {
                        done.unmatched_ecosystems.push(ecosystem.clone());
                    }
                }
            }
            if named.len() < NAMED {
                named.push(advisory.id.clone());
            }
            changed_ids.push(advisory.id.clone());
        }
        if !changed_ids.is_empty() {
            store::mark(&tx, &changed_ids).await?;
            fact.advisories = named;
            self.ledger.append(&tx, actor, &fact).await?;
            tx.commit().await?;
        }
        done.added += fact.added;
        done.changed += fact.changed;
        done.withdrawn += fact.withdrawn;
        let matched = self.drain().await?;
        done.opened += matched.opened;
        done.closed += matched.closed;
        Ok(())
    }
}

fn read(cut: Cut, done: &mut AdvisoryImport, batch: &mut Batch) {
    done.read += 1;
    batch.read += 1;
    let bytes = match cut {
        Cut::Record(bytes) => bytes,
        Cut::TooLarge => {
            let reason = format!("it has more than {RECORD_BYTES} bytes");
            return refuse(done, batch, String::new(), reason);
        }
    };
    let record = String::from_utf8(bytes).map_err(|_| (String::new(), "it is not UTF-8".to_owned()));
    let record = record.and_then(|body| match Advisory::from_json(body.as_bytes()) {
        Ok(advisory) => Ok(Read { advisory, body }),
        Err(reason) => Err((id_of(&body), reason)),
    });
    match record {
        Ok(record) => {
            batch.bytes += record.body.len();
            batch.records.push(record);
        }
        Err((id, reason)) => refuse(done, batch, id, reason),
    }
}

fn refuse(done: &mut AdvisoryImport, batch: &mut Batch, id: String, reason: String) {
    done.refused += 1;
    batch.refused += 1;
    if done.errors.len() < ERRORS {
        let record = done.read;
        done.errors.push(AdvisoryError { record, id, reason });
    }
}

/// The name of a record that cannot be read, where it has one.
fn id_of(body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let id = value.and_then(|value| Some(value.get("id")?.as_str()?.to_owned()));
    let id = id.unwrap_or_default();
    id.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn no_records() -> Problem {
    Problem::invalid("no_advisories", "The body holds no advisory.")
        .why("Advisories are JSON objects of the OSV schema, one, several in lines, or an array of them.")
        .next("Send such, or let `bascule advisory import` unpack an archive of them.")
}

fn broken_off(why: &str) -> Problem {
    Problem::bad_request("broken_off", format!("The advisories broke off: {why}."))
        .why("What was read before is kept.")
        .next("Import again; what is here already is passed over.")
}
