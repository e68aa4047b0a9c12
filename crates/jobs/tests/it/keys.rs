//! Jobs that are the same work.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jobs::{Options, State};
use tokio_util::sync::CancellationToken;

use crate::{
    both_ways,
    world::{Gate, Note, Notes, TestDb},
};

both_ways!(
    jobs_of_one_key_are_one_while_they_wait,
    a_job_added_while_one_of_its_key_runs_is_run_after_it,
    a_running_job_that_fails_is_left_to_the_one_that_waits,
);

async fn jobs_of_one_key_are_one_while_they_wait(test: TestDb) {
    let notes = Notes::new(&test.db);
    let hour = Duration::from_secs(3600);
    let delayed = Options { delay: hour, ..Options::default() };
    let first = test.add_with(&Note::keyed("first", "k"), delayed).await;
    let (second, third) = (Note::keyed("second", "k"), Note::keyed("third", "k"));
    let (second, third) = tokio::join!(test.add(&second), test.add(&third));
    let other = test.add(&Note::keyed("other", "l")).await;

    test.work(test.runner(&notes)).await;

    assert_eq!((second, third), (first, first));
    assert_ne!(other, first);
    let mut effects = test.effects().await;
    effects.sort();
    assert_eq!(effects, ["first", "other"], "and the delay gave way to who wanted it now");
    assert_ne!(test.add(&Note::keyed("fourth", "k")).await, first, "the first is done");
}

async fn a_job_added_while_one_of_its_key_runs_is_run_after_it(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    let first = test.add(&Note::keyed("first", "k")).await;
    test.until("the first runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    let second = test.add(&Note::keyed("second", "k")).await;
    // A job of another key comes past it: the second was looked at and left.
    test.add(&Note::new("other")).await;
    test.until("the other runs", async || gate.arrived.load(Ordering::SeqCst) == 2).await;
    assert_ne!(first, second);
    assert_eq!(test.state(second).await, State::Waiting);
    gate.open.notify_waiters();
    test.until("the second runs", async || gate.arrived.load(Ordering::SeqCst) == 3).await;
    gate.open.notify_waiters();
    stop.cancel();
    running.await.unwrap();

    assert_eq!(test.effects().await.last().map(String::as_str), Some("second"));
    assert_eq!(test.pending().await, 0);
}

async fn a_running_job_that_fails_is_left_to_the_one_that_waits(test: TestDb) {
    let gate = Arc::new(Gate::default());
    let notes = Notes::gated(&test.db, &gate);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
    let first = test.add(&Note { fails: 9, ..Note::keyed("first", "k") }).await;
    test.until("the first runs", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    test.add(&Note::keyed("second", "k")).await;
    gate.open.notify_waiters();
    test.until("the second runs", async || gate.arrived.load(Ordering::SeqCst) == 2).await;
    gate.open.notify_waiters();
    stop.cancel();
    running.await.unwrap();

    let first = test.job(first).await;
    assert_eq!(first.state, State::Done);
    assert!(first.last_error.unwrap().contains("under its key"));
    assert_eq!(test.effects().await, ["second"]);
    assert_eq!(test.pending().await, 0);
}
