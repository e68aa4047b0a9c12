//! What was answered the first time.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};

/// An answer, and whether it was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What is answered.
    pub value: T,
    /// Whether this is the first answer again.
    pub replayed: bool,
}

impl<T> Answer<T> {
    /// Given for the first time.
    pub fn first(value: T) -> Answer<T> {
        Answer { value, replayed: false }
    }

    /// Given before.
    pub fn again(value: T) -> Answer<T> {
        Answer { value, replayed: true }
    }

    /// The same answer in another form.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: f(self.value), replayed: self.replayed }
    }
}

impl<T: serde::Serialize> Answer<T> {
    /// As JSON with this status, marked `Idempotent-Replayed: true` when it was
    /// given before.
    pub fn reply(self, status: StatusCode) -> Response {
        self.map(crate::Json).reply_as(status)
    }
}

impl<T: IntoResponse> Answer<T> {
    /// The same for a value that knows how it is answered, such as [`crate::Versioned`].
    pub fn reply_as(self, status: StatusCode) -> Response {
        let mut response = (status, self.value).into_response();
        if self.replayed {
            let name = HeaderName::from_static("idempotent-replayed");
            response.headers_mut().insert(name, HeaderValue::from_static("true"));
        }
        response
    }
}
