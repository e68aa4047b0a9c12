//! What is wrong with the jobs of a database.

use std::time::Duration;

use db::{Db, query};
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
    let before = db.world().now() - GRACE;
    db::read!(db, async |tx| {
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
        let lost = lost.into_iter().map(|(id, name, until)| {
            format!("{id} ({name}) is past its lease since {until} and nobody took it")
        });
        let idle =
            idle.into_iter().map(|(id, name, at)| format!("{id} ({name}) should have run at {at} and waits"));
        Ok::<_, kernel::Error>(dead.chain(lost).chain(idle).collect())
    })
}
