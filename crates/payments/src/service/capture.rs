//! Taking the promised money.

use std::collections::BTreeMap;

use contracts::payments::PaymentState;
use db::{Db, Gather, Tx};
use kernel::{OrderId, Time};

use super::{Payments, Tried};
use crate::{
    CaptureError,
    model::{Attempt, AttemptKind, AttemptState, Payment},
    store,
};

/// What is to be done next.
pub enum Next {
    /// It was taken before.
    Taken(Payment),
    /// Learn first what became of this.
    Settle(Attempt),
    /// Take it; says whether the attempt is new.
    Capture(Attempt, bool),
}

impl Payments {
    /// Takes the promised money, once; returns the payment.
    pub async fn capture(&self, order: OrderId) -> Result<Payment, CaptureError> {
        loop {
            match self.captures.call(order).await?? {
                Next::Taken(payment) => return Ok(payment),
                Next::Settle(pending) => {
                    self.settle(&pending, false).await?;
                }
                Next::Capture(attempt, new) => {
                    let settled = self.settle(&attempt, new).await?;
                    return match settled.attempt.state {
                        AttemptState::Declined => {
                            Err(CaptureError::Refused { order, why: settled.attempt.declined().into() })
                        }
                        AttemptState::Done | AttemptState::Pending => Ok(settled.payment),
                    };
                }
            }
        }
    }
}

/// Gathers orders whose money is to be taken.
pub fn gather(db: &Db, most: usize) -> Gather<OrderId, Result<Next, CaptureError>> {
    let gather = Gather::writing(db, most, |tx, orders: &[OrderId]| {
        Box::pin(async move { Ok(next(tx, orders).await?.into_iter().map(Ok).collect()) })
    });
    gather.one_of_each(|order| *order)
}

/// What is to be done next for each of these orders, none of which is there
/// twice; an attempt that is new is saved.
async fn next(tx: &mut Tx, orders: &[OrderId]) -> kernel::Result<Vec<Result<Next, CaptureError>>> {
    let gates = store::lock_gates(tx, orders.iter().copied()).await?;
    let payments = store::find_payments(tx, orders.iter().copied()).await?;
    let under_way =
        payments.values().filter(|payment| payment.is_under_way()).map(|payment| payment.order_id);
    let tried = store::attempts_of(tx, under_way).await?;
    let now = tx.world().now();
    let decide = |order: &OrderId| decide(*order, gates[order].undone, payments.get(order), &tried, now);
    let nexts: Vec<Result<Next, CaptureError>> = orders.iter().map(decide).collect();
    let new = nexts.iter().filter_map(|next| match next {
        Ok(Next::Capture(attempt, true)) => Some(attempt),
        _ => None,
    });
    store::insert_attempts(tx, &new.collect::<Vec<_>>()).await?;
    Ok(nexts)
}

fn decide(
    order: OrderId,
    undone: bool,
    payment: Option<&Payment>,
    tried: &BTreeMap<OrderId, Vec<Attempt>>,
    now: Time,
) -> Result<Next, CaptureError> {
    let refuse = |why: &'static str| CaptureError::Refused { order, why: why.into() };
    let Some(payment) = payment else {
        return Err(if undone { refuse("the order was undone") } else { CaptureError::NoPayment { order } });
    };
    match payment.state {
        PaymentState::Captured | PaymentState::Refunded => return Ok(Next::Taken(payment.clone())),
        PaymentState::Voided => return Err(refuse("the promise was given back")),
        PaymentState::Declined => return Err(refuse("it was declined")),
        PaymentState::Pending | PaymentState::Authorised => {}
    }
    if undone {
        return Err(refuse("the order was undone"));
    }
    let tried = Tried::of(order, tried);
    if payment.state == PaymentState::Pending {
        return Ok(Next::Settle(tried.promise()?.clone()));
    }
    let (attempt, new) = tried.attempt(AttemptKind::Capture, now)?;
    Ok(Next::Capture(attempt, new))
}
