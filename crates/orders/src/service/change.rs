//! What people do to an order: cancel, review, ship, deliver, refund, resume.

use contracts::orders::OrderState::{self, *};
use db::Tx;
use jobs::State;
use kernel::{Error, OrderId, Result, Time, UserId};
use web::{Answer, IdempotencyKey, IfMatch};

use super::no_such_order;
use crate::{
    Orders,
    jobs::Fulfil,
    model::{Details, Order},
    store,
};

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A customer, with his own orders only.
    Customer(UserId),
    /// Somebody who serves customers.
    Staff(UserId),
}

impl Actor {
    fn id(self) -> UserId {
        let (Actor::Customer(id) | Actor::Staff(id)) = self;
        id
    }

    fn may_touch(self, order: &Order) -> bool {
        matches!(self, Actor::Staff(_)) || self.id() == order.customer
    }
}

/// What somebody decided about an order.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It is not wanted any more.
    Cancel,
    /// In review: sell it.
    Approve,
    /// In review: do not sell it.
    Deny,
    /// It left the house.
    Ship {
        /// With whom.
        carrier: Option<String>,
        /// By what name the carrier knows it.
        tracking: Option<String>,
    },
    /// It arrived.
    Deliver,
    /// The money is to be given back.
    Refund,
    /// It stands still and is to go on.
    Resume,
}

impl Decision {
    /// Whether an order is on the way to what was decided already.
    fn is_under_way(&self, order: &Order) -> bool {
        match self {
            Decision::Cancel | Decision::Deny => order.state == Cancelling,
            Decision::Approve => order.state == InReview && order.approved_by.is_some(),
            Decision::Refund => order.state == Refunding,
            Decision::Resume => !order.is_at_rest(),
            Decision::Ship { .. } | Decision::Deliver => false,
        }
    }
}

/// Why that was not possible.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It is too late to cancel it.
    #[error("{number} is {state} and can only be refunded, by staff")]
    Confirmed {
        /// Which.
        number: String,
        /// Where it stands.
        state: OrderState,
    },
    /// Nobody is asked to decide about it.
    #[error("{number} is {state} and waits for no review")]
    NotInReview {
        /// Which.
        number: String,
        /// Where it stands.
        state: OrderState,
    },
    /// It stands where this cannot be done.
    #[error("{number} is {state}, which does not allow this")]
    NotNow {
        /// Which.
        number: String,
        /// Where it stands.
        state: OrderState,
        /// The stable code.
        code: &'static str,
    },
    /// There is nothing to go on with.
    #[error("{number} is {state} and stands still because nothing is to be done")]
    AtRest {
        /// Which.
        number: String,
        /// Where it stands.
        state: OrderState,
    },
}

impl From<ChangeError> for Error {
    fn from(error: ChangeError) -> Error {
        let message = error.to_string();
        let code = match error {
            ChangeError::Confirmed { .. } => "order_confirmed",
            ChangeError::NotInReview { .. } => "order_not_in_review",
            ChangeError::NotNow { code, .. } => code,
            ChangeError::AtRest { .. } => "order_at_rest",
        };
        Error::conflict(code, message)
    }
}

/// Whether a decision changes anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It has been so already.
    None,
    /// It does, and that is all.
    Done,
    /// It does, and the saga has work to do.
    Saga,
}

impl Orders {
    /// Changes an order as somebody decided, if where it stands allows that.
    pub async fn change(
        &self,
        id: OrderId,
        actor: Actor,
        decision: Decision,
        terms: (Option<IdempotencyKey>, IfMatch),
    ) -> Result<Answer<Details>> {
        let (key, if_match) = terms;
        let traceparent = web::telemetry::traceparent();
        let answer: Result<Answer<Details>> = web::once!(self.db, key, async |tx| {
            let mut tries = 0;
            loop {
                let found = store::find(tx, id).await?.filter(|order| actor.may_touch(order));
                let mut order = found.ok_or_else(|| no_such_order(id))?;
                if_match.check(order.version)?;
                let from = order.state;
                let now = tx.world().now();
                let again = decision.is_under_way(&order) && stands_still(tx, &order).await?;
                let effect = if again { Effect::Saga } else { decide(&mut order, actor, &decision, now)? };
                if effect == Effect::None {
                    break;
                }
                order.version += 1;
                order.updated_at = now;
                if !store::advance(tx, &order, from).await? {
                    // The saga moved it meanwhile: look again, and decide again.
                    tries += 1;
                    if tries > 20 {
                        let message = format!("{} is moving too fast to be changed", order.number);
                        return Err(Error::unavailable("order_busy", message));
                    }
                    continue;
                }
                if order.state != from {
                    store::add_history(tx, &[(id, order.entry(Some(actor.id())))]).await?;
                    bus::outbox::add_traced(tx, &order.event(), traceparent.clone()).await?;
                }
                if effect == Effect::Saga {
                    let options =
                        jobs::Options { traceparent: traceparent.clone(), ..jobs::Options::default() };
                    let job = jobs::add_with(tx, &Fulfil { order: id }, options).await?;
                    store::set_job(tx, id, job).await?;
                }
                break;
            }
            store::details(tx, id).await?.ok_or_else(|| no_such_order(id))
        });
        let answer = answer?;
        let (state, actor) = (answer.value.order.state, actor.id());
        tracing::info!(order.id = %id, %state, actor.id = %actor, ?decision, "a person decided about an order");
        Ok(answer)
    }
}

/// Whether nobody will take an order further although there is more to do: its
/// job was given up, or is lost.
async fn stands_still(tx: &mut Tx, order: &Order) -> Result<bool> {
    let job = match order.job {
        Some(job) => jobs::find(tx, job).await?,
        None => None,
    };
    Ok(job.is_none_or(|job| matches!(job.state, State::Done | State::Dead)))
}

/// What a decision makes of an order, or why it cannot be had.
fn decide(order: &mut Order, actor: Actor, decision: &Decision, now: Time) -> Result<Effect, ChangeError> {
    let (number, state) = (order.number.clone(), order.state);
    match decision {
        Decision::Cancel => match state {
            Placed | Held | InReview | Authorised | Committed => {
                let own = actor.id() == order.customer;
                let reason = if own { "cancelled_by_customer" } else { "cancelled_by_staff" };
                order.state = Cancelling;
                order.reason = Some(reason.into());
                Ok(Effect::Saga)
            }
            Cancelling | Cancelled => Ok(Effect::None),
            _ => Err(ChangeError::Confirmed { number, state }),
        },
        Decision::Approve | Decision::Deny if state != InReview || order.approved_by.is_some() => {
            Err(ChangeError::NotInReview { number, state })
        }
        Decision::Approve => {
            // It goes on from review when its stock is held anew.
            order.approved_by = Some(actor.id());
            Ok(Effect::Saga)
        }
        Decision::Deny => {
            order.state = Cancelling;
            order.reason = Some("denied".into());
            Ok(Effect::Saga)
        }
        Decision::Ship { carrier, tracking } if state == Confirmed => {
            order.state = Shipped;
            order.carrier = carrier.clone();
            order.tracking = tracking.clone();
            order.shipped_at = Some(now);
            Ok(Effect::Done)
        }
        Decision::Deliver if state == Shipped => {
            order.state = Delivered;
            Ok(Effect::Done)
        }
        Decision::Refund if matches!(state, Confirmed | Shipped | Delivered) => {
            order.state = Refunding;
            Ok(Effect::Saga)
        }
        Decision::Resume if order.is_at_rest() => Err(ChangeError::AtRest { number, state }),
        Decision::Resume => Ok(Effect::None),
        Decision::Ship { .. } => Err(ChangeError::NotNow { number, state, code: "order_not_confirmed" }),
        Decision::Deliver => Err(ChangeError::NotNow { number, state, code: "order_not_shipped" }),
        Decision::Refund => Err(ChangeError::NotNow { number, state, code: "order_not_refundable" }),
    }
}
