//! How to answer: extractors, problem+json, idempotency, who is calling,
//! health, metrics and the layers of the edge. Nothing here knows of shops.
//!
//! A handler names what it needs (`Customer`, `Page`, `IdempotencyKey`,
//! [`Json`]) and answers [`Result`]; everything that goes wrong leaves as
//! `application/problem+json` (RFC 9457) with a stable code.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth;
mod body;
pub mod edge;
mod failure;
pub mod health;
pub mod idempotency;
mod json;
pub mod keep;
mod layers;
mod list;
pub mod metrics;
pub mod openapi;
mod page;
mod params;
mod prefer;
pub mod telemetry;
mod version;

pub use auth::{Admin, Caller, Customer, MaybeCaller, Role, Staff};
pub use body::Raw;
pub use failure::Failure;
pub use idempotency::{Answer, IdempotencyKey, MaybeIdempotencyKey};
pub use json::Json;
pub use layers::service_layers;
pub use list::{List, WrittenList};
pub use page::{Cursor, Page};
pub use params::{Path, Query};
pub use prefer::PreferWait;
pub use version::{IfMatch, Versioned};

/// What a handler answers.
pub type Result<T> = std::result::Result<T, Failure>;

#[doc(hidden)]
pub use db;
