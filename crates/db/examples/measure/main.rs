//! Measures `db` against the bare drivers, on both engines:
//! `cargo run --release -p db --example measure`.
//!
//! Each cell is the median of five turns; `db` and the bare driver take turns,
//! so that whatever else the machine does falls on both. On a machine whose
//! fsync is nearly free (most virtual ones) no figure says anything about a
//! real disk.
#![allow(clippy::unwrap_used, missing_docs)]

mod bare;
mod ours;
#[path = "../../tests/it/server.rs"]
mod server;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

/// Rows that are there before.
pub const ROWS: i64 = 20_000;

/// How long one turn takes: `MEASURE_TURN_MS`, or 700.
fn turn() -> Duration {
    static TURN: std::sync::OnceLock<Duration> = std::sync::OnceLock::new();
    let read = || std::env::var("MEASURE_TURN_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(700);
    *TURN.get_or_init(|| Duration::from_millis(read()))
}

/// What one call does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    Read,
    Insert,
    Ten,
    /// A read, through a gatherer.
    Gathered,
}

pub const READ: &str = "SELECT id, n, name FROM rows WHERE id = $1";
pub const INSERT: &str = "INSERT INTO rows (id, n, name) VALUES ($1, $2, $3)";
pub const UPDATE: &str = "UPDATE rows SET n = n + 1 WHERE id = $1";
pub const TABLE: &str = "CREATE TABLE rows (id BIGINT PRIMARY KEY, n BIGINT NOT NULL, name TEXT NOT NULL)";

/// New keys, and known ones in no order. An own stretch of keys for each caller
/// keeps ten updates of one from waiting for those of another.
pub struct Keys {
    next: AtomicI64,
    step: AtomicI64,
}

impl Keys {
    pub fn new(start: i64) -> Arc<Keys> {
        Arc::new(Keys { next: AtomicI64::new(start), step: AtomicI64::new(0) })
    }
    pub fn fresh(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
    pub fn known(&self) -> i64 {
        self.step.fetch_add(1, Ordering::Relaxed) * 7919 % ROWS
    }
    /// Ten neighbours, in order.
    pub fn ten(&self) -> i64 {
        self.step.fetch_add(1, Ordering::Relaxed) * 7919 % (ROWS / 10) * 10
    }
}

/// Who can do the deeds.
pub trait Does: Send + Sync + 'static {
    fn call(&self, deed: Deed) -> impl Future<Output = ()> + Send;
}

/// Calls per second of that many callers who ask again as soon as they are answered.
async fn rate(callers: usize, who: &Arc<impl Does>, deed: Deed) -> f64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let who = who.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while start.elapsed() < turn() {
                    who.call(deed).await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    f64::from(done) / start.elapsed().as_secs_f64()
}

fn median(mut turns: Vec<f64>) -> f64 {
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    memory(folder.path()).await;
    let ours_sqlite = Arc::new(ours::Ours::sqlite(&folder.path().join("ours.db")).await);
    let bare_sqlite = Arc::new(bare::Sqlite::open(&folder.path().join("bare.db")));
    let server = server::url("-c fsync=on");
    let ours_postgres = Arc::new(ours::Ours::postgres(server).await);
    let bare_postgres = Arc::new(bare::Postgres::open(server).await);

    println!("| engine | deed | callers | bare, per second | `db`, per second | ratio |");
    println!("|---|---|---:|---:|---:|---:|");
    for deed in [Deed::Read, Deed::Insert, Deed::Ten] {
        for callers in [1, 64] {
            let (mut bare, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..5 {
                let driver = bare_sqlite.clone();
                bare.push(tokio::task::spawn_blocking(move || driver.rate(deed, turn())).await.unwrap());
                ours.push(rate(callers, &ours_sqlite, deed).await);
            }
            row("SQLite", deed, callers, bare, ours);
        }
    }
    for callers in [1, 64] {
        for deed in [Deed::Read, Deed::Insert, Deed::Ten] {
            compare("PostgreSQL", deed, deed, callers, &bare_postgres, &ours_postgres).await;
        }
        compare("PostgreSQL", Deed::Read, Deed::Gathered, callers, &bare_postgres, &ours_postgres).await;
    }
}

/// What seven open SQLite databases take.
async fn memory(folder: &std::path::Path) {
    let mut open = Vec::new();
    let before = resident();
    for place in 0..7 {
        let ours = ours::Ours::sqlite(&folder.join(format!("{place}.db"))).await;
        rate(8, &Arc::new(ours.clone()), Deed::Read).await;
        open.push(ours);
    }
    println!("Seven SQLite databases of {ROWS} rows, read and written: {} MiB more.\n", resident() - before);
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
}

async fn compare(
    engine: &str,
    bare: Deed,
    ours: Deed,
    callers: usize,
    driver: &Arc<impl Does>,
    db: &Arc<impl Does>,
) {
    let (mut bares, mut ourses) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        bares.push(rate(callers, driver, bare).await);
        ourses.push(rate(callers, db, ours).await);
    }
    row(engine, ours, callers, bares, ourses);
}

fn row(engine: &str, deed: Deed, callers: usize, bare: Vec<f64>, ours: Vec<f64>) {
    let (bare, ours) = (median(bare), median(ours));
    let deed = match deed {
        Deed::Read => "a read by key",
        Deed::Insert => "an insert",
        Deed::Ten => "ten updates in a transaction",
        Deed::Gathered => "a read by key, gathered",
    };
    println!("| {engine} | {deed} | {callers} | {bare:.0} | {ours:.0} | {:.2} |", ours / bare);
}
