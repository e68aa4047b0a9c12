//! What `db` promises, on both databases.
#![allow(clippy::unwrap_used, missing_docs)]

mod crash;
mod failover;
mod frozen;
mod full;
mod gather;
mod kit;
mod load;
mod migrations;
mod outage;
mod pooler;
mod postgres;
mod replicas;
mod server;
mod sqlite;
mod stories;
mod table;
