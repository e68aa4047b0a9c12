//! The inbox: what a consumer has heard, saved with its effect.

use std::collections::HashSet;

use db::{Db, Migration, Tx, query, query_for};
use kernel::{EventId, Result, Time, Value};

pub(crate) const MIGRATION: Migration = Migration {
    name: "bus_2_inbox",
    sql: "
        CREATE TABLE inbox (
            consumer TEXT NOT NULL,
            event_id UUID NOT NULL,
            heard_at BIGINT NOT NULL,
            PRIMARY KEY (consumer, event_id)
        );
        CREATE INDEX inbox_heard ON inbox (heard_at);
    ",
};

pub(crate) const CONSUMERS: Migration = Migration {
    name: "bus_5_consumers",
    sql: "
        CREATE TABLE consumers (
            name TEXT NOT NULL PRIMARY KEY,
            since_at BIGINT NOT NULL
        );
    ",
};

/// Notes that a consumer listens from now on, unless it has been known before:
/// what is announced later it must have heard.
pub(crate) async fn listens(db: &Db, consumer: &str) -> Result<()> {
    db::write!(db, async |tx| {
        query("INSERT INTO consumers (name, since_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(consumer)
            .bind(tx.world().now())
            .execute(tx)
            .await?;
        Ok(())
    })
}

/// Since when a consumer listens; nothing when it never has.
pub(crate) async fn since(tx: &mut Tx, consumer: &str) -> Result<Option<Time>> {
    let since: Option<(Time,)> =
        query("SELECT since_at FROM consumers WHERE name = $1").bind(consumer).fetch_optional(tx).await?;
    Ok(since.map(|(since,)| since))
}

/// Notes that a consumer hears these. Returns those that it had not heard
/// before; of two who note the same one at once, the second waits for the
/// first.
pub(crate) async fn note(tx: &mut Tx, consumer: &str, ids: &[EventId]) -> Result<HashSet<EventId>> {
    // Two forms, because each engine takes a list in its own way. Sorted, so
    // that two who note the same ones do not wait for each other in a ring.
    let mut uuids: Vec<_> = ids.iter().map(|id| id.uuid()).collect();
    uuids.sort_unstable();
    let noted: Vec<(EventId,)> = query_for(
        "INSERT INTO inbox (consumer, event_id, heard_at)
         SELECT $1, unhex(value), $3 FROM json_each($2) WHERE TRUE
         ON CONFLICT DO NOTHING RETURNING event_id",
        "INSERT INTO inbox (consumer, event_id, heard_at)
         SELECT CAST($1 AS TEXT), event_id, CAST($3 AS BIGINT) FROM unnest(CAST($2 AS UUID[])) AS given(event_id)
         ON CONFLICT DO NOTHING RETURNING event_id",
    )
    .bind(consumer)
    .bind(Value::Uuids(uuids))
    .bind(tx.world().now())
    .fetch_all(tx)
    .await?;
    if tx.world().planted("inbox_forgets") {
        return Ok(ids.iter().copied().collect());
    }
    Ok(noted.into_iter().map(|(id,)| id).collect())
}
