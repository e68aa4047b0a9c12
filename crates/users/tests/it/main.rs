//! Stories about accounts and sign-in, through the real router, on both databases.
#![allow(clippy::unwrap_used, missing_docs)]

mod accounts;
mod keys;
mod sessions;
mod shop;
