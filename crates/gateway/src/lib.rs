//! The public edge: every request comes in here, through one readable list of
//! layers, and finds the services' routes behind it. It knows nothing of what
//! they do.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod docs;
mod edge;
mod greeting;
mod serve;

pub use edge::{Front, Settings, edge};
pub use serve::serve;
