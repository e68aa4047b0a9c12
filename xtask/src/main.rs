//! Checks and chores: `cargo xtask`. Uses the standard library and little
//! else, so that it is built in seconds.

mod deny;
mod deploy;
mod dev;
mod distribution;
mod floors;
mod fuzz;
mod lexer;
mod needs;
mod pages;
mod postgres;
mod scan;
mod shell;
mod sql;
mod stages;
mod steps;
mod suite;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Checks and chores of Carmel")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks everything and runs every test, on real servers that it starts and stops.
    Test {
        /// Also what takes long: ignored tests, licences and known vulnerabilities, containers and manifests.
        #[arg(long)]
        full: bool,
        /// Only the tests whose name contains this, without the checks before them.
        filter: Option<String>,
    },
    /// Checks floors, formatting, lints, generated pages, SQL, readiness for distribution, licences and vulnerabilities.
    Check {
        /// Only licences and known vulnerabilities.
        #[arg(long, conflicts_with_all = ["distribution", "floors", "pages", "sql"])]
        deny: bool,
        /// Only that the tables could be spread over many servers.
        #[arg(long)]
        distribution: bool,
        /// Only that each crate uses only the floors below it.
        #[arg(long)]
        floors: bool,
        /// Only that generated pages are up to date.
        #[arg(long)]
        pages: bool,
        /// Only that both engines understand every SQL text.
        #[arg(long)]
        sql: bool,
    },
    /// Writes the generated pages anew.
    Pages,
    /// Lists every SQL text of the crates as JSON.
    Sql,
    /// Simulates shops in one thread each, hundreds a minute; `cargo xtask simulate --help` tells more.
    #[command(disable_help_flag = true)]
    Simulate {
        /// Passed on: `--seeds 100000`, `--hunt`, `--from 104 --seeds 1 --tell`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Lets each parser that strangers reach, or one of them, read what nobody thought of; says what broke a promise.
    Fuzz {
        /// Only this target: answer, cursor, event, http, rpc, settings, token or webhook.
        target: Option<String>,
        /// For how long each.
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u32,
        /// Only repeats this input.
        #[arg(long, value_name = "FILE", requires = "target")]
        input: Option<PathBuf>,
    },
    /// Builds the image, sells with it and with the fleet of compose.yaml, and checks the manifests of Kubernetes.
    Deploy,
    /// Runs a shop with sample data; rebuilds and restarts it when a file changes.
    Dev {
        /// Passed on to `carmel serve --sample`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test { full, filter } => suite::test(full, filter.as_deref()),
        Command::Simulate { arguments } => steps::simulate(&arguments),
        Command::Check { deny: true, .. } => suite::only(&[steps::LICENCES]),
        Command::Check { distribution, floors, pages, sql, .. } => {
            let chosen = [
                (distribution, steps::DISTRIBUTION),
                (floors, steps::FLOORS),
                (pages, steps::PAGES),
                (sql, steps::SQL),
            ];
            let chosen: Vec<_> = chosen.iter().filter(|(yes, _)| *yes).map(|(_, step)| *step).collect();
            if chosen.is_empty() { suite::check() } else { suite::only(&chosen) }
        }
        Command::Pages => steps::build().and_then(|()| pages::write()),
        Command::Sql => sql::list().and_then(|texts| sql::json(&texts)).map(|json| println!("{json}")),
        Command::Fuzz { target, seconds, input } => fuzz::fuzz(target.as_deref(), seconds, input.as_deref()),
        Command::Deploy => deploy::deploy(),
        Command::Dev { arguments } => dev::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
