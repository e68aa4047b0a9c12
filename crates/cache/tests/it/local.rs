//! One process that shares nothing.

use std::time::Duration;

use futures::future::join_all;
use kernel::World;
use testkit::clock::Clock;

use crate::world::{Process, Table, until};

#[tokio::test]
async fn a_reading_that_began_before_a_change_is_not_remembered() {
    let table = Table::new();
    table.commit(1, "old");
    let process = Process::alone(&World::real(), &table);
    table.hold();

    let (slow, ()) = tokio::join!(process.name(1), async {
        until("it is read", async || table.reads() == 1).await;
        process.rename(1, "new").await;
        table.open();
    });

    assert_eq!(slow.as_deref(), Some("old")); // it was asked for before the change was answered
    assert_eq!(process.name(1).await.as_deref(), Some("new"));
    assert!(process.knows(1).await);
}

#[tokio::test]
async fn who_asks_after_a_change_does_not_join_a_reading_from_before_it() {
    let table = Table::new();
    table.commit(1, "old");
    let process = Process::alone(&World::real(), &table);
    table.hold();

    let (early, late) = tokio::join!(process.name(1), async {
        until("it is read", async || table.reads() == 1).await;
        process.rename(1, "new").await;
        let (late, ()) = tokio::join!(process.name(1), async {
            until("it is read again", async || table.reads() == 2).await;
            table.open();
        });
        late
    });

    assert_eq!((early.as_deref(), late.as_deref()), (Some("old"), Some("new")));
}

#[tokio::test]
async fn a_thousand_who_ask_at_once_make_one_query() {
    let table = Table::new();
    table.commit(1, "Ann");
    let process = Process::alone(&World::real(), &table);
    table.hold();

    let asks = join_all((0..1000).map(|_| process.name(1)));
    let (names, ()) = tokio::join!(asks, async { table.open() });

    assert!(names.iter().all(|name| name.as_deref() == Some("Ann")));
    assert_eq!(table.reads(), 1);
}

#[tokio::test]
async fn a_reading_whose_callers_have_gone_is_begun_anew() {
    let table = Table::new();
    table.commit(1, "Ann");
    let process = Process::alone(&World::real(), &table);
    table.hold();
    tokio::select! {
        _ = process.name(1) => unreachable!("it is held up"),
        () = until("it is read", async || table.reads() == 1) => {}
    }

    table.open();

    assert_eq!(process.name(1).await.as_deref(), Some("Ann"));
    assert_eq!(table.reads(), 2);
}

#[tokio::test]
async fn what_is_remembered_runs_out_and_nothing_is_not_remembered() {
    let (table, clock) = (Table::new(), Clock::new());
    let process = Process::alone(&clock.world(), &table);
    assert_eq!(process.name(1).await, None);
    table.commit(1, "Ann"); // by a process that tells nobody
    assert_eq!(process.name(1).await.as_deref(), Some("Ann"));

    table.commit(1, "Bob");
    clock.forward(Duration::from_secs(260));
    assert_eq!(process.name(1).await.as_deref(), Some("Ann"));
    clock.forward(Duration::from_secs(41));
    assert_eq!(process.name(1).await.as_deref(), Some("Bob"));
}

/// All are read at one time. Each runs out in the last tenth of its time.
#[tokio::test]
async fn what_was_read_together_does_not_run_out_together() {
    let (table, clock) = (Table::new(), Clock::new());
    let process = Process::alone(&clock.world(), &table);
    let known = async || {
        let mut known = 0;
        for id in 0..100 {
            known += u32::from(process.knows(id).await);
        }
        known
    };
    (0..100).for_each(|id| table.commit(id, "Ann"));
    assert_eq!((known().await, known().await), (0, 100));

    clock.forward(Duration::from_secs(285));

    let known = known().await;
    assert!((1..100).contains(&known), "{known} of 100 were still known");
}
