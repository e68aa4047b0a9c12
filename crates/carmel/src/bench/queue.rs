//! Jobs that do nothing: what the queue itself bears. The shop has no way to
//! be asked for such a job, so they are worked in this process, on tables of
//! their own, as a service works its jobs.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use db::{Db, Target};
use jobs::{Bullmq, Dispatch, Failure, Job, Run, Runner, Worker};
use kernel::{Error, Result, World};
use load::Outcome;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    SETTLE,
    report::{Asked, Measured, Process, Took},
};

/// So many are added by one transaction, as a service adds what one change causes.
const TOGETHER: u64 = 100;
/// To PostgreSQL.
const CONNECTIONS: usize = 8;

/// Where the jobs are, and how they come to their workers.
pub struct Queue<'a> {
    /// Where the tables are when there is no PostgreSQL.
    pub folder: &'a Path,
    pub postgres: Option<&'a str>,
    /// The Redis of BullMQ's queues; without it they are claimed in the database.
    pub redis: Option<String>,
    /// How many run at once.
    pub concurrency: usize,
    pub world: &'a World,
}

/// A job that does nothing for the caller of this number.
#[derive(Serialize, Deserialize)]
struct Nothing {
    caller: usize,
}

impl Job for Nothing {
    const NAME: &'static str = "bench.nothing";
}

/// Somebody who adds some, waits until they are done, and adds more.
#[derive(Default)]
struct Caller {
    added_at: Mutex<Option<Instant>>,
    left: AtomicU64,
    all_done: Notify,
}

/// Those who call, and what came of it.
struct Callers {
    callers: Vec<Caller>,
    outcome: Mutex<Outcome>,
}

#[jobs::async_trait]
impl Worker<Nothing> for Callers {
    async fn run(&self, job: Nothing, _: &Run) -> Result<(), Failure> {
        let Some(caller) = self.callers.get(job.caller) else { return Ok(()) };
        let added_at = *caller.added_at.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = added_at.map_or(Duration::ZERO, |at| at.elapsed());
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).done(wait);
        if caller.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            caller.all_done.notify_one();
        }
        Ok(())
    }
}

impl Callers {
    /// Until the time is over, whoever calls adds some as soon as his last ones are done.
    async fn call(&self, db: &Db, span: Duration) -> Result<()> {
        let began = Instant::now();
        let one = async |number: usize| {
            let caller = &self.callers[number];
            while began.elapsed() < span {
                let some: Vec<Nothing> = (0..TOGETHER).map(|_| Nothing { caller: number }).collect();
                caller.left.store(TOGETHER, Ordering::SeqCst);
                *caller.added_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                db::write!(db, async |tx| { jobs::add_many(tx, &some).await })?;
                if timeout(SETTLE, caller.all_done.notified()).await.is_err() {
                    let left = caller.left.load(Ordering::SeqCst);
                    let message =
                        format!("queue: {left} of {TOGETHER} jobs are not done after {} s", SETTLE.as_secs());
                    return Err(Error::unavailable("not_settled", message));
                }
            }
            Ok::<(), Error>(())
        };
        futures::future::try_join_all((0..self.callers.len()).map(one)).await?;
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).span = began.elapsed();
        Ok(())
    }
}

impl Queue<'_> {
    /// So many callers for so long.
    pub async fn measure(&self, callers: usize, span: Duration) -> Result<Measured> {
        let target = match self.postgres {
            None => Target::Sqlite { path: self.folder.join("queue.db") },
            Some(url) => {
                Target::Postgres { url: url.to_owned(), schema: "queue".into(), connections: CONNECTIONS }
            }
        };
        let db = Db::open(&target, self.world).await?;
        db.migrate(jobs::MIGRATIONS).await?;
        let callers = Arc::new(Callers {
            callers: (0..callers).map(|_| Caller::default()).collect(),
            outcome: Mutex::default(),
        });
        let dispatch = match &self.redis {
            None => Dispatch::Database,
            Some(url) => Dispatch::Bullmq(Bullmq::at(url)?),
        };
        let runner = Runner::new("queue", db.clone()).worker::<Nothing>(callers.clone());
        let runner = runner.usual_concurrency(self.concurrency).through(dispatch);
        let stop = CancellationToken::new();
        let running = self.world.spawn(runner.run(stop.clone()));

        let me = std::process::id();
        let (busy_before, asked_before, began) = (load::busy(me), db::counts(), Instant::now());
        let called = callers.call(&db, span).await;
        let (busy, span) = (load::busy(me).saturating_sub(busy_before), began.elapsed());
        let asked = db::counts();
        stop.cancel();
        running.join().await;
        db.close().await;
        called?;

        let outcome = std::mem::take(&mut *callers.outcome.lock().unwrap_or_else(PoisonError::into_inner));
        if outcome.answers == 0 {
            return Err(Error::unavailable("nothing_answered", "queue: no job was done"));
        }
        let asked = Asked::between(asked_before, asked, outcome.answers);
        let memory_mb = load::memory_mb(me, "VmRSS:");
        let name = "bench".to_owned();
        let processes = vec![Process { name, cores: busy.as_secs_f64() / span.as_secs_f64(), memory_mb }];
        let took = Took { processes, load: Duration::ZERO, span, asked };
        Ok(Measured::of("queue", outcome, took))
    }
}
