//! What is there: how many of each SKU the shop has in its hands, which of
//! them are held for orders, and every movement that led there.
//!
//! It needs a database. Stock changes by movements only; an order first holds
//! what it wants, all lines or none, and the hold gives itself back when it
//! expires. Every step of an order locks the order's own row first, then the
//! rows of its SKUs in their order, so that a step and its undo follow each
//! other and nobody waits in a circle.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod batch;
mod error;
mod events;
mod http;
mod jobs;
mod model;
mod order;
mod service;
mod store;

pub use audit::{Fact, audit, breaches, deeds, facts, overdue};
pub use error::{CommitError, HoldError, MoveError};
pub use events::consumers;
pub use http::routes;
pub use jobs::{Expire, runner};
pub use model::{HoldState, Lines, Movement, Reason, Stock};
pub use service::{Inventory, Needs, Settings};

/// Holds for many orders in one go, as gathered calls do: so that a test can
/// compare it with holding one after the other.
#[doc(hidden)]
pub async fn hold_all_for_tests(
    db: &db::Db,
    asks: Vec<(kernel::OrderId, Lines)>,
    hold_for: std::time::Duration,
) -> kernel::Result<Vec<Result<kernel::Time, HoldError>>> {
    let asks = asks.into_iter().map(|(order, lines)| batch::Ask { order, lines }).collect();
    batch::hold_all(db, asks, hold_for).await
}

/// Sells to many orders in one go, as gathered calls do: so that a test can
/// compare it with selling to one after the other.
#[doc(hidden)]
pub async fn commit_all_for_tests(
    db: &db::Db,
    orders: &[kernel::OrderId],
) -> kernel::Result<Vec<Result<(), CommitError>>> {
    batch::commit_all(db, orders).await
}

/// Every table of this service, in order.
pub fn migrations() -> Vec<db::Migration> {
    [bus::MIGRATIONS, ::jobs::MIGRATIONS, web::idempotency::MIGRATIONS, store::MIGRATIONS].concat()
}
