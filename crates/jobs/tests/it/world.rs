//! A database of one's own and a clock that a story moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use db::{Db, Target};
use jobs::{Bullmq, Dispatch, Failure, Job, JobView, Options, Policy, Run, Runner, State, Worker};
use kernel::{BoxFuture, Error, JobId, Outside, Result, Time, World};
use serde::{Deserialize, Serialize};
use testkit::{postgres, redis};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A fresh database with the tables of jobs and one of effects.
pub struct TestDb {
    pub db: Db,
    pub clock: Clock,
    target: Target,
    dispatch: Dispatch,
    redis: Option<redis::Server>,
    _folder: Option<tempfile::TempDir>,
    _postgres: Option<Arc<postgres::Server>>,
}

const EFFECTS: db::Migration = db::Migration {
    name: "test_1",
    sql: "CREATE TABLE effects (id UUID NOT NULL PRIMARY KEY, label TEXT NOT NULL)",
};

impl TestDb {
    pub async fn sqlite() -> TestDb {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Sqlite { path: folder.path().join("jobs.db") };
        TestDb { _folder: Some(folder), ..TestDb::open(target).await }
    }

    pub async fn postgres() -> TestDb {
        let server = postgres::Server::shared();
        let url = server.url();
        let schema = format!("jobs_{}", World::real().uuid_v7().simple());
        let target = Target::Postgres { url, schema, connections: 6 };
        TestDb { _postgres: Some(server), ..TestDb::open(target).await }
    }

    /// On a server that the story itself may kill.
    pub async fn on(server: &postgres::Server) -> TestDb {
        TestDb::open(Target::Postgres { url: server.url(), schema: "jobs".into(), connections: 6 }).await
    }

    async fn open(target: Target) -> TestDb {
        let clock = Clock::default();
        let db = Db::open(&target, &World::new(clock.clone())).await.unwrap();
        db.migrate(&[jobs::MIGRATIONS, &[EFFECTS]].concat()).await.unwrap();
        let dispatch = Dispatch::Database;
        TestDb { db, clock, target, dispatch, redis: None, _folder: None, _postgres: None }
    }

    /// The same, but jobs come to their workers through BullMQ, on a Redis of
    /// their own.
    pub fn through_bullmq(self) -> TestDb {
        let redis = redis::Server::start();
        let dispatch = Dispatch::Bullmq(Bullmq::at(&redis.url()).unwrap());
        TestDb { redis: Some(redis), dispatch, ..self }
    }

    /// The same, looking up what waits in Redis after that long.
    pub fn looking_up_after(self, span: Duration) -> TestDb {
        let settings = Bullmq::at(&self.redis().url()).unwrap().look_up_after(span);
        TestDb { dispatch: Dispatch::Bullmq(settings), ..self }
    }

    /// Where the database is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn redis_mut(&mut self) -> &mut redis::Server {
        self.redis.as_mut().unwrap()
    }

    /// The Redis of the queues.
    pub fn redis(&self) -> &redis::Server {
        self.redis.as_ref().unwrap()
    }

    /// Somebody who does the notes.
    pub fn runner(&self, notes: &Arc<Notes>) -> Runner {
        self.runner_on(&self.db, notes)
    }

    /// The same, in another process.
    pub fn runner_on(&self, db: &Db, notes: &Arc<Notes>) -> Runner {
        self.runner_of(db, notes.clone())
    }

    /// The same, with somebody else who does the notes.
    pub fn runner_of(&self, db: &Db, worker: Arc<impl Worker<Note>>) -> Runner {
        Runner::new("test", db.clone()).worker::<Note>(worker).through(self.dispatch.clone())
    }

    /// One of that service that does nothing yet.
    pub fn runner_named(&self, service: &'static str) -> Runner {
        Runner::new(service, self.db.clone()).through(self.dispatch.clone())
    }

    /// The same database, as another process sees it: signals do not cross.
    pub async fn other_process(&self) -> Db {
        Db::open(&self.target, &World::new(self.clock.clone())).await.unwrap()
    }

    /// Lets that runner do what is due now, and what that makes due.
    pub async fn work(&self, runner: Runner) {
        if let Dispatch::Database = self.dispatch {
            runner.run_due().await.unwrap();
            return;
        }
        let stop = CancellationToken::new();
        let running = tokio::spawn(runner.run(stop.clone()));
        self.until("nothing is due", async || self.due().await == 0).await;
        // What is under way is finished first.
        stop.cancel();
        running.await.unwrap();
    }

    async fn due(&self) -> i64 {
        let due: Result<(i64,)> = db::read!(self.db, async |tx| {
            db::query(
                "SELECT COUNT(*) FROM jobs WHERE name IN ('test.note', 'test.letter')
                   AND NOT EXISTS (SELECT 1 FROM queues WHERE queues.name = jobs.queue AND paused = TRUE)
                   AND ((state = 'waiting' AND run_at <= $1) OR (state = 'running' AND leased_until_at <= $1))",
            )
            .bind(tx.world().now())
            .fetch_one(tx)
            .await
        });
        due.unwrap().0
    }

    pub async fn add<J: Job>(&self, job: &J) -> JobId {
        self.add_with(job, Options::default()).await
    }

    pub async fn add_with<J: Job>(&self, job: &J, options: Options) -> JobId {
        let added: Result<JobId> =
            db::write!(self.db, async |tx| { jobs::add_with(tx, job, options.clone()).await });
        added.unwrap()
    }

    pub async fn job(&self, id: JobId) -> JobView {
        let found: Result<Option<JobView>> = db::read!(self.db, async |tx| { jobs::find(tx, id).await });
        found.unwrap().unwrap()
    }

    pub async fn state(&self, id: JobId) -> State {
        self.job(id).await.state
    }

    pub async fn pending(&self) -> i64 {
        let pending: Result<i64> = db::read!(self.db, async |tx| { jobs::pending(tx).await });
        pending.unwrap()
    }

    /// The labels of all effects, in the order they were saved.
    pub async fn effects(&self) -> Vec<String> {
        let labels: Result<Vec<(String,)>> = db::read!(self.db, async |tx| {
            db::query("SELECT label FROM effects ORDER BY id LIMIT 10000").fetch_all(tx).await
        });
        labels.unwrap().into_iter().map(|(label,)| label).collect()
    }

    /// Waits, in real time, until something is so.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        for _ in 0..6000 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to be that {what}");
    }
}

/// Saves an effect of that label.
pub async fn save_effect(tx: &mut db::Tx, label: &str) -> Result<()> {
    let id = tx.world().uuid_v7();
    db::query("INSERT INTO effects (id, label) VALUES ($1, $2)").bind(id).bind(label).execute(tx).await?;
    Ok(())
}

/// The usual job of these stories: saves an effect, after so many failures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Note {
    pub label: String,
    pub fails: u32,
    pub key: Option<String>,
}

impl Note {
    pub fn new(label: &str) -> Note {
        Note { label: label.to_owned(), ..Note::default() }
    }

    pub fn keyed(label: &str, key: &str) -> Note {
        Note { key: Some(key.to_owned()), ..Note::new(label) }
    }
}

impl Job for Note {
    const NAME: &'static str = "test.note";
    fn policy() -> Policy {
        // Longer than any of these stories takes: only a moved clock ends the wait.
        Policy { attempts: 3, first_wait: Duration::from_secs(120), ..Policy::default() }
    }
    fn unique(&self) -> Option<String> {
        self.key.clone()
    }
}

/// Does [`Note`]s, and counts how often it was asked.
pub struct Notes {
    pub db: Db,
    pub asked: AtomicU32,
    /// Held open by a story: each attempt waits here first.
    pub gate: Option<Arc<Gate>>,
}

/// Where workers wait until a story lets them go on.
#[derive(Default)]
pub struct Gate {
    pub arrived: AtomicU32,
    pub open: Notify,
}

impl Notes {
    pub fn new(db: &Db) -> Arc<Notes> {
        Arc::new(Notes { db: db.clone(), asked: AtomicU32::new(0), gate: None })
    }

    pub fn gated(db: &Db, gate: &Arc<Gate>) -> Arc<Notes> {
        Arc::new(Notes { db: db.clone(), asked: AtomicU32::new(0), gate: Some(gate.clone()) })
    }

    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Worker<Note> for Notes {
    async fn run(&self, note: Note, run: &Run) -> Result<(), Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.arrived.fetch_add(1, Ordering::SeqCst);
            gate.open.notified().await;
        }
        if run.attempt <= note.fails {
            return Err(Failure::Retry(Error::unavailable("paper_out", "the paper is out")));
        }
        db::write!(self.db, async |tx| {
            save_effect(tx, &note.label).await?;
            run.finish(tx).await
        })?;
        Ok(())
    }
}

pub fn runner(db: &Db, notes: &Arc<Notes>) -> Runner {
    Runner::new("test", db.clone()).worker::<Note>(notes.clone())
}

/// The real clock, put forward by a story.
#[derive(Clone)]
pub struct Clock(Arc<Hands>);

struct Hands {
    real: World,
    looks: AtomicU32,
    ahead_micros: AtomicI64,
    moved: Notify,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock(Arc::new(Hands {
            real: World::real(),
            looks: AtomicU32::new(0),
            ahead_micros: AtomicI64::new(0),
            moved: Notify::new(),
        }))
    }
}

impl Clock {
    /// How often somebody has asked for the time.
    pub fn looks(&self) -> u32 {
        self.0.looks.load(Ordering::SeqCst)
    }

    /// Sets it back, as an operator does: who sleeps does not notice.
    pub fn back(&self, span: Duration) {
        self.0.ahead_micros.fetch_sub(span.as_micros() as i64, Ordering::SeqCst);
    }

    pub fn forward(&self, span: Duration) {
        self.0.ahead_micros.fetch_add(span.as_micros() as i64, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }
}

impl Outside for Clock {
    fn now(&self) -> Time {
        self.0.looks.fetch_add(1, Ordering::SeqCst);
        Time::from_micros(self.0.real.now().micros() + self.0.ahead_micros.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let moved = clock.0.moved.notified();
                let left = until.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::select! {
                    () = moved => {}
                    () = tokio::time::sleep(left) => return,
                }
            }
        })
    }
}
