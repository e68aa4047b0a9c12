//! The list of layers.

use std::time::Duration;

use axum::Router;
use db::Db;
use kernel::{Result, World};
use tower::ServiceBuilder;
use utoipa::openapi::OpenApi;
use web::{
    edge::{body_limit, compression, cors, panics, requests, security_headers, time_limit, with_fallbacks},
    health::Health,
    metrics, openapi,
};

use crate::{docs, greeting};

/// What the edge shows beside the services' routes.
pub struct Front {
    /// What must answer for this process to be ready.
    pub health: Health,
    /// What is counted in this process.
    pub metrics: metrics::Handle,
    /// The database whose time the greeting tells.
    pub database: Db,
    /// The description of the services' routes.
    pub api: OpenApi,
}

/// How the edge behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the shop is called, in its greeting and its API description.
    pub shop: String,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How large the body of a request may be.
    pub body_limit_bytes: usize,
    /// Web pages of which origins may call from a browser.
    pub cors_origins: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            shop: "Carmel".into(),
            request_timeout: Duration::from_secs(35),
            body_limit_bytes: 1 << 20,
            cors_origins: Vec::new(),
        }
    }
}

/// Puts the services' routes behind the edge, beside its own: the greeting,
/// `/openapi.json` and `/docs`, `/livez` and `/readyz`, `/metrics`. Returns the
/// description of all of it, too. Fails (`invalid_origin`) on settings that
/// cannot be.
pub fn edge(services: Router, front: Front, settings: &Settings, world: &World) -> Result<(Router, OpenApi)> {
    let (greeting, of_greeting) = greeting::routes(front.database, &settings.shop).split_for_parts();
    let mut api = front.api;
    api.merge(of_greeting);
    let routes = services
        .merge(greeting)
        .merge(openapi::route(&api)?)
        .merge(docs::routes(&api)?)
        .merge(front.health.routes())
        .merge(front.metrics.routes());

    // From the outside in: a request passes them from top to bottom, its
    // answer from bottom to top.
    let layers = ServiceBuilder::new()
        // Request id, trace, numbers and the line in the log; outermost, so that nothing leaves without them.
        .layer(requests(world.clone()))
        // Answers a browser's preflight itself; before any work is done, and around every answer, because a page may read an error only with these headers.
        .layer(cors(&settings.cors_origins)?)
        // The headers that make a browser careful; on errors of what stands below, too.
        .layer(security_headers())
        // A panic becomes a 500; below the headers that it must carry, above everything of ours that may panic.
        .layer(panics())
        // Smaller answers; here, so that it compresses whatever is said further in.
        .layer(compression())
        // Too large a body is refused before anybody reads it.
        .layer(body_limit(settings.body_limit_bytes))
        // No request lasts for ever; innermost, so that its 504 leaves like any other answer.
        .layer(time_limit(world.clone(), settings.request_timeout));

    // 404 and 405 are answers like any other: made before the layers are put on, so that they pass them.
    Ok((with_fallbacks(routes).layer(layers), api))
}
