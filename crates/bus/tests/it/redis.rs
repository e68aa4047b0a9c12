//! What Redis may lose, and what it may forget.

use std::{process::Command, time::Duration};

use crate::{
    broker::Broker,
    stories,
    world::{Clerk, TestDb},
};

stories!(sqlite, sqlite, redis:
    what_is_flushed_before_it_is_heard_is_sent_again,
    what_is_flushed_comes_back_before_anything_newer,
    what_a_restart_has_lost_is_sent_again,
    what_all_have_heard_is_trimmed_and_nothing_else,
    a_consumer_that_is_flushed_and_away_keeps_its_events,
    a_consumer_that_is_gone_for_good_is_forgotten,
    what_a_clock_that_was_behind_has_sent_is_sent_again
);
stories!(postgres, postgres, redis: what_is_flushed_before_it_is_heard_is_sent_again);

const BOOKS: &str = "office.books";

impl TestDb {
    /// Asks the server itself.
    fn redis(&self, arguments: &[&str]) -> String {
        let Broker::Redis { server, .. } = &self.broker else { panic!("there is no Redis") };
        let asked = Command::new("redis-cli").args(["-u", &server.url()]).args(arguments).output().unwrap();
        assert!(asked.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    }

    /// How many entries the streams of the shop have.
    fn entries(&self) -> usize {
        let length = |partition| self.redis(&["xlen", &format!("carmel:events:shop:{partition}")]);
        (0..4).map(|partition| length(partition).parse::<usize>().unwrap()).sum()
    }

    fn flush(&self) {
        self.redis(&["flushall"]);
    }
}

async fn what_is_flushed_before_it_is_heard_is_sent_again(test: TestDb) {
    let shop = test.process([]).await;
    for version in 1..=3 {
        test.announce("mug", version).await;
    }
    test.sent().await;

    test.flush();

    let office = test.office([Clerk::new(BOOKS, &test.office)]).await;
    test.hears("mug", &[1, 2, 3]).await;
    shop.end().await;
    office.end().await;
}

async fn what_is_flushed_comes_back_before_anything_newer(test: TestDb) {
    let shop = test.process([]).await;
    test.announce("mug", 1).await;
    test.sent().await;
    test.flush();
    test.announce("mug", 2).await; // the relay hears of it before it looks at anything else
    let office = test.office([Clerk::new(BOOKS, &test.office)]).await;
    test.hears("mug", &[1, 2]).await;

    // While consumers read, too.
    for version in 3..=12 {
        test.announce("mug", version).await;
        test.flush();
    }

    test.hears("mug", &(1..=12).collect::<Vec<_>>()).await;
    shop.end().await;
    office.end().await;
}

async fn what_a_restart_has_lost_is_sent_again(test: TestDb) {
    let shop = test.process([]).await;
    for version in 1..=3 {
        test.announce("mug", version).await;
    }
    test.sent().await;

    // As after a failover to a replica that had only the first: another run, under the old mark.
    let mark = test.redis(&["get", "carmel:events:shop:mark"]);
    let (run, word) = mark.split_once(' ').unwrap();
    let other_run: String = run.chars().rev().collect();
    for partition in 0..4 {
        test.redis(&["xtrim", &format!("carmel:events:shop:{partition}"), "maxlen", "0"]);
    }
    test.redis(&["set", "carmel:events:shop:mark", &format!("{other_run} {word}")]);

    test.announce("mug", 4).await;
    let office = test.office([Clerk::new(BOOKS, &test.office)]).await;
    test.hears("mug", &[1, 2, 3, 4]).await;
    shop.end().await;
    office.end().await;
}

impl Broker {
    fn forget_at_once(&self) {
        let Broker::Redis { linger, .. } = self else { panic!("there is no Redis") };
        *linger.lock().unwrap() = Duration::ZERO;
    }
}

async fn what_all_have_heard_is_trimmed_and_nothing_else(test: TestDb) {
    test.broker.forget_at_once();
    let mail = test.office([Clerk::new("office.mail", &test.office)]).await;
    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;
    let shop = test.process([]).await;
    test.announce("mug", 1).await;
    test.hears("mug", &[1]).await;
    test.settled(BOOKS).await;
    test.settled("office.mail").await;
    books.end().await;
    for version in 2..=10 {
        test.announce("mug", version).await;
    }
    test.sent().await;
    test.settled("office.mail").await;
    test.settled("office.mail").await;
    assert!(test.entries() >= 9, "the books have not heard them");

    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;

    test.hears("mug", &(1..=10).collect::<Vec<_>>()).await;
    test.until("they are trimmed", async || {
        test.clock.forward(Duration::from_secs(1));
        test.entries() <= 1
    })
    .await;
    for process in [shop, mail, books] {
        process.end().await;
    }
}

async fn a_consumer_that_is_flushed_and_away_keeps_its_events(test: TestDb) {
    test.broker.forget_at_once();
    let mail = test.office([Clerk::new("office.mail", &test.office)]).await;
    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;
    let shop = test.process([]).await;
    test.announce("mug", 1).await;
    test.hears("mug", &[1]).await;
    test.settled(BOOKS).await;
    books.end().await;
    test.announce("mug", 2).await;
    test.sent().await;
    test.settled("office.mail").await;

    test.flush();
    test.until("it is noticed", async || {
        test.clock.forward(Duration::from_secs(1));
        test.entries() > 0 && test.pending().await == 0
    })
    .await;
    test.settled("office.mail").await;
    test.settled("office.mail").await; // trimmed since, if it were not for the books

    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;
    test.hears("mug", &[1, 2]).await;
    for process in [shop, mail, books] {
        process.end().await;
    }
}

async fn a_consumer_that_is_gone_for_good_is_forgotten(test: TestDb) {
    test.broker.forget_at_once();
    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;
    let shop = test.process([]).await;
    test.announce("mug", 1).await;
    test.hears("mug", &[1]).await;
    test.settled(BOOKS).await;
    books.end().await;
    test.announce("mug", 2).await;
    test.sent().await;

    test.clock.forward(Duration::from_secs(8 * 24 * 3600));

    test.until("its events are trimmed", async || {
        test.clock.forward(Duration::from_secs(1));
        test.entries() <= 1 && !test.redis(&["xinfo", "groups", "carmel:events:shop:0"]).contains(BOOKS)
    })
    .await;
    shop.end().await;
}

async fn what_a_clock_that_was_behind_has_sent_is_sent_again(test: TestDb) {
    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;
    let shop = test.process([]).await;
    test.announce("mug", 1).await;
    test.hears("mug", &[1]).await;
    test.settled(BOOKS).await;
    books.end().await;
    let event = test.announce("mug", 2).await;
    test.sent().await;
    let behind: kernel::Result<u64> = db::write!(test.shop, async |tx| {
        db::query("UPDATE outbox SET sent_at = sent_at - $2 WHERE id = $1")
            .bind(event)
            .bind(600_000_000_i64)
            .execute(tx)
            .await
    });
    assert_eq!(behind, Ok(1));

    test.flush();

    let books = test.office([Clerk::new(BOOKS, &test.office)]).await;
    test.hears("mug", &[1, 2]).await;
    shop.end().await;
    books.end().await;
}
