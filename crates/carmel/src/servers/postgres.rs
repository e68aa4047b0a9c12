//! A real PostgreSQL and the replica that follows it, which takes over when it
//! dies and is followed in turn.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use kernel::{Error, Result};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
    time::Instant,
};

use super::{PATIENCE, disk::Disk, needed, still_time};
use crate::program::{self, Program, Start};

/// The connections that it takes.
const CONNECTIONS: usize = 70;

/// A PostgreSQL of our own: two servers, one of which takes the changes. Nothing
/// is answered before both have it, which is what makes a failover lose nothing.
pub struct Postgres {
    servers: [Server; 2],
    /// Which of them takes the changes.
    primary: AtomicUsize,
    /// One thing at a time is done to it.
    turn: Mutex<()>,
    /// The one that both are on, where we may have one.
    pub disk: Option<Disk>,
}

struct Server {
    program: Program,
    port: u16,
    /// Its files, as it sees them.
    data: PathBuf,
}

impl Postgres {
    /// Makes their files, starts both and waits until one follows the other.
    pub async fn start(folder: &Path, ports: [u16; 2]) -> Result<Postgres> {
        let folder = folder.join("postgres");
        std::fs::create_dir_all(&folder).map_err(Error::internal)?;
        let disk = Disk::on(&folder).await?;
        if program::is_root() {
            // The number that nobody has everywhere.
            std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).map_err(Error::internal)?;
        }
        let tools = Tools { folder, inside: disk.as_ref().map(|disk| disk.keeper) };
        tools.init(&tools.data(0)).await?;
        let first = tools.server(0, ports[0])?;
        first.ready().await?;
        tools.follow(&tools.data(1), ports[0]).await?;
        let second = tools.server(1, ports[1])?;
        second.ready().await?;
        let postgres =
            Postgres { servers: [first, second], primary: AtomicUsize::new(0), turn: Mutex::default(), disk };
        postgres.synchronise().await?;
        Ok(postgres)
    }

    /// Both processes.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.servers.iter().map(|server| &server.program)
    }

    fn primary(&self) -> &Server {
        &self.servers[self.primary.load(Ordering::SeqCst)]
    }

    /// Ends it at once, as a crash does, and starts it again on its files.
    pub async fn crash(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.primary().program.restart(Signal::QUIT, Duration::ZERO).await
    }

    /// Takes every connection there is, for so long.
    pub async fn crowd(&self, span: Duration) {
        let _turn = self.turn.lock().await;
        let until = Instant::now() + span;
        let mut held = Vec::new();
        while Instant::now() < until {
            match greet(self.primary().port).await {
                Some(connection) if held.len() < CONNECTIONS => held.push(connection),
                // None is free, for the moment: whoever lets go of one has lost it.
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// For so long there is room for so many KiB more on the disk of both.
    pub async fn fill_disk(&self, room: u64, span: Duration) -> Result<()> {
        let _turn = self.turn.lock().await;
        match &self.disk {
            Some(disk) => disk.fill(room, span).await,
            None => Ok(()),
        }
    }

    /// Kills the one that takes the changes and makes the other take them; then
    /// the first follows that one, on new files.
    pub async fn fail_over(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.synchronise().await?;
        let old = self.primary.load(Ordering::SeqCst);
        let (dying, heir) = (&self.servers[old], &self.servers[1 - old]);
        let tools = Tools {
            folder: dying.program.start.folder.clone(),
            inside: self.disk.as_ref().map(|disk| disk.keeper),
        };
        let meanwhile = async {
            heir.ask("SELECT pg_promote(true, 60)").await?;
            self.primary.store(1 - old, Ordering::SeqCst);
            // Nobody follows it: it would wait for ever before it answers a commit.
            heir.ask("ALTER SYSTEM RESET synchronous_standby_names").await?;
            heir.ask("SELECT pg_reload_conf()").await?;
            self.remove(&dying.data).await?;
            tools.follow(&dying.data, heir.port).await
        };
        dying.program.while_down(Signal::KILL, meanwhile).await?;
        self.synchronise().await
    }

    /// Waits until the other has all that was seen so far; from then on nothing
    /// is answered before it has it.
    async fn synchronise(&self) -> Result<()> {
        let (primary, until) = (self.primary(), Instant::now() + PATIENCE);
        primary.ready().await?;
        primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
        primary.ask("SELECT pg_reload_conf()").await?;
        let written = primary.ask("SELECT pg_current_wal_insert_lsn()").await?;
        let follows = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= '{written}'"
        );
        while primary.ask(&follows).await? != "1" {
            still_time(until, "the replica of PostgreSQL", &self.servers[1].program)?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Removes the files of a server that was killed. Its children may go on
    /// for a moment.
    async fn remove(&self, data: &Path) -> Result<()> {
        let seen = match (&self.disk, data.file_name()) {
            (Some(disk), Some(name)) => disk.seen().join(name),
            _ => data.to_owned(),
        };
        let until = Instant::now() + PATIENCE;
        while let Err(error) = std::fs::remove_dir_all(&seen) {
            if Instant::now() > until {
                return Err(Error::internal(format!("{} stays: {error}", seen.display())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Server {
    async fn ready(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while greet(self.port).await.is_none() {
            still_time(until, "PostgreSQL", &self.program)?;
            self.program.look_after().await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// What it says to a statement; asked again while it is just starting.
    async fn ask(&self, sql: &str) -> Result<String> {
        let place = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        let start = Start {
            name: "psql".into(),
            program: needed("psql")?,
            arguments: ["-X", "-q", "-A", "-t", "-d", &place, "-c", sql].map(str::to_owned).to_vec(),
            ..self.program.start.clone()
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match program::run(start.clone(), "").await {
                Ok(said) => return Ok(said.trim().to_owned()),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// The programs of PostgreSQL, and where they work.
struct Tools {
    folder: PathBuf,
    inside: Option<u32>,
}

impl Tools {
    fn data(&self, at: usize) -> PathBuf {
        self.folder.join(format!("data-{}", at + 1))
    }

    /// Starts one of the two on its files.
    fn server(&self, at: usize, port: u16) -> Result<Server> {
        let data = self.data(at);
        let (port_text, most) = (port.to_string(), format!("max_connections={CONNECTIONS}"));
        let mut arguments = vec!["-D".to_owned(), data.display().to_string(), "-p".to_owned(), port_text];
        // A process that is killed loses nothing that the kernel has: only a dead machine would miss the
        // fsync. Each piece of its log is a new file, so that a full disk hits that, too.
        let settings = [
            &most,
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "full_page_writes=off",
            "wal_recycle=off",
            "max_wal_size=64MB",
            "wal_retrieve_retry_interval=100ms",
        ];
        arguments.extend(settings.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]));
        let name = format!("postgres-{}", at + 1);
        let program = Program::start(self.start(&name, "postgres", arguments)?)?;
        Ok(Server { program, port, data })
    }

    async fn init(&self, data: &Path) -> Result<()> {
        let data = data.display().to_string();
        let arguments =
            ["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
        let arguments = [&arguments[..], &["--wal-segsize=1"]].concat();
        self.run("initdb", &arguments).await
    }

    /// Makes the files of a server that follows the one at this port.
    async fn follow(&self, data: &Path, port: u16) -> Result<()> {
        let place = format!("host=127.0.0.1 port={port} user=postgres");
        let data = data.display().to_string();
        // The slot keeps for it what it has not got yet.
        let arguments = [
            "-D",
            &data,
            "-d",
            &place,
            "-R",
            "-X",
            "stream",
            "-C",
            "-S",
            "follower",
            "--no-sync",
            "-c",
            "fast",
        ];
        self.run("pg_basebackup", &arguments).await
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        program::run(self.start(program, program, arguments)?, "").await.map(drop)
    }

    fn start(&self, name: &str, program: &str, arguments: Vec<String>) -> Result<Start> {
        Ok(Start {
            name: name.to_owned(),
            program: needed(program)?,
            beside: None,
            arguments,
            settings: Vec::new(),
            folder: self.folder.clone(),
            as_nobody: true,
            inside: self.inside,
        })
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
