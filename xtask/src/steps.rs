//! The checks, each by its name.

use std::process::Command;

use crate::{
    deny, distribution, floors, fuzz, pages,
    postgres::Server,
    shell::{Begun, Done, cargo, cargo_beside, output, run},
    sql,
};

pub const FORMATTING: &str = "formatting";
pub const FLOORS: &str = "floors";
pub const DISTRIBUTION: &str = "readiness for distribution";
pub const BUILD: &str = "build";
pub const PAGES: &str = "generated pages";
pub const SQL: &str = "SQL on both engines";
pub const LINTS: &str = "lints";
pub const LICENCES: &str = "licences and vulnerabilities";
pub const SIMULATION: &str = "planted faults, simulated";
pub const FUZZING: &str = "fuzzing";

/// Runs one check by its name; only SQL needs the server.
pub fn step(name: &str, server: Option<&Server>) -> Done {
    match name {
        FORMATTING => output(cargo().args(["fmt", "--all", "--check"])).map(|_| ()),
        FLOORS => floors::check(),
        DISTRIBUTION => distribution::check(),
        BUILD => build(),
        PAGES => pages::check(),
        SQL => sql::check(server.ok_or("there is no PostgreSQL to ask")?),
        LINTS => {
            run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
        }
        LICENCES => deny::check(),
        SIMULATION => simulate(&["--seeds".into(), SEEDS.into(), "--hunt".into()]),
        FUZZING => fuzz::fuzz(None, fuzz::SECONDS, None),
        other => Err(format!("there is no check called {other}")),
    }
}

/// How many seeds are simulated beside the tests, and how many at most until a planted fault is found.
const SEEDS: &str = "10000";

/// Runs the simulator, built to be fast and with the faults that can be planted.
pub fn simulate(arguments: &[String]) -> Done {
    run(simulator(&mut cargo()).args(arguments))
}

/// Begins to build it and to simulate many seeds, on what the tests leave of the processors. Comes to an end when its
/// input is closed.
pub fn begin_to_simulate() -> Done<Begun> {
    Begun::begin(simulator(&mut cargo_beside()).args(["--seeds", SEEDS, "--while-input"]))
}

fn simulator(cargo: &mut Command) -> &mut Command {
    cargo.args(["run", "--quiet", "--profile", "sim", "--package", "sim", "--"])
}

/// Builds what the other checks and the tests run: in one go, so that no crate
/// is built twice with different features.
pub fn build() -> Done {
    run(cargo().args(["build", "--workspace", "--bins", "--tests", "--quiet"]))
}
