//! How to call: a service here, or in another process. [`service!`] turns one
//! list of calls into a trait, a client that makes them over HTTP and routes
//! that answer them, so that nobody can tell where a service runs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod addresses;
mod breaker;
mod budget;
mod call;
mod channel;
mod connections;
mod deadline;
mod ewma;
mod hedge;
mod network;
mod options;
mod pool;
mod serve;
mod service;
mod shed;
mod token;
mod wire;

pub use addresses::LookUp;
pub use async_trait::async_trait;
pub use call::Call;
pub use channel::Channel;
pub use deadline::{deadline, within};
pub use network::{Cut, Network};
pub use options::Options;
pub use pool::{AddressState, Pick, Pool, PoolOptions};
pub use serve::refuse;
pub use shed::{Place, Refuse, Shed, ShedOptions, shed};
pub use token::{ServiceToken, guard};

#[doc(hidden)]
pub mod hidden {
    pub use crate::serve::answer;
    pub use axum;
    pub use kernel;
}
