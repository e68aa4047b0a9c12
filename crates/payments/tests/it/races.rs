//! Many at once.

use futures::future::join_all;
use payments::sandbox::ChargeState;
use testkit::{TestDb, both_databases};

use crate::shop::{Shop, WAYS, Way};

both_databases!(
    twenty_of_each_step_at_once_have_one_effect,
    an_authorise_and_its_void_at_once_leave_nothing_promised,
    a_capture_and_a_void_at_once_end_in_one_of_the_two,
    a_capture_and_its_refund_at_once_leave_nothing_taken,
);

async fn twenty_of_each_step_at_once_have_one_effect(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        let (bought, voided) = (shop.order(), shop.order());

        let promised = join_all((0..20).map(|_| shop.authorise(bought, "tok_success"))).await;
        assert!(promised.windows(2).all(|pair| pair[0].as_ref().unwrap() == pair[1].as_ref().unwrap()));
        assert_eq!(shop.charges(bought).await, [ChargeState::Authorised]);
        assert!(join_all((0..20).map(|_| shop.capture(bought))).await.iter().all(Result::is_ok));
        assert!(join_all((0..20).map(|_| shop.refund(bought))).await.iter().all(Result::is_ok));
        shop.authorise(voided, "tok_success").await.unwrap();
        assert!(join_all((0..20).map(|_| shop.void(voided))).await.iter().all(Result::is_ok));

        assert_eq!(shop.charges(bought).await, [ChargeState::Refunded]);
        assert_eq!(shop.charges(voided).await, [ChargeState::Voided]);
        assert_eq!(shop.payments.books(bought).await.unwrap().ledger.len(), 4);
        shop.audit().await;
    }
}

async fn an_authorise_and_its_void_at_once_leave_nothing_promised(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let orders: Vec<_> = (0..60).map(|_| shop.order()).collect();

    let races = orders.iter().enumerate().map(|(n, order)| {
        let shop = shop.clone();
        async move {
            let (authorise, void) = (shop.authorise(*order, "tok_success"), shop.void(*order));
            let (authorised, voided) = if n % 2 == 0 {
                tokio::join!(authorise, void)
            } else {
                let (voided, authorised) = tokio::join!(void, authorise);
                (authorised, voided)
            };
            voided.unwrap();
            if let Err(error) = authorised {
                assert_eq!(error.code, "order_undone");
            }
        }
    });
    join_all(races).await;

    for order in orders {
        let charges = shop.charges(order).await;
        assert!(charges.is_empty() || charges == [ChargeState::Voided], "{charges:?}");
    }
    shop.audit().await;
}

async fn a_capture_and_a_void_at_once_end_in_one_of_the_two(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let orders: Vec<_> = (0..40).map(|_| shop.order()).collect();
    join_all(orders.iter().map(|order| shop.authorise(*order, "tok_success"))).await;

    let outcomes =
        join_all(orders.iter().map(|order| async { tokio::join!(shop.capture(*order), shop.void(*order)) }))
            .await;

    for (order, (captured, voided)) in orders.into_iter().zip(outcomes) {
        assert_ne!(captured.is_ok(), voided.is_ok(), "{captured:?} {voided:?}");
        let then = if captured.is_ok() { ChargeState::Captured } else { ChargeState::Voided };
        assert_eq!(shop.charges(order).await, [then]);
    }
    shop.audit().await;
}

async fn a_capture_and_its_refund_at_once_leave_nothing_taken(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let orders: Vec<_> = (0..40).map(|_| shop.order()).collect();
    join_all(orders.iter().map(|order| shop.authorise(*order, "tok_success"))).await;

    let outcomes = join_all(
        orders.iter().map(|order| async { tokio::join!(shop.capture(*order), shop.refund(*order)) }),
    )
    .await;

    for (order, (captured, refunded)) in orders.into_iter().zip(outcomes) {
        assert_eq!(captured.is_ok(), refunded.unwrap().is_some());
        assert_ne!(shop.charges(order).await, [ChargeState::Captured]);
        shop.void(order).await.ok();
    }
    shop.audit().await;
}
