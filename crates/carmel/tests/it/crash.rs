//! The power fails at every step there is: one purchase, on a disk that takes
//! so many steps more and then none. What is on the files then is opened again,
//! and everything must add up.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use carmel::{audit, config::Config, part::Parts, sample, shop::Shop};
use db::{Db, Disk, Engine, Step, Target};
use kernel::{BoxFuture, Error, Outside, Result, Time, World};
use serde_json::{Value, json};
use testkit::{TestDb, client::PASSWORD, clock::Clock};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::harness::settings;

const SERVICES: [&str; 6] = ["users", "catalog", "inventory", "orders", "payments", "notifications"];
const OWNER: &str = "owner@example.com";

/// How many steps apart the crashes are; every step with `CARMEL_TEST_FULL`.
const STRIDE: usize = 19;

/// A disk that takes so many steps more and then none.
struct Dying {
    left: AtomicI64,
    died: AtomicBool,
    bell: Notify,
}

impl Dying {
    fn is_dead(&self) -> bool {
        self.died.load(Ordering::SeqCst)
    }
}

impl Disk for Dying {
    fn before(&self, _: Step<'_>) -> Result<()> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.died.store(true, Ordering::SeqCst);
        self.bell.notify_one();
        Err(Error::unavailable("dead", "the power failed"))
    }

    fn inline(&self) -> bool {
        true
    }
}

/// A world whose chance comes from a seed and whose clock can be moved.
struct Seeded {
    world: World,
    chance: Mutex<u64>,
}

impl Outside for Seeded {
    fn now(&self) -> Time {
        self.world.now()
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        let world = self.world.clone();
        Box::pin(async move { world.sleep_until(until).await })
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut chance = self.chance.lock().unwrap();
        for byte in bytes {
            // xorshift64 (Marsaglia 2003)
            *chance ^= *chance << 13;
            *chance ^= *chance >> 7;
            *chance ^= *chance << 17;
            *byte = (*chance >> 32) as u8;
        }
    }
}

/// A shop that lives until its disk dies, with all of its tasks on one runtime.
struct Life {
    files: PathBuf,
    clock: Clock,
    disk: Arc<Dying>,
    shop: Shop,
    router: Router,
    token: String,
}

impl Life {
    /// Opens a shop on these files, with the token of its owner, who buys, too.
    async fn begin(folder: &Path, token: &str, seed: u64) -> Life {
        let clock = Clock::new();
        let chance = Mutex::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let world = World::new(Seeded { world: clock.world(), chance });
        let disk = Arc::new(Dying {
            left: AtomicI64::new(i64::MAX),
            died: AtomicBool::new(false),
            bell: Notify::new(),
        });
        let mut databases = Vec::new();
        for service in SERVICES {
            let target = Target::Sqlite { path: folder.join(format!("{service}.db")) };
            databases.push((service, Db::open_on(&target, &world, disk.clone()).await.unwrap()));
        }
        let mut config = Config::default();
        config.data.folder = folder.to_owned();
        config.payments.sandbox_latency_ms = 0;
        let shop = Shop::of(&config, &world, &Parts::all(), databases).await.unwrap();
        let router = shop.router().unwrap();
        Life { files: folder.to_owned(), clock, disk, shop, router, token: token.to_owned() }
    }

    /// Asks as over HTTP; nothing when the answer cannot be read.
    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("idempotency-key", "the-one-order")
            .body(Body::from(body.to_string()))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn place(&self, token: &str) -> (u16, Value) {
        let address = json!({ "name": "Ann", "line1": "1 Street", "city": "Hamburg", "postal_code": "20095", "country": "DE" });
        let lines = json!([{ "sku": "mug", "quantity": 2 }]);
        self.ask(
            "POST",
            "/orders",
            json!({ "lines": lines, "payment": { "token": token }, "address": address }),
        )
        .await
    }

    /// Does all work, also what is due only later; fails when the disk dies.
    async fn finish(&self) -> Result<()> {
        loop {
            self.shop.settle().await?;
            let mut left = 0;
            for (_, db) in &self.shop.databases {
                let pending: Result<i64> = db::read!(db, async |tx| {
                    Ok(jobs::pending(tx).await? + bus::outbox::pending(tx).await?)
                });
                left += pending?;
            }
            if left == 0 {
                return Ok(());
            }
            if self.disk.is_dead() {
                return Err(Error::unavailable("dead", "the power failed"));
            }
            // Leases of the dead, waits before the next attempt, late webhooks.
            self.clock.forward(Duration::from_secs(31));
        }
    }
}

fn on_a_runtime<T>(life: impl Future<Output = T>) -> T {
    // Dropped at the end with every task that is still on it: that is the death.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(life)
}

#[test]
fn whenever_the_power_fails_a_good_purchase_is_wholly_there_or_not_at_all() {
    die_at_every_step("tok_success", "confirmed");
}

#[test]
fn whenever_the_power_fails_a_refused_one_is_wholly_undone() {
    die_at_every_step("tok_capture_refused", "cancelled");
}

fn die_at_every_step(card: &str, end: &str) {
    let stride = if std::env::var_os("CARMEL_TEST_FULL").is_some() { 1 } else { STRIDE };
    let template = TestDb::new(Engine::Sqlite);
    let token = on_a_runtime(fill(&template));
    let (mut steps, mut acknowledged) = (0, 0);
    loop {
        let before = copy(&template.folder());
        let (answer, died) = on_a_runtime(async {
            let life = Life::begin(before.path(), &token, steps as u64 + 1).await;
            life.disk.left.store(steps as i64, Ordering::SeqCst);
            let answer = life.place(card).await;
            // Where the power failed nobody lives to try again.
            tokio::select! {
                biased;
                () = life.disk.bell.notified() => {}
                finished = life.finish() => assert!(finished.is_ok() || life.disk.is_dead(), "{finished:?}"),
            }
            (answer, life.disk.is_dead())
        });
        let files = copy(before.path());
        on_a_runtime(async {
            let life = Life::begin(files.path(), &token, 0xC0FFEE + steps as u64).await;
            come_back(life, steps, (card, end), &answer).await;
        });
        acknowledged += usize::from(answer.0 == 202);
        if !died {
            break;
        }
        steps += stride;
    }
    assert!(
        steps > 100 && acknowledged > 10,
        "{steps} steps, {acknowledged} answers: too few to mean anything"
    );
}

/// After the crash, on what is on the files.
async fn come_back(life: Life, steps: usize, (card, end): (&str, &str), answer: &(u16, Value)) {
    let at = format!("after {steps} steps");
    life.clock.forward(Duration::from_secs(31));
    life.finish().await.unwrap();

    let orders = life.ask("GET", "/orders", Value::Null).await.1["items"].as_array().unwrap().clone();
    match (answer.0, orders.len()) {
        (202, 1) => assert_eq!(orders[0]["id"], answer.1["id"], "{at}"),
        // Not acknowledged: wholly there or wholly absent.
        (503 | 500, 0 | 1) => {}
        (status, count) => panic!("{at}: answered {status}, and there are {count} orders"),
    }
    check(&life, &orders, end, &at).await;

    // Whoever got no answer asks again with the same key, and there is one order.
    let (status, again) = life.place(card).await;
    assert_eq!(status, 202, "{at}: {again}");
    life.finish().await.unwrap();
    let after = life.ask("GET", "/orders", Value::Null).await.1["items"].as_array().unwrap().clone();
    assert_eq!(after.len(), 1, "{at}");
    assert_eq!(after[0]["id"], again["id"], "{at}");
    check(&life, &after, end, &at).await;
}

/// Every order has ended, and money and stock agree with it.
async fn check(life: &Life, orders: &[Value], end: &str, at: &str) {
    let mut sold = 0;
    for order in orders {
        assert_eq!(order["state"], end, "{at}: {order}");
        let (status, payment) =
            life.ask("GET", &format!("/payments/{}", order["id"].as_str().unwrap()), Value::Null).await;
        assert_eq!(status, 200, "{at}: {payment}");
        let kept =
            payment["captured"]["amount"].as_i64().unwrap() - payment["refunded"]["amount"].as_i64().unwrap();
        assert_eq!(kept, if end == "confirmed" { 2400 } else { 0 }, "{at}: {payment}");
        sold += if end == "confirmed" { 2 } else { 0 };
    }
    let stock = life.ask("GET", "/stock/mug", Value::Null).await.1;
    assert_eq!((&stock["on_hand"], &stock["held"]), (&json!(10 - sold), &json!(0)), "{at}: {stock}");
    if end == "confirmed" {
        let mails = std::fs::read_dir(life.files.join("mail")).map_or(0, Iterator::count);
        assert_eq!(mails, orders.len(), "{at}: one mail for each order");
    }
    let report = audit::audit(&life.shop).await.unwrap();
    assert!(report.breaches.is_empty(), "{at}: {:#?}", report.breaches);
}

/// A shop before anybody bought anything; returns a token of its owner.
async fn fill(template: &TestDb) -> String {
    let shop = Shop::open(&settings(template), &World::real()).await.unwrap();
    sample::make_admin(&shop, OWNER, "Owner", PASSWORD).await.unwrap();
    crate::harness::shelve(&shop, "mug", 1200, 10).await;
    let tokens = shop.users().sign_in(&OWNER.parse().unwrap(), PASSWORD).await.map_err(Error::from).unwrap();
    shop.settle().await.unwrap();
    shop.close().await;
    tokens.access_token
}

/// The files as they are at this moment, while somebody may have them open.
fn copy(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for service in SERVICES {
        for ending in ["db", "db-wal"] {
            let name = format!("{service}.{ending}");
            if from.join(&name).exists() {
                std::fs::copy(from.join(&name), folder.path().join(&name)).unwrap();
            }
        }
    }
    if let Ok(mails) = std::fs::read_dir(from.join("mail")) {
        std::fs::create_dir(folder.path().join("mail")).unwrap();
        for mail in mails {
            let mail = mail.unwrap();
            std::fs::copy(mail.path(), folder.path().join("mail").join(mail.file_name())).unwrap();
        }
    }
    folder
}
