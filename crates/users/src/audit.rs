//! What must be true of this service's tables, looked at from outside.

use std::time::Duration;

use contracts::Deed;
use db::{Db, Tx, query, query_for};
use kernel::{Result, SessionId, Time, UserId, Value};

/// At most so many findings of a kind: who has more has one cause.
const MOST: i64 = 100;
/// What was changed longer ago may have lost its events.
const HORIZON: Duration = Duration::from_secs(23 * 3600);
/// Accounts looked at in one go.
const AT_ONCE: i64 = 1000;

/// Breaches, each a sentence.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    breaches(&mut db.picture().await?, db.world().now() - HORIZON).await
}

/// The same, seen in a picture of the database that has all events since then.
pub async fn breaches(tx: &mut Tx, since: Time) -> Result<Vec<String>> {
    let mut found = sessions(tx).await?;
    found.extend(events(tx, since).await?);
    Ok(found)
}

/// Every account that was changed lately has announced its version.
async fn events(tx: &mut Tx, since: Time) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut after = UserId::from_uuid(kernel::uuid::Uuid::nil());
    while found.len() < MOST as usize {
        let page = versions(tx, after, since).await?;
        let Some(last) = page.last() else { break };
        after = last.0;
        let silent = page.iter().filter(|(_, version, announced)| version != announced);
        found.extend(silent.map(|(id, version, announced)| {
            format!("{id} has version {version}, and the last one it announced is {announced}")
        }));
    }
    Ok(found)
}

/// Accounts with their versions and the last ones they announced.
async fn versions(tx: &mut Tx, after: UserId, since: Time) -> Result<Vec<(UserId, i64, i64)>> {
    let users: Vec<(UserId, i64)> =
        query("SELECT id, version FROM users WHERE id > $1 AND updated_at > $2 ORDER BY id LIMIT $3")
            .bind(after)
            .bind(since)
            .bind(AT_ONCE)
            .fetch_all(tx)
            .await?;
    // A list is an array on PostgreSQL and JSON on SQLite.
    let announced: Vec<(String, i64)> = query_for(
        "SELECT subject, MAX(version) FROM outbox WHERE subject IN (SELECT value FROM json_each($1)) GROUP BY subject",
        "SELECT subject, MAX(version) FROM outbox WHERE subject = ANY($1) GROUP BY subject",
    )
    .bind(Value::Texts(users.iter().map(|(id, _)| id.to_string()).collect()))
    .fetch_all(tx)
    .await?;
    let announced: std::collections::HashMap<String, i64> = announced.into_iter().collect();
    let last = |id: UserId| announced.get(&id.to_string()).copied().unwrap_or_default();
    Ok(users.into_iter().map(|(id, version)| (id, version, last(id))).collect())
}

/// A session that is alive has one refresh token that is good, an owner who
/// can sign in, and a key to sign with.
async fn sessions(tx: &mut Tx) -> Result<Vec<String>> {
    let forked: Vec<(SessionId, i64)> = query(
        "SELECT s.id, COUNT(*) FROM sessions s JOIN refresh_tokens t ON t.session_id = s.id AND t.used_at IS NULL
         GROUP BY s.id HAVING COUNT(*) > 1 ORDER BY s.id LIMIT $1",
    )
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let tokenless: Vec<(SessionId,)> = query(
        "SELECT s.id FROM sessions s WHERE s.ended_at IS NULL AND NOT EXISTS
         (SELECT 1 FROM refresh_tokens t WHERE t.session_id = s.id AND t.used_at IS NULL) ORDER BY s.id LIMIT $1",
    )
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let unwanted: Vec<(SessionId, UserId)> = query(
        "SELECT s.id, u.id FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.ended_at IS NULL AND u.password_hash IS NULL ORDER BY s.id LIMIT $1",
    )
    .bind(MOST)
    .fetch_all(tx)
    .await?;
    let (keys,): (i64,) =
        query("SELECT COUNT(*) FROM signing_keys WHERE state = 'current'").fetch_one(tx).await?;
    let (sessions,): (i64,) = query("SELECT COUNT(*) FROM sessions").fetch_one(tx).await?;

    let mut found = Vec::new();
    found.extend(forked.into_iter().map(|(id, n)| format!("{id} has {n} refresh tokens that are good")));
    found.extend(
        tokenless.into_iter().map(|(id,)| format!("{id} is alive and has no refresh token that is good")),
    );
    found.extend(
        unwanted.into_iter().map(|(id, user)| format!("{id} is a session of {user}, who has no password")),
    );
    if sessions > 0 && keys != 1 {
        found.push(format!("there are {keys} signing keys that sign, not one"));
    }
    Ok(found)
}

/// The accounts that were made since then.
pub async fn deeds(tx: &mut Tx, since: Time) -> Result<Vec<Deed>> {
    let made: Vec<(UserId, Time)> =
        query("SELECT id, created_at FROM users WHERE created_at >= $1").bind(since).fetch_all(tx).await?;
    let account = Deed::of("accounts");
    Ok(made.into_iter().map(|(id, at)| account(at, id.to_string())).collect())
}
