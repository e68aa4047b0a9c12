//! What the provider tells without being asked: twice, late, before the
//! answer, or somebody in its place.

use std::{sync::atomic::Ordering, time::Duration};

use futures::future::join_all;
use http::HeaderMap;
use kernel::{AttemptId, Kind};
use payments::{
    AttemptKind, Needs, Payments, Settings,
    provider::Outcome,
    sandbox::{self, ChargeState},
    webhook::{Notice, Secret},
};
use testkit::{TestDb, both_databases};

use crate::{
    moody::Mood,
    shop::{SECRET, Shop, Way, code, euros},
};

both_databases!(
    a_webhook_tells_what_the_answer_did_not,
    a_webhook_heard_twice_or_late_is_harmless,
    a_capture_told_by_twenty_webhooks_at_once_is_written_down_once,
    a_webhook_of_an_undone_order_gives_the_promise_back,
    a_forged_or_stale_webhook_is_refused,
    the_sandbox_of_this_process_carries_its_webhooks,
);

async fn shop(db: &TestDb) -> Shop {
    Shop::with(db, Way::Here, Settings { webhook_secret: Some(SECRET.into()), ..Settings::default() }).await
}

/// The headers and body of a webhook that tells of the promise of an order.
async fn webhook(shop: &Shop, order: kernel::OrderId, id: &str) -> (HeaderMap, String) {
    webhook_of(shop, order, AttemptKind::Authorise, id).await
}

/// The same of the first attempt of this kind.
async fn webhook_of(shop: &Shop, order: kernel::OrderId, kind: AttemptKind, id: &str) -> (HeaderMap, String) {
    let attempts = shop.payments.books(order).await.unwrap().attempts;
    let attempt = attempts.into_iter().find(|attempt| attempt.kind == kind).unwrap();
    let outcome = Outcome::Done { reference: format!("ch_{}", attempt.key.uuid().simple()) };
    signed(shop, id, Notice { kind, key: attempt.key, amount: attempt.money(), outcome })
}

fn signed(shop: &Shop, id: &str, notice: Notice) -> (HeaderMap, String) {
    let body = serde_json::to_string(&notice).unwrap();
    (Secret::parse(SECRET).unwrap().sign(id, shop.db.world().now(), &body).unwrap(), body)
}

async fn a_webhook_tells_what_the_answer_did_not(db: TestDb) {
    let shop = shop(&db).await;
    let order = shop.order();
    shop.moody.be(Mood::Unanswered);
    assert_eq!(code(shop.authorise(order, "tok_success").await), "payment_outcome_unknown");
    let (headers, body) = webhook(&shop, order, "msg_1").await;

    shop.payments.hear(&headers, body.as_bytes()).await.unwrap();

    assert_eq!(shop.state(order).await, "authorised");
    shop.authorise(order, "tok_success").await.unwrap();
    shop.moody.be_deaf(false);
    shop.audit().await;
}

async fn a_webhook_heard_twice_or_late_is_harmless(db: TestDb) {
    let shop = shop(&db).await;
    let order = shop.order();
    shop.authorise(order, "tok_success").await.unwrap();
    let (headers, body) = webhook(&shop, order, "msg_1").await;
    let (other_headers, other_body) = webhook(&shop, order, "msg_2").await;

    shop.payments.hear(&headers, body.as_bytes()).await.unwrap();
    shop.capture(order).await.unwrap();
    shop.payments.hear(&headers, body.as_bytes()).await.unwrap();
    shop.payments.hear(&other_headers, other_body.as_bytes()).await.unwrap();

    assert_eq!(
        (shop.state(order).await, shop.charges(order).await),
        ("captured".into(), vec![ChargeState::Captured])
    );
    shop.audit().await;
}

/// Webhooks that are fired several times (saleor/saleor 10165), half of them
/// under one id and half under an id each, while the capture is asked for again.
async fn a_capture_told_by_twenty_webhooks_at_once_is_written_down_once(db: TestDb) {
    let shop = shop(&db).await;
    let order = shop.order();
    shop.authorise(order, "tok_success").await.unwrap();
    shop.moody.be(Mood::Unanswered);
    assert_eq!(code(shop.capture(order).await), "payment_outcome_unknown");
    let mut told = Vec::new();
    for at in 0..20 {
        let id = if at % 2 == 0 { "msg".into() } else { format!("msg_{at}") };
        told.push(webhook_of(&shop, order, AttemptKind::Capture, &id).await);
    }
    shop.moody.be_deaf(false);

    let hearing = join_all(told.iter().map(|(headers, body)| shop.payments.hear(headers, body.as_bytes())));
    let (heard, captured) = tokio::join!(hearing, shop.capture(order));

    assert!(heard.iter().all(Result::is_ok), "{heard:?}");
    captured.unwrap();
    let books = shop.payments.books(order).await.unwrap();
    assert_eq!((books.payment.captured, books.ledger.len()), (books.payment.amount, 2));
    assert_eq!(shop.charges(order).await, [ChargeState::Captured]);
    shop.audit().await;
}

async fn a_webhook_of_an_undone_order_gives_the_promise_back(db: TestDb) {
    let shop = shop(&db).await;
    let runner = payments::runner(&shop.payments).unwrap();
    let order = shop.order();
    shop.moody.be(Mood::Unanswered);
    assert_eq!(code(shop.authorise(order, "tok_success").await), "payment_outcome_unknown");
    assert_eq!(
        code(shop.void(order).await),
        "payment_outcome_unknown",
        "nobody can say what there is to give back"
    );
    let (headers, body) = webhook(&shop, order, "msg_1").await;

    shop.payments.hear(&headers, body.as_bytes()).await.unwrap();
    assert_eq!(shop.charges(order).await, [ChargeState::Authorised]);
    shop.moody.be_deaf(false);
    runner.run_due().await.unwrap();

    assert_eq!(
        (shop.state(order).await, shop.charges(order).await),
        ("voided".into(), vec![ChargeState::Voided])
    );
    shop.audit().await;
}

async fn a_forged_or_stale_webhook_is_refused(db: TestDb) {
    let shop = shop(&db).await;
    let order = shop.order();
    shop.moody.be(Mood::Lost);
    assert_eq!(code(shop.authorise(order, "tok_success").await), "payment_outcome_unknown");
    let (headers, body) = webhook(&shop, order, "msg_1").await;
    let forged = Secret::new([1; 32]).sign("msg_1", shop.db.world().now(), &body).unwrap();
    let key = shop.payments.books(order).await.unwrap().attempts[0].key;
    let notice = |key, amount| Notice {
        kind: AttemptKind::Authorise,
        key,
        amount,
        outcome: Outcome::Done { reference: "ch_x".into() },
    };

    let error = shop.payments.hear(&forged, body.as_bytes()).await.unwrap_err();
    assert_eq!((error.kind, &*error.code), (Kind::Unauthenticated, "webhook_not_verified"));
    let (mismatch, wrong) = signed(&shop, "msg_2", notice(key, euros(1)));
    assert_eq!(code(shop.payments.hear(&mismatch, wrong.as_bytes()).await), "webhook_mismatch");
    let (nobodys, unknown) = signed(&shop, "msg_3", notice(AttemptId::new(shop.db.world()), euros(12)));
    shop.payments.hear(&nobodys, unknown.as_bytes()).await.unwrap();
    shop.clock.forward(Duration::from_secs(301));
    assert_eq!(code(shop.payments.hear(&headers, body.as_bytes()).await), "webhook_not_verified");

    assert_eq!(shop.state(order).await, "pending");
    shop.void(order).await.unwrap();
    shop.audit().await;
}

async fn the_sandbox_of_this_process_carries_its_webhooks(db: TestDb) {
    let shop = shop(&db).await;
    // A shop on the same tables whose provider is the sandbox of its process.
    let settings = Settings {
        sandbox: sandbox::Settings { announce: sandbox::Announcing::All, ..Default::default() },
        ..Settings::default()
    };
    let payments = Payments::new(Needs { db: shop.db.clone(), settings, provider: None }).unwrap();
    let runner = payments::runner(&payments).unwrap();
    let tokens = ["tok_success", "tok_webhook_twice", "tok_webhook_late", "tok_timeout"];
    let orders = tokens.map(|token| (token, shop.order()));
    for (token, order) in orders {
        let ask = contracts::payments::Authorise {
            order,
            customer: shop.customer(),
            total: euros(12),
            token: token.into(),
        };
        payments.authorise(&ask).await.unwrap();
        payments.capture(order).await.unwrap();
    }

    for _ in 0..3 {
        runner.run_due().await.unwrap();
        shop.clock.forward(Duration::from_secs(31));
    }

    for (token, order) in orders {
        assert_eq!(
            (shop.state(order).await, shop.charges(order).await),
            ("captured".into(), vec![ChargeState::Captured]),
            "{token}"
        );
    }
    assert_eq!(shop.moody.asks.load(Ordering::SeqCst), 0, "all went to the other sandbox");
    let dead: kernel::Result<Vec<jobs::JobView>> =
        db::read!(shop.db, async |tx| { jobs::dead(tx, 10).await });
    assert_eq!(dead.unwrap().len(), 0);
    shop.audit().await;
}
