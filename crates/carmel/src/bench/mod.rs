//! `carmel bench`: fills a shop in a folder of its own, asks of it what
//! customers ask, and says how much of that this machine bears.

mod capacity;
mod crowd;
mod page;
mod queue;
mod report;
mod scaling;
mod scenario;
mod stage;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use kernel::{Error, Result, World};

pub use self::scenario::Scenario;
use self::{report::Report, stage::Stage};
use crate::{program, relocate, servers};

/// What the command is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Only these; all when nothing is said.
    #[arg(long, value_name = "SCENARIOS", value_delimiter = ',')]
    pub only: Vec<Scenario>,
    /// How long each lasts, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How many connections ask at once, at most.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub connections: u64,
    /// So many requests a second, evenly spread, whatever comes back. When nothing is said, each connection asks
    /// again as soon as it is answered.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: Option<u64>,
    /// So many customers, each with an account and a token.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub customers: u64,
    /// So many products, each with stock.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub products: u64,
    /// So many pieces of what everybody wants in the flash sale, where each customer orders one.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub pieces: u64,
    /// Then also the most orders, account readers and browsers a second at which people still do not wait: six more
    /// runs of each.
    #[arg(long)]
    pub capacity: bool,
    /// What waiting means there: 99 in a hundred are answered within so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub within_ms: u64,
    /// Then also how orders and browsing grow with connections (1, 2, 4, … up to `--connections`) and with processors
    /// (1, 2, 4, … up to all), and what the universal scalability law says that more would give.
    #[arg(long)]
    pub scaling: bool,
    /// The shop is in this database of PostgreSQL, which must be empty and is full afterwards; on SQLite when nothing
    /// is said. Whoever is on this machine can read the address while the command runs.
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// Jobs, events and what is remembered go through two Redis that it starts.
    #[arg(long)]
    pub redis: bool,
    /// Separate services behind a gateway, as `carmel up` runs them; they need the Redis, so it is started.
    #[arg(long)]
    pub fleet: bool,
    /// Where the shop stands, and stays; a folder that is gone afterwards, unless there are breaches, when nothing is
    /// said.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// The report also as a page (HTML), with plots of what was tried by `--capacity` and `--scaling`.
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    /// The report as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Options {
    fn scenarios(&self) -> impl Iterator<Item = Scenario> {
        let all = <Scenario as clap::ValueEnum>::value_variants();
        all.iter().copied().filter(|one| self.wants(*one))
    }

    fn write_page(&self, page: &str) -> Result<()> {
        let Some(file) = &self.page else { return Ok(()) };
        std::fs::write(file, page).map_err(|error| {
            let message = format!("--page {} cannot be written: {error}", file.display());
            Error::invalid("page_not_written", message)
        })
    }

    /// Whether there is a Redis.
    pub fn with_redis(&self) -> bool {
        self.redis || self.fleet
    }

    fn wants(&self, scenario: Scenario) -> bool {
        self.only.is_empty() || self.only.contains(&scenario)
    }
}

/// Runs it and prints the report. 0 is that all was well, 1 that something was
/// oversold or the audit found a breach, 2 that it could not run.
pub async fn bench(options: &Options, settings: &[String], world: &World) -> ExitCode {
    let report = measure(options, settings, world).await;
    crate::conclude("bench", report, options.json, |report| report.breaches.is_empty())
}

async fn measure(options: &Options, settings: &[String], world: &World) -> Result<Report> {
    // What cannot be written is said before the work, not after it.
    options.write_page("")?;
    servers::check_installed(
        [servers::SETPRIV].into_iter().chain(options.with_redis().then_some(servers::REDIS)),
    )?;
    if let Some(url) = &options.postgres {
        relocate::must_be_empty(url, world).await?;
    }
    let (folder, is_own) = program::own_folder(options.folder.as_deref(), "bench", world)?;
    let stage = Stage::start(&folder, options, settings, world).await?;
    eprintln!(
        "a shop in {}, with {} customers and {} products",
        folder.display(),
        options.customers,
        options.products
    );
    let crowd = crowd::gather(&stage, options).await?;
    let mut report = Report::new(options, settings);
    for scenario in options.scenarios() {
        eprintln!("{scenario}");
        let load = scenario::load_of(&stage, options);
        report.measured.push(scenario.run(&stage, &crowd, load, options.pieces).await?);
    }
    for scenario in capacity::OF.into_iter().filter(|one| options.capacity && options.wants(*one)) {
        eprintln!("the most of {scenario}");
        report.capacity.push(capacity::find(scenario, &stage, &crowd, options).await?);
    }
    for scenario in scaling::OF.into_iter().filter(|one| options.scaling && options.wants(*one)) {
        eprintln!("how {scenario} grows");
        report.scaling.extend(scaling::measure(scenario, &stage, &crowd, options).await?);
    }
    stage.stop().await?;
    report.breaches = stage.all_breaches().await?;
    options.write_page(&page::page(&report)?)?;
    // What is wrong can be looked at.
    if is_own && report.breaches.is_empty() {
        std::fs::remove_dir_all(&folder).map_err(Error::internal)?;
    }
    Ok(report)
}

/// The longest that a shop may take until it is ready.
const START: Duration = Duration::from_secs(60);
/// The longest that all orders, or some jobs, may take to end.
const SETTLE: Duration = Duration::from_secs(600);
