//! The stories of stock, on both databases, asked here and over HTTP.
#![allow(clippy::unwrap_used, missing_docs)]

mod audit;
mod contract;
mod expiry;
mod gathered;
mod http;
mod races;
mod shop;
