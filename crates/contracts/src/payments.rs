//! What was paid.

use bus::Event;
use kernel::{Money, OrderId, PaymentId, UserId, words};
use serde::{Deserialize, Serialize};

rpc::service! {
    /// What other services may ask of payments. An order has one payment; each
    /// ask is harmless when repeated. An outcome that is unknown is asked after
    /// with the provider by its key before anything is answered; when even that
    /// cannot be learnt now the answer is unavailable `payment_outcome_unknown`,
    /// and the caller asks again. `void` leaves a mark, so that an `authorise`
    /// that arrives after it is refused (conflict `order_undone`).
    pub trait Payments, PaymentsClient, payments_routes = "payments" {
        /// Scores an order for fraud. The first answer stays.
        async fn screen(Screen) -> Screened;
        /// Gets the provider's promise of the money.
        /// Errors: conflict `card_declined`, `insufficient_funds`, `unknown_token`, `order_undone`.
        async fn authorise(Authorise) -> Authorised;
        /// Gives the promise back, if there is one. Of money that is captured: conflict `already_captured`.
        async fn void(Void) -> ();
        /// Takes the promised money. Errors: conflict `capture_refused`, not found `no_payment`.
        async fn capture(Capture) -> Captured;
        /// Pays back what was captured, whole; nothing when nothing was.
        async fn refund(Refund) -> Refunded;
        /// The payment of an order. Errors: not found `no_payment`.
        #[read]
        async fn payment(GetPayment) -> Payment;
    }
}

/// Asks for a score.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Screen {
    /// Of which order.
    pub order: OrderId,
    /// Who buys.
    pub customer: UserId,
    /// For how much.
    pub total: Money,
    /// How it is to be paid.
    pub token: String,
}

words! {
    /// What screening found.
    pub enum Verdict {
        /// Go on.
        Approve = "approve",
        /// A person has to look at it.
        Review = "review",
        /// Do not sell.
        Deny = "deny",
    }
}

/// What screening found, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screened {
    /// What it found.
    pub verdict: Verdict,
    /// By which rule, in words for staff.
    pub reason: String,
}

/// Asks for the promise of money.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authorise {
    /// For which order.
    pub order: OrderId,
    /// Who pays.
    pub customer: UserId,
    /// How much.
    pub total: Money,
    /// The provider's token of the card.
    pub token: String,
}

/// The money is promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorised {
    /// By this payment.
    pub payment: PaymentId,
}

/// Asks to give the promise back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Void {
    /// Of which order.
    pub order: OrderId,
}

/// Asks to take the money.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Capture {
    /// For which order.
    pub order: OrderId,
}

/// The money is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// By this payment.
    pub payment: PaymentId,
    /// So much.
    pub amount: Money,
}

/// Asks to pay back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refund {
    /// For which order.
    pub order: OrderId,
}

/// What was paid back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refunded {
    /// So much, over all; nothing when nothing had been captured.
    pub amount: Option<Money>,
}

/// Asks for the payment of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GetPayment {
    /// Which order's.
    pub order: OrderId,
}

words! {
    /// Where a payment stands.
    pub enum PaymentState {
        /// Asked of the provider, not answered yet.
        Pending = "pending",
        /// Promised.
        Authorised = "authorised",
        /// Taken.
        Captured = "captured",
        /// The promise was given back.
        Voided = "voided",
        /// Paid back.
        Refunded = "refunded",
        /// The provider refused.
        Declined = "declined",
    }
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Which.
    pub id: PaymentId,
    /// For which order.
    pub order: OrderId,
    /// Where it stands.
    pub state: PaymentState,
    /// How much was to be paid.
    pub amount: Money,
    /// How much was taken.
    pub captured: Money,
    /// How much of it was paid back.
    pub refunded: Money,
}

/// `payments.<state>`: a payment came to stand there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaymentEvent {
    /// Which.
    pub payment: PaymentId,
    /// For which order.
    pub order: OrderId,
    /// Where it stands now.
    pub state: PaymentState,
    /// How much it is about.
    pub amount: Money,
    /// The payment's version after it.
    pub version: i64,
}

impl Event for PaymentEvent {
    const SOURCE: &'static str = "payments";
    fn topic(&self) -> String {
        format!("payments.{}", self.state)
    }
    fn entity(&self) -> String {
        self.payment.to_string()
    }
    fn version(&self) -> i64 {
        self.version
    }
}
