//! Schedules.

use std::time::Duration;

use crate::{
    both_databases,
    world::{Note, Notes, TestDb, runner},
};

both_databases!(each_slot_is_run_once_with_two_runners, missed_slots_are_made_up_for_by_one);

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
