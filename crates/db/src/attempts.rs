//! The attempts at one transaction: begun, run, ended, and begun again where
//! that is right.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use kernel::{Error, Kind, Result, Task, Time, World};

use crate::{
    Caller, Db, Mode, Tx,
    error::{Again, Failure, commit_unknown, too_slow},
    sqlite::Writer,
    transaction::Driver,
};

/// How long all attempts at one transaction may take together.
const LIMIT: Duration = Duration::from_secs(15);
/// The same for a migration, whose table may be large.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a replica may take to answer before the primary is asked.
const NEAR: Duration = Duration::from_secs(2);
/// How long a body may hold SQLite's writer while it waits for something else.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a commit may take at least.
const COMMIT: Duration = Duration::from_secs(5);
/// How often a body is run.
const MOST: u32 = 8;

/// The attempts at one transaction: what [`write!`](crate::write) and its
/// siblings are made of.
pub struct Attempts {
    db: Db,
    mode: Mode,
    made: u32,
    until: Time,
    /// Whether a lock that others hold is asked for again.
    patient: bool,
    seat: Option<(Arc<Writer>, u64)>,
}

impl Attempts {
    /// None made yet.
    pub fn new(db: &Db, mode: Mode) -> Attempts {
        let until = db.world().steady() + LIMIT;
        Attempts { db: db.clone(), mode, made: 0, until, patient: false, seat: None }
    }

    /// At a change that may take its time: a migration, a look at every row of
    /// a large table.
    pub fn patient(db: &Db) -> Attempts {
        let until = db.world().steady() + DAY;
        Attempts { until, patient: true, ..Attempts::new(db, Mode::Write) }
    }

    /// Begins the next one.
    pub async fn begin(&mut self) -> Result<Tx> {
        loop {
            let begun = self.within(Duration::ZERO, self.db.begin(self.mode)).await;
            let failure = match begun.unwrap_or_else(|| Err(Failure::last(queue_too_long()))) {
                Ok((tx, mode)) => {
                    self.mode = mode;
                    if let Driver::Write(tx) = &tx.driver {
                        self.seat = Some(tx.seat());
                    }
                    return Ok(tx);
                }
                Err(failure) => failure,
            };
            if failure.again != Again::Yes || !self.pause().await {
                return Err(failure.error);
            }
        }
    }

    /// Runs the body; one that waits for anything but its statements for too
    /// long is rolled back.
    pub async fn run<T, E: From<Error>>(&mut self, body: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut body = pin!(body);
        // On SQLite nearly every body ends here, and needs neither clock nor watchdog.
        if let Poll::Ready(outcome) = poll_once(body.as_mut()).await {
            return outcome;
        }
        let seat = self.seat.take();
        let _watchdog = seat.map(|(writer, number)| Watchdog::new(self.db.world(), writer, number));
        let outcome = self.within(Duration::ZERO, body).await;
        outcome.unwrap_or_else(|| Err(too_slow().into()))
    }

    /// Commits or rolls back. Returns the outcome, or nothing when it is to be
    /// tried again.
    pub async fn end<T, E: From<Error>>(&mut self, tx: Tx, outcome: Result<T, E>) -> Option<Result<T, E>> {
        let repeatable = tx.repeatable;
        let failure = tx.failure();
        let unanswered = self.mode == Mode::Near && tx.interrupted;
        let (again, error) = match (outcome, failure) {
            (Ok(value), None) => match self.commit(tx).await {
                Ok(()) => {
                    if self.mode == Mode::Write
                        && let Some(caller) = Caller::current()
                    {
                        caller.wrote(self.db.world().now());
                    }
                    return Some(Ok(value));
                }
                Err(failure) => return self.after(failure.again, repeatable, failure.error.into()).await,
            },
            (Err(error), None) => {
                drop(tx);
                return Some(Err(error));
            }
            // A body that swallowed the failure of a statement did not do what it says.
            (Ok(_), Some(failure)) => (failure.again, failure.error.into()),
            (Err(error), Some(failure)) => (failure.again, error),
        };
        drop(tx);
        // A replica that says nothing is not waited for: the primary is asked.
        let again = if unanswered { Again::Yes } else { again };
        self.after(again, repeatable, error).await
    }

    async fn commit(&self, tx: Tx) -> Result<(), Failure> {
        if matches!(tx.driver, Driver::Write(_)) {
            return tx.commit().await; // what waits for the disk is not given up
        }
        let outcome = self.within(COMMIT, tx.commit()).await;
        outcome.unwrap_or_else(|| Err(commit_unknown(Error::internal("no answer in time"))))
    }

    /// The work's outcome, or nothing if it takes longer than all attempts may,
    /// and longer than `least`.
    async fn within<T>(&self, least: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        if let Poll::Ready(outcome) = poll_once(work.as_mut()).await {
            return Some(outcome);
        }
        let world = self.db.world();
        let most = if self.mode == Mode::Near { NEAR } else { DAY };
        world.timeout(self.until.since(world.steady()).max(least).min(most), work).await
    }

    async fn after<T, E>(&mut self, again: Again, repeatable: bool, error: E) -> Option<Result<T, E>> {
        let allowed = match again {
            Again::No => false,
            Again::Yes => true,
            Again::Elsewhere => self.mode == Mode::Write,
            Again::IfRepeatable => repeatable,
            Again::IfPatient => self.patient,
        };
        if allowed && self.pause().await { None } else { Some(Err(error)) }
    }

    /// Waits before the next attempt; says whether there is one.
    async fn pause(&mut self) -> bool {
        self.made += 1;
        if self.mode == Mode::Near {
            self.mode = Mode::Read; // the replica failed: the primary is asked
        }
        let world = self.db.world();
        if self.made >= MOST || world.steady() >= self.until {
            return false;
        }
        let first = if self.patient { 100 } else { 2 };
        let span = Duration::from_millis(first) * 2u32.pow(self.made.min(8));
        world.sleep(world.jitter(span)).await;
        true
    }
}

async fn poll_once<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await
}

fn queue_too_long() -> Error {
    Error::new(Kind::TimedOut, "database_queue_too_long", "the database is busy with others")
}

/// Takes the seat from a body that waits for something foreign, even when the
/// body is not polled any more.
struct Watchdog(Task);

impl Watchdog {
    fn new(world: &World, writer: Arc<Writer>, number: u64) -> Watchdog {
        let clock = world.clone();
        Watchdog(world.spawn(async move {
            clock.sleep(PATIENCE).await;
            writer.revoke(number);
        }))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Changes something: `db::write!(self.db, async |tx| { … })`. Commits when
/// the body answers `Ok`, rolls back when it answers `Err`, and runs the body
/// again when the database asks for that (a serialisation failure, a deadlock,
/// a connection that died before the commit was sent). So the body touches
/// nothing but `tx`.
///
/// A macro and not a method, because a future that borrows through an `async`
/// closure cannot be shown to be `Send` (see `docs/decisions`).
#[macro_export]
macro_rules! write {
    ($db:expr, async |$tx:ident| $body:block) => {
        $crate::transaction!($crate::Mode::Write, $db, $tx, $body)
    };
}

/// Looks at something: `db::read!(self.db, async |tx| { … })`.
#[macro_export]
macro_rules! read {
    ($db:expr, async |$tx:ident| $body:block) => {
        $crate::transaction!($crate::Mode::Read, $db, $tx, $body)
    };
}

/// Looks at something that may be a moment old, though never older than what
/// the [`Caller`](crate::Caller) changed himself: a replica may answer. For
/// what is shown to people; never to decide by, and never to be kept in a cache.
#[macro_export]
macro_rules! read_near {
    ($db:expr, async |$tx:ident| $body:block) => {
        $crate::transaction!($crate::Mode::Near, $db, $tx, $body)
    };
}

/// Looks at several tables at one moment: `db::snapshot!(self.db, async |tx| { … })`.
#[macro_export]
macro_rules! snapshot {
    ($db:expr, async |$tx:ident| $body:block) => {
        $crate::transaction!($crate::Mode::Snapshot, $db, $tx, $body)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! transaction {
    ($mode:expr, $db:expr, $tx:ident, $body:block) => {{
        let mut attempts = $crate::Attempts::new(&$db, $mode);
        loop {
            let mut transaction = match attempts.begin().await {
                Ok(transaction) => transaction,
                Err(error) => break Err(From::from(error)),
            };
            let outcome = {
                #[allow(unused_variables, unused_mut)]
                let $tx = &mut transaction;
                attempts.run(async { $body }).await
            };
            if let Some(outcome) = attempts.end(transaction, outcome).await {
                break outcome;
            }
        }
    }};
}
