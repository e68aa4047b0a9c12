//! The shop that is tortured: its processes, what they stand on, and the lines
//! between them.
//!
//! A fleet's processes are started one by one and not by `carmel up`, which
//! hands each service the socket at the very address where the others look for
//! it: no line would fit between.

mod faults;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use kernel::{Error, Result};

use super::{broker::Broker, plan::Targets, wire::Wire};
use crate::{
    frail,
    part::Part,
    program::{self, Beside, Program, Start, free_port},
    servers::{Disk, Postgres, Redis, Sentinel},
};

/// What a process may take to finish before it is cut off.
const FINISH: Duration = Duration::from_secs(30);
/// So many processes of the part that everything depends on.
const ORDERS: usize = 2;

/// A running shop.
pub struct Stage {
    /// Where customers come in.
    pub url: String,
    /// Where its data, its mails and its logs are.
    pub folder: PathBuf,
    programs: BTreeMap<String, Program>,
    wires: BTreeMap<String, Wire>,
    redis: BTreeMap<String, Redis>,
    postgres: Option<Postgres>,
    /// Where the files of a shop in one process are, if we may have one.
    disk: Option<Disk>,
    /// Who watches a Redis and the one that follows it, by what they are for.
    sentinels: BTreeMap<String, Sentinel>,
    broker: Option<Broker>,
    base: Start,
}

/// Which shop.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it stands.
    pub folder: PathBuf,
    /// As separate services on PostgreSQL and Redis, or in one process on SQLite.
    pub fleet: bool,
    /// Whether Kafka carries a fleet's events; Redis does otherwise.
    pub kafka: bool,
    /// Its brokers; one of our own when there are none.
    pub brokers: Vec<String>,
    /// Another version of the program, and what decides when it is started.
    pub beside: Option<(PathBuf, u64)>,
    /// Who owns it, and the password.
    pub owner: (String, String),
}

impl Stage {
    /// Starts one.
    pub async fn start(wanted: &Wanted) -> Result<Stage> {
        // Two runs that are started one after the other do not want the same.
        let mut ports = (std::process::id().wrapping_mul(61) % 11_000) as u16;
        let mut stage = Stage {
            url: String::new(),
            folder: wanted.folder.clone(),
            programs: BTreeMap::new(),
            wires: BTreeMap::new(),
            redis: BTreeMap::new(),
            postgres: None,
            disk: None,
            sentinels: BTreeMap::new(),
            broker: None,
            base: base(&wanted.folder)?,
        };
        let slots = match wanted.fleet {
            true => stage.stand_on_servers(wanted, &mut ports).await?,
            false => stage.one_process(&mut ports).await?,
        };
        if !stage.targets().disk {
            eprintln!("no disk will be full: that takes root, and nsenter (package util-linux)");
        }
        if let Some((older, seed)) = &wanted.beside {
            // The other one makes the tables: it may be the older.
            let newer = std::mem::replace(&mut stage.base.program, older.clone());
            stage.make_owner(&wanted.owner).await?;
            stage.base.program = newer;
            stage.base.beside = Some(Beside { program: older.clone(), seed: *seed });
        } else {
            stage.make_owner(&wanted.owner).await?;
        }
        for (name, arguments, port) in slots {
            let mut start = stage.of(&name, &arguments);
            start.settings.push(("PORT".into(), port.to_string()));
            start.settings.push((frail::CLOCK.into(), stage.clock(&name).display().to_string()));
            stage.programs.insert(name, Program::start(start)?);
        }
        Ok(stage)
    }

    async fn make_owner(&self, (email, password): &(String, String)) -> Result<()> {
        let made = self.command(&["admin", "create", "--email", email], &format!("{password}\n")).await?;
        if made.0 { Ok(()) } else { Err(Error::unavailable("shop_not_made", made.1)) }
    }

    async fn one_process(&mut self, ports: &mut u16) -> Result<Vec<(String, Vec<String>, u16)>> {
        let data = self.folder.join("data");
        std::fs::create_dir(&data).map_err(Error::internal)?;
        self.disk = Disk::on(&data).await?;
        self.base.inside = self.disk.as_ref().map(|disk| disk.keeper);
        let port = free_port(ports)?;
        let wire = self.wire("shop", port).await?;
        self.url = format!("http://{wire}");
        Ok(vec![("shop".into(), vec!["serve".into()], port)])
    }

    /// Starts a fleet's servers, and plans its processes.
    async fn stand_on_servers(
        &mut self,
        wanted: &Wanted,
        ports: &mut u16,
    ) -> Result<Vec<(String, Vec<String>, u16)>> {
        let (first, second) = (free_port(ports)?, free_port(ports)?);
        let postgres = Postgres::start(&self.folder, [first, second]).await?;
        let places = [self.wire("postgres-1", first).await?, self.wire("postgres-2", second).await?];
        self.set("DATABASE_URL", format!("postgres://postgres@{}/postgres", places.join(",")));
        self.set("CARMEL_DATABASE_CONNECTIONS", "3".into());
        self.postgres = Some(postgres);
        // What carries events follows no sentinel.
        self.stand_on_redis(("queue", "REDIS_URL"), wanted.kafka, ports).await?;
        self.stand_on_redis(("cache", "CARMEL_REDIS_CACHE_URL"), true, ports).await?;
        if wanted.kafka && wanted.brokers.is_empty() {
            let broker = Broker::start(&std::env::current_exe().map_err(Error::internal)?)?;
            self.set("KAFKA_BROKERS", broker.address().to_owned());
            self.broker = Some(broker);
        } else if wanted.kafka {
            self.set("KAFKA_BROKERS", wanted.brokers.join(","));
        }
        self.set("CARMEL_SERVICES_TOKEN", "one-token-for-all-services-of-it".into());
        let mut slots = Vec::new();
        for part in Part::services().chain([Part::Gateway]) {
            let mut places = Vec::new();
            for at in 1..=if part == Part::Orders { ORDERS } else { 1 } {
                let (name, port) = (format!("{part}-{at}"), free_port(ports)?);
                places.push(format!("http://{}", self.wire(&name, port).await?));
                slots.push((name, vec!["serve".into(), "--only".into(), part.to_string()], port));
            }
            match part {
                Part::Gateway => self.url = places.remove(0),
                _ => self.set(&format!("CARMEL_SERVICES_{}", part.as_str().to_uppercase()), places.join(",")),
            }
        }
        let worker = vec!["work".into(), "--only".into(), Part::Orders.to_string()];
        slots.push(("orders-work-1".into(), worker, free_port(ports)?));
        Ok(slots)
    }

    /// One Redis, or two that a sentinel watches, which knows them by their
    /// lines; they are what this setting names.
    async fn stand_on_redis(
        &mut self,
        (name, key): (&'static str, &str),
        is_watched: bool,
        ports: &mut u16,
    ) -> Result<()> {
        let (port, place) = self.redis_behind_a_line(name, "", ports).await?;
        if !is_watched {
            self.set(key, format!("redis://{place}"));
            return Ok(());
        }
        let follows = format!("replicaof 127.0.0.1 {port}");
        self.redis_behind_a_line(&format!("{name}-2"), &follows, ports).await?;
        let sentinel = Sentinel::start(&self.folder, name, free_port(ports)?, port).await?;
        self.set(key, format!("redis+sentinel://127.0.0.1:{}/{name}", sentinel.port()));
        self.sentinels.insert(name.into(), sentinel);
        Ok(())
    }

    /// The port at which it is reached, and the place.
    async fn redis_behind_a_line(
        &mut self,
        name: &str,
        more: &str,
        ports: &mut u16,
    ) -> Result<(u16, String)> {
        let port = free_port(ports)?;
        let place = self.wire(name, port).await?;
        let at = self.wires[name].address.port();
        let settings = format!("replica-announce-ip 127.0.0.1\nreplica-announce-port {at}\n{more}");
        self.redis.insert(name.into(), Redis::start(&self.folder, name, port, &settings).await?);
        Ok((at, place))
    }

    async fn wire(&mut self, name: &str, port: u16) -> Result<String> {
        let wire = Wire::to(port).await?;
        let address = wire.address.to_string();
        self.wires.insert(name.to_owned(), wire);
        Ok(address)
    }

    fn set(&mut self, key: &str, value: String) {
        self.base.settings.push((key.to_owned(), value));
    }

    fn of(&self, name: &str, arguments: &[String]) -> Start {
        Start { name: name.to_owned(), arguments: arguments.to_vec(), ..self.base.clone() }
    }

    /// What can be hurt.
    pub fn targets(&self) -> Targets {
        Targets {
            programs: self.programs.keys().cloned().collect(),
            wires: self.wires.keys().cloned().collect(),
            redis: self.redis.keys().cloned().collect(),
            watched: self.sentinels.keys().cloned().collect(),
            postgres: self.postgres.is_some(),
            broker: self.broker.is_some(),
            disk: self.disks().next().is_some(),
        }
    }

    fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.disk.iter().chain(self.postgres.iter().filter_map(|postgres| postgres.disk.as_ref()))
    }

    /// Where the clock of a process is set.
    fn clock(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.clock"))
    }

    /// Where the shop's mails are seen.
    pub fn mails(&self) -> PathBuf {
        self.disk.as_ref().map_or_else(|| self.folder.join("data"), Disk::seen).join("mail")
    }

    /// Starts again what ended by itself. Ends when it fails.
    pub async fn keep(&self) -> Result<()> {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let servers = self.redis();
            let postgres = self.postgres.iter().flat_map(Postgres::programs);
            for program in self.programs.values().chain(servers).chain(postgres) {
                program.look_after().await?;
            }
        }
    }

    fn redis(&self) -> impl Iterator<Item = &Program> {
        let watching = self.sentinels.values().map(Sentinel::program);
        watching.chain(self.redis.values().map(|redis| &redis.program))
    }

    /// How often each process ended that nobody had told to, by how it did and
    /// what it said last: `shop (exit status: 1: carmel: …)`.
    pub fn ended(&self) -> BTreeMap<String, u64> {
        let mut ended = BTreeMap::new();
        for (name, program) in &self.programs {
            for (how, words) in program.ended() {
                *ended.entry(format!("{name} ({how}: {words})")).or_default() += 1;
            }
        }
        ended
    }

    /// The processes that panicked, each with its words.
    pub fn panics(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, program) in &self.programs {
            let said = std::fs::read_to_string(program.log()).unwrap_or_default();
            let panics = said.lines().filter(|line| line.contains("panicked at"));
            found.extend(panics.map(|line| format!("{name}: {line}")));
        }
        found
    }

    /// Runs another command of the program on this shop: whether it succeeded,
    /// and what it said.
    pub async fn command(&self, arguments: &[&str], input: &str) -> Result<(bool, String)> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        program::output(self.of("command", &arguments), input).await
    }

    /// Ends it.
    pub async fn stop(&self) -> Result<()> {
        let stopping = self.programs.values().map(|program| program.stop(FINISH));
        futures::future::try_join_all(stopping).await?;
        for program in self.redis().chain(self.postgres.iter().flat_map(Postgres::programs)) {
            program.stop(FINISH).await?;
        }
        Ok(())
    }

    /// Copies into the folder what will be gone with its disk.
    pub async fn keep_files(&self) -> Result<()> {
        for disk in self.disks() {
            disk.bring_out().await?;
        }
        Ok(())
    }

    /// How often a process of the program was started, and of these as the other version.
    pub fn starts(&self) -> (u64, u64) {
        let starts = self.programs.values().map(Program::starts);
        starts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

/// The program itself on this folder, with what torture wants otherwise than a
/// shop: nobody looks at orders, and passwords are hashed badly on purpose.
fn base(folder: &Path) -> Result<Start> {
    let settings = [
        ("CARMEL_DATA_FOLDER", folder.join("data").display().to_string()),
        ("CARMEL_SCREENING_REVIEW_ABOVE", "1000000000".into()),
        ("CARMEL_SCREENING_ORDERS_PER_HOUR", "1000000".into()),
        ("CARMEL_PASSWORDS_MEMORY_KIB", "1024".into()),
        ("CARMEL_PASSWORDS_ITERATIONS", "1".into()),
        ("CARMEL_LOG_FORMAT", "json".into()),
        ("CARMEL_LOG_LEVEL", "warn".into()),
    ];
    Ok(Start {
        name: "command".into(),
        program: std::env::current_exe().map_err(Error::internal)?,
        beside: None,
        arguments: Vec::new(),
        settings: settings.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        folder: folder.to_owned(),
        as_nobody: false,
        inside: None,
    })
}
