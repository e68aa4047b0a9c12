//! Whether the books of payments are right, and agree with the sandbox's.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use contracts::{Deed, payments::PaymentState};
use db::{Db, Tx, query};
use kernel::{AttemptId, Currency, Money, OrderId, Result, Time};

use crate::{
    model::{AttemptKind, Payment, amounts_in},
    sandbox::{self, ChargeState},
    store,
};

/// How many payments are looked at in one go.
const AT_ONCE: i64 = 10_000;
/// Before all others.
const NO_ORDER: OrderId = OrderId::from_uuid(kernel::uuid::Uuid::nil());
/// Behind all others.
const LAST_ORDER: OrderId = OrderId::from_uuid(kernel::uuid::Uuid::max());
/// How many breaches of one kind are told of: the first hundred say enough.
const MOST_TOLD: i64 = 100;
/// How long an attempt may be without an outcome, and a promise to an order
/// that was undone may stand.
const LONGEST_OPEN: Duration = Duration::from_secs(15 * 60);

/// Every breach of what must always be true of payments, each a sentence. An
/// order that the provider is being asked about at this moment is passed by,
/// unless that takes too long.
pub async fn audit(db: &Db) -> Result<Vec<String>> {
    breaches(&mut db.picture().await?).await
}

/// The same, seen in a picture of the database.
pub async fn breaches(tx: &mut Tx) -> Result<Vec<String>> {
    let before = tx.world().now() - LONGEST_OPEN;
    let mut found = general(tx, before).await?;
    let with_sandbox = sandbox::any_charge(tx).await?;
    let (mut after, told) = (NO_ORDER, found.len());
    let mut overall: BTreeMap<Currency, i64> = BTreeMap::new();
    while after < LAST_ORDER && found.len() - told < MOST_TOLD as usize {
        let payments = store::payments_after(tx, after, AT_ONCE).await?;
        let last = payments.last().map_or(LAST_ORDER, |payment| payment.order_id);
        let range = (after, last);
        for (order, key, currency, sum) in unbalanced(tx, range).await? {
            found.push(format!("the entries of {key} of {order} add up to {sum}, not to nothing"));
            *overall.entry(currency).or_default() += sum;
        }
        let mut owed: HashMap<_, _> = store::owed_between(tx, range).await?.into_iter().collect();
        let mut refunds: HashMap<_, _> = store::refunded_between(tx, range).await?.into_iter().collect();
        let mut charges: HashMap<OrderId, Vec<(ChargeState, i64)>> = HashMap::new();
        let mut unsettled = HashSet::new();
        if with_sandbox {
            for (order, state, amount) in sandbox::charges_between(tx, range).await? {
                charges.entry(order).or_default().push((state, amount));
            }
            unsettled =
                store::unsettled_between(tx, range).await?.into_iter().map(|(order,)| order).collect();
        }
        for payment in &payments {
            let order = payment.order_id;
            let owed = owed.remove(&order).unwrap_or(0);
            let refunded = refunds.remove(&order).unwrap_or(0);
            found.extend(books(payment, owed, refunded));
            let theirs = charges.remove(&order).unwrap_or_default();
            if with_sandbox && !unsettled.contains(&order) {
                found.extend(provider(payment, &theirs));
            }
        }
        found.extend(
            owed.into_keys().map(|order| format!("the ledger has entries of {order}, which has no payment")),
        );
        found.extend(
            refunds.into_keys().map(|order| format!("there are refunds of {order}, which has no payment")),
        );
        after = last;
    }
    // What is balanced adds nothing, so the rest adds up to what the whole ledger does.
    let off = overall.into_iter().filter(|(_, sum)| after == LAST_ORDER && *sum != 0);
    found
        .extend(off.map(|(currency, sum)| format!("the ledger adds up to {sum} {currency}, not to nothing")));
    Ok(found)
}

/// The payments of the orders behind the given one in the order of the orders'
/// ids, at most so many, as the audit of the whole shop needs them; none at the end.
pub async fn facts(
    tx: &mut Tx,
    after: Option<OrderId>,
    most: i64,
) -> Result<Vec<contracts::payments::Payment>> {
    let found: Vec<Payment> = store::payments_after(tx, after.unwrap_or(NO_ORDER), most).await?;
    Ok(found.into_iter().map(Into::into).collect())
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
    for (order, reference) in charges_without_payment(tx).await? {
        breaches.push(format!("the provider has the charge {reference} of {order}, which has no payment"));
    }
    Ok(breaches)
}

/// A payment against its ledger and its refunds.
fn books(payment: &Payment, owed: i64, refunds: i64) -> Vec<String> {
    let Payment { order_id: order, captured, refunded, amount, state, .. } = payment;
    let mut breaches = Vec::new();
    if refunded > captured {
        breaches.push(format!("{refunded} of {order} are refunded, but only {captured} captured"));
    } else if (*captured, *refunded) != amounts_in(*state, *amount) {
        breaches.push(format!(
            "the payment of {order} is {state}, but {captured} of {amount} captured and {refunded} refunded"
        ));
    }
    if owed != captured - refunded {
        breaches.push(format!(
            "the ledger says that {owed} of {order} is with the provider, its payment says otherwise"
        ));
    }
    if refunds != *refunded {
        breaches.push(format!("the refunds of {order} add up to {refunds}, not to {refunded}"));
    }
    breaches
}

/// A payment against the provider's books.
fn provider(payment: &Payment, theirs: &[(ChargeState, i64)]) -> Option<String> {
    let order = payment.order_id;
    let expected = match payment.state {
        PaymentState::Authorised => Some(ChargeState::Authorised),
        PaymentState::Captured => Some(ChargeState::Captured),
        PaymentState::Voided => Some(ChargeState::Voided),
        PaymentState::Refunded => Some(ChargeState::Refunded),
        PaymentState::Pending | PaymentState::Declined => None,
    };
    let ours: Vec<(ChargeState, i64)> = expected.map(|state| (state, payment.amount)).into_iter().collect();
    (theirs != ours).then(|| format!("the provider's books say {theirs:?} of {order}, ours say {ours:?}"))
}

/// Entries of the orders of a range that belong together and are not balanced.
/// Of a range, because the groups are sorted: those of all orders would be
/// sorted outside of memory.
async fn unbalanced(
    tx: &mut Tx,
    (after, last): (OrderId, OrderId),
) -> Result<Vec<(OrderId, AttemptId, Currency, i64)>> {
    query(
        "SELECT order_id, attempt_key, currency, CAST(SUM(amount) AS BIGINT) FROM ledger
         WHERE order_id > $1 AND order_id <= $2
         GROUP BY order_id, attempt_key, currency HAVING SUM(amount) <> 0
         ORDER BY order_id, attempt_key LIMIT $3",
    )
    .bind(after)
    .bind(last)
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

/// What the provider was asked for since then, with the key of each ask.
pub async fn deeds(tx: &mut Tx, since: Time) -> Result<Vec<Deed>> {
    let asked: Vec<(OrderId, AttemptKind, AttemptId, i64, Currency, Time)> = query(
        "SELECT order_id, kind, key, amount, currency, started_at FROM attempts WHERE started_at >= $1",
    )
    .bind(since)
    .fetch_all(tx)
    .await?;
    let payment = Deed::of("payments");
    let told = asked.into_iter().map(|(order, kind, key, amount, currency, at)| {
        payment(at, format!("{kind} of {} for {order} under the key {key}", Money::new(amount, currency)))
    });
    Ok(told.collect())
}
