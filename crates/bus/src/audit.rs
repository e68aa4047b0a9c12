//! What is wrong with the events of a database.

use std::time::Duration;

use db::{Db, query};
use kernel::{EventId, Result};

/// How old an event may be before everybody has heard it: longer than a relay
/// that was lost keeps it, and longer than the waits after a handful of
/// failures that pass.
const LIMIT: Duration = Duration::from_secs(120);
/// At most so many findings: who has more has one cause.
const MOST: i64 = 100;

/// Breaches, each a sentence: events that are older than two minutes and that
/// somebody has not heard.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    let before = db.world().now() - LIMIT;
    let late: Vec<(EventId, String, String, u32, Option<String>)> = db::read!(db, async |tx| {
        query(
            "SELECT id, topic, subject, attempts, last_error FROM outbox
             WHERE sent_at IS NULL AND added_at < $1 ORDER BY added_at, id LIMIT $2",
        )
        .bind(before)
        .bind(MOST)
        .fetch_all(tx)
        .await
    })?;
    let sentence = |(id, topic, subject, attempts, error): (EventId, String, String, u32, Option<String>)| {
        let error = error.unwrap_or_else(|| "it was not tried".to_owned());
        format!("{id} ({topic} of {subject}) is not sent after {attempts} attempts: {error}")
    };
    Ok(late.into_iter().map(sentence).collect())
}
