//! A table of names, the processes that remember it, and the Redis between them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cache::{Address, Remembered, Shared};
use kernel::World;
use testkit::{clock::Clock, redis::Server};
use tokio::sync::Semaphore;

pub const KEEP: Duration = Duration::from_secs(300);
/// How long anything may take on the slowest machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The database: it counts its reads, and a test may hold them up after they
/// have seen the row.
#[derive(Clone)]
pub struct Table {
    rows: Arc<Mutex<HashMap<u32, String>>>,
    reads: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Table {
    pub fn new() -> Table {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Table { rows: Arc::default(), reads: Arc::default(), gate }
    }

    pub fn commit(&self, id: u32, name: &str) {
        self.rows.lock().unwrap().insert(id, name.to_owned());
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// From now on whoever reads waits behind his reading, until `open`.
    pub fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn open(&self) {
        self.gate.add_permits(1 << 20);
    }

    async fn read(self, id: u32) -> kernel::Result<Option<String>> {
        let row = self.rows.lock().unwrap().get(&id).cloned();
        self.reads.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.acquire().await.unwrap());
        Ok(row)
    }
}

/// One process: its own memory, its own connection, one table and one clock.
pub struct Process {
    pub names: Remembered<u32, String>,
    pub shared: Option<Shared>,
    table: Table,
}

impl Process {
    /// One that shares nothing.
    pub fn alone(world: &World, table: &Table) -> Process {
        Process::of(world, table, None)
    }

    /// One that shares through this Redis, once it is connected.
    pub async fn start(world: &World, table: &Table, url: &str) -> Process {
        let process = Process::begin(world, table, url);
        process.connected().await;
        process
    }

    /// The same, and does not wait.
    pub fn begin(world: &World, table: &Table, url: &str) -> Process {
        Process::of(world, table, Some(Shared::new(world, &url.parse::<Address>().unwrap())))
    }

    fn of(world: &World, table: &Table, shared: Option<Shared>) -> Process {
        let rows = table.clone();
        let names = Remembered::new(world, 1000, KEEP, move |id| rows.clone().read(id));
        Process { names: names.shared("names", shared.as_ref()), shared, table: table.clone() }
    }

    pub async fn connected(&self) {
        until("it is connected", async || self.is_connected()).await;
    }

    pub async fn lost(&self) {
        until("it has lost Redis", async || !self.is_connected()).await;
    }

    pub fn is_connected(&self) -> bool {
        self.shared.as_ref().unwrap().is_there()
    }

    /// The name, or a failure if nobody says it.
    pub async fn name(&self, id: u32) -> Option<String> {
        let name = tokio::time::timeout(LIMIT, self.names.get(&id)).await;
        name.expect("an answer").unwrap()
    }

    /// Changes a name, and answers.
    pub async fn rename(&self, id: u32, name: &str) {
        self.table.commit(id, name);
        self.names.changed(&id).await;
    }

    /// Whether it knows the name without reading the table.
    pub async fn knows(&self, id: u32) -> bool {
        let before = self.table.reads();
        self.name(id).await;
        self.table.reads() == before
    }
}

/// Two processes on one table, connected to one Redis.
pub struct Pair {
    pub redis: Server,
    pub table: Table,
    pub clock: Clock,
    pub ann: Process,
    pub bob: Process,
}

impl Pair {
    pub async fn start() -> Pair {
        let (redis, table, clock) = (Server::start(), Table::new(), Clock::new());
        let ann = Process::start(&clock.world(), &table, &redis.url()).await;
        let bob = Process::start(&clock.world(), &table, &redis.url()).await;
        Pair { redis, table, clock, ann, bob }
    }

    /// One more process.
    pub async fn another(&self) -> Process {
        Process::start(&self.clock.world(), &self.table, &self.redis.url()).await
    }
}

/// Waits until it is so: a slow machine may need several tries.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !is_so().await {
        assert!(Instant::now() < limit, "it did not come to be that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
