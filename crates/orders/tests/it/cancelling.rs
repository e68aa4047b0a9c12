//! Cancelling, while everything moves.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use testkit::{TestDb, both_databases};

use crate::{
    fakes::{Fault, Gate, Wire},
    shop::Shop,
};

both_databases!(
    an_order_is_cancelled_before_anything_was_done,
    an_order_is_cancelled_while_a_step_is_asked,
    an_order_is_cancelled_while_a_step_is_answered,
    a_confirmed_order_is_not_cancelled,
    a_cancelled_order_is_cancelled_once,
    staff_cancel_for_a_customer,
    a_step_that_arrives_after_its_undo_has_no_effect,
    a_capture_that_slips_in_between_refund_and_void_is_paid_back,
);

const STEPS: [&str; 5] = ["hold", "screen", "authorise", "commit", "capture"];

fn fault(shop: &Shop, step: &'static str, fault: Fault) {
    match step {
        "hold" | "commit" | "release" | "restock" => shop.warehouse.wire.fault(step, fault),
        _ => shop.bank.wire.fault(step, fault),
    }
}

async fn an_order_is_cancelled_before_anything_was_done(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;

    let cancelled = ann.cancel(&placed).await;
    shop.settle().await;

    assert_eq!(
        (cancelled.status, cancelled.outcome()),
        (StatusCode::ACCEPTED, ("cancelling", "cancelled_by_customer"))
    );
    let order = ann.see(&placed).await;
    assert_eq!(order.outcome(), ("cancelled", "cancelled_by_customer"));
    // The hold may have been asked for: it is released, and its straggler would meet the mark.
    assert_eq!(order.steps(), ["hold undone", "release done"]);
    assert_eq!(shop.warehouse.wire.asked("hold"), 0);
    shop.audit().await;
}

async fn an_order_is_cancelled_while_a_step_is_asked(db: TestDb) {
    cancelled_meanwhile(db, Fault::Before).await;
}

async fn an_order_is_cancelled_while_a_step_is_answered(db: TestDb) {
    cancelled_meanwhile(db, Fault::After).await;
}

/// The saga asks for a step; meanwhile the customer cancels. Whatever the step
/// did is undone.
async fn cancelled_meanwhile(db: TestDb, when: fn(Arc<Gate>) -> Fault) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    for step in STEPS {
        let placed = ann.order_a_mug().await;
        let gate = Gate::new();
        fault(&shop, step, when(gate.clone()));
        let running = shop.run_beside();
        gate.reached().await;

        let cancelled = ann.cancel(&placed).await;
        gate.open();
        running.await.unwrap();
        shop.settle().await;

        assert_eq!(cancelled.outcome().0, "cancelling", "during {step}");
        let order = ann.see(&placed).await;
        assert_eq!(order.outcome(), ("cancelled", "cancelled_by_customer"), "during {step}");
        assert_eq!((shop.kept(&placed), shop.left("mug"), shop.held("mug")), (0, 10, 0), "during {step}");
        shop.audit().await;
    }
}

async fn a_confirmed_order_is_not_cancelled(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;
    shop.settle().await;

    assert_eq!(ann.cancel(&placed).await.problem(), (409, "order_confirmed"));
    assert_eq!(ann.see(&placed).await.outcome(), ("confirmed", ""));
    shop.audit().await;
}

async fn a_cancelled_order_is_cancelled_once(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;

    let (one, other) = tokio::join!(ann.cancel(&placed), ann.cancel(&placed));
    shop.settle().await;
    let late = ann.cancel(&placed).await;

    assert_eq!(
        (one.status, other.status, late.status),
        (StatusCode::ACCEPTED, StatusCode::ACCEPTED, StatusCode::ACCEPTED)
    );
    assert_eq!(late.history(), ["placed", "cancelling", "cancelled"]);
    assert_eq!(shop.warehouse.wire.asked("release"), 1);
    shop.audit().await;
}

async fn staff_cancel_for_a_customer(db: TestDb) {
    let shop = Shop::start(db).await;
    let placed = shop.customer().order_a_mug().await;

    let cancelled = shop.staff().cancel(&placed).await;
    shop.settle().await;

    assert_eq!(cancelled.outcome(), ("cancelling", "cancelled_by_staff"));
    shop.audit().await;
}

async fn a_step_that_arrives_after_its_undo_has_no_effect(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    for (step, answer) in [
        ("hold", "order_undone"),
        ("authorise", "order_undone"),
        ("commit", "order_undone"),
        ("capture", "capture_refused"),
    ] {
        let placed = ann.order_a_mug().await;
        fault(&shop, step, Fault::Late);
        shop.run().await;
        assert_eq!(ann.see(&placed).await.steps().last().unwrap(), &format!("{step} failed"));

        ann.cancel(&placed).await;
        shop.settle().await;
        let late = [shop.warehouse.wire.late_calls_arrive(), shop.bank.wire.late_calls_arrive()].concat();

        assert_eq!(late, [answer], "{step}");
        assert_eq!(ann.see(&placed).await.outcome().0, "cancelled");
        assert_eq!((shop.kept(&placed), shop.left("mug"), shop.held("mug")), (0, 10, 0), "{step}");
        shop.audit().await;
    }
}

async fn a_capture_that_slips_in_between_refund_and_void_is_paid_back(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;
    shop.bank.wire.fault("capture", Fault::Late);
    shop.run().await;
    ann.cancel(&placed).await;
    // The job's next attempt is due.
    shop.clock.forward(Duration::from_secs(60));
    let gate = Gate::new();
    shop.bank.wire.fault("refund", Fault::After(gate.clone()));
    let running = shop.run_beside();
    gate.reached().await;

    assert_eq!(captured_late(&shop.bank.wire), ["ok"]);
    gate.open();
    running.await.unwrap();
    shop.settle().await;

    assert_eq!(ann.see(&placed).await.outcome().0, "cancelled");
    assert_eq!(shop.kept(&placed), 0);
    assert_eq!(shop.bank.wire.look(|books| books.refunds[&placed.id()]), 1);
    shop.audit().await;
}

fn captured_late<S: Send>(wire: &Wire<S>) -> Vec<String> {
    wire.late_calls_arrive()
}
