//! How much the gateway passes on, beside nginx: the same small service, the
//! same headers set, 64 connections, in turns.
//!
//! `cargo run --release -p gateway --example proxy` (needs `nginx` and `wrk`).
//! No access log in either. The gateway has every layer that it always has:
//! request id, trace and numbers, CORS, security headers, panics, forwarded
//! headers, maintenance, body limit; nginx sets the same headers.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, response::IntoResponse, routing::any};
use gateway::{Backend, Drain, Front, Settings};
use kernel::World;
use rpc::{Pool, PoolOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use web::{edge::Maintenance, health::Health};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TURNS: usize = 5;
const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 64;
const SERVICE: u16 = 28_801;
const GATEWAY: u16 = 28_802;
const NGINX: u16 = 28_803;

#[tokio::main]
async fn main() {
    match env::args().nth(1).as_deref() {
        Some("service") => serve(SERVICE, small_service()).await,
        Some("gateway") => serve(GATEWAY, the_gateway()).await,
        _ => compare(),
    }
}

async fn serve(port: u16, routes: Router) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let drain = Drain { delay: Duration::ZERO, limit: Duration::ZERO };
    gateway::serve(listener, routes, CancellationToken::new(), drain).await;
}

fn small_service() -> Router {
    const ANSWER: &str = r#"{"id":"ord_01","state":"confirmed","total":{"amount":1200,"currency":"EUR"}}"#;
    let answer = async || ([("content-type", "application/json")], ANSWER).into_response();
    Router::new().fallback(any(answer))
}

fn the_gateway() -> Router {
    let world = World::real();
    let address = [format!("http://127.0.0.1:{SERVICE}")];
    let orders = Pool::new(&world, "orders", &address, PoolOptions::default()).unwrap();
    let front = Front {
        health: Health::new(world.clone()),
        metrics: web::metrics::install(&world).unwrap(),
        api: gateway::described().unwrap(),
        maintenance: Maintenance::default(),
        limits: None,
        own_writes: None,
    };
    gateway::edge(vec![("orders", Backend::There(orders))], front, &Settings::default(), &world).unwrap()
}

fn compare() {
    let folder = tempfile::tempdir().unwrap();
    let myself = |part: &str| Running::start(Command::new(env::current_exe().unwrap()).arg(part));
    let conf = folder.path().join("nginx.conf");
    std::fs::write(&conf, nginx_conf(folder.path())).unwrap();
    let _running = [
        myself("service"),
        myself("gateway"),
        Running::start(Command::new("nginx").arg("-c").arg(&conf).arg("-p").arg(folder.path())),
    ];
    for port in [SERVICE, GATEWAY, NGINX] {
        wait_for(port);
        load(port, 1);
    }
    let mut figures = [("service alone", SERVICE), ("nginx", NGINX), ("gateway", GATEWAY)]
        .map(|(name, port)| (name, port, Vec::new(), Vec::new()));
    for _ in 0..TURNS {
        for (_, port, rates, tails) in &mut figures {
            let (rate, p99) = load(*port, SECONDS);
            rates.push(rate);
            tails.push(p99);
        }
    }
    println!("{:<14} {:>11} {:>9}   (medians of {TURNS} turns of {SECONDS} s)", "", "requests/s", "p99 ms");
    for (name, _, rates, tails) in &mut figures {
        println!("{name:<14} {:>11.0} {:>9.2}   {rates:.0?} {tails:.2?}", median(rates), median(tails));
    }
    let [_, (_, _, nginx, nginx_p99), (_, _, ours, our_p99)] = &mut figures;
    println!(
        "gateway / nginx: {:.0} % of the requests, p99 {:.2} times",
        100.0 * median(ours) / median(nginx),
        median(our_p99) / median(nginx_p99)
    );
}

/// Requests per second, and the time in which 99 of 100 were answered, in ms.
fn load(port: u16, seconds: u32) -> (f64, f64) {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "--latency", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")]);
    let said = wrk.arg(format!("http://127.0.0.1:{port}/orders")).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    let after = |label: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(label)).expect(label);
        line.split_whitespace().last().unwrap().to_owned()
    };
    (after("Requests/sec:").parse().unwrap(), milliseconds(&after("99%")))
}

/// `1.23ms`, `980.00us` or `1.02s`.
fn milliseconds(text: &str) -> f64 {
    let number: f64 = text.trim_end_matches(|c: char| c.is_alphabetic()).parse().unwrap();
    match text.trim_start_matches(|c: char| !c.is_alphabetic()) {
        "us" => number / 1000.0,
        "ms" => number,
        _ => number * 1000.0,
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx ends its workers on SIGTERM and leaves them alone on SIGKILL.
        Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
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

/// nginx doing the same: connections kept to the service, headers about the
/// client set and those of strangers overwritten, the headers for browsers.
fn nginx_conf(folder: &Path) -> String {
    let folder = folder.display();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};"))
        .concat();
    let browser = [
        ("Content-Security-Policy", "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Origin-Agent-Cluster", "?1"),
        ("Referrer-Policy", "no-referrer"),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-DNS-Prefetch-Control", "off"),
        ("X-Download-Options", "noopen"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("X-Permitted-Cross-Domain-Policies", "none"),
        ("X-XSS-Protection", "0"),
        ("X-Request-Id", "$request_id"),
        ("Vary", "origin, access-control-request-method, access-control-request-headers"),
        ("Via", "1.1 nginx"),
    ]
    .map(|(name, value)| format!("add_header {name} \"{value}\" always;\n"))
    .concat();
    format!(
        "daemon off; worker_processes auto; pid {folder}/pid; error_log {folder}/error.log;
         events {{ worker_connections 1024; }}
         http {{
             access_log off; {temp}
             keepalive_requests 1000000000;
             upstream orders {{ server 127.0.0.1:{SERVICE}; keepalive 64; keepalive_requests 1000000000; }}
             server {{
                 listen 127.0.0.1:{NGINX};
                 location /orders {{
                     proxy_pass http://orders;
                     proxy_http_version 1.1;
                     proxy_set_header Connection \"\";
                     proxy_set_header Host $host;
                     proxy_set_header X-Request-Id $request_id;
                     proxy_set_header Traceparent 00-$request_id-b7ad6b7169203331-01;
                     proxy_set_header Forwarded \"for=$remote_addr;proto=$scheme;host=\\\"$host\\\"\";
                     proxy_set_header X-Forwarded-For $remote_addr;
                     proxy_set_header X-Forwarded-Proto $scheme;
                     proxy_set_header X-Forwarded-Host $host;
                     proxy_set_header Via \"1.1 nginx\";
                     {browser}
                 }}
             }}
         }}"
    )
}
