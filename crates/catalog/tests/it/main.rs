//! Stories about what is for sale, through the real router, on both databases.
#![allow(clippy::unwrap_used, missing_docs)]

mod categories;
mod prices;
mod products;
mod shop;
