//! Where a service runs, seen from the edge.

use std::{convert::Infallible, time::Duration};

use axum::{Router, extract::Request, routing::any_service};
use futures::FutureExt;
use kernel::{Error, Kind, Result, World};
use rpc::Pool;
use tower::service_fn;

use crate::{
    proxy::{Connections, Proxy},
    table::TABLE,
};

/// Where a service runs.
#[derive(Clone)]
pub enum Backend {
    /// In this process: its routes.
    Here(Router),
    /// In others: their addresses. The routing table says what is sent there.
    There(Pool),
}

/// How much longer the edge waits than the service itself allows, so that its
/// own answer comes first: it knows what became of the work.
const GRACE: Duration = Duration::from_secs(1);

/// Passes on what the routing table says is this service's.
pub fn there(
    service: &'static str,
    pool: Pool,
    connections: &Connections,
    usual: Duration,
    world: &World,
) -> Result<Router> {
    let mut routes = Router::new();
    let mine: Vec<_> = TABLE.iter().filter(|route| route.service == service).collect();
    if mine.is_empty() {
        let message = format!("the routing table knows no service {service:?}");
        return Err(Error::new(Kind::Internal, "no_such_service", message));
    }
    for route in mine {
        let limit = route.time_limit.unwrap_or(usual) + GRACE;
        let proxy = Proxy::new(service, pool.clone(), connections.clone(), limit, world.clone());
        // A service, because axum would put all layers around a handler for any method anew for each request.
        let pass_on = service_fn(move |request: Request| proxy.pass_on(request).map(Ok::<_, Infallible>));
        for pattern in route.patterns() {
            routes = routes.route(&pattern, any_service(pass_on.clone()));
        }
    }
    Ok(routes)
}
