//! What the contract promises, wherever payments and its provider run.

use contracts::payments::Verdict;
use kernel::Kind;
use payments::{Settings, sandbox::ChargeState, webhook::Secret};
use std::time::Duration;
use testkit::{TestDb, both_databases};

use crate::shop::{SECRET, Shop, WAYS, Way, code, euros, serve};

both_databases!(
    money_is_promised_taken_and_paid_back,
    each_step_done_twice_is_done_once,
    a_promise_is_given_back,
    what_arrives_after_its_undo_is_refused,
    a_decline_is_final,
    money_taken_without_an_answer_is_found,
    wrong_asks_are_refused_alike,
    the_first_screening_stays,
    a_customer_in_a_hurry_is_reviewed_and_then_denied,
    every_change_is_announced,
);

async fn money_is_promised_taken_and_paid_back(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        let order = shop.order();

        let promised = shop.authorise(order, "tok_success").await.unwrap();
        assert_eq!(
            (shop.state(order).await, shop.charges(order).await),
            ("authorised".into(), vec![ChargeState::Authorised])
        );
        let taken = shop.capture(order).await.unwrap();
        assert_eq!((taken.payment, taken.amount), (promised.payment, euros(12)));
        assert_eq!(
            (shop.state(order).await, shop.charges(order).await),
            ("captured".into(), vec![ChargeState::Captured])
        );
        assert_eq!(shop.refund(order).await.unwrap(), Some(euros(12)));

        let payment = shop.payment(order).await.unwrap();
        assert_eq!((payment.captured, payment.refunded), (euros(12), euros(12)));
        assert_eq!(shop.charges(order).await, [ChargeState::Refunded]);
        shop.audit().await;
    }
}

async fn each_step_done_twice_is_done_once(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        let (order, voided) = (shop.order(), shop.order());

        let first = shop.authorise(order, "tok_success").await.unwrap();
        assert_eq!(shop.authorise(order, "tok_success").await.unwrap(), first);
        let taken = shop.capture(order).await.unwrap();
        assert_eq!(shop.capture(order).await.unwrap(), taken);
        for _ in 0..2 {
            assert_eq!(shop.refund(order).await.unwrap(), Some(euros(12)));
        }
        assert_eq!(shop.capture(order).await.unwrap(), taken, "answered as the first time");
        shop.authorise(voided, "tok_success").await.unwrap();
        for _ in 0..2 {
            shop.void(voided).await.unwrap();
        }

        assert_eq!(shop.charges(order).await, [ChargeState::Refunded]);
        assert_eq!(shop.charges(voided).await, [ChargeState::Voided]);
        shop.audit().await;
    }
}

async fn a_promise_is_given_back(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        let (promised, refused) = (shop.order(), shop.order());
        shop.authorise(promised, "tok_success").await.unwrap();
        shop.authorise(refused, "tok_capture_refused").await.unwrap();

        assert_eq!(code(shop.capture(refused).await), "capture_refused");
        assert_eq!(code(shop.capture(refused).await), "capture_refused", "refused for good");
        shop.void(promised).await.unwrap();
        shop.void(refused).await.unwrap();

        for order in [promised, refused] {
            assert_eq!(
                (shop.state(order).await, shop.charges(order).await),
                ("voided".into(), vec![ChargeState::Voided])
            );
            assert_eq!(shop.refund(order).await.unwrap(), None);
        }
        shop.audit().await;
    }
}

async fn what_arrives_after_its_undo_is_refused(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        let (never, voided, not_captured) = (shop.order(), shop.order(), shop.order());
        shop.authorise(voided, "tok_success").await.unwrap();
        shop.authorise(not_captured, "tok_success").await.unwrap();

        shop.void(never).await.unwrap();
        shop.void(voided).await.unwrap();
        assert_eq!(shop.refund(not_captured).await.unwrap(), None);

        for order in [never, voided, not_captured] {
            assert_eq!(code(shop.authorise(order, "tok_success").await), "order_undone");
            assert_eq!(code(shop.capture(order).await), "capture_refused");
        }
        shop.void(not_captured).await.unwrap();
        assert_eq!(shop.charges(never).await, []);
        assert_eq!(shop.charges(voided).await, [ChargeState::Voided]);
        shop.audit().await;
    }
}

async fn a_decline_is_final(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        for (token, expected) in [
            ("tok_declined", "card_declined"),
            ("tok_insufficient_funds", "insufficient_funds"),
            ("tok_nonsense", "unknown_token"),
        ] {
            let order = shop.order();

            let error = shop.authorise(order, token).await.unwrap_err();

            assert_eq!((error.kind, &*error.code), (Kind::Conflict, expected));
            assert_eq!(code(shop.authorise(order, "tok_success").await), expected, "the intent was declined");
            assert_eq!(code(shop.capture(order).await), "capture_refused");
            shop.void(order).await.unwrap();
            assert_eq!((shop.state(order).await, shop.charges(order).await), ("declined".into(), vec![]));
        }
        shop.audit().await;
    }
}

async fn money_taken_without_an_answer_is_found(db: TestDb) {
    for way in WAYS {
        let provider_timeout = Duration::from_millis(if matches!(way, Way::OverHttp) { 700 } else { 5000 });
        let webhook_secret = Some(SECRET.to_owned());
        let shop =
            Shop::with(&db, way, Settings { provider_timeout, webhook_secret, ..Settings::default() }).await;
        let order = shop.order();

        shop.authorise(order, "tok_timeout").await.unwrap();
        shop.capture(order).await.unwrap();

        assert_eq!(shop.charges(order).await, [ChargeState::Captured]);
        // The provider tells of it later, at the shop's address.
        let (routes, _) = payments::routes(shop.payments.clone()).split_for_parts();
        let url = format!("{}/payments/webhooks/sandbox", serve(routes).await);
        let carrier = payments::sandbox_runner(&shop.sandbox, &url, Secret::parse(SECRET).unwrap());
        shop.clock.forward(Duration::from_secs(31));
        assert!(carrier.run_due().await.unwrap() > 0);
        assert_eq!(shop.state(order).await, "captured");
        shop.audit().await;
    }
}

async fn wrong_asks_are_refused_alike(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        let order = shop.order();
        shop.authorise(order, "tok_success").await.unwrap();
        let other_amount = shop.authorise_for(order, "tok_success", euros(13)).await.unwrap_err();
        shop.capture(order).await.unwrap();

        let refusals = [
            code(shop.void(order).await),
            code(shop.capture(shop.order()).await),
            code(shop.payment(shop.order()).await),
            code(shop.authorise_for(shop.order(), "tok_success", euros(-1)).await),
        ];

        assert_eq!(refusals, ["already_captured", "no_payment", "no_payment", "invalid_request"], "{way:?}");
        assert_eq!((other_amount.kind, &*other_amount.code), (Kind::Mismatch, "payment_differs"));
        assert_eq!(shop.charges(order).await, [ChargeState::Captured]);
        shop.audit().await;
    }
}

async fn the_first_screening_stays(db: TestDb) {
    for way in WAYS {
        let shop = Shop::start(&db, way).await;
        let (order, customer) = (shop.order(), shop.customer());

        let first = shop.screen(order, customer, euros(2001), "tok_success").await;
        let second = shop.screen(order, customer, euros(1), "tok_success").await;

        assert_eq!((first.verdict, &second), (Verdict::Review, &first));
        let verdicts = [
            shop.screen(shop.order(), customer, euros(1), "tok_review").await.verdict,
            shop.screen(shop.order(), customer, euros(10_001), "tok_success").await.verdict,
            shop.screen(shop.order(), customer, euros(1), "tok_success").await.verdict,
        ];
        assert_eq!(verdicts, [Verdict::Review, Verdict::Deny, Verdict::Approve]);
        shop.audit().await;
    }
}

async fn a_customer_in_a_hurry_is_reviewed_and_then_denied(db: TestDb) {
    let rules = payments::Rules { orders_per_hour: 3, ..payments::Rules::default() };
    let shop = Shop::with(&db, Way::Here, Settings { rules, ..Settings::default() }).await;
    let customer = shop.customer();
    let orders: Vec<_> = (0..20).map(|_| shop.order()).collect();

    let screened = orders.iter().map(|order| shop.screen(*order, customer, euros(1), "tok_success"));
    let found = futures::future::join_all(screened).await;

    let count = |verdict| found.iter().filter(|screened| screened.verdict == verdict).count();
    assert_eq!(
        [Verdict::Approve, Verdict::Review, Verdict::Deny].map(count),
        [3, 12, 5],
        "though they came at once"
    );
    shop.clock.forward(Duration::from_secs(3601));
    assert_eq!(shop.screen(shop.order(), customer, euros(1), "tok_success").await.verdict, Verdict::Approve);
    shop.audit().await;
}

async fn every_change_is_announced(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let bus = bus::Bus::memory();
    let mut heard = bus.listen();
    let (bought, cancelled, declined) = (shop.order(), shop.order(), shop.order());
    shop.authorise(bought, "tok_success").await.unwrap();
    shop.authorise(cancelled, "tok_success").await.unwrap();
    shop.authorise(declined, "tok_declined").await.unwrap_err();
    shop.capture(bought).await.unwrap();
    shop.refund(bought).await.unwrap();
    shop.void(cancelled).await.unwrap();

    while bus.relay_once("payments", &shop.db).await.unwrap() > 0 {}

    let mut told = Vec::new();
    while let Ok(event) = heard.try_recv() {
        let change: contracts::payments::PaymentEvent = event.payload().unwrap();
        told.push((change.order, event.topic.clone(), event.version));
    }
    let of = |order| {
        told.iter()
            .filter(|(of, ..)| *of == order)
            .map(|(_, topic, version)| (topic.as_str(), *version))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(bought), [("payments.authorised", 1), ("payments.captured", 2), ("payments.refunded", 3)]);
    assert_eq!(of(cancelled), [("payments.authorised", 1), ("payments.voided", 2)]);
    assert_eq!(of(declined), [("payments.declined", 1)]);
    shop.audit().await;
}
