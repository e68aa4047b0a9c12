//! Why something was not done.

use std::borrow::Cow;

use kernel::{Error, Kind, OrderId};

/// Why the money was not promised.
#[derive(Debug, thiserror::Error)]
pub enum AuthoriseError {
    /// The provider refused, for good.
    #[error("the payment of {order} was declined: {code}")]
    Declined {
        /// Whose payment.
        order: OrderId,
        /// Why, in the provider's words.
        code: String,
    },
    /// The order was undone before this arrived.
    #[error("{order} was undone: nothing is authorised for it any more")]
    Undone {
        /// Which.
        order: OrderId,
    },
    /// It was asked before for another amount.
    #[error("{order} is to be paid with another amount already")]
    OtherAmount {
        /// Which.
        order: OrderId,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<AuthoriseError> for Error {
    fn from(error: AuthoriseError) -> Error {
        let message = error.to_string();
        match error {
            AuthoriseError::Declined { code, .. } => Error::conflict(declined(&code), message),
            AuthoriseError::Undone { .. } => Error::conflict("order_undone", message),
            AuthoriseError::OtherAmount { .. } => Error::new(Kind::Mismatch, "payment_differs", message),
            AuthoriseError::Other(error) => error,
        }
    }
}

/// The stable code of a decline; what a provider may say besides is a declined card.
fn declined(code: &str) -> &'static str {
    match code {
        "insufficient_funds" => "insufficient_funds",
        "unknown_token" => "unknown_token",
        _ => "card_declined",
    }
}

/// Why the money was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The provider refused, or there is no promise any more.
    #[error("the payment of {order} cannot be captured: {why}")]
    Refused {
        /// Whose payment.
        order: OrderId,
        /// Why.
        why: Cow<'static, str>,
    },
    /// Nothing was ever authorised.
    #[error("{order} has no payment")]
    NoPayment {
        /// Which.
        order: OrderId,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<CaptureError> for Error {
    fn from(error: CaptureError) -> Error {
        let message = error.to_string();
        match error {
            CaptureError::Refused { .. } => Error::conflict("capture_refused", message),
            CaptureError::NoPayment { .. } => Error::not_found("no_payment", message),
            CaptureError::Other(error) => error,
        }
    }
}

/// Why the promise was not given back.
#[derive(Debug, thiserror::Error)]
pub enum VoidError {
    /// The money is taken: it can only be paid back.
    #[error("the payment of {order} is captured: it can only be refunded")]
    AlreadyCaptured {
        /// Whose payment.
        order: OrderId,
    },
    /// The provider refused, for good: a person has to look.
    #[error("the provider refused to void the payment of {order}: {code}")]
    Refused {
        /// Whose payment.
        order: OrderId,
        /// Why, in the provider's words.
        code: String,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<VoidError> for Error {
    fn from(error: VoidError) -> Error {
        let message = error.to_string();
        match error {
            VoidError::AlreadyCaptured { .. } => Error::conflict("already_captured", message),
            VoidError::Refused { .. } => Error::conflict("void_refused", message),
            VoidError::Other(error) => error,
        }
    }
}

/// Why the money was not paid back.
#[derive(Debug, thiserror::Error)]
pub enum RefundError {
    /// The provider refused, for good: a person has to look.
    #[error("the provider refused to refund the payment of {order}: {code}")]
    Refused {
        /// Whose payment.
        order: OrderId,
        /// Why, in the provider's words.
        code: String,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<RefundError> for Error {
    fn from(error: RefundError) -> Error {
        let message = error.to_string();
        match error {
            RefundError::Refused { .. } => Error::conflict("refund_refused", message),
            RefundError::Other(error) => error,
        }
    }
}

/// The provider did not say, and could not be asked after: the same ask, made
/// again, goes on from here.
pub fn outcome_unknown(order: OrderId, why: &str) -> Error {
    let message = format!("whether the provider did what was asked for {order} is not known yet");
    Error::unavailable("payment_outcome_unknown", message).because(why.to_owned())
}
