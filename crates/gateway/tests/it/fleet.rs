//! Services in front of which a gateway stands, each on a port of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use gateway::{Backend, Care, Drain, Front, RateLimits, Settings};
use kernel::World;
use rpc::{Pool, PoolOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use web::{edge::Maintenance, health::Health};

use crate::browser::Browser;

/// Something that serves until it is dropped.
pub struct Serving {
    pub browser: Browser,
    pub stop: CancellationToken,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Serving {
    pub fn url(&self) -> String {
        format!("http://{}", self.browser.address)
    }
}

/// These routes and nothing else.
pub async fn bare(routes: Router) -> Serving {
    serve(routes, Duration::ZERO).await
}

/// The same at an address that was somebody's before.
pub async fn bare_at(address: SocketAddr, routes: Router) -> Serving {
    serve_at(TcpListener::bind(address).await.unwrap(), routes, Duration::ZERO)
}

async fn serve(routes: Router, delay: Duration) -> Serving {
    serve_at(TcpListener::bind("127.0.0.1:0").await.unwrap(), routes, delay)
}

fn serve_at(listener: TcpListener, routes: Router, delay: Duration) -> Serving {
    let (browser, stop) = (Browser { address: listener.local_addr().unwrap() }, CancellationToken::new());
    let drain = Drain { delay, limit: Duration::from_secs(5) };
    tokio::spawn(gateway::serve(listener, routes, stop.clone(), drain));
    Serving { browser, stop }
}

/// A service as it runs in a fleet: its routes behind layers of its own.
pub async fn service(name: &'static str, routes: Router, settings: &Settings) -> Serving {
    bare(edge(vec![(name, Backend::Here(routes))], settings, Maintenance::default())).await
}

/// These routes and `/readyz`, answered for a while after the end was asked for.
pub async fn closing_slowly(routes: Router, delay: Duration) -> (Serving, Health) {
    let health = Health::new(World::real());
    (serve(routes.merge(health.clone().routes()), delay).await, health)
}

/// A gateway in front of services at these addresses.
pub async fn gateway(services: &[(&'static str, &[String])]) -> Serving {
    gateway_with(services, &Settings::default()).await
}

pub async fn gateway_with(services: &[(&'static str, &[String])], settings: &Settings) -> Serving {
    let services = services.iter().map(|(name, addresses)| (*name, Backend::There(pool(name, addresses))));
    bare(edge(services.collect(), settings, Maintenance::default())).await
}

pub fn pool(name: &'static str, addresses: &[String]) -> Pool {
    Pool::new(&World::real(), name, addresses, PoolOptions::default()).unwrap()
}

fn edge(services: Vec<(&'static str, Backend)>, settings: &Settings, maintenance: Maintenance) -> Router {
    let front = Front { maintenance, ..front() };
    gateway::edge(services, front, settings, &World::real()).unwrap()
}

fn front() -> Front {
    let world = World::real();
    Front {
        health: Health::new(world.clone()),
        metrics: web::metrics::install(&world).unwrap(),
        api: gateway::described().unwrap(),
        maintenance: Maintenance::default(),
        limits: None,
        own_writes: None,
    }
}

/// A gateway at which nobody may ask too often.
pub async fn limited(services: Vec<(&'static str, Backend)>, limits: Option<RateLimits>) -> Serving {
    let front = Front { limits, ..front() };
    bare(gateway::edge(services, front, &Settings::default(), &World::real()).unwrap()).await
}

/// A gateway whose sign on the door, a file in this folder, is looked at.
pub async fn gateway_with_care(services: &[(&'static str, &[String])], folder: &Path) -> (Serving, PathBuf) {
    let maintenance = Maintenance::default();
    let pools: Vec<_> = services.iter().map(|(name, addresses)| (*name, pool(name, addresses))).collect();
    let there = pools.iter().map(|(name, pool)| (*name, Backend::There(pool.clone())));
    let serving = bare(edge(there.collect(), &Settings::default(), maintenance.clone())).await;
    let care = Care {
        pools: pools.into_iter().map(|(_, pool)| pool).collect(),
        every: Duration::from_millis(100),
        maintenance,
        maintenance_file: folder.join("maintenance"),
    };
    let sign = care.maintenance_file.clone();
    tokio::spawn(care.run(World::real(), serving.stop.clone()));
    (serving, sign)
}

/// An address where nobody listens.
pub fn nobody() -> String {
    format!("http://127.0.0.1:{}", testkit::free_port())
}

/// The head of whatever comes next, byte by byte so that no more is taken.
pub async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A service that counts its connections, and answers with a length, in parts
/// and with nothing in turns: where it is, and how many connections there were.
pub async fn counting_connections() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                for rest in [
                    "content-length: 2\r\n\r\nok",
                    "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                    "content-length: 0\r\n\r\n",
                ]
                .iter()
                .cycle()
                {
                    read_head(&mut socket).await;
                    socket.write_all(format!("HTTP/1.1 200 OK\r\n{rest}").as_bytes()).await.unwrap();
                }
            });
        }
    });
    (format!("http://{address}"), connections)
}

/// What is wrong with a service.
#[derive(Clone, Copy)]
pub enum Fault {
    /// It reads and says nothing.
    Silence,
    /// It reads the head and closes the connection.
    Reset,
    /// It announces more than it sends.
    HalfAnAnswer,
    /// What it sends is not HTTP.
    Nonsense,
}

/// A service with a fault.
pub struct Broken {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Broken {
    pub async fn start(fault: Fault) -> Broken {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                read_head(&mut socket).await;
                counted.fetch_add(1, Ordering::SeqCst);
                let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
                match fault {
                    Fault::Silence => kept.push(socket),
                    Fault::Reset => drop(socket),
                    Fault::HalfAnAnswer => socket.write_all(half.as_bytes()).await.unwrap(),
                    Fault::Nonsense => socket.write_all(b"good day\r\n\r\n").await.unwrap(),
                }
            }
        });
        Broken { address, asked, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests it has seen.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.task.abort();
    }
}
