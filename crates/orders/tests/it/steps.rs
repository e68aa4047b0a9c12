//! Each step once, twice, stopped half way, and stuck.

use std::time::Duration;

use testkit::{TestDb, both_databases};

use crate::{
    fakes::{Fault, Gate},
    shop::{Person, Reply, Shop},
};

both_databases!(
    a_step_whose_ask_is_lost_is_asked_again,
    a_step_whose_answer_is_lost_has_one_effect,
    a_process_that_dies_after_a_step_leaves_it_to_another,
    an_undo_whose_answer_is_lost_has_one_effect,
    a_process_that_dies_after_an_undo_leaves_it_to_another,
    an_outage_of_a_day_is_outlasted,
    an_order_whose_steps_never_succeed_stays_where_it_is,
    a_hold_that_expired_before_the_commit_is_taken_anew_or_refused,
    an_order_that_stands_still_is_found,
    an_answer_that_nobody_foresaw_is_left_to_a_person,
    a_refusal_does_not_speak_for_an_ask_that_is_still_on_its_way,
);

const STEPS: [&str; 5] = ["hold", "screen", "authorise", "commit", "capture"];
const UNDOS: [&str; 3] = ["restock", "void", "release"];
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

fn fault(shop: &Shop, step: &'static str, fault: Fault) {
    match step {
        "hold" | "commit" | "release" | "restock" => shop.warehouse.wire.fault(step, fault),
        _ => shop.bank.wire.fault(step, fault),
    }
}

async fn confirmed_once(shop: &Shop, ann: &Person, placed: &Reply, context: &str) {
    let order = ann.see(placed).await;
    assert_eq!(order.outcome(), ("confirmed", ""), "{context}");
    assert_eq!(order.history(), ["placed", "held", "authorised", "committed", "confirmed"], "{context}");
    assert_eq!(shop.bank.wire.look(|books| books.captures[&placed.id()]), 1, "{context}");
    shop.audit().await;
}

async fn a_step_whose_ask_is_lost_is_asked_again(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    for (sold, step) in STEPS.into_iter().enumerate() {
        fault(&shop, step, Fault::AskLost);
        fault(&shop, step, Fault::AskLost);
        let placed = ann.order_a_mug().await;
        shop.settle().await;

        confirmed_once(&shop, &ann, &placed, step).await;
        let tried = ann.see(&placed).await.steps();
        let of_step: Vec<_> = tried.iter().filter(|tried| tried.starts_with(step)).cloned().collect();
        assert_eq!(of_step, [format!("{step} failed"), format!("{step} failed"), format!("{step} done")]);
        assert_eq!(shop.left("mug"), 9 - i64::try_from(sold).unwrap());
    }
}

async fn a_step_whose_answer_is_lost_has_one_effect(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    for (sold, step) in STEPS.into_iter().enumerate() {
        fault(&shop, step, Fault::AnswerLost);
        let placed = ann.order_a_mug().await;
        shop.settle().await;

        confirmed_once(&shop, &ann, &placed, step).await;
        assert_eq!(shop.left("mug"), 9 - i64::try_from(sold).unwrap());
    }
}

async fn a_process_that_dies_after_a_step_leaves_it_to_another(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    for (sold, step) in STEPS.into_iter().enumerate() {
        let placed = ann.order_a_mug().await;
        dies_in(&shop, step).await;
        shop.settle().await;

        confirmed_once(&shop, &ann, &placed, step).await;
        let steps = ann.see(&placed).await.body["steps"].clone();
        let died = |tried: &&serde_json::Value| tried["error"] == "interrupted";
        let died: Vec<_> = steps.as_array().unwrap().iter().filter(died).collect();
        assert_eq!((died.len(), &died[0]["step"], &died[0]["state"]), (1, &step.into(), &"failed".into()));
        assert_eq!(shop.left("mug"), 9 - i64::try_from(sold).unwrap());
    }
}

/// Runs until the step has had its effect, then dies before it is recorded.
async fn dies_in(shop: &Shop, step: &'static str) {
    let gate = Gate::new();
    fault(shop, step, Fault::After(gate.clone()));
    let running = shop.run_beside();
    gate.reached().await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    // Longer than the lease, which nobody renews any more.
    shop.clock.forward(Duration::from_secs(60));
    shop.take_leases().await;
}

async fn an_undo_whose_answer_is_lost_has_one_effect(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    for step in UNDOS {
        fault(&shop, step, Fault::AnswerLost);
        let placed = ann.order(&[("mug", 1)], "tok_capture_refused").await;
        shop.settle().await;

        assert_eq!(ann.see(&placed).await.outcome(), ("cancelled", "payment_failed"), "{step}");
        assert_eq!((shop.left("mug"), shop.held("mug")), (10, 0), "{step}");
        shop.audit().await;
    }
}

async fn a_process_that_dies_after_an_undo_leaves_it_to_another(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    for step in UNDOS {
        let placed = ann.order(&[("mug", 1)], "tok_capture_refused").await;
        dies_in(&shop, step).await;
        shop.settle().await;

        assert_eq!(ann.see(&placed).await.outcome(), ("cancelled", "payment_failed"), "{step}");
        assert_eq!((shop.left("mug"), shop.held("mug")), (10, 0), "{step}");
        shop.audit().await;
    }
}

async fn an_outage_of_a_day_is_outlasted(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;
    for _ in 0..600 {
        fault(&shop, "authorise", Fault::AskLost);
    }

    // Chance may halve each wait.
    for _ in 0..24 * 24 {
        shop.run().await;
        shop.clock.forward(LONGEST_WAIT);
    }
    assert_eq!((ann.see(&placed).await.outcome(), shop.dead().await), (("held", ""), 0));
    shop.bank.wire.heal("authorise");
    shop.settle().await;

    confirmed_once(&shop, &ann, &placed, "after a day").await;
}

async fn an_order_whose_steps_never_succeed_stays_where_it_is(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;
    for _ in 0..11 {
        fault(&shop, "capture", Fault::AskLost);
    }
    shop.run().await;
    shop.leave_attempts(10).await;
    let mut tries = 0;
    while shop.pending().await > 0 {
        shop.clock.forward(LONGEST_WAIT);
        shop.run().await;
        tries += 1;
    }
    assert_eq!(tries, 10, "the last one is not one too early or too late");

    let order = ann.see(&placed).await;
    assert_eq!((order.outcome(), shop.dead().await), (("committed", ""), 1));
    assert_eq!(order.body["steps"][4]["error"], "service_unreachable");
    shop.clock.forward(Duration::from_secs(3600));
    assert_eq!(shop.orders.sweep().await.unwrap(), 0, "a dead letter is a person's business");

    let dead: kernel::Result<Vec<_>> = db::read!(shop.db, async |tx| { jobs::dead(tx, 1).await });
    let dead = dead.unwrap()[0].id;
    let retried: kernel::Result<()> = db::write!(shop.db, async |tx| { jobs::retry(tx, dead).await });
    retried.unwrap();
    shop.settle().await;
    confirmed_once(&shop, &ann, &placed, "repeated by a person").await;
}

async fn a_hold_that_expired_before_the_commit_is_taken_anew_or_refused(db: TestDb) {
    let shop = Shop::start(db).await;
    let (ann, bob) = (shop.customer(), shop.customer());
    let mug = ann.order_a_mug().await;
    let cup = ann.order(&[("cup", 1)], "tok_success").await;
    fault(&shop, "commit", Fault::AskLost);
    fault(&shop, "commit", Fault::AskLost);
    shop.run().await;
    // Both holds expire before the next attempt, and Bob gets the last cup.
    shop.clock.forward(Duration::from_secs(16 * 60));
    shop.warehouse.wire.look(|shelves| shelves.on_hand.insert("cup".parse().unwrap(), 0));

    shop.settle().await;

    assert_eq!(ann.see(&mug).await.outcome(), ("confirmed", ""));
    let order = ann.see(&cup).await;
    assert_eq!(order.outcome(), ("cancelled", "out_of_stock"));
    assert_eq!(order.steps().last().unwrap(), "release done");
    assert!(!shop.bank.wire.look(|books| books.promised(cup.id())), "the promise was given back");
    drop(bob);
    shop.audit().await;
}

async fn an_order_that_stands_still_is_found(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;
    let review = ann.order(&[("mug", 1)], "tok_review").await;
    fault(&shop, "capture", Fault::AskLost);
    shop.run().await;
    shop.lose_jobs().await;

    assert_eq!(shop.orders.sweep().await.unwrap(), 0, "it has not stood still for long");
    shop.clock.forward(Duration::from_secs(61));
    assert_eq!(shop.orders.sweep().await.unwrap(), 1);
    assert_eq!(shop.orders.sweep().await.unwrap(), 0, "its job is back");
    shop.settle().await;

    assert_eq!(ann.see(&placed).await.outcome(), ("confirmed", ""));
    assert_eq!(ann.see(&review).await.outcome(), ("in_review", ""));
    ann.cancel(&review).await;
    shop.settle().await;
    shop.audit().await;
}

async fn an_answer_that_nobody_foresaw_is_left_to_a_person(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let placed = ann.order_a_mug().await;
    fault(&shop, "capture", Fault::AnswerLost);
    shop.run().await;
    // The bank has lost the payment: nobody knows what that means.
    let lost = shop.bank.wire.look(|books| books.payments.remove(&placed.id()).unwrap());
    shop.settle().await;

    let order = ann.see(&placed).await;
    assert_eq!((order.outcome(), shop.dead().await), (("committed", ""), 1));
    assert_eq!(order.body["steps"][5]["error"], "no_payment");
    shop.bank.wire.look(|books| books.payments.insert(placed.id(), lost));
    ann.cancel(&placed).await;
    shop.settle().await;
    assert_eq!(ann.see(&placed).await.outcome().0, "cancelled");
    shop.audit().await;
}

/// A worker is gone with an ask on its way; a new job asks again and is
/// refused; then the first ask arrives after all. What it did is undone.
async fn a_refusal_does_not_speak_for_an_ask_that_is_still_on_its_way(db: TestDb) {
    let shop = Shop::start(db).await;
    let ann = shop.customer();
    let pieces =
        |left| shop.warehouse.wire.look(|shelves| shelves.on_hand.insert("cup".parse().unwrap(), left));
    for (step, undo) in [("hold", "release"), ("commit", "restock")] {
        let placed = ann.order(&[("cup", 1)], "tok_success").await;
        let (asked, refused) = (Gate::new(), Gate::new());
        fault(&shop, step, Fault::OnItsWay(asked.clone()));
        fault(&shop, step, Fault::After(refused.clone()));
        let gone = shop.run_beside();
        asked.reached().await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        // The job is lost, the hold expires and the cup is gone.
        shop.lose_jobs().await;
        shop.clock.forward(Duration::from_secs(16 * 60));
        pieces(0);
        assert_eq!(shop.orders.sweep().await.unwrap(), 1);
        let running = shop.run_beside();
        refused.reached().await;

        pieces(1);
        assert_eq!(shop.warehouse.wire.late_calls_arrive(), ["ok"], "{step}");
        refused.open();
        running.await.unwrap();
        shop.settle().await;

        let order = ann.see(&placed).await;
        assert_eq!(order.outcome(), ("cancelled", "out_of_stock"), "{step}");
        let steps = order.steps();
        let of_step: Vec<_> = steps.iter().filter(|tried| tried.starts_with(step)).cloned().collect();
        assert_eq!(of_step, [format!("{step} undone"), format!("{step} refused")]);
        assert!(steps.contains(&format!("{undo} done")), "{steps:?}");
        assert_eq!((shop.left("cup"), shop.held("cup")), (1, 0), "{step}");
        shop.audit().await;
    }
}
