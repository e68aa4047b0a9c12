//! The outbox: what is announced, saved with the change.

use std::time::Duration;

use db::{Migration, Tx, many, query, query_for, values};
use kernel::{Error, EventId, Result, Time, Value};

use crate::{Envelope, Event, refused};

pub(crate) const MIGRATION: Migration = Migration {
    name: "bus_1_outbox",
    // `due_at`: when it may next be claimed. Whoever claims it puts that off,
    // and so does a failure.
    sql: "
        CREATE TABLE outbox (
            id UUID NOT NULL PRIMARY KEY,
            source TEXT NOT NULL,
            topic TEXT NOT NULL,
            subject TEXT NOT NULL,
            version BIGINT NOT NULL,
            data TEXT NOT NULL,
            traceparent TEXT,
            added_at BIGINT NOT NULL,
            due_at BIGINT NOT NULL,
            attempts BIGINT NOT NULL,
            last_error TEXT,
            sent_at BIGINT
        );
        CREATE UNIQUE INDEX outbox_version ON outbox (subject, version, topic);
        CREATE INDEX outbox_order ON outbox (subject, version, id) WHERE sent_at IS NULL;
        CREATE INDEX outbox_due ON outbox (due_at, id) WHERE sent_at IS NULL;
        CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;
    ",
};

/// The signal that says there is something to relay.
pub(crate) const SIGNAL: &str = "outbox";

/// Announces it with the change that `tx` saves. An entity announces a topic
/// once per version: a second time is refused (conflict `event_repeated`).
pub async fn add<E: Event>(tx: &mut Tx, event: &E) -> Result<EventId> {
    add_traced(tx, event, None).await
}

/// Announces it as part of a trace (W3C `traceparent`).
pub async fn add_traced<E: Event>(tx: &mut Tx, event: &E, traceparent: Option<String>) -> Result<EventId> {
    Ok(add_many(tx, [(event, traceparent)]).await?[0])
}

/// Announces many with the change that `tx` saves, each as part of its trace.
/// When one of them is refused, all are.
pub async fn add_many<'a, E: Event + 'a>(
    tx: &mut Tx,
    events: impl IntoIterator<Item = (&'a E, Option<String>)>,
) -> Result<Vec<EventId>> {
    let now = tx.world().now();
    let mut rows = Vec::new();
    for (event, traceparent) in events {
        let id = EventId::new(tx.world());
        let data = serde_json::to_string(event).map_err(Error::internal)?;
        tracing::debug!(event.id = %id, event.topic = event.topic(), event.subject = event.entity(), "event saved");
        rows.push((id, event, data, traceparent));
    }
    let insert = many(
        "INSERT INTO outbox (id, source, topic, subject, version, data, traceparent, added_at, due_at, attempts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 0) ON CONFLICT DO NOTHING",
        "INSERT INTO outbox (id, source, topic, subject, version, data, traceparent, added_at, due_at, attempts)
         SELECT id, source, topic, subject, version, data, traceparent, now, now, 0
         FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::BIGINT[], $6::TEXT[], $7::TEXT[], $8::BIGINT[])
              AS given (id, source, topic, subject, version, data, traceparent, now)
         ON CONFLICT DO NOTHING",
    );
    let of = |(id, event, data, traceparent): &(EventId, &E, String, Option<String>)| {
        let (topic, entity) = (event.topic(), event.entity());
        values![*id, E::SOURCE, topic, entity, event.version(), data.as_str(), traceparent.as_deref(), now]
    };
    let added = insert.rows(&rows, of).execute(tx).await?;
    if added < rows.len() as u64 {
        let (_, event, ..) = rows[0];
        let (entity, topic, version) = (event.entity(), event.topic(), event.version());
        let others = if rows.len() > 1 { ", or another of its batch," } else { "" };
        let message = format!("{entity}{others} has announced {topic} at version {version} before");
        return Err(Error::conflict("event_repeated", message));
    }
    if added > 0 {
        tx.signal(SIGNAL);
    }
    Ok(rows.into_iter().map(|(id, ..)| id).collect())
}

/// How many are not sent yet, or were refused by a consumer of this database.
pub async fn pending(tx: &mut Tx) -> Result<i64> {
    let (count,) = query("SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL").fetch_one::<(i64,)>(tx).await?;
    Ok(count + refused::count(tx).await?)
}

/// A row on its way.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub id: EventId,
    source: String,
    pub topic: String,
    pub subject: String,
    version: i64,
    data: String,
    traceparent: Option<String>,
    added_at: Time,
    pub attempts: u32,
}

db::from_row!(Outgoing { id, source, topic, subject, version, data, traceparent, added_at, attempts });

impl Outgoing {
    /// Whether [`Outgoing::envelope`] can be made of it.
    pub fn is_readable(&self) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(&self.data).is_ok()
    }

    pub fn envelope(self) -> Result<Envelope> {
        Ok(Envelope {
            id: self.id,
            source: self.source,
            topic: self.topic,
            subject: self.subject,
            version: self.version,
            time: self.added_at,
            traceparent: self.traceparent,
            data: serde_json::from_str(&self.data).map_err(Error::internal)?,
        })
    }
}

/// Whether anything is there to be claimed; what waits behind an earlier event
/// of its entity counts, too.
pub(crate) async fn is_due(tx: &mut Tx) -> Result<bool> {
    let (due,) = query("SELECT EXISTS (SELECT 1 FROM outbox WHERE sent_at IS NULL AND due_at <= $1)")
        .bind(tx.world().now())
        .fetch_one(tx)
        .await?;
    Ok(due)
}

/// What is due, of at most so many entities, and on PostgreSQL locked: of each
/// the earliest event that is unsent. Who has that has the entity, because no
/// later one is looked at before it is sent, whoever relays.
pub(crate) async fn heads(tx: &mut Tx, limit: i64) -> Result<Vec<Outgoing>> {
    // Two forms: on PostgreSQL relays must step over each other's rows. The
    // event before is looked for backwards, one step in the index: `NOT EXISTS`
    // may become a join, which may compare all the events of one entity with
    // each other, and forwards the index has many that were sent a moment ago.
    query_for(
        "SELECT id, source, topic, subject, version, data, traceparent, added_at, attempts FROM outbox head
         WHERE sent_at IS NULL AND due_at <= $1 AND (
             SELECT id FROM outbox earlier
             WHERE earlier.sent_at IS NULL AND earlier.subject = head.subject
               AND (earlier.version, earlier.id) < (head.version, head.id)
             ORDER BY version DESC, id DESC LIMIT 1) IS NULL
         ORDER BY due_at, id LIMIT $2",
        "SELECT id, source, topic, subject, version, data, traceparent, added_at, attempts FROM outbox head
         WHERE sent_at IS NULL AND due_at <= $1 AND (
             SELECT id FROM outbox earlier
             WHERE earlier.sent_at IS NULL AND earlier.subject = head.subject
               AND (earlier.version, earlier.id) < (head.version, head.id)
             ORDER BY version DESC, id DESC LIMIT 1) IS NULL
         ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(tx.world().now())
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// Keeps others away from these, and so from their entities, until then.
pub(crate) async fn claim(tx: &mut Tx, ids: &[EventId], until: Time) -> Result<()> {
    // Two forms for the reason given at `mark_sent`.
    query_for(
        "UPDATE outbox SET due_at = $2 WHERE sent_at IS NULL AND id IN (SELECT unhex(value) FROM json_each($1))",
        "UPDATE outbox SET due_at = $2 WHERE COALESCE(sent_at, 0) = 0 AND id = ANY ($1)",
    )
    .bind(Value::Uuids(ids.iter().map(|id| id.uuid()).collect()))
    .bind(until)
    .execute(tx)
    .await?;
    Ok(())
}

/// The events that follow these heads, of the same entities, in order.
pub(crate) async fn followers(tx: &mut Tx, heads: &[Outgoing], limit: i64) -> Result<Vec<Outgoing>> {
    let subjects = Value::Texts(heads.iter().map(|head| head.subject.clone()).collect());
    let ids = Value::Uuids(heads.iter().map(|head| head.id.uuid()).collect());
    // Two forms, because each engine takes a list in its own way.
    query_for(
        "SELECT id, source, topic, subject, version, data, traceparent, added_at, attempts FROM outbox
         WHERE sent_at IS NULL AND subject IN (SELECT value FROM json_each($1))
           AND id NOT IN (SELECT unhex(value) FROM json_each($2))
         ORDER BY subject, version, id LIMIT $3",
        "SELECT id, source, topic, subject, version, data, traceparent, added_at, attempts FROM outbox
         WHERE sent_at IS NULL AND subject = ANY ($1) AND id <> ALL ($2)
         ORDER BY subject, version, id LIMIT $3",
    )
    .bind(subjects)
    .bind(ids)
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// Marks them sent: whoever carries them has answered for them.
pub(crate) async fn mark_sent(tx: &mut Tx, ids: &[EventId]) -> Result<u64> {
    // Two forms, because each engine takes a list in its own way. As `sent_at IS NULL` the
    // condition would let PostgreSQL walk an index of all that is unsent.
    query_for(
        "UPDATE outbox SET sent_at = $2
         WHERE sent_at IS NULL AND id IN (SELECT unhex(value) FROM json_each($1))",
        "UPDATE outbox SET sent_at = $2 WHERE COALESCE(sent_at, 0) = 0 AND id = ANY ($1)",
    )
    .bind(Value::Uuids(ids.iter().map(|id| id.uuid()).collect()))
    .bind(tx.world().now())
    .execute(tx)
    .await
}

/// Takes back the mark from all that were sent since then: they are sent again.
/// Returns how many there are.
pub(crate) async fn send_again(tx: &mut Tx, since: Time) -> Result<u64> {
    query("UPDATE outbox SET sent_at = NULL, due_at = $2 WHERE sent_at >= $1")
        .bind(since)
        .bind(tx.world().now())
        .execute(tx)
        .await
}

/// Makes due what is put off for longer than any is: a clock that was ahead did
/// that. `claimed` is the longest for what was only claimed, `failed` for what
/// was tried in vain.
pub(crate) async fn hurry(tx: &mut Tx, claimed: Duration, failed: Duration) -> Result<u64> {
    let now = tx.world().now();
    query(
        "UPDATE outbox SET due_at = $1
         WHERE sent_at IS NULL AND (due_at > $3 OR (due_at > $2 AND attempts = 0))",
    )
    .bind(now)
    .bind(now + claimed)
    .bind(now + failed)
    .execute(tx)
    .await
}

/// Puts one off that was not sent.
pub(crate) async fn put_off(tx: &mut Tx, id: EventId, until: Time, error: &str) -> Result<()> {
    query(
        "UPDATE outbox SET due_at = $2, attempts = attempts + 1, last_error = $3
         WHERE id = $1 AND sent_at IS NULL",
    )
    .bind(id)
    .bind(until)
    .bind(error)
    .execute(tx)
    .await?;
    Ok(())
}
