//! A database per test, and a clock that a test moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use db::{Db, Disk, Migration, Options, Pooler, Target};
use kernel::{BoxFuture, Error, Outside, Time, World};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_postgres::NoTls;

use crate::server;

/// A table to play with: both rules and all types.
pub const TABLES: &[Migration] = &[Migration {
    name: "test_1",
    sql: "CREATE TABLE things (
        id BIGINT PRIMARY KEY, n BIGINT NOT NULL CHECK (n >= 0), name TEXT, ok BOOLEAN, raw BYTEA, tag UUID
    )",
}];

/// A database that is gone when this is dropped.
pub struct TestDb {
    pub db: Db,
    pub target: Target,
    options: Options,
    folder: Option<TempDir>,
}

pub async fn sqlite() -> TestDb {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Sqlite { path: folder.path().join("test.db") };
    TestDb::open(target, Options::default(), Some(folder)).await
}

pub async fn postgres() -> TestDb {
    postgres_behind(server(), Options::default()).await
}

/// The server that these tests share, without a database: `postgres://postgres@127.0.0.1:20001`.
pub fn server() -> &'static str {
    server::url("-c fsync=off -c deadlock_timeout=50ms")
}

/// A database of that server, by way of this address.
pub async fn postgres_behind(address: &str, options: Options) -> TestDb {
    let name = format!("carmel_test_{}", World::real().uuid_v7().simple());
    on_server(server(), format!("CREATE DATABASE {name}")).await;
    let url = format!("{address}/{name}");
    TestDb::open(Target::Postgres { url, schema: "it's \"own\"".into(), connections: 4 }, options, None).await
}

/// Behind a pgbouncer in transaction mode.
pub async fn pooled() -> TestDb {
    let options = Options { pooler: Pooler::Plain, ..Options::default() };
    postgres_behind(crate::pooler::plain(), options).await
}

impl TestDb {
    async fn open(target: Target, options: Options, folder: Option<TempDir>) -> TestDb {
        let db = Db::open_with(&target, &options, &World::real()).await.unwrap();
        db.migrate(TABLES).await.unwrap();
        TestDb { db, target, options, folder }
    }

    /// The same database as another process sees it.
    pub async fn again(&self) -> Db {
        Db::open_with(&self.target, &self.options, &World::real()).await.unwrap()
    }

    /// Its `things`: ids and numbers, by id.
    pub async fn things(&self) -> Vec<(i64, i64)> {
        things(&self.db).await
    }
}

pub async fn things(db: &Db) -> Vec<(i64, i64)> {
    let all: Result<Vec<(i64, i64)>, Error> =
        db::read!(db, async |tx| { db::query("SELECT id, n FROM things ORDER BY id").fetch_all(tx).await });
    all.unwrap()
}

/// Adds one of the `things`.
pub async fn add(tx: &mut db::Tx, id: i64, n: i64) -> Result<u64, Error> {
    db::query("INSERT INTO things (id, n) VALUES ($1, $2)").bind(id).bind(n).execute(tx).await
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let Target::Postgres { url, .. } = &self.target else {
            return drop(self.folder.take());
        };
        let (_, name) = url.rsplit_once('/').unwrap();
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(on_server(server(), drop));
        });
        thread.join().unwrap();
    }
}

async fn on_server(server: &str, sql: String) {
    let (client, wire) = tokio_postgres::connect(&format!("{server}/postgres"), NoTls).await.unwrap();
    tokio::spawn(wire);
    client.batch_execute(&sql).await.unwrap();
}

/// One test on each database, and on PostgreSQL behind a pooler.
#[macro_export]
macro_rules! both_databases {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::kit::sqlite().await).await }
        )* }
        mod on_postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::kit::postgres().await).await }
        )* }
        mod on_pgbouncer { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::kit::pooled().await).await }
        )* }
    };
}

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
pub struct Clock(Arc<(AtomicI64, Notify)>);

impl Clock {
    pub fn forward(&self, span: Duration) {
        self.0.0.fetch_add(span.as_micros() as i64, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }
}

impl Outside for Clock {
    fn now(&self) -> Time {
        Time::from_micros(self.0.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, until: Time) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let mut moved = std::pin::pin!(clock.0.1.notified());
                moved.as_mut().enable();
                if clock.now() >= until {
                    return;
                }
                moved.await;
            }
        })
    }

    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// Opens a SQLite file on a disk of the test's own.
pub async fn on_disk(target: &Target, world: &World, disk: Arc<impl Disk>) -> Db {
    Db::open_on(target, world, disk).await.unwrap()
}
