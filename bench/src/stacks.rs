//! What is measured: a shop and the servers it needs, all on loopback.

use std::{fmt, net::SocketAddr, process::Command, time::Duration};

use load::{Ask, busy, memory_mb};
use testkit::{Program, postgres, process::Carmel, redis};

use crate::{asking::ask, fill::Filled, shop::Plan};

/// Which shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Carmel alone, on SQLite.
    Embedded,
    /// Carmel on PostgreSQL.
    Postgres,
    /// The tutorial's version: Express, pg, ioredis, BullMQ.
    Express,
    /// The same as a cluster of one process for each core.
    ExpressCluster,
    /// The same, its answers compressed.
    ExpressGzip,
    /// The same without Redis: no cache, orders finished in place.
    ExpressUncached,
    /// The HTTP server that Carmel is built on, with constant bytes.
    Bare,
    /// The statements of an account on PostgreSQL, asked by its own benchmark.
    Pgbench,
    /// The same on SQLite, in one loop.
    SqliteLoop,
    /// A Redis that is asked for as many bytes, by its own benchmark.
    RedisBenchmark,
}

impl Kind {
    /// Whether it is Carmel.
    pub fn is_carmel(self) -> bool {
        matches!(self, Kind::Embedded | Kind::Postgres)
    }

    fn has_postgres(self) -> bool {
        !matches!(self, Kind::Embedded | Kind::Bare)
    }

    /// Whether it is what the machine bears, and nothing that answers people.
    pub fn is_limit(self) -> bool {
        matches!(self, Kind::Pgbench | Kind::SqliteLoop | Kind::RedisBenchmark)
    }

    /// Whether there is a queue of BullMQ's.
    pub fn has_queue(self) -> bool {
        matches!(self, Kind::Express | Kind::ExpressCluster | Kind::ExpressGzip)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Embedded => "Carmel, SQLite",
            Kind::Postgres => "Carmel, PostgreSQL",
            Kind::Express => "Express",
            Kind::ExpressCluster => "Express, cluster",
            Kind::ExpressGzip => "Express, gzip",
            Kind::ExpressUncached => "Express, no Redis",
            Kind::Bare => "bare axum",
            Kind::Pgbench => "pgbench",
            Kind::SqliteLoop => "SQLite, one loop",
            Kind::RedisBenchmark => "redis-benchmark",
        })
    }
}

/// A running shop; everything of it ends when it is dropped.
pub struct Stack<'a> {
    /// Which.
    pub kind: Kind,
    plan: &'a Plan,
    // Dropped in this order: the shop before what it stands on.
    shop: Shop,
    redis: Option<redis::Server>,
    _postgres: Option<postgres::Server>,
    database_url: String,
}

enum Shop {
    Carmel(Box<Carmel>),
    /// Express, or the bare server.
    Other(Program),
}

/// What differs from the defaults: Express asks no payment provider, hashes no
/// passwords and screens nobody, so that the provider answers at once, filling
/// is quick, and nobody is reviewed for buying a lot.
const SETTINGS: &[(&str, &str)] = &[
    ("CARMEL_PAYMENTS_SANDBOX_LATENCY_MS", "0"),
    ("CARMEL_PASSWORDS_MEMORY_KIB", "1024"),
    ("CARMEL_PASSWORDS_ITERATIONS", "1"),
    ("CARMEL_SCREENING_ORDERS_PER_HOUR", "1000000"),
    ("CARMEL_LOG_LEVEL", "warn"),
];

impl<'a> Stack<'a> {
    /// Starts an empty one.
    pub async fn start(plan: &'a Plan, kind: Kind) -> Stack<'a> {
        // With full durability, as it is installed.
        let postgres = kind.has_postgres().then(|| postgres::Server::own(&["max_connections=200"]));
        let database_url = postgres.as_ref().map(postgres::Server::database).unwrap_or_default();
        let redis = kind.has_queue().then(redis::Server::start);
        let shop = match kind {
            Kind::Embedded | Kind::Postgres => Shop::Carmel(Box::new(carmel(plan, &database_url).await)),
            Kind::Bare => Shop::Other(bare()),
            _ => Shop::Other(express(plan, kind, &database_url, redis.as_ref())),
        };
        Stack { kind, plan, shop, redis, _postgres: postgres, database_url }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        let port = match &self.shop {
            Shop::Carmel(carmel) => carmel.url().rsplit(':').next().and_then(|port| port.parse().ok()),
            Shop::Other(other) => Some(other.port()),
        };
        ([127, 0, 0, 1], port.expect("a URL of ours ends in a port")).into()
    }

    /// Starts it again on the same data, with nothing in its caches.
    pub async fn restart_cold(&mut self) -> SocketAddr {
        match &mut self.shop {
            Shop::Carmel(carmel) => {
                carmel.terminate(Duration::from_secs(60)).await;
                carmel.restart().await;
            }
            Shop::Other(_) if self.kind == Kind::Bare => {}
            Shop::Other(_) => {
                self.redis.iter().for_each(redis::Server::flush);
                let again = express(self.plan, self.kind, &self.database_url, self.redis.as_ref());
                self.shop = Shop::Other(again);
            }
        }
        self.address()
    }

    /// The administrator whom the first start with sample data prints.
    pub fn administrator(&self) -> (String, String) {
        let Shop::Carmel(carmel) = &self.shop else { panic!("only Carmel has an administrator") };
        let log = carmel.log();
        let line = log
            .lines()
            .find_map(|line| line.strip_prefix("administrator: "))
            .expect("sample data was loaded");
        let (email, rest) = line.split_once(" with the password ").expect("the administrator has a password");
        (email.to_owned(), rest.split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// The processor time of the shop's own processes.
    pub fn busy(&self) -> Duration {
        self.processes().into_iter().map(busy).sum()
    }

    /// What is resident of the shop's own processes.
    pub fn memory_mb(&self) -> f64 {
        self.processes().into_iter().map(|id| memory_mb(id, "VmRSS:")).sum()
    }

    /// Lets PostgreSQL look at what was filled in, as it does by itself within a minute.
    pub fn analyse(&self) {
        if !self.database_url.is_empty() {
            postgres::ask(&self.database_url, "ANALYZE");
        }
    }

    /// The process of Carmel.
    pub fn carmel(&mut self) -> &mut Carmel {
        let Shop::Carmel(carmel) = &mut self.shop else { panic!("this is no Carmel") };
        carmel
    }

    /// The shop and, with node:cluster, its workers.
    fn processes(&self) -> Vec<u32> {
        let id = match &self.shop {
            Shop::Carmel(carmel) => carmel.id(),
            Shop::Other(other) => other.id(),
        };
        load::family(id)
    }

    /// Reads of some orders, of those that there are.
    pub async fn some_orders(&self, filled: &Filled) -> Vec<Ask> {
        let mut asks = Vec::new();
        for customer in filled.customers.iter().take(100) {
            let path = match self.kind.is_carmel() {
                false => format!("/orders/{}", asks.len() + 1),
                true => {
                    let (_, list) =
                        ask(self.address(), Ask::get("/orders?limit=1").signed(&customer.token)).await;
                    let Some(id) = list["items"][0]["id"].as_str() else {
                        continue;
                    };
                    format!("/orders/{id}")
                }
            };
            asks.push(Ask::get(&path).signed(&customer.token));
        }
        asks
    }

    /// Whether nothing is under way any more.
    pub async fn is_settled(&self, filled: &Filled) -> bool {
        let waiting: &[&str] = match self.kind.is_carmel() {
            false => &["/orders?status=pending"],
            true => &[
                "/orders?state=placed&limit=1",
                "/orders?state=held&limit=1",
                "/orders?state=authorised&limit=1",
                "/orders?state=committed&limit=1",
                "/orders?state=cancelling&limit=1",
            ],
        };
        for path in waiting {
            if !self.is_empty(path, filled).await {
                return false;
            }
        }
        true
    }

    /// Every order was paid: one that was not is no order settled.
    pub async fn check(&self, filled: &Filled) {
        if self.kind.is_carmel() {
            for path in ["/orders?state=cancelled&limit=1", "/orders?state=in_review&limit=1"] {
                assert!(self.is_empty(path, filled).await, "{}: there are orders at {path}", self.kind);
            }
        }
    }

    /// Whether the tutorial's worker has inserted all that stood in its queue.
    pub async fn is_drained(&self) -> bool {
        let (status, left) = ask(self.address(), Ask::get("/queued-orders")).await;
        assert_eq!(status, 200, "{left}");
        left["left"] == 0
    }

    async fn is_empty(&self, path: &str, filled: &Filled) -> bool {
        let (status, list) = ask(self.address(), Ask::get(path).signed(&filled.staff)).await;
        assert_eq!(status, 200, "{path}: {list}");
        list["items"].as_array().is_some_and(Vec::is_empty)
    }
}

async fn carmel(plan: &Plan, database_url: &str) -> Carmel {
    let mut settings = SETTINGS.to_vec();
    if !database_url.is_empty() {
        settings.push(("DATABASE_URL", database_url));
    }
    settings
        .extend(plan.settings.iter().map(|setting| setting.split_once('=').expect("--set takes KEY=VALUE")));
    Carmel::start_with(&plan.carmel, &["serve", "--sample"], &settings).await
}

fn bare() -> Program {
    let me = std::env::current_exe().expect("this program has a path");
    Program::start("bare", |port| {
        let mut command = Command::new(me);
        command.args(["bare", "--port", &port.to_string()]);
        command
    })
}

fn express(plan: &Plan, kind: Kind, database_url: &str, redis: Option<&redis::Server>) -> Program {
    let folder = std::fs::canonicalize(&plan.express).expect("the folder of the Express stack is there");
    assert!(folder.join("node_modules").is_dir(), "run npm install in {} first", folder.display());
    Program::start("express", |port| {
        let mut command = Command::new("node");
        command.arg(folder.join("server.js"));
        command.env("NODE_ENV", "production").env("PORT", port.to_string()).env("DATABASE_URL", database_url);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let processes = if kind == Kind::ExpressCluster { cores } else { 1 };
        command.env("PROCESSES", processes.to_string());
        if kind == Kind::ExpressGzip {
            command.env("GZIP", "1");
        }
        match redis {
            Some(redis) => command.env("REDIS_URL", redis.url()),
            None => command.env_remove("REDIS_URL"),
        };
        command
    })
}
