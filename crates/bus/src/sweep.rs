//! Clears away what was sent or heard long ago, and measures how far the relay
//! is behind.

use std::time::Duration;

use db::{Db, Tx, query};
use kernel::{Result, Time};

use crate::{outbox, relay, waits};

/// How often.
const EVERY: Duration = Duration::from_secs(15);
/// By how much the clocks of two processes may differ.
const CLOCKS: Duration = Duration::from_secs(60);
/// How many rows one transaction deletes, so that it holds nobody up.
const BATCH: i64 = 1000;

/// Sweeps now and then, for ever. What was sent or heard is kept for `keep`: an
/// event that somebody refuses for longer may be heard by the others again; the
/// audit speaks up long before.
pub(crate) async fn forever(service: &'static str, db: &Db, keep: Duration) {
    loop {
        db.world().sleep(db.world().jitter(EVERY)).await;
        if let Err(error) = sweep(db, keep).await {
            tracing::warn!(service, error = error.chain(), "old events were not swept");
        }
        match oldest(db).await {
            Ok(oldest) => {
                let lag = oldest.map_or(Duration::ZERO, |oldest| db.world().now().since(oldest));
                metrics::gauge!("outbox_lag_seconds", "service" => service).set(lag.as_secs_f64());
            }
            Err(error) => {
                tracing::warn!(service, error = error.chain(), "the oldest event was not looked up")
            }
        }
    }
}

async fn sweep(db: &Db, keep: Duration) -> Result<()> {
    let (claimed, failed) = (relay::LEASE + CLOCKS, waits::LONGEST + CLOCKS);
    db::write!(db, async |tx| { outbox::hurry(tx, claimed, failed).await })?;
    let before = db.world().now() - keep;
    loop {
        let deleted = db::write!(db, async |tx| {
            Ok::<_, kernel::Error>(delete_sent(tx, before).await? + delete_heard(tx, before).await?)
        })?;
        if deleted < BATCH as u64 {
            return Ok(());
        }
    }
}

async fn delete_sent(tx: &mut Tx, before: Time) -> Result<u64> {
    query(
        "DELETE FROM outbox WHERE id IN (
             SELECT id FROM outbox WHERE sent_at < $1 ORDER BY sent_at LIMIT $2)",
    )
    .bind(before)
    .bind(BATCH)
    .execute(tx)
    .await
}

async fn delete_heard(tx: &mut Tx, before: Time) -> Result<u64> {
    query(
        "DELETE FROM inbox WHERE (consumer, event_id) IN (
             SELECT consumer, event_id FROM inbox WHERE heard_at < $1 ORDER BY heard_at LIMIT $2)",
    )
    .bind(before)
    .bind(BATCH)
    .execute(tx)
    .await
}

/// When the oldest event that is not sent was saved.
async fn oldest(db: &Db) -> Result<Option<Time>> {
    let (oldest,) = db::read!(db, async |tx| {
        query("SELECT MIN(added_at) FROM outbox WHERE sent_at IS NULL").fetch_one(tx).await
    })?;
    Ok(oldest)
}
