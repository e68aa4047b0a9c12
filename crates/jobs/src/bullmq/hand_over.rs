//! What handing over does to the job rows.
//!
//! `handed_at` is set while a BullMQ job stands for the next lease of the row,
//! and only then.

use db::{Tx, query, query_for};
use kernel::{JobId, Result, Time};

use crate::{
    bullmq::Turn,
    claim::{Claimed, Want},
    store::LATER,
};

/// Picks what is to be run now and was not handed over yet, by priority, and
/// marks it as handed over. What was lost by its worker comes first.
pub(crate) async fn pick(tx: &mut Tx, want: &Want) -> Result<Vec<Claimed>> {
    let lost = pick_lost(tx, want).await?;
    let room = want.limit - lost.len() as i64;
    let ready = if room > 0 { pick_ready(tx, want, room).await? } else { Vec::new() };
    Ok([lost, ready].concat())
}

async fn pick_lost(tx: &mut Tx, want: &Want) -> Result<Vec<Claimed>> {
    // Two forms, because on PostgreSQL dispatchers must step over each other's
    // rows. A row whose worker is about to commit is locked and stepped over.
    query_for(
        "UPDATE jobs SET handed_at = $1
         WHERE id IN (
             SELECT id FROM jobs
             WHERE state = 'running' AND leased_until_at <= $1 AND attempt < attempts AND handed_at IS NULL
               AND queue = $2 AND name IN (SELECT value FROM json_each($3))
             ORDER BY leased_until_at, id LIMIT $4)
         RETURNING id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
        "WITH picked AS MATERIALIZED (
             SELECT id FROM jobs
             WHERE state = 'running' AND leased_until_at <= $1 AND attempt < attempts AND handed_at IS NULL
               AND queue = $2 AND name = ANY ($3)
             ORDER BY leased_until_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
         UPDATE jobs SET handed_at = $1 FROM picked WHERE jobs.id = picked.id
         RETURNING jobs.id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
    )
    .bind(tx.world().now())
    .bind(want.queue)
    .bind(&want.names)
    .bind(want.limit)
    .fetch_all(tx)
    .await
}

async fn pick_ready(tx: &mut Tx, want: &Want, room: i64) -> Result<Vec<Claimed>> {
    // Two forms for the reason given above.
    let mut picked: Vec<Claimed> = query_for(
        "UPDATE jobs SET handed_at = $1
         WHERE id IN (
             SELECT id FROM jobs due
             WHERE state = 'waiting' AND ready = TRUE AND handed_at IS NULL AND queue = $2
               AND name IN (SELECT value FROM json_each($3))
               AND NOT EXISTS (SELECT 1 FROM queues WHERE queues.name = $2 AND paused = TRUE)
               AND (due.unique_key IS NULL OR NOT EXISTS (
                   SELECT 1 FROM jobs other
                   WHERE other.state = 'running' AND other.name = due.name AND other.unique_key = due.unique_key))
             ORDER BY priority, run_at, id LIMIT $4)
         RETURNING id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
        "WITH picked AS MATERIALIZED (
             SELECT id FROM jobs due
             WHERE state = 'waiting' AND ready = TRUE AND handed_at IS NULL AND queue = $2
               AND name = ANY ($3)
               AND NOT EXISTS (SELECT 1 FROM queues WHERE queues.name = $2 AND paused = TRUE)
               AND (due.unique_key IS NULL OR NOT EXISTS (
                   SELECT 1 FROM jobs other
                   WHERE other.state = 'running' AND other.name = due.name AND other.unique_key = due.unique_key))
             ORDER BY priority, run_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
         UPDATE jobs SET handed_at = $1 FROM picked WHERE jobs.id = picked.id
         RETURNING jobs.id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
    )
    .bind(tx.world().now())
    .bind(want.queue)
    .bind(&want.names)
    .bind(room)
    .fetch_all(tx)
    .await?;
    // No engine promises the order in which an update returns its rows.
    picked.sort_by_key(|job| (job.priority, job.run_at, job.id));
    Ok(picked)
}

/// Takes back what Redis did not get, or has no more. Should another turn of the
/// row have come meanwhile, it is handed over twice, which is harmless.
pub(crate) async fn take_back(tx: &mut Tx, turns: &[Turn]) -> Result<()> {
    // Two forms, because each engine reads a JSON list in its own way.
    query_for(
        "UPDATE jobs SET handed_at = NULL FROM json_each($1) AS given
         WHERE jobs.id = unhex(given.value ->> 'id')",
        "UPDATE jobs SET handed_at = NULL
         FROM json_to_recordset(CAST(CAST($1 AS TEXT) AS JSON)) AS given(id UUID)
         WHERE jobs.id = given.id",
    )
    .bind(list(turns))
    .execute(tx)
    .await?;
    Ok(())
}

/// Leases the rows that these turns stand for: only those whose turn it is and
/// that may be begun now.
pub(crate) async fn lease(tx: &mut Tx, turns: &[Turn]) -> Result<Vec<Claimed>> {
    // Two forms, because each engine reads a JSON list in its own way. CASE, because with OR PostgreSQL reads the
    // indexes of all that wait and all that run, and what was left in them, instead of looking up these by their ids.
    query_for(
        "UPDATE jobs
         SET state = 'running', ready = FALSE, token = jobs.token + 1, attempt = attempt + 1,
             leased_until_at = $2 + lease_micros, handed_at = NULL
         FROM json_each($1) AS given
         WHERE jobs.id = unhex(given.value ->> 'id') AND jobs.token + 1 = given.value ->> 'token'
           AND CASE state WHEN 'waiting' THEN ready
                          WHEN 'running' THEN leased_until_at <= $2 AND attempt < attempts
                          ELSE FALSE END
           AND NOT EXISTS (SELECT 1 FROM queues WHERE queues.name = jobs.queue AND paused = TRUE)
           AND (jobs.unique_key IS NULL OR NOT EXISTS (
               SELECT 1 FROM jobs other
               WHERE other.state = 'running' AND other.name = jobs.name
                 AND other.unique_key = jobs.unique_key AND other.id <> jobs.id))
         RETURNING jobs.id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
        "UPDATE jobs
         SET state = 'running', ready = FALSE, token = jobs.token + 1, attempt = attempt + 1,
             leased_until_at = $2 + lease_micros, handed_at = NULL
         FROM json_to_recordset(CAST(CAST($1 AS TEXT) AS JSON)) AS given(id UUID, token BIGINT)
         WHERE jobs.id = given.id AND jobs.token + 1 = given.token
           AND CASE state WHEN 'waiting' THEN ready
                          WHEN 'running' THEN leased_until_at <= $2 AND attempt < attempts
                          ELSE FALSE END
           AND NOT EXISTS (SELECT 1 FROM queues WHERE queues.name = jobs.queue AND paused = TRUE)
           AND (jobs.unique_key IS NULL OR NOT EXISTS (
               SELECT 1 FROM jobs other
               WHERE other.state = 'running' AND other.name = jobs.name
                 AND other.unique_key = jobs.unique_key AND other.id <> jobs.id))
         RETURNING jobs.id, name, payload, priority, run_at, attempt, attempts, jobs.token, lease_micros,
                   traceparent, added_at",
    )
    .bind(list(turns))
    .bind(tx.world().now())
    .fetch_all(tx)
    .await
}

/// Notes that Redis has these still.
pub(crate) async fn still_there(tx: &mut Tx, turns: &[Turn]) -> Result<()> {
    // Two forms, because each engine reads a JSON list in its own way.
    query_for(
        "UPDATE jobs SET handed_at = $2 FROM json_each($1) AS given
         WHERE jobs.id = unhex(given.value ->> 'id') AND handed_at IS NOT NULL",
        "UPDATE jobs SET handed_at = $2
         FROM json_to_recordset(CAST(CAST($1 AS TEXT) AS JSON)) AS given(id UUID)
         WHERE jobs.id = given.id AND handed_at IS NOT NULL",
    )
    .bind(list(turns))
    .bind(tx.world().now())
    .execute(tx)
    .await?;
    Ok(())
}

/// The turns of a queue that were handed over until then and are not begun,
/// the earliest first.
pub(crate) async fn handed_until(tx: &mut Tx, queue: &str, until: Time, most: usize) -> Result<Vec<Turn>> {
    let rows: Vec<(JobId, i64)> = query(
        "SELECT id, token FROM jobs WHERE handed_at < $1 AND queue = $2 AND state IN ('waiting', 'running')
         ORDER BY handed_at LIMIT $3",
    )
    .bind(until)
    .bind(queue)
    .bind(most as i64)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|(id, token)| Turn { id, token: token + 1 }).collect())
}

/// Leases the row of a turn that was worked on elsewhere and is over already.
pub(crate) async fn begin_late(tx: &mut Tx, turn: Turn) -> Result<Option<Claimed>> {
    query(
        "UPDATE jobs
         SET state = 'running', ready = FALSE, token = token + 1, attempt = attempt + 1,
             leased_until_at = $3 + lease_micros, handed_at = NULL
         WHERE id = $1 AND token + 1 = $2 AND state = 'waiting'
         RETURNING id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
    )
    .bind(turn.id)
    .bind(turn.token)
    .bind(tx.world().now())
    .fetch_optional(tx)
    .await
}

/// Ends turns that came to nothing (the queue was paused meanwhile, say): the
/// rows wait until then and get another. No attempt is spent.
pub(crate) async fn put_off(tx: &mut Tx, turns: &[Turn], until: Time) -> Result<u64> {
    tx.signal(LATER);
    // Two forms, because each engine reads a JSON list in its own way.
    query_for(
        "UPDATE jobs SET token = jobs.token + 1, ready = FALSE, run_at = $2, handed_at = NULL
         FROM json_each($1) AS given
         WHERE jobs.id = unhex(given.value ->> 'id') AND jobs.token + 1 = given.value ->> 'token'
           AND CASE state WHEN 'waiting' THEN ready WHEN 'running' THEN leased_until_at <= $3 ELSE FALSE END",
        "UPDATE jobs SET token = jobs.token + 1, ready = FALSE, run_at = $2, handed_at = NULL
         FROM json_to_recordset(CAST(CAST($1 AS TEXT) AS JSON)) AS given(id UUID, token BIGINT)
         WHERE jobs.id = given.id AND jobs.token + 1 = given.token
           AND CASE state WHEN 'waiting' THEN ready WHEN 'running' THEN leased_until_at <= $3 ELSE FALSE END",
    )
    .bind(list(turns))
    .bind(until)
    .bind(tx.world().now())
    .execute(tx)
    .await
}

/// The turns as a JSON list that both engines take apart.
fn list(turns: &[Turn]) -> String {
    let list = turns
        .iter()
        .map(|turn| serde_json::json!({"id": turn.id.uuid().simple().to_string(), "token": turn.token}));
    serde_json::Value::Array(list.collect()).to_string()
}
