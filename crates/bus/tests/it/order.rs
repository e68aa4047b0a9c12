//! The order of an entity, and who waits for whom.

use std::time::Duration;

use kernel::Result;
use tokio_util::sync::CancellationToken;

use crate::{
    both_databases,
    world::{Clerk, Priced, Sold, TestDb},
};

both_databases!(
    the_events_of_an_entity_are_heard_in_the_order_of_its_versions,
    many_events_of_one_entity_are_heard_in_order,
    two_relays_keep_the_order_and_tell_once,
    a_run_that_nobody_listens_to_is_sent_in_order_up_to_what_somebody_does,
    an_event_that_cannot_be_read_holds_up_its_own_entity_only,
);

async fn the_events_of_an_entity_are_heard_in_the_order_of_its_versions(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    // Not in the order in which they were saved.
    for version in [3, 1, 2] {
        test.announce("mug", version).await;
    }

    bus.relay_once("shop", &test.shop).await.unwrap();

    assert_eq!(test.effects("office.books", "mug").await, [1, 2, 3]);
}

async fn many_events_of_one_entity_are_heard_in_order(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    let saved: Result<()> = db::write!(test.shop, async |tx| {
        for version in 1..=700 {
            bus::outbox::add(tx, &Sold { subject: "mug".into(), version }).await?;
        }
        Ok(())
    });
    saved.unwrap();

    assert_eq!(bus.relay_once("shop", &test.shop).await, Ok(700));

    assert_eq!(test.effects("office.books", "mug").await, (1..=700).collect::<Vec<_>>());
}

async fn two_relays_keep_the_order_and_tell_once(test: TestDb) {
    let stop = CancellationToken::new();
    let mut running = Vec::new();
    for _ in 0..2 {
        let db = test.other_process().await;
        let bus = test.bus();
        bus.subscribe(Clerk::new("office.books", &test.office));
        let stop = stop.clone();
        running.push(tokio::spawn(async move { bus.relay("shop", db, stop).await }));
    }

    for version in 1..=30 {
        for subject in ["cup", "mug", "pot"] {
            test.announce(subject, version).await;
        }
        if version % 5 == 0 {
            test.clock.forward(Duration::from_millis(1100)); // both poll
        }
    }
    test.clock.forward(Duration::from_millis(1100));
    test.until("all are sent", async || test.pending().await == 0).await;
    stop.cancel();
    for relay in running {
        relay.await.unwrap();
    }

    for subject in ["cup", "mug", "pot"] {
        assert_eq!(test.effects("office.books", subject).await, (1..=30).collect::<Vec<_>>(), "{subject}");
    }
}

async fn a_run_that_nobody_listens_to_is_sent_in_order_up_to_what_somebody_does(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    let mut feed = bus.listen();
    test.price("mug", 1).await;
    test.announce("mug", 2).await;
    test.price("mug", 3).await;
    let saved: Result<()> = db::write!(test.shop, async |tx| {
        for version in 2..=800 {
            bus::outbox::add(tx, &Priced { subject: "pot".into(), version }).await?;
        }
        Ok(())
    });
    saved.unwrap();
    test.price("pot", 1).await;
    test.announce("pot", 801).await;
    test.price("pot", 802).await;

    assert_eq!(bus.relay_once("shop", &test.shop).await, Ok(3 + 802));

    assert_eq!(test.effects("office.books", "pot").await, [801]);
    let (mut pots, mut mugs) = (Vec::new(), Vec::new());
    while let Ok(event) = feed.try_recv() {
        if event.subject == "pot" { &mut pots } else { &mut mugs }.push(event.version);
    }
    assert_eq!(pots, (1..=802).collect::<Vec<_>>());
    assert_eq!(mugs, [1, 2, 3]);
    assert_eq!(test.effects("office.books", "mug").await, [2]);
    assert_eq!(test.pending().await, 0);
}

async fn an_event_that_cannot_be_read_holds_up_its_own_entity_only(test: TestDb) {
    let bus = test.bus();
    bus.subscribe(Clerk::new("office.books", &test.office));
    let spoil = async |id, data: &'static str| {
        let spoiled: Result<u64> = db::write!(test.shop, async |tx| {
            db::query("UPDATE outbox SET data = $2 WHERE id = $1").bind(id).bind(data).execute(tx).await
        });
        assert_eq!(spoiled, Ok(1));
    };
    let (sold, priced) = (test.announce("mug", 1).await, test.price("pot", 2).await);
    for id in [sold, priced] {
        spoil(id, "{").await;
    }
    test.announce("mug", 2).await;
    test.announce("cup", 1).await;
    test.price("pot", 1).await;
    test.price("pot", 3).await;

    assert_eq!(bus.relay_once("shop", &test.shop).await, Ok(2));

    assert_eq!(test.effects("office.books", "cup").await, [1]);
    test.clock.forward(Duration::from_secs(121));
    let findings = bus::audit(&test.shop).await.unwrap();
    let told = findings.iter().filter(|text| text.contains("after 1 attempts: relay: ")).count();
    assert_eq!((findings.len(), told), (4, 2), "{findings:?}");
    spoil(sold, r#"{"subject": "mug", "version": 1}"#).await;
    spoil(priced, "{}").await;
    assert_eq!(bus.relay_once("shop", &test.shop).await, Ok(4));
    assert_eq!(test.effects("office.books", "mug").await, [1, 2]);
}
