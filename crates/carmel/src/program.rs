//! Processes that this one starts: kept running, stopped, killed, started again.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel::{Error, Kind, Result, World};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::{
    process::{Child, Command},
    sync::Mutex,
};

/// How a process is started, each time it is.
#[derive(Clone, Debug)]
pub struct Start {
    /// What it is called, and its log: `orders-1`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Another version of it, which is started as often as not.
    pub beside: Option<Beside>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its settings; nothing that the user has set for himself reaches it.
    pub settings: Vec<(String, String)>,
    /// Where it stands and where its log is.
    pub folder: PathBuf,
    /// Whether it runs as `nobody` when we are root: PostgreSQL refuses root.
    pub as_nobody: bool,
    /// The process whose disks it sees, if they are not ours.
    pub inside: Option<u32>,
}

/// Another version of a program.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Where it is.
    pub program: PathBuf,
    /// What decides when it is started.
    pub seed: u64,
}

impl Start {
    /// The program of the start of this number.
    fn version(&self, number: u64) -> &Path {
        let of_beside = self.beside.as_ref().filter(|beside| {
            let mut hasher = DefaultHasher::new();
            (beside.seed, &self.name, number).hash(&mut hasher);
            hasher.finish().is_multiple_of(2)
        });
        of_beside.map_or(&self.program, |beside| &beside.program)
    }
}

/// A process that is kept running, but for the faults.
pub struct Program {
    /// How it is started.
    pub start: Start,
    child: Mutex<Option<Child>>,
    /// How often it was started.
    starts: AtomicU64,
    /// How it ended, each time that it did so without having been told to, and what it said last.
    ended: std::sync::Mutex<Vec<(ExitStatus, String)>>,
}

impl Program {
    /// Starts it.
    pub fn start(start: Start) -> Result<Program> {
        let child = Mutex::new(Some(spawn(&start, 0)?));
        Ok(Program { start, child, starts: AtomicU64::new(1), ended: std::sync::Mutex::default() })
    }

    /// `kill -9`, and a new one after the pause.
    pub async fn kill(&self, pause: Duration) -> Result<()> {
        self.restart(Signal::KILL, pause).await
    }

    /// Sends it the signal that ends it, waits until it has, and starts a new
    /// one after the pause.
    pub async fn restart(&self, signal: Signal, pause: Duration) -> Result<()> {
        let pause = async {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        self.while_down(signal, pause).await
    }

    /// The same, with something to be done before the new one is started.
    pub async fn while_down(&self, signal: Signal, work: impl Future<Output = Result<()>>) -> Result<()> {
        let mut child = self.child.lock().await;
        if let Some(mut child) = child.take() {
            send(&child, signal);
            child.wait().await.map_err(Error::internal)?;
        }
        work.await?;
        *child = Some(self.again()?);
        Ok(())
    }

    fn again(&self) -> Result<Child> {
        spawn(&self.start, self.starts.fetch_add(1, Ordering::Relaxed))
    }

    /// Freezes it for so long.
    pub async fn freeze(&self, span: Duration) {
        let id = self.signal(Signal::STOP).await;
        tokio::time::sleep(span).await;
        if id.is_some() && id == self.id().await {
            self.signal(Signal::CONT).await;
        }
    }

    /// For so long it cannot write beyond the first bytes of a file: what it
    /// writes is refused as on a full disk.
    pub async fn refuse_writes(&self, bytes: u64, span: Duration) {
        let id = self.limit(Some(bytes)).await;
        tokio::time::sleep(span).await;
        if id.is_some() && id == self.id().await {
            self.limit(None).await;
        }
    }

    /// Starts it again when it ended by itself. To be called now and then.
    pub async fn look_after(&self) -> Result<()> {
        let Ok(mut child) = self.child.try_lock() else { return Ok(()) }; // a fault is at it
        if let Some(running) = child.as_mut() {
            let Some(how) = running.try_wait().map_err(Error::internal)? else { return Ok(()) };
            let words = last_words(&self.log()).lines().next_back().unwrap_or_default().to_owned();
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).push((how, words));
        }
        *child = Some(self.again()?);
        Ok(())
    }

    /// Asks it to end (SIGTERM) and kills it when it takes longer.
    pub async fn stop(&self, within: Duration) -> Result<()> {
        let mut child = self.child.lock().await;
        let Some(mut child) = child.take() else { return Ok(()) };
        send(&child, Signal::TERM);
        if tokio::time::timeout(within, child.wait()).await.is_err() {
            child.kill().await.map_err(Error::internal)?;
        }
        Ok(())
    }

    /// How it ended, each time that it did so without having been told to, and what it said last.
    pub fn ended(&self) -> Vec<(ExitStatus, String)> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was started, and how often of these as another version.
    pub fn starts(&self) -> (u64, u64) {
        let starts = self.starts.load(Ordering::Relaxed);
        let others = (0..starts).filter(|number| self.start.version(*number) != self.start.program).count();
        (starts, others as u64)
    }

    /// Where it writes what it says.
    pub fn log(&self) -> PathBuf {
        self.start.folder.join(format!("{}.log", self.start.name))
    }

    /// Its process id, while it runs.
    pub async fn id(&self) -> Option<u32> {
        self.child.lock().await.as_ref().and_then(Child::id)
    }

    /// Sends it a signal; its process id.
    async fn signal(&self, signal: Signal) -> Option<u32> {
        let child = self.child.lock().await;
        let child = child.as_ref()?;
        send(child, signal);
        child.id()
    }

    async fn limit(&self, bytes: Option<u64>) -> Option<u32> {
        let child = self.child.lock().await;
        let id = child.as_ref().and_then(Child::id)?;
        let limit = Rlimit { current: bytes, maximum: None };
        let set = rustix::process::prlimit(Pid::from_raw(id.cast_signed()), Resource::Fsize, limit);
        if let Err(error) = set {
            tracing::debug!(%error, process = self.start.name, "ended before its disk was full");
        }
        Some(id)
    }
}

/// Runs a command to its end, with this on its standard input; what it said.
/// Fails (`command_failed`) when it does.
pub async fn run(start: Start, input: &str) -> Result<String> {
    let (status, said) = output(start.clone(), input).await?;
    match status {
        true => Ok(said),
        false => {
            let message = format!("{} failed: {}", start.name, said.trim());
            Err(Error::new(Kind::Unavailable, "command_failed", message))
        }
    }
}

/// The same, whether it fails or not: whether it succeeded, and what it said.
pub async fn output(start: Start, input: &str) -> Result<(bool, String)> {
    use tokio::io::AsyncWriteExt;
    let mut command = command(&start, &start.program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| not_started(&start, &error))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.map_err(Error::internal)?;
    }
    let done = child.wait_with_output().await.map_err(Error::internal)?;
    let said = match done.status.success() {
        true => done.stdout,
        false => [done.stdout, done.stderr].concat(),
    };
    Ok((done.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// A folder for a shop of its own, and whether it is gone afterwards: it is,
/// unless somebody wanted this one. Fails (`folder_not_empty`) when there is
/// something in it: it might be a shop.
pub fn own_folder(wanted: Option<&Path>, what: &str, world: &World) -> Result<(PathBuf, bool)> {
    let name = format!("carmel-{what}-{}", world.uuid_v7());
    let folder = wanted.map_or_else(|| std::env::temp_dir().join(name), Path::to_owned);
    let wrong = |what: String| Error::invalid("folder_not_empty", format!("--folder {what}"));
    std::fs::create_dir_all(&folder)
        .map_err(|error| wrong(format!("{} cannot be made: {error}", folder.display())))?;
    let folder = folder.canonicalize().map_err(Error::internal)?;
    if folder.read_dir().map_err(Error::internal)?.next().is_some() {
        let what = format!(
            "{} is not empty; one that is, or that is not there yet, would be right",
            folder.display()
        );
        return Err(wrong(what));
    }
    Ok((folder, wanted.is_none()))
}

/// The newest PostgreSQL that is installed has it, or the path does.
pub fn installed(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let own = newest.map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    own.into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Whether this process may become another user.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn spawn(start: &Start, number: u64) -> Result<Child> {
    let log =
        File::options().create(true).append(true).open(start.folder.join(format!("{}.log", start.name)));
    let log = log.map_err(Error::internal)?;
    let mut command = command(start, start.version(number));
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(Error::internal)?).stderr(log);
    command.spawn().map_err(|error| not_started(start, &error))
}

fn not_started(start: &Start, error: &std::io::Error) -> Error {
    let message = format!("{} cannot be started ({}): {error}", start.name, start.program.display());
    Error::new(Kind::Unavailable, "process_not_started", message)
}

/// Behind `setpriv`, so that the kernel ends it when this process dies, and a
/// shell, so that a write beyond the limit is refused and no death. Each execs
/// what follows it: the process id is its own.
fn command(start: &Start, program: &Path) -> Command {
    let mut words: Vec<String> = Vec::new();
    if let Some(keeper) = start.inside {
        words.extend(["nsenter".into(), format!("--mount=/proc/{keeper}/ns/mnt"), "--".into()]);
    }
    words.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
    if start.as_nobody && is_root() {
        words.extend(["--reuid=nobody", "--regid=nogroup", "--clear-groups"].map(str::to_owned));
    }
    words.extend(["--", "sh", "-c", "trap '' XFSZ; cd \"$0\" && exec \"$@\""].map(str::to_owned));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(&start.folder).arg(program).args(&start.arguments).kill_on_drop(true);
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARMEL_") || crate::config::is_plain_variable(&name) {
            command.env_remove(&key);
        }
    }
    command.envs(start.settings.iter().cloned());
    command
}

fn send(child: &Child, signal: Signal) {
    let Some(id) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    if let Err(error) = rustix::process::kill_process(id, signal) {
        tracing::debug!(%error, "a process ended before its signal");
    }
}

/// A port of loopback that nobody listens on, below those that the kernel
/// gives to clients: it stays free while its process is dead.
pub fn free_port(taken: &mut u16) -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    for _ in 0..COUNT {
        *taken = (*taken + 1) % COUNT;
        let port = FIRST + *taken;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::unavailable("no_free_port", "no port from 20000 to 31999 is free on this machine"))
}

/// What a process said last.
pub fn last_words(log: &Path) -> String {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ended_by_itself_is_started_again_and_how_it_ended_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::start(Start {
            name: "short".into(),
            program: "/bin/sh".into(),
            beside: None,
            arguments: ["-c", "echo began; echo no room >&2; exit 3"].map(str::to_owned).to_vec(),
            settings: Vec::new(),
            folder: folder.path().to_owned(),
            as_nobody: false,
            inside: None,
        })
        .unwrap();

        while program.ended().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            program.look_after().await.unwrap();
        }

        let (how, words) = program.ended().remove(0);
        assert_eq!((how.code(), words.as_str()), (Some(3), "no room"));
        assert_eq!(program.starts().0, 2);
    }
}
