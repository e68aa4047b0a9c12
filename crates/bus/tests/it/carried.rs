//! What holds whatever carries the events.

use std::time::Duration;

use crate::{
    every_bus,
    world::{Clerk, SUBJECTS, TestDb},
};

every_bus!(
    events_are_heard_once_and_in_the_order_of_each_entity,
    an_event_that_is_carried_twice_has_one_effect,
    a_process_that_dies_between_effect_and_acknowledgement_does_no_harm,
    a_relay_that_dies_between_sending_and_marking_does_no_harm,
    two_processes_of_a_consumer_keep_the_order_when_one_dies,
    live_feeds_see_what_is_sent,
    a_broker_that_is_away_delays_events_and_loses_none,
);
const BOOKS: &str = "office.books";

async fn events_are_heard_once_and_in_the_order_of_each_entity(test: TestDb) {
    for version in [3, 1, 2] {
        for subject in ["cup", "mug", "pot"] {
            test.announce(subject, version).await;
        }
    }

    let process = test.process([Clerk::new(BOOKS, &test.office)]).await;

    for subject in ["cup", "mug", "pot"] {
        test.heard(BOOKS, subject, 3).await;
    }
    test.until("all are marked", async || test.pending().await == 0).await;
    process.end().await;
}

async fn an_event_that_is_carried_twice_has_one_effect(test: TestDb) {
    let process = test.process([Clerk::new(BOOKS, &test.office)]).await;
    let first = test.announce("mug", 1).await;
    test.heard(BOOKS, "mug", 1).await;
    test.until("it is marked", async || test.pending().await == 0).await;
    test.forget_the_mark(first).await;
    test.until("it is sent again", async || test.pending().await == 0).await;

    test.announce("mug", 2).await; // comes behind it

    test.heard(BOOKS, "mug", 2).await;
    process.end().await;
}

async fn a_process_that_dies_between_effect_and_acknowledgement_does_no_harm(test: TestDb) {
    let point = if test.broker.is_memory() { "bus.carried" } else { "bus.heard" };
    dies_at(point, test).await;
}

async fn a_relay_that_dies_between_sending_and_marking_does_no_harm(test: TestDb) {
    dies_at("bus.carried", test).await;
}

async fn dies_at(point: &'static str, test: TestDb) {
    test.announce_each(&["cup", "mug"], 1..=3).await;
    test.clock.die_at(point);
    let first = test.process([Clerk::new(BOOKS, &test.office)]).await;
    test.until("it has died", async || test.clock.has_died()).await;
    first.kill();
    test.announce_each(&["cup", "mug"], 4..=5).await;
    test.clock.forward(Duration::from_secs(16));

    let second = test.process([Clerk::new(BOOKS, &test.office)]).await;

    test.heard(BOOKS, "cup", 5).await;
    test.heard(BOOKS, "mug", 5).await;
    test.until("all are marked", async || test.pending().await == 0).await;
    second.end().await;
}

async fn two_processes_of_a_consumer_keep_the_order_when_one_dies(test: TestDb) {
    let first = test.process([Clerk::new(BOOKS, &test.office)]).await;
    let second = test.process([Clerk::new(BOOKS, &test.office)]).await;
    test.announce_each(&SUBJECTS, 1..=10).await;
    test.until("some are heard", async || !test.effects(BOOKS, "mug").await.is_empty()).await;

    first.kill();
    test.clock.forward(Duration::from_secs(16)); // what it had claimed is given back
    test.announce_each(&SUBJECTS, 11..=15).await;

    for subject in SUBJECTS {
        test.heard(BOOKS, subject, 15).await;
    }
    second.end().await;
}

async fn live_feeds_see_what_is_sent(test: TestDb) {
    let process = test.process([]).await;
    test.is_seen(&process.bus).await;
    process.end().await;
}

async fn a_broker_that_is_away_delays_events_and_loses_none(test: TestDb) {
    let process = test.process([Clerk::new(BOOKS, &test.office)]).await;
    test.announce_each(&["cup", "mug"], 1..=3).await;
    test.heard(BOOKS, "mug", 3).await;
    test.broker.away();
    test.announce_each(&["cup", "mug"], 4..=6).await;
    test.clock.forward(Duration::from_secs(121));
    if !test.broker.is_memory() {
        test.until("the audit names it", async || bus::audit(&test.shop).await.unwrap().len() >= 6).await;
    }

    test.broker.back().await;

    test.heard(BOOKS, "cup", 6).await;
    test.heard(BOOKS, "mug", 6).await;
    test.until("the audit is content", async || bus::audit(&test.shop).await.unwrap().is_empty()).await;
    process.end().await;
}
