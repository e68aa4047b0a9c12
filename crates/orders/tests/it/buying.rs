//! Buying something, and not getting it.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use testkit::{TestDb, both_databases};

use crate::shop::{Shop, purchase};

both_databases!(
    a_mug_is_bought,
    what_is_out_of_stock_is_cancelled_and_nobody_is_charged,
    a_declined_card_gives_the_mug_back,
    a_refused_capture_walks_all_the_way_back,
    fraud_is_denied,
    whoever_waits_gets_the_settled_order,
    whoever_waits_too_short_gets_the_order_as_it_is,
    whoever_waits_in_a_process_that_ends_gets_the_order_as_it_is,
    an_order_without_key_or_sense_is_refused,
    lines_of_one_sku_are_merged,
    an_order_is_its_customers_own,
    an_order_that_was_seen_is_not_sent_again,
    orders_are_listed_newest_first,
    the_same_order_in_short_is_there_for_other_services,
    every_route_is_described,
);

async fn a_mug_is_bought(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();

    let placed = ann.order(&[("mug", 2), ("cup", 1)], "tok_success").await;
    shop.settle().await;

    assert_eq!(placed.outcome(), ("placed", ""));
    assert_eq!(placed.header("location"), placed.path());
    assert_eq!(placed.body["total"], json!({"amount": 2900, "currency": "EUR"}));
    assert!(placed.text("number").starts_with("C-"));
    let order = ann.see(&placed).await;
    assert_eq!(order.outcome(), ("confirmed", ""));
    assert_eq!(order.steps(), ["hold done", "screen done", "authorise done", "commit done", "capture done"]);
    assert_eq!(order.history(), ["placed", "held", "authorised", "committed", "confirmed"]);
    assert_eq!(order.body["lines"][0]["name"], "a mug");
    assert_eq!((shop.left("mug"), shop.left("cup"), shop.kept(&placed)), (8, 0, 2900));
    shop.audit().await;
}

async fn what_is_out_of_stock_is_cancelled_and_nobody_is_charged(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();

    let placed = ann.order(&[("mug", 1), ("cup", 2)], "tok_success").await;
    shop.settle().await;

    let order = ann.see(&placed).await;
    assert_eq!(order.outcome(), ("cancelled", "out_of_stock"));
    assert_eq!(order.steps(), ["hold refused", "release done"]);
    assert_eq!((shop.left("mug"), shop.held("mug"), shop.bank.wire.asked("authorise")), (10, 0, 0));
    shop.audit().await;
}

async fn a_declined_card_gives_the_mug_back(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();

    for (token, reason) in [
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_unknown", "unknown_token"),
    ] {
        let placed = ann.order(&[("cup", 1)], token).await;
        shop.settle().await;

        let order = ann.see(&placed).await;
        assert_eq!(order.outcome(), ("cancelled", reason));
        assert_eq!(order.steps(), ["hold undone", "screen done", "authorise refused", "release done"]);
        assert_eq!(order.history(), ["placed", "held", "cancelling", "cancelled"]);
    }
    assert_eq!((shop.left("cup"), shop.held("cup")), (1, 0));
    shop.audit().await;
}

async fn a_refused_capture_walks_all_the_way_back(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();

    let placed = ann.order(&[("mug", 1)], "tok_capture_refused").await;
    shop.settle().await;

    let order = ann.see(&placed).await;
    assert_eq!(order.outcome(), ("cancelled", "payment_failed"));
    let steps = order.steps();
    assert_eq!(
        steps[..5],
        ["hold undone", "screen done", "authorise undone", "commit undone", "capture refused"]
    );
    assert_eq!(steps[5..], ["restock done", "void done", "release done"]);
    assert_eq!(shop.left("mug"), 10);
    shop.audit().await;
}

async fn fraud_is_denied(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();

    let placed = ann.order(&[("mug", 1)], "tok_fraud").await;
    shop.settle().await;

    let order = ann.see(&placed).await;
    assert_eq!(order.outcome(), ("cancelled", "denied"));
    assert_eq!(order.steps(), ["hold undone", "screen refused", "release done"]);
    assert!(order.body.get("screening").is_none(), "by which rule is for staff");
    assert_eq!(shop.staff().see(&placed).await.text("screening"), "rule for deny");
    shop.audit().await;
}

async fn whoever_waits_gets_the_settled_order(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(orders::runner(&shop.orders).unwrap().run(stop.clone()));

    let headers = [("idempotency-key", "one"), ("prefer", "wait=20")];
    let bought = ann.post("/orders", &headers, purchase(&[("mug", 1)], "tok_success")).await;
    let again = ann.post("/orders", &headers, purchase(&[("mug", 1)], "tok_success")).await;

    assert_eq!((bought.status, bought.outcome()), (StatusCode::OK, ("confirmed", "")));
    assert_eq!(bought.header("preference-applied"), "wait=20");
    assert_eq!((again.status, again.text("id")), (StatusCode::OK, bought.text("id")));
    assert_eq!(again.header("idempotent-replayed"), "true");
    stop.cancel();
    running.await.unwrap();
    shop.settle().await;
    shop.audit().await;
}

async fn whoever_waits_too_short_gets_the_order_as_it_is(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();

    let headers = [("idempotency-key", "one"), ("prefer", "wait=1")];
    let (placed, ()) =
        tokio::join!(ann.post("/orders", &headers, purchase(&[("mug", 1)], "tok_success")), async {
            // Nobody works on it; the second passes at once.
            while shop.pending().await == 0 {
                tokio::task::yield_now().await;
            }
            shop.clock.forward(Duration::from_secs(1));
        });

    assert_eq!((placed.status, placed.outcome()), (StatusCode::ACCEPTED, ("placed", "")));
    assert_eq!(placed.header("preference-applied"), "");
    shop.settle().await;
    shop.audit().await;
}

async fn whoever_waits_in_a_process_that_ends_gets_the_order_as_it_is(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let began = shop.world.now();

    let purchase = || purchase(&[("mug", 1)], "tok_success");
    let headers = |key| [("idempotency-key", key), ("prefer", "wait=30")];
    let (first, second) = (headers("one"), headers("two"));
    let (waited, ()) = tokio::join!(ann.post("/orders", &first, purchase()), async {
        // Nobody works on it.
        while shop.pending().await == 0 {
            tokio::task::yield_now().await;
        }
        shop.orders.drain();
    });
    let late = ann.post("/orders", &second, purchase()).await;

    for placed in [waited, late] {
        assert_eq!((placed.status, placed.outcome()), (StatusCode::ACCEPTED, ("placed", "")));
        assert_eq!((placed.header("preference-applied"), placed.header("location")), ("", &*placed.path()));
    }
    assert!(shop.world.now().since(began) < Duration::from_secs(25), "they waited to the end");
    shop.settle().await;
    shop.audit().await;
}

async fn an_order_without_key_or_sense_is_refused(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let good = purchase(&[("mug", 1)], "tok_success");
    let key = [("idempotency-key", "one")];

    let keyless = ann.post("/orders", &[], good.clone()).await;
    assert_eq!(keyless.problem(), (400, "idempotency_key_missing"));
    let unsold = ann.post("/orders", &key, purchase(&[("hat", 1)], "tok_success")).await;
    assert_eq!(unsold.problem(), (409, "not_sold"));
    for (field, bad, pointer) in [
        ("lines", json!([]), "/lines"),
        ("lines", json!([{"sku": "mug", "quantity": 0}]), "/lines/0/quantity"),
        ("lines", json!([{"sku": "mug", "quantity": 10001}]), "/lines/0/quantity"),
        ("lines", json!([{"sku": "a mug", "quantity": 1}]), "/lines/0/sku"),
        ("payment", json!({"token": ""}), "/payment/token"),
        ("address", json!({"name": "Ann"}), "/address"),
    ] {
        let mut body = good.clone();
        body[field] = bad;
        let refused = ann.post("/orders", &key, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{field} {:?}", refused.body);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{:?}", refused.body);
    }
    // Nothing of that took the key.
    assert_eq!(ann.post("/orders", &key, good.clone()).await.status, StatusCode::ACCEPTED);
    let other = ann.post("/orders", &key, purchase(&[("mug", 2)], "tok_success")).await;
    assert_eq!(other.problem(), (422, "idempotency_key_reused"));
    shop.settle().await;
    shop.audit().await;
}

async fn lines_of_one_sku_are_merged(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();

    let placed = ann.order(&[("mug", 1), ("cup", 1), ("mug", 2)], "tok_success").await;
    shop.settle().await;

    let lines = placed.body["lines"].as_array().unwrap();
    assert_eq!(lines.iter().map(|line| line["quantity"].as_i64().unwrap()).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(shop.left("mug"), 7);
    shop.audit().await;
}

async fn an_order_is_its_customers_own(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, bob, staff) = (shop.customer(), shop.customer(), shop.staff());
    let placed = ann.order_a_mug().await;

    assert_eq!(bob.get(&placed.path()).await.problem(), (404, "no_such_order"));
    assert_eq!(bob.cancel(&placed).await.problem(), (404, "no_such_order"));
    assert_eq!(bob.ask(&placed, "refund", json!({})).await.problem(), (403, "forbidden"));
    assert_eq!(bob.get(&format!("/orders?customer={}", ann.id)).await.problem(), (403, "forbidden"));
    assert_eq!(staff.see(&placed).await.text("customer"), ann.id.to_string());
    shop.settle().await;
    shop.audit().await;
}

async fn an_order_that_was_seen_is_not_sent_again(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;

    let tag = placed.header("etag").to_owned();
    assert_eq!(tag, ann.see(&placed).await.header("etag"));
    let same = ann.get_with(&placed.path(), &[("if-none-match", &tag)]).await;
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);
    shop.settle().await;
    let moved = ann.get_with(&placed.path(), &[("if-none-match", &tag)]).await;
    assert_eq!(moved.status, StatusCode::OK);
    let staff = shop.staff();
    let stale = staff.post(&format!("{}/ship", placed.path()), &[("if-match", &tag)], json!({})).await;
    assert_eq!(stale.problem(), (412, "stale"));
    let tag = moved.header("etag");
    let fresh = staff.post(&format!("{}/ship", placed.path()), &[("if-match", tag)], json!({})).await;
    assert_eq!((fresh.status, fresh.outcome()), (StatusCode::OK, ("shipped", "")));
    shop.audit().await;
}

async fn orders_are_listed_newest_first(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, bob, staff) = (shop.customer(), shop.customer(), shop.staff());
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(ann.order_a_mug().await.text("id").to_owned());
    }
    let bobs = bob.order(&[("mug", 1)], "tok_declined").await;
    shop.settle().await;
    own.reverse();

    let ids = |list: &crate::shop::Reply| {
        let items = list.body["items"].as_array().unwrap().iter();
        items.map(|order| order["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = ann.get("/orders?limit=2").await;
    assert_eq!(ids(&first), own[..2]);
    assert!(first.header("link").contains("rel=\"next\""));
    let rest = ann.get(&format!("/orders?limit=2&cursor={}", first.text("next"))).await;
    assert_eq!((ids(&rest), rest.body["next"].is_null()), (own[2..].to_vec(), true));
    assert_eq!(ids(&staff.get("/orders").await).len(), 4);
    assert_eq!(ids(&staff.get("/orders?state=cancelled").await), [bobs.text("id")]);
    assert_eq!(ids(&staff.get(&format!("/orders?customer={}&state=confirmed", ann.id)).await), own);
    assert_eq!(ids(&staff.get(&format!("/orders?customer={}", bob.id)).await), [bobs.text("id")]);
    assert_eq!(ann.get("/orders?cursor=nonsense").await.problem(), (400, "invalid_cursor"));
    shop.audit().await;
}

async fn the_same_order_in_short_is_there_for_other_services(db: TestDb) {
    use contracts::orders::{GetOrder, Orders as _};
    let shop = Shop::start(db).await;
    let placed = shop.customer().order(&[("mug", 2)], "tok_success").await;
    shop.settle().await;

    let short = shop.orders.order(GetOrder { id: placed.id() }).await.unwrap();
    assert_eq!((short.number.as_str(), short.lines[0].quantity), (placed.text("number"), 2));
    let nobody = kernel::OrderId::new(&shop.world);
    assert_eq!(shop.orders.order(GetOrder { id: nobody }).await.unwrap_err().code, "no_such_order");
    shop.audit().await;
}

async fn every_route_is_described(db: TestDb) {
    let shop = Shop::start(db).await;

    let (_, api) = orders::routes(shop.orders.clone()).split_for_parts();
    let api = serde_json::to_value(&api).unwrap();

    let paths: Vec<_> = api["paths"].as_object().unwrap().keys().cloned().collect();
    let deeds = ["cancel", "deliver", "refund", "resume", "review", "ship"]
        .map(|deed| format!("/orders/{{id}}/{deed}"));
    assert_eq!(paths, [&["/orders".to_owned(), "/orders/{id}".to_owned()][..], &deeds].concat());
    assert_eq!(api["paths"]["/orders"]["post"]["tags"][0], "orders");
    assert!(api["components"]["schemas"]["OrderView"]["properties"]["steps"].is_object());
}
