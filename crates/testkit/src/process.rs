//! A running shop: the program `carmel` in a process of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::server::{self, Process, Start};

/// The program `carmel serve` on a free port, standing in a temporary folder
/// (so `./data` is in there). Killed when dropped, and by the kernel when this
/// process dies.
pub struct Carmel {
    process: Option<Process>,
    folder: tempfile::TempDir,
    binary: PathBuf,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    port: u16,
}

impl Carmel {
    /// Starts `carmel serve` with these settings in its environment and waits
    /// until it is ready. In a test of the crate `carmel` the program is
    /// `env!("CARGO_BIN_EXE_carmel")`.
    pub async fn start(binary: impl AsRef<Path>, settings: &[(&str, &str)]) -> Carmel {
        Carmel::start_with(binary, &["serve"], settings).await
    }

    /// The same with other arguments: `["serve", "--sample"]`.
    pub async fn start_with(
        binary: impl AsRef<Path>,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Carmel {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut carmel = Carmel {
            process: None,
            folder: server::folder("shop"),
            binary: std::fs::canonicalize(binary.as_ref()).expect("the program carmel was built"),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            settings: settings.iter().map(owned).collect(),
            port: server::free_port(),
        };
        carmel.restart().await;
        carmel
    }

    /// Where it answers: `http://127.0.0.1:20123`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it stands: its data is in `data` in there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        server::log(self.folder.path())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        self.process.as_mut().expect("it runs").kill();
        self.process = None;
    }

    /// Asks it to end (SIGTERM) and waits until it has, at most that long.
    pub async fn terminate(&mut self, within: Duration) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        let until = Instant::now() + within;
        loop {
            match process.ended(Duration::ZERO) {
                Some(status) => return status,
                None => assert!(Instant::now() < until, "it did not end in {within:?}: {}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it again on the same folder and port, with what [`Carmel::set`]
    /// changed, and waits until it is ready. Returns how long that took.
    pub async fn restart(&mut self) -> Duration {
        self.process = None; // killed, if it still runs
        let began = Instant::now();
        self.begin();
        self.ready().await;
        began.elapsed()
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|(other, _)| other != key);
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Starts it and does not wait.
    pub fn begin(&mut self) {
        let command = self.command(&self.arguments);
        let folder = self.folder.path();
        self.process = Some(Process::start(Start { death: "KILL", as_nobody: false, folder, command }));
    }

    /// Runs another command of the program (`["audit"]`) with the same
    /// settings in the same folder; returns how it ended and all it said.
    pub async fn run(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let done = self.spawn(arguments).wait_with_output().await.unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status, String::from_utf8_lossy(&said).into_owned())
    }

    /// Starts such a command, to be watched; what it says waits in pipes.
    pub fn spawn(&self, arguments: &[&str]) -> tokio::process::Child {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut command = tokio::process::Command::from(self.command(&arguments));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.binary);
        // Nothing that the developer has set for himself may change a test.
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("CARMEL_") || matches!(&*name, "DATABASE_URL" | "REDIS_URL" | "KAFKA_BROKERS")
            {
                command.env_remove(&key);
            }
        }
        command.args(arguments).env("PORT", self.port.to_string()).envs(self.settings.iter().cloned());
        command
    }

    /// Waits until `/readyz` says 200, at most 30 seconds.
    pub async fn ready(&mut self) {
        let (http, url) = (reqwest::Client::new(), format!("{}/readyz", self.url()));
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(answer) = http.get(&url).send().await
                && answer.status() == 200
            {
                return;
            }
            let ended = self.process.as_mut().and_then(|process| process.ended(Duration::ZERO));
            assert!(
                ended.is_none() && Instant::now() < until,
                "the shop did not get ready ({ended:?}): {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
