//! The seam to the network: a simulation can stand in its place.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use kernel::BoxFuture;

/// Carries a request to the address in its URI and brings back the answer.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Asks once. Who waits may give up before there is an answer.
    fn ask(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Cut>>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It surely never arrived.
    NotReached(String),
    /// Whether it arrived is unknown.
    Lost(String),
}
