//! What every answer has in common, and what is there beside the services.

use std::{collections::BTreeSet, time::Duration};

use reqwest::{Client, Method, header};
use serde_json::Value;
use testkit::{TestDb, both_databases};

use crate::harness::Shop;

both_databases!(
    every_answer_carries_what_browsers_need,
    answers_are_compressed_when_asked_for,
    what_is_not_here_is_said_like_any_other_problem,
    the_greeting_tells_the_time_of_the_database,
    the_shop_says_how_it_is,
    every_route_is_described,
);

/// Asks as a browser does, without testkit's client in between.
async fn ask(
    shop: &Shop,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<String>,
) -> (u16, header::HeaderMap, String) {
    let mut request = Client::new().request(method, format!("{}{path}", shop.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.body(body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone(), answer.text().await.unwrap())
}

async fn every_answer_carries_what_browsers_need(db: TestDb) {
    let shop =
        Shop::start_with(db, |config| config.server.cors_origins = vec!["https://shop.example.com".into()])
            .await;
    let twelve = [
        "content-security-policy",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "origin-agent-cluster",
        "referrer-policy",
        "strict-transport-security",
        "x-content-type-options",
        "x-dns-prefetch-control",
        "x-download-options",
        "x-frame-options",
        "x-permitted-cross-domain-policies",
        "x-xss-protection",
    ];

    for (path, status) in
        [("/", 200), ("/products", 200), ("/orders", 401), ("/nowhere", 404), ("/livez", 200)]
    {
        let origin = [("origin", "https://shop.example.com"), ("x-request-id", "my-own-id-4711")];
        let (seen, headers, _) = ask(&shop, Method::GET, path, &origin, None).await;
        assert_eq!(seen, status, "{path}");
        for name in twelve {
            assert!(headers.contains_key(name), "{name} is missing on {path}");
        }
        assert_eq!(headers["x-request-id"], "my-own-id-4711", "{path}");
        assert_eq!(headers["access-control-allow-origin"], "https://shop.example.com", "{path}");
        assert!(!headers.contains_key("server") && !headers.contains_key("x-powered-by"));
    }
    let preflight = [
        ("origin", "https://shop.example.com"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,idempotency-key"),
    ];
    let (status, headers, _) = ask(&shop, Method::OPTIONS, "/orders", &preflight, None).await;
    assert_eq!(status, 200);
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("idempotency-key"));
    assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    let (_, headers, _) = ask(&shop, Method::GET, "/", &[("origin", "https://evil.example")], None).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
    shop.audit().await;
}

async fn answers_are_compressed_when_asked_for(db: TestDb) {
    let shop = Shop::start(db).await;
    for at in 0..30 {
        shop.stock(&format!("a-thing-with-a-long-name-{at}"), 100, 0).await;
    }
    let plain = Client::builder().no_gzip().no_brotli().no_zstd().build().unwrap();
    let url = format!("{}/products?limit=30", shop.url);
    let whole = plain.get(&url).send().await.unwrap().bytes().await.unwrap();

    for encoding in ["gzip", "br", "zstd"] {
        let answer = plain.get(&url).header("accept-encoding", encoding).send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], encoding);
        let mut varies = answer.headers().get_all(header::VARY).iter();
        assert!(varies.any(|vary| vary.to_str().unwrap().contains("accept-encoding")));
        let small = answer.bytes().await.unwrap();
        assert!(small.len() * 2 < whole.len(), "{encoding}: {} of {}", small.len(), whole.len());
        // A client that understands it reads the same.
        let read = Client::new().get(&url).header("accept-encoding", encoding).send().await.unwrap();
        assert_eq!(read.status(), 200);
    }
    let read: Value = Client::new().get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(read, serde_json::from_slice::<Value>(&whole).unwrap());
    shop.audit().await;
}

async fn what_is_not_here_is_said_like_any_other_problem(db: TestDb) {
    let shop = Shop::start_with(db, |config| config.server.body_limit_bytes = 2048).await;
    let json = ("content-type", "application/json");
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(4096));
    let table = [
        (Method::GET, "/nowhere", vec![], None, 404),
        (Method::DELETE, "/products", vec![], None, 405),
        (Method::POST, "/users", vec![json], Some(long), 413),
        (Method::POST, "/users", vec![("content-type", "text/plain")], Some("name=Ann".into()), 415),
        (Method::POST, "/users", vec![json], Some("{\"name\": ".to_owned()), 400),
    ];

    for (method, path, headers, body, status) in table {
        let (seen, headers, text) = ask(&shop, method.clone(), path, &headers, body).await;
        assert_eq!(seen, status, "{method} {path}: {text}");
        assert_eq!(headers["content-type"], "application/problem+json", "{method} {path}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&problem["status"], problem["code"].is_string()), (&status.into(), true));
        if status == 405 {
            assert!(headers["allow"].to_str().unwrap().contains("POST"), "{headers:?}");
        }
    }
    shop.audit().await;
}

async fn the_greeting_tells_the_time_of_the_database(db: TestDb) {
    let engine = db.engine();
    let shop = Shop::start(db).await;

    let greeting = shop.front.visitor().get("/").await.expect(200);

    assert_eq!(greeting["message"], "Hello from Carmel");
    let postgres = engine == db::Engine::Postgres;
    assert_eq!(greeting["database"], if postgres { "postgres" } else { "sqlite" });
    let time: kernel::Time = serde_json::from_value(greeting["time"].clone()).unwrap();
    let now = kernel::World::real().now();
    let off = now.since(time).max(time.since(now));
    assert!(off < Duration::from_secs(60), "{greeting}");
    shop.audit().await;
}

async fn the_shop_says_how_it_is(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 3).await;
    let ann = shop.customer().await;
    ann.order(&[("mug", 1)]).await;
    let visitor = shop.front.visitor();

    assert_eq!(visitor.get("/livez").await.expect(200), "ok");
    assert_eq!(visitor.get("/readyz").await.expect(200), "ok");
    let ready = visitor.get("/readyz?verbose").await.expect(200);
    assert_eq!((&ready["ready"], ready["checks"].as_array().unwrap().len()), (&true.into(), 6), "{ready}");
    let numbers = visitor.get("/metrics").await.expect(200);
    let numbers = numbers.as_str().unwrap();
    assert!(numbers.contains("route=\"/orders/{id}\""), "by route, never by address");
    assert!(!numbers.contains("ord_"), "no ids in the numbers");
    shop.audit().await;
}

async fn every_route_is_described(db: TestDb) {
    let shop = Shop::start(db).await;
    let visitor = shop.front.visitor();

    let api = visitor.get("/openapi.json").await.expect(200);

    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
    let wanted = [
        ("get", "/"),
        ("post", "/users"),
        ("get", "/users/{id}"),
        ("patch", "/users/{id}"),
        ("post", "/login"),
        ("post", "/token/refresh"),
        ("post", "/logout"),
        ("get", "/.well-known/jwks.json"),
        ("get", "/products"),
        ("post", "/products"),
        ("get", "/products/{id}"),
        ("patch", "/products/{id}"),
        ("get", "/categories"),
        ("post", "/categories"),
        ("get", "/stock/{sku}"),
        ("post", "/stock/{sku}/movements"),
        ("post", "/orders"),
        ("get", "/orders"),
        ("get", "/orders/{id}"),
        ("post", "/orders/{id}/cancel"),
        ("post", "/orders/{id}/review"),
        ("post", "/orders/{id}/ship"),
        ("post", "/orders/{id}/deliver"),
        ("post", "/orders/{id}/refund"),
        ("post", "/orders/{id}/resume"),
        ("get", "/payments/{order_id}"),
        ("post", "/send-email"),
        ("get", "/jobs/{id}"),
    ];
    for (method, path) in wanted {
        let operation = &api["paths"][path][method];
        assert!(operation["responses"].is_object(), "{method} {path} is not described");
    }
    // Each described operation is there: asked for, it is never 404 without a code of its own, nor 405.
    let mut described = 0;
    for (path, operations) in api["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let address = path.replace("{order_id}", "x").replace("{id}", "x").replace("{sku}", "x");
            let answer = visitor.send(method.clone(), &address, &[], None).await;
            assert!(answer.status != 405 && answer.code() != "no_such_route", "{method} {path}: {answer:?}");
            described += 1;
        }
    }
    assert!(described >= wanted.len());
    // What refers to a schema refers to one that is there.
    let text = api.to_string();
    let named = text.split("\"#/components/schemas/").skip(1).map(|part| part.split('"').next().unwrap());
    let missing: BTreeSet<&str> =
        named.filter(|name| api["components"]["schemas"].get(name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} are referred to and not described");
    let docs = visitor.get("/docs").await;
    assert_eq!(docs.status, 200);
    assert!(docs.header("content-type").unwrap().starts_with("text/html"));
    assert!(docs.body.as_str().unwrap().replace("&#x2f;", "/").contains("/orders/{id}/refund"));
    shop.audit().await;
}
