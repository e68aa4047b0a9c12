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
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let server =
                Arc::new(Server::start(&["fsync=off", "full_page_writes=off", "max_connections=1000"]));
            *shared = Arc::downgrade(&server);
            server
        })
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
        let port = server::free_port();
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

    /// Kills it as a crash of the machine would, and starts it again on the
    /// same files.
    pub fn crash_and_restart(&mut self) {
        let own = self.own.as_mut().expect("a server that we did not start is not ours to kill");
        own.process.kill();
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
        let ran = Command::new("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql])
            .output()
            .expect("psql is part of postgresql-client");
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // A fast stop; whatever does not obey is killed when the process is dropped.
        if self.process.ended(Duration::ZERO).is_none() {
            self.process.signal("INT");
            self.process.ended(Duration::from_secs(5));
        }
    }
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
    let mut process = Process::start(Start { death: "KILL", as_nobody: true, folder, command });
    let done = process.ended(Duration::from_secs(60));
    assert!(done.is_some_and(|status| status.success()), "initdb: {}", server::log(folder));
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
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    newest.map_or_else(|| name.into(), |version| format!("/usr/lib/postgresql/{version}/bin/{name}").into())
}
