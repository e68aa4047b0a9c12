//! How soon and how fast a runner claims in the database.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use db::Db;
use jobs::{Failure, Job, Run, Worker};
use kernel::{BoxFuture, Outside, Time, World};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    both_databases,
    world::{Gate, Note, Notes, TestDb, runner},
};

both_databases!(
    an_added_job_starts_at_once,
    a_full_queue_goes_on_without_a_poll,
    a_rate_is_kept_and_nobody_spins_meanwhile,
);

async fn an_added_job_starts_at_once(test: TestDb) {
    let notes = Notes::new(&test.db);
    let stop = CancellationToken::new();
    let running = tokio::spawn(test.runner(&notes).run(stop.clone()));
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

/// A clock that stands: who sleeps does so for ever, and nobody polls.
struct Standing(Time);

impl Outside for Standing {
    fn now(&self) -> Time {
        self.0
    }

    fn sleep_until(&self, _: Time) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

async fn a_full_queue_goes_on_without_a_poll(test: TestDb) {
    let world = World::new(Standing(World::real().now()));
    let db = Db::open(test.target(), &world).await.unwrap();
    let gate = Arc::new(Gate::default());
    let (notes, stop) = (Notes::gated(&db, &gate), CancellationToken::new());
    let adding = async |tx: &mut db::Tx| {
        jobs::add(tx, &Note::new("first")).await?;
        jobs::add(tx, &Note::new("second")).await
    };
    db::write!(db, async |tx| { adding(tx).await }).unwrap();
    let runner = runner(&db, &notes).worker::<Letter>(notes.clone()).concurrency("default", 1);
    let running = tokio::spawn(runner.run(stop.clone()));
    test.until("the first is at work", async || gate.arrived.load(Ordering::SeqCst) == 1).await;

    // The other queue has room: the runner looks, and sees that this one has none.
    db::write!(db, async |tx| { jobs::add(tx, &Letter).await }).unwrap();
    test.until("the letter is sent", async || notes.asked() == 2).await;
    gate.open.notify_one();
    test.until("the second is at work", async || gate.arrived.load(Ordering::SeqCst) == 2).await;

    gate.open.notify_one();
    stop.cancel();
    running.await.unwrap();
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
