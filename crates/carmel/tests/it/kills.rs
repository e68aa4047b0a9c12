//! `kill -9` in the middle of every step of the saga. The process kills itself
//! at a point that has a name; a new one on the same data finishes the order.

use std::time::Duration;

use carmel::{sample, shop};
use db::Engine;
use futures::StreamExt;
use kernel::World;
use serde_json::{Value, json};
use testkit::{
    TestDb,
    client::{self, Answer, Basket, PASSWORD, Person},
    postgres,
    process::Carmel,
};

use crate::harness::{id, settings, shelve, wait_until};

const ADMIN: &str = "owner@example.com";
const ANN: &str = "ann@example.com";

/// Where the process dies: a card, the steps that it leads through, and where
/// the order ends.
struct Way {
    card: &'static str,
    steps: &'static [&'static str],
    end: &'static str,
}

const SOLD: Way = Way {
    card: "tok_success",
    steps: &["hold", "screen", "authorise", "commit", "capture"],
    end: "confirmed",
};
const UNDONE: Way =
    Way { card: "tok_capture_refused", steps: &["restock", "void", "release"], end: "cancelled" };
const PAID_BACK: Way = Way { card: "tok_success", steps: &["refund", "restock"], end: "refunded" };
/// So many shops at once: they spend their time waiting for leases, but two cores
/// have to start them all again.
const AT_ONCE: usize = 8;
const POINTS: [&str; 3] = ["begun", "answered", "recorded"];

#[test]
fn killed_at_any_step_every_order_ends_well_on_sqlite() {
    testkit::run(die_everywhere(Engine::Sqlite));
}

#[test]
fn killed_at_any_step_every_order_ends_well_on_postgres() {
    testkit::run(die_everywhere(Engine::Postgres));
}

/// Many deaths at once: each waits for the lease of the dead, and they can do so
/// together. The way back is walked when `CARMEL_TEST_FULL` is set, and at its
/// most delicate points always.
async fn die_everywhere(engine: Engine) {
    let full = std::env::var_os("CARMEL_TEST_FULL").is_some();
    let template = Template::fill(engine).await;
    let mut deaths = Vec::new();
    for way in [&SOLD, &UNDONE, &PAID_BACK] {
        for step in way.steps {
            for point in POINTS {
                if full || way.end == "confirmed" || point == "answered" {
                    deaths.push(die_and_come_back(&template, way, format!("orders.{step}.{point}")));
                }
            }
        }
    }
    let count = deaths.len();
    let done = futures::stream::iter(deaths).buffer_unordered(AT_ONCE).count().await;
    assert_eq!(done, count);
}

async fn die_and_come_back(template: &Template, way: &Way, point: String) {
    let data = template.copy();
    let mut shop = Carmel::start(
        env!("CARGO_BIN_EXE_carmel"),
        &[
            ("CARMEL_DATA_FOLDER", data.folder.path().to_str().unwrap()),
            ("DATABASE_URL", &data.url),
            ("CARMEL_DATABASE_CONNECTIONS", "1"),
            ("CARMEL_TEST_KILL_AT", &point),
        ],
    )
    .await;
    let front = client::Shop::at(shop.url());
    let ann = front.sign_in(ANN, PASSWORD).await;
    let owner = front.sign_in(ADMIN, PASSWORD).await;
    let basket = Basket::of(&[("mug", 2)]).paid_with(way.card);

    let first = ann.try_place(&basket).await.ok();
    if way.end == "refunded" {
        let order = first.clone().unwrap_or_else(|| panic!("{point}: died too early")).expect(202);
        ann.settled(id(&order)).await;
        // Its answer may be lost like any other.
        let path = format!("/orders/{}/refund", id(&order));
        drop(owner.try_send(reqwest::Method::POST, &path, &[], Some(json!({}))).await);
    }
    wait_until(Duration::from_secs(30), &point, async || {
        ann.try_send(reqwest::Method::GET, "/livez", &[], None).await.is_err()
    })
    .await;
    shop.set("CARMEL_TEST_KILL_AT", "nowhere");
    shop.restart().await;

    let again = ann.place(&basket).await.expect(202);
    if let Some(first) = first {
        assert_eq!(first.expect(202)["id"], again["id"], "{point}: one key, one order");
    }
    let order = ended(&ann, id(&again), &point).await;
    assert_eq!(order["state"], way.end, "{point}: {order:#}");
    assert_eq!(ann.get("/orders").await.expect(200)["items"].as_array().unwrap().len(), 1, "{point}");
    check_the_books(&owner, &order, &point).await;
    let sold = if way.end == "confirmed" { 2 } else { 0 };
    assert_eq!(front.available("mug").await, 10 - sold, "{point}");
    let (status, said) = shop.run(&["audit"]).await;
    assert!(status.success(), "{point}: {said}");
}

/// Money was taken once or not at all, and what is kept is what was sold.
async fn check_the_books(owner: &Person, order: &Value, point: &str) {
    let payment: Answer = owner.get(&format!("/payments/{}", id(order))).await;
    let payment = payment.expect(200);
    let cents = |what: &str| payment[what]["amount"].as_i64().unwrap();
    let done = |kind: &str| {
        let attempts = payment["attempts"].as_array().unwrap().iter();
        attempts.filter(|attempt| attempt["kind"] == kind && attempt["state"] == "done").count()
    };
    let (captured, refunded, captures, refunds) = match order["state"].as_str().unwrap() {
        "confirmed" => (2400, 0, 1, 0),
        "refunded" => (2400, 2400, 1, 1),
        _ => (0, 0, 0, 0),
    };
    assert_eq!((cents("captured"), cents("refunded")), (captured, refunded), "{point}: {payment:#}");
    assert_eq!((done("capture"), done("refund")), (captures, refunds), "{point}: {payment:#}");
}

/// The order once it has come to an end: the lease of the dead is over after
/// half a minute.
async fn ended(ann: &Person, order: &str, point: &str) -> Value {
    let path = format!("/orders/{order}");
    let mut seen = Value::Null;
    wait_until(Duration::from_secs(90), point, async || {
        seen = ann.get(&path).await.expect(200);
        ["confirmed", "cancelled", "refunded"].iter().any(|end| seen["state"] == *end)
    })
    .await;
    seen
}

/// The data of a shop before anybody bought anything.
struct Template {
    db: TestDb,
    url: Option<String>,
}

/// Such data, to be used up.
struct Data {
    folder: tempfile::TempDir,
    url: String,
}

impl Template {
    async fn fill(engine: Engine) -> Template {
        let db = TestDb::new(engine);
        let config = settings(&db);
        let shop = shop::Shop::open(&config, &World::real()).await.unwrap();
        sample::make_admin(&shop, ADMIN, "Owner", PASSWORD).await.unwrap();
        let ann = ("Ann".parse().unwrap(), ANN.parse().unwrap());
        let hash = shop.users().hash_password(&PASSWORD.parse().unwrap()).await.unwrap();
        shop.users().insert_many(&[ann], Some(&hash)).await.unwrap();
        shelve(&shop, "mug", 1200, 10).await;
        shop.settle().await.unwrap();
        shop.close().await;
        Template { url: (engine == Engine::Postgres).then(|| config.database.url.expose().to_owned()), db }
    }

    fn copy(&self) -> Data {
        let folder = tempfile::tempdir().unwrap();
        let Some(url) = &self.url else {
            for file in std::fs::read_dir(self.db.folder()).unwrap() {
                let file = file.unwrap();
                if file.file_type().unwrap().is_file() {
                    std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
                }
            }
            return Data { folder, url: String::new() };
        };
        let (server, template) = url.rsplit_once('/').unwrap();
        let name = client::fresh("killed").replace('-', "_");
        postgres::Server::shared().run_sql(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
        Data { folder, url: format!("{server}/{name}") }
    }
}
