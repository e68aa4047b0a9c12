//! What synchronous replication costs: changes per second with a replica that
//! follows, and with one that has each change before it is answered, in turns.
//!
//! `cargo run --release -p db --example replication` (needs PostgreSQL). Both
//! replicas are on this machine: a network between them comes on top.
#![allow(clippy::unwrap_used)]

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use db::{Db, Engine, Migration, Target, query};
use kernel::{Result, World};
use testkit::postgres::Pair;

const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(2);
const TABLE: &str = "CREATE TABLE rows (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)";

/// Changes per second of that many callers who ask again as soon as they are answered.
async fn rate(db: &Db, callers: usize) -> f64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let began = Instant::now();
    let changing = (0..callers).map(|_| {
        let db = db.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while began.elapsed() < TURN {
                let id = NEXT.fetch_add(1, Ordering::Relaxed);
                let saved: Result<u64> = db::write!(db, async |tx| {
                    query("INSERT INTO rows (id, n) VALUES ($1, 0)").bind(id).execute(tx).await
                });
                saved.unwrap();
                done += 1;
            }
            done
        })
    });
    let done: u32 = futures::future::join_all(changing).await.into_iter().map(|done| done.unwrap()).sum();
    f64::from(done) / began.elapsed().as_secs_f64()
}

async fn open(pair: &Pair) -> Db {
    let target = Target::Postgres { url: pair.url(), schema: "measured".into(), connections: 20 };
    let db = Db::open(&target, &World::real()).await.unwrap();
    assert_eq!(db.engine(), Engine::Postgres);
    db.migrate(&[Migration { name: "001_rows", sql: TABLE }]).await.unwrap();
    db
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[tokio::main]
async fn main() {
    let (follows, waits) = (Pair::start(&[]), Pair::start(&[]));
    waits.synchronise();
    let (first, second) = (open(&follows).await, open(&waits).await);
    println!("| callers | a replica follows, changes per second | it has each before the answer | ratio |");
    println!("|---:|---:|---:|---:|");
    for callers in [1, 16, 64] {
        let (mut asynchronous, mut synchronous) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            asynchronous.push(rate(&first, callers).await);
            synchronous.push(rate(&second, callers).await);
        }
        let (asynchronous, synchronous) = (median(asynchronous), median(synchronous));
        let ratio = synchronous / asynchronous;
        println!("| {callers} | {asynchronous:.0} | {synchronous:.0} | {ratio:.2} |");
    }
}
