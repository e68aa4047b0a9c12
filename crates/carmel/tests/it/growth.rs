//! What is done for one customer costs the same in a small shop and in a large
//! one: counted, statement by statement, in steps of SQLite's virtual machine.
//! A plan depends on the text of its statement alone (SQLITE_DBCONFIG_ENABLE_QPSG),
//! so one that reads what it does not need shows here, whatever the machine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

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
    let (small, large) = (a_day_in(&SMALL).await, a_day_in(&LARGE).await);
    let compared: Vec<_> =
        large.iter().filter_map(|(sql, steps)| Some((sql, *steps, *small.get(sql)?))).collect();
    let grown: Vec<String> = compared
        .iter()
        .filter(|(_, steps, before)| *steps > before * FACTOR + BESIDES)
        .map(|(sql, steps, before)| format!("{before} steps became {steps}: {sql}"))
        .collect();
    assert!(compared.len() > 100, "only {} statements were compared", compared.len());
    assert!(grown.is_empty(), "{}", grown.join("\n"));
    // What one of them never does was compared with nothing.
    let alone: Vec<&String> = large.keys().filter(|sql| !small.contains_key(*sql)).collect();
    assert!(alone.is_empty(), "only a large shop does this: {alone:#?}");
}

/// Everything that people do, once each, in a shop of that size.
async fn a_day_in(size: &Size) -> BTreeMap<String, u64> {
    let counted = Arc::new(Counted::default());
    let shop = Shop::start_on(TestDb::new(Engine::Sqlite), counted.clone(), |config| {
        config.screening.orders_per_hour = 1_000_000;
        config.tokens.access_minutes = 1_440;
    })
    .await;
    fill(&shop, size).await;
    counted.0.lock().unwrap().clear();

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
    shop.close().await;
    let counted = counted.0.lock().unwrap();
    counted.clone()
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
