//! The inbox: what a consumer has heard, saved with its effect.

use std::collections::HashSet;

use db::{Migration, Tx, query_for};
use kernel::{EventId, Result, Value};

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
