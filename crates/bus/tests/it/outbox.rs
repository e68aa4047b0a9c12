//! Saved with the change, sent once everybody has heard.

use std::{sync::Arc, time::Duration};

use bus::{Bus, outbox};
use db::{Db, Target};
use kernel::{Error, EventId, Result, World};
use testkit::Counting;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    both_databases,
    world::{Clerk, Sold, TestDb},
};

both_databases!(
    an_event_is_saved_with_its_change_or_not_at_all,
    an_entity_announces_a_topic_once_per_version,
    an_event_heard_twice_has_one_effect,
    a_relay_killed_between_effect_and_mark_does_no_harm,
    an_event_that_nobody_listens_to_is_sent,
    a_relay_hears_of_new_events_at_once_and_stops_when_told,
    live_feeds_see_what_was_sent,
    what_was_sent_and_heard_long_ago_is_swept,
    an_event_from_a_clock_that_was_ahead_is_sent_in_time,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_relay_reads_and_changes_nothing() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(Counting::default()));
    let target = Target::Sqlite { path: folder.path().join("shop.db") };
    let db = Db::open_on(&target, &World::real(), disk.clone()).await.unwrap();
    db.migrate(bus::MIGRATIONS).await.unwrap();
    let (bus, stop) = (Bus::memory(), CancellationToken::new());
    let relaying = tokio::spawn({
        let (db, stop) = (db.clone(), stop.clone());
        async move { bus.relay("shop", db, stop).await }
    });
    sleep(Duration::from_secs(1)).await; // it has begun

    let before = disk.seen();
    sleep(Duration::from_millis(2500)).await; // two polls or more
    let after = disk.seen();

    assert!(after.reads > before.reads, "it looks what others have announced");
    assert_eq!(after.changes, before.changes, "and takes nobody's turn at writing");
    stop.cancel();
    relaying.await.unwrap();
}

async fn an_event_is_saved_with_its_change_or_not_at_all(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    let refused: Result<EventId> = db::write!(test.shop, async |tx| {
        outbox::add(tx, &Sold { subject: "mug".into(), version: 1 }).await?;
        Err(Error::conflict("changed_my_mind", "changed my mind"))
    });
    assert!(refused.is_err());
    test.announce("mug", 2).await;

    let sent = bus.relay_once("shop", &test.shop).await;

    assert_eq!(sent, Ok(1));
    assert_eq!(test.effects("office.books", "mug").await, [2]);
    assert_eq!(test.pending().await, 0);
}

async fn an_entity_announces_a_topic_once_per_version(test: TestDb) {
    test.announce("mug", 1).await;

    let again: Result<EventId> = db::write!(test.shop, async |tx| {
        outbox::add(tx, &Sold { subject: "mug".into(), version: 1 }).await
    });

    assert_eq!(again.unwrap_err().code, "event_repeated");
    assert_eq!(test.pending().await, 1);
}

async fn an_event_heard_twice_has_one_effect(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    let id = test.announce("mug", 1).await;
    bus.relay_once("shop", &test.shop).await.unwrap();
    test.forget_the_mark(id).await;
    test.clock.forward(Duration::from_secs(16));

    assert_eq!(bus.relay_once("shop", &test.shop).await, Ok(1));

    assert_eq!(test.effects("office.books", "mug").await, [1]);
}

async fn a_relay_killed_between_effect_and_mark_does_no_harm(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    for version in 1..=3 {
        test.announce("mug", version).await;
    }
    // It dies when the effects are there: whatever it was about to mark is lost.
    tokio::select! {
        biased;
        () = test.until("the effects are there", async || test.effects("office.books", "mug").await.len() == 3) => {}
        _ = bus.relay_once("shop", &test.shop) => {}
    }
    let lost: Result<u64> =
        db::write!(test.shop, async |tx| { db::query("UPDATE outbox SET sent_at = NULL").execute(tx).await });
    lost.unwrap();
    assert_eq!(bus.relay_once("shop", &test.shop).await, Ok(0), "its lease still holds");
    test.announce("mug", 4).await;
    assert_eq!(bus.relay_once("shop", &test.shop).await, Ok(0), "the lease is of the whole entity");
    test.clock.forward(Duration::from_secs(16));

    assert_eq!(bus.relay_once("shop", &test.shop).await, Ok(4));

    assert_eq!(test.effects("office.books", "mug").await, [1, 2, 3, 4]);
}

async fn an_event_that_nobody_listens_to_is_sent(test: TestDb) {
    test.announce("mug", 1).await;

    assert_eq!(test.bus().relay_once("shop", &test.shop).await, Ok(1));

    assert_eq!(test.pending().await, 0);
}

async fn a_relay_hears_of_new_events_at_once_and_stops_when_told(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (bus, shop, stop) = (bus.clone(), test.shop.clone(), stop.clone());
        async move { bus.relay("shop", shop, stop).await }
    });
    test.announce("mug", 1).await;
    test.until("the relay is up", async || test.pending().await == 0).await;

    let started = std::time::Instant::now();
    for version in 2..=11 {
        test.announce("mug", version).await;
        test.until("it is sent", async || test.pending().await == 0).await;
    }
    let took = started.elapsed();
    stop.cancel();
    running.await.unwrap();
    test.announce("mug", 12).await;

    // Ten polls would take at least five seconds.
    assert!(took < Duration::from_secs(3), "ten events took {took:?}");
    assert_eq!(test.effects("office.books", "mug").await, (1..=11).collect::<Vec<_>>());
    assert_eq!(test.pending().await, 1);
}

async fn live_feeds_see_what_was_sent(test: TestDb) {
    let bus = test.bus();
    let mut feed = bus.listen();
    let id = test.announce("mug", 1).await;

    bus.relay_once("shop", &test.shop).await.unwrap();

    let event = feed.try_recv().unwrap();
    assert_eq!((event.id, event.topic.as_str(), event.version), (id, "shop.sold", 1));
    let sent = serde_json::to_value(&*event).unwrap();
    assert_eq!(sent["type"], "shop.sold");
    assert_eq!(sent["data"]["subject"], "mug");
}

async fn what_was_sent_and_heard_long_ago_is_swept(test: TestDb) {
    let bus = test.bus();
    // The shop listens to itself, so that both tables are in one database.
    bus.subscribe(Clerk::new("shop.books", &test.shop));
    test.announce("mug", 1).await;
    bus.relay_once("shop", &test.shop).await.unwrap();
    test.clock.forward(Duration::from_secs(7 * 24 * 3600 + 1));
    test.announce("mug", 2).await;
    bus.relay_once("shop", &test.shop).await.unwrap();
    let rows = async || {
        let rows: Result<(i64, i64)> = db::read!(test.shop, async |tx| {
            db::query("SELECT (SELECT COUNT(*) FROM outbox), (SELECT COUNT(*) FROM inbox)")
                .fetch_one(tx)
                .await
        });
        rows.unwrap()
    };
    assert_eq!(rows().await, (2, 2));

    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (bus, shop, stop) = (bus.clone(), test.shop.clone(), stop.clone());
        async move { bus.relay("shop", shop, stop).await }
    });
    test.until("the old ones are gone", async || {
        test.clock.forward(Duration::from_secs(1)); // the next sweep comes nearer
        rows().await == (1, 1)
    })
    .await;
    stop.cancel();
    running.await.unwrap();
}

async fn an_event_from_a_clock_that_was_ahead_is_sent_in_time(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    test.announce("mug", 1).await;
    let ahead: Result<u64> = db::write!(test.shop, async |tx| {
        db::query("UPDATE outbox SET due_at = $1")
            .bind(tx.world().now() + Duration::from_secs(600))
            .execute(tx)
            .await
    });
    assert_eq!(ahead, Ok(1));

    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (bus, shop, stop) = (bus.clone(), test.shop.clone(), stop.clone());
        async move { bus.relay("shop", shop, stop).await }
    });
    let began = test.shop.world().now();
    test.until("it is sent", async || {
        test.clock.forward(Duration::from_secs(1)); // the next sweep comes nearer
        test.pending().await == 0
    })
    .await;
    stop.cancel();
    running.await.unwrap();

    let took = test.shop.world().now().since(began);
    assert!(took < Duration::from_secs(120), "{took:?}");
    assert_eq!(test.effects("office.books", "mug").await, [1]);
}
