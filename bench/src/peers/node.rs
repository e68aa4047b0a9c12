//! A shop on Node: the processes of it, and the servers they need.

use std::{
    fs::canonicalize,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use load::{Answer, busy, memory_mb};
use serde_json::{Value, json};
use testkit::{Program, postgres, redis};

/// What a shop on Node stands on.
pub struct Ground {
    folder: PathBuf,
    files: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    database: Option<(postgres::Server, String)>,
    _redis: Option<redis::Server>,
}

impl Ground {
    /// PostgreSQL as it is installed, and Redis as a queue wants it.
    pub fn with_servers(folder: &Path) -> Ground {
        let mut ground = Ground::alone(folder);
        let (postgres, redis) = (postgres::Server::own(&["max_connections=200"]), redis::Server::start());
        let url = postgres.database();
        ground.set("DATABASE_URL", &url);
        ground.set("REDIS_URL", redis.url());
        (ground.database, ground._redis) = (Some((postgres, url)), Some(redis));
        ground
    }

    /// A folder for its files, and nothing else.
    pub fn alone(folder: &Path) -> Ground {
        let folder = canonicalize(folder).unwrap_or_else(|_| panic!("{} is not there", folder.display()));
        assert!(folder.join("node_modules").is_dir(), "run npm install in {} first", folder.display());
        let files = tempfile::tempdir().expect("a temporary folder can be made");
        let settings = vec![
            ("NODE_ENV", "production".to_owned()),
            ("VENDURE_DISABLE_TELEMETRY", "true".to_owned()),
            ("MEDUSA_DISABLE_TELEMETRY", "true".to_owned()),
            ("LOG_LEVEL", "warn".to_owned()),
            ("DATABASE", files.path().join("shop.sqlite").display().to_string()),
            ("FILLED", files.path().join("filled.json").display().to_string()),
        ];
        Ground { folder, files, settings, database: None, _redis: None }
    }

    /// One more setting for all that is run from now on.
    pub fn set(&mut self, key: &'static str, value: impl ToString) {
        self.settings.push((key, value.to_string()));
    }

    /// Runs a script of the shop's folder to its end; `PORT` is free for it.
    pub fn run(&self, arguments: &[&str]) {
        let port = testkit::free_port().to_string();
        let output = self.command(arguments).env("PORT", port).output().expect("node is installed");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }

    /// What the shop was filled with, as it wrote it down. Lets PostgreSQL look at
    /// it, too, as it does by itself within a minute.
    pub fn filled(&self) -> Value {
        if let Some((_, url)) = &self.database {
            postgres::ask(url, "ANALYZE");
        }
        let text = std::fs::read(self.files.path().join("filled.json")).expect("the shop was filled");
        serde_json::from_slice(&text).expect("it is JSON")
    }

    /// Starts a script that listens on a port and waits until it does.
    pub fn start(&self, name: &str, command: impl FnOnce(&Ground, u16) -> Command) -> Program {
        Program::start(name, |port| command(self, port))
    }

    /// `node` with these arguments, in the shop's folder, with its settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("env");
        command.arg("-C").arg(&self.folder).arg("node").args(arguments).envs(self.settings.iter().cloned());
        command
    }
}

/// A running shop on Node.
pub struct Node {
    // Dropped in this order: the shop before what it stands on.
    server: Program,
    worker: Option<Program>,
    _ground: Ground,
}

impl Node {
    /// A server, a worker if it has one, and what they stand on.
    pub fn new(server: Program, worker: Option<Program>, ground: Ground) -> Node {
        Node { server, worker, _ground: ground }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.server.port()).into()
    }

    /// The processor time of server and worker.
    pub fn busy(&self) -> Duration {
        self.processes().map(busy).sum()
    }

    /// What is resident of server and worker.
    pub fn memory_mb(&self) -> f64 {
        self.processes().map(|id| memory_mb(id, "VmRSS:")).sum()
    }

    fn processes(&self) -> impl Iterator<Item = u32> {
        [Some(&self.server), self.worker.as_ref()].into_iter().flatten().map(Program::id)
    }
}

/// Something that was answered with 2xx and says that it failed.
pub fn failed(why: &str) -> Answer {
    Answer { status: 422, body: json!({ "code": why }).to_string().into() }
}
