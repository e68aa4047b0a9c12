//! The audit names what was broken by hand, nothing else, and mends what can be
//! derived again.

mod around;

use carmel::{
    audit::{self, Terms},
    config::Config,
    shop,
};
use testkit::{TestDb, both_databases, client::Person, clock::Clock, process::Carmel};

use crate::{
    harness::{Shop, id},
    process::{PROGRAM, furnish, lent, on, run, said},
};

both_databases!(
    every_rule_that_was_broken_is_named,
    what_belongs_to_nobody_or_takes_too_long_is_named,
    a_consumer_that_lost_all_it_heard_is_named,
    what_can_be_derived_again_is_mended,
);

async fn every_rule_that_was_broken_is_named(db: TestDb) {
    let after = After::two_orders(db).await;
    let (shop, [first, second]) = (after.open().await, after.orders.clone());
    assert_eq!(audit::audit(&shop).await.unwrap().breaches, Vec::<String>::new());
    let breaks = [
        ("users", JOB_OF_NOBODY.to_owned(), "users: job_"),
        ("users", UNSENT.to_owned(), "is not sent after"),
        (
            "inventory",
            "UPDATE stock SET on_hand = on_hand + 1".to_owned(),
            "are on hand, but its movements add up to",
        ),
        (
            "inventory",
            "UPDATE stock SET version = version + 1".to_owned(),
            "and the last one it announced is",
        ),
        ("payments", REFUND_OF_NOTHING.to_owned(), "which has no payment"),
        ("orders", UNENDED_STEP.to_owned(), "is at rest, but a step of it has not ended"),
        ("orders", UNANSWERED_KEY.to_owned(), "orders: the idempotency key"),
        ("notifications", UNHEARD.to_owned(), "was sent, and notifications.mail has not heard it"),
        ("notifications", heard_of_nothing(&second), "and orders did not announce it"),
        (
            "notifications",
            format!("DELETE FROM messages WHERE key = 'order:{first}:confirmed'"),
            "nobody writes the mail",
        ),
    ];

    for (service, sql, _) in &breaks {
        assert_eq!(tamper(&shop, service, sql).await, 1, "{sql}");
    }
    let found = audit::audit(&shop).await.unwrap().breaches;

    for (_, sql, named) in &breaks {
        let of_this = found.iter().filter(|breach| breach.contains(named)).count();
        assert_eq!(of_this, 1, "{sql}: {found:#?}");
    }
    assert_eq!(found.len(), breaks.len(), "{found:#?}");
    shop.close().await;
}

async fn what_belongs_to_nobody_or_takes_too_long_is_named(db: TestDb) {
    let after = After::two_orders(db).await;
    let (shop, [first, second]) = (after.open().await, after.orders.clone());
    let of = |order: &str| format!("'{}'", order.trim_start_matches("ord_"));
    let id = match shop.database("orders").engine() {
        db::Engine::Sqlite => |hex: String| format!("x{hex}"),
        db::Engine::Postgres => |hex: String| format!("CAST({hex} AS UUID)"),
    };
    let (gone, moving) = (id(of(&first)), id(of(&second)));
    let remove = ["order_lines", "order_steps", "order_history"]
        .map(|table| ("orders", format!("DELETE FROM {table} WHERE order_id = {gone}"), vec![]));
    let breaks: Vec<(&str, String, Vec<String>)> = remove
        .into_iter()
        .chain([
            (
                "orders",
                format!("DELETE FROM orders WHERE id = {gone}"),
                vec![
                    format!("{first}: has the captured payment"),
                    format!("{first}: has stock that is sold, and there is no such order"),
                ],
            ),
            (
                "orders",
                format!("UPDATE orders SET state = 'held', updated_at = 1 WHERE id = {moving}"),
                vec![
                    format!("orders: {second} is held since 1970"),
                    format!("orders: {second} stands still and has no job"),
                    format!("orders: {second} stands where its history does not end"),
                    format!("{second}: is held and 1200 of its money is kept"),
                ],
            ),
            (
                "payments",
                CHARGE_OF_NOBODY.into(),
                vec!["the provider has the charge ch_nobody of ord_".into()],
            ),
            ("inventory", "UPDATE stock SET held = held + 1".into(), vec![]),
            (
                "inventory",
                OVERDUE_HOLD.into(),
                vec!["is open, but ended at 1970".into(), "has stock that is open, and there is no".into()],
            ),
            ("inventory", LINE_OF_THE_OVERDUE.into(), vec![]),
            // What the one lacks the other has: the sum of all is right.
            ("inventory", "UPDATE movements SET quantity = quantity + 1 WHERE version = 1".into(), vec![]),
            (
                "inventory",
                format!("UPDATE movements SET quantity = quantity - 1 WHERE order_id = {moving}"),
                vec![format!("inventory: {second} asked for 1 of mug, but its movements add up to -2")],
            ),
        ])
        .collect();

    for (service, sql, _) in &breaks {
        assert!(tamper(&shop, service, sql).await > 0, "{sql}");
    }
    let found = audit::audit(&shop).await.unwrap().breaches;

    for (_, sql, named) in &breaks {
        for named in named {
            let of_this = found.iter().filter(|breach| breach.contains(named)).count();
            assert_eq!(of_this, 1, "{sql}: {named}: {found:#?}");
        }
    }
    assert_eq!(found.len(), breaks.iter().map(|(.., named)| named.len()).sum::<usize>(), "{found:#?}");
    shop.close().await;
}

async fn a_consumer_that_lost_all_it_heard_is_named(db: TestDb) {
    let after = After::two_orders(db).await;
    let shop = after.open().await;

    let lost = tamper(&shop, "notifications", "DELETE FROM inbox").await;
    let found = audit::audit(&shop).await.unwrap().breaches;
    // One that nobody has run here yet is new: what was sent before is not told again.
    tamper(&shop, "notifications", "DELETE FROM consumers").await;
    let of_a_new_one = audit::audit(&shop).await.unwrap().breaches;

    assert!(lost > 0);
    assert_eq!(found.len() as u64, lost, "{found:#?}");
    assert!(found.iter().all(|breach| breach.contains("notifications.mail has not heard it")), "{found:#?}");
    assert_eq!(of_a_new_one, Vec::<String>::new());
    shop.close().await;
}

async fn what_can_be_derived_again_is_mended(db: TestDb) {
    let after = After::two_orders(db).await;
    let (shop, [first, _]) = (after.open().await, after.orders.clone());
    let mail = format!("'order:{first}:confirmed'");
    let breaks = [
        ("users", UNSENT.to_owned(), "is due to be sent"),
        ("orders", LOST_JOB.to_owned(), "(orders.fulfil) waits for a runner again"),
        ("inventory", "UPDATE stock SET held = held + 1".to_owned(), ""),
        ("inventory", OVERDUE_HOLD.to_owned(), "was past its time and is given back"),
        ("inventory", LINE_OF_THE_OVERDUE.to_owned(), ""),
        (
            "notifications",
            format!("UPDATE messages SET state = 'queued', sent_at = NULL, job_id = NULL WHERE key = {mail}"),
            "is sent by job_",
        ),
        ("notifications", UNHEARD.to_owned(), "is sent again, for notifications.mail"),
    ];
    for (service, sql, _) in &breaks {
        assert_eq!(tamper(&shop, service, sql).await, 1, "{sql}");
    }

    let mended = audit::repair(&shop, Terms::default()).await.unwrap().mended;
    shop.settle().await.unwrap();

    for (_, sql, says) in breaks.iter().filter(|(.., says)| !says.is_empty()) {
        assert_eq!(mended.iter().filter(|line| line.contains(says)).count(), 1, "{sql}: {mended:#?}");
    }
    assert_eq!(audit::audit(&shop).await.unwrap().breaches, Vec::<String>::new());
    let again = audit::repair(&shop, Terms::default()).await.unwrap();
    assert_eq!(again.mended, Vec::<String>::new(), "there is nothing left to be mended");
    shop.close().await;
}

/// Money and stock that are wrong are named, and stay as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_touches_no_money_and_no_stock() {
    let after = After::two_orders(TestDb::new(db::Engine::Sqlite)).await;
    let shop = after.open().await;
    tamper(&shop, "inventory", "UPDATE stock SET on_hand = on_hand + 1").await;
    tamper(&shop, "payments", REFUND_OF_NOTHING).await;

    let report = audit::repair(&shop, Terms::default()).await.unwrap();

    assert_eq!(report.mended, Vec::<String>::new());
    assert_eq!(report.breaches.len(), 2, "{report:#?}");
    shop.close().await;
}

/// 0 is clean, 1 is broken, 2 is that it could not look.
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_and_the_json_say_what_was_found() {
    let db = TestDb::new(db::Engine::Sqlite);
    let settings = on(&db);
    let mut shop = Carmel::start(PROGRAM, &lent(&settings)).await;
    let (front, _) = furnish(&shop, &lent(&settings)).await;
    let ann: Person = front.customer().await;
    ann.order(&[("mug", 1)]).await;
    let nowhere = tempfile::tempdir().unwrap();
    let empty = [("CARMEL_DATA_FOLDER", nowhere.path().to_str().unwrap())];

    let running = run(&["audit", "--json"], &lent(&settings), "");
    shop.kill();
    let stopped = run(&["audit"], &lent(&settings), "");
    let tables = db.open("inventory", &[]).await;
    let broken: kernel::Result<u64> =
        db::write!(tables, async |tx| { db::query("UPDATE stock SET on_hand = 7").execute(tx).await });
    broken.unwrap();
    tables.close().await;
    let broken = run(&["audit", "--json"], &lent(&settings), "");
    let none = run(&["audit"], &empty, "");

    let json = |output: &std::process::Output| -> serde_json::Value {
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
    };
    assert_eq!((running.status.code(), &json(&running)["breaches"]), (Some(0), &serde_json::json!([])));
    assert!(!json(&running)["looked_at"].as_array().unwrap().is_empty());
    assert_eq!(stopped.status.code(), Some(0), "{}", said(&stopped));
    assert_eq!(broken.status.code(), Some(1), "{}", said(&broken));
    assert_eq!(
        json(&broken)["breaches"][0],
        "inventory: 7 of mug are on hand, but its movements add up to 9"
    );
    assert_eq!(none.status.code(), Some(2), "{}", said(&none));
    assert!(said(&none).contains("there is no shop in"), "{}", said(&none));
    assert_eq!(std::fs::read_dir(nowhere.path()).unwrap().count(), 0, "an audit makes no shop");
}

/// What is left of a shop that has sold twice and has ended.
struct After {
    _db: TestDb,
    config: Config,
    clock: Clock,
    orders: [String; 2],
}

impl After {
    async fn two_orders(db: TestDb) -> After {
        let mut config = Config::default();
        let shop = Shop::start_with(db, |chosen| config = chosen.clone()).await;
        shop.stock("mug", 1200, 5).await;
        let ann = shop.customer().await;
        let mut orders = [String::new(), String::new()];
        for order in &mut orders {
            *order = id(&ann.order(&[("mug", 1)]).await).to_owned();
            shop.settle().await;
        }
        let clock = shop.clock.clone();
        After { _db: shop.close().await, config, clock, orders }
    }

    /// The shop without its workers: what is broken stays broken.
    async fn open(&self) -> shop::Shop {
        shop::Shop::open(&self.config, &self.clock.world()).await.unwrap()
    }
}

/// Changes something behind the back of the shop; returns how many rows.
async fn tamper(shop: &shop::Shop, service: &str, sql: &str) -> u64 {
    let text: &'static str = sql.to_owned().leak(); // a query is a constant everywhere else
    let changed: kernel::Result<u64> =
        db::write!(shop.database(service), async |tx| { db::query(text).execute(tx).await });
    changed.unwrap_or_else(|error| panic!("{sql}: {}", error.chain()))
}

const JOB_OF_NOBODY: &str =
    "INSERT INTO jobs (id, name, queue, payload, priority, state, ready, run_at, attempt,
        attempts, token, lease_micros, progress, added_at)
    SELECT id, 'nobody.does', 'nobody', '{}', 0, 'waiting', TRUE, 1, 0, 3, 0, 1, 0, 1 FROM users
    ORDER BY id LIMIT 1";
const UNSENT: &str = "UPDATE outbox SET sent_at = NULL, added_at = 1, due_at = 9000000000000000
    WHERE id = (SELECT id FROM outbox ORDER BY id LIMIT 1)";
const REFUND_OF_NOTHING: &str =
    "INSERT INTO refunds (order_id, id, attempt_key, amount, currency, refunded_at)
    SELECT id, id, id, 1, 'EUR', 1 FROM payments ORDER BY id LIMIT 1";
const CHARGE_OF_NOBODY: &str =
    "INSERT INTO sandbox_charges (order_id, reference, token, state, amount, currency)
    SELECT id, 'ch_nobody', 'tok_success', 'captured', 1200, 'EUR' FROM payments ORDER BY id LIMIT 1";
const UNENDED_STEP: &str = "INSERT INTO order_steps (order_id, step, attempt, state, started_at, version)
    SELECT id, 'hold', 9, 'started', 1, 99 FROM orders ORDER BY id LIMIT 1";
const UNANSWERED_KEY: &str = "UPDATE idempotency SET answer = NULL
    WHERE key = (SELECT key FROM idempotency ORDER BY created_at LIMIT 1)";
/// The last news.
const UNHEARD: &str = "DELETE FROM inbox WHERE event_id =
    (SELECT event_id FROM inbox WHERE consumer = 'notifications.mail' ORDER BY event_id DESC LIMIT 1)";
const LOST_JOB: &str = "UPDATE jobs SET state = 'running', leased_until_at = 1, finished_at = NULL
    WHERE id = (SELECT id FROM jobs WHERE name = 'orders.fulfil' AND state = 'done' ORDER BY id LIMIT 1)";
/// Of an order that nobody knows: its id is that of an event.
const OVERDUE_HOLD: &str = "INSERT INTO holds (order_id, state, undone, expires_at, turns)
    SELECT id, 'open', FALSE, 1, 1 FROM outbox ORDER BY id LIMIT 1";
const LINE_OF_THE_OVERDUE: &str = "INSERT INTO hold_lines (order_id, sku, quantity)
    SELECT order_id, 'mug', 1 FROM holds WHERE expires_at = 1";

/// The mail's id is that of no event of orders.
fn heard_of_nothing(order: &str) -> String {
    format!(
        "INSERT INTO inbox (consumer, event_id, heard_at)
         SELECT 'notifications.mail', id, 1 FROM messages WHERE key = 'order:{order}:confirmed'"
    )
}
