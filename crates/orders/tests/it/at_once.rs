//! Many at once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::http::StatusCode;
use testkit::{TestDb, both_databases};
use tokio::sync::Notify;

use crate::{
    fakes::{Fault, Gate},
    shop::{Shop, purchase},
};

both_databases!(
    one_key_sent_fifty_times_at_once_is_one_order,
    of_many_buyers_as_many_get_a_mug_as_there_are,
    two_workers_on_one_order_have_one_effect,
    a_worker_that_lost_its_lease_records_nothing,
    the_sweep_and_somebody_who_changes_an_order_do_not_wait_for_each_other,
);

async fn one_key_sent_fifty_times_at_once_is_one_order(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();

    let all = (0..50).map(|_| {
        let ann = ann.clone();
        tokio::spawn(async move {
            ann.post("/orders", &[("idempotency-key", "one")], purchase(&[("mug", 1)], "tok_success")).await
        })
    });
    let mut answers = Vec::new();
    for answer in all.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    shop.settle().await;

    assert!(answers.iter().all(|answer| answer.status == StatusCode::ACCEPTED), "{:?}", answers[0].body);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    let first = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).count();
    assert_eq!((first, shop.left("mug")), (1, 9));
    assert_eq!(ann.get("/orders").await.body["items"].as_array().unwrap().len(), 1);
    shop.audit().await;
}

async fn of_many_buyers_as_many_get_a_mug_as_there_are(db: TestDb) {
    let shop = Shop::start(db).await;

    let buyers = (0..30).map(|_| {
        let buyer = shop.customer();
        tokio::spawn(async move { (buyer.order_a_mug().await, buyer) })
    });
    let mut placed = Vec::new();
    for buyer in buyers.collect::<Vec<_>>() {
        placed.push(buyer.await.unwrap());
    }
    let (one, other) = (shop.run_beside(), shop.run_beside());
    one.await.unwrap();
    other.await.unwrap();
    shop.settle().await;

    let mut outcomes = BTreeMap::<(String, String), usize>::new();
    for (order, buyer) in &placed {
        let order = buyer.see(order).await;
        let (state, reason) = order.outcome();
        *outcomes.entry((state.into(), reason.into())).or_default() += 1;
    }
    let (cancelled, confirmed) =
        (("cancelled".into(), "out_of_stock".into()), ("confirmed".into(), "".into()));
    assert_eq!(outcomes, BTreeMap::from([(cancelled, 20), (confirmed, 10)]));
    assert_eq!(shop.left("mug"), 0);
    shop.audit().await;
}

async fn two_workers_on_one_order_have_one_effect(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    for (sold, step) in ["hold", "screen", "authorise", "commit", "capture"].into_iter().enumerate() {
        let placed = ann.order_a_mug().await;
        let gate = Gate::new();
        let fault = Fault::After(gate.clone());
        match step {
            "hold" | "commit" => shop.warehouse.wire.fault(step, fault),
            _ => shop.bank.wire.fault(step, fault),
        }
        let frozen = shop.run_beside();
        gate.reached().await;

        shop.take_leases().await;
        shop.settle().await;
        assert_eq!(ann.see(&placed).await.outcome(), ("confirmed", ""), "{step}");
        let version = ann.see(&placed).await.body["version"].clone();
        gate.open();
        frozen.await.unwrap();
        shop.settle().await;

        let order = ann.see(&placed).await;
        assert_eq!((order.outcome(), &order.body["version"]), (("confirmed", ""), &version), "{step}");
        assert_eq!(order.history(), ["placed", "held", "authorised", "committed", "confirmed"], "{step}");
        assert_eq!(shop.left("mug"), 9 - i64::try_from(sold).unwrap(), "{step}");
        assert_eq!(shop.dead().await, 0, "{step}");
        shop.audit().await;
    }
}

async fn a_worker_that_lost_its_lease_records_nothing(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;
    let (first, second) = (Gate::new(), Gate::new());
    shop.bank.wire.fault("authorise", Fault::After(first.clone()));
    shop.bank.wire.fault("authorise", Fault::After(second.clone()));
    let frozen = shop.run_beside();
    first.reached().await;
    shop.take_leases().await;
    let taken_over = shop.run_beside();
    second.reached().await;

    let before = ann.see(&placed).await;
    first.open();
    frozen.await.unwrap();

    // Nobody else moved the order, and yet the one without the lease may not.
    assert_eq!(ann.see(&placed).await.body, before.body);
    second.open();
    taken_over.await.unwrap();
    shop.settle().await;
    assert_eq!(ann.see(&placed).await.outcome(), ("confirmed", ""));
    shop.audit().await;
}

/// The job of an order, as somebody adds it who has changed the order.
#[derive(serde::Serialize, serde::Deserialize)]
struct Fulfil {
    order: kernel::OrderId,
}

impl jobs::Job for Fulfil {
    const NAME: &'static str = "orders.fulfil";
    const QUEUE: &'static str = "fulfil";
    fn unique(&self) -> Option<String> {
        Some(self.order.to_string())
    }
}

async fn the_sweep_and_somebody_who_changes_an_order_do_not_wait_for_each_other(db: TestDb) {
    let shop = Shop::start(db).await;
    let placed = shop.customer().order_a_mug().await;
    shop.lose_jobs().await;
    shop.clock.forward(Duration::from_secs(61));
    let (changed, runs, order) = (Notify::new(), AtomicUsize::new(0), placed.id());

    let change = async {
        let change: kernel::Result<()> = db::write!(shop.db, async |tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            // Whoever waits for somebody else gives up before a deadlock is looked for.
            let limit = "SELECT set_config('lock_timeout', '500ms', TRUE)";
            let _: Option<(String,)> = db::query_for("SELECT 'none'", limit).fetch_optional(tx).await?;
            let change = db::query("UPDATE orders SET version = version + 1 WHERE id = $1");
            change.bind(order).execute(tx).await?;
            changed.notify_one();
            // On SQLite, whoever writes waits before his transaction begins.
            let waits = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))";
            while db::query_for("SELECT 1", waits).fetch_one::<(i64,)>(tx).await? == (0,) {
                tokio::task::yield_now().await;
            }
            let job = jobs::add(tx, &Fulfil { order }).await?;
            db::query("UPDATE orders SET job_id = $2 WHERE id = $1")
                .bind(order)
                .bind(job)
                .execute(tx)
                .await?;
            Ok(())
        });
        change.unwrap();
    };
    let sweep = async {
        changed.notified().await;
        shop.orders.sweep().await.unwrap()
    };
    let ((), found) = tokio::join!(change, sweep);

    assert_eq!((runs.into_inner(), found), (1, 0));
    shop.settle().await;
    assert_eq!(shop.staff().see(&placed).await.outcome(), ("confirmed", ""));
    shop.audit().await;
}
