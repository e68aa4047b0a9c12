//! The edge, from outside: over real connections, on both databases.
#![allow(clippy::unwrap_used, missing_docs)]

mod browser;
mod faults;
mod fleet;
mod limits;
mod nginx;
mod passing;
mod streaming;

use std::{sync::Arc, time::Duration};

use axum::routing::get;
use gateway::{Backend, Drain, Front, Settings};
use kernel::World;
use testkit::TestDb;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Json, edge::Maintenance, health::Health};

use browser::Browser;

testkit::both_databases!(
    the_greeting_tells_the_databases_time,
    whatever_goes_wrong_is_a_problem_behind_every_layer,
    the_api_is_described_for_machines_and_for_people,
    a_shop_that_ends_finishes_what_is_under_way,
    a_request_that_hangs_is_cut_off_when_the_time_to_drain_is_over,
    pages_of_known_origins_may_call,
);

/// A door that a test opens, to hold a request up.
type Door = Arc<Notify>;

#[derive(serde::Serialize, ToSchema)]
struct Mug {
    /// How <many> there are.
    count: u32,
}

#[utoipa::path(get, path = "/mugs", tag = "mugs", responses(
    (status = 200, body = Mug), (status = 409, description = "`no_mugs_left` today")
))]
async fn mugs() -> Json<Mug> {
    Json(Mug { count: 3 })
}

struct Shop {
    browser: Browser,
    stop: CancellationToken,
    door: Door,
    ended: tokio::task::JoinHandle<()>,
}

impl Shop {
    async fn open(db: &TestDb, drain: Duration) -> Shop {
        let world = World::real();
        let db = db.open("orders", &[]).await;
        let (routes, api) = OpenApiRouter::with_openapi(web::openapi::frame("Mugs", "1", "All of them."))
            .routes(routes!(mugs))
            .merge(gateway::greeting(db.clone(), "Carmel"))
            .split_for_parts();
        let door = Door::default();
        let held_up = door.clone();
        let routes = routes
            .route("/panic", get(async || -> &'static str { panic!("oh no") }))
            .route("/hang", get(async || std::future::pending::<()>().await))
            .route("/long", get(async || "long ".repeat(2000)))
            .route("/length", axum::routing::post(async |body: String| body.len().to_string()))
            .route(
                "/held-up",
                get(async move || {
                    held_up.notified().await;
                    "let through"
                }),
            );
        let front = Front {
            health: Health::new(world.clone()).database("orders", db),
            metrics: web::metrics::install(&world).unwrap(),
            api,
            maintenance: Maintenance::default(),
            limits: None,
            own_writes: None,
        };
        let settings = Settings {
            request_timeout: Duration::from_secs(2),
            body_limit_bytes: 100,
            cors_origins: vec!["https://shop.example.com".into()],
            ..Settings::default()
        };
        let services = vec![("mugs", Backend::Here(routes))];
        let routes = gateway::edge(services, front, &settings, &world).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let browser = Browser { address: listener.local_addr().unwrap() };
        let (stop, drain) = (CancellationToken::new(), Drain { delay: Duration::ZERO, limit: drain });
        let ended = tokio::spawn(gateway::serve(listener, routes, stop.clone(), drain));
        Shop { browser, stop, door, ended }
    }

    async fn close(self) {
        self.stop.cancel();
        self.ended.await.unwrap();
    }
}

async fn the_greeting_tells_the_databases_time(db: TestDb) {
    let shop = Shop::open(&db, Duration::from_secs(5)).await;

    let greeting = shop.browser.get("/").await;

    let said = greeting.json();
    assert_eq!((greeting.status, &said["message"]), (200, &"Hello from Carmel".into()));
    let time: kernel::Time = said["time"].as_str().unwrap().parse().unwrap();
    assert!(World::real().now().since(time) < Duration::from_secs(60));
    assert_eq!(said["database"], format!("{:?}", db.engine()).to_lowercase());
    assert_eq!(shop.browser.get("/livez").await.status, 200);
    let ready = shop.browser.get("/readyz?verbose").await;
    assert!(ready.status == 200 && ready.body.contains("orders"), "{}", ready.body);
    let counted = shop.browser.get("/metrics").await;
    assert!(counted.body.contains("http_request"), "{}", counted.body);
    shop.close().await;
}

async fn whatever_goes_wrong_is_a_problem_behind_every_layer(db: TestDb) {
    let shop = Shop::open(&db, Duration::from_secs(5)).await;

    for (answer, status, code) in [
        (shop.browser.get("/nowhere").await, 404, "no_such_route"),
        (shop.browser.send("DELETE", "/mugs", &[], "").await, 405, "method_not_allowed"),
        (shop.browser.get("/panic").await, 500, "internal"),
        (shop.browser.get("/hang").await, 504, "request_timed_out"),
        (shop.browser.send("POST", "/length", &[], &"x".repeat(101)).await, 413, "body_too_large"),
    ] {
        assert_eq!((answer.status, &answer.json()["code"]), (status, &code.into()));
        assert_eq!(answer.header("content-type"), "application/problem+json", "{code}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{code}");
        assert_eq!(answer.header("x-request-id").len(), 32, "{code}");
        if code != "body_too_large" {
            // Said before the request is known to whoever writes the problem down.
            assert_eq!(answer.json()["instance"], answer.header("x-request-id"), "{code}");
        }
        assert!(!answer.body.contains("oh no"));
    }
    let long = shop.browser.send("GET", "/long", &[("accept-encoding", "gzip")], "").await;
    assert_eq!((long.status, long.header("content-encoding")), (200, "gzip"));
    let short = shop.browser.send("GET", "/mugs", &[("accept-encoding", "gzip")], "").await;
    assert_eq!((short.status, short.header("content-encoding")), (200, ""));
    shop.close().await;
}

async fn the_api_is_described_for_machines_and_for_people(db: TestDb) {
    let shop = Shop::open(&db, Duration::from_secs(5)).await;

    let api = shop.browser.get("/openapi.json").await.json();
    let docs = shop.browser.get("/docs").await;
    let errors = shop.browser.get("/docs/errors").await;

    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(api["paths"]["/mugs"]["get"].is_object() && api["paths"]["/"]["get"].is_object());
    assert!(docs.header("content-type").starts_with("text/html"));
    assert!(
        docs.body.contains("&#x2f;mugs") && docs.body.contains("&quot;count&quot;: integer"),
        "{}",
        docs.body
    );
    assert!(docs.body.contains("How &lt;many&gt;"), "{}", docs.body);
    assert!(!docs.body.contains("<script") && !docs.body.contains("src="));
    assert!(errors.body.contains("id=\"no_mugs_left\"") && errors.body.contains("id=\"no_such_route\""));
    shop.close().await;
}

async fn a_shop_that_ends_finishes_what_is_under_way(db: TestDb) {
    let shop = Shop::open(&db, Duration::from_secs(10)).await;
    let silent = tokio::net::TcpStream::connect(shop.browser.address).await.unwrap();
    let mut kept = shop.browser.connect().await;
    assert_eq!(kept.get("/mugs").await.status, 200);
    let mut connection = shop.browser.connect_http2().await;
    let under_way = tokio::spawn(async move { connection.get("/held-up").await });
    tokio::time::sleep(Duration::from_millis(50)).await; // on its way: nothing outside tells of it

    shop.stop.cancel();
    shop.door.notify_one();
    let answer = under_way.await.unwrap();
    shop.ended.await.unwrap();

    assert_eq!((answer.status, answer.body.as_str()), (200, "let through"));
    assert!(tokio::net::TcpStream::connect(shop.browser.address).await.is_err());
    drop(silent);
}

async fn a_request_that_hangs_is_cut_off_when_the_time_to_drain_is_over(db: TestDb) {
    let shop = Shop::open(&db, Duration::from_millis(100)).await;
    let mut connection = shop.browser.connect().await;
    let hanging = tokio::spawn(async move { connection.get("/hang").await });
    tokio::time::sleep(Duration::from_millis(50)).await;

    shop.stop.cancel();

    let ended = tokio::time::timeout(Duration::from_millis(1500), shop.ended).await;
    assert!(ended.is_ok());
    hanging.abort();
}

async fn pages_of_known_origins_may_call(db: TestDb) {
    let shop = Shop::open(&db, Duration::from_secs(5)).await;
    let preflight =
        [("access-control-request-method", "POST"), ("access-control-request-headers", "idempotency-key")];
    let from = |origin| [&[("origin", origin)], &preflight[..]].concat();

    let known = shop.browser.send("OPTIONS", "/mugs", &from("https://shop.example.com"), "").await;
    let unknown = shop.browser.send("OPTIONS", "/mugs", &from("https://eve.example.com"), "").await;
    let refused = shop.browser.send("GET", "/nowhere", &[("origin", "https://shop.example.com")], "").await;

    assert_eq!(known.header("access-control-allow-origin"), "https://shop.example.com");
    assert!(known.header("access-control-allow-headers").contains("idempotency-key"));
    assert_eq!(unknown.header("access-control-allow-origin"), "");
    assert_eq!(refused.header("access-control-allow-origin"), "https://shop.example.com");
    shop.close().await;
}
