//! The headers that make a browser careful.

use axum::{extract::Request, response::Response};
use http::{HeaderName, HeaderValue, header};

use super::around::{Answer, Around, layer};
use crate::Failure;

/// Adds the twelve headers that helmet 8 (the usual one of Express) sets by
/// default, with its values. One that a handler set itself stays.
pub fn security_headers() -> SecurityHeaders {
    SecurityHeaders
}

/// See [`security_headers`].
#[derive(Clone, Copy, Debug)]
pub struct SecurityHeaders;

static HEADERS: [(HeaderName, HeaderValue); 12] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';\
             frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';\
             script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
        ),
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("origin-agent-cluster"), HeaderValue::from_static("?1")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_DNS_PREFETCH_CONTROL, HeaderValue::from_static("off")),
    (HeaderName::from_static("x-download-options"), HeaderValue::from_static("noopen")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), HeaderValue::from_static("none")),
    // Off: the filter that it switched on in old browsers could itself be abused.
    (header::X_XSS_PROTECTION, HeaderValue::from_static("0")),
];

layer!(SecurityHeaders);

impl Around for SecurityHeaders {
    type Kept = ();

    fn before(&self, _: &mut Request) -> Result<(), Failure> {
        Ok(())
    }

    async fn around((): (), answer: Answer<'_>) -> Response {
        let mut response = answer.await;
        let headers = response.headers_mut();
        // Those that stand further out add theirs: the map grows once for all.
        headers.reserve(HEADERS.len() + 8);
        for (name, value) in &HEADERS {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        response
    }
}
