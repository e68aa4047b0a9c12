//! What a runner does to the job rows: lease, renew, end.
//!
//! Every change of a leased row is guarded by its token, so that whoever lost
//! the lease changes nothing.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use db::{Tx, many, query, query_for, values};
use kernel::{JobId, Result, Time, Value};

use crate::{
    State,
    store::{LATER, SIGNAL},
};

/// A job that this runner has just leased.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub id: JobId,
    pub name: String,
    pub payload: String,
    pub priority: i64,
    pub run_at: Time,
    pub attempt: u32,
    pub attempts: u32,
    pub token: i64,
    pub lease_micros: i64,
    pub traceparent: Option<String>,
    pub added_at: Time,
}

db::from_row!(Claimed {
    id,
    name,
    payload,
    priority,
    run_at,
    attempt,
    attempts,
    token,
    lease_micros,
    traceparent,
    added_at,
});

/// What a runner has room for.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub queue: &'static str,
    /// The kinds of job it knows there. Others belong to another version of
    /// the program.
    pub names: Value,
    pub limit: i64,
}

/// Leases what is to be run now, by priority.
pub(crate) async fn claim(tx: &mut Tx, want: &Want) -> Result<Vec<Claimed>> {
    // Two forms: on PostgreSQL claimers must step over each other's rows, and
    // the list is picked once, whatever plan the update takes.
    let claimed = query_for(
        "UPDATE jobs
         SET state = 'running', ready = FALSE, token = token + 1, attempt = attempt + 1, handed_at = NULL,
             leased_until_at = $1 + lease_micros
         WHERE id IN (
             SELECT id FROM jobs due
             WHERE state = 'waiting' AND ready = TRUE AND queue = $2
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
             WHERE state = 'waiting' AND ready = TRUE AND queue = $2
               AND name = ANY ($3)
               AND NOT EXISTS (SELECT 1 FROM queues WHERE queues.name = $2 AND paused = TRUE)
               AND (due.unique_key IS NULL OR NOT EXISTS (
                   SELECT 1 FROM jobs other
                   WHERE other.state = 'running' AND other.name = due.name AND other.unique_key = due.unique_key))
             ORDER BY priority, run_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
         UPDATE jobs
         SET state = 'running', ready = FALSE, token = token + 1, attempt = attempt + 1, handed_at = NULL,
             leased_until_at = $1 + lease_micros
         FROM picked WHERE jobs.id = picked.id
         RETURNING jobs.id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
    )
    .bind(tx.world().now())
    .bind(want.queue)
    .bind(&want.names)
    .bind(want.limit)
    .fetch_all::<Claimed>(tx)
    .await?;
    Ok(in_order(claimed))
}

/// Leases, anew, what another worker held and was not heard of since.
pub(crate) async fn take_over(tx: &mut Tx, want: &Want) -> Result<Vec<Claimed>> {
    // Two forms for the reason given at `claim`. A row whose worker is about to
    // commit is locked by its fence and stepped over.
    let claimed = query_for(
        "UPDATE jobs SET token = token + 1, attempt = attempt + 1, handed_at = NULL,
             leased_until_at = $1 + lease_micros
         WHERE id IN (
             SELECT id FROM jobs
             WHERE state = 'running' AND leased_until_at <= $1 AND attempt < attempts AND queue = $2
               AND name IN (SELECT value FROM json_each($3))
             ORDER BY leased_until_at, id LIMIT $4)
         RETURNING id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
        "WITH picked AS MATERIALIZED (
             SELECT id FROM jobs
             WHERE state = 'running' AND leased_until_at <= $1 AND attempt < attempts AND queue = $2
               AND name = ANY ($3)
             ORDER BY leased_until_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
         UPDATE jobs SET token = token + 1, attempt = attempt + 1, handed_at = NULL,
             leased_until_at = $1 + lease_micros
         FROM picked WHERE jobs.id = picked.id
         RETURNING jobs.id, name, payload, priority, run_at, attempt, attempts, token, lease_micros,
                   traceparent, added_at",
    )
    .bind(tx.world().now())
    .bind(want.queue)
    .bind(&want.names)
    .bind(want.limit)
    .fetch_all::<Claimed>(tx)
    .await?;
    for job in &claimed {
        tracing::warn!(job.id = %job.id, job.name = job.name, job.attempt = job.attempt, "lost job taken over");
    }
    Ok(in_order(claimed))
}

/// No engine promises the order in which an update returns its rows.
fn in_order(mut claimed: Vec<Claimed>) -> Vec<Claimed> {
    claimed.sort_by_key(|job| (job.priority, job.run_at, job.id));
    claimed
}

/// Marks what has become due as ready, the earliest first.
pub(crate) async fn make_ready(tx: &mut Tx) -> Result<u64> {
    // Two forms for the reason given at `claim`.
    query_for(
        "UPDATE jobs SET ready = TRUE WHERE id IN (
             SELECT id FROM jobs WHERE state = 'waiting' AND ready = FALSE AND run_at <= $1
             ORDER BY run_at LIMIT 1000)",
        "WITH picked AS MATERIALIZED (
             SELECT id FROM jobs WHERE state = 'waiting' AND ready = FALSE AND run_at <= $1
             ORDER BY run_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
         UPDATE jobs SET ready = TRUE FROM picked WHERE jobs.id = picked.id",
    )
    .bind(tx.world().now())
    .execute(tx)
    .await
}

/// By how much the clocks of two processes may differ.
pub(crate) const CLOCKS: Duration = Duration::from_secs(60);

/// Shortens the leases that are longer than any: a clock that was ahead gave
/// them. Whoever still has one renews it in time.
pub(crate) async fn shorten(tx: &mut Tx) -> Result<u64> {
    // Two forms for the reason given at `claim`.
    query_for(
        "UPDATE jobs SET leased_until_at = $1 + lease_micros
         WHERE state = 'running' AND leased_until_at > $2 + lease_micros",
        "WITH picked AS MATERIALIZED (
             SELECT id FROM jobs WHERE state = 'running' AND leased_until_at > $2 + lease_micros
             ORDER BY leased_until_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
         UPDATE jobs SET leased_until_at = $1 + lease_micros FROM picked WHERE jobs.id = picked.id",
    )
    .bind(tx.world().now())
    .bind(tx.world().now() + CLOCKS)
    .execute(tx)
    .await
}

/// Gives up what was lost in its last attempt: a job that takes its process
/// down with it must end.
pub(crate) async fn bury_lost(tx: &mut Tx) -> Result<Vec<(JobId, String, String)>> {
    // Two forms for the reason given at `claim`.
    query_for(
        "UPDATE jobs SET state = 'dead', token = token + 1, leased_until_at = NULL, finished_at = $1,
                last_error = 'its worker was not heard of during the last attempt'
         WHERE state = 'running' AND leased_until_at <= $1 AND attempt >= attempts
         RETURNING id, name, queue",
        "WITH picked AS MATERIALIZED (
             SELECT id FROM jobs WHERE state = 'running' AND leased_until_at <= $1 AND attempt >= attempts
             ORDER BY leased_until_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
         UPDATE jobs SET state = 'dead', token = token + 1, leased_until_at = NULL, finished_at = $1,
                last_error = 'its worker was not heard of during the last attempt'
         FROM picked WHERE jobs.id = picked.id
         RETURNING jobs.id, name, queue",
    )
    .bind(tx.world().now())
    .fetch_all(tx)
    .await
}

/// Whether anything is there for a runner to do, whoever it belongs to.
pub(crate) async fn is_due(tx: &mut Tx) -> Result<bool> {
    let (due,) = query(
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'waiting' AND ready = TRUE)
             OR EXISTS (SELECT 1 FROM jobs WHERE state = 'waiting' AND ready = FALSE AND run_at <= $1)
             OR EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND leased_until_at <= $1)
             OR EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND leased_until_at > $2 + lease_micros)
             OR EXISTS (SELECT 1 FROM schedules WHERE next_at <= $1)",
    )
    .bind(tx.world().now())
    .bind(tx.world().now() + CLOCKS)
    .fetch_one(tx)
    .await?;
    Ok(due)
}

/// When something is next to be made ready, taken over or scheduled.
pub(crate) async fn next_at(tx: &mut Tx) -> Result<Option<Time>> {
    let (at,) = query(
        "SELECT MIN(next_at) FROM (
             SELECT MIN(run_at) AS next_at FROM jobs WHERE state = 'waiting' AND ready = FALSE
             UNION ALL SELECT MIN(leased_until_at) FROM jobs WHERE state = 'running'
             UNION ALL SELECT MIN(next_at) FROM schedules) AS due",
    )
    .fetch_one(tx)
    .await?;
    Ok(at)
}

/// Returns of which jobs these leases are still held, and keeps everybody from
/// taking those over until the transaction ends.
pub(crate) async fn fence(tx: &mut Tx, held: &[(JobId, i64)]) -> Result<HashSet<JobId>> {
    // On SQLite nobody else writes meanwhile. The state is bound, here and below: so no index of
    // those that run fits, and PostgreSQL goes by the key.
    let fence = many(
        "SELECT id FROM jobs WHERE id = $1 AND token = $2 AND state = $3",
        "SELECT jobs.id FROM jobs JOIN unnest($1::UUID[], $2::BIGINT[], $3::TEXT[]) AS given (id, token, state)
           ON jobs.id = given.id AND jobs.token = given.token AND jobs.state = given.state
         ORDER BY jobs.id FOR NO KEY UPDATE OF jobs",
    );
    let rows = fence.rows(held, |(id, token)| values![*id, *token, State::Running]);
    let held: Vec<(JobId,)> = rows.fetch_all(tx).await?;
    Ok(held.into_iter().map(|(id,)| id).collect())
}

/// Keeps the leases for as long again of which these tokens are held.
/// Returns those.
pub(crate) async fn renew_many(tx: &mut Tx, held: &[(JobId, i64)]) -> Result<HashSet<JobId>> {
    renew_ending(tx, held, Time::from_micros(i64::MAX)).await
}

/// The same, of those alone that end until then.
pub(crate) async fn renew_ending(tx: &mut Tx, held: &[(JobId, i64)], until: Time) -> Result<HashSet<JobId>> {
    let renew = many(
        "UPDATE jobs SET leased_until_at = $3 + lease_micros
         WHERE id = $1 AND token = $2 AND state = $5 AND leased_until_at <= $4 RETURNING id",
        "UPDATE jobs SET leased_until_at = given.now + lease_micros
         FROM unnest($1::UUID[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[], $5::TEXT[])
              AS given (id, token, now, until, state)
         WHERE jobs.id = given.id AND jobs.token = given.token AND jobs.state = given.state
           AND jobs.leased_until_at <= given.until
         RETURNING jobs.id",
    );
    let now = tx.world().now();
    let renewed: Vec<(JobId,)> = renew
        .rows(held, |(id, token)| values![*id, *token, now, until, State::Running])
        .fetch_all(tx)
        .await?;
    Ok(renewed.into_iter().map(|(id,)| id).collect())
}

/// Marks them done. Returns those whose lease was still held, each with whether
/// another one waits under its key and can be begun now.
pub(crate) async fn finish(tx: &mut Tx, held: &[(JobId, i64)]) -> Result<HashMap<JobId, bool>> {
    let finish = many(
        "UPDATE jobs SET state = 'done', progress = 100, leased_until_at = NULL, finished_at = $3
         WHERE id = $1 AND token = $2 AND state = $4
         RETURNING id, EXISTS (
             SELECT 1 FROM jobs other
             WHERE other.state = 'waiting' AND other.name = jobs.name AND other.unique_key = jobs.unique_key)",
        "UPDATE jobs SET state = 'done', progress = 100, leased_until_at = NULL, finished_at = given.now
         FROM unnest($1::UUID[], $2::BIGINT[], $3::BIGINT[], $4::TEXT[]) AS given (id, token, now, state)
         WHERE jobs.id = given.id AND jobs.token = given.token AND jobs.state = given.state
         RETURNING jobs.id, EXISTS (
             SELECT 1 FROM jobs other
             WHERE other.state = 'waiting' AND other.name = jobs.name AND other.unique_key = jobs.unique_key)",
    );
    let now = tx.world().now();
    let done: Vec<(JobId, bool)> =
        finish.rows(held, |(id, token)| values![*id, *token, now, State::Running]).fetch_all(tx).await?;
    Ok(done.into_iter().collect())
}

/// Notes how far it is. Returns whether its lease was still held.
pub(crate) async fn progress(tx: &mut Tx, id: JobId, token: i64, percent: i64) -> Result<bool> {
    let noted = query("UPDATE jobs SET progress = $3 WHERE id = $1 AND token = $2 AND state = 'running'")
        .bind(id)
        .bind(token)
        .bind(percent)
        .execute(tx)
        .await?;
    Ok(noted == 1)
}

/// How an attempt ended that did not finish the job.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub id: JobId,
    pub token: i64,
    /// Why, if it failed.
    pub error: Option<String>,
}

/// What became of a job that was to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutBack {
    /// It waits.
    Waiting,
    /// It is over, because another one waits under its key.
    Folded,
    /// Somebody else has it.
    Lost,
}

/// Lets it wait until then. `spent` says whether the attempt counts.
pub(crate) async fn put_back(tx: &mut Tx, ended: &Ended, run_at: Time, spent: bool) -> Result<PutBack> {
    let waits = query(
        "UPDATE jobs SET state = 'waiting', ready = FALSE, run_at = $3, leased_until_at = NULL, handed_at = NULL,
                attempt = attempt - $4, last_error = COALESCE($5, last_error)
         WHERE id = $1 AND token = $2 AND state = 'running' AND NOT EXISTS (
             SELECT 1 FROM jobs other
             WHERE other.state = 'waiting' AND other.name = jobs.name AND other.unique_key = jobs.unique_key)",
    )
    .bind(ended.id)
    .bind(ended.token)
    .bind(run_at)
    .bind(i64::from(!spent))
    .bind(ended.error.as_deref())
    .execute(tx)
    .await?;
    if waits == 1 {
        tx.signal(LATER);
        return Ok(PutBack::Waiting);
    }
    tx.signal(SIGNAL);
    let folded = query(
        "UPDATE jobs SET state = 'done', leased_until_at = NULL, finished_at = $3,
                last_error = 'left to the job that waits under its key'
         WHERE id = $1 AND token = $2 AND state = 'running'",
    )
    .bind(ended.id)
    .bind(ended.token)
    .bind(tx.world().now())
    .execute(tx)
    .await?;
    Ok(if folded == 1 { PutBack::Folded } else { PutBack::Lost })
}

/// Makes it a dead letter. Returns, if its lease was still held, whether
/// another one waits under its key and can be begun now.
pub(crate) async fn bury(tx: &mut Tx, ended: &Ended) -> Result<Option<bool>> {
    let buried: Option<(bool,)> = query(
        "UPDATE jobs SET state = 'dead', leased_until_at = NULL, finished_at = $3, last_error = $4
         WHERE id = $1 AND token = $2 AND state = 'running'
         RETURNING EXISTS (
             SELECT 1 FROM jobs other
             WHERE other.state = 'waiting' AND other.name = jobs.name AND other.unique_key = jobs.unique_key)",
    )
    .bind(ended.id)
    .bind(ended.token)
    .bind(tx.world().now())
    .bind(ended.error.as_deref())
    .fetch_optional(tx)
    .await?;
    Ok(buried.map(|(awaited,)| awaited))
}
