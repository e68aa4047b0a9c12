//! The program: its commands, its settings, and the one place ([`shop`]) that
//! decides which service runs where.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit;
mod backup;
mod bench;
pub mod config;
mod databases;
mod dead_letters;
mod frail;
mod healthcheck;
pub mod part;
mod prepare;
mod program;
pub mod relocate;
pub mod sample;
mod serve;
mod servers;
mod settings;
pub mod shop;
pub mod torture;
mod up;

use std::{fmt::Display, io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::Parser;
use kernel::{Error, Kind, Result, World};
use serde::Serialize;
use serde_json::json;

use crate::{
    config::{Config, LogFormat},
    part::{Part, Parts},
    shop::Shop,
};

/// A commerce backend: one program on a laptop, a fleet on Black Friday.
#[derive(Parser)]
#[command(name = "carmel", version)]
struct Arguments {
    #[command(flatten)]
    flags: config::Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Runs the shop: every service and its workers, until SIGTERM or Ctrl-C.
    Serve {
        /// Fills the shop with sample data first, if it is empty.
        #[arg(long, conflicts_with = "only")]
        sample: bool,
        /// Only these parts of it (gateway, users, orders, …); the others run elsewhere, where the settings say.
        #[arg(long, value_name = "PARTS", value_delimiter = ',')]
        only: Vec<Part>,
        /// A supervisor has opened the socket, hears when it is ready, and lets it finish by closing its input.
        #[arg(long, hide = true)]
        supervised: bool,
    },
    /// Works on jobs and relays events without answering customers, until SIGTERM or Ctrl-C.
    Work {
        /// Only those of these services (users, orders, …).
        #[arg(long, value_name = "SERVICES", value_delimiter = ',')]
        only: Vec<Part>,
        /// As for `serve`.
        #[arg(long, hide = true)]
        supervised: bool,
    },
    /// Runs a whole fleet on this machine, each part of the shop in processes of its own, until SIGTERM or Ctrl-C.
    /// What dies is started again; `carmel reload` replaces the processes one by one.
    Up {
        /// So many processes of a part, such as orders=2; one of each otherwise. May be repeated.
        #[arg(long, value_name = "PART=N", value_delimiter = ',')]
        replicas: Vec<up::Count>,
        /// So many processes that only work on a service's jobs, such as orders=1; none otherwise. May be repeated.
        #[arg(long, value_name = "SERVICE=N", value_delimiter = ',')]
        workers: Vec<up::Count>,
    },
    /// Replaces the processes of the fleet that `carmel up` runs, one by one, without a refused request.
    Reload,
    /// Brings the tables up to date and ends.
    Migrate,
    /// Fills an empty shop with sample data and ends.
    Sample,
    /// Looks after administrators.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Checks every invariant of the shop, beside one that runs or of one that does not. Exit status 1 when one is
    /// broken, 2 when it could not look.
    Audit(AuditArguments),
    /// Starts a shop in a folder of its own, kills, stops and cuts off its parts while people buy, and compares
    /// what was answered with what is there in the end; exit status 1 when something was lost, doubled or oversold.
    Torture(torture::Options),
    /// Fills a shop in a folder of its own, asks of it what customers ask, and says how much of that this machine
    /// bears; exit status 1 when something was oversold or the audit found a breach.
    Bench(bench::Options),
    /// Copies a shop in files into PostgreSQL and checks the copy; run again, it
    /// goes on where it ended.
    Move(relocate::Destination),
    /// Copies a shop in files into a new folder while it is open, all services as they are at one moment.
    Backup(backup::Place),
    /// Puts a backup in the place of the shop, which is closed; says first what is lost by it. What was there is kept.
    Restore(backup::Source),
    /// Looks after work that was given up.
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Looks at the settings without starting anything.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Asks the shop on this machine whether it is ready; exit status 1 when not.
    Healthcheck,
    /// Prints the description of the API (OpenAPI 3.1).
    Openapi,
    /// What the project's own checks need.
    #[command(subcommand, hide = true)]
    Internal(InternalCommand),
}

#[derive(clap::Args)]
struct AuditArguments {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Mends what can be derived again, and says each thing it mended: work that is stuck is put back for the shop's
    /// workers, events are sent again, holds past their time are given back. Books no money.
    #[arg(long)]
    repair: bool,
    /// The shop does not run: what it left to be done is not late. (Of a shop in files this is found out.)
    #[arg(long)]
    stopped: bool,
}

#[derive(clap::Subcommand)]
enum AdminCommand {
    /// Makes an administrator, or makes an account one. The password is read
    /// from standard input, or made and printed once when that is a terminal.
    Create {
        /// The address to sign in with.
        #[arg(long)]
        email: String,
        /// What to call the administrator.
        #[arg(long, default_value = "Administrator")]
        name: String,
    },
}

#[derive(clap::Subcommand)]
enum JobsCommand {
    /// Lists the dead letters: jobs whose last attempt failed.
    Dead,
    /// Gives a dead letter all its attempts again.
    Retry {
        /// Which: `job_…`.
        #[arg(required_unless_present = "all")]
        id: Option<kernel::JobId>,
        /// All of them.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

#[derive(clap::Subcommand)]
enum InternalCommand {
    /// Prepares every SQL text listed in a JSON file, on an empty shop.
    PrepareSql { file: PathBuf },
    /// Is a broker of Kafka that keeps all in memory, and away when its input says so.
    Broker,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Config(command) = &arguments.command {
        return config::run(command, &arguments.flags);
    }
    if let Command::Internal(InternalCommand::Broker) = &arguments.command {
        return torture::broker::run();
    }
    let loaded = match config::load(&arguments.flags) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    if let Command::Healthcheck = &arguments.command {
        return healthcheck::ask(&loaded.config);
    }
    open_as_many_as_allowed();
    let outcome = start_log(&loaded.config).and_then(|()| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::internal)?;
        runtime.block_on(execute(arguments.command, loaded, &arguments.flags, frail::world()))
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("carmel: {}", error.chain());
        ExitCode::FAILURE
    })
}

/// A connection is an open file, and 1,024 of them, which is what a process is
/// given at first on most systems, are few for a shop: takes what it may have.
fn open_as_many_as_allowed() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // No process of Linux may have more (`fs.nr_open`) than that, as it usually is.
    let current = Some(maximum.unwrap_or(u64::MAX).min(1 << 20));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
        eprintln!("carmel: no more files may be open than at the start: {error}");
    }
}

async fn execute(
    command: Command,
    loaded: config::Loaded,
    flags: &config::Flags,
    world: World,
) -> Result<ExitCode> {
    let is_told_where = loaded.is_set("server.port");
    let mut config = loaded.config;
    match command {
        Command::Serve { sample, only, supervised } => {
            let parts = Parts::only(&only);
            if !is_told_where {
                config.server.port = parts.port();
            }
            serve::serve(config, world, &parts, sample, supervised).await?;
        }
        Command::Work { only, supervised } => {
            let parts = Parts::only(&only);
            if parts.services().count() == 0 {
                return Err(Error::invalid(
                    "nothing_to_do",
                    "the gateway has no work of its own: --only takes services",
                ));
            }
            // A supervisor looks after it by its input and output.
            let listens = is_told_where && !supervised;
            serve::work(config, world, &parts, listens, supervised).await?;
        }
        Command::Up { replicas, workers } => {
            let plan = up::Plan::new(&config, &replicas, &workers)?;
            up::up(config, flags, world, plan).await?;
        }
        Command::Reload => up::reload(&config.data.folder, |line| println!("{line}")).await?,
        Command::Migrate => {
            databases::migrate(&config, &world).await?;
            println!("the tables of {} services are up to date", Part::services().count());
        }
        Command::Sample => {
            let shop = Shop::open(&config, &world).await?;
            match sample::fill(&shop, &config).await? {
                Some(filled) => serve::say_filled(&filled),
                None => println!("there is something in the shop already: nothing was touched"),
            }
            shop.close().await;
        }
        Command::Admin(AdminCommand::Create { email, name }) => {
            create_admin(&config, &world, &email, &name).await?
        }
        Command::Audit(how) => return Ok(audited(&config, &world, &how).await),
        Command::Torture(options) => {
            return Ok(torture::torture(&options, config.kafka.brokers, &world).await);
        }
        Command::Bench(options) => return Ok(bench::bench(&options, &flags.set, &world).await),
        Command::Jobs(command) => {
            let shop = Shop::open(&config, &world).await?;
            match command {
                JobsCommand::Dead => dead_letters::list(&shop).await?,
                JobsCommand::Retry { id, .. } => {
                    println!("{} jobs are tried again", dead_letters::retry(&shop, id).await?);
                }
            }
            shop.close().await;
        }
        Command::Move(destination) => relocate::relocate(&config, &world, &destination.url()?).await?,
        Command::Backup(into) => backup::backup(&config, &world, into).await?,
        Command::Restore(from) => return backup::restore(&config, &world, from).await,
        Command::Openapi => {
            let shop = shop_in_nowhere(&config, &world).await?;
            println!("{}", shop.api()?.to_pretty_json().map_err(Error::internal)?);
        }
        Command::Internal(InternalCommand::PrepareSql { file }) => {
            return Ok(match prepare::prepare(&config, &world, &file).await? {
                Ok(count) => {
                    println!("{count} SQL texts were prepared");
                    ExitCode::SUCCESS
                }
                Err(refused) => {
                    refused.iter().for_each(|line| eprintln!("{line}"));
                    ExitCode::FAILURE
                }
            });
        }
        Command::Config(_) | Command::Healthcheck | Command::Internal(InternalCommand::Broker) => {
            unreachable!("answered without a runtime")
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create_admin(config: &Config, world: &World, email: &str, name: &str) -> Result<()> {
    let stdin = std::io::stdin();
    let (password, made) = if stdin.is_terminal() {
        (sample::new_password(world), true)
    } else {
        let mut line = String::new();
        stdin.read_line(&mut line).map_err(Error::internal)?;
        (line.trim_end_matches(['\r', '\n']).to_owned(), false)
    };
    let shop = Shop::open(config, world).await?;
    let is_new = sample::make_admin(&shop, email, name, &password).await?;
    shop.close().await;
    println!(
        "{email} {}",
        if is_new { "is a new administrator" } else { "is an administrator now, with a new password" }
    );
    if made {
        println!("password: {password}   (shown this once)");
    }
    Ok(())
}

/// Audits and says what was found; that it could not look is a status of its own.
async fn audited(config: &Config, world: &World, how: &AuditArguments) -> ExitCode {
    match audit::command(config, world, how.repair, how.stopped).await {
        Ok(report) => say(&report, how.json),
        Err(error) => {
            eprintln!("carmel: the audit could not look: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

/// Prints what a command of this name found, or why it found nothing. Its exit
/// status: 0 when all is well, 1 when not, 2 when it could not look.
fn conclude<R: Display + Serialize>(
    name: &str,
    found: Result<R>,
    as_json: bool,
    is_well: impl FnOnce(&R) -> bool,
) -> ExitCode {
    match found {
        Ok(report) => {
            match as_json {
                true => println!("{}", json!(report)),
                false => println!("{report}"),
            }
            ExitCode::from(u8::from(!is_well(&report)))
        }
        Err(error) => {
            eprintln!("carmel {name}: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

fn say(report: &audit::Report, json: bool) -> ExitCode {
    if json {
        println!("{}", serde_json::to_string_pretty(report).expect("a report is plain text"));
    } else {
        report.looked_at.iter().for_each(|line| println!("looked at {line}"));
        report.mended.iter().for_each(|line| println!("mended {line}"));
        report.breaches.iter().for_each(|line| println!("BREACH {line}"));
        println!("{} breaches", report.breaches.len());
    }
    if report.breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A shop in a folder that is gone afterwards, for what needs none of its data.
async fn shop_in_nowhere(config: &Config, world: &World) -> Result<Shop> {
    let folder = std::env::temp_dir().join(format!("carmel-{}", world.uuid_v7()));
    let mut config = Config { database: config::Database::default(), ..config.clone() };
    config.data.folder.clone_from(&folder);
    let shop = Shop::open(&config, world).await;
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(%error, folder = %folder.display(), "a temporary folder stays");
    }
    shop
}

fn start_log(config: &Config) -> Result<()> {
    let pretty = match config.log.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    web::telemetry::init(&config.log.level, pretty)
        .map_err(|error| Error::new(Kind::Invalid, "log_level", format!("log.level: {error}")))
}
