//! What is done for one customer costs the same in a small shop and in a large
//! one: counted, statement by statement, in steps of SQLite's virtual machine,
//! and table by table in what PostgreSQL has read. On both a plan depends on the
//! text of its statement alone, so one that reads what it does not need shows
//! here, whatever the machine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use carmel::config::Config;
use db::{Disk, Engine, Step};
use kernel::{Currency, Money, Result};
use testkit::{TestDb, client::Basket};

use crate::harness::{Shop, all, id};

/// The most steps that each statement took.
#[derive(Default)]
struct Counted(Mutex<BTreeMap<String, u64>>);

impl Disk for Counted {
    fn before(&self, _: Step<'_>) -> Result<()> {
        Ok(())
    }

    fn after(&self, sql: &str, steps: u64) {
        let mut counted = self.0.lock().unwrap();
        let most = counted.entry(sql.split_whitespace().collect::<Vec<_>>().join(" ")).or_default();
        *most = steps.max(*most);
    }
}

/// How much is in a shop.
struct Size {
    products: usize,
    people: usize,
    orders: usize,
}

/// The first things are bought by nobody before that day, so that nothing is remembered of them.
const NEW: usize = 10;
const SMALL: Size = Size { products: 30, people: 30, orders: 30 };
const LARGE: Size = Size { products: 1_500, people: 1_500, orders: 600 };
/// By how much a statement may take more steps in the large one: a tree is deeper, a page of a
/// list is full.
const FACTOR: u64 = 3;
const BESIDES: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_takes_more_steps_in_a_large_shop() {
    let (small, large) = (steps_in(&SMALL).await, steps_in(&LARGE).await);
    let compared = large.keys().filter(|sql| small.contains_key(*sql)).count();
    assert!(compared > 100, "only {compared} statements were compared");
    assert_eq!(grown("steps", &small, &large), Vec::<String>::new());
}

/// PostgreSQL counts no steps, but what it reads of each table and of each index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_table_is_read_further_in_a_large_shop() {
    let (small, large) = (rows_read_in(&SMALL).await, rows_read_in(&LARGE).await);
    assert!(large["orders.orders by orders_pkey"] > 0, "{large:?}");
    assert_eq!(grown("rows", &small, &large), Vec::<String>::new());
}

/// What costs more in the large one. What only one of them happens to do, such as to renew a lease
/// in a slow moment, costs little there.
fn grown(of: &str, small: &BTreeMap<String, u64>, large: &BTreeMap<String, u64>) -> Vec<String> {
    let before = |what: &str| small.get(what).copied().unwrap_or_default();
    let has_grown = |(what, now): &(&String, &u64)| **now > before(what) * FACTOR + BESIDES;
    let told = |(what, now): (&String, &u64)| format!("{} {of} became {now}: {what}", before(what));
    large.iter().filter(has_grown).map(told).collect()
}

/// The steps of each statement, on SQLite.
async fn steps_in(size: &Size) -> BTreeMap<String, u64> {
    let counted = Arc::new(Counted::default());
    let shop = Shop::start_on(TestDb::new(Engine::Sqlite), counted.clone(), settings).await;
    fill(&shop, size).await;
    counted.0.lock().unwrap().clear();
    a_day_in(&shop).await;
    shop.close().await;
    let counted = counted.0.lock().unwrap();
    counted.clone()
}

/// The rows read of each table and of each index, on PostgreSQL.
async fn rows_read_in(size: &Size) -> BTreeMap<String, u64> {
    let mut url = String::new();
    let shop = Shop::start_with(TestDb::new(Engine::Postgres), |config| {
        settings(config);
        url = config.database.url.expose().to_owned();
    })
    .await;
    fill(&shop, size).await;
    // An index keeps what was changed until somebody clears up, and a connection says what it has
    // read when it ends, at the latest.
    testkit::postgres::ask(&url, "VACUUM");
    testkit::postgres::ask(
        &url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid();
         SELECT pg_stat_reset()",
    );
    a_day_in(&shop).await;
    let _server = shop.close().await;
    let read = testkit::postgres::ask(
        &url,
        "SELECT schemaname || '.' || relname, seq_tup_read FROM pg_stat_user_tables
         UNION ALL
         SELECT schemaname || '.' || relname || ' by ' || indexrelname, idx_tup_read FROM pg_stat_user_indexes",
    );
    let row = |line: &str| {
        let (table, rows) = line.split_once('|').unwrap();
        (table.to_owned(), rows.parse().unwrap())
    };
    read.lines().map(row).collect()
}

fn settings(config: &mut Config) {
    config.screening.orders_per_hour = 1_000_000;
    config.tokens.access_minutes = 1_440;
}

/// Everything that people do, once each.
async fn a_day_in(shop: &Shop) {
    let (ann, staff) = (shop.customer().await, shop.staff().await);
    let order = ann.order(&[("thing-1", 1), ("thing-7", 2)]).await;
    let sent_back = ann.order(&[("thing-2", 1)]).await;
    let declined = ann.place(&Basket::of(&[("thing-3", 1)]).paid_with("tok_declined")).await.expect(202);
    let reviewed = ann.place(&Basket::of(&[("thing-4", 1)]).paid_with("tok_review")).await.expect(202);
    let sold_out = ann.place(&Basket::of(&[("thing-5", 99)])).await.expect(202);
    shop.settle().await;
    let parcel = serde_json::json!({ "carrier": "Post", "tracking": "1" });
    staff.post(&format!("/orders/{}/ship", id(&sent_back)), parcel).await.expect(200);
    staff.post(&format!("/orders/{}/refund", id(&sent_back)), serde_json::json!({})).await.expect(202);
    ann.post(&format!("/orders/{}/cancel", id(&reviewed)), serde_json::json!({})).await.expect(202);
    shop.settle().await;
    for path in ["/products", "/products?limit=100", "/products?q=thing", "/categories"] {
        ann.get(path).await.expect(200);
    }
    for path in [format!("/orders/{}", id(&order)), "/orders".to_owned(), format!("/users/{}", ann.id)] {
        ann.get(&path).await.expect(200);
    }
    for path in [
        "/orders?state=confirmed".to_owned(),
        "/orders?limit=100".to_owned(),
        "/users".to_owned(),
        "/stock".to_owned(),
        "/stock/thing-1".to_owned(),
        "/stock/thing-1/movements".to_owned(),
        format!("/payments/{}", id(&declined)),
        format!("/orders/{}", id(&sold_out)),
    ] {
        shop.admin.get(&path).await.expect(200);
    }
    // What is done now and then.
    shop.clock.forward(Duration::from_secs(90));
    shop.settle().await;
    shop.inside.settle().await.unwrap();
}

async fn fill(shop: &Shop, size: &Size) {
    let skus: Vec<kernel::Sku> =
        (0..size.products).map(|at| format!("thing-{at}").parse().unwrap()).collect();
    let product = |sku: &kernel::Sku| catalog::NewProduct {
        name: sku.to_string().parse().unwrap(),
        slug: None,
        description: catalog::Description::default(),
        state: catalog::ProductState::Active,
        categories: Vec::new(),
        variants: vec![catalog::NewVariant {
            sku: sku.clone(),
            name: None,
            price: Money::new(1_200, Currency::EUR),
        }],
    };
    let products: Vec<_> = skus.iter().map(product).collect();
    shop.inside.catalog().insert_many(&products).await.unwrap();
    let delivery: Vec<_> = skus.into_iter().map(|sku| (sku, 60)).collect();
    shop.inside.inventory().receive(&delivery, "for the test").await.unwrap();
    let people: Vec<(users::Name, kernel::Email)> = (0..size.people)
        .map(|at| {
            (format!("Buyer {at}").parse().unwrap(), format!("buyer-{at}@example.com").parse().unwrap())
        })
        .collect();
    shop.inside.users().insert_many(&people, None).await.unwrap();
    let regular = shop.customer().await;
    for some in (0..size.orders).collect::<Vec<_>>().chunks(30) {
        let placing = some.iter().map(|at| {
            let regular = &regular;
            async move {
                let sku = format!("thing-{}", NEW + at % (size.products - NEW));
                regular.place(&Basket::of(&[(&sku, 1)])).await.expect(202)
            }
        });
        all(placing).await;
        shop.settle().await;
    }
}
