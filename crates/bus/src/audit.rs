//! What is wrong with the events of a database.

use std::time::Duration;

use db::{Db, Tx, query};
use kernel::{EventId, Result, Time};

use crate::Refused;

/// How old an event may be before everybody has heard it: longer than a relay
/// that was lost keeps it, and longer than the waits after a handful of
/// failures that pass.
const LIMIT: Duration = Duration::from_secs(120);
/// At most so many findings: who has more has one cause.
const MOST: i64 = 100;

/// Breaches, each a sentence, about what is older than two minutes: events of
/// this service that are not sent, consumers that are not known to have heard
/// what was sent, and events that a consumer of this service has refused.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    let before = db.world().now() - LIMIT;
    db::read!(db, async |tx| {
        Ok([unsent(tx, before).await?, unheard(tx, before).await?, refused(tx, before).await?].concat())
    })
}

async fn unsent(tx: &mut Tx, before: Time) -> Result<Vec<String>> {
    let late: Vec<(EventId, String, String, u32, Option<String>)> = query(
        "SELECT id, topic, subject, attempts, last_error FROM outbox
         WHERE sent_at IS NULL AND added_at < $1 ORDER BY added_at, id LIMIT $2",
    )
    .bind(before)
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let sentence = |(id, topic, subject, attempts, error): (EventId, String, String, u32, Option<String>)| {
        let error = error.unwrap_or_else(|| "it was not tried".to_owned());
        format!("{id} ({topic} of {subject}) is not sent after {attempts} attempts: {error}")
    };
    Ok(late.into_iter().map(sentence).collect())
}

/// Consumers at a broker that have not come as far as an event that was sent
/// in good time.
async fn unheard(tx: &mut Tx, before: Time) -> Result<Vec<String>> {
    let behind: Vec<(String, Time)> = query(
        "SELECT name, heard_until_at FROM listeners
         WHERE EXISTS (SELECT 1 FROM outbox WHERE sent_at >= heard_until_at AND sent_at < $1)
         ORDER BY name LIMIT $2",
    )
    .bind(before)
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let sentence = |(name, until)| format!("{name} is not known to have heard what was sent after {until}");
    Ok(behind.into_iter().map(sentence).collect())
}

async fn refused(tx: &mut Tx, before: Time) -> Result<Vec<String>> {
    let late: Vec<Refused> = query(
        "SELECT consumer, event_id, topic, subject, version, refused_at, attempts, last_error FROM refused
         WHERE refused_at < $1 ORDER BY refused_at, event_id LIMIT $2",
    )
    .bind(before)
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let sentence = |event: Refused| {
        let Refused { consumer, event_id, topic, subject, attempts, last_error, .. } = event;
        let error = last_error.unwrap_or_else(|| "it waits behind an earlier one".to_owned());
        format!(
            "{event_id} ({topic} of {subject}) is not heard by {consumer} after {attempts} attempts: {error}"
        )
    };
    Ok(late.into_iter().map(sentence).collect())
}
