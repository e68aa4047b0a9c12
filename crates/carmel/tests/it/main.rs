//! Stories of the whole shop, told through the front door: the real router, the
//! real databases, the real workers.
#![allow(clippy::unwrap_used, missing_docs)]

#[macro_use]
mod fleet;

mod accounts;
mod audit;
mod backup;
mod bench;
mod buying;
mod cancelling;
mod contracts;
mod crash;
mod crowds;
mod edge;
mod faults;
mod full;
mod growth;
mod harness;
mod healthcheck;
mod kills;
mod moving;
mod paying;
mod problems;
mod process;
mod races;
mod restoring;
mod retention;
mod staff;
mod statements;
mod torture;
