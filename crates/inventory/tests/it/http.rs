//! The public API of stock.

use std::sync::Arc;

use axum::{Extension, Router, body::Body};
use http::{Request, StatusCode};
use kernel::{SessionId, UserId, World};
use serde_json::{Value, json};
use testkit::{TestDb, both_databases};
use tower::ServiceExt;
use web::{Caller, Role, auth};

use crate::shop::{Shop, Way};

both_databases!(
    staff_move_stock_and_everybody_sees_what_is_for_sale,
    what_is_held_cannot_be_taken_away,
    a_movement_with_a_key_is_made_once,
    lists_go_on_where_they_ended,
);

struct NoKeys;

#[async_trait::async_trait]
impl auth::Keys for NoKeys {
    async fn key(&self, _: &str) -> kernel::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

struct Api {
    shop: Shop,
    routes: Router,
}

impl Api {
    async fn start(db: &TestDb) -> Api {
        let shop = Shop::start(db, Way::Here).await;
        let verifier = auth::Verifier::new(World::real(), Arc::new(NoKeys));
        let (routes, _) = inventory::routes(shop.inventory.clone()).split_for_parts();
        Api { shop, routes: web::service_layers(routes, &verifier) }
    }

    async fn ask(&self, role: Option<Role>, request: Request<Body>) -> (StatusCode, Value) {
        let world = World::real();
        let routes = match role {
            Some(role) => {
                let caller = Caller {
                    id: UserId::from_uuid(kernel::uuid::Uuid::nil()),
                    role,
                    session: SessionId::new(&world),
                };
                self.routes.clone().layer(Extension(caller))
            }
            None => self.routes.clone(),
        };
        let response = routes.oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, role: Option<Role>, path: &str) -> (StatusCode, Value) {
        self.ask(role, Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn move_stock(&self, role: Option<Role>, key: &str, body: Value) -> (StatusCode, Value) {
        let mut request = Request::post("/stock/mug/movements").header("content-type", "application/json");
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        self.ask(role, request.body(Body::from(body.to_string())).unwrap()).await
    }
}

async fn staff_move_stock_and_everybody_sees_what_is_for_sale(db: TestDb) {
    let api = Api::start(&db).await;
    let delivery = json!({"quantity": 5, "reason": "received", "note": "two boxes"});

    assert_eq!(api.move_stock(None, "", delivery.clone()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(api.move_stock(Some(Role::Customer), "", delivery.clone()).await.0, StatusCode::FORBIDDEN);
    let (status, moved) = api.move_stock(Some(Role::Staff), "", delivery).await;
    api.shop.hold(api.shop.order(), &[("mug", 2)]).await.unwrap();

    assert_eq!((status, &moved["quantity"], &moved["version"]), (StatusCode::CREATED, &json!(5), &json!(1)));
    assert_eq!(api.get(None, "/stock/mug").await.1, json!({"sku": "mug", "available": 3}));
    let for_staff = json!({"sku": "mug", "available": 3, "on_hand": 5, "held": 2, "version": 2});
    assert_eq!(api.get(Some(Role::Staff), "/stock/mug").await.1, for_staff);
    assert_eq!(api.get(None, "/stock/hat").await.1["code"], "no_such_stock");
    assert_eq!(api.get(Some(Role::Customer), "/stock").await.0, StatusCode::FORBIDDEN);
    api.shop.audit().await;
}

async fn what_is_held_cannot_be_taken_away(db: TestDb) {
    let api = Api::start(&db).await;
    api.shop.stock("mug", 5).await;
    api.shop.hold(api.shop.order(), &[("mug", 3)]).await.unwrap();
    let staff = Some(Role::Staff);

    let (too_many, problem) = api.move_stock(staff, "", json!({"quantity": -3, "reason": "damaged"})).await;
    let (enough, _) = api.move_stock(staff, "", json!({"quantity": -2, "reason": "damaged"})).await;

    assert_eq!((too_many, &problem["code"]), (StatusCode::CONFLICT, &json!("stock_held")));
    assert_eq!((enough, api.shop.level("mug").await), (StatusCode::CREATED, (3, 3)));
    for wrong in [
        json!({"quantity": 0, "reason": "counted"}),
        json!({"quantity": 1, "reason": "sold"}),
        json!({"quantity": 1_000_000_001, "reason": "received"}),
        json!({"quantity": 1, "reason": "received", "note": "x".repeat(501)}),
        json!({"quantity": 1, "reason": "received", "colour": "blue"}),
    ] {
        assert_eq!(api.move_stock(staff, "", wrong).await.0, StatusCode::BAD_REQUEST);
    }
    api.shop.audit().await;
}

async fn a_movement_with_a_key_is_made_once(db: TestDb) {
    let api = Api::start(&db).await;
    let delivery = json!({"quantity": 5, "reason": "received"});

    let first = api.move_stock(Some(Role::Staff), "delivery-1", delivery.clone()).await;
    let second = api.move_stock(Some(Role::Staff), "delivery-1", delivery).await;
    let other =
        api.move_stock(Some(Role::Staff), "delivery-1", json!({"quantity": 6, "reason": "received"})).await;

    assert_eq!(first, second);
    assert_eq!(other.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.shop.level("mug").await, (5, 0));
    api.shop.audit().await;
}

async fn lists_go_on_where_they_ended(db: TestDb) {
    let api = Api::start(&db).await;
    for sku in ["mug", "Cup", "hat-2", "hat_1", "hat"] {
        api.shop.stock(sku, 1).await;
    }
    for _ in 0..2 {
        api.shop.stock("mug", 1).await;
    }
    let staff = Some(Role::Staff);

    let mut seen = Vec::new();
    let mut path = "/stock?limit=2".to_owned();
    loop {
        let (_, page) = api.get(staff, &path).await;
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["sku"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/stock?limit=2&cursor={next}");
    }
    let (_, movements) = api.get(staff, "/stock/mug/movements?limit=2").await;
    let next = movements["next"].as_str().unwrap();
    let (_, rest) = api.get(staff, &format!("/stock/mug/movements?limit=2&cursor={next}")).await;

    assert_eq!(seen, ["Cup", "hat", "hat-2", "hat_1", "mug"], "in the order of the bytes, on both databases");
    let versions = |page: &Value| {
        page["items"].as_array().unwrap().iter().map(|m| m["version"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((versions(&movements), versions(&rest)), (vec![3, 2], vec![1]));
    api.shop.audit().await;
}
