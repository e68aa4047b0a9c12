//! Getting the promise of the money.

use contracts::payments::{Authorise, Authorised, PaymentState};
use db::{Db, Gather, Tx};
use kernel::{PaymentId, Time};

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
        let (attempt, new) = self.intents.call(ask.clone()).await??;
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

/// An attempt to get a promise, and whether it is new; or why there is none.
pub type Intent = Result<(Attempt, bool), AuthoriseError>;

/// Gathers intents that are to be saved.
pub fn gather(db: &Db, most: usize) -> Gather<Authorise, Intent> {
    let gather = Gather::writing(db, most, |tx, asks: &[Authorise]| {
        Box::pin(async move { Ok(begin(tx, asks).await?.into_iter().map(Ok).collect()) })
    });
    gather.one_of_each(|ask| ask.order)
}

/// Saves of each order, none of which is there twice, the intent, or finds the
/// one that is there.
async fn begin(tx: &mut Tx, asks: &[Authorise]) -> kernel::Result<Vec<Intent>> {
    let gates = store::lock_gates(tx, asks.iter().map(|ask| ask.order)).await?;
    // Behind a new gate there is no payment: whoever saves one locks it first.
    let old = || asks.iter().map(|ask| ask.order).filter(|order| gates[order].turns > 0);
    let before = store::find_payments(tx, old()).await?;
    let tried = store::attempts_of(tx, before.keys().copied()).await?;
    let now = tx.world().now();
    let (mut payments, mut intents) = (Vec::new(), Vec::with_capacity(asks.len()));
    for ask in asks {
        let order = ask.order;
        intents.push(match before.get(&order) {
            _ if gates[&order].undone => Err(AuthoriseError::Undone { order }),
            Some(before) if before.money(before.amount) != ask.total => {
                Err(AuthoriseError::OtherAmount { order })
            }
            Some(_) => {
                Tried::of(order, &tried).promise().map(|attempt| (attempt.clone(), false)).map_err(Into::into)
            }
            None => {
                let payment = intended(PaymentId::new(tx.world()), ask);
                let attempt = first(ask, now);
                payments.push(payment);
                Ok((attempt, true))
            }
        });
    }
    let new = |intent: &Intent| matches!(intent, Ok((_, true)));
    let attempts: Vec<&Attempt> =
        intents.iter().filter(|intent| new(intent)).flatten().map(|(attempt, _)| attempt).collect();
    store::insert_payments(tx, &payments, now).await?;
    store::insert_attempts(tx, &attempts).await?;
    Ok(intents)
}

/// The payment that an order is to have.
fn intended(id: PaymentId, ask: &Authorise) -> Payment {
    Payment {
        id,
        order_id: ask.order,
        customer_id: ask.customer,
        state: PaymentState::Pending,
        amount: ask.total.amount,
        currency: ask.total.currency,
        captured: 0,
        refunded: 0,
        version: 0,
    }
}

/// The first thing that the provider is asked for an order.
fn first(ask: &Authorise, now: Time) -> Attempt {
    Attempt {
        key: key(ask.order, AttemptKind::Authorise),
        order_id: ask.order,
        kind: AttemptKind::Authorise,
        state: AttemptState::Pending,
        amount: ask.total.amount,
        currency: ask.total.currency,
        token: ask.token.clone(),
        reference: None,
        code: None,
        started_at: now,
        ended_at: None,
    }
}
