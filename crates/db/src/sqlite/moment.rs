//! One moment of several SQLite files, seen from beside whoever changes them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use kernel::{Error, Result, Time, World};
use rusqlite::{Connection, OpenFlags, backup::Backup};

use super::{Access, Claim, connect, failure};
use crate::error::Again;

/// How long the writers of the files may be kept out, from the first to the
/// last: far less than what a writer waits for another process.
const HELD: Duration = Duration::from_secs(1);
/// How long it is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries at the first file. The others, for which somebody waits
/// already, are tried without a pause: a busy writer leaves a file for a fraction
/// of a millisecond at a time.
const PAUSE: Duration = Duration::from_micros(100);
/// Between two tries at all of them, so that those who were kept out go on.
const BREATH: Duration = Duration::from_millis(100);

/// One moment of several SQLite files: all that was committed to any of them
/// until then, and nothing else, however they are changed meanwhile. Nobody may
/// open one of them for himself alone as long as it is kept.
pub struct Moment {
    /// When it was.
    pub at: Time,
    /// How long nobody could write to the files because of it.
    pub held: Duration,
    /// Each file, with a transaction that began at that moment.
    files: Vec<Connection>,
    _claims: Vec<File>,
}

impl Moment {
    /// Takes it: waits until nobody writes to any of the files, keeps it so for
    /// as long as it takes to look at each, and lets them go. Fails with
    /// `database_busy` when they are too busy for that. The busiest is best named
    /// first: once it rests, the others soon do. Blocks its thread.
    pub fn take(world: &World, paths: &[PathBuf]) -> Result<Moment> {
        let claim = |path: &PathBuf| Claim::Shared.take(path).map_err(|failure| failure.error);
        let claims = paths.iter().map(claim).collect::<Result<Vec<_>>>()?;
        let open = |access| paths.iter().map(move |path| told(path, connect(path, access)));
        // All that takes time comes before anybody is kept out.
        let writers = open(Access::Write).collect::<Result<Vec<_>>>()?;
        let files = open(Access::Read).collect::<Result<Vec<_>>>()?;
        let since = keep_writers_out(&writers)?;
        for (path, file) in paths.iter().zip(&files) {
            // SQLite takes its picture with the first read.
            told(path, file.execute_batch("BEGIN; SELECT COUNT(*) FROM sqlite_schema"))?;
        }
        let at = world.now();
        drop(writers);
        Ok(Moment { at, held: since.elapsed(), files, _claims: claims })
    }

    /// Copies one of the files, by its place, as it was then. Blocks its thread.
    pub fn copy(&self, file: usize, to: &Path) -> Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut copy = told(to, Connection::open_with_flags(to, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX))?;
        // A copy that was not finished is thrown away, so nothing is kept to undo it.
        told(to, copy.execute_batch("PRAGMA journal_mode = off; PRAGMA synchronous = off"))?;
        let copied = Backup::new(&self.files[file], &mut copy).and_then(|backup| backup.step(-1));
        told(to, copied)?;
        copy.close().map_err(|(_, cause)| failure(cause).error)
    }

    /// The migrations that had been applied to one of the files, in their order.
    pub fn migrations(&self, file: usize) -> Result<Vec<String>> {
        let names = || {
            let mut ask =
                self.files[file].prepare("SELECT name FROM migrations ORDER BY applied_at, name")?;
            ask.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
        };
        names().map_err(|cause| failure(cause).error)
    }
}

/// Begins to write to all of them; returns when nobody could write to the first
/// any more. Of several who do this one has the first, and so all the others;
/// whoever has not got them all in time lets them go and begins anew.
fn keep_writers_out(writers: &[Connection]) -> Result<Instant> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if !begin(&writers[0])? {
            thread::sleep(PAUSE);
            continue;
        }
        let since = Instant::now();
        while since.elapsed() < HELD {
            let mut all = true;
            for writer in writers {
                all &= begin(writer)?;
            }
            if all {
                return Ok(since);
            }
            thread::yield_now();
        }
        for writer in writers.iter().filter(|writer| !writer.is_autocommit()) {
            writer.execute_batch("ROLLBACK").map_err(|cause| failure(cause).error)?;
        }
        thread::sleep(BREATH);
    }
    Err(Error::unavailable(
        "database_busy",
        "the shop writes without a pause: there was no moment at which all of its files were at rest",
    ))
}

/// Begins to write, unless it has already; says whether nobody else writes.
fn begin(writer: &Connection) -> Result<bool> {
    if !writer.is_autocommit() {
        return Ok(true);
    }
    match writer.execute_batch("BEGIN IMMEDIATE").map_err(failure) {
        Ok(()) => Ok(true),
        Err(failure) if failure.again == Again::Yes => Ok(false),
        Err(failure) => Err(failure.error),
    }
}

/// A failure, with the file that it is about.
fn told<T>(path: &Path, outcome: rusqlite::Result<T>) -> Result<T> {
    outcome.map_err(|cause| {
        let error = failure(cause).error;
        Error { message: format!("{}: {}", path.display(), error.message), ..error }
    })
}
