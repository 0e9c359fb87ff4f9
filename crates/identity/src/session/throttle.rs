//! How failed sign-ins slow down the next ones: per account and per address. Kept in the database, so that
//! replicas count together and a restart forgets nothing. An attempt is counted before its password is
//! checked, so that many at once are no way around.

use bascule_core::Timestamp;
use bascule_store::{Query, Result, Tx, args, row};
use std::{net::IpAddr, time::Duration};

/// Failures of one account that cost nothing: people mistype.
const FREE_FOR_ACCOUNT: i64 = 5;
/// Failures from one address that cost nothing: a whole office may share it.
const FREE_FOR_ADDRESS: i64 = 30;
/// The first wait; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(4);
/// The longest wait. Longer ones would let anyone keep another out of their account for good.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Failures this old are forgotten.
const FORGET: Duration = Duration::from_secs(6 * 3600);

/// One thing whose failures are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    key: String,
    free: i64,
}

/// The verdict on an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Check the password.
    Go,
    /// Not before this instant.
    Wait(Timestamp),
}

/// What an attempt counts against. Unknown accounts are counted like known ones, so that waiting tells
/// nothing either.
pub(crate) fn subjects(username: &str, address: Option<IpAddr>) -> Vec<Subject> {
    let name: String = username.chars().take(63).flat_map(char::to_lowercase).collect();
    let mut all = vec![Subject {
        key: format!("user:{name}"),
        free: FREE_FOR_ACCOUNT,
    }];
    if let Some(address) = address {
        all.push(Subject {
            key: format!("address:{}", network(address)),
            free: FREE_FOR_ADDRESS,
        });
    }
    all
}

/// A household or host gets a whole /64 of IPv6, so that is what one address means there.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// How long to wait after so many failures.
fn lock_for(failures: i64, free: i64) -> Duration {
    match u32::try_from((failures - free).min(16)) {
        Ok(doublings) => LONGEST.min(FIRST * (1 << doublings)),
        Err(_) => Duration::ZERO,
    }
}

row! { struct Counted { failures: i64, locked_until: Timestamp } }
row! { struct Lock { locked_until: Timestamp, told_until: Timestamp } }

/// Whether the attempt must wait, without counting it; and whether that was told to the ledger already.
pub(crate) async fn look(
    db: &impl Query,
    subjects: &[Subject],
    now: Timestamp,
) -> Result<Option<(Timestamp, bool)>> {
    let mut latest: Option<(Timestamp, bool)> = None;
    for subject in subjects {
        let sql = "SELECT locked_until, told_until FROM sign_in_failure WHERE subject = $1";
        if let Some(lock) = db.one::<Lock>(sql, args![subject.key]).await?
            && lock.locked_until > now
            && latest.is_none_or(|(until, _)| lock.locked_until > until)
        {
            latest = Some((lock.locked_until, lock.told_until >= lock.locked_until));
        }
    }
    Ok(latest)
}

/// Notes that the present lock was told to the ledger; `false` where another request did.
pub(crate) async fn mark_told(tx: &Tx, subjects: &[Subject], now: Timestamp) -> Result<bool> {
    let mut marked = 0;
    for subject in subjects {
        let sql = "UPDATE sign_in_failure SET told_until = locked_until
                   WHERE subject = $1 AND locked_until > $2 AND told_until < locked_until";
        marked += tx.run(sql, args![subject.key, now]).await?;
    }
    Ok(marked > 0)
}

/// Counts an attempt as failed until it is known better. Drop the transaction if the verdict is to wait.
pub(crate) async fn count(tx: &Tx, subjects: &[Subject], now: Timestamp) -> Result<Verdict> {
    tx.run(
        "DELETE FROM sign_in_failure WHERE last_at < $1",
        args![now.minus(FORGET)],
    )
    .await?;
    for subject in subjects {
        let counted: Option<Counted> = tx
            .one(
                "INSERT INTO sign_in_failure (subject, failures, last_at, locked_until, told_until)
                 VALUES ($1, 1, $2, 0, 0)
                 ON CONFLICT (subject) DO UPDATE SET failures = sign_in_failure.failures + 1, last_at = $2
                 RETURNING failures, locked_until",
                args![subject.key, now],
            )
            .await?;
        let Some(counted) = counted else { continue };
        if counted.locked_until > now {
            return Ok(Verdict::Wait(counted.locked_until));
        }
        let wait = lock_for(counted.failures, subject.free);
        if !wait.is_zero() {
            let sql = "UPDATE sign_in_failure SET locked_until = $2 WHERE subject = $1";
            tx.run(sql, args![subject.key, now.plus(wait)]).await?;
        }
    }
    Ok(Verdict::Go)
}

/// The attempt succeeded: the account starts anew; of the address only this attempt is taken back, so that
/// one good account does not pay for guessing at others.
pub(crate) async fn forgive(tx: &Tx, subjects: &[Subject]) -> Result<()> {
    for subject in subjects {
        let sql = if subject.key.starts_with("user:") {
            "DELETE FROM sign_in_failure WHERE subject = $1"
        } else {
            "UPDATE sign_in_failure SET failures = failures - 1, locked_until = 0 WHERE subject = $1 AND failures > 0"
        };
        tx.run(sql, args![subject.key]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_and_has_an_end() {
        assert_eq!(lock_for(4, 5), Duration::ZERO);
        assert_eq!(lock_for(5, 5), FIRST);
        assert_eq!(lock_for(7, 5), FIRST * 4);
        assert_eq!(lock_for(i64::MAX, 5), LONGEST);
    }

    #[test]
    fn one_network_is_one_address() {
        let of = |text: &str| subjects("Ann", text.parse().ok());
        assert_eq!(of("2001:db8:1:2::a"), of("2001:db8:1:2:ffff::b"));
        assert_ne!(of("2001:db8:1:2::a"), of("2001:db8:1:3::a"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(subjects("Ann", None), subjects("ann", None));
    }
}
