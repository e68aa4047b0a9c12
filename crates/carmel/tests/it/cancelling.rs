//! Somebody changes his mind.

use serde_json::json;
use testkit::{TestDb, both_databases, client::Basket};

use crate::harness::{Shop, all, id, states};

in_a_fleet!(
    through nginx:
    an_order_on_its_way_can_be_cancelled;
    full:
    a_confirmed_order_cannot_be_cancelled,
    whenever_it_is_cancelled_nothing_is_kept,
);
both_databases!(
    an_order_on_its_way_can_be_cancelled,
    a_confirmed_order_cannot_be_cancelled,
    whenever_it_is_cancelled_nothing_is_kept,
);

async fn an_order_on_its_way_can_be_cancelled(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.payments.sandbox_latency_ms = 1500).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;
    let placed = ann.place(&Basket::of(&[("mug", 2)])).await.expect(202);
    ann.until(id(&placed), &["held"]).await;

    let cancel = format!("/orders/{}/cancel", id(&placed));
    let first = ann.post(&cancel, json!({})).await.expect(202);
    assert_eq!((&first["state"], &first["reason"]), (&json!("cancelling"), &json!("cancelled_by_customer")));
    ann.post(&cancel, json!({})).await.expect(202);

    let order = ann.until(id(&placed), &["cancelled", "confirmed"]).await;
    assert_eq!(states(&order), ["placed", "held", "cancelling", "cancelled"]);
    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (0, 5));
    shop.audit().await;
}

async fn a_confirmed_order_cannot_be_cancelled(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;
    let order = ann.order(&[("mug", 2)]).await;

    for who in [&ann, &shop.admin] {
        let refused = who.post(&format!("/orders/{}/cancel", id(&order)), json!({})).await;
        assert_eq!((refused.status, refused.code()), (409, "order_confirmed"));
    }

    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (2400, 3));
    shop.audit().await;
}

async fn whenever_it_is_cancelled_nothing_is_kept(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.payments.sandbox_latency_ms = 20).await;
    shop.stock("mug", 1200, 100).await;
    let crowd = shop.crowd(24).await;

    // Each cancels a little later than the one before: before the hold, in the
    // middle of it all, and after the end.
    let orders = all(crowd.iter().enumerate().map(async |(at, buyer)| {
        let placed = buyer.place(&Basket::of(&[("mug", 1)])).await.expect(202);
        kernel::World::real().sleep(std::time::Duration::from_millis(at as u64 * 25)).await;
        let answer = buyer.post(&format!("/orders/{}/cancel", id(&placed)), json!({})).await;
        let order = buyer.until(id(&placed), &["confirmed", "cancelled"]).await;
        (answer, order)
    }))
    .await;

    let mut sold = 0;
    for (answer, order) in &orders {
        let (state, kept) = (order["state"].as_str().unwrap(), shop.kept(order).await);
        match answer.status {
            202 => assert_eq!((state, kept), ("cancelled", 0), "{order:#}"),
            409 => {
                assert_eq!((answer.code(), state, kept), ("order_confirmed", "confirmed", 1200), "{order:#}");
                sold += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(sold < 24, "nobody was in time");
    assert_eq!(shop.stock_of("mug").await, 100 - sold);
    shop.audit().await;
}
