//! Getting the promise of the money.

use contracts::payments::{Authorise, Authorised, PaymentState};
use db::Tx;
use kernel::PaymentId;

use super::{Payments, Tried};
use crate::{
    AuthoriseError,
    model::{Attempt, AttemptKind, AttemptState, Payment, key},
    store,
};

impl Payments {
    /// Gets the provider's promise of the money, once per order. What is
    /// promised after the order was undone is given back before this refuses.
    pub async fn authorise(&self, ask: &Authorise) -> Result<Authorised, AuthoriseError> {
        if ask.total.amount < 0 {
            return Err(kernel::Error::invalid_field("/total/amount", "an amount is not below zero").into());
        }
        let (attempt, new) = db::write!(self.db, async |tx| { begin(tx, ask).await })?;
        let settled = self.settle(&attempt, new).await?;
        let order = ask.order;
        if settled.attempt.state == AttemptState::Declined {
            return Err(AuthoriseError::Declined { order, code: settled.attempt.declined() });
        }
        if settled.undone && settled.payment.state == PaymentState::Authorised {
            self.void(order).await.map_err(kernel::Error::from)?;
        }
        if settled.undone && settled.payment.captured == 0 {
            return Err(AuthoriseError::Undone { order });
        }
        Ok(Authorised { payment: settled.payment.id })
    }
}

/// Saves the intent, or finds the one that is there; says whether it is new.
async fn begin(tx: &mut Tx, ask: &Authorise) -> Result<(Attempt, bool), AuthoriseError> {
    let order = ask.order;
    let gate = store::lock_gate(tx, order).await?;
    if gate.undone {
        return Err(AuthoriseError::Undone { order });
    }
    // Behind a new gate there is no payment: whoever saves one locks it first.
    let before = if gate.turns == 0 { None } else { store::find_payment(tx, order).await? };
    if let Some(before) = before {
        if before.money(before.amount) != ask.total {
            return Err(AuthoriseError::OtherAmount { order });
        }
        return Ok((Tried::of(tx, order).await?.promise()?.clone(), false));
    }
    let now = tx.world().now();
    let payment = Payment {
        id: PaymentId::new(tx.world()),
        order_id: order,
        customer_id: ask.customer,
        state: PaymentState::Pending,
        amount: ask.total.amount,
        currency: ask.total.currency,
        captured: 0,
        refunded: 0,
        version: 0,
    };
    let attempt = Attempt {
        key: key(order, AttemptKind::Authorise),
        order_id: order,
        kind: AttemptKind::Authorise,
        state: AttemptState::Pending,
        amount: payment.amount,
        currency: payment.currency,
        token: ask.token.clone(),
        reference: None,
        code: None,
        started_at: now,
        ended_at: None,
    };
    store::insert_payment(tx, &payment, now).await?;
    store::insert_attempt(tx, &attempt).await?;
    Ok((attempt, true))
}
