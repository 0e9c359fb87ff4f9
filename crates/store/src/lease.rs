//! Leases: of several server replicas, one at a time does what must be done once.

use crate::{Db, Result, args};
use bascule_core::Clock;
use std::{sync::Arc, time::Duration};

/// A claim to a named duty, to be renewed well before it runs out.
#[derive(Clone, Debug)]
pub struct Lease {
    db: Db,
    clock: Arc<dyn Clock>,
    name: &'static str,
    holder: String,
    lasts: Duration,
}

impl Lease {
    /// A lease on the duty `name`, for this `holder` (unique per process), lasting `lasts` from each
    /// renewal.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, name: &'static str, holder: String, lasts: Duration) -> Self {
        Self {
            db,
            clock,
            name,
            holder,
            lasts,
        }
    }

    /// Takes or renews the lease; `false` while another holds it.
    ///
    /// # Errors
    /// The database refused.
    pub async fn hold(&self) -> Result<bool> {
        let now = self.clock.now();
        let tx = self.db.begin().await?;
        let changed = tx
            .run(
                "INSERT INTO lease (name, holder, until) VALUES ($1, $2, $3)
                 ON CONFLICT (name) DO UPDATE SET holder = $2, until = $3
                 WHERE lease.holder = $2 OR lease.until < $4",
                args![self.name, self.holder, now.plus(self.lasts), now],
            )
            .await?;
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// Gives the lease up, so that another need not wait for its end.
    ///
    /// # Errors
    /// The database refused.
    pub async fn release(&self) -> Result<()> {
        let tx = self.db.begin().await?;
        tx.run(
            "DELETE FROM lease WHERE name = $1 AND holder = $2",
            args![self.name, self.holder],
        )
        .await?;
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DbOptions;
    use bascule_core::{FakeClock, Timestamp};

    #[tokio::test]
    async fn one_holds_until_it_lapses() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&DbOptions::Sqlite(dir.path().join("test.db")))
            .await
            .unwrap();
        db.migrate(&[crate::MIGRATIONS]).await.unwrap();
        let clock = FakeClock::at(Timestamp::from_seconds(1000));
        let lease = |who: &str| {
            Lease::new(
                db.clone(),
                Arc::new(clock.clone()),
                "duty",
                who.to_owned(),
                Duration::from_secs(10),
            )
        };
        assert!(lease("a").hold().await.unwrap());
        assert!(!lease("b").hold().await.unwrap());
        clock.advance(Duration::from_secs(11));
        assert!(lease("b").hold().await.unwrap());
        assert!(!lease("a").hold().await.unwrap());
        lease("b").release().await.unwrap();
        assert!(lease("a").hold().await.unwrap());
    }
}
