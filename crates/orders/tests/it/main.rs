//! Stories about orders, through the real router, on both databases. The other
//! services are fakes that behave.
#![allow(clippy::unwrap_used, missing_docs)]

mod at_once;
mod buying;
mod cancelling;
mod fakes;
mod shop;
mod staff;
mod steps;
