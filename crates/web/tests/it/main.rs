//! Routers with everything around them, asked as a client asks.
#![allow(clippy::unwrap_used, missing_docs)]

mod client;
mod edge;
mod extractors;
mod health;
mod idempotency;
mod requests;
mod tokens;
mod worlds;
