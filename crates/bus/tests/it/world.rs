//! A shop and an office, each with its database, and a clock that a story moves.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bus::{Bus, Consumer, Envelope, Event, Options, outbox};
use db::{Db, Migration, Target, Tx};
use kernel::{BoxFuture, Error, EventId, Outside, Result, Time, World};
use serde::{Deserialize, Serialize};
use testkit::postgres;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;

/// Two fresh databases: the shop announces, the office hears.
pub struct TestDb {
    pub shop: Db,
    pub office: Db,
    pub clock: Clock,
    pub broker: Broker,
    targets: [Target; 2],
    _folder: Option<tempfile::TempDir>,
    _server: Option<Arc<postgres::Server>>,
}

/// A process: relays what the shop announces and lets clerks hear.
pub struct Process {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    pub bus: Bus,
}

impl Process {
    /// Ends when it has finished what is under way.
    pub async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }

    /// Dies where it stands.
    pub fn kill(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

const EFFECTS: Migration = Migration {
    name: "test_1",
    sql: "CREATE TABLE effects (id UUID NOT NULL PRIMARY KEY, consumer TEXT NOT NULL, subject TEXT NOT NULL,
                                version BIGINT NOT NULL)",
};

impl TestDb {
    pub async fn sqlite(broker: Broker) -> TestDb {
        let folder = tempfile::tempdir().unwrap();
        let target = |name: &str| Target::Sqlite { path: folder.path().join(name) };
        let targets = [target("shop.db"), target("office.db")];
        TestDb { _folder: Some(folder), ..TestDb::open(targets, broker).await }
    }

    pub async fn postgres(broker: Broker) -> TestDb {
        let server = postgres::Server::shared();
        let target = |name: &str| {
            let schema = format!("{name}_{}", World::real().uuid_v7().simple());
            Target::Postgres { url: server.url(), schema, connections: 4 }
        };
        let targets = [target("shop"), target("office")];
        TestDb { _server: Some(server), ..TestDb::open(targets, broker).await }
    }

    async fn open(targets: [Target; 2], broker: Broker) -> TestDb {
        let clock = Clock::default();
        let world = World::new(clock.clone());
        let shop = Db::open(&targets[0], &world).await.unwrap();
        let office = Db::open(&targets[1], &world).await.unwrap();
        for db in [&shop, &office] {
            db.migrate(&[bus::MIGRATIONS, &[EFFECTS]].concat()).await.unwrap();
        }
        TestDb { shop, office, clock, broker, targets, _folder: None, _server: None }
    }

    /// The shop's database as another process sees it: signals do not cross.
    pub async fn other_process(&self) -> Db {
        Db::open(&self.targets[0], &World::new(self.clock.clone())).await.unwrap()
    }

    pub fn bus(&self) -> Bus {
        let options = Options {
            services: &["shop"],
            listeners: &[("office.books", &["shop"])],
            partitions: 4,
            linger: self.broker.linger(),
            ..Options::default()
        };
        self.broker.bus(self.shop.world(), options)
    }

    /// A process that relays and hears.
    pub async fn process(&self, clerks: impl IntoIterator<Item = Arc<Clerk>>) -> Process {
        self.start(true, clerks).await
    }

    /// A process of the office alone: where there is a broker.
    pub async fn office(&self, clerks: impl IntoIterator<Item = Arc<Clerk>>) -> Process {
        self.start(false, clerks).await
    }

    async fn start(&self, relays: bool, clerks: impl IntoIterator<Item = Arc<Clerk>>) -> Process {
        let (bus, stop) = (self.bus(), CancellationToken::new());
        clerks.into_iter().for_each(|clerk| bus.subscribe(clerk));
        let mut tasks = Vec::new();
        if relays {
            let (bus, db, stop) = (bus.clone(), self.other_process().await, stop.clone());
            tasks.push(tokio::spawn(async move { bus.relay("shop", db, stop).await }));
        }
        let hearing = (bus.clone(), stop.clone());
        tasks.push(tokio::spawn(async move { hearing.0.consume(hearing.1).await }));
        Process { stop, tasks, bus }
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

    /// Makes a row of the outbox unsent again, as if its mark had been lost.
    pub async fn forget_the_mark(&self, id: EventId) {
        let forgotten: Result<u64> = db::write!(self.shop, async |tx| {
            db::query("UPDATE outbox SET sent_at = NULL, due_at = 0 WHERE id = $1").bind(id).execute(tx).await
        });
        assert_eq!(forgotten, Ok(1));
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

    pub async fn announce_each(&self, subjects: &[&str], versions: std::ops::RangeInclusive<i64>) {
        for version in versions {
            for subject in subjects {
                self.announce(subject, version).await;
            }
        }
    }

    /// Waits until the clerk has heard so many of an entity, and looks at their order.
    pub async fn heard(&self, clerk: &'static str, subject: &str, versions: i64) {
        let all = async || self.effects(clerk, subject).await.len() as i64 >= versions;
        self.until("all are heard", all).await;
        assert_eq!(self.effects(clerk, subject).await, (1..=versions).collect::<Vec<_>>(), "{subject}");
    }

    /// Announces until a live feed has seen some, which may come twice.
    pub async fn is_seen(&self, bus: &Bus) {
        let mut feed = bus.listen();
        let mut version = 0;
        let mut seen = Vec::new();
        while seen.len() < 3 {
            version += 1;
            assert!(version < 1000, "nothing is seen");
            self.announce("mug", version).await;
            let waited = tokio::time::timeout(Duration::from_millis(200), feed.recv()).await;
            seen.extend(waited.map(|event| event.unwrap().version));
        }
        assert!(seen.is_sorted(), "{seen:?}");
    }

    pub async fn sent(&self) {
        self.until("all are sent", async || self.pending().await == 0).await;
    }

    /// Waits until a consumer is known to have heard everything so far.
    pub async fn settled(&self, name: &str) {
        let now = self.shop.world().now();
        self.until("it is known to have heard", async || {
            self.clock.forward(Duration::from_millis(500));
            let known: kernel::Result<Option<(kernel::Time,)>> = db::read!(self.shop, async |tx| {
                db::query("SELECT heard_until_at FROM listeners WHERE name = $1")
                    .bind(name)
                    .fetch_optional(tx)
                    .await
            });
            known.unwrap().is_some_and(|(until,)| until > now)
        })
        .await;
    }

    pub async fn hears(&self, subject: &str, versions: &[i64]) {
        self.until("it is heard", async || self.effects("office.books", subject).await == versions).await;
    }

    /// Waits in real time until something is so, and a minute at most.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        for _ in 0..3000 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never came to be that {what}");
    }
}

/// Entities of every partition, in all likelihood.
pub const SUBJECTS: [&str; 8] = ["bag", "box", "cap", "cup", "jar", "mug", "pan", "pot"];

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
    heard: AtomicUsize,
}

impl Clerk {
    pub fn new(name: &'static str, db: &Db) -> Arc<Clerk> {
        Arc::new(Clerk { name, db: db.clone(), refuses: Mutex::default(), heard: AtomicUsize::new(0) })
    }

    pub fn refuse(&self, subject: &str, version: i64) {
        self.refuses.lock().unwrap().insert((subject.to_owned(), version));
    }

    /// How many this one was told, in this process.
    pub fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
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
        self.heard.fetch_add(1, Ordering::SeqCst);
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
    dies_at: Mutex<Option<&'static str>>,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock(Arc::new(Hands {
            real: World::real(),
            ahead_micros: AtomicI64::new(0),
            moved: Notify::new(),
            dies_at: Mutex::new(None),
        }))
    }
}

impl Clock {
    /// The next that comes to this point dies there.
    pub fn die_at(&self, point: &'static str) {
        *self.0.dies_at.lock().unwrap() = Some(point);
    }

    /// Whether somebody has died.
    pub fn has_died(&self) -> bool {
        self.0.dies_at.lock().unwrap().is_none()
    }

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

    fn reached(&self, point: &str) {
        let dies = self.0.dies_at.lock().unwrap().take_if(|at| *at == point).is_some();
        assert!(!dies, "the process dies at {point}, as it should");
    }
}
