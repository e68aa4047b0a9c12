//! Who listens to a service by way of a broker, and how far each has come:
//! what must be sent again when the broker has lost it.

use std::collections::BTreeMap;

use db::{Db, Migration, Tx, query};
use kernel::{Result, Time};

pub(crate) const MIGRATION: Migration = Migration {
    name: "bus_4_listeners",
    sql: "
        CREATE TABLE listeners (
            name TEXT NOT NULL PRIMARY KEY,
            heard_until_at BIGINT NOT NULL
        );
    ",
};

/// The most consumers that one service is expected to have.
const MOST: i64 = 1000;

/// The consumers known to listen, each with the time until which it has heard
/// all that was sent.
pub(crate) async fn list(db: &Db) -> Result<BTreeMap<String, Time>> {
    let rows: Vec<(String, Time)> = db::read!(db, async |tx| {
        query("SELECT name, heard_until_at FROM listeners ORDER BY name LIMIT $1")
            .bind(MOST)
            .fetch_all(tx)
            .await
    })?;
    Ok(rows.into_iter().collect())
}

/// Notes how far a consumer has come; it never goes back.
pub(crate) async fn note(tx: &mut Tx, name: &str, heard_until: Time) -> Result<()> {
    query(
        "INSERT INTO listeners (name, heard_until_at) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET heard_until_at = excluded.heard_until_at
         WHERE listeners.heard_until_at < excluded.heard_until_at",
    )
    .bind(name)
    .bind(heard_until)
    .execute(tx)
    .await?;
    Ok(())
}

/// Knows from now on that a consumer is to hear what is sent after `since`.
#[cfg(feature = "kafka")]
pub(crate) async fn expect(tx: &mut Tx, name: &str, since: Time) -> Result<()> {
    query("INSERT INTO listeners (name, heard_until_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(name)
        .bind(since)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets a consumer that listens no more.
pub(crate) async fn forget(tx: &mut Tx, name: &str) -> Result<()> {
    query("DELETE FROM listeners WHERE name = $1").bind(name).execute(tx).await?;
    Ok(())
}
