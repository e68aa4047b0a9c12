//! What is over is cleared away, each kind after a time of its own.

use std::time::Duration;

use carmel::audit::{self, Terms};
use testkit::{TestDb, both_databases};

use crate::harness::{Shop, wait_until};

both_databases!(what_is_over_is_cleared_away_after_its_time);

const HOUR: Duration = Duration::from_secs(3600);

async fn what_is_over_is_cleared_away_after_its_time(db: TestDb) {
    let mut terms = Terms::default();
    let shop = Shop::start_with(db, |config| {
        config.jobs.keep_minutes = 60;
        config.events.keep_minutes = 120;
        config.idempotency.keep_minutes = 180;
        terms = Terms::of(config);
    })
    .await;
    shop.stock("mug", 1200, 10).await;
    let ann = shop.customer().await;
    ann.order(&[("mug", 1)]).await;
    shop.settle().await;
    let jobs = Old::of(&shop, "SELECT COUNT(*) FROM jobs WHERE state = 'done' AND finished_at <= $1");
    let sent = Old::of(&shop, "SELECT COUNT(*) FROM outbox WHERE sent_at <= $1");
    let heard = Old::of(&shop, "SELECT COUNT(*) FROM inbox WHERE heard_at <= $1");
    let answers = Old::of(&shop, "SELECT COUNT(*) FROM idempotency WHERE created_at <= $1");
    let mails = Old::of(&shop, "SELECT COUNT(*) FROM messages WHERE created_at <= $1");
    let (sent_once, heard_once, answered) = (sent.count().await, heard.count().await, answers.count().await);
    assert!(jobs.count().await > 0 && sent_once > 0 && heard_once > 0 && answered > 0);

    shop.clock.forward(HOUR);
    jobs.are_gone().await;
    assert_eq!((sent.count().await, heard.count().await), (sent_once, heard_once));
    shop.clock.forward(HOUR);
    sent.are_gone().await;
    heard.are_gone().await;
    assert_eq!(answers.count().await, answered);
    shop.clock.forward(HOUR);
    answers.are_gone().await;

    assert_eq!(mails.count().await, 1, "what the business is about stays");
    let audited = audit::audit_by(&shop.inside, terms).await.unwrap();
    assert_eq!(audited.breaches, Vec::<String>::new(), "an event that was cleared away is not missed");
    shop.close().await;
}

/// Rows that were there at some moment.
struct Old<'a> {
    shop: &'a Shop,
    count: &'static str,
    until: kernel::Time,
}

impl Old<'_> {
    fn of<'a>(shop: &'a Shop, count: &'static str) -> Old<'a> {
        Old { shop, count, until: shop.inside.world().now() }
    }

    /// How many are left, of all services.
    async fn count(&self) -> i64 {
        let mut left = 0;
        for (service, db) in &self.shop.inside.databases {
            if self.count.contains("messages") && *service != "notifications" {
                continue;
            }
            let own: kernel::Result<(i64,)> =
                db::read!(db, async |tx| { db::query(self.count).bind(self.until).fetch_one(tx).await });
            left += own.unwrap().0;
        }
        left
    }

    async fn are_gone(&self) {
        wait_until(Duration::from_secs(60), self.count, async || {
            self.shop.clock.forward(Duration::from_secs(1)); // the next sweep comes nearer
            self.count().await == 0
        })
        .await;
    }
}
