//! What must always be true of messages.

use std::collections::HashSet;

use ::jobs::Job;
use contracts::Deed;
use db::{Db, Tx, query, query_for};
use kernel::{JobId, MessageId, OrderId, Result, Time, Value};

use crate::{Deliver, Occasion, Tell, store};

/// At most so many findings of a kind: who has more has one cause.
const MOST: i64 = 100;

/// Breaches, each a sentence: a message that nobody will send, and one that
/// was never sent though its job says it is done.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    breaches(&mut db.picture().await?).await
}

/// The same, seen in a picture of the database.
pub async fn breaches(tx: &mut Tx) -> Result<Vec<String>> {
    // One whose job is gone or done will never be sent; the state stands in the
    // text, so that the planner sees the partial index.
    let found: Vec<(MessageId, Option<JobId>)> = query(
        "SELECT m.id, j.id FROM messages m LEFT JOIN jobs j ON j.id = m.job_id
         WHERE m.state = 'queued' AND (j.id IS NULL OR j.state = 'done') ORDER BY m.id LIMIT $1",
    )
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    Ok(found.into_iter().map(sentence).collect())
}

fn sentence((id, job): (MessageId, Option<JobId>)) -> String {
    match job {
        None => format!("message {id} is queued and no job will send it"),
        Some(job) => format!("message {id} is queued and its job {job} is done"),
    }
}

/// Those of these orders, each with what became of it, about which there is
/// neither a mail nor a job that will write one.
pub async fn untold(tx: &mut Tx, news: &[(OrderId, Occasion)]) -> Result<Vec<(OrderId, Occasion)>> {
    let key = |(order, occasion): &(OrderId, Occasion)| format!("{order}:{occasion}");
    let mails = Value::Texts(news.iter().map(|news| format!("order:{}", key(news))).collect());
    // Two forms, because each engine takes a list in its own way.
    let written: Vec<(String,)> = query_for(
        "SELECT substr(key, 7) FROM messages WHERE key IN (SELECT value FROM json_each($1))",
        "SELECT substr(key, 7) FROM messages WHERE key = ANY ($1)",
    )
    .bind(mails)
    .fetch_all(tx)
    .await?;
    let mut told: HashSet<String> = written.into_iter().map(|(key,)| key).collect();
    let unwritten: Vec<String> = news.iter().map(key).filter(|key| !told.contains(key)).collect();
    if !unwritten.is_empty() {
        // One question for each state, so that the planner sees the partial index; two forms again.
        let later: Vec<(String,)> = query_for(
            "SELECT unique_key FROM jobs
             WHERE name = $1 AND state = 'waiting' AND unique_key IN (SELECT value FROM json_each($2))
             UNION ALL SELECT unique_key FROM jobs
             WHERE name = $1 AND state = 'running' AND unique_key IN (SELECT value FROM json_each($2))
             UNION ALL SELECT unique_key FROM jobs
             WHERE name = $1 AND state = 'dead' AND unique_key IN (SELECT value FROM json_each($2))",
            "SELECT unique_key FROM jobs WHERE name = $1 AND state = 'waiting' AND unique_key = ANY ($2)
             UNION ALL SELECT unique_key FROM jobs WHERE name = $1 AND state = 'running' AND unique_key = ANY ($2)
             UNION ALL SELECT unique_key FROM jobs WHERE name = $1 AND state = 'dead' AND unique_key = ANY ($2)",
        )
        .bind(Tell::NAME)
        .bind(Value::Texts(unwritten))
        .fetch_all(tx)
        .await?;
        told.extend(later.into_iter().map(|(key,)| key));
    }
    Ok(news.iter().filter(|news| !told.contains(&key(news))).copied().collect())
}

/// Gives messages that nobody will send a job that does. Says which they are.
pub async fn send_left_over(db: &Db) -> Result<Vec<String>> {
    db::write!(db, async |tx| {
        let left: Vec<(MessageId,)> = query(
            "SELECT m.id FROM messages m LEFT JOIN jobs j ON j.id = m.job_id
             WHERE m.state = 'queued' AND (j.id IS NULL OR j.state = 'done') ORDER BY m.id LIMIT $1",
        )
        .bind(MOST)
        .fetch_all(tx)
        .await?;
        let mut mended = Vec::with_capacity(left.len());
        for (message,) in left {
            let job = ::jobs::add(tx, &Deliver { message }).await?;
            store::set_jobs(tx, &[(message, job)]).await?;
            mended.push(format!("{message} is sent by {job}"));
        }
        Ok::<_, kernel::Error>(mended)
    })
}

/// The mails that were sent since then.
pub async fn deeds(tx: &mut Tx, since: Time) -> Result<Vec<Deed>> {
    let sent: Vec<(MessageId, Option<OrderId>, Time)> =
        query("SELECT id, order_id, sent_at FROM messages WHERE sent_at >= $1")
            .bind(since)
            .fetch_all(tx)
            .await?;
    let mail = Deed::of("mails");
    let about = |order: Option<OrderId>| order.map(|order| format!(" about {order}")).unwrap_or_default();
    Ok(sent.into_iter().map(|(id, order, at)| mail(at, format!("{id}{}", about(order)))).collect())
}
