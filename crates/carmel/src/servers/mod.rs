//! What a fleet stands on: a real PostgreSQL and a real Redis, started in a
//! folder of the run, where torture hurts them.

mod disk;
mod postgres;
mod redis;

pub use disk::Disk;
pub use postgres::Postgres;
pub use redis::{Redis, Sentinel};

use std::time::Duration;

use kernel::{Error, Kind, Result};
use tokio::time::Instant;

use crate::program::{self, Program};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program, and the package that brings it.
pub type Needed = (&'static str, &'static str);

/// What every process of a run is started with.
pub const SETPRIV: Needed = ("setpriv", "util-linux");
/// For a Redis.
pub const REDIS: Needed = ("redis-server", "redis-server");
/// For a PostgreSQL and its replica.
pub const POSTGRES: [Needed; 4] = [
    ("postgres", "postgresql"),
    ("initdb", "postgresql"),
    ("psql", "postgresql-client"),
    ("pg_basebackup", "postgresql-client"),
];

/// Fails (`not_installed`) with all of these that this machine has not.
pub fn check_installed(programs: impl IntoIterator<Item = Needed>) -> Result<()> {
    let missing: Vec<String> = programs
        .into_iter()
        .filter(|(program, _)| program::installed(program).is_none())
        .map(|(program, package)| format!("{program} (package {package})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("not installed here, and needed for it: {}", missing.join(", "));
    Err(Error::new(Kind::Invalid, "not_installed", message))
}

fn needed(program: &str) -> Result<std::path::PathBuf> {
    program::installed(program).ok_or_else(|| {
        Error::new(Kind::Invalid, "not_installed", format!("{program} was there and is not any more"))
    })
}

fn still_time(until: Instant, what: &str, program: &Program) -> Result<()> {
    if Instant::now() < until {
        return Ok(());
    }
    let message = format!("{what} does not answer: {}", program::last_words(&program.log()));
    Err(Error::unavailable("server_not_ready", message))
}
