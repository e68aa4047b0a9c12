//! Deterministic simulation: a shop of one to three processes, its customers
//! and its staff in one thread, on a clock that jumps and over a network, disk
//! and provider that fail. A seed decides every delay, interleaving, fault and
//! death; the same seed does the same again ([`run`]), and one that breaks a
//! promise is made as small as it can be ([`shrink`]). What this cannot see
//! stands in docs/decisions/0014-simulation.md.

#![allow(clippy::unwrap_used)]

mod chance;
mod disk;
mod log;
mod network;
mod people;
mod plan;
mod planted;
mod process;
mod run;
mod shelf;
mod shrink;
mod truth;
mod world;

pub use chance::{Chance, keep_memory};
pub use log::tell_all;
pub use plan::Plan;
pub use planted::PLANTED;
pub use run::{Outcome, run};
pub use shelf::{Template, settings};
pub use shrink::shrink;
pub use world::Machine;
