//! What `db` promises, on both databases.
#![allow(clippy::unwrap_used, missing_docs)]

mod crash;
mod gather;
mod kit;
mod migrations;
mod postgres;
mod server;
mod sqlite;
mod stories;
