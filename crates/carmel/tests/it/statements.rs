//! How many statements an answer takes: as many for a long one as for a short
//! one. Counted on SQLite, in a shop without workers, so that whatever is run is
//! run for whoever asks.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use carmel::shop;
use db::{Disk, Engine, Step};
use kernel::{Result, World};
use serde_json::{Value, json};
use testkit::{
    TestDb,
    client::{self, Basket, PASSWORD, Person},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{self, Shop, id};

/// The statements that were run, in order.
#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Disk for Said {
    fn before(&self, step: Step<'_>) -> Result<()> {
        if let Step::Statement(sql) = step {
            self.0.lock().unwrap().push(sql.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        Ok(())
    }
}

impl Said {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// So many of everything that lists show, and in what is shown with all its parts.
const MANY: usize = 20;

/// What was made to be looked at: with many parts, and with one.
struct Made {
    ann: String,
    long_order: String,
    short_order: String,
    large_product: String,
    small_product: String,
    variant: String,
    category: String,
    job: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_answer_takes_as_many_statements_as_a_short_one() {
    let shop =
        Shop::start_with(TestDb::new(Engine::Sqlite), |config| config.screening.orders_per_hour = 1_000)
            .await;
    let made = make(&shop).await;
    let files = shop.close().await;
    let said = Arc::new(Said::default());
    let quiet = Quiet::open(files, &said).await;
    let front = client::Shop::at(&quiet.url);
    let (ann, owner) =
        (front.sign_in(&made.ann, PASSWORD).await, front.sign_in(harness::ADMIN, PASSWORD).await);
    let visitor = front.visitor();
    // The first time a token is seen the keys are read.
    for person in [&ann, &owner] {
        person.get("/orders?limit=1").await.expect(200);
    }

    let Made { long_order, short_order, large_product, small_product, variant, category, job, .. } = &made;
    let page = |path: &str| {
        let mark = if path.contains('?') { '&' } else { '?' };
        [MANY, 1].map(|limit| format!("{path}{mark}limit={limit}"))
    };
    let both = |path: &str, [long, short]: [&str; 2]| [long, short].map(|id| path.replace("{}", id));
    let same = |path: &str| [path.to_owned(), path.to_owned()];
    // Of each route that answers a question: who asks, for much and for little, and how many
    // statements that takes. A product is remembered, so it is asked for when it is not yet.
    let asked: [(&str, &Person, [String; 2], usize); 20] = [
        ("/", &visitor, same("/"), 1),
        ("/.well-known/jwks.json", &visitor, same("/.well-known/jwks.json"), 1),
        ("/categories", &visitor, same("/categories"), 1),
        ("/jobs/{id}", &owner, same(&format!("/jobs/{job}")), 2),
        ("/orders", &ann, page("/orders"), 1),
        ("/orders", &owner, page("/orders?state=confirmed"), 1),
        ("/orders/{id}", &ann, both("/orders/{}", [long_order, short_order]), 4),
        ("/orders/{id}", &owner, both("/orders/{}", [long_order, short_order]), 4),
        ("/payments/{order_id}", &owner, both("/payments/{}", [long_order, short_order]), 4),
        ("/products", &visitor, page("/products"), 3),
        ("/products", &visitor, page(&format!("/products?category={category}")), 3),
        ("/products", &visitor, page("/products?q=thing"), 3),
        ("/products/{id}", &visitor, both("/products/{}", [large_product, small_product]), 4),
        ("/stock", &owner, page("/stock"), 1),
        ("/stock/{sku}", &visitor, both("/stock/{}", ["thing-0", "thing-1"]), 1),
        ("/stock/{sku}/movements", &owner, page("/stock/thing-0/movements"), 1),
        ("/users", &owner, page("/users"), 1),
        ("/users", &owner, page("/users?email=nobody@example.com"), 1),
        ("/users/{id}", &ann, same(&format!("/users/{}", ann.id)), 1),
        ("/variants/{id}/prices", &owner, page(&format!("/variants/{variant}/prices")), 2),
    ];
    said.take();
    let mut wrong = Vec::new();
    for (route, person, [long, short], expected) in &asked {
        person.get(long).await.expect(200);
        let for_long = said.take();
        person.get(short).await.expect(200);
        let for_short = said.take();
        if for_long.len() != *expected || for_short.len() > for_long.len() {
            wrong.push(format!(
                "{route}: {expected} statements, not these: {long} took {for_long:#?}, {short} {for_short:#?}"
            ));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());

    // No route that is new is forgotten here.
    let named: BTreeSet<&str> = asked.iter().map(|(route, ..)| *route).collect();
    let api = visitor.get("/openapi.json").await.expect(200);
    let paths = api["paths"].as_object().unwrap().iter();
    let routes: BTreeSet<&str> =
        paths.filter(|(_, path)| path.get("get").is_some()).map(|(route, _)| route.as_str()).collect();
    assert_eq!(named, routes);

    // What is placed is read and written line by line on SQLite, to which a statement is a call;
    // PostgreSQL takes all lines in one. No text is there for many lines alone.
    let many: Vec<String> = (0..MANY).map(|at| format!("thing-{at}")).collect();
    let lines: Vec<(&str, u32)> = many.iter().map(|sku| (sku.as_str(), 1)).collect();
    let mut texts = Vec::new();
    for lines in [&lines[..1], &lines[1..]] {
        said.take();
        ann.place(&Basket::of(lines)).await.expect(202);
        texts.push(said.take().into_iter().collect::<BTreeSet<String>>());
    }
    assert_eq!(texts[0], texts[1]);
    quiet.close().await;
}

async fn make(shop: &Shop) -> Made {
    let category = shop.admin.post("/categories", json!({ "name": "Things" })).await.expect(201);
    let mut small_product = String::new();
    let mut variant = String::new();
    for at in 0..=MANY {
        let sku = format!("thing-{at}");
        let one = json!({ "sku": sku, "price": { "amount": 500, "currency": "EUR" } });
        let product = json!({ "name": sku, "variants": [one], "categories": [id(&category)] });
        let product = shop.admin.post("/products", product).await.expect(201);
        variant = id(&product["variants"][0]).to_owned();
        small_product = id(&product).to_owned();
        shop.admin.receive(&sku, 1_000).await;
        shop.admin.post("/categories", json!({ "name": format!("Category {at}") })).await.expect(201);
    }
    let variants: Vec<Value> = (0..MANY)
        .map(|at| json!({ "sku": format!("part-{at}"), "price": { "amount": 500, "currency": "EUR" } }))
        .collect();
    let large =
        shop.admin.post("/products", json!({ "name": "Many", "variants": variants })).await.expect(201);
    for at in 0..MANY {
        shop.admin.receive(&format!("part-{at}"), 10).await;
        shop.admin.receive("thing-0", 10).await;
        let price = json!({ "price": { "amount": 600 + at, "currency": "EUR" } });
        shop.admin.patch(&format!("/variants/{variant}"), price).await.expect(200);
    }
    let ann = shop.customer().await;
    shop.crowd(MANY).await;
    let parts: Vec<String> = (0..MANY).map(|at| format!("part-{at}")).collect();
    let parts: Vec<(&str, u32)> = parts.iter().map(|sku| (sku.as_str(), 1)).collect();
    let long_order = ann.order(&parts).await;
    let mut short_order = Value::Null;
    for at in 0..MANY {
        short_order = ann.order(&[(&format!("thing-{at}"), 1)]).await;
    }
    let mail = json!({ "to": "ann@example.com", "subject": "Hello", "body": "Ann" });
    let job = shop.admin.post("/send-email", mail).await.expect(202);
    shop.settle().await;
    Made {
        ann: ann.email,
        long_order: id(&long_order).to_owned(),
        short_order: id(&short_order).to_owned(),
        large_product: id(&large).to_owned(),
        small_product,
        variant,
        category: id(&category).to_owned(),
        job: job["jobId"].as_str().unwrap().to_owned(),
    }
}

/// A shop that answers, and does nothing by itself.
struct Quiet {
    inside: shop::Shop,
    url: String,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
    _files: TestDb,
}

impl Quiet {
    async fn open(files: TestDb, said: &Arc<Said>) -> Quiet {
        let config = harness::settings(&files);
        let inside = harness::opened_on(&files, said.clone(), &config, &World::real()).await;
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let drain = gateway::Drain { delay: Duration::ZERO, limit: Duration::from_secs(5) };
        let serving = gateway::serve(listener, inside.router().unwrap(), stop.clone(), drain);
        Quiet { inside, url, stop, server: tokio::spawn(serving), _files: files }
    }

    async fn close(self) {
        self.stop.cancel();
        self.server.await.unwrap();
        self.inside.close().await;
    }
}
