//! The shop that is tortured: its processes, what they stand on, and the lines
//! between them.
//!
//! A fleet's processes are started one by one and not by `carmel up`, which
//! hands each service the socket at the very address where the others look for
//! it: no line would fit between.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use kernel::{Error, Result};

use super::{
    plan::{Fault, Planned, Targets},
    program::{self, Program, Start, free_port},
    servers::{Postgres, Redis},
    wire::{Line, Wire},
};
use crate::part::Part;

/// What a process may take to finish before it is cut off.
const FINISH: Duration = Duration::from_secs(30);
/// How long connections are reset of which something was lost.
const AFTER_LOSS: Duration = Duration::from_millis(50);
/// How long a new process waits for the dead one's socket and files, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
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
    base: Start,
}

/// Which shop.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it stands.
    pub folder: PathBuf,
    /// As separate services on PostgreSQL and Redis, or in one process on SQLite.
    pub fleet: bool,
    /// Brokers that carry a fleet's events; Redis does when there are none.
    pub brokers: Vec<String>,
    /// Who owns it, and the password.
    pub owner: (String, String),
}

impl Stage {
    /// Starts one.
    pub async fn start(wanted: &Wanted) -> Result<Stage> {
        let mut ports = (std::process::id() % 11_000) as u16;
        let mut stage = Stage {
            url: String::new(),
            folder: wanted.folder.clone(),
            programs: BTreeMap::new(),
            wires: BTreeMap::new(),
            redis: BTreeMap::new(),
            postgres: None,
            base: base(&wanted.folder)?,
        };
        let slots = match wanted.fleet {
            true => stage.stand_on_servers(wanted, &mut ports).await?,
            false => stage.one_process(&mut ports).await?,
        };
        let (email, password) = &wanted.owner;
        let made = stage.command(&["admin", "create", "--email", email], &format!("{password}\n")).await?;
        if !made.0 {
            return Err(Error::unavailable("shop_not_made", made.1));
        }
        for (name, arguments, port) in slots {
            let mut start = stage.of(&name, &arguments);
            start.settings.push(("PORT".into(), port.to_string()));
            stage.programs.insert(name, Program::start(start)?);
        }
        Ok(stage)
    }

    async fn one_process(&mut self, ports: &mut u16) -> Result<Vec<(String, Vec<String>, u16)>> {
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
        let postgres = Postgres::start(&self.folder, free_port(ports)?).await?;
        let place = self.wire("postgres", postgres.port).await?;
        self.set("DATABASE_URL", format!("postgres://postgres@{place}/postgres"));
        self.set("CARMEL_DATABASE_CONNECTIONS", "3".into());
        self.postgres = Some(postgres);
        for (name, key) in [("queue", "REDIS_URL"), ("cache", "CARMEL_REDIS_CACHE_URL")] {
            let redis = Redis::start(&self.folder, name, free_port(ports)?).await?;
            let place = self.wire(name, redis.port).await?;
            self.set(key, format!("redis://{place}"));
            self.redis.insert(name.into(), redis);
        }
        if !wanted.brokers.is_empty() {
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
            postgres: self.postgres.is_some(),
        }
    }

    /// Does this to it; ends when it is over.
    pub async fn inflict(&self, planned: &Planned) -> Result<()> {
        let span = planned.span;
        match &planned.fault {
            Fault::Kill(name) => self.programs[name].kill(span.min(LONGEST_PAUSE)).await?,
            Fault::Freeze(name) | Fault::Outlive(name) => self.programs[name].freeze(span).await,
            Fault::FillDisk(name, bytes) => self.programs[name].fill_disk(*bytes, span).await,
            Fault::Wire(name, line) => self.disturb(name, *line, span).await,
            Fault::Lose(name, line) => {
                self.disturb(name, *line, span).await;
                self.disturb(name, Line::Reset, AFTER_LOSS).await;
            }
            Fault::FlushRedis(name) => self.redis[name].flush().await,
            Fault::KillRedis(name) => self.redis[name].program.kill(span.min(LONGEST_PAUSE)).await?,
            Fault::FreezeRedis(name) => self.redis[name].program.freeze(span).await,
            Fault::CrashPostgres => {
                if let Some(postgres) = &self.postgres {
                    postgres.crash().await?;
                }
            }
            Fault::CrowdPostgres => {
                if let Some(postgres) = &self.postgres {
                    postgres.crowd(span).await;
                }
            }
        }
        Ok(())
    }

    async fn disturb(&self, name: &str, line: Line, span: Duration) {
        self.wires[name].set(line);
        tokio::time::sleep(span).await;
        self.wires[name].set(Line::Good);
    }

    /// Starts again what ended by itself. Ends when it fails.
    pub async fn keep(&self) -> Result<()> {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let servers = self.redis.values().map(|redis| &redis.program);
            let postgres = self.postgres.iter().map(|postgres| &postgres.program);
            for program in self.programs.values().chain(servers).chain(postgres) {
                program.look_after().await?;
            }
        }
    }

    /// How often each process ended that nobody had told to.
    pub fn ended(&self) -> BTreeMap<String, u64> {
        let ended = self.programs.iter().map(|(name, program)| (name.clone(), program.ended()));
        ended.filter(|(_, times)| *times > 0).collect()
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
        let servers = self.redis.values().map(|redis| &redis.program);
        for program in servers.chain(self.postgres.iter().map(|postgres| &postgres.program)) {
            program.stop(FINISH).await?;
        }
        Ok(())
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
        arguments: Vec::new(),
        settings: settings.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        folder: folder.to_owned(),
        as_nobody: false,
    })
}
