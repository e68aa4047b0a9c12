//! What holds when the processes that hear are not the one that relays.

use std::time::Duration;

use crate::{
    every_broker,
    world::{Clerk, SUBJECTS, TestDb},
};

every_broker!(
    two_processes_of_a_consumer_share_the_work,
    an_event_that_comes_twice_at_once_has_one_effect,
    a_process_that_dies_before_the_effect_loses_nothing,
    one_who_comes_late_hears_what_is_still_there,
    live_feeds_see_what_another_process_sends,
    the_audit_names_a_consumer_that_does_not_hear,
);

const BOOKS: &str = "office.books";

async fn two_processes_of_a_consumer_share_the_work(test: TestDb) {
    let (ann, bob) = (Clerk::new(BOOKS, &test.office), Clerk::new(BOOKS, &test.office));
    let first = test.process([ann.clone()]).await;
    let second = test.office([bob.clone()]).await;

    let mut version = 0;
    while ann.heard() == 0 || bob.heard() == 0 {
        version += 1;
        assert!(version < 500, "one does all: {} and {}", ann.heard(), bob.heard());
        test.announce_each(&SUBJECTS, version..=version).await;
        test.heard(BOOKS, "mug", version).await;
    }

    for subject in SUBJECTS {
        test.heard(BOOKS, subject, version).await;
    }
    first.end().await;
    second.end().await;
}

async fn an_event_that_comes_twice_at_once_has_one_effect(test: TestDb) {
    let shop = test.process([]).await;
    let first = test.announce("mug", 1).await;
    for _ in 0..3 {
        test.until("it is sent", async || test.pending().await == 0).await;
        test.forget_the_mark(first).await;
        test.clock.forward(Duration::from_secs(2)); // the relay looks again
    }
    test.until("it is sent", async || test.pending().await == 0).await;
    test.announce("mug", 2).await;

    let office = test.office([Clerk::new(BOOKS, &test.office)]).await;

    test.heard(BOOKS, "mug", 2).await;
    shop.end().await;
    office.end().await;
}

async fn a_process_that_dies_before_the_effect_loses_nothing(test: TestDb) {
    let shop = test.process([]).await;
    test.announce_each(&["cup", "mug"], 1..=3).await;
    test.clock.die_at("bus.read");
    let first = test.office([Clerk::new(BOOKS, &test.office)]).await;
    test.until("it has died", async || test.clock.has_died()).await;
    first.kill();

    let second = test.office([Clerk::new(BOOKS, &test.office)]).await;

    test.heard(BOOKS, "cup", 3).await;
    test.heard(BOOKS, "mug", 3).await;
    shop.end().await;
    second.end().await;
}

async fn one_who_comes_late_hears_what_is_still_there(test: TestDb) {
    let first = test.process([Clerk::new(BOOKS, &test.office)]).await;
    test.announce_each(&["cup", "mug"], 1..=3).await;
    test.heard(BOOKS, "mug", 3).await;

    let second = test.office([Clerk::new("office.late", &test.office)]).await;

    test.heard("office.late", "cup", 3).await;
    test.heard("office.late", "mug", 3).await;
    first.end().await;
    second.end().await;
}

async fn live_feeds_see_what_another_process_sends(test: TestDb) {
    let (relay, other) = (test.process([]).await, test.office([]).await);
    test.is_seen(&other.bus).await;
    relay.end().await;
    other.end().await;
}

async fn the_audit_names_a_consumer_that_does_not_hear(test: TestDb) {
    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;
    let shop = test.process([]).await;
    test.announce("mug", 1).await;
    test.hears("mug", &[1]).await;
    test.settled(BOOKS).await;
    books.end().await;
    test.announce("mug", 2).await;
    test.sent().await;
    assert_eq!(bus::audit(&test.shop).await, Ok(vec![]), "not at once");

    test.clock.forward(Duration::from_secs(125));

    let findings = bus::audit(&test.shop).await.unwrap();
    assert!(findings.len() == 1 && findings[0].starts_with("office.books is not known"), "{findings:?}");
    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;
    test.hears("mug", &[1, 2]).await;
    test.until("the audit is content", async || {
        test.clock.forward(Duration::from_secs(1));
        bus::audit(&test.shop).await.unwrap().is_empty()
    })
    .await;
    shop.end().await;
    books.end().await;
}
