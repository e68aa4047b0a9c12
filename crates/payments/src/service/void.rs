//! Giving the promise back.

use contracts::payments::PaymentState;
use db::Tx;
use kernel::OrderId;

use super::{Payments, Tried};
use crate::{
    VoidError,
    model::{Attempt, AttemptKind, AttemptState},
    store,
};

/// What is to be done next.
enum Next {
    /// Nothing is promised.
    Nothing,
    /// Learn first what became of this.
    Settle(Attempt),
    /// Give the promise back; says whether the attempt is new.
    Void(Attempt, bool),
}

impl Payments {
    /// Gives the promise back, if there is one, and refuses to authorise or
    /// capture for this order from then on.
    pub async fn void(&self, order: OrderId) -> Result<(), VoidError> {
        loop {
            // Each turn settles an attempt for good: authorise, capture, void.
            match db::write!(self.db, async |tx| { next(tx, order).await })? {
                Next::Nothing => return Ok(()),
                Next::Settle(pending) => {
                    self.settle(&pending, false).await?;
                }
                Next::Void(attempt, new) => {
                    let settled = self.settle(&attempt, new).await?;
                    return match settled.attempt.state {
                        AttemptState::Declined => {
                            Err(VoidError::Refused { order, code: settled.attempt.declined() })
                        }
                        AttemptState::Done | AttemptState::Pending => Ok(()),
                    };
                }
            }
        }
    }
}

async fn next(tx: &mut Tx, order: OrderId) -> Result<Next, VoidError> {
    store::lock_gate(tx, order).await?;
    let payment = store::find_payment(tx, order).await?;
    let state = payment.map(|payment| payment.state);
    if let Some(PaymentState::Captured | PaymentState::Refunded) = state {
        return Err(VoidError::AlreadyCaptured { order });
    }
    let tried = store::attempts_of(tx, [order]).await?;
    let tried = Tried::of(order, &tried);
    if let Some(capture) = tried.pending(AttemptKind::Capture) {
        // Perhaps the money is taken: then there is no promise to give back.
        return Ok(Next::Settle(capture));
    }
    store::mark_undone(tx, order).await?;
    match state {
        Some(PaymentState::Pending) => Ok(Next::Settle(tried.promise()?.clone())),
        Some(PaymentState::Authorised) => {
            let (attempt, new) = tried.saved(tx, AttemptKind::Void).await?;
            Ok(Next::Void(attempt, new))
        }
        _ => Ok(Next::Nothing),
    }
}
