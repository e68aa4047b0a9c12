//! The table of messages.

use std::collections::HashSet;

use db::{Migration, Tx, many, query, values};
use kernel::{JobId, MessageId, Result};

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

/// Saves messages. Returns those whose key was new.
pub async fn insert(tx: &mut Tx, messages: &[Message]) -> Result<HashSet<MessageId>> {
    let insert = many(
        "INSERT INTO messages (id, key, order_id, asked_by, recipient, subject, text, html, state, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING id",
        "INSERT INTO messages (id, key, order_id, asked_by, recipient, subject, text, html, state, created_at)
         SELECT * FROM unnest($1::UUID[], $2::TEXT[], $3::UUID[], $4::UUID[], $5::TEXT[], $6::TEXT[], $7::TEXT[],
                              $8::TEXT[], $9::TEXT[], $10::BIGINT[])
         ON CONFLICT DO NOTHING RETURNING id",
    );
    let now = tx.world().now();
    let rows = insert.rows(messages, |message| {
        values![
            message.id,
            message.key.as_str(),
            message.order_id,
            message.asked_by,
            &message.recipient,
            message.subject.as_str(),
            message.text.as_str(),
            message.html.as_deref(),
            message.state,
            now,
        ]
    });
    Ok(rows.fetch_all::<(MessageId,)>(tx).await?.into_iter().map(|(id,)| id).collect())
}

/// Notes which jobs send them.
pub async fn set_jobs(tx: &mut Tx, jobs: &[(MessageId, JobId)]) -> Result<()> {
    let update = many(
        "UPDATE messages SET job_id = $2 WHERE id = $1",
        "UPDATE messages SET job_id = given.job_id FROM unnest($1::UUID[], $2::UUID[]) AS given (id, job_id)
         WHERE messages.id = given.id",
    );
    update.rows(jobs, |(id, job)| values![*id, *job]).execute_later(tx).await
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

/// `queued → sent`. Returns those that were still to be sent.
pub async fn mark_sent(tx: &mut Tx, ids: &[MessageId]) -> Result<HashSet<MessageId>> {
    let update = many(
        "UPDATE messages SET state = $3, sent_at = $2 WHERE id = $1 AND state = $4 RETURNING id",
        "UPDATE messages SET state = given.later, sent_at = given.at
         FROM unnest($1::UUID[], $2::BIGINT[], $3::TEXT[], $4::TEXT[]) AS given (id, at, later, earlier)
         WHERE messages.id = given.id AND messages.state = given.earlier RETURNING messages.id",
    );
    let now = tx.world().now();
    let rows = update.rows(ids, |id| values![*id, now, State::Sent, State::Queued]);
    Ok(rows.fetch_all::<(MessageId,)>(tx).await?.into_iter().map(|(id,)| id).collect())
}
