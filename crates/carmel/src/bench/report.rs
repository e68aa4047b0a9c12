//! What a run says in the end.

use std::{collections::BTreeMap, fmt, time::Duration};

use db::Counts;
use load::Outcome;
use serde::Serialize;

use super::{Options, capacity::Capacity, scaling::Scaling};

/// What was measured, and how.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of the program.
    pub version: &'static str,
    /// How many processors there are. The load has run on them as well.
    pub cores: usize,
    /// The memory of the machine, in gigabytes.
    pub machine_gb: f64,
    /// `SQLite` or `PostgreSQL`. The processes of PostgreSQL and Redis are in no figure of the shop.
    pub database: &'static str,
    /// Whether jobs, events and what is remembered went through a Redis.
    pub redis: bool,
    /// Whether the services were processes of their own, behind a gateway.
    pub fleet: bool,
    /// What was set besides the defaults.
    pub settings: Vec<String>,
    pub customers: u64,
    pub products: u64,
    pub connections: u64,
    /// Of an open loop: so many requests were asked a second.
    pub rate: Option<u64>,
    pub measured: Vec<Measured>,
    /// The most that is borne, if that was looked for: so many milliseconds are no wait.
    pub within_ms: u64,
    pub capacity: Vec<Capacity>,
    /// How throughput grew, if that was measured.
    pub scaling: Vec<Scaling>,
    /// What must not be: oversold, or found by the audit.
    pub breaches: Vec<String>,
}

/// What came of a scenario.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub scenario: String,
    /// Answers of 2xx.
    pub answers: u64,
    /// Everything else, by its code.
    pub failures: BTreeMap<String, u64>,
    /// Answers a second.
    pub per_second: f64,
    /// Orders that had ended a second, from the first that was placed until all had.
    pub settled_per_second: Option<f64>,
    /// How long an answer took, in milliseconds.
    pub wait_ms: Waits,
    /// Processor time of the shop for each answer, in microseconds: with all that it did for orders until they had ended.
    pub cost_us: f64,
    /// What it asked of its databases for each answer, that included.
    pub asked: Asked,
    /// How many processors the shop, and the load, kept busy.
    pub shop_cores: f64,
    pub load_cores: f64,
    /// What the shop had afterwards: of a fleet all its processes together, where what they share counts for each.
    pub memory_mb: f64,
    /// Each process of the shop.
    pub processes: Vec<Process>,
    pub sale: Option<Sale>,
    /// An order that was cancelled although it could be paid: there must be none.
    pub unpaid: Option<String>,
}

/// What a process took.
#[derive(Debug, Serialize)]
pub struct Process {
    /// What runs in it.
    pub name: String,
    /// How many processors it kept busy.
    pub cores: f64,
    /// What it had afterwards.
    pub memory_mb: f64,
}

/// What a load took of the machine.
pub struct Took {
    /// Of the shop, until no order was under way any more.
    pub processes: Vec<Process>,
    /// Processor time of the load.
    pub load: Duration,
    /// Until no order was under way any more.
    pub span: Duration,
    /// What the shop asked of its databases until then.
    pub asked: Asked,
}

/// What an answer cost the databases. PostgreSQL is asked for many rows by one
/// statement, SQLite by one for each.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Asked {
    pub statements: f64,
    /// Answers that were waited for; SQLite is in the same process and has none.
    pub round_trips: f64,
    pub commits: f64,
}

impl Asked {
    /// For each of so many answers.
    pub fn between(before: Counts, after: Counts, answers: u64) -> Asked {
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / answers as f64;
        Asked {
            statements: each(before.statements, after.statements),
            round_trips: each(before.trips, after.trips),
            commits: each(before.commits, after.commits),
        }
    }
}

/// Half of the answers, 99 in a hundred, 999 in a thousand took no longer.
#[derive(Debug, Serialize)]
pub struct Waits {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

/// How a flash sale ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sale {
    pub pieces: u64,
    pub wanted: u64,
    pub sold: i64,
    /// Promised to orders, though none is under way.
    pub still_held: i64,
}

impl Report {
    /// Nothing has been measured yet.
    pub fn new(options: &Options, settings: &[String]) -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            machine_gb: machine_gb(),
            database: if options.postgres.is_some() { "PostgreSQL" } else { "SQLite" },
            redis: options.with_redis(),
            fleet: options.fleet,
            settings: settings.to_vec(),
            customers: options.customers,
            products: options.products,
            connections: options.connections,
            rate: options.rate,
            measured: Vec::new(),
            within_ms: options.within_ms,
            capacity: Vec::new(),
            scaling: Vec::new(),
            breaches: Vec::new(),
        }
    }
}

/// What `/proc/meminfo` says; zero where there is none.
fn machine_gb() -> f64 {
    let said = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = said
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0.0) * 1024.0 / 1e9
}

impl Measured {
    /// The figures of this outcome.
    pub fn of(scenario: impl fmt::Display, outcome: Outcome, took: Took) -> Measured {
        let ms = |share| outcome.within(share).as_secs_f64() * 1000.0;
        let shop_cores: f64 = took.processes.iter().map(|process| process.cores).sum();
        Measured {
            scenario: scenario.to_string(),
            answers: outcome.answers,
            per_second: outcome.rate(),
            settled_per_second: None,
            wait_ms: Waits { p50: ms(0.5), p99: ms(0.99), p999: ms(0.999) },
            cost_us: shop_cores * took.span.as_secs_f64() * 1e6 / outcome.answers as f64,
            asked: took.asked,
            shop_cores,
            load_cores: took.load.as_secs_f64() / outcome.span.as_secs_f64(),
            memory_mb: took.processes.iter().map(|process| process.memory_mb).sum(),
            processes: took.processes,
            sale: None,
            unpaid: None,
            failures: outcome.failures,
        }
    }

    /// What each process took, where there are several.
    fn by_process(&self) -> Option<String> {
        let of_each = |process: &Process| {
            format!("{} {:.2} and {:.0} MB", process.name, process.cores, process.memory_mb)
        };
        let each: Vec<String> = self.processes.iter().map(of_each).collect();
        (each.len() > 1).then(|| format!("{}: cores and memory: {}", self.scenario, each.join(", ")))
    }

    /// What must not be.
    pub fn breach(&self) -> Option<String> {
        if let Some(order) = &self.unpaid {
            return Some(format!(
                "{}: {order} was cancelled, and there was enough of it and a good card",
                self.scenario
            ));
        }
        let sale = self.sale?;
        // An order that was not answered may have been placed, and one that was refused was not.
        let (least, most) = (sale.pieces.min(self.answers) as i64, sale.pieces.min(sale.wanted) as i64);
        let is_right = (least..=most).contains(&sale.sold) && sale.still_held == 0;
        (!is_right).then(|| {
            format!(
                "{}: {} of {} pieces were sold to {} who wanted one, and {} are held; right would be {least} to {most}, and 0",
                self.scenario, sale.sold, sale.pieces, sale.wanted, sale.still_held
            )
        })
    }
}

impl Report {
    /// How it was measured, in a sentence.
    pub fn how(&self) -> String {
        let pace = match self.rate {
            Some(rate) => format!("{rate} requests a second over at most {} connections", self.connections),
            None => format!("{} connections that ask again as soon as they are answered", self.connections),
        };
        let set: Vec<String> = self.settings.iter().map(|setting| format!(", {setting}")).collect();
        format!(
            "{}{}{}, {} cores shared with the load, {} customers, {} products, {pace}{}",
            if self.fleet { "a fleet on " } else { "" },
            self.database,
            if self.redis { " and Redis" } else { "" },
            self.cores,
            self.customers,
            self.products,
            set.concat()
        )
    }

    /// What else there is to say: failures, what was sold, the most that is borne.
    pub fn remarks(&self) -> Vec<String> {
        let of_one = |one: &Measured| {
            let failures =
                one.failures.iter().map(|(what, count)| format!("{}: {count} times {what}", one.scenario));
            let sale = one.sale.map(|sale| {
                format!("{}: {} of {} sold, {} wanted one", one.scenario, sale.sold, sale.pieces, sale.wanted)
            });
            failures.chain(sale).chain(one.by_process()).collect::<Vec<_>>()
        };
        let grew = self.scaling.iter().map(Scaling::said);
        self.measured.iter().flat_map(of_one).chain(self.sheet()).chain(grew).collect()
    }

    /// The capacity sheet, in a sentence: what this machine bears.
    fn sheet(&self) -> Option<String> {
        let most = self.capacity.iter().map(|most| {
            let what = match &*most.scenario {
                "buy" => "orders",
                "browse" => "looks at the catalogue",
                _ => "account readers",
            };
            format!("{:.0} {what} a second at a p99 of {:.0} ms", most.per_second, most.p99_ms)
        });
        let most: Vec<String> = most.collect();
        let memory = self.measured.iter().map(|one| one.memory_mb).fold(0.0, f64::max);
        (!most.is_empty()).then(|| {
            format!(
                "This machine ({} cores, which the load shares, {:.0} GB) with {} bears, one at a time and at a p99 of \
                 at most {} ms: {}. The shop had {memory:.0} MB at most.",
                self.cores,
                self.machine_gb,
                self.database,
                self.within_ms,
                most.join("; ")
            )
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "carmel {}: {}", self.version, self.how())?;
        writeln!(
            f,
            "\n{:12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>6} {:>7} {:>6} {:>6} {:>8}",
            "scenario",
            "per s",
            "settled/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "cost µs",
            "statements",
            "trips",
            "commits",
            "shop",
            "load",
            "memory"
        )?;
        for one in &self.measured {
            let settled = one.settled_per_second.map(|rate| format!("{rate:.0}")).unwrap_or_default();
            let Waits { p50, p99, p999 } = one.wait_ms;
            writeln!(
                f,
                "{:12} {:>9.0} {settled:>9} {p50:>9.2} {p99:>9.2} {p999:>9.2} {:>9.0} {:>10.2} {:>6.2} {:>7.2} {:>6.2} {:>6.2} {:>5.0} MB",
                one.scenario,
                one.per_second,
                one.cost_us,
                one.asked.statements,
                one.asked.round_trips,
                one.asked.commits,
                one.shop_cores,
                one.load_cores,
                one.memory_mb
            )?;
        }
        self.remarks().iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f)?;
        self.breaches.iter().try_for_each(|breach| writeln!(f, "BREACH {breach}"))?;
        write!(f, "{} breaches", self.breaches.len())
    }
}
