//! What a warm hit costs: a handler that answers with what is remembered in its
//! process, beside a bare one that answers the same bytes, in turns.
//!
//! `cargo run --release -p cache --example hit` (needs `redis-server` and `wrk`).
//! Each is a process of its own, with 64 connections. Once nothing is shared,
//! and once through a Redis that another process could change things through:
//! then the proof that nothing was changed is asked for all the time.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::header::CONTENT_TYPE,
    routing::get,
};
use cache::{Address, Remembered, Shared};
use kernel::World;
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TURNS: usize = 5;
const SECONDS: u32 = 5;
const PORTS: [(&str, u16); 3] = [("bare", 28_821), ("alone", 28_822), ("sharing", 28_823)];

#[derive(Clone, Serialize, Deserialize)]
struct User {
    id: u32,
    name: String,
    email: String,
    role: String,
    version: i64,
}

fn user(id: u32) -> User {
    let (name, email) = ("Ann Example".to_owned(), "ann@example.com".to_owned());
    User { id, name, email, role: "customer".into(), version: 1 }
}

#[tokio::main]
async fn main() {
    let mut words = env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("bare"), _) => serve("bare", bare()).await,
        (Some("alone"), _) => serve("alone", remembering(None)).await,
        (Some("sharing"), Some(redis)) => {
            serve("sharing", remembering(Some(&redis.parse().unwrap()))).await;
        }
        _ => compare(),
    }
}

async fn serve(name: &str, routes: Router) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port(name))).await.unwrap();
    axum::serve(listener, routes).await.unwrap();
}

fn bare() -> Router {
    let bytes: &'static [u8] = serde_json::to_vec(&user(1)).unwrap().leak();
    let answer = async move |Path(_): Path<u32>| ([(CONTENT_TYPE, "application/json")], bytes);
    Router::new().route("/users/{id}", get(answer))
}

fn remembering(redis: Option<&Address>) -> Router {
    let world = World::real();
    let shared = redis.map(|redis| Shared::new(&world, redis));
    let keep = Duration::from_secs(300);
    let users = Remembered::new(&world, 10_000, keep, async |id: u32| Ok(Some(user(id))));
    let users: Remembered<u32, User> = users.shared("users", shared.as_ref());
    let answer = async |State(users): State<Remembered<u32, User>>, Path(id): Path<u32>| {
        Json(users.get(&id).await.unwrap().unwrap())
    };
    Router::new().route("/users/{id}", get(answer)).with_state(users)
}

fn compare() {
    let redis = testkit::redis::Server::start();
    let start = |(name, port): (&str, u16)| {
        let running = Running::start(Command::new(env::current_exe().unwrap()).args([name, &redis.url()]));
        wait_for(port);
        load(port, 1);
        running
    };
    let _running = PORTS.map(start);
    let mut figures = PORTS.map(|(name, port)| (name, port, Vec::new()));
    for _ in 0..TURNS {
        for (_, port, rates) in &mut figures {
            rates.push(load(*port, SECONDS));
        }
    }
    println!("requests per second, medians of {TURNS} turns of {SECONDS} s");
    let bare = median(&mut figures[0].2);
    for (name, _, rates) in &mut figures {
        let rate = median(rates);
        println!("{name:<10} {rate:>9.0}  {:>4.0} % of bare   {rates:.0?}", 100.0 * rate / bare);
    }
}

fn port(name: &str) -> u16 {
    PORTS.iter().find(|(part, _)| *part == name).unwrap().1
}

/// Requests per second.
fn load(port: u16, seconds: u32) -> f64 {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c64", &format!("-d{seconds}s"), &format!("http://127.0.0.1:{port}/users/1")]);
    let said = String::from_utf8(wrk.output().unwrap().stdout).unwrap();
    assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    let line = said.lines().find(|line| line.starts_with("Requests/sec:")).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn wait_for(port: u16) {
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
