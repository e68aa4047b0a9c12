//! After a change was answered, nobody answers with the old value.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::future::join_all;

use crate::world::{Pair, Process, until};

#[tokio::test]
async fn a_change_in_one_process_is_heard_in_the_other() {
    let pair = Pair::start().await;
    pair.table.commit(1, "0");
    for n in 1..=50 {
        until("both know it", async || pair.ann.knows(1).await && pair.bob.knows(1).await).await;

        pair.ann.rename(1, &n.to_string()).await;

        assert_eq!(pair.ann.name(1).await, Some(n.to_string()));
        until("bob heard of it", async || pair.bob.name(1).await == Some(n.to_string())).await;
        assert_eq!(pair.another().await.name(1).await, Some(n.to_string()));
    }
}

/// The reader sees the old row; the writer commits, and the change is told; and
/// only then the reader goes on to fill what he saw into Redis.
#[tokio::test]
async fn a_reader_from_before_a_change_does_not_fill_the_old_value_into_redis() {
    let pair = Pair::start().await;
    pair.table.commit(1, "old");
    pair.table.hold();

    tokio::join!(pair.ann.name(1), async {
        until("ann has seen the old row", async || pair.table.reads() == 1).await;
        pair.bob.rename(1, "new").await;
        pair.table.open();
    });

    assert_eq!(pair.another().await.name(1).await.as_deref(), Some("new"));
    until("ann has heard of it", async || pair.ann.name(1).await.as_deref() == Some("new")).await;
}

/// The same where the reader reads anew what had run out.
#[tokio::test]
async fn a_reader_who_reads_anew_does_not_fill_the_old_value_either() {
    let pair = Pair::start().await;
    pair.table.commit(1, "old");
    until("it is in Redis", async || pair.ann.name(1).await.is_some() && pair.bob.knows(1).await).await;
    pair.clock.forward(Duration::from_secs(361));
    let before = pair.table.reads();
    pair.table.hold();

    tokio::join!(pair.ann.name(1), async {
        until("ann has seen the old row", async || pair.table.reads() > before).await;
        pair.bob.rename(1, "new").await;
        pair.table.open();
    });

    assert_eq!(pair.another().await.name(1).await.as_deref(), Some("new"));
}

/// Three processes read while one of them writes: whoever asks the writer's
/// process, or Redis, after a change was answered gets that one or a later one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_asks_after_the_answer_gets_the_value_from_before() {
    let pair = Pair::start().await;
    pair.table.commit(1, "0");
    let carl = pair.another().await;
    let answered = AtomicU32::new(0);
    let write = async {
        for n in 1..=200 {
            pair.ann.rename(1, &n.to_string()).await;
            answered.store(n, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    };
    let number = async |process: &Process| process.name(1).await.unwrap().parse::<u32>().unwrap();
    let read = async |process: &Process| {
        while answered.load(Ordering::SeqCst) < 200 {
            let before = answered.load(Ordering::SeqCst);
            let told = number(process).await;
            if std::ptr::eq(process, &pair.ann) {
                assert!(told >= before, "{told} was told after {before} was answered");
            }
            tokio::task::yield_now().await;
        }
        until("the last one is known", async || number(process).await == 200).await;
    };
    let reads = join_all([&pair.ann, &pair.ann, &pair.bob, &pair.bob, &carl].map(read));

    tokio::join!(write, reads);

    assert_eq!(pair.another().await.name(1).await.as_deref(), Some("200"));
}

/// A writer that died between its commit and its answer: the event of the
/// change is heard by somebody else, who forgets for all.
#[tokio::test]
async fn who_hears_of_a_change_by_its_event_forgets_it_for_all() {
    let pair = Pair::start().await;
    pair.table.commit(1, "old");
    until("both know it", async || pair.ann.knows(1).await && pair.bob.knows(1).await).await;

    pair.table.commit(1, "new");
    pair.bob.names.forget(&1);

    until("bob has it", async || pair.bob.name(1).await.as_deref() == Some("new")).await;
    until("ann has heard of it", async || pair.ann.name(1).await.as_deref() == Some("new")).await;
}

/// However slow the machine is: who asks 50 ms after the answer, or later, is
/// told the new value, from memory or not.
#[tokio::test]
async fn from_50_ms_after_the_answer_on_no_process_answers_the_old_value() {
    let pair = Pair::start().await;
    pair.table.commit(1, "0");
    for n in 1..=50 {
        until("bob knows it", async || pair.bob.knows(1).await).await;

        pair.ann.rename(1, &n.to_string()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;

        assert_eq!(pair.bob.name(1).await, Some(n.to_string()));
    }
}

/// The message of the change is stuck in a frozen Redis, and the reading that
/// is under way has seen the row from before it.
#[tokio::test]
async fn who_hears_nothing_does_not_join_a_reading_from_before() {
    let pair = Pair::start().await;
    pair.table.commit(1, "old");
    pair.table.hold();

    let (early, late) = tokio::join!(pair.bob.name(1), async {
        until("bob has seen the old row", async || pair.table.reads() == 1).await;
        pair.redis.freeze();
        pair.table.commit(1, "new");
        pair.clock.forward(Duration::from_secs(1));
        let (late, ()) = tokio::join!(pair.bob.name(1), async {
            until("it is read again", async || pair.table.reads() == 2).await;
            pair.table.open();
        });
        late
    });

    assert_eq!((early.as_deref(), late.as_deref()), (Some("old"), Some("new")));
    pair.redis.thaw();
}
