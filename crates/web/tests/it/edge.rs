//! The layers of the edge.

use std::time::Duration;

use axum::{
    Router,
    response::IntoResponse,
    routing::{get, post},
};
use http::header;
use kernel::World;
use web::edge;

use crate::{client::ask, worlds::Clock};

#[tokio::test]
async fn what_nobody_answers_is_a_problem() {
    let app =
        edge::with_fallbacks(Router::new().route("/orders", post(async || "yes").delete(async || "no")));

    assert_eq!(ask(&app, "GET /nowhere", &[], "").await.problem(), (404, "no_such_route".to_owned()));
    let reply = ask(&app, "GET /orders", &[], "").await;
    assert_eq!(reply.problem(), (405, "method_not_allowed".to_owned()));
    assert_eq!(reply.header("allow"), "POST,DELETE");
}

#[tokio::test]
async fn a_panic_is_a_problem_and_nothing_of_it_is_sent() {
    async fn breaks() -> &'static str {
        panic!("the secret is 42")
    }
    let app = Router::new().route("/", get(breaks)).layer(edge::panics());

    let reply = ask(&app, "GET /", &[], "").await;

    assert_eq!(reply.problem(), (500, "internal".to_owned()));
    assert!(!reply.body.contains("42"));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let (clock, world) = Clock::new();
    let app = Router::new()
        .route("/", get(std::future::pending::<&'static str>))
        .layer(edge::time_limit(world, Duration::from_secs(30)));
    let asking = ask(&app, "GET /", &[], "");
    tokio::pin!(asking);

    assert!(futures::poll!(&mut asking).is_pending());
    clock.forward(Duration::from_secs(30));

    assert_eq!(asking.await.problem(), (504, "request_timed_out".to_owned()));
}

#[tokio::test]
async fn the_headers_of_helmet_are_there() {
    let own = async || ([(header::X_FRAME_OPTIONS, "DENY")], "own").into_response();
    let app = Router::new()
        .route("/", get(async || "page"))
        .route("/own", get(own))
        .layer(edge::security_headers());

    let reply = ask(&app, "GET /", &[], "").await;

    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
        ),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("origin-agent-cluster", "?1"),
        ("referrer-policy", "no-referrer"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-dns-prefetch-control", "off"),
        ("x-download-options", "noopen"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-permitted-cross-domain-policies", "none"),
        ("x-xss-protection", "0"),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    assert_eq!(ask(&app, "GET /own", &[], "").await.header("x-frame-options"), "DENY");
}

#[tokio::test]
async fn large_answers_are_compressed_as_the_caller_likes() {
    let app = Router::new()
        .route("/large", get(async || "mug ".repeat(1000)))
        .route("/small", get(async || "mug"))
        .layer(edge::compression())
        .layer(edge::security_headers());

    for coding in ["gzip", "br", "zstd"] {
        let reply = ask(&app, "GET /large", &[("accept-encoding", coding)], "").await;
        assert_eq!((reply.header("content-encoding"), reply.body.len() < 400), (coding, true));
        assert!(reply.header("vary").contains("accept-encoding"));
    }
    assert_eq!(
        ask(&app, "GET /small", &[("accept-encoding", "gzip")], "").await.header("content-encoding"),
        ""
    );
    assert_eq!(ask(&app, "GET /large", &[], "").await.body.len(), 4000);
}

#[tokio::test]
async fn pages_of_known_origins_may_call() {
    let origins = ["https://shop.example.com".to_owned()];
    let app = Router::new().route("/", get(async || "page")).layer(edge::cors(&origins).unwrap());
    let preflight = async |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        ask(&app, "OPTIONS /", &headers, "").await
    };

    let known = preflight("https://shop.example.com").await;
    assert_eq!(known.header("access-control-allow-origin"), "https://shop.example.com");
    assert!(known.header("access-control-allow-headers").contains("idempotency-key"));
    assert_eq!(preflight("https://evil.example.com").await.header("access-control-allow-origin"), "");
    for wrong in ["shop.example.com", "https://shop.example.com/", "ftp://a", ""] {
        assert_eq!(edge::cors(&[wrong.to_owned()]).unwrap_err().code, "invalid_origin", "{wrong}");
    }
}

#[tokio::test]
async fn the_layers_stand_together() {
    let world = World::real();
    let edge = tower::ServiceBuilder::new()
        .layer(edge::requests(world.clone()))
        .layer(edge::security_headers())
        .layer(edge::cors(&["*".to_owned()]).unwrap())
        .layer(edge::compression())
        .layer(edge::panics())
        .layer(edge::time_limit(world, Duration::from_secs(35)))
        .layer(edge::body_limit(1 << 20));
    let verifier = crate::client::Signer::new(&World::real()).verifier();
    let service =
        |path: &str| web::service_layers(Router::new().route(path, get(async || "page")), &verifier);
    let app = edge::with_fallbacks(service("/a").merge(service("/b"))).layer(edge);
    assert_eq!(ask(&app, "GET /a", &[], "").await.body, "page");
    assert_eq!(ask(&app, "PUT /b", &[], "").await.problem().0, 405);

    let reply = ask(&app, "GET /nowhere", &[("origin", "https://a.example")], "").await;

    assert_eq!(reply.problem().0, 404);
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!((reply.header("x-request-id").len(), reply.header("x-frame-options")), (32, "SAMEORIGIN"));
}

#[tokio::test]
async fn a_body_refused_by_its_announced_length_names_its_request() {
    let app = Router::new()
        .route("/", post(async || "taken"))
        .layer(edge::body_limit(100))
        .layer(edge::requests(World::real()));

    let reply = ask(&app, "POST /", &[("content-length", "101"), ("x-request-id", "req-7")], "").await;

    assert_eq!(reply.problem(), (413, "body_too_large".to_owned()));
    assert_eq!(reply.json()["instance"], "req-7");
}
