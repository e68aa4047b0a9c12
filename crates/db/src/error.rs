//! What a driver's failure means, in our words.

use kernel::Error;

/// Whether the body of a transaction may be run again after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would fail again, or the database did not ask for it.
    No,
    /// Nothing of it was kept.
    Yes,
    /// Nothing of it was kept: this server takes no changes, another may.
    Elsewhere,
    /// Nothing of it was kept: others held a lock for too long.
    IfPatient,
    /// Whether it was kept is unknown: only where doing it twice is harmless.
    IfRepeatable,
}

/// A failure of the database, remembered by its transaction.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub error: Error,
    pub again: Again,
}

impl Failure {
    /// One that the caller is told.
    pub fn last(error: Error) -> Failure {
        Failure { error, again: Again::No }
    }

    /// One after which the body may be run again.
    pub fn again(error: Error) -> Failure {
        Failure { error, again: Again::Yes }
    }
}

/// A body that held the writer of SQLite, or a connection, for too long.
pub(crate) fn too_slow() -> Error {
    Error::new(
        kernel::Kind::TimedOut,
        "transaction_too_slow",
        "the transaction took too long and was rolled back",
    )
}

/// A text that not every database here can store, so that none does.
pub(crate) fn unstorable() -> Failure {
    Failure::last(Error::invalid(
        "unstorable_text",
        "a text holds the character U+0000, which none here may hold",
    ))
}

/// The database was closed by us.
pub(crate) fn closed() -> Error {
    Error::unavailable("database_closed", "the database is being closed")
}

/// The fate of a commit is unknown: the question was sent, no answer came.
pub(crate) fn commit_unknown(cause: Error) -> Failure {
    let error = Error::unavailable("commit_unknown", "whether this was saved is unknown").because(cause);
    Failure { error, again: Again::IfRepeatable }
}
