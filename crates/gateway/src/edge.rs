//! The list of layers.

use std::time::Duration;

use axum::Router;
use kernel::{Result, World};
use tower::ServiceBuilder;
use utoipa::openapi::OpenApi;
use web::{
    edge::{
        Maintenance, OwnWrites, body_limit, compression, cors, forwarded, panics, requests, security_headers,
        time_limit, with_fallbacks,
    },
    health::Health,
    metrics, openapi, together,
};

use crate::{
    backend::{Backend, there},
    docs,
    limits::RateLimits,
    proxy::Connections,
    table,
};

/// What the edge shows beside the services' routes.
pub struct Front {
    /// What must answer for this process to be ready.
    pub health: Health,
    /// What is counted in this process.
    pub metrics: metrics::Handle,
    /// The description of the services' routes: made from those that run here,
    /// or [`crate::described`] where they run elsewhere.
    pub api: OpenApi,
    /// The sign on the door.
    pub maintenance: Maintenance,
    /// How often somebody may ask, if that is limited; not where a gateway in
    /// front counts already.
    pub limits: Option<RateLimits>,
    /// Where lists may come from a replica: so that nobody misses his own change.
    pub own_writes: Option<OwnWrites>,
}

/// How the edge behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How large the body of a request may be.
    pub body_limit_bytes: usize,
    /// Web pages of which origins may call from a browser.
    pub cors_origins: Vec<String>,
    /// The networks of the proxies that are believed when they say for whom
    /// they ask.
    pub trusted_proxies: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            request_timeout: Duration::from_secs(35),
            body_limit_bytes: 1 << 20,
            cors_origins: Vec::new(),
            trusted_proxies: vec!["127.0.0.0/8".into(), "::1".into()],
        }
    }
}

/// Puts services, here or elsewhere, behind the edge, beside its own routes:
/// `/openapi.json` and `/docs`, `/livez` and `/readyz`, `/metrics`. Fails
/// (`invalid_origin`, `invalid_network`, `no_such_service`) on settings that
/// cannot be.
///
/// In a fleet the gateway and each service have the same layers around them,
/// so that a service may also stand behind nginx alone; nothing is done twice
/// all the same. Request id, trace and forwarded headers are taken over from
/// the gateway and carried on. Headers for browsers are set again to what they
/// are. Compression and the time limit are left to the process that runs the
/// service: it has the cores for the one and knows what became of the work
/// for the other; the gateway passes a body on as it came, and waits a little
/// longer than the service may take.
pub fn edge(
    services: Vec<(&'static str, Backend)>,
    front: Front,
    settings: &Settings,
    world: &World,
) -> Result<Router> {
    let mut here = Router::new().merge(openapi::route(&front.api)?).merge(docs::routes(&front.api)?);
    let mut elsewhere = Router::new();
    let connections = Connections::new(world);
    for (service, backend) in services {
        match backend {
            Backend::Here(routes) => here = here.merge(routes),
            Backend::There(pool) => {
                let routes = there(service, pool, &connections, settings.request_timeout, world)?;
                elsewhere = elsewhere.merge(routes);
            }
        }
    }

    // From the outside in: a request passes them from top to bottom, its
    // answer from bottom to top.
    let around_all = together![
        // Request id, trace, numbers and the line in the log; outermost, so that nothing leaves without them.
        requests(world.clone()),
        // Answers a browser that asks first; before any work is done, and around every answer, because a page may read an error only with these headers.
        cors(&settings.cors_origins)?,
        // The headers that make a browser careful; on errors of what stands below, too.
        security_headers(),
        // A panic becomes a 500; below the headers that it must carry, above everything of ours that may panic.
        panics(),
        // Who asks, as far as we believe it; before anything that treats one caller differently from another.
        forwarded(&settings.trusted_proxies)?,
        // Closed for maintenance; before any work is done.
        front.maintenance,
        // Who asks too often; below the one that knows who asks, before any work is done for him.
        front.limits,
        // Too large a body is refused before anybody reads it.
        body_limit(settings.body_limit_bytes).unless(table::body_limit_at),
    ];
    let around_what_is_here = ServiceBuilder::new()
        // Smaller answers; here, so that it compresses whatever is said further in.
        .layer(compression())
        // Whose change must be seen; around the work, which asks it before it reads.
        .option_layer(front.own_writes)
        // No request lasts for ever; innermost, so that its 504 leaves like any other answer.
        .layer(time_limit(world.clone(), settings.request_timeout).unless(table::time_limit_at));

    let routes = here.merge(front.health.routes()).merge(front.metrics.routes()).layer(around_what_is_here);
    // 404 and 405 are answers like any other: made before the layers are put on, so that they pass them.
    Ok(with_fallbacks(routes.merge(elsewhere)).layer(around_all))
}
