//! How to tell: events are saved beside the change that they announce (the
//! outbox), relayed to whoever consumes them, and take effect once (the inbox).
//!
//! Nothing is announced any other way. In one process, a row of the outbox is
//! marked sent when every consumer has committed its effect; with a broker,
//! when that has it, and each consumer has a place of its own there, which it
//! moves on behind its effects. What a process or a broker forgets is told
//! again. The events of one entity are heard in the order of its versions,
//! those of different entities in any order.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit;
mod bus;
mod carrier;
mod deliver;
mod event;
mod inbox;
#[cfg(feature = "kafka")]
mod kafka;
mod listeners;
pub mod outbox;
mod redis;
mod refused;
mod relay;
mod sweep;
mod waits;

use db::Migration;

pub use async_trait::async_trait;
pub use audit::audit;
pub use bus::{Bus, Options};
pub use event::{Consumer, Envelope, Event};
pub use refused::{Refused, refused, skip};

/// The tables: outbox, inbox, what was refused, and who listens. Every
/// service's list begins with them.
pub const MIGRATIONS: &[Migration] =
    &[outbox::MIGRATION, inbox::MIGRATION, refused::MIGRATION, listeners::MIGRATION, inbox::CONSUMERS];
