//! How to remember: what was read, in this process and in a Redis that
//! processes share, never older than a change that was answered.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod channel;
mod coalesced;
mod entry;
mod eviction;
mod flights;
mod limits;
mod remembered;
mod shared;

pub use address::Address;
pub use channel::PREFIX;
pub use coalesced::Coalesced;
pub use eviction::check_eviction;
pub use limits::{Budget, Limits, Quota};
pub use remembered::Remembered;
pub use shared::Shared;
