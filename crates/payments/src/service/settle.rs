//! From an attempt to its outcome: ask the provider, or ask after what it did,
//! and save what it says.

use std::collections::BTreeMap;

use contracts::payments::{PaymentEvent, PaymentState};
use db::{Db, Gather, Tx};
use kernel::{AttemptId, Error, OrderId, RefundId, Result};

use super::Payments;
use crate::{
    error::outcome_unknown,
    model::{Attempt, AttemptKind, AttemptState, Payment, arrow, entries},
    provider::{Change, Charge, Outcome},
    store,
};

/// An attempt that has its outcome.
#[derive(Clone)]
pub struct Settled {
    /// With its outcome.
    pub attempt: Attempt,
    /// The payment as it is after it.
    pub payment: Payment,
    /// Whether the order was undone meanwhile.
    pub undone: bool,
}

impl Payments {
    /// Brings an attempt to its outcome. One that is not `new` may have reached
    /// the provider already, so it is asked after first; what never arrived is
    /// sent again, with the same key. Fails with `payment_outcome_unknown`
    /// when the outcome cannot be learnt now.
    pub(super) async fn settle(&self, attempt: &Attempt, new: bool) -> Result<Settled> {
        if attempt.state != AttemptState::Pending {
            return self.save(attempt, None).await;
        }
        let before = if new { None } else { self.ask_after(attempt).await? };
        let outcome = match before {
            Some(outcome) => outcome,
            None => self.send(attempt).await,
        };
        let outcome = match outcome {
            Outcome::Unknown { .. } if self.db.world().planted("silence_is_a_refusal") => {
                Outcome::Declined { code: "card_declined".into() }
            }
            Outcome::Unknown { why } => {
                tracing::warn!(order.id = %attempt.order_id, kind = %attempt.kind, why, "the provider gave no answer");
                let found = self.ask_after(attempt).await?;
                found.ok_or_else(|| outcome_unknown(attempt.order_id, &why))?
            }
            clear => clear,
        };
        self.save(attempt, Some(outcome)).await
    }

    async fn send(&self, attempt: &Attempt) -> Outcome {
        let world = self.db.world();
        let key = if world.planted("retry_with_a_new_key") { AttemptId::new(world) } else { attempt.key };
        let amount = attempt.money();
        let change = || Change { key, reference: attempt.reference.clone().unwrap_or_default(), amount };
        let charge = || Charge { key, order: attempt.order_id, amount, token: attempt.token.clone() };
        let asking = async {
            match attempt.kind {
                AttemptKind::Authorise => self.provider.authorise(&charge()).await,
                AttemptKind::Capture => self.provider.capture(&change()).await,
                AttemptKind::Void => self.provider.void(&change()).await,
                AttemptKind::Refund => self.provider.refund(&change()).await,
            }
        };
        let answer = self.db.world().timeout(self.settings.provider_timeout, asking).await;
        answer.unwrap_or_else(|| Outcome::Unknown { why: "no answer in time".into() })
    }

    /// What became of an attempt, by its key; nothing if it never arrived.
    async fn ask_after(&self, attempt: &Attempt) -> Result<Option<Outcome>> {
        let asking = self.provider.find(attempt.key);
        let answer = self.db.world().timeout(self.settings.provider_timeout, asking).await;
        match answer {
            Some(Ok(Some(Outcome::Unknown { why }))) => Err(outcome_unknown(attempt.order_id, &why)),
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(error)) => Err(outcome_unknown(attempt.order_id, &error.chain())),
            None => Err(outcome_unknown(attempt.order_id, "no answer in time")),
        }
    }

    /// Saves an outcome, unless the attempt has one, and what follows from it.
    async fn save(&self, attempt: &Attempt, outcome: Option<Outcome>) -> Result<Settled> {
        self.outcomes.call((attempt.clone(), outcome)).await
    }
}

/// An attempt, and what the provider said of it.
pub type Told = (Attempt, Option<Outcome>);

/// Gathers outcomes that are to be saved.
pub fn gather(db: &Db, most: usize) -> Gather<Told, Settled> {
    let gather = Gather::writing(db, most, |tx, told: &[Told]| {
        Box::pin(async move {
            tx.repeatable();
            Ok(save(tx, told).await?.into_iter().map(Ok).collect())
        })
    });
    gather.one_of_each(|(attempt, _)| attempt.order_id)
}

/// Saves outcomes in the transaction, of no order two: each with the attempt,
/// the payment, the books and the news of it. Of several who learnt of one the
/// first saves it; without an outcome it only looks.
pub async fn save(tx: &mut Tx, told: &[Told]) -> Result<Vec<Settled>> {
    let gates = store::lock_gates(tx, told.iter().map(|(asked, _)| asked.order_id)).await?;
    let now = tx.world().now();
    let clear = told.iter().filter_map(|(asked, outcome)| match outcome.as_ref()? {
        Outcome::Done { reference } => Some((asked, AttemptState::Done, reference.as_str())),
        Outcome::Declined { code } => Some((asked, AttemptState::Declined, code.as_str())),
        Outcome::Unknown { .. } => None,
    });
    let mut ended = store::end_attempts(tx, &clear.collect::<Vec<_>>(), now).await?;
    let mut payments = follow(tx, ended.values()).await?;
    let unmoved = told.iter().map(|(asked, _)| asked.order_id).filter(|order| !payments.contains_key(order));
    let unmoved = store::find_payments(tx, unmoved.collect::<Vec<_>>()).await?;
    payments.extend(unmoved);
    let mut settled = Vec::with_capacity(told.len());
    for (asked, _) in told {
        let order = asked.order_id;
        let attempt = match ended.remove(&asked.key) {
            Some(attempt) => Some(attempt),
            None => store::attempt_by_key(tx, asked.key).await?,
        };
        let (Some(attempt), Some(payment)) = (attempt, payments.remove(&order)) else {
            return Err(Error::internal(format!("{} of {order} or its payment is not there", asked.key)));
        };
        settled.push(Settled { attempt, payment, undone: gates[&order].undone });
    }
    Ok(settled)
}

/// What follows from outcomes that were just saved; returns the payments that
/// moved.
async fn follow(
    tx: &mut Tx,
    ended: impl Iterator<Item = &Attempt> + Clone,
) -> Result<BTreeMap<OrderId, Payment>> {
    let now = tx.world().now();
    let moves: Vec<_> =
        ended.clone().filter_map(|attempt| Some((attempt, arrow(attempt.kind, attempt.state)?))).collect();
    let moved = store::advance(tx, &moves, now).await?;
    if let Some((attempt, arrow)) = moves.iter().find(|(attempt, _)| !moved.contains_key(&attempt.order_id)) {
        return Err(stands_elsewhere(tx, attempt, *arrow).await?);
    }
    let done: Vec<&Attempt> = ended.filter(|attempt| attempt.state == AttemptState::Done).collect();
    let booked = done.iter().flat_map(|attempt| {
        entries(attempt.kind, attempt.amount).into_iter().map(|(account, amount)| (*attempt, account, amount))
    });
    // Of an order that costs nothing there is nothing to book.
    let booked: Vec<_> = booked.filter(|(_, _, amount)| *amount != 0).collect();
    store::book(tx, &booked, now).await?;
    for attempt in done.iter().filter(|attempt| attempt.kind == AttemptKind::Refund && attempt.amount > 0) {
        store::insert_refund(tx, RefundId::new(tx.world()), attempt, now).await?;
    }
    let event = |payment: &Payment| PaymentEvent {
        payment: payment.id,
        order: payment.order_id,
        state: payment.state,
        amount: payment.money(payment.amount),
        version: payment.version,
    };
    let events: Vec<PaymentEvent> = moved.values().map(event).collect();
    bus::outbox::add_many(tx, events.iter().map(|event| (event, None))).await?;
    Ok(moved)
}

/// What is said of a payment that does not stand where an outcome finds it.
async fn stands_elsewhere(
    tx: &mut Tx,
    attempt: &Attempt,
    (from, to): (PaymentState, PaymentState),
) -> Result<Error> {
    let found = store::find_payment(tx, attempt.order_id).await?;
    let is = found.map_or("not there".into(), |payment| {
        format!("{} over {}", payment.state, payment.money(payment.amount))
    });
    Ok(Error::internal(format!(
        "the payment of {} is {is}, so {} cannot go from {from} to {to}",
        attempt.order_id,
        attempt.money()
    )))
}
