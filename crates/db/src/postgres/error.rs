//! What a failure of PostgreSQL means.

use kernel::{Error, Kind};
use tokio_postgres::error::{Severity, SqlState};

use crate::error::{Again, Failure, commit_unknown, too_slow};

/// A connection could not be had.
pub(super) fn connecting(cause: tokio_postgres::Error) -> Failure {
    match cause.code().map(SqlState::code) {
        Some(code) if code.starts_with("28") || code == "3D000" => {
            let error = Error::new(Kind::Internal, "database_refused", "the database does not let us in");
            Failure::last(error.because(said(&cause)))
        }
        // It is starting or stopping, or full of others, who go.
        Some("57P03" | "53300") => Failure::again(away(cause)),
        Some(code) if code.starts_with("08") => Failure::again(away(cause)),
        None if is_lost(&cause) => Failure::again(away(cause)),
        _ => Failure::last(away(cause)),
    }
}

/// A statement failed. `sql` is named where the fault is ours.
pub(super) fn statement(cause: tokio_postgres::Error, sql: &str) -> Failure {
    let Some(code) = cause.code() else {
        if is_lost(&cause) {
            return Failure::again(away(cause));
        }
        return Failure::last(Error::internal(format!("{} (in {sql})", said(&cause))));
    };
    let slow = |message: &str| Error::new(Kind::TimedOut, "database_timed_out", message);
    match code.code() {
        "40001" | "40P01" => {
            let error = Error::unavailable("database_contended", "others changed the same at the same time");
            Failure::again(error.because(said(&cause)))
        }
        _ if is_stale(&cause) => Failure::again(away(cause)),
        "57P01" | "57P02" | "57P03" => Failure::again(away(cause)),
        "25006" => {
            let error = Error::unavailable("database_read_only", "the database takes no changes here");
            Failure { error: error.because(said(&cause)), again: Again::Elsewhere }
        }
        "25P03" => Failure::last(too_slow().because(said(&cause))),
        "55P03" => {
            let error = slow("somebody else held what this needs for too long");
            Failure { error: error.because(said(&cause)), again: Again::IfPatient }
        }
        "57014" => Failure::last(slow("a statement took too long").because(said(&cause))),
        "42501" => {
            let error =
                Error::new(Kind::Internal, "database_forbidden", "the database's user may not do this");
            Failure::last(error.because(said(&cause)))
        }
        "53100" => {
            let error = Error::unavailable("storage_full", "there is no room left to store this");
            Failure::last(error.because(said(&cause)))
        }
        "53200" => {
            let error =
                Error::unavailable("database_out_of_memory", "the database has no memory left for this");
            Failure::last(error.because(said(&cause)))
        }
        "58030" => Failure::last(
            Error::unavailable("storage_failed", "the storage does not work").because(said(&cause)),
        ),
        // What we sent is wrong; a pooler that ends the connection says FATAL.
        "08P01" if cause.as_db_error().is_some_and(|error| error.severity() == "ERROR") => {
            Failure::last(Error::internal(format!("{} (in {sql})", said(&cause))))
        }
        code if code.starts_with("53") => Failure::last(away(cause)),
        code if code.starts_with("08") => Failure::again(away(cause)),
        code if code.starts_with("23") => {
            let error = Error::conflict("constraint_violated", "a rule of the database forbids this");
            Failure::last(error.because(said(&cause)))
        }
        _ => Failure::last(Error::internal(format!("{} (in {sql})", said(&cause)))),
    }
}

/// A commit failed: whether it was kept is only known when PostgreSQL says so
/// and lives on. One that panics (no room for its log) may have written it.
pub(super) fn commit(cause: tokio_postgres::Error) -> Failure {
    let refused = cause.as_db_error().is_some_and(|error| {
        let dies = error.parsed_severity() == Some(Severity::Panic);
        !dies && !["57", "08"].contains(&&error.code().code()[..2])
    });
    if refused { statement(cause, "COMMIT") } else { commit_unknown(Error::internal(said(&cause))) }
}

/// Whether a prepared statement is of no use any more: a migration has changed
/// its table, or a pooler between does not know it.
pub(super) fn is_stale(cause: &tokio_postgres::Error) -> bool {
    cause.as_db_error().is_some_and(|error| match error.code().code() {
        "26000" => true,
        "0A000" => error.message().starts_with("cached plan"),
        _ => false,
    })
}

/// Whether the connection is of no use any more.
fn is_lost(cause: &tokio_postgres::Error) -> bool {
    let io = std::error::Error::source(cause).is_some_and(|source| source.is::<std::io::Error>());
    cause.is_closed() || io
}

fn away(cause: tokio_postgres::Error) -> Error {
    Error::unavailable("database_unavailable", "the database does not answer").because(said(&cause))
}

/// What the log may tell of it: the code and the message. Never the detail, the
/// hint or the place, which quote values (`Key (email)=(…)`, `Failing row
/// contains (…)`); so the driver's own error is kept nowhere.
pub(super) fn said(cause: &tokio_postgres::Error) -> String {
    match cause.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => match std::error::Error::source(cause) {
            Some(source) => format!("{cause}: {source}"),
            None => cause.to_string(),
        },
    }
}
