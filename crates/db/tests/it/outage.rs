//! PostgreSQL is not there yet, goes, and comes back.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use db::{Db, Options, Target};
use kernel::World;
use testkit::postgres::Server;
use tracing::instrument::WithSubscriber;

use crate::{
    kit::{TABLES, things},
    load::{Load, missing, until},
};

const WAIT: Duration = Duration::from_secs(60);

/// A schema of a server of our own.
pub async fn open(url: String, options: Options) -> Db {
    let target = Target::Postgres { url, schema: "shop".into(), connections: 8 };
    let db = Db::open_with(&target, &options, &World::real()).await.unwrap();
    db.migrate(TABLES).await.unwrap();
    db
}

#[tokio::test]
async fn it_starts_before_its_server_and_says_what_it_waits_for() {
    let mut server = Server::own(&["fsync=off"]);
    let url = format!("postgres://postgres:secret@{}/postgres", server.host());
    server.kill();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let opening = open(url, Options { wait: WAIT, ..Options::default() });
    let opening = tokio::spawn(opening.with_subscriber(subscriber));
    until("it says that it waits", async || log.text().contains("waiting for PostgreSQL")).await;

    server.restart();

    assert_eq!(things(&opening.await.unwrap()).await, []);
    let told = log.text();
    assert!(told.contains(server.host()) && told.contains("PostgreSQL is there"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[tokio::test]
async fn who_is_not_let_in_does_not_wait() {
    let server = Server::own(&["fsync=off"]);
    let url = format!("postgres://postgres@{}/nowhere", server.host());
    let target = Target::Postgres { url, schema: "shop".into(), connections: 2 };
    let options = Options { wait: 100 * WAIT, ..Options::default() };

    let refused = tokio::time::timeout(WAIT, Db::open_with(&target, &options, &World::real())).await;

    assert_eq!(refused.expect("it does not wait").err().unwrap().code, "database_refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_of_its_server_it_goes_on_by_itself() {
    let mut server = Server::own(&[]);
    let db = open(server.url(), Options::default()).await;
    let load = Load::start(&db, 8);
    load.more(50).await;

    for _ in 0..2 {
        server.crash_and_restart();
        load.more(50).await;
    }

    let (answered, _) = load.stop().await;
    assert!(missing(&db, &answered).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_connections_are_cut_nobody_notices() {
    let server = Server::own(&["fsync=off"]);
    let db = open(server.url(), Options::default()).await;
    let load = Load::start(&db, 8);
    let cut =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'carmel'";

    for _ in 0..5 {
        load.more(50).await;
        assert_ne!(server.ask(cut), "0");
        things(&db).await;
    }

    let (answered, failed) = load.stop().await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(missing(&db, &answered).await.is_empty());
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_has_a_connection_of_each_kind() {
    let server = Server::own(&["fsync=off"]);

    let target = Target::Postgres { url: server.url(), schema: "shop".into(), connections: 8 };
    let _db = Db::open(&target, &World::real()).await.unwrap();

    let (mine, theirs) = ("backend_type = 'client backend'", "application_name = 'carmel'");
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE {mine} AND {theirs}");
    assert_eq!(server.ask(&count), "2", "whoever is first waits for none");
}
