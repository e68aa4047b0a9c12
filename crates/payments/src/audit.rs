//! Whether the books of payments are right, and agree with the sandbox's.

use std::time::Duration;

use contracts::payments::PaymentState;
use db::{Db, Tx, query};
use kernel::{AttemptId, Currency, OrderId, Result, Time};

use crate::{
    model::{Account, AttemptState, Payment, amounts_in},
    sandbox::{self, ChargeState},
    store,
};

/// How many payments are looked at in one picture.
const AT_ONCE: i64 = 200;
/// How many payments are told of at once.
const PAGE: i64 = 500;
/// Before all others.
const NO_ORDER: OrderId = OrderId::from_uuid(kernel::uuid::Uuid::nil());
/// How many breaches of one kind are told of: the first hundred say enough.
const MOST_TOLD: i64 = 100;
/// How long an attempt may be without an outcome, and a promise to an order
/// that was undone may stand.
const LONGEST_OPEN: Duration = Duration::from_secs(15 * 60);

/// Every breach of what must always be true of payments, each a sentence. An
/// order that the provider is being asked about at this moment is passed by,
/// unless that takes too long.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    let before = db.world().now() - LONGEST_OPEN;
    let general: Result<Vec<String>> = db::snapshot!(db, async |tx| { general(tx, before).await });
    let mut breaches = general?;
    let mut after = NO_ORDER;
    loop {
        let page: Result<(Option<OrderId>, Vec<String>)> = db::snapshot!(db, async |tx| {
            let payments = store::payments_after(tx, after, AT_ONCE).await?;
            let with_sandbox = sandbox::any_charge(tx).await?;
            let mut breaches = Vec::new();
            for payment in &payments {
                breaches.extend(one(tx, payment, with_sandbox).await?);
            }
            Ok((payments.last().map(|payment| payment.order_id), breaches))
        });
        let (last, found) = page?;
        breaches.extend(found);
        match last {
            Some(last) => after = last,
            None => return Ok(breaches),
        }
    }
}

/// The payments of the orders behind the given one in the order of the orders'
/// ids, at most 500, as the audit of the whole shop needs them; none at the end.
pub async fn facts(db: &Db, after: Option<OrderId>) -> Result<Vec<contracts::payments::Payment>> {
    let after = after.unwrap_or(NO_ORDER);
    let found: Result<Vec<Payment>> =
        db::read!(db, async |tx| { store::payments_after(tx, after, PAGE).await });
    Ok(found?.into_iter().map(Into::into).collect())
}

async fn general(tx: &mut Tx, before: Time) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for attempt in store::attempts_pending(tx, before, store::OLDEST_ATTEMPT, MOST_TOLD).await? {
        breaches.push(format!(
            "the {} of {} has had no outcome since {}",
            attempt.kind, attempt.order_id, attempt.started_at
        ));
    }
    for (_, order) in store::undone_but_promised(tx, before, store::OLDEST_ORDER, MOST_TOLD).await? {
        breaches.push(format!("{order} was undone, but its money is still promised"));
    }
    for (order, key, sum) in unbalanced(tx).await? {
        breaches.push(format!("the entries of {key} of {order} add up to {sum}, not to nothing"));
    }
    for (currency, sum) in overall(tx).await? {
        breaches.push(format!("the ledger adds up to {sum} {currency}, not to nothing"));
    }
    for (order, reference) in charges_without_payment(tx).await? {
        breaches.push(format!("the provider has the charge {reference} of {order}, which has no payment"));
    }
    Ok(breaches)
}

async fn one(tx: &mut Tx, payment: &Payment, with_sandbox: bool) -> Result<Vec<String>> {
    let order = payment.order_id;
    let mut breaches = Vec::new();
    if (payment.captured, payment.refunded) != amounts_in(payment.state, payment.amount) {
        let Payment { captured, refunded, amount, state, .. } = payment;
        breaches.push(format!(
            "the payment of {order} is {state}, but {captured} of {amount} captured and {refunded} refunded"
        ));
    }
    let ledger = store::ledger(tx, order).await?;
    let owed: i64 =
        ledger.iter().filter(|entry| entry.account == Account::Provider).map(|entry| entry.amount).sum();
    if owed != payment.captured - payment.refunded {
        breaches.push(format!(
            "the ledger says that {owed} of {order} is with the provider, its payment says otherwise"
        ));
    }
    let refunded: i64 = store::refunds(tx, order).await?.iter().map(|refund| refund.amount).sum();
    if refunded != payment.refunded {
        breaches.push(format!("the refunds of {order} add up to {refunded}, not to {}", payment.refunded));
    }
    let settled =
        store::attempts(tx, order).await?.iter().all(|attempt| attempt.state != AttemptState::Pending);
    if !with_sandbox || !settled {
        return Ok(breaches);
    }
    let charges = sandbox::charges_of(tx, order).await?;
    let expected = match payment.state {
        PaymentState::Authorised => Some(ChargeState::Authorised),
        PaymentState::Captured => Some(ChargeState::Captured),
        PaymentState::Voided => Some(ChargeState::Voided),
        PaymentState::Refunded => Some(ChargeState::Refunded),
        PaymentState::Pending | PaymentState::Declined => None,
    };
    let theirs: Vec<(ChargeState, i64)> =
        charges.iter().map(|charge| (charge.state, charge.amount)).collect();
    let ours: Vec<(ChargeState, i64)> = expected.map(|state| (state, payment.amount)).into_iter().collect();
    if theirs != ours {
        breaches.push(format!("the provider's books say {theirs:?} of {order}, ours say {ours:?}"));
    }
    Ok(breaches)
}

async fn unbalanced(tx: &mut Tx) -> Result<Vec<(OrderId, AttemptId, i64)>> {
    query(
        "SELECT order_id, attempt_key, CAST(SUM(amount) AS BIGINT) FROM ledger
         GROUP BY order_id, attempt_key, currency HAVING SUM(amount) <> 0
         ORDER BY order_id, attempt_key LIMIT $1",
    )
    .bind(MOST_TOLD)
    .fetch_all(tx)
    .await
}

async fn overall(tx: &mut Tx) -> Result<Vec<(Currency, i64)>> {
    query(
        "SELECT currency, CAST(SUM(amount) AS BIGINT) FROM ledger
         GROUP BY currency HAVING SUM(amount) <> 0 ORDER BY currency LIMIT $1",
    )
    .bind(MOST_TOLD)
    .fetch_all(tx)
    .await
}

async fn charges_without_payment(tx: &mut Tx) -> Result<Vec<(OrderId, String)>> {
    query(
        "SELECT c.order_id, c.reference FROM sandbox_charges c
         LEFT JOIN payments p ON p.order_id = c.order_id
         WHERE p.order_id IS NULL ORDER BY c.order_id, c.reference LIMIT $1",
    )
    .bind(MOST_TOLD)
    .fetch_all(tx)
    .await
}
