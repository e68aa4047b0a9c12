//! The same shop as a fleet: two processes of each service, two that only
//! work, two gateways, PostgreSQL with a replica, a Redis that remembers, and
//! another or Kafka between them. Run by `carmel up`, and asked at the gateway
//! or at an nginx in front of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use carmel::{
    config::{Config, Secret},
    torture::broker::Broker,
};
use testkit::{TestDb, free_port, nginx, postgres::Pair, process::Carmel, redis, wire::Wire};

const PROGRAM: &str = env!("CARGO_BIN_EXE_carmel");
const SERVICES: [&str; 6] = ["users", "orders", "catalog", "inventory", "payments", "notifications"];

/// Where customers come in, and what carries events behind it.
#[derive(Clone, Copy)]
pub enum Door {
    /// The gateway; Redis Streams behind it.
    Gateway,
    /// nginx in front of the gateway; Kafka behind it.
    Nginx,
    /// The gateway; one process of each service, started by hand, each behind
    /// a network that can be disturbed; Redis Streams.
    Wires,
}

static TURN: Mutex<()> = Mutex::new(());

tokio::task_local! {
    static DOOR: Door;
}

/// The door of the story that is being told, if it is told of a fleet.
pub fn door() -> Option<Door> {
    DOOR.try_with(|door| *door).ok()
}

/// Tells a story of a fleet with this door.
pub fn tell<F: Future<Output = ()>>(door: Door, story: impl FnOnce(TestDb) -> F) {
    // Sixteen processes are a load for a small machine: one fleet at a time.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let db = TestDb::new(db::Engine::Postgres);
    testkit::run(DOOR.scope(door, async { Box::pin(story(db)).await }));
}

/// Tells stories that were told of one process of a fleet, too: the same
/// tests, another address. Once per module. Whoever comes in through nginx
/// passes the gateway as well: so stories `through nginx` are told at the
/// gateway alone by `--full`, and those behind `full`, whose kind is told
/// already, by nothing else.
macro_rules! in_a_fleet {
    (through nginx: $($story:ident),+; full: $($long:ident),+ $(,)?) => {
        mod fleet_behind_gateway { $(
            #[test]
            #[ignore = "told by --full"]
            fn $story() { crate::fleet::tell(crate::fleet::Door::Gateway, super::$story); }
        )+ $(
            #[test]
            #[ignore = "told by --full"]
            fn $long() { crate::fleet::tell(crate::fleet::Door::Gateway, super::$long); }
        )+ }
        mod fleet_behind_nginx { $(
            #[test]
            fn $story() { crate::fleet::tell(crate::fleet::Door::Nginx, super::$story); }
        )+ $(
            #[test]
            #[ignore = "told by --full"]
            fn $long() { crate::fleet::tell(crate::fleet::Door::Nginx, super::$long); }
        )+ }
    };
    ($($story:ident),+ $(,)?) => {
        mod fleet_behind_gateway { $(
            #[test]
            fn $story() { crate::fleet::tell(crate::fleet::Door::Gateway, super::$story); }
        )+ }
        mod fleet_behind_nginx { $(
            #[test]
            fn $story() { crate::fleet::tell(crate::fleet::Door::Nginx, super::$story); }
        )+ }
    };
}

/// A running fleet. Ends when it is dropped, whatever happens.
pub struct Fleet {
    /// `carmel up`; behind wires one for each service, the gateway last.
    programs: Vec<Carmel>,
    around: Around,
    nginx: Option<nginx::Server>,
}

/// What stands around a fleet.
pub struct Around {
    /// What keeps its tables, unless the story brings a pair of its own.
    _postgres: Option<Arc<Pair>>,
    /// What carries its events and jobs, if it is Redis.
    pub redis: Option<redis::Server>,
    /// What carries its events, if it is Kafka.
    pub kafka: Option<Broker>,
    /// What remembers for all of it, unless the story brings a Redis of its own.
    _cache: Option<redis::Server>,
    /// What leads to each service, where that can be disturbed.
    pub wires: BTreeMap<&'static str, Wire>,
    settings: Vec<(String, String)>,
    /// A file with settings that every process reads when it starts; without any at first.
    pub file: PathBuf,
}

impl Around {
    /// Starts what a fleet with this door needs, and puts its tables there.
    pub async fn start(config: &mut Config, door: Door) -> Around {
        let mut postgres = None;
        if config.database.replica_urls.expose().is_empty() {
            let (url, replica) = postgres.insert(Pair::shared()).database();
            config.database.url = Secret::new(url);
            config.database.replica_urls = Secret::new(replica);
        }
        let mut settings = environment(config);
        let mut set = |key: &str, value: String| settings.push((key.to_owned(), value));
        let mut cache = None;
        if config.redis.cache_url.expose().is_empty() {
            set("CARMEL_REDIS_CACHE_URL", cache.insert(redis::Server::start()).url());
        } else {
            set("CARMEL_REDIS_CACHE_URL", config.redis.cache_url.expose().to_owned());
        }
        let (mut redis, mut kafka) = (None, None);
        match door {
            Door::Gateway | Door::Wires => set("REDIS_URL", redis.insert(redis::Server::start()).url()),
            Door::Nginx => {
                let broker = kafka.insert(Broker::start(Path::new(PROGRAM)).unwrap());
                set("KAFKA_BROKERS", broker.address().to_owned());
            }
        }
        let mut wires = BTreeMap::new();
        for service in SERVICES {
            let mut places =
                vec![SocketAddr::from(([127, 0, 0, 1], free_port())), ([127, 0, 0, 1], free_port()).into()];
            if let Door::Wires = door {
                let wire = Wire::new().await;
                places = vec![wire.address()];
                wires.insert(service, wire);
            }
            let places: Vec<String> = places.iter().map(|place| format!("http://{place}")).collect();
            set(&format!("CARMEL_SERVICES_{}", service.to_uppercase()), places.join(","));
        }
        if let Door::Wires = door {
            set("CARMEL_SERVICES_TOKEN", "one-token-for-all-services".into());
        }
        let file = config.data.folder.join("fleet.toml");
        std::fs::create_dir_all(&config.data.folder).unwrap();
        std::fs::write(&file, "").unwrap();
        Around { _postgres: postgres, redis, kafka, _cache: cache, wires, settings, file }
    }

    async fn run(&self, arguments: &[&str]) -> Carmel {
        let lent: Vec<_> = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Carmel::start_with(PROGRAM, arguments, &lent).await
    }
}

impl Fleet {
    /// Starts one there and waits until all of it is up.
    pub async fn start(around: Around, door: Door) -> Fleet {
        let programs = match door {
            Door::Wires => {
                let parts = SERVICES.iter().chain(&["gateway"]);
                futures::future::join_all(parts.map(async |part| {
                    let program = around.run(&["serve", "--only", part]).await;
                    if let Some(wire) = around.wires.get(part) {
                        wire.lead_to(address(&program));
                    }
                    program
                }))
                .await
            }
            Door::Gateway | Door::Nginx => {
                let (file, workers) = (around.file.display().to_string(), "orders=1,notifications=1");
                let up = ["up", "--config", &file, "--replicas", "gateway=2", "--workers", workers];
                vec![around.run(&up).await]
            }
        };
        let nginx = match door {
            Door::Nginx => Some(nginx::Server::start("nginx.conf", &[(3000, address(&programs[0]))])),
            Door::Gateway | Door::Wires => None,
        };
        let fleet = Fleet { programs, around, nginx };
        if !matches!(door, Door::Wires) {
            fleet.until_said("the fleet is up").await;
        }
        fleet
    }

    /// What stands around it.
    pub fn around(&mut self) -> &mut Around {
        &mut self.around
    }

    /// Where customers come in.
    pub fn url(&self) -> String {
        match &self.nginx {
            None => self.programs.last().unwrap().url(),
            Some(nginx) => format!("http://{}", nginx.address()),
        }
    }

    /// What all its processes said so far.
    pub fn log(&self) -> String {
        self.programs.iter().map(Carmel::log).collect()
    }

    /// Waits until one of its processes has said so.
    pub async fn until_said(&self, what: &str) {
        let until = Instant::now() + Duration::from_secs(90);
        while !self.log().contains(what) {
            assert!(Instant::now() < until, "nobody said {what:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The process ids of those that serve or work on a part, read from the kernel.
    pub fn processes(&self, part: &str) -> Vec<u32> {
        let children = format!("/proc/{0}/task", self.programs[0].id());
        let mut found = Vec::new();
        for task in std::fs::read_dir(children).unwrap() {
            let children = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            for id in children.split_whitespace() {
                let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
                if line.contains(&format!("--only\0{part}\0")) {
                    found.push(id.parse().unwrap());
                }
            }
        }
        found
    }

    /// Replaces all processes one by one; how that ended and what `carmel reload` said.
    pub async fn reload(&self) -> (ExitStatus, String) {
        self.programs[0].run(&["reload"]).await
    }

    /// Audits it where it runs; how that ended and what it said.
    pub async fn audit(&self) -> (ExitStatus, String) {
        self.programs[0].run(&["audit"]).await
    }

    /// Ends it as Ctrl-C does.
    pub async fn stop(mut self) {
        for at in (0..self.programs.len()).rev() {
            let ended = self.programs[at].terminate(Duration::from_secs(60)).await;
            assert!(ended.success(), "{ended}: {}", self.log());
        }
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

/// Sends a process a signal: `KILL`, `STOP`, `CONT`.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(sent.success(), "signal {name} could not be sent to {process}");
}

fn address(program: &Carmel) -> SocketAddr {
    program.url().trim_start_matches("http://").parse().unwrap()
}

/// The settings of a story, as every process of the fleet reads them.
fn environment(config: &Config) -> Vec<(String, String)> {
    let settings = [
        ("DATABASE_URL", config.database.url.expose().to_owned()),
        ("CARMEL_DATABASE_REPLICA_URLS", config.database.replica_urls.expose().to_owned()),
        ("CARMEL_DATA_FOLDER", config.data.folder.display().to_string()),
        ("CARMEL_DATABASE_CONNECTIONS", "2".to_owned()),
        ("CARMEL_PAYMENTS_SANDBOX_LATENCY_MS", config.payments.sandbox_latency_ms.to_string()),
        ("CARMEL_SCREENING_REVIEW_ABOVE", config.screening.review_above.to_string()),
        ("CARMEL_SCREENING_ORDERS_PER_HOUR", config.screening.orders_per_hour.to_string()),
        ("CARMEL_SERVER_BODY_LIMIT_BYTES", config.server.body_limit_bytes.to_string()),
        ("CARMEL_SERVER_CORS_ORIGINS", config.server.cors_origins.join(",")),
    ];
    settings.map(|(key, value)| (key.to_owned(), value)).to_vec()
}
