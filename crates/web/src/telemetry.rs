//! What is told about a request while it is worked on: its trace (W3C Trace
//! Context), its id, its line in the log.

mod current;
mod log;
mod trace;

pub(crate) use current::{Current, request_id, uri};
pub use current::{current, traceparent, within};
pub use log::init;
pub use trace::Trace;
