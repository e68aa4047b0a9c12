//! From an attempt to its outcome: ask the provider, or ask after what it did,
//! and save what it says.

use contracts::payments::PaymentEvent;
use db::Tx;
use kernel::{AttemptId, Error, RefundId, Result};

use super::Payments;
use crate::{
    error::outcome_unknown,
    model::{Attempt, AttemptKind, AttemptState, Payment, arrow, entries},
    provider::{Change, Charge, Outcome},
    store,
};

/// An attempt that has its outcome.
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
        db::write!(self.db, async |tx| {
            tx.repeatable();
            save(tx, attempt, outcome.as_ref()).await
        })
    }
}

/// Saves an outcome in the transaction: the attempt, the payment, the books and
/// the news of it. Of several who learnt of it the first saves it; without an
/// outcome it only looks.
pub async fn save(tx: &mut Tx, asked: &Attempt, outcome: Option<&Outcome>) -> Result<Settled> {
    let order = asked.order_id;
    let gone = || Error::internal(format!("{} of {order} or its payment is not there", asked.key));
    let undone = store::lock_gate(tx, order).await?.undone;
    let now = tx.world().now();
    let ended = match outcome {
        Some(Outcome::Done { reference }) => {
            store::end_attempt(tx, asked.key, AttemptState::Done, reference, now).await?
        }
        Some(Outcome::Declined { code }) => {
            store::end_attempt(tx, asked.key, AttemptState::Declined, code, now).await?
        }
        Some(Outcome::Unknown { .. }) | None => None,
    };
    let (attempt, moved) = match ended {
        Some(attempt) => {
            let moved = follow(tx, &attempt).await?;
            (attempt, moved)
        }
        None => (store::attempt_by_key(tx, asked.key).await?.ok_or_else(gone)?, None),
    };
    let payment = match moved {
        Some(payment) => payment,
        None => store::find_payment(tx, order).await?.ok_or_else(gone)?,
    };
    Ok(Settled { attempt, payment, undone })
}

/// What follows from an outcome that was just saved; returns the payment if it
/// moved.
async fn follow(tx: &mut Tx, attempt: &Attempt) -> Result<Option<Payment>> {
    let Some(arrow) = arrow(attempt.kind, attempt.state) else {
        return Ok(None);
    };
    let now = tx.world().now();
    let Some(payment) = store::advance(tx, attempt, arrow, now).await? else {
        let (from, to) = arrow;
        let found = store::find_payment(tx, attempt.order_id).await?;
        let is = found.map_or("not there".into(), |payment| {
            format!("{} over {}", payment.state, payment.money(payment.amount))
        });
        let message = format!(
            "the payment of {} is {is}, so {} cannot go from {from} to {to}",
            attempt.order_id,
            attempt.money()
        );
        return Err(Error::internal(message));
    };
    if attempt.state == AttemptState::Done {
        for (account, amount) in entries(attempt.kind, attempt.amount) {
            // Of an order that costs nothing there is nothing to book.
            if amount != 0 {
                store::book(tx, attempt, account, amount, now).await?;
            }
        }
        if attempt.kind == AttemptKind::Refund && attempt.amount > 0 {
            store::insert_refund(tx, RefundId::new(tx.world()), attempt, now).await?;
        }
    }
    let event = PaymentEvent {
        payment: payment.id,
        order: payment.order_id,
        state: payment.state,
        amount: payment.money(payment.amount),
        version: payment.version,
    };
    bus::outbox::add(tx, &event).await?;
    Ok(Some(payment))
}
