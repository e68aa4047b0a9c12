//! Passing a request on to a service in another process, and its answer back.

mod body;
mod connections;
mod headers;
mod upgrade;

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{StatusCode, Uri, Version, request::Parts};
use kernel::{BoxFuture, Error, Kind, World};
use rpc::Pool;
use web::Failure;

use body::Ask;
use connections::Answer;
pub use connections::Connections;
use upgrade::Upgrade;

/// How many addresses are tried when nobody can be reached.
const MOST_ADDRESSES: usize = 3;

/// Passes requests on to one service. Cheap to clone.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    service: &'static str,
    pool: Pool,
    connections: Connections,
    limit: Duration,
    world: World,
}

impl Proxy {
    /// To the processes of a service, whose answer must have begun within the
    /// limit.
    pub fn new(
        service: &'static str,
        pool: Pool,
        connections: Connections,
        limit: Duration,
        world: World,
    ) -> Proxy {
        Proxy(Arc::new(Inner { service, pool, connections, limit, world }))
    }

    /// Sends it to one of the processes and gives back what that answers; both
    /// bodies stream. 503 `service_unreachable` when nobody is there, 502
    /// `upstream_failed` when whoever was there broke off, 504
    /// `deadline_exceeded` when he said nothing in time.
    ///
    /// What surely never arrived is sent to another process; what may have
    /// arrived only if the second time does no harm, and once.
    ///
    /// Boxed here, because it is large: axum would move it about for each layer.
    pub fn pass_on(&self, request: Request) -> BoxFuture<'static, Response> {
        let proxy = self.0.clone();
        Box::pin(async move { proxy.pass_on(request).await.unwrap_or_else(Failure::into_response) })
    }
}

impl Inner {
    async fn pass_on(&self, mut request: Request) -> Result<Response, Failure> {
        let upgrade = Upgrade::asked_for(&mut request);
        let (mut head, body) = request.into_parts();
        let body = Ask::read(&head, body).await?;
        headers::outgoing(&mut head);
        if upgrade.is_some() {
            Upgrade::say(&mut head.headers);
        }
        let response = self.ask(&head, &body).await?;
        match (upgrade, response.status()) {
            (Some(upgrade), StatusCode::SWITCHING_PROTOCOLS) => Ok(upgrade.connect(response, &self.world)),
            (None, StatusCode::SWITCHING_PROTOCOLS) => Err(self.broke_off("it switched protocols unasked")),
            _ => Ok(answer(response)),
        }
    }

    async fn ask(&self, head: &Parts, body: &Ask) -> Result<http::Response<Answer>, Failure> {
        let until = self.world.steady() + self.limit;
        let mut tried: Vec<String> = Vec::new();
        let mut repeated = false;
        loop {
            let pick = self.pool.pick_besides(&tried)?;
            let request = request(head, body);
            let left = until.since(self.world.steady());
            let asked = {
                let asking = pin!(self.connections.ask(pick.address(), request));
                self.world.timeout(left, asking).await
            };
            let failed = match asked {
                Some(Ok(mut response)) => {
                    pick.succeeded();
                    if !body.is_sent() {
                        response.body_mut().drive_apart();
                    }
                    return Ok(response);
                }
                Some(Err(failed)) => failed,
                None => {
                    if body.is_sent() {
                        pick.failed(); // otherwise the caller was slow, not he
                    }
                    let message = format!("{} did not answer in time", self.service);
                    return Err(Error::new(Kind::TimedOut, "deadline_exceeded", message).into());
                }
            };
            if let Some(failure) = body.failure() {
                return Err(failure); // the caller broke off, not he
            }
            let known = tried.iter().any(|address| address == pick.address());
            tried.push(pick.address().to_owned());
            pick.failed();
            if !failed.may_have_arrived {
                if known || tried.len() == MOST_ADDRESSES {
                    let message = format!("{} cannot be reached", self.service);
                    return Err(Error::unavailable("service_unreachable", message)
                        .because(failed.cause)
                        .into());
                }
            } else if repeated || !body.may_be_repeated() {
                return Err(self.broke_off(failed.cause));
            } else {
                repeated = true;
            }
        }
    }

    fn broke_off(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        let message =
            format!("{} broke off before it answered; whether it was done is unknown", self.service);
        let error = Error::unavailable("upstream_failed", message).because(why);
        Failure::with_status(StatusCode::BAD_GATEWAY, error)
    }
}

/// The request as it is sent to whoever is picked.
fn request(head: &Parts, body: &Ask) -> http::Request<Body> {
    let mut request = http::Request::new(body.lend());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    *request.headers_mut() = head.headers.clone();
    request
}

fn answer(response: http::Response<Answer>) -> Response {
    let (mut head, body) = response.into_parts();
    headers::incoming(&mut head.headers);
    // How we speak to the service is nothing to whom we answer.
    head.version = Version::default();
    Response::from_parts(head, Body::new(body))
}
