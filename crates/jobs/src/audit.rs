//! What is wrong with the jobs of a database.

use std::time::Duration;

use db::{Db, Tx, query};
use kernel::{JobId, Result, Time};

use crate::store;

/// How long a job may be past its lease, or past its time, before somebody
/// should look: every runner polls once a second. Longer than a usual lease and
/// the waits after a handful of failures that pass, behind which another job of
/// the same key waits.
const GRACE: Duration = Duration::from_secs(120);

/// At most so many findings of a kind: who has more has one cause.
const MOST: i64 = 100;

/// Breaches, each a sentence: dead letters that nobody has repeated, and jobs
/// that no runner takes.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    breaches(&mut db.picture().await?).await
}

/// The same, seen in a picture of the database.
pub async fn breaches(tx: &mut Tx) -> Result<Vec<String>> {
    let before = tx.world().now() - GRACE;
    let dead = store::dead(tx, MOST).await?;
    let lost: Vec<(JobId, String, Time)> = query(
        "SELECT id, name, leased_until_at FROM jobs WHERE state = 'running' AND leased_until_at < $1
         ORDER BY leased_until_at LIMIT $2",
    )
    .bind(before)
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let idle: Vec<(JobId, String, Time)> = query(
        "SELECT id, name, run_at FROM jobs WHERE state = 'waiting' AND run_at < $1
           AND NOT EXISTS (SELECT 1 FROM queues WHERE queues.name = jobs.queue AND paused = TRUE)
         ORDER BY run_at LIMIT $2",
    )
    .bind(before)
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let dead = dead.into_iter().map(|job| {
        let error = job.last_error.unwrap_or_default();
        format!("dead letter: {} ({}) after {} attempts: {error}", job.id, job.name, job.attempt)
    });
    let lost = lost
        .into_iter()
        .map(|(id, name, until)| format!("{id} ({name}) is past its lease since {until} and nobody took it"));
    let idle =
        idle.into_iter().map(|(id, name, at)| format!("{id} ({name}) should have run at {at} and waits"));
    Ok(dead.chain(lost).chain(idle).collect())
}

/// Lets jobs whose worker was lost, and those that wait for long, be begun by
/// the next runner that looks. The fencing token keeps out a worker that was
/// not lost after all. Says which they are; dead letters are left to a person.
pub async fn free(tx: &mut Tx) -> Result<Vec<String>> {
    let before = tx.world().now() - GRACE;
    // One whose key waits already stays: that one does its work once a runner has taken it over.
    let lost: Vec<(JobId, String)> = query(
        "UPDATE jobs SET state = 'waiting', ready = TRUE, leased_until_at = NULL, handed_at = NULL,
                token = token + 1, run_at = $2
         WHERE state = 'running' AND leased_until_at < $1 AND attempt < attempts AND NOT EXISTS (
             SELECT 1 FROM jobs other
             WHERE other.state = 'waiting' AND other.name = jobs.name AND other.unique_key = jobs.unique_key)
         RETURNING id, name",
    )
    .bind(before)
    .bind(tx.world().now())
    .fetch_all(tx)
    .await?;
    let idle: Vec<(JobId, String)> = query(
        "UPDATE jobs SET ready = TRUE, handed_at = NULL
         WHERE state = 'waiting' AND run_at < $1 AND (ready = FALSE OR handed_at IS NOT NULL) RETURNING id, name",
    )
    .bind(before)
    .fetch_all(tx)
    .await?;
    tx.signal(store::SIGNAL);
    let lost = lost.into_iter().map(|(id, name)| format!("{id} ({name}) waits for a runner again"));
    let idle = idle.into_iter().map(|(id, name)| format!("{id} ({name}) is ready to be begun"));
    Ok(lost.chain(idle).collect())
}

/// The next time at which one of these schedules adds a job; none when no
/// runner of theirs was ever here. While runners are at work it lies ahead.
pub async fn next_slot(tx: &mut Tx, schedules: &[&str]) -> Result<Option<Time>> {
    // Those of an earlier version stay where they were when it ended.
    let all: Vec<(String, Time)> =
        query("SELECT name, next_at FROM schedules ORDER BY name LIMIT 1000").fetch_all(tx).await?;
    Ok(all.into_iter().filter(|(name, _)| schedules.contains(&name.as_str())).map(|(_, next)| next).min())
}
