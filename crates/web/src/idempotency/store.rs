//! The table of keys.

use std::{collections::HashSet, time::Duration};

use db::{Db, Migration, Tx, many, query, values};
use kernel::{Error, Kind, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::{Answer, IdempotencyKey, once::AsKey};

/// The table, for the list of every service that uses it.
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "idempotency_1",
    sql: "CREATE TABLE idempotency (
            scope TEXT NOT NULL,
            route TEXT NOT NULL,
            key TEXT NOT NULL,
            body_hash BYTEA NOT NULL,
            answer TEXT,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (scope, route, key)
        );
        CREATE INDEX idempotency_created ON idempotency (created_at)",
}];

/// How often what is over is cleared away.
const EVERY: Duration = Duration::from_secs(60);

/// Takes the key for this transaction. Returns the answer that was given
/// before, or nothing to the first, who then owes an [`answer`]. Of two at
/// once the second waits until the first has committed or failed. Without a
/// key everybody is the first.
pub async fn claim<T: DeserializeOwned>(
    tx: &mut Tx,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Answer<T>>> {
    let Some(key) = key else { return Ok(None) };
    if claim_all(tx, &[key]).await? == [true] { Ok(None) } else { again(tx, key).await.map(Some) }
}

/// Takes many keys for this transaction. Returns of each whether its owner is
/// the first, who then owes an [`answer`]; the others are answered [`again`].
pub async fn claim_all(tx: &mut Tx, keys: &[&IdempotencyKey]) -> Result<Vec<bool>> {
    if tx.world().planted("key_is_forgotten") {
        return Ok(vec![true; keys.len()]);
    }
    tx.repeatable();
    let insert = many(
        "INSERT INTO idempotency (scope, route, key, body_hash, created_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING scope, route, key",
        "INSERT INTO idempotency (scope, route, key, body_hash, created_at)
         SELECT * FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BYTEA[], $5::BIGINT[])
         ON CONFLICT DO NOTHING RETURNING scope, route, key",
    );
    let now = tx.world().now();
    // Sorted, so that two who take the same ones do not wait for each other in a ring.
    let mut sorted = keys.to_vec();
    sorted.sort_by_key(|key| (&key.scope, &key.route, &key.key));
    let rows = insert.rows(sorted, |key| {
        values![key.scope.as_str(), key.route.as_str(), key.key.as_str(), &key.body_hash[..], now]
    });
    let claimed: Vec<(String, String, String)> = rows.fetch_all(tx).await?;
    let mut claimed: HashSet<_> = claimed.into_iter().collect();
    // Of two with one key the second is not the first.
    let is_first =
        |key: &&IdempotencyKey| claimed.remove(&(key.scope.clone(), key.route.clone(), key.key.clone()));
    Ok(keys.iter().map(is_first).collect())
}

/// What was answered to a key that somebody else has claimed.
pub async fn again<T: DeserializeOwned>(tx: &mut Tx, key: &IdempotencyKey) -> Result<Answer<T>> {
    match read(tx, key).await? {
        Some(row) => row.again(key),
        // It was purged between two statements.
        None => Err(Error::unavailable(
            "idempotency_key_busy",
            "this idempotency key is in use just now; try again",
        )),
    }
}

/// Saves the answer of the first, beside its effect.
pub async fn answer<T: Serialize>(tx: &mut Tx, key: Option<&IdempotencyKey>, answer: &T) -> Result<()> {
    match key {
        Some(key) => answer_all(tx, &[(key, answer)]).await,
        None => Ok(()),
    }
}

/// The same of many keys.
pub async fn answer_all<T: Serialize>(tx: &mut Tx, answers: &[(&IdempotencyKey, &T)]) -> Result<()> {
    if tx.world().planted("key_is_forgotten") {
        return Ok(());
    }
    let update = many(
        "UPDATE idempotency SET answer = $4 WHERE scope = $1 AND route = $2 AND key = $3",
        "UPDATE idempotency SET answer = given.answer
         FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[]) AS given (scope, route, key, answer)
         WHERE idempotency.scope = given.scope AND idempotency.route = given.route
           AND idempotency.key = given.key",
    );
    let texts: Result<Vec<String>> =
        answers.iter().map(|(_, answer)| serde_json::to_string(answer).map_err(Error::internal)).collect();
    let rows = update.rows(answers.iter().zip(texts?), |((key, _), text)| {
        values![key.scope.as_str(), key.route.as_str(), key.key.as_str(), text]
    });
    if rows.execute(tx).await? == answers.len() as u64 {
        Ok(())
    } else {
        Err(Error::internal("an answer was saved for a key that was not claimed"))
    }
}

/// Gives keys back whose owners have failed, while others of the transaction
/// have not: they leave no trace and can be used again.
pub async fn give_back(tx: &mut Tx, keys: &[&IdempotencyKey]) -> Result<()> {
    let delete = many(
        "DELETE FROM idempotency WHERE scope = $1 AND route = $2 AND key = $3",
        "DELETE FROM idempotency
         USING unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS given (scope, route, key)
         WHERE idempotency.scope = given.scope AND idempotency.route = given.route
           AND idempotency.key = given.key",
    );
    let rows = delete.rows(keys, |key| values![key.scope.as_str(), key.route.as_str(), key.key.as_str()]);
    rows.execute(tx).await.map(drop)
}

/// The answer that was given before, if one was: to be looked for before
/// anything is asked that may have changed since.
pub async fn find<T: DeserializeOwned>(db: &Db, key: &impl AsKey) -> Result<Option<Answer<T>>> {
    let Some(key) = key.as_key() else { return Ok(None) };
    let row: Result<Option<Row>> = db::read!(db, async |tx| { read(tx, key).await });
    row?.map(|row| row.again(key)).transpose()
}

/// Clears away now and then, for ever, what is older than `keep`: then a key is
/// as good as new.
pub async fn sweep(service: &'static str, db: &Db, keep: Duration) {
    loop {
        db.world().sleep(db.world().jitter(EVERY)).await;
        if let Err(error) = purge(db, keep).await {
            tracing::warn!(service, error = error.chain(), "old idempotency keys were not swept");
        }
    }
}

/// Removes what is older than `keep`, a thousand rows at a time. Returns how
/// many went.
pub async fn purge(db: &Db, keep: Duration) -> Result<u64> {
    let until = db.world().now() - keep;
    let mut gone = 0;
    loop {
        let some: Result<u64> = db::write!(db, async |tx| {
            query(
                "DELETE FROM idempotency WHERE (scope, route, key) IN
                 (SELECT scope, route, key FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT 1000)
                 AND created_at < $1",
            )
            .bind(until)
            .execute(tx)
            .await
        });
        let some = some?;
        gone += some;
        if some < 1000 {
            return Ok(gone);
        }
    }
}

/// Breaches, each a sentence: keys that were committed without the answer that
/// belongs to them. At most a hundred.
pub async fn breaches(tx: &mut Tx) -> Result<Vec<String>> {
    let unanswered: Vec<(String, String, String)> = query(
        "SELECT scope, route, key FROM idempotency WHERE answer IS NULL ORDER BY scope, route, key LIMIT 100",
    )
    .fetch_all(tx)
    .await?;
    let sentence =
        |(scope, route, key)| format!("the idempotency key {key} of {scope} for {route} has no answer");
    Ok(unanswered.into_iter().map(sentence).collect())
}

struct Row {
    body_hash: Vec<u8>,
    answer: Option<String>,
}

db::from_row!(Row { body_hash, answer });

impl Row {
    fn again<T: DeserializeOwned>(self, key: &IdempotencyKey) -> Result<Answer<T>> {
        if self.body_hash != key.body_hash {
            let message = format!("the idempotency key {} was used before for another request", key.key);
            return Err(Error::new(Kind::Mismatch, "idempotency_key_reused", message));
        }
        let Some(answer) = self.answer else {
            return Err(Error::internal("an idempotency key was committed without its answer"));
        };
        serde_json::from_str(&answer).map(Answer::again).map_err(Error::internal)
    }
}

async fn read(tx: &mut Tx, key: &IdempotencyKey) -> Result<Option<Row>> {
    query("SELECT body_hash, answer FROM idempotency WHERE scope = $1 AND route = $2 AND key = $3")
        .bind(&key.scope)
        .bind(&key.route)
        .bind(&key.key)
        .fetch_optional::<Row>(tx)
        .await
}
