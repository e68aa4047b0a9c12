//! What people are told: mails about their orders, and mails that staff or
//! other services ask for.
//!
//! It needs a database, somebody who knows orders, somebody who knows users,
//! and a mail server or a folder. A mail is a row in `messages` before it is
//! sent, under a key that makes it one mail however often it is asked for. It
//! is sent at least once: the server may have taken a mail whose sending we
//! could not note, and the second one then carries the same `Message-ID`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod events;
mod http;
mod jobs;
mod mails;
mod model;
mod post;
mod service;
mod store;
mod templates;

pub use audit::{audit, breaches, deeds, send_left_over, untold};
pub use events::consumers;
pub use http::routes;
pub use jobs::{Deliver, Tell, runner};
pub use model::{Message, Occasion, State, Subject};
pub use service::{Needs, Notifications, Settings};

/// Every table of this service, in order.
pub fn migrations() -> Vec<db::Migration> {
    [bus::MIGRATIONS, ::jobs::MIGRATIONS, web::idempotency::MIGRATIONS, store::MIGRATIONS].concat()
}
