//! Connections that are kept and used again, and one try over them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioTimer,
};
use kernel::{BoxFuture, Error, Kind, Result, Time, World};

use crate::{Call, Cut, Options, token, wire};

/// The connections to all addresses of a service.
pub struct Connections {
    world: World,
    options: Options,
    clients: Vec<Client<HttpConnector, Full<Bytes>>>,
    next: AtomicUsize,
}

/// How a try ended.
pub enum Ended {
    /// The service answered, if only with an error.
    Answered(Result<Bytes>),
    /// The service has too much to do and did not begin.
    Overloaded(Error),
    /// It surely never arrived.
    NotReached(Error),
    /// No answer came; whether it was done is unknown.
    Lost(Error),
}

/// Nobody takes longer to accept a connection who is well.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
/// A peer that is asked for a sign of life (HTTP/2 PING) and gives none is
/// taken for dead, and with it all that waits for it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

impl Connections {
    /// None yet: each is made when it is needed.
    pub fn new(world: &World, options: &Options) -> Connections {
        // A client of hyper has one HTTP/2 connection for each address.
        let count = if options.http2 { options.connections.max(1) } else { 1 };
        let clients = (0..count).map(|_| client(world, options)).collect();
        Connections { world: world.clone(), options: options.clone(), clients, next: AtomicUsize::new(0) }
    }

    /// Asks at this address and waits until then.
    pub async fn send(&self, call: Call, body: Bytes, address: &str, until: Time) -> Ended {
        let left = until.since(self.world.steady());
        let request = match self.request(call, body, address, left) {
            Ok(request) => request,
            Err(error) => return Ended::NotReached(error),
        };
        let answer = self.world.timeout(left, self.answer(call, request)).await;
        answer.unwrap_or_else(|| Ended::Lost(wire::too_late(call.service, call.name)))
    }

    async fn answer(&self, call: Call, request: Request<Bytes>) -> Ended {
        let unreachable = |why: String| {
            Error::unavailable("service_unreachable", format!("{} cannot be reached", call.service))
                .because(why)
        };
        let (status, body) = match self.ask(request).await {
            Ok(response) => (response.status(), response.into_body()),
            Err(Cut::NotReached(why)) => return Ended::NotReached(unreachable(why)),
            Err(Cut::Lost(why)) => return Ended::Lost(unreachable(why)),
        };
        if status == StatusCode::OK {
            return Ended::Answered(Ok(body));
        }
        match serde_json::from_slice::<Error>(&body) {
            Ok(error) if status == wire::REFUSED && error.code == wire::OVERLOADED => {
                Ended::Overloaded(error)
            }
            Ok(error) if status == wire::REFUSED && error.code == token::REFUSED => {
                // Ours to mend, and nothing that whoever asked us could do about.
                Ended::Answered(Err(unreachable(error.message)))
            }
            Ok(error) if status == wire::REFUSED => Ended::Answered(Err(error)),
            // What stands between us and the service may answer in its place.
            _ if status == StatusCode::TOO_MANY_REQUESTS => {
                Ended::Overloaded(unreachable(status.to_string()))
            }
            _ if matches!(status.as_u16(), 502..=504) => Ended::Lost(unreachable(status.to_string())),
            _ => Ended::Answered(Err(not_understood(call, &status))),
        }
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Cut> {
        if let Some(network) = &self.options.network {
            return network.ask(request).await;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        let response =
            self.clients[turn].request(request.map(Full::new)).await.map_err(|error| {
                match error.is_connect() {
                    true => Cut::NotReached(causes(&error)),
                    false => Cut::Lost(causes(&error)),
                }
            })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, wire::LARGEST_BYTES).collect().await;
        let body = body.map_err(|error| Cut::Lost(error.to_string()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn request(&self, call: Call, body: Bytes, address: &str, left: Duration) -> Result<Request<Bytes>> {
        let uri = format!("{address}/rpc/{}/{}", call.service, call.name);
        let uri: Uri = uri.parse().map_err(|error: http::uri::InvalidUri| Error::internal(error))?;
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(wire::DEADLINE, wire::left(wire::shrunk(left)));
        if let Some(token) = &self.options.token {
            headers.insert(header::AUTHORIZATION, token.header());
        }
        if let Some(Ok(trace)) = (self.options.traceparent)().map(HeaderValue::try_from) {
            headers.insert(wire::TRACEPARENT, trace);
        }
        Ok(request)
    }
}

/// What came back is not what the contract promises.
pub fn not_understood(call: Call, why: &dyn std::fmt::Display) -> Error {
    let message = format!("the answer of {} to {} is not understood", call.service, call.name);
    Error::new(Kind::Internal, "answer_not_understood", message).because(why.to_string())
}

fn client(world: &World, options: &Options) -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECTED_WITHIN));
    Client::builder(Tasks(world.clone()))
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .http2_only(options.http2)
        .http2_keep_alive_interval(SIGN_OF_LIFE)
        .http2_keep_alive_timeout(SIGN_OF_LIFE)
        .build(connector)
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
