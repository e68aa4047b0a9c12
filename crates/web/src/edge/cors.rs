//! Which web pages may call.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use kernel::{Error, Result};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Lets pages of these origins call (`https://shop.example.com`; `*` is any;
/// none is none), with every header that this API knows, and without cookies.
pub fn cors(origins: &[String]) -> Result<CorsLayer> {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().map(|origin| parse(origin)).collect::<Result<Vec<_>>>()?)
    };
    let known = HeaderName::from_static;
    Ok(CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            known("idempotency-key"),
            known("prefer"),
            known("traceparent"),
            known("x-request-id"),
        ])
        .expose_headers([
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            known("idempotent-replayed"),
            known("preference-applied"),
            known("ratelimit"),
            known("ratelimit-policy"),
            known("x-request-id"),
        ])
        .max_age(Duration::from_secs(600)))
}

fn parse(origin: &str) -> Result<HeaderValue> {
    let wrong = || {
        Error::invalid(
            "invalid_origin",
            format!("an origin looks like https://shop.example.com, not {origin:?}"),
        )
    };
    let uri: http::Uri = origin.parse().map_err(|_| wrong())?;
    let bare = matches!(uri.scheme_str(), Some("http" | "https"))
        && !origin.ends_with('/')
        && uri.path().len() <= 1
        && uri.query().is_none();
    if bare { HeaderValue::from_str(origin).map_err(|_| wrong()) } else { Err(wrong()) }
}
