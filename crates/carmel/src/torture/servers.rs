//! What a fleet stands on: a real PostgreSQL and a real Redis, started in the
//! folder and hurt there.

use std::{path::Path, time::Duration};

use kernel::{Error, Kind, Result};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::program::{self, Program, Start};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// The connections that PostgreSQL takes.
const CONNECTIONS: usize = 70;

/// A PostgreSQL of our own.
pub struct Postgres {
    /// Its process.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
}

impl Postgres {
    /// Makes its files, starts it and waits until it answers.
    pub async fn start(folder: &Path, port: u16) -> Result<Postgres> {
        let (initdb, postgres) = (needed("initdb")?, needed("postgres")?);
        let folder = folder.join("postgres");
        std::fs::create_dir_all(&folder).map_err(Error::internal)?;
        if program::is_root() {
            // The number that nobody has everywhere.
            std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).map_err(Error::internal)?;
        }
        let data = folder.join("data").display().to_string();
        let start = |name: &str, program, arguments: &[&str]| Start {
            name: name.to_owned(),
            program,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            settings: Vec::new(),
            folder: folder.clone(),
            as_nobody: true,
        };
        let make =
            ["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
        program::run(start("initdb", initdb, &make), "").await?;
        let (port_text, most) = (port.to_string(), format!("max_connections={CONNECTIONS}"));
        // A process that is killed loses nothing that the kernel has: only a
        // dead machine would miss the fsync.
        let serve = [
            &["-D", &data, "-p", &port_text, "-c", "listen_addresses=127.0.0.1"][..],
            &["-c", "unix_socket_directories=", "-c", &most, "-c", "fsync=off", "-c", "full_page_writes=off"],
        ]
        .concat();
        let postgres = Postgres { program: Program::start(start("postgres", postgres, &serve))?, port };
        postgres.ready().await?;
        Ok(postgres)
    }

    /// Ends it at once, as a crash does, and starts it again on its files.
    pub async fn crash(&self) -> Result<()> {
        self.program.restart(Signal::QUIT, Duration::ZERO).await
    }

    /// Takes every connection there is, for so long.
    pub async fn crowd(&self, span: Duration) {
        let until = Instant::now() + span;
        let mut held = Vec::new();
        while Instant::now() < until {
            match greet(self.port).await {
                Some(connection) if held.len() < CONNECTIONS => held.push(connection),
                // None is free, for the moment: whoever lets go of one has lost it.
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until it answers.
    pub async fn ready(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while greet(self.port).await.is_none() {
            still_time(until, "PostgreSQL", &self.program)?;
            self.program.look_after().await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// Opens a connection, as the protocol begins: a message with the version
/// (3.0) and the user, answered with `R` (signed in) or an error.
async fn greet(port: u16) -> Option<TcpStream> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(body.len() + 4).ok()?.to_be_bytes();
    connection.write_all(&[&length[..], body].concat()).await.ok()?;
    let mut kind = [0];
    connection.read_exact(&mut kind).await.ok()?;
    (kind == *b"R").then_some(connection)
}

/// A Redis of our own, which keeps nothing when it ends.
pub struct Redis {
    /// Its process.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
}

impl Redis {
    /// Starts it and waits until it answers.
    pub async fn start(folder: &Path, name: &str, port: u16) -> Result<Redis> {
        let port_text = port.to_string();
        let arguments = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let start = Start {
            name: name.to_owned(),
            program: needed("redis-server")?,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            settings: Vec::new(),
            folder: folder.to_owned(),
            as_nobody: false,
        };
        let redis = Redis { program: Program::start(start)?, port };
        let until = Instant::now() + PATIENCE;
        while !redis.ask("PING").await {
            still_time(until, "Redis", &redis.program)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(redis)
    }

    /// Lets it forget everything.
    pub async fn flush(&self) {
        self.ask("FLUSHALL").await;
    }

    /// Whether it does so.
    async fn ask(&self, command: &str) -> bool {
        let asked = async {
            let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await?;
            connection.write_all(format!("{command}\r\n").as_bytes()).await?;
            let mut answer = [0];
            connection.read_exact(&mut answer).await?;
            Ok::<_, std::io::Error>(answer == *b"+")
        };
        // One that is stopped at the moment answers nobody.
        matches!(tokio::time::timeout(Duration::from_secs(1), asked).await, Ok(Ok(true)))
    }
}

/// Fails (`not_installed`) with all that torture needs and this machine has not.
pub fn check_installed(fleet: bool) -> Result<()> {
    let programs: &[(&str, &str)] = match fleet {
        true => &[
            ("setpriv", "util-linux"),
            ("postgres", "postgresql"),
            ("initdb", "postgresql"),
            ("redis-server", "redis-server"),
        ],
        false => &[("setpriv", "util-linux")],
    };
    let missing: Vec<String> = programs
        .iter()
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
