//! An error on its way out: problem details (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use kernel::{Error, FieldError, Kind};
use serde::Serialize;

use crate::telemetry;

/// Why a request was not answered as asked. Any error of an action becomes one
/// by `?`.
#[derive(Clone, Debug)]
pub struct Failure {
    status: StatusCode,
    error: Box<Error>,
    headers: HeaderMap,
}

impl Failure {
    /// A failure whose status is not the usual one of its kind: HTTP knows
    /// some that nobody else does (405, 413, 415).
    pub fn with_status(status: StatusCode, error: impl Into<Error>) -> Failure {
        Failure { status, error: Box::new(error.into()), headers: HeaderMap::new() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Failure {
        self.headers.insert(name, value);
        self
    }

    /// The status it leaves with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        let error = error.into();
        let failure = Failure::with_status(status_of(error.kind), error);
        match failure.error.kind {
            Kind::Unauthenticated => {
                failure.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            // A second is short enough for a person and long enough for a crowd to disperse.
            Kind::Unavailable | Kind::TooMany => {
                failure.header(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => failure,
        }
    }
}

/// The status that a kind of failure leaves with: the only place that knows.
fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Stale => StatusCode::PRECONDITION_FAILED,
        Kind::Mismatch => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The body of RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Field<'a>>,
}

#[derive(Serialize)]
struct Field<'a> {
    pointer: &'a str,
    detail: &'a str,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = &*self.error;
        if error.kind == Kind::Internal || error.cause.is_some() {
            // The cause is told here, once, and never sent out.
            tracing::error!(code = %error.code, error = error.chain(), "a request failed");
        }
        let problem = Problem {
            r#type: format!("/docs/errors#{}", error.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: &error.code,
            detail: &error.message,
            instance: telemetry::request_id(),
            errors: error
                .fields
                .iter()
                .map(|FieldError { pointer, message }| Field { pointer, detail: message })
                .collect(),
        };
        // Text, numbers and lists of them: this cannot fail.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
