//! The service behind its router, and somebody who talks to it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use bus::Bus;
use cache::{Address, Shared};
use catalog::{Catalog, Needs, Settings};
use contracts::inventory::{Commit, Held, Hold, Inventory, Level, Levels, Release, Restock};
use db::Db;
use http_body_util::BodyExt;
use kernel::{Error, Result, SessionId, UserId, World};
use serde_json::{Value, json};
use testkit::{TestDb, clock::Clock};
use tower::ServiceExt;
use web::{
    Role,
    auth::{Claims, Keys, Verifier, sign},
};

pub struct Shop {
    pub catalog: Catalog,
    pub db: Db,
    pub clock: Clock,
    pub stock: Arc<Stock>,
    bus: Bus,
    router: Router,
}

/// An inventory that has seven of everything, while it is there.
#[derive(Default)]
pub struct Stock {
    pub is_away: AtomicBool,
}

#[rpc::async_trait]
impl Inventory for Stock {
    async fn hold(&self, _: Hold) -> Result<Held> {
        unreachable!("the catalogue holds nothing")
    }
    async fn release(&self, _: Release) -> Result<()> {
        unreachable!("the catalogue releases nothing")
    }
    async fn commit(&self, _: Commit) -> Result<()> {
        unreachable!("the catalogue sells nothing")
    }
    async fn restock(&self, _: Restock) -> Result<()> {
        unreachable!("the catalogue puts nothing back")
    }
    async fn levels(&self, ask: Levels) -> Result<Vec<Level>> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("inventory_away", "inventory is away"));
        }
        let known = ask.skus.into_iter().filter(|sku| !sku.as_str().ends_with("-new"));
        Ok(known.map(|sku| Level { sku, on_hand: 9, held: 2, available: 7 }).collect())
    }
}

/// What came back.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body)).to_owned()
    }

    /// One field of each item of a list.
    pub fn all(&self, field: &str) -> Vec<String> {
        let items = self.body["items"].as_array().unwrap();
        items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    #[track_caller]
    pub fn refused(self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{}", self.body);
    }
}

/// Who asks.
#[derive(Clone, Copy)]
pub enum By {
    Nobody,
    Customer,
    Staff,
}

/// A key of this test, in PKCS #8 (RFC 8410): the frame and the secret.
const SECRET: [u8; 32] = [7; 32];
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

struct OneKey;

#[rpc::async_trait]
impl Keys for OneKey {
    async fn key(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(Some(ed25519_dalek::SigningKey::from_bytes(&SECRET).verifying_key().to_bytes().to_vec()))
    }
}

impl Shop {
    pub async fn start(test: &TestDb) -> Shop {
        let clock = Clock::new();
        Shop::on(test, clock, None).await
    }

    /// One that remembers through a Redis.
    pub async fn sharing(test: &TestDb, clock: &Clock, redis: &str) -> Shop {
        let shared = Shared::new(&clock.world(), &redis.parse::<Address>().unwrap());
        Shop::on(test, clock.clone(), Some(shared)).await
    }

    /// One more process on the same tables.
    pub async fn another(&self, test: &TestDb) -> Shop {
        Shop::on(test, self.clock.clone(), None).await
    }

    async fn on(test: &TestDb, clock: Clock, shared: Option<Shared>) -> Shop {
        let world: World = clock.world();
        let db = test.open_in(&world, "catalog", &catalog::migrations()).await;
        let stock = Arc::new(Stock::default());
        let needs =
            Needs { db: db.clone(), inventory: Some(stock.clone()), shared, settings: Settings::default() };
        let catalog = Catalog::new(needs);
        let bus = Bus::memory();
        catalog::consumers(&catalog).into_iter().for_each(|consumer| bus.subscribe(consumer));
        let (router, _) = catalog::routes(catalog.clone()).split_for_parts();
        let router = web::service_layers(router, &Verifier::new(world, Arc::new(OneKey)));
        Shop { catalog, db, clock, stock, bus, router }
    }

    pub async fn ask(&self, by: By, method: &str, path: &str, body: Value) -> Reply {
        self.send(by, method, path, &[], body).await
    }

    pub async fn get(&self, by: By, path: &str) -> Reply {
        self.ask(by, "GET", path, Value::Null).await
    }

    pub async fn send(
        &self,
        by: By,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = self.token(by) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Value::Null => Body::empty(),
            body => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply { status: parts.status, headers: parts.headers, body }
    }

    fn token(&self, by: By) -> Option<String> {
        let role = match by {
            By::Nobody => return None,
            By::Customer => Role::Customer,
            By::Staff => Role::Staff,
        };
        let world = self.db.world();
        let now = world.now().micros() / 1_000_000;
        let claims = Claims {
            sub: UserId::from_uuid(kernel::uuid::Uuid::from_u128(role as u128 + 1)),
            role,
            sid: SessionId::new(world),
            iat: now,
            exp: now + 900,
            iss: web::auth::ISSUER.to_owned(),
        };
        Some(sign(&claims, "test", &[&PKCS8[..], &SECRET[..]].concat()).unwrap())
    }

    /// A product with one variant of this SKU at this price; the whole reply.
    pub async fn product(&self, sku: &str, cents: i64) -> Reply {
        let variant = json!({"sku": sku, "price": {"amount": cents, "currency": "EUR"}});
        let body = json!({"name": format!("Product {sku}"), "slug": sku, "variants": [variant]});
        self.ask(By::Staff, "POST", "/products", body).await.expect(201)
    }

    pub async fn category(&self, slug: &str, parent: Option<&str>) -> String {
        let body = json!({"name": slug, "slug": slug, "parent": parent});
        self.ask(By::Staff, "POST", "/categories", body).await.expect(201).text("id")
    }

    /// Has every event heard that is there.
    pub async fn hear(&self) {
        while self.bus.relay_once("catalog", &self.db).await.unwrap() > 0 {}
    }

    /// Ends a story: every event was heard, no job is left, nothing is broken.
    pub async fn audit(&self) {
        self.hear().await;
        let pending: Result<(i64, i64)> = db::read!(self.db, async |tx| {
            Ok((bus::outbox::pending(tx).await?, jobs::pending(tx).await?))
        });
        assert_eq!(pending.unwrap(), (0, 0), "events and jobs that are left over");
        assert_eq!(catalog::audit(&self.db).await.unwrap(), [""; 0]);
        assert_eq!(bus::audit(&self.db).await.unwrap(), [""; 0]);
        assert_eq!(jobs::audit(&self.db).await.unwrap(), [""; 0]);
    }
}
