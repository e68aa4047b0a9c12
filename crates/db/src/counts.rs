//! What is asked of databases, counted for the whole process: what a request or
//! an order costs them, whatever the machine.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static STATEMENTS: AtomicU64 = AtomicU64::new(0);
static TRIPS: AtomicU64 = AtomicU64::new(0);
static COMMITS: AtomicU64 = AtomicU64::new(0);

/// How often each was done since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Statements that were run. One of [`many`](crate::many) rows is one on
    /// PostgreSQL, and one for each row on SQLite, to which it is a call.
    pub statements: u64,
    /// Answers of a server that somebody waited for; SQLite has none.
    pub trips: u64,
    /// Commits of a change: SQLite's waiting writers share one.
    pub commits: u64,
}

/// How often each was done by now.
pub fn counts() -> Counts {
    Counts {
        statements: STATEMENTS.load(Relaxed),
        trips: TRIPS.load(Relaxed),
        commits: COMMITS.load(Relaxed),
    }
}

pub(crate) fn statement() {
    STATEMENTS.fetch_add(1, Relaxed);
}

pub(crate) fn trip() {
    TRIPS.fetch_add(1, Relaxed);
}

pub(crate) fn commit() {
    COMMITS.fetch_add(1, Relaxed);
}
