//! The inbox.
use db::Migration;
pub(crate) const MIGRATION: Migration = Migration { name: "bus_2_inbox", sql: "" };
