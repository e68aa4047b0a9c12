//! What one process read, another need not read.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::future::join_all;

use crate::world::{Pair, until};

#[tokio::test]
async fn what_one_process_read_another_finds_in_redis() {
    let pair = Pair::start().await;
    for id in 0..100 {
        pair.table.commit(id, "Ann");
    }

    until("bob knows what ann read", async || {
        let id = pair.table.reads() as u32;
        pair.ann.name(id).await;
        pair.bob.knows(id).await
    })
    .await;
}

/// Ann is reading when bob's thousand ask. They give her a moment, which on a
/// slow machine may be too short: then the next row shows it.
#[tokio::test]
async fn a_thousand_who_ask_in_two_processes_make_one_query() {
    let pair = Pair::start().await;
    let one_query = async |id: u32| {
        pair.table.commit(id, "Ann");
        pair.table.hold();
        let before = pair.table.reads();
        let crowd = async {
            until("ann has seen the row", async || pair.table.reads() > before).await;
            let asked = pair.redis.calls("get");
            let (names, ()) = tokio::join!(join_all((0..1000).map(|_| pair.bob.name(id))), async {
                let has_asked = || pair.redis.calls("get") > asked || pair.table.reads() > before + 1;
                until("bob has asked Redis or the table", async || has_asked()).await;
                pair.table.open();
            });
            names
        };
        let (name, names) = tokio::join!(pair.ann.name(id), crowd);
        assert!(names.iter().chain([&name]).all(|name| name.as_deref() == Some("Ann")));
        pair.table.reads() == before + 1
    };

    let next = AtomicU32::new(0);
    until("bob waits for ann", async || one_query(next.fetch_add(1, Ordering::SeqCst)).await).await;
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_until_it_is_made() {
    let pair = Pair::start().await;
    assert_eq!(pair.ann.name(1).await, None);
    until("that is remembered", async || pair.ann.knows(1).await).await;

    pair.bob.rename(1, "Ann").await;

    until("ann hears of it", async || pair.ann.name(1).await.as_deref() == Some("Ann")).await;
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_for_seconds_only() {
    let pair = Pair::start().await;
    assert_eq!(pair.ann.name(1).await, None);

    pair.table.commit(1, "Ann"); // by somebody who tells nobody
    pair.clock.forward(Duration::from_secs(6));

    assert_eq!(pair.ann.name(1).await.as_deref(), Some("Ann"));
}

/// A machine that is slow for a moment does not know whether it hears of
/// changes, and reads again: then the next row shows it.
#[tokio::test]
async fn what_has_run_out_is_answered_with_while_it_is_read_anew_once() {
    let pair = Pair::start().await;
    let answers_at_once = async |id: u32| {
        pair.table.commit(id, "Ann");
        until("it is remembered", async || pair.ann.knows(id).await).await;
        pair.table.commit(id, "Bob"); // by somebody who tells nobody
        pair.clock.forward(Duration::from_secs(301));
        let before = pair.table.reads();
        pair.table.hold();
        let crowd = async {
            let mut is_old = true;
            while is_old && pair.table.reads() == before {
                let names = join_all((0..100).map(|_| pair.ann.name(id))).await;
                is_old = names.iter().all(|name| name.as_deref() == Some("Ann"));
                // All of them were answered from memory, and nobody else had a turn.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            is_old && pair.ann.name(id).await.as_deref() == Some("Ann") && pair.table.reads() == before + 1
        };
        let is_so = tokio::time::timeout(Duration::from_secs(2), crowd).await;
        pair.table.open();
        until("the new one is there", async || pair.ann.name(id).await.as_deref() == Some("Bob")).await;
        is_so.unwrap_or(false)
    };

    let next = AtomicU32::new(0);
    until("nobody waits", async || answers_at_once(next.fetch_add(1, Ordering::SeqCst)).await).await;
}

#[tokio::test]
async fn what_has_run_out_for_long_is_not_answered_with() {
    let pair = Pair::start().await;
    pair.table.commit(1, "Ann");
    pair.ann.name(1).await;
    pair.table.commit(1, "Bob"); // by somebody who tells nobody

    pair.clock.forward(Duration::from_secs(361));

    assert_eq!(pair.ann.name(1).await.as_deref(), Some("Bob"));
    assert_eq!(pair.bob.name(1).await.as_deref(), Some("Bob"));
}

#[tokio::test]
async fn what_another_release_wrote_is_read_again() {
    let pair = Pair::start().await;
    pair.table.commit(1, "Ann");
    let entry = async || {
        pair.ann.name(1).await;
        pair.redis.ask(&["--scan", "--pattern", "*:names:1"]).trim().to_owned()
    };
    until("it is in Redis", async || !entry().await.is_empty()).await;
    let entry = entry().await;
    let newer = r#"{"by":"99.0.0","until":9000000000000000,"value":"Bob"}"#;
    for other in [newer, r#"{"by":"0.1.0","until":9000000000000000,"value":7}"#, "junk"] {
        pair.redis.ask(&["set", &entry, other]);

        assert_eq!(pair.another().await.name(1).await.as_deref(), Some("Ann"));
    }
    until("it is written anew", async || {
        pair.another().await.name(1).await;
        pair.redis.ask(&["get", &entry]).contains("Ann")
    })
    .await;
}
