//! Jobs per second, side by side: Node's BullMQ, alone and with a row for each
//! job in PostgreSQL, the crate `bullmq-official` alone, ours through BullMQ and
//! ours in the database. Each adds and works the
//! same number of jobs in one process; they take turns, and the median counts.
//!
//! `cargo run --release -p jobs --example throughput -- [jobs] [turns]`
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/it/node.rs"]
mod node;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use db::{Db, Target};
use jobs::{Bullmq, Dispatch, Failure, Job, Run, Runner, Worker};
use kernel::{Result, World};
use serde::{Deserialize, Serialize};
use testkit::{postgres, redis};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How many run at once.
const CONCURRENCY: usize = 64;
/// How many are added together.
const TOGETHER: usize = 100;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let jobs = arguments.next().unwrap_or(20_000);
    let turns = arguments.next().unwrap_or(5);
    let postgres = postgres::Server::own(&["synchronous_commit=on", "fsync=on"]);
    let mut measured: Vec<(&str, Vec<f64>)> = [
        "Node's BullMQ",
        "Node's BullMQ, and a row in PostgreSQL",
        "bullmq-official alone",
        "ours through BullMQ, SQLite",
        "ours through BullMQ, PostgreSQL",
        "ours in the database, SQLite",
        "ours in the database, PostgreSQL",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    for turn in 1..=turns {
        for (number, (name, figures)) in measured.iter_mut().enumerate() {
            // A fresh one each time: what another left behind slows nobody.
            let redis = redis::Server::start();
            let bullmq = || Dispatch::Bullmq(Bullmq::at(&redis.url()).unwrap());
            let folder = tempfile::tempdir().unwrap();
            let sqlite = Target::Sqlite { path: folder.path().join("jobs.db") };
            let schema = format!("turn_{turn}_{number}");
            let pg = Target::Postgres { url: postgres.url(), schema, connections: 8 };
            let figure = match number {
                0 => on_node(&redis.url(), jobs, None),
                1 => on_node(&redis.url(), jobs, Some(&postgres.database())),
                2 => crate_alone(&redis.url(), jobs).await,
                3 => ours(&sqlite, bullmq(), jobs).await,
                4 => ours(&pg, bullmq(), jobs).await,
                5 => ours(&sqlite, Dispatch::Database, jobs).await,
                _ => ours(&pg, Dispatch::Database, jobs).await,
            };
            println!("turn {turn}: {name}: {figure:.0} jobs/s");
            figures.push(figure);
        }
    }
    println!("\nmedian of {turns}, {jobs} jobs each:");
    for (name, figures) in &mut measured {
        figures.sort_by(f64::total_cmp);
        println!("{:>8.0} jobs/s  {name}", figures[figures.len() / 2]);
    }
}

fn on_node(url: &str, jobs: usize, postgres: Option<&str>) -> f64 {
    let numbers = [jobs, CONCURRENCY, TOGETHER].map(|number| number.to_string());
    let done =
        node::script("throughput.js").args([url, "bench"]).args(numbers).args(postgres).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().parse().unwrap()
}

/// Counts what is done and says when it is all of it.
#[derive(Default)]
struct Count {
    done: AtomicUsize,
    wanted: usize,
    all: Notify,
}

impl Count {
    fn to(wanted: usize) -> Arc<Count> {
        Arc::new(Count { wanted, ..Count::default() })
    }

    fn one(&self) {
        if self.done.fetch_add(1, Ordering::SeqCst) + 1 == self.wanted {
            self.all.notify_one();
        }
    }
}

async fn crate_alone(url: &str, jobs: usize) -> f64 {
    let connection = bullmq::options::RedisConnectionOptions::new().url(url);
    let options = bullmq::QueueOptions::new().connection(connection.clone());
    let queue = bullmq::Queue::with_options("bench", options).await.unwrap();
    let count = Count::to(jobs);
    let counted = count.clone();
    let processor = move |_: bullmq::Job, _| {
        let count = counted.clone();
        async move {
            count.one();
            Ok(serde_json::json!({"outcome": "done"}))
        }
    };
    let kept = bullmq::types::KeepJobs { age: None, count: Some(1000), limit: None };
    let options = bullmq::WorkerOptions::new()
        .connection(connection)
        .concurrency(CONCURRENCY)
        .remove_on_complete(bullmq::types::RemoveOnFinish::Options(kept));
    let worker = bullmq::Worker::with_options("bench", processor, options).await.unwrap();

    let began = Instant::now();
    for from in (0..jobs).step_by(TOGETHER) {
        let job = |number| bullmq::BulkJob::new("bench.nothing", serde_json::json!({"number": number}));
        queue.add_bulk((from..jobs.min(from + TOGETHER)).map(job).collect()).await.unwrap();
    }
    count.all.notified().await;
    let figure = jobs as f64 / began.elapsed().as_secs_f64();
    worker.close(1000).await.unwrap();
    figure
}

#[derive(Serialize, Deserialize)]
struct Nothing {
    number: usize,
}

impl Job for Nothing {
    const NAME: &'static str = "bench.nothing";
}

#[jobs::async_trait]
impl Worker<Nothing> for Count {
    async fn run(&self, _: Nothing, _: &Run) -> Result<(), Failure> {
        self.one();
        Ok(())
    }
}

async fn ours(target: &Target, dispatch: Dispatch, jobs: usize) -> f64 {
    let db = Db::open(target, &World::real()).await.unwrap();
    db.migrate(jobs::MIGRATIONS).await.unwrap();
    let (count, stop) = (Count::to(jobs), CancellationToken::new());
    let runner = Runner::new("bench", db.clone()).worker::<Nothing>(count.clone()).through(dispatch);
    let running = tokio::spawn(runner.usual_concurrency(CONCURRENCY).run(stop.clone()));

    let began = Instant::now();
    for from in (0..jobs).step_by(TOGETHER) {
        let some: Vec<Nothing> = (from..jobs.min(from + TOGETHER)).map(|number| Nothing { number }).collect();
        db::write!(db, async |tx| { jobs::add_many(tx, &some).await }).unwrap();
    }
    count.all.notified().await;
    let figure = jobs as f64 / began.elapsed().as_secs_f64();
    stop.cancel();
    running.await.unwrap();
    db.close().await;
    figure
}
