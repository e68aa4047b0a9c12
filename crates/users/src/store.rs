//! The SQL: accounts, sessions, signing keys.

use std::collections::HashSet;

use db::{Migration, Tx, many, query, query_for, values};
use kernel::{Email, Result, SessionId, Time, UserId, Value};

use crate::{model::Account, token::Key};

/// The tables of this service.
pub const MIGRATIONS: &[Migration] = &[Migration {
    name: "users_1",
    // A session has at most one refresh token that is not used yet: the
    // database holds that, so that no slip here can fork a family.
    sql: "
        CREATE TABLE users (
            id UUID NOT NULL PRIMARY KEY,
            email TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            password_hash TEXT,
            role TEXT NOT NULL CHECK (role IN ('customer', 'staff', 'admin')),
            version BIGINT NOT NULL CHECK (version >= 1),
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            signed_in_at BIGINT
        );
        CREATE TABLE sessions (
            id UUID NOT NULL PRIMARY KEY,
            user_id UUID NOT NULL REFERENCES users (id),
            created_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            ended_at BIGINT,
            end_reason TEXT CHECK (end_reason IN ('logout', 'reused', 'password')),
            CHECK ((ended_at IS NULL) = (end_reason IS NULL))
        );
        CREATE INDEX sessions_user ON sessions (user_id);
        CREATE INDEX sessions_expires ON sessions (expires_at);
        CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
        CREATE TABLE refresh_tokens (
            hash BYTEA NOT NULL PRIMARY KEY,
            session_id UUID NOT NULL REFERENCES sessions (id),
            issued_at BIGINT NOT NULL,
            used_at BIGINT
        );
        CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
        CREATE UNIQUE INDEX refresh_tokens_unused ON refresh_tokens (session_id) WHERE used_at IS NULL;
        CREATE TABLE signing_keys (
            kid TEXT NOT NULL PRIMARY KEY,
            private_key TEXT NOT NULL,
            public_key TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('current', 'retired')),
            created_at BIGINT NOT NULL,
            retired_at BIGINT,
            CHECK ((state = 'retired') = (retired_at IS NOT NULL))
        );
        CREATE UNIQUE INDEX signing_keys_current ON signing_keys (state) WHERE state = 'current';
    ",
}];

kernel::words! {
    /// Why a session ended before its time.
    pub enum EndReason {
        /// Its owner signed out.
        Logout = "logout",
        /// A refresh token came a second time.
        Reused = "reused",
        /// The password was changed.
        Password = "password",
    }
}

/// An account with the hash of its password.
pub struct Secrets {
    /// The account.
    pub account: Account,
    /// None: nobody can sign in to it.
    pub password_hash: Option<String>,
}

impl db::FromRow for Secrets {
    fn from_row(row: &db::Row<'_>) -> Result<Secrets> {
        Ok(Secrets { account: Account::from_row(row)?, password_hash: row.get("password_hash")? })
    }
}

/// Saves new accounts, each with the hash of its password, unless its address
/// has one. Returns those that were saved.
pub async fn insert(tx: &mut Tx, new: &[(&Account, Option<&str>)]) -> Result<HashSet<UserId>> {
    let insert = many(
        "INSERT INTO users (id, email, name, password_hash, role, version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (email) DO NOTHING RETURNING id",
        "INSERT INTO users (id, email, name, password_hash, role, version, created_at, updated_at)
         SELECT id, email, name, password_hash, role, version, created_at, created_at
         FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::BIGINT[], $7::BIGINT[])
              AS given (id, email, name, password_hash, role, version, created_at)
         ON CONFLICT (email) DO NOTHING RETURNING id",
    );
    // Sorted, so that two who take the same addresses do not wait for each other in a ring.
    let mut sorted = new.to_vec();
    sorted.sort_by_key(|(account, _)| account.email.as_str());
    let rows = insert.rows(sorted, |(account, password_hash)| {
        values![
            account.id,
            &account.email,
            &account.name,
            password_hash,
            account.role,
            account.version,
            account.created_at,
        ]
    });
    let inserted: Vec<(UserId,)> = rows.fetch_all(tx).await?;
    Ok(inserted.into_iter().map(|(id,)| id).collect())
}

/// The accounts with these ids, in any order, those that there are.
pub async fn find_all(tx: &mut Tx, ids: &[UserId]) -> Result<Vec<Account>> {
    // A list is an array on PostgreSQL and JSON on SQLite.
    query_for(
        "SELECT id, email, name, role, version, created_at FROM users
         WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "SELECT id, email, name, role, version, created_at FROM users WHERE id = ANY($1)",
    )
    .bind(Value::Uuids(ids.iter().map(|id| id.uuid()).collect()))
    .fetch_all(tx)
    .await
}

/// The account and the hash of its password.
pub async fn find_secrets(tx: &mut Tx, id: UserId) -> Result<Option<Secrets>> {
    query("SELECT id, email, name, role, version, created_at, password_hash FROM users WHERE id = $1")
        .bind(id)
        .fetch_optional(tx)
        .await
}

/// The account with this address and the hash of its password.
pub async fn find_by_email(tx: &mut Tx, email: &Email) -> Result<Option<Secrets>> {
    query("SELECT id, email, name, role, version, created_at, password_hash FROM users WHERE email = $1")
        .bind(email)
        .fetch_optional(tx)
        .await
}

/// Accounts, the newest first, older than `before`; of one address if given.
pub async fn list(
    tx: &mut Tx,
    email: Option<&Email>,
    before: Option<UserId>,
    limit: i64,
) -> Result<Vec<Account>> {
    if let Some(email) = email {
        let found = find_by_email(tx, email).await?;
        return Ok(found
            .map(|secrets| secrets.account)
            .filter(|a| before.is_none_or(|b| a.id < b))
            .into_iter()
            .collect());
    }
    query(
        "SELECT id, email, name, role, version, created_at FROM users
         WHERE id < $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(before.unwrap_or(UserId::from_uuid(kernel::uuid::Uuid::max())))
    .bind(limit)
    .fetch_all(tx)
    .await
}

/// Locks an account for the rest of the transaction by raising its version,
/// and returns it as it is then: what is decided on it stays true.
pub async fn take(tx: &mut Tx, id: UserId) -> Result<Option<Secrets>> {
    let now = tx.world().now();
    query(
        "UPDATE users SET version = version + 1, updated_at = $2 WHERE id = $1
         RETURNING id, email, name, role, version, created_at, password_hash",
    )
    .bind(id)
    .bind(now)
    .fetch_optional(tx)
    .await
}

/// Saves a taken account, unless its address has another one. Returns whether it did.
pub async fn update(tx: &mut Tx, account: &Account, password_hash: Option<&str>) -> Result<bool> {
    let updated = query(
        "UPDATE users SET email = $2, name = $3, role = $4, password_hash = $5
         WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM users other WHERE other.email = $2 AND other.id <> $1)",
    )
    .bind(account.id)
    .bind(&account.email)
    .bind(&account.name)
    .bind(account.role)
    .bind(password_hash)
    .execute(tx)
    .await?;
    Ok(updated == 1)
}

/// Notes that somebody signed in with the password of this hash. Returns
/// whether it is still the one: a change of password under way is waited for,
/// and one that comes later sees the new session.
pub async fn sign_in(tx: &mut Tx, id: UserId, password_hash: &str) -> Result<bool> {
    let now = tx.world().now();
    let updated = query("UPDATE users SET signed_in_at = $3 WHERE id = $1 AND password_hash = $2")
        .bind(id)
        .bind(password_hash)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(updated == 1)
}

/// Begins a session with its first refresh token.
pub async fn insert_session(tx: &mut Tx, id: SessionId, user: UserId, expires_at: Time) -> Result<()> {
    let now = tx.world().now();
    query("INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(user)
        .bind(now)
        .bind(expires_at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Gives a session its next refresh token.
pub async fn insert_token(tx: &mut Tx, session: SessionId, hash: &[u8]) -> Result<()> {
    let now = tx.world().now();
    query("INSERT INTO refresh_tokens (hash, session_id, issued_at) VALUES ($1, $2, $3)")
        .bind(hash)
        .bind(session)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// A refresh token and the session it belongs to.
pub struct FoundToken {
    /// Its session.
    pub session_id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// When it was exchanged.
    pub used_at: Option<Time>,
    /// When its session ended.
    pub ended_at: Option<Time>,
    /// When its session expires.
    pub expires_at: Time,
}

db::from_row!(FoundToken { session_id, user_id, used_at, ended_at, expires_at });

/// The refresh token with this hash.
pub async fn find_token(tx: &mut Tx, hash: &[u8]) -> Result<Option<FoundToken>> {
    query(
        "SELECT t.session_id AS session_id, s.user_id AS user_id, t.used_at AS used_at, s.ended_at AS ended_at,
                s.expires_at AS expires_at
         FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.hash = $1",
    )
    .bind(hash)
    .fetch_optional(tx)
    .await
}

/// Uses up a refresh token. Returns whether it was there to be used: of two
/// at once one is told no.
pub async fn use_token(tx: &mut Tx, hash: &[u8]) -> Result<bool> {
    let now = tx.world().now();
    let used = query("UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL")
        .bind(hash)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(used == 1)
}

/// Lets a session live on. Returns whether it was alive.
pub async fn prolong(tx: &mut Tx, id: SessionId, expires_at: Time) -> Result<bool> {
    let now = tx.world().now();
    let prolonged =
        query("UPDATE sessions SET expires_at = $2 WHERE id = $1 AND ended_at IS NULL AND expires_at > $3")
            .bind(id)
            .bind(expires_at)
            .bind(now)
            .execute(tx)
            .await?;
    Ok(prolonged == 1)
}

/// Ends a session. Returns whether it was there to be ended.
pub async fn end_session(tx: &mut Tx, id: SessionId, reason: EndReason) -> Result<bool> {
    let now = tx.world().now();
    let ended =
        query("UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL")
            .bind(id)
            .bind(now)
            .bind(reason)
            .execute(tx)
            .await?;
    Ok(ended == 1)
}

/// Ends all sessions of somebody because the password is another one now, but
/// for the one it was changed in. Returns how many.
pub async fn end_sessions(tx: &mut Tx, user: UserId, except: Option<SessionId>) -> Result<u64> {
    let now = tx.world().now();
    query(
        "UPDATE sessions SET ended_at = $2, end_reason = $3
         WHERE user_id = $1 AND ended_at IS NULL AND id <> $4",
    )
    .bind(user)
    .bind(now)
    .bind(EndReason::Password)
    .bind(except.unwrap_or(SessionId::from_uuid(kernel::uuid::Uuid::nil())))
    .execute(tx)
    .await
}

/// Removes at most `most` sessions that ended or expired before `until`, with
/// their tokens. Returns how many.
pub async fn purge_sessions(tx: &mut Tx, until: Time, most: i64) -> Result<usize> {
    let over: Vec<(SessionId,)> =
        query("SELECT id FROM sessions WHERE expires_at < $1 OR ended_at < $1 ORDER BY id LIMIT $2")
            .bind(until)
            .bind(most)
            .fetch_all(tx)
            .await?;
    let ids = || Value::Uuids(over.iter().map(|(id,)| id.uuid()).collect());
    // A list is an array on PostgreSQL and JSON on SQLite.
    query_for(
        "DELETE FROM refresh_tokens WHERE session_id IN (SELECT unhex(value) FROM json_each($1))",
        "DELETE FROM refresh_tokens WHERE session_id = ANY($1)",
    )
    .bind(ids())
    .execute(tx)
    .await?;
    query_for(
        "DELETE FROM sessions WHERE id IN (SELECT unhex(value) FROM json_each($1))",
        "DELETE FROM sessions WHERE id = ANY($1)",
    )
    .bind(ids())
    .execute(tx)
    .await?;
    Ok(over.len())
}

/// The key that signs now.
pub async fn current_key(tx: &mut Tx) -> Result<Option<Key>> {
    query("SELECT kid, private_key, public_key, created_at FROM signing_keys WHERE state = 'current'")
        .fetch_optional(tx)
        .await
}

/// The key that signs now and those retired after `since`, the newest first.
pub async fn keys(tx: &mut Tx, since: Time) -> Result<Vec<Key>> {
    query(
        "SELECT kid, private_key, public_key, created_at FROM signing_keys
         WHERE state = 'current' OR retired_at > $1 ORDER BY created_at DESC, kid LIMIT 100",
    )
    .bind(since)
    .fetch_all(tx)
    .await
}

/// Makes this the key that signs, unless there is one. Returns whether it is.
pub async fn insert_key(tx: &mut Tx, key: &Key) -> Result<bool> {
    let inserted = query(
        "INSERT INTO signing_keys (kid, private_key, public_key, state, created_at)
         VALUES ($1, $2, $3, 'current', $4) ON CONFLICT DO NOTHING",
    )
    .bind(&key.kid)
    .bind(&key.private_key)
    .bind(&key.public_key)
    .bind(key.created_at)
    .execute(tx)
    .await?;
    Ok(inserted == 1)
}

/// Retires the key that signs now.
pub async fn retire_key(tx: &mut Tx) -> Result<u64> {
    let now = tx.world().now();
    query("UPDATE signing_keys SET state = 'retired', retired_at = $1 WHERE state = 'current'")
        .bind(now)
        .execute(tx)
        .await
}

/// Removes keys retired before `until`.
pub async fn purge_keys(tx: &mut Tx, until: Time) -> Result<u64> {
    query("DELETE FROM signing_keys WHERE state = 'retired' AND retired_at < $1")
        .bind(until)
        .execute(tx)
        .await
}
