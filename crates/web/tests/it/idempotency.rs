//! Once per key, on both databases.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Router, extract::State, response::Response, routing::post};
use db::{Db, Migration, Target, query};
use http::StatusCode;
use kernel::{Error, OrderId, World};
use serde::{Deserialize, Serialize};
use web::{IdempotencyKey, Json, MaybeIdempotencyKey, Path, Result, Role, idempotency};

use crate::{
    client::{Reply, Signer, ask},
    worlds::Clock,
};

macro_rules! both_databases {
    ($($story:ident),* $(,)?) => { $(
        mod $story {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() { super::$story(super::Shop::on_sqlite().await).await; }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() { super::$story(super::Shop::on_postgres().await).await; }
        }
    )* };
}

both_databases!(
    one_key_fifty_times_at_once_has_one_effect,
    the_same_key_for_another_body_is_refused,
    a_key_belongs_to_its_caller_and_its_address,
    a_failed_first_leaves_no_trace,
    without_a_key_everything_is_done_each_time,
    an_answer_can_be_looked_for,
    a_key_is_new_again_after_a_day,
);

async fn one_key_fifty_times_at_once_has_one_effect(shop: Shop) {
    let asks = (0..50).map(|_| shop.place("k1", "{\"sku\":\"mug\"}"));

    let replies = futures::future::join_all(asks).await;

    assert_eq!(shop.orders().await, 1);
    let first: Vec<_> =
        replies.iter().filter(|reply| reply.header("idempotent-replayed").is_empty()).collect();
    assert_eq!(first.len(), 1);
    for reply in &replies {
        assert_eq!((reply.status, &reply.body), (StatusCode::CREATED, &first[0].body));
    }
}

async fn the_same_key_for_another_body_is_refused(shop: Shop) {
    shop.place("k1", "{\"sku\":\"mug\"}").await;

    let other = shop.place("k1", "{\"sku\":\"cup\"}").await;

    assert_eq!(other.problem(), (422, "idempotency_key_reused".to_owned()));
    assert_eq!(shop.orders().await, 1);
}

async fn a_key_belongs_to_its_caller_and_its_address(shop: Shop) {
    let (ann, bob) = (shop.signer.bearer(Role::Customer), shop.signer.bearer(Role::Customer));

    for line in ["POST /orders/a", "POST /orders/b"] {
        for bearer in [&ann, &bob] {
            for again in ["", "true"] {
                let headers = [("idempotency-key", "k1"), ("authorization", bearer.as_str())];
                let reply = ask(&shop.app, line, &headers, "{\"sku\":\"mug\"}").await;
                assert_eq!((reply.status, reply.header("idempotent-replayed")), (StatusCode::CREATED, again));
            }
        }
    }

    assert_eq!(shop.orders().await, 4);
}

async fn a_failed_first_leaves_no_trace(shop: Shop) {
    let failed = shop.place("k1", "{\"sku\":\"sold-out\"}").await;
    let again = shop.place("k1", "{\"sku\":\"mug\"}").await;

    assert_eq!(failed.problem(), (409, "out_of_stock".to_owned()));
    assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::CREATED, ""));
    assert_eq!(shop.orders().await, 1);
}

async fn without_a_key_everything_is_done_each_time(shop: Shop) {
    for _ in 0..2 {
        assert_eq!(
            ask(&shop.app, "POST /orders/a", &[], "{\"sku\":\"mug\"}").await.status,
            StatusCode::CREATED
        );
    }

    assert_eq!(shop.orders().await, 2);
}

async fn an_answer_can_be_looked_for(shop: Shop) {
    let key = IdempotencyKey::new("anonymous", "POST /orders/a", "k1", b"{\"sku\":\"mug\"}");
    let other = IdempotencyKey::new("anonymous", "POST /orders/a", "k1", b"{\"sku\":\"cup\"}");
    assert_eq!(idempotency::find::<Order>(&shop.db, &key).await.unwrap(), None);

    let first = shop.place("k1", "{\"sku\":\"mug\"}").await;

    let found = idempotency::find::<Order>(&shop.db, &key).await.unwrap().unwrap();
    assert!(found.replayed);
    assert_eq!(serde_json::to_value(&found.value).unwrap(), first.json());
    assert_eq!(
        idempotency::find::<Order>(&shop.db, &other).await.unwrap_err().code,
        "idempotency_key_reused"
    );
    assert_eq!(idempotency::find::<Order>(&shop.db, &None::<IdempotencyKey>).await.unwrap(), None);
}

async fn a_key_is_new_again_after_a_day(shop: Shop) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    shop.place("k1", "{\"sku\":\"mug\"}").await;
    shop.place("k2", "{\"sku\":\"mug\"}").await;

    shop.clock.forward(DAY - Duration::from_secs(1));
    assert_eq!(idempotency::purge(&shop.db, DAY).await.unwrap(), 0);
    assert_eq!(shop.place("k1", "{\"sku\":\"mug\"}").await.header("idempotent-replayed"), "true");
    shop.clock.forward(Duration::from_secs(2));
    assert_eq!(idempotency::purge(&shop.db, DAY).await.unwrap(), 2);
    let other = shop.place("k1", "{\"sku\":\"cup\"}").await;

    assert_eq!((other.status, other.header("idempotent-replayed")), (StatusCode::CREATED, ""));
    assert_eq!(shop.orders().await, 3);
    assert_eq!(idempotency::purge(&shop.db, DAY).await.unwrap(), 0, "k1 is new");
    assert_eq!(shop.place("k1", "{\"sku\":\"cup\"}").await.header("idempotent-replayed"), "true");
}

/// A small shop with one table.
struct Shop {
    app: Router,
    db: Db,
    clock: Clock,
    signer: Arc<Signer>,
    _folder: Option<tempfile::TempDir>,
}

#[derive(Clone)]
struct Orders {
    db: Db,
}

#[derive(Debug, Deserialize)]
struct PlaceOrder {
    sku: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: OrderId,
    sku: String,
}

/// Has its own error, as every action has.
#[derive(Debug)]
enum PlaceError {
    SoldOut,
    Other(Error),
}

impl From<Error> for PlaceError {
    fn from(error: Error) -> PlaceError {
        PlaceError::Other(error)
    }
}

impl From<PlaceError> for Error {
    fn from(error: PlaceError) -> Error {
        match error {
            PlaceError::SoldOut => Error::conflict("out_of_stock", "sold-out is out of stock"),
            PlaceError::Other(error) => error,
        }
    }
}

async fn place(
    State(orders): State<Orders>,
    Path(_): Path<String>,
    key: MaybeIdempotencyKey,
    Json(body): Json<PlaceOrder>,
) -> Result<Response> {
    let order = Order { id: OrderId::new(orders.db.world()), sku: body.sku };
    let placed: std::result::Result<_, PlaceError> = web::once!(orders.db, key.0, async |tx| {
        query("INSERT INTO orders (id, sku) VALUES ($1, $2)")
            .bind(order.id)
            .bind(&order.sku)
            .execute(tx)
            .await?;
        if order.sku == "sold-out" {
            return Err(PlaceError::SoldOut);
        }
        Ok(order.clone())
    });
    Ok(placed?.reply(StatusCode::CREATED))
}

const ORDERS: Migration =
    Migration { name: "orders_1", sql: "CREATE TABLE orders (id UUID PRIMARY KEY, sku TEXT NOT NULL)" };

impl Shop {
    async fn on_sqlite() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Sqlite { path: folder.path().join("shop.db") };
        Shop::open(target, Some(folder)).await
    }

    async fn on_postgres() -> Shop {
        static URL: OnceLock<String> = OnceLock::new();
        let url = URL.get_or_init(|| {
            std::env::var("CARMEL_TEST_POSTGRES")
                .expect("no PostgreSQL to test on: run `cargo xtask test`, which starts one")
        });
        let schema = format!("web_{}", World::real().uuid_v7().simple());
        Shop::open(Target::Postgres { url: url.clone(), schema, connections: 4 }, None).await
    }

    async fn open(target: Target, folder: Option<tempfile::TempDir>) -> Shop {
        let (clock, world) = Clock::new();
        let db = Db::open(&target, &world).await.unwrap();
        let migrations: Vec<Migration> = idempotency::MIGRATIONS.iter().copied().chain([ORDERS]).collect();
        db.migrate(&migrations).await.unwrap();
        let signer = Signer::new(&world);
        let routes = Router::new().route("/orders/{name}", post(place)).with_state(Orders { db: db.clone() });
        Shop { app: web::service_layers(routes, &signer.verifier()), db, clock, signer, _folder: folder }
    }

    async fn place(&self, key: &str, body: &str) -> Reply {
        ask(&self.app, "POST /orders/a", &[("idempotency-key", key)], body).await
    }

    async fn orders(&self) -> i64 {
        let count: kernel::Result<(i64,)> =
            db::read!(self.db, async |tx| { query("SELECT COUNT(*) FROM orders").fetch_one(tx).await });
        count.unwrap().0
    }
}
