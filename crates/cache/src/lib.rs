//! How to remember: what was read, in this process, never older than a change
//! that was answered here. (A second level that processes share comes behind
//! it.)
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod remembered;

pub use remembered::Remembered;
