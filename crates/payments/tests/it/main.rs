//! The stories of payments, on both databases, asked here and over HTTP.
#![allow(clippy::unwrap_used, missing_docs)]

mod audit;
mod contract;
mod half_way;
mod http;
mod moody;
mod races;
mod shop;
mod webhooks;
