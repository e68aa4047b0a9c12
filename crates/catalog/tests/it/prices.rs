use contracts::catalog::{Catalog as _, Priced, Prices};
use futures::future::join_all;
use kernel::{Currency, Money, Sku};
use serde_json::json;
use testkit::{TestDb, both_databases, clock::Clock, redis::Server};

use crate::shop::{By, Shop};

both_databases!(
    prices_are_told_of_what_is_for_sale,
    a_price_is_never_older_than_the_change_answered,
    another_process_learns_of_a_price_by_its_event,
    processes_that_share_a_redis_see_a_price_and_a_product_at_once,
    what_a_variant_cost_stays_in_its_history,
    the_audit_sees_what_is_broken,
);

async fn prices(shop: &Shop, skus: &[&str]) -> Vec<Priced> {
    let skus = skus.iter().map(|sku| sku.parse().unwrap()).collect();
    shop.catalog.prices(Prices { skus }).await.unwrap()
}

async fn price(shop: &Shop, sku: &str) -> Option<i64> {
    prices(shop, &[sku]).await.first().map(|priced| priced.price.amount)
}

async fn prices_are_told_of_what_is_for_sale(db: TestDb) {
    let shop = Shop::start(&db).await;
    let mug = shop.product("mug", 1200).await;
    let path = format!("/products/{}", mug.text("id"));
    let variant = json!({"sku": "mug-blue", "name": "blue", "price": {"amount": 1300, "currency": "USD"}});
    let blue = shop.ask(By::Staff, "POST", &format!("{path}/variants"), variant).await.expect(201);

    let told = prices(&shop, &["mug-blue", "nothing", "mug"]).await;

    let (product, dollar) = (mug.text("id").parse().unwrap(), "USD".parse().unwrap());
    let priced = |sku: &str, name: &str, price| {
        let (sku, name): (Sku, String) = (sku.parse().unwrap(), name.into());
        Priced { sku, product, name, price }
    };
    let expected = [
        priced("mug-blue", "Product mug (blue)", Money::new(1300, dollar)),
        priced("mug", "Product mug", Money::new(1200, Currency::EUR)),
    ];
    assert_eq!(told, expected);
    let variant = format!("/variants/{}", blue.text("id"));
    shop.ask(By::Staff, "PATCH", &variant, json!({"for_sale": false})).await.expect(200);
    assert_eq!((price(&shop, "mug-blue").await, price(&shop, "mug").await), (None, Some(1200)));
    let shown = shop.get(By::Nobody, &path).await.body["variants"].as_array().unwrap().len();
    assert_eq!(shown, 1);
    shop.ask(By::Staff, "PATCH", &path, json!({"state": "archived"})).await.expect(200);
    assert_eq!((price(&shop, "mug-blue").await, price(&shop, "mug").await), (None, None));
    shop.ask(By::Staff, "PATCH", &variant, json!({"price": {"amount": -1, "currency": "EUR"}}))
        .await
        .refused(400, "no_price");
    let many = (0..101).map(|n| format!("mug-{n}").parse().unwrap()).collect();
    assert_eq!(shop.catalog.prices(Prices { skus: many }).await.unwrap_err().code, "too_many_skus");
    shop.audit().await;
}

/// Readers read all the while; whoever asks after a change was answered gets
/// that price or a later one.
async fn a_price_is_never_older_than_the_change_answered(db: TestDb) {
    const READERS: usize = 4;
    let shop = Shop::start(&db).await;
    let mug = shop.product("mug", 0).await;
    let path = format!("/variants/{}", mug.body["variants"][0]["id"].as_str().unwrap());

    let answered = std::sync::atomic::AtomicI64::new(0);
    let reads = std::sync::atomic::AtomicUsize::new(0);
    let change = async {
        for cents in 1..=30 {
            let body = json!({"price": {"amount": cents, "currency": "EUR"}});
            shop.ask(By::Staff, "PATCH", &path, body).await.expect(200);
            let before = reads.load(std::sync::atomic::Ordering::SeqCst);
            answered.store(cents, std::sync::atomic::Ordering::SeqCst);
            // A reading that began after this change ends before the next one, however
            // slow the machine is: of those that end now, one of each reader began before.
            while cents < 30 && reads.load(std::sync::atomic::Ordering::SeqCst) <= before + READERS {
                tokio::task::yield_now().await;
            }
        }
    };
    let read = async || {
        while answered.load(std::sync::atomic::Ordering::SeqCst) < 30 {
            let before = answered.load(std::sync::atomic::Ordering::SeqCst);
            let told = price(&shop, "mug").await.unwrap();
            assert!(told >= before, "{told} was told after {before} was answered");
            let shown =
                shop.get(By::Staff, "/products/mug").await.body["variants"][0]["price"]["amount"].as_i64();
            assert!(shown.unwrap() >= before, "{shown:?} was shown after {before} was answered");
            let page = shop.get(By::Nobody, "/products").await;
            let listed = page.body["items"][0]["variants"][0]["price"]["amount"].as_i64();
            assert!(listed.unwrap() >= before, "{listed:?} was listed after {before} was answered");
            reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(change, join_all((0..READERS).map(|_| read())));

    assert!(reads.into_inner() > 29 * READERS);
    assert_eq!(price(&shop, "mug").await, Some(30));
    shop.audit().await;
}

async fn another_process_learns_of_a_price_by_its_event(db: TestDb) {
    let shop = Shop::start(&db).await;
    let elsewhere = shop.another(&db).await;
    let mug = shop.product("mug", 1200).await;
    let path = format!("/variants/{}", mug.body["variants"][0]["id"].as_str().unwrap());
    assert_eq!(price(&elsewhere, "mug").await, Some(1200));
    let to = |cents: i64| json!({"price": {"amount": cents, "currency": "EUR"}});

    shop.ask(By::Staff, "PATCH", &path, to(900)).await.expect(200);
    assert_eq!(price(&elsewhere, "mug").await, Some(1200));
    elsewhere.hear().await;
    assert_eq!(price(&elsewhere, "mug").await, Some(900));

    shop.ask(By::Staff, "PATCH", &path, to(800)).await.expect(200);
    shop.clock.forward(std::time::Duration::from_secs(301));
    assert_eq!(price(&elsewhere, "mug").await, Some(800)); // at the latest
    shop.audit().await;
}

async fn processes_that_share_a_redis_see_a_price_and_a_product_at_once(db: TestDb) {
    let (redis, clock) = (Server::start(), Clock::new());
    let shop = Shop::sharing(&db, &clock, &redis.url()).await;
    let elsewhere = Shop::sharing(&db, &clock, &redis.url()).await;
    let remembered = async |what: &str| {
        let mut tries = 0..10_000;
        while redis.ask(&["keys", what]).trim().is_empty() {
            tries.next().expect("it is remembered in Redis");
            price(&elsewhere, "mug").await;
            elsewhere.get(By::Nobody, "/products/mug").await;
        }
    };
    remembered("*:prices:mug").await; // that there is none
    let mug = shop.product("mug", 1200).await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(price(&elsewhere, "mug").await, Some(1200));
    let path = format!("/variants/{}", mug.body["variants"][0]["id"].as_str().unwrap());

    for cents in [900, 800, 700] {
        remembered("*:prices:mug").await;
        remembered("*:products:*").await;
        let to = json!({"price": {"amount": cents, "currency": "EUR"}});
        shop.ask(By::Staff, "PATCH", &path, to).await.expect(200);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;

        assert_eq!(price(&elsewhere, "mug").await, Some(cents));
        let shown = elsewhere.get(By::Nobody, "/products/mug").await.body;
        assert_eq!(shown["variants"][0]["price"]["amount"], cents);
    }
    shop.audit().await;
}

async fn what_a_variant_cost_stays_in_its_history(db: TestDb) {
    let shop = Shop::start(&db).await;
    let mug = shop.product("mug", 1200).await;
    let path = format!("/variants/{}", mug.body["variants"][0]["id"].as_str().unwrap());
    for body in [
        json!({"price": {"amount": 1500, "currency": "EUR"}}),
        json!({"name": "blue"}),
        json!({"price": {"amount": 1500, "currency": "EUR"}}), // the same: no entry
        json!({"price": {"amount": 900, "currency": "EUR"}}),
    ] {
        shop.ask(By::Staff, "PATCH", &path, body).await.expect(200);
    }

    let first = shop.get(By::Staff, &format!("{path}/prices?limit=2")).await.expect(200);
    let next = format!("{path}/prices?limit=2&cursor={}", first.text("next"));
    let second = shop.get(By::Staff, &next).await.expect(200);

    let entries = |reply: &crate::shop::Reply| {
        let items = reply.body["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| (item["version"].as_i64().unwrap(), item["price"]["amount"].as_i64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(entries(&first), [(5, 900), (2, 1500)]);
    assert_eq!(entries(&second), [(1, 1200)]);
    let nothing = "/variants/var_00000000000070008000000000000000/prices";
    shop.get(By::Staff, nothing).await.refused(404, "no_such_variant");
    shop.audit().await;
}

async fn the_audit_sees_what_is_broken(db: TestDb) {
    let shop = Shop::start(&db).await;
    let mug = shop.product("mug", 1200).await.text("id");
    shop.product("cup", 1200).await;
    let (a, b) = (shop.category("a", None).await, shop.category("b", None).await);
    shop.ask(By::Staff, "PATCH", &format!("/categories/{b}"), json!({"parent": a})).await.expect(200);
    shop.audit().await;

    let broken: kernel::Result<()> = db::write!(shop.db, async |tx| {
        db::query("UPDATE variants SET price = 1 WHERE sku = 'mug'").execute(tx).await?;
        db::query("DELETE FROM price_history WHERE price = 1200 AND variant_id IN (SELECT id FROM variants WHERE sku = 'cup')")
            .execute(tx)
            .await?;
        db::query("UPDATE products SET version = 9 WHERE slug = 'mug'").execute(tx).await?;
        db::query(
            "UPDATE categories SET parent_id = (SELECT id FROM categories WHERE slug = 'b') WHERE slug = 'a'",
        )
        .execute(tx)
        .await?;
        Ok(())
    });
    broken.unwrap();

    let found = catalog::audit(&shop.db).await.unwrap();
    let expected = [
        "cup costs 1200, and its history has no price".to_owned(),
        "mug costs 1, and the last price in its history is 1200".to_owned(),
        format!("{a} is part of itself"),
        format!("{b} is part of itself"),
        format!("{mug} has version 9, and the last one it announced is 1"),
    ];
    assert_eq!(found, expected);
}
