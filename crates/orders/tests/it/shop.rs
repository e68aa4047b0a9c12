//! A shop for one story: the real orders, fakes around it, and people.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use contracts::orders::OrderState;
use db::Db;
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use http_body_util::BodyExt;
use kernel::{Currency, Money, OrderId, SessionId, UserId, World};
use orders::{Needs, Orders, Settings};
use serde_json::{Value, json};
use testkit::{TestDb, clock::Clock};
use tower::ServiceExt;
use web::auth::{Claims, ISSUER, Keys, Role, Verifier};

use crate::fakes::{Bank, FakeCatalog, Warehouse};

pub struct Shop {
    pub clock: Clock,
    pub world: World,
    pub db: Db,
    pub orders: Orders,
    pub catalog: Arc<FakeCatalog>,
    pub warehouse: Arc<Warehouse>,
    pub bank: Arc<Bank>,
    router: Router,
    _files: TestDb,
}

struct OneKey;

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

#[rpc::async_trait]
impl Keys for OneKey {
    async fn key(&self, _: &str) -> kernel::Result<Option<Vec<u8>>> {
        Ok(Some(signing_key().verifying_key().to_bytes().to_vec()))
    }
}

impl Shop {
    /// A shop that sells mugs (1200 cents, ten of them) and cups (500, one).
    pub async fn start(files: TestDb) -> Shop {
        let clock = Clock::new();
        let world = clock.world();
        let db = files.open_in(&world, "orders", &orders::migrations()).await;
        let catalog = Arc::new(FakeCatalog::new(&world));
        let (warehouse, bank) = (Arc::new(Warehouse::new(&world)), Arc::new(Bank::new(&world)));
        let orders = Orders::new(Needs {
            db: db.clone(),
            catalog: catalog.clone(),
            inventory: warehouse.clone(),
            payments: bank.clone(),
            settings: Settings::default(),
        });
        let verifier = Verifier::new(world.clone(), Arc::new(OneKey));
        let (routes, _) = orders::routes(orders.clone()).split_for_parts();
        let router = web::service_layers(routes, &verifier);
        let shop = Shop { clock, world, db, orders, catalog, warehouse, bank, router, _files: files };
        shop.sell("mug", 1200, 10);
        shop.sell("cup", 500, 1);
        shop
    }

    pub fn sell(&self, sku: &str, price: i64, pieces: i64) {
        self.catalog
            .wire
            .look(|prices| prices.insert(sku.parse().unwrap(), Money::new(price, Currency::EUR)));
        self.warehouse.wire.look(|shelves| shelves.on_hand.insert(sku.parse().unwrap(), pieces));
    }

    pub fn customer(&self) -> Person {
        self.person(Role::Customer)
    }

    pub fn staff(&self) -> Person {
        self.person(Role::Staff)
    }

    fn person(&self, role: Role) -> Person {
        let id = UserId::new(&self.world);
        let now = self.world.now().micros() / 1_000_000;
        let session = SessionId::new(&self.world);
        let claims =
            Claims { sub: id, role, sid: session, iat: now, exp: now + 1_000_000, iss: ISSUER.into() };
        let key = signing_key().to_pkcs8_der().unwrap();
        let token = web::auth::sign(&claims, "test", key.as_bytes()).unwrap();
        Person { id, token, router: self.router.clone(), world: self.world.clone() }
    }

    /// Runs what is due, once.
    pub async fn run(&self) {
        orders::runner(&self.orders).unwrap().run_due().await.unwrap();
    }

    /// The same beside the story.
    pub fn run_beside(&self) -> tokio::task::JoinHandle<()> {
        let orders = self.orders.clone();
        tokio::spawn(async move { drop(orders::runner(&orders).unwrap().run_due().await) })
    }

    /// Lets time pass until no job waits any more.
    pub async fn settle(&self) {
        for _ in 0..60 {
            self.run().await;
            if self.pending().await == 0 {
                return;
            }
            self.clock.forward(Duration::from_secs(60));
        }
        panic!("a job is left over");
    }

    pub async fn pending(&self) -> i64 {
        let pending: kernel::Result<i64> = db::read!(self.db, async |tx| { jobs::pending(tx).await });
        pending.unwrap()
    }

    pub async fn dead(&self) -> usize {
        let dead: kernel::Result<Vec<_>> = db::read!(self.db, async |tx| { jobs::dead(tx, 100).await });
        dead.unwrap().len()
    }

    pub fn left(&self, sku: &str) -> i64 {
        self.warehouse.wire.look(|shelves| shelves.on_hand[&sku.parse().unwrap()])
    }

    pub fn held(&self, sku: &str) -> i64 {
        self.warehouse.wire.look(|shelves| shelves.held(&sku.parse().unwrap()))
    }

    pub fn kept(&self, order: &Reply) -> i64 {
        self.bank.wire.look(|books| books.kept(order.id()))
    }

    /// Forgets every job, as a database does that was restored without them.
    pub async fn lose_jobs(&self) {
        let lost: kernel::Result<u64> =
            db::write!(self.db, async |tx| { db::query("DELETE FROM jobs").execute(tx).await });
        lost.unwrap();
    }

    /// Leaves so many attempts to every job that waits, as if it had failed all the others.
    pub async fn leave_attempts(&self, left: i64) {
        let spent: kernel::Result<u64> = db::write!(self.db, async |tx| {
            let sql = "UPDATE jobs SET attempt = attempts - $1 WHERE state = 'waiting'";
            db::query(sql).bind(left).execute(tx).await
        });
        spent.unwrap();
    }

    /// Gives up every job that waits, as after its last attempt.
    pub async fn give_up(&self) {
        let given_up: kernel::Result<u64> = db::write!(self.db, async |tx| {
            let now = tx.world().now();
            db::query(
                "UPDATE jobs SET state = 'dead', ready = FALSE, finished_at = $1 WHERE state = 'waiting'",
            )
            .bind(now)
            .execute(tx)
            .await
        });
        assert!(given_up.unwrap() > 0, "no job was waiting");
    }

    /// Lets every lease run out, as if its worker had been frozen for long.
    pub async fn take_leases(&self) {
        let taken: kernel::Result<u64> = db::write!(self.db, async |tx| {
            db::query("UPDATE jobs SET state = 'waiting', ready = TRUE, leased_until_at = NULL WHERE state = 'running'")
                .execute(tx)
                .await
        });
        assert!(taken.unwrap() > 0, "no job was under way");
    }

    /// What must be true of the shop whatever happened: nothing is left over,
    /// and orders, stock and money agree.
    pub async fn audit(&self) {
        let bus = bus::Bus::memory();
        while bus.relay_once("orders", &self.db).await.unwrap() > 0 {}
        let left: kernel::Result<i64> = db::read!(self.db, async |tx| { bus::outbox::pending(tx).await });
        assert_eq!((left.unwrap(), self.pending().await), (0, 0), "events and jobs left over");
        assert_eq!(orders::audit(&self.db).await.unwrap(), Vec::<String>::new());
        let facts = orders::facts(&mut self.db.picture().await.unwrap(), None, 500).await.unwrap();
        for fact in &facts {
            let (kept, promised, captures) = self.bank.wire.look(|books| {
                let captures = books.captures.get(&fact.order).copied().unwrap_or_default();
                (books.kept(fact.order), books.promised(fact.order), captures)
            });
            let sold = self.warehouse.wire.look(|shelves| shelves.sold.get(&fact.order).cloned());
            let held = self.warehouse.wire.look(|shelves| shelves.holds.contains_key(&fact.order));
            let bought = fact.lines.clone();
            let sold: Option<Vec<_>> =
                sold.map(|l| l.into_iter().map(|line| (line.sku, line.quantity)).collect());
            match fact.state {
                OrderState::Confirmed | OrderState::Shipped | OrderState::Delivered => {
                    assert_eq!((kept, captures), (fact.total.amount, 1), "{fact:?}");
                    assert_eq!(sold, Some(bought), "{fact:?}");
                }
                OrderState::Cancelled => {
                    assert_eq!((kept, promised, held), (0, false, false), "{fact:?}");
                    assert_eq!(sold, None, "{fact:?}");
                }
                OrderState::Refunded => {
                    assert_eq!((kept, captures), (0, 1), "{fact:?}");
                    assert_eq!(sold.is_some(), fact.shipped, "{fact:?}");
                }
                state => panic!("{} is left {state}", fact.order),
            }
        }
    }
}

/// Somebody with a token.
#[derive(Clone)]
pub struct Person {
    pub id: UserId,
    token: String,
    router: Router,
    world: World,
}

impl Person {
    /// Orders one mug.
    pub async fn order_a_mug(&self) -> Reply {
        self.order(&[("mug", 1)], "tok_success").await
    }

    pub async fn order(&self, lines: &[(&str, u32)], token: &str) -> Reply {
        let key = OrderId::new(&self.world).to_string();
        let placed = self.post("/orders", &[("idempotency-key", &key)], purchase(lines, token)).await;
        assert_eq!(placed.status, StatusCode::ACCEPTED, "{:?}", placed.body);
        placed
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(Method::GET, path, headers, None).await
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        self.send(Method::POST, path, headers, Some(body)).await
    }

    /// Asks for something to be done with an order.
    pub async fn ask(&self, order: &Reply, deed: &str, body: Value) -> Reply {
        self.post(&format!("{}/{deed}", order.path()), &[], body).await
    }

    pub async fn cancel(&self, order: &Reply) -> Reply {
        self.ask(order, "cancel", json!({})).await
    }

    /// The order as it is now.
    pub async fn see(&self, order: &Reply) -> Reply {
        let seen = self.get(&order.path()).await;
        assert_eq!(seen.status, StatusCode::OK, "{:?}", seen.body);
        seen
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

/// What `POST /orders` is sent.
pub fn purchase(lines: &[(&str, u32)], token: &str) -> Value {
    let lines: Vec<Value> =
        lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
    let address = json!({"name": "Ann", "line1": "1 Harbour Street", "city": "Hamburg", "postal_code": "20095", "country": "DE"});
    json!({"lines": lines, "payment": {"token": token}, "address": address})
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    pub fn id(&self) -> OrderId {
        self.text("id").parse().unwrap()
    }

    pub fn path(&self) -> String {
        format!("/orders/{}", self.text("id"))
    }

    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// State, and why.
    pub fn outcome(&self) -> (&str, &str) {
        (self.text("state"), self.body["reason"].as_str().unwrap_or(""))
    }

    /// Status and code of a problem.
    pub fn problem(&self) -> (u16, &str) {
        (self.status.as_u16(), self.text("code"))
    }

    /// `hold done`, …: every attempt at a step, in order.
    pub fn steps(&self) -> Vec<String> {
        let steps = self.body["steps"].as_array().unwrap().iter();
        steps
            .map(|step| format!("{} {}", step["step"].as_str().unwrap(), step["state"].as_str().unwrap()))
            .collect()
    }

    /// Where it stood, in order.
    pub fn history(&self) -> Vec<&str> {
        self.body["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["state"].as_str().unwrap())
            .collect()
    }
}
