//! SQLite: one writer whose commits are shared, a few readers. Statements run
//! on the calling task, because on a warm page one costs microseconds and a
//! trip to another thread costs more; only a commit, which waits for the disk,
//! runs elsewhere.

mod claim;
mod moment;
mod reader;
mod value;
mod writer;

pub(crate) use claim::{Claim, IN_USE};
pub use moment::Moment;
pub(crate) use reader::{ReadTx, Readers};
pub(crate) use value::read_value;
pub(crate) use writer::{WriteTx, Writer};

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kernel::{Error, Kind, Result, Value, World};
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement, StatementStatus, config::DbConfig, ffi};

use crate::{
    Row, counts,
    error::{Again, Failure},
    query::Read,
    row::Driver,
};

/// The seam to SQLite's execution: a test can refuse from some step on, as if
/// the process had died there.
pub trait Disk: Send + Sync + 'static {
    /// Is asked before each step; an error takes the place of the step.
    fn before(&self, step: Step<'_>) -> Result<()>;

    /// Is told after each statement how many steps SQLite's virtual machine
    /// took for it: what it costs, counted.
    fn after(&self, sql: &str, steps: u64) {
        let _ = (sql, steps);
    }

    /// Whether commits run on the task that asks for them, so that the order of
    /// everything is fixed.
    fn inline(&self) -> bool {
        false
    }
}

/// What SQLite is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// To begin a transaction, or the part of one member of a group.
    Begin,
    /// To run a statement.
    Statement(&'a str),
    /// To commit what the members of a group have done.
    Commit,
}

/// The real disk: refuses nothing.
pub(crate) struct Plain;

impl Disk for Plain {
    fn before(&self, _: Step<'_>) -> Result<()> {
        Ok(())
    }
}

/// A SQLite file that is open.
pub(crate) struct Sqlite {
    pub writer: Arc<Writer>,
    pub readers: Arc<Readers>,
    /// Nothing once it is closed.
    claim: Mutex<Option<File>>,
}

impl Sqlite {
    pub async fn open(path: &Path, claim: Claim, world: &World, disk: Arc<dyn Disk>) -> Result<Sqlite> {
        let claim = claim.take_patiently(path, world).await.map_err(|failure| failure.error)?;
        let file = path.to_owned();
        let connection =
            world.blocking(move || connect(&file, Access::Write)).await?.map_err(|e| failure(e).error)?;
        Ok(Sqlite {
            writer: Writer::new(connection, world, disk.clone()),
            readers: Readers::new(path, disk),
            claim: Mutex::new(Some(claim)),
        })
    }

    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        drop(self.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Access {
    Write,
    Read,
}

fn connect(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let flags = match access {
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        // A reader may have to write the index of the WAL: `query_only` below
        // forbids changes, the flag would forbid that.
        Access::Read => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Another process may be opening the same file just now.
    connection.busy_timeout(Duration::from_secs(5))?;
    if access == Access::Write {
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        // Each member of a group keeps, until it is done, the pages as they were before it: not in a file.
        connection.pragma_update(None, "temp_store", "memory")?;
        // In pages of 4 KiB: what many orders change again and again is copied to its place once.
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    } else {
        connection.pragma_update(None, "query_only", true)?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // The plan of a statement depends on its text alone. Otherwise one whose plan could use a
    // partial index is parsed anew whenever a value is bound, which costs more than running it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // In KiB. Many small databases are open at once, and the system caches the file too.
    connection.pragma_update(None, "cache_size", if access == Access::Write { -16000 } else { -1000 })?;
    connection.set_prepared_statement_cache_capacity(if access == Access::Write { 128 } else { 64 });
    // From here on nobody waits on a thread: `BEGIN` is tried again by its task.
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// Runs a statement and hands its rows to `read`.
fn fetch(
    (connection, disk): (&Connection, &dyn Disk),
    sql: &str,
    values: &[Value],
    read: &mut Read<'_>,
) -> Result<(), Failure> {
    disk.before(Step::Statement(sql)).map_err(Failure::last)?;
    counts::statement();
    let mut statement = connection.prepare_cached(sql).map_err(|e| told(e, sql))?;
    value::bind(&mut statement, values).map_err(|e| unbound(e, sql))?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(|e| told(e, sql))? {
        if !read(&Row(Driver::Sqlite(row))).map_err(Failure::last)? {
            break;
        }
    }
    drop(rows);
    disk.after(sql, steps(&statement));
    Ok(())
}

/// How many steps of the virtual machine a statement has taken since this was asked last.
fn steps(statement: &Statement<'_>) -> u64 {
    u64::try_from(statement.reset_status(StatementStatus::VmStep)).unwrap_or(0)
}

/// Runs a statement and says how many rows it changed.
fn execute(
    (connection, disk): (&Connection, &dyn Disk),
    sql: &str,
    values: &[Value],
) -> Result<u64, Failure> {
    disk.before(Step::Statement(sql)).map_err(Failure::last)?;
    counts::statement();
    let mut statement = connection.prepare_cached(sql).map_err(|e| told(e, sql))?;
    value::bind(&mut statement, values).map_err(|e| unbound(e, sql))?;
    let mut rows = statement.raw_query();
    while rows.next().map_err(|e| told(e, sql))?.is_some() {}
    drop(rows);
    disk.after(sql, steps(&statement));
    Ok(if statement.readonly() { 0 } else { connection.changes() })
}

/// Begins or ends a transaction.
fn command(connection: &Connection, sql: &str) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(sql).map_err(failure)?;
    statement.raw_execute().map(drop).map_err(failure)
}

fn unbound(cause: String, sql: &str) -> Failure {
    Failure::last(Error::internal(format!("{cause} (in {sql})")))
}

/// A failure of a statement: a fault of ours names the text.
fn told(cause: rusqlite::Error, sql: &str) -> Failure {
    let failure = failure(cause);
    if failure.error.kind != Kind::Internal {
        return failure;
    }
    Failure::last(Error::internal(format!("{} (in {sql})", failure.error.chain())))
}

/// What SQLite's failure means.
fn failure(cause: rusqlite::Error) -> Failure {
    let rusqlite::Error::SqliteFailure(code, _) = &cause else {
        return Failure::last(Error::internal(cause));
    };
    let code = *code;
    let error = match code.code {
        // A STRICT table was given a value of another type: our mistake, nobody's conflict.
        ErrorCode::ConstraintViolation if code.extended_code == ffi::SQLITE_CONSTRAINT_DATATYPE => {
            Error::internal(cause)
        }
        ErrorCode::ConstraintViolation => {
            Error::conflict("constraint_violated", "a rule of the database forbids this").because(cause)
        }
        ErrorCode::DiskFull => {
            Error::unavailable("storage_full", "there is no room left to store this").because(cause)
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            let error =
                Error::unavailable("database_busy", "another process holds the database").because(cause);
            return Failure { error, again: Again::Yes };
        }
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::PermissionDenied => {
            Error::unavailable("storage_failed", "the storage does not work").because(cause)
        }
        _ => Error::internal(cause),
    };
    Failure::last(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_could_use_a_partial_index_is_parsed_once() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connect(&folder.path().join("parsed.db"), Access::Write).unwrap();
        let tables =
            "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT NOT NULL, run_at INTEGER NOT NULL);
                      CREATE INDEX jobs_waiting ON jobs (run_at) WHERE state = 'waiting'";
        connection.execute_batch(tables).unwrap();

        let sql = "SELECT id FROM jobs WHERE state = ?1 AND run_at <= ?2";
        let mut statement = connection.prepare(sql).unwrap();
        for state in ["waiting", "running", "waiting", "done"] {
            let mut rows = statement.query((state, 1)).unwrap();
            assert!(rows.next().unwrap().is_none());
        }

        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
