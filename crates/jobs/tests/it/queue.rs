//! Adding, running, failing, waiting, ordering.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use jobs::{Failure, Job, Options, Run, State, Worker};
use kernel::{Error, JobId, Result};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    both_databases,
    world::{Gate, Note, Notes, TestDb, runner, save_effect},
};

both_databases!(
    a_clock_that_is_set_back_stops_no_runner,
    a_job_added_in_a_rolled_back_transaction_never_runs,
    a_job_that_failed_is_tried_again_and_done,
    a_job_is_dead_after_its_last_attempt_and_a_person_repeats_it,
    a_delayed_job_waits_for_its_time,
    lower_priority_numbers_run_first,
    a_paused_queue_stands_still_until_it_is_resumed,
    an_added_job_starts_at_once,
    a_stopped_runner_finishes_what_is_under_way_and_begins_nothing,
    concurrency_is_kept_by_queue,
    a_rate_is_kept_and_nobody_spins_meanwhile,
    finished_jobs_are_swept_after_a_while,
    a_job_of_an_unknown_kind_is_left_alone,
);

async fn a_job_added_in_a_rolled_back_transaction_never_runs(test: TestDb) {
    let notes = Notes::new(&test.db);
    let refused: Result<JobId> = db::write!(test.db, async |tx| {
        jobs::add(tx, &Note::new("never")).await?;
        Err(Error::conflict("changed_my_mind", "changed my mind"))
    });

    let ran = runner(&test.db, &notes).run_due().await.unwrap();

    assert_eq!(refused.unwrap_err().code, "changed_my_mind");
    assert_eq!((ran, notes.asked(), test.pending().await), (0, 0, 0));
}

async fn a_job_that_failed_is_tried_again_and_done(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = runner(&test.db, &notes);
    let id = test.add(&Note { fails: 2, ..Note::new("a") }).await;

    assert_eq!(runner.run_due().await, Ok(1));
    let failed = test.job(id).await;
    assert_eq!((failed.state, failed.attempt), (State::Waiting, 1));
    assert!(failed.last_error.unwrap().contains("the paper is out"));
    assert_eq!(runner.run_due().await, Ok(0), "it waits");
    test.clock.forward(Duration::from_secs(1));
    assert_eq!(runner.run_due().await, Ok(1));
    test.clock.forward(Duration::from_secs(1));
    assert_eq!(runner.run_due().await, Ok(1));

    let done = test.job(id).await;
    assert_eq!((done.state, done.attempt, done.progress), (State::Done, 3, 100));
    assert!(done.finished_at.is_some());
    assert_eq!(test.effects().await, ["a"]);
}

async fn a_job_is_dead_after_its_last_attempt_and_a_person_repeats_it(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = runner(&test.db, &notes);
    let id = test.add(&Note { fails: 3, ..Note::new("a") }).await;

    for _ in 0..5 {
        runner.run_due().await.unwrap();
        test.clock.forward(Duration::from_secs(60));
    }

    let dead: Result<Vec<_>> = db::read!(test.db, async |tx| { jobs::dead(tx, 10).await });
    let dead = dead.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].id, dead[0].state, dead[0].attempt), (id, State::Dead, 3));
    assert_eq!((notes.asked(), test.pending().await), (3, 0));
    let findings = jobs::audit(&test.db).await.unwrap();
    assert!(findings.len() == 1 && findings[0].starts_with(&format!("dead letter: {id}")), "{findings:?}");

    // The paper is back: only the first attempt after the repetition still fails.
    let again: Result<()> = db::write!(test.db, async |tx| {
        jobs::retry(tx, id).await?;
        db::query("UPDATE jobs SET payload = $2 WHERE id = $1")
            .bind(id)
            .bind(serde_json::to_string(&Note { fails: 1, ..Note::new("a") }).unwrap())
            .execute(tx)
            .await?;
        Ok(())
    });
    again.unwrap();
    runner.run_due().await.unwrap();
    test.clock.forward(Duration::from_secs(60));
    runner.run_due().await.unwrap();

    assert_eq!(test.state(id).await, State::Done);
    assert_eq!(jobs::audit(&test.db).await, Ok(vec![]));
    let alive: Result<()> = db::write!(test.db, async |tx| { jobs::retry(tx, id).await });
    assert_eq!(alive.unwrap_err().code, "job_not_dead");
}

async fn a_delayed_job_waits_for_its_time(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = runner(&test.db, &notes);
    let hour = Duration::from_secs(3600);
    test.add_with(&Note::new("delayed"), Options { delay: hour, ..Options::default() }).await;
    let at = Some(test.db.world().now() + 2 * hour);
    test.add_with(&Note::new("at"), Options { at, ..Options::default() }).await;

    runner.run_due().await.unwrap();
    assert!(test.effects().await.is_empty());
    test.clock.forward(hour);
    runner.run_due().await.unwrap();
    assert_eq!(test.effects().await, ["delayed"]);
    test.clock.forward(hour);
    runner.run_due().await.unwrap();

    assert_eq!(test.effects().await, ["delayed", "at"]);
}

async fn lower_priority_numbers_run_first(test: TestDb) {
    let notes = Notes::new(&test.db);
    for (label, priority) in [("usual", 0), ("last", 9), ("first", -5), ("usual too", 0)] {
        test.add_with(&Note::new(label), Options { priority, ..Options::default() }).await;
    }

    runner(&test.db, &notes).concurrency("default", 1).run_due().await.unwrap();

    assert_eq!(test.effects().await, ["first", "usual", "usual too", "last"]);
}

async fn a_paused_queue_stands_still_until_it_is_resumed(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = runner(&test.db, &notes);
    test.add(&Note::new("a")).await;

    let paused: Result<Vec<String>> = db::write!(test.db, async |tx| {
        jobs::pause(tx, "default").await?;
        jobs::paused(tx).await
    });
    assert_eq!(paused, Ok(vec!["default".to_owned()]));
    assert_eq!(runner.run_due().await, Ok(0));
    let resumed: Result<()> = db::write!(test.db, async |tx| { jobs::resume(tx, "default").await });
    resumed.unwrap();

    assert_eq!(runner.run_due().await, Ok(1));
}

async fn an_added_job_starts_at_once(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(runner(&test.db, &notes).run(stop.clone()));
    test.add(&Note::new("warm")).await;
    test.until("the runner is up", async || notes.asked() == 1).await;

    let started = std::time::Instant::now();
    for count in 2..=11 {
        test.add(&Note::new("a")).await;
        test.until("it ran", async || notes.asked() == count).await;
    }
    let took = started.elapsed();
    stop.cancel();
    running.await.unwrap();

    // Ten polls would take at least five seconds.
    assert!(took < Duration::from_secs(3), "ten jobs took {took:?}");
}

async fn a_stopped_runner_finishes_what_is_under_way_and_begins_nothing(test: TestDb) {
    let gate = std::sync::Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(runner(&test.db, &notes).run(stop.clone()));
    let under_way = test.add(&Note::new("under way")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    stop.cancel();
    tokio::task::yield_now().await;
    let late = test.add(&Note::new("late")).await;
    assert!(!running.is_finished(), "work is under way");
    gate.open.notify_waiters();
    running.await.unwrap();

    assert_eq!(test.state(under_way).await, State::Done);
    assert_eq!(test.state(late).await, State::Waiting);
}

async fn concurrency_is_kept_by_queue(test: TestDb) {
    let gate = std::sync::Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(runner(&test.db, &notes).concurrency("default", 3).run(stop.clone()));
    for _ in 0..7 {
        test.add(&Note::new("a")).await;
    }

    for arrived in [3, 6, 7] {
        test.until("as many as allowed run", async || gate.arrived.load(Ordering::SeqCst) == arrived).await;
        let states: Result<(i64,)> = db::read!(test.db, async |tx| {
            db::query("SELECT COUNT(*) FROM jobs WHERE state = 'running'").fetch_one(tx).await
        });
        assert!(states.unwrap().0 <= 3);
        gate.open.notify_waiters();
    }
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await.len(), 7);
}

/// A job of a queue of its own.
#[derive(Serialize, Deserialize)]
struct Letter;

impl Job for Letter {
    const NAME: &'static str = "test.letter";
    const QUEUE: &'static str = "post";
}

#[async_trait]
impl Worker<Letter> for Notes {
    async fn run(&self, _: Letter, _: &Run) -> Result<(), Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn a_rate_is_kept_and_nobody_spins_meanwhile(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    for _ in 0..3 {
        test.add(&Letter).await;
    }
    let runner = runner(&test.db, &notes).worker::<Letter>(notes.clone()).rate("post", 1);
    let running = tokio::spawn(runner.run(stop.clone()));
    test.until("the first is sent", async || notes.asked() == 1).await;

    // The other queue has room all the time, and nothing to do.
    let looks = test.clock.looks();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(test.clock.looks() - looks < 200, "the runner spins");
    assert_eq!(notes.asked(), 1);
    for sent in 2..=3 {
        test.clock.forward(Duration::from_secs(1));
        test.until("the next is sent", async || notes.asked() == sent).await;
    }
    stop.cancel();
    running.await.unwrap();
}

async fn finished_jobs_are_swept_after_a_while(test: TestDb) {
    let notes = Notes::new(&test.db);
    let week = Duration::from_secs(7 * 24 * 3600);
    let old = test.add(&Note::new("old")).await;
    runner(&test.db, &notes).run_due().await.unwrap();
    test.clock.forward(week + Duration::from_secs(1));
    let young = test.add(&Note::new("young")).await;
    runner(&test.db, &notes).run_due().await.unwrap();

    let stop = CancellationToken::new();
    let running = tokio::spawn(runner(&test.db, &notes).run(stop.clone()));
    test.until("the old one is gone", async || {
        test.clock.forward(Duration::from_secs(1)); // the next sweep comes nearer
        let found: Result<Option<_>> = db::read!(test.db, async |tx| { jobs::find(tx, old).await });
        found.unwrap().is_none()
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.state(young).await, State::Done);
}

async fn a_job_of_an_unknown_kind_is_left_alone(test: TestDb) {
    let notes = Notes::new(&test.db);
    let id = test.add(&Note::new("a")).await;
    let newer: Result<()> = db::write!(test.db, async |tx| {
        db::query("UPDATE jobs SET name = 'test.newer' WHERE id = $1").bind(id).execute(tx).await?;
        save_effect(tx, "the newer version's").await
    });
    newer.unwrap();

    assert_eq!(runner(&test.db, &notes).run_due().await, Ok(0));

    assert_eq!(test.state(id).await, State::Waiting);
}

async fn a_clock_that_is_set_back_stops_no_runner(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let elsewhere = test.other_process().await;
    let running = tokio::spawn(runner(&elsewhere, &notes).run(stop.clone()));
    test.add(&Note::new("before")).await;
    test.until("the runner is up", async || notes.asked() == 1).await;

    test.clock.back(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_millis(1200)).await; // a turn with the new time
    test.add(&Note::new("after")).await;

    test.until("it runs", async || notes.asked() == 2).await;
    stop.cancel();
    running.await.unwrap();
}
