//! What both ends of a call agree on.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kernel::{Error, Kind};

/// How many milliseconds are left for the answer.
pub const DEADLINE: HeaderName = HeaderName::from_static("carmel-deadline-ms");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The status of every error that a service answers with. What it means
/// stands in the body: only `web` turns a kind into a status.
pub const REFUSED: StatusCode = StatusCode::BAD_REQUEST;
/// Where a body ends at the latest, in either direction.
pub const LARGEST_BYTES: usize = 16 << 20;

/// The code of a call that was refused before its work began.
pub const OVERLOADED: &str = "overloaded";

/// A tenth less than that, at most a second. Whoever waits for another waits less long than he
/// is waited for himself, so that he can still say that time ran out: silence
/// is then the sign of a sick address, and not of something slow behind it.
pub fn shrunk(span: Duration) -> Duration {
    span - (span / 10).min(Duration::from_secs(1))
}

/// What is left, for the header.
pub fn left(span: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// What is left, from the header; nothing if it is not there or no number.
pub fn read_left(headers: &HeaderMap) -> Option<Duration> {
    let millis: u64 = headers.get(DEADLINE)?.to_str().ok()?.parse().ok()?;
    // A year is as good as for ever, and cannot overflow a clock.
    Some(Duration::from_millis(millis.min(365 * 24 * 3600 * 1000)))
}

/// It took too long; whether it was done is unknown.
pub fn too_late(service: &str, call: &str) -> Error {
    let message = format!("{service} did not answer {call} in time");
    Error::new(Kind::TimedOut, "deadline_exceeded", message)
}
