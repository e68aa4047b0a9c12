//! The shop that is measured: one process of this program, or a fleet of them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use db::Counts;
use kernel::{Error, Result, World};
use load::Ask;
use rustix::{
    io::Errno,
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Options, START, queue::Queue, report::Process};
use crate::{
    audit,
    config::Config,
    part::Part,
    program::{self, Program, Start, free_port},
    servers::Redis,
};

const OWNER: &str = "owner@example.com";
/// Of everybody here. Nobody else knows the shop.
pub const PASSWORD: &str = "correct horse battery staple";
const FINISH: Duration = Duration::from_secs(60);

/// A running shop.
pub struct Stage {
    /// Where it answers.
    pub address: SocketAddr,
    /// For ids of this run.
    pub world: World,
    folder: PathBuf,
    postgres: Option<String>,
    /// How many jobs of a service run at once.
    concurrency: usize,
    /// Where its processes say what they have asked of their databases.
    counting: Vec<SocketAddr>,
    /// What it stands on: for jobs and events, and for what is remembered.
    redis: Option<[Redis; 2]>,
    shop: Program,
    breaches: Mutex<Vec<String>>,
}

/// What a measurement wants otherwise than a shop: the provider answers at
/// once, nobody looks at orders, tokens last, and passwords, which are only
/// hashed while customers are made, are hashed quickly.
const SETTINGS: [(&str, &str); 6] = [
    ("CARMEL_PAYMENTS_SANDBOX_LATENCY_MS", "0"),
    ("CARMEL_SCREENING_ORDERS_PER_HOUR", "1000000"),
    ("CARMEL_TOKENS_ACCESS_MINUTES", "1440"),
    ("CARMEL_PASSWORDS_MEMORY_KIB", "1024"),
    ("CARMEL_PASSWORDS_ITERATIONS", "1"),
    ("CARMEL_LOG_LEVEL", "warn"),
];

impl Stage {
    /// Starts the one that is wanted, on SQLite or in an empty database of
    /// PostgreSQL, with these settings (`--set` of the command line) on top.
    pub async fn start(
        folder: &Path,
        options: &Options,
        settings: &[String],
        world: &World,
    ) -> Result<Stage> {
        must_stay_here(settings)?;
        let mut ports = (std::process::id().wrapping_mul(61) % 11_000) as u16;
        let address = free_address(&mut ports)?;
        let mut arguments = vec![if options.fleet { "up" } else { "serve" }.to_owned()];
        arguments.extend(settings.iter().map(|pair| format!("--set={pair}")));
        let mut given: Vec<(String, String)> =
            SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        given.push(("CARMEL_DATA_FOLDER".into(), folder.join("data").display().to_string()));
        given.extend(options.postgres.iter().map(|url| ("DATABASE_URL".to_owned(), url.clone())));
        given.push(("PORT".into(), address.port().to_string()));
        let redis = if options.with_redis() {
            let (queue, cache) = (free_port(&mut ports)?, free_port(&mut ports)?);
            given.push(("REDIS_URL".into(), redis_url(queue)));
            given.push(("CARMEL_REDIS_CACHE_URL".into(), redis_url(cache)));
            let may_forget = "maxmemory 256mb\nmaxmemory-policy allkeys-lru";
            Some([
                Redis::start(folder, "redis-queue", queue, "").await?,
                Redis::start(folder, "redis-cache", cache, may_forget).await?,
            ])
        } else {
            None
        };
        let mut counting = vec![address];
        if options.fleet {
            counting.clear(); // the gateway has no tables
            for service in Part::services() {
                let place = free_address(&mut ports)?;
                let key = format!("CARMEL_SERVICES_{}", service.as_str().to_uppercase());
                given.push((key, format!("http://{place}")));
                counting.push(place);
            }
        }
        let start = Start {
            name: "shop".into(),
            program: std::env::current_exe().map_err(Error::internal)?,
            beside: None,
            arguments,
            settings: given,
            folder: folder.to_owned(),
            as_nobody: false,
            inside: None,
        };
        let owner = ["admin", "create", "--email", OWNER].map(str::to_owned).to_vec();
        program::run(Start { arguments: owner, ..start.clone() }, &format!("{PASSWORD}\n")).await?;
        let stage = Stage {
            address,
            world: world.clone(),
            folder: folder.to_owned(),
            postgres: options.postgres.clone(),
            concurrency: concurrency(settings),
            counting,
            redis,
            shop: Program::start(start)?,
            breaches: Mutex::default(),
        };
        stage.until_ready().await?;
        Ok(stage)
    }

    /// The same shop with nothing in its memory.
    pub async fn restart(&self) -> Result<()> {
        self.shop.restart(rustix::process::Signal::TERM, Duration::ZERO).await?;
        self.until_ready().await
    }

    /// Ends it, when it has finished what is under way.
    pub async fn stop(&self) -> Result<()> {
        self.shop.stop(FINISH).await?;
        for redis in self.redis.iter().flatten() {
            redis.program.stop(FINISH).await?;
        }
        Ok(())
    }

    /// Notes what must not be, if it was seen.
    pub fn note(&self, breach: Option<String>) {
        self.breaches.lock().unwrap_or_else(PoisonError::into_inner).extend(breach);
    }

    /// What was seen that must not be, and what an audit finds in the shop, which
    /// does not run any more.
    pub async fn all_breaches(&self) -> Result<Vec<String>> {
        let mut breaches = self.audit().await?;
        breaches.append(&mut self.breaches.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(breaches)
    }

    async fn audit(&self) -> Result<Vec<String>> {
        let arguments = ["audit", "--json", "--stopped"].map(str::to_owned).to_vec();
        let (_, said) = program::output(Start { arguments, ..self.shop.start.clone() }, "").await?;
        audit::breaches_said(&said)
    }

    /// The token of the owner, who may see everything.
    pub async fn owner(&self) -> Result<String> {
        let body = json!({ "email": OWNER, "password": PASSWORD });
        let answer = self.must(Ask::post("/login", body.to_string())).await?;
        Ok(answer["access_token"].as_str().unwrap_or_default().to_owned())
    }

    /// Asks for what must be answered with 2xx.
    pub async fn must(&self, ask: Ask) -> Result<Value> {
        Ok(self.must_all(1, vec![ask]).await?.remove(0))
    }

    /// The same of many, so many at once.
    pub async fn must_all(&self, at_once: usize, asks: Vec<Ask>) -> Result<Vec<Value>> {
        let answers = load::ask_all(self.address, at_once, asks).await;
        answers.map_err(|error| Error::unavailable("not_done", error.to_string()))
    }

    /// What the processes of the shop have used so far.
    pub async fn used(&self) -> Used {
        let mut used = Used::default();
        for id in self.processes().await {
            let (busy, memory_mb) = used.0.entry(part_of(id)).or_default();
            *busy += load::busy(id);
            *memory_mb += load::memory_mb(id, "VmRSS:");
        }
        used
    }

    async fn processes(&self) -> Vec<u32> {
        self.shop.id().await.map(load::family).unwrap_or_default()
    }

    /// A queue beside the shop, where its own are.
    pub fn queue(&self) -> Queue<'_> {
        let redis = self.redis.as_ref().map(|[queue, _]| redis_url(queue.port));
        Queue {
            folder: &self.folder,
            postgres: self.postgres.as_deref(),
            redis,
            concurrency: self.concurrency,
            world: &self.world,
        }
    }

    /// How many processors there are for the shop.
    pub fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Lets the shop run on so many of the processors that this process may use.
    pub async fn confine(&self, cores: usize) -> Result<()> {
        let ours = sched_getaffinity(None).map_err(Error::internal)?;
        let mut theirs = CpuSet::new();
        (0..CpuSet::MAX_CPU).filter(|cpu| ours.is_set(*cpu)).take(cores).for_each(|cpu| theirs.set(cpu));
        let tasks = |id: u32| std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        // Those that come later are where those are that start them.
        for thread in self.processes().await.into_iter().flat_map(tasks) {
            let thread = thread.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            // One that has ended meanwhile needs no processor.
            if thread.is_some()
                && let Err(error) = sched_setaffinity(thread, &theirs)
                && error != Errno::SRCH
            {
                return Err(Error::internal(error));
            }
        }
        Ok(())
    }

    /// What the shop has asked of its databases so far.
    pub async fn asked(&self) -> Result<Counts> {
        let mut asked = Counts::default();
        for process in &self.counting {
            let of_one = Self::asked_by(*process).await?;
            asked.statements += of_one.statements;
            asked.trips += of_one.trips;
            asked.commits += of_one.commits;
        }
        Ok(asked)
    }

    async fn asked_by(process: SocketAddr) -> Result<Counts> {
        let answer = load::ask(process, Ask::get("/metrics")).await;
        let answer = answer.map_err(|error| Error::unavailable("not_done", error.to_string()))?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            line.ok_or_else(|| {
                Error::unavailable("answer_not_understood", format!("/metrics does not say {name}"))
            })
        };
        Ok(Counts {
            statements: number("db_statements_total")?,
            trips: number("db_round_trips_total")?,
            commits: number("db_commits_total")?,
        })
    }

    async fn until_ready(&self) -> Result<()> {
        let until = Instant::now() + START;
        loop {
            let answer = load::ask(self.address, Ask::get("/readyz")).await;
            if answer.is_ok_and(|answer| answer.is_done()) {
                return Ok(());
            }
            if Instant::now() > until {
                let said = program::last_words(&self.shop.log());
                let message = format!("the shop is not ready after {} s: {said}", START.as_secs());
                return Err(Error::unavailable("shop_not_ready", message));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What processes have used: processor time and megabytes, by what runs in them.
#[derive(Debug, Default)]
pub struct Used(BTreeMap<String, (Duration, f64)>);

impl Used {
    /// What each took since then, so long ago, and has now.
    pub fn since(&self, before: &Used, span: Duration) -> Vec<Process> {
        let of_one = |(name, (busy, memory_mb)): (&String, &(Duration, f64))| {
            let before = before.0.get(name).map_or(Duration::ZERO, |(busy, _)| *busy);
            let cores = busy.saturating_sub(before).as_secs_f64() / span.as_secs_f64();
            Process { name: name.clone(), cores, memory_mb: *memory_mb }
        };
        self.0.iter().map(of_one).collect()
    }
}

/// What runs in that process of ours: `orders`; `carmel` if it is not one part alone.
fn part_of(id: u32) -> String {
    let command = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let mut words = command.split('\0').skip_while(|word| *word != "--only").skip(1);
    words.next().unwrap_or("carmel").to_owned()
}

/// `jobs.concurrency`, as it is set here or usually is.
fn concurrency(settings: &[String]) -> usize {
    let set = settings.iter().rev().filter_map(|pair| pair.split_once('='));
    let mut set = set.filter(|(key, _)| key.trim() == "jobs.concurrency");
    let set = set.find_map(|(_, value)| value.trim().parse().ok());
    set.unwrap_or(Config::default().jobs.concurrency) as usize
}

fn free_address(ports: &mut u16) -> Result<SocketAddr> {
    Ok(([127, 0, 0, 1], free_port(ports)?).into())
}

fn redis_url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// A shop that is somebody's must not be filled and asked by mistake.
fn must_stay_here(settings: &[String]) -> Result<()> {
    const ELSEWHERE: [&str; 6] =
        ["data.", "database.url", "database.replica_urls", "redis.", "server.", "services."];
    match settings.iter().find(|pair| ELSEWHERE.iter().any(|key| pair.trim_start().starts_with(key))) {
        None => Ok(()),
        Some(pair) => {
            let key = pair.split('=').next().unwrap_or_default();
            let message = format!(
                "--set {key}: what is measured is a shop of its own; settings of another kind, such as \
                 jobs.concurrency, would be right, and --postgres, --redis and --fleet for what it stands on"
            );
            Err(Error::invalid("not_to_be_measured", message))
        }
    }
}
