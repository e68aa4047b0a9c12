//! A real Redis: alone, or two and the sentinel that makes the second the
//! master when the first is gone.

use std::{path::Path, time::Duration};

use kernel::{Error, Result};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::{PATIENCE, needed, still_time};
use crate::program::{Program, Start};

/// How long a master is silent before the sentinel makes the other one, in milliseconds.
const DOWN_AFTER_MS: u64 = 1_500;
/// How long a master stays away that is to be replaced.
const AWAY: Duration = Duration::from_secs(4);

/// A Redis of our own, which keeps nothing when it ends.
pub struct Redis {
    /// Its process.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
}

impl Redis {
    /// Starts it with these settings besides the usual ones, and waits until it answers.
    pub async fn start(folder: &Path, name: &str, port: u16, more: &str) -> Result<Redis> {
        // A copy that it got from another is not kept as a file either.
        let usual = "bind 127.0.0.1\nsave \"\"\nappendonly no\nmaxmemory-policy noeviction\n\
                     repl-diskless-sync-delay 0\nrdb-del-sync-files yes";
        let redis = run(folder, name, port, &format!("{usual}\n{more}"), &[])?;
        let until = Instant::now() + PATIENCE;
        while !redis.ask("PING").await.starts_with('+') {
            still_time(until, "Redis", &redis.program)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(redis)
    }

    /// Lets it forget everything.
    pub async fn flush(&self) {
        self.ask("FLUSHALL").await;
    }

    /// Gone for so long that the sentinel makes the other one the master.
    pub async fn stay_away(&self) -> Result<()> {
        let away = async {
            tokio::time::sleep(AWAY).await;
            Ok(())
        };
        self.program.while_down(Signal::KILL, away).await
    }

    /// What it says; nothing when it is stopped at the moment.
    async fn ask(&self, command: &str) -> String {
        let asked = async {
            let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await?;
            connection.write_all(format!("{command}\r\n").as_bytes()).await?;
            // Nothing that is asked here has an answer of more than one piece.
            let mut answer = vec![0; 16 * 1024];
            let count = connection.read(&mut answer).await?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer[..count]).into_owned())
        };
        match tokio::time::timeout(Duration::from_secs(1), asked).await {
            Ok(Ok(answer)) => answer,
            _ => String::new(),
        }
    }
}

/// Who watches two of them, and says which is the master.
pub struct Sentinel {
    redis: Redis,
    /// What it calls them.
    name: String,
}

impl Sentinel {
    /// Watches the master that is reached at this port, and who follows it.
    pub async fn start(folder: &Path, name: &str, port: u16, master: u16) -> Result<Sentinel> {
        let lines = format!(
            "bind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}\nsentinel failover-timeout {name} 4000"
        );
        let redis = run(folder, &format!("{name}-sentinel"), port, &lines, &["--sentinel"])?;
        let until = Instant::now() + PATIENCE;
        while !redis.ask(&format!("SENTINEL REPLICAS {name}")).await.contains("127.0.0.1") {
            still_time(until, "the sentinel of Redis", &redis.program)?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Sentinel { redis, name: name.to_owned() })
    }

    /// Its process.
    pub fn program(&self) -> &Program {
        &self.redis.program
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.redis.port
    }

    /// The port at which the master is reached, as it sees it.
    pub async fn master(&self) -> Option<u16> {
        let said = self.redis.ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {}", self.name)).await;
        said.lines().filter_map(|line| line.parse().ok()).next()
    }
}

/// Starts one with these settings. It may change its file: a replica that was
/// made the master notes that.
fn run(folder: &Path, name: &str, port: u16, settings: &str, more: &[&str]) -> Result<Redis> {
    let file = folder.join(format!("{name}.conf"));
    std::fs::write(&file, format!("port {port}\n{settings}\n")).map_err(Error::internal)?;
    let file = file.display().to_string();
    let arguments = [&[file.as_str()], more].concat();
    let start = Start {
        name: name.to_owned(),
        program: needed("redis-server")?,
        beside: None,
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        settings: Vec::new(),
        folder: folder.to_owned(),
        as_nobody: false,
        inside: None,
    };
    Ok(Redis { program: Program::start(start)?, port })
}
