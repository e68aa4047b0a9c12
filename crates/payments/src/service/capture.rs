//! Taking the promised money.

use contracts::payments::PaymentState;
use db::Tx;
use kernel::OrderId;

use super::{Payments, Tried};
use crate::{
    CaptureError,
    model::{Attempt, AttemptKind, AttemptState, Payment},
    store,
};

/// What is to be done next.
enum Next {
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
            match db::write!(self.db, async |tx| { next(tx, order).await })? {
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

async fn next(tx: &mut Tx, order: OrderId) -> Result<Next, CaptureError> {
    let refuse = |why: &'static str| CaptureError::Refused { order, why: why.into() };
    let undone = store::lock_gate(tx, order).await?.undone;
    let Some(payment) = store::find_payment(tx, order).await? else {
        return Err(if undone { refuse("the order was undone") } else { CaptureError::NoPayment { order } });
    };
    match payment.state {
        PaymentState::Captured | PaymentState::Refunded => return Ok(Next::Taken(payment)),
        PaymentState::Voided => return Err(refuse("the promise was given back")),
        PaymentState::Declined => return Err(refuse("it was declined")),
        PaymentState::Pending | PaymentState::Authorised => {}
    }
    if undone {
        return Err(refuse("the order was undone"));
    }
    let tried = Tried::of(tx, order).await?;
    if payment.state == PaymentState::Pending {
        return Ok(Next::Settle(tried.promise()?.clone()));
    }
    let (attempt, new) = tried.attempt(tx, AttemptKind::Capture).await?;
    Ok(Next::Capture(attempt, new))
}
