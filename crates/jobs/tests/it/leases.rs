//! Processes that die, freeze and come back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use db::Db;
use jobs::{Failure, Run, State, Worker};
use kernel::{JobId, Result, Time};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    both_ways,
    world::{Gate, Note, Notes, TestDb, save_effect},
};

both_ways!(
    a_lost_job_is_taken_over_and_the_first_one_is_refused,
    a_worker_that_hears_of_its_lost_lease_is_dropped,
    nobody_takes_over_what_he_is_at_work_on,
    a_job_stopped_half_way_is_done_by_the_next,
    a_lease_from_a_clock_that_was_ahead_runs_out_in_time,
    a_job_that_kills_its_process_is_dead_in_the_end,
    a_lease_is_renewed_while_the_work_goes_on,
    a_worker_that_panics_fails_like_any_other,
    each_of_500_jobs_has_one_effect_with_four_runners,
    how_far_it_is_can_be_seen,
);

const PAST_THE_LEASE: Duration = Duration::from_secs(31);

/// Keeps what it was told of its attempts, and does not answer.
struct Frozen {
    runs: Mutex<Vec<(u32, Result<()>)>>,
    gate: Arc<Gate>,
    db: Db,
    fence_only: bool,
}

#[async_trait]
impl Worker<Note> for Frozen {
    async fn run(&self, note: Note, run: &Run) -> Result<(), Failure> {
        self.gate.arrived.fetch_add(1, Ordering::SeqCst);
        self.gate.open.notified().await;
        let saved: Result<()> = db::write!(self.db, async |tx| {
            save_effect(tx, &note.label).await?;
            if self.fence_only { run.fence(tx).await } else { run.finish(tx).await }
        });
        self.runs.lock().await.push((run.attempt, saved.clone()));
        Ok(saved?)
    }
}

/// As time does when the worker's process is frozen: its own clock stands still.
async fn end_the_lease(test: &TestDb, id: JobId) {
    let ended: Result<u64> = db::write!(test.db, async |tx| {
        db::query("UPDATE jobs SET leased_until_at = $2 WHERE id = $1 AND state = 'running'")
            .bind(id)
            .bind(tx.world().now())
            .execute(tx)
            .await
    });
    assert_eq!(ended, Ok(1));
}

async fn a_lost_job_is_taken_over_and_the_first_one_is_refused(test: TestDb) {
    for fence_only in [true, false] {
        let gate = Arc::new(Gate::default());
        let db = test.other_process().await;
        let frozen = Arc::new(Frozen { runs: Mutex::default(), gate: gate.clone(), db, fence_only });
        let id = test.add(&Note::new("once")).await;
        let stop = CancellationToken::new();
        // One at a time: it cannot be the one that takes over.
        let first = test.runner_of(&frozen.db, frozen.clone()).concurrency("default", 1);
        let first = tokio::spawn(first.run(stop.clone()));
        test.until("the first runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
        end_the_lease(&test, id).await;

        let notes = Notes::new(&test.db);
        test.work(test.runner(&notes)).await;
        assert_eq!(test.state(id).await, State::Done);
        stop.cancel();
        gate.open.notify_waiters();
        first.await.unwrap();

        let runs = frozen.runs.lock().await;
        assert!(matches!(&runs[..], [(1, Err(error))] if error.code == "lease_lost"), "{runs:?}");
        let job = test.job(id).await;
        assert_eq!((job.state, job.attempt), (State::Done, 2), "the first one's failure counts for nothing");
    }
    assert_eq!(test.effects().await, ["once", "once"], "one of each round");
}

/// Stays in the transaction of its effect, behind the fence.
struct Fenced {
    gate: Gate,
    behind: Gate,
    db: Db,
}

#[async_trait]
impl Worker<Note> for Fenced {
    async fn run(&self, note: Note, run: &Run) -> Result<(), Failure> {
        self.gate.arrived.fetch_add(1, Ordering::SeqCst);
        self.gate.open.notified().await;
        let saved: Result<()> = db::write!(self.db, async |tx| {
            run.fence(tx).await?;
            self.behind.arrived.fetch_add(1, Ordering::SeqCst);
            self.behind.open.notified().await;
            save_effect(tx, &note.label).await
        });
        Ok(saved?)
    }
}

/// On SQLite nobody else changes anything meanwhile.
#[tokio::test]
async fn nobody_takes_over_what_is_behind_its_fence() {
    let test = TestDb::postgres().await;
    let db = test.other_process().await;
    let fenced = Arc::new(Fenced { gate: Gate::default(), behind: Gate::default(), db });
    let id = test.add(&Note::new("once")).await;
    let stop = CancellationToken::new();
    let first = test.runner_of(&fenced.db, fenced.clone()).concurrency("default", 1);
    let first = tokio::spawn(first.run(stop.clone()));
    test.until("it runs", async || fenced.gate.arrived.load(Ordering::SeqCst) == 1).await;
    end_the_lease(&test, id).await;
    fenced.gate.open.notify_waiters();
    test.until("it is behind its fence", async || fenced.behind.arrived.load(Ordering::SeqCst) == 1).await;

    // It looks for what was lost as soon as it starts.
    let others = Notes::new(&test.db);
    let other_stop = CancellationToken::new();
    let other = tokio::spawn(test.runner(&others).run(other_stop.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    other_stop.cancel();
    other.await.unwrap();
    assert_eq!(others.asked(), 0);

    fenced.behind.open.notify_waiters();
    test.until("it is done", async || test.state(id).await == State::Done).await;
    stop.cancel();
    first.await.unwrap();
    assert_eq!(test.effects().await, ["once"]);
}

async fn a_worker_that_hears_of_its_lost_lease_is_dropped(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    // One at a time: it cannot be the one that takes over.
    let running = tokio::spawn(test.runner(&notes).concurrency("default", 1).run(stop.clone()));
    let id = test.add(&Note::new("once")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    end_the_lease(&test, id).await;
    let others = Notes::new(&test.db);
    test.work(test.runner_on(&test.other_process().await, &others)).await;
    assert_eq!(others.asked(), 1);

    stop.cancel();
    test.clock.forward(Duration::from_secs(8)); // its next renewal
    running.await.unwrap(); // although its gate was never opened

    assert_eq!(test.effects().await, ["once"]);
}

/// His clock is ahead by more than any may be: another process shortens his
/// lease, and by his clock it has run out.
async fn nobody_takes_over_what_he_is_at_work_on(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    let id = test.add(&Note::new("once")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    for _ in 0..5 {
        end_the_lease(&test, id).await;
        test.until("he has looked", async || {
            test.clock.forward(Duration::from_millis(200));
            let left: Result<(Time,)> = db::read!(test.db, async |tx| {
                db::query("SELECT leased_until_at FROM jobs WHERE id = $1").bind(id).fetch_one(tx).await
            });
            left.unwrap().0 > test.db.world().now()
        })
        .await;
    }
    gate.open.notify_waiters();
    test.until("it is done", async || test.state(id).await == State::Done).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!((test.job(id).await.attempt, notes.asked()), (1, 1));
    assert_eq!(test.effects().await, ["once"]);
}

async fn a_job_stopped_half_way_is_done_by_the_next(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let id = test.add(&Note::new("a")).await;
    let dying = test.runner(&notes).concurrency("default", 1);
    tokio::select! {
        () = dying.run(CancellationToken::new()) => panic!("it waits at the gate"),
        () = test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1) => {} // and is dropped
    }
    assert_eq!(test.state(id).await, State::Running);

    let notes = Notes::new(&test.db);
    test.work(test.runner(&notes)).await;
    assert_eq!(notes.asked(), 0, "its lease still holds");
    test.clock.forward(PAST_THE_LEASE);
    test.work(test.runner(&notes)).await;

    assert_eq!(test.effects().await, ["a"]);
    assert_eq!((test.state(id).await, test.pending().await), (State::Done, 0));
}

async fn a_lease_from_a_clock_that_was_ahead_runs_out_in_time(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let id = test.add(&Note::new("a")).await;
    tokio::select! {
        () = test.runner(&notes).run(CancellationToken::new()) => panic!("it waits at the gate"),
        () = test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1) => {} // and is dropped
    }
    let ahead: Result<u64> = db::write!(test.db, async |tx| {
        db::query("UPDATE jobs SET leased_until_at = $2 WHERE id = $1")
            .bind(id)
            .bind(tx.world().now() + Duration::from_secs(600))
            .execute(tx)
            .await
    });
    assert_eq!(ahead, Ok(1));

    let (notes, stop) = (Notes::new(&test.db), CancellationToken::new());
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    test.until("the lease is shortened", async || {
        let left: Result<(Time,)> = db::read!(test.db, async |tx| {
            db::query("SELECT leased_until_at FROM jobs WHERE id = $1").bind(id).fetch_one(tx).await
        });
        left.unwrap().0.since(test.db.world().now()) < PAST_THE_LEASE
    })
    .await;
    assert_eq!(notes.asked(), 0, "its worker may live, and has the time of a lease to say so");
    test.clock.forward(PAST_THE_LEASE);
    test.until("it is done", async || test.state(id).await == State::Done).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["a"]);
}

async fn a_job_that_kills_its_process_is_dead_in_the_end(test: TestDb) {
    let id = test.add(&Note::new("poison")).await;
    for attempt in 1..=3 {
        let gate = Arc::new(Gate::default());
        let notes = Notes::gated(&test.db, &gate);
        let dying = test.runner(&notes).concurrency("default", 1);
        tokio::select! {
            () = dying.run(CancellationToken::new()) => panic!("attempt {attempt} waits at the gate"),
            () = test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1) => {}
        }
        test.clock.forward(PAST_THE_LEASE);
    }

    let notes = Notes::new(&test.db);
    test.work(test.runner(&notes)).await;

    assert_eq!(notes.asked(), 0);
    let dead = test.job(id).await;
    assert_eq!(dead.state, State::Dead);
    assert!(dead.last_error.unwrap().contains("not heard of"));
}

async fn a_lease_is_renewed_while_the_work_goes_on(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    let id = test.add(&Note::new("long")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    let leased_until = async || {
        let until: Result<(i64,)> = db::read!(test.db, async |tx| {
            db::query("SELECT leased_until_at FROM jobs WHERE id = $1").bind(id).fetch_one(tx).await
        });
        until.unwrap().0
    };

    let others = Notes::new(&test.db);
    for _ in 0..8 {
        let before = leased_until().await;
        test.clock.forward(Duration::from_secs(10));
        test.until("the lease is longer", async || leased_until().await > before).await;
        test.work(test.runner_on(&test.other_process().await, &others)).await;
        assert_eq!(others.asked(), 0);
    }
    gate.open.notify_waiters();
    stop.cancel();
    running.await.unwrap();

    let done = test.job(id).await;
    assert_eq!((done.state, done.attempt), (State::Done, 1));
}

struct Clumsy;

#[async_trait]
impl Worker<Note> for Clumsy {
    async fn run(&self, _: Note, run: &Run) -> Result<(), Failure> {
        assert!(run.last, "dropped the cup");
        Ok(())
    }
}

async fn a_worker_that_panics_fails_like_any_other(test: TestDb) {
    let id = test.add(&Note::new("cup")).await;
    let runner = || test.runner_of(&test.db, Arc::new(Clumsy));

    test.work(runner()).await;
    let failed = test.job(id).await;
    for _ in 0..2 {
        test.clock.forward(Duration::from_secs(300));
        test.work(runner()).await;
    }

    assert_eq!(failed.state, State::Waiting);
    assert!(failed.last_error.unwrap().contains("dropped the cup"));
    // This worker does not finish by itself: the runner did.
    assert_eq!(test.state(id).await, State::Done);
}

async fn each_of_500_jobs_has_one_effect_with_four_runners(test: TestDb) {
    let labels: Vec<String> = (0..500).map(|number| format!("{number:03}")).collect();
    for chunk in labels.chunks(50) {
        let added: Result<()> = db::write!(test.db, async |tx| {
            for label in chunk {
                jobs::add(tx, &Note::new(label)).await?;
            }
            Ok(())
        });
        added.unwrap();
    }
    let stop = CancellationToken::new();
    let mut running = Vec::new();
    for _ in 0..4 {
        let db = test.other_process().await;
        let notes = Notes::new(&db);
        running.push(tokio::spawn(test.runner_on(&db, &notes).concurrency("default", 16).run(stop.clone())));
    }

    test.until("all are done", async || test.pending().await == 0).await;
    stop.cancel();
    for runner in running {
        runner.await.unwrap();
    }

    let mut effects = test.effects().await;
    effects.sort();
    assert_eq!(effects, labels);
}

struct Halfway(Db);

#[async_trait]
impl Worker<Note> for Halfway {
    async fn run(&self, _: Note, run: &Run) -> Result<(), Failure> {
        db::write!(self.0, async |tx| { run.progress(tx, 50).await })?;
        Err(Failure::Later(Duration::from_secs(60)))
    }
}

async fn how_far_it_is_can_be_seen(test: TestDb) {
    let id = test.add(&Note::new("long")).await;
    for _ in 0..5 {
        test.work(test.runner_of(&test.db, Arc::new(Halfway(test.db.clone())))).await;
        test.clock.forward(Duration::from_secs(61));
    }

    let job = test.job(id).await;
    assert_eq!((job.state, job.progress), (State::Waiting, 50));
    assert_eq!(job.attempt, 0, "later spends no attempt, however often");
}
