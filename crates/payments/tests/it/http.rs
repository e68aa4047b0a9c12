//! The public API of payments.

use std::sync::Arc;

use axum::{Extension, body::Body};
use http::{Request, StatusCode};
use kernel::{SessionId, UserId, World};
use serde_json::{Value, json};
use testkit::{TestDb, both_databases};
use tower::ServiceExt;
use web::{Caller, Role, auth};

use crate::shop::{Shop, Way};

both_databases!(staff_see_the_payment_and_everything_behind_it, a_webhook_is_heard_at_its_address);

struct NoKeys;

#[async_trait::async_trait]
impl auth::Keys for NoKeys {
    async fn key(&self, _: &str) -> kernel::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

async fn ask(shop: &Shop, role: Option<Role>, request: Request<Body>) -> (StatusCode, Value) {
    let world = World::real();
    let verifier = auth::Verifier::new(world.clone(), Arc::new(NoKeys));
    let (routes, _) = payments::routes(shop.payments.clone()).split_for_parts();
    let mut routes = web::service_layers(routes, &verifier);
    if let Some(role) = role {
        routes = routes.layer(Extension(Caller {
            id: UserId::new(&world),
            role,
            session: SessionId::new(&world),
        }));
    }
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn staff_see_the_payment_and_everything_behind_it(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let order = shop.order();
    shop.authorise(order, "tok_success_secret").await.unwrap();
    shop.capture(order).await.unwrap();
    shop.refund(order).await.unwrap();
    let get =
        |order: kernel::OrderId| Request::get(format!("/payments/{order}")).body(Body::empty()).unwrap();

    let (status, seen) = ask(&shop, Some(Role::Staff), get(order)).await;

    assert_eq!((status, &seen["state"]), (StatusCode::OK, &json!("refunded")));
    let kinds: Vec<_> = seen["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["authorise", "capture", "refund"]);
    let entries = seen["ledger"].as_array().unwrap();
    assert_eq!(entries.iter().map(|entry| entry["amount"]["amount"].as_i64().unwrap()).sum::<i64>(), 0);
    assert_eq!((entries.len(), seen["refunds"][0]["amount"]["amount"].as_i64()), (4, Some(1200)));
    assert!(!seen.to_string().contains("tok_success_secret"), "a token is shown to nobody");
    assert_eq!(ask(&shop, Some(Role::Staff), get(shop.order())).await.1["code"], "no_payment");
    assert_eq!(ask(&shop, Some(Role::Customer), get(order)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&shop, None, get(order)).await.0, StatusCode::UNAUTHORIZED);
    shop.audit().await;
}

async fn a_webhook_is_heard_at_its_address(db: TestDb) {
    let shop = Shop::start(&db, Way::Here).await;
    let request = Request::post("/payments/webhooks/sandbox")
        .header("webhook-id", "msg_1")
        .body(Body::from("{}"))
        .unwrap();

    let (status, problem) = ask(&shop, None, request).await;

    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("webhook_not_verified")));
    shop.audit().await;
}
