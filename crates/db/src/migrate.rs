//! Migrations: one list for both engines.
//!
//! A program runs on tables that a newer one has migrated, because a migration
//! only adds. One that takes away says in its name which earlier migration a
//! program must know to do without what goes: `orders_9 needs orders_8`. A
//! program that does not know that one refuses to open the tables.

mod breaking;
mod translate;

use kernel::{Error, Kind, Result};
use sha2::{Digest, Sha256};

use crate::{Attempts, Db, Engine, Tx, query, table};

/// A step from one shape of the tables to the next. Columns are `UUID`,
/// `TEXT`, `BIGINT`, `BOOLEAN` or `BYTEA`; SQLite gets the types of a `STRICT`
/// table in their place, PostgreSQL gets `COLLATE "C"` behind each `TEXT`, so
/// that both order it by its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Unique in its list, never changed: `jobs_1`, `orders_3_history`; of one
    /// that takes away `orders_9 needs orders_8`, the other of an earlier release.
    pub name: &'static str,
    /// The statements, separated by semicolons.
    pub sql: &'static str,
}

/// Applies what was not applied yet and says how many that were.
pub(crate) async fn migrate(db: &Db, migrations: &[Migration]) -> Result<usize> {
    let mut applied = 0;
    for migration in migrations {
        let new = apply_patiently(db, migration).await.map_err(|error| blocked(migration, error))?;
        applied += usize::from(new);
    }
    if !migrations.is_empty() {
        must_know(db, migrations).await?;
    }
    Ok(applied)
}

/// The names of those that were applied, in their order.
pub(crate) async fn applied(db: &Db) -> Result<Vec<String>> {
    let names: Result<Vec<(String,)>> = crate::read!(db, async |tx| {
        query("SELECT name FROM migrations ORDER BY applied_at, name").fetch_all(tx).await
    });
    Ok(names?.into_iter().map(|(name,)| name).collect())
}

/// [`write!`](crate::write) with time enough for a large table.
async fn apply_patiently(db: &Db, migration: &Migration) -> Result<bool> {
    let mut attempts = Attempts::patient(db);
    loop {
        let mut tx = attempts.begin().await?;
        let outcome = attempts.run(apply(&mut tx, migration)).await;
        if let Some(outcome) = attempts.end(tx, outcome).await {
            return outcome;
        }
    }
}

/// Refuses tables from which a newer program has taken what this one needs.
async fn must_know(db: &Db, migrations: &[Migration]) -> Result<()> {
    let applied: Result<Vec<(String,)>> = crate::read!(db, async |tx| {
        query("SELECT name FROM migrations WHERE name LIKE '% needs %' ORDER BY name").fetch_all(tx).await
    });
    let known = |name: &str| migrations.iter().any(|migration| migration.name == name);
    for (name,) in applied? {
        if !known(&name) && !needs(&name).is_some_and(known) {
            let message = format!(
                "a newer program has migrated these tables ({name}), and this one is too old for them: start \
                 one that knows that migration"
            );
            return Err(Error::conflict("program_too_old", message));
        }
    }
    Ok(())
}

/// Refuses tables that are not as these migrations leave them. Changes nothing.
pub(crate) async fn must_be_current(db: &Db, migrations: &[Migration]) -> Result<()> {
    let applied: Result<Vec<(String,)>> = crate::snapshot!(db, async |tx| {
        if table::tables(tx).await?.is_empty() {
            return Ok(Vec::new());
        }
        query("SELECT name FROM migrations ORDER BY name").fetch_all(tx).await
    });
    let applied: Vec<String> = applied?.into_iter().map(|(name,)| name).collect();
    let known = |name: &&String| migrations.iter().any(|migration| migration.name == *name);
    if applied.is_empty() {
        return Err(Error::not_found("no_tables", "there are no tables yet"));
    }
    if let Some(name) = applied.iter().find(|name| !known(name)) {
        let message = format!("a newer program has migrated these tables ({name}): that one would be right");
        return Err(Error::conflict("program_too_old", message));
    }
    let missing = migrations.iter().find(|migration| !applied.iter().any(|name| name == migration.name));
    if let Some(Migration { name, .. }) = missing {
        let message = format!(
            "these tables are older than this program, which knows {name}: the program that \
                               they belong to would be right, or `carmel migrate` by this one"
        );
        return Err(Error::conflict("tables_too_old", message));
    }
    Ok(())
}

/// What a program must know to live with this migration.
fn needs(name: &str) -> Option<&str> {
    name.split_once(" needs ").map(|(_, needed)| needed)
}

/// Applies one, unless it was applied before. Says whether it did.
async fn apply(tx: &mut Tx, migration: &Migration) -> Result<bool> {
    // The second time is harmless: the table below knows of the first.
    tx.repeatable();
    if tx.engine() == Engine::Postgres {
        // One process at a time; the lock ends with the transaction. A change of
        // a large table may take its time; but it waits for a table that others
        // use only so long, because all who come after it wait behind it.
        tx.batch(
            "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
             SELECT pg_advisory_xact_lock(hashtext('carmel migrations ' || current_schema())); \
             SET LOCAL lock_timeout = '2s'",
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
    if let Some(found) = breaking::find(migration.sql).filter(|_| needs(migration.name).is_none()) {
        return Err(breaks(migration, &found));
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

fn breaks(migration: &Migration, found: &str) -> Error {
    let name = migration.name;
    let message = format!(
        "migration {name} says {found}, which the version before may not survive: release a version that does \
         without it, then call this \"{name} needs <the last migration of that version>\""
    );
    Error::new(Kind::Internal, "migration_breaks", message)
}

/// Names the migration that others were in the way of.
fn blocked(migration: &Migration, error: Error) -> Error {
    if error.kind != Kind::TimedOut {
        return error;
    }
    let message = format!(
        "migration {} did not get its table from those who use it: end what has a transaction open there \
         (pg_stat_activity shows it) and migrate again",
        migration.name
    );
    Error::new(Kind::TimedOut, "migration_blocked", message).because(error.chain())
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
