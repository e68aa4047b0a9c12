//! The public edge: every request comes in here, through one readable list of
//! layers, and finds the services' routes behind it, in this process or in
//! others. It knows nothing of what they do.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backend;
mod care;
mod docs;
mod edge;
mod greeting;
mod limits;
mod proxy;
mod serve;
mod table;

pub use backend::Backend;
pub use care::Care;
pub use docs::described;
pub use edge::{Front, Settings, edge};
pub use greeting::greeting;
pub use limits::{PerMinute, RateLimits};
pub use serve::{Drain, serve};
pub use table::{Route, TABLE};
