//! Requests that cannot be answered as asked, and what is said about them.

use serde_json::{Value, json};
use testkit::{TestDb, both_databases, client::Answer};

use crate::harness::Shop;

in_a_fleet!(
    through nginx:
    every_bad_request_is_told_what_is_wrong_with_it;
    full:
    a_refused_request_leaves_nothing_behind,
);
both_databases!(every_bad_request_is_told_what_is_wrong_with_it, a_refused_request_leaves_nothing_behind);

/// A problem says its status, a stable code, a sentence and who it was about
/// (RFC 9457).
fn check(answer: &Answer, what: &str) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = answer.body.as_object().unwrap_or_else(|| panic!("{what}: {answer:?}"));
    assert_eq!(problem["status"], answer.status, "{what}");
    let code = answer.code();
    assert!(
        !code.is_empty()
            && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()),
        "{what}: {code}"
    );
    assert_eq!(problem["type"], format!("/docs/errors#{code}"), "{what}");
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{what}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(!detail.is_empty() && !detail.ends_with('.'), "{what}: {detail}");
    assert_eq!(problem["instance"].as_str(), answer.header("x-request-id"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
}

fn address() -> Value {
    json!({ "name": "Ann", "line1": "1 Street", "city": "Hamburg", "postal_code": "20095", "country": "DE" })
}

fn order(lines: Value) -> Value {
    json!({ "lines": lines, "payment": { "token": "tok_success" }, "address": address() })
}

async fn every_bad_request_is_told_what_is_wrong_with_it(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;
    let nobody = shop.front.visitor();
    let mug = || json!([{ "sku": "mug", "quantity": 1 }]);
    let with = |mut order: Value, key: &str, value: Value| {
        order[key] = value;
        order
    };
    let without = |mut order: Value, key: &str| {
        order.as_object_mut().unwrap().remove(key);
        order
    };

    // Who, how, where, what; then status, code and the part at fault.
    let table = [
        (&ann, "POST", "/orders", order(json!([])), 400, "invalid_request", Some("/lines")),
        (
            &ann,
            "POST",
            "/orders",
            order(json!([{ "sku": "mug", "quantity": 0 }])),
            400,
            "invalid_request",
            Some("/lines/0/quantity"),
        ),
        (
            &ann,
            "POST",
            "/orders",
            order(json!([{ "sku": "mug", "quantity": -1 }])),
            400,
            "invalid_request",
            Some("/lines/0/quantity"),
        ),
        (
            &ann,
            "POST",
            "/orders",
            order(json!([{ "sku": "mug", "quantity": 1.5 }])),
            400,
            "invalid_request",
            Some("/lines/0/quantity"),
        ),
        (
            &ann,
            "POST",
            "/orders",
            order(json!([{ "sku": "mug", "quantity": 10_001 }])),
            400,
            "invalid_request",
            Some("/lines/0/quantity"),
        ),
        (
            &ann,
            "POST",
            "/orders",
            order(json!([{ "sku": "no spaces", "quantity": 1 }])),
            400,
            "invalid_request",
            Some("/lines/0/sku"),
        ),
        (
            &ann,
            "POST",
            "/orders",
            order(json!([{ "sku": "mug", "quantity": 1, "price": 1 }])),
            400,
            "invalid_request",
            None,
        ),
        (&ann, "POST", "/orders", order(json!([{ "sku": "unknown", "quantity": 1 }])), 409, "not_sold", None),
        (
            &ann,
            "POST",
            "/orders",
            with(order(mug()), "payment", json!({ "token": "" })),
            400,
            "invalid_request",
            Some("/payment/token"),
        ),
        (
            &ann,
            "POST",
            "/orders",
            with(order(mug()), "payment", json!({ "token": "tok ü" })),
            400,
            "invalid_request",
            Some("/payment/token"),
        ),
        (
            &ann,
            "POST",
            "/orders",
            with(order(mug()), "total", json!(1)),
            400,
            "invalid_request",
            Some("/total"),
        ),
        (&ann, "POST", "/orders", without(order(mug()), "address"), 400, "invalid_request", None),
        (
            &ann,
            "POST",
            "/orders",
            with(order(mug()), "address", with(address(), "country", json!("Germany"))),
            400,
            "invalid_request",
            Some("/address/country"),
        ),
        (
            &ann,
            "POST",
            "/orders",
            with(order(mug()), "address", with(address(), "city", json!(""))),
            400,
            "invalid_request",
            Some("/address/city"),
        ),
        (&nobody, "POST", "/orders", order(mug()), 401, "unauthenticated", None),
        (&ann, "GET", "/orders/not-an-id", Value::Null, 400, "invalid_path", None),
        (&ann, "GET", "/orders?limit=0", Value::Null, 400, "invalid_limit", None),
        (&ann, "GET", "/orders?limit=101", Value::Null, 400, "invalid_limit", None),
        (&ann, "GET", "/orders?cursor=rubbish", Value::Null, 400, "invalid_cursor", None),
        (&ann, "GET", "/orders?state=lost", Value::Null, 400, "invalid_query", None),
        (&ann, "GET", "/products?q=%00", Value::Null, 400, "invalid_query", None),
        (&ann, "GET", "/products?category=%00", Value::Null, 400, "unstorable_text", None),
        (&ann, "GET", "/products/never-seen", Value::Null, 404, "no_such_product", None),
        (&ann, "GET", "/stock/never-seen", Value::Null, 404, "no_such_stock", None),
        (&ann, "GET", "/jobs/job_00000000000000000000000000000000", Value::Null, 404, "no_such_job", None),
        (
            &nobody,
            "POST",
            "/users",
            json!({ "name": "", "email": "a@example.com" }),
            400,
            "invalid_request",
            Some("/name"),
        ),
        (
            &nobody,
            "POST",
            "/users",
            json!({ "name": "Ann", "email": "nowhere" }),
            400,
            "invalid_request",
            Some("/email"),
        ),
        (
            &nobody,
            "POST",
            "/users",
            json!({ "name": "Ann", "email": "a@example.com", "password": "short" }),
            400,
            "invalid_request",
            Some("/password"),
        ),
        (
            &nobody,
            "POST",
            "/users",
            json!({ "name": "Ann", "email": "a@example.com", "role": "admin" }),
            400,
            "invalid_request",
            Some("/role"),
        ),
        (
            &nobody,
            "POST",
            "/login",
            json!({ "email": "a@example.com", "password": "wrong wrong" }),
            401,
            "wrong_credentials",
            None,
        ),
        (
            &shop.admin,
            "POST",
            "/products",
            json!({ "name": "Cup", "variants": [{ "sku": "mug", "price": { "amount": 1, "currency": "EUR" } }] }),
            409,
            "sku_taken",
            None,
        ),
        (
            &shop.admin,
            "POST",
            "/products",
            json!({ "name": "Cup", "variants": [{ "sku": "cup", "price": { "amount": -1, "currency": "EUR" } }] }),
            400,
            "no_price",
            None,
        ),
        (&shop.admin, "POST", "/products", json!({ "name": "Mug", "slug": "mug" }), 409, "slug_taken", None),
        (
            &shop.admin,
            "POST",
            "/stock/mug/movements",
            json!({ "quantity": 0, "reason": "received" }),
            400,
            "invalid_request",
            Some("/quantity"),
        ),
        (
            &shop.admin,
            "POST",
            "/stock/mug/movements",
            json!({ "quantity": 1, "reason": "sold" }),
            400,
            "invalid_request",
            Some("/reason"),
        ),
        (
            &shop.admin,
            "POST",
            "/stock/mug/movements",
            json!({ "quantity": -6, "reason": "lost" }),
            409,
            "stock_held",
            None,
        ),
        (
            &shop.admin,
            "POST",
            "/send-email",
            json!({ "to": "a@example.com", "subject": "two\nlines", "body": "" }),
            400,
            "invalid_request",
            Some("/subject"),
        ),
        (
            &shop.admin,
            "GET",
            "/payments/ord_00000000000000000000000000000000",
            Value::Null,
            404,
            "no_payment",
            None,
        ),
        (
            &shop.admin,
            "POST",
            "/orders/ord_00000000000000000000000000000000/refund",
            json!({}),
            404,
            "no_such_order",
            None,
        ),
    ];
    let mut wrong = Vec::new();
    for (at, (who, method, path, body, status, code, pointer)) in table.into_iter().enumerate() {
        let what = format!("{at}: {method} {path} {body}");
        let body = Some(body).filter(|body| !body.is_null());
        let key = testkit::client::fresh("key");
        let answer = who.send(method.parse().unwrap(), path, &[("idempotency-key", &key)], body).await;
        check(&answer, &what);
        let pointers: Vec<&str> = answer.body["errors"]
            .as_array()
            .map(|errors| errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect())
            .unwrap_or_default();
        let pointed = pointer.is_none_or(|pointer| pointers.contains(&pointer));
        if (answer.status, answer.code()) != (status, code) || !pointed {
            wrong.push(format!("{what}\n   wanted {status} {code} {pointer:?}, got {}", answer.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let no_key = ann.post("/orders", order(mug())).await;
    check(&no_key, "no key");
    assert_eq!((no_key.status, no_key.code()), (400, "idempotency_key_missing"));
    shop.audit().await;
}

async fn a_refused_request_leaves_nothing_behind(db: TestDb) {
    let shop = Shop::start(db).await;
    shop.stock("mug", 1200, 5).await;
    let ann = shop.customer().await;
    let headers = [("idempotency-key", "first-wrong")];
    let place =
        async |lines: Value| ann.send(reqwest::Method::POST, "/orders", &headers, Some(order(lines))).await;

    // A refusal does not use the key up: the same key may be tried with what is right.
    let refused = place(json!([{ "sku": "unknown", "quantity": 1 }])).await;
    assert_eq!((refused.status, refused.code()), (409, "not_sold"));
    let placed = place(json!([{ "sku": "mug", "quantity": 1 }])).await.expect(202);
    ann.settled(placed["id"].as_str().unwrap()).await;

    assert_eq!(ann.get("/orders").await.expect(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(shop.stock_of("mug").await, 4);
    shop.audit().await;
}
