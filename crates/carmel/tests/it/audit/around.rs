//! What an audit is told of the shop around it: that it does not run, that it is
//! at work, that its tables are another program's.

use std::time::Duration;

use carmel::audit;
use kernel::World;
use testkit::{TestDb, both_databases, client::Basket};

use super::{After, tamper};
use crate::{
    fleet::{Door, tell},
    harness::{Shop, settings},
};

both_databases!(
    what_a_shop_left_when_it_ended_is_not_late,
    tables_of_another_program_are_left_as_they_are,
    where_no_shop_is_none_is_made,
);

async fn what_a_shop_left_when_it_ended_is_not_late(db: TestDb) {
    let is_in_files = db.url().is_none();
    let after = After::two_orders(db).await;
    let shop = after.open().await;
    let now = shop.world().now().micros();
    let wait = |name: &str, since: i64| {
        format!(
            "UPDATE jobs SET state = 'waiting', finished_at = NULL, ready = TRUE, run_at = {since}
             WHERE id = (SELECT id FROM jobs WHERE name = '{name}' AND state = 'done' ORDER BY id LIMIT 1)"
        )
    };
    assert_eq!(tamper(&shop, "orders", &wait("orders.fulfil", now)).await, 1);
    assert_eq!(tamper(&shop, "notifications", &wait("notifications.tell", now - TEN_MINUTES)).await, 1);
    // Of a version that is gone: it says nothing of when the shop ended.
    let stale = "INSERT INTO schedules (name, cron, next_at) VALUES ('orders.gone', '* * * * *', 1)";
    tamper(&shop, "orders", stale).await;
    shop.close().await;
    after.clock.forward(Duration::from_secs(24 * 3600));
    let world = after.clock.world();

    let found = audit::command(&after.config, &world, false, false).await.unwrap().breaches;
    let stopped = audit::command(&after.config, &world, false, true).await.unwrap().breaches;

    let late = |breaches: &[String], name: &str| {
        breaches.iter().any(|breach| breach.contains(&format!("({name}) should have run at")))
    };
    assert!(late(&stopped, "notifications.tell"), "it was late before the shop ended: {stopped:#?}");
    assert!(!late(&stopped, "orders.fulfil"), "{stopped:#?}");
    // Whether a shop in files runs is found out; of a PostgreSQL nobody can tell.
    assert_eq!(late(&found, "orders.fulfil"), !is_in_files, "{found:#?}");
}

const TEN_MINUTES: i64 = 600_000_000;

async fn tables_of_another_program_are_left_as_they_are(db: TestDb) {
    let after = After::two_orders(db).await;
    let world = World::real();
    let refused = async || {
        let error = audit::command(&after.config, &world, true, false).await.unwrap_err();
        (error.code.to_string(), error.message)
    };
    let shop = after.open().await;
    let migrations = async || {
        let read: kernel::Result<Vec<(String,)>> = db::read!(shop.database("orders"), async |tx| {
            db::query("SELECT name FROM migrations ORDER BY name").fetch_all(tx).await
        });
        read.unwrap().into_iter().map(|(name,)| name).collect::<Vec<_>>()
    };

    let known = migrations().await;
    tamper(&shop, "orders", "DELETE FROM migrations WHERE name = 'bus_5_consumers'").await;
    let (older, why) = refused().await;
    let left = migrations().await;
    tamper(&shop, "orders", "UPDATE migrations SET name = 'orders_99' WHERE name = 'orders_1'").await;
    let (newer, who) = refused().await;

    assert_eq!((older.as_str(), newer.as_str()), ("tables_too_old", "program_too_old"));
    assert!(why.starts_with("orders: ") && why.contains("bus_5_consumers"), "{why}");
    assert!(who.starts_with("orders: ") && who.contains("orders_99"), "{who}");
    assert_eq!(left.len(), known.len() - 1, "an audit migrates nothing");
    shop.close().await;
}

async fn where_no_shop_is_none_is_made(db: TestDb) {
    let config = settings(&db);

    let refused = audit::command(&config, &World::real(), false, false).await.unwrap_err();

    match db.url() {
        None => assert_eq!(refused.code, "no_shop"),
        Some(_) => assert_eq!(
            (refused.code.as_ref(), refused.message.as_str()),
            ("no_tables", "users: there is no schema users in this database")
        ),
    }
    assert_eq!(std::fs::read_dir(db.folder()).unwrap().count(), 0);
}

/// People buy while it looks.
#[test]
fn a_fleet_at_work_is_audited() {
    tell(Door::Gateway, async |db| {
        let mut shop = Shop::start(db).await;
        shop.stock("mug", 1200, 1000).await;
        let ann = shop.customer().await;
        let buying = tokio::spawn(async move {
            loop {
                ann.place(&Basket::of(&[("mug", 1)])).await;
            }
        });

        for _ in 0..3 {
            let (status, said) = shop.fleet().audit().await;
            assert!(status.success(), "{said}");
        }
        buying.abort();

        shop.audit().await;
    });
}
