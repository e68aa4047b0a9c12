//! How large a body may be.

use std::future::Future;

use axum::{body::Body, extract::Request, response::Response};
use http::header;
use http_body_util::Limited;

use super::around::{Around, layer};
use crate::{Failure, body};

/// Refuses larger bodies: at once when the length is announced, otherwise
/// where the limit is passed. 413 `body_too_large`.
pub fn body_limit(bytes: usize) -> BodyLimit {
    BodyLimit { bytes }
}

/// See [`body_limit`].
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    bytes: usize,
}

layer!(BodyLimit);

impl Around for BodyLimit {
    type Kept = ();

    fn before(&self, request: Request) -> Result<(Request, ()), Failure> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        match length {
            Some(length) if length > self.bytes as u64 => Err(body::too_large()),
            // Nothing is sent, or the server itself reads no more than was announced.
            Some(_) => Ok((request, ())),
            None => Ok((request.map(|body| Body::new(Limited::new(body, self.bytes))), ())),
        }
    }

    fn around(
        (): (),
        answer: impl Future<Output = Response> + Send,
    ) -> impl Future<Output = Response> + Send {
        answer
    }
}
