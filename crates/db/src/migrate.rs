//! Migrations: one list for both engines.

use kernel::{Error, Result};
use sha2::{Digest, Sha256};

use crate::{Db, Engine, Tx, query};

mod translate;

/// A step from one shape of the tables to the next. Columns are `UUID`,
/// `TEXT`, `BIGINT`, `BOOLEAN` or `BYTEA`; SQLite gets the types of a `STRICT`
/// table in their place, PostgreSQL gets `COLLATE "C"` behind each `TEXT`, so
/// that both order it by its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Unique in its list, never changed: `jobs_1`, `orders_3_history`.
    pub name: &'static str,
    /// The statements, separated by semicolons.
    pub sql: &'static str,
}

/// Applies what was not applied yet and says how many that were.
pub(crate) async fn migrate(db: &Db, migrations: &[Migration]) -> Result<usize> {
    let mut applied = 0;
    for migration in migrations {
        let new: bool = crate::write!(db, async |tx| { apply(tx, migration).await })?;
        applied += usize::from(new);
    }
    Ok(applied)
}

/// Applies one, unless it was applied before. Says whether it did.
async fn apply(tx: &mut Tx, migration: &Migration) -> Result<bool> {
    // The second time is harmless: the table below knows of the first.
    tx.repeatable();
    if tx.engine() == Engine::Postgres {
        // One process at a time; the lock ends with the transaction. A change of
        // a large table may take its time.
        tx.batch(
            "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
             SELECT pg_advisory_xact_lock(hashtext('carmel migrations ' || current_schema()))",
        )
        .await?;
    }
    tx.batch(&translate::translate(
        "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)",
        tx.engine(),
    ))
    .await?;
    let checksum = checksum(migration.sql);
    let before = query("SELECT checksum FROM migrations WHERE name = $1")
        .bind(migration.name)
        .fetch_optional::<(String,)>(tx)
        .await?;
    if let Some((before,)) = before {
        return if before == checksum { Ok(false) } else { Err(changed(migration)) };
    }
    tx.batch(&translate::translate(migration.sql, tx.engine())).await?;
    let now = tx.world().now();
    query("INSERT INTO migrations (name, checksum, applied_at) VALUES ($1, $2, $3)")
        .bind(migration.name)
        .bind(checksum)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(true)
}

fn changed(migration: &Migration) -> Error {
    let message =
        format!("migration {} was applied with another text: add a new one instead", migration.name);
    Error::conflict("migration_changed", message)
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
