//! What a call costs, by the way it takes: `cargo run --release -p rpc --example calls`.
//! The ways take turns, five rounds each; the medians are printed.
#![allow(missing_docs)]

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use kernel::World;
use rpc::{Channel, Options, Pool, PoolOptions};

rpc::service! {
    /// What is measured: a call that does next to nothing.
    pub trait Counter, CounterClient, counter_routes = "counter" {
        /// One more than what is asked about.
        async fn next(u64) -> u64;
    }
}

struct Here;

#[rpc::async_trait]
impl Counter for Here {
    async fn next(&self, ask: u64) -> kernel::Result<u64> {
        Ok(ask + 1)
    }
}

/// Calls per second, and what 99 of a hundred took at most.
#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    p99: Duration,
}

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    // As the gateway's listener does; without it Nagle and delayed acknowledgements cost 40 ms now and then.
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).expect("a fresh connection takes the option");
    });
    let server = axum::serve(listener, counter_routes(Arc::new(Here)));
    drop(World::real().spawn(async move { server.await.expect("the server runs until the end") }));
    let remote = |http2: bool, connections: usize| -> kernel::Result<Arc<dyn Counter>> {
        let pool =
            Pool::new(&World::real(), "counter", std::slice::from_ref(&address), PoolOptions::default())?;
        let options = Options { http2, connections, ..Options::default() };
        Ok(Arc::new(CounterClient(Channel::with(&World::real(), pool, options))))
    };
    let ways: [(&str, Arc<dyn Counter>); 5] = [
        ("in process", Arc::new(Here)),
        ("HTTP/1.1", remote(false, 1)?),
        ("HTTP/2, 1 connection", remote(true, 1)?),
        ("HTTP/2, 2 connections", remote(true, 2)?),
        ("HTTP/2, 4 connections", remote(true, 4)?),
    ];

    println!("{:24}{:>9}{:>14}{:>14}", "way", "callers", "calls/s", "p99");
    for callers in [1, 64] {
        let mut rounds: [Vec<Round>; 5] = Default::default();
        for _ in 0..ROUNDS {
            for ((_, counter), rounds) in ways.iter().zip(&mut rounds) {
                rounds.push(round(counter, callers).await?);
            }
        }
        for ((way, _), rounds) in ways.iter().zip(rounds) {
            let Round { per_second, p99 } = median(rounds);
            println!("{way:24}{callers:>9}{per_second:>14.0}{:>11} µs", p99.as_micros());
        }
    }
    Ok(())
}

async fn round(counter: &Arc<dyn Counter>, callers: usize) -> Result<Round, Box<dyn Error>> {
    let began = Instant::now();
    let work = (0..callers).map(|_| tokio::spawn(call_again_and_again(counter.clone(), began + ROUND)));
    let mut took = Vec::new();
    for spans in join_all(work).await {
        took.extend(spans??);
    }
    let per_second = took.len() as f64 / began.elapsed().as_secs_f64();
    let rank = took.len() * 99 / 100;
    Ok(Round { per_second, p99: *took.select_nth_unstable(rank).1 })
}

async fn call_again_and_again(counter: Arc<dyn Counter>, until: Instant) -> kernel::Result<Vec<Duration>> {
    let mut spans = Vec::new();
    loop {
        let began = Instant::now();
        if began >= until {
            return Ok(spans);
        }
        counter.next(spans.len() as u64).await?;
        spans.push(began.elapsed());
        if spans.len() % 128 == 0 {
            tokio::task::yield_now().await; // what never waits would keep the others from running
        }
    }
}

fn median(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    let per_second = rounds[ROUNDS / 2].per_second;
    rounds.sort_by_key(|round| round.p99);
    Round { per_second, p99: rounds[ROUNDS / 2].p99 }
}
