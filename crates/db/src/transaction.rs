//! Transactions: begun, run, ended, and begun again where that is right.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use kernel::{Error, Kind, Result, Task, Time, World};

use crate::{
    Db, Query,
    error::{Again, Failure, too_slow},
    postgres,
    query::Read,
    sqlite::{ReadTx, WriteTx, Writer},
};

/// How long all attempts at one transaction may take together.
const LIMIT: Duration = Duration::from_secs(15);
/// How long a body may hold SQLite's writer while it waits for something else.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a commit may take at least.
const COMMIT: Duration = Duration::from_secs(5);
/// How often a body is run.
const MOST: u32 = 8;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To change something: all of it or nothing.
    Write,
    /// To look: every statement sees what is committed when it begins.
    Read,
    /// To look at one picture of everything.
    Snapshot,
}

/// An open transaction: what a store function takes. After a statement that
/// the database refused every further one is refused too, and what was done is
/// rolled back.
pub struct Tx {
    db: Db,
    driver: Driver,
    signals: Vec<&'static str>,
    repeatable: bool,
    /// Whether a statement is under way, or was when it was dropped.
    interrupted: bool,
    failure: Option<Failure>,
}

/// The transaction of whichever driver it is. Each rolls back when dropped.
pub(crate) enum Driver {
    Write(WriteTx),
    Look(ReadTx),
    Postgres(postgres::Tx),
}

impl Tx {
    pub(crate) fn new(db: Db, driver: Driver) -> Tx {
        Tx { db, driver, signals: Vec::new(), repeatable: false, interrupted: false, failure: None }
    }

    /// The clock, chance and tasks of its database.
    pub fn world(&self) -> &World {
        self.db.world()
    }

    /// Which of the two databases it is.
    pub fn engine(&self) -> crate::Engine {
        self.db.engine()
    }

    /// Raises [`Db::signal`] once this is committed.
    pub fn signal(&mut self, name: &'static str) {
        if !self.signals.contains(&name) {
            self.signals.push(name);
        }
    }

    /// Says that running this body again is harmless, because it carries an
    /// idempotency key: then it is run again even when the fate of its commit
    /// is unknown.
    pub fn repeatable(&mut self) {
        self.repeatable = true;
    }

    pub(crate) async fn fetch(&mut self, query: Query, read: &mut Read<'_>) -> Result<()> {
        self.start()?;
        let outcome = match &mut self.driver {
            Driver::Write(tx) => tx.fetch(query.sqlite, &query.values, read),
            Driver::Look(tx) => tx.fetch(query.sqlite, &query.values, read),
            Driver::Postgres(tx) => tx.fetch(query.postgres, &query.values, read).await,
        };
        self.remember(outcome)
    }

    pub(crate) async fn execute(&mut self, query: Query) -> Result<u64> {
        self.start()?;
        let outcome = match &mut self.driver {
            Driver::Write(tx) => tx.execute(query.sqlite, &query.values),
            Driver::Look(tx) => tx.execute(query.sqlite, &query.values),
            Driver::Postgres(tx) => tx.execute(query.postgres, &query.values).await,
        };
        self.remember(outcome)
    }

    /// Runs statements that have no parameters, separated by semicolons.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<()> {
        self.start()?;
        let outcome = match &mut self.driver {
            Driver::Write(tx) => tx.batch(sql),
            Driver::Look(_) => Err(Failure::last(Error::internal("who only looks changes nothing"))),
            Driver::Postgres(tx) => tx.batch(sql).await,
        };
        self.remember(outcome)
    }

    /// Refuses a statement after one that failed or was not awaited to its end:
    /// what the transaction holds is then unknown.
    fn start(&mut self) -> Result<()> {
        if let Some(failure) = self.failure() {
            return Err(failure.error);
        }
        self.interrupted = true;
        Ok(())
    }

    fn failure(&self) -> Option<Failure> {
        if self.interrupted {
            return Some(Failure::last(Error::internal("a statement was not awaited to its end")));
        }
        self.failure.clone()
    }

    fn remember<T>(&mut self, outcome: Result<T, Failure>) -> Result<T> {
        self.interrupted = false;
        outcome.map_err(|failure| {
            let error = failure.error.clone();
            self.failure = Some(failure);
            error
        })
    }

    async fn commit(self) -> Result<(), Failure> {
        match self.driver {
            Driver::Write(tx) => tx.commit().await?,
            Driver::Look(tx) => drop(tx),
            Driver::Postgres(tx) => tx.commit().await?,
        }
        for name in self.signals {
            let signal = self.db.signal(name);
            // In this order: with nobody waiting the first leaves a permit, so that
            // the next who waits does not; the second wakes all who wait.
            signal.notify_one();
            signal.notify_waiters();
        }
        Ok(())
    }
}

/// The attempts at one transaction: what [`write!`](crate::write) and its
/// siblings are made of.
pub struct Attempts {
    db: Db,
    mode: Mode,
    made: u32,
    until: Time,
    seat: Option<(Arc<Writer>, u64)>,
}

impl Attempts {
    /// None made yet.
    pub fn new(db: &Db, mode: Mode) -> Attempts {
        let until = db.world().now() + LIMIT;
        Attempts { db: db.clone(), mode, made: 0, until, seat: None }
    }

    /// Begins the next one.
    pub async fn begin(&mut self) -> Result<Tx> {
        loop {
            let begun = self.within(Duration::ZERO, self.db.begin(self.mode)).await;
            let failure = match begun.unwrap_or_else(|| Err(Failure::last(queue_too_long()))) {
                Ok(tx) => {
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
        let (again, error) = match (outcome, failure) {
            (Ok(value), None) => match self.commit(tx).await {
                Ok(()) => return Some(Ok(value)),
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
        world.timeout(self.until.since(world.now()).max(least), work).await
    }

    async fn after<T, E>(&mut self, again: Again, repeatable: bool, error: E) -> Option<Result<T, E>> {
        let allowed = match again {
            Again::No => false,
            Again::Yes => true,
            Again::IfRepeatable => repeatable,
        };
        if allowed && self.pause().await { None } else { Some(Err(error)) }
    }

    /// Waits before the next attempt; says whether there is one.
    async fn pause(&mut self) -> bool {
        self.made += 1;
        let world = self.db.world();
        if self.made >= MOST || world.now() >= self.until {
            return false;
        }
        let span = Duration::from_millis(2) * 2u32.pow(self.made.min(8));
        world.sleep(world.jitter(span)).await;
        true
    }
}

async fn poll_once<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await
}

/// The fate of a commit is unknown: the question was sent, no answer came.
pub(crate) fn commit_unknown(cause: Error) -> Failure {
    let error = Error::unavailable("commit_unknown", "whether this was saved is unknown").because(cause);
    Failure { error, again: Again::IfRepeatable }
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
