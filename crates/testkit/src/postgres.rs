//! A real PostgreSQL.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::server::{self, Process, Start};

/// The setting that names a server to use instead of starting one: the URL of
/// a user who may create databases.
pub const SETTING: &str = "CARMEL_TEST_POSTGRES";

const SHARED_OPTIONS: &[&str] = &["fsync=off", "full_page_writes=off", "max_connections=1000"];

/// A PostgreSQL server: the one named by [`SETTING`], or one of our own on a
/// free port, stopped when dropped.
pub struct Server {
    /// Ends at the port: `postgres://postgres@127.0.0.1:20123`.
    address: String,
    own: Option<Own>,
}

struct Own {
    process: Process,
    folder: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
}

impl Server {
    /// The one that the tests of this process share; it ends when the last of
    /// them lets go. It forgets what a crash of the machine would make it
    /// forget, which is none of these tests' business.
    pub fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        share(&SHARED, || Server::start(SHARED_OPTIONS))
    }

    /// One with these settings (`name=value`), which only one of our own gets.
    pub fn start(options: &[&str]) -> Server {
        match std::env::var(SETTING) {
            Ok(url) => {
                let address = url.split('?').next().unwrap_or_default().trim_end_matches('/');
                let address = match address.splitn(4, '/').collect::<Vec<_>>()[..] {
                    [scheme, "", host, _] => format!("{scheme}//{host}"),
                    _ => address.to_owned(),
                };
                Server { address, own: None }
            }
            Err(_) => Server::own(options),
        }
    }

    /// One of our own, durable unless the settings say otherwise.
    pub fn own(options: &[&str]) -> Server {
        let folder = server::folder("postgres");
        server::give_to_nobody(folder.path());
        init(folder.path());
        Server::on(folder, server::free_port(), options)
    }

    /// The one whose files are in this folder.
    fn on(folder: tempfile::TempDir, port: u16, options: &[&str]) -> Server {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let process = run(folder.path(), port, &options);
        Server {
            address: format!("postgres://postgres@127.0.0.1:{port}"),
            own: Some(Own { process, folder, port, options }),
        }
    }

    /// The URL of a database that is always there.
    pub fn url(&self) -> String {
        format!("{}/postgres", self.address)
    }

    /// Makes an empty database and returns its URL.
    pub fn database(&self) -> String {
        let name = fresh_name();
        self.run_sql(&format!("CREATE DATABASE {name}"));
        format!("{}/{name}", self.address)
    }

    /// Another of our own that follows this one, with these settings.
    pub fn replica(&self, options: &[&str]) -> Server {
        let (folder, port) = (server::folder("replica"), server::free_port());
        server::give_to_nobody(folder.path());
        let mut command = Command::new(program("pg_basebackup"));
        command.arg("-D").arg(folder.path().join("data")).args(["-d", &self.url(), "-R", "-X", "stream"]);
        command.args(["-C", "-S", &fresh_name(), "--checkpoint=fast", "--no-sync"]);
        finish(command, folder.path());
        // It looks for its primary often, so that it notices the death of that soon.
        let options = [&["wal_retrieve_retry_interval=200ms"], options].concat();
        Server::on(folder, port, &options)
    }

    /// Makes a replica stand still. It has all that its primary has saved until now, and nothing
    /// that comes later until `go_on`.
    pub fn stand_still(&self, primary: &Server) {
        let saved = primary.ask("SELECT pg_current_wal_flush_lsn()");
        let has_it = format!("SELECT pg_last_wal_replay_lsn() >= '{saved}'");
        let until = Instant::now() + Duration::from_secs(30);
        while self.ask(&has_it) != "t" {
            assert!(Instant::now() < until, "the replica did not come as far as {saved}");
            thread::sleep(Duration::from_millis(20));
        }
        self.run_sql("SELECT pg_wal_replay_pause()");
    }

    /// Lets a replica follow again.
    pub fn go_on(&self) {
        self.run_sql("SELECT pg_wal_replay_resume()");
    }

    /// Makes a replica the primary; returns when it takes changes.
    pub fn promote(&self) {
        self.run_sql("SELECT pg_promote(true, 60)");
    }

    /// Where it listens: `127.0.0.1:20123`.
    pub fn host(&self) -> &str {
        self.address.rsplit(['/', '@']).next().unwrap_or_default()
    }

    /// Kills it as a crash of the machine would, and starts it again on the
    /// same files.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Kills it as a crash of the machine would.
    pub fn kill(&mut self) {
        self.mine().process.kill();
    }

    fn mine(&mut self) -> &mut Own {
        self.own.as_mut().expect("a server that we did not start is not ours to kill")
    }

    /// Freezes it, with all that serve a connection: it keeps what is open and
    /// answers nobody.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let own = self.own.as_ref().expect("a server that we did not start is not ours to stop");
        own.process.signal(name);
        // Frozen itself it starts no more of them.
        server::signal_children(own.process.id(), name);
    }

    /// Starts it again on the same files after it was killed.
    pub fn restart(&mut self) {
        let own = self.mine();
        let until = Instant::now() + Duration::from_secs(15);
        // Its children linger for a moment and keep the files locked.
        own.process = loop {
            let mut process = begin(own.folder.path(), own.port, &own.options);
            if answers(own.port, &mut process, until) {
                break process;
            }
            assert!(
                Instant::now() < until,
                "PostgreSQL did not come back: {}",
                server::log(own.folder.path())
            );
        };
    }

    /// Runs a statement outside of everything else.
    pub fn run_sql(&self, sql: &str) {
        self.ask(sql);
    }

    /// Runs a statement outside of everything else and returns what it says.
    pub fn ask(&self, sql: &str) -> String {
        ask(&self.url(), sql)
    }
}

/// Runs statements in the database of this URL, outside of everything else, and
/// returns what it says.
pub fn ask(url: &str, sql: &str) -> String {
    let ran = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
        .output()
        .expect("psql is part of postgresql-client");
    assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// A primary and the replica that follows it.
pub struct Pair {
    /// Takes the changes, until it dies.
    pub primary: Server,
    /// Has them, too, a moment later.
    pub replica: Server,
}

impl Pair {
    /// Starts both with these settings.
    pub fn start(options: &[&str]) -> Pair {
        let primary = Server::own(options);
        let replica = primary.replica(options);
        Pair { primary, replica }
    }

    /// The one that the tests of this process share, as they do
    /// [`Server::shared`].
    pub fn shared() -> Arc<Pair> {
        static SHARED: Mutex<Weak<Pair>> = Mutex::new(Weak::new());
        share(&SHARED, || Pair::start(SHARED_OPTIONS))
    }

    /// The URL of a database that is always there, on whichever of both takes changes.
    pub fn url(&self) -> String {
        self.url_of(&self.primary.url())
    }

    /// Makes an empty database; returns its URL on whichever of both takes
    /// changes, and on the replica.
    pub fn database(&self) -> (String, String) {
        let here = self.primary.database();
        (self.url_of(&here), here.replace(self.primary.host(), self.replica.host()))
    }

    fn url_of(&self, here: &str) -> String {
        here.replace(self.primary.host(), &format!("{},{}", self.primary.host(), self.replica.host()))
    }

    /// From now on nothing is answered before the replica has it, too.
    pub fn synchronise(&self) {
        self.primary.run_sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.primary.run_sql("SELECT pg_reload_conf()");
        let until = Instant::now() + Duration::from_secs(30);
        while self.primary.ask("SELECT max(sync_state) FROM pg_stat_replication WHERE state = 'streaming'")
            != "sync"
        {
            assert!(Instant::now() < until, "the replica does not become synchronous");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // A fast stop; whatever does not obey is killed when the process is dropped.
        if self.process.ended(Duration::ZERO).is_none() {
            self.process.signal("CONT"); // it may be frozen
            server::signal_children(self.process.id(), "CONT");
            self.process.signal("INT");
            self.process.ended(Duration::from_secs(5));
        }
    }
}

/// The one that is there, or a new one; it ends when the last lets go of it.
fn share<T>(shared: &Mutex<Weak<T>>, start: impl FnOnce() -> T) -> Arc<T> {
    let mut shared = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    shared.upgrade().unwrap_or_else(|| {
        let started = Arc::new(start());
        *shared = Arc::downgrade(&started);
        started
    })
}

/// A name that no other test of this machine uses.
pub(crate) fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let micros = kernel::World::real().now().micros();
    format!("t{micros}_{}_{count}", std::process::id())
}

fn init(folder: &Path) {
    let mut command = Command::new(program("initdb"));
    command.arg("-D").arg(folder.join("data"));
    command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
    finish(command, folder);
}

/// Runs a program of PostgreSQL to its end.
fn finish(command: Command, folder: &Path) {
    let name = format!("{command:?}");
    let mut process = Process::start(Start { death: "KILL", as_nobody: true, folder, command });
    let done = process.ended(Duration::from_secs(60));
    assert!(done.is_some_and(|status| status.success()), "{name}: {}", server::log(folder));
}

fn run(folder: &Path, port: u16, options: &[String]) -> Process {
    let mut process = begin(folder, port, options);
    let until = Instant::now() + Duration::from_secs(20);
    assert!(answers(port, &mut process, until), "PostgreSQL did not start: {}", server::log(folder));
    process
}

fn begin(folder: &Path, port: u16, options: &[String]) -> Process {
    let mut command = Command::new(program("postgres"));
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c"]);
    command.arg(format!("unix_socket_directories={}", folder.display()));
    for option in options {
        command.args(["-c", option]);
    }
    Process::start(Start { death: "INT", as_nobody: true, folder, command })
}

fn answers(port: u16, process: &mut Process, until: Instant) -> bool {
    loop {
        let asked = Command::new(program("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .status();
        if asked.unwrap().success() {
            return true;
        }
        if process.ended(Duration::ZERO).is_some() || Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The newest of the installed ones, or what is on the path.
/// A program of the newest PostgreSQL that is installed.
pub fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    newest.map_or_else(|| name.into(), |version| format!("/usr/lib/postgresql/{version}/bin/{name}").into())
}
