//! What a consumer did not take: refused events, and those of the same entity
//! that wait behind them. They are kept where its effects are, so that the
//! other entities, the other consumers and the broker need not wait.

use std::{collections::HashSet, time::Duration};

use db::{Db, Migration, Tx, query, query_for};
use kernel::{Error, EventId, Result, Time, Value};
use serde::Serialize;

use crate::{Consumer, Envelope, deliver, inbox, waits};

pub(crate) const MIGRATION: Migration = Migration {
    name: "bus_3_refused",
    // `attempts` is zero for one that only waits behind another.
    sql: "
        CREATE TABLE refused (
            consumer TEXT NOT NULL,
            event_id UUID NOT NULL,
            topic TEXT NOT NULL,
            subject TEXT NOT NULL,
            version BIGINT NOT NULL,
            event TEXT NOT NULL,
            refused_at BIGINT NOT NULL,
            due_at BIGINT NOT NULL,
            attempts BIGINT NOT NULL,
            last_error TEXT,
            PRIMARY KEY (consumer, event_id)
        );
        CREATE INDEX refused_order ON refused (consumer, subject, version, event_id);
        CREATE INDEX refused_due ON refused (consumer, due_at);
    ",
};

/// How long one who retries and is not heard of keeps others from it.
const LEASE: Duration = Duration::from_secs(15);
/// The most entities tried again at once.
const HEADS: i64 = 64;
/// The most that are listed.
const MOST: i64 = 1000;

/// An event that a consumer has not taken yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// Who did not take it.
    pub consumer: String,
    /// Which.
    pub event_id: EventId,
    /// What happened.
    pub topic: String,
    /// What it happened to.
    pub subject: String,
    /// The version of that after the change.
    pub version: i64,
    /// Since when.
    pub refused_at: Time,
    /// How often it was refused; zero for one that waits behind another of its entity.
    pub attempts: u32,
    /// Why, the last time.
    pub last_error: Option<String>,
}

db::from_row!(Refused { consumer, event_id, topic, subject, version, refused_at, attempts, last_error });

/// What consumers with their effects in this database have not taken, the
/// oldest first, at most a thousand. Each is told again by itself, with growing
/// waits; one that will never be taken is for [`skip`].
pub async fn refused(db: &Db) -> Result<Vec<Refused>> {
    db::read!(db, async |tx| {
        query(
            "SELECT consumer, event_id, topic, subject, version, refused_at, attempts, last_error FROM refused
             ORDER BY refused_at, event_id LIMIT $1",
        )
        .bind(MOST)
        .fetch_all(tx)
        .await
    })
}

/// Gives up on a refused event: it counts as heard, without effect, and the
/// later ones of its entity go on. The reason goes to the log, for those who
/// ask later. Errors: not found `not_refused`.
pub async fn skip(db: &Db, event: EventId, consumer: &str, reason: &str) -> Result<()> {
    let skipped: Result<()> = db::write!(db, async |tx| {
        if !forget(tx, consumer, event).await? {
            let message = format!("{consumer} has not refused {event}");
            return Err(Error::not_found("not_refused", message));
        }
        inbox::note(tx, consumer, &[event]).await?;
        Ok(())
    });
    skipped?;
    tracing::warn!(event.id = %event, consumer, reason, "refused event skipped, without its effect");
    Ok(())
}

/// How many events are refused or wait behind one.
pub(crate) async fn count(tx: &mut Tx) -> Result<i64> {
    let (count,) = query("SELECT COUNT(*) FROM refused").fetch_one(tx).await?;
    Ok(count)
}

/// Those of these subjects of which the consumer has not taken an event.
pub(crate) async fn blocked(tx: &mut Tx, consumer: &str, subjects: Vec<String>) -> Result<HashSet<String>> {
    // Two forms, because each engine takes a list in its own way.
    let blocked: Vec<(String,)> = query_for(
        "SELECT DISTINCT subject FROM refused WHERE consumer = $1 AND subject IN (SELECT value FROM json_each($2))",
        "SELECT DISTINCT subject FROM refused WHERE consumer = $1 AND subject = ANY ($2)",
    )
    .bind(consumer)
    .bind(Value::Texts(subjects))
    .fetch_all(tx)
    .await?;
    Ok(blocked.into_iter().map(|(subject,)| subject).collect())
}

/// Keeps one for later, unless it is heard or kept already: with the error of
/// the consumer that refused it, or behind an earlier one.
pub(crate) async fn keep(tx: &mut Tx, consumer: &str, event: &Envelope, error: Option<&Error>) -> Result<()> {
    let now = tx.world().now();
    let wait = error.map_or(Duration::ZERO, |error| waits::after(tx.world(), 0, error));
    // Two forms, because PostgreSQL must be told the types and SQLite would cast a UUID to a number.
    query_for(
        "INSERT INTO refused (consumer, event_id, topic, subject, version, event, refused_at, due_at, attempts, last_error)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
         WHERE NOT EXISTS (SELECT 1 FROM inbox WHERE consumer = $1 AND event_id = $2)
         ON CONFLICT DO NOTHING",
        "INSERT INTO refused (consumer, event_id, topic, subject, version, event, refused_at, due_at, attempts, last_error)
         SELECT CAST($1 AS TEXT), CAST($2 AS UUID), $3, $4, CAST($5 AS BIGINT), $6,
                CAST($7 AS BIGINT), CAST($8 AS BIGINT), CAST($9 AS BIGINT), $10
         WHERE NOT EXISTS (SELECT 1 FROM inbox WHERE consumer = $1 AND event_id = $2)
         ON CONFLICT DO NOTHING",
    )
    .bind(consumer)
    .bind(event.id)
    .bind(event.topic.as_str())
    .bind(event.subject.as_str())
    .bind(event.version)
    .bind(event.to_json()?)
    .bind(now)
    .bind(now + wait)
    .bind(i64::from(error.is_some()))
    .bind(error.map(Error::chain))
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes one that was taken. Returns whether it was there.
pub(crate) async fn forget(tx: &mut Tx, consumer: &str, event: EventId) -> Result<bool> {
    let removed = query("DELETE FROM refused WHERE consumer = $1 AND event_id = $2")
        .bind(consumer)
        .bind(event)
        .execute(tx)
        .await?;
    Ok(removed == 1)
}

/// Tells a consumer again what is due, entity by entity in the order of
/// versions. Returns how many it took.
pub(crate) async fn tell_again(consumer: &dyn Consumer) -> Result<usize> {
    let mut taken = 0;
    while is_due(consumer).await? {
        let due = claim(consumer).await?;
        if due.is_empty() {
            break; // another process has it
        }
        for Due { event, attempts } in due {
            let event = Envelope::from_json(event.as_bytes())?;
            match deliver::hear_again(consumer, &event).await {
                Ok(()) => taken += 1,
                Err(error) => put_off(consumer, &event, attempts, &error).await?,
            }
        }
    }
    Ok(taken)
}

struct Due {
    event: String,
    attempts: u32,
}

db::from_row!(Due { event, attempts });

/// Looked at first, because it nearly never is, and looking takes no lock.
async fn is_due(consumer: &dyn Consumer) -> Result<bool> {
    let due: Option<(EventId,)> = db::read!(consumer.db(), async |tx| {
        query("SELECT event_id FROM refused WHERE consumer = $1 AND due_at <= $2 LIMIT 1")
            .bind(consumer.name())
            .bind(tx.world().now())
            .fetch_optional(tx)
            .await
    })?;
    Ok(due.is_some())
}

/// Takes the first event of each entity that is due and keeps others away from
/// it for a while.
async fn claim(consumer: &dyn Consumer) -> Result<Vec<Due>> {
    db::write!(consumer.db(), async |tx| {
        let now = tx.world().now();
        // Two forms: on PostgreSQL processes must step over each other's rows.
        query_for(
            "UPDATE refused SET due_at = $3 WHERE (consumer, event_id) IN (
                 SELECT consumer, event_id FROM refused head
                 WHERE consumer = $1 AND due_at <= $2 AND (
                     SELECT event_id FROM refused earlier
                     WHERE earlier.consumer = head.consumer AND earlier.subject = head.subject
                       AND (earlier.version, earlier.event_id) < (head.version, head.event_id)
                     ORDER BY version DESC, event_id DESC LIMIT 1) IS NULL
                 ORDER BY due_at, event_id LIMIT $4)
             RETURNING event, attempts",
            "WITH picked AS MATERIALIZED (
                 SELECT consumer, event_id FROM refused head
                 WHERE consumer = $1 AND due_at <= $2 AND (
                     SELECT event_id FROM refused earlier
                     WHERE earlier.consumer = head.consumer AND earlier.subject = head.subject
                       AND (earlier.version, earlier.event_id) < (head.version, head.event_id)
                     ORDER BY version DESC, event_id DESC LIMIT 1) IS NULL
                 ORDER BY due_at, event_id LIMIT $4 FOR UPDATE SKIP LOCKED)
             UPDATE refused SET due_at = $3 FROM picked
             WHERE refused.consumer = picked.consumer AND refused.event_id = picked.event_id
             RETURNING event, attempts",
        )
        .bind(consumer.name())
        .bind(now)
        .bind(now + LEASE)
        .bind(HEADS)
        .fetch_all(tx)
        .await
    })
}

async fn put_off(consumer: &dyn Consumer, event: &Envelope, attempts: u32, error: &Error) -> Result<()> {
    let db = consumer.db();
    let wait = waits::after(db.world(), attempts, error);
    report(consumer, event, attempts + 1, error);
    db::write!(db, async |tx| {
        query(
            "UPDATE refused SET due_at = $3, attempts = attempts + 1, last_error = $4
             WHERE consumer = $1 AND event_id = $2",
        )
        .bind(consumer.name())
        .bind(event.id)
        .bind(tx.world().now() + wait)
        .bind(error.chain())
        .execute(tx)
        .await?;
        Ok(())
    })
}

/// Says in the log that a consumer did not take an event.
pub(crate) fn report(consumer: &dyn Consumer, event: &Envelope, attempt: u32, error: &Error) {
    tracing::warn!(
        event.id = %event.id,
        consumer = consumer.name(),
        attempt,
        error = error.chain(),
        "event refused, to be told again"
    );
}
