//! How large a body may be.

use std::future::Future;

use axum::{body::Body, extract::Request, response::Response};
use http::header;
use http_body_util::Limited;

use super::around::{Answer, Around, layer};
use crate::{Failure, body};

/// Refuses larger bodies: at once when the length is announced, otherwise
/// where the limit is passed. 413 `body_too_large`.
pub fn body_limit(bytes: usize) -> BodyLimit {
    BodyLimit { bytes, at: |_| None }
}

/// See [`body_limit`].
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    bytes: usize,
    at: fn(&str) -> Option<usize>,
}

impl BodyLimit {
    /// The same, but for paths that have a limit of their own.
    #[must_use]
    pub fn unless(self, at: fn(&str) -> Option<usize>) -> BodyLimit {
        BodyLimit { at, ..self }
    }
}

layer!(BodyLimit);

impl Around for BodyLimit {
    type Kept = ();

    fn before(&self, request: &mut Request) -> Result<(), Failure> {
        let most = (self.at)(request.uri().path()).unwrap_or(self.bytes);
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        match length {
            Some(length) if length > most as u64 => Err(body::too_large()),
            // Nothing is sent, or the server itself reads no more than was announced.
            Some(_) => Ok(()),
            None => {
                let body = std::mem::take(request.body_mut());
                *request.body_mut() = Body::new(Limited::new(body, most));
                Ok(())
            }
        }
    }

    fn around((): (), answer: Answer<'_>) -> impl Future<Output = Response> + Send {
        answer
    }
}
