//! The end that asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use kernel::{BoxFuture, Error, Kind, Result, World};
use serde::{Serialize, de::DeserializeOwned};

use crate::{deadline, wire};

/// How a [`Channel`] calls.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest that a call may take when nobody up the line said less.
    pub limit: Duration,
    /// One multiplexed connection per address (HTTP/2 with prior knowledge)
    /// instead of a pool of HTTP/1.1 connections.
    pub http2: bool,
    /// The W3C `traceparent` of what is being worked on, to be sent along.
    pub traceparent: fn() -> Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options { limit: Duration::from_secs(10), http2: false, traceparent: || None }
    }
}

/// A way to a service in other processes: its addresses, taken in turn, and
/// connections that are kept and used again. Cheap to clone.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    world: World,
    addresses: Vec<String>,
    next: AtomicUsize,
    http: Client<HttpConnector, Full<Bytes>>,
    options: Options,
}

impl Channel {
    /// To a service at these base addresses, such as `http://10.0.0.7:3003`.
    pub fn new(world: World, addresses: Vec<String>) -> Channel {
        Channel::with(world, addresses, Options::default())
    }

    /// The same, called in another way.
    pub fn with(world: World, addresses: Vec<String>, options: Options) -> Channel {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let http = Client::builder(Tasks(world.clone()))
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .http2_only(options.http2)
            .build(connector);
        let addresses = addresses.iter().map(|address| address.trim_end_matches('/').to_owned()).collect();
        Channel(Arc::new(Inner { world, addresses, next: AtomicUsize::new(0), http, options }))
    }

    /// Asks and waits for the answer, as long as the deadline here allows.
    pub async fn call<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        service: &'static str,
        call: &'static str,
        ask: &Q,
    ) -> Result<A> {
        let inner = &*self.0;
        let began = inner.world.now();
        let limit =
            deadline().map_or(inner.options.limit, |until| until.since(began).min(inner.options.limit));
        let outcome = if limit < Duration::from_millis(1) {
            Err(wire::too_late(service, call))
        } else {
            let answer = inner.world.timeout(limit, inner.send(service, call, ask, limit)).await;
            answer.unwrap_or_else(|| Err(wire::too_late(service, call)))
        };
        let took = inner.world.now().since(began);
        metrics::histogram!("rpc_call_seconds", "service" => service, "call" => call)
            .record(took.as_secs_f64());
        if let Err(error) = &outcome
            && error.is_transient()
        {
            metrics::counter!("rpc_calls_failed_total", "service" => service, "call" => call).increment(1);
        }
        outcome
    }
}

impl Inner {
    async fn send<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        service: &str,
        call: &str,
        ask: &Q,
        left: Duration,
    ) -> Result<A> {
        let unreachable = |why: &dyn std::fmt::Display| {
            Error::unavailable("service_unreachable", format!("{service} cannot be reached"))
                .because(why.to_string())
        };
        let request = self.request(service, call, ask, left)?;
        let response = self.http.request(request).await;
        let response = response.map_err(|error| unreachable(&causes(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), wire::LARGEST_BYTES).collect().await;
        let body = body.map_err(|error| unreachable(&error))?.to_bytes();
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| not_understood(service, call, &error));
        }
        match serde_json::from_slice::<Error>(&body) {
            Ok(error) if status == wire::REFUSED => Err(error),
            // What stands between us and the service may answer in its place.
            _ if matches!(status.as_u16(), 429 | 502..=504) => Err(unreachable(&status)),
            _ => Err(not_understood(service, call, &status)),
        }
    }

    fn request<Q: Serialize>(
        &self,
        service: &str,
        call: &str,
        ask: &Q,
        left: Duration,
    ) -> Result<Request<Full<Bytes>>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(address) = self.addresses.get(turn % self.addresses.len().max(1)) else {
            return Err(Error::unavailable(
                "service_unreachable",
                format!("no address of {service} is known"),
            ));
        };
        let uri: Uri =
            format!("{address}/rpc/{service}/{call}").parse().map_err(|error: http::uri::InvalidUri| {
                Error::unavailable("service_unreachable", format!("{address:?} is no address of {service}"))
                    .because(error)
            })?;
        let body = serde_json::to_vec(ask).map_err(Error::internal)?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(wire::DEADLINE, wire::left(left));
        if let Some(Ok(trace)) = (self.options.traceparent)().map(HeaderValue::try_from) {
            headers.insert(wire::TRACEPARENT, trace);
        }
        Ok(request)
    }
}

fn not_understood(service: &str, call: &str, why: &dyn std::fmt::Display) -> Error {
    let message = format!("the answer of {service} to {call} is not understood");
    Error::new(Kind::Internal, "answer_not_understood", message).because(why.to_string())
}

/// An error of hyper and what is behind it: the first alone says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Connections are looked after by tasks of the world that was given.
#[derive(Clone)]
struct Tasks(World);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let task: BoxFuture<'static, ()> = Box::pin(task);
        drop(self.0.spawn(task));
    }
}
