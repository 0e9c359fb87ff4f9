//! The ledger: what happened, by whom, when. Facts are appended in the transaction of the change they tell
//! of, chained by hash, and closed now and then by a signed checkpoint, so that tampering shows. It is not
//! event sourcing: tables hold the state, the ledger holds history. Others react to facts by subscribing.

mod chain;
mod entry;
pub mod facts;
mod key;
mod ledger;
mod read;
mod subscribe;
mod verify;

pub use entry::Entry;
pub use facts::Fact;
pub use key::{InstanceKey, KeyError, PublicKey};
pub use ledger::Ledger;
pub use read::{Filter, Page};
pub use subscribe::{BoxError, Hub, Subscriber, decode};
pub use verify::{Fault, Verification};

use bascule_store::Migration;

/// Tables of the ledger.
pub const MIGRATIONS: &[Migration] = &[Migration {
    id: "ledger-0001",
    sql: "
        CREATE TABLE fact (
            seq BIGINT PRIMARY KEY,
            id TEXT NOT NULL,
            at BIGINT NOT NULL,
            actor_kind TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            kind TEXT NOT NULL,
            project_id TEXT,
            subject TEXT NOT NULL,
            summary TEXT NOT NULL,
            body TEXT NOT NULL,
            hash TEXT NOT NULL
        );
        CREATE INDEX fact_kind ON fact (kind, seq);
        CREATE INDEX fact_project ON fact (project_id, seq);
        CREATE INDEX fact_subject ON fact (subject, seq);
        CREATE INDEX fact_actor ON fact (actor_name, seq);
        CREATE INDEX fact_at ON fact (at);
        CREATE TABLE ledger_head (
            one BIGINT PRIMARY KEY,
            seq BIGINT NOT NULL,
            hash TEXT NOT NULL
        );
        INSERT INTO ledger_head (one, seq, hash) VALUES (1, 0, '');
        CREATE TABLE ledger_checkpoint (
            seq BIGINT PRIMARY KEY,
            hash TEXT NOT NULL,
            at BIGINT NOT NULL,
            key_id TEXT NOT NULL,
            signature TEXT NOT NULL
        );
        CREATE TABLE subscriber (
            name TEXT PRIMARY KEY,
            cursor BIGINT NOT NULL,
            failures BIGINT NOT NULL,
            error TEXT
        );
    ",
}];
