//! Many want the same at the same time.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use testkit::{TestDb, both_databases, client::Basket};

use crate::harness::{Shop, all, id};

in_a_fleet!(
    through nginx:
    the_last_mug_is_sold_once,
    one_key_sent_fifty_times_at_once_is_one_order;
    full:
    two_hundred_buyers_want_the_last_hundred,
    many_small_orders_of_many_things_all_add_up,
);
both_databases!(
    the_last_mug_is_sold_once,
    two_hundred_buyers_want_the_last_hundred,
    one_key_sent_fifty_times_at_once_is_one_order,
    many_small_orders_of_many_things_all_add_up,
);

async fn the_last_mug_is_sold_once(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 1).await;
    let (ann, bob) = (shop.customer().await, shop.customer().await);

    let (first, second) = tokio::join!(ann.order(&[("mug", 1)]), bob.order(&[("mug", 1)]));

    let mut ends = [&first, &second].map(|order| order["state"].as_str().unwrap());
    ends.sort_unstable();
    assert_eq!(ends, ["cancelled", "confirmed"]);
    for order in [&first, &second] {
        let confirmed = order["state"] == "confirmed";
        assert_eq!(shop.kept(order).await, if confirmed { 1200 } else { 0 });
        assert_eq!(order["reason"], if confirmed { Value::Null } else { "out_of_stock".into() });
    }
    assert_eq!(shop.stock_of("mug").await, 0);
    shop.audit().await;
}

async fn two_hundred_buyers_want_the_last_hundred(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 100).await;
    let crowd = shop.crowd(200).await;

    let orders = all(crowd.iter().map(async |buyer| {
        let placed = buyer.place(&Basket::of(&[("mug", 1)])).await.expect(202);
        buyer.settled(id(&placed)).await
    }))
    .await;

    let confirmed: Vec<&Value> = orders.iter().filter(|order| order["state"] == "confirmed").collect();
    let cancelled: Vec<&Value> = orders.iter().filter(|order| order["state"] == "cancelled").collect();
    assert_eq!((confirmed.len(), cancelled.len()), (100, 100));
    for order in &confirmed {
        assert_eq!(shop.kept(order).await, 1200, "{}", order["id"]);
    }
    for order in &cancelled {
        assert_eq!(order["reason"], "out_of_stock");
        let payment = shop.admin.get(&format!("/payments/{}", id(order))).await;
        assert_eq!((payment.status, payment.code()), (404, "no_payment"), "nobody was even asked for money");
    }
    assert_eq!(shop.stock_of("mug").await, 0);
    let customers: HashSet<&str> =
        confirmed.iter().map(|order| order["customer"].as_str().unwrap()).collect();
    assert_eq!(customers.len(), 100);
    shop.audit().await;
}

async fn one_key_sent_fifty_times_at_once_is_one_order(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 100).await;
    let ann = shop.customer().await;
    let basket = Basket::of(&[("mug", 2)]);

    let answers = all((0..50).map(|_| ann.place(&basket))).await;

    let first = answers[0].clone().expect(202);
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &first));
    }
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == Some("true"));
    assert_eq!(replayed.count(), 49);
    let order = ann.settled(id(&first)).await;
    assert_eq!(order["state"], "confirmed");
    assert_eq!(ann.get("/orders").await.expect(200)["items"].as_array().unwrap().len(), 1);
    let payment = shop.payment(&order).await;
    let kinds: Vec<&str> = payment["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["authorise", "capture"], "one payment");
    assert_eq!(payment["captured"]["amount"], 2400);
    assert_eq!(shop.stock_of("mug").await, 98);

    // The same key for something else is a mistake, and somebody else's key is none of ours.
    let other = ann.place(&Basket::of(&[("mug", 3)]).under(&basket.key)).await;
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    let bob = shop.customer().await;
    let of_bob = bob.place(&basket).await.expect(202);
    assert_ne!(of_bob["id"], first["id"]);
    bob.settled(id(&of_bob)).await;
    shop.audit().await;
}

async fn many_small_orders_of_many_things_all_add_up(db: TestDb) {
    let shop = Shop::start(db).await;
    let skus = ["ant", "bee", "cat", "dog", "elk"];
    for sku in skus {
        shop.stock(sku, 100, 12).await;
    }
    let crowd = shop.crowd(40).await;

    // Each wants two things, in either order, so that they get into each other's way.
    let orders = all(crowd.iter().enumerate().map(async |(at, buyer)| {
        let (one, other) = (skus[at % 5], skus[(at * 3 + 1) % 5]);
        let lines = if at % 2 == 0 { [(one, 1), (other, 2)] } else { [(other, 2), (one, 1)] };
        let placed = buyer.place(&Basket::of(&lines)).await.expect(202);
        buyer.settled(id(&placed)).await
    }))
    .await;

    let mut sold = 0;
    for order in orders.iter().filter(|order| order["state"] == "confirmed") {
        sold += wanted(order).iter().map(|(_, count)| count).sum::<i64>();
    }
    let mut left = HashMap::new();
    for sku in skus {
        left.insert(sku, shop.stock_of(sku).await);
    }
    assert_eq!(left.values().sum::<i64>(), 60 - sold);
    // All lines or none; and nobody was sent away who could have been served.
    for order in orders.iter().filter(|order| order["state"] != "confirmed") {
        assert_eq!((&order["state"], &order["reason"]), (&"cancelled".into(), &"out_of_stock".into()));
        assert!(wanted(order).iter().any(|(sku, count)| left[sku] < *count), "{order:#}, {left:?} are left");
    }
    shop.audit().await;
}

/// What an order wants, and how many of it.
fn wanted(order: &Value) -> Vec<(&str, i64)> {
    let lines = order["lines"].as_array().unwrap().iter();
    lines.map(|line| (line["sku"].as_str().unwrap(), line["quantity"].as_i64().unwrap())).collect()
}
