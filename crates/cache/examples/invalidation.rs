//! Two ways to hear of changes through Redis, side by side: its own client
//! tracking (RESP3, `BCAST` on our prefix) and a message with each change.
//!
//! `cargo run --release -p cache --example invalidation` (needs `redis-server`).
//! Four processes listen; one fills ten entries for each that it removes, as a
//! cache does that is read more than changed.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, aio::MultiplexedConnection};
use testkit::redis::Server;
use tokio::sync::mpsc;

const TURNS: usize = 5;
const LISTENERS: usize = 4;
const CHANGES: u32 = 3_000;
const FILLS: u32 = 10;
const CHANNEL: &str = "changes";

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Tracking,
    Messages,
}

/// What one turn costs.
struct Figures {
    changes_per_second: f64,
    /// How many keys all listeners are told of, per change.
    told: f64,
    /// What Redis' processor is busy for, in microseconds per change.
    busy: f64,
    /// From the answer to the writer until the slowest of the listeners knows, in microseconds.
    delay: f64,
}

#[tokio::main]
async fn main() {
    let redis = Server::start();
    let mut all = [(Way::Tracking, vec![]), (Way::Messages, vec![])];
    for _ in 0..TURNS {
        for (way, figures) in &mut all {
            figures.push(turn(&redis, *way).await);
        }
    }
    println!(
        "medians of {TURNS} turns of {CHANGES} changes and {FILLS} times as many fills, {LISTENERS} listeners"
    );
    println!(
        "{:<10} {:>10} {:>12} {:>14} {:>10}",
        "", "changes/s", "told/change", "Redis µs/change", "delay µs"
    );
    for (way, figures) in &all {
        let name = if *way == Way::Tracking { "tracking" } else { "messages" };
        let of = |field: fn(&Figures) -> f64| {
            let mut all: Vec<f64> = figures.iter().map(field).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (rate, told) = (of(|f| f.changes_per_second), of(|f| f.told));
        println!("{name:<10} {rate:>10.0} {told:>12.1} {:>14.1} {:>10.0}", of(|f| f.busy), of(|f| f.delay));
    }
}

async fn turn(redis: &Server, way: Way) -> Figures {
    let told = Arc::new(AtomicU64::new(0));
    let (heard, mut hears) = mpsc::unbounded_channel();
    let mut listeners = vec![];
    for _ in 0..LISTENERS {
        listeners.push(listen(redis, way, told.clone(), heard.clone()).await);
    }
    let mut writer = open(redis, AsyncConnectionConfig::new()).await;
    let (busy, began) = (busy(redis), Instant::now());
    for n in 0..CHANGES {
        let mut fills = redis::pipe();
        for fill in 0..FILLS {
            fills.set_ex(format!("cache:{n}:{fill}"), "value", 300).ignore();
        }
        fills.query_async::<()>(&mut writer).await.unwrap();
        change(&mut writer, way, &format!("cache:{n}:0")).await;
    }
    let took = began.elapsed();
    let busy = self::busy(redis) - busy;
    quiet(&mut hears).await;
    let told = told.load(Ordering::SeqCst);

    let mut delays = vec![];
    for n in 0..300 {
        let key = format!("cache:late:{n}");
        redis::cmd("SET").arg(&key).arg("value").query_async::<()>(&mut writer).await.unwrap();
        quiet(&mut hears).await;
        change(&mut writer, way, &key).await;
        let answered = Instant::now();
        for _ in 0..LISTENERS {
            hears.recv().await.unwrap();
        }
        delays.push(answered.elapsed().as_secs_f64() * 1e6);
    }
    delays.sort_by(f64::total_cmp);
    Figures {
        changes_per_second: f64::from(CHANGES) / took.as_secs_f64(),
        told: told as f64 / f64::from(CHANGES),
        busy: busy * 1e6 / f64::from(CHANGES),
        delay: delays[delays.len() / 2],
    }
}

async fn change(writer: &mut MultiplexedConnection, way: Way, key: &str) {
    let mut change = redis::pipe();
    change.del(key).ignore();
    if way == Way::Messages {
        change.publish(CHANNEL, key).ignore();
    }
    change.query_async::<()>(writer).await.unwrap();
}

async fn listen(
    redis: &Server,
    way: Way,
    told: Arc<AtomicU64>,
    heard: mpsc::UnboundedSender<()>,
) -> MultiplexedConnection {
    let hear = move |push: PushInfo| -> Result<(), ()> {
        let keys = match push.kind {
            PushKind::Invalidate => push.data[0].as_sequence().map_or(0, |keys| keys.len()),
            PushKind::Message => 1,
            _ => return Ok(()),
        };
        told.fetch_add(keys as u64, Ordering::SeqCst);
        heard.send(()).map_err(drop)
    };
    let mut connection = open(redis, AsyncConnectionConfig::new().set_push_sender(hear)).await;
    if way == Way::Messages {
        connection.subscribe(CHANNEL).await.unwrap();
    } else {
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg(&["TRACKING", "ON", "BCAST", "PREFIX", "cache:", "NOLOOP"]);
        tracking.query_async::<()>(&mut connection).await.unwrap();
    }
    connection
}

async fn open(redis: &Server, config: AsyncConnectionConfig) -> MultiplexedConnection {
    let client = Client::open(format!("{}?protocol=resp3", redis.url())).unwrap();
    let config = config.set_response_timeout(None).set_connection_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// Waits until nothing has been heard for a while.
async fn quiet(hears: &mut mpsc::UnboundedReceiver<()>) {
    while tokio::time::timeout(Duration::from_millis(5), hears.recv()).await.is_ok() {}
}

/// For how many seconds its processor was busy so far.
fn busy(redis: &Server) -> f64 {
    let info = redis.ask(&["info", "cpu"]);
    let of = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<f64>().unwrap()
    };
    of("used_cpu_sys:") + of("used_cpu_user:")
}
