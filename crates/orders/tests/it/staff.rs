//! What staff do: review, ship, deliver, refund, resume.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use testkit::{TestDb, both_databases};

use crate::{fakes::Fault, shop::Shop};

both_databases!(
    an_order_in_review_is_approved_and_held_again,
    an_order_in_review_is_denied,
    an_approved_order_whose_mug_is_gone_is_cancelled,
    an_order_in_review_can_be_cancelled,
    an_order_is_shipped_and_delivered,
    an_unshipped_order_is_refunded_and_put_back,
    a_shipped_order_is_refunded_and_not_put_back,
    two_who_refund_at_once_refund_once,
    a_refund_whose_answer_is_lost_is_paid_once,
    a_decision_sent_twice_with_one_key_counts_once,
    a_deed_whose_work_was_given_up_goes_on_when_it_is_asked_for_again,
    an_order_whose_work_was_given_up_is_resumed,
    the_audit_finds_what_is_wrong,
);

async fn an_order_in_review_is_approved_and_held_again(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order(&[("mug", 1)], "tok_review").await;
    shop.settle().await;
    assert_eq!(ann.see(&placed).await.outcome(), ("in_review", ""));
    shop.clock.forward(Duration::from_secs(24 * 3600));
    assert_eq!(shop.orders.sweep().await.unwrap(), 0, "a review may take its time");

    let approved = staff.ask(&placed, "review", json!({"decision": "approve"})).await;
    let twice = staff.ask(&placed, "review", json!({"decision": "deny"})).await;
    shop.settle().await;

    assert_eq!((approved.status, twice.problem()), (StatusCode::ACCEPTED, (409, "order_not_in_review")));
    let order = staff.see(&placed).await;
    assert_eq!(order.outcome(), ("confirmed", ""));
    assert_eq!(
        order.history(),
        ["placed", "held", "in_review", "held", "authorised", "committed", "confirmed"]
    );
    assert_eq!(order.body["history"][3]["actor"], staff.id.to_string());
    assert_eq!((shop.warehouse.wire.asked("hold"), shop.bank.wire.asked("screen")), (2, 1));
    shop.audit().await;
}

async fn an_order_in_review_is_denied(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order(&[("mug", 1)], "tok_review").await;
    shop.settle().await;

    staff.ask(&placed, "review", json!({"decision": "deny"})).await;
    shop.settle().await;

    assert_eq!(ann.see(&placed).await.outcome(), ("cancelled", "denied"));
    assert_eq!((shop.left("mug"), shop.held("mug")), (10, 0));
    shop.audit().await;
}

async fn an_approved_order_whose_mug_is_gone_is_cancelled(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order(&[("cup", 1)], "tok_review").await;
    shop.settle().await;
    shop.clock.forward(Duration::from_secs(3600));
    shop.warehouse.wire.look(|shelves| shelves.on_hand.insert("cup".parse().unwrap(), 0));

    staff.ask(&placed, "review", json!({"decision": "approve"})).await;
    shop.settle().await;

    let order = ann.see(&placed).await;
    assert_eq!(order.outcome(), ("cancelled", "out_of_stock"));
    assert_eq!(order.steps(), ["hold undone", "screen done", "hold refused", "release done"]);
    shop.audit().await;
}

async fn an_order_in_review_can_be_cancelled(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order(&[("mug", 1)], "tok_review").await;
    shop.settle().await;

    ann.cancel(&placed).await;
    shop.settle().await;

    assert_eq!(ann.see(&placed).await.outcome(), ("cancelled", "cancelled_by_customer"));
    shop.audit().await;
}

async fn an_order_is_shipped_and_delivered(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order_a_mug().await;
    let early = staff.ask(&placed, "ship", json!({})).await;
    shop.settle().await;

    assert_eq!(early.problem(), (409, "order_not_confirmed"));
    assert_eq!(staff.ask(&placed, "deliver", json!({})).await.problem(), (409, "order_not_shipped"));
    let shipped = staff.ask(&placed, "ship", json!({"carrier": "Snail", "tracking": "S-1"})).await;
    assert_eq!((shipped.status, shipped.outcome()), (StatusCode::OK, ("shipped", "")));
    assert_eq!(ann.see(&placed).await.body["shipment"]["tracking"], "S-1");
    let delivered = staff.ask(&placed, "deliver", json!({})).await;
    assert_eq!(delivered.outcome(), ("delivered", ""));
    assert_eq!(ann.ask(&placed, "ship", json!({})).await.problem(), (403, "forbidden"));
    shop.audit().await;
}

async fn an_unshipped_order_is_refunded_and_put_back(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order_a_mug().await;
    assert_eq!(staff.ask(&placed, "refund", json!({})).await.problem(), (409, "order_not_refundable"));
    shop.settle().await;

    let refund = staff.ask(&placed, "refund", json!({})).await;
    shop.settle().await;

    assert_eq!((refund.status, refund.outcome()), (StatusCode::ACCEPTED, ("refunding", "")));
    let order = ann.see(&placed).await;
    assert_eq!(order.outcome(), ("refunded", ""));
    assert_eq!(order.steps()[5..], ["refund done", "restock done"]);
    assert_eq!((shop.kept(&placed), shop.left("mug")), (0, 10));
    shop.audit().await;
}

async fn a_shipped_order_is_refunded_and_not_put_back(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order_a_mug().await;
    shop.settle().await;
    staff.ask(&placed, "ship", json!({})).await;

    staff.ask(&placed, "refund", json!({})).await;
    shop.settle().await;

    let order = ann.see(&placed).await;
    assert_eq!((order.outcome(), &order.steps()[5..]), (("refunded", ""), &["refund done".to_owned()][..]));
    assert_eq!((shop.kept(&placed), shop.left("mug")), (0, 9));
    shop.audit().await;
}

async fn two_who_refund_at_once_refund_once(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, one, other) = (shop.customer(), shop.staff(), shop.staff());
    let placed = ann.order_a_mug().await;
    shop.settle().await;

    let (first, second) =
        tokio::join!(one.ask(&placed, "refund", json!({})), other.ask(&placed, "refund", json!({})));
    shop.settle().await;

    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409]);
    assert_eq!(shop.bank.wire.look(|books| books.refunds[&placed.id()]), 1);
    assert_eq!((shop.bank.wire.asked("refund"), shop.left("mug")), (1, 10));
    shop.audit().await;
}

async fn a_refund_whose_answer_is_lost_is_paid_once(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order_a_mug().await;
    shop.settle().await;
    shop.bank.wire.fault("refund", Fault::AnswerLost);
    shop.warehouse.wire.fault("restock", Fault::AnswerLost);

    staff.ask(&placed, "refund", json!({})).await;
    shop.settle().await;

    assert_eq!(ann.see(&placed).await.outcome(), ("refunded", ""));
    assert_eq!(shop.bank.wire.look(|books| books.refunds[&placed.id()]), 1);
    assert_eq!(shop.left("mug"), 10);
    shop.audit().await;
}

async fn a_decision_sent_twice_with_one_key_counts_once(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order_a_mug().await;
    shop.settle().await;

    let ship = format!("{}/ship", placed.path());
    let first = staff.post(&ship, &[("idempotency-key", "one")], json!({"tracking": "S-1"})).await;
    let again = staff.post(&ship, &[("idempotency-key", "one")], json!({"tracking": "S-1"})).await;

    assert_eq!((first.status, again.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!((first.body, again.header("idempotent-replayed")), (again.body.clone(), "true"));
    shop.audit().await;
}

async fn a_deed_whose_work_was_given_up_goes_on_when_it_is_asked_for_again(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    for (token, deed, body, stuck, asked_again, end) in [
        ("tok_review", "cancel", json!({}), "release", StatusCode::ACCEPTED, "cancelled"),
        ("tok_review", "review", json!({"decision": "deny"}), "release", StatusCode::CONFLICT, "cancelled"),
        ("tok_review", "review", json!({"decision": "approve"}), "hold", StatusCode::CONFLICT, "confirmed"),
        ("tok_success", "refund", json!({}), "restock", StatusCode::CONFLICT, "refunded"),
    ] {
        let placed = ann.order(&[("mug", 1)], token).await;
        shop.settle().await;
        shop.warehouse.wire.fault(stuck, Fault::AskLost);
        staff.ask(&placed, deed, body.clone()).await;
        shop.run().await;
        let version = staff.see(&placed).await.body["version"].clone();
        let early = staff.ask(&placed, deed, body.clone()).await;
        assert_eq!(early.status, asked_again, "{deed} while it is worked on");
        assert_eq!(staff.see(&placed).await.body["version"], version);
        shop.give_up().await;

        let again = staff.ask(&placed, deed, body.clone()).await;
        let twice = staff.ask(&placed, deed, body.clone()).await;
        shop.settle().await;

        assert_eq!((again.status, twice.status), (StatusCode::ACCEPTED, asked_again), "{deed}");
        assert_eq!(ann.see(&placed).await.outcome().0, end, "{deed}");
        shop.audit().await;
    }
}

async fn an_order_whose_work_was_given_up_is_resumed(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, staff) = (shop.customer(), shop.staff());
    let placed = ann.order_a_mug().await;
    let review = ann.order(&[("mug", 1)], "tok_review").await;
    shop.bank.wire.fault("capture", Fault::AnswerLost);
    shop.run().await;
    let busy = staff.ask(&placed, "resume", json!({})).await;
    assert_eq!((busy.status, busy.body), (StatusCode::ACCEPTED, staff.see(&placed).await.body));
    shop.give_up().await;

    assert_eq!(ann.ask(&placed, "resume", json!({})).await.problem(), (403, "forbidden"));
    assert_eq!(staff.ask(&review, "resume", json!({})).await.problem(), (409, "order_at_rest"));
    let nobody = format!("/orders/{}/resume", kernel::OrderId::new(&shop.world));
    assert_eq!(staff.post(&nobody, &[], json!({})).await.problem(), (404, "no_such_order"));
    let resumed = staff.ask(&placed, "resume", json!({})).await;
    shop.settle().await;

    assert_eq!((resumed.status, resumed.outcome()), (StatusCode::ACCEPTED, ("committed", "")));
    assert_eq!(ann.see(&placed).await.outcome(), ("confirmed", ""));
    assert_eq!(shop.bank.wire.look(|books| books.captures[&placed.id()]), 1);
    assert_eq!(staff.ask(&placed, "resume", json!({})).await.problem(), (409, "order_at_rest"));
    ann.cancel(&review).await;
    shop.settle().await;
    shop.audit().await;
}

async fn the_audit_finds_what_is_wrong(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let sold = ann.order_a_mug().await;
    let declined = ann.order(&[("mug", 1)], "tok_declined").await;
    let still = ann.order(&[("mug", 1)], "tok_success").await;
    shop.settle().await;
    shop.audit().await;

    for (damage, order, finding) in [
        (
            "UPDATE order_steps SET state = 'failed' WHERE step = 'screen' AND order_id = $1",
            &sold,
            "five steps",
        ),
        (
            "UPDATE order_steps SET state = 'done' WHERE step = 'hold' AND order_id = $1",
            &declined,
            "not undone",
        ),
        ("UPDATE order_lines SET price = price + 1 WHERE order_id = $1", &sold, "its lines"),
        ("DELETE FROM order_history WHERE state = 'confirmed' AND order_id = $1", &sold, "its history"),
        (
            "UPDATE order_history SET version = 99 WHERE state = 'cancelled' AND order_id = $1",
            &declined,
            "without an event",
        ),
        (
            "UPDATE orders SET state = 'held', updated_at = 0 WHERE id = $1",
            &still,
            "stands still and has no job",
        ),
    ] {
        let id = order.id();
        let damaged: kernel::Result<u64> =
            db::write!(shop.db, async |tx| { db::query(damage).bind(id).execute(tx).await });
        assert_eq!(damaged.unwrap(), 1, "{damage}");
        let breaches = orders::audit(&shop.db).await.unwrap();
        let found =
            breaches.iter().any(|breach| breach.contains(finding) && breach.contains(&id.to_string()));
        assert!(found, "{damage}: {breaches:?}");
    }
}
