//! Stories about what is remembered, by one process and by several.
#![allow(clippy::unwrap_used, missing_docs)]

mod coherence;
mod eviction;
mod limits;
mod local;
mod outages;
mod replica;
mod sharing;
mod world;
