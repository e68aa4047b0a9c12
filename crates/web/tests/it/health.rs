//! Lives, ready, counted, described.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, routing::get};
use kernel::{Error, World};
use web::{health::Health, metrics, openapi};

use crate::client::ask;

#[tokio::test]
async fn readiness_follows_what_is_needed() {
    let up = Arc::new(AtomicBool::new(true));
    let seen = up.clone();
    let health = Health::new(World::real()).check("clock", async || Ok(())).check("database", move || {
        let up = seen.load(Ordering::SeqCst);
        async move {
            if up {
                Ok(())
            } else {
                Err(Error::unavailable("database_away", "the database is away").because("secret"))
            }
        }
    });
    let app = health.clone().routes();

    assert_eq!(ask(&app, "GET /readyz", &[], "").await.status, 200);
    up.store(false, Ordering::SeqCst);
    assert_eq!(ask(&app, "GET /readyz", &[], "").await.status, 503);
    let reply = ask(&app, "GET /readyz?verbose", &[], "").await;
    let body = reply.json();
    assert_eq!(reply.status, 503);
    assert_eq!(
        (&body["ready"], &body["checks"][0]["ok"], &body["checks"][1]["ok"]),
        (&false.into(), &true.into(), &false.into())
    );
    assert_eq!(body["checks"][1]["error"], "the database is away");
    assert!(body["checks"][1]["ms"].is_number() && !reply.body.contains("secret"));
    assert_eq!(ask(&app, "GET /livez", &[], "").await.body, "ok");
    up.store(true, Ordering::SeqCst);
    assert_eq!(ask(&app, "GET /readyz", &[], "").await.status, 200);
    health.drain();
    assert_eq!(ask(&app, "GET /readyz", &[], "").await.status, 503);
}

#[tokio::test]
async fn requests_are_counted_by_pattern() {
    let world = World::real();
    let numbers = metrics::install(&world).unwrap();
    let app = Router::new()
        .route("/counted/{id}", get(async || "yes"))
        .merge(metrics::install(&world).unwrap().routes())
        .layer(web::edge::requests(world));

    for id in 0..3 {
        ask(&app, &format!("GET /counted/{id}"), &[], "").await;
    }
    ask(&app, "MADEUP /counted/4", &[], "").await;
    let text = ask(&app, "GET /metrics", &[], "").await.body;

    let line = |line: &str| text.lines().any(|found| found == line);
    assert!(line("http_requests_total{route=\"/counted/{id}\",method=\"GET\",status=\"200\"} 3"), "{text}");
    assert!(line("http_requests_total{route=\"/counted/{id}\",method=\"OTHER\",status=\"405\"} 1"), "{text}");
    assert!(
        line("http_request_seconds_bucket{route=\"/counted/{id}\",method=\"GET\",le=\"+Inf\"} 3"),
        "{text}"
    );
    assert!(!text.contains("/counted/1") && numbers.render().contains("http_request_seconds_sum"));
}

#[tokio::test]
async fn the_description_is_made_from_the_routes() {
    use utoipa_axum::{router::OpenApiRouter, routes};

    #[utoipa::path(get, path = "/numbers", tag = "numbers", params(web::Page), security(("bearer" = [])),
        responses((status = 200, body = web::List<String>), web::openapi::Problems))]
    async fn numbers() -> &'static str {
        "numbers"
    }
    let frame = openapi::frame("Shop", "1.0.0", "A shop.");
    let (routes, api) = OpenApiRouter::with_openapi(frame).routes(routes!(numbers)).split_for_parts();
    let app = routes.merge(openapi::route(&api).unwrap());

    let body = ask(&app, "GET /openapi.json", &[], "").await.json();

    assert!(body["openapi"].as_str().unwrap().starts_with("3.1"));
    let call = &body["paths"]["/numbers"]["get"];
    assert_eq!(
        (&call["parameters"][0]["name"], &call["parameters"][1]["name"]),
        (&"limit".into(), &"cursor".into())
    );
    assert!(call["responses"]["default"]["content"]["application/problem+json"].is_object());
    assert_eq!(body["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert!(body["components"]["schemas"]["Problem"]["properties"]["code"].is_object());
    assert!(body["components"]["schemas"]["ProblemField"].is_object());
}
