//! Paying the money back.

use contracts::payments::PaymentState;
use db::Tx;
use kernel::OrderId;

use super::{Payments, Tried};
use crate::{
    RefundError,
    model::{Attempt, AttemptKind, AttemptState, Payment},
    store,
};

/// What is to be done next.
enum Next {
    /// Nothing was taken.
    Nothing,
    /// It was paid back before.
    PaidBack(Payment),
    /// Learn first what became of this.
    Settle(Attempt),
    /// Pay it back; says whether the attempt is new.
    Refund(Attempt, bool),
}

impl Payments {
    /// Pays back what was captured, whole and once, and refuses to capture for
    /// this order from then on; returns the payment if anything was captured.
    pub async fn refund(&self, order: OrderId) -> Result<Option<Payment>, RefundError> {
        loop {
            match db::write!(self.db, async |tx| { next(tx, order).await })? {
                Next::Nothing => return Ok(None),
                Next::PaidBack(payment) => return Ok(Some(payment)),
                Next::Settle(pending) => {
                    self.settle(&pending, false).await?;
                }
                Next::Refund(attempt, new) => {
                    let settled = self.settle(&attempt, new).await?;
                    return match settled.attempt.state {
                        AttemptState::Declined => {
                            Err(RefundError::Refused { order, code: settled.attempt.declined() })
                        }
                        AttemptState::Done | AttemptState::Pending => Ok(Some(settled.payment)),
                    };
                }
            }
        }
    }
}

async fn next(tx: &mut Tx, order: OrderId) -> Result<Next, RefundError> {
    store::lock_gate(tx, order).await?;
    // Also of what is not captured: a capture that is still on its way is refused.
    store::mark_undone(tx, order).await?;
    let Some(payment) = store::find_payment(tx, order).await? else {
        return Ok(Next::Nothing);
    };
    match payment.state {
        PaymentState::Refunded => Ok(Next::PaidBack(payment)),
        PaymentState::Captured => {
            let tried = store::attempts_of(tx, [order]).await?;
            let (attempt, new) = Tried::of(order, &tried).saved(tx, AttemptKind::Refund).await?;
            Ok(Next::Refund(attempt, new))
        }
        PaymentState::Authorised => {
            let tried = store::attempts_of(tx, [order]).await?;
            let tried = Tried::of(order, &tried);
            Ok(tried.pending(AttemptKind::Capture).map_or(Next::Nothing, Next::Settle))
        }
        PaymentState::Pending | PaymentState::Voided | PaymentState::Declined => Ok(Next::Nothing),
    }
}
