//! What goes through BullMQ's queues.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use jobs::{Failure, Options, Run, State, Worker};
use kernel::Result;
use tokio_util::sync::CancellationToken;

use crate::{
    judges::Parcel,
    through_bullmq,
    world::{Gate, Note, Notes, TestDb},
};

through_bullmq!(
    a_job_added_in_a_transaction_runs_through_a_bullmq_queue,
    a_flush_in_the_middle_of_1000_jobs_loses_none_and_doubles_none,
    what_is_urgent_goes_past_what_waits_in_redis,
    bullmq_hears_of_a_job_that_ends_while_its_runner_stops,
    a_pause_holds_for_those_who_know_only_bullmq,
    what_was_done_elsewhere_while_nobody_listened_is_found,
);

async fn a_job_added_in_a_transaction_runs_through_a_bullmq_queue(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));

    let id = test.add(&Note::new("a")).await;
    test.until("it is done", async || test.state(id).await == State::Done).await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["a"]);
    let finished = test.redis().ask(&["zrange", "bull:test.default:completed", "0", "-1"]);
    assert_eq!(finished.trim(), format!("{id}-1"), "BullMQ has seen it, as the first lease of its row");
}

/// Does a note as it should, but slowly: so that much waits in Redis.
struct Slow(Arc<Notes>);

#[async_trait]
impl Worker<Note> for Slow {
    async fn run(&self, note: Note, run: &Run) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.0.run(note, run).await
    }
}

async fn a_flush_in_the_middle_of_1000_jobs_loses_none_and_doubles_none(test: TestDb) {
    // Only that Redis is seen to have been emptied brings them back.
    let test = test.looking_up_after(Duration::from_secs(24 * 3600));
    let labels: Vec<String> = (0..1000).map(|number| format!("{number:04}")).collect();
    let added: Result<()> = db::write!(test.db, async |tx| {
        for label in &labels {
            jobs::add(tx, &Note::new(label)).await?;
        }
        Ok(())
    });
    added.unwrap();
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let slow = test.runner_of(&test.db, Arc::new(Slow(notes.clone()))).concurrency("default", 16);
    let running = tokio::spawn(slow.run(stop.clone()));

    test.until("it is in the middle", async || notes.asked() > 100).await;
    test.redis().flush();
    let left = test.pending().await;
    test.until("all are done", async || test.pending().await == 0).await;
    stop.cancel();
    running.await.unwrap();

    assert!(left > 0, "the flush came too late to mean anything");
    let mut effects = test.effects().await;
    effects.sort();
    assert_eq!(effects, labels);
}

async fn what_is_urgent_goes_past_what_waits_in_redis(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).concurrency("default", 1).run(stop.clone()));
    let first = test.add(&Note::new("runs")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;
    let waiting = || test.redis().ask(&["llen", "bull:test.default:wait"]);
    test.add(&Note::new("usual")).await;
    test.until("the usual one waits", async || waiting().trim() == "1").await;

    let added: Result<()> = db::write!(test.db, async |tx| {
        for (label, priority) in [("urgent", -5), ("very urgent", -9)] {
            jobs::add_with(tx, &Note::new(label), Options { priority, ..Options::default() }).await?;
        }
        Ok(())
    });
    added.unwrap();
    test.until("all wait", async || waiting().trim() == "3").await;
    test.until("all are done", async || {
        gate.open.notify_waiters();
        test.pending().await == 0
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await, ["runs", "very urgent", "urgent", "usual"]);
    let events = test.redis().ask(&["xrange", "bull:test.default:events", "-", "+"]);
    // But for the first: it may meet the runner's start, which hands over what Redis may have lost.
    let is_twice = |event: &&str| event.starts_with("duplicated") && !event.contains(&first.to_string());
    assert!(events.contains("added"));
    assert_eq!(events.split("event\n").find(is_twice), None, "each is handed over once: {events}");
}

async fn bullmq_hears_of_a_job_that_ends_while_its_runner_stops(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    let id = test.add(&Note::new("long")).await;
    test.until("it runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    stop.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await; // the runner has heard it
    test.clock.forward(Duration::from_secs(20)); // more than its patience with Redis
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.open.notify_waiters();
    running.await.unwrap();

    let finished = test.redis().ask(&["zrange", "bull:test.default:completed", "0", "-1"]);
    assert_eq!(finished.trim(), format!("{id}-1"));
}

async fn a_pause_holds_for_those_who_know_only_bullmq(test: TestDb) {
    // Although there is always something to look up.
    let test = test.looking_up_after(Duration::ZERO);
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).concurrency("default", 1).run(stop.clone()));
    for label in ["runs", "waits"] {
        test.add(&Note::new(label)).await;
    }
    test.until("the other waits", async || {
        test.redis().ask(&["llen", "bull:test.default:wait"]).trim() == "1"
    })
    .await;
    let paused = || test.redis().ask(&["hexists", "bull:test.default:meta", "paused"]);

    let pause: Result<()> = db::write!(test.db, async |tx| { jobs::pause(tx, "default").await });
    pause.unwrap();
    test.until("BullMQ pauses, too", async || paused().trim() == "1").await;
    let resume: Result<()> = db::write!(test.db, async |tx| { jobs::resume(tx, "default").await });
    resume.unwrap();
    test.until("BullMQ goes on, too", async || paused().trim() == "0").await;
    test.until("all is done", async || {
        gate.open.notify_waiters();
        test.pending().await == 0
    })
    .await;
    stop.cancel();
    running.await.unwrap();
}

async fn what_was_done_elsewhere_while_nobody_listened_is_found(test: TestDb) {
    let test = test.looking_up_after(Duration::ZERO);
    let runner = || test.runner_named("test").elsewhere::<Parcel>();
    let stop = CancellationToken::new();
    let handing_over = tokio::spawn(runner().run(stop.clone()));
    let id = test.add(&Parcel { to: "Ann".into() }).await;
    let count = |state: &str| test.redis().ask(&["exists", &format!("bull:test.parcels:{state}")]);
    test.until("it waits in Redis", async || count("wait").trim() == "1").await;
    stop.cancel();
    handing_over.await.unwrap();

    let options = bullmq::WorkerOptions::new()
        .connection(bullmq::options::RedisConnectionOptions::new().url(test.redis().url()))
        .drain_delay(Duration::from_secs(1));
    let works = |_: bullmq::Job, _| async { Ok(serde_json::Value::Null) };
    let worker = bullmq::Worker::with_options("test.parcels", works, options).await.unwrap();
    test.until("it was worked", async || count("completed").trim() == "1").await;
    worker.close(5000).await.unwrap();
    assert_eq!(test.state(id).await, State::Waiting);

    let stop = CancellationToken::new();
    let looking = tokio::spawn(runner().run(stop.clone()));
    test.until("it is found", async || test.state(id).await == State::Done).await;
    stop.cancel();
    looking.await.unwrap();

    assert_eq!(test.job(id).await.attempt, 1);
}
