//! The races that users of other shops report in their trackers, each told
//! twenty at a time. The number beside a story is the report that it answers.

use std::{collections::HashSet, time::Duration};

use kernel::OrderId;
use payments::sandbox::{ChargeState, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    TestDb, both_databases,
    client::{Answer, Basket, Person, fresh},
};

use crate::harness::{Shop, all, id};

both_databases!(
    twenty_buyers_of_the_last_one_hold_it_once_and_nineteen_are_never_charged,
    of_twenty_baskets_that_share_the_last_one_none_is_left_half_held,
    an_order_completed_twenty_times_at_once_is_not_undone_by_those_that_fail,
    a_cancel_that_meets_the_completion_has_all_of_its_effect_or_none,
    twenty_refunds_under_new_keys_by_two_staff_pay_back_once,
    twenty_charges_without_an_answer_each_have_their_order,
    twenty_orders_are_announced_and_mailed_once_however_many_relay_them,
);

const MANY: usize = 20;

/// Reservations made side by side that add up to more than there is
/// (medusajs/medusa 16569), and the buyer who was slower, is charged, and then
/// hears that there is none left (vendurehq/vendure 3065).
async fn twenty_buyers_of_the_last_one_hold_it_once_and_nineteen_are_never_charged(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 1).await;
    let crowd = shop.crowd(MANY).await;

    let orders = all(crowd.iter().map(|buyer| buyer.order(&[("mug", 1)]))).await;

    let (sold, refused): (Vec<&Value>, Vec<&Value>) =
        orders.iter().partition(|order| order["state"] == "confirmed");
    assert_eq!((sold.len(), refused.len()), (1, MANY - 1));
    assert_eq!(charges(&shop, sold[0]).await, [ChargeState::Captured]);
    for order in refused {
        assert_eq!((&order["state"], &order["reason"]), (&json!("cancelled"), &json!("out_of_stock")));
        assert_eq!(charges(&shop, order).await, [], "the provider never heard of it");
    }
    let stock = shop.admin.get("/stock/mug").await.expect(200);
    assert_eq!((&stock["on_hand"], &stock["held"]), (&json!(0), &json!(0)));
    shop.audit().await;
}

/// An order that stays behind although one of its reservations failed, with
/// no stock or payment of its own (medusajs/medusa 16825).
async fn of_twenty_baskets_that_share_the_last_one_none_is_left_half_held(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("lamp", 1500, 1).await;
    shop.stock("bulb", 100, 100).await;
    let crowd = shop.crowd(MANY).await;

    // In either order, so that they get into each other's way.
    let orders = all(crowd.iter().enumerate().map(|(at, buyer)| {
        let lines = if at % 2 == 0 { [("bulb", 2), ("lamp", 1)] } else { [("lamp", 1), ("bulb", 2)] };
        async move { buyer.order(&lines).await }
    }))
    .await;

    let listed = shop.admin.get("/orders?limit=100").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), MANY, "each of them can be found");
    let sold = orders.iter().filter(|order| order["state"] == "confirmed").count();
    assert_eq!(sold, 1);
    for order in orders.iter().filter(|order| order["state"] != "confirmed") {
        assert_eq!((&order["state"], &order["reason"]), (&json!("cancelled"), &json!("out_of_stock")));
        assert_eq!(charges(&shop, order).await, []);
    }
    for (sku, left) in [("lamp", 0), ("bulb", 98)] {
        let stock = shop.admin.get(&format!("/stock/{sku}")).await.expect(200);
        assert_eq!((&stock["on_hand"], &stock["held"]), (&json!(left), &json!(0)), "{sku}");
    }
    shop.audit().await;
}

/// A second completion that fails and, in undoing itself, gives back what the
/// first one took (medusajs/medusa 15527): here twenty workers complete one
/// order that takes all there is, while its customer presses the button again.
async fn an_order_completed_twenty_times_at_once_is_not_undone_by_those_that_fail(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 2).await;
    let ann = shop.customer().await;
    let basket = Basket::of(&[("mug", 2)]);
    let other = Basket::of(&[("mug", 1)]).under(&basket.key);

    let first = ann.place(&basket).await.expect(202);
    let order: OrderId = id(&first).parse().unwrap();
    let added: kernel::Result<()> = db::write!(shop.inside.database("orders"), async |tx| {
        for _ in 0..MANY {
            jobs::add(tx, &Completion { order }).await?;
        }
        Ok(())
    });
    added.unwrap();
    let again = all((0..MANY).map(|at| ann.place(if at % 2 == 0 { &basket } else { &other }))).await;

    for (at, answer) in again.iter().enumerate() {
        match at % 2 {
            0 => assert_eq!((answer.status, id(&answer.body)), (202, id(&first))),
            _ => assert_eq!((answer.status, answer.code()), (422, "idempotency_key_reused")),
        }
    }
    let order = ann.settled(id(&first)).await;
    shop.settle().await;
    let order = ann.get(&format!("/orders/{}", id(&order))).await.expect(200);
    assert_eq!(order["state"], "confirmed");
    assert_eq!((charges(&shop, &order).await, shop.kept(&order).await), (vec![ChargeState::Captured], 2400));
    assert_eq!(shop.stock_of("mug").await, 0);
    shop.audit().await;
}

/// The job that takes an order as far as it goes, without the key that keeps
/// two of them from being worked on at once.
#[derive(serde::Serialize, serde::Deserialize)]
struct Completion {
    order: OrderId,
}

impl jobs::Job for Completion {
    const NAME: &'static str = "orders.fulfil";
    const QUEUE: &'static str = "fulfil";
}

/// The same between a customer who cancels and the saga that completes.
async fn a_cancel_that_meets_the_completion_has_all_of_its_effect_or_none(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, MANY as i64).await;
    let crowd = shop.crowd(MANY).await;

    let ends = all(crowd.iter().enumerate().map(async |(at, buyer)| {
        let placed = buyer.place(&Basket::of(&[("mug", 1)])).await.expect(202);
        let path = format!("/orders/{}/cancel", id(&placed));
        // Each a little later than the one before, so that they meet it everywhere.
        tokio::time::sleep(Duration::from_millis(at as u64 * 4)).await;
        let cancels = all((0..3).map(async |_| keyed(buyer, &path, &fresh("cancel")).await)).await;
        (buyer.until(id(&placed), &["confirmed", "cancelled"]).await, cancels)
    }))
    .await;
    shop.settle().await;

    let mut sold = 0;
    for (order, cancels) in &ends {
        let confirmed = order["state"] == "confirmed";
        for cancel in cancels {
            match (cancel.status, cancel.code()) {
                (202, _) => assert!(!confirmed, "{order:#} was to be cancelled"),
                (409, "order_confirmed") => assert!(confirmed, "{order:#} was said to be confirmed"),
                (status, code) => panic!("{status} {code}"),
            }
        }
        assert_eq!(shop.kept(order).await, if confirmed { 1200 } else { 0 });
        sold += i64::from(confirmed);
    }
    assert_eq!(shop.stock_of("mug").await, MANY as i64 - sold);
    shop.audit().await;
}

/// A refund that is tried again with a new key pays twice (medusajs/medusa
/// 16681), and refunds side by side add up to more than was captured
/// (juspay/hyperswitch 13182).
async fn twenty_refunds_under_new_keys_by_two_staff_pay_back_once(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let (ann, staff) = (shop.customer().await, [shop.staff().await, shop.staff().await]);
    let order = ann.order(&[("mug", 2)]).await;
    assert_eq!(order["state"], "confirmed");
    let path = format!("/orders/{}/refund", id(&order));

    let answers = all((0..MANY).map(async |at| keyed(&staff[at % 2], &path, &fresh("refund")).await)).await;
    ann.until(id(&order), &["refunded"]).await;
    let late = all((0..MANY).map(async |at| keyed(&staff[at % 2], &path, &fresh("refund")).await)).await;

    assert!(answers.iter().any(|answer| answer.status == 202));
    for answer in answers.iter().filter(|answer| answer.status != 202).chain(&late) {
        assert_eq!((answer.status, answer.code()), (409, "order_not_refundable"));
    }
    let payment = shop.payment(&order).await;
    assert_eq!(
        (&payment["captured"]["amount"], &payment["refunded"]["amount"]),
        (&json!(2400), &json!(2400))
    );
    assert_eq!(payment["refunds"].as_array().unwrap().len(), 1);
    let asked = payment["attempts"].as_array().unwrap().iter();
    assert_eq!(asked.filter(|attempt| attempt["kind"] == "refund").count(), 1, "one key at the provider");
    assert_eq!(charges(&shop, &order).await, [ChargeState::Refunded]);
    assert_eq!(shop.stock_of("mug").await, 5, "and put back once");
    shop.audit().await;
}

/// Money that was taken while the shop heard nothing of it, and an order that
/// does not exist for it (saleor/saleor 10925).
async fn twenty_charges_without_an_answer_each_have_their_order(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, MANY as i64).await;
    let crowd = shop.crowd(MANY).await;

    let orders = all(crowd.iter().map(async |buyer| {
        let basket = Basket::of(&[("mug", 1)]).paid_with("tok_timeout");
        // And the customer, who waits in vain, presses the button again.
        let (first, again) = tokio::join!(buyer.place(&basket), buyer.place(&basket));
        let (first, again) = (first.expect(202), again.expect(202));
        assert_eq!(first["id"], again["id"]);
        buyer.settled(id(&first)).await
    }))
    .await;
    shop.settle().await;

    let listed = shop.admin.get("/orders?limit=100").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), MANY);
    for order in &orders {
        assert_eq!(order["state"], "confirmed");
        assert_eq!(charges(&shop, order).await, [ChargeState::Captured]);
    }
    shop.audit().await;
}

/// The webhooks of an order that are fired several times (saleor/saleor
/// 10165): one event for each thing that happened and one mail, although every
/// relay and worker there is takes from the same tables.
async fn twenty_orders_are_announced_and_mailed_once_however_many_relay_them(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, MANY as i64).await;
    let crowd = shop.crowd(MANY).await;

    let buying = all(crowd.iter().map(|buyer| buyer.order(&[("mug", 1)])));
    // Each a relay of every outbox and a worker of every queue, beside those of the shop.
    let relaying = all((0..MANY).map(async |_| shop.inside.settle().await.unwrap()));
    let (orders, _) = tokio::join!(buying, relaying);
    shop.settle().await;

    let events =
        "SELECT subject, COUNT(*) FROM outbox WHERE topic = 'orders.confirmed' GROUP BY subject LIMIT 100";
    let announced: Vec<(String, i64)> =
        db::read!(shop.inside.database("orders"), async |tx| { db::query(events).fetch_all(tx).await })
            .unwrap();
    assert_eq!(announced.len(), MANY);
    assert!(announced.iter().all(|(_, times)| *times == 1), "{announced:?}");
    let mails: Vec<String> = std::fs::read_dir(shop.db.folder().join("mail"))
        .unwrap()
        .map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap())
        .collect();
    let numbers: HashSet<&str> = orders.iter().map(|order| order["number"].as_str().unwrap()).collect();
    assert_eq!((mails.len(), numbers.len()), (MANY, MANY));
    assert!(numbers.iter().all(|number| mails.iter().any(|mail| mail.contains(number))));
    shop.audit().await;
}

/// The provider's own books of an order.
async fn charges(shop: &Shop, order: &Value) -> Vec<ChargeState> {
    let order: OrderId = id(order).parse().unwrap();
    let sandbox = Sandbox::new(shop.inside.database("payments"), Default::default());
    sandbox.charges_of(order).await.unwrap().iter().map(|charge| charge.state).collect()
}

/// `POST` under a key; asked again where everybody was there at once.
async fn keyed(person: &Person, path: &str, key: &str) -> Answer {
    loop {
        let answer = person.send(Method::POST, path, &[("idempotency-key", key)], None).await;
        if answer.code() != "order_busy" {
            return answer;
        }
        assert!(answer.header("retry-after").is_some());
    }
}
