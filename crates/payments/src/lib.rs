//! What was paid: the promise of money, its taking and its return, and the
//! books about them.
//!
//! It needs a database and a provider, which is a foreign system: it is called
//! outside of every transaction, and what it answers may be lost. So the
//! attempt is saved with its key before the provider hears of it, every retry
//! carries that key, and an outcome that is unknown is asked after, never
//! guessed. All that concerns one order locks the order's gate first.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod error;
mod events;
mod http;
mod jobs;
mod model;
pub mod provider;
pub mod sandbox;
mod service;
mod store;
pub mod webhook;

pub use audit::{audit, breaches, deeds, facts};
pub use error::{AuthoriseError, CaptureError, RefundError, VoidError};
pub use events::consumers;
pub use http::routes;
pub use jobs::{Announce, Recover, Undo, runner, sandbox_runner};
pub use model::{Attempt, AttemptKind, AttemptState, Rules};
pub use service::{Needs, Payments, Settings};

/// Every table of this service, in order.
pub fn migrations() -> Vec<db::Migration> {
    [
        bus::MIGRATIONS,
        ::jobs::MIGRATIONS,
        web::idempotency::MIGRATIONS,
        store::MIGRATIONS,
        sandbox::MIGRATIONS,
    ]
    .concat()
}
