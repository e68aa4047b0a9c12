//! How a card may behave, and what becomes of the order.

use std::time::Duration;

use payments::sandbox::Sandbox;
use serde_json::json;
use testkit::{TestDb, both_databases, client::Basket};

use crate::harness::{Shop, id, states, steps};

in_a_fleet!(
    through nginx:
    money_that_was_taken_without_an_answer_is_taken_once,
    an_order_that_is_approved_goes_on;
    full:
    a_card_that_is_refused_costs_nothing,
    every_other_mood_of_a_card_ends_well,
    a_capture_that_is_refused_undoes_everything,
    an_order_that_is_denied_in_review_is_cancelled,
);
both_databases!(
    a_card_that_is_refused_costs_nothing,
    money_that_was_taken_without_an_answer_is_taken_once,
    every_other_mood_of_a_card_ends_well,
    a_capture_that_is_refused_undoes_everything,
    an_order_that_is_denied_in_review_is_cancelled,
    an_order_that_is_approved_goes_on,
    a_hold_that_expired_in_review_is_held_again,
    an_approval_after_somebody_else_bought_it_is_out_of_stock,
);

async fn a_card_that_is_refused_costs_nothing(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;

    for (token, reason) in [
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_of_nobody", "unknown_token"),
    ] {
        let order = ann.place(&Basket::of(&[("mug", 2)]).paid_with(token).waiting(20)).await.expect(200);

        assert_eq!((&order["state"], &order["reason"]), (&json!("cancelled"), &json!(reason)));
        assert_eq!(states(&order), ["placed", "held", "cancelling", "cancelled"]);
        assert!(steps(&order).contains(&("authorise", "refused")), "{:?}", steps(&order));
        assert_eq!(shop.kept(&order).await, 0);
        assert_eq!(shop.stock_of("mug").await, 5);
    }
    shop.audit().await;
}

async fn money_that_was_taken_without_an_answer_is_taken_once(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;

    let order = ann.place(&Basket::of(&[("mug", 1)]).paid_with("tok_timeout").waiting(20)).await.expect(200);

    assert_eq!(order["state"], "confirmed");
    shop.settle().await; // with the webhook, which comes half a minute late
    let payment = shop.payment(&order).await;
    assert_eq!((&payment["state"], &payment["captured"]["amount"]), (&json!("captured"), &json!(1200)));
    let kinds: Vec<_> =
        payment["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["kind"]).collect();
    assert_eq!(kinds, ["authorise", "capture"], "it was asked after by its key, not asked for again");
    let sandbox = Sandbox::new(shop.inside.database("payments"), Default::default());
    let charges = sandbox.charges_of(id(&order).parse().unwrap()).await.unwrap();
    assert_eq!(charges.len(), 1, "the provider knows of one charge");
    shop.audit().await;
}

async fn every_other_mood_of_a_card_ends_well(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 50).await;
    let ann = shop.customer().await;

    for token in
        ["tok_slow", "tok_webhook_early", "tok_webhook_late", "tok_webhook_twice", "tok_success_4711"]
    {
        let order = ann.place(&Basket::of(&[("mug", 1)]).paid_with(token).waiting(25)).await.expect(200);
        assert_eq!((token, &order["state"]), (token, &json!("confirmed")));
        shop.settle().await;
        assert_eq!(shop.kept(&order).await, 1200, "{token}");
    }
    assert_eq!(shop.stock_of("mug").await, 45);
    shop.audit().await;
}

async fn a_capture_that_is_refused_undoes_everything(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;

    let order =
        ann.place(&Basket::of(&[("mug", 1)]).paid_with("tok_capture_refused").waiting(20)).await.expect(200);

    assert_eq!((&order["state"], &order["reason"]), (&json!("cancelled"), &json!("payment_failed")));
    assert_eq!(states(&order), ["placed", "held", "authorised", "committed", "cancelling", "cancelled"]);
    let taken = steps(&order);
    for step in [("hold", "undone"), ("authorise", "undone"), ("commit", "undone"), ("capture", "refused")] {
        assert!(taken.contains(&step), "{step:?} in {taken:?}");
    }
    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (0, 5));
    assert_eq!(shop.payment(&order).await["state"], "voided");
    shop.audit().await;
}

async fn an_order_that_is_denied_in_review_is_cancelled(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let (ann, staff) = (shop.customer().await, shop.staff().await);
    let order = ann.place(&Basket::of(&[("mug", 1)]).paid_with("tok_review").waiting(20)).await.expect(200);
    assert_eq!(order["state"], "in_review");
    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (0, 4));
    let review = format!("/orders/{}/review", id(&order));

    let by_ann = ann.post(&review, json!({ "decision": "approve" })).await;
    assert_eq!((by_ann.status, by_ann.code()), (403, "forbidden"));
    staff.post(&review, json!({ "decision": "deny" })).await.expect(202);

    let order = ann.until(id(&order), &["cancelled"]).await;
    assert_eq!(order["reason"], "denied");
    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (0, 5));
    let again = staff.post(&review, json!({ "decision": "approve" })).await;
    assert_eq!((again.status, again.code()), (409, "order_not_in_review"));
    let seen = shop.admin.get(&format!("/orders/{}", id(&order))).await.expect(200);
    assert!(seen["history"].as_array().unwrap().iter().any(|entry| entry["actor"] == staff.id.as_str()));
    assert!(order["history"].as_array().unwrap().iter().all(|entry| entry.get("actor").is_none()));
    shop.audit().await;
}

async fn an_order_that_is_approved_goes_on(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.screening.review_above = 20).await;
    shop.stock("mug", 1200, 5).await;
    let (ann, staff) = (shop.customer().await, shop.staff().await);
    let dear = ann.place(&Basket::of(&[("mug", 2)]).waiting(20)).await.expect(200);
    assert_eq!(dear["state"], "in_review", "24.00 is above 20");
    let cheap = ann.order(&[("mug", 1)]).await;
    assert_eq!(cheap["state"], "confirmed", "12.00 is not");

    staff.post(&format!("/orders/{}/review", id(&dear)), json!({ "decision": "approve" })).await.expect(202);

    let order = ann.until(id(&dear), &["confirmed", "cancelled"]).await;
    assert_eq!(
        states(&order),
        ["placed", "held", "in_review", "held", "authorised", "committed", "confirmed"]
    );
    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (2400, 2));
    shop.audit().await;
}

async fn a_hold_that_expired_in_review_is_held_again(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.orders.hold_minutes = 5).await;
    shop.stock("mug", 1200, 2).await;
    let ann = shop.customer().await;
    let order = ann.place(&Basket::of(&[("mug", 2)]).paid_with("tok_review").waiting(20)).await.expect(200);
    assert_eq!(shop.stock_of("mug").await, 0);

    shop.clock.forward(Duration::from_secs(6 * 60));
    shop.inside.inventory().give_back_expired().await.unwrap();
    assert_eq!(shop.stock_of("mug").await, 2, "the hold gave itself back");
    shop.admin
        .post(&format!("/orders/{}/review", id(&order)), json!({ "decision": "approve" }))
        .await
        .expect(202);

    let order = ann.until(id(&order), &["confirmed", "cancelled"]).await;
    assert_eq!(order["state"], "confirmed");
    assert_eq!((shop.kept(&order).await, shop.stock_of("mug").await), (2400, 0));
    shop.audit().await;
}

async fn an_approval_after_somebody_else_bought_it_is_out_of_stock(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.orders.hold_minutes = 5).await;
    shop.stock("mug", 1200, 2).await;
    let (ann, bob) = (shop.customer().await, shop.customer().await);
    let order = ann.place(&Basket::of(&[("mug", 2)]).paid_with("tok_review").waiting(20)).await.expect(200);

    shop.clock.forward(Duration::from_secs(6 * 60));
    let of_bob = bob.order(&[("mug", 1)]).await;
    assert_eq!(of_bob["state"], "confirmed", "what is held too long is in nobody's way");
    shop.admin
        .post(&format!("/orders/{}/review", id(&order)), json!({ "decision": "approve" }))
        .await
        .expect(202);

    let order = ann.until(id(&order), &["confirmed", "cancelled"]).await;
    assert_eq!((&order["state"], &order["reason"]), (&json!("cancelled"), &json!("out_of_stock")));
    assert_eq!((shop.kept(&order).await, shop.kept(&of_bob).await, shop.stock_of("mug").await), (0, 1200, 1));
    shop.audit().await;
}
