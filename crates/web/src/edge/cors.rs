//! Which web pages may call.

use std::sync::Arc;

use axum::{extract::Request, response::Response};
use http::{HeaderValue, Method, header};
use kernel::{Error, Result};

use super::around::{Answer, Around, layer};
use crate::Failure;

/// Lets pages of these origins call (`https://shop.example.com`; `*` is any;
/// none is none), with every header that this API knows, and without cookies
/// (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>). A browser that
/// asks first (`OPTIONS`) is answered here.
pub fn cors(origins: &[String]) -> Result<Cors> {
    let origins = if origins.iter().any(|origin| origin == "*") {
        Origins::Any
    } else {
        Origins::These(origins.iter().map(|origin| parse(origin)).collect::<Result<_>>()?)
    };
    Ok(Cors { origins: Arc::new(origins) })
}

/// See [`cors`].
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Arc<Origins>,
}

#[derive(Debug)]
enum Origins {
    Any,
    These(Vec<HeaderValue>),
}

/// What an answer depends on, whoever asks: caches keep them apart.
const VARY: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,POST,PUT,PATCH,DELETE");
/// What a page may send.
const SENT: HeaderValue = HeaderValue::from_static(
    "authorization,content-type,if-match,if-none-match,idempotency-key,prefer,traceparent,x-request-id",
);
/// What a page may read.
const READ: HeaderValue = HeaderValue::from_static(
    "etag,link,location,retry-after,idempotent-replayed,preference-applied,ratelimit,ratelimit-policy,\
     x-request-id",
);
/// How long a browser may remember what it was told, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What is kept of a request.
pub struct Kept {
    /// Told to the page that asks, if it may.
    allowed: Option<HeaderValue>,
    asks_first: bool,
}

layer!(Cors);

impl Around for Cors {
    type Kept = Kept;

    fn before(&self, request: &mut Request) -> std::result::Result<Kept, Failure> {
        let allowed = match &*self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::These(origins) => {
                let origin = request.headers().get(header::ORIGIN);
                origin.filter(|origin| origins.contains(origin)).cloned()
            }
        };
        Ok(Kept { allowed, asks_first: *request.method() == Method::OPTIONS })
    }

    async fn around(kept: Kept, answer: Answer<'_>) -> Response {
        let mut response = if kept.asks_first { Response::default() } else { answer.await };
        let headers = response.headers_mut();
        // A service behind the gateway has said so already.
        if !headers.get_all(header::VARY).iter().any(|vary| vary == VARY) {
            headers.append(header::VARY, VARY);
        }
        if let Some(allowed) = kept.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
        if kept.asks_first {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, SENT);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        }
        response
    }
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
