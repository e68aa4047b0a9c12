//! Whoever moves the money: a system that is not ours.

mod http;

use async_trait::async_trait;
use kernel::{AttemptId, Money, OrderId, Result};
use serde::{Deserialize, Serialize};

pub use self::http::HttpProvider;

/// A payment provider. Whatever is asked twice with one key is done once, and
/// answered as the first time.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Promises the money of a card.
    async fn authorise(&self, charge: &Charge) -> Outcome;
    /// Takes the promised money.
    async fn capture(&self, change: &Change) -> Outcome;
    /// Gives the promise back.
    async fn void(&self, change: &Change) -> Outcome;
    /// Pays the taken money back.
    async fn refund(&self, change: &Change) -> Outcome;
    /// What became of the ask with this key; nothing if it never arrived.
    async fn find(&self, key: AttemptId) -> Result<Option<Outcome>>;
}

/// Asks for a promise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Charge {
    /// The idempotency key.
    pub key: AttemptId,
    /// For which order.
    pub order: OrderId,
    /// How much.
    pub amount: Money,
    /// Of which card.
    pub token: String,
}

/// Asks to go on with a charge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// The idempotency key.
    pub key: AttemptId,
    /// What the provider called the charge.
    pub reference: String,
    /// How much.
    pub amount: Money,
}

/// What a provider answered, if it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done {
        /// What the provider calls the charge.
        reference: String,
    },
    /// It will never be done.
    Declined {
        /// Why.
        code: String,
    },
    /// Nobody here knows whether it is done.
    Unknown {
        /// What went wrong.
        why: String,
    },
}
