//! Steps that stop half way: before the provider heard, after it did, and
//! while it is still at it.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use kernel::{OrderId, Result};
use payments::sandbox::ChargeState;
use testkit::{TestDb, both_databases};
use tokio::sync::Semaphore;

use crate::{
    moody::Mood,
    shop::{Shop, Way, code},
};

both_databases!(
    an_ask_that_never_arrived_is_made_again_with_its_key,
    an_ask_without_an_answer_is_asked_after_and_never_guessed,
    a_process_that_dies_before_it_saves_the_outcome_has_charged_once,
    the_sweep_learns_what_nobody_came_back_for,
    the_sweep_gives_up_soon_when_the_provider_is_away,
    the_sweep_passes_by_what_stays_unknown,
    the_sweep_gives_promises_back_whatever_stays_unknown,
    a_promise_that_comes_after_the_undo_is_given_back,
    an_ask_that_arrives_after_the_undo_has_no_effect_of_its_own,
    a_void_learns_first_whether_the_money_was_taken,
    a_refund_learns_first_whether_the_money_was_taken,
);

#[derive(Clone, Copy, Debug)]
enum Step {
    Authorise,
    Capture,
    Void,
    Refund,
}

const STEPS: [(Step, ChargeState); 4] = [
    (Step::Authorise, ChargeState::Authorised),
    (Step::Capture, ChargeState::Captured),
    (Step::Void, ChargeState::Voided),
    (Step::Refund, ChargeState::Refunded),
];

impl Step {
    async fn before(self, shop: &Shop, order: OrderId) {
        if !matches!(self, Step::Authorise) {
            shop.authorise(order, "tok_success").await.unwrap();
        }
        if matches!(self, Step::Refund) {
            shop.capture(order).await.unwrap();
        }
    }

    async fn take(self, shop: &Shop, order: OrderId) -> Result<()> {
        match self {
            Step::Authorise => shop.authorise(order, "tok_success").await.map(drop),
            Step::Capture => shop.capture(order).await.map(drop),
            Step::Void => shop.void(order).await,
            Step::Refund => shop.refund(order).await.map(drop),
        }
    }
}

async fn an_ask_that_never_arrived_is_made_again_with_its_key(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    for (step, then) in STEPS {
        let order = shop.order();
        step.before(&shop, order).await;
        shop.moody.be(Mood::Lost);

        assert_eq!(code(step.take(&shop, order).await), "payment_outcome_unknown", "{step:?}");
        step.take(&shop, order).await.unwrap();

        assert_eq!(shop.charges(order).await, [then]);
    }
    shop.audit().await;
}

async fn an_ask_without_an_answer_is_asked_after_and_never_guessed(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    for (step, then) in STEPS {
        let order = shop.order();
        step.before(&shop, order).await;
        shop.moody.be(Mood::Unanswered);

        assert_eq!(code(step.take(&shop, order).await), "payment_outcome_unknown", "{step:?}");
        let asks = shop.moody.asks.load(Ordering::SeqCst);
        assert_eq!(code(step.take(&shop, order).await), "payment_outcome_unknown", "still deaf");
        shop.moody.be_deaf(false);
        step.take(&shop, order).await.unwrap();

        assert_eq!(
            shop.moody.asks.load(Ordering::SeqCst),
            asks,
            "{step:?} was asked after, not asked for again"
        );
        assert_eq!(shop.charges(order).await, [then]);
    }
    shop.audit().await;
}

/// Takes a step whose process dies after the provider did it.
async fn die_in(shop: &Shop, step: Step, order: OrderId) {
    shop.moody.be(Mood::Hanging);
    let asks = shop.moody.asks.load(Ordering::SeqCst);
    let dying = tokio::spawn({
        let shop = shop.clone();
        async move { step.take(&shop, order).await }
    });
    while shop.moody.asks.load(Ordering::SeqCst) == asks {
        tokio::task::yield_now().await;
    }
    // The provider is done when its books say so.
    let then = STEPS.iter().find(|(other, _)| *other as u8 == step as u8).unwrap().1;
    while shop.charges(order).await != [then] {
        tokio::task::yield_now().await;
    }
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
}

async fn a_process_that_dies_before_it_saves_the_outcome_has_charged_once(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    for (step, then) in STEPS {
        let order = shop.order();
        step.before(&shop, order).await;
        die_in(&shop, step, order).await;

        step.take(&shop, order).await.unwrap();
        step.take(&shop, order).await.unwrap();

        assert_eq!(shop.charges(order).await, [then], "{step:?}");
    }
    shop.audit().await;
}

async fn the_sweep_learns_what_nobody_came_back_for(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let runner = payments::runner(&shop.payments).unwrap();
    let mut orders = Vec::new();
    for (step, then) in STEPS {
        let order = shop.order();
        step.before(&shop, order).await;
        die_in(&shop, step, order).await;
        orders.push((order, then));
    }
    assert_eq!(shop.payments.recover().await.unwrap(), 0, "it is too early to ask after them");

    runner.run_due().await.unwrap();
    shop.clock.forward(Duration::from_secs(121));
    runner.run_due().await.unwrap();

    for (order, then) in orders {
        assert_eq!(shop.charges(order).await, [then]);
        assert_eq!(shop.state(order).await, then.as_str());
    }
    assert_eq!(shop.payments.recover().await.unwrap(), 0, "the second sweep finds nothing");
    shop.audit().await;
}

/// Orders whose authorisation never arrived, long enough ago for the sweep.
async fn lost(shop: &Shop, count: usize) -> Vec<OrderId> {
    let orders: Vec<_> = (0..count).map(|_| shop.order()).collect();
    for order in &orders {
        shop.moody.be(Mood::Lost);
        shop.authorise(*order, "tok_success").await.unwrap_err();
    }
    shop.clock.forward(Duration::from_secs(61));
    shop.moody.asks_after.store(0, Ordering::SeqCst);
    orders
}

async fn the_sweep_gives_up_soon_when_the_provider_is_away(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let orders = lost(&shop, 20).await;

    shop.moody.be_deaf(true);
    assert_eq!(shop.payments.recover().await.unwrap(), 0);
    let asked_after = shop.moody.asks_after.load(Ordering::SeqCst);
    shop.moody.be_deaf(false);
    assert_eq!(shop.payments.recover().await.unwrap(), 20);

    assert_eq!((asked_after, shop.moody.most_at_once()), (8, 8));
    for order in orders {
        assert_eq!(shop.charges(order).await, [ChargeState::Authorised]);
    }
    shop.audit().await;
}

async fn the_sweep_passes_by_what_stays_unknown(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let orders = lost(&shop, 120).await;
    for order in &orders[..4] {
        shop.moody.be_deaf_to(shop.payments.books(*order).await.unwrap().attempts[0].key);
    }

    assert_eq!(shop.payments.recover().await.unwrap(), 116, "in one pass");

    for order in &orders[4..] {
        assert_eq!(shop.charges(*order).await, [ChargeState::Authorised]);
    }
    assert!(shop.charges(orders[0]).await.is_empty());
    shop.audit().await;
}

async fn the_sweep_gives_promises_back_whatever_stays_unknown(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let promised: Vec<_> = (0..100).map(|_| shop.order()).collect();
    for order in &promised {
        shop.authorise(*order, "tok_success").await.unwrap();
    }
    let undone: Result<u64> =
        db::write!(shop.db, async |tx| { db::query("UPDATE gates SET undone = TRUE").execute(tx).await });
    undone.unwrap();
    let unknown = lost(&shop, 1).await;
    shop.moody.be_deaf_to(shop.payments.books(unknown[0]).await.unwrap().attempts[0].key);

    assert_eq!(shop.payments.recover().await.unwrap(), 100, "in one pass");

    for order in promised {
        assert_eq!(shop.charges(order).await, [ChargeState::Voided]);
    }
    shop.audit().await;
}

async fn a_promise_that_comes_after_the_undo_is_given_back(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let order = shop.order();
    let permit = Arc::new(Semaphore::new(0));
    shop.moody.be(Mood::AnsweredLate(permit.clone()));
    let late = tokio::spawn({
        let shop = shop.clone();
        async move { shop.authorise(order, "tok_success").await }
    });
    while shop.charges(order).await.is_empty() {
        tokio::task::yield_now().await;
    }

    shop.void(order).await.unwrap();
    permit.add_permits(1);

    assert_eq!(code(late.await.unwrap()), "order_undone");
    assert_eq!(
        (shop.state(order).await, shop.charges(order).await),
        ("voided".into(), vec![ChargeState::Voided])
    );
    shop.audit().await;
}

async fn an_ask_that_arrives_after_the_undo_has_no_effect_of_its_own(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let order = shop.order();
    let permit = Arc::new(Semaphore::new(0));
    shop.moody.be(Mood::Delayed(permit.clone()));
    let late = tokio::spawn({
        let shop = shop.clone();
        async move { shop.authorise(order, "tok_success").await }
    });
    while shop.moody.asks.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }

    shop.void(order).await.unwrap();
    permit.add_permits(1);

    assert_eq!(code(late.await.unwrap()), "order_undone");
    assert_eq!(
        shop.charges(order).await,
        [ChargeState::Voided],
        "one charge, given back: both asks had one key"
    );
    shop.audit().await;
}

async fn a_void_learns_first_whether_the_money_was_taken(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let order = shop.order();
    shop.authorise(order, "tok_success").await.unwrap();
    die_in(&shop, Step::Capture, order).await;

    assert_eq!(code(shop.void(order).await), "already_captured");
    assert_eq!(shop.refund(order).await.unwrap(), Some(crate::shop::euros(12)));

    assert_eq!(shop.charges(order).await, [ChargeState::Refunded]);
    shop.audit().await;
}

async fn a_refund_learns_first_whether_the_money_was_taken(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let order = shop.order();
    shop.authorise(order, "tok_success").await.unwrap();
    die_in(&shop, Step::Capture, order).await;

    assert_eq!(shop.refund(order).await.unwrap(), Some(crate::shop::euros(12)));

    assert_eq!(shop.charges(order).await, [ChargeState::Refunded]);
    shop.audit().await;
}
