//! The table of messages.

use db::{Migration, Tx, query};
use kernel::{JobId, MessageId, Result, Time};

use crate::{Message, State};

pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "notifications_1",
    sql: "CREATE TABLE messages (
            id UUID PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            order_id UUID,
            asked_by UUID,
            job_id UUID UNIQUE,
            recipient TEXT NOT NULL,
            subject TEXT NOT NULL,
            text TEXT NOT NULL,
            html TEXT,
            state TEXT NOT NULL CHECK (state IN ('queued', 'sent')),
            created_at BIGINT NOT NULL,
            sent_at BIGINT,
            CHECK ((state = 'sent') = (sent_at IS NOT NULL))
        );
        CREATE INDEX messages_queued ON messages (id) WHERE state = 'queued'",
}];

db::from_row!(Message { id, key, order_id, asked_by, job_id, recipient, subject, text, html, state });

/// Saves a message. Returns whether its key was new.
pub async fn insert(tx: &mut Tx, message: &Message) -> Result<bool> {
    let now = tx.world().now();
    let inserted = query(
        "INSERT INTO messages (id, key, order_id, asked_by, recipient, subject, text, html, state, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    )
    .bind(message.id)
    .bind(&message.key)
    .bind(message.order_id)
    .bind(message.asked_by)
    .bind(&message.recipient)
    .bind(message.subject.as_str())
    .bind(&message.text)
    .bind(&message.html)
    .bind(message.state)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(inserted == 1)
}

/// Notes which job sends it.
pub async fn set_job(tx: &mut Tx, id: MessageId, job: JobId) -> Result<()> {
    query("UPDATE messages SET job_id = $2 WHERE id = $1").bind(id).bind(job).execute(tx).await?;
    Ok(())
}

/// A message by its id.
pub async fn find(tx: &mut Tx, id: MessageId) -> Result<Option<Message>> {
    query(
        "SELECT id, key, order_id, asked_by, job_id, recipient, subject, text, html, state
         FROM messages WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(tx)
    .await
}

/// A message by its key.
pub async fn find_by_key(tx: &mut Tx, key: &str) -> Result<Option<Message>> {
    query(
        "SELECT id, key, order_id, asked_by, job_id, recipient, subject, text, html, state
         FROM messages WHERE key = $1",
    )
    .bind(key)
    .fetch_optional(tx)
    .await
}

/// A message by the job that sends it.
pub async fn find_by_job(tx: &mut Tx, job: JobId) -> Result<Option<Message>> {
    query(
        "SELECT id, key, order_id, asked_by, job_id, recipient, subject, text, html, state
         FROM messages WHERE job_id = $1",
    )
    .bind(job)
    .fetch_optional(tx)
    .await
}

/// `queued → sent`. Returns whether it was still to be sent.
pub async fn mark_sent(tx: &mut Tx, id: MessageId, at: Time) -> Result<bool> {
    let marked = query("UPDATE messages SET state = $3, sent_at = $2 WHERE id = $1 AND state = $4")
        .bind(id)
        .bind(at)
        .bind(State::Sent)
        .bind(State::Queued)
        .execute(tx)
        .await?;
    Ok(marked == 1)
}
