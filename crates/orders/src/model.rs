//! What an order is and the rules it follows; no database, no clock.

mod basket;
mod way;

pub use basket::{Address, Basket, PlaceError};
pub use way::{Attempt, Next, Outcome, Standing, Step, StepState, refusal};

use contracts::orders::{OrderEvent, OrderLine, OrderState};
use kernel::{Currency, JobId, Money, OrderId, Time, UserId};
use serde::{Deserialize, Serialize};

use OrderState::*;

/// Every arrow of the state machine: from, to. There is no other way.
pub const ARROWS: &[(OrderState, OrderState)] = &[
    (Placed, Held),          // its stock is held
    (Held, InReview),        // screening wants a person to look
    (InReview, Held),        // that person approved, and its stock is held anew
    (Held, Authorised),      // the money is promised
    (Authorised, Committed), // the stock is sold
    (Committed, Confirmed),  // the money is captured
    (Confirmed, Shipped),    // it left the house
    (Shipped, Delivered),    // it arrived
    (Placed, Cancelled),     // holding was refused: there is nothing to undo
    (Placed, Cancelling),    // from here on there may be, step by step
    (Held, Cancelling),
    (InReview, Cancelling),
    (Authorised, Cancelling),
    (Committed, Cancelling),
    (Cancelling, Cancelled), // all is undone
    (Confirmed, Refunding),  // staff gives the money back
    (Shipped, Refunding),
    (Delivered, Refunding),
    (Refunding, Refunded), // it is back
];

/// Whether an order may move so.
pub fn may_move(from: OrderState, to: OrderState) -> bool {
    ARROWS.contains(&(from, to))
}

/// Whether a customer who waits for the outcome has it.
pub fn is_settled(state: OrderState) -> bool {
    !matches!(state, Placed | Held | Authorised | Committed | Cancelling)
}

/// An order as it is stored, without what hangs on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Which.
    pub id: OrderId,
    /// What people call it: `C-7F3K9Q2M`.
    pub number: String,
    /// Who bought.
    pub customer: UserId,
    /// Where it stands.
    pub state: OrderState,
    /// Why it was cancelled: a stable code.
    pub reason: Option<String>,
    /// What it costs.
    pub total: Money,
    /// Where it goes to.
    pub address: Address,
    /// The provider's token of the card. Never shown, never in an answer that is kept.
    #[serde(skip)]
    pub token: String,
    /// Who approved it in review.
    pub approved_by: Option<UserId>,
    /// What screening found, in words for staff.
    pub screening: Option<String>,
    /// Who carries it.
    pub carrier: Option<String>,
    /// By what name the carrier knows it.
    pub tracking: Option<String>,
    /// When it left the house: then a refund puts nothing back into stock.
    pub shipped_at: Option<Time>,
    /// The job that was last added for it.
    #[serde(skip)]
    pub job: Option<JobId>,
    /// Grows with every change.
    pub version: i64,
    /// When it was placed.
    pub placed_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

impl Order {
    /// The version of an order as it was placed.
    pub const PLACED: i64 = 1;

    /// The currency of the order and each of its lines.
    pub fn currency(&self) -> Currency {
        self.total.currency
    }

    /// What the saga decides by.
    pub fn standing(&self, steps: Vec<Attempt>) -> Standing {
        Standing {
            state: self.state,
            approved: self.approved_by.is_some(),
            shipped: self.shipped_at.is_some(),
            steps,
        }
    }

    /// Whether nothing is left to be done for it, unless a person decides so.
    pub fn is_at_rest(&self) -> bool {
        self.standing(Vec::new()).next() == Next::Rest
    }

    /// The line of its history that says where it stands, by whom.
    pub fn entry(&self, actor: Option<UserId>) -> Entry {
        let (version, state, reason, at) = (self.version, self.state, self.reason.clone(), self.updated_at);
        Entry { version, state, reason, actor, at }
    }

    /// The news that it stands where it stands.
    pub fn event(&self) -> OrderEvent {
        OrderEvent {
            order: self.id,
            number: self.number.clone(),
            customer: self.customer,
            state: self.state,
            reason: self.reason.clone(),
            total: self.total,
            version: self.version,
        }
    }
}

/// One line of an order's history: it came to stand there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The order's version after it.
    pub version: i64,
    /// Where it stands since.
    pub state: OrderState,
    /// Why, if there is more to say than the state does.
    pub reason: Option<String>,
    /// The person who did it; nobody when the saga did.
    pub actor: Option<UserId>,
    /// When.
    pub at: Time,
}

db::from_row!(Entry { version, state, reason, actor, at });

/// An order with all that hangs on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Details {
    /// The order itself.
    pub order: Order,
    /// What was bought.
    pub lines: Vec<OrderLine>,
    /// What was tried for it, in the order it began.
    pub steps: Vec<Attempt>,
    /// Where it stood, in order.
    pub history: Vec<Entry>,
}

/// A number that people can read to each other: `C-` and eight characters of
/// Crockford's base 32, which has no I, L, O and U.
pub fn number(chance: [u8; 5]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = chance.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let digit = |place: u32| char::from(DIGITS[(bits >> (5 * place) & 31) as usize]);
    "C-".chars().chain((0..8).rev().map(digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_eight_digits_of_crockford() {
        assert_eq!(number([0; 5]), "C-00000000");
        assert_eq!(number([255; 5]), "C-ZZZZZZZZ");
        assert_eq!(number([0, 0, 0, 0, 33]), "C-00000011");
    }

    #[test]
    fn what_is_final_has_no_arrow_out_and_all_else_has() {
        for state in OrderState::ALL {
            let out = ARROWS.iter().any(|(from, _)| from == state);
            assert_eq!(out, !matches!(state, Cancelled | Refunded), "{state}");
        }
    }
}
