//! Schedules.

use std::time::Duration;

use kernel::{Result, Time};
use tokio_util::sync::CancellationToken;

use crate::{
    both_databases,
    world::{Note, Notes, TestDb, runner},
};

both_databases!(
    each_slot_is_run_once_with_two_runners,
    missed_slots_are_made_up_for_by_one,
    a_slot_from_a_clock_that_was_ahead_is_brought_forward,
);

const HOURLY: &str = "0 * * * *";

async fn each_slot_is_run_once_with_two_runners(test: TestDb) {
    let other = test.other_process().await;
    let (ours, theirs) = (Notes::new(&test.db), Notes::new(&other));
    let one = runner(&test.db, &ours).schedule("hourly", HOURLY, Note::new("slot")).unwrap();
    let two = runner(&other, &theirs).schedule("hourly", HOURLY, Note::new("slot")).unwrap();
    assert_eq!((one.run_due().await, two.run_due().await), (Ok(0), Ok(0)), "known from now on");

    for hour in 1..=3 {
        test.clock.forward(Duration::from_secs(3600));
        let (one, two) = tokio::join!(one.run_due(), two.run_due());
        one.unwrap();
        two.unwrap();

        assert_eq!(test.effects().await.len(), hour);
    }
}

async fn missed_slots_are_made_up_for_by_one(test: TestDb) {
    let notes = Notes::new(&test.db);
    let runner = runner(&test.db, &notes).schedule("hourly", HOURLY, Note::new("slot")).unwrap();
    runner.run_due().await.unwrap();

    test.clock.forward(Duration::from_secs(24 * 3600));
    runner.run_due().await.unwrap();
    runner.run_due().await.unwrap();

    assert_eq!(test.effects().await, ["slot"]);
}

/// An hour ahead for a moment: what is to be done every minute does not wait for an hour.
async fn a_slot_from_a_clock_that_was_ahead_is_brought_forward(test: TestDb) {
    const MINUTE: Duration = Duration::from_secs(60);
    let (notes, stop) = (Notes::new(&test.db), CancellationToken::new());
    let runner = runner(&test.db, &notes).schedule("every minute", "* * * * *", Note::new("slot")).unwrap();
    let running = tokio::spawn(runner.run(stop.clone()));
    test.until("it is known", async || next_slot(&test).await.is_some()).await;

    test.clock.forward(Duration::from_secs(3600));
    test.until("the hour is over", async || notes.asked() >= 1).await;
    test.clock.back(Duration::from_secs(3600));

    let is_near = async || next_slot(&test).await.is_some_and(|at| at <= test.db.world().now() + MINUTE);
    test.until("it is brought forward", is_near).await;
    let before = notes.asked();
    test.clock.forward(MINUTE);
    test.until("it is done again", async || notes.asked() > before).await;
    stop.cancel();
    running.await.unwrap();
}

async fn next_slot(test: &TestDb) -> Option<Time> {
    let slot: Result<Option<(Time,)>> = db::read!(test.db, async |tx| {
        db::query("SELECT next_at FROM schedules").fetch_optional(tx).await
    });
    slot.unwrap().map(|(at,)| at)
}
