//! One set of calls, asked of a service here and of the same service over
//! HTTP/1.1 and HTTP/2: the answers and the errors must not differ.
#![allow(clippy::unwrap_used, missing_docs)]

mod calls;
mod crowds;
mod faults;
mod hedges;
mod pool;
mod retries;
mod servers;
mod shedding;
mod shelf;
mod sick;
mod strangers;
