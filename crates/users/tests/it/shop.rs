//! The service behind its router, and somebody who talks to it.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use bus::Bus;
use cache::{Address, Shared};
use contracts::users::{Keys as AskKeys, Users as _};
use db::Db;
use http_body_util::BodyExt;
use kernel::World;
use serde_json::{Value, json};
use testkit::{TestDb, clock::Clock};
use tower::ServiceExt;
use users::{Needs, Settings, Users};
use web::auth::{Keys, Verifier};

pub struct Shop {
    pub users: Users,
    pub db: Db,
    pub clock: Clock,
    bus: Bus,
    router: Router,
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

    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    #[track_caller]
    pub fn refused(self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
    }
}

/// The verifier gets its keys through the contract, as in the program.
struct FromContract(Users);

#[rpc::async_trait]
impl Keys for FromContract {
    async fn key(&self, kid: &str) -> kernel::Result<Option<Vec<u8>>> {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let keys = self.0.keys(AskKeys {}).await?;
        let found = keys.into_iter().find(|key| key.kid == kid);
        Ok(found.map(|key| BASE64_URL_SAFE_NO_PAD.decode(key.x).unwrap()))
    }
}

impl Shop {
    pub async fn start(test: &TestDb) -> Shop {
        let clock = Clock::new();
        let db = test.open_in(&clock.world(), "users", &users::migrations()).await;
        Shop::on(db, clock, None).await
    }

    /// One that remembers through a Redis.
    pub async fn sharing(test: &TestDb, clock: &Clock, redis: &str) -> Shop {
        let world = clock.world();
        let db = test.open_in(&world, "users", &users::migrations()).await;
        let shared = Shared::new(&world, &redis.parse::<Address>().unwrap());
        Shop::on(db, clock.clone(), Some(shared)).await
    }

    /// One more process on the same tables.
    pub async fn another(&self, test: &TestDb) -> Shop {
        let db = test.open_in(&self.clock.world(), "users", &users::migrations()).await;
        Shop::on(db, self.clock.clone(), None).await
    }

    async fn on(db: Db, clock: Clock, shared: Option<Shared>) -> Shop {
        let users = Users::new(Needs { db: db.clone(), shared, settings: Settings::default() });
        users.start().await.unwrap();
        let world: World = clock.world();
        let verifier = Verifier::new(world.clone(), Arc::new(FromContract(users.clone())));
        let bus = Bus::memory();
        users::consumers(&users).into_iter().for_each(|consumer| bus.subscribe(consumer));
        let (router, _) = users::routes(users.clone()).split_for_parts();
        Shop { users, db, clock, bus, router: web::service_layers(router, &verifier) }
    }

    /// Asks anonymously.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Reply {
        self.send(method, path, &[], body).await
    }

    /// Asks with a token.
    pub async fn ask_as(&self, token: &str, method: &str, path: &str, body: Value) -> Reply {
        self.send(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
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

    /// Somebody with an account and a password; returns his id.
    pub async fn customer(&self, email: &str) -> String {
        let body = json!({"name": "Ann", "email": email, "password": PASSWORD});
        self.ask("POST", "/users", body).await.expect(201).text("id")
    }

    /// Signs in and returns the whole reply.
    pub async fn sign_in(&self, email: &str) -> Reply {
        self.ask("POST", "/login", json!({"email": email, "password": PASSWORD})).await.expect(200)
    }

    pub async fn token(&self, email: &str) -> String {
        self.sign_in(email).await.text("access_token")
    }

    /// An administrator's token.
    pub async fn admin(&self) -> String {
        let (email, name, password) =
            ("admin@example.com".parse().unwrap(), "Root".parse().unwrap(), PASSWORD.parse().unwrap());
        self.users.ensure_admin(&email, &name, &password).await.unwrap();
        self.token("admin@example.com").await
    }

    /// The token of somebody whom the administrator gave this role.
    pub async fn with_role(&self, email: &str, role: &str) -> String {
        let (id, admin) = (self.customer(email).await, self.admin().await);
        self.ask_as(&admin, "PATCH", &format!("/users/{id}"), json!({"role": role})).await.expect(200);
        self.token(email).await
    }

    /// Has every event heard that is there.
    pub async fn hear(&self) {
        while self.bus.relay_once("users", &self.db).await.unwrap() > 0 {}
    }

    /// Ends a story: every event was heard, no job is left, nothing is broken.
    pub async fn audit(&self) {
        self.hear().await;
        users::runner(&self.users).run_due().await.unwrap();
        let pending: kernel::Result<(i64, i64)> = db::read!(self.db, async |tx| {
            Ok((bus::outbox::pending(tx).await?, jobs::pending(tx).await?))
        });
        assert_eq!(pending.unwrap(), (0, 0), "events and jobs that are left over");
        assert_eq!(users::audit(&self.db).await.unwrap(), [""; 0]);
        assert_eq!(bus::audit(&self.db).await.unwrap(), [""; 0]);
        assert_eq!(jobs::audit(&self.db).await.unwrap(), [""; 0]);
    }
}

pub const PASSWORD: &str = "correct horse";
pub const DAY: Duration = Duration::from_secs(24 * 3600);
