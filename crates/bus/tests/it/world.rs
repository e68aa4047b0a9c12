//! A shop and an office, each with its database, and a clock that a story moves.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bus::{Bus, Consumer, Envelope, Event, outbox};
use db::{Db, Migration, Target, Tx};
use kernel::{BoxFuture, Error, EventId, Outside, Result, Task, Time, World};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Two fresh databases: the shop announces, the office hears.
pub struct TestDb {
    pub shop: Db,
    pub office: Db,
    pub clock: Clock,
    targets: [Target; 2],
    _folder: Option<tempfile::TempDir>,
}

const EFFECTS: Migration = Migration {
    name: "test_1",
    sql: "CREATE TABLE effects (id UUID NOT NULL PRIMARY KEY, consumer TEXT NOT NULL, subject TEXT NOT NULL,
                                version BIGINT NOT NULL)",
};

impl TestDb {
    pub async fn sqlite() -> TestDb {
        let folder = tempfile::tempdir().unwrap();
        let target = |name: &str| Target::Sqlite { path: folder.path().join(name) };
        let targets = [target("shop.db"), target("office.db")];
        TestDb::open(targets, Some(folder)).await
    }

    pub async fn postgres() -> TestDb {
        let url = std::env::var("CARMEL_TEST_POSTGRES")
            .expect("CARMEL_TEST_POSTGRES names no PostgreSQL: run `cargo xtask test`, which starts one");
        let target = |name: &str| {
            let schema = format!("{name}_{}", World::real().uuid_v7().simple());
            Target::Postgres { url: url.clone(), schema, connections: 4 }
        };
        TestDb::open([target("shop"), target("office")], None).await
    }

    async fn open(targets: [Target; 2], folder: Option<tempfile::TempDir>) -> TestDb {
        let clock = Clock::default();
        let world = World::new(clock.clone());
        let shop = Db::open(&targets[0], &world).await.unwrap();
        let office = Db::open(&targets[1], &world).await.unwrap();
        for db in [&shop, &office] {
            db.migrate(&[bus::MIGRATIONS, &[EFFECTS]].concat()).await.unwrap();
        }
        TestDb { shop, office, clock, targets, _folder: folder }
    }

    /// The shop's database as another process sees it: signals do not cross.
    pub async fn other_process(&self) -> Db {
        Db::open(&self.targets[0], &World::new(self.clock.clone())).await.unwrap()
    }

    pub fn bus(&self) -> Bus {
        Bus::memory()
    }

    pub async fn announce(&self, subject: &str, version: i64) -> EventId {
        let event = Sold { subject: subject.to_owned(), version };
        let added: Result<EventId> = db::write!(self.shop, async |tx| { outbox::add(tx, &event).await });
        added.unwrap()
    }

    /// Announces a price: an event to which no clerk listens.
    pub async fn price(&self, subject: &str, version: i64) -> EventId {
        let event = Priced { subject: subject.to_owned(), version };
        let added: Result<EventId> = db::write!(self.shop, async |tx| { outbox::add(tx, &event).await });
        added.unwrap()
    }

    pub async fn pending(&self) -> i64 {
        let pending: Result<i64> = db::read!(self.shop, async |tx| { outbox::pending(tx).await });
        pending.unwrap()
    }

    /// The versions of an entity that a consumer of the office has saved, in
    /// the order in which it did.
    pub async fn effects(&self, consumer: &'static str, subject: &str) -> Vec<i64> {
        let versions: Result<Vec<(i64,)>> = db::read!(self.office, async |tx| {
            db::query(
                "SELECT version FROM effects WHERE consumer = $1 AND subject = $2 ORDER BY id LIMIT 10000",
            )
            .bind(consumer)
            .bind(subject)
            .fetch_all(tx)
            .await
        });
        versions.unwrap().into_iter().map(|(version,)| version).collect()
    }

    /// Waits, briefly and in real time, until something is so.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        for _ in 0..500 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to be that {what}");
    }
}

/// What the shop announces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sold {
    pub subject: String,
    pub version: i64,
}

impl Event for Sold {
    const SOURCE: &'static str = "shop";
    fn topic(&self) -> String {
        "shop.sold".into()
    }
    fn entity(&self) -> String {
        self.subject.clone()
    }
    fn version(&self) -> i64 {
        self.version
    }
}

/// What the shop announces and no clerk listens to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Priced {
    pub subject: String,
    pub version: i64,
}

impl Event for Priced {
    const SOURCE: &'static str = "shop";
    fn topic(&self) -> String {
        "shop.priced".into()
    }
    fn entity(&self) -> String {
        self.subject.clone()
    }
    fn version(&self) -> i64 {
        self.version
    }
}

/// Saves an effect per event, unless it is told to refuse that one.
pub struct Clerk {
    name: &'static str,
    db: Db,
    refuses: Mutex<HashSet<(String, i64)>>,
}

impl Clerk {
    pub fn new(name: &'static str, db: &Db) -> Arc<Clerk> {
        Arc::new(Clerk { name, db: db.clone(), refuses: Mutex::default() })
    }

    pub fn refuse(&self, subject: &str, version: i64) {
        self.refuses.lock().unwrap().insert((subject.to_owned(), version));
    }

    pub fn accept_all(&self) {
        self.refuses.lock().unwrap().clear();
    }
}

#[async_trait]
impl Consumer for Clerk {
    fn name(&self) -> &'static str {
        self.name
    }
    fn topics(&self) -> &'static [&'static str] {
        &["shop.sold"]
    }
    fn db(&self) -> &Db {
        &self.db
    }
    async fn hear(&self, tx: &mut Tx, event: &Envelope) -> Result<()> {
        let sold: Sold = event.payload()?;
        assert_eq!((&sold.subject, sold.version), (&event.subject, event.version));
        let id = tx.world().uuid_v7();
        db::query("INSERT INTO effects (id, consumer, subject, version) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(self.name)
            .bind(sold.subject.as_str())
            .bind(sold.version)
            .execute(tx)
            .await?;
        if self.refuses.lock().unwrap().contains(&(sold.subject, sold.version)) {
            return Err(Error::conflict("ink_dry", "the ink is dry"));
        }
        Ok(())
    }
}

/// The real clock, put forward by a story.
#[derive(Clone)]
pub struct Clock(Arc<Hands>);

struct Hands {
    real: World,
    ahead_micros: AtomicI64,
    moved: Notify,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock(Arc::new(Hands { real: World::real(), ahead_micros: AtomicI64::new(0), moved: Notify::new() }))
    }
}

impl Clock {
    pub fn forward(&self, span: Duration) {
        self.0.ahead_micros.fetch_add(span.as_micros() as i64, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }
}

impl Outside for Clock {
    fn now(&self) -> Time {
        Time::from_micros(self.0.real.now().micros() + self.0.ahead_micros.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let moved = clock.0.moved.notified();
                let left = until.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::select! {
                    () = moved => {}
                    () = tokio::time::sleep(left) => return,
                }
            }
        })
    }

    fn random(&self, bytes: &mut [u8]) {
        bytes.chunks_mut(8).for_each(|chunk| {
            let chance: [u8; 8] = self.0.real.random();
            chunk.copy_from_slice(&chance[..chunk.len()]);
        });
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Task {
        self.0.real.spawn(task)
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let real = self.0.real.clone();
        Box::pin(async move { real.blocking(work).await.unwrap() })
    }
}
