//! How to tell: events are saved beside the change that they announce (the
//! outbox), relayed to whoever consumes them, and take effect once (the inbox).
//!
//! Nothing is announced any other way. A row of the outbox is marked sent when
//! every consumer here has committed its effect; what a process forgets,
//! another relay finds. The events of one entity are heard in the order of its
//! versions, those of different entities in any order.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod deliver;
mod event;
mod inbox;
mod memory;
pub mod outbox;
mod relay;
mod sweep;

use db::Migration;

pub use async_trait::async_trait;
pub use audit::audit;
pub use event::{Consumer, Envelope, Event};
pub use memory::Bus;

/// The tables: outbox and inbox. Every service's list begins with them.
pub const MIGRATIONS: &[Migration] = &[outbox::MIGRATION, inbox::MIGRATION];
