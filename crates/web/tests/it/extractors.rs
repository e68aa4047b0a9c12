//! What a handler may ask for, and what happens when it is not there.

use axum::{
    Router,
    routing::{get, patch, post},
};
use http::StatusCode;
use kernel::{Error, FieldError, Kind, OrderId, World};
use serde::{Deserialize, Serialize};
use serde_json::json;
use web::{
    Admin, Caller, Cursor, Customer, Failure, IdempotencyKey, IfMatch, Json, List, MaybeCaller, Page, Path,
    PreferWait, Query, Result, Role, Staff, Versioned, edge,
};

use crate::client::{Signer, ask};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: kernel::Sku,
    quantity: u32,
}

#[derive(Debug, Deserialize)]
struct Filter {
    least: u32,
}

async fn numbers(page: Page) -> Result<List<i64>> {
    let from = page.keys::<1>()?.map_or(0, |[key]| key.parse::<i64>().unwrap() + 1);
    let rows = (from..45).take(page.limit as usize + 1).collect();
    Ok(List::page(rows, &page, |number| Cursor::of(&[number])))
}

fn routes() -> Router {
    Router::new()
        .route("/lines", post(async |Json(line): Json<Line>| Json(line)))
        .route("/orders/{id}", get(async |Path(id): Path<OrderId>| id.to_string()))
        .route("/things", get(async |Query(filter): Query<Filter>| filter.least.to_string()))
        .route("/numbers", get(numbers))
        .route("/thing", get(async || Versioned::new(7, json!({"a": 1}))))
        .route(
            "/thing",
            patch(async |seen: IfMatch| -> Result<StatusCode> {
                seen.check(7)?;
                Ok(StatusCode::NO_CONTENT)
            }),
        )
        .route("/wait", get(async |prefer: PreferWait| (prefer.applied().map(|applied| [applied]), "waited")))
        .route("/caller", get(async |caller: Caller| caller.role.as_str()))
        .route("/customer", get(async |customer: Customer| customer.id.to_string()))
        .route("/staff", get(async |staff: Staff| staff.role.as_str()))
        .route("/admin", get(async |_: Admin| "yes"))
        .route("/anybody", get(async |caller: MaybeCaller| caller.0.is_some().to_string()))
        .route("/keyed", post(async |_: IdempotencyKey| "keyed"))
}

fn app() -> (Router, std::sync::Arc<Signer>) {
    let world = World::real();
    let signer = Signer::new(&world);
    let routes = edge::with_fallbacks(web::service_layers(routes(), &signer.verifier()));
    (routes.layer(edge::body_limit(200)).layer(edge::requests(world)), signer)
}

#[tokio::test]
async fn json_that_does_not_fit_is_refused_where_it_stands() {
    let (app, _) = app();
    let long = format!("{{\"sku\":\"{}\"", "m".repeat(200));

    for (body, media, problem, pointer) in [
        ("{\"sku\":\"mug\",\"quantity\":2}", "text/plain", (415, "not_json"), None),
        ("{\"sku\"", "application/json", (400, "invalid_json"), Some("")),
        (
            "{\"sku\":\"mug\",\"quantity\":-2}",
            "application/json",
            (400, "invalid_request"),
            Some("/quantity"),
        ),
        ("{\"sku\":\"a b\",\"quantity\":2}", "application/json", (400, "invalid_request"), Some("/sku")),
        (
            "{\"sku\":\"mug\",\"quantity\":2,\"colour\":1}",
            "application/json",
            (400, "invalid_request"),
            Some("/colour"),
        ),
        (&long, "application/json", (413, "body_too_large"), None),
    ] {
        let reply = ask(&app, "POST /lines", &[("content-type", media)], body).await;
        let (status, code) = reply.problem();
        assert_eq!((status, &*code), problem, "{body}");
        assert_eq!(reply.json()["errors"][0]["pointer"].as_str(), pointer, "{body}");
        assert_eq!(reply.json()["instance"], reply.header("x-request-id"));
    }
    let reply = ask(&app, "POST /lines", &[], "{\"sku\":\"mug\",\"quantity\":2}").await;
    assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!({"sku": "mug", "quantity": 2})));
    assert_eq!(reply.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_body_of_unknown_length_ends_at_the_limit() {
    let (app, _) = app();
    let parts = (0..50).map(|_| Ok::<_, std::io::Error>("{\"sku\":\"mug\"}"));
    let body = axum::body::Body::from_stream(futures::stream::iter(parts));
    let request =
        http::Request::post("/lines").header("content-type", "application/json").body(body).unwrap();

    let reply = crate::client::send(&app, request).await;

    assert_eq!(reply.problem(), (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn path_and_query_are_checked() {
    let (app, _) = app();
    let id = OrderId::new(&World::real());

    assert_eq!(ask(&app, &format!("GET /orders/{id}"), &[], "").await.body, id.to_string());
    assert_eq!(ask(&app, "GET /orders/7", &[], "").await.problem(), (400, "invalid_path".to_owned()));
    assert_eq!(ask(&app, "GET /things?least=3", &[], "").await.body, "3");
    assert_eq!(
        ask(&app, "GET /things?least=few", &[], "").await.problem(),
        (400, "invalid_query".to_owned())
    );
    assert_eq!(ask(&app, "GET /things", &[], "").await.problem(), (400, "invalid_query".to_owned()));
}

#[tokio::test]
async fn a_list_is_walked_by_its_links() {
    let (app, _) = app();
    let mut seen = Vec::new();
    let mut line = "GET /numbers?kind=all&limit=20&cursor=".to_owned();
    line.truncate(line.len() - "&cursor=".len());

    loop {
        let reply = ask(&app, &line, &[], "").await;
        let body = reply.json();
        seen.extend(body["items"].as_array().unwrap().iter().map(|item| item.as_i64().unwrap()));
        let Some(next) = body["next"].as_str() else {
            assert_eq!((&body["next"], reply.header("link")), (&json!(null), ""));
            break;
        };
        let address = format!("/numbers?kind=all&limit=20&cursor={next}");
        assert_eq!(reply.header("link"), format!("<{address}>; rel=\"next\""));
        line = format!("GET {address}");
    }

    assert_eq!(seen, (0..45).collect::<Vec<_>>());
    assert_eq!(
        ask(&app, "GET /numbers?cursor=made-up", &[], "").await.problem(),
        (400, "invalid_cursor".to_owned())
    );
    assert_eq!(
        ask(&app, "GET /numbers?limit=101", &[], "").await.problem(),
        (400, "invalid_limit".to_owned())
    );
}

#[tokio::test]
async fn a_version_is_shown_spared_and_guarded() {
    let (app, _) = app();

    let reply = ask(&app, "GET /thing", &[], "").await;
    assert_eq!((reply.status, reply.header("etag"), &*reply.body), (StatusCode::OK, "\"v7\"", "{\"a\":1}"));
    let reply = ask(&app, "GET /thing", &[("if-none-match", "\"v6\", \"v7\"")], "").await;
    assert_eq!((reply.status, reply.header("etag"), &*reply.body), (StatusCode::NOT_MODIFIED, "\"v7\"", ""));
    let reply = ask(&app, "GET /thing", &[("if-none-match", "\"v6\"")], "").await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "{\"a\":1}"));

    assert_eq!(ask(&app, "PATCH /thing", &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(&app, "PATCH /thing", &[("if-match", "\"v7\"")], "").await.status, StatusCode::NO_CONTENT);
    let reply = ask(&app, "PATCH /thing", &[("if-match", "\"v6\"")], "").await;
    assert_eq!(reply.problem(), (412, "stale".to_owned()));
}

#[tokio::test]
async fn a_wait_that_was_granted_is_confirmed() {
    let (app, _) = app();

    let reply = ask(&app, "GET /wait", &[("prefer", "wait=90")], "").await;

    assert_eq!(reply.header("preference-applied"), "wait=30");
}

#[tokio::test]
async fn the_argument_is_the_permission() {
    let (app, signer) = app();
    let statuses = async |route: &str| {
        let mut statuses = vec![ask(&app, route, &[], "").await.status.as_u16()];
        for role in Role::ALL {
            let bearer = signer.bearer(*role);
            statuses.push(ask(&app, route, &[("authorization", &bearer)], "").await.status.as_u16());
        }
        statuses
    };

    assert_eq!(statuses("GET /caller").await, [401, 200, 200, 200]);
    assert_eq!(statuses("GET /customer").await, [401, 200, 200, 200]);
    assert_eq!(statuses("GET /staff").await, [401, 403, 200, 200]);
    assert_eq!(statuses("GET /admin").await, [401, 403, 403, 200]);
    assert_eq!(statuses("GET /anybody").await, [200, 200, 200, 200]);
    let nobody = ask(&app, "GET /admin", &[], "").await;
    assert_eq!(
        (nobody.problem().1.as_str(), nobody.header("www-authenticate")),
        ("unauthenticated", "Bearer")
    );
}

#[tokio::test]
async fn a_key_that_is_needed_must_be_there() {
    let (app, _) = app();

    assert_eq!(
        ask(&app, "POST /keyed", &[], "{}").await.problem(),
        (400, "idempotency_key_missing".to_owned())
    );
    assert_eq!(ask(&app, "POST /keyed", &[("idempotency-key", "k")], "{}").await.body, "keyed");
    let long = "x".repeat(300);
    let reply = ask(&app, "POST /keyed", &[("idempotency-key", "k")], &long).await;
    assert_eq!(reply.problem(), (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn every_kind_of_error_has_its_status_and_keeps_its_cause() {
    for (kind, status) in [
        (Kind::Invalid, 400),
        (Kind::Unauthenticated, 401),
        (Kind::Forbidden, 403),
        (Kind::NotFound, 404),
        (Kind::Conflict, 409),
        (Kind::Stale, 412),
        (Kind::Mismatch, 422),
        (Kind::TooMany, 429),
        (Kind::Internal, 500),
        (Kind::Unavailable, 503),
        (Kind::TimedOut, 504),
    ] {
        let fail = async move || -> Result<()> {
            let fields = vec![FieldError { pointer: "/a".into(), message: "is wrong".into() }];
            let error = Error { fields, ..Error::new(kind, "as_asked", "it was asked for") };
            Err(Failure::from(error.because("the secret cause")))
        };
        let reply = ask(&Router::new().route("/", get(fail)), "GET /", &[], "").await;

        assert_eq!(reply.problem(), (status, "as_asked".to_owned()));
        assert_eq!(reply.json()["errors"], json!([{"pointer": "/a", "detail": "is wrong"}]));
        assert!(!reply.body.contains("secret"), "{}", reply.body);
        let later = matches!(kind, Kind::Unavailable | Kind::TooMany);
        assert_eq!(reply.header("retry-after"), if later { "1" } else { "" });
    }
}
