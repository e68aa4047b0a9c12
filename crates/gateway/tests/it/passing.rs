//! What passes a gateway on its way to a service and back, and what does not.

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    http::HeaderMap,
    routing::{any, get},
};
use gateway::Settings;
use serde_json::json;
use web::Json;

use crate::fleet;

/// Answers what it was asked.
pub fn mirror(name: &'static str) -> Router {
    let answer = async move |request: Request| {
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), json!(value.to_str().unwrap()))
        };
        let headers: serde_json::Map<_, _> = request.headers().iter().map(text).collect();
        Json(json!({
            "service": name,
            "method": request.method().as_str(),
            "address": request.uri().to_string(),
            "headers": headers,
        }))
    };
    Router::new().fallback(any(answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_reaches_the_service_it_belongs_to() {
    let (users, orders) = (fleet::bare(mirror("users")).await, fleet::bare(mirror("orders")).await);
    let gateway = fleet::gateway(&[("users", &[users.url()]), ("orders", &[orders.url()])]).await;

    for (method, path, service) in [
        ("GET", "/", "users"),
        ("GET", "/users/usr_1?fields=name", "users"),
        ("POST", "/login", "users"),
        ("GET", "/orders", "orders"),
        ("POST", "/orders/ord_1/cancel", "orders"),
    ] {
        let answer = gateway.browser.send(method, path, &[], "").await;

        let seen = answer.json();
        assert_eq!((answer.status, &seen["service"]), (200, &service.into()), "{path}");
        assert_eq!((&seen["method"], &seen["address"]), (&method.into(), &path.into()));
    }
    for path in ["/products", "/rpc/orders/get", "/rpc", "/orderings", "/users%2Fusr_1"] {
        let answer = gateway.browser.get(path).await;
        assert_eq!((answer.status, &answer.json()["code"]), (404, &"no_such_route".into()), "{path}");
    }
    assert!(gateway.browser.get("/docs").await.body.contains("&#x2f;orders"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_says_of_himself_is_dropped() {
    let orders = fleet::bare(mirror("orders")).await;
    let settings = Settings { trusted_proxies: vec!["10.0.0.0/8".into()], ..Settings::default() };
    let gateway = fleet::gateway_with(&[("orders", &[orders.url()])], &settings).await;
    let lies = [
        ("forwarded", "for=1.2.3.4;proto=https;host=bank.example.com"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "bank.example.com"),
        ("x-real-ip", "1.2.3.4"),
    ];

    let seen = gateway.browser.send("GET", "/orders", &lies, "").await.json();

    let headers = &seen["headers"];
    assert_eq!(headers["forwarded"], "for=127.0.0.1;proto=http;host=\"localhost\"");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "localhost");
    assert!(headers["x-real-ip"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_may_say_for_whom_it_asks() {
    let orders = fleet::bare(mirror("orders")).await;
    let gateway = fleet::gateway(&[("orders", &[orders.url()])]).await;
    let of_nginx = [
        ("x-forwarded-for", "6.6.6.6, 192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example.com"),
    ];
    let of_others = [("forwarded", "For=\"[2001:db8::7]:4711\";Proto=https;Host=shop.example.com")];

    let nginx = gateway.browser.send("GET", "/orders", &of_nginx, "").await.json();
    let others = gateway.browser.send("GET", "/orders", &of_others, "").await.json();

    assert_eq!(nginx["headers"]["x-forwarded-for"], "6.6.6.6, 192.0.2.7, 127.0.0.1");
    assert_eq!(
        nginx["headers"]["forwarded"],
        "for=6.6.6.6;proto=https;host=\"shop.example.com\", for=192.0.2.7, for=127.0.0.1"
    );
    assert_eq!(others["headers"]["x-forwarded-for"], "2001:db8::7, 127.0.0.1");
    assert_eq!(
        others["headers"]["forwarded"],
        "for=\"[2001:db8::7]\";proto=https;host=\"shop.example.com\", for=127.0.0.1"
    );
    assert_eq!(others["headers"]["x-forwarded-proto"], "https");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_one_connection_stays_on_it() {
    let answer = async |headers: HeaderMap| {
        let said = ["te", "keep-alive", "x-secret", "proxy-authorization", "upgrade", "expect", "connection"];
        let got: Vec<_> = said.iter().filter(|name| headers.contains_key(**name)).copied().collect();
        let via = headers["via"].to_str().unwrap().to_owned();
        let mine = [("connection", "x-mine"), ("x-mine", "1"), ("keep-alive", "timeout=5"), ("x-ours", "2")];
        (mine, format!("{got:?} {via}"))
    };
    let orders = fleet::bare(Router::new().route("/orders", get(answer))).await;
    let gateway = fleet::gateway(&[("orders", &[orders.url()])]).await;
    let headers = [
        ("connection", "x-secret, keep-alive, te"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "gzip"),
        ("proxy-authorization", "Basic eDp5"),
        ("upgrade", "h2c"),
        ("via", "1.1 before"),
    ];

    let answer = gateway.browser.send("GET", "/orders", &headers, "").await;

    assert_eq!(answer.body, "[] 1.1 before", "via is a list; its first value stands here");
    assert_eq!((answer.header("x-mine"), answer.header("keep-alive")), ("", ""));
    assert_eq!((answer.header("x-ours"), answer.header("via")), ("2", "1.1 carmel"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_its_id_and_its_trace() {
    let orders = fleet::bare(mirror("orders")).await;
    let gateway = fleet::gateway(&[("orders", &[orders.url()])]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    let named = [("x-request-id", "mine-1"), ("traceparent", trace)];
    let named = gateway.browser.send("GET", "/orders", &named, "").await;
    let nameless = gateway.browser.get("/orders").await;

    assert_eq!(named.json()["headers"]["x-request-id"], "mine-1");
    assert_eq!(named.header("x-request-id"), "mine-1");
    let seen = named.json()["headers"]["traceparent"].as_str().unwrap().to_owned();
    assert!(seen.starts_with(&trace[..36]) && seen != trace, "a step further in the same trace: {seen}");
    assert_eq!(nameless.json()["headers"]["x-request-id"], nameless.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_did_already_is_not_done_again() {
    let long = Router::new().route("/orders", get(async || "long ".repeat(2000)));
    let settings = Settings { cors_origins: vec!["https://shop.example.com".into()], ..Settings::default() };
    let orders = fleet::service("orders", long, &settings).await;
    let gateway = fleet::gateway_with(&[("orders", &[orders.url()])], &settings).await;
    let asked = [("accept-encoding", "gzip"), ("origin", "https://shop.example.com")];

    let direct = orders.browser.send("GET", "/orders", &asked, "").await;
    let through = gateway.browser.send("GET", "/orders", &asked, "").await;

    assert_eq!((direct.status, through.status), (200, 200));
    assert_eq!(through.header("content-encoding"), "gzip");
    assert_eq!(through.bytes, direct.bytes);
    for name in direct.headers.keys().filter(|name| *name != "vary") {
        assert_eq!(through.headers.get_all(name).iter().count(), 1, "{name}");
    }
    let added: Vec<_> = through.headers.keys().filter(|name| !direct.headers.contains_key(*name)).collect();
    assert_eq!(added, ["via"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_http2_reaches_a_service_with_http1() {
    let orders = fleet::bare(mirror("orders")).await;
    let gateway = fleet::gateway(&[("orders", &[orders.url()])]).await;

    let mut connection = gateway.browser.connect_http2().await;
    let seen = connection.send("POST", "/orders", &[], "a basket").await.json();

    assert_eq!(seen["headers"]["host"], "localhost");
    assert_eq!(seen["headers"]["via"], "2.0 carmel");
    assert_eq!(seen["address"], "/orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_table_may_have_limits_of_its_own() {
    let both = Router::new()
        .route("/login", any(async |body: String| body.len().to_string()))
        .route("/users", any(async |body: String| body.len().to_string()));
    let users = fleet::bare(both).await;
    let gateway = fleet::gateway(&[("users", &[users.url()])]).await;
    let body = "x".repeat(20 << 10);

    let login = gateway.browser.send("POST", "/login", &[], &body).await;
    let others = gateway.browser.send("POST", "/users", &[], &body).await;

    assert_eq!((login.status, login.json()["code"].as_str()), (413, Some("body_too_large")));
    assert_eq!((others.status, others.body), (200, "20480".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_maintenance_everybody_is_told_so_but_the_caretakers() {
    let orders = fleet::bare(mirror("orders")).await;
    let folder = tempfile::tempdir().unwrap();
    let (gateway, sign) = fleet::gateway_with_care(&[("orders", &[orders.url()])], folder.path()).await;
    assert_eq!(gateway.browser.get("/orders").await.status, 200);

    std::fs::write(&sign, "").unwrap();
    let closed = gateway.browser.until("/orders", 503).await;
    let ready = gateway.browser.get("/readyz").await;
    std::fs::remove_file(&sign).unwrap();
    let open = gateway.browser.until("/orders", 200).await;

    assert_eq!((closed.json()["code"].as_str(), closed.header("retry-after")), (Some("maintenance"), "60"));
    assert_eq!(closed.header("content-type"), "application/problem+json");
    assert_eq!((ready.status, open.status), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_is_not_ready_before_its_door_closes() {
    let (served, health) = fleet::closing_slowly(mirror("orders"), Duration::from_secs(60)).await;

    served.stop.cancel();
    health.drain();
    let ready = served.browser.get("/readyz").await;
    let still = served.browser.get("/orders").await;

    assert_eq!((ready.status, still.status), (503, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_answers_what_is_on_its_way_and_says_that_it_closes() {
    let served = fleet::bare(mirror("orders")).await;
    let (mut kept, mut unused) = (served.browser.connect().await, served.browser.connect().await);
    let before = kept.get("/orders").await;

    served.stop.cancel();
    tokio::time::sleep(Duration::from_millis(20)).await; // the end has begun: nothing outside tells of it
    let answers = [kept.get("/orders").await, unused.get("/orders").await];

    assert_eq!((before.status, before.header("connection")), (200, ""));
    for answer in answers {
        assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    }
}
