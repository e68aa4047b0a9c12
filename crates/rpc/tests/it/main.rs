//! One set of calls, asked of a service here and of the same service over
//! HTTP/1.1 and HTTP/2: the answers and the errors must not differ.
#![allow(clippy::unwrap_used, missing_docs)]

mod calls;
mod faults;
mod shelf;
