//! Reading a body to its end, within its limit.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kernel::{Error, Kind};

use crate::Failure;

/// A body as it is, for what is signed to the byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Raw, Failure> {
        read(request.into_body()).await.map(Raw)
    }
}

/// What is read into memory at the most where no [`crate::edge::body_limit`]
/// says less.
const LARGEST_BYTES: usize = 8 << 20;

/// The whole body.
pub(crate) async fn read(body: Body) -> Result<Bytes, Failure> {
    match Limited::new(body, LARGEST_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(of_error(&*error)),
    }
}

/// Why a body could not be read to its end: 413 `body_too_large` or 400
/// `unreadable_body`.
pub fn of_error(error: &(dyn std::error::Error + 'static)) -> Failure {
    if is_too_large(error) {
        return too_large();
    }
    Error::invalid("unreadable_body", format!("the body cannot be read: {error}")).into()
}

/// The body is larger than it may be: 413.
pub(crate) fn too_large() -> Failure {
    let error = Error::new(Kind::TooMany, "body_too_large", "the body is larger than this server takes");
    Failure::with_status(StatusCode::PAYLOAD_TOO_LARGE, error)
}

fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return true;
        }
        next = error.source();
    }
    false
}
