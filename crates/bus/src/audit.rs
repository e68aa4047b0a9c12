//! What is wrong with the events of a database, and what an audit of several
//! compares.

use std::{collections::HashSet, time::Duration};

use db::{Db, Tx, query, query_for};
use kernel::{EventId, Result, Time, Value};

use crate::{Refused, inbox, outbox};

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
    breaches(&mut db.picture().await?).await
}

/// The same, seen in a picture of the database.
pub async fn breaches(tx: &mut Tx) -> Result<Vec<String>> {
    let before = tx.world().now() - LIMIT;
    Ok([unsent(tx, before).await?, unheard(tx, before).await?, refused(tx, before).await?].concat())
}

/// An event as an audit sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Which.
    pub id: EventId,
    /// What happened.
    pub topic: String,
    /// What it happened to.
    pub subject: String,
}

db::from_row!(Announced { id, topic, subject });

/// The events behind this one that are sent, in the order of their ids, which
/// is that of time.
pub async fn sent_after(tx: &mut Tx, after: EventId, limit: i64) -> Result<Vec<Announced>> {
    query("SELECT id, topic, subject FROM outbox WHERE id > $1 AND sent_at IS NOT NULL ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .fetch_all(tx)
        .await
}

/// Those of these events that the outbox has.
pub async fn announced(tx: &mut Tx, events: &[EventId]) -> Result<HashSet<EventId>> {
    // Two forms, because each engine takes a list in its own way.
    let found: Vec<(EventId,)> = query_for(
        "SELECT id FROM outbox WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "SELECT id FROM outbox WHERE id = ANY ($1)",
    )
    .bind(Value::Uuids(events.iter().map(|id| id.uuid()).collect()))
    .fetch_all(tx)
    .await?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}

/// Since when a consumer listens: it must have heard what was announced later.
/// Nothing when it never has.
pub async fn listens_since(tx: &mut Tx, consumer: &str) -> Result<Option<Time>> {
    inbox::since(tx, consumer).await
}

/// What a consumer has heard, of the events behind this one, in the order of
/// their ids.
pub async fn heard_after(tx: &mut Tx, consumer: &str, after: EventId, limit: i64) -> Result<Vec<EventId>> {
    let heard: Vec<(EventId,)> =
        query("SELECT event_id FROM inbox WHERE consumer = $1 AND event_id > $2 ORDER BY event_id LIMIT $3")
            .bind(consumer)
            .bind(after)
            .bind(limit)
            .fetch_all(tx)
            .await?;
    Ok(heard.into_iter().map(|(id,)| id).collect())
}

/// Those of these events that a consumer has heard, or keeps because it refused
/// them.
pub async fn known(tx: &mut Tx, consumer: &str, events: &[EventId]) -> Result<HashSet<EventId>> {
    // Two forms, because each engine takes a list in its own way.
    let found: Vec<(EventId,)> = query_for(
        "SELECT event_id FROM inbox
         WHERE consumer = $1 AND event_id IN (SELECT unhex(value) FROM json_each($2))
         UNION ALL SELECT event_id FROM refused
         WHERE consumer = $1 AND event_id IN (SELECT unhex(value) FROM json_each($2))",
        "SELECT event_id FROM inbox WHERE consumer = $1 AND event_id = ANY ($2)
         UNION ALL SELECT event_id FROM refused WHERE consumer = $1 AND event_id = ANY ($2)",
    )
    .bind(consumer)
    .bind(Value::Uuids(events.iter().map(|id| id.uuid()).collect()))
    .fetch_all(tx)
    .await?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}

/// Takes back that these were sent: whoever relays sends them again, and a
/// consumer that has heard one notices. Returns how many there are.
pub async fn send_again(tx: &mut Tx, events: &[EventId]) -> Result<u64> {
    // Two forms, because each engine takes a list in its own way.
    let again = query_for(
        "UPDATE outbox SET sent_at = NULL, due_at = $2 WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "UPDATE outbox SET sent_at = NULL, due_at = $2 WHERE id = ANY ($1)",
    )
    .bind(Value::Uuids(events.iter().map(|id| id.uuid()).collect()))
    .bind(tx.world().now())
    .execute(tx)
    .await?;
    tx.signal(outbox::SIGNAL);
    Ok(again)
}

/// Makes what is late due at once: events that are not sent, and those that a
/// consumer of this database has refused. Says which they are.
pub async fn hurry(tx: &mut Tx) -> Result<Vec<String>> {
    let now = tx.world().now();
    let unsent: Vec<(EventId, String, String)> = query(
        "UPDATE outbox SET due_at = $1 WHERE sent_at IS NULL AND added_at < $2 RETURNING id, topic, subject",
    )
    .bind(now)
    .bind(now - LIMIT)
    .fetch_all(tx)
    .await?;
    let refused: Vec<(EventId, String)> = query(
        "UPDATE refused SET due_at = $1 WHERE refused_at < $2 AND attempts > 0 RETURNING event_id, consumer",
    )
    .bind(now)
    .bind(now - LIMIT)
    .fetch_all(tx)
    .await?;
    tx.signal(outbox::SIGNAL);
    let unsent = unsent
        .into_iter()
        .map(|(id, topic, subject)| format!("{id} ({topic} of {subject}) is due to be sent"));
    let refused =
        refused.into_iter().map(|(id, consumer)| format!("{id} is due to be told to {consumer} again"));
    Ok(unsent.chain(refused).collect())
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
