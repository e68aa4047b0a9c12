//! The writer of a SQLite file. Writers follow one another in the order in
//! which they came; what they did is committed together: whoever waited while
//! the last commit was under way shares the next one. Each has a savepoint, so
//! that one that fails takes nothing of the others with it, and an answer only
//! after the commit.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel::{Error, Value, World};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Disk, Step, command, execute, failure, fetch};
use crate::{
    counts,
    error::{Again, Failure, closed, too_slow},
    query::Read,
};

/// A group of this size is committed at once, so that its first members do not
/// wait for ever.
const FULL: usize = 128;
/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one connection that changes the file.
pub(crate) struct Writer {
    world: World,
    disk: Arc<dyn Disk>,
    seat: Arc<Semaphore>,
    /// Who has the seat, by number; 0 for nobody. Is looked at before `core` is
    /// locked, because a commit holds that lock for long.
    holder: AtomicU64,
    core: Mutex<Core>,
}

struct Core {
    /// Nothing once it is closed.
    connection: Option<Connection>,
    /// The last number that was given to a holder.
    last: u64,
    /// The seat, while somebody has it who is not a committer.
    seat: Option<OwnedSemaphorePermit>,
    /// Whether the holder stands on a savepoint, or alone in the transaction.
    savepoint: bool,
    /// Which group it is; each has the next number.
    group: u64,
    /// Those who are done and wait for the commit of the open transaction.
    members: Vec<oneshot::Sender<Result<(), Failure>>>,
}

impl Writer {
    pub fn new(connection: Connection, world: &World, disk: Arc<dyn Disk>) -> Arc<Writer> {
        Arc::new(Writer {
            world: world.clone(),
            disk,
            seat: Arc::new(Semaphore::new(1)),
            holder: AtomicU64::new(0),
            core: Mutex::new(Core {
                connection: Some(connection),
                last: 0,
                seat: None,
                savepoint: false,
                group: 0,
                members: Vec::new(),
            }),
        })
    }

    /// Waits for the seat and begins.
    pub async fn begin(self: &Arc<Writer>) -> Result<WriteTx, Failure> {
        let seat = self.seat.clone().acquire_owned().await;
        let mut seat = Some(seat.map_err(|_| Failure::last(closed()))?);
        let until = self.world.steady() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.try_begin(&mut seat) {
                // Another process holds the file: the task waits, not the thread.
                Err(failure) if failure.again == Again::Yes && self.world.steady() < until => {
                    self.world.sleep(self.world.jitter(pause)).await;
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                outcome => return outcome,
            }
        }
    }

    fn try_begin(self: &Arc<Writer>, seat: &mut Option<OwnedSemaphorePermit>) -> Result<WriteTx, Failure> {
        self.disk.before(Step::Begin).map_err(Failure::last)?;
        let mut core = self.lock();
        let savepoint = !core.members.is_empty();
        let begin = if savepoint { "SAVEPOINT member" } else { "BEGIN IMMEDIATE" };
        command(core.connection()?, begin)?;
        core.savepoint = savepoint;
        core.last += 1;
        core.seat = seat.take();
        self.holder.store(core.last, Ordering::SeqCst);
        Ok(WriteTx { writer: self.clone(), number: core.last })
    }

    /// Rolls back whoever has that number, if he still has the seat, and gives
    /// the seat to the next.
    pub fn revoke(&self, number: u64) {
        if self.holder.load(Ordering::SeqCst) != number {
            return;
        }
        let mut core = self.lock();
        if self.holder.load(Ordering::SeqCst) == number {
            core.roll_back();
            self.leave(&mut core);
        }
    }

    /// Commits what the members did and answers them. Only whoever has the seat
    /// may call it.
    fn commit(&self, core: &mut Core) -> Vec<Answer> {
        let members = std::mem::take(&mut core.members);
        if members.is_empty() {
            return Vec::new();
        }
        core.group += 1;
        let early = self.world.planted("answered_before_the_commit");
        let members = if early { answered(members) } else { members };
        let outcome = match self.disk.before(Step::Commit) {
            Ok(()) => core.connection().and_then(|connection| command(connection, "COMMIT")),
            Err(refused) => Err(Failure::last(refused)),
        };
        match &outcome {
            Ok(()) => counts::commit(),
            Err(_) => core.roll_back_all(),
        }
        // That somebody else held the file is no reason to run the bodies again here:
        // an immediate transaction that cannot commit is a fault.
        let outcome = outcome.map_err(|failure| Failure::last(failure.error));
        members.into_iter().map(|member| (member, outcome.clone())).collect()
    }

    /// Commits the group of that number, if nobody has done so yet.
    fn commit_with(&self, seat: OwnedSemaphorePermit, group: u64) {
        let mut core = self.lock();
        let answers = if core.group == group { self.commit(&mut core) } else { Vec::new() };
        drop(core);
        // The next one begins while these hear of it.
        drop(seat);
        answer(answers);
    }

    /// Commits in a task of its own, so that a member that is dropped takes no
    /// commit with it. Without a seat it queues for one: those who queued
    /// before it join the group first.
    fn spawn_commit(self: &Arc<Writer>, seat: Option<OwnedSemaphorePermit>, group: u64) {
        let writer = self.clone();
        self.world.spawn(async move {
            if seat.is_none() && !writer.disk.inline() {
                // Whoever is just about to write comes along.
                tokio::task::yield_now().await;
            }
            let seat = match seat {
                Some(seat) => seat,
                None => match writer.seat.clone().acquire_owned().await {
                    Ok(seat) => seat,
                    Err(_) => return, // closed: whoever closed it has committed
                },
            };
            if writer.lock().group != group {
                return;
            }
            if writer.disk.inline() {
                return writer.commit_with(seat, group);
            }
            let committer = writer.clone();
            if let Err(error) = writer.world.blocking(move || committer.commit_with(seat, group)).await {
                tracing::error!(error = %error.chain(), "a commit ended without an answer");
            }
        });
    }

    /// Gives the seat away.
    fn leave(&self, core: &mut Core) {
        self.holder.store(0, Ordering::SeqCst);
        core.seat = None;
    }

    /// Waits for what is under way, commits what is done, and closes.
    pub async fn close(self: &Arc<Writer>) {
        let Ok(seat) = self.seat.clone().acquire_owned().await else {
            return;
        };
        self.seat.close();
        let writer = self.clone();
        let closing = self.world.blocking(move || {
            let mut core = writer.lock();
            let answers = writer.commit(&mut core);
            core.connection = None;
            drop(core);
            drop(seat);
            answer(answers);
        });
        if let Err(error) = closing.await {
            tracing::error!(error = %error.chain(), "closing a database ended without an answer");
        }
    }

    /// A panic while a row was read leaves nothing half done here: the
    /// transaction of whoever panicked is rolled back when it is dropped.
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The planted fault of an answer before the commit.
fn answered(members: Vec<oneshot::Sender<Result<(), Failure>>>) -> Vec<oneshot::Sender<Result<(), Failure>>> {
    members.into_iter().for_each(|member| drop(member.send(Ok(()))));
    Vec::new()
}

type Answer = (oneshot::Sender<Result<(), Failure>>, Result<(), Failure>);

fn answer(answers: Vec<Answer>) {
    for (member, outcome) in answers {
        // A member that was dropped needs no answer.
        drop(member.send(outcome));
    }
}

impl Core {
    fn connection(&self) -> Result<&Connection, Failure> {
        self.connection.as_ref().ok_or_else(|| Failure::last(closed()))
    }

    /// Takes back what the holder did.
    fn roll_back(&mut self) {
        let Ok(connection) = self.connection() else { return };
        let outcome = if self.savepoint {
            connection.execute_batch("ROLLBACK TO member; RELEASE member")
        } else {
            connection.execute_batch("ROLLBACK")
        };
        if let Err(cause) = outcome
            && !connection.is_autocommit()
        {
            tracing::error!(%cause, "a rollback failed");
            self.roll_back_all();
        }
        self.notice_loss();
    }

    /// Takes back everything since the last commit.
    fn roll_back_all(&mut self) {
        let Ok(connection) = self.connection() else { return };
        if !connection.is_autocommit()
            && let Err(cause) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%cause, "a rollback failed");
        }
        self.notice_loss();
    }

    /// After some failures (a full disk, a failed read) SQLite rolls the whole
    /// transaction back by itself: then those who were done are told to begin again.
    fn notice_loss(&mut self) {
        let lost = self.connection().is_ok_and(Connection::is_autocommit);
        if !lost || self.members.is_empty() {
            return;
        }
        self.group += 1;
        let error = Error::unavailable("storage_failed", "a transaction was lost with its neighbour's");
        for member in std::mem::take(&mut self.members) {
            drop(member.send(Err(Failure::again(error.clone()))));
        }
    }
}

/// A transaction that changes something. Rolled back when it is dropped.
pub(crate) struct WriteTx {
    writer: Arc<Writer>,
    number: u64,
}

impl WriteTx {
    /// What a watchdog needs to end it.
    pub fn seat(&self) -> (Arc<Writer>, u64) {
        (self.writer.clone(), self.number)
    }

    pub fn fetch(&self, sql: &str, values: &[Value], read: &mut Read<'_>) -> Result<(), Failure> {
        self.step(|on| fetch(on, sql, values, read))
    }

    pub fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, Failure> {
        self.step(|on| execute(on, sql, values))
    }

    /// Runs several statements that have no parameters.
    pub fn batch(&self, sql: &str) -> Result<(), Failure> {
        self.step(|(connection, disk)| {
            disk.before(Step::Statement(sql)).map_err(Failure::last)?;
            connection.execute_batch(sql).map_err(failure)
        })
    }

    fn step<T>(
        &self,
        work: impl FnOnce((&Connection, &dyn Disk)) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut core = self.core()?;
        let outcome = work((core.connection()?, &*self.writer.disk));
        if outcome.is_err() {
            core.notice_loss();
        }
        outcome
    }

    /// Joins the group and waits until it is committed.
    pub async fn commit(self) -> Result<(), Failure> {
        let committed = self.join()?;
        committed.await.unwrap_or_else(|_| {
            Err(Failure {
                error: Error::unavailable("commit_unknown", "whether this was saved is unknown"),
                again: Again::IfRepeatable,
            })
        })
    }

    fn join(&self) -> Result<oneshot::Receiver<Result<(), Failure>>, Failure> {
        let mut core = self.core()?;
        if core.savepoint {
            command(core.connection()?, "RELEASE member")?;
        } else if core.connection()?.is_autocommit() {
            let error = Error::unavailable("storage_failed", "the transaction was lost");
            return Err(Failure::last(error));
        }
        let (member, committed) = oneshot::channel();
        core.members.push(member);
        let (count, group) = (core.members.len(), core.group);
        let seat = core.seat.take();
        self.writer.leave(&mut core);
        drop(core);
        if count == FULL {
            self.writer.spawn_commit(seat, group);
        } else if count == 1 {
            self.writer.spawn_commit(None, group);
        }
        Ok(committed)
    }

    /// The connection, as long as this has the seat.
    fn core(&self) -> Result<MutexGuard<'_, Core>, Failure> {
        if self.has_seat() {
            let core = self.writer.lock();
            if self.has_seat() {
                return Ok(core);
            }
        }
        Err(Failure::last(too_slow()))
    }

    fn has_seat(&self) -> bool {
        self.writer.holder.load(Ordering::SeqCst) == self.number
    }
}

impl Drop for WriteTx {
    fn drop(&mut self) {
        self.writer.revoke(self.number);
    }
}
