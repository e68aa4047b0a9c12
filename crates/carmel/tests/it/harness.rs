//! A whole shop in this process, and who works and buys in it.

use std::{sync::Arc, time::Duration};

use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher};
use carmel::{
    audit,
    config::{Config, Secret},
    part::{Part, Parts},
    sample, shop,
};
use db::{Db, Disk, Target};
use kernel::{Time, World};
use serde_json::Value;
use testkit::{
    TestDb,
    client::{self, PASSWORD, Person, fresh},
    clock::Clock,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::fleet::{self, Around, Door, Fleet};

/// The address of who owns the place.
pub const ADMIN: &str = "owner@example.com";
/// How long the work behind a story may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// An open shop: every service with its workers, the real router on a port of
/// loopback, a clock to be moved and an administrator.
pub struct Shop {
    /// Who talks to it as its customers do.
    pub front: client::Shop,
    /// Who works there.
    pub admin: Person,
    /// Its time.
    pub clock: Clock,
    /// Its address.
    pub url: String,
    /// The services themselves.
    pub inside: Arc<shop::Shop>,
    /// Where its files are.
    pub db: TestDb,
    running: Running,
}

/// Where a shop runs.
enum Running {
    /// In this process.
    Here { stop: CancellationToken, server: JoinHandle<()>, workers: shop::Workers },
    /// In processes of its own. Here, nothing of it works; it is only looked at.
    Apart(Box<Fleet>),
}

/// The settings of a shop with its tables here.
pub fn settings(db: &TestDb) -> Config {
    let mut config = Config::default();
    config.data.folder = db.folder();
    config.database.url = Secret::new(db.url().unwrap_or_default());
    config.database.connections = 4;
    config.payments.sandbox_latency_ms = 0;
    config
}

/// A shop that has its tables, in SQLite files on this disk.
pub async fn opened_on(files: &TestDb, disk: Arc<dyn Disk>, config: &Config, world: &World) -> shop::Shop {
    let mut databases = Vec::new();
    for service in Part::services() {
        let target = Target::Sqlite { path: files.folder().join(format!("{service}.db")) };
        databases.push((service.as_str(), Db::open_on(&target, world, disk.clone()).await.unwrap()));
    }
    shop::Shop::of(config, world, &Parts::all(), databases).await.unwrap()
}

impl Shop {
    /// Opens one as it is by default.
    pub async fn start(db: TestDb) -> Shop {
        Shop::start_with(db, |_| {}).await
    }

    /// Opens one with other settings: in this process, or as a fleet where the
    /// story is told of one ([`in_a_fleet`]).
    pub async fn start_with(db: TestDb, change: impl FnOnce(&mut Config)) -> Shop {
        let mut config = settings(&db);
        change(&mut config);
        match fleet::door() {
            None => {
                let clock = Clock::new();
                let inside = shop::Shop::open(&config, &clock.world()).await.unwrap();
                Shop::start_here(db, clock, inside).await
            }
            Some(door) => Shop::start_apart(db, config, door).await,
        }
    }

    /// The same in this process, its SQLite files on this disk.
    pub async fn start_on(db: TestDb, disk: Arc<dyn Disk>, change: impl FnOnce(&mut Config)) -> Shop {
        let (clock, mut config) = (Clock::new(), settings(&db));
        change(&mut config);
        // With the tables that a shop makes.
        shop::Shop::open(&config, &clock.world()).await.unwrap().close().await;
        let inside = opened_on(&db, disk, &config, &clock.world()).await;
        Shop::start_here(db, clock, inside).await
    }

    async fn start_here(db: TestDb, clock: Clock, inside: shop::Shop) -> Shop {
        let inside = Arc::new(inside);
        sample::make_admin(&inside, ADMIN, "Owner", PASSWORD).await.unwrap();

        let stop = CancellationToken::new();
        let workers = inside.start(&stop).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let front = client::Shop::at(&url);
        let router = inside.router().unwrap();
        let drain = gateway::Drain { delay: Duration::ZERO, limit: Duration::from_secs(5) };
        let serving = gateway::serve(listener, router, stop.clone(), drain);
        let server = tokio::spawn(serving);
        let admin = front.sign_in(ADMIN, PASSWORD).await;
        Shop { front, admin, clock, url, inside, db, running: Running::Here { stop, server, workers } }
    }

    async fn start_apart(db: TestDb, mut config: Config, door: Door) -> Shop {
        let around = Around::start(&mut config, door).await;
        let inside = Arc::new(shop::Shop::open(&config, &kernel::World::real()).await.unwrap());
        sample::make_admin(&inside, ADMIN, "Owner", PASSWORD).await.unwrap();
        let fleet = Fleet::start(around, door).await;
        let url = fleet.url();
        let front = client::Shop::at(&url);
        let admin = front.sign_in(ADMIN, PASSWORD).await;
        let running = Running::Apart(Box::new(fleet));
        Shop { front, admin, clock: Clock::new(), url, inside, db, running }
    }

    /// The processes of a shop that runs apart.
    pub fn fleet(&mut self) -> &mut Fleet {
        match &mut self.running {
            Running::Apart(fleet) => fleet,
            Running::Here { .. } => panic!("this story is told of a fleet"),
        }
    }

    /// What stands around a shop that runs apart.
    pub fn around(&mut self) -> &mut Around {
        self.fleet().around()
    }

    /// Puts something up for sale: at this price in cents, so many of it.
    pub async fn stock(&self, sku: &str, cents: i64, count: i64) -> Value {
        self.admin.sell(sku, cents, count).await
    }

    /// How many are for sale.
    pub async fn stock_of(&self, sku: &str) -> i64 {
        self.front.available(sku).await
    }

    /// Somebody new, signed up and signed in.
    pub async fn customer(&self) -> Person {
        self.front.customer().await
    }

    /// Many different people, signed in. Their passwords are hashed badly on
    /// purpose: hashing well is slow, and tested elsewhere.
    pub async fn crowd(&self, count: usize) -> Vec<Person> {
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let hash =
            cheap.hash_password_with_salt(PASSWORD.as_bytes(), b"no salt at all..").unwrap().to_string();
        let people: Vec<(users::Name, kernel::Email)> = (0..count)
            .map(|at| {
                (
                    format!("Buyer {at}").parse().unwrap(),
                    format!("{}@example.com", fresh("buyer")).parse().unwrap(),
                )
            })
            .collect();
        self.inside.users().insert_many(&people, Some(&hash)).await.unwrap();
        let mut crowd = Vec::new();
        for some in people.chunks(50) {
            let signing_in = some.iter().map(|(_, email)| self.front.sign_in(email.as_str(), PASSWORD));
            crowd.extend(all(signing_in).await);
        }
        crowd
    }

    /// Somebody new who works here, but does not own the place.
    pub async fn staff(&self) -> Person {
        let person = self.customer().await;
        let role = serde_json::json!({ "role": "staff" });
        self.admin.patch(&format!("/users/{}", person.id), role).await.expect(200);
        self.front.sign_in(&person.email, PASSWORD).await
    }

    /// The payment of an order, with its attempts and ledger.
    pub async fn payment(&self, order: &Value) -> Value {
        self.admin.get(&format!("/payments/{}", order["id"].as_str().unwrap())).await.expect(200)
    }

    /// What was charged for an order and not paid back, in cents.
    pub async fn kept(&self, order: &Value) -> i64 {
        let answer = self.admin.get(&format!("/payments/{}", order["id"].as_str().unwrap())).await;
        if answer.status == 404 {
            return 0;
        }
        let payment = answer.expect(200);
        payment["captured"]["amount"].as_i64().unwrap() - payment["refunded"]["amount"].as_i64().unwrap()
    }

    /// Waits until no work is left. The clock is moved to whatever is only to
    /// be done later.
    pub async fn settle(&self) {
        let world = kernel::World::real();
        let until = world.now() + PATIENCE;
        let is_apart = matches!(self.running, Running::Apart(_));
        // Other processes go on while their databases are looked at one by one: one look is no proof.
        let enough = if is_apart { 2 } else { 1 };
        let mut quiet = 0;
        loop {
            // Before the jobs, because hearing of something adds some.
            let unheard = if is_apart { self.unheard().await } else { 0 };
            let (jobs_and_events, later) = self.left().await;
            let busy = jobs_and_events + unheard;
            quiet = if busy == 0 { quiet + 1 } else { 0 };
            match later {
                None if quiet >= enough => return,
                // Nobody moves the clock of other processes.
                Some(_) if quiet >= enough && is_apart => return,
                Some(at) if quiet >= enough => self.clock.forward(at.since(self.inside.world().now())),
                _ => {}
            }
            if world.now() >= until {
                let log = match &self.running {
                    Running::Apart(fleet) => fleet.log(),
                    Running::Here { .. } => String::new(),
                };
                panic!("{busy} jobs or events are left over ({unheard} unheard), one for {later:?}: {log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many jobs and events are to be done now, and when the next job is due.
    pub async fn left(&self) -> (i64, Option<Time>) {
        let (mut busy, mut later) = (0, None);
        let now = self.inside.world().now();
        for (_, db) in &self.inside.databases {
            let (events, jobs, next): (i64, i64, Option<Time>) = db::snapshot!(db, async |tx| {
                let (jobs, next) = db::query(
                    "SELECT CAST((SELECT COUNT(*) FROM jobs WHERE state = 'running')
                               + (SELECT COUNT(*) FROM jobs WHERE state = 'waiting' AND run_at <= $1) AS BIGINT),
                            (SELECT MIN(run_at) FROM jobs WHERE state = 'waiting')",
                )
                .bind(now)
                .fetch_one::<(i64, Option<Time>)>(tx)
                .await?;
                Ok::<_, kernel::Error>((bus::outbox::pending(tx).await?, jobs, next))
            })
            .unwrap();
            busy += events + jobs;
            later = [later, next].into_iter().flatten().min();
        }
        (busy, later)
    }

    /// How many events a broker has, or had, for consumers that have not heard them yet.
    async fn unheard(&self) -> i64 {
        let mut unheard = 0;
        for consumer in self.inside.consumers() {
            for topic in consumer.topics() {
                let source = self.inside.database(topic.split('.').next().unwrap());
                let count = "SELECT COUNT(*) FROM outbox WHERE topic = $1";
                let announced: i64 = db::read!(source, async |tx| {
                    Ok::<_, kernel::Error>(db::query(count).bind(*topic).fetch_one::<(i64,)>(tx).await?.0)
                })
                .unwrap();
                unheard += announced;
            }
            let count = "SELECT COUNT(*) FROM inbox WHERE consumer = $1";
            let heard: i64 = db::read!(consumer.db(), async |tx| {
                Ok::<_, kernel::Error>(
                    db::query(count).bind(consumer.name()).fetch_one::<(i64,)>(tx).await?.0,
                )
            })
            .unwrap();
            unheard -= heard;
        }
        unheard
    }

    /// What must be true at the end of every story: nothing is left to be done,
    /// nobody was given up, and every invariant of the shop holds. Closes it.
    pub async fn audit(self) {
        self.settle().await;
        let report = audit::audit(&self.inside).await.unwrap();
        assert!(report.breaches.is_empty(), "{:#?}", report.breaches);
        self.close().await;
    }

    /// Ends the workers and the server; what is left is its tables.
    pub async fn close(self) -> TestDb {
        match self.running {
            Running::Here { stop, server, workers } => {
                stop.cancel();
                workers.join().await;
                server.await.unwrap();
            }
            Running::Apart(fleet) => fleet.stop().await,
        }
        self.inside.close().await;
        self.db
    }
}

/// Does all of it at once; what came out, in order.
pub async fn all<F: Future>(doing: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures::future::join_all(doing).await
}

/// The states that an order went through.
pub fn states(order: &Value) -> Vec<&str> {
    order["history"].as_array().unwrap().iter().map(|entry| entry["state"].as_str().unwrap()).collect()
}

/// The steps that were tried, each with what became of it.
pub fn steps(order: &Value) -> Vec<(&str, &str)> {
    let steps = order["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["step"].as_str().unwrap(), step["state"].as_str().unwrap())).collect()
}

/// An id as text.
pub fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap()
}

/// Walks a list page by page and returns this field of every item.
pub async fn walk(person: &Person, path: &str, field: &str) -> Vec<String> {
    let (mut seen, mut next) = (Vec::new(), path.to_owned());
    loop {
        let answer = person.get(&next).await;
        let link = answer.header("link").map(str::to_owned);
        let page = answer.expect(200);
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item[field].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next"].as_str() else {
            assert_eq!(link, None, "the last page has no next one");
            return seen;
        };
        assert!(link.is_some_and(|link| link.contains("rel=\"next\"") && link.contains(cursor)));
        assert!(!items.is_empty(), "a page that promises another is not empty");
        next = format!("{path}&cursor={cursor}");
    }
}

/// Waits until something is so, looking again and again.
pub async fn wait_until(most: Duration, what: &str, mut so: impl AsyncFnMut() -> bool) {
    let world = kernel::World::real();
    let until = world.now() + most;
    while !so().await {
        assert!(world.now() < until, "{what}: waited {most:?} in vain");
        world.sleep(Duration::from_millis(20)).await;
    }
}

/// Puts something up for sale without asking over HTTP.
pub async fn shelve(shop: &shop::Shop, sku: &str, cents: i64, count: i64) {
    let sku: kernel::Sku = sku.parse().unwrap();
    let price = kernel::Money::new(cents, kernel::Currency::EUR);
    let product = catalog::NewProduct {
        name: sku.to_string().parse().unwrap(),
        slug: None,
        description: catalog::Description::default(),
        state: catalog::ProductState::Active,
        categories: Vec::new(),
        variants: vec![catalog::NewVariant { sku: sku.clone(), name: None, price }],
    };
    shop.catalog().insert_many(&[product]).await.unwrap();
    shop.inventory().receive(&[(sku, count)], "for the test").await.unwrap();
}
