//! How to call: a service here, or in another process. [`service!`] turns one
//! list of calls into a trait, a client that makes them over HTTP and routes
//! that answer them, so that nobody can tell where a service runs.

mod channel;
mod deadline;
mod serve;
mod service;
mod wire;

pub use async_trait::async_trait;
pub use channel::{Channel, Options};
pub use deadline::{deadline, within};

#[doc(hidden)]
pub mod hidden {
    pub use crate::serve::answer;
    pub use axum;
    pub use kernel;
}
