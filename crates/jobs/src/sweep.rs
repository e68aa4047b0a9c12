//! Clears away what is long done, and counts what waits.

use std::time::Duration;

use db::{Db, Tx, query};
use kernel::{Result, Time};

/// How often.
const EVERY: Duration = Duration::from_secs(15);
/// How many rows one transaction deletes, so that it holds nobody up.
const BATCH: i64 = 1000;

/// Sweeps now and then, for ever.
pub(crate) async fn forever(service: &'static str, db: &Db, queues: &[&'static str], keep: Duration) {
    loop {
        db.world().sleep(db.world().jitter(EVERY)).await;
        if let Err(error) = sweep(db, keep).await {
            tracing::warn!(service, error = error.chain(), "finished jobs were not swept");
        }
        match waiting(db).await {
            Ok(counts) => queues.iter().for_each(|queue| {
                let count = counts.iter().find(|(name, _)| name == queue).map_or(0, |(_, count)| *count);
                metrics::gauge!("jobs_waiting", "service" => service, "queue" => *queue).set(count as f64);
            }),
            Err(error) => tracing::warn!(service, error = error.chain(), "waiting jobs were not counted"),
        }
    }
}

/// Deletes the jobs that were done so long ago. Returns how many.
pub(crate) async fn sweep(db: &Db, keep: Duration) -> Result<u64> {
    let before = db.world().now() - keep;
    let mut swept = 0;
    loop {
        let deleted = db::write!(db, async |tx| { delete_done(tx, before).await })?;
        swept += deleted;
        if deleted < BATCH as u64 {
            return Ok(swept);
        }
    }
}

async fn delete_done(tx: &mut Tx, before: Time) -> Result<u64> {
    query(
        "DELETE FROM jobs WHERE id IN (
             SELECT id FROM jobs WHERE state = 'done' AND finished_at < $1 ORDER BY finished_at LIMIT $2)",
    )
    .bind(before)
    .bind(BATCH)
    .execute(tx)
    .await
}

/// How many could run now and wait, in each queue that has any: in Redis, too.
/// Those that wait for later need no more workers.
async fn waiting(db: &Db) -> Result<Vec<(String, i64)>> {
    db::read!(db, async |tx| {
        query(
            "SELECT queue, COUNT(*) FROM jobs WHERE state = 'waiting' AND ready = TRUE
             GROUP BY queue ORDER BY queue LIMIT 100",
        )
        .fetch_all(tx)
        .await
    })
}
