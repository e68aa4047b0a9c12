//! A disk that counts.

use std::sync::atomic::{AtomicU32, Ordering};

use db::{Disk, Step};
use kernel::Result;

/// Counts the statements that read and those that change.
#[derive(Debug, Default)]
pub struct Counting {
    reads: AtomicU32,
    changes: AtomicU32,
}

/// How many there were so far.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// `SELECT` statements.
    pub reads: u32,
    /// All others.
    pub changes: u32,
}

impl Counting {
    /// How many there were so far.
    pub fn seen(&self) -> Seen {
        Seen { reads: self.reads.load(Ordering::Relaxed), changes: self.changes.load(Ordering::Relaxed) }
    }
}

impl Disk for Counting {
    fn before(&self, step: Step<'_>) -> Result<()> {
        if let Step::Statement(sql) = step {
            let counter = if sql.starts_with("SELECT") { &self.reads } else { &self.changes };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
