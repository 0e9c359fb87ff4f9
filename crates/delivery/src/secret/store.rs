//! The queries about secrets.

use bascule_core::Timestamp;
use bascule_store::{Query, Result, ToSql as _, Tx, args, bind_all, row};

/// Most secrets that are listed or planned with.
const MOST: i64 = 100_000;
/// Environments asked for in one query.
const AT_ONCE: usize = 400;

row! {
    /// A secret without its value.
    #[derive(Clone, Debug)]
    pub(crate) struct Known {
        pub site: String,
        pub name: String,
        pub actor: String,
        pub updated_at: Timestamp,
    }
}

row! {
    /// A secret, sealed.
    #[derive(Clone)]
    pub(crate) struct Sealed {
        pub site: String,
        pub name: String,
        pub sealed: String,
    }
}

/// All secrets, without their values.
pub(crate) async fn all(db: &impl Query) -> Result<Vec<Known>> {
    let sql =
        format!("SELECT site, name, actor, updated_at FROM delivery_secret ORDER BY site, name LIMIT {MOST}");
    db.all(&sql, args![]).await
}

/// The secrets of one environment, without their values.
pub(crate) async fn of_site(db: &impl Query, site: &str) -> Result<Vec<Known>> {
    let sql =
        "SELECT site, name, actor, updated_at FROM delivery_secret WHERE site = $1 ORDER BY name LIMIT 10000";
    db.all(sql, args![site]).await
}

/// The secrets of some environments.
pub(crate) async fn sealed(db: &impl Query, sites: &[String]) -> Result<Vec<Sealed>> {
    let mut found = Vec::new();
    for some in sites.chunks(AT_ONCE) {
        let mut values = args![];
        let places = bind_all(&mut values, some);
        let sql =
            format!("SELECT site, name, sealed FROM delivery_secret WHERE site IN ({places}) LIMIT {MOST}");
        found.extend(db.all::<Sealed>(&sql, values).await?);
    }
    Ok(found)
}

pub(crate) async fn put(
    tx: &Tx,
    site: &str,
    name: &str,
    sealed: &str,
    actor: &str,
    at: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO delivery_secret (site, name, sealed, actor, updated_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (site, name) DO UPDATE SET sealed = $3, actor = $4, updated_at = $5",
        vec![
            site.to_sql(),
            name.to_sql(),
            sealed.to_sql(),
            actor.to_sql(),
            at.to_sql(),
        ],
    )
    .await
    .map(drop)
}

/// Forgets a secret; `false` where there was none.
pub(crate) async fn remove(tx: &Tx, site: &str, name: &str) -> Result<bool> {
    let sql = "DELETE FROM delivery_secret WHERE site = $1 AND name = $2";
    Ok(tx.run(sql, args![site, name]).await? > 0)
}
