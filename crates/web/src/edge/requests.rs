//! What is known of every request: its id, its trace, its line in the log and
//! its place in the numbers.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, OriginalUri, Request},
    response::Response,
};
use http::{HeaderName, HeaderValue, Method};
use kernel::{Time, World};
use metrics::{Counter, Histogram};

use super::around::{Answer, Around, layer};
use crate::{
    Failure,
    telemetry::{Current, Trace},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request an id (its own if it came with a sane one) and a step
/// in a trace, counts and times it by route, and writes one line about it.
/// Outermost, so that nothing leaves without it.
pub fn requests(world: World) -> Requests {
    Requests { world, numbers: Arc::new(Numbers::default()) }
}

/// See [`requests`].
#[derive(Clone)]
pub struct Requests {
    world: World,
    numbers: Arc<Numbers>,
}

/// What is kept of a request until its answer is there.
pub struct Kept {
    line: Line,
    current: Current,
}

layer!(Requests);

impl Around for Requests {
    /// Boxed, because it is large: layers hand it on.
    type Kept = Box<Kept>;

    fn before(&self, request: &mut Request) -> Result<Box<Kept>, Failure> {
        let chance: [u8; 40] = self.world.random();
        let (for_trace, for_id) = chance.split_first_chunk::<24>().unwrap_or((&[1; 24], &[]));
        let headers = request.headers();
        let before = headers.get("traceparent").and_then(|text| Trace::parse(text.to_str().ok()?));
        let trace = Trace::made_of(for_trace, before);
        let given = headers.get(REQUEST_ID).filter(|id| is_sane(id)).cloned();
        let request_id = given.clone().unwrap_or_else(|| new_id(for_id));
        if given.is_none() {
            // Whoever passes the request on to another process passes its id on.
            request.headers_mut().insert(REQUEST_ID, request_id.clone());
        }
        let extensions = request.extensions();
        let uri = extensions.get::<OriginalUri>().map_or(request.uri(), |OriginalUri(uri)| uri).clone();
        let line = Line {
            world: self.world.clone(),
            numbers: self.numbers.clone(),
            method: request.method().clone(),
            // The pattern, never the address: addresses are without number, and may tell of persons.
            route: extensions.get::<MatchedPath>().cloned(),
            began_at: self.world.now(),
            trace,
            request_id: request_id.clone(),
            status: LEFT,
        };
        let current = Current { trace, request: Some((request_id, uri)) };
        Ok(Box::new(Kept { line, current }))
    }

    async fn around(kept: Box<Kept>, answer: Answer<'_>) -> Response {
        let Kept { mut line, current } = *kept;
        let mut response = current.scope(answer).await;
        line.status = response.status().as_u16();
        response.headers_mut().insert(REQUEST_ID, line.request_id.clone());
        response
    }
}

/// What is written when the caller hangs up before his answer is there: no
/// status of HTTP, but the one that nginx made usual.
const LEFT: u16 = 499;

/// The line about a request: written when it is dropped, so that one is
/// written however the request ends.
struct Line {
    world: World,
    numbers: Arc<Numbers>,
    method: Method,
    route: Option<MatchedPath>,
    began_at: Time,
    trace: Trace,
    request_id: HeaderValue,
    status: u16,
}

impl Drop for Line {
    fn drop(&mut self) {
        let took = self.world.now().since(self.began_at);
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        self.numbers.count(route, &self.method, self.status, took);
        // Whoever looks after a process asks every second.
        if matches!(route, "/livez" | "/readyz" | "/metrics") && self.status < 400 {
            return;
        }
        tracing::info!(
            method = self.method.as_str(),
            route,
            status = self.status,
            ms = took.as_secs_f64() * 1000.0,
            request.id = self.request_id.to_str().unwrap_or_default(),
            trace.id = %self.trace.id(),
            "request"
        );
    }
}

/// 1 to 128 characters that do no harm in a log.
fn is_sane(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
}

fn new_id(chance: &[u8]) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'0'; 32];
    for (digits, byte) in text.chunks_exact_mut(2).zip(chance) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
}

/// Counters and histograms that were asked for once: asking for one by its
/// labels costs more than a cached read.
#[derive(Default)]
struct Numbers {
    by_route: RwLock<HashMap<String, OfRoute>>,
}

/// By method and status.
type OfRoute = HashMap<(Method, u16), (Counter, Histogram)>;

impl Numbers {
    fn count(&self, route: &str, method: &Method, status: u16, took: Duration) {
        // A method that somebody made up must not become a label of its own.
        let method =
            if is_known(method) { method.clone() } else { Method::from_bytes(b"OTHER").unwrap_or_default() };
        let key = (method, status);
        let known = self.by_route.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((counter, histogram)) = known.get(route).and_then(|route| route.get(&key)) {
            counter.increment(1);
            histogram.record(took.as_secs_f64());
            return;
        }
        drop(known);
        let labels =
            [("route", route.to_owned()), ("method", key.0.to_string()), ("status", status.to_string())];
        let counter = metrics::counter!("http_requests_total", &labels);
        let histogram = metrics::histogram!("http_request_seconds", &labels[..2]);
        counter.increment(1);
        histogram.record(took.as_secs_f64());
        let mut known = self.by_route.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(route.to_owned()).or_default().insert(key, (counter, histogram));
    }
}

fn is_known(method: &Method) -> bool {
    [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS]
        .contains(method)
}
