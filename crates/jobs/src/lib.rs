//! How to postpone: work saved with the change that causes it, in the
//! service's own database, and done later by whoever leases the row.
//!
//! [`add`] writes a row in the caller's transaction, so that the work exists
//! exactly when its cause does. A [`Runner`] claims what is due, hands it to
//! the [`Worker`] of its kind and, when that fails, tries again later. The
//! database owns the retries: what a process forgets, another one finds.
//!
//! A job may be begun more than once (its process died, its lease ran out), so
//! a worker saves its effect in one transaction with [`Run::fence`] or
//! [`Run::finish`]: who has lost the lease is refused there.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attempt;
pub mod audit;
mod bullmq;
mod claim;
mod leases;
mod model;
mod queue;
mod rounds;
mod runner;
mod schedule;
mod store;
mod sweep;
mod worker;

pub use async_trait::async_trait;
pub use audit::audit;
pub use bullmq::{Bullmq, Dispatch};
pub use model::{Job, JobView, Options, Policy, State};
pub use runner::Runner;
pub use store::{
    MIGRATIONS, add, add_many, add_many_with, add_with, dead, find, pause, paused, pending, resume, retry,
};
pub use worker::{Failure, Run, Worker};
