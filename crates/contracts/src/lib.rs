//! All that crosses a border between services: what each may be asked
//! ([`rpc::service!`]), what it answers, and what it announces
//! ([`bus::Event`]). One file per service.
//!
//! Every call may be repeated and may arrive late. It carries the id that
//! makes the second time harmless, and what was undone stays undone.

pub mod catalog;
pub mod inventory;
pub mod notifications;
pub mod orders;
pub mod payments;
pub mod users;
